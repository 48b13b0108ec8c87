//! The gateway's settings: command line flags or `KANTALOUPE_GATEWAY_*` variables, checked all at once.
//!
//! Values arrive as text and are parsed together, so that one start reports every mistake instead of the first.

mod audit;
mod limits;
mod recording;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use url::Url;

pub use self::{
    audit::{AuditArgs, AuditConfig, AuditFailure},
    limits::{Limit, LimitArgs, LimitConfig},
    recording::{RecordMode, RecordingArgs, RecordingConfig},
};
use crate::{
    listener::HEADER_READ,
    oidc::config::{OidcArgs, OidcConfig},
};

/// Longer than the pauses of somebody who works on a cluster, since the first request after it waits for a handshake;
/// a session costs the gateway as much as all the rest of an idle agent.
const DATA_IDLE: Duration = Duration::from_mins(10);
/// How long open user streams may go on after SIGTERM. Below the 45 s that service managers usually wait before
/// SIGKILL, so that streams end with an explicit close and not with a lost connection.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// Records that the inventory of one cluster may have: three times those of 5,000 nodes with 8 devices and 30,000 pods on them.
pub const DEFAULT_INVENTORY_RECORDS: u32 = 500_000;

/// Longest time that an API token may be good unless `--token-days` says otherwise: a forgotten one ends some day.
pub const DEFAULT_TOKEN_DAYS: u32 = 366;
/// The most that `--token-days` may say.
const MAX_TOKEN_DAYS: u32 = 3660;

/// Chart that install commands name unless `--chart` says otherwise.
const DEFAULT_CHART: &str = "oci://ghcr.io/kantaloupe/charts/kantaloupe-agent";

/// Flags of `serve`, unparsed.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address for users and agents (HTTPS).
    #[arg(long, env = "KANTALOUPE_GATEWAY_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: String,
    /// Address for health and metrics (plain HTTP).
    #[arg(
        long,
        env = "KANTALOUPE_GATEWAY_ADMIN_LISTEN",
        default_value = "127.0.0.1:9091"
    )]
    pub admin_listen: String,
    /// Folder for the database, the certificate and the administrator's token.
    #[arg(long, env = "KANTALOUPE_GATEWAY_DATA_DIR")]
    pub data_dir: PathBuf,
    /// URL under which users reach this gateway.
    #[arg(long, env = "KANTALOUPE_GATEWAY_PUBLIC_URL")]
    pub public_url: String,
    /// URL under which agents reach this gateway; the public URL if not given.
    #[arg(long, env = "KANTALOUPE_GATEWAY_AGENT_URL")]
    pub agent_url: Option<String>,
    /// Certificate chain (PEM); without it the gateway makes its own and install commands pin it.
    #[arg(long, env = "KANTALOUPE_GATEWAY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, env = "KANTALOUPE_GATEWAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Form of the log: json or text.
    #[arg(long, env = "KANTALOUPE_GATEWAY_LOG_FORMAT", default_value = "json")]
    pub log_format: String,
    /// Least severe level that is logged: error, warn, info, debug or trace.
    #[arg(long, env = "KANTALOUPE_GATEWAY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Agent image that install commands name, as REPOSITORY:TAG; the chart's own if not given.
    #[arg(long, env = "KANTALOUPE_GATEWAY_IMAGE")]
    pub image: Option<String>,
    /// Chart that install commands name.
    #[arg(long, env = "KANTALOUPE_GATEWAY_CHART", default_value = DEFAULT_CHART)]
    pub chart: String,
    /// Records that the inventory of one cluster may have; further ones are not taken.
    #[arg(long, env = "KANTALOUPE_GATEWAY_INVENTORY_RECORDS", default_value_t = DEFAULT_INVENTORY_RECORDS)]
    pub inventory_records: u32,
    /// Longest time that an API token may be good, in days.
    #[arg(long, env = "KANTALOUPE_GATEWAY_TOKEN_DAYS", default_value_t = DEFAULT_TOKEN_DAYS)]
    pub token_days: u32,
    /// How long open streams may go on after SIGTERM, such as 30s.
    #[arg(long, env = "KANTALOUPE_GATEWAY_DRAIN_TIMEOUT", default_value = "30s")]
    pub drain_timeout: String,
    /// The audit.
    #[command(flatten)]
    pub audit: AuditArgs,
    /// Recordings of terminal sessions.
    #[command(flatten)]
    pub recording: RecordingArgs,
    /// Login at an OpenID Connect provider.
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// What callers may use.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// Made at first start and kept in the data folder.
    SelfMade,
    /// Given by the operator.
    Files {
        /// PEM chain, leaf first.
        cert: PathBuf,
        /// PEM private key.
        key: PathBuf,
    },
}

impl fmt::Display for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfMade => f.write_str("own certificate"),
            Self::Files { cert, .. } => write!(f, "{}", cert.display()),
        }
    }
}

/// An image reference split for the chart's two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Registry and repository.
    pub repository: String,
    /// Tag.
    pub tag: String,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Lines for people.
    Text,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address for users and agents.
    pub listen: SocketAddr,
    /// Address for health and metrics.
    pub admin_listen: SocketAddr,
    /// Folder for all that is kept.
    pub data_dir: PathBuf,
    /// Base URL for users. Port 0 stands for the port that listening got (tests).
    pub public_url: Url,
    /// Base URL for agents. Port 0 as above.
    pub agent_url: Url,
    /// Certificate.
    pub tls: TlsSource,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Least severe level.
    pub log_level: tracing::Level,
    /// Image in install commands.
    pub image: Option<Image>,
    /// Chart in install commands.
    pub chart: String,
    /// Records that the inventory of one cluster may have.
    pub inventory_records: u32,
    /// Longest time that an API token may be good, in days.
    pub token_days: u32,
    /// Deadline of a graceful stop.
    pub drain_timeout: Duration,
    /// The audit.
    pub audit: AuditConfig,
    /// Recordings of terminal sessions.
    pub recording: RecordingConfig,
    /// Login at an OpenID Connect provider, if there is one.
    pub oidc: Option<OidcConfig>,
    /// What callers may use.
    pub limits: LimitConfig,
    /// How long an agent's data session stays open without a stream. No option: only tests have a reason to change it.
    pub data_idle: Duration,
    /// Longest wait for a request's head. No option: only tests have a reason to change it.
    pub head_timeout: Duration,
}

/// Every mistake found in the settings.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ConfigErrors(pub Vec<String>);

impl Config {
    /// Settings for one machine and tests: loopback, free ports, own certificate, everything under `data_dir`.
    ///
    /// # Panics
    /// Never: the literals are valid.
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        let url: Url = "https://127.0.0.1:0".parse().expect("literal URL");
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            public_url: url.clone(),
            agent_url: url,
            tls: TlsSource::SelfMade,
            log_format: LogFormat::Text,
            log_level: tracing::Level::INFO,
            image: None,
            chart: DEFAULT_CHART.to_owned(),
            inventory_records: DEFAULT_INVENTORY_RECORDS,
            token_days: DEFAULT_TOKEN_DAYS,
            drain_timeout: DEFAULT_DRAIN,
            audit: AuditConfig::default(),
            recording: RecordingConfig::default(),
            oidc: None,
            limits: LimitConfig::DEFAULT,
            data_idle: DATA_IDLE,
            head_timeout: HEADER_READ,
        }
    }
}

impl Config {
    /// Says in the log what is in effect. No setting is a secret.
    pub fn log(&self) {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %self.listen,
            admin_listen = %self.admin_listen,
            data_dir = %self.data_dir.display(),
            public_url = %self.public_url,
            agent_url = %self.agent_url,
            tls = %self.tls,
            image = self.image.as_ref().map(tracing::field::display),
            chart = %self.chart,
            drain_timeout = ?self.drain_timeout,
            audit = ?self.audit,
            recording = ?self.recording,
            oidc_issuer = self.oidc.as_ref().map(|oidc| oidc.issuer.as_str()),
            limits = ?self.limits,
            "starting"
        );
    }
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigErrors;

    fn try_from(args: ServeArgs) -> Result<Self, Self::Error> {
        let mut bad = Vec::new();
        let listen = address("--listen", &args.listen, &mut bad);
        let admin_listen = address("--admin-listen", &args.admin_listen, &mut bad);
        let public_url = base_url("--public-url", &args.public_url, &mut bad);
        let agent_url = match &args.agent_url {
            Some(text) => base_url("--agent-url", text, &mut bad),
            None => public_url.clone(),
        };
        let tls = match (args.tls_cert, args.tls_key) {
            (None, None) => TlsSource::SelfMade,
            (Some(cert), Some(key)) => TlsSource::Files { cert, key },
            (Some(_), None) => {
                bad.push("--tls-cert is given without --tls-key".to_owned());
                TlsSource::SelfMade
            }
            (None, Some(_)) => {
                bad.push("--tls-key is given without --tls-cert".to_owned());
                TlsSource::SelfMade
            }
        };
        let log_format = match args.log_format.as_str() {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            other => {
                bad.push(format!("--log-format: {other:?} is neither json nor text"));
                LogFormat::Json
            }
        };
        let log_level = args.log_level.parse().unwrap_or_else(|_| {
            bad.push(format!(
                "--log-level: {:?} is none of error, warn, info, debug, trace",
                args.log_level
            ));
            tracing::Level::INFO
        });
        let image = args.image.as_deref().and_then(|text| image(text, &mut bad));
        if !shell_safe(&args.chart) {
            bad.push(format!(
                "--chart: {:?} has characters that no chart reference has",
                args.chart
            ));
        }
        let audit = AuditConfig::parse(&args.audit, &mut bad);
        let recording = RecordingConfig::parse(&args.recording, &mut bad);
        let drain_timeout = duration("--drain-timeout", &args.drain_timeout, &mut bad);
        if !(1..=MAX_TOKEN_DAYS).contains(&args.token_days) {
            bad.push(format!("--token-days is not between 1 and {MAX_TOKEN_DAYS}"));
        }
        let oidc = args.oidc.check(duration, &mut bad);
        if args.data_dir.as_os_str().is_empty() {
            bad.push("--data-dir is empty".to_owned());
        }
        match (listen, admin_listen, public_url, agent_url, drain_timeout) {
            (Some(listen), Some(admin_listen), Some(public_url), Some(agent_url), Some(drain_timeout))
                if bad.is_empty() =>
            {
                Ok(Self {
                    listen,
                    admin_listen,
                    data_dir: args.data_dir,
                    public_url,
                    agent_url,
                    tls,
                    log_format,
                    log_level,
                    image,
                    chart: args.chart,
                    inventory_records: args.inventory_records,
                    token_days: args.token_days,
                    drain_timeout,
                    audit,
                    recording,
                    oidc,
                    limits: LimitConfig::from(&args.limits),
                    data_idle: DATA_IDLE,
                    head_timeout: HEADER_READ,
                })
            }
            _ => Err(ConfigErrors(bad)),
        }
    }
}

fn address(flag: &str, text: &str, bad: &mut Vec<String>) -> Option<SocketAddr> {
    text.parse()
        .map_err(|_| bad.push(format!("{flag}: {text:?} is not ADDRESS:PORT")))
        .ok()
}

/// An https URL without trailing slash, query, fragment or credentials: paths are appended to it.
fn base_url(flag: &str, text: &str, bad: &mut Vec<String>) -> Option<Url> {
    let mut refuse = |why: &str| {
        bad.push(format!("{flag}: {why}"));
        None
    };
    let Ok(mut url) = Url::parse(text) else {
        return refuse(&format!("{text:?} is not a URL"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("the URL must not hold credentials");
    }
    if url.scheme() != "https" {
        return refuse(&format!("{text:?} does not begin with https://"));
    }
    if url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
        return refuse(&format!("{text:?} must be https://HOST[:PORT][/PREFIX]"));
    }
    if url.path() != "/" {
        // The gateway serves at the root; a prefix is only right behind a proxy that takes it away again.
        let trimmed = url.path().trim_end_matches('/').to_owned();
        url.set_path(&trimmed);
    }
    if !shell_safe(url.as_str()) {
        return refuse(&format!("{text:?} has characters that do not survive a shell"));
    }
    Some(url)
}

fn image(text: &str, bad: &mut Vec<String>) -> Option<Image> {
    // The last colon: a registry may have a port.
    match text.rsplit_once(':') {
        Some((repository, tag))
            if !repository.is_empty() && !tag.contains('/') && !tag.is_empty() && shell_safe(text) =>
        {
            Some(Image {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
            })
        }
        _ => {
            bad.push(format!("--image: {text:?} is not REPOSITORY:TAG"));
            None
        }
    }
}

fn duration(flag: &str, text: &str, bad: &mut Vec<String>) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let parsed = digits.parse::<u64>().ok().and_then(|n| match unit {
        "ms" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        "m" => n.checked_mul(60).map(Duration::from_secs),
        _ => None,
    });
    if parsed.is_none() {
        bad.push(format!("{flag}: {text:?} is not a duration such as 30s"));
    }
    parsed
}

/// Whether the text stands in a command line without quotes and in Helm's `--set` without escapes.
pub(crate) fn shell_safe(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'@' | b'[' | b']' | b'+')
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(extra: &[&str]) -> Result<Config, ConfigErrors> {
        let base = [
            "kantaloupe-gateway",
            "serve",
            "--data-dir",
            "/data",
            "--public-url",
            "https://gw.example.com/",
        ];
        let cli = Cli::try_parse_from(base.iter().chain(extra)).expect("flags known");
        let Command::Serve(args) = cli.command else {
            panic!("not serve")
        };
        Config::try_from(*args)
    }

    #[test]
    fn defaults_follow_the_public_url() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.agent_url, config.public_url);
        assert_eq!(config.tls, TlsSource::SelfMade);
        assert_eq!(config.drain_timeout, DEFAULT_DRAIN);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let errors = parse(&[
            "--listen",
            "nowhere",
            "--admin-listen",
            "1.2.3.4",
            "--agent-url",
            "http://gw",
            "--tls-cert",
            "a.pem",
            "--log-format",
            "xml",
            "--log-level",
            "loud",
            "--image",
            "agent",
            "--drain-timeout",
            "soon",
        ])
        .unwrap_err();
        let text = errors.to_string();
        for flag in [
            "--listen",
            "--admin-listen",
            "--agent-url",
            "--tls-key",
            "--log-format",
            "--log-level",
            "--image",
            "--drain-timeout",
        ] {
            assert!(text.contains(flag), "{flag} missing in {text}");
        }
        assert_eq!(errors.0.len(), 8);
    }

    #[test]
    fn a_url_with_credentials_is_refused_without_repeating_them() {
        let errors = parse(&["--agent-url", "https://user:hunter2@gw.example.com"]).unwrap_err();
        assert!(!errors.to_string().contains("hunter2"));
    }

    #[test]
    fn image_with_a_registry_port_splits_at_the_tag() {
        let config = parse(&["--image", "registry:5000/kantaloupe/agent:0.1.0"]).unwrap();
        let image = config.image.unwrap();
        assert_eq!(
            (image.repository.as_str(), image.tag.as_str()),
            ("registry:5000/kantaloupe/agent", "0.1.0")
        );
    }
}
