//! Findings of one pod while they are collected.

use kantaloupe_checks::Code;

use crate::inventory::{Finding, FindingLevel, ObjectRef};
use crate::object::Pod;
use crate::report::{Entry, Report};

/// Findings of one pod, one for each reason.
#[derive(Debug)]
pub(crate) struct Notes {
    report: Report,
    pod: ObjectRef,
}

impl Notes {
    /// None so far.
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            report: Report::default(),
            pod: ObjectRef {
                kind: "Pod".to_owned(),
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone().unwrap_or_default(),
            },
        }
    }

    /// Adds what was seen, and the values that prove it. The sentence may lack its full stop.
    pub(crate) fn add<const N: usize>(
        &mut self,
        reason: &'static str,
        level: FindingLevel,
        sentence: impl Into<String>,
        evidence: [(&str, &str); N],
    ) {
        let mut sentence = sentence.into();
        if !sentence.ends_with('.') {
            sentence.push('.');
        }
        let entry = Entry::new(Code::HAMI_004, reason, level, self.pod.clone(), sentence);
        let with = |entry: Entry, (name, value): (&str, &str)| entry.evidence(name, value);
        self.report.add(evidence.into_iter().fold(entry, with));
    }

    /// The findings.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.report.into_findings()
    }
}
