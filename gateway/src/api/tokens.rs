//! `/api/v1/tokens` and `/api/v1/whoami`: a user's own tokens.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use kantaloupe_proto::token::{Token, TokenKind};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{
    extract::{Caller, JsonBody},
    no_store,
};
use crate::{app::App, problem::ApiError, store::NewApiToken};

/// Characters of a token's name.
const MAX_NAME: usize = 64;
/// Ten years: whoever needs longer makes a token without an end, knowingly.
const MAX_EXPIRY_SECS: i64 = 10 * 366 * 24 * 3600;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    name: String,
    expires_in_seconds: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenJson {
    id: String,
    name: String,
    created_at: String,
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    about: TokenJson,
    /// Shown once.
    token: &'a str,
}

#[derive(Serialize)]
struct List {
    items: Vec<TokenJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WhoAmI<'a> {
    name: &'a str,
    role: &'static str,
    token_id: &'a str,
    expires_at: Option<String>,
}

pub(super) async fn create(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    let CreateRequest {
        name,
        expires_in_seconds,
    } = request;
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "name is empty, longer than {MAX_NAME} or has control characters"
        )));
    }
    if expires_in_seconds.is_some_and(|seconds| !(1..=MAX_EXPIRY_SECS).contains(&seconds)) {
        return Err(ApiError::invalid(format!(
            "expiresInSeconds is not between 1 and {MAX_EXPIRY_SECS}"
        )));
    }
    let (token, now) = (Token::generate(TokenKind::Api), App::now());
    let expires_at = expires_in_seconds.map(|seconds| now + seconds);
    let new = NewApiToken {
        token: &token,
        user_id: &caller.user_id,
        name: &name,
        now,
        expires_at,
    };
    app.store.create_api_token(&new).await?;
    tracing::info!(token = %token.id, user = %caller.user_name, "API token created");
    let about = TokenJson {
        id: token.id.clone(),
        name,
        created_at: App::rfc3339(now),
        expires_at: expires_at.map(App::rfc3339),
    };
    let text = token.reveal();
    let created = Created {
        about,
        token: text.expose_secret(),
    };
    Ok(no_store((StatusCode::CREATED, Json(created)).into_response()))
}

pub(super) async fn list(Caller(caller): Caller, State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let tokens = app.store.api_tokens(&caller.user_id).await?;
    let items = tokens.into_iter().map(|token| TokenJson {
        id: token.id,
        name: token.name,
        created_at: App::rfc3339(token.created_at),
        expires_at: token.expires_at.map(App::rfc3339),
    });
    Ok(Json(List {
        items: items.collect(),
    })
    .into_response())
}

pub(super) async fn delete(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (inner, user_id, token_id) = (Arc::clone(&app), caller.user_id.clone(), id.clone());
    if !app
        .to_the_end(async move {
            let deleted = inner.auth.revoke(&user_id, &token_id).await?;
            inner.revocations.send_replace(());
            Ok(deleted)
        })
        .await?
    {
        return Err(ApiError::not_found(format!(
            "You have no token with the id {id:?}"
        )));
    }
    tracing::info!(token = %id, user = %caller.user_name, "API token deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn whoami(Caller(caller): Caller) -> Response {
    let who = WhoAmI {
        name: &caller.user_name,
        role: caller.role.as_str(),
        token_id: &caller.token_id,
        expires_at: caller.expires_at.map(App::rfc3339),
    };
    Json(who).into_response()
}
