use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn record() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9,:;\\[\\]-]{0,60}",
        prop::collection::vec(
            prop_oneof![
                Just(String::new()),
                "(GPU-[a-c](\\[[0-9]-[0-9]\\])?,NVIDIA,[0-9]{1,6},[0-9]{1,3}:){1,3}",
                Just(",,0,0:".to_owned())
            ],
            0..5
        )
        .prop_map(|slots| slots.join(";") + ";"),
    ]
}

fn limits() -> impl Strategy<Value = serde_json::Value> {
    prop::collection::btree_map(
        prop::sample::select(vec![
            "nvidia.com/gpu",
            "nvidia.com/gpumem",
            "nvidia.com/mig-1g.5gb",
            "hygon.com/dcunum",
            "huawei.com/Ascend910B4",
            "huawei.com/Ascend910B4-memory",
            "aws.amazon.com/neuroncore",
            "mthreads.com/vgpu",
            "mthreads.com/sgpu-memory",
        ]),
        prop::sample::select(vec!["0", "1", "2", "8k", "-1", "x", "99999999999999999999", ""]),
        0..4,
    )
    .prop_map(|limits| json!(limits))
}

proptest! {
    /// Whatever the annotations say, there is no panic, ids are unique, and nothing is held of a pod that has ended.
    #[test]
    fn any_pod(
        nvidia in record(), dcu in record(), ascend in record(), neuron in record(),
        json in "[\\[\\]{}\",:A-Za-z0-9]{0,40}",
        node in prop::option::of("[mn]"), phase in prop::option::of("allocating|success|failed|x"), time in "[0-9a-z]{0,12}",
        inits in prop::collection::vec(limits(), 0..3), apps in prop::collection::vec(limits(), 0..4),
        bound in any::<bool>(), pod_phase in "Pending|Running|Succeeded|Failed|Unknown",
    ) {
        let group = |name: &str, all: &[serde_json::Value]| all.iter().enumerate().map(|(index, limits)| container(&format!("{name}{index}"), limits.clone())).collect::<Vec<_>>();
        let pod = pod(json!({
            "metadata": {"annotations": {
                "hami.io/vgpu-node": node, "hami.io/bind-phase": phase, "hami.io/vgpu-time": time, "hami.io/bind-time": time,
                "hami.io/vgpu-devices-allocated": nvidia, "hami.io/dcu-devices-allocated": dcu, "hami.io/Ascend910B4-devices-allocated": ascend, "hami.io/aws-neuron-devices-allocated": neuron,
                "huawei.com/Ascend910B4": json, "hami.io/vgpu-mig-allocations": json,
            }},
            "spec": {"nodeName": bound.then_some("n"), "initContainers": group("i", &inits), "containers": group("c", &apps)},
            "status": {"phase": pod_phase},
        }));
        let facts = read(&pod, &ResourceNames::default(), now());
        let ids: BTreeSet<_> = facts.allocations.iter().map(|own| own.id.as_str()).collect();
        prop_assert_eq!(ids.len(), facts.allocations.len());
        prop_assert!(facts.asks || facts.allocations.is_empty());
        let ended = lifecycle::ended(&pod);
        for own in &facts.allocations {
            let state = own.state.unwrap();
            prop_assert!(!(ended && own.held));
            prop_assert!(!own.held || state.holds() || state == AllocationState::Finished);
            prop_assert!(own.gpu.is_none() || own.uuid.is_some() && own.node.is_some());
            if state == AllocationState::Active && own.uuid.is_none() {
                prop_assert!(own.unknown.contains_key("uuid"));
            }
            let again: Allocation = serde_json::from_value(serde_json::to_value(own).unwrap()).unwrap();
            prop_assert_eq!(&again, own);
        }
    }
}
