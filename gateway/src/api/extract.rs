//! What handlers take out of a request, with errors that name what is wrong.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, RawPathParams},
};
use bytes::Bytes;
use http::{Request, StatusCode, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use kantaloupe_checks::Code;
use kantaloupe_proto::{agent_api::MAX_BODY_BYTES, headers};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    auth::Identity,
    authorize::Access,
    directory::Cluster,
    people::{Rights, Standing},
    problem::ApiError,
};

/// Largest body of an API request.
const MAX_BODY: usize = 64 << 10;
/// Longest time for a body of that size to arrive, over the slowest link that anybody would use.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A caller with a valid token.
pub(super) struct Caller(pub(super) Arc<Identity>);

/// A caller who may change everything in his organisation.
pub(super) struct Admin(pub(super) Arc<Identity>);

/// A caller who may read who there is and who may what.
pub(super) struct Auditor(pub(super) Arc<Identity>);

/// The cluster that the path names, by id or name, and what the caller holds there. One that he cannot see is not there.
pub(super) struct Named(pub(super) Arc<Cluster>, pub(super) Arc<Access>);

/// The same, for a caller who may manage it.
pub(super) struct Managed(pub(super) Arc<Cluster>);

/// A JSON body of a user.
pub(super) struct JsonBody<T>(pub(super) T);

/// A JSON body of an agent.
pub(super) struct AgentBody<T>(pub(super) T);

/// Set when the caller's rights have changed since they were looked at.
#[derive(Clone)]
struct Changed(CancellationToken);

/// What a caller holds on his organisation.
pub(super) fn standing(app: &App, caller: &Identity) -> Standing {
    let people = app.people.current();
    let user = people.user(&caller.user_id);
    user.map(|user| Rights::of(&people, user, caller.scope.as_ref()).on_organization())
        .unwrap_or_default()
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        if headers::has_impersonation(&parts.headers) {
            return Err(ApiError::forbidden(
                "Nobody acts as another user here, but only at clusters (kubectl --as)",
            ));
        }
        let known = parts.extensions.get::<Arc<Identity>>().cloned();
        let identity = match known {
            Some(identity) => identity,
            None => app.auth.authenticate(&parts.headers, App::now()).await?,
        };
        if parts.extensions.get::<Changed>().is_none() {
            // Before anybody looks at what the caller may do.
            parts.extensions.insert(Changed(identity.changed()));
            parts.extensions.insert(Arc::clone(&identity));
        }
        Ok(Self(identity))
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, app).await?;
        let standing = standing(app, &caller);
        if standing.admin {
            return Ok(Self(caller));
        }
        Err(missing(standing, "admin"))
    }
}

impl FromRequestParts<Arc<App>> for Auditor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, app).await?;
        let standing = standing(app, &caller);
        if standing.auditor {
            return Ok(Self(caller));
        }
        Err(missing(standing, "admin or auditor"))
    }
}

/// Names the right that is missing.
fn missing(standing: Standing, needed: &str) -> ApiError {
    let held = standing.role.map_or_else(
        || "you have none".to_owned(),
        |role| format!("yours is {}", role.as_str()),
    );
    ApiError::forbidden(format!(
        "This takes the role {needed} for the whole organisation; {held}"
    ))
}

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, app).await?;
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|e| ApiError::invalid(format!("The path cannot be read: {e}")))?;
        let name = params
            .iter()
            .find_map(|(param, value)| (param == "cluster").then_some(value))
            .ok_or_else(|| ApiError::invalid("The path names no cluster"))?;
        let found = app.directory.find(&caller.organization_id, name);
        let seen = found.and_then(|cluster| {
            let access = caller.access(&app.people, None, &cluster)?;
            Some(Self(cluster, access))
        });
        seen.ok_or_else(|| no_cluster(name))
    }
}

impl FromRequestParts<Arc<App>> for Managed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Named(cluster, access) = Named::from_request_parts(parts, app).await?;
        if access.holding().manages {
            return Ok(Self(cluster));
        }
        let what = format!(
            "This takes the role admin for all of the cluster {:?}",
            cluster.name
        );
        Err(ApiError::forbidden(what))
    }
}

/// The same for a cluster that is not there and for one that may not be seen.
pub(super) fn no_cluster(name: &str) -> ApiError {
    ApiError::not_found(format!("There is no cluster {name:?}"))
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &Arc<App>) -> Result<Self, ApiError> {
        let changed = request.extensions().get::<Changed>().cloned();
        let body = read_json(request, MAX_BODY).await?;
        // A body may take its time, and rights do not wait for it.
        if changed.is_some_and(|Changed(changed)| changed.is_cancelled()) {
            return Err(ApiError::forbidden(
                "Your rights have changed while the request came in; send it again",
            ));
        }
        Ok(Self(body))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for AgentBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &Arc<App>) -> Result<Self, ApiError> {
        read_json(request, MAX_BODY_BYTES).await.map(Self)
    }
}

async fn read_json<T: DeserializeOwned>(request: Request<Body>, limit: usize) -> Result<T, ApiError> {
    let bytes = read_body(request, limit).await?;
    // serde names the field; it shows values only of the wrong type, and secrets are texts where texts belong.
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::invalid(format!("The body is not what is expected: {e}")))
}

/// The body of a request, as far as the limit and in time.
pub(super) async fn read_body(request: Request<Body>, limit: usize) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), limit);
    let body = timeout(BODY_TIMEOUT, body.collect()).await.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::SRV_008,
            "The body did not arrive in time",
        )
    })?;
    let body = body.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let what = format!("The body is larger than {limit} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SRV_008, what)
        } else {
            ApiError::invalid("The body did not arrive as a whole")
        }
    })?;
    Ok(body.to_bytes())
}
