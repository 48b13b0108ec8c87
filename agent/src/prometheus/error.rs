//! Why a Prometheus could not be asked, told apart as far as somebody has to do different things about it.

use std::{error::Error as StdError, io, path::PathBuf, time::Duration};

use kantaloupe_checks::{Code, Fault};
use kantaloupe_gpu::metrics::answer::AnswerError;

use super::client::CONNECT_TIMEOUT;
use crate::{fault, tls};

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The name is unknown.
    #[error("its name cannot be resolved: {0}")]
    Name(String),
    /// No connection.
    #[error("no connection can be made: {0}")]
    Connect(String),
    /// The certificate is not trusted, or the other side speaks no TLS.
    #[error("TLS fails: {0}; give the CA in monitoring.caFile")]
    Tls(String),
    /// The answer was not there, or not whole, in time.
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    /// 401.
    #[error(
        "it wants credentials (HTTP 401): set monitoring.bearerTokenFile, or usernameFile and passwordFile"
    )]
    Unauthorized,
    /// 401 with credentials.
    #[error("it refuses the credentials (HTTP 401)")]
    WrongCredentials,
    /// 403.
    #[error("it forbids the query (HTTP 403)")]
    Forbidden,
    /// 3xx: a login page, or http instead of https.
    #[error("it redirects to {0}, which is not followed: set monitoring.url to the address that answers")]
    Redirect(String),
    /// 404: something else, or another prefix.
    #[error("there is no Prometheus API at this path (HTTP 404)")]
    NotFound,
    /// Another status.
    #[error("it answered with HTTP {0}")]
    Status(u16),
    /// More bytes than are read.
    #[error("its answer is longer than {0} bytes and was cut off")]
    TooLarge(usize),
    /// The connection ended amid the answer.
    #[error("its answer broke off: {0}")]
    Broken(String),
    /// The answer says so, or is none.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The agent's own credentials cannot be read.
    #[error("the file {path} cannot be used: {problem}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The client cannot be made, for example of this CA.
    #[error("the client cannot be made: {0}")]
    Setup(String),
}

impl QueryError {
    /// Label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Unauthorized | Self::WrongCredentials => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Redirect(_) => "redirect",
            Self::NotFound => "not_found",
            Self::Status(_) => "status",
            Self::TooLarge(_) | Self::Answer(AnswerError::TooManySeries(_) | AnswerError::TooLong(_)) => {
                "too_large"
            }
            Self::Broken(_) => "broken",
            Self::Answer(AnswerError::Refused { .. }) => "refused",
            Self::Answer(AnswerError::Malformed(_)) => "malformed",
            Self::Credentials { .. } | Self::Setup(_) => "setup",
        }
    }

    /// Whether the next query of the same round may fare better: an answer that is too long says nothing of the others.
    pub fn concerns_one_query(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::Answer(_))
    }

    /// For the user.
    pub fn fault(&self, address: &str) -> Fault {
        fault::new(
            Code::MON_001,
            format!("the Prometheus at {address} cannot be queried: {self}"),
            address,
        )
    }

    /// From what the HTTP client says. Its words may hold the URL, which is left out.
    pub(super) fn of(error: &(dyn StdError + 'static), limit: Duration) -> Self {
        let mut chain = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            chain.push(error);
            next = error.source();
        }
        let client = chain
            .iter()
            .find_map(|error| error.downcast_ref::<reqwest::Error>());
        let text = innermost(&chain);
        let tls = chain
            .iter()
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .find_map(tls_error);
        let tls = tls.or_else(|| {
            chain
                .iter()
                .find_map(|error| error.downcast_ref::<rustls::Error>())
        });
        if let Some(error) = tls {
            return Self::Tls(error.to_string());
        }
        match client {
            Some(client) if client.is_timeout() && client.is_connect() => Self::Timeout(CONNECT_TIMEOUT),
            Some(client) if client.is_timeout() => Self::Timeout(limit),
            Some(client) if client.is_dns() => Self::Name(text),
            Some(client) if client.is_connect() => Self::Connect(text),
            _ => Self::Broken(text),
        }
    }
}

/// The rustls error in an I/O error, which the layers of the HTTP client wrap into others.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let nested = || error.get_ref()?.downcast_ref::<io::Error>().and_then(tls_error);
    tls::tls_error(error).or_else(nested)
}

/// The cause at the end of a chain: the layers above only say that something below failed, and where.
fn innermost(chain: &[&(dyn StdError + 'static)]) -> String {
    let last = chain.last().map(ToString::to_string).unwrap_or_default();
    last.chars().filter(|char| !char.is_control()).take(200).collect()
}
