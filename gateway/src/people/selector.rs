//! Labels of clusters, and selectors over them as Kubernetes writes them: `env=prod, tier in (a, b), !legacy`.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// A cluster's labels.
pub(crate) type Labels = BTreeMap<String, String>;

/// Labels of one cluster.
pub(crate) const MAX_LABELS: usize = 64;
/// Bytes of a selector.
const MAX_SELECTOR: usize = 1024;
/// Requirements of a selector, and values of one of them.
const MAX_REQUIREMENTS: usize = 32;
const MAX_VALUES: usize = 32;
/// Kubernetes' bounds of a label's name, prefix and value.
const MAX_NAME: usize = 63;
const MAX_PREFIX: usize = 253;

/// Why a label or a selector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    #[error("{0:?} is not the key of a label: [prefix/]name, of letters, digits, '-', '_' and '.'")]
    Key(String),
    #[error("{0:?} is not the value of a label: at most 63 letters, digits, '-', '_' and '.'")]
    Value(String),
    #[error("there are more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("the selector is empty: for all clusters bind to the organisation")]
    Empty,
    #[error("{0:?} is none of key, !key, key=value, key!=value, key in (a, b), key notin (a, b)")]
    Requirement(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also true where the label is missing, as in Kubernetes.
    NotIn(Vec<String>),
}

/// Which clusters a binding is for. All requirements have to be met, and there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    requirements: Vec<(String, Test)>,
    text: String,
}

impl Selector {
    /// Whether a cluster with these labels is meant.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|(key, test)| {
            let value = labels.get(key);
            match test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

/// As it was written.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Selector {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.len() > MAX_SELECTOR {
            return Err(LabelError::TooMany(MAX_SELECTOR, "bytes in the selector"));
        }
        let parts = split(text);
        if parts.len() > MAX_REQUIREMENTS {
            return Err(LabelError::TooMany(MAX_REQUIREMENTS, "requirements"));
        }
        if text.trim().is_empty() {
            return Err(LabelError::Empty);
        }
        Ok(Self {
            requirements: parts.into_iter().map(requirement).collect::<Result<_, _>>()?,
            text: text.trim().to_owned(),
        })
    }
}

/// Cuts at the commas that are in no brackets.
fn split(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
    .collect()
}

fn requirement(text: &str) -> Result<(String, Test), LabelError> {
    let text = text.trim();
    let wrong = || LabelError::Requirement(text.to_owned());
    if let Some(name) = text.strip_prefix('!') {
        return Ok((key(name.trim())?, Test::Missing));
    }
    // The longer operators first.
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((name, wanted)) = text.split_once(operator) {
            let values = vec![value(wanted.trim())?];
            let test = if equal {
                Test::In(values)
            } else {
                Test::NotIn(values)
            };
            return Ok((key(name.trim())?, test));
        }
    }
    let Some((before, list)) = text.split_once('(') else {
        return Ok((key(text)?, Test::Exists));
    };
    let list = list.strip_suffix(')').ok_or_else(wrong)?;
    let (name, operator) = before
        .trim()
        .split_once(|c: char| c.is_ascii_whitespace())
        .ok_or_else(wrong)?;
    let values: Vec<_> = list
        .split(',')
        .map(|text| value(text.trim()))
        .collect::<Result<_, _>>()?;
    if values.len() > MAX_VALUES {
        return Err(LabelError::TooMany(MAX_VALUES, "values"));
    }
    let test = match operator.trim() {
        "in" => Test::In(values),
        "notin" => Test::NotIn(values),
        _ => return Err(wrong()),
    };
    Ok((key(name)?, test))
}

/// Checks a cluster's labels.
pub(crate) fn check_labels(labels: &Labels) -> Result<(), LabelError> {
    if labels.len() > MAX_LABELS {
        return Err(LabelError::TooMany(MAX_LABELS, "labels"));
    }
    for (name, wanted) in labels {
        key(name)?;
        value(wanted)?;
    }
    Ok(())
}

fn key(text: &str) -> Result<String, LabelError> {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let subdomain = |prefix: &str| {
        (1..=MAX_PREFIX).contains(&prefix.len())
            && prefix.split('.').all(|label| {
                label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            })
    };
    if is_word(name) && prefix.is_none_or(subdomain) {
        Ok(text.to_owned())
    } else {
        Err(LabelError::Key(text.to_owned()))
    }
}

/// A value may be empty.
fn value(text: &str) -> Result<String, LabelError> {
    if text.is_empty() || is_word(text) {
        Ok(text.to_owned())
    } else {
        Err(LabelError::Value(text.to_owned()))
    }
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= MAX_NAME
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn selectors_mean_what_they_mean_in_kubernetes() {
        let prod = labels(&[("env", "prod"), ("tier", "a"), ("example.com/team", "ml")]);
        let bare = labels(&[]);
        for (selector, of_prod, of_bare) in [
            ("env=prod", true, false),
            ("env==prod", true, false),
            ("env = test", false, false),
            ("env!=prod", false, true),
            ("env", true, false),
            ("!env", false, true),
            ("! legacy", true, true),
            ("tier in (a, b)", true, false),
            ("tier in (b)", false, false),
            ("tier notin (a,b)", false, true),
            ("example.com/team=ml", true, false),
            ("env=prod,tier in (a,b), !legacy", true, false),
            ("env=prod,tier=b", false, false),
            ("env=", false, false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(
                (parsed.matches(&prod), parsed.matches(&bare)),
                (of_prod, of_bare),
                "{selector}"
            );
            assert_eq!(parsed.to_string(), selector);
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_and_matches_nothing_by_accident() {
        for wrong in [
            "",
            " ",
            ",",
            "env=prod,",
            "env=a b",
            "=prod",
            "!",
            "env in",
            "env in ()x",
            "env in (a",
            "env in a)",
            "env of (a)",
            "in (a)",
            "env>1",
            "env=prod;tier=a",
            "-env",
            "env/",
            "/env",
            "UPPER.com/env=1",
            "env=-a",
            "env in (a,(b))",
        ] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong:?}");
        }
        let long = "x".repeat(MAX_SELECTOR + 1);
        assert!(long.parse::<Selector>().is_err());
        let many = vec!["a"; MAX_REQUIREMENTS + 1].join(",");
        assert!(many.parse::<Selector>().is_err());
    }

    #[test]
    fn labels_are_checked() {
        check_labels(&labels(&[("env", ""), ("a.b/c_d", "x.Y-1")])).unwrap();
        for wrong in [("", "a"), ("env", "a b"), ("e v", "a"), ("env", &"x".repeat(64))] {
            check_labels(&labels(&[wrong])).unwrap_err();
        }
    }
}
