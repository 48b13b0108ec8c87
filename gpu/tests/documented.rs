//! `docs/data.md` names every field that leaves a cluster, and no other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers are not inside its functions"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use kantaloupe_checks::{Code, Outcome, Verdict};
use kantaloupe_gpu::inventory::{ContainerUsage, Finding, FindingLevel, GpuUsage, ObjectRef, Record};

type Fields = BTreeMap<String, BTreeSet<String>>;

/// One record of each kind, with everything in it that may be left out.
fn records() -> Vec<Record> {
    let mut outcome = Outcome::new(Code::NET_001, Verdict::Pass, "");
    outcome.evidence.insert("a".to_owned(), "b".to_owned());
    outcome.commands.push("c".to_owned());
    outcome.blocked_by = Some("KTA-NET-001".into());
    vec![
        Record::Cluster(Box::default()),
        Record::Node(Box::default()),
        Record::Gpu(Box::default()),
        Record::Allocation(Box::default()),
        Record::Workload(Box::default()),
        Record::Finding(Box::new(Finding {
            code: "".into(),
            reason: "".into(),
            level: FindingLevel::Info,
            object: ObjectRef {
                kind: String::new(),
                namespace: None,
                name: String::new(),
            },
            message: String::new(),
            evidence: BTreeMap::new(),
            since: None,
        })),
        Record::GpuUsage(GpuUsage::default()),
        Record::ContainerUsage(ContainerUsage::default()),
        Record::Check(Box::new(outcome)),
    ]
}

fn in_the_code() -> Fields {
    let fields = |record: &Record| match serde_json::to_value(record).unwrap() {
        serde_json::Value::Object(fields) => fields.keys().cloned().collect(),
        other => panic!("{other} is no object"),
    };
    records()
        .iter()
        .map(|record| (record.kind().to_string(), fields(record)))
        .collect()
}

fn in_the_document(name: &str) -> Fields {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [kind, _, fields] = cells[..] else { return None };
        let fields: Option<BTreeSet<String>> = fields
            .split(", ")
            .map(|field| Some(field.strip_prefix('`')?.strip_suffix('`')?.to_owned()))
            .collect();
        Some((kind.to_owned(), fields?))
    });
    rows.collect()
}

#[test]
fn every_field_that_leaves_a_cluster_is_documented() {
    let code = in_the_code();
    assert_eq!(code.len(), 9, "a kind of record is missing in this test");
    for document in ["data.md", "data.zh.md"] {
        assert_eq!(in_the_document(document), code, "{document}");
    }
}
