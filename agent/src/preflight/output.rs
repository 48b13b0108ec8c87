//! A report in the forms that people and programs read.

mod junit;
mod table;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use kantaloupe_checks::{Code, Lang, Outcome, Verdict, get};
use serde_json::{Value, json};

pub(super) use junit::junit;
pub(super) use table::{Style, table};

/// Version of the JSON form. Keys may be added to it; none changes its meaning.
const API_VERSION: &str = "kantaloupe.io/preflight/v1";

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// `preflight` or `doctor`.
    pub(super) command: &'static str,
    /// Names the run.
    pub(super) run_id: String,
    /// When it began.
    pub(super) started: Timestamp,
    /// How long it took.
    pub(super) duration_ms: u64,
    /// The cluster's version and distribution, if it answered.
    pub(super) cluster: Option<(String, String)>,
    /// The outcomes, in order of the registry.
    pub(super) outcomes: Vec<Outcome>,
    /// It ended before all was asked.
    pub(super) partial: bool,
}

/// How many outcomes there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) pass: usize,
    pub(super) fail: usize,
    pub(super) warn: usize,
    pub(super) skip: usize,
    pub(super) unknown: usize,
}

impl Report {
    /// Counts.
    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for outcome in &self.outcomes {
            *match outcome.verdict {
                Verdict::Pass => &mut summary.pass,
                Verdict::Fail => &mut summary.fail,
                Verdict::Warn => &mut summary.warn,
                Verdict::Skip => &mut summary.skip,
                Verdict::Unknown => &mut summary.unknown,
            } += 1;
        }
        summary
    }

    /// As JSON: the same data in every language.
    pub(super) fn json(&self) -> Value {
        let summary = self.summary();
        json!({
            "apiVersion": API_VERSION,
            "command": self.command,
            "runId": self.run_id,
            "startedAt": self.started.to_string(),
            "durationMs": self.duration_ms,
            "agentVersion": crate::VERSION,
            "cluster": self.cluster.as_ref().map(|(version, distribution)| json!({
                "kubernetesVersion": version, "distribution": distribution,
            })),
            "partial": self.partial,
            "summary": {
                "pass": summary.pass, "warn": summary.warn, "fail": summary.fail,
                "skip": summary.skip, "unknown": summary.unknown,
            },
            "checks": self.outcomes.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}

fn entry(outcome: &Outcome) -> Value {
    let verdict = serde_json::to_value(outcome.verdict).expect("a verdict is a word");
    let mut entry = json!({
        "code": outcome.code,
        "result": verdict,
        "message": outcome.message,
        "evidence": outcome.evidence,
        "fix": {"commands": outcome.commands},
        "blockedBy": outcome.blocked_by,
        "durationMs": outcome.duration_ms,
    });
    if let Some(code) = known(outcome) {
        let check = get(code);
        let both = |text: &kantaloupe_checks::Text| json!({"en": text.en, "zh": text.zh});
        entry["category"] = json!(code.area().to_ascii_lowercase());
        entry["severity"] = json!(check.severity.as_str());
        entry["name"] = check.name.as_ref().map_or(Value::Null, both);
        entry["title"] = both(&check.title);
        entry["cause"] = both(&check.cause);
        entry["fix"]["text"] = both(&check.remedy);
    }
    entry
}

/// The row of an outcome; one from a newer agent may have none.
fn known(outcome: &Outcome) -> Option<Code> {
    outcome.code.parse().ok()
}

/// What an area is called.
fn area(area: &str, lang: Lang) -> &str {
    let (en, zh) = match area {
        "CFG" => ("Configuration", "配置"),
        "NET" => ("Network", "网络"),
        "TLS" => ("TLS", "TLS"),
        "TIME" => ("Time", "时钟"),
        "AUTH" => ("Identity", "身份"),
        "VER" => ("Versions", "版本"),
        "K8S" => ("Cluster", "集群"),
        "RT" => ("Runtimes", "运行时"),
        "GPU" => ("Devices", "设备"),
        "HAMI" => ("HAMi", "HAMi"),
        "MON" => ("Monitoring", "监控"),
        "GW" => ("Gateway API", "网关"),
        "STO" => ("Storage", "存储"),
        "HELM" => ("Helm", "Helm"),
        "AGT" => ("Agent", "Agent"),
        "SEC" => ("Security", "安全"),
        other => return other,
    };
    match lang {
        Lang::En => en,
        Lang::Zh => zh,
    }
}
