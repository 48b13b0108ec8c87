//! Errors of the API and of the agents' calls: problem details (RFC 9457) with a code and what to do.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kantaloupe_checks::{Code, Fault, Lang};
use kantaloupe_proto::agent_api::{PROBLEM_JSON, Problem};

use crate::{auth::AuthError, people::ChangeError, store::StoreError};

/// An error that a caller sees.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) fault: Fault,
    /// When it is worth to come again.
    pub(crate) retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: Code, what: impl Into<String>) -> Self {
        Self {
            status,
            fault: Fault::new(code, what),
            retry_after: None,
        }
    }

    /// 429: come again after `wait`.
    pub(crate) fn too_many(what: impl Into<String>, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::SRV_003, what)
        }
    }

    /// 400: something in the request is wrong.
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::SRV_008, what)
    }

    /// Something was taken away in memory, and the store could not be written.
    pub(crate) fn until_restart(error: StoreError, what: &str) -> Self {
        let Self { status, fault, .. } = error.into();
        let what = format!(
            "{}: {what} is refused from now on, but only until the gateway's next start. Do it again once the disk takes it",
            fault.what()
        );
        Self::new(status, fault.code(), what)
    }

    /// 404.
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::SRV_009, what)
    }

    /// 403: the role does not allow it.
    pub(crate) fn forbidden(what: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::SRV_002, what)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // What SQLite says names no secrets, but is for the operator: it goes into the log.
        tracing::error!(%error, "store failed (KTA-SRV-006)");
        match error {
            StoreError::Full(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                Code::SRV_006,
                "The gateway's disk is full",
            ),
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::SRV_006,
                "The gateway could not read or write its database",
            ),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Gone(_) => Self::not_found(sentence(&error)),
            ChangeError::Label(_) => Self::invalid(sentence(&error)),
            ChangeError::Taken(_) | ChangeError::TooMany(..) | ChangeError::LastAdministrator => {
                Self::new(StatusCode::CONFLICT, Code::SRV_008, sentence(&error))
            }
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Store(error) => error.into(),
            other => Self::new(StatusCode::UNAUTHORIZED, Code::SRV_010, sentence(&other)),
        }
    }
}

/// An error's text as the start of a sentence.
pub(crate) fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.fault.title(Lang::En).to_owned(),
            status: self.status.as_u16(),
            detail: self.fault.what_and_detail(),
            code: self.fault.code().as_str().to_owned(),
            fix: self.fault.remedy(Lang::En).to_owned(),
        };
        let json = serde_json::to_vec(&problem).expect("texts and numbers always serialize");
        let mut response = (self.status, json).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.retry_after {
            // Upwards: whoever comes back then is let through.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
