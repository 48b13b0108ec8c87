//! A mapping of the configuration file that is consumed key by key, so that what is left over is unknown.

use serde_yaml_ng::{Mapping, Value};

use kantaloupe_checks::Code;

use super::{Finding, Invalid};

/// The place of a mistake that is not in one key.
pub(super) const FILE: &str = "file";

/// One mapping of the file with the dotted path that leads to it.
pub(super) struct Section {
    path: String,
    values: Mapping,
}

impl Section {
    pub(super) fn root(text: &str, findings: &mut Vec<Finding>) -> Self {
        let values = match serde_yaml_ng::from_str(text) {
            Ok(Value::Mapping(values)) => values,
            Ok(Value::Null) => Mapping::new(),
            Ok(_) => {
                findings.push(finding(FILE, "expected keys and values, found something else"));
                Mapping::new()
            }
            Err(error) => {
                findings.push(finding(FILE, format!("is not valid YAML: {error}")));
                Mapping::new()
            }
        };
        Self {
            path: String::new(),
            values,
        }
    }

    /// Takes a nested section; an absent or empty one is the same as one without keys.
    pub(super) fn section(&mut self, key: &str, findings: &mut Vec<Finding>) -> Self {
        let path = self.place(key);
        let values = match self.values.remove(key) {
            Some(Value::Mapping(values)) => values,
            None | Some(Value::Null) => Mapping::new(),
            Some(_) => {
                findings.push(finding(&path, "expected a section with keys"));
                Mapping::new()
            }
        };
        Self { path, values }
    }

    /// Takes a value that may be absent; null and "" count as absent, since that is what Helm renders for unset values.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        findings: &mut Vec<Finding>,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let place = self.place(key);
        let value = self.values.remove(key).filter(|value| !value.is_null())?;
        let Some(text) = single(value) else {
            findings.push(finding(&place, "expected a single value"));
            return None;
        };
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        match parse(text) {
            Ok(value) => Some(value),
            Err(Invalid { code, problem }) => {
                findings.push(Finding { code, place, problem });
                None
            }
        }
    }

    /// Takes a list of single values that may be absent. Here an empty value is a mistake: it is something left out.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        findings: &mut Vec<Finding>,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Vec<T> {
        let place = self.place(key);
        let values = match self.values.remove(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Sequence(values)) => values,
            Some(_) => {
                findings.push(finding(&place, "expected a list"));
                return Vec::new();
            }
        };
        let mut list = Vec::with_capacity(values.len());
        for (number, value) in values.into_iter().enumerate() {
            let place = format!("{place}[{number}]");
            match single(value)
                .filter(|text| !text.is_empty())
                .map(|text| parse(&text))
            {
                Some(Ok(value)) => list.push(value),
                Some(Err(Invalid { code, problem })) => findings.push(Finding { code, place, problem }),
                None => findings.push(finding(&place, "expected a single value that is not empty")),
            }
        }
        list
    }

    /// Takes a value that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        findings: &mut Vec<Finding>,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let before = findings.len();
        let value = self.optional(key, findings, parse);
        if value.is_none() && findings.len() == before {
            findings.push(finding(&self.place(key), "is required"));
        }
        value
    }

    /// Reports every key that nothing took.
    pub(super) fn finish(self, findings: &mut Vec<Finding>) {
        for key in self.values.keys() {
            let key = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
            findings.push(finding(
                &self.place(&key),
                "is an unknown key; check its spelling and its section",
            ));
        }
    }

    fn place(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// The text of a value that is no list and no section.
fn single(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn finding(place: &str, problem: impl Into<String>) -> Finding {
    Finding {
        code: Code::CFG_001,
        place: place.to_owned(),
        problem: problem.into(),
    }
}
