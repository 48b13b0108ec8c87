//! Random histories: whatever happened, the index says what an index says that was told only how it ended; and a subscriber that read
//! at any moments knows what is there.

use super::*;

const NODES: [&str; 3] = ["a", "b", "c"];
const GPUS: [&str; 4] = [
    "GPU-0",
    "GPU-1",
    "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448",
    "DCU-2",
];

#[derive(Debug, Clone)]
enum Step {
    Node(usize, Box<NodeFacts>),
    NodeGone(usize),
    Pod(usize, Box<PodSeen>),
    PodGone(usize),
    Owner(usize, usize),
    Devices(usize, Vec<Gpu>),
    /// Lists everything again that is there, or leaves it at the beginning.
    Relist(Watched, bool),
    Usage(Vec<GpuUsage>),
    Read {
        subscriber: usize,
        limit: usize,
    },
    Tick(i64),
    Collect,
}

fn facts() -> impl Strategy<Value = (usize, NodeFacts)> {
    let gpus = proptest::sample::subsequence(GPUS.to_vec(), 0..4);
    (0..NODES.len(), gpus, any::<bool>(), any::<bool>()).prop_map(|(n, gpus, ready, odd)| {
        let mut facts = node(NODES[n], &gpus);
        facts.node.ready = Some(ready);
        if odd {
            facts.node.unknown.insert("gpus".into(), "KTA-HAMI-003".into());
            facts.findings.push(Finding {
                code: "KTA-HAMI-003".into(),
                reason: "unparsable-registration".into(),
                level: FindingLevel::Error,
                object: ObjectRef {
                    kind: "Node".to_owned(),
                    namespace: None,
                    name: NODES[n].to_owned(),
                },
                message: "odd".to_owned(),
                evidence: BTreeMap::new(),
                since: None,
            });
        }
        (n, facts)
    })
}

fn a_pod() -> impl Strategy<Value = (usize, PodSeen)> {
    let held = proptest::collection::vec((0..GPUS.len(), 0..30_000_u64), 0..3);
    let phase = proptest::sample::select(vec!["Pending", "Running", "Succeeded", "Unknown"]);
    (
        0..6_usize,
        0..NODES.len(),
        held,
        phase,
        0..4_u8,
        proptest::option::of(0..3_usize),
    )
        .prop_map(|(n, on, held, phase, kind, controller)| {
            let held: Vec<(&str, u64)> = held
                .into_iter()
                .map(|(gpu, memory)| (GPUS[gpu], memory))
                .collect();
            let name = format!("pod-{n}");
            let mut facts = match kind {
                0 => asking(&name, (on > 0).then(|| NODES[on])),
                _ => pod(&name, NODES[on], &held),
            };
            facts.phase = Some(phase.to_owned());
            if kind == 1 {
                facts.node = Some(NODES[0].to_owned());
            }
            for allocation in &mut facts.allocations {
                allocation.since = Some(at(i64::try_from(n).unwrap()));
                if kind == 2 && allocation.held {
                    allocation.state = Some(AllocationState::Allocating);
                }
            }
            facts.controller = controller.map(|n| owner("ReplicaSet", &format!("rs-{n}")));
            (n, facts)
        })
}

fn step() -> impl Strategy<Value = Step> {
    let devices = proptest::collection::vec((0..NODES.len(), 0..GPUS.len()), 0..3);
    prop_oneof![
        6 => facts().prop_map(|(n, facts)| Step::Node(n, Box::new(facts))),
        2 => (0..NODES.len()).prop_map(Step::NodeGone),
        10 => a_pod().prop_map(|(n, facts)| Step::Pod(n, Box::new(facts))),
        4 => (0..6_usize).prop_map(Step::PodGone),
        2 => (0..3_usize, 0..2_usize).prop_map(|(n, of)| Step::Owner(n, of)),
        2 => (0..2_usize, devices).prop_map(|(n, devices)| {
            let mut devices: Vec<Gpu> = devices.into_iter().map(|(node, gpu_)| gpu(NODES[node], GPUS[gpu_])).collect();
            devices.dedup_by(|a, b| a.id == b.id);
            for gpu in &mut devices { gpu.source = Some(GpuSource::Dra); }
            Step::Devices(n, devices)
        }),
        2 => (prop_oneof![Just(Watched::Nodes), Just(Watched::Pods)], any::<bool>())
            .prop_map(|(kind, ends)| Step::Relist(kind, ends)),
        1 => proptest::collection::vec((0..3_usize, 0..100_u32), 0..3).prop_map(|usage| {
            Step::Usage(usage.into_iter().map(|(n, percent)| GpuUsage {
                gpu: GPUS[n].to_owned(),
                utilization: Some(percent.into()),
                ..GpuUsage::default()
            }).collect())
        }),
        8 => (0..3_usize, 1..9_usize).prop_map(|(subscriber, limit)| Step::Read { subscriber, limit }),
        1 => (0..600_i64).prop_map(Step::Tick),
        1 => Just(Step::Collect),
    ]
}

#[derive(Default)]
struct Subscriber {
    cursor: Option<Cursor>,
    records: HashMap<(Kind, String), Record>,
    /// What the snapshot has named so far.
    snapshot: Option<HashMap<(Kind, String), Record>>,
}

impl Subscriber {
    fn read(&mut self, index: &mut Index, limit: usize, now: Timestamp) -> bool {
        let cursor = self.cursor.get_or_insert(Cursor::nothing());
        let batch = index.changes(cursor, limit, now);
        if batch.snapshot {
            self.snapshot = Some(HashMap::new());
        }
        let records = self.snapshot.as_mut().unwrap_or(&mut self.records);
        for (kind, id) in batch.removals {
            records.remove(&(kind, id));
        }
        for record in batch.upserts {
            records.insert((record.kind(), record.id().into_owned()), record);
        }
        if batch.complete {
            assert_eq!(batch.revision, index.revision());
            if let Some(snapshot) = self.snapshot.take() {
                self.records = snapshot;
            }
            let expected = index.records(now).into_iter();
            let expected: HashMap<_, _> = expected.map(|r| ((r.kind(), r.id().into_owned()), r)).collect();
            assert_eq!(self.records, expected);
        }
        batch.complete
    }
}

/// What there is.
#[derive(Default)]
struct World {
    nodes: BTreeMap<usize, NodeFacts>,
    pods: BTreeMap<usize, PodSeen>,
    owners: BTreeMap<usize, usize>,
    devices: BTreeMap<usize, Vec<Gpu>>,
    usage: Vec<GpuUsage>,
}

impl World {
    fn list(&self, kind: Watched) -> Vec<Change> {
        match kind {
            Watched::Nodes => nodes(self.nodes.values().cloned()),
            Watched::Pods => self
                .pods
                .values()
                .map(|pod| Change::Pod(Box::new(pod.clone())))
                .collect(),
            Watched::ReplicaSets => self.owners.iter().map(|(n, of)| chain(*n, *of)).collect(),
            _ => Vec::new(),
        }
    }

    fn told_once(&self) -> Index {
        let mut index = index([]);
        for kind in [Watched::Pods, Watched::ReplicaSets, Watched::Nodes] {
            for change in self.list(kind) {
                index.apply(change);
            }
        }
        for (n, devices) in &self.devices {
            index.apply(Change::Devices(format!("pool-{n}"), devices.clone(), Vec::new()));
        }
        index.apply(Change::Usage {
            gpus: self.usage.clone(),
            containers: Vec::new(),
        });
        index
    }
}

fn chain(n: usize, of: usize) -> Change {
    Change::Owner(
        Watched::ReplicaSets,
        owned(
            &format!("rs-{n}"),
            owner("Deployment", &format!("deployment-{of}")),
        ),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_history_ends_as_if_told_once(steps in proptest::collection::vec(step(), 0..80)) {
        let mut index = index([]);
        // So few removals are remembered that some subscribers miss them.
        index.journal = Journal::new(6);
        let mut world = World::default();
        let mut subscribers: [Subscriber; 3] = std::array::from_fn(|_| Subscriber::default());
        let mut now = 0;
        for step in steps {
            match step {
                Step::Node(n, facts) => {
                    world.nodes.insert(n, (*facts).clone());
                    index.apply(Change::Node(facts));
                }
                Step::NodeGone(n) => {
                    world.nodes.remove(&n);
                    index.apply(Change::NodeGone(NODES[n].to_owned()));
                }
                Step::Pod(n, facts) => {
                    world.pods.insert(n, (*facts).clone());
                    index.apply(Change::Pod(facts));
                }
                Step::PodGone(n) => {
                    world.pods.remove(&n);
                    index.apply(Change::PodGone(format!("uid-pod-{n}")));
                }
                Step::Owner(n, of) => {
                    world.owners.insert(n, of);
                    index.apply(chain(n, of));
                }
                Step::Devices(n, devices) => {
                    world.devices.insert(n, devices.clone());
                    index.apply(Change::Devices(format!("pool-{n}"), devices, Vec::new()));
                }
                Step::Relist(kind, ends) => {
                    index.apply(Change::Restart(kind));
                    if ends {
                        for change in world.list(kind) { index.apply(change); }
                        index.apply(Change::Synced(kind));
                    }
                }
                Step::Usage(usage) => {
                    let mut usage = usage;
                    usage.sort_by(|a, b| a.gpu.cmp(&b.gpu));
                    usage.dedup_by(|a, b| a.gpu == b.gpu);
                    world.usage.clone_from(&usage);
                    index.apply(Change::Usage { gpus: usage, containers: Vec::new() });
                }
                Step::Read { subscriber, limit } => {
                    subscribers[subscriber].read(&mut index, limit, at(now));
                }
                Step::Tick(second) => {
                    now = now.max(second);
                    index.tick(at(now));
                }
                Step::Collect => index.collect_strings(),
            }
        }
        prop_assert_eq!(index.records(at(now)), world.told_once().records(at(now)));
        for subscriber in &mut subscribers {
            while !subscriber.read(&mut index, 5, at(now)) {
                if index.changes(&mut subscriber.cursor.unwrap(), 1, at(now)).is_empty() {
                    break;
                }
            }
        }
        let revision = index.revision();
        for kind in [Watched::Nodes, Watched::Pods] {
            index.apply(Change::Restart(kind));
            for change in world.list(kind) { index.apply(change); }
            index.apply(Change::Synced(kind));
        }
        index.records(at(now));
        prop_assert_eq!(index.revision(), revision, "what is told again is no change");
    }
}
