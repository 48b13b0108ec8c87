//! Every call of the API that changes something is in the audit: before it is done and after.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::Method;
use tokio::time::Instant;

use crate::{
    app::App,
    audit::{Decision, Entry, Phase, text},
    auth::Identity,
    problem::ApiError,
    route::Peer,
};

/// What the entries say of where a call goes: `gateway` and not a group of Kubernetes.
const GROUP: &str = "gateway";

/// Who a call has turned out to be of: a handler puts it into its answer.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) user: String,
    pub(super) organization: String,
    pub(super) token_id: String,
}

/// What a call is for.
struct Call {
    id: String,
    source: String,
    verb: &'static str,
    /// Resource, name and subresource.
    parts: [String; 3],
    identity: Option<Arc<Identity>>,
    organization: String,
}

/// Writes the entries around a call that is not only reading.
pub(super) async fn audited(State(app): State<Arc<App>>, mut request: Request<Body>, next: Next) -> Response {
    let Some(verb) = verb(request.method()) else {
        return next.run(request).await;
    };
    let identity = app.auth.authenticate(request.headers(), App::now()).await.ok();
    if let Some(identity) = &identity {
        // For the handler, which asks the same.
        request.extensions_mut().insert(Arc::clone(identity));
    }
    let peer = request.extensions().get::<Peer>();
    let call = Call {
        id: uuid::Uuid::now_v7().to_string(),
        source: peer
            .map(|Peer(peer)| peer.ip().to_canonical().to_string())
            .unwrap_or_default(),
        verb,
        parts: parts(request.uri().path()),
        organization: organization(&app, identity.as_deref()),
        identity,
    };
    let start = Instant::now();
    // Strangers have shown nothing yet: whether they get an entry is decided by what becomes of the call.
    if call.identity.is_some()
        && let Err(error) = app.audit.admit(&mut call.entry(Phase::Begin))
    {
        return ApiError::from(error).into_response();
    }
    let mut response = next.run(request).await;
    let known = response.extensions_mut().remove::<Known>();
    let status = response.status();
    let mut end = call.entry(Phase::End);
    end.status = Some(status.as_u16());
    end.ms = u64::try_from(start.elapsed().as_millis()).ok();
    if let Some(known) = &known {
        end.user = text(&known.user);
        end.organization = text(&known.organization);
        end.token = text(&known.token_id);
    }
    if status.is_client_error() {
        end.decision = Decision::Deny;
    }
    if call.identity.is_none() && !status.is_success() {
        app.audit.refused_stranger(&mut end);
    } else {
        app.audit.note(&mut end);
    }
    response
}

impl Call {
    fn entry(&self, phase: Phase) -> Entry<'_> {
        let mut entry = Entry::new(phase);
        if let Some(identity) = &self.identity {
            entry.user = text(&identity.user_name);
            entry.token = text(&identity.token_id);
            entry.organization = self.organization.as_str().into();
        }
        let [resource, name, subresource] = &self.parts;
        entry.id = self.id.as_str().into();
        entry.source = self.source.as_str().into();
        entry.verb = self.verb.into();
        entry.group = GROUP.into();
        entry.resource = text(resource);
        entry.name = text(name);
        entry.subresource = text(subresource);
        entry
    }
}

/// Name of the caller's organisation.
fn organization(app: &App, identity: Option<&Identity>) -> String {
    let people = app.people.current();
    let organization = identity.and_then(|identity| people.organization(&identity.organization_id));
    organization.map_or_else(String::new, |organization| organization.name.clone())
}

fn verb(method: &Method) -> Option<&'static str> {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => None,
        Method::POST => Some("create"),
        Method::PUT => Some("update"),
        Method::PATCH => Some("patch"),
        Method::DELETE => Some("delete"),
        _ => Some("other"),
    }
}

/// `/api/v1/clusters/prod/revoke`: clusters, prod, revoke. `/agent/v1/enroll`: enroll.
fn parts(path: &str) -> [String; 3] {
    let mut parts = path.split('/').skip(3).map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
