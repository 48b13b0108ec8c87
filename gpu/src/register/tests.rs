use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Case {
    value: String,
    ok: Option<Vec<Expected>>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    id: String,
    count: u32,
    #[serde(rename = "devmemMiB")]
    memory: u64,
    devcore: u32,
    #[serde(rename = "type")]
    kind: String,
    numa: i32,
    health: bool,
    index: u32,
    mode: String,
}

fn check(cases: &str) {
    let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let read = parse(Grammar::Hami, &case.value, "node");
        match (case.ok, case.error) {
            (Some(expected), None) => {
                assert_eq!(read.problems, [], "{}", case.value);
                assert_eq!(read.devices.len(), expected.len(), "{}", case.value);
                for (device, expected) in read.devices.iter().zip(expected) {
                    assert_eq!(device.id, expected.id);
                    assert_eq!(device.count, Some(expected.count));
                    assert_eq!(device.memory_mib, Some(expected.memory));
                    assert_eq!(device.cores, Some(expected.devcore));
                    assert_eq!(device.kind, expected.kind);
                    assert_eq!(device.numa, Some(expected.numa));
                    assert_eq!(device.health, Some(expected.health), "{}", case.value);
                    assert_eq!(device.index.unwrap_or(0), expected.index);
                    assert_eq!(device.mode, expected.mode);
                }
            }
            (None, Some(_)) => {
                assert_eq!(read.devices, [], "{}", case.value);
                assert_eq!(read.problems.len(), 1, "{}", case.value);
            }
            _ => panic!("a case has either ok or error"),
        }
    }
}

#[test]
fn documented_csv_cases() {
    check(include_str!(
        "../../../tests/fixtures/cases/node-register-csv.json"
    ));
}

#[test]
fn documented_json_cases() {
    check(include_str!(
        "../../../tests/fixtures/cases/node-register-json.json"
    ));
}

/// The error of a value that has one problem.
fn error(grammar: Grammar, value: &str) -> RegisterError {
    let read = parse(grammar, value, "node");
    assert_eq!(read.problems.len(), 1, "{value}: {read:?}");
    read.problems[0].error.clone()
}

#[test]
fn errors_of_csv() {
    for (value, expected) in [
        ("", RegisterError::MissingSeparator),
        ("a", RegisterError::MissingSeparator),
        ("not-valid-json", RegisterError::MissingSeparator),
        ("garbage:", RegisterError::MalformedSegment),
        (",:", RegisterError::FieldCount(2)),
        ("test-0,1,1024,100,DCU:", RegisterError::FieldCount(5)),
        ("g,1,1,1,T,0,true,0:", RegisterError::FieldCount(8)),
        (",1,1,1,T,0,true:", RegisterError::NoId),
        (
            "GPU-1,1,1024,100,T,0,maybe:",
            RegisterError::Field {
                field: "health",
                found: "`maybe`".to_owned(),
            },
        ),
        (
            "GPU-1,1,99999999999,100,T,0,true:",
            RegisterError::Field {
                field: "memory",
                found: "`99999999999`".to_owned(),
            },
        ),
        (
            "GPU-1,-1,1024,100,T,0,true:",
            RegisterError::Field {
                field: "count",
                found: "`-1`".to_owned(),
            },
        ),
        (
            "GPU-1,1,1024,100,T,0,true,-1,hami-core:",
            RegisterError::Field {
                field: "index",
                found: "`-1`".to_owned(),
            },
        ),
    ] {
        assert_eq!(error(Grammar::Hami, value), expected, "{value}");
    }
    for value in [":", "::", "[]", "null"] {
        assert_eq!(
            parse(Grammar::Hami, value, "node"),
            Registration::default(),
            "{value}"
        );
    }
    // The last one need not be terminated, Go's truth values are these, and -1 says that there is no NUMA.
    let read = parse(Grammar::Hami, "a,1,2,3,T,-1,T:b,1,2,3,T,0,0", "node");
    assert_eq!(read.problems, []);
    assert_eq!(read.devices[0].numa, Some(-1));
    assert_eq!(
        read.devices
            .iter()
            .map(|device| device.health)
            .collect::<Vec<_>>(),
        [Some(true), Some(false)]
    );
}

#[test]
fn a_bad_entry_hides_no_other() {
    let read = parse(
        Grammar::Hami,
        "GPU-1,1,1024,100,T,0,true:broken:GPU-2,x,1024,100,T,0,true:GPU-3,1,1024,100,T,0,false:GPU-1,2,2,2,T,0,true:",
        "node",
    );
    let ids: Vec<_> = read.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(ids, ["GPU-1", "GPU-3"]);
    let problems: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "entry 1: the entry has no fields",
            "entry 2: count is `x`",
            "entry 4: GPU-1 is registered twice"
        ]
    );
}

#[test]
fn fields_of_json_that_cannot_be_read() {
    let value = r#"[{"id":"GPU-0","count":"ten","devmem":1024,"type":"T","migProfiles":{},"health":"yes"},
        7, {"count":1}, {"id":"GPU-1","count":1,"health":true,"index":null,"unknown":[{}]}]"#;
    let read = parse(Grammar::Hami, value, "node");
    assert_eq!(read.devices.len(), 2);
    let first = &read.devices[0];
    assert_eq!(
        (first.count, first.memory_mib, first.health),
        (None, Some(1024), None)
    );
    assert_eq!(
        (first.kind.as_str(), first.mig_profiles.len()),
        ("T", 0),
        "the other fields are kept"
    );
    assert_eq!(read.devices[1].health, Some(true));
    let problems: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            r#"entry 0: count is `"ten"`"#,
            r#"entry 0: health is `"yes"`"#,
            "entry 0: migProfiles is `{}`",
            "entry 1: expected an object",
            "entry 2: the entry has no identifier",
        ]
    );
}

#[test]
fn json_that_ends_too_early() {
    let read = parse(
        Grammar::Hami,
        r#"[{"id":"GPU-0","health":true},{"id":"GPU-1","#,
        "node",
    );
    assert_eq!(read.devices.len(), 1);
    assert!(matches!(read.problems[0].error, RegisterError::Json(_)));
    let read = parse(Grammar::Hami, r#"[{"id":"GPU-0","health":true}] x"#, "node");
    assert_eq!(read.devices.len(), 1);
    assert_eq!(read.problems.len(), 1);
    assert_eq!(error(Grammar::Hami, "{}"), RegisterError::Shape("an array"));
}

#[test]
fn mig_profiles_of_all_versions() {
    let read = parse(
        Grammar::Hami,
        r#"[{"id":"new","migProfiles":[{"name":"1g.5gb","placements":[{"start":6,"size":1}]},{"name":"2g.10gb"},{"name":"1g.5gb"},{}]},
            {"id":"old","migtemplate":[[{"Name":"1g.10gb","Core":14,"Memory":10240,"Count":7}],[{"Name":"2g.20gb"}]]}]"#,
        "node",
    );
    assert_eq!(read.problems, []);
    assert_eq!(read.devices[0].mig_profiles, ["1g.5gb", "2g.10gb"]);
    assert_eq!(read.devices[1].mig_profiles, ["1g.10gb", "2g.20gb"]);
}

#[test]
fn too_many_devices() {
    let entry = |n: usize| format!("GPU-{n},1,1,1,T,0,true:");
    let value: String = (0..MAX_DEVICES + 5).map(entry).collect();
    let read = parse(Grammar::Hami, &value, "node");
    assert_eq!(read.devices.len(), MAX_DEVICES);
    assert_eq!(
        read.problems,
        [Problem {
            entry: None,
            error: RegisterError::TooMany
        }]
    );
    let value = serde_json::to_string(&vec![json!({"id": "x"}); MAX_DEVICES + 5]).unwrap();
    let read = parse(Grammar::Hami, &value, "node");
    assert_eq!((read.devices.len(), read.problems.len()), (1, MAX_PROBLEMS));
}

#[test]
fn volcano() {
    let read = parse(
        Grammar::Volcano,
        "GPU-0fc3eda5,10,32768,NVIDIA-Tesla V100-PCIE-32GB,true,hami-core:GPU-1,7,40960,NVIDIA-NVIDIA A100,false:",
        "node",
    );
    assert_eq!(read.problems, []);
    let first = &read.devices[0];
    assert_eq!(first.kind, "NVIDIA-Tesla V100-PCIE-32GB");
    assert_eq!(
        (first.index, first.count, first.memory_mib),
        (Some(0), Some(10), Some(32768))
    );
    assert_eq!((first.health, first.mode.as_str()), (Some(true), "hami-core"));
    let second = &read.devices[1];
    assert_eq!(
        (second.index, second.health, second.mode.as_str()),
        (Some(1), Some(false), "")
    );
    assert_eq!(error(Grammar::Volcano, "a,1,2,T:"), RegisterError::FieldCount(4));
    assert_eq!(error(Grammar::Volcano, ""), RegisterError::MissingSeparator);
}

#[test]
fn metax() {
    let read = parse(
        Grammar::MetaxSgpu,
        r#"[{"uuid":"GPU-m0","bdf":"0000:0e:00.0","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536,
             "availableDevCount":15,"numa":1,"healthy":true,"qosPolicy":"best-effort","linkZone":1},
            {"uuid":"GPU-m1","totalVRam":65536,"totalDevCount":16},
            {"model":"MXC500"}]"#,
        "node",
    );
    assert_eq!(read.devices.len(), 2);
    let first = &read.devices[0];
    assert_eq!(
        (first.index, first.count, first.memory_mib),
        (Some(0), Some(16), Some(65536))
    );
    assert_eq!(
        (first.cores, first.numa, first.health),
        (Some(100), Some(1), Some(true))
    );
    assert_eq!(first.kind, "MXC500");
    let facts: Vec<_> = first
        .facts
        .iter()
        .map(|(name, fact)| format!("{name}={fact}"))
        .collect();
    assert_eq!(facts, ["bdf=0000:0e:00.0", "linkZone=1", "qosPolicy=best-effort"]);
    assert_eq!(read.devices[1].health, Some(false), "left out means false");
    assert_eq!(
        read.problems,
        [Problem {
            entry: Some(2),
            error: RegisterError::NoId
        }]
    );
}

#[test]
fn enflame() {
    let value = r#"{"devices":[{"index":"0","minor":"3","capacity":6},{"index":"1","minor":"","capacity":"6"},{"index":"x","capacity":0},{}],
        "profiles":{"1g.6gb":"0","3g.20gb":"1","6g.40gb":"2","odd":"3"}}"#;
    let read = parse(Grammar::EnflameDrs, value, "gcu-1");
    assert_eq!(read.devices.len(), 2);
    let first = &read.devices[0];
    assert_eq!(first.id, "gcu-1-enflame-drs-0");
    assert_eq!(
        (first.count, first.memory_mib, first.cores),
        (Some(6), Some(40960), Some(100))
    );
    assert_eq!(first.facts["minor"], "3");
    assert_eq!(first.facts["profiles"], "1g.6gb 3g.20gb 6g.40gb");
    assert_eq!(first.health, None);
    assert_eq!(read.devices[1].id, "gcu-1-enflame-drs-1");
    assert_eq!(read.problems.len(), 2);
    // Without memory in the profiles HAMi counts a slice as a GiB.
    let read = parse(
        Grammar::EnflameDrs,
        r#"{"devices":[{"capacity":2}],"profiles":{"6g.x":"2"}}"#,
        "n",
    );
    assert_eq!(read.devices[0].memory_mib, Some(6 * 1024));
    assert_eq!(
        error(Grammar::EnflameDrs, "[]"),
        RegisterError::Shape("an object")
    );
    assert!(matches!(error(Grammar::EnflameDrs, "x"), RegisterError::Json(_)));
}

const GRAMMARS: [Grammar; 4] = [
    Grammar::Hami,
    Grammar::Volcano,
    Grammar::MetaxSgpu,
    Grammar::EnflameDrs,
];

/// A device as a plugin could register it.
fn device() -> impl Strategy<Value = Device> {
    (
        "[A-Za-z0-9-]{1,40}",
        0..=i32::MAX.unsigned_abs(),
        0..=i32::MAX.unsigned_abs(),
        0..=i32::MAX.unsigned_abs(),
        "[A-Za-z0-9 ./-]{0,30}",
        any::<i32>(),
        any::<bool>(),
        0..=i32::MAX.unsigned_abs(),
        "[a-z-]{1,9}",
    )
        .prop_map(
            |(id, count, memory, cores, kind, numa, health, index, mode)| Device {
                id,
                index: Some(index),
                count: Some(count),
                memory_mib: Some(memory.into()),
                cores: Some(cores),
                kind,
                numa: Some(numa),
                health: Some(health),
                mode,
                ..Device::default()
            },
        )
}

fn devices() -> impl Strategy<Value = Vec<Device>> {
    prop::collection::vec(device(), 0..12).prop_map(|mut devices| {
        let mut ids = BTreeSet::new();
        devices.retain(|device| ids.insert(device.id.clone()));
        devices
    })
}

/// An entry as HAMi's `EncodeNodeDevices` writes it.
fn csv(device: &Device) -> String {
    format!(
        "{},{},{},{},{},{},{},{},{}:",
        device.id,
        device.count.unwrap(),
        device.memory_mib.unwrap(),
        device.cores.unwrap(),
        device.kind,
        device.numa.unwrap(),
        device.health.unwrap(),
        device.index.unwrap(),
        device.mode
    )
}

/// An entry as Go's JSON with `omitempty` writes it.
fn object(device: &Device) -> serde_json::Value {
    let mut object = json!({
        "id": device.id, "index": device.index, "count": device.count, "devmem": device.memory_mib, "devcore": device.cores,
        "type": device.kind, "numa": device.numa, "mode": device.mode, "health": device.health, "devicepairscore": {},
    });
    object
        .as_object_mut()
        .unwrap()
        .retain(|_, value| *value != json!(0) && *value != json!("") && *value != json!(false));
    object
}

/// What is left out is 0 to HAMi.
fn zeros(mut devices: Vec<Device>) -> Vec<Device> {
    for device in &mut devices {
        device.index = Some(device.index.unwrap_or(0));
        device.count = Some(device.count.unwrap_or(0));
        device.memory_mib = Some(device.memory_mib.unwrap_or(0));
        device.cores = Some(device.cores.unwrap_or(0));
    }
    devices
}

proptest! {
    #[test]
    fn never_panics(value in "\\PC*", node in "\\PC{0,8}") {
        for grammar in GRAMMARS {
            let read = parse(grammar, &value, &node);
            prop_assert!(read.devices.len() <= MAX_DEVICES && read.problems.len() <= MAX_PROBLEMS);
        }
    }

    #[test]
    fn never_panics_on_what_is_almost_right(value in "[\\[\\]{}:,\"a-z0-9. -]{0,200}") {
        for grammar in GRAMMARS {
            parse(grammar, &value, "node");
        }
    }

    #[test]
    fn csv_round_trip(devices in devices()) {
        let value: String = devices.iter().map(csv).collect();
        prop_assume!(!value.is_empty());
        let read = parse(Grammar::Hami, &value, "node");
        prop_assert_eq!(read, Registration { devices, problems: vec![] });
    }

    #[test]
    fn json_round_trip(devices in devices()) {
        let value = serde_json::to_string(&devices.iter().map(object).collect::<Vec<_>>()).unwrap();
        let read = parse(Grammar::Hami, &value, "node");
        prop_assert_eq!(&read.problems, &[]);
        prop_assert_eq!(zeros(read.devices), devices);
    }

    #[test]
    fn a_bad_csv_entry_hides_no_other(devices in devices(), bad in "[^:]{0,30}", at in any::<prop::sample::Index>()) {
        // A bad entry that happens to be a good one is no bad one.
        prop_assume!(parse(Grammar::Hami, &format!("{bad}:"), "node").devices.is_empty());
        let mut entries: Vec<String> = devices.iter().map(csv).collect();
        entries.insert(at.index(entries.len() + 1), format!("{bad}:"));
        prop_assume!(!entries.concat().trim_start().starts_with(['[', '{']));
        let read = parse(Grammar::Hami, &entries.concat(), "node");
        prop_assert_eq!(read.devices, devices);
    }

    #[test]
    fn a_bad_json_entry_hides_no_other(devices in devices(), bad in prop::sample::select(vec![json!(1), json!("x"), json!({}), json!([]), json!({"id": 7})]), at in any::<prop::sample::Index>()) {
        let mut entries: Vec<_> = devices.iter().map(object).collect();
        entries.insert(at.index(entries.len() + 1), bad);
        let read = parse(Grammar::Hami, &serde_json::to_string(&entries).unwrap(), "node");
        prop_assert_eq!(zeros(read.devices), devices);
        prop_assert!(!read.problems.is_empty());
    }

    #[test]
    fn a_bad_volcano_entry_hides_no_other(devices in devices(), bad in "[^:,]{1,30}", at in any::<prop::sample::Index>()) {
        prop_assume!(!bad.trim().is_empty());
        let mut entries: Vec<String> = devices
            .iter()
            .map(|device| {
                let Device { id, count, memory_mib, kind, health, mode, .. } = device;
                format!("{id},{},{},{kind},{},{mode}:", count.unwrap(), memory_mib.unwrap(), health.unwrap())
            })
            .collect();
        entries.insert(at.index(entries.len() + 1), format!("{bad}:"));
        let read = parse(Grammar::Volcano, &entries.concat(), "node");
        prop_assert_eq!(read.problems.len(), 1);
        let ids: Vec<_> = read.devices.iter().map(|device| &device.id).collect();
        prop_assert_eq!(ids, devices.iter().map(|device| &device.id).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_metax_or_enflame_entry_hides_no_other(count in 0usize..8, at in any::<prop::sample::Index>()) {
        let at = at.index(count + 1);
        let mut metax: Vec<_> = (0..count).map(|n| json!({"uuid": format!("m{n}"), "totalVRam": 1})).collect();
        metax.insert(at, json!({"uuid": 1}));
        let read = parse(Grammar::MetaxSgpu, &serde_json::to_string(&metax).unwrap(), "node");
        prop_assert_eq!((read.devices.len(), read.problems.len()), (count, 1));
        let mut drs: Vec<_> = (0..count).map(|n| json!({"index": n.to_string(), "capacity": 6})).collect();
        drs.insert(at, json!([]));
        let value = json!({"devices": drs, "profiles": {"6g.40gb": "2"}}).to_string();
        let read = parse(Grammar::EnflameDrs, &value, "node");
        prop_assert_eq!((read.devices.len(), read.problems.len()), (count, 1));
    }
}
