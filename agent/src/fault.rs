//! How failures travel: what the user reads, and whether trying again soon makes sense.

use std::{
    error::Error as StdError,
    fmt::{self, Write},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use kantaloupe_checks::{Code, Fault, Lang};
use kantaloupe_proto::agent_api::Problem;
use tracing::{error, warn};

/// Text of the peer's in our log: enough for a sentence or two.
const MAX_PEER_TEXT: usize = 1024;

/// A failed attempt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{fault}")]
pub(crate) struct Failure {
    pub(crate) fault: Arc<Fault>,
    /// Somebody has to change something first: retries are slow, and the log line is an error.
    pub(crate) permanent: bool,
}

impl Failure {
    pub(crate) fn transient(fault: Fault) -> Self {
        Self {
            fault: Arc::new(fault),
            permanent: false,
        }
    }

    pub(crate) fn permanent(fault: Fault) -> Self {
        Self {
            fault: Arc::new(fault),
            permanent: true,
        }
    }
}

/// A fault: what happened, and to what.
pub(crate) fn new(code: Code, what: impl Into<String>, subject: impl fmt::Display) -> Fault {
    let mut what = what.into();
    if let Some(first) = what.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Fault::new(code, what).with_detail(subject)
}

/// The gateway's answer that is an error, in its own words and with its code.
pub(crate) fn from_problem(problem: &Problem, url: &str) -> Failure {
    let said = if problem.detail.is_empty() {
        &problem.title
    } else {
        &problem.detail
    };
    if let Ok(code) = Code::from_str(&problem.code) {
        let fault = new(code, printable(said), url);
        return Failure {
            fault: Arc::new(fault),
            permanent: is_permanent(code),
        };
    }
    // A gateway that is newer than this agent: its code is not in our registry, its words still help.
    let what = format!(
        "the gateway refused with HTTP {}: {} {} [{}]",
        problem.status,
        printable(said),
        printable(&problem.fix),
        printable(&problem.code)
    );
    match problem.status {
        401 | 403 => Failure::permanent(new(Code::AUTH_007, what, url)),
        _ => Failure::transient(new(Code::NET_007, what, url)),
    }
}

/// Whether no attempt can succeed before somebody changes something.
fn is_permanent(code: Code) -> bool {
    code.area() == "AUTH" || matches!(code, Code::TLS_002 | Code::VER_001)
}

/// Writes a failed attempt to the log.
pub(crate) fn log(failure: &Failure, next_attempt: Duration) {
    let fault: &Fault = &failure.fault;
    let (code, cause, remedy) = (
        fault.code().as_str(),
        fault.cause(Lang::En),
        fault.remedy(Lang::En),
    );
    let what = fault.what_and_detail();
    if failure.permanent {
        error!(code, cause, remedy, ?next_attempt, "{what}");
    } else {
        warn!(code, cause, remedy, ?next_attempt, "{what}");
    }
}

/// Bounded, and without anything that could start a new line in a log or move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .take(MAX_PEER_TEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// An error with all that caused it, on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their source in their own text.
        if !text.contains(&cause_text) {
            // Writing to a String does not fail.
            let _infallible = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str, status: u16) -> Problem {
        serde_json::from_value(serde_json::json!({
            "status": status, "detail": "the token expired\nat 14:02", "code": code, "fix": "make a new one",
        }))
        .unwrap()
    }

    #[test]
    fn problems_keep_their_code_and_words() {
        for (code, status, permanent) in [
            ("KTA-AUTH-003", 401, true),
            ("KTA-AUTH-007", 403, true),
            ("KTA-TIME-001", 401, false),
            ("KTA-SRV-003", 429, false),
        ] {
            let failure = from_problem(&problem(code, status), "https://gw");
            assert_eq!(failure.fault.code().as_str(), code);
            assert_eq!(failure.permanent, permanent, "{code}");
            let text = failure.to_string();
            assert!(
                text.starts_with("The token expired at 14:02 (https://gw)."),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_code_still_says_what_the_gateway_said() {
        for (status, permanent) in [(403, true), (500, false)] {
            let failure = from_problem(&problem("KTA-NEW-123", status), "https://gw");
            assert_eq!(failure.permanent, permanent);
            let text = failure.to_string();
            assert!(
                text.contains("KTA-NEW-123") && text.contains("make a new one"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let inner = std::io::Error::other("refused");
        let outer = Failure::transient(new(Code::NET_003, "x", "y"));
        assert!(chain(&outer).starts_with('X'));
        assert_eq!(chain(&inner), "refused");
    }
}
