//! What is watched, and what is made of it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kantaloupe_checks::Code;
use kantaloupe_gpu::{
    assembly::Assembly,
    index::{Change, Watched},
    inventory::SourceState,
    object::{Deployment, DraVersion, Job, Node, Pod, ReplicaSet, ResourceClaim, ResourceSlice, StatefulSet},
    platform::Read,
    vendor::ResourceNames,
};
use kube::{Api, Resource};
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument, debug, info_span, warn};

use super::{
    Shared,
    guarded::Guarded,
    watching::{Follow, follow},
};
use crate::listing;

/// What has to say whether it can be read before there is a first snapshot.
pub(super) const NAMES: [&str; 8] = [
    "nodes",
    "pods",
    "replicasets",
    "deployments",
    "statefulsets",
    "jobs",
    "resourceslices",
    "resourceclaims",
];
/// How the source of the names of HAMi's resources is called.
const DEVICE_CONFIG_SOURCE: &str = "hami-device-config";
const FORBIDDEN_CONFIG: &str = "the agent may not read HAMi's ConfigMap *-scheduler-device, so that resources have their usual names; \
     the chart's value inventory.hamiConfigMaps names what it may read";
/// One small request: the version, the API groups, HAMi's configuration.
const REQUEST: Duration = Duration::from_secs(5);
/// Since this minor version API servers stream lists unless it is switched off.
const STREAMS_SINCE: u32 = 32;
/// An API group comes when the cluster is upgraded or somebody switches it on.
const GROUP_RETRY: Duration = Duration::from_mins(1);

type SharedAssembly = Arc<Mutex<Assembly>>;

/// Starts all watches.
pub(super) fn spawn_all(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    tasks.spawn(watch_all(Arc::clone(shared)).instrument(info_span!("inventory")));
}

async fn watch_all(shared: Arc<Shared>) {
    let streaming = streams_lists(&shared).await;
    let assembly = Arc::new(Mutex::new(Assembly::new(resource_names(&shared).await)));
    let mut watches = JoinSet::new();
    let mut watch = Watches {
        shared: &shared,
        streaming,
        tasks: &mut watches,
    };
    watch.spawn(Watched::Nodes, &(), Nodes(Arc::clone(&assembly)));
    watch.spawn(Watched::Pods, &(), Pods(Arc::clone(&assembly)));
    watch.spawn(
        Watched::ReplicaSets,
        &(),
        Owners::<ReplicaSet>::new(Watched::ReplicaSets),
    );
    watch.spawn(
        Watched::Deployments,
        &(),
        Owners::<Deployment>::new(Watched::Deployments),
    );
    watch.spawn(
        Watched::StatefulSets,
        &(),
        Owners::<StatefulSet>::new(Watched::StatefulSets),
    );
    watch.spawn(Watched::Jobs, &(), Owners::<Job>::new(Watched::Jobs));
    if let Some(version) = dra_version(&shared).await {
        watch.spawn(Watched::ResourceSlices, &version, Slices(Arc::clone(&assembly)));
        watch.spawn(Watched::ResourceClaims, &version, Claims(assembly));
    }
    while watches.join_next().await.is_some() {}
}

struct Watches<'a> {
    shared: &'a Arc<Shared>,
    streaming: bool,
    tasks: &'a mut JoinSet<()>,
}

impl Watches<'_> {
    fn spawn<F>(&mut self, kind: Watched, version: &<F::Object as Resource>::DynamicType, what: F)
    where
        F: Follow + 'static,
        F::Object: Resource,
        <F::Object as Resource>::DynamicType:
            Default + Clone + Send + Sync + std::fmt::Debug + Eq + std::hash::Hash + 'static,
    {
        let client = match kind {
            Watched::Pods => &self.shared.pods,
            _ => &self.shared.client,
        };
        let api: Api<Guarded<F::Object>> = Api::all_with(client.clone(), version);
        let watch = follow(Arc::clone(self.shared), kind, api, self.streaming, what);
        self.tasks
            .spawn(watch.instrument(info_span!("watch", source = kind.plural())));
    }
}

/// The names that HAMi's installation gives to resources, or its own if they cannot be read, which the source says then.
async fn resource_names(shared: &Shared) -> ResourceNames {
    let (read, names) = listing::resource_names(&shared.client, Instant::now() + REQUEST).await;
    let (code, detail) = match &read {
        Read::Ok | Read::Absent => (None, None),
        Read::Forbidden => (Some(Code::K8S_004), Some(FORBIDDEN_CONFIG.to_owned())),
        Read::Failing(why) => (
            Some(Code::HAMI_003),
            Some(format!("resources have their usual names: {why}")),
        ),
    };
    if let Some(detail) = &detail {
        warn!(detail, "HAMi's device configuration cannot be read");
    }
    shared.source(DEVICE_CONFIG_SOURCE, read.state(), code, detail);
    names
}

/// The best version of `resource.k8s.io` that is served. Says of the sources that they are absent while there is none.
async fn dra_version(shared: &Shared) -> Option<DraVersion> {
    loop {
        match timeout(REQUEST, shared.client.list_api_groups()).await {
            Ok(Ok(groups)) => {
                let group = groups.groups.iter().find(|group| group.name == "resource.k8s.io");
                let served = group.map(|group| &group.versions);
                let best = DraVersion::ALL.into_iter().find(|version| {
                    served.is_some_and(|all| all.iter().any(|one| one.version == version.as_str()))
                });
                if best.is_some() {
                    return best;
                }
                for kind in [Watched::ResourceSlices, Watched::ResourceClaims] {
                    shared.source(kind.plural(), SourceState::Absent, None, None);
                }
                sleep(GROUP_RETRY).await;
            }
            Ok(Err(error)) => {
                debug!(%error, "the API groups cannot be read");
                sleep(REQUEST).await;
            }
            Err(_elapsed) => {}
        }
    }
}

/// Reads the API server's version; whether it can stream lists. An older one answers what it does not know in ways of its own.
async fn streams_lists(shared: &Shared) -> bool {
    loop {
        match timeout(REQUEST, shared.client.apiserver_version()).await {
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
        sleep(REQUEST).await;
    }
}

struct Nodes(SharedAssembly);

impl Follow for Nodes {
    type Object = Node;

    fn put(&mut self, node: Node) -> Vec<Change> {
        vec![self.0.lock().node(&node, Timestamp::now())]
    }

    fn remove(&mut self, node: Node) -> Vec<Change> {
        vec![Change::NodeGone(node.metadata.name.unwrap_or_default())]
    }
}

struct Pods(SharedAssembly);

impl Follow for Pods {
    type Object = Pod;

    fn begin(&mut self) {
        self.0.lock().begin(Watched::Pods);
    }

    fn put(&mut self, pod: Pod) -> Vec<Change> {
        vec![self.0.lock().pod(pod, Timestamp::now())]
    }

    fn remove(&mut self, pod: Pod) -> Vec<Change> {
        vec![self.0.lock().pod_gone(&pod.metadata)]
    }
}

struct Claims(SharedAssembly);

impl Follow for Claims {
    type Object = ResourceClaim;

    fn begin(&mut self) {
        self.0.lock().begin(Watched::ResourceClaims);
    }

    fn put(&mut self, claim: ResourceClaim) -> Vec<Change> {
        self.0.lock().claim(claim, Timestamp::now())
    }

    fn remove(&mut self, claim: ResourceClaim) -> Vec<Change> {
        self.0.lock().claim_gone(&claim.metadata, Timestamp::now())
    }

    fn complete(&mut self) -> Vec<Change> {
        self.0.lock().complete(Watched::ResourceClaims, Timestamp::now())
    }
}

struct Slices(SharedAssembly);

impl Follow for Slices {
    type Object = ResourceSlice;

    fn begin(&mut self) {
        self.0.lock().begin(Watched::ResourceSlices);
    }

    fn put(&mut self, slice: ResourceSlice) -> Vec<Change> {
        self.0.lock().slice(slice, Timestamp::now())
    }

    fn remove(&mut self, slice: ResourceSlice) -> Vec<Change> {
        self.0.lock().slice_gone(&slice.metadata, Timestamp::now())
    }

    fn complete(&mut self) -> Vec<Change> {
        self.0.lock().complete(Watched::ResourceSlices, Timestamp::now())
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
