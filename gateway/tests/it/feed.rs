//! An agent's inventory, told by the test what to send.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use kantaloupe_gpu::inventory::{
    Allocation, AllocationState, Capacity, Cluster, ContainerUsage, Counts, Finding, FindingLevel, Gpu,
    GpuUsage, Kind, Mode, Node, ObjectRef, Owner, Record, Source, SourceState, Used, Workload,
};
use kantaloupe_proto::pb::{
    InventoryKey, InventoryKind, InventoryRecord, InventoryUpdate, WatchInventoryRequest,
    inventory_service_server::InventoryService,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tonic::{Request, Response, Status};

use super::client::PATIENCE;

type Sent = Result<InventoryUpdate, Status>;

/// The service.
#[derive(Clone)]
pub(crate) struct Feed {
    watches: mpsc::Sender<Watch>,
    arrived: Arc<Mutex<mpsc::Receiver<Watch>>>,
}

/// One call of Watch.
pub(crate) struct Watch {
    pub(crate) asked: WatchInventoryRequest,
    updates: mpsc::Sender<Sent>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        let (watches, arrived) = mpsc::channel(16);
        Self {
            watches,
            arrived: Arc::new(Mutex::new(arrived)),
        }
    }

    /// The next call of Watch.
    pub(crate) async fn watch(&self) -> Watch {
        let mut arrived = self.arrived.lock().await;
        timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap()
    }

    /// Calls that nobody has looked at.
    pub(crate) async fn waiting(&self) -> usize {
        self.arrived.lock().await.len()
    }
}

impl Watch {
    pub(crate) async fn send(&self, update: InventoryUpdate) {
        timeout(PATIENCE, self.updates.send(Ok(update)))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn fail(&self, status: Status) {
        self.updates.send(Err(status)).await.unwrap();
    }

    /// Waits until the gateway gave the call up.
    pub(crate) async fn given_up(&self) {
        timeout(PATIENCE, self.updates.closed()).await.unwrap();
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.updates.is_closed()
    }
}

#[tonic::async_trait]
impl InventoryService for Feed {
    type WatchStream = Pin<Box<dyn Stream<Item = Sent> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchInventoryRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (updates, queue) = mpsc::channel(1);
        let watch = Watch {
            asked: request.into_inner(),
            updates,
        };
        self.watches
            .send(watch)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        let stream = futures::stream::unfold(queue, async |mut queue| {
            let update = queue.recv().await?;
            Some((update, queue))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A part of a change.
pub(crate) fn update(epoch: &str, revision: u64, records: &[Record]) -> InventoryUpdate {
    InventoryUpdate {
        epoch: epoch.to_owned(),
        revision,
        snapshot: false,
        complete: true,
        upserts: records.iter().map(record).collect(),
        removals: vec![],
    }
}

/// A whole snapshot.
pub(crate) fn snapshot(epoch: &str, revision: u64, records: &[Record]) -> InventoryUpdate {
    InventoryUpdate {
        snapshot: true,
        ..update(epoch, revision, records)
    }
}

pub(crate) fn record(record: &Record) -> InventoryRecord {
    let value = serde_json::to_string(record).unwrap();
    raw(number(record.kind()), &record.id(), &value)
}

pub(crate) fn raw(kind: InventoryKind, id: &str, value: &str) -> InventoryRecord {
    InventoryRecord {
        kind: kind.into(),
        id: id.to_owned(),
        value: value.to_owned().into(),
    }
}

pub(crate) fn key(kind: InventoryKind, id: &str) -> InventoryKey {
    InventoryKey {
        kind: kind.into(),
        id: id.to_owned(),
    }
}

fn number(kind: Kind) -> InventoryKind {
    match kind {
        Kind::Cluster => InventoryKind::Cluster,
        Kind::Node => InventoryKind::Node,
        Kind::Gpu => InventoryKind::Gpu,
        Kind::Allocation => InventoryKind::Allocation,
        Kind::Workload => InventoryKind::Workload,
        Kind::Finding => InventoryKind::Finding,
        Kind::GpuUsage => InventoryKind::GpuUsage,
        Kind::ContainerUsage => InventoryKind::ContainerUsage,
        Kind::Check => InventoryKind::Check,
    }
}

pub(crate) fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        ready: Some(true),
        schedulable: true,
        gpus: 2,
        vendors: vec!["nvidia".to_owned()],
        ..Node::default()
    }
}

pub(crate) fn gpu(node: &str, uuid: &str) -> Gpu {
    Gpu {
        id: format!("{node}/{uuid}"),
        uuid: uuid.to_owned(),
        node: node.to_owned(),
        index: Some(0),
        vendor: "nvidia".to_owned(),
        model: Some("NVIDIA H100 80GB HBM3".to_owned()),
        mode: Some(Mode::HamiCore),
        capacity: Capacity {
            slots: Some(10),
            memory_mib: Some(81559),
            cores: Some(100),
        },
        used: Used::default(),
        healthy: Some(true),
        ..Gpu::default()
    }
}

pub(crate) fn allocation(pod: &str, node: &str, uuid: &str) -> Allocation {
    Allocation {
        id: format!("uid-{pod}/main/0"),
        namespace: "ml".to_owned(),
        pod: pod.to_owned(),
        pod_uid: format!("uid-{pod}"),
        container: Some("main".to_owned()),
        node: Some(node.to_owned()),
        gpu: Some(format!("{node}/{uuid}")),
        uuid: Some(uuid.to_owned()),
        vendor: "nvidia".to_owned(),
        memory_mib: Some(8192),
        cores: Some(30),
        state: Some(AllocationState::Active),
        held: true,
        workload: Some(Owner {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
        }),
        ..Allocation::default()
    }
}

/// A small cluster: two nodes, three devices, an allocation with live use, a workload, a finding.
pub(crate) fn small() -> Vec<Record> {
    let mut sick = gpu("n2", "GPU-3");
    sick.healthy = None;
    sick.capacity.memory_mib = None;
    sick.model = Some("Ascend910B4".to_owned());
    "ascend".clone_into(&mut sick.vendor);
    sick.unknown.insert("healthy".into(), "KTA-HAMI-003".into());
    let mut busy = gpu("n1", "GPU-1");
    busy.used = Used {
        slots: 1,
        memory_mib: 8192,
        cores: 30,
    };
    let at = Some(jiff::Timestamp::now());
    vec![
        Record::Cluster(Box::new(Cluster {
            kubernetes_version: Some("v1.34.4".to_owned()),
            counts: Counts {
                nodes: 2,
                gpus: 3,
                ..Counts::default()
            },
            sources: vec![Source {
                name: "nodes".to_owned(),
                state: SourceState::Ok,
                since: jiff::Timestamp::now(),
                code: None,
                detail: None,
            }],
            ..Cluster::default()
        })),
        Record::Node(Box::new(node("n1"))),
        Record::Node(Box::new(node("n2"))),
        Record::Gpu(Box::new(busy)),
        Record::Gpu(Box::new(gpu("n1", "GPU-2"))),
        Record::Gpu(Box::new(sick)),
        Record::Allocation(Box::new(allocation("train", "n1", "GPU-1"))),
        Record::Workload(Box::new(Workload {
            namespace: "ml".to_owned(),
            owner: Owner {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                name: "web".to_owned(),
            },
            pods: 1,
            gpus: 1,
            ..Workload::default()
        })),
        Record::Finding(Box::new(Finding {
            code: "KTA-HAMI-003".into(),
            reason: "unparsable-registration".into(),
            level: FindingLevel::Error,
            object: ObjectRef {
                kind: "Node".to_owned(),
                namespace: None,
                name: "n2".to_owned(),
            },
            message: "=cmd|' /C calc'!A0, not a formula".to_owned(),
            evidence: std::collections::BTreeMap::new(),
            since: None,
        })),
        Record::GpuUsage(GpuUsage {
            gpu: "n1/GPU-1".to_owned(),
            at,
            utilization: Some(61.5),
            memory_used_mib: Some(7000),
            ..GpuUsage::default()
        }),
        Record::ContainerUsage(ContainerUsage {
            namespace: "ml".to_owned(),
            pod: "train".to_owned(),
            container: "main".to_owned(),
            uuid: "GPU-1".to_owned(),
            at,
            utilization: Some(60.0),
            ..ContainerUsage::default()
        }),
    ]
}
