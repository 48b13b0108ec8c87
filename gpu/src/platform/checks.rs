//! The checks: pure functions of [`Facts`], in the order in which one needs the other.
//!
//! What builds on something that failed is not tried but skipped, with the code that is to blame. So one fault gives one
//! code, however much depends on it.

mod agent;
mod cluster;
mod gateway;
mod gpu;
mod hami;
mod monitoring;
mod nodes;
mod rights;

use kantaloupe_checks::{Code, Outcome, Severity, Verdict, get};

pub use gateway::endpoints;
pub(crate) use gpu::DEPLOY;
pub use monitoring::{LABELS, metrics};

use super::facts::Facts;

/// One check.
struct Check {
    code: Code,
    /// Checks that have to be passed before.
    needs: &'static [Code],
    run: fn(&Facts) -> Outcome,
}

const fn check(code: Code, needs: &'static [Code], run: fn(&Facts) -> Outcome) -> Check {
    Check { code, needs, run }
}

/// In dependency order, which is also the order of the output.
const CHECKS: &[Check] = &[
    check(Code::K8S_001, &[], cluster::reachable),
    check(Code::K8S_002, &[], cluster::version),
    check(Code::K8S_003, &[], cluster::distribution),
    check(Code::K8S_004, &[], rights::rights),
    check(Code::K8S_006, &[], cluster::optional_apis),
    check(Code::K8S_007, &[], nodes::ready),
    check(Code::RT_001, &[], nodes::runtime),
    check(Code::RT_002, &[], nodes::nvidia_runtime),
    check(Code::GPU_001, &[], nodes::found),
    check(Code::GPU_002, &[], nodes::driver),
    check(Code::GPU_003, &[], gpu::stock_plugin),
    check(Code::GPU_006, &[], gpu::operator),
    check(Code::GPU_004, &[Code::GPU_006], gpu::dcgm),
    check(Code::GPU_005, &[], gpu::devices),
    check(Code::HAMI_001, &[], hami::scheduler),
    check(Code::HAMI_002, &[Code::RT_002, Code::GPU_001], hami::plugin),
    check(
        Code::HAMI_003,
        &[Code::HAMI_002, Code::GPU_003],
        hami::registration,
    ),
    check(Code::HAMI_004, &[], hami::allocations),
    check(Code::HAMI_005, &[Code::HAMI_001], hami::version),
    check(Code::MON_001, &[], monitoring::reachable),
    check(Code::MON_002, &[Code::MON_001], monitoring::version),
    check(Code::MON_007, &[], monitoring::selectors),
    check(Code::MON_003, &[], monitoring::scraped),
    check(
        Code::MON_004,
        &[Code::MON_001, Code::GPU_004],
        monitoring::dcgm_samples,
    ),
    check(
        Code::MON_005,
        &[Code::MON_001, Code::HAMI_002, Code::HAMI_003],
        monitoring::monitor_samples,
    ),
    check(
        Code::MON_006,
        &[Code::MON_001, Code::HAMI_001, Code::HAMI_003],
        monitoring::scheduler_samples,
    ),
    check(Code::HAMI_006, &[Code::MON_004], monitoring::dcgm_labels),
    check(Code::GW_001, &[], gateway::api),
    check(Code::GW_002, &[Code::GW_001], gateway::programmed),
    check(Code::GW_003, &[Code::GW_002], gateway::answers),
    check(Code::STO_001, &[], gateway::storage),
    check(Code::HELM_001, &[], gateway::helm),
    check(Code::SEC_001, &[], agent::pod_security),
    check(Code::SEC_002, &[], agent::network_policies),
    check(Code::AGT_001, &[], agent::memory),
    check(Code::AGT_002, &[], agent::connected),
];

/// Codes of all checks that are run here, in order.
pub fn codes() -> impl Iterator<Item = Code> {
    CHECKS.iter().map(|check| check.code)
}

/// Runs all checks. Checks of the running agent's own pod are left out where it is not known.
pub fn run(facts: &Facts) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(CHECKS.len());
    for check in CHECKS {
        let own = matches!(
            check.code,
            Code::AGT_001 | Code::AGT_002 | Code::SEC_001 | Code::SEC_002
        );
        if own && facts.agent.is_none() {
            continue;
        }
        let first = (check.code != Code::K8S_001).then_some(Code::K8S_001);
        let blocker = first
            .iter()
            .chain(check.needs)
            .find_map(|&need| blocker(&outcomes, need));
        let mut outcome = match blocker {
            Some(blocker) => skipped(check.code, blocker),
            None => (check.run)(facts),
        };
        if outcome.verdict == Verdict::Unknown && facts.api.is_none() {
            // Whoever has the files alone cannot know that there is anything to mend.
            outcome.commands.clear();
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// The code that is to blame if `need` was not passed: its own, or the one that it was skipped for.
pub fn blocker(outcomes: &[Outcome], need: Code) -> Option<Code> {
    let outcome = outcomes.iter().find(|outcome| outcome.code == need.as_str())?;
    match outcome.verdict {
        Verdict::Fail | Verdict::Warn => Some(need),
        Verdict::Skip => outcome.blocked_by.as_deref()?.parse().ok(),
        Verdict::Pass | Verdict::Unknown => None,
    }
}

/// Not tried, because of `blocker`.
pub fn skipped(code: Code, blocker: Code) -> Outcome {
    let mut outcome = Outcome::new(code, Verdict::Skip, format!("not tried: see {blocker}"));
    outcome.blocked_by = Some(blocker.as_str().into());
    outcome
}

/// Not as it should be: how bad that is, is the code's.
pub fn bad(code: Code, message: impl Into<String>) -> Outcome {
    let verdict = match get(code).severity {
        Severity::Required => Verdict::Fail,
        Severity::Recommended | Severity::Request => Verdict::Warn,
        Severity::Info => Verdict::Unknown,
    };
    Outcome::new(code, verdict, message)
}

/// Something is not there that should be. Of objects from files this says nothing: what was not put into them may be there.
fn absent(facts: &Facts, code: Code, message: impl Into<String>) -> Outcome {
    if facts.api.is_some() {
        return bad(code, message);
    }
    unknown(
        code,
        format!("among the objects in the files: {}", message.into()),
    )
}

fn pass(code: Code, message: impl Into<String>) -> Outcome {
    Outcome::new(code, Verdict::Pass, message)
}

fn unknown(code: Code, message: impl Into<String>) -> Outcome {
    Outcome::new(code, Verdict::Unknown, message)
}

/// It has no bearing on this cluster.
fn not_applicable(code: Code, message: impl Into<String>) -> Outcome {
    Outcome::new(code, Verdict::Skip, message)
}

/// The answer "unknown" where objects that decide could not be read; a missing right is named as the reason.
fn unreadable(facts: &Facts, code: Code, kinds: &[&str]) -> Option<Outcome> {
    let why = facts.objects.first_missing(kinds)?;
    let forbidden = kinds
        .iter()
        .any(|kind| facts.objects.read.get(kind) == Some(&super::Read::Forbidden));
    let mut outcome = unknown(code, why);
    if forbidden {
        outcome.blocked_by = Some(Code::K8S_004.as_str().into());
    }
    Some(outcome)
}

/// So many names and no more are printed in one message.
const NAMES: usize = 5;

/// `a, b and 3 more`.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(AsRef::as_ref).collect();
    match names.len().checked_sub(NAMES) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `1 node`, `2 nodes`.
fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}
