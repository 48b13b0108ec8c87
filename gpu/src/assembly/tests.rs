use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::{index::Index, inventory::Record};

fn now() -> Timestamp {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn slice(memory: &str) -> ResourceSlice {
    object(
        json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.nvidia.com", "nodeName": "n1",
        "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu-0", "attributes": {"type": {"string": "gpu"}, "uuid": {"string": "GPU-1"},
            "productName": {"string": "NVIDIA A30"}}, "capacity": {"memory": {"value": memory}}}]}}),
    )
}

fn claim() -> ResourceClaim {
    object(json!({"metadata": {"name": "c", "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]}},
        "status": {"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
            "allocation": {"devices": {"results": [
                {"request": "gpu", "driver": "gpu.nvidia.com", "pool": "n1", "device": "gpu-0"}]}}}}))
}

fn pod() -> Pod {
    object(
        json!({"metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"nodeName": "n1", "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}],
            "containers": [{"name": "main", "resources": {"claims": [{"name": "gpu"}]}}]},
        "status": {"phase": "Running"}}),
    )
}

/// Devices and memory of the allocations that are there.
fn held(index: &mut Index) -> Vec<(Option<String>, Option<u64>)> {
    index
        .records(now())
        .into_iter()
        .filter_map(|record| match record {
            Record::Allocation(allocation) => Some((allocation.gpu, allocation.memory_mib)),
            _ => None,
        })
        .collect()
}

#[test]
fn pods_claims_and_slices_meet_in_any_order() {
    type Step = fn(&mut Assembly) -> Vec<Change>;
    let steps: [Step; 3] = [
        |assembly| vec![assembly.pod(pod(), now())],
        |assembly| assembly.claim(claim(), now()),
        |assembly| assembly.slice(slice("24Gi"), now()),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (mut assembly, mut index) = (Assembly::default(), Index::default());
        for step in order {
            for change in steps[step](&mut assembly) {
                index.apply(change);
            }
        }
        let expected = vec![(Some("n1/GPU-1".to_owned()), Some(24 * 1024))];
        assert_eq!(held(&mut index), expected, "{order:?}");
    }
}

#[test]
fn a_list_sweeps_what_it_does_not_name() {
    let (mut assembly, mut index) = (Assembly::default(), Index::default());
    let apply =
        |changes: Vec<Change>, index: &mut Index| changes.into_iter().for_each(|change| index.apply(change));
    apply(assembly.slice(slice("24Gi"), now()), &mut index);
    apply(assembly.claim(claim(), now()), &mut index);
    apply(vec![assembly.pod(pod(), now())], &mut index);
    assert_eq!(held(&mut index).len(), 1);
    for kind in [Watched::ResourceSlices, Watched::ResourceClaims] {
        assembly.begin(kind);
        apply(assembly.complete(kind, now()), &mut index);
    }
    let gpus = index
        .records(now())
        .into_iter()
        .filter(|record| matches!(record, Record::Gpu(_)));
    assert_eq!(gpus.count(), 0);
    assert_eq!(held(&mut index), []);
}

#[test]
fn a_changed_slice_changes_what_its_claims_hold() {
    let mut assembly = Assembly::default();
    assembly.slice(slice("24Gi"), now());
    assembly.claim(claim(), now());
    assembly.pod(pod(), now());
    let changes = assembly.slice(slice("48Gi"), now());
    let memory: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Pod(seen) => seen.allocations.first()?.memory_mib,
            _ => None,
        })
        .collect();
    assert_eq!(memory, [48 * 1024]);
}
