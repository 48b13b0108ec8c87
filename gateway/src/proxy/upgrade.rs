//! Upgrades (exec, attach, port-forward; WebSocket and SPDY alike): the bytes after the 101 are none of our business.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use kantaloupe_proto::headers::strip_for_other_names;
use kantaloupe_tunnel::upgrade;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{
    Lease, Refused, answer,
    backlog::{Evicted, Listed},
    meter::{Meter, Metered},
    own_headers, send,
};
use crate::{app::App, body::Body, io::UpgradedIo, metrics::Outcome, status::Refusal};

/// What the API server upgrades to. Anything else, such as h2c, would let later requests pass unseen.
const PROTOCOLS: [&[u8]; 2] = [b"SPDY/3.1", b"websocket"];
/// Longest wait for both ends' connections after the 101, which has only to be written.
const UPGRADE: Duration = Duration::from_secs(10);

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
    let headers = std::mem::take(user.headers_mut());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = upgrade::connect_request(user.method(), &protocol, target, headers, body).map_err(bad)?;
    let mut response = send(app, &mut lease, |_| request).await?;
    let to_agent = on(&mut response);
    let (connect, body) = response.into_parts();
    let mut head = upgrade::user_response(&connect).map_err(|error| {
        let what = format!(
            "cluster {}'s agent gave an answer that cannot be: {error}",
            lease.cluster.name
        );
        (Outcome::Broken, Refusal::bad_gateway(what))
    })?;
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer(Response::from_parts(head, body), lease));
    }
    strip_for_other_names(&mut head.headers);
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
        let why = tokio::select! {
            biased;
            () = lease.revoked() => Some("access was revoked".to_owned()),
            () = hard.cancelled() => Some("the gateway stopped".to_owned()),
            () = evicted => Some(Evicted.to_string()),
            ended = splice(from_user, to_agent, meter, listed.clone()) => ended.err(),
        };
        tracing::debug!(why, "stream ended");
        if let Some(why) = why {
            pending.because(why);
        }
    };
    app.user_tasks.spawn(task.instrument(span));
    Ok(Response::from_parts(head, Body::empty()))
}

/// Moves bytes until both ends have finished, or says why they did not.
async fn splice(
    from_user: OnUpgrade,
    to_agent: OnUpgrade,
    meter: Meter,
    listed: Option<Arc<Listed>>,
) -> Result<(), String> {
    let both = timeout(UPGRADE, async { tokio::try_join!(from_user, to_agent) });
    let (user, agent) = both
        .await
        .map_err(|_| "the connection did not change its protocol in time".to_owned())?
        .map_err(|error| format!("the connection did not change its protocol: {error}"))?;
    let user = UpgradedIo::new(user).map_err(|error| error.to_string())?;
    upgrade::splice(Metered::new(user, meter, listed), TokioIo::new(agent))
        .await
        .map(|_| ())
        .map_err(|error| format!("the stream broke off: {error}"))
}
