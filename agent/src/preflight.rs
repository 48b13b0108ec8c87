//! `preflight` and `doctor`: whether everything is there that the agent and the platform need, and how to mend what is not.
//!
//! ```text
//! configuration ─> network (probe of the way to the gateway) ─┐
//! cluster ──────> gather (objects, rights, probes) ─> Facts ──┴─> checks (kantaloupe-gpu, pure) ─> output
//! ```
//!
//! `preflight` needs neither an identity nor a running agent. `doctor` is for the agent's own pod: it adds identity, memory
//! and the state of the tunnel.

mod args;
pub(crate) mod gather;
mod identity;
pub(crate) mod local;
mod network;
mod output;
mod rights;
#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal, stdout},
    net::IpAddr,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use jiff::Timestamp;
use kantaloupe_checks::{Code, Lang, Outcome, Severity, Verdict, all};
use kantaloupe_gpu::platform::{checks, distribution, facts::Facts};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub use args::{Args, Output, Selector};

use self::{
    gather::Ask,
    output::{Report, Style, junit, table},
};
use crate::{
    cli::{fail, say},
    config::{Config, ConfigError},
    control_plane::{ControlPlane, Probed},
    run,
};

/// At least one check failed.
pub const FAILED: u8 = 3;
/// Nothing but warnings, and `--strict`.
pub const WARNED: u8 = 4;
/// Interrupted, or the time was up; nothing that was tried failed.
pub const PARTIAL: u8 = 5;

/// Between two runs of `--wait`.
const AGAIN: Duration = Duration::from_secs(2);
/// Time that judging and printing get of `--timeout`.
const RESERVE: Duration = Duration::from_millis(300);
/// Checks of the running agent: not before there is one.
const DOCTORS: [Code; 2] = [Code::AGT_001, Code::AGT_002];

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Before the agent connects.
    Preflight,
    /// Beside a running agent.
    Doctor,
}

impl Command {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Doctor => "doctor",
        }
    }
}

/// Runs the checks and prints what came of them.
pub fn main(command: Command, args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(until_done(command, args)),
        Err(error) => fail(&format!("no runtime can be started: {error}"), 1),
    }
}

async fn until_done(command: Command, args: &Args) -> ExitCode {
    let end = args.wait.map(|wait| Instant::now() + wait);
    loop {
        let report = once(command, args).await;
        let code = exit_code(&report, args.strict);
        let over = end.is_none_or(|end| Instant::now() + AGAIN >= end);
        if code == 0 || over || report.interrupted {
            return print(&report.report, args, code);
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            _ = tokio::signal::ctrl_c() => return print(&report.report, args, code),
        }
    }
}

/// One run and whether a signal ended it.
struct Run {
    report: Report,
    interrupted: bool,
}

async fn once(command: Command, args: &Args) -> Run {
    let (started, since) = (Timestamp::now(), Instant::now());
    let deadline = since + args.timeout.saturating_sub(RESERVE);
    let config = configuration(args);
    let mut interrupted = false;
    let (mut outcomes, cluster) = tokio::select! {
        done = everything(command, args, &config, deadline) => done,
        _ = tokio::signal::ctrl_c() => {
            interrupted = true;
            (of_config(&config), None)
        }
    };
    let partial = interrupted || Instant::now() >= deadline;
    outcomes.retain(|outcome| outcome.code.parse().is_ok_and(|code| args.wants(code)));
    // In the order of the registry: what fails first is read first.
    let place = |outcome: &Outcome| all().position(|check| check.code.as_str() == outcome.code);
    outcomes.sort_by_key(place);
    let report = Report {
        command: command.as_str(),
        run_id: Uuid::now_v7().to_string(),
        started,
        duration_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        cluster,
        outcomes,
        partial,
    };
    Run { report, interrupted }
}

/// What the configuration says, or that there is none.
enum Configuration {
    Good(Box<Config>),
    Bad(ConfigError),
    /// No file where the chart puts it: this is not the agent's pod.
    None,
}

fn configuration(args: &Args) -> Configuration {
    let env = |name: &str| {
        std::env::var(name).ok().or_else(|| match name {
            // Outside the agent's pod there are no such names, and nothing but messages needs them.
            "POD_NAME" => Some("preflight".to_owned()),
            "POD_NAMESPACE" => Some(own_namespace()),
            _ => None,
        })
    };
    let parsed = match &args.server {
        Some(url) => {
            let text = json!({"controlPlane": {"url": url, "caPin": args.ca_pin}}).to_string();
            Config::parse(&text, env)
        }
        None if args.config == Path::new(args::CONFIG) && !args.config.exists() => {
            return Configuration::None;
        }
        None => Config::load_with(&args.config, env),
    };
    match parsed {
        Ok(config) => Configuration::Good(Box::new(config)),
        Err(error) => Configuration::Bad(error),
    }
}

/// Of the pod's service account, as the kubelet mounts it.
fn own_namespace() -> String {
    let path = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "default".to_owned(),
    }
}

fn of_config(config: &Configuration) -> Vec<Outcome> {
    match config {
        Configuration::Good(config) => vec![
            Outcome::new(Code::CFG_001, Verdict::Pass, "it can be used"),
            Outcome::new(Code::CFG_002, Verdict::Pass, config.url.as_str()),
        ],
        Configuration::Bad(error) => {
            let fault = error.fault();
            let code = fault.code();
            let mut outcomes = vec![
                checks::bad(code, fault.what_and_detail())
                    .command("kubectl -n kantaloupe-system get configmap kantaloupe-agent -o yaml"),
            ];
            for other in [Code::CFG_001, Code::CFG_002] {
                if other != code {
                    outcomes.push(checks::skipped(other, code));
                }
            }
            outcomes
        }
        Configuration::None => [Code::CFG_001, Code::CFG_002]
            .map(|code| {
                Outcome::new(
                    code,
                    Verdict::Skip,
                    "there is no configuration here; --server URL tries the way to a gateway",
                )
            })
            .into(),
    }
}

async fn everything(
    command: Command,
    args: &Args,
    config: &Configuration,
    deadline: Instant,
) -> (Vec<Outcome>, Option<(String, String)>) {
    let mut outcomes = of_config(config);
    outcomes.push(network::resolver(local::in_pod()));
    let good = match config {
        Configuration::Good(config) => Some(config.as_ref()),
        Configuration::Bad(_) | Configuration::None => None,
    };
    // What is not wanted is not asked: `--only net` needs no cluster at all.
    let area =
        |areas: &[&str]| all().any(|check| areas.contains(&check.code.area()) && args.wants(check.code));
    let way = area(&["NET", "TLS", "TIME", "VER", "SEC"]);
    let cluster = area(&[
        "K8S", "RT", "GPU", "HAMI", "MON", "GW", "STO", "HELM", "SEC", "AGT", "AUTH",
    ]);

    let (addresses, way_outcomes) = match (good, way) {
        (Some(config), true) => probe(config, deadline).await,
        (None, true) => (None, network::not_tried(blamed(&outcomes))),
        (_, false) => (None, Vec::new()),
    };
    outcomes.extend(way_outcomes);
    if !cluster {
        return (outcomes, None);
    }
    let client = match run::infer_kube().await {
        Ok(kube) => kube::Client::try_from(kube).map_err(|error| error.to_string()),
        Err(fault) => Err(fault.what_and_detail()),
    };
    let facts = gather::facts(ask(command, good, client.clone(), addresses, deadline)).await;
    if let (Command::Doctor, Some(config)) = (command, good) {
        let reachable = matches!(
            facts.api.as_ref().and_then(|api| api.answer.as_ref()),
            Some(Ok(_))
        );
        let client = client.as_ref().ok().filter(|_| reachable);
        outcomes.extend(identity::outcomes(config, client, facts.rights.as_ref()).await);
    }
    outcomes.extend(checks::run(&facts).into_iter().filter(|outcome| {
        command == Command::Doctor || !DOCTORS.iter().any(|code| outcome.code == code.as_str())
    }));
    (outcomes, described(&facts))
}

fn ask(
    command: Command,
    config: Option<&Config>,
    client: Result<kube::Client, String>,
    egress: Option<(Vec<IpAddr>, u16)>,
    deadline: Instant,
) -> Ask<'_> {
    Ask {
        client,
        pod: config
            .filter(|_| local::in_pod())
            .map(|config| (config.pod_namespace.as_str(), config.pod_name.as_str())),
        config,
        health: config
            .filter(|_| command == Command::Doctor)
            .map(|config| config.health_listen.port()),
        egress,
        // A name or address of a Service is known inside the cluster alone; outside only a configured URL can be asked.
        monitoring: config
            .map(|config| &config.monitoring)
            .filter(|monitoring| local::in_pod() || monitoring.url.is_some()),
        nodes: None,
        deadline,
    }
}

/// Goes the way to the gateway.
async fn probe(config: &Config, deadline: Instant) -> (Option<(Vec<IpAddr>, u16)>, Vec<Outcome>) {
    match ControlPlane::new(config) {
        Ok(control_plane) => {
            let budget = deadline.saturating_duration_since(Instant::now());
            let probed: Probed = control_plane.probe(budget).await;
            let outcomes = network::way(&probed, control_plane.is_pinned(), &config.url);
            (Some((probed.addresses, control_plane.port())), outcomes)
        }
        Err(fault) => {
            let code = fault.code();
            let mut outcomes: Vec<_> = network::not_tried(code)
                .into_iter()
                .filter(|outcome| outcome.code != code.as_str())
                .collect();
            outcomes.push(checks::bad(code, fault.what_and_detail()));
            (None, outcomes)
        }
    }
}

/// The code of the configuration that keeps the network from being tried.
fn blamed(outcomes: &[Outcome]) -> Code {
    checks::blocker(outcomes, Code::CFG_001)
        .or_else(|| checks::blocker(outcomes, Code::CFG_002))
        .unwrap_or(Code::CFG_001)
}

/// Version and distribution of the cluster, if it answers.
pub(crate) fn described(facts: &Facts) -> Option<(String, String)> {
    let api = facts.api.as_ref()?;
    let version = api.version.clone()?;
    let groups = api.groups.as_deref().unwrap_or_default();
    let distribution = distribution(Some(&version), groups, &facts.nodes);
    Some((version, distribution.to_owned()))
}

fn exit_code(run: &Run, strict: bool) -> u8 {
    let summary = run.report.summary();
    if summary.fail > 0 {
        FAILED
    } else if run.report.partial {
        PARTIAL
    } else if strict && summary.warn > 0 {
        WARNED
    } else {
        0
    }
}

fn print(report: &Report, args: &Args, code: u8) -> ExitCode {
    let text = match args.output {
        Output::Table => {
            let color = !args.no_color
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && stdout().is_terminal();
            table(
                report,
                Style {
                    lang: language(args.lang.map(Into::into)),
                    color,
                    quiet: args.quiet,
                },
            )
        }
        Output::Json => format!("{:#}", report.json()),
        Output::Yaml => serde_yaml_ng::to_string(&report.json()).unwrap_or_default(),
        Output::Junit => junit(report),
    };
    if say(text.trim_end()) == ExitCode::SUCCESS {
        ExitCode::from(code)
    } else {
        ExitCode::FAILURE
    }
}

/// The language that was asked for, or that the environment asks for.
pub fn language(given: Option<Lang>) -> Lang {
    given.unwrap_or_else(|| {
        ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty())
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    })
}

/// Prints the registry: `checks list`.
pub fn list(json: bool, lang: Lang) -> ExitCode {
    if json {
        let rows: Vec<_> = all()
            .map(|check| {
                let both = |text: &kantaloupe_checks::Text| json!({"en": text.en, "zh": text.zh});
                json!({
                    "code": check.code,
                    "category": check.code.area().to_ascii_lowercase(),
                    "severity": check.severity.as_str(),
                    "name": check.name.as_ref().map(both),
                    "title": both(&check.title),
                    "cause": both(&check.cause),
                    "fix": both(&check.remedy),
                })
            })
            .collect();
        return say(&format!("{:#}", json!(rows)));
    }
    let lines: Vec<_> = all()
        .filter(|check| check.severity != Severity::Request)
        .map(|check| {
            let name = check.name.as_ref().unwrap_or(&check.title);
            format!(
                "{}  {}  {}",
                check.code,
                check.severity.text(lang),
                name.get(lang)
            )
        })
        .collect();
    say(&lines.join("\n"))
}
