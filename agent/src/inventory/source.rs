//! What is watched, and what is made of it.

use std::sync::Arc;

use jiff::Timestamp;
use kantaloupe_gpu::{
    index::{Change, PodSeen, Watched},
    node,
    object::{Deployment, Job, Node, Pod, ReplicaSet, StatefulSet},
    pod,
    vendor::ResourceNames,
};
use kube::{Api, Resource};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{Instrument, info_span, warn};

use super::{
    Shared,
    guarded::Guarded,
    watching::{Follow, follow},
};

/// What has to say whether it can be read before there is a first snapshot.
pub(super) const NAMES: [&str; 6] = [
    "nodes",
    "pods",
    "replicasets",
    "deployments",
    "statefulsets",
    "jobs",
];
/// Reading the version: one small request.
const VERSION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Since this minor version API servers stream lists unless it is switched off.
const STREAMS_SINCE: u32 = 32;

/// Starts all watches.
pub(super) fn spawn_all(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    let shared = Arc::clone(shared);
    tasks.spawn(
        async move {
            let streaming = streams_lists(&shared).await;
            let mut watches = JoinSet::new();
            let names = Arc::new(ResourceNames::default());
            spawn(
                &mut watches,
                &shared,
                Watched::Nodes,
                streaming,
                Nodes(Arc::clone(&names)),
            );
            spawn(&mut watches, &shared, Watched::Pods, streaming, Pods(names));
            spawn(
                &mut watches,
                &shared,
                Watched::ReplicaSets,
                streaming,
                Owners::<ReplicaSet>::new(Watched::ReplicaSets),
            );
            spawn(
                &mut watches,
                &shared,
                Watched::Deployments,
                streaming,
                Owners::<Deployment>::new(Watched::Deployments),
            );
            spawn(
                &mut watches,
                &shared,
                Watched::StatefulSets,
                streaming,
                Owners::<StatefulSet>::new(Watched::StatefulSets),
            );
            spawn(
                &mut watches,
                &shared,
                Watched::Jobs,
                streaming,
                Owners::<Job>::new(Watched::Jobs),
            );
            while watches.join_next().await.is_some() {}
        }
        .instrument(info_span!("inventory")),
    );
}

fn spawn<F>(watches: &mut JoinSet<()>, shared: &Arc<Shared>, kind: Watched, streaming: bool, what: F)
where
    F: Follow + 'static,
    F::Object: Resource<DynamicType = ()>,
{
    let api: Api<Guarded<F::Object>> = Api::all(shared.client.clone());
    let watch = follow(Arc::clone(shared), kind, api, streaming, what);
    watches.spawn(watch.instrument(info_span!("watch", source = kind.plural())));
}

/// Reads the API server's version; whether it can stream lists. An older one answers what it does not know in ways of its own.
async fn streams_lists(shared: &Shared) -> bool {
    loop {
        match timeout(VERSION_TIMEOUT, shared.client.apiserver_version()).await {
            Ok(Ok(version)) => {
                let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
                let minor = digits.parse().unwrap_or(0);
                shared.apply(Change::Platform {
                    version: Some(version.git_version),
                    distribution: None,
                });
                return version.major != "1" || minor >= STREAMS_SINCE;
            }
            Ok(Err(error)) => warn!(%error, "the API server's version cannot be read"),
            Err(_elapsed) => warn!("the API server does not tell its version in time"),
        }
        sleep(VERSION_TIMEOUT).await;
    }
}

struct Nodes(Arc<ResourceNames>);

impl Follow for Nodes {
    type Object = Node;

    fn put(&mut self, node: Node) -> Vec<Change> {
        let facts = node::read(&node, &self.0, Timestamp::now());
        vec![Change::Node(Box::new(facts))]
    }

    fn remove(&mut self, node: Node) -> Vec<Change> {
        vec![Change::NodeGone(node.metadata.name.unwrap_or_default())]
    }
}

struct Pods(Arc<ResourceNames>);

impl Follow for Pods {
    type Object = Pod;

    fn put(&mut self, pod: Pod) -> Vec<Change> {
        let facts = pod::read(&pod, &self.0, Timestamp::now());
        let mut seen = PodSeen::of(&pod);
        seen.allocations = facts.allocations;
        seen.findings = facts.findings;
        vec![Change::Pod(Box::new(seen))]
    }

    fn remove(&mut self, pod: Pod) -> Vec<Change> {
        vec![Change::PodGone(pod.metadata.uid.unwrap_or_default())]
    }
}

struct Owners<K> {
    kind: Watched,
    _object: std::marker::PhantomData<fn() -> K>,
}

impl<K> Owners<K> {
    fn new(kind: Watched) -> Self {
        Self {
            kind,
            _object: std::marker::PhantomData,
        }
    }
}

impl<K> Follow for Owners<K>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    type Object = K;

    fn put(&mut self, mut object: K) -> Vec<Change> {
        let meta = std::mem::take(object.meta_mut());
        vec![Change::Owner(self.kind, Box::new(meta))]
    }

    fn remove(&mut self, mut object: K) -> Vec<Change> {
        vec![Change::OwnerGone(
            object.meta_mut().uid.take().unwrap_or_default(),
        )]
    }
}
