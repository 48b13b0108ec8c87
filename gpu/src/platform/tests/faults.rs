//! One thing broken in a sound cluster.

use std::collections::BTreeSet;

use super::*;

/// Applies an RFC 7386 merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn is(object: &Value, wanted: &Value) -> bool {
    object["kind"] == wanted["kind"]
        && object["metadata"]["name"] == wanted["name"]
        && object["metadata"]["namespace"] == wanted["namespace"]
}

fn broken(fault: &Value) -> Vec<Value> {
    let mut objects = sound();
    let list = |key: &str| fault[key].as_array().cloned().unwrap_or_default();
    for patch in list("patch") {
        let object = objects
            .iter_mut()
            .find(|object| is(object, &patch))
            .unwrap_or_else(|| panic!("{fault}: there is no {patch}"));
        merge(object, &patch["merge"]);
    }
    for gone in list("delete") {
        let before = objects.len();
        objects.retain(|object| !is(object, &gone));
        assert!(objects.len() < before, "{fault}: there is no {gone}");
    }
    objects.extend(list("add"));
    objects
}

#[test]
fn a_sound_cluster_gives_no_code() {
    let outcomes = checks::run(&facts(&sound()));
    assert!(wrong(&outcomes).is_empty(), "{}", explain(&outcomes));
    // What cannot be seen from inside is not passed.
    let helm = outcomes
        .iter()
        .find(|outcome| outcome.code == "KTA-HELM-001")
        .unwrap();
    assert_eq!(helm.verdict, Verdict::Unknown);
    assert_eq!(helm.evidence["hami"], "hami 2.10.0");
    let unknown: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Unknown)
        .map(|outcome| outcome.code.as_ref())
        .collect();
    assert_eq!(unknown, ["KTA-HELM-001"], "{}", explain(&outcomes));
}

#[test]
fn each_broken_object_gives_its_code_and_no_other() {
    let faults = read("../faults.json");
    let faults = faults.as_array().unwrap();
    assert!(faults.len() >= 25);
    let mut failed = Vec::new();
    for fault in faults {
        let mut facts = facts(&broken(fault));
        // Where nothing is scraped there is nothing in Prometheus: these faults must be seen in objects alone.
        if matches!(fault["code"].as_str(), Some("KTA-MON-003" | "KTA-MON-007")) {
            let prometheus = facts.prometheus.as_mut().unwrap();
            prometheus.targets.clear();
            prometheus.samples.clear();
        }
        let outcomes = checks::run(&facts);
        let found: BTreeSet<_> = wrong(&outcomes).into_iter().collect();
        let wanted = BTreeSet::from([fault["code"].as_str().unwrap()]);
        let mends = outcomes
            .iter()
            .filter(|outcome| found.contains(outcome.code.as_ref()))
            .all(|outcome| !outcome.commands.is_empty() && !outcome.commands[0].contains('<'));
        if found != wanted || !mends {
            failed.push(format!("{}: {found:?}\n{}", fault["name"], explain(&outcomes)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// What is measured and not read from objects.
#[test]
fn each_broken_measurement_gives_its_code_and_no_other() {
    type Break = fn(&mut Facts);
    fn prometheus(facts: &mut Facts) -> &mut Prometheus {
        facts.prometheus.as_mut().unwrap()
    }
    let faults: &[(&str, &str, Break)] = &[
        ("the API server is away", "KTA-K8S-001", |facts| {
            facts.api.as_mut().unwrap().answer = Some(Err("connection refused".to_owned()));
        }),
        ("Kubernetes is too old", "KTA-K8S-002", |facts| {
            facts.api.as_mut().unwrap().version = Some("v1.25.16".to_owned());
        }),
        ("a right is missing", "KTA-K8S-004", |facts| {
            facts.rights.as_mut().unwrap().rules.remove(0);
        }),
        (
            "a right on one object became one on all",
            "KTA-K8S-004",
            |facts| {
                facts.rights.as_mut().unwrap().rules[1].resource_names.clear();
            },
        ),
        ("the agent is cluster-admin", "KTA-K8S-004", |facts| {
            facts
                .rights
                .as_mut()
                .unwrap()
                .rules
                .push(rule(&["*"], "*", &["*"], &[]));
        }),
        ("Prometheus does not answer", "KTA-MON-001", |facts| {
            let prometheus = prometheus(facts);
            prometheus.problem = Some("no answer within 2 s".to_owned());
            prometheus.server = None;
            prometheus.targets.clear();
            prometheus.samples.clear();
        }),
        ("Prometheus is too old", "KTA-MON-002", |facts| {
            prometheus(facts).server = Some(prometheus_of("2.36.2"));
        }),
        ("a target is down", "KTA-MON-003", |facts| {
            prometheus(facts).targets.insert(Exporter::Dcgm, (0, 2));
            prometheus(facts).samples.remove("DCGM_FI_DEV_GPU_UTIL");
        }),
        ("DCGM gives no utilisation", "KTA-MON-004", |facts| {
            prometheus(facts).samples.remove("DCGM_FI_DEV_GPU_UTIL");
        }),
        ("the samples of HAMi's monitor are old", "KTA-MON-005", |facts| {
            let samples = &mut prometheus(facts).samples;
            samples.get_mut("hami_host_gpu_utilization_ratio").unwrap().age = Some(900.0);
        }),
        ("HAMi's scheduler gives no samples", "KTA-MON-006", |facts| {
            prometheus(facts).samples.remove("hami_gpu_core_allocated_ratio");
        }),
        ("DCGM does not name the node", "KTA-HAMI-006", |facts| {
            let samples = &mut prometheus(facts).samples;
            samples.get_mut("DCGM_FI_DEV_GPU_UTIL").unwrap().labels.remove(0);
        }),
        ("the Gateway does not answer", "KTA-GW-003", |facts| {
            facts.gateways = [("10.7.0.20:80".to_owned(), Err("connection refused".to_owned()))].into();
        }),
        ("the agent was ended for lack of memory", "KTA-AGT-001", |facts| {
            facts.agent.as_mut().unwrap().last_end = Some("OOMKilled".to_owned());
        }),
        ("the agent is close to its limit", "KTA-AGT-001", |facts| {
            facts.agent.as_mut().unwrap().memory = Some((210 << 20, 256 << 20));
        }),
        ("the agent has no tunnel", "KTA-AGT-002", |facts| {
            facts.agent.as_mut().unwrap().tunnel = Some(Err("KTA-NET-003".to_owned()));
        }),
    ];
    for (name, code, break_it) in faults {
        let mut facts = facts(&sound());
        break_it(&mut facts);
        let outcomes = checks::run(&facts);
        assert_eq!(wrong(&outcomes), [*code], "{name}\n{}", explain(&outcomes));
    }
}

#[test]
fn surroundings_of_the_agent() {
    let namespace =
        |object: &Value| object["kind"] == "Namespace" && object["metadata"]["name"] == "kantaloupe-system";
    let mut objects = sound();
    let own = objects.iter_mut().find(|object| namespace(object)).unwrap();
    own["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged");
    assert_eq!(wrong(&checks::run(&facts(&objects))), ["KTA-SEC-001"]);

    let policy = |egress: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "egress", "namespace": "kantaloupe-system"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}
        })
    };
    for (egress, codes) in [
        (json!([]), &["KTA-SEC-002"][..]),
        (
            json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
            &["KTA-SEC-002"],
        ),
        (
            json!([{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 443, "protocol": "UDP"}]}]),
            &["KTA-SEC-002"],
        ),
        (
            json!([{"to": [{"podSelector": {}}], "ports": [{"port": 443}]}]),
            &["KTA-SEC-002"],
        ),
        (
            json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24"]}}]}]),
            &["KTA-SEC-002"],
        ),
        (json!([{}]), &[]),
        (json!([{"ports": [{"port": 1, "endPort": 1024}]}]), &[]),
        (
            json!([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]}]),
            &[],
        ),
    ] {
        let mut objects = sound();
        objects.push(policy(egress.clone()));
        let outcomes = checks::run(&facts(&objects));
        assert_eq!(wrong(&outcomes), codes, "{egress}\n{}", explain(&outcomes));
    }
}

/// One fault hides what builds on it, and says so.
#[test]
fn dependants_are_skipped_and_name_the_cause() {
    let mut facts = facts(&sound());
    facts.api.as_mut().unwrap().answer = Some(Err("refused".to_owned()));
    let outcomes = checks::run(&facts);
    for outcome in outcomes.iter().skip(1) {
        assert_eq!(outcome.verdict, Verdict::Skip, "{}", outcome.code);
        assert_eq!(
            outcome.blocked_by.as_deref(),
            Some("KTA-K8S-001"),
            "{}",
            outcome.code
        );
    }
}

/// What may not be read is unknown, and the missing right is named.
#[test]
fn a_forbidden_list_is_unknown_and_never_passed() {
    for kind in KINDS {
        let mut facts = facts(&sound());
        facts.objects.read.insert(kind.name, Read::Forbidden);
        let rest = checks::run(&facts);
        let blocked: Vec<_> = rest
            .iter()
            .filter(|outcome| outcome.blocked_by.as_deref() == Some("KTA-K8S-004"))
            .collect();
        assert!(
            blocked.iter().all(|outcome| outcome.verdict == Verdict::Unknown),
            "{}",
            kind.name
        );
        let decisive = [
            "nodes",
            "daemonsets",
            "deployments",
            "services",
            "servicemonitors",
            "prometheuses",
            "gateways",
            "gatewayclasses",
            "storageclasses",
            "namespaces",
            "networkpolicies",
            "clusterpolicies",
        ];
        assert!(
            !decisive.contains(&kind.name) || !blocked.is_empty(),
            "{}",
            kind.name
        );
    }
}

#[test]
fn objects_from_files_give_no_answer_that_only_a_live_cluster_can_give() {
    let facts = Facts::of(parse(&sound()), now(), false);
    let outcomes = checks::run(&facts);
    assert!(wrong(&outcomes).is_empty(), "{}", explain(&outcomes));
    for code in [
        "KTA-K8S-001",
        "KTA-MON-001",
        "KTA-MON-004",
        "KTA-GW-003",
        "KTA-HAMI-004",
    ] {
        let outcome = outcomes.iter().find(|outcome| outcome.code == code).unwrap();
        assert_eq!(outcome.verdict, Verdict::Unknown, "{code}");
    }
}

#[test]
fn an_empty_cluster_without_devices_says_so() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"containerRuntimeVersion": "containerd://2.0.0"}
    }});
    let mut facts = facts(&[node]);
    facts.prometheus = None;
    facts.gateways.clear();
    facts.objects.read.insert("gatewayclasses", Read::Absent);
    let outcomes = checks::run(&facts);
    assert_eq!(
        wrong(&outcomes),
        ["KTA-GPU-001", "KTA-HAMI-001", "KTA-MON-001", "KTA-GW-001"],
        "{}",
        explain(&outcomes)
    );
}
