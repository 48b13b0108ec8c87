//! What answers at an address: Prometheus, VictoriaMetrics, or something else that speaks Prometheus' API.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::text;
use crate::version;

/// The oldest Prometheus that the platform supports.
pub const MIN_PROMETHEUS: &str = "2.37";
/// What every VictoriaMetrics says its version is, since December 2023; before it said none.
const VICTORIA_SAYS: &str = "2.24.0";

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServerKind {
    /// Prometheus itself.
    Prometheus,
    /// VictoriaMetrics: single node, or vmselect of a cluster.
    VictoriaMetrics,
    /// Another one, such as Thanos or Mimir, whose versions count otherwise.
    Other,
}

/// What answers at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Whose it is.
    pub kind: ServerKind,
    /// Its own version; `None` if it does not tell.
    pub version: Option<String>,
    /// Its name, where it is another one.
    pub name: Option<String>,
}

impl Server {
    /// Whether it is new enough: `None` if that cannot be said.
    pub fn is_supported(&self) -> Option<bool> {
        match self.kind {
            ServerKind::VictoriaMetrics => Some(true),
            ServerKind::Other => None,
            ServerKind::Prometheus => version::at_least(self.version.as_deref()?, MIN_PROMETHEUS),
        }
    }
}

/// What `/api/v1/status/buildinfo` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildInfo {
    /// It is clear what it is.
    Known(Server),
    /// VictoriaMetrics, by what it says; its own `/metrics` may tell the version.
    Victoria,
}

/// Reads an answer of `/api/v1/status/buildinfo`. `None` if it is none.
pub fn build_info(answer: &[u8]) -> Option<BuildInfo> {
    #[derive(Deserialize)]
    struct Whole {
        status: String,
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        version: Option<String>,
        revision: Option<String>,
        application: Option<String>,
    }
    let whole: Whole = serde_json::from_slice(answer).ok()?;
    if whole.status != "success" {
        return None;
    }
    let Data {
        version,
        revision,
        application,
    } = whole.data;
    let revision = revision.filter(|revision| !revision.is_empty());
    let version = version.filter(|version| !version.is_empty());
    Some(match (version, revision, application) {
        (version, _, Some(name)) => BuildInfo::Known(Server {
            kind: ServerKind::Other,
            version,
            name: Some(name.chars().take(60).collect()),
        }),
        (None, ..) => BuildInfo::Victoria,
        (Some(version), None, _) if version == VICTORIA_SAYS => BuildInfo::Victoria,
        // Prometheus is at 2 and beyond since 2017; Thanos is still below 1.
        (Some(version), ..) if version.starts_with("0.") => BuildInfo::Known(Server {
            kind: ServerKind::Other,
            version: Some(version),
            name: None,
        }),
        (version, ..) => BuildInfo::Known(Server {
            kind: ServerKind::Prometheus,
            version,
            name: None,
        }),
    })
}

/// The version of VictoriaMetrics in its own metrics, such as `v1.97.0`.
pub fn victoria_version(metrics: &[u8]) -> Option<String> {
    let read = text::parse(metrics);
    let app = read
        .samples
        .iter()
        .find(|sample| sample.name == "vm_app_version")?;
    let short = app.label("short_version").filter(|short| short.starts_with('v'));
    // victoria-metrics-20231116-165345-tags-v1.95.1-0-g1b4fc8d15c
    let long = app
        .label("version")
        .and_then(|long| long.split('-').find(|part| is_version(part)));
    short.or(long).map(str::to_owned)
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| {
        rest.contains('.') && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

/// What VictoriaMetrics is, once it is known to be one.
pub fn victoria(metrics: Option<&[u8]>) -> Server {
    Server {
        kind: ServerKind::VictoriaMetrics,
        version: metrics.and_then(victoria_version),
        name: None,
    }
}
