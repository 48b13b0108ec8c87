#![expect(clippy::needless_pass_by_value, reason = "json! makes values")]

mod fixtures;
mod properties;

use serde_json::json;

use super::*;
use crate::inventory::{AllocationState, FindingLevel, Mapping};

/// A minute after the times that [`pod`] writes.
const NOW: i64 = 1_786_000_060;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A running pod `p` on node `n`, changed by a merge patch.
fn pod(patch: serde_json::Value) -> Pod {
    let mut value = json!({
        "metadata": {"name": "p", "namespace": "d", "uid": "u", "creationTimestamp": "2025-06-01T00:00:00Z", "annotations": {
            "hami.io/vgpu-node": "n", "hami.io/vgpu-time": "1786000000", "hami.io/bind-time": "1786000000", "hami.io/bind-phase": "success"}},
        "spec": {"nodeName": "n", "schedulerName": "hami-scheduler", "containers": []},
        "status": {"phase": "Running"}
    });
    merge(&mut value, patch);
    serde_json::from_value(value).unwrap()
}

fn merge(value: &mut serde_json::Value, patch: serde_json::Value) {
    match (value, patch) {
        (serde_json::Value::Object(value), serde_json::Value::Object(patch)) => {
            for (key, patch) in patch {
                if patch.is_null() {
                    value.remove(&key);
                } else {
                    merge(value.entry(key).or_insert(serde_json::Value::Null), patch);
                }
            }
        }
        (value, patch) => *value = patch,
    }
}

fn facts(patch: serde_json::Value) -> PodFacts {
    read(&pod(patch), &ResourceNames::default(), now())
}

fn container(name: &str, limits: serde_json::Value) -> serde_json::Value {
    json!({"name": name, "resources": {"limits": limits}})
}

fn reasons(facts: &PodFacts) -> Vec<&str> {
    facts
        .findings
        .iter()
        .map(|finding| finding.reason.as_ref())
        .collect()
}

#[test]
fn a_pod_without_devices_is_nothing() {
    let facts = facts(
        json!({"spec": {"containers": [container("c", json!({"cpu": "1", "example.com/fpga": "1"}))]}}),
    );
    assert_eq!(facts, PodFacts::default());
}

#[test]
fn a_pod_with_two_vendors() {
    let facts = facts(json!({
        "metadata": {"annotations": {
            "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,100,1:;;", "hami.io/dcu-devices-allocated": ";DCU-0,DCU,200,2:;"}},
        "spec": {"containers": [container("g", json!({"nvidia.com/gpu": 1})), container("d", json!({"hygon.com/dcunum": 1}))]}
    }));
    let read: Vec<_> = facts
        .allocations
        .iter()
        .map(|own| {
            (
                own.id.as_str(),
                own.vendor.as_str(),
                own.gpu.as_deref(),
                own.memory_mib,
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            ("u/g/0", "nvidia", Some("n/GPU-a"), Some(100)),
            ("u/d/0", "hygon", Some("n/DCU-0"), Some(200))
        ]
    );
    assert_eq!(reasons(&facts), [""; 0]);
}

#[test]
fn one_container_with_two_vendors_has_distinct_ids() {
    let facts = facts(json!({
        "metadata": {"annotations": {
            "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,100,1:GPU-b,NVIDIA,100,1:;", "hami.io/dcu-devices-allocated": "DCU-0,DCU,200,2:;"}},
        "spec": {"containers": [container("c", json!({"nvidia.com/gpu": "2", "hygon.com/dcunum": "1"}))]}
    }));
    let mut ids: Vec<_> = facts.allocations.iter().map(|own| own.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["u/c/0", "u/c/1", "u/c/2"]);
}

#[test]
fn a_bad_share_does_not_hide_the_good_ones() {
    let facts = facts(json!({
        "metadata": {"annotations": {"hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,x,5:GPU-b,NVIDIA,7,7:;junk:;"}},
        "spec": {"containers": [container("a", json!({"nvidia.com/gpu": "2"})), container("b", json!({"nvidia.com/gpu": "1"}))]}
    }));
    let read: Vec<_> = facts
        .allocations
        .iter()
        .map(|own| {
            (
                own.container.as_deref(),
                own.uuid.as_deref(),
                own.memory_mib,
                own.cores,
                own.held,
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            (Some("a"), Some("GPU-a"), None, Some(5), true),
            (Some("a"), Some("GPU-b"), Some(7), Some(7), true),
            (Some("b"), None, None, None, true),
        ]
    );
    assert_eq!(
        facts.allocations[0].unknown.keys().collect::<Vec<_>>(),
        ["memoryMib"]
    );
    assert_eq!(
        facts.allocations[2].unknown.keys().collect::<Vec<_>>(),
        ["cores", "memoryMib", "uuid"]
    );
    assert_eq!(reasons(&facts), ["unparsable-allocation"]);
    assert_eq!(facts.findings[0].level, FindingLevel::Error);
    assert!(
        facts.findings[0].message.contains("\"junk\""),
        "{}",
        facts.findings[0].message
    );
}

#[test]
fn a_record_whose_containers_cannot_be_told_stays_with_the_pod() {
    let facts = facts(json!({
        "metadata": {"annotations": {"hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,1,1:;"}},
        "spec": {"containers": [container("a", json!({"nvidia.com/gpu": "1"})), container("b", json!({"nvidia.com/gpu": "1"}))]}
    }));
    let [own] = facts.allocations.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!((own.id.as_str(), own.container.as_deref()), ("u/-/0", None));
    assert_eq!(own.mapping, Some(Mapping::Unknown));
    assert!(own.held && own.unknown.contains_key("container"));
    assert_eq!(reasons(&facts), ["ambiguous-containers"]);
}

#[test]
fn a_container_that_the_record_leaves_out_is_told() {
    let facts = facts(json!({
        "metadata": {"annotations": {"hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,1,1:;;"}},
        "spec": {"containers": [container("a", json!({"nvidia.com/gpu": "1"})), container("b", json!({"nvidia.com/gpu": "1"}))]}
    }));
    let read: Vec<_> = facts
        .allocations
        .iter()
        .map(|own| (own.id.as_str(), own.state.unwrap()))
        .collect();
    assert_eq!(
        read,
        [
            ("u/a/0", AllocationState::Active),
            ("u/b/0", AllocationState::Unaccounted)
        ]
    );
    assert_eq!(reasons(&facts), ["container-without-share"]);
}

#[test]
fn volcano_and_its_predecessor_leave_out_the_last_separator() {
    let two = json!({"containers": [container("a", json!({"volcano.sh/vgpu-number": "1"})), container("b", json!({"volcano.sh/vgpu-number": "1"}))]});
    let volcano = |record: &str| {
        facts(json!({
            "metadata": {"annotations": {
                "hami.io/vgpu-node": null, "hami.io/bind-phase": null, "hami.io/vgpu-time": null, "hami.io/bind-time": null,
                "volcano.sh/vgpu-node": "v", "volcano.sh/vgpu-time": "1786000000", "volcano.sh/bind-phase": "success", "volcano.sh/vgpu-ids-new": record}},
            "spec": {"nodeName": "v", "containers": two["containers"]}
        }))
    };
    let both = volcano("GPU-a,NVIDIA,100,1:;GPU-b,NVIDIA,200,2:");
    let read: Vec<_> = both
        .allocations
        .iter()
        .map(|own| {
            (
                own.container.as_deref().unwrap(),
                own.gpu.as_deref().unwrap(),
                own.source.as_deref().unwrap(),
                own.held,
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            ("a", "v/GPU-a", "volcano", true),
            ("b", "v/GPU-b", "volcano", true)
        ]
    );
    assert_eq!(both.allocations[0].vendor, "nvidia");
    let first = volcano("GPU-a,NVIDIA,100,1:");
    assert_eq!(first.allocations[0].container.as_deref(), Some("a"));
    assert_eq!(first.allocations[0].mapping, Some(Mapping::Position));
}

#[test]
fn the_newer_of_two_records_counts() {
    let facts = facts(json!({
        "metadata": {"annotations": {
            "hami.io/vgpu-devices-allocated": "GPU-new,NVIDIA,1,1:;", "4pd.io/vgpu-ids-new": "GPU-old,NVIDIA,1,1:;", "4pd.io/vgpu-node": "m"}},
        "spec": {"containers": [container("a", json!({"nvidia.com/gpu": "1"}))]}
    }));
    assert_eq!(facts.allocations.len(), 1);
    assert_eq!(facts.allocations[0].gpu.as_deref(), Some("n/GPU-new"));
}

#[test]
fn mig_devices_that_were_made() {
    let reservations = json!([
        {"containerIndex": 0, "deviceIndex": 0, "gpuUUID": "GPU-a", "profile": "1g.5gb", "placement": {"start": 6, "size": 1}, "migUUID": "MIG-1", "gpuInstanceID": 13, "computeInstanceID": 0},
        {"containerIndex": 0, "deviceIndex": 1, "gpuUUID": "GPU-other", "profile": "2g.10gb", "placement": {"start": 0, "size": 2}},
        {"containerIndex": 4, "deviceIndex": 0, "gpuUUID": "GPU-a", "profile": "2g.10gb", "placement": {"start": 0, "size": 2}}
    ]);
    let facts = facts(json!({
        "metadata": {"annotations": {
            "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,4864,14:GPU-b,NVIDIA,9984,28:;", "hami.io/vgpu-mig-allocations": reservations.to_string()}},
        "spec": {"containers": [container("c", json!({"nvidia.com/gpu": "2"}))]}
    }));
    let [first, second] = facts.allocations.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!(first.profile.as_deref(), Some("1g.5gb"));
    assert_eq!(
        (
            first.facts["migUuid"].as_str(),
            first.facts["gpuInstanceId"].as_str()
        ),
        ("MIG-1", "13")
    );
    assert_eq!(second.profile, None);
    assert!(second.unknown.contains_key("profile"));
    assert_eq!(reasons(&facts), ["unreadable-mig"]);
}

#[test]
fn a_mig_suffix_that_is_broken_still_names_the_card() {
    let facts = facts(json!({
        "metadata": {"annotations": {"hami.io/vgpu-devices-allocated": "GPU-a[1-,NVIDIA,4864,14:;"}},
        "spec": {"containers": [container("c", json!({"nvidia.com/gpu": "1"}))]}
    }));
    assert_eq!(facts.allocations[0].gpu.as_deref(), Some("n/GPU-a"));
    assert!(facts.allocations[0].unknown.contains_key("profile"));
    assert_eq!(reasons(&facts), ["unreadable-mig"]);
}

#[test]
fn vendors_own_annotations() {
    let enflame = facts(json!({
        "metadata": {"annotations": {"hami.io/enflame-vgpu-devices-allocated": "n-enflame-drs-0,Enflame,20480,0:;",
            "assigned-containers": r#"{"c":{"allocated":true,"request":3,"profileID":"1","profileName":"3g.20gb"}}"#, "enflame.com/gcu-assigned-index": "0"}},
        "spec": {"containers": [container("c", json!({"enflame.com/drs-gcu": "3"}))]}
    }));
    let own = &enflame.allocations[0];
    assert_eq!(
        (own.profile.as_deref(), own.requested.count),
        (Some("3g.20gb"), Some(1))
    );
    assert_eq!(
        (own.facts["slices"].as_str(), own.facts["deviceIndex"].as_str()),
        ("3", "0")
    );

    let by_memory = facts(json!({
        "metadata": {"annotations": {"hami.io/enflame-vgpu-devices-allocated": "n-enflame-drs-0,Enflame,20480,0:;"}},
        "spec": {"containers": [container("c", json!({"enflame.com/gcu-memory": "20"}))]}
    }));
    assert_eq!(by_memory.allocations[0].mapping, Some(Mapping::Requests));
    assert_eq!(by_memory.allocations[0].requested.memory_mib, Some(20480));

    let gcu = facts(json!({
        "metadata": {"annotations": {"hami.io/enflame-gcu-devices-allocated": "n-GCU-0,GCU,100,100:;"}},
        "spec": {"containers": [container("c", json!({"enflame.com/gcu": "1"}))]}
    }));
    assert_eq!(
        (gcu.allocations[0].memory_mib, gcu.allocations[0].cores),
        (None, Some(100))
    );
    assert_eq!(gcu.allocations[0].facts["memoryPercent"], "100");

    let metax = facts(json!({
        "metadata": {"annotations": {"hami.io/metax-sgpu-devices-allocated": "M-1,Metax-SGPU,x,30:;",
            "metax-tech.com/gpu-devices-allocated": r#"[[{"uuid":"M-1","compute":30,"vRam":8192}]]"#, "metax-tech.com/sgpu-qos-policy": "fixed-share"}},
        "spec": {"containers": [container("c", json!({"metax-tech.com/sgpu": "1", "metax-tech.com/vmemory": "8", "metax-tech.com/vcore": "30"}))]}
    }));
    let own = &metax.allocations[0];
    assert_eq!(
        (own.memory_mib, own.requested.memory_mib, own.unknown.len()),
        (Some(8192), Some(8192), 0)
    );
    assert_eq!(
        own.requested.constraints["metax-tech.com/sgpu-qos-policy"],
        "fixed-share"
    );
    assert_eq!(reasons(&metax), ["unparsable-allocation"]);

    let mthreads = facts(json!({"spec": {"nodeName": null, "containers": [
        container("c", json!({"mthreads.com/vgpu": "2", "mthreads.com/sgpu-memory": "64", "mthreads.com/sgpu-core": "8"}))]}, "status": {"phase": "Pending"}}));
    let requested = &mthreads.allocations[0].requested;
    assert_eq!((requested.memory_mib, requested.cores), (Some(16384), Some(4)));
}

#[test]
fn requests_that_cannot_be_read() {
    let facts = facts(json!({
        "metadata": {"annotations": {"hami.io/gpu-scheduler-policy": "binpack"}},
        "spec": {"nodeName": null, "containers": [container("c", json!({
            "nvidia.com/gpu": "1", "nvidia.com/gpumem": "8Gi", "nvidia.com/gpucores": "1500m", "nvidia.com/priority": "0", "nvidia.com/gpumem-percentage": "50"}))]},
        "status": {"phase": "Pending"}
    }));
    let own = &facts.allocations[0];
    assert_eq!(own.requested.memory_mib, None);
    assert_eq!(
        (own.requested.count, own.requested.memory_percent),
        (Some(1), Some(50))
    );
    assert_eq!(own.facts["priority"], "0");
    assert_eq!(
        own.requested.constraints["hami.io/gpu-scheduler-policy"],
        "binpack"
    );
    assert_eq!(
        own.unknown.keys().collect::<Vec<_>>(),
        ["requested.cores", "requested.memoryMib"]
    );
    assert_eq!(reasons(&facts), ["unreadable-request"]);
    assert!(facts.findings[0].message.contains("\"8Gi\""));
    // None is none.
    let none = read(
        &pod(json!({"spec": {"containers": [container("c", json!({"nvidia.com/gpu": "0"}))]}})),
        &ResourceNames::default(),
        now(),
    );
    assert_eq!(none, PodFacts::default());
}

#[test]
fn names_of_the_installation_count() {
    let names = ResourceNames::from_device_config(
        "nvidia:\n  resourceCountName: x/vgpu\n  resourceMemoryName: x/mem\nvnpus:\n- commonWord: Ascend950\n  resourceName: x/950\n",
    )
    .unwrap();
    let pod = pod(json!({
        "metadata": {"annotations": {"hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,10,0:;", "hami.io/Ascend950-devices-allocated": ";npu-0,Ascend950,64,0:;"}},
        "spec": {"containers": [container("a", json!({"x/vgpu": "1", "x/mem": "10"})), container("b", json!({"x/950": "1"})), container("c", json!({"nvidia.com/gpu": "2"}))]}
    }));
    let facts = read(&pod, &names, now());
    let read: Vec<_> = facts
        .allocations
        .iter()
        .map(|own| {
            (
                own.container.as_deref().unwrap(),
                own.vendor.as_str(),
                own.mapping,
                own.state.unwrap(),
                own.requested.count,
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            (
                "a",
                "nvidia",
                Some(Mapping::Requests),
                AllocationState::Active,
                Some(1)
            ),
            (
                "b",
                "ascend",
                Some(Mapping::Requests),
                AllocationState::Active,
                Some(1)
            ),
            // The stock device plugin serves this name: no bypass of HAMi.
            ("c", "nvidia", None, AllocationState::Active, Some(2)),
        ]
    );
    assert_eq!(facts.allocations[2].source.as_deref(), Some("devicePlugin"));
}

#[test]
fn devices_of_the_stock_plugin() {
    let annotations = json!({"annotations": null});
    let spec = |limits| json!({"nodeName": "n", "schedulerName": "default-scheduler", "containers": [container("c", limits)]});
    let mig = facts(json!({"metadata": annotations, "spec": spec(json!({"nvidia.com/mig-1g.5gb": "1"}))}));
    assert_eq!(mig.allocations[0].profile.as_deref(), Some("1g.5gb"));
    assert_eq!(mig.allocations[0].state, Some(AllocationState::Active));
    assert!(mig.allocations[0].unknown.contains_key("uuid"));
    let shared = facts(json!({"metadata": annotations, "spec": spec(json!({"nvidia.com/gpu.shared": "1"}))}));
    assert_eq!(shared.allocations[0].state, Some(AllocationState::Active));

    // Whether a whole card is past HAMi, the node tells.
    let whole = facts(json!({"metadata": annotations, "spec": spec(json!({"nvidia.com/gpu": "1"}))}));
    let own = &whole.allocations[0];
    assert_eq!((own.state, own.held), (Some(AllocationState::Unaccounted), false));
    assert_eq!(lifecycle::unrecorded(own, true), AllocationState::Unaccounted);
    assert_eq!(lifecycle::unrecorded(own, false), AllocationState::Active);
    let leaving = facts(
        json!({"metadata": {"annotations": null, "deletionTimestamp": "2025-06-01T00:00:00Z"}, "spec": spec(json!({"nvidia.com/gpu": "1"}))}),
    );
    assert_eq!(
        lifecycle::unrecorded(&leaving.allocations[0], false),
        AllocationState::Terminating
    );
}

#[test]
fn a_resource_that_a_claim_serves_is_the_claims() {
    let facts = facts(json!({
        "metadata": {"annotations": null},
        "spec": {"containers": [container("c", json!({"nvidia.com/gpu": "1"}))]},
        "status": {"extendedResourceClaimStatus": {"resourceClaimName": "x", "requestMappings": [
            {"containerName": "c", "resourceName": "nvidia.com/gpu", "requestName": "container-0-request-0"}]}}
    }));
    assert_eq!(facts, PodFacts::default());
}

#[test]
fn owners() {
    let owners =
        |references: serde_json::Value| owner(&pod(json!({"metadata": {"ownerReferences": references}})));
    let reference = |kind: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "1", "controller": controller});
    let set = owners(json!([reference("Foo", false), reference("ReplicaSet", true)]));
    assert_eq!(
        (set.api_version.as_str(), set.kind.as_str(), set.name.as_str()),
        ("apps/v1", "ReplicaSet", "x")
    );
    for references in [
        json!([]),
        json!([reference("Node", true)]),
        json!([reference("Foo", false)]),
    ] {
        let own = owners(references);
        assert_eq!(
            (own.api_version.as_str(), own.kind.as_str(), own.name.as_str()),
            ("v1", "Pod", "p")
        );
    }
}

#[test]
fn times() {
    let at = |patch| facts(patch).allocations[0].clone();
    let gpu = json!({"containers": [container("c", json!({"nvidia.com/gpu": "1"}))]});
    let with = |time: serde_json::Value, bound: serde_json::Value| {
        at(
            json!({"metadata": {"annotations": {"hami.io/vgpu-time": time, "hami.io/bind-time": bound, "hami.io/vgpu-devices-allocated": "G,NVIDIA,1,1:;"}}, "spec": gpu}),
        )
    };
    assert_eq!(
        with(json!("1786000000"), json!("1")).since,
        Timestamp::from_second(1_786_000_000).ok()
    );
    assert_eq!(
        with(json!(null), json!("1786000001")).since,
        Timestamp::from_second(1_786_000_001).ok()
    );
    let broken = with(json!("soon"), json!("1"));
    assert_eq!(broken.since, None);
    assert!(broken.unknown.contains_key("since"));
    let created = with(json!(null), json!(null));
    assert_eq!(created.since, "2025-06-01T00:00:00Z".parse().ok());
}
