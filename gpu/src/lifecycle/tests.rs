#![expect(clippy::needless_pass_by_value, reason = "json! makes values")]

use serde_json::json;

use super::*;

const NOW: i64 = 1_786_000_000;

fn pod(metadata: serde_json::Value, spec: serde_json::Value, status: serde_json::Value) -> Pod {
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn life(annotations: serde_json::Value, node: Option<&str>, phase: &str) -> Life {
    let pod = pod(
        json!({"annotations": annotations}),
        json!({"nodeName": node}),
        json!({"phase": phase}),
    );
    of_record(
        &pod,
        &Binding::of(&pod, Scheme::Hami),
        Timestamp::from_second(NOW).unwrap(),
    )
}

#[test]
fn lives_of_records() {
    use AllocationState::*;
    let bound = |phase: &str, age: i64| json!({"hami.io/vgpu-node": "n", "hami.io/bind-phase": phase, "hami.io/bind-time": (NOW - age).to_string(), "hami.io/vgpu-time": (NOW - age).to_string()});
    let filtered = |age: i64| json!({"hami.io/vgpu-node": "n", "hami.io/vgpu-time": (NOW - age).to_string()});
    for (annotations, node, phase, state, held) in [
        (bound("success", 10), Some("n"), "Running", Active, true),
        // Images are pulled: the devices are handed out.
        (bound("success", 9999), Some("n"), "Pending", Active, true),
        (bound("allocating", 10), Some("n"), "Pending", Allocating, true),
        (bound("allocating", 300), Some("n"), "Pending", Allocating, true),
        (bound("allocating", 301), Some("n"), "Pending", Stuck, true),
        // Vendors' own plugins never report success.
        (bound("allocating", 9999), Some("n"), "Running", Active, true),
        (bound("failed", 10), Some("n"), "Pending", Allocating, true),
        // The node's kubelet is silent.
        (bound("success", 10), Some("n"), "Unknown", Active, true),
        // Filtered, not bound yet, or never bound.
        (filtered(10), None, "Pending", Allocating, true),
        (filtered(301), None, "Pending", Stuck, true),
        // No phase of binding is written by this scheduler.
        (filtered(10), Some("n"), "Pending", Active, true),
        (bound("success", 10), Some("other"), "Running", Stale, false),
        (bound("success", 10), Some("n"), "Succeeded", Stale, false),
        (bound("failed", 10), Some("n"), "Failed", Stale, false),
        // HAMi counts nothing without a node.
        (json!({}), Some("n"), "Running", Unaccounted, false),
        (json!({}), None, "Pending", Pending, false),
        // An unreadable time says nothing about how long it takes.
        (
            json!({"hami.io/vgpu-node": "n", "hami.io/bind-phase": "allocating", "hami.io/bind-time": "x"}),
            Some("n"),
            "Pending",
            Allocating,
            true,
        ),
    ] {
        let life = life(annotations.clone(), node, phase);
        assert_eq!(
            (life.state, life.held),
            (state, held),
            "{annotations} {node:?} {phase}"
        );
    }
}

#[test]
fn a_pod_that_is_deleted_holds_until_it_is_gone() {
    let deleted = |phase: &str| {
        let pod = pod(
            json!({"annotations": {"hami.io/vgpu-node": "n"}, "deletionTimestamp": "2025-06-01T00:00:00Z"}),
            json!({"nodeName": "n"}),
            json!({"phase": phase}),
        );
        of_record(
            &pod,
            &Binding::of(&pod, Scheme::Hami),
            Timestamp::from_second(NOW).unwrap(),
        )
    };
    assert_eq!(
        (deleted("Running").state, deleted("Running").held),
        (AllocationState::Terminating, true)
    );
    assert_eq!(
        (deleted("Failed").state, deleted("Failed").held),
        (AllocationState::Stale, false)
    );
}

#[test]
fn reasons() {
    let status = json!({"phase": "Pending", "containerStatuses": [
        {"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}},
        {"name": "b", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]});
    let pulling = pod(json!({}), json!({"nodeName": "n"}), status);
    assert_eq!(
        of_request(&pulling).reason.as_deref(),
        Some("ImagePullBackOff: no such image")
    );

    let failed = pod(
        json!({"annotations": {"hami.io/vgpu-node": "n"}}),
        json!({"nodeName": "n"}),
        json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "x".repeat(5000)}),
    );
    let reason = of_record(
        &failed,
        &Binding::of(&failed, Scheme::Hami),
        Timestamp::UNIX_EPOCH,
    )
    .reason
    .unwrap();
    assert!(reason.starts_with("UnexpectedAdmissionError: x") && reason.len() < 600);
    assert_eq!(
        life(json!({"hami.io/vgpu-node": "n"}), Some("m"), "Running")
            .reason
            .as_deref(),
        Some("the record is for node n, the pod is on m")
    );
}

fn status(name: &str, exit: Option<i32>) -> serde_json::Value {
    let state = exit.map_or_else(
        || json!({"running": {}}),
        |code| json!({"terminated": {"exitCode": code}}),
    );
    json!({"name": name, "state": state})
}

#[test]
fn init_containers_count_until_the_last_has_succeeded() {
    let life = Life::new(AllocationState::Active, true, None);
    let spec =
        json!({"initContainers": [{"name": "a"}, {"name": "s", "restartPolicy": "Always"}, {"name": "b"}]});
    let with = |statuses: serde_json::Value| {
        pod(
            json!({}),
            spec.clone(),
            json!({"initContainerStatuses": statuses}),
        )
    };

    let begun = with(json!([
        status("a", Some(0)),
        status("s", None),
        status("b", None)
    ]));
    let first = of_init(&life, &begun, "a");
    assert_eq!((first.state, first.held), (AllocationState::Finished, true));
    assert_eq!(of_init(&life, &begun, "b"), life);

    let failed = with(json!([status("a", Some(0)), status("b", Some(1))]));
    assert!(of_init(&life, &failed, "a").held);
    assert_eq!(of_init(&life, &failed, "b"), life, "it will be started again");

    let done = with(json!([
        status("a", Some(0)),
        status("s", None),
        status("b", Some(0))
    ]));
    assert!(initialized(&done));
    let first = of_init(&life, &done, "a");
    assert_eq!((first.state, first.held), (AllocationState::Finished, false));

    assert!(!initialized(&with(json!([]))), "not known is not done");
    let stale = Life::new(AllocationState::Stale, false, None);
    assert_eq!(of_init(&stale, &done, "a"), stale);
}

fn share(gpu: &str, kind: ContainerKind, container: &str, memory: u64, cores: u32) -> Allocation {
    Allocation {
        gpu: Some(gpu.to_owned()),
        container: Some(container.to_owned()),
        container_kind: Some(kind),
        memory_mib: Some(memory),
        cores: Some(cores),
        held: true,
        ..Allocation::default()
    }
}

#[test]
fn what_a_pod_counts_for() {
    use ContainerKind::{App, Init, Sidecar};
    let used = |slots, memory_mib, cores| Used {
        slots,
        memory_mib,
        cores,
    };
    let count = |allocations: &[Allocation]| counted(allocations).get("n/a").cloned().unwrap_or_default();

    // All that stay are added up.
    let apps = [
        share("n/a", App, "x", 100, 10),
        share("n/a", App, "y", 200, 0),
        share("n/b", App, "y", 7, 7),
    ];
    assert_eq!(count(&apps), used(2, 300, 10));
    assert_eq!(counted(&apps)["n/b"], used(1, 7, 7));

    // Of init containers the largest counts, in each amount, against the sum of the others.
    let with_init = [
        share("n/a", Init, "i", 500, 5),
        share("n/a", Init, "j", 50, 90),
        share("n/a", App, "x", 100, 10),
        share("n/a", App, "y", 200, 10),
    ];
    assert_eq!(count(&with_init), used(2, 500, 90));
    // Two shares of one init container are held together.
    assert_eq!(
        count(&[share("n/a", Init, "i", 5, 1), share("n/a", Init, "i", 6, 1)]),
        used(2, 11, 2)
    );
    // A sidecar stays, and runs beside the init containers after it.
    let sidecar = [
        share("n/a", Init, "i", 30, 0),
        share("n/a", Sidecar, "s", 10, 0),
        share("n/a", Init, "j", 25, 0),
        share("n/a", App, "x", 5, 0),
    ];
    assert_eq!(count(&sidecar), used(2, 35, 0));

    // What is not held, not known or of no device counts nothing.
    let mut gone = share("n/a", Init, "i", 500, 5);
    gone.held = false;
    let mut nowhere = share("n/a", App, "x", 1, 1);
    nowhere.gpu = None;
    let mut unknown = share("n/a", App, "x", 1, 1);
    unknown.memory_mib = None;
    assert_eq!(count(&[gone, nowhere, unknown]), used(1, 0, 1));
}
