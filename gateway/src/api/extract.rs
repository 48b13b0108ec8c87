//! What handlers take out of a request, with errors that name what is wrong.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path},
};
use http::{Request, StatusCode, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use kantaloupe_checks::Code;
use kantaloupe_proto::agent_api::MAX_BODY_BYTES;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{app::App, auth::Identity, directory::Cluster, problem::ApiError, store::Role};

/// Largest body of an API request.
const MAX_BODY: usize = 64 << 10;
/// Longest time for a body of that size to arrive, over the slowest link that anybody would use.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A caller with a valid token.
pub(super) struct Caller(pub(super) Arc<Identity>);

/// A caller who may change clusters.
pub(super) struct Admin;

/// The cluster that the path names, by id or name.
pub(super) struct Named(pub(super) Arc<Cluster>);

/// A JSON body of a user.
pub(super) struct JsonBody<T>(pub(super) T);

/// A JSON body of an agent.
pub(super) struct AgentBody<T>(pub(super) T);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Ok(Self(app.auth.authenticate(&parts.headers, App::now()).await?))
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Caller(identity) = Caller::from_request_parts(parts, app).await?;
        if identity.role < Role::Admin {
            let what = format!(
                "The role {} may not do this; it takes the role admin",
                identity.role
            );
            return Err(ApiError::forbidden(what));
        }
        Ok(Self)
    }
}

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let Path(name) = path.map_err(|e| ApiError::invalid(format!("The path cannot be read: {e}")))?;
        let cluster = app.directory.find(&name);
        cluster
            .map(Self)
            .ok_or_else(|| ApiError::not_found(format!("There is no cluster {name:?}")))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &Arc<App>) -> Result<Self, ApiError> {
        read_json(request, MAX_BODY).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for AgentBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &Arc<App>) -> Result<Self, ApiError> {
        read_json(request, MAX_BODY_BYTES).await.map(Self)
    }
}

async fn read_json<T: DeserializeOwned>(request: Request<Body>, limit: usize) -> Result<T, ApiError> {
    let body = Limited::new(request.into_body(), limit);
    let body = timeout(BODY_TIMEOUT, body.collect()).await.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::SRV_008,
            "The body did not arrive in time",
        )
    })?;
    let bytes = body
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                let what = format!("The body is larger than {limit} bytes");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SRV_008, what)
            } else {
                ApiError::invalid("The body did not arrive as a whole")
            }
        })?
        .to_bytes();
    // serde names the field; it shows values only of the wrong type, and secrets are texts where texts belong.
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::invalid(format!("The body is not what is expected: {e}")))
}
