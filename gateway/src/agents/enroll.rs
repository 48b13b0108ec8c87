//! Enrolment: a token and a public key become an identity.

use std::{net::SocketAddr, sync::Arc};

use http::StatusCode;
use kantaloupe_checks::Code;
use kantaloupe_proto::{
    agent_api::{EnrollRequest, EnrollResponse},
    assertion::MAX_CLOCK_SKEW_SECS,
    token::{Token, TokenKind},
};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use crate::{
    app::App,
    clusters,
    metrics::{Attempt, AttemptLabel},
    problem::{ApiError, sentence},
    store::EnrollRefusal,
};

/// Characters of a cluster UID: a UUID has 36, and nothing says that it must be one.
const MAX_UID: usize = 64;

/// Enrols an agent, or says why not.
pub(crate) async fn enroll(
    app: &Arc<App>,
    peer: SocketAddr,
    request: EnrollRequest,
) -> Result<EnrollResponse, ApiError> {
    let now = App::now();
    if !app.agents.failures.lock().allows(peer.ip(), Instant::now()) {
        count(app, Attempt::Limited);
        let what = format!(
            "Too many enrolments from {} have failed within a minute",
            peer.ip()
        );
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, Code::SRV_003, what));
    }
    let result = check_and_enroll(app, request, now).await;
    match &result {
        Ok(enrolled) => {
            count(app, Attempt::Accepted);
            tracing::info!(cluster = %enrolled.cluster_id, key = %enrolled.key_id, %peer, "agent enrolled");
        }
        Err(error) if error.status.is_server_error() => count(app, Attempt::Failed),
        Err(error) => {
            count(app, Attempt::Refused);
            app.agents.failures.lock().count(peer.ip(), Instant::now());
            tracing::info!(code = %error.fault.code(), reason = error.fault.what(), %peer, "enrolment refused");
        }
    }
    result
}

fn count(app: &App, outcome: Attempt) {
    app.metrics
        .enrollments
        .get_or_create(&AttemptLabel { outcome })
        .inc();
}

async fn check_and_enroll(
    app: &Arc<App>,
    request: EnrollRequest,
    now: i64,
) -> Result<EnrollResponse, ApiError> {
    let unauthorized = |code, what: String| ApiError::new(StatusCode::UNAUTHORIZED, code, what);
    let uid = &request.cluster_uid;
    if uid.is_empty() || uid.len() > MAX_UID || !uid.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ApiError::invalid("clusterUid is not the UID of a namespace"));
    }
    let token = Token::parse(TokenKind::Enrollment, request.token.expose_secret())
        .map_err(|e| unauthorized(Code::AUTH_001, sentence(&e)))?;
    check_clock(request.time, now)?;
    let token_id = token.id.clone();
    let enrolled = clusters::enroll(app, token, request.public_key, request.cluster_uid, now).await?;
    let enrolled = enrolled.map_err(|refusal| match refusal {
        EnrollRefusal::Unknown => unauthorized(
            Code::AUTH_002,
            format!("The enrolment token {token_id} is not known here"),
        ),
        EnrollRefusal::Expired { at } => {
            let at = App::rfc3339(at);
            unauthorized(
                Code::AUTH_003,
                format!("The enrolment token {token_id} expired at {at}"),
            )
        }
        EnrollRefusal::Used => {
            let what = format!("The enrolment token {token_id} was used by another agent");
            ApiError::new(StatusCode::CONFLICT, Code::AUTH_004, what)
        }
        EnrollRefusal::OtherCluster { enrolled_uid } => {
            let what = format!(
                "The cluster is enrolled with the kube-system UID {enrolled_uid}, which is another one"
            );
            unauthorized(Code::AUTH_005, what)
        }
        EnrollRefusal::Revoked => {
            let what = "The identity that was enrolled with this token was revoked";
            ApiError::new(StatusCode::FORBIDDEN, Code::AUTH_007, what)
        }
    })?;
    Ok(EnrollResponse {
        cluster_id: enrolled.cluster_id,
        cluster_name: enrolled.cluster_name,
        key_id: enrolled.key_id,
        audience: app.agents.audience.clone(),
    })
}

/// Refuses an agent whose clock is too far off, with both times.
pub(super) fn check_clock(theirs: i64, now: i64) -> Result<(), ApiError> {
    let skew = theirs.saturating_sub(now);
    if skew.saturating_abs() <= MAX_CLOCK_SKEW_SECS {
        return Ok(());
    }
    let direction = if skew < 0 { "behind" } else { "ahead of" };
    let what = format!(
        "The cluster's clock says {}, the gateway's {}: it is {} s {direction} the gateway's",
        App::rfc3339(theirs),
        App::rfc3339(now),
        skew.saturating_abs(),
    );
    Err(ApiError::new(StatusCode::UNAUTHORIZED, Code::TIME_001, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_off_by_five_minutes_either_way() {
        for skew in [0, 300, -300] {
            assert!(check_clock(1_790_000_000 + skew, 1_790_000_000).is_ok());
        }
        let error = check_clock(1_790_000_000 - 600, 1_790_000_000).unwrap_err();
        assert_eq!((error.status.as_u16(), error.fault.code()), (401, Code::TIME_001));
        let text = error.fault.what();
        assert!(
            text.contains("600 s behind") && text.contains("2026-09-21T14:13:20Z"),
            "{text}"
        );
        check_clock(i64::MIN, 1_790_000_000).unwrap_err();
    }
}
