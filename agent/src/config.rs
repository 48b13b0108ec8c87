//! Configuration: one YAML file and two environment variables, parsed whole before anything else runs.
//!
//! The file is walked by hand instead of by a derived deserializer, because a derived one stops at the first
//! mistake and an operator then fixes a file one roll-out at a time. Here every mistake is a [`Finding`], and
//! all of them are reported together.

mod access;
mod monitoring;
mod yaml;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use kantaloupe_checks::{Code, Fault};
use kantaloupe_policy::LocalPolicy;
use kantaloupe_proto::headers::{MAX_NAME as MAX_ORGANIZATION, is_name};
use serde_json::json;
use url::Url;

use crate::tls::Pin;
use yaml::Section;

pub use monitoring::{Auth, Monitoring};

/// A configuration file larger than this is not one of ours.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The default stays below the 60 s that the chart gives the pod to end, so that draining ends before SIGKILL.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(45);
/// Kubernetes' own bound for names of Secrets and Pods (DNS subdomain).
const MAX_NAME: usize = 253;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Text,
}

/// The whole configuration. It holds no secret: the token is read from its file when it is needed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base URL of the gateway: https, no trailing slash, a path prefix is kept.
    pub url: Url,
    /// Pin of the gateway's key. With it neither names nor expiry of the certificate matter.
    pub pin: Option<Pin>,
    /// The cluster id that the enrolment must answer with.
    pub cluster_id: Option<String>,
    /// File that holds the enrolment token.
    pub token_file: PathBuf,
    /// Name of the Secret that holds the identity.
    pub secret_name: String,
    /// Extra CA certificates (PEM), trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Where the cluster's Prometheus is.
    pub monitoring: Monitoring,
    /// What the cluster's owner allows at most.
    pub policy: LocalPolicy,
    /// The only organisation of the gateway whose people may ask for anything.
    pub organization: Option<String>,
    /// Address of health checks and metrics.
    pub health_listen: SocketAddr,
    /// Format of the log.
    pub log_format: LogFormat,
    /// `tracing` filter directive, e.g. `info`.
    pub log_level: String,
    /// How long open streams may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Name of the agent's pod.
    pub pod_name: String,
    /// Namespace of the agent's pod and of its Secret.
    pub pod_namespace: String,
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Code of the check that failed.
    pub code: Code,
    /// Where: a dotted key, `env NAME`, or the file.
    pub place: String,
    /// What is wrong and what is expected.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Everything that is wrong with the configuration; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{} in the configuration of the agent", .0.iter().map(Finding::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigError(pub Vec<Finding>);

impl ConfigError {
    /// For the user: all findings, under the code that they share or else the general one.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let first = self.0.first().map_or(Code::CFG_001, |finding| finding.code);
        let shared = self.0.iter().all(|finding| finding.code == first);
        let code = if shared { first } else { Code::CFG_001 };
        let list = self.0.iter().map(|finding| match finding.code {
            own if own == code => finding.to_string(),
            own => format!("{finding} [{own}]"),
        });
        let count = match self.0.len() {
            1 => "a mistake".to_owned(),
            n => format!("{n} mistakes"),
        };
        let what = format!("the configuration of the agent has {count}");
        crate::fault::new(code, what, list.collect::<Vec<_>>().join("; "))
    }
}

impl Config {
    /// Reads and checks the file and the process environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, |name| std::env::var(name).ok())
    }

    /// Reads and checks the file against `env`.
    pub(crate) fn load_with(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = read(path).map_err(|problem| {
            ConfigError(vec![Finding {
                code: Code::CFG_001,
                place: path.display().to_string(),
                problem,
            }])
        })?;
        Self::parse(&text, env).map_err(|mut error| {
            for finding in error.0.iter_mut().filter(|finding| finding.place == yaml::FILE) {
                finding.place = path.display().to_string();
            }
            error
        })
    }

    /// Checks the text of a configuration file against `env`.
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut findings = Vec::new();
        let mut root = Section::root(text, &mut findings);
        if !findings.is_empty() {
            // Of a file that cannot be read everything is missing: naming all of that would hide why.
            return Err(ConfigError(findings));
        }

        let mut control_plane = root.section("controlPlane", &mut findings);
        let url = control_plane.required("url", &mut findings, parse_url);
        let pin = control_plane.optional("caPin", &mut findings, |text| {
            Pin::from_str(text).map_err(|error| Invalid::new(Code::CFG_001, error.to_string()))
        });
        control_plane.finish(&mut findings);

        let mut cluster = root.section("cluster", &mut findings);
        let cluster_id = cluster.optional("id", &mut findings, parse_cluster_id);
        let organization = cluster.optional("organization", &mut findings, parse_organization);
        cluster.finish(&mut findings);

        let mut enrollment = root.section("enrollment", &mut findings);
        let token_file = enrollment.optional("tokenFile", &mut findings, parse_path);
        enrollment.finish(&mut findings);

        let mut identity = root.section("identity", &mut findings);
        let secret_name = identity.optional("secretName", &mut findings, parse_name);
        identity.finish(&mut findings);

        let mut tls = root.section("tls", &mut findings);
        let ca_file = tls.optional("caFile", &mut findings, parse_path);
        tls.finish(&mut findings);

        let monitoring = Monitoring::parse(&mut root, &mut findings);

        let policy = access::parse(&mut root, &mut findings);

        let mut health = root.section("health", &mut findings);
        let health_listen = health.optional("listen", &mut findings, parse_listen);
        health.finish(&mut findings);

        let mut logging = root.section("logging", &mut findings);
        let log_format = logging.optional("format", &mut findings, parse_format);
        let log_level = logging.optional("level", &mut findings, parse_level);
        logging.finish(&mut findings);

        let mut drain = root.section("drain", &mut findings);
        let drain_timeout = drain.optional("timeout", &mut findings, parse_duration);
        drain.finish(&mut findings);
        root.finish(&mut findings);

        let pod_name = required_env("POD_NAME", &env, &mut findings);
        let pod_namespace = required_env("POD_NAMESPACE", &env, &mut findings);

        match (url, pod_name, pod_namespace) {
            (Some(url), Some(pod_name), Some(pod_namespace)) if findings.is_empty() => Ok(Self {
                url,
                pin,
                cluster_id,
                token_file: token_file.unwrap_or_else(|| "/var/run/kantaloupe/enrollment/token".into()),
                secret_name: secret_name.unwrap_or_else(|| "kantaloupe-agent-identity".to_owned()),
                ca_file,
                monitoring,
                policy: LocalPolicy {
                    own_namespace: Some(pod_namespace.clone()),
                    ..policy
                },
                organization,
                health_listen: health_listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 9090))),
                log_format: log_format.unwrap_or(LogFormat::Json),
                log_level: log_level.unwrap_or_else(|| "info".to_owned()),
                drain_timeout: drain_timeout.unwrap_or(DEFAULT_DRAIN_TIMEOUT),
                pod_name,
                pod_namespace,
            }),
            _ => Err(ConfigError(findings)),
        }
    }

    /// The effective configuration as one line of JSON, for the log. It holds no secret.
    #[must_use]
    pub fn effective(&self) -> String {
        json!({
            "controlPlane": {"url": self.url.as_str(), "caPin": self.pin.map(|pin| pin.to_string())},
            "cluster": {"id": self.cluster_id, "organization": self.organization},
            "enrollment": {"tokenFile": self.token_file},
            "identity": {"secretName": self.secret_name},
            "tls": {"caFile": self.ca_file},
            "monitoring": self.monitoring.effective(),
            "access": self.effective_access(),
            "health": {"listen": self.health_listen},
            "logging": {"level": self.log_level},
            "drain": {"timeout": format!("{}ms", self.drain_timeout.as_millis())},
            "pod": {"name": self.pod_name, "namespace": self.pod_namespace},
        })
        .to_string()
    }
}

/// Why a value was refused, and the code of the check that it fails.
struct Invalid {
    code: Code,
    problem: String,
}

impl Invalid {
    fn new(code: Code, problem: impl Into<String>) -> Self {
        Self {
            code,
            problem: problem.into(),
        }
    }

    fn expected(what: &str) -> Self {
        Self::new(Code::CFG_001, format!("expected {what}"))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(format!("is {size} bytes; at most {MAX_FILE_BYTES} are accepted"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

fn required_env(
    name: &str,
    env: &impl Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let problem = match env(name) {
        Some(value) => match parse_name(&value) {
            Ok(value) => return Some(value),
            Err(invalid) => invalid.problem,
        },
        None => "is not set; the chart sets it from the pod's metadata".to_owned(),
    };
    findings.push(Finding {
        code: Code::CFG_001,
        place: format!("env {name}"),
        problem,
    });
    None
}

fn parse_url(text: &str) -> Result<Url, Invalid> {
    let refuse = |problem: String| Invalid::new(Code::CFG_002, problem);
    let mut url = Url::parse(text).map_err(|error| {
        refuse(format!(
            "is no URL ({error}); expected https://host[:port][/prefix]"
        ))
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("must not hold a user name or password".to_owned()));
    }
    if url.scheme() != "https" {
        // In "gw.example.com:8443" the name is the scheme, and there is no host.
        let given = match url.host_str() {
            Some(host) => format!("{}://{host}", url.scheme()),
            None => format!("{}:", url.scheme()),
        };
        return Err(refuse(format!(
            "must begin with https:// but begins with {given}"
        )));
    }
    // The host check is not redundant: "https:///path" is a URL to some parsers.
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("names no host".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must not hold a query or fragment".to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn parse_cluster_id(text: &str) -> Result<String, Invalid> {
    let valid = text.strip_prefix("c-").is_some_and(|rest| {
        rest.len() == 8
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    });
    if valid {
        Ok(text.to_owned())
    } else {
        Err(Invalid::expected("a cluster id such as c-1a2b3c4d"))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "all parsers of values have one shape")]
fn parse_path(text: &str) -> Result<PathBuf, Invalid> {
    Ok(PathBuf::from(text))
}

fn parse_name(text: &str) -> Result<String, Invalid> {
    let valid = !text.is_empty()
        && text.len() <= MAX_NAME
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-' || byte == b'.')
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(Invalid::expected(
            "a Kubernetes name (lower-case letters, digits, '-' and '.')",
        ))
    }
}

fn parse_organization(text: &str) -> Result<String, Invalid> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(Invalid::expected(&format!(
            "the name of an organisation (letters, digits and . _ - @ +, at most {MAX_ORGANIZATION})"
        )))
    }
}

fn parse_flag(text: &str) -> Result<bool, Invalid> {
    text.parse().map_err(|_| Invalid::expected("true or false"))
}

fn parse_listen(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse()
        .map_err(|_| Invalid::expected("an IP address and port such as 0.0.0.0:9090"))
}

fn parse_format(text: &str) -> Result<LogFormat, Invalid> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(Invalid::expected("json or text")),
    }
}

fn parse_level(text: &str) -> Result<String, Invalid> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(text.to_owned()),
        _ => Err(Invalid::expected("error, warn, info, debug or trace")),
    }
}

/// Reads `500ms`, `45s`, `2m`: what the value must look like is the error.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|invalid| invalid.problem)
}

fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let invalid = || Invalid::expected("a duration with a unit such as 500ms, 45s or 2m, at most 1h");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis
        .filter(|millis| *millis <= 3_600_000)
        .map(Duration::from_millis)
        .ok_or_else(invalid)
}
