use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::inventory::{
    AllocationState, Capacity, ContainerKind, GpuSource, Node, ObjectRef, Record, Requested, SourceState,
    Used,
};
use crate::node::NodeMark;

mod random;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn gpu(node: &str, uuid: &str) -> Gpu {
    Gpu {
        id: format!("{node}/{uuid}"),
        uuid: uuid.to_owned(),
        node: node.to_owned(),
        vendor: "nvidia".to_owned(),
        model: Some("NVIDIA L40S".to_owned()),
        capacity: Capacity {
            slots: Some(10),
            memory_mib: Some(40_000),
            cores: Some(100),
        },
        healthy: Some(true),
        source: Some(GpuSource::Annotation),
        ..Gpu::default()
    }
}

pub(super) fn node(name: &str, uuids: &[&str]) -> NodeFacts {
    NodeFacts {
        node: Node {
            name: name.to_owned(),
            ready: Some(true),
            ..Node::default()
        },
        gpus: uuids.iter().map(|uuid| gpu(name, uuid)).collect(),
        findings: Vec::new(),
        mark: NodeMark {
            name: name.to_owned(),
            labels: [("a", "1"), ("b", "2")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            devices: u32::try_from(uuids.len()).unwrap(),
            ..NodeMark::default()
        },
    }
}

/// A running pod with these devices and memory of each.
pub(super) fn pod(name: &str, node: &str, held: &[(&str, u64)]) -> PodSeen {
    let allocation = |(n, (uuid, memory_mib)): (usize, &(&str, u64))| Allocation {
        id: format!("uid-{name}/main/{n}"),
        namespace: "team".to_owned(),
        pod: name.to_owned(),
        pod_uid: format!("uid-{name}"),
        container: Some("main".to_owned()),
        container_kind: Some(ContainerKind::App),
        node: Some(node.to_owned()),
        uuid: Some((*uuid).to_owned()),
        vendor: "nvidia".to_owned(),
        memory_mib: Some(*memory_mib),
        cores: Some(10),
        state: Some(AllocationState::Active),
        held: true,
        phase: Some("Running".to_owned()),
        source: Some("hami".to_owned()),
        ..Allocation::default()
    };
    PodSeen {
        uid: format!("uid-{name}"),
        namespace: "team".to_owned(),
        name: name.to_owned(),
        node: Some(node.to_owned()),
        phase: Some("Running".to_owned()),
        controller: None,
        allocations: held.iter().enumerate().map(allocation).collect(),
        findings: Vec::new(),
    }
}

/// A pod that asks for a device and has none.
fn asking(name: &str, node: Option<&str>) -> PodSeen {
    let mut pod = pod(name, node.unwrap_or_default(), &[("", 0)]);
    pod.node = node.map(ToOwned::to_owned);
    pod.phase = Some(if node.is_some() { "Running" } else { "Pending" }.to_owned());
    let allocation = &mut pod.allocations[0];
    allocation.node = pod.node.clone();
    allocation.uuid = None;
    allocation.memory_mib = None;
    allocation.cores = None;
    allocation.state = Some(AllocationState::Pending);
    allocation.held = false;
    allocation.requested = Requested {
        count: Some(2),
        ..Requested::default()
    };
    pod
}

fn owner(kind: &str, name: &str) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

fn owned(name: &str, owner: OwnerReference) -> Box<ObjectMeta> {
    Box::new(ObjectMeta {
        uid: Some(format!("uid-{name}")),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    })
}

fn index(changes: impl IntoIterator<Item = Change>) -> Index {
    let mut index = Index::default();
    index.apply(Change::Synced(Watched::Nodes));
    index.apply(Change::Synced(Watched::Pods));
    for change in changes {
        index.apply(change);
    }
    index
}

fn nodes(facts: impl IntoIterator<Item = NodeFacts>) -> Vec<Change> {
    facts
        .into_iter()
        .map(|facts| Change::Node(Box::new(facts)))
        .collect()
}

fn put(index: &mut Index, pod: PodSeen) {
    index.apply(Change::Pod(Box::new(pod)));
}

fn allocation(index: &mut Index, id: &str) -> Allocation {
    let found = index.records(at(0)).into_iter().find(|record| record.id() == id);
    match found {
        Some(Record::Allocation(allocation)) => *allocation,
        other => panic!("{id} is {other:?}"),
    }
}

fn gpu_of(index: &mut Index, id: &str) -> Gpu {
    let found = index.records(at(0)).into_iter().find(|record| record.id() == id);
    match found {
        Some(Record::Gpu(gpu)) => *gpu,
        other => panic!("{id} is {other:?}"),
    }
}

fn found(index: &mut Index, now: Timestamp) -> Vec<(String, String)> {
    let records = index.records(now).into_iter();
    let found = records.filter_map(|record| match record {
        Record::Finding(finding) => Some((finding.reason.into_owned(), finding.object.name)),
        _ => None,
    });
    found.collect()
}

fn cluster(index: &mut Index) -> crate::inventory::Cluster {
    match index.records(at(0)).into_iter().next() {
        Some(Record::Cluster(cluster)) => *cluster,
        other => panic!("the first record is {other:?}"),
    }
}

fn workloads(index: &mut Index) -> Vec<crate::inventory::Workload> {
    let records = index.records(at(0)).into_iter();
    let workloads = records.filter_map(|record| match record {
        Record::Workload(workload) => Some(*workload),
        _ => None,
    });
    workloads.collect()
}

#[test]
fn nodes_are_kept_for_the_checks_with_the_labels_that_they_ask_for() {
    let mut index = Index::default();
    index.apply(Change::Node(Box::new(node("b", &["GPU-1", "GPU-2"]))));
    index.apply(Change::Node(Box::new(node("a", &[]))));
    let marks = index.marks(|key| key == "b");
    let seen: Vec<_> = marks
        .iter()
        .map(|mark| (mark.name.as_str(), mark.devices))
        .collect();
    assert_eq!(seen, [("a", 0), ("b", 2)]);
    assert!(marks.iter().all(|mark| mark.labels.keys().eq(["b"])));
    index.apply(Change::NodeGone("a".to_owned()));
    // What the strings are needed for outlives a collection.
    index.collect_strings();
    let marks = index.marks(|_| true);
    assert_eq!(
        (marks.len(), marks[0].labels.len(), marks[0].name.as_str()),
        (1, 2, "b")
    );
}

#[test]
fn what_pods_hold_is_summed_per_device() {
    let mut index = index(nodes([node("a", &["GPU-0", "GPU-1"])]));
    put(&mut index, pod("one", "a", &[("GPU-0", 1000), ("GPU-1", 500)]));
    put(&mut index, pod("two", "a", &[("GPU-0", 2000)]));
    let mut init = pod("three", "a", &[("GPU-0", 5000), ("GPU-0", 3000)]);
    init.allocations[0].container_kind = Some(ContainerKind::Init);
    put(&mut index, init);
    let used = gpu_of(&mut index, "a/GPU-0").used;
    assert_eq!((used.slots, used.memory_mib, used.cores), (3, 8000, 30));
    assert_eq!(gpu_of(&mut index, "a/GPU-1").used.memory_mib, 500);
    assert_eq!(
        allocation(&mut index, "uid-two/main/0").gpu.as_deref(),
        Some("a/GPU-0")
    );
    let counts = cluster(&mut index).counts;
    assert_eq!(
        (counts.gpus, counts.memory_mib, counts.memory_used_mib),
        (2, 80_000, 8500)
    );
    assert_eq!((counts.pods, counts.pods_running, counts.pods_waiting), (3, 3, 0));
    index.apply(Change::PodGone("uid-three".to_owned()));
    assert_eq!(gpu_of(&mut index, "a/GPU-0").used.memory_mib, 3000);
}

#[test]
fn more_than_a_device_has_is_a_finding() {
    let mut index = index(nodes([node("a", &["GPU-0"])]));
    put(&mut index, pod("one", "a", &[("GPU-0", 30_000)]));
    assert_eq!(found(&mut index, at(0)), []);
    put(&mut index, pod("two", "a", &[("GPU-0", 10_001)]));
    assert_eq!(
        found(&mut index, at(0)),
        [("oversubscribed".to_owned(), "a/GPU-0".to_owned())]
    );
    assert_eq!(cluster(&mut index).counts.errors, 1);
    index.apply(Change::PodGone("uid-two".to_owned()));
    assert_eq!(found(&mut index, at(0)), []);
    assert_eq!(cluster(&mut index).counts.errors, 0);
}

#[test]
fn records_that_hold_nothing_are_stale() {
    let mut index = index(nodes([node("a", &["GPU-0"]), node("b", &[])]));
    put(&mut index, pod("gone", "z", &[("GPU-0", 1)]));
    put(&mut index, pod("unknown", "a", &[("GPU-9", 1)]));
    let mut elsewhere = pod("elsewhere", "a", &[("GPU-0", 1)]);
    elsewhere.node = Some("b".to_owned());
    put(&mut index, elsewhere);
    let mut ended = pod("ended", "a", &[("GPU-0", 1)]);
    ended.phase = Some("Succeeded".to_owned());
    put(&mut index, ended);
    for name in ["gone", "unknown", "elsewhere", "ended"] {
        let allocation = allocation(&mut index, &format!("uid-{name}/main/0"));
        assert_eq!(
            (allocation.state, allocation.held),
            (Some(AllocationState::Stale), false),
            "{name}"
        );
    }
    // A job that is done keeps its record: nothing is wrong with that.
    let mut expected = [
        ("device-not-registered", "unknown"),
        ("node-gone", "gone"),
        ("runs-elsewhere", "elsewhere"),
    ];
    expected.sort_unstable();
    let expected = expected.map(|(reason, name)| (reason.to_owned(), name.to_owned()));
    assert_eq!(found(&mut index, at(0)), expected);
    assert_eq!(gpu_of(&mut index, "a/GPU-0").used, Used::default());
    // The node comes back.
    index.apply(Change::Node(Box::new(node("z", &["GPU-0"]))));
    assert!(allocation(&mut index, "uid-gone/main/0").held);
}

#[test]
fn nothing_is_stale_while_nodes_cannot_be_read() {
    let mut index = Index::default();
    put(&mut index, pod("one", "a", &[("GPU-0", 1)]));
    let before = allocation(&mut index, "uid-one/main/0");
    assert_eq!(
        (before.state, before.held, before.gpu),
        (Some(AllocationState::Active), true, None)
    );
    assert_eq!(before.unknown["gpu"], "KTA-K8S-004");
    assert_eq!(found(&mut index, at(0)), []);
    // The list is complete, and the node is not in it.
    index.apply(Change::Restart(Watched::Nodes));
    index.apply(Change::Synced(Watched::Nodes));
    assert_eq!(
        allocation(&mut index, "uid-one/main/0").state,
        Some(AllocationState::Stale)
    );
}

#[test]
fn a_registration_that_cannot_be_read_makes_nothing_stale() {
    let mut facts = node("a", &[]);
    facts.node.unknown.insert("gpus".into(), "KTA-HAMI-003".into());
    let mut index = index(nodes([facts]));
    put(&mut index, pod("one", "a", &[("GPU-0", 1)]));
    let allocation = allocation(&mut index, "uid-one/main/0");
    assert_eq!((allocation.held, allocation.gpu), (true, None));
    assert_eq!(allocation.unknown["gpu"], "KTA-HAMI-003");
    assert_eq!(found(&mut index, at(0)), []);
}

#[test]
fn a_device_without_a_record_is_past_the_scheduler_or_a_device_plugins() {
    let mut index = index(nodes([node("shared", &["GPU-0"]), node("plain", &[])]));
    put(&mut index, asking("waits", None));
    put(&mut index, asking("past", Some("shared")));
    put(&mut index, asking("plugin", Some("plain")));
    let state = |index: &mut Index, name: &str| allocation(index, &format!("uid-{name}/main/0")).state;
    assert_eq!(state(&mut index, "waits"), Some(AllocationState::Pending));
    assert_eq!(state(&mut index, "past"), Some(AllocationState::Unaccounted));
    assert_eq!(state(&mut index, "plugin"), Some(AllocationState::Active));
    assert_eq!(
        found(&mut index, at(0)),
        [("unaccounted".to_owned(), "past".to_owned())]
    );
    assert_eq!(cluster(&mut index).counts.pods_waiting, 1);
    let plugin = allocation(&mut index, "uid-plugin/main/0");
    assert_eq!(
        (plugin.source.as_deref(), plugin.held),
        (Some("devicePlugin"), true)
    );
    let workloads = workloads(&mut index);
    let gpus: BTreeMap<&str, u32> = workloads.iter().map(|w| (&*w.owner.name, w.gpus)).collect();
    assert_eq!(gpus, BTreeMap::from([("past", 0), ("plugin", 2), ("waits", 0)]));
}

#[test]
fn an_allocation_is_stuck_after_five_minutes() {
    let mut index = index(nodes([node("a", &["GPU-0"])]));
    let mut slow = pod("slow", "a", &[("GPU-0", 1)]);
    slow.phase = Some("Pending".to_owned());
    slow.allocations[0].state = Some(AllocationState::Allocating);
    slow.allocations[0].since = Some(at(0));
    put(&mut index, slow);
    assert_eq!(found(&mut index, at(299)), []);
    let revision = index.revision();
    assert!(!index.tick(at(299)));
    assert!(index.tick(at(300)));
    assert_eq!(
        found(&mut index, at(300)),
        [("stuck-allocating".to_owned(), "slow".to_owned())]
    );
    assert!(index.revision() > revision);
    // It still holds the device.
    assert_eq!(gpu_of(&mut index, "a/GPU-0").used.slots, 1);
    assert!(!index.tick(at(400)));
}

#[test]
fn the_same_device_on_two_nodes_is_a_finding() {
    const UUID: &str = "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448";
    let mut index = index(nodes([node("a", &[UUID, "DCU-0"]), node("b", &["DCU-0"])]));
    // Not unique by its nature.
    assert_eq!(found(&mut index, at(0)), []);
    index.apply(Change::Node(Box::new(node("c", &[UUID]))));
    let names: Vec<String> = found(&mut index, at(0))
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(names, [format!("a/{UUID}"), format!("c/{UUID}")]);
    index.apply(Change::NodeGone("a".to_owned()));
    assert_eq!(found(&mut index, at(0)), []);
}

#[test]
fn devices_of_two_sources_are_one() {
    let mut index = index(nodes([node("a", &["GPU-0"])]));
    let mut same = gpu("a", "GPU-0");
    same.source = Some(GpuSource::Dra);
    same.physical_memory_mib = Some(46_068);
    let mut more = gpu("a", "GPU-1");
    more.source = Some(GpuSource::Dra);
    index.apply(Change::Devices("pool/a".to_owned(), vec![same, more], Vec::new()));
    let merged = gpu_of(&mut index, "a/GPU-0");
    assert_eq!(
        (merged.source, merged.physical_memory_mib),
        (Some(GpuSource::Annotation), Some(46_068))
    );
    assert_eq!(cluster(&mut index).counts.gpus, 2);
    index.apply(Change::Devices("pool/a".to_owned(), Vec::new(), Vec::new()));
    assert_eq!(gpu_of(&mut index, "a/GPU-0").physical_memory_mib, None);
    assert_eq!(cluster(&mut index).counts.gpus, 1);
}

#[test]
fn pods_belong_to_the_top_of_their_chain() {
    let mut index = index(nodes([node("a", &["GPU-0"])]));
    let mut first = pod("web-1-x", "a", &[("GPU-0", 100)]);
    first.controller = Some(owner("ReplicaSet", "web-1"));
    put(&mut index, first.clone());
    let names = |index: &mut Index| -> Vec<String> {
        workloads(index)
            .into_iter()
            .map(|w| format!("{}/{}", w.owner.kind, w.owner.name))
            .collect()
    };
    assert_eq!(names(&mut index), ["ReplicaSet/web-1"]);
    index.apply(Change::Owner(
        Watched::ReplicaSets,
        owned("web-1", owner("Deployment", "web")),
    ));
    assert_eq!(names(&mut index), ["Deployment/web"]);
    index.apply(Change::Owner(
        Watched::Deployments,
        owned("web", owner("InferenceService", "llm")),
    ));
    assert_eq!(names(&mut index), ["InferenceService/llm"]);
    let mut second = pod("web-1-y", "a", &[("GPU-0", 200)]);
    second.controller = Some(owner("ReplicaSet", "web-1"));
    put(&mut index, second);
    let workload = workloads(&mut index).remove(0);
    assert_eq!(
        (
            workload.pods,
            workload.running,
            workload.gpus,
            workload.memory_mib
        ),
        (2, 2, 2, 300)
    );
    assert_eq!(
        (workload.nodes, workload.vendors),
        (vec!["a".to_owned()], vec!["nvidia".to_owned()])
    );
    let owner = allocation(&mut index, "uid-web-1-x/main/0").workload;
    assert_eq!(owner.map(|owner| owner.name).as_deref(), Some("llm"));
    // While it is deleted, its parts go one after the other; what is left stays where it was.
    index.apply(Change::OwnerGone("uid-web".to_owned()));
    index.apply(Change::OwnerGone("uid-web-1".to_owned()));
    first.phase = Some("Failed".to_owned());
    put(&mut index, first);
    assert_eq!(names(&mut index), ["InferenceService/llm"]);
    index.apply(Change::PodGone("uid-web-1-x".to_owned()));
    index.apply(Change::PodGone("uid-web-1-y".to_owned()));
    assert_eq!(names(&mut index), [""; 0]);
}

#[test]
fn the_same_again_is_no_change() {
    let changes = || {
        let mut changes = nodes([node("a", &["GPU-0"]), node("b", &[])]);
        changes.push(Change::Pod(Box::new(pod("one", "a", &[("GPU-0", 1)]))));
        changes.push(Change::Pod(Box::new(pod("none", "b", &[]))));
        changes.push(Change::Pod(Box::new(asking("waits", None))));
        changes.push(Change::Source(Source {
            name: "nodes".to_owned(),
            state: SourceState::Ok,
            since: at(0),
            code: None,
            detail: None,
        }));
        changes
    };
    let mut index = index(changes());
    let records = index.records(at(0));
    let revision = index.revision();
    index.apply(Change::Restart(Watched::Nodes));
    index.apply(Change::Restart(Watched::Pods));
    for change in changes() {
        index.apply(change);
    }
    index.apply(Change::Synced(Watched::Nodes));
    index.apply(Change::Synced(Watched::Pods));
    assert_eq!(index.records(at(10)), records);
    assert_eq!(index.revision(), revision);
}

#[test]
fn who_comes_back_hears_once_that_nothing_changed() {
    let mut index = index(nodes([node("a", &["GPU-0"])]));
    let mut cursor = Cursor::nothing();
    let known = index.changes(&mut cursor, usize::MAX, at(0)).revision;
    let mut back = Cursor::at(known);
    let batch = index.changes(&mut back, usize::MAX, at(0));
    assert!(batch.complete && !batch.snapshot && batch.upserts.is_empty() && batch.removals.is_empty());
    assert_eq!(batch.revision, known);
    assert!(index.changes(&mut back, usize::MAX, at(0)).is_empty());
    put(&mut index, pod("one", "a", &[("GPU-0", 1)]));
    let batch = index.changes(&mut back, usize::MAX, at(0));
    assert!(batch.complete && !batch.upserts.is_empty());
}

#[test]
fn a_list_that_lacks_something_removes_it_at_its_end() {
    let mut index = index(nodes([node("a", &["GPU-0"]), node("b", &["GPU-1"])]));
    put(&mut index, pod("one", "a", &[("GPU-0", 1)]));
    put(&mut index, pod("two", "b", &[("GPU-1", 1)]));
    let mut cursor = Cursor::nothing();
    assert!(index.changes(&mut cursor, usize::MAX, at(0)).complete);
    index.apply(Change::Restart(Watched::Pods));
    put(&mut index, pod("two", "b", &[("GPU-1", 1)]));
    assert!(
        index.changes(&mut cursor, usize::MAX, at(0)).is_empty(),
        "nothing flickers during the list"
    );
    index.apply(Change::Synced(Watched::Pods));
    let batch = index.changes(&mut cursor, usize::MAX, at(0));
    let removed: Vec<&str> = batch.removals.iter().map(|(_, id)| &**id).collect();
    assert_eq!(removed, ["uid-one/main/0", "team/Pod./one"]);
    let changed: Vec<String> = batch
        .upserts
        .iter()
        .map(|record| record.id().into_owned())
        .collect();
    assert_eq!(changed, ["a/GPU-0", "a", "cluster"]);
}

#[test]
fn usage_and_checks_come_whole() {
    let mut index = index([]);
    let usage = |gpu: &str, utilization: f64| GpuUsage {
        gpu: gpu.to_owned(),
        utilization: Some(utilization),
        ..GpuUsage::default()
    };
    let gpus = vec![usage("a/GPU-0", 1.5), usage("a/GPU-1", 0.0)];
    let containers = Vec::new();
    index.apply(Change::Usage { gpus, containers });
    let mut cursor = Cursor::nothing();
    index.changes(&mut cursor, usize::MAX, at(0));
    let gpus = vec![usage("a/GPU-0", 1.5)];
    let containers = vec![ContainerUsage {
        namespace: "n".to_owned(),
        ..ContainerUsage::default()
    }];
    index.apply(Change::Usage { gpus, containers });
    let batch = index.changes(&mut cursor, usize::MAX, at(0));
    assert_eq!(batch.removals, [(Kind::GpuUsage, "a/GPU-1".to_owned())]);
    assert_eq!(batch.upserts.len(), 1);
    assert_eq!(batch.upserts[0].id(), "n///");
}

/// Names that come and go must not stay for ever.
#[test]
fn strings_of_what_went_are_dropped() {
    let mut index = index(nodes([node("a", &["GPU-0"])]));
    put(&mut index, pod("stays", "a", &[("GPU-0", 1)]));
    for n in 0..30_000 {
        let name = format!("job-{n}");
        put(&mut index, asking(&name, None));
        index.changes(&mut Cursor::nothing(), 1, at(0));
        index.apply(Change::PodGone(format!("uid-{name}")));
        index.tick(at(0));
    }
    assert!(
        index.strings.len() < 2 * STRINGS_SLACK,
        "{} strings are kept",
        index.strings.len()
    );
    assert_eq!(allocation(&mut index, "uid-stays/main/0").pod, "stays");
    assert_eq!(index.len(), 5);
}
