//! Why a login at the provider failed, in words that say which side has to mend what.

use http::StatusCode;
use kantaloupe_checks::Code;
use url::Url;

use super::{claims::ClaimsError, jws::JwsError};
use crate::problem::ApiError;

/// Characters of what a provider says that are passed on.
const MAX_SAID: usize = 200;

/// A failed login, by its cause.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// This gateway has no provider.
    #[error("no OpenID Connect provider is set up here")]
    NotConfigured,
    /// No connection, no TLS, no answer.
    #[error("the provider cannot be reached at {}: {why}", origin(url))]
    Unreachable {
        /// What was called.
        url: Url,
        /// Why not.
        why: String,
    },
    /// The answer is not what the standard says.
    #[error("the provider's answer at {} cannot be used: {why}", origin(url))]
    Answer {
        /// What was called.
        url: Url,
        /// What is wrong.
        why: String,
    },
    /// The document at the issuer's address names another issuer.
    #[error("the provider calls itself {found:?}, but --oidc-issuer is {expected:?}")]
    Issuer {
        /// What it says.
        found: String,
        /// What we were told.
        expected: String,
    },
    /// The provider does not have what is asked for.
    #[error("the provider has no {0}")]
    Unsupported(&'static str),
    /// The provider does not accept the client id or secret.
    #[error("the provider does not accept the gateway's client id or secret: {0}")]
    Client(String),
    /// The provider refuses this login.
    #[error("the provider refused the login: {0}")]
    Refused(String),
    /// The ID token is not acceptable.
    #[error("the provider's ID token is refused: {0}")]
    Token(#[from] JwsError),
    /// What it says is not acceptable.
    #[error("the provider's ID token is refused: {0}")]
    Claims(#[from] ClaimsError),
    /// The browser comes back with something that we did not start, or too late, or again.
    #[error("{0}")]
    Login(&'static str),
    /// The provider says nobody's name, or one that cannot be a user's.
    #[error("{0}")]
    Name(String),
}

impl OidcError {
    fn code(&self) -> Code {
        match self {
            Self::NotConfigured => Code::SRV_009,
            Self::Unreachable { .. } | Self::Answer { .. } => Code::LOGIN_004,
            Self::Issuer { .. } | Self::Claims(ClaimsError::Issuer { .. }) => Code::LOGIN_005,
            Self::Client(_) => Code::LOGIN_006,
            Self::Claims(ClaimsError::Expired(_) | ClaimsError::NotYet(_)) => Code::LOGIN_007,
            Self::Token(_) | Self::Claims(_) => Code::LOGIN_008,
            Self::Login(_) => Code::LOGIN_009,
            Self::Refused(_) | Self::Unsupported(_) => Code::LOGIN_010,
            Self::Name(_) => Code::LOGIN_011,
        }
    }

    /// Whether it is nobody's refusal, but something that does not work.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::NotConfigured
                | Self::Unreachable { .. }
                | Self::Answer { .. }
                | Self::Issuer { .. }
                | Self::Unsupported(_)
                | Self::Client(_)
        )
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotConfigured => StatusCode::NOT_FOUND,
            Self::Login(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) | Self::Name(_) => StatusCode::FORBIDDEN,
            // What the person can do nothing about.
            Self::Unreachable { .. }
            | Self::Answer { .. }
            | Self::Issuer { .. }
            | Self::Unsupported(_)
            | Self::Client(_)
            | Self::Token(_)
            | Self::Claims(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        let code = error.code();
        if error.status() == StatusCode::BAD_GATEWAY {
            tracing::warn!(%error, %code, "login at the provider failed");
        }
        Self::new(error.status(), code, crate::problem::sentence(&error))
    }
}

/// Scheme, host and path: a query may hold what is good once.
fn origin(url: &Url) -> String {
    let mut plain = url.clone();
    plain.set_query(None);
    plain.to_string()
}

/// What a provider says of an error (RFC 6749, section 5.2), cut and without what would break a line of a log.
pub(crate) fn said(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect()
}
