//! Asks the cluster for everything that the checks judge. Every source has a limit of its own, and all share one end.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use http::Request;
use jiff::Timestamp;
use kantaloupe_gpu::{
    node::NodeMark,
    object::Pod,
    platform::{
        KINDS, Kind, Objects, Read,
        checks::endpoints,
        facts::{self, Agent, Api, Egress, Facts, Rights, Rule},
    },
};
use kube::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{local, rights};
use crate::{
    config::{Config, Monitoring},
    listing::{self, Unanswered, within},
    prometheus::{self, Limits},
};

/// Connecting to a Gateway inside the cluster: one round trip, or a lost packet that is sent again.
const CONNECT: Duration = Duration::from_secs(2);
/// One answer of Prometheus. Several are asked for one after the other.
const PROMETHEUS: Duration = Duration::from_secs(3);
/// The kind that may be known already.
const NODES: &str = "nodes";
/// Addresses of Gateways that are tried.
const GATEWAYS: usize = 8;

/// Gives the nodes, with the labels that matter beside these objects, and whether they could be read.
pub(crate) type Nodes<'a> = dyn Fn(&Objects) -> (Read, Vec<NodeMark>) + Sync + 'a;

/// What to ask.
pub(crate) struct Ask<'a> {
    /// The way to the API server, or why there is none.
    pub(crate) client: Result<Client, String>,
    /// Namespace and name of the pod that this runs in.
    pub(crate) pod: Option<(&'a str, &'a str)>,
    /// The agent's configuration, if it can be read.
    pub(crate) config: Option<&'a Config>,
    /// Port of the running agent's health checks, if it is to be asked.
    pub(crate) health: Option<u16>,
    /// Where the gateway is, as far as it is known by now.
    pub(crate) egress: Option<(Vec<IpAddr>, u16)>,
    /// Where Prometheus is; `None` where its addresses cannot be reached, because they are of the cluster alone.
    pub(crate) monitoring: Option<&'a Monitoring>,
    /// Where nodes come from if they are known already; they are listed otherwise.
    pub(crate) nodes: Option<&'a Nodes<'a>>,
    /// The end of everything.
    pub(crate) deadline: Instant,
}

/// Asks it all.
pub(crate) async fn facts(ask: Ask<'_>) -> Facts {
    let failed = |why: String| Facts {
        now: Some(Timestamp::now()),
        api: Some(Api {
            answer: Some(Err(why)),
            ..Api::default()
        }),
        ..Facts::default()
    };
    let client = match ask.client {
        Ok(client) => client,
        Err(why) => return failed(why),
    };
    let since = Instant::now();
    let version = match within(ask.deadline, client.apiserver_version()).await {
        Ok(version) => version.git_version,
        Err(why) => return failed(why.text()),
    };
    let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);

    let listed = |kind: &&Kind| ask.nodes.is_none() || kind.name != NODES;
    let kinds = KINDS.iter().filter(listed);
    let namespace = ask.pod.map_or("default", |(namespace, _)| namespace);
    let (mut objects, groups, rules, pod, tunnel) = tokio::join!(
        Box::pin(listing::objects(&client, kinds, ask.deadline)),
        within(ask.deadline, client.list_api_groups()),
        rules(&client, namespace, ask.deadline),
        pod(&client, ask.pod, ask.deadline),
        local::tunnel(ask.health),
    );

    let known = ask.nodes.map(|nodes| nodes(&objects));
    let mut marks = None;
    if let Some((read, nodes)) = known {
        objects.read.insert(NODES, read);
        marks = Some(nodes);
    }
    let mut facts = Facts::of(objects, Timestamp::now(), true);
    if let Some(marks) = marks {
        facts.nodes = marks;
    }
    facts.api = Some(Api {
        answer: Some(Ok(took)),
        version: Some(version),
        groups: groups
            .ok()
            .map(|list| list.groups.into_iter().map(|group| group.name).collect()),
    });
    // A person's rights are not the agent's.
    let rules = rules.ok().filter(|_| ask.pod.is_some());
    facts.rights = rules.map(|status| Rights {
        namespace: namespace.to_owned(),
        expected: rights::expected(ask.config, &status.resource_rules),
        rules: status.resource_rules,
        incomplete: status.incomplete,
    });
    facts.agent = ask
        .pod
        .map(|(namespace, name)| agent(namespace, name, pod.as_ref(), tunnel));
    facts.egress = ask.egress.map(|(addresses, port)| Egress { addresses, port });
    let (gateways, prometheus) = tokio::join!(
        gateways(&facts, ask.deadline),
        prometheus(ask.monitoring, &facts, ask.deadline),
    );
    facts.gateways = gateways;
    facts.prometheus = prometheus;
    facts
}

fn agent(namespace: &str, name: &str, pod: Option<&Pod>, tunnel: Option<Result<(), String>>) -> Agent {
    let container = pod.and_then(|pod| pod.status.container_statuses.first());
    Agent {
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        labels: pod.and_then(|pod| pod.metadata.labels.clone()),
        restarts: container.map(|container| u32::try_from(container.restart_count).unwrap_or(0)),
        last_end: container
            .and_then(|container| container.last_state.get("terminated"))
            .and_then(|state| state.reason.clone()),
        memory: local::memory(),
        tunnel,
    }
}

/// `status` of a SelfSubjectRulesReview.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RulesStatus {
    resource_rules: Vec<Rule>,
    incomplete: bool,
}

#[derive(Deserialize)]
struct RulesReview {
    status: RulesStatus,
}

async fn rules(client: &Client, namespace: &str, deadline: Instant) -> Result<RulesStatus, Unanswered> {
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .expect("constants are a request");
    let review: RulesReview = within(deadline, client.request(request)).await?;
    Ok(review.status)
}

async fn pod(client: &Client, pod: Option<(&str, &str)>, deadline: Instant) -> Option<Pod> {
    let (namespace, name) = pod?;
    let api: kube::Api<Pod> = kube::Api::namespaced(client.clone(), namespace);
    within(deadline, api.get_opt(name)).await.ok().flatten()
}

/// What Prometheus says, if there is one and it may be asked. Answers get what is left of the time.
async fn prometheus(
    monitoring: Option<&Monitoring>,
    facts: &Facts,
    deadline: Instant,
) -> Option<facts::Prometheus> {
    let limits = Limits {
        time: PROMETHEUS,
        ..Limits::default()
    };
    let examined = prometheus::examine(monitoring?, &facts.objects, limits);
    timeout_at(deadline, examined).await.unwrap_or(None)
}

async fn gateways(facts: &Facts, deadline: Instant) -> BTreeMap<String, Result<u64, String>> {
    let tries: Vec<_> = endpoints(facts)
        .into_iter()
        .take(GATEWAYS)
        .map(|(host, port)| reached(host, port, deadline).boxed())
        .collect();
    stream::iter(tries).buffer_unordered(GATEWAYS).collect().await
}

/// Whether a connection can be made: address and milliseconds, or why not.
async fn reached(host: String, port: u16, deadline: Instant) -> (String, Result<u64, String>) {
    let since = Instant::now();
    let limit = CONNECT.min(deadline.saturating_duration_since(since));
    let result = match timeout(limit, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_connection)) => Ok(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("no answer in time".to_owned()),
    };
    (format!("{host}:{port}"), result)
}
