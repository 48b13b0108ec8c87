use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::inventory::{
    Allocation, Capacity, Gpu, GpuSource, Mode, Node, NodeRuntime, Owner, Requested, Used,
};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Inner {
    id: String,
    message: String,
    flag: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Choice {
    First,
    Second,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Outer {
    small: u32,
    large: u64,
    signed: Option<i64>,
    double: Option<f64>,
    text: String,
    option: Option<String>,
    inner: Inner,
    inner_option: Option<Inner>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    list: Vec<Inner>,
    choice: Option<Choice>,
    map: BTreeMap<String, String>,
    at: Option<jiff::Timestamp>,
    last: bool,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z0-9/:.-]{0,12}",
        Just("GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448".to_owned()),
        Just("node-1/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448".to_owned()),
        Just("0FC3EDA5-e98b-a25b-5b0d-cf5c855d1448".to_owned()),
        Just("2026-11-24T08:00:00Z".to_owned()),
        Just("2026-11-24T08:00:00.5Z".to_owned()),
        Just("2026-11-24t08:00:00Z".to_owned()),
        "\\PC{0,40}",
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    (text(), text(), any::<bool>()).prop_map(|(id, message, flag)| Inner { id, message, flag })
}

prop_compose! {
    fn outer()(
        small in any::<u32>(),
        large in prop_oneof![Just(0), any::<u64>()],
        signed in proptest::option::of(any::<i64>()),
        double in proptest::option::of(prop_oneof![Just(0.0), Just(0.1), any::<f64>().prop_filter("equal to itself", |v| !v.is_nan())]),
        text_ in text(),
        option in proptest::option::of(text()),
        inner_ in inner(),
        inner_option in proptest::option::of(inner()),
        list in proptest::collection::vec(inner(), 0..3),
        choice in proptest::option::of(prop_oneof![Just(Choice::First), Just(Choice::Second)]),
        map in proptest::collection::btree_map(text(), text(), 0..3),
        at in proptest::option::of((-10_000_000_000_i64..10_000_000_000, 0..2)),
        last in any::<bool>(),
    ) -> Outer {
        let at = at.map(|(second, nanos)| jiff::Timestamp::new(second, nanos).unwrap());
        Outer { small, large, signed, double, text: text_, option, inner: inner_, inner_option, list, choice, map, at, last }
    }
}

proptest! {
    #[test]
    fn what_is_packed_comes_back(value in outer()) {
        let mut strings = Strings::default();
        let packed = Packed::new(&value, &mut strings);
        prop_assert_eq!(packed.get::<Outer>(&strings), value.clone());
        // Only what is marked stays, and that is all that it needs.
        strings.intern("of nothing that is left");
        let mut live = strings.marks();
        packed.mark(&mut live);
        strings.retain(&live);
        prop_assert!(strings.find("of nothing that is left").is_none());
        prop_assert_eq!(packed.get::<Outer>(&strings), value.clone());
        prop_assert_eq!(Packed::new(&value, &mut strings), packed);
    }

    #[test]
    fn bytes_tell_values_apart(a in outer(), b in outer()) {
        prop_assert_eq!(bytes(&a) == bytes(&b), a == b);
        prop_assert_eq!(bytes(&a), bytes(&a.clone()));
    }

    #[test]
    fn any_bytes_are_refused_or_read(junk in proptest::collection::vec(any::<u8>(), 0..60)) {
        let strings = Strings::default();
        let _result = Outer::deserialize(&mut read::Reader::new(&junk, &strings));
    }
}

/// The records of the size that matters: 40,000 devices and 30,000 allocations.
#[test]
fn records_are_small() {
    let mut strings = Strings::default();
    let gpu = Gpu {
        id: "gpu-node-0001/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448".to_owned(),
        uuid: "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448".to_owned(),
        node: "gpu-node-0001".to_owned(),
        index: Some(0),
        vendor: "nvidia".to_owned(),
        model: Some("NVIDIA H100 80GB HBM3".to_owned()),
        mode: Some(Mode::HamiCore),
        capacity: Capacity {
            slots: Some(10),
            memory_mib: Some(81_559),
            cores: Some(100),
        },
        used: Used::default(),
        healthy: Some(true),
        numa: Some(0),
        source: Some(GpuSource::Annotation),
        ..Gpu::default()
    };
    let packed = Packed::new(&gpu, &mut strings);
    assert_eq!(packed.get::<Gpu>(&strings), gpu);
    assert!(packed.0.len() <= 80, "a device takes {} bytes", packed.0.len());

    let allocation = Allocation {
        id: "0fc3eda5-e98b-a25b-5b0d-cf5c855d1448/main/0".to_owned(),
        namespace: "team-a".to_owned(),
        pod: "train-5d9c8b6b7f-x2x9z".to_owned(),
        pod_uid: "0fc3eda5-e98b-a25b-5b0d-cf5c855d1448".to_owned(),
        container: Some("main".to_owned()),
        node: Some("gpu-node-0001".to_owned()),
        uuid: Some("GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448".to_owned()),
        vendor: "nvidia".to_owned(),
        memory_mib: Some(8192),
        cores: Some(10),
        requested: Requested {
            count: Some(1),
            memory_mib: Some(8192),
            cores: Some(10),
            ..Requested::default()
        },
        held: true,
        phase: Some("Running".to_owned()),
        workload: Some(Owner {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "train".to_owned(),
        }),
        since: "2026-11-24T08:00:00Z".parse().ok(),
        source: Some("hami".to_owned()),
        ..Allocation::default()
    };
    let packed = Packed::new(&allocation, &mut strings);
    assert_eq!(packed.get::<Allocation>(&strings), allocation);
    assert!(
        packed.0.len() <= 160,
        "an allocation takes {} bytes",
        packed.0.len()
    );

    let node = Node {
        name: "gpu-node-0001".to_owned(),
        runtime: Some(NodeRuntime {
            name: "containerd".to_owned(),
            version: "1.7.27".to_owned(),
        }),
        roles: vec!["worker".to_owned()],
        ..Node::default()
    };
    let packed = Packed::new(&node, &mut strings);
    assert_eq!(packed.get::<Node>(&strings), node);
}
