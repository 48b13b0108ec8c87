//! Connecting: the signed assertion is checked on every carrier, also on one that resumes a link.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::response::IntoResponse as _;
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use kantaloupe_checks::Code;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    agent_api::ChallengeResponse,
    assertion::{Claims, SessionKind, Unverified},
};
use kantaloupe_tunnel::{
    carrier::websocket,
    link::Link,
    session::{Calls, Client, Kind},
};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{
    enroll::check_clock,
    nonces::NonceRefusal,
    tunnel::{self, TunnelKey},
};
use crate::{
    app::App,
    body::Body,
    directory::Cluster,
    io::UpgradedIo,
    metrics::{Attempt, AttemptLabel},
    problem::{ApiError, sentence},
};

/// Longest wait between the 101 and the connection's release by hyper, which has only to write it.
const UPGRADE: Duration = Duration::from_secs(10);
/// Characters of ids in the claims; ours have 36 at most.
const MAX_ID: usize = 64;

/// A nonce for one connect.
pub(crate) fn challenge(app: &App) -> ChallengeResponse {
    let now = App::now();
    ChallengeResponse {
        nonce: app.agents.nonces.issue(now),
        time: now,
        protocol_version: PROTOCOL_VERSION,
    }
}

/// Answers an upgrade request: 101 and a tunnel's session in a task, or a problem.
pub(crate) async fn connect(
    app: &Arc<App>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let (admitted, response) = match admit(app, &request).await {
        Ok(admitted) => admitted,
        Err(error) => {
            let outcome = if error.status.is_server_error() {
                Attempt::Failed
            } else {
                Attempt::Refused
            };
            app.metrics
                .agent_connects
                .get_or_create(&AttemptLabel { outcome })
                .inc();
            tracing::info!(code = %error.fault.code(), reason = %error.fault.what_and_detail(), %peer, "agent refused");
            return error.into_response().map(Body::Api);
        }
    };
    app.metrics
        .agent_connects
        .get_or_create(&AttemptLabel {
            outcome: Attempt::Accepted,
        })
        .inc();
    let span = tracing::info_span!(
        "tunnel",
        cluster = %admitted.cluster.id,
        tunnel = %admitted.key.tunnel_id,
        session = kind(admitted.session).as_str(),
        %peer
    );
    let upgrade = hyper::upgrade::on(&mut request);
    app.agent_tasks
        .spawn(serve(Arc::clone(app), admitted, upgrade, peer).instrument(span));
    response.map(|()| Body::empty())
}

/// An agent that may open a session.
struct Admitted {
    cluster: Arc<Cluster>,
    key: TunnelKey,
    session: SessionKind,
    enrolled_uid: String,
}

async fn admit(app: &App, request: &Request<Incoming>) -> Result<(Admitted, Response<()>), ApiError> {
    let response = websocket::server_response(request)
        .map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, Code::NET_007, sentence(&e)))?;
    let value = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    let value = value.ok_or_else(|| unauthorized(Code::AUTH_007, "The request has no assertion"))?;
    let unverified = Unverified::parse(value).map_err(|e| unauthorized(Code::AUTH_007, &sentence(&e)))?;
    let key_id = tunnel::clipped(unverified.key_id().to_owned());
    let key = app.store.agent_key(&key_id).await?;
    let key =
        key.ok_or_else(|| unauthorized(Code::AUTH_002, &format!("The key {key_id} is not known here")))?;
    let claims = unverified
        .verify(&key.public_key)
        .map_err(|e| unauthorized(Code::AUTH_007, &sentence(&e)))?;
    let revoked = || {
        let what = format!("The identity of cluster {} was revoked", key.cluster_id);
        ApiError::new(StatusCode::FORBIDDEN, Code::AUTH_007, what)
    };
    if key.revoked {
        return Err(revoked());
    }
    check_claims(app, &claims, &key.cluster_id, &key.cluster_uid)?;
    // Asked last, so that no revocation after the store was read is missed.
    let cluster = app
        .directory
        .find_by_id(&key.cluster_id)
        .filter(|cluster| !cluster.is_cut())
        .ok_or_else(revoked)?;
    let admitted = Admitted {
        cluster,
        key: TunnelKey {
            key_id: claims.key_id,
            tunnel_id: claims.tunnel_id,
        },
        session: claims.session,
        enrolled_uid: key.cluster_uid,
    };
    Ok((admitted, response))
}

fn check_claims(app: &App, claims: &Claims, cluster_id: &str, cluster_uid: &str) -> Result<(), ApiError> {
    let now = App::now();
    if claims.cluster_id != cluster_id {
        return Err(unauthorized(
            Code::AUTH_007,
            "The assertion is for another cluster than the key",
        ));
    }
    if claims.audience != app.agents.audience {
        return Err(unauthorized(
            Code::AUTH_002,
            "The identity was made by another gateway",
        ));
    }
    if claims.cluster_uid != cluster_uid {
        let claimed = tunnel::clipped(claims.cluster_uid.clone());
        let what = format!("The agent runs in the cluster with UID {claimed}; enrolled was {cluster_uid}");
        return Err(unauthorized(Code::AUTH_005, &what));
    }
    let plain = |id: &str| {
        !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !plain(&claims.tunnel_id) {
        return Err(ApiError::invalid("tunnelId is not a UUID"));
    }
    check_clock(claims.issued_at, now)?;
    // No fault of the identity: a proxy was slow or repeated the request, or another gateway made the nonce. The
    // agent shall simply try again, which it does not after a code of the AUTH area.
    let nonce = app.agents.nonces.verify(&claims.nonce, now);
    let nonce = nonce.map_err(|e| unauthorized(Code::NET_007, &sentence(&e)))?;
    app.agents.used.lock().take(nonce, now).map_err(|e| match e {
        NonceRefusal::Used => unauthorized(Code::NET_007, &sentence(&e)),
        NonceRefusal::Full => ApiError::new(StatusCode::TOO_MANY_REQUESTS, Code::SRV_003, sentence(&e)),
    })
}

fn unauthorized(code: Code, what: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, what)
}

const fn kind(session: SessionKind) -> Kind {
    match session {
        SessionKind::Control => Kind::Control,
        SessionKind::Data => Kind::Data,
    }
}

/// From the 101 to the end of what this carrier began.
async fn serve(app: Arc<App>, admitted: Admitted, upgrade: OnUpgrade, peer: SocketAddr) {
    let Admitted {
        cluster,
        key,
        session,
        enrolled_uid,
    } = admitted;
    // Boxed: what follows is what most tasks wait in for weeks, and should not pay for this step's state.
    let link = Box::pin(open_link(&app, &cluster, &key, kind(session), upgrade));
    let link = tokio::select! {
        biased;
        () = cluster.cut.cancelled() => return,
        () = app.stop.hard.cancelled() => return,
        link = link => link,
    };
    let Some(link) = link else { return };
    match session {
        SessionKind::Control => match Calls::handshake(link).await {
            Ok(calls) => tunnel::run(app, cluster, key, enrolled_uid, peer, calls).await,
            Err(error) => tracing::info!(%error, "session not started"),
        },
        SessionKind::Data => Box::pin(data(&app, &cluster, &key, link)).await,
    }
}

/// Gives a data session to its tunnel.
async fn data(app: &App, cluster: &Cluster, key: &TunnelKey, link: Link) {
    let client = match Client::handshake(link, Kind::Data).await {
        Ok(client) => client,
        Err(error) => return tracing::info!(%error, "session not started"),
    };
    if let Some(tunnel) = cluster.tunnels.newest(|tunnel| tunnel.key == *key) {
        tunnel.offer(app, client);
    } else {
        tracing::info!("a data session of no tunnel");
        client.close();
    }
}

/// A new link; `None` when the carrier resumed an existing one, or failed.
async fn open_link(
    app: &App,
    cluster: &Cluster,
    key: &TunnelKey,
    kind: Kind,
    upgrade: OnUpgrade,
) -> Option<Link> {
    let upgraded = match timeout(UPGRADE, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(error)) => {
            tracing::debug!(%error, "upgrade failed");
            return None;
        }
        Err(_) => return None,
    };
    let io = UpgradedIo::new(upgraded)
        .inspect_err(|error| tracing::warn!(%error, "upgrade failed"))
        .ok()?;
    if let Err(error) = io.tune() {
        // The tunnel works without, only less well.
        tracing::warn!(%error, "socket options not set");
    }
    let principal = format!(
        "{}/{}/{}/{}",
        cluster.id,
        key.key_id,
        key.tunnel_id,
        kind.as_str()
    );
    match app
        .agents
        .acceptor
        .accept(websocket::server(io), &principal)
        .await
    {
        Ok(Some(link)) => Some(link),
        Ok(None) => {
            tracing::info!("link resumed");
            None
        }
        Err(error) => {
            tracing::info!(%error, "carrier refused");
            None
        }
    }
}
