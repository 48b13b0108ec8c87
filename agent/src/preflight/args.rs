//! What `preflight` and `doctor` can be told.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args as ClapArgs, ValueEnum};
use kantaloupe_checks::{Code, all};

use crate::{cli::Lang, config};

/// Where the chart puts the configuration.
pub(crate) const CONFIG: &str = "/etc/kantaloupe/agent.yaml";

/// Flags of `preflight` and `doctor`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Configuration file of the agent.
    #[arg(long, default_value = CONFIG)]
    pub config: PathBuf,
    /// URL of the gateway, instead of a configuration file.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Pin of the gateway's key, with --server.
    #[arg(long, value_name = "sha256:HEX", requires = "server")]
    pub ca_pin: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Only these areas or codes, such as net,tls or KTA-GPU-003. What they need is tried, but not shown.
    #[arg(long, value_delimiter = ',', value_name = "AREA|CODE")]
    pub only: Vec<Selector>,
    /// Not these areas or codes.
    #[arg(long, value_delimiter = ',', value_name = "AREA|CODE")]
    pub skip: Vec<Selector>,
    /// Time for one run; what has not answered by then is unknown.
    #[arg(long, default_value = "10s", value_parser = config::duration)]
    pub timeout: Duration,
    /// Runs again until nothing fails, for at most so long.
    #[arg(long, value_parser = config::duration, value_name = "DURATION")]
    pub wait: Option<Duration>,
    /// Warnings end with exit code 4.
    #[arg(long)]
    pub strict: bool,
    /// Language; LC_ALL, LC_MESSAGES or LANG decide otherwise.
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
    /// No colours, as with NO_COLOR set or when the output is no terminal.
    #[arg(long)]
    pub no_color: bool,
    /// Only what is wrong.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
    /// JUnit XML, for CI.
    Junit,
}

/// An area such as `net`, or a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All codes of an area.
    Area(String),
    /// One code.
    Code(Code),
}

/// There is neither an area nor a code of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no area or code {0}; areas are {1}")]
pub struct UnknownSelector(String, String);

impl FromStr for Selector {
    type Err = UnknownSelector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(code) = text.parse() {
            return Ok(Self::Code(code));
        }
        let wanted = text.trim().to_ascii_uppercase();
        let mut areas: Vec<_> = all().map(|check| check.code.area()).collect();
        areas.dedup();
        if areas.contains(&wanted.as_str()) {
            return Ok(Self::Area(wanted));
        }
        let areas = areas.join(", ").to_ascii_lowercase();
        Err(UnknownSelector(text.to_owned(), areas))
    }
}

impl Selector {
    fn matches(&self, code: Code) -> bool {
        match self {
            Self::Area(area) => code.area() == area,
            Self::Code(wanted) => code == *wanted,
        }
    }
}

impl Args {
    /// Whether the outcome of a check is wanted.
    pub fn wants(&self, code: Code) -> bool {
        let any = |selectors: &[Selector]| selectors.iter().any(|selector| selector.matches(code));
        (self.only.is_empty() || any(&self.only)) && !any(&self.skip)
    }
}
