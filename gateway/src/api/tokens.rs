//! `/api/v1/tokens`: a user's own tokens. `/api/v1/users/{user}/tokens`: those of others, and of service accounts.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use kantaloupe_checks::Code;
use kantaloupe_policy::Namespaces;
use kantaloupe_proto::token::{Token, TokenKind};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{
    extract::{Admin, Caller, JsonBody, standing},
    no_store,
    paging::{Paging, by_time},
    visible::Visible,
};
use crate::{
    app::App,
    auth::Identity,
    people::{Role, Scope},
    problem::ApiError,
    store::{ApiTokenInfo, ApiTokenKind, NewApiToken},
};

/// Characters of a token's name.
const MAX_NAME: usize = 64;
/// Tokens of one user that are good at the same time.
const MAX_TOKENS: i64 = 200;
/// How long a token is good if nothing is said, seconds.
const DEFAULT_EXPIRY: i64 = 90 * 24 * 3600;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    name: String,
    expires_in_seconds: Option<i64>,
    scope: Option<ScopeRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeRequest {
    role: Option<Role>,
    /// Ids or names.
    clusters: Option<BTreeSet<String>>,
    namespaces: Option<BTreeSet<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenJson {
    id: String,
    name: String,
    kind: &'static str,
    scope: Option<serde_json::Value>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
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
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl TokenJson {
    fn of(app: &App, token: ApiTokenInfo) -> Self {
        // The store is behind by a minute.
        let used = app.auth.used_at(&token.id).max(token.last_used_at);
        Self {
            id: token.id,
            name: token.name,
            kind: token.kind.as_str(),
            scope: token.scope.and_then(|json| serde_json::from_str(&json).ok()),
            created_at: App::rfc3339(token.created_at),
            expires_at: token.expires_at.map(App::rfc3339),
            last_used_at: used.map(App::rfc3339),
        }
    }
}

/// Makes a token for the caller himself. It is good for no longer than the one that makes it, unless that is of a login.
pub(super) async fn create(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    unscoped(&caller)?;
    let people = app.people.current();
    let is_service = people.user(&caller.user_id).is_some_and(|user| user.is_service);
    let kind = if is_service {
        ApiTokenKind::Service
    } else {
        ApiTokenKind::Personal
    };
    let until = caller.expires_at.filter(|_| caller.kind != ApiTokenKind::Session);
    issue(&app, &caller, &caller.user_id, kind, until, request).await
}

/// Makes a token for a service account. People make their own: a token that somebody else has seen is not theirs alone.
pub(super) async fn create_for(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    unscoped(&caller)?;
    let people = app.people.current();
    let user = people
        .find_user(&caller.organization_id, &name)
        .ok_or_else(|| super::users::no_user(&name))?;
    if !user.is_service {
        let what = format!(
            "{:?} is a person, and people make their own tokens: POST /api/v1/tokens",
            user.name
        );
        return Err(ApiError::forbidden(what));
    }
    issue(&app, &caller, &user.id, ApiTokenKind::Service, None, request).await
}

async fn issue(
    app: &Arc<App>,
    caller: &Identity,
    user_id: &str,
    kind: ApiTokenKind,
    until: Option<i64>,
    request: CreateRequest,
) -> Result<Response, ApiError> {
    let name = request.name;
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "name is empty, longer than {MAX_NAME} or has control characters"
        )));
    }
    let now = App::now();
    let longest = until
        .map_or(i64::MAX, |at| at.saturating_sub(now))
        .min(app.settings.token_seconds);
    let seconds = match request.expires_in_seconds {
        None => DEFAULT_EXPIRY.min(longest),
        Some(seconds) if (1..=longest).contains(&seconds) => seconds,
        Some(_) => {
            return Err(ApiError::invalid(format!(
                "expiresInSeconds is not between 1 and {longest}"
            )));
        }
    };
    let scope = request
        .scope
        .map(|scope| scope.check(app, caller))
        .transpose()?
        .map(|scope| serde_json::to_string(&scope).expect("texts always serialize"));
    if app.store.count_api_tokens(user_id, now).await? >= MAX_TOKENS {
        let what = format!("The user has {MAX_TOKENS} tokens already, which is the limit");
        return Err(ApiError::new(StatusCode::CONFLICT, Code::SRV_008, what));
    }
    let token = Token::generate(TokenKind::Api);
    let new = NewApiToken {
        token: &token,
        kind,
        user_id,
        name: &name,
        scope: scope.as_deref(),
        now,
        expires_at: Some(now + seconds),
    };
    app.store.create_api_token(&new).await?;
    tracing::info!(token = %token.id, user = %user_id, by = %caller.user_name, "API token created");
    let info = ApiTokenInfo {
        id: token.id.clone(),
        name,
        kind,
        scope,
        created_at: now,
        expires_at: Some(now + seconds),
        last_used_at: None,
    };
    let text = token.reveal();
    let created = Created {
        about: TokenJson::of(app, info),
        token: text.expose_secret(),
    };
    Ok(no_store((StatusCode::CREATED, Json(created)).into_response()))
}

impl ScopeRequest {
    /// The scope, with the clusters' ids.
    fn check(self, app: &App, caller: &Identity) -> Result<Scope, ApiError> {
        let clusters = match self.clusters {
            None => None,
            Some(names) if names.is_empty() => {
                return Err(ApiError::invalid("scope.clusters is empty; leave it out for all"));
            }
            Some(names) => {
                let names: Vec<_> = names.into_iter().collect();
                let found = Visible::of(app, caller).only(&names)?;
                Some(found.clusters().map(|cluster| cluster.id.to_string()).collect())
            }
        };
        let namespaces = match self.namespaces.map(Namespaces::only).transpose() {
            Ok(Some(Namespaces::Only(names))) => Some(names),
            Ok(_) => None,
            Err(error) => return Err(ApiError::invalid(format!("scope.namespaces: {error}"))),
        };
        Ok(Scope {
            role: self.role,
            clusters,
            namespaces,
        })
    }
}

/// A token that has not all of its user's rights manages no tokens: it could make one that has.
fn unscoped(caller: &Identity) -> Result<(), ApiError> {
    match caller.scope {
        None => Ok(()),
        Some(_) => Err(ApiError::forbidden(
            "This takes a token without a scope: one with a scope manages no tokens but itself",
        )),
    }
}

pub(super) async fn list(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    shown(&app, &caller.user_id, query.as_deref()).await
}

pub(super) async fn list_of(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let user = super::users::readable(&app, &people, &caller, &name)?;
    shown(&app, &user.id, query.as_deref()).await
}

async fn shown(app: &App, user_id: &str, query: Option<&str>) -> Result<Response, ApiError> {
    let paging = Paging::read(query)?;
    let tokens = app.store.api_tokens(user_id).await?;
    let (tokens, next_cursor) = paging.page(tokens, |token| by_time(token.created_at, &token.id));
    let items = tokens
        .into_iter()
        .map(|token| TokenJson::of(app, token))
        .collect();
    Ok(Json(List { items, next_cursor }).into_response())
}

/// Deletes a token: one's own, and for administrators every one of the organisation.
pub(super) async fn delete(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found(format!("There is no token with the id {id:?}"));
    let owner = app.store.api_token_user(&id).await?.ok_or_else(missing)?;
    if owner == caller.user_id {
        if id != caller.token_id {
            unscoped(&caller)?;
        }
    } else {
        let people = app.people.current();
        let of_organization = people
            .user(&owner)
            .is_some_and(|user| user.organization_id == caller.organization_id);
        if !of_organization || !standing(&app, &caller).admin {
            return Err(missing());
        }
    }
    let (inner, token_id) = (Arc::clone(&app), id.clone());
    let deleted = app.to_the_end(async move {
        let deleted = inner.auth.revoke(&owner, &token_id).await;
        // Also if the store failed: the token is gone from memory.
        inner.revocations.send_replace(());
        deleted
    });
    match deleted.await {
        Ok(true) => {}
        Ok(false) => return Err(missing()),
        Err(error) => return Err(ApiError::until_restart(error, "the token")),
    }
    tracing::info!(token = %id, by = %caller.user_name, "API token deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}
