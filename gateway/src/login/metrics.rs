//! What is counted of logins.

use std::fmt::{self, Write as _};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::LoginError;

/// How somebody shows who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    /// Name and password of a local account.
    Password,
    /// The password once more, for a change of how one logs in.
    Confirmation,
    /// At the provider, in the browser.
    Browser,
    /// At the provider, with a code.
    Device,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Ok,
    /// A name, a password, a code or a token that is none.
    Refused,
    /// The password is right, and something more is needed.
    Incomplete,
    /// Too many failures before.
    LockedOut,
    /// Something of the gateway or the provider does not work.
    Failed,
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Password => "password",
            Self::Confirmation => "confirmation",
            Self::Browser => "browser",
            Self::Device => "device",
        })
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Incomplete => "incomplete",
            Self::LockedOut => "locked_out",
            Self::Failed => "failed",
        })
    }
}

impl Outcome {
    /// Of a local login.
    pub(super) fn of<T>(result: &Result<T, LoginError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(LoginError::Wait(_)) => Self::LockedOut,
            Err(LoginError::CodeNeeded | LoginError::ChangeNeeded | LoginError::Weak(_)) => Self::Incomplete,
            Err(LoginError::Busy | LoginError::Hash | LoginError::Key | LoginError::Store(_)) => Self::Failed,
            Err(
                LoginError::Wrong
                | LoginError::Conflict(_)
                | LoginError::Forbidden(_)
                | LoginError::NoUser(_),
            ) => Self::Refused,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabel {
    method: Method,
    outcome: Outcome,
}

/// The families.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoginMetrics {
    logins: Family<LoginLabel, Counter>,
    /// Sessions that the provider has ended.
    pub(crate) ended_by_provider: Counter,
}

impl LoginMetrics {
    pub(crate) fn count(&self, method: Method, outcome: Outcome) {
        self.logins.get_or_create(&LoginLabel { method, outcome }).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kantaloupe_gateway_logins",
            "Logins by how they were made and how they ended; locked_out is too many failures before",
            self.logins.clone(),
        );
        registry.register(
            "kantaloupe_gateway_sessions_ended_by_provider",
            "Sessions that ended because the provider said so (back-channel logout)",
            self.ended_by_provider.clone(),
        );
    }
}
