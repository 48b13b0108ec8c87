//! Errors on the way to a cluster, as Kubernetes writes them: clients such as kubectl print `message`.
//!
//! Only a limit that is reached has a `Retry-After`: client-go repeats a request up to ten times when it sees one.

use http::{HeaderValue, Response, StatusCode, header};
use kantaloupe_checks::{Code, Fault};
use serde::Serialize;

use crate::body::Body;

/// An error of a request to a cluster.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// Kubernetes' word for the kind of error.
    reason: &'static str,
    message: String,
    /// Seconds after which it may be tried again.
    retry_after: Option<u64>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are Kubernetes'")]
struct Status<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Details {
    #[serde(rename = "retryAfterSeconds")]
    retry_after_seconds: u64,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, code: Code, what: impl std::fmt::Display) -> Self {
        Self {
            status,
            reason,
            message: format!("{what} ({code})"),
            retry_after: None,
        }
    }

    /// 401. kubectl prints its own words for it, so the remedy is in the message for everybody else.
    pub(crate) fn unauthorized(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", Code::SRV_010, what)
    }

    /// 403.
    pub(crate) fn forbidden(code: Code, what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", code, what)
    }

    /// 400.
    pub(crate) fn bad_request(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", Code::SRV_005, what)
    }

    /// 404.
    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", Code::SRV_009, what)
    }

    /// 429.
    pub(crate) fn too_many(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            Code::SRV_003,
            what,
        )
    }

    /// Says when to try again, which clients such as client-go then do by themselves.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// 503: what is done could not be written down.
    pub(crate) fn unaudited() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            Code::AUDIT_001,
            "the gateway's audit cannot be written, so that requests are refused",
        )
    }

    /// 503: the recording of a terminal session cannot be begun or go on.
    pub(crate) fn unrecorded(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            Code::AUDIT_004,
            what,
        )
    }

    /// 400: the caller's protocol cannot be recorded.
    pub(crate) fn not_recordable(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", Code::AUDIT_005, what)
    }

    /// The status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The message, with the code.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// 503.
    pub(crate) fn unavailable(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            Code::SRV_001,
            what,
        )
    }

    /// 502: the agent spoke as no agent does.
    pub(crate) fn bad_gateway(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "InternalError", Code::SRV_004, what)
    }

    /// 500.
    pub(crate) fn internal(fault: &Fault) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            fault.code(),
            fault.what(),
        )
    }

    /// The `Status` alone.
    pub(crate) fn json(&self) -> Vec<u8> {
        let body = Status {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self
                .retry_after
                .map(|retry_after_seconds| Details { retry_after_seconds }),
            code: self.status.as_u16(),
        };
        serde_json::to_vec(&body).expect("texts and numbers always serialize")
    }

    /// The answer.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(warning) = warning(&self.message) {
            headers.insert(header::WARNING, warning);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The message once more, as a warning: kubectl throws the body of a failed discovery away, which is its first request
/// for nearly every command, but prints warnings.
fn warning(message: &str) -> Option<HeaderValue> {
    let mut text = String::with_capacity(message.len() + 16);
    text.push_str("299 - \"");
    for c in message.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_what_kubectl_prints_and_asks_for_no_retry() {
        let response = Refusal::unavailable("cluster prod is offline since 14:02").into_response();
        assert_eq!(response.status(), 503);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        let warning = "299 - \"cluster prod is offline since 14:02 (KTA-SRV-001)\"";
        assert_eq!(response.headers()[header::WARNING], warning);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "cluster prod is offline since 14:02 (KTA-SRV-001)",
            "reason": "ServiceUnavailable", "code": 503,
        });
        assert_eq!(json, expected);
    }

    #[tokio::test]
    async fn a_limit_says_when_to_try_again() {
        let response = Refusal::too_many("enough").retry_after(3).into_response();
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()[header::RETRY_AFTER]
            ),
            (429, &HeaderValue::from(3))
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["reason"], "TooManyRequests");
        assert_eq!(json["details"]["retryAfterSeconds"], 3);
    }

    #[test]
    fn a_warning_cannot_break_out_of_its_quotes() {
        assert_eq!(
            warning("a \"b\" \\ c\r\nd上").unwrap(),
            "299 - \"a \\\"b\\\" \\\\ cd\""
        );
    }
}
