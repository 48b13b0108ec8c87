//! What a check found.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// The answer of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not as recommended.
    Warn,
    /// Not as required.
    Fail,
    /// Not tried: it does not apply, or what it builds on failed.
    Skip,
    /// It could not be found out.
    Unknown,
}

/// The result of one check in one run. As JSON it is what `preflight -o json` prints for each check, and what goes with the inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The code; owned when it comes from another process, which may know codes that this one does not.
    pub code: Cow<'static, str>,
    /// The answer.
    pub verdict: Verdict,
    /// One sentence: what was seen, and where.
    pub message: String,
    /// Values that prove it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
    /// Commands that mend exactly this, ready to be pasted into a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// The code of the check whose failure keeps this one from being tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Cow<'static, str>>,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: u64,
}

impl Outcome {
    /// An answer without evidence yet.
    pub fn new(code: Code, verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().into(),
            verdict,
            message: message.into(),
            evidence: BTreeMap::new(),
            commands: Vec::new(),
            blocked_by: None,
            duration_ms: 0,
        }
    }

    /// Adds a value that proves it.
    #[must_use]
    pub fn evidence(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.evidence.insert(name.into(), value.into());
        self
    }

    /// Adds a command that mends it.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }
}
