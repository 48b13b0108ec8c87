use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::inventory::{GpuSource, Mode};
use crate::object::{DeviceClass, ResourceClaim};

fn read(slices_json: &[Value]) -> DraFacts {
    let parsed: Vec<ResourceSlice> = slices_json
        .iter()
        .map(|slice| serde_json::from_value(slice.clone()).unwrap())
        .collect();
    slices(&parsed)
}

fn reasons(facts: &DraFacts) -> Vec<&str> {
    facts
        .findings
        .iter()
        .map(|finding| finding.reason.as_ref())
        .collect()
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/../tests/fixtures/dra/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_slice_among_the_fixtures() {
    let folder = format!("{}/../tests/fixtures/dra", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("resourceslice"))
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "resourceslice-hami-core.json",
            "resourceslice-nvidia-gpu-and-mig.json"
        ]
    );

    let hami = read(&[fixture(&files[0])]);
    assert_eq!(hami.findings, []);
    let [gpu] = hami.gpus.as_slice() else {
        panic!("one device")
    };
    assert_eq!(gpu.id, "test-node/GPU-a4d27439-566b-841c-428f-d87e73e4134e");
    assert_eq!(
        (gpu.vendor.as_str(), gpu.model.as_deref()),
        ("nvidia", Some("NVIDIA A30"))
    );
    assert_eq!(
        (gpu.mode, gpu.index, gpu.source),
        (Some(Mode::HamiCore), Some(0), Some(GpuSource::Dra))
    );
    assert_eq!(
        (gpu.capacity.memory_mib, gpu.capacity.cores),
        (Some(24 * 1024), Some(100))
    );
    assert_eq!(gpu.capacity.slots, None, "shared without a limit of number");
    assert_eq!(gpu.driver_version.as_deref(), Some("550.144.3"));
    assert_eq!((gpu.healthy, gpu.cordoned, gpu.stale), (None, false, false));
    assert_eq!(gpu.facts["pciBusId"], "0000:3b:00.0");
    assert!(gpu.unknown.is_empty());
    assert_eq!(crate::version::at_least("550.144.3", "550.144.03"), Some(true));

    let nvidia = read(&[fixture(&files[1])]);
    assert_eq!(nvidia.findings, []);
    let [mig, whole] = nvidia.gpus.as_slice() else {
        panic!("two devices")
    };
    assert_eq!(whole.id, "worker-gpu-01/GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76");
    assert_eq!(
        (whole.mode, whole.index, whole.capacity.slots),
        (Some(Mode::Whole), Some(0), Some(1))
    );
    assert_eq!(
        (whole.physical_memory_mib, whole.capacity.cores),
        (Some(40 * 1024), None)
    );
    assert_eq!(mig.uuid, "MIG-5df9711e-b21e-5e42-b2d1-b32f2c4dd9a3");
    assert_eq!((mig.mode, mig.index), (Some(Mode::Mig), None));
    assert_eq!(
        (mig.capacity.memory_mib, mig.mig_profiles.as_slice()),
        (Some(4864), ["1g.5gb".to_owned()].as_slice())
    );
    assert_eq!(
        mig.facts["parentUuid"],
        "GPU-c6a9ed1a-e4f8-f17b-845b-7c76ba095a82"
    );
    let name = DeviceName {
        driver: "gpu.nvidia.com".to_owned(),
        pool: "worker-gpu-01".to_owned(),
        device: "gpu-1-mig-1g.5gb-19-0".to_owned(),
    };
    assert_eq!(
        nvidia.devices[&name],
        DeviceRef {
            gpu: mig.id.clone(),
            profile: Some("1g.5gb".to_owned()),
            memory_mib: Some(4864),
        }
    );
    assert_eq!(nvidia.devices.len(), 2);
}

#[test]
fn claims_and_classes_among_the_fixtures() {
    let claim: ResourceClaim = serde_json::from_value(fixture("resourceclaim-pending.json")).unwrap();
    assert!(claim.status.allocation.is_none() && claim.status.reserved_for.is_empty());
    let request = &claim.spec.devices.requests[0];
    assert_eq!(request.choices()[0].device_class_name, "gpu.nvidia.com");
    assert_eq!(request.choices()[0].count, Some(1));
    let class: DeviceClass = serde_json::from_value(fixture("deviceclass.json")).unwrap();
    assert_eq!(
        class.spec.extended_resource_name.as_deref(),
        Some("nvidia.com/gpu")
    );
}

#[test]
fn requests_of_all_versions() {
    let claim: ResourceClaim = serde_json::from_value(json!({
        "spec": {"devices": {"requests": [
            {"name": "beta1", "deviceClassName": "a", "count": 2, "adminAccess": true},
            {"name": "choice", "firstAvailable": [{"name": "x", "deviceClassName": "b"}, {"name": "y", "deviceClassName": "c"}]},
            {"name": "exact", "exactly": {"deviceClassName": "d", "capacity": {"requests": {"memory": "4Gi", "cores": "30"}}}},
        ]}},
        "status": {
            "allocation": {
                "devices": {"results": [{"request": "exact", "driver": "d", "pool": "p", "device": "g", "shareID": "s", "consumedCapacity": {"memory": "4Gi"}, "adminAccess": null}]},
                "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]},
            },
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
        },
    }))
    .unwrap();
    let classes: Vec<Vec<&str>> = claim
        .spec
        .devices
        .requests
        .iter()
        .map(|request| {
            request
                .choices()
                .iter()
                .map(|choice| choice.device_class_name.as_str())
                .collect()
        })
        .collect();
    assert_eq!(classes, [vec!["a"], vec!["b", "c"], vec!["d"]]);
    let allocation = claim.status.allocation.unwrap();
    assert_eq!(
        allocation
            .node_selector
            .as_ref()
            .and_then(|selector| selector.node()),
        Some("n")
    );
    assert_eq!(allocation.devices.results[0].share_id.as_deref(), Some("s"));
}

/// A slice of `gpu.nvidia.com` on node `n`.
#[expect(clippy::needless_pass_by_value, reason = "callers pass literals")]
fn slice(generation: i64, count: i64, devices: Value) -> Value {
    json!({"spec": {
        "driver": "gpu.nvidia.com", "nodeName": "n",
        "pool": {"name": "p", "generation": generation, "resourceSliceCount": count},
        "devices": devices,
    }})
}

fn device(n: u32) -> Value {
    json!({"name": format!("gpu-{n}"), "attributes": {"type": {"string": "gpu"}, "uuid": {"string": format!("GPU-{n}")}}, "capacity": {"memory": {"value": "1Gi"}}})
}

#[test]
fn only_complete_pools_of_the_newest_generation() {
    let facts = read(&[
        slice(1, 1, json!([device(0), device(1)])),
        slice(2, 2, json!([device(0)])),
        slice(2, 2, json!([device(2)])),
    ]);
    let uuids: Vec<_> = facts.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    assert_eq!(uuids, ["GPU-0", "GPU-2"]);
    assert_eq!(facts.findings, []);
    let facts = read(&[slice(1, 1, json!([device(0)])), slice(2, 2, json!([device(0)]))]);
    assert!(
        facts.gpus.is_empty(),
        "not even of the generation before: it is obsolete"
    );
    assert_eq!(reasons(&facts), [reason::INCOMPLETE]);
    let facts = read(&[slice(2, 1, json!([device(0)])), slice(2, 1, json!([device(1)]))]);
    assert_eq!(reasons(&facts), [reason::INCOMPLETE], "more than there should be");
}

#[test]
fn the_shape_of_v1beta1() {
    let facts = read(&[slice(
        1,
        1,
        json!([{"name": "gpu-3", "basic": {
            "attributes": {"gpu.nvidia.com/uuid": {"string": "GPU-x"}, "gpu.nvidia.com/driverVersion": {"version": "550.54.15"}, "minor": {"int": 7}},
            "capacity": {"gpu.nvidia.com/memory": {"value": "80Gi"}},
        }}]),
    )]);
    let gpu = &facts.gpus[0];
    assert_eq!(
        (gpu.uuid.as_str(), gpu.index, gpu.physical_memory_mib),
        ("GPU-x", Some(7), Some(81920))
    );
    assert_eq!(gpu.driver_version.as_deref(), Some("550.54.15"));
    assert_eq!(gpu.unknown["model"], "KTA-HAMI-003");
}

#[test]
fn parts_of_a_device_are_no_devices() {
    let part = |name: &str, uuid: Value, profile: &str| {
        json!({"name": name, "attributes": {
        "type": {"string": "mig"}, "uuid": uuid, "parentUUID": {"string": "GPU-0"}, "profile": {"string": profile}}})
    };
    let facts = read(&[slice(
        1,
        1,
        json!([
            part("gpu-0-mig-1g.5gb-19-0", json!({}), "1g.5gb"),
            part("gpu-0-mig-1g.5gb-19-1", json!({}), "1g.5gb"),
            part("gpu-0-mig-2g.10gb-14-0", json!({"string": "MIG-1"}), "2g.10gb"),
            device(0),
            {"name": "gpu-vfio-0", "attributes": {"type": {"string": "vfio"}, "uuid": {"string": "GPU-0"}}},
        ]),
    )]);
    let [gpu] = facts.gpus.as_slice() else {
        panic!("one device: {:?}", facts.gpus)
    };
    assert_eq!(gpu.mig_profiles, ["1g.5gb", "2g.10gb"]);
    assert_eq!(facts.devices.len(), 5, "but claims may name them");
    assert!(facts.devices.values().all(|device| device.gpu == "n/GPU-0"));
}

/// A card that can be cut in many ways, none of which is made: the parts are all that is published.
#[test]
fn parts_that_are_not_made_stand_for_their_card() {
    let part = |n: u32, parent: &str| {
        json!({"name": format!("gpu-0-mig-1g.5gb-19-{n}"), "attributes": {
        "type": {"string": "mig"}, "parentUUID": {"string": parent}, "profile": {"string": "1g.5gb"}, "productName": {"string": "A"}},
        "capacity": {"memory": {"value": "4864Mi"}}})
    };
    let facts = read(&[slice(
        1,
        1,
        json!([part(0, "GPU-0"), part(1, "GPU-0"), part(2, "GPU-2")]),
    )]);
    let uuids: Vec<_> = facts.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    assert_eq!(uuids, ["GPU-0", "GPU-2"]);
    assert_eq!(
        facts.gpus[0].capacity.memory_mib, None,
        "that of a part is not the card's"
    );
    assert_eq!(facts.devices.len(), 3);
}

#[test]
fn null_where_go_writes_it() {
    let mut empty = slice(1, 1, Value::Null);
    empty["metadata"] = json!({"name": "s", "creationTimestamp": null});
    assert_eq!(read(&[empty]), DraFacts::default());
    let claim: ResourceClaim = serde_json::from_value(json!({
        "spec": {"devices": {"requests": null}},
        "status": {"allocation": {"devices": {"results": null}}, "reservedFor": null},
    }))
    .unwrap();
    assert!(claim.spec.devices.requests.is_empty() && claim.status.reserved_for.is_empty());
}

#[test]
fn taints() {
    let mut broken = device(0);
    broken["taints"] = json!([{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoExecute"}]);
    let mut reserved = device(1);
    reserved["taints"] =
        json!([{"key": "example.com/reserved", "effect": "NoSchedule"}, {"key": "x", "effect": "None"}]);
    let facts = read(&[slice(1, 1, json!([broken, reserved]))]);
    assert_eq!(facts.gpus[0].healthy, Some(false));
    assert_eq!(
        facts.gpus[0].unhealthy_reason.as_deref(),
        Some("tainted: gpu.nvidia.com/xid=79:NoExecute")
    );
    assert_eq!((facts.gpus[1].healthy, facts.gpus[1].cordoned), (None, true));
    assert_eq!(reasons(&facts), [reason::TAINTED]);
}

#[test]
fn nodes_drivers_and_duplicates() {
    let mut shared = slice(1, 1, json!([device(0), device(1), device(0)]));
    shared["spec"]["nodeName"] = Value::Null;
    shared["spec"]["perDeviceNodeSelection"] = json!(true);
    shared["spec"]["devices"][0]["nodeName"] = json!("a");
    let facts = read(&[shared]);
    assert_eq!(facts.gpus.len(), 1);
    assert_eq!(facts.gpus[0].id, "a/GPU-0");
    assert_eq!(reasons(&facts), [reason::NO_NODE, reason::DUPLICATE]);

    let mut other = slice(1, 1, json!([device(0)]));
    other["spec"]["driver"] = json!("gpu.example.com");
    assert_eq!(
        reasons(&read(std::slice::from_ref(&other))),
        [reason::UNKNOWN_DRIVER]
    );
    other["spec"]["driver"] = json!("dra.net");
    assert_eq!(
        reasons(&read(&[other])),
        [""; 0],
        "network cards are no accelerators"
    );
}

#[test]
fn devices_without_identifiers() {
    let facts = read(&[slice(
        1,
        1,
        json!([{"name": "gpu-0"}, {"name": "gpu-1", "allowMultipleAllocations": true}]),
    )]);
    assert_eq!(facts.gpus.len(), 2);
    let gpu = &facts.gpus[1];
    assert_eq!(
        (gpu.id.as_str(), gpu.mode, gpu.capacity.slots),
        ("n/p-gpu-1", None, None)
    );
    for field in ["uuid", "model", "mode", "capacity.memoryMib", "driverVersion"] {
        assert!(gpu.unknown.contains_key(field), "{field}");
    }
}

proptest! {
    /// Whatever slices there are: nothing panics, devices have distinct identifiers, and every name leads to one of them.
    #[test]
    fn names_lead_to_devices(list in prop::collection::vec((0i64..3, 0i64..3, prop::collection::vec((0u32..4, prop::sample::select(vec!["gpu", "mig", "vfio", ""]), 0u32..4), 0..4)), 0..5)) {
        let slices: Vec<Value> = list
            .into_iter()
            .map(|(generation, count, devices)| {
                let devices: Vec<Value> = devices
                    .into_iter()
                    .map(|(n, kind, uuid)| json!({"name": format!("gpu-{n}"), "attributes": {"type": {"string": kind}, "uuid": {"string": format!("U{uuid}")}}}))
                    .collect();
                slice(generation, count, json!(devices))
            })
            .collect();
        let facts = read(&slices);
        let ids: std::collections::BTreeSet<_> = facts.gpus.iter().map(|gpu| gpu.id.clone()).collect();
        prop_assert_eq!(ids.len(), facts.gpus.len());
        prop_assert!(facts.devices.values().all(|device| ids.contains(&device.gpu)));
    }
}
