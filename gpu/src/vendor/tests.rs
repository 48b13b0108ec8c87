use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn ids_are_unique_and_rows_complete() {
    let ids: BTreeSet<_> = VENDORS.iter().map(|vendor| vendor.id).collect();
    assert_eq!(ids.len(), VENDORS.len());
    for vendor in VENDORS {
        assert!(
            !vendor.name.is_empty() && !vendor.resources.count.is_empty(),
            "{}",
            vendor.id
        );
        assert!(!vendor.register.is_empty(), "{}", vendor.id);
        assert_eq!(
            vendor.words.is_empty(),
            !vendor.resources.count.contains("{}"),
            "{}: models and patterns go together",
            vendor.id
        );
    }
}

#[test]
fn keys_find_their_rows() {
    for (key, id, word) in [
        ("hami.io/node-nvidia-register", "nvidia", None),
        ("hami.io/node-dcu-register", "hygon-dcu", None),
        ("hami.io/node-hcu-register", "hygon-hcu", None),
        ("hami.io/node-mlu-register", "cambricon", None),
        ("hami.io/node-va-register", "vastai", None),
        ("hami.io/node-biren-register", "biren", None),
        ("hami.io/node-amd-register", "amd", None),
        ("hami.io/node-register-xpu", "kunlun-vxpu", None),
        (
            "hami.io/node-register-Ascend910B4-1",
            "ascend",
            Some("Ascend910B4-1"),
        ),
        ("hami.io/node-register-Ascend950", "ascend", Some("Ascend950")),
        ("hami.io/node-MR-V100-register", "iluvatar", Some("MR-V100")),
        ("volcano.sh/node-vgpu-register", "volcano-vgpu", None),
        ("metax-tech.com/node-gpu-devices", "metax-sgpu", None),
        ("enflame.com/gcu-drs-capacity", "enflame-drs", None),
    ] {
        let (found, _) = by_register(key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!((found.vendor.id, found.word), (id, word), "{key}");
    }
    for key in [
        "hami.io/node-register-",
        "hami.io/node-foo-register",
        "hami.io/node-handshake",
        "",
    ] {
        assert!(by_register(key).is_none(), "{key}");
    }
    for (key, id, word) in [
        ("hami.io/vgpu-devices-allocated", "nvidia", None),
        ("4pd.io/vgpu-ids-new", "nvidia", None),
        ("volcano.sh/vgpu-ids-new", "volcano-vgpu", None),
        (
            "hami.io/Ascend910B4-devices-allocated",
            "ascend",
            Some("Ascend910B4"),
        ),
        ("hami.io/BI-V150-devices-allocated", "iluvatar", Some("BI-V150")),
        ("hami.io/Vastai-devices-allocated", "vastai", None),
        ("hami.io/kunlun-allocated", "kunlun", None),
        ("hami.io/xpu-devices-allocated", "kunlun-vxpu", None),
        ("hami.io/enflame-gcu-devices-allocated", "enflame-gcu", None),
    ] {
        let (found, _) = by_allocated(key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!((found.vendor.id, found.word), (id, word), "{key}");
    }
    assert_eq!(
        by_to_allocate("hami.io/vgpu-devices-to-allocate")
            .map(|(found, keys)| (found.vendor.id, keys.scheme)),
        Some(("nvidia", Scheme::Hami))
    );
}

#[test]
fn words_of_allocations_find_their_rows() {
    for (keyword, id) in [
        ("NVIDIA", "nvidia"),
        ("DCU", "hygon-dcu"),
        ("HCU", "hygon-hcu"),
        ("MLU", "cambricon"),
        ("Ascend910B4", "ascend"),
        ("MR-V100", "iluvatar"),
        ("Iluvatar", "iluvatar-vcuda"),
        ("Mthreads", "mthreads"),
        ("Metax-GPU", "metax-gpu"),
        ("Metax-SGPU", "metax-sgpu"),
        ("Enflame", "enflame-drs"),
        ("GCU", "enflame-gcu"),
        ("Kunlun", "kunlun"),
        ("kunlun", "kunlun"),
        ("XPU", "kunlun-vxpu"),
        ("AWSNeuron", "aws-neuron"),
        ("AMD", "amd"),
        ("Vastai", "vastai"),
        ("Biren", "biren"),
    ] {
        assert_eq!(
            by_keyword(keyword).map(|found| found.vendor.id),
            Some(id),
            "{keyword}"
        );
    }
    assert!(by_keyword("AMD_Instinct_MI300X_VF").is_none());
    assert_eq!(by_name("hygon").map(|vendor| vendor.id), Some("hygon-dcu"));
    assert_eq!(by_name("metax-sgpu").map(|vendor| vendor.id), Some("metax-sgpu"));
}

#[test]
fn names_that_are_set_when_nothing_is_configured() {
    let names = ResourceNames::default();
    for (resource, id) in [
        ("nvidia.com/gpu", "nvidia"),
        ("nvidia.com/vgpu", "nvidia"),
        ("huawei.com/Ascend310P", "ascend"),
        ("iluvatar.ai/BI-V150-vgpu", "iluvatar"),
        ("metax-tech.com/gpu", "metax-gpu"),
        ("metax-tech.com/sgpu", "metax-sgpu"),
        ("enflame.com/gcu", "enflame-gcu"),
        ("kunlunxin.com/vxpu", "kunlun-vxpu"),
    ] {
        assert_eq!(
            names.by_count(resource).map(|names| names.vendor.id),
            Some(id),
            "{resource}"
        );
    }
    assert!(names.by_count("cpu").is_none());
    let ascend = by_name("ascend").unwrap();
    assert_eq!(
        names.of(ascend, Some("Ascend950")).memory.as_deref(),
        Some("huawei.com/Ascend950-memory"),
        "also of a model that nobody configured"
    );
}

/// `data["device-config.yaml"]` of a ConfigMap among the fixtures.
fn fixture() -> String {
    let map: serde_json::Value = serde_json::from_str(include_str!(
        "../../../tests/fixtures/platform/hami-scheduler-device-configmap.json"
    ))
    .unwrap();
    map["data"]["device-config.yaml"].as_str().unwrap().to_owned()
}

#[test]
fn names_of_an_installation() {
    let names = ResourceNames::from_device_config(&fixture()).unwrap();
    let nvidia = names.by_count("nvidia.com/gpu").unwrap();
    assert!(nvidia.configured);
    assert_eq!(
        nvidia.memory_percent.as_deref(),
        Some("nvidia.com/gpumem-percentage")
    );
    let ascend = names.by_count("huawei.com/Ascend910B4").unwrap();
    assert_eq!(ascend.word.as_deref(), Some("Ascend910B4"));
    assert_eq!(ascend.built_in_mib, Some(32768));
    // What the file does not name stays as it was.
    assert!(!names.by_count("huawei.com/Ascend310P").unwrap().configured);
    assert_eq!(names.iter().count(), ResourceNames::default().iter().count());
}

#[test]
fn renamed_resources() {
    let names = ResourceNames::from_device_config(
        "nvidia:\n  resourceCountName: nvidia.com/gpu.hami\n  memoryFactor: 10\n\
         hygon:\n  resourceCountName: hygon.com/hcunum\n  resourceMemoryName: hygon.com/mem\n\
         metax:\n  resourceCountName: metax-tech.com/gpu\n  resourceVCountName: x/sgpu\n  resourceVMemoryName: x/mem\n\
         vnpus:\n  hamiVnpuCore: true\n  configs:\n  - commonWord: Ascend950\n    resourceName: x/950\n    resourceMemoryName: x/950-memory\n    memoryCapacity: 131072\n  - {}\n\
         iluvatars:\n- commonWord: TG-V200\n  resourceCountName: x/tg\n\
         other: [1, 2]\n",
    )
    .unwrap();
    let nvidia = names.by_count("nvidia.com/gpu.hami").unwrap();
    assert_eq!(nvidia.memory_unit.mib("3"), Some(30));
    assert!(names.by_count("nvidia.com/gpu").is_none(), "another plugin's");
    let hcu = names.by_count("hygon.com/hcunum").unwrap();
    assert_eq!(
        (hcu.vendor.id, hcu.memory.as_deref()),
        ("hygon-hcu", Some("hygon.com/mem"))
    );
    assert_eq!(names.by_count("hygon.com/dcunum").unwrap().vendor.id, "hygon-dcu");
    assert_eq!(names.by_count("x/sgpu").unwrap().memory.as_deref(), Some("x/mem"));
    let ascend = names.by_count("x/950").unwrap();
    assert_eq!(
        (ascend.word.as_deref(), ascend.built_in_mib),
        (Some("Ascend950"), Some(131_072))
    );
    assert_eq!(names.by_count("x/tg").unwrap().word.as_deref(), Some("TG-V200"));
}

#[test]
fn what_is_no_configuration() {
    assert!(matches!(
        ResourceNames::from_device_config("a: [b"),
        Err(ConfigError::Yaml(_))
    ));
    for yaml in ["", "- a", "text"] {
        assert!(
            matches!(ResourceNames::from_device_config(yaml), Err(ConfigError::Shape)),
            "{yaml}"
        );
    }
    // Sections of another shape change nothing.
    let names =
        ResourceNames::from_device_config("nvidia: 1\nvnpus: {}\nhygon:\n  resourceCountName: 7\n").unwrap();
    assert!(names.iter().all(|names| !names.configured));
}

#[test]
fn memory_units() {
    assert_eq!(MemoryUnit::Mib(1).mib("8k"), Some(8000));
    assert_eq!(MemoryUnit::Mib(256).mib("4"), Some(1024));
    assert_eq!(MemoryUnit::Mib(1).mib("1500m"), None);
    assert_eq!(MemoryUnit::BytesOrGib.mib("4"), Some(4096));
    assert_eq!(MemoryUnit::BytesOrGib.mib("512Mi"), Some(512));
    assert_eq!(MemoryUnit::GibOrMib.mib("20"), Some(20480));
    assert_eq!(MemoryUnit::GibOrMib.mib("20480"), Some(20480));
}

#[test]
fn count_in_a_list_of_resources() {
    let names = ResourceNames::default();
    let nvidia = names.of(by_name("nvidia").unwrap(), None);
    let resources = |name: &str| BTreeMap::from([(name.to_owned(), "2".to_owned())]);
    assert_eq!(
        nvidia.find_count(&resources("nvidia.com/gpu")),
        Some(("nvidia.com/gpu", "2"))
    );
    assert_eq!(
        nvidia.find_count(&resources("nvidia.com/vgpu")),
        Some(("nvidia.com/vgpu", "2"))
    );
    assert_eq!(nvidia.find_count(&resources("amd.com/gpu")), None);
}
