#![expect(clippy::needless_pass_by_value, reason = "json! makes values")]

use serde_json::json;

use super::*;

fn fixture<T: for<'a> serde::Deserialize<'a>>(path: &str) -> T {
    let path = format!("{}/../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn claim(name: &str, spec: serde_json::Value, status: serde_json::Value) -> ResourceClaim {
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": status}),
    )
    .unwrap()
}

/// A running pod `p` on node `n`.
fn pod(spec: serde_json::Value, status: serde_json::Value) -> Pod {
    let mut spec = spec;
    spec["nodeName"] = json!("n");
    let mut status = status;
    if status.get("phase").is_none() {
        status["phase"] = json!("Running");
    }
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec, "status": status}),
    )
    .unwrap()
}

fn one_claim(status: serde_json::Value) -> Pod {
    pod(
        json!({"containers": [{"name": "c", "resources": {"claims": [{"name": "g"}]}}], "resourceClaims": [{"name": "g", "resourceClaimName": "x"}]}),
        status,
    )
}

fn result(driver: &str, device: &str) -> serde_json::Value {
    json!({"request": "gpu", "driver": driver, "pool": "n", "device": device})
}

fn allocated(results: serde_json::Value, consumers: &[&str]) -> serde_json::Value {
    let consumers: Vec<_> = consumers
        .iter()
        .map(|uid| json!({"resource": "pods", "name": "p", "uid": uid}))
        .collect();
    json!({"allocation": {"devices": {"results": results}}, "reservedFor": consumers})
}

fn request(name: &str, class: &str) -> serde_json::Value {
    json!({"devices": {"requests": [{"name": name, "exactly": {"deviceClassName": class, "count": 2}}]}})
}

fn read(pod: &Pod, claims: &[ResourceClaim]) -> ClaimFacts {
    allocations(pod, claims)
}

#[test]
fn the_pending_claim_of_the_fixtures() {
    let files: Vec<String> =
        std::fs::read_dir(format!("{}/../tests/fixtures/dra", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("resourceclaim"))
            .collect();
    assert_eq!(
        files,
        ["resourceclaim-pending.json"],
        "each has its expected values here"
    );
    let claim: ResourceClaim = fixture("dra/resourceclaim-pending.json");
    let mut pod = one_claim(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "cannot allocate all claims"}]}),
    );
    pod.metadata.namespace = Some("default".into());
    pod.spec.resource_claims[0].resource_claim_name = Some("pending".into());
    pod.spec.node_name = None;
    let facts = read(&pod, &[claim]);
    let [own] = facts.allocations.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (own.vendor.as_str(), own.container.as_deref()),
        ("nvidia", Some("c"))
    );
    assert_eq!(
        (own.state, own.held, own.gpu.as_deref()),
        (Some(AllocationState::Pending), false, None)
    );
    assert_eq!(own.requested.count, Some(1));
    assert_eq!(own.requested.constraints["deviceClass"], "gpu.nvidia.com");
    assert_eq!(
        own.reason.as_deref(),
        Some("Unschedulable: cannot allocate all claims")
    );
    assert_eq!(
        (own.source.as_deref(), own.facts["claim"].as_str()),
        (Some("dra"), "pending")
    );
}

#[test]
fn a_share_of_a_card_by_hamis_driver() {
    // The pod of the fixtures, with a claim as HAMi's driver leaves it.
    let pod: Pod = fixture("pods/dra-pod.json");
    let claim: ResourceClaim = serde_json::from_value(json!({
        "metadata": {"name": "single-gpu-0", "namespace": "test-dra"},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "hami-core-gpu.project-hami.io", "capacity": {"requests": {"cores": 50, "memory": "4Gi"}}}}]}},
        "status": {
            "allocation": {
                "allocationTimestamp": "2026-01-01T00:00:00Z",
                "devices": {"results": [{"request": "gpu", "driver": "hami-core-gpu.project-hami.io", "pool": "node1", "device": "hami-gpu-0", "shareID": "s-1",
                    "consumedCapacity": {"hami-core-gpu.project-hami.io/cores": "50", "memory": "4Gi"}}]},
                "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}]}},
            "reservedFor": [{"resource": "pods", "name": "pod-0", "uid": pod.metadata.uid}]
        }
    }))
    .unwrap();
    let facts = read(&pod, &[claim]);
    let [own] = facts.allocations.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!((own.memory_mib, own.cores), (Some(4096), Some(50)));
    assert_eq!(
        (own.requested.count, own.requested.memory_mib, own.requested.cores),
        (Some(1), Some(4096), Some(50))
    );
    assert_eq!(
        (own.container.as_deref(), own.mapping),
        (Some("ctr0"), Some(Mapping::Claim))
    );
    assert_eq!(
        (own.node.as_deref(), own.state, own.held),
        (Some("node1"), Some(AllocationState::Active), true)
    );
    assert_eq!(own.since, "2026-01-01T00:00:00Z".parse().ok());
    let published = DeviceName {
        driver: "hami-core-gpu.project-hami.io".into(),
        pool: "node1".into(),
        device: "hami-gpu-0".into(),
    };
    assert_eq!(device(own), Some(published));

    let mut own = own.clone();
    assert!(own.unknown.contains_key("uuid"));
    let gpu = DeviceRef {
        gpu: "node1/GPU-1".into(),
        profile: None,
        memory_mib: Some(24576),
    };
    complete(&mut own, &gpu);
    assert_eq!(
        (own.gpu.as_deref(), own.memory_mib, own.unknown.len()),
        (Some("node1/GPU-1"), Some(4096), 0)
    );
}

#[test]
fn whole_devices_of_nvidias_driver() {
    let claim = claim(
        "x",
        request("gpu", "gpu.nvidia.com"),
        allocated(
            json!([
                result("gpu.nvidia.com", "gpu-0"),
                result("gpu.nvidia.com", "gpu-1-mig-1g.5gb-19-0"),
                result("gpu.nvidia.com", "gpu-1-mig-9-4-4"),
                result("dra.net", "eth0")
            ]),
            &["u"],
        ),
    );
    let facts = read(&one_claim(json!({})), &[claim]);
    let read: Vec<_> = facts
        .allocations
        .iter()
        .map(|own| (own.id.as_str(), own.profile.as_deref(), own.memory_mib))
        .collect();
    assert_eq!(
        read,
        [
            ("u/c/g.0", None, None),
            ("u/c/g.1", Some("1g.5gb"), None),
            ("u/c/g.2", None, None)
        ]
    );
    let mut whole = facts.allocations[0].clone();
    let part = DeviceRef {
        gpu: "n/GPU-1".into(),
        profile: Some("3g.20gb".into()),
        memory_mib: Some(40960),
    };
    complete(&mut whole, &part);
    assert_eq!(
        (whole.uuid.as_deref(), whole.profile.as_deref()),
        (Some("GPU-1"), Some("3g.20gb"))
    );
    assert_eq!(whole.memory_mib, Some(40960));
}

#[test]
fn lives_of_claims() {
    use AllocationState::*;
    let life = |results: serde_json::Value, consumers: &[&str], status: serde_json::Value| {
        let claim = claim(
            "x",
            request("gpu", "gpu.nvidia.com"),
            allocated(results, consumers),
        );
        let facts = read(&one_claim(status), &[claim]);
        facts
            .allocations
            .first()
            .map(|own| (own.state.unwrap(), own.held))
    };
    let card = json!([result("gpu.nvidia.com", "gpu-0")]);
    for (consumers, status, expected) in [
        (&["u"][..], json!({}), Some((Active, true))),
        (&["u", "v"], json!({}), Some((Active, true))),
        // Another pod is the first that shares it.
        (&["v", "u"], json!({}), Some((Active, false))),
        (&["u"], json!({"phase": "Pending"}), Some((Allocating, true))),
        (&["v"], json!({"phase": "Pending"}), Some((Pending, false))),
        (&[], json!({"phase": "Pending"}), Some((Pending, false))),
        (&["u"], json!({"phase": "Succeeded"}), Some((Stale, false))),
        (&[], json!({"phase": "Succeeded"}), None),
    ] {
        assert_eq!(
            life(card.clone(), consumers, status.clone()),
            expected,
            "{consumers:?} {status}"
        );
    }
    // Watching is not using.
    let mut admin = result("gpu.nvidia.com", "gpu-0");
    admin["adminAccess"] = json!(true);
    assert_eq!(life(json!([admin]), &["u"], json!({})), Some((Active, false)));
}

#[test]
fn containers_of_claims() {
    let spec = json!({
        "initContainers": [{"name": "i", "resources": {"claims": [{"name": "g", "request": "gpu"}]}}],
        "containers": [
            {"name": "a", "resources": {"claims": [{"name": "g"}]}},
            {"name": "b", "resources": {"claims": [{"name": "g", "request": "other"}]}},
            {"name": "none"}],
        "resourceClaims": [{"name": "g", "resourceClaimTemplateName": "t"}, {"name": "later", "resourceClaimTemplateName": "t"}]
    });
    let pod = pod(
        spec,
        json!({"resourceClaimStatuses": [{"name": "g", "resourceClaimName": "x"}]}),
    );
    assert_eq!(
        references(&pod).iter().map(|own| own.claim).collect::<Vec<_>>(),
        [Some("x"), None]
    );
    let mut sub = result("gpu.nvidia.com", "gpu-0");
    sub["request"] = json!("gpu/large");
    let spec = json!({"devices": {"requests": [{"name": "gpu", "firstAvailable": [
        {"name": "small", "deviceClassName": "mig.nvidia.com"}, {"name": "large", "deviceClassName": "gpu.nvidia.com", "count": 1}]}]}});
    let claim = claim("x", spec, allocated(json!([sub]), &["u"]));
    let facts = read(&pod, &[claim]);
    let read: Vec<_> = facts
        .allocations
        .iter()
        .map(|own| (own.id.as_str(), own.container_kind.unwrap(), own.held))
        .collect();
    // Both use the one device, which counts once.
    assert_eq!(
        read,
        [
            ("u/i/g.0", ContainerKind::Init, true),
            ("u/a/g.0", ContainerKind::App, false)
        ]
    );
    assert_eq!(
        facts.allocations[0].requested.constraints["deviceClass"],
        "gpu.nvidia.com"
    );
    assert_eq!(facts.missing, Vec::<String>::new());
    assert_eq!(allocations::<ResourceClaim>(&pod, &[]).missing, ["x"]);
}

#[test]
fn a_claim_behind_an_extended_resource() {
    let pod = pod(
        json!({"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}),
        json!({"extendedResourceClaimStatus": {"resourceClaimName": "x", "requestMappings": [{"containerName": "c", "resourceName": "nvidia.com/gpu", "requestName": "gpu"}]}}),
    );
    let claim = claim(
        "x",
        request("gpu", "gpu.nvidia.com"),
        allocated(json!([result("gpu.nvidia.com", "gpu-3")]), &["u"]),
    );
    let facts = read(&pod, &[claim]);
    let [own] = facts.allocations.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (own.id.as_str(), own.container.as_deref(), own.held),
        ("u/c/extended-resources.0", Some("c"), true)
    );
}

#[test]
fn versions_of_the_api_and_classes() {
    let pending = |class: &str| {
        let flat = json!({"devices": {"requests": [{"name": "gpu", "deviceClassName": class, "count": 3, "allocationMode": "ExactCount"}]}});
        let facts = read(
            &one_claim(json!({"phase": "Pending"})),
            &[claim("x", flat, json!({}))],
        );
        facts
            .allocations
            .first()
            .map(|own| (own.vendor.clone(), own.requested.count))
    };
    for (class, vendor) in [
        ("mig.nvidia.com", "nvidia"),
        ("gpu.amd.com", "amd"),
        ("dra.hygon.com", "hygon"),
    ] {
        assert_eq!(pending(class), Some((vendor.to_owned(), Some(3))), "{class}");
    }
    assert_eq!(pending("compute-domain-default-channel.nvidia.com"), None);
}

#[test]
fn an_amount_that_cannot_be_read_is_unknown() {
    let mut share = result("hami-core-gpu.project-hami.io", "hami-gpu-0");
    share["consumedCapacity"] = json!({"memory": "much", "cores": "10"});
    let claim = claim(
        "x",
        request("gpu", "hami-core-gpu.project-hami.io"),
        allocated(json!([share]), &["u"]),
    );
    let facts = read(&one_claim(json!({})), &[claim]);
    let mut own = facts.allocations[0].clone();
    assert_eq!((own.memory_mib, own.cores), (None, Some(10)));
    assert_eq!(facts.findings[0].reason, "unreadable-claim");
    let gpu = DeviceRef {
        gpu: "n/GPU-1".into(),
        profile: None,
        memory_mib: Some(1),
    };
    complete(&mut own, &gpu);
    assert_eq!(own.memory_mib, None, "a share of the device is not the device");
    assert!(own.unknown.contains_key("memoryMib"));
}
