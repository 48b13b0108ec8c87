//! `/clusters/{cluster}/kubernetes/...`: a user's request goes to the cluster's agent, its answer comes back.
//!
//! Bodies stream both ways without a copy of ours; whoever hangs up resets the stream in the tunnel.

mod backlog;
mod cluster_body;
mod meter;
mod upgrade;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use kantaloupe_checks::Code;
use kantaloupe_proto::{
    headers,
    request::{self, RequestInfo},
};
use kantaloupe_tunnel::{
    fair::Fair,
    link::Handle,
    session::{self, ORIGIN, Unanswered},
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use self::meter::{Meter, Received};
pub(crate) use self::{backlog::Backlog, cluster_body::ClusterBody};
use crate::{
    agents::{InUse, NoData, Tunnel},
    app::App,
    audit::{self, About},
    auth::{AuthError, Identity},
    authorize::{self, Authorized},
    body::Body,
    directory::{Cluster, MAX_STREAMS},
    metrics::{InFlight, Outcome},
    problem::{ApiError, sentence},
    recording::Wanted,
    state::State,
    status::Refusal,
    streams::{Entry, Origin},
};

/// What stands before the cluster's name in a path.
pub(crate) const PREFIX: &str = "/clusters/";

/// How long a link may have been without a connection and still get new requests: most come back within a second, and
/// a request that waits is better than one that fails. Beyond it the user is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found out of a request, for the entry that says why it was refused.
#[derive(Default)]
struct Known {
    identity: Option<Arc<Identity>>,
    cluster: Option<Arc<Cluster>>,
    info: Option<RequestInfo>,
}

/// A request that may go to its cluster, and is in the audit.
struct Granted {
    identity: Arc<Identity>,
    cluster: Arc<Cluster>,
    authorized: Authorized,
    target: PathAndQuery,
    meter: Meter,
}

/// What a stream to a cluster holds while it is open, and what ends it.
#[derive(Debug)]
pub(crate) struct Lease {
    cluster: Arc<Cluster>,
    /// By which right it was opened.
    authorized: Authorized,
    /// Keeps the token in memory, so that deleting it finds this stream.
    identity: Arc<Identity>,
    /// Of the answer.
    meter: Meter,
    /// The session that the stream is on, as soon as it is on one.
    session: Option<InUse>,
    _permit: OwnedSemaphorePermit,
    _in_flight: InFlight,
    /// In the connection's list.
    entry: Option<Entry>,
}

impl Lease {
    /// Whether the cluster, the user's token or the right is revoked.
    fn is_revoked(&self) -> bool {
        self.cluster.cut.is_cancelled() || self.authorized.ended().is_cancelled()
    }

    /// Waits until the cluster, the user's token or the right is revoked.
    fn revoked(&self) -> impl Future<Output = ()> + Send + 'static {
        let cluster = self.cluster.cut.clone().cancelled_owned();
        let right = self.authorized.ended().clone().cancelled_owned();
        async move {
            tokio::select! {
                biased;
                () = cluster => {}
                () = right => {}
            }
        }
    }
}

/// Answers a request whose path begins with [`PREFIX`].
pub(crate) async fn serve(app: &Arc<App>, origin: &Origin, request: Request<Incoming>) -> Response<Body> {
    let start = Instant::now();
    match forward(app, origin, request).await {
        Ok(response) => {
            let outcome = match response.status().as_u16() {
                ..400 => Outcome::Ok,
                400..500 => Outcome::ClientError,
                _ => Outcome::ServerError,
            };
            app.metrics.request(outcome);
            app.metrics
                .response_head_seconds
                .observe(start.elapsed().as_secs_f64());
            response
        }
        Err((outcome, refusal)) => {
            app.metrics.request(outcome);
            refusal.into_response()
        }
    }
}

type Refused = (Outcome, Refusal);

async fn forward(
    app: &Arc<App>,
    origin: &Origin,
    user: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let id = uuid::Uuid::now_v7();
    let begun = Instant::now();
    let mut known = Known::default();
    let granted = match admit(app, origin, id, &user, &mut known).await {
        Ok(granted) => granted,
        Err((outcome, refusal)) => {
            known.refused(app, origin, id, user.uri().path(), &refusal);
            return Err((outcome, refusal));
        }
    };
    app.metrics
        .admission_seconds
        .observe(begun.elapsed().as_secs_f64());
    let pending = Arc::clone(&granted.meter.pending);
    let passed = pass(app, origin, granted, user).await;
    if let Err((_, refusal)) = &passed {
        pending.answered(refusal.status());
        pending.because(refusal.message());
    }
    passed
}

/// Finds out who asks for what, whether he may, and writes down that he does.
async fn admit(
    app: &Arc<App>,
    origin: &Origin,
    id: uuid::Uuid,
    user: &Request<Incoming>,
    known: &mut Known,
) -> Result<Granted, Refused> {
    let identity = match app.auth.authenticate(user.headers(), App::now()).await {
        Ok(identity) => identity,
        Err(AuthError::Store(error)) => {
            return Err((
                Outcome::ServerError,
                Refusal::internal(&ApiError::from(error).fault),
            ));
        }
        Err(error) => return Err((Outcome::Unauthorized, Refusal::unauthorized(sentence(&error)))),
    };
    known.identity = Some(Arc::clone(&identity));
    let (name, path) = split(user.uri().path()).ok_or_else(|| {
        (
            Outcome::NotFound,
            Refusal::not_found("the path is not /clusters/NAME/kubernetes/..."),
        )
    })?;
    let seen = authorize::see(app, &identity, user.headers(), name)?;
    let cluster = Arc::clone(&seen.cluster);
    known.cluster = Some(Arc::clone(&cluster));
    let admitted = app
        .limits
        .admit(
            &identity.user_id,
            &cluster.id,
            &identity.organization_id,
            Instant::now(),
        )
        .map_err(|exceeded| {
            let refusal = Refusal::too_many(exceeded).retry_after(exceeded.retry_after());
            (Outcome::Limited, refusal)
        })?;
    let info = request::parse(user.method(), path, user.uri().query())
        .map_err(|e| (Outcome::Refused, Refusal::bad_request(e)))?;
    let info = known.info.insert(info);
    let authorized = seen
        .authorize(info)
        .map_err(|refusal| (Outcome::Refused, refusal))?;
    let target = target(path, user.uri().query()).ok_or_else(|| {
        (
            Outcome::Refused,
            Refusal::bad_request("the path or query is not valid in a URI"),
        )
    })?;
    tracing::debug!(
        user = %identity.user_name, acts_as = ?authorized.user(), organization = ?authorized.organization(),
        role = %authorized.grant().role, cluster = %cluster.id, verb = %info.verb, resource = %info.resource,
        subresource = %info.subresource, namespace = %info.namespace, request_id = %id, peer = %origin.peer, "request"
    );
    let wanted = if kantaloupe_tunnel::upgrade::is_upgrade(user) {
        app.recorder.wants(info, user.uri().query())
    } else {
        Wanted::No
    };
    if wanted == Wanted::Refused {
        let what = "terminal sessions are recorded here, and those through the kubelet's own API cannot be";
        return Err((Outcome::Refused, Refusal::forbidden(Code::AUDIT_005, what)));
    }
    let mut about = About::new(
        id,
        origin.peer.ip(),
        Arc::clone(&identity),
        Arc::clone(&cluster),
        info.clone(),
        &authorized,
    );
    if wanted == Wanted::Yes {
        about = about.recorded();
    }
    let pending = app.audit.begin(about).map_err(|error| {
        tracing::debug!(%error, "request refused");
        (Outcome::ServerError, Refusal::unaudited())
    })?;
    Ok(Granted {
        identity,
        cluster,
        authorized,
        target,
        meter: Meter::new(pending, Arc::new(admitted)),
    })
}

/// Takes a request to its cluster.
async fn pass(
    app: &Arc<App>,
    origin: &Origin,
    granted: Granted,
    mut user: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let Granted {
        identity,
        cluster,
        authorized,
        target,
        meter,
    } = granted;
    // Told before the limit, which a cluster without an agent cannot reach for a better reason.
    pick(&cluster, &[]).ok_or_else(|| offline(&cluster))?;
    let permit = Arc::clone(&cluster.streams).try_acquire_owned().map_err(|_| {
        let what = format!(
            "cluster {} has {MAX_STREAMS} streams open, which is the limit",
            cluster.name
        );
        (Outcome::Limited, Refusal::too_many(what).retry_after(1))
    })?;
    let mut lease = Lease {
        entry: Some(origin.streams.add(Some(&cluster), authorized.ended())),
        _in_flight: InFlight::new(&app.metrics.streams),
        _permit: permit,
        cluster,
        authorized,
        identity,
        meter,
        session: None,
    };
    if kantaloupe_tunnel::upgrade::is_upgrade(&user) {
        return upgrade::forward(app, lease, user, target).await;
    }
    own_headers(user.headers_mut(), &lease);
    let up = lease.meter.other();
    let response = send(app, &mut lease, |link| to_agent(user, target, link, up)).await?;
    Ok(answer(response, lease))
}

impl Known {
    /// Writes a refusal down.
    fn refused(&self, app: &App, origin: &Origin, id: uuid::Uuid, path: &str, refusal: &Refusal) {
        let people = app.people.current();
        let organization = self
            .identity
            .as_ref()
            .and_then(|identity| people.organization(&identity.organization_id));
        app.audit.refused(&audit::Refused {
            id,
            source: origin.peer.ip(),
            identity: self.identity.as_deref(),
            organization: organization.map_or("", |organization| &organization.name),
            cluster: self.cluster.as_deref(),
            info: self.info.as_ref(),
            path,
            status: refusal.status(),
            reason: refusal.message(),
        });
    }
}

/// Cluster and API server's path of `/clusters/{cluster}/kubernetes{path}`.
fn split(path: &str) -> Option<(&str, &str)> {
    let (name, rest) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let path = rest.strip_prefix("kubernetes")?;
    match path {
        "" => Some((name, "/")),
        _ if path.starts_with('/') => Some((name, path)),
        _ => None,
    }
}

/// What the agent is asked for, as sent by the user: no decoding, no encoding.
fn target(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    let mut text = String::with_capacity(
        headers::KUBERNETES_PREFIX.len() + path.len() + query.map_or(0, |q| q.len() + 1),
    );
    text.push_str(headers::KUBERNETES_PREFIX);
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text)).ok()
}

/// Takes out what a user must not say, and says who the user is.
fn own_headers(headers: &mut HeaderMap, lease: &Lease) {
    headers::strip_untrusted(headers);
    // Answered here already: reading the body sends 100 Continue.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    lease.authorized.tell(headers);
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = &*lease.meter.pending.id().hyphenated().encode_lower(&mut buffer);
    headers.insert(
        headers::REQUEST_ID,
        HeaderValue::from_str(id).expect("a UUID is a valid header"),
    );
}

fn to_agent(
    user: Request<Incoming>,
    target: PathAndQuery,
    link: &Handle,
    up: Meter,
) -> Request<session::Body> {
    let (head, body) = user.into_parts();
    let body = if body.is_end_stream() {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        let body = Received::new(body, up);
        Fair::new(body.map_err(Into::into), link.clone()).boxed_unsync()
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    *request.uri_mut() = agent_uri(target);
    request
}

fn agent_uri(target: PathAndQuery) -> Uri {
    let mut parts = Uri::from_static(ORIGIN).into_parts();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).expect("scheme, authority and path make a URI")
}

/// The newest tunnel with a connection; or the newest that lost it a moment ago. None of `tried`.
fn pick(cluster: &Cluster, tried: &[Arc<Tunnel>]) -> Option<Arc<Tunnel>> {
    if cluster.is_cut() {
        return None;
    }
    let open = |tunnel: &Arc<Tunnel>| tunnel.is_open() && !tried.iter().any(|t| Arc::ptr_eq(t, tunnel));
    let up = |tunnel: &Arc<Tunnel>| open(tunnel) && tunnel.down_since().is_none();
    let soon = |tunnel: &Arc<Tunnel>| {
        open(tunnel)
            && tunnel
                .down_since()
                .is_some_and(|since| since.elapsed() < PATIENCE)
    };
    cluster
        .tunnels
        .newest(up)
        .or_else(|| cluster.tunnels.newest(soon))
}

fn offline(cluster: &Cluster) -> Refused {
    let view = cluster.view(App::now());
    let since = App::rfc3339(view.since);
    let name = &cluster.name;
    let what = match view.state {
        State::Pending => format!("cluster {name} has never been connected: its agent has not enrolled"),
        State::Connecting => format!("cluster {name} enrolled at {since} and has not connected yet"),
        State::Revoked => format!("cluster {name} was revoked at {since}"),
        State::Reconnecting => format!("cluster {name} lost its connection at {since} and is reconnecting"),
        // Connected by now: a tunnel came between the two looks.
        State::Offline | State::Connected => format!("cluster {name} is offline since {since}"),
    };
    (Outcome::Offline, Refusal::unavailable(what))
}

/// Sends the request that `make` makes for a link, and waits for the head of the answer, or for what makes it pointless.
async fn send(
    app: &Arc<App>,
    lease: &mut Lease,
    make: impl FnOnce(&Handle) -> Request<session::Body>,
) -> Result<Response<Incoming>, Refused> {
    let revoked = lease.revoked();
    let cluster = Arc::clone(&lease.cluster);
    let (response, session) = tokio::select! {
        biased;
        () = revoked => return Err(cut(&cluster)),
        result = try_tunnels(app, &cluster, make) => result?,
    };
    tracing::trace!(cluster = %cluster.id, status = response.status().as_u16(), "the agent answers");
    lease.session = Some(session);
    Ok(response)
}

/// A tunnel may be about to end though it is the newest: its agent takes no more requests. One that was not sent goes
/// to the next tunnel; one that was is never repeated.
async fn try_tunnels(
    app: &Arc<App>,
    cluster: &Cluster,
    make: impl FnOnce(&Handle) -> Request<session::Body>,
) -> Result<(Response<Incoming>, InUse), Refused> {
    let mut tried = Vec::new();
    // The session alone may have ended, and its tunnel opens another.
    let mut same_again = true;
    let (mut tunnel, mut session) = open(app, cluster, &mut tried).await?;
    let mut request = make(session.link());
    loop {
        let Unanswered { error, unsent } = match session.try_request(request).await {
            Ok(response) => return Ok((response, session)),
            Err(failed) => failed,
        };
        tracing::debug!(cluster = %cluster.id, tunnel = %tunnel.id, sent = unsent.is_none(), %error, "no answer");
        let Some(unsent) = unsent else {
            let what = format!(
                "the connection to cluster {} broke before it answered",
                cluster.name
            );
            return Err((Outcome::Broken, Refusal::unavailable(what)));
        };
        request = *unsent;
        if !std::mem::take(&mut same_again) {
            tried.push(tunnel);
        }
        (tunnel, session) = open(app, cluster, &mut tried).await?;
    }
}

/// The data session of the best tunnel that has one or can open one.
async fn open(
    app: &Arc<App>,
    cluster: &Cluster,
    tried: &mut Vec<Arc<Tunnel>>,
) -> Result<(Arc<Tunnel>, InUse), Refused> {
    let mut failed: Option<NoData> = None;
    loop {
        let Some(tunnel) = pick(cluster, tried) else {
            return Err(match failed {
                Some(why) => {
                    let what = format!("cluster {} gives no answer: {why}", cluster.name);
                    (Outcome::Offline, Refusal::unavailable(what))
                }
                None => offline(cluster),
            });
        };
        match tunnel.session(app).await {
            Ok(session) => return Ok((tunnel, session)),
            Err(why) => failed = Some(why),
        }
        tried.push(tunnel);
    }
}

fn cut(cluster: &Cluster) -> Refused {
    let what = format!(
        "access to cluster {} was revoked during the request",
        cluster.name
    );
    (Outcome::Offline, Refusal::forbidden(Code::SRV_002, what))
}

/// The cluster's answer for the user.
fn answer(response: Response<Incoming>, lease: Lease) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut head.headers);
    headers::strip_for_other_names(&mut head.headers);
    lease.meter.pending.answered(head.status);
    head.version = http::Version::default();
    Response::from_parts(head, Body::Cluster(ClusterBody::new(body, lease)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_and_passed_on_as_sent() {
        assert_eq!(
            split("/clusters/prod/kubernetes/api/v1"),
            Some(("prod", "/api/v1"))
        );
        assert_eq!(split("/clusters/prod/kubernetes"), Some(("prod", "/")));
        assert_eq!(split("/clusters/prod/kubernetes/"), Some(("prod", "/")));
        for wrong in [
            "/clusters/prod",
            "/clusters/prod/kubernetesx",
            "/clusters/prod/prometheus/api",
            "/clusters/",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
        let target = target("/api/v1/namespaces/a%20b", Some("watch=1&x=%2F")).unwrap();
        assert_eq!(target, "/kubernetes/api/v1/namespaces/a%20b?watch=1&x=%2F");
        assert_eq!(
            agent_uri(target).to_string(),
            "http://agent/kubernetes/api/v1/namespaces/a%20b?watch=1&x=%2F"
        );
    }
}
