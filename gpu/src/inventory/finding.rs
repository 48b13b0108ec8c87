//! What is not as it should be in the records.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingLevel {
    /// Something is broken, or a figure cannot be trusted.
    Error,
    /// Something will not work as expected.
    Warning,
    /// Worth knowing.
    Info,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `Node`, `Pod`, `Gpu`, ...
    pub kind: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The code that explains it, such as `KTA-HAMI-004`.
    pub code: Cow<'static, str>,
    /// Tells findings with one code apart, such as `stale-allocation`, `unparsable-registration`, `two-device-plugins`.
    pub reason: Cow<'static, str>,
    /// How much it matters.
    pub level: FindingLevel,
    /// What it is about.
    pub object: ObjectRef,
    /// One sentence: what was seen, with the values that prove it.
    pub message: String,
    /// Values that prove it.
    #[serde(default)]
    pub evidence: BTreeMap<String, String>,
    /// Since when, where the objects say.
    pub since: Option<Timestamp>,
}

impl Finding {
    /// `<code>/<reason>/<kind>/<namespace>/<name>`: the same finding on the same object is one record.
    pub fn id(&self) -> String {
        format!(
            "{}/{}/{}/{}/{}",
            self.code,
            self.reason,
            self.object.kind,
            self.object.namespace.as_deref().unwrap_or(""),
            self.object.name
        )
    }
}
