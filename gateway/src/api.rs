//! The REST API under `/api/v1`, and the agents' plain calls.

mod audit;
mod audited;
mod bindings;
mod clusters;
mod extract;
mod impersonators;
mod install;
mod inventory;
mod kubeconfig;
mod login;
mod oidc;
mod organizations;
mod paging;
mod recordings;
mod tokens;
mod users;
mod visible;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    middleware,
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use http::{HeaderValue, StatusCode, header};
use kantaloupe_checks::Code;
use kantaloupe_proto::agent_api::{CHALLENGE_PATH, ENROLL_PATH, EnrollRequest};

pub(crate) use self::audit::exports;
use self::extract::AgentBody;
use crate::{agents, app::App, problem::ApiError, route::Peer};

/// The routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/clusters", post(clusters::create).get(clusters::list))
        .route(
            "/api/v1/clusters/{cluster}",
            get(clusters::get)
                .patch(clusters::update)
                .delete(clusters::delete),
        )
        .route("/api/v1/clusters/{cluster}/revoke", post(clusters::revoke))
        .route(
            "/api/v1/clusters/{cluster}/enrollment-token",
            post(clusters::enrollment_token),
        )
        .route("/api/v1/clusters/{cluster}/kubeconfig", get(kubeconfig::get))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/audit/export", get(audit::export))
        .route("/api/v1/recordings", get(recordings::list))
        .route("/api/v1/recordings/{id}", get(recordings::get))
        .route("/api/v1/tokens", post(tokens::create).get(tokens::list))
        .route("/api/v1/tokens/{id}", delete(tokens::delete))
        .route("/api/v1/whoami", get(users::whoami))
        .route("/api/v1/users", post(users::create).get(users::list))
        .route(
            "/api/v1/users/{user}",
            get(users::get).patch(users::update).delete(users::delete),
        )
        .route(
            "/api/v1/users/{user}/tokens",
            post(tokens::create_for).get(tokens::list_of),
        )
        .route("/api/v1/bindings", post(bindings::create).get(bindings::list))
        .route(
            "/api/v1/bindings/{id}",
            get(bindings::get)
                .patch(bindings::update)
                .delete(bindings::delete),
        )
        .route(
            "/api/v1/impersonators",
            post(impersonators::create).get(impersonators::list),
        )
        .route("/api/v1/impersonators/{id}", delete(impersonators::delete))
        .route(
            "/api/v1/organizations",
            post(organizations::create).get(organizations::list),
        )
        .route(
            "/api/v1/organizations/{organization}",
            get(organizations::get).patch(organizations::update),
        )
        .route("/api/v1/healthz", get(healthz))
        .route("/healthz", get(healthz))
        .route(ENROLL_PATH, post(enroll))
        .route(CHALLENGE_PATH, get(challenge))
        .merge(inventory::router())
        .merge(login::router())
        .merge(oidc::router())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), audited::audited))
        .with_state(app)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn enroll(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    AgentBody(request): AgentBody<EnrollRequest>,
) -> Result<Response, ApiError> {
    let enrolled = agents::enroll(&app, peer, request).await?;
    Ok(no_store(Json(enrolled).into_response()))
}

async fn challenge(State(app): State<Arc<App>>) -> Response {
    no_store(Json(agents::challenge(&app)).into_response())
}

async fn not_found() -> ApiError {
    ApiError::not_found("There is nothing at this path")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::SRV_005,
        "The method is not one of this path's",
    )
}

/// Keeps an answer with a secret, or one that is good once, out of caches.
fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
