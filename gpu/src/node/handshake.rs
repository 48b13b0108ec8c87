//! The handshake between HAMi's device plugin and its scheduler: `Reported ...`, `Requesting_<time>`, `Deleted_<time>`.
//!
//! It is no sign of life since 2.8, where the plugin never writes it: nodes that work keep a `Requesting` of any age.

use jiff::civil::DateTime;

/// Who wrote last, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The plugin reported its devices.
    Reported,
    /// The scheduler asks for a report.
    Requesting,
    /// The scheduler gave the devices up.
    Deleted,
    /// Nothing that is known.
    Unknown,
}

/// A handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The state.
    pub state: State,
    /// When it was written, in the local time of the writer, which the value does not name: ages are good to about a day.
    pub at: Option<DateTime>,
}

/// Length of `2025-10-01 12:00:00`.
const DATE_TIME: usize = 19;

/// Reads the value of the annotation.
pub fn parse(value: &str) -> Handshake {
    let value = value.trim();
    let state = [
        ("Reported", State::Reported),
        ("Requesting", State::Requesting),
        ("Deleted", State::Deleted),
    ]
    .into_iter()
    .find_map(|(word, state)| Some((state, value.strip_prefix(word)?)));
    match state {
        Some((state, rest)) if rest.is_empty() || rest.starts_with(['_', ' ']) => {
            Handshake { state, at: at(rest) }
        }
        _ => Handshake {
            state: State::Unknown,
            at: None,
        },
    }
}

/// `_2006.01.02 15:04:05` up to 2.4 and from other vendors' plugins, `_2006-01-02 15:04:05` since, ` 2006-01-02 15:04:05.9 +0000 UTC m=+1.2` from plugins.
fn at(rest: &str) -> Option<DateTime> {
    let text = rest.get(1..=DATE_TIME)?;
    DateTime::strptime("%Y-%m-%d %H:%M:%S", text)
        .or_else(|_| DateTime::strptime("%Y.%m.%d %H:%M:%S", text))
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        value: String,
        state: String,
        /// Absent where the case says nothing about it.
        #[serde(default)]
        at: serde_json::Value,
    }

    #[test]
    fn documented_cases() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../../tests/fixtures/cases/handshake.json")).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let read = parse(&case.value);
            assert_eq!(
                format!("{:?}", read.state).to_lowercase(),
                case.state,
                "{}",
                case.value
            );
            if let Some(at) = case.at.as_str() {
                let written = read.at.map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
                assert_eq!(written.as_deref(), Some(at), "{}", case.value);
            }
        }
    }

    #[test]
    fn times_of_all_writers() {
        let at = |value| parse(value).at.map(|at| at.to_string());
        assert_eq!(
            at("Reported 2024-01-23 04:30:04.434037031 +0000 UTC m=+1104711.777756895").as_deref(),
            Some("2024-01-23T04:30:04")
        );
        assert_eq!(
            at("Reported_2026.09.17 06:00:00").as_deref(),
            Some("2026-09-17T06:00:00")
        );
        assert_eq!(at("Requesting_2025-13-01 12:00:00"), None);
        assert_eq!(at("Deleted"), None);
        assert_eq!(parse("Requesting_soon").state, State::Requesting);
        assert_eq!(parse("Requestingly").state, State::Unknown);
    }

    proptest! {
        #[test]
        fn never_panics(value in "\\PC*", rest in "\\PC*") {
            parse(&value);
            parse(&format!("Deleted_{rest}"));
        }
    }
}
