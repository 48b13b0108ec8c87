//! Asks the cluster for everything that the checks judge. Every source has a limit of its own, and all share one end.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use futures::{StreamExt, stream};
use http::Request;
use jiff::Timestamp;
use kantaloupe_gpu::{
    object::Pod,
    platform::{
        KINDS, Kind, Objects, Read,
        checks::endpoints,
        facts::{Agent, Api, Egress, Facts, Rights, Rule},
    },
};
use kube::Client;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{local, rights};
use crate::fault;

/// One answer of the API server. Lists of the largest clusters take two seconds.
const ANSWER: Duration = Duration::from_secs(4);
/// Connecting to a Gateway inside the cluster: one round trip, or a lost packet that is sent again.
const CONNECT: Duration = Duration::from_secs(2);
/// Lists asked for at once: enough to hide round trips, few enough for the fairness of the API server.
const AT_ONCE: usize = 6;
/// Objects of a page.
const PAGE: usize = 500;
/// Pages of one list: 20,000 objects of one kind are more than any cluster has nodes.
const PAGES: usize = 40;
/// Addresses of Gateways that are tried.
const GATEWAYS: usize = 8;

/// What to ask.
pub(super) struct Ask<'a> {
    /// The way to the API server, or why there is none.
    pub(super) client: Result<Client, String>,
    /// Namespace and name of the pod that this runs in.
    pub(super) pod: Option<(&'a str, &'a str)>,
    /// Secret with the identity.
    pub(super) secret: &'a str,
    /// Port of the running agent's health checks, if it is to be asked.
    pub(super) health: Option<u16>,
    /// Where the gateway is, as far as it is known by now.
    pub(super) egress: Option<(Vec<IpAddr>, u16)>,
    /// The end of everything.
    pub(super) deadline: Instant,
}

/// Asks it all.
pub(super) async fn facts(ask: Ask<'_>) -> Facts {
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

    let objects = Mutex::new(Objects::default());
    let lists = stream::iter(KINDS)
        .map(|kind| list(&client, kind, ask.deadline, &objects))
        .buffer_unordered(AT_ONCE)
        .collect::<()>();
    let namespace = ask.pod.map_or("default", |(namespace, _)| namespace);
    let ((), groups, rules, pod, tunnel) = tokio::join!(
        lists,
        within(ask.deadline, client.list_api_groups()),
        rules(&client, namespace, ask.deadline),
        pod(&client, ask.pod, ask.deadline),
        local::tunnel(ask.health),
    );

    let mut facts = Facts::of(objects.into_inner(), Timestamp::now(), true);
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
        rules: status.resource_rules,
        incomplete: status.incomplete,
        expected: rights::expected(ask.secret),
    });
    facts.agent = ask
        .pod
        .map(|(namespace, name)| agent(namespace, name, pod.as_ref(), tunnel));
    facts.egress = ask.egress.map(|(addresses, port)| Egress { addresses, port });
    facts.gateways = gateways(&facts, ask.deadline).await;
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

/// Why there was no answer.
enum Unanswered {
    Status(u16, String),
    Failed(String),
}

impl Unanswered {
    fn text(self) -> String {
        match self {
            Self::Status(status, message) => {
                format!("it answered HTTP {status}: {}", fault::printable(&message))
            }
            Self::Failed(why) => why,
        }
    }

    fn read(self) -> Read {
        match self {
            Self::Status(404, _) => Read::Absent,
            Self::Status(401 | 403, _) => Read::Forbidden,
            other => Read::Failing(other.text()),
        }
    }
}

async fn within<T>(deadline: Instant, call: impl Future<Output = kube::Result<T>>) -> Result<T, Unanswered> {
    match timeout_at(deadline.min(Instant::now() + ANSWER), call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(Unanswered::Status(status.code, status.message.clone())),
        Ok(Err(error)) => Err(Unanswered::Failed(fault::chain(&error))),
        Err(_elapsed) => Err(Unanswered::Failed("no answer in time".to_owned())),
    }
}

/// Reads all pages of a list.
async fn list(client: &Client, kind: &'static Kind, deadline: Instant, objects: &Mutex<Objects>) {
    if let Err(read) = pages(client, kind, deadline, objects).await {
        objects.lock().read.insert(kind.name, read);
    }
}

async fn pages(
    client: &Client,
    kind: &Kind,
    deadline: Instant,
    objects: &Mutex<Objects>,
) -> Result<(), Read> {
    let mut next: Option<String> = None;
    for _ in 0..PAGES {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &PAGE.to_string());
        if let Some(selector) = kind.selector {
            query.append_pair("labelSelector", selector);
        }
        if let Some(next) = &next {
            query.append_pair("continue", next);
        }
        let request = Request::get(format!("{}?{}", kind.path(), query.finish()))
            .body(Vec::new())
            .expect("a path of constants and an encoded query are a URI");
        let page = within(deadline, client.request_text(request))
            .await
            .map_err(Unanswered::read)?;
        next = objects
            .lock()
            .add_page(kind, &page)
            .map_err(|error| Read::Failing(error.to_string()))?;
        if next.is_none() {
            return Ok(());
        }
    }
    Err(Read::Failing(format!("there are more than {}", PAGE * PAGES)))
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

async fn gateways(facts: &Facts, deadline: Instant) -> BTreeMap<String, Result<u64, String>> {
    let tries = endpoints(facts)
        .into_iter()
        .take(GATEWAYS)
        .map(|(host, port)| async move {
            let since = Instant::now();
            let limit = CONNECT.min(deadline.saturating_duration_since(since));
            let result = match timeout(limit, TcpStream::connect((host.as_str(), port))).await {
                Ok(Ok(_connection)) => Ok(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_elapsed) => Err("no answer in time".to_owned()),
            };
            (format!("{host}:{port}"), result)
        });
    stream::iter(tries).buffer_unordered(GATEWAYS).collect().await
}
