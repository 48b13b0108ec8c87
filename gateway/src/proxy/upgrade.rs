//! Upgrades (exec, attach, port-forward; WebSocket and SPDY alike): the bytes after the 101 are none of our business, unless terminal sessions are
//! recorded.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, response, uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded, on},
};
use hyper_util::rt::TokioIo;
use kantaloupe_proto::headers::strip_for_other_names;
use kantaloupe_tunnel::{session, upgrade};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{
    Lease, Refused, answer,
    backlog::{Evicted, Listed},
    meter::{Meter, Metered},
    own_headers, send,
};
use crate::{
    app::App,
    audit::Pending,
    body::Body,
    config::AuditFailure,
    io::UpgradedIo,
    metrics::Outcome,
    recording::{self, Recording, terminal::Protocol},
    status::Refusal,
};

/// What the API server upgrades to. Anything else, such as h2c, would let later requests pass unseen.
const PROTOCOLS: [&[u8]; 2] = [b"SPDY/3.1", b"websocket"];
/// Longest wait for both ends' connections after the 101, which has only to be written.
const UPGRADE: Duration = Duration::from_secs(10);
/// In the 101: the session is recorded, under this id.
const RECORDING: HeaderName = HeaderName::from_static("kantaloupe-recording");

/// Sends an upgrade request; after a 101 a task moves the bytes.
pub(super) async fn forward(
    app: &Arc<App>,
    mut lease: Lease,
    mut user: Request<Incoming>,
    target: PathAndQuery,
) -> Result<Response<Body>, Refused> {
    let bad = |error: upgrade::Error| (Outcome::Refused, Refusal::bad_request(error));
    let protocol = user
        .headers_mut()
        .remove(header::UPGRADE)
        .ok_or_else(|| bad(upgrade::Error::Protocol))?;
    if !PROTOCOLS
        .iter()
        .any(|known| protocol.as_bytes().eq_ignore_ascii_case(known))
    {
        let what =
            "the upgrade is to another protocol than SPDY/3.1 and websocket, which are what Kubernetes uses";
        return Err((Outcome::Refused, Refusal::bad_request(what)));
    }
    let from_user = on(&mut user);
    own_headers(user.headers_mut(), &lease);
    let mut headers = std::mem::take(user.headers_mut());
    // Before anything leaves: what cannot be recorded does not begin.
    let recording = begin(app, &lease.meter.pending, &protocol, &mut headers).await?;
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = upgrade::connect_request(user.method(), &protocol, target, headers, body).map_err(bad);
    let opened = match request {
        Ok(request) => open(app, &mut lease, request).await,
        Err(refused) => Err(refused),
    };
    let (mut head, body, to_agent) = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            discard(recording).await;
            return Err(refused);
        }
    };
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        discard(recording).await;
        return Ok(answer(Response::from_parts(head, body), lease));
    }
    let recording = match (recording, recording::protocol(&protocol, &head.headers)) {
        (None, _) => None,
        (Some(recording), Some(protocol)) => Some((recording, protocol)),
        (Some(recording), None) => {
            recording.discard().await;
            let what = "the API server has chosen a protocol that cannot be recorded";
            return Err((Outcome::Broken, Refusal::not_recordable(what)));
        }
    };
    strip_for_other_names(&mut head.headers);
    if recording.is_some()
        && let Ok(id) = HeaderValue::from_str(&lease.meter.pending.id().to_string())
    {
        head.headers.insert(RECORDING, id);
    }
    app.metrics.upgrades.inc();
    let hard = app.stop.hard.clone();
    let span = tracing::debug_span!("stream", cluster = %lease.cluster.id);
    let pending = Arc::clone(&lease.meter.pending);
    pending.answered(head.status);
    let meter = lease.meter.other();
    let listed = lease.session.as_ref().map(|session| {
        let listed = session
            .backlog()
            .add_stream(Arc::clone(&lease.identity), pending.id());
        Arc::new(listed)
    });
    let task = async move {
        let evicted = async {
            match &listed {
                Some(listed) => listed.evicted().await,
                None => std::future::pending().await,
            }
        };
        let cut = async {
            tokio::select! {
                biased;
                () = lease.revoked() => "access was revoked".to_owned(),
                () = hard.cancelled() => "the gateway stopped".to_owned(),
                () = evicted => Evicted.to_string(),
            }
        };
        let ends = (from_user, to_agent);
        let counted = (meter, listed.clone());
        let why = match recording {
            None => tokio::select! {
                biased;
                why = cut => Some(why),
                ended = splice(ends, counted) => ended.err(),
            },
            Some((recording, protocol)) => recorded(recording, protocol, ends, counted, &pending, cut).await,
        };
        tracing::debug!(why, "stream ended");
        if let Some(why) = why {
            pending.because(why);
        }
    };
    app.user_tasks.spawn(task.instrument(span));
    Ok(Response::from_parts(head, Body::empty()))
}

/// Sends the request; the head of the answer as the user gets it, its body, and the connection if it is a 101.
async fn open(
    app: &Arc<App>,
    lease: &mut Lease,
    request: Request<session::Body>,
) -> Result<(response::Parts, Incoming, OnUpgrade), Refused> {
    let mut response = send(app, lease, |_| request).await?;
    let to_agent = on(&mut response);
    let (connect, body) = response.into_parts();
    let head = upgrade::user_response(&connect).map_err(|error| {
        let what = format!(
            "cluster {}'s agent gave an answer that cannot be: {error}",
            lease.cluster.name
        );
        (Outcome::Broken, Refusal::bad_gateway(what))
    })?;
    Ok((head, body, to_agent))
}

/// Makes the file of the recording that the audit has promised, and takes out of the offer what cannot be recorded.
async fn begin(
    app: &Arc<App>,
    pending: &Pending,
    protocol: &HeaderValue,
    headers: &mut HeaderMap,
) -> Result<Option<Recording>, Refused> {
    let Some(file) = pending.recording() else {
        return Ok(None);
    };
    recording::restrict(protocol, headers)
        .map_err(|error| (Outcome::Refused, Refusal::not_recordable(error)))?;
    let (title, entry) = (pending.title(), pending.begin_entry());
    match app.recorder.begin(pending.id(), file, &title, entry).await {
        Ok(recording) => Ok(Some(recording)),
        Err(error) if app.recorder.failure() == AuditFailure::Allow => {
            tracing::error!(%error, "a session goes on without its recording (KTA-AUDIT-004)");
            pending.because(error.to_string());
            Ok(None)
        }
        Err(error) => {
            tracing::error!(%error, "a session is refused (KTA-AUDIT-004)");
            // What the system said is for the operator.
            let what = "the recording of the session cannot be written, so that it is refused";
            Err((Outcome::ServerError, Refusal::unrecorded(what)))
        }
    }
}

async fn discard(recording: Option<Recording>) {
    if let Some(recording) = recording {
        recording.discard().await;
    }
}

/// Both ends' connections.
type Ends = (OnUpgrade, OnUpgrade);
/// What counts the bytes, and who notices that nobody reads them.
type Counted = (Meter, Option<Arc<Listed>>);

async fn connections((from_user, to_agent): Ends) -> Result<(UpgradedIo, TokioIo<Upgraded>), String> {
    let both = timeout(UPGRADE, async { tokio::try_join!(from_user, to_agent) });
    let (user, agent) = both
        .await
        .map_err(|_| "the connection did not change its protocol in time".to_owned())?
        .map_err(|error| format!("the connection did not change its protocol: {error}"))?;
    let user = UpgradedIo::new(user).map_err(|error| error.to_string())?;
    Ok((user, TokioIo::new(agent)))
}

/// Moves bytes until both ends have finished, or says why they did not.
async fn splice(ends: Ends, (meter, listed): Counted) -> Result<(), String> {
    let (user, agent) = connections(ends).await?;
    moved(upgrade::splice(Metered::new(user, meter, listed), agent).await)
}

fn moved(result: std::io::Result<(u64, u64)>) -> Result<(), String> {
    result
        .map(|_| ())
        .map_err(|error| format!("the stream broke off: {error}"))
}

/// As [`splice`], with a recording, until `cut`; why it did not go to its end.
async fn recorded(
    recording: Recording,
    protocol: Protocol,
    ends: Ends,
    (meter, listed): Counted,
    pending: &Pending,
    cut: impl Future<Output = String>,
) -> Option<String> {
    let session = async {
        let (user, mut agent) = connections(ends).await?;
        let mut user = recording.tap(Metered::new(user, meter, listed), protocol);
        let result = tokio::select! {
            biased;
            () = recording.failed() => {
                let why = recording.stopped().unwrap_or_default();
                user.farewell(&Refusal::unrecorded(&why).json()).await;
                Err(why)
            }
            result = upgrade::splice(&mut user, &mut agent) => moved(result),
        };
        user.finish();
        result
    };
    let ended = tokio::select! {
        biased;
        why = cut => Err(why),
        result = session => result,
    };
    let finished = recording.finish().await;
    pending.recorded(finished.note, finished.marker);
    ended.err().or(finished.early)
}
