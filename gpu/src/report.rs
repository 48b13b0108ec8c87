//! Collects findings of one object: what is found twice is one finding with all its evidence.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kantaloupe_checks::Code;

use crate::inventory::{Finding, FindingLevel, ObjectRef};

/// Values that are kept of one finding.
const MAX_EVIDENCE: usize = 16;

/// Bytes of a message; a node has few things that can be wrong, but a value in an annotation may be anything.
const MAX_MESSAGE: usize = 1024;

/// Characters that are kept of one value.
const MAX_VALUE: usize = 256;

/// Findings in the order of their identifiers.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: BTreeMap<String, Finding>,
}

/// A finding while it is put together.
#[derive(Debug)]
pub(crate) struct Entry(Finding);

impl Entry {
    pub(crate) fn new(
        code: Code,
        reason: &'static str,
        level: FindingLevel,
        object: ObjectRef,
        message: impl Into<String>,
    ) -> Self {
        Self(Finding {
            code: code.as_str().into(),
            reason: reason.into(),
            level,
            object,
            message: message.into(),
            evidence: BTreeMap::new(),
            since: None,
        })
    }

    pub(crate) fn evidence(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        self.0
            .evidence
            .insert(name.into(), cut(value.as_ref(), MAX_VALUE));
        self
    }

    pub(crate) const fn since(mut self, since: Option<Timestamp>) -> Self {
        self.0.since = since;
        self
    }
}

impl Report {
    /// Adds a finding, or adds to the one of the same identifier.
    pub(crate) fn add(&mut self, Entry(mut finding): Entry) {
        finding.message = cut(&finding.message, MAX_MESSAGE);
        let Some(known) = self.findings.get_mut(&finding.id()) else {
            self.findings.insert(finding.id(), finding);
            return;
        };
        known.level = known.level.min(finding.level);
        known.since = known.since.or(finding.since);
        if !known.message.contains(&finding.message)
            && known.message.len() + finding.message.len() < MAX_MESSAGE
        {
            known.message.push(' ');
            known.message.push_str(&finding.message);
        }
        let room = MAX_EVIDENCE.saturating_sub(known.evidence.len());
        known.evidence.extend(finding.evidence.into_iter().take(room));
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_values().collect()
    }
}

/// The first characters of a text.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A node as the object of a finding.
pub(crate) fn node(name: &str) -> ObjectRef {
    ObjectRef {
        kind: "Node".to_owned(),
        namespace: None,
        name: name.to_owned(),
    }
}

/// A device as the object of a finding.
pub(crate) fn gpu(id: &str) -> ObjectRef {
    ObjectRef {
        kind: "Gpu".to_owned(),
        namespace: None,
        name: id.to_owned(),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_same_finding_is_one() {
        let entry = |level, message: &str| Entry::new(Code::HAMI_003, "why", level, node("n"), message);
        let mut report = Report::default();
        report.add(entry(FindingLevel::Info, "One.").evidence("a", "1"));
        report.add(entry(FindingLevel::Error, "Two.").evidence("b", "x".repeat(1000)));
        report.add(entry(FindingLevel::Warning, "One."));
        report.add(Entry::new(
            Code::HAMI_003,
            "why",
            FindingLevel::Info,
            gpu("n/g"),
            "Other.",
        ));
        let findings = report.into_findings();
        assert_eq!(findings.len(), 2);
        let merged = findings
            .iter()
            .find(|finding| finding.object.kind == "Node")
            .unwrap();
        assert_eq!(merged.message, "One. Two.");
        assert_eq!(merged.level, FindingLevel::Error);
        assert_eq!(merged.evidence["b"].len(), MAX_VALUE + 3);
    }
}
