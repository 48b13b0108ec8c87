//! Why somebody is not let in.

use std::time::Duration;

use http::StatusCode;
use kantaloupe_checks::Code;

use super::password::{HashError, Weak};
use crate::{
    problem::{ApiError, sentence},
    store::StoreError,
};

/// A refused login, or a refused change of how one logs in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The one answer to an unknown name, a wrong password and a wrong code.
    #[error("the name, the password or the code is wrong")]
    Wrong,
    /// The password is right; there is more to show.
    #[error("a code of the authenticator app is needed as well")]
    CodeNeeded,
    /// The password was given out by an administrator.
    #[error("this password is good for one login that sets a new one")]
    ChangeNeeded,
    /// The new password is none.
    #[error(transparent)]
    Weak(#[from] Weak),
    /// Too many failures.
    #[error("too many attempts; try again in {} seconds", .0.as_secs() + 1)]
    Wait(Duration),
    /// Too many at once.
    #[error("too many logins at once; try again in a moment")]
    Busy,
    /// A hash could not be made or read.
    #[error("the password could not be checked")]
    Hash,
    /// The key of the data folder is another one.
    #[error("the secret of the authenticator app cannot be read")]
    Key,
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(&'static str),
    /// This token may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// There is no such user.
    #[error("there is no user {0:?}")]
    NoUser(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<HashError> for LoginError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed => Self::Hash,
        }
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        let what = sentence(&error);
        match error {
            LoginError::Wrong => Self::new(StatusCode::UNAUTHORIZED, Code::LOGIN_001, what),
            LoginError::CodeNeeded => Self::new(StatusCode::UNAUTHORIZED, Code::LOGIN_002, what),
            LoginError::ChangeNeeded => Self::new(StatusCode::FORBIDDEN, Code::LOGIN_003, what),
            LoginError::Weak(_) => Self::new(StatusCode::BAD_REQUEST, Code::LOGIN_003, what),
            LoginError::Wait(wait) => Self::too_many(what, wait),
            LoginError::Busy => Self::too_many(what, Duration::from_secs(1)),
            LoginError::Hash => {
                tracing::error!("a password could not be hashed or its hash not be read");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::SRV_006, what)
            }
            LoginError::Key => {
                tracing::error!("a TOTP secret cannot be read with login.key (KTA-LOGIN-012)");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::LOGIN_012, what)
            }
            LoginError::Conflict(_) => Self::new(StatusCode::CONFLICT, Code::SRV_008, what),
            LoginError::Forbidden(_) => Self::forbidden(what),
            LoginError::NoUser(_) => Self::not_found(what),
            LoginError::Store(error) => error.into(),
        }
    }
}
