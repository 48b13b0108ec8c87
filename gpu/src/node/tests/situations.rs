//! Nodes as they occur beside those among the fixtures.

use super::*;

/// A ready node with these annotations and this capacity, all of it allocatable.
#[expect(clippy::needless_pass_by_value, reason = "callers pass literals")]
fn node(annotations: serde_json::Value, offered: serde_json::Value) -> serde_json::Value {
    json!({
        "metadata": {"name": "n", "labels": {"gpu": "on"}, "annotations": annotations},
        "status": {
            "capacity": offered, "allocatable": offered,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn nvidia(entries: &str, offered: &str) -> serde_json::Value {
    node(
        json!({"hami.io/node-nvidia-register": entries}),
        json!({"nvidia.com/gpu": offered}),
    )
}

const TWO: &str =
    "GPU-a,10,1024,100,NVIDIA-T,0,true,0,hami-core:GPU-b,10,1024,100,NVIDIA-T,0,true,1,hami-core:";

#[test]
fn a_sound_node_has_no_findings() {
    let facts = read_json(nvidia(TWO, "20"));
    assert_eq!(reasons(&facts), [""; 0]);
    assert!(
        facts
            .gpus
            .iter()
            .all(|gpu| gpu.healthy == Some(true) && !gpu.stale)
    );
}

#[test]
fn the_stock_plugin_won() {
    assert_eq!(
        reasons(&read_json(nvidia(TWO, "2"))),
        ["GPU-003 two-device-plugins"]
    );
    // With one share for each card nothing can be told.
    let single = TWO.replace(",10,", ",1,");
    assert_eq!(reasons(&read_json(nvidia(&single, "2"))), [""; 0]);
    // One of two works: the plugin offers the shares of that one.
    let half = TWO.replacen("true", "false", 1);
    assert_eq!(
        reasons(&read_json(nvidia(&half, "10"))),
        ["GPU-005 unhealthy-device"]
    );
}

#[test]
fn all_devices_unhealthy_is_not_stale() {
    let bad = TWO.replace("true", "false");
    let mut value = nvidia(&bad, "20");
    value["status"]["allocatable"]["nvidia.com/gpu"] = json!("0");
    let facts = read_json(value);
    assert!(
        facts
            .gpus
            .iter()
            .all(|gpu| gpu.healthy == Some(false) && !gpu.stale)
    );
    assert_eq!(
        reasons(&facts),
        ["GPU-005 unhealthy-device", "GPU-005 unhealthy-device"]
    );
}

#[test]
fn resources_that_are_gone_make_it_stale() {
    let facts = read_json(node(
        json!({"hami.io/node-nvidia-register": TWO}),
        json!({"cpu": "4"}),
    ));
    assert!(
        facts
            .gpus
            .iter()
            .all(|gpu| gpu.stale && gpu.healthy == Some(false))
    );
    assert_eq!(reasons(&facts), ["HAMI-003 stale-registration"]);
}

#[test]
fn renamed_resources() {
    let value = node(
        json!({"hami.io/node-nvidia-register": TWO}),
        json!({"nvidia.com/share": "20", "nvidia.com/gpumem": "20"}),
    );
    assert!(
        read_json(value.clone())
            .gpus
            .iter()
            .all(|gpu| gpu.healthy == Some(true))
    );
    let names =
        ResourceNames::from_device_config("nvidia:\n  resourceCountName: nvidia.com/share\n").unwrap();
    assert!(
        read_named(value, &names)
            .gpus
            .iter()
            .all(|gpu| gpu.healthy == Some(true))
    );
    // Where the installation says the name, nothing is guessed.
    let facts = read_named(nvidia(TWO, "20"), &names);
    assert!(facts.gpus.iter().all(|gpu| gpu.stale));
}

#[test]
fn handshake_given_up() {
    let with = |handshake: &str, offered: &str| {
        let annotations = json!({"hami.io/node-nvidia-register": TWO, "hami.io/node-handshake": handshake});
        reasons(&read_json(node(annotations, json!({"nvidia.com/gpu": offered}))))
    };
    assert_eq!(
        with("Deleted_2024.05.27 09:30:07", "20"),
        ["HAMI-003 handshake-deleted"]
    );
    assert_eq!(with("Deleted", "0"), ["HAMI-003 stale-registration"]);
    assert_eq!(
        with("Requesting_2020-01-01 00:00:00", "20"),
        [""; 0],
        "since 2.8 this is how it is"
    );
    assert_eq!(with("", "20"), [""; 0]);
}

#[test]
fn empty_and_broken_registrations() {
    for value in [":", "::", "[]"] {
        let facts = read_json(nvidia(value, "0"));
        assert_eq!(reasons(&facts), ["HAMI-003 not-registered"], "{value}");
        assert!(facts.gpus.is_empty());
    }
    for value in ["", "a", "garbage:", "not-valid-json", "{}"] {
        let facts = read_json(nvidia(value, "0"));
        assert_eq!(reasons(&facts), ["HAMI-003 unparsable-registration"], "{value}");
        assert_eq!(facts.findings[0].level, FindingLevel::Error);
    }
    let facts = read_json(nvidia(&format!("broken:{TWO}"), "20"));
    assert_eq!(facts.gpus.len(), 2);
    assert_eq!(facts.findings[0].level, FindingLevel::Warning);
    assert!(
        facts.findings[0].message.contains("entry 0"),
        "{}",
        facts.findings[0].message
    );
    assert!(
        facts.findings[0]
            .evidence
            .contains_key("hami.io/node-nvidia-register")
    );
}

#[test]
fn a_broken_vendor_hides_no_other() {
    let facts = read_json(node(
        json!({
            "hami.io/node-nvidia-register": "x",
            "hami.io/node-dcu-register": "DCU-0,4,65520,100,DCU-K100_AI,0,true:",
            "hami.io/node-register-Ascend910B3": "[]]",
            "hami.io/node-register-Ascend310P": r#"[{"id":"p0","count":7,"devmem":21527,"devcore":8,"type":"Ascend310P","health":true}]"#,
            "hami.io/node-new-register": "?",
            "hami.io/mutex.lock": "locked",
        }),
        json!({"hygon.com/dcunum": "4", "huawei.com/Ascend310P": "7", "kunlunxin.com/xpu": "2"}),
    ));
    assert_eq!(facts.node.vendors, ["ascend", "hygon", "kunlun"]);
    assert_eq!(facts.gpus.len(), 4);
    assert_eq!(
        reasons(&facts),
        [
            "HAMI-003 unknown-registration",
            "HAMI-003 unparsable-registration",
            "HAMI-004 unparsable-lock"
        ]
    );
    let unparsable = &facts.findings[1];
    assert!(
        unparsable.message.contains("Ascend910B3") && unparsable.message.contains("nvidia"),
        "{}",
        unparsable.message
    );
}

#[test]
fn a_model_that_only_the_installation_knows() {
    let value = node(
        json!({"hami.io/node-TG-V200-register": "GPU-tg,4,65536,100,TG-V200,0,true,0,hami-core:"}),
        json!({"iluvatar.ai/tg": "4"}),
    );
    let facts = read_json(value.clone());
    assert_eq!(
        reasons(&facts),
        ["HAMI-003 not-registered", "HAMI-003 unknown-registration"]
    );
    let names = ResourceNames::from_device_config(
        "iluvatars:\n- commonWord: TG-V200\n  resourceCountName: iluvatar.ai/tg\n",
    )
    .unwrap();
    let facts = read_named(value, &names);
    assert_eq!(
        (facts.gpus[0].vendor.as_str(), facts.gpus[0].healthy),
        ("iluvatar", Some(true))
    );
}

#[test]
fn volcano() {
    let value = node(
        json!({"volcano.sh/node-vgpu-register": "GPU-v,10,32768,NVIDIA-Tesla V100,true,hami-core:"}),
        json!({"volcano.sh/vgpu-number": "10"}),
    );
    let facts = read_json(value);
    let gpu = &facts.gpus[0];
    assert_eq!(
        (gpu.vendor.as_str(), gpu.source),
        ("nvidia", Some(GpuSource::Volcano))
    );
    assert_eq!(
        (gpu.model.as_deref(), gpu.healthy, gpu.mode),
        (Some("Tesla V100"), Some(true), Some(HamiCore))
    );
    // What HAMi registered before is left over, and the same card is not counted twice.
    let value = node(
        json!({
            "volcano.sh/node-vgpu-register": "GPU-a,10,1024,NVIDIA-T,true:",
            "hami.io/node-nvidia-register": TWO,
        }),
        json!({"volcano.sh/vgpu-number": "10"}),
    );
    let facts = read_json(value);
    assert_eq!(facts.gpus.len(), 1);
    assert_eq!(reasons(&facts), ["HAMI-003 superseded-registration"]);
    // Both alive: the card is there once, and that is remarkable.
    let value = node(
        json!({
            "volcano.sh/node-vgpu-register": "GPU-a,10,1024,NVIDIA-T,true:",
            "hami.io/node-nvidia-register": TWO,
        }),
        json!({"volcano.sh/vgpu-number": "10", "nvidia.com/gpu": "20"}),
    );
    let facts = read_json(value);
    assert_eq!(facts.gpus.len(), 2);
    assert_eq!(reasons(&facts), ["HAMI-003 registered-twice"]);
}

#[test]
fn hygon_after_its_renaming() {
    let value = node(
        json!({
            "hami.io/node-dcu-register": "DCU-0,4,65520,100,DCU-K100_AI,0,true:",
            "hami.io/node-hcu-register": r#"[{"id":"HCU-serial","count":4,"devmem":65520,"devcore":100,"type":"HCU-K100_AI","health":true}]"#,
        }),
        json!({"hygon.com/hcunum": "4"}),
    );
    let facts = read_json(value);
    assert_eq!(facts.gpus.len(), 1);
    assert_eq!(
        (facts.gpus[0].uuid.as_str(), facts.gpus[0].model.as_deref()),
        ("HCU-serial", Some("K100_AI"))
    );
}

#[test]
fn metax_slices() {
    let cards = r#"[{"uuid":"m0","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536,"healthy":true,"linkZone":1},
                    {"uuid":"m1","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536,"linkZone":1}]"#;
    let facts = read_json(node(
        json!({"metax-tech.com/node-gpu-devices": cards}),
        json!({"metax-tech.com/sgpu": "32", "metax-tech.com/gpu": "2"}),
    ));
    assert_eq!(
        facts.gpus.len(),
        2,
        "the same cards are not counted whole as well"
    );
    let gpu = &facts.gpus[0];
    assert_eq!((gpu.mode, gpu.model.as_deref()), (Some(Slice), Some("MXC500")));
    assert_eq!(
        (gpu.capacity.slots, gpu.physical_memory_mib),
        (Some(16), Some(65536))
    );
    assert_eq!(gpu.facts["linkZone"], "1");
    assert_eq!(facts.gpus[1].healthy, Some(false), "left out means false");
    // In whole mode the annotation stays.
    let facts = read_json(node(
        json!({"metax-tech.com/node-gpu-devices": cards}),
        json!({"metax-tech.com/gpu": "2"}),
    ));
    assert_eq!(facts.gpus.len(), 2);
    assert!(
        facts
            .gpus
            .iter()
            .all(|gpu| gpu.source == Some(Capacity) && gpu.mode == Some(Whole))
    );
}

#[test]
fn other_registrations() {
    let facts = read_json(node(
        json!({
            "enflame.com/gcu-drs-capacity": r#"{"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.6gb":"0","6g.40gb":"2"}}"#,
            "hami.io/node-register-xpu": r#"[{"id":"xpu-0","count":4,"devmem":98304,"devcore":100,"type":"XPU","health":true}]"#,
            "hami.io/node-biren-register": r#"[{"id":"7-0","count":1,"devmem":65536,"type":"Biren","health":true}]"#,
        }),
        json!({"enflame.com/drs-gcu": "6", "kunlunxin.com/vxpu": "4", "birentech.com/gpu": "1"}),
    ));
    let read: Vec<_> = facts
        .gpus
        .iter()
        .map(|gpu| {
            (
                gpu.uuid.as_str(),
                gpu.vendor.as_str(),
                gpu.mode,
                gpu.capacity.memory_mib,
                gpu.healthy,
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            ("7-0", "biren", Some(Whole), Some(65536), Some(true)),
            ("n-enflame-drs-0", "enflame", Some(Slice), Some(40960), None),
            ("xpu-0", "kunlun", Some(Slice), Some(98304), Some(true)),
        ]
    );
}

#[test]
fn older_installations_count_by_capacity() {
    let facts = read_json(node(
        json!({}),
        json!({
            "iluvatar.ai/vgpu": "200", "iluvatar.ai/vcuda-core": "200", "iluvatar.ai/vcuda-memory": "256",
            "cambricon.com/mlu370.smlu.vcore": "100", "cambricon.com/mlu370.smlu.vmemory": "96", "cambricon.com/real-mlu-counts": "1",
            "enflame.com/gcu-count": "2", "enflame.com/shared-gcu": "200",
            "amd.com/gpu": "1",
        }),
    ));
    let read: Vec<_> = facts
        .gpus
        .iter()
        .map(|gpu| (gpu.uuid.as_str(), gpu.capacity.memory_mib, gpu.healthy))
        .collect();
    assert_eq!(
        read,
        [
            ("n-AMDGPU-0", None, None),
            ("n-cambricon-mlu-0", Some(24576), None),
            ("n-enflame-0", None, None),
            ("n-enflame-1", None, None),
            ("n-iluvatar-0", Some(32768), None),
            ("n-iluvatar-1", Some(32768), None),
        ]
    );
    // Legacy Cambricon.
    let facts = read_json(node(
        json!({"hami.io/node-mlu-register": "MLU-1,10,24576,100,MLU370-X8,0,true:"}),
        json!({"cambricon.com/mlu": "10"}),
    ));
    assert_eq!(
        (facts.gpus[0].uuid.as_str(), facts.gpus[0].healthy),
        ("MLU-1", Some(true))
    );
}

#[test]
fn capacity_without_any_that_works() {
    let mut value = node(json!({}), json!({"kunlunxin.com/xpu": "2"}));
    value["status"]["allocatable"]["kunlunxin.com/xpu"] = json!("0");
    let facts = read_json(value);
    assert_eq!(facts.gpus[0].healthy, Some(false));
    assert_eq!(
        facts.gpus[0].unhealthy_reason.as_deref(),
        Some("the node offers no kunlunxin.com/xpu")
    );
    assert!(!facts.gpus[0].stale);
}

#[test]
fn ascend_with_hamis_own_limits() {
    let facts = read_json(node(
        json!({
            "hami-vnpu-core": "true",
            "hami.io/node-register-Ascend910B4-1": r#"[{"id":"a","count":8,"devmem":65536,"devcore":100,"type":"Ascend910B4-1","health":true,"custominfo":{"NetworkID":1}},
                {"id":"b","count":8,"devmem":65536,"devcore":100,"type":"Ascend910B4-1","health":true,"custominfo":{"NetworkID":0}}]"#,
        }),
        json!({"huawei.com/Ascend910B4-1": "16"}),
    ));
    assert!(
        facts
            .gpus
            .iter()
            .all(|gpu| gpu.mode == Some(HamiCore) && gpu.index.is_none())
    );
    assert_eq!(facts.gpus[0].facts["NetworkID"], "1");
}

/// A node that only labels describe.
fn discovered(labels: &serde_json::Value, offered: serde_json::Value) -> NodeFacts {
    let mut value = node(json!({}), offered);
    value["metadata"]["labels"] = labels.clone();
    read_json(value)
}

#[test]
fn nodes_of_the_stock_plugin() {
    let mut labels = json!({
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-SHARED", "nvidia.com/gpu.count": "2", "nvidia.com/gpu.memory": "40960",
        "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing",
    });
    let facts = discovered(&labels, json!({"nvidia.com/gpu": "8"}));
    assert_eq!(facts.gpus.len(), 2);
    let gpu = &facts.gpus[1];
    assert_eq!(
        (gpu.uuid.as_str(), gpu.model.as_deref()),
        ("n-nvidia-1", Some("NVIDIA-A100-SXM4-40GB"))
    );
    assert_eq!((gpu.mode, gpu.capacity.slots), (Some(Mode::TimeSlicing), Some(4)));
    assert_eq!((gpu.physical_memory_mib, gpu.healthy), (Some(40960), None));

    labels["nvidia.com/gpu.sharing-strategy"] = json!("mps");
    assert_eq!(
        discovered(&labels, json!({"nvidia.com/gpu": "8"})).gpus[0].mode,
        Some(Mode::Mps)
    );

    // MIG with resources of its own.
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB", "nvidia.com/gpu.count": "1", "nvidia.com/mig.strategy": "mixed"});
    let facts = discovered(
        &labels,
        json!({"nvidia.com/gpu": "0", "nvidia.com/mig-1g.5gb": "2", "nvidia.com/mig-3g.20gb": "1"}),
    );
    assert_eq!((facts.gpus[0].mode, facts.gpus[0].healthy), (Some(Mig), None));
    assert_eq!(facts.gpus[0].mig_profiles, ["1g.5gb", "3g.20gb"]);

    // MIG under the name of whole devices.
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "nvidia.com/gpu.count": "7", "nvidia.com/gpu.memory": "4864"});
    let facts = discovered(&labels, json!({"nvidia.com/gpu": "7"}));
    assert_eq!(facts.gpus.len(), 7);
    assert_eq!(
        (facts.gpus[0].mode, facts.gpus[0].capacity.memory_mib),
        (Some(Mig), Some(4864))
    );

    // No labels: whole cards.
    let facts = discovered(&json!({}), json!({"nvidia.com/gpu": "2"}));
    assert_eq!((facts.gpus.len(), facts.gpus[0].mode), (2, Some(Whole)));
    assert_eq!(facts.gpus[0].source, Some(Capacity));
    // Shares of HAMi that is about to register are no cards.
    let facts = discovered(&json!({"gpu": "on"}), json!({"nvidia.com/gpu": "20"}));
    assert_eq!(
        (facts.gpus.len(), reasons(&facts)),
        (0, vec!["HAMI-003 not-registered".to_owned()])
    );
}

#[test]
fn driver_labels() {
    let driver = |labels: serde_json::Value| discovered(&labels, json!({})).node.driver_version;
    assert_eq!(driver(json!({"nvidia.com/cuda.driver.major": "455", "nvidia.com/cuda.driver.minor": "06", "nvidia.com/cuda.driver.rev": ""})).as_deref(), Some("455.06"));
    assert_eq!(driver(json!({"nvidia.com/cuda.driver-version.full": "", "nvidia.com/cuda.driver-version.major": "550", "nvidia.com/cuda.driver-version.minor": "54"})).as_deref(), Some("550.54"));
    assert_eq!(
        driver(json!({"nvidia.com/vgpu.host-driver-version": "535.104"})).as_deref(),
        Some("535.104")
    );
    assert_eq!(
        driver(
            json!({"nvidia.com/cuda.driver-version.full": "unknown", "nvidia.com/cuda.driver.major": "x"})
        ),
        None
    );
}

#[test]
fn more_is_given_out_than_there_is() {
    let mut value = nvidia("GPU-a,10,258787,200,NVIDIA-NVIDIA H200,0,true,0,hami-core:", "10");
    value["metadata"]["labels"] =
        json!({"gpu": "on", "nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/gpu.memory": "143771"});
    let gpu = &read_json(value).gpus[0];
    assert_eq!(
        gpu.capacity.memory_mib,
        Some(258_787),
        "as the scheduler counts it"
    );
    assert_eq!(
        (gpu.physical_memory_mib, gpu.capacity.cores),
        (Some(143_771), Some(200))
    );
    assert_eq!(gpu.facts["memoryScalingPercent"], "179");
}

#[test]
fn fields_that_are_zero_or_nonsense() {
    let gpus = read_json(nvidia(
        r#"[{"id":"GPU-a","count":10,"type":"NVIDIA","numa":-1,"mode":"test","health":true},{"id":"GPU-b","index":1,"health":"?"}]"#,
        "10",
    ))
    .gpus;
    let gpu = &gpus[0];
    assert_eq!((gpu.capacity.memory_mib, gpu.capacity.cores), (None, None));
    assert_eq!((gpu.model.as_deref(), gpu.numa, gpu.mode), (None, None, None));
    for field in [
        "capacity.memoryMib",
        "capacity.cores",
        "model",
        "mode",
        "physicalMemoryMib",
    ] {
        assert!(gpu.unknown.contains_key(field), "{field}");
    }
    assert_eq!(gpus[1].healthy, None);
    assert_eq!(gpus[1].unknown["healthy"], "KTA-HAMI-003");
}

#[test]
fn readiness_that_nobody_knows() {
    let mut value = nvidia(TWO, "20");
    value["status"]["conditions"] = json!([]);
    let facts = read_json(value);
    assert_eq!(facts.gpus[0].healthy, None);
    assert_eq!(facts.gpus[0].unknown["healthy"], "KTA-K8S-007");
}

#[test]
fn scores_that_cannot_be_read() {
    let with = |scores: &str| {
        let annotations = json!({"hami.io/node-nvidia-register": TWO, "hami.io/node-nvidia-score": scores});
        read_json(node(annotations, json!({"nvidia.com/gpu": "20"})))
    };
    assert_eq!(reasons(&with("{")), ["HAMI-003 unparsable-scores"]);
    for scores in ["", "null", "[]", r#"[{"uuid":"GPU-z","score":{"GPU-a":1}}]"#] {
        let facts = with(scores);
        assert_eq!(reasons(&facts), [""; 0], "{scores}");
        assert!(facts.gpus[0].facts.is_empty());
    }
    assert_eq!(
        with(r#"[{"uuid":"GPU-a","score":{"GPU-b":200,"GPU-z":5}}]"#).gpus[0].facts["peerScores"],
        "1=200"
    );
}

#[test]
fn fresh_locks_are_no_finding() {
    for lock in ["2026-09-25T23:58:00Z,default,pod", "2026-09-25T23:58:00Z", ""] {
        let value = node(
            json!({"hami.io/node-nvidia-register": TWO, "hami.io/mutex.lock": lock}),
            json!({"nvidia.com/gpu": "20"}),
        );
        assert_eq!(reasons(&read_json(value)), [""; 0], "{lock}");
    }
    let value = node(
        json!({"hami.io/node-nvidia-register": TWO, "volcano.sh/mutex.lock": "2026-09-25T00:00:00Z", "cambricon.com/dsmlu.lock": "2026-09-24T00:00:00Z"}),
        json!({"nvidia.com/gpu": "20"}),
    );
    let facts = read_json(value);
    assert_eq!(reasons(&facts), ["HAMI-004 leaked-lock"]);
    assert_eq!(facts.findings[0].evidence.len(), 2);
}

#[test]
fn an_empty_object() {
    let facts = read_json(json!({}));
    assert!(facts.gpus.is_empty() && facts.findings.is_empty());
}
