//! Errors of our own on the way to the API server, in the form that its clients understand: `Status` objects.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use kantaloupe_checks::Code;
use kantaloupe_policy::Denied;
use kantaloupe_tunnel::session::Body;
use serde_json::json;

/// A refusal or failure that the caller gets as a `Status`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            reason: "BadRequest",
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            reason: "NotFound",
            message: message.into(),
        }
    }

    /// Not allowed, by the grant that the gateway names or by the cluster's owner.
    pub(crate) fn denied(denied: &Denied) -> Self {
        let code = if denied.setting().is_some() {
            Code::POL_001
        } else {
            Code::POL_002
        };
        Self {
            status: StatusCode::FORBIDDEN,
            reason: "Forbidden",
            message: format!("refused by the agent: {denied} ({code})"),
        }
    }

    /// The API server cannot be reached. No Retry-After: clients would repeat by themselves, up to ten times.
    pub(crate) fn unreachable(problem: &str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: "ServiceUnavailable",
            message: format!("the agent cannot reach its API server: {problem} (KTA-K8S-001)"),
        }
    }

    /// The API server broke off; the request may have taken effect.
    pub(crate) fn broken(problem: &str) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            reason: "BadGateway",
            message: format!(
                "the connection from the agent to its API server broke before an answer came; the request may have \
                 taken effect: {problem} (KTA-K8S-001)"
            ),
        }
    }

    /// The answer to a request with this method: HEAD gets no body.
    pub(crate) fn response(&self, method: &Method) -> Response<Body> {
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.status.as_u16(),
        });
        let text = if method == Method::HEAD {
            String::new()
        } else {
            status.to_string()
        };
        let body = Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
