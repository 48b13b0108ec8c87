//! Section `monitoring`: where the cluster's Prometheus is and how to ask it.

use std::path::PathBuf;

use kantaloupe_checks::Code;
use serde_json::{Value, json};
use url::Url;

use super::{Finding, Invalid, parse_flag, parse_path, yaml::Section};

/// Where the cluster's Prometheus is. Secrets are in files and are read when they are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Monitoring {
    /// Base URL; without one it is looked for.
    pub url: Option<Url>,
    /// Without a URL, whether it is looked for.
    pub discover: bool,
    /// Extra CA certificates (PEM), trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// What the agent shows. Only to a configured URL: anybody in the cluster can make a Service that looks like Prometheus.
    pub auth: Auth,
}

/// How the agent shows who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer`, with what is in the file.
    Bearer(PathBuf),
    /// `Authorization: Basic`.
    Basic {
        /// File with the user's name.
        username: PathBuf,
        /// File with the password.
        password: PathBuf,
    },
}

impl Monitoring {
    /// Whether there is anything to ask.
    pub fn is_on(&self) -> bool {
        self.url.is_some() || self.discover
    }

    pub(super) fn parse(root: &mut Section, findings: &mut Vec<Finding>) -> Self {
        let mut section = root.section("monitoring", findings);
        let url = section.optional("url", findings, parse_url);
        let discover = section.optional("discover", findings, parse_flag).unwrap_or(true);
        let ca_file = section.optional("caFile", findings, parse_path);
        let bearer = section.optional("bearerTokenFile", findings, parse_path);
        let username = section.optional("usernameFile", findings, parse_path);
        let password = section.optional("passwordFile", findings, parse_path);
        section.finish(findings);
        let mut wrong = |key: &str, problem: &str| {
            findings.push(Finding {
                code: Code::CFG_001,
                place: format!("monitoring.{key}"),
                problem: problem.to_owned(),
            });
        };
        let auth = match (bearer, username, password) {
            (None, None, None) => Auth::None,
            (Some(token), None, None) => Auth::Bearer(token),
            (None, Some(username), Some(password)) => Auth::Basic { username, password },
            (None, Some(_), None) => {
                wrong("passwordFile", "is required with usernameFile");
                Auth::None
            }
            (None, None, Some(_)) => {
                wrong("usernameFile", "is required with passwordFile");
                Auth::None
            }
            (Some(_), ..) => {
                wrong("bearerTokenFile", "excludes usernameFile and passwordFile");
                Auth::None
            }
        };
        if auth != Auth::None && url.is_none() {
            wrong(
                "url",
                "is required with credentials: they are not shown to what was found by itself",
            );
        }
        Self {
            url,
            discover,
            ca_file,
            auth,
        }
    }

    pub(super) fn effective(&self) -> Value {
        let auth = match &self.auth {
            Auth::None => "none",
            Auth::Bearer(_) => "bearer",
            Auth::Basic { .. } => "basic",
        };
        json!({
            "url": self.url.as_ref().map(Url::as_str),
            "discover": self.discover,
            "caFile": self.ca_file,
            "auth": auth,
        })
    }
}

fn parse_url(text: &str) -> Result<Url, Invalid> {
    let mut url = Url::parse(text).map_err(|error| {
        Invalid::new(
            Code::CFG_001,
            format!("is no URL ({error}); expected http://host[:port][/prefix]"),
        )
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "must not hold a user name or password; there are usernameFile and passwordFile";
        return Err(Invalid::new(Code::CFG_001, problem));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(Invalid::expected("http://host[:port][/prefix], or https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Invalid::new(Code::CFG_001, "must not hold a query or fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
