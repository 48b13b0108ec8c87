//! `/api/v1/login`, `/logout`, `/password` and `/totp`: local accounts.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{delete, post},
};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{
    audited::Known,
    extract::{Admin, Caller, JsonBody},
    no_store,
};
use crate::{
    app::App,
    audit::{self, Event},
    auth::Identity,
    login::{self, LoginError, Origin, Proof, Session, SignIn},
    oidc,
    people::{People, User},
    problem::ApiError,
    route::Peer,
    secret::Secret,
    store::ApiTokenKind,
};

/// Name of the organisation of installations that have only one.
const DEFAULT_ORGANIZATION: &str = "default";

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/login", post(sign_in))
        .route("/api/v1/logout", post(logout))
        .route("/api/v1/password", post(change_password))
        .route("/api/v1/totp", post(propose_totp))
        .route("/api/v1/totp/confirm", post(confirm_totp))
        .route("/api/v1/totp/disable", post(disable_totp))
        .route("/api/v1/users/{user}/password", post(reset_password))
        .route("/api/v1/users/{user}/totp", delete(reset_totp))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoginRequest {
    organization: Option<String>,
    name: String,
    password: Secret,
    totp: Option<Secret>,
    recovery_code: Option<Secret>,
    new_password: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordRequest {
    current: Option<Secret>,
    new: Secret,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TotpRequest {
    password: Secret,
    totp: Option<Secret>,
    recovery_code: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfirmRequest {
    code: Secret,
}

/// A session, as the one who logged in sees it, this once.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionJson<'a> {
    token: &'a str,
    token_id: &'a str,
    user: &'a str,
    organization: &'a str,
    expires_at: String,
}

#[derive(Serialize)]
struct TotpJson<'a> {
    secret: &'a str,
    uri: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecoveryJson<'a> {
    recovery_codes: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogoutJson {
    /// Where the session at the provider is ended, if it came from one.
    provider_logout_url: Option<String>,
}

#[derive(Serialize)]
struct ResetJson<'a> {
    /// Shown once.
    password: &'a str,
}

/// Writes a login into the audit; before its session is handed out, so that none is used that is not in it.
pub(super) fn audited(app: &App, peer: Peer, session: &Session, how: &str) -> Result<(), ApiError> {
    let event = Event {
        organization: &session.organization,
        user: &session.user_name,
        token: &session.token_id,
        reason: how,
        status: StatusCode::CREATED.as_u16(),
        ..event(peer)
    };
    audit::record(app, &event)
}

fn event(Peer(peer): Peer) -> Event<'static> {
    Event {
        verb: "login",
        resource: "sessions",
        source: Some(peer.ip().to_canonical()),
        ..Event::default()
    }
}

/// The answer to a login.
pub(super) fn session_json(session: &Session) -> Response {
    let json = SessionJson {
        token: session.token.expose_secret(),
        token_id: &session.token_id,
        user: &session.user_name,
        organization: &session.organization,
        expires_at: App::rfc3339(session.expires_at),
    };
    let mut response = no_store((StatusCode::CREATED, Json(json)).into_response());
    response.extensions_mut().insert(Known {
        user: session.user_name.clone(),
        organization: session.organization.clone(),
        token_id: session.token_id.clone(),
    });
    response
}

fn proof(totp: Option<Secret>, recovery_code: Option<Secret>) -> Proof {
    Proof {
        totp: totp.map(|Secret(code)| code),
        recovery_code: recovery_code.map(|Secret(code)| code),
    }
}

async fn sign_in(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<LoginRequest>,
) -> Result<Response, ApiError> {
    let request = SignIn {
        organization: request
            .organization
            .unwrap_or_else(|| DEFAULT_ORGANIZATION.to_owned()),
        name: request.name,
        password: request.password.0,
        proof: proof(request.totp, request.recovery_code),
        new_password: request.new_password.map(|Secret(new)| new),
        source: peer.0.ip(),
    };
    let session = login::sign_in(&app, request).await?;
    audited(&app, peer, &session, "password")?;
    Ok(session_json(&session))
}

async fn logout(Caller(caller): Caller, State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let at_provider = login::logout(&app, &caller.user_id, &caller.token_id, caller.kind).await?;
    tracing::info!(user = caller.user_name, token = caller.token_id, "logged out");
    let mut provider_logout_url = None;
    if let Some(session) = at_provider
        && let Ok(oidc) = oidc::of(&app)
    {
        provider_logout_url = oidc.logout_url().await.map(String::from);
        oidc::give_back(&app, &session);
    }
    Ok(no_store(Json(LogoutJson { provider_logout_url }).into_response()))
}

/// The caller as one who may change how he logs in: with all of his own rights. A token that was made for less must not
/// be enough to get a password.
struct Owner {
    people: Arc<People>,
    identity: Arc<Identity>,
    origin: Origin,
}

impl Owner {
    fn new(app: &App, identity: Arc<Identity>, peer: Peer) -> Result<Self, LoginError> {
        if identity.scope.is_some() || identity.kind == ApiTokenKind::Service {
            return Err(LoginError::Forbidden(
                "how one logs in is changed with a session or an unrestricted personal token",
            ));
        }
        Ok(Self {
            people: app.people.current(),
            origin: Origin {
                source: peer.0.ip(),
                token_id: identity.token_id.clone(),
            },
            identity,
        })
    }

    /// The user and the name of the organisation.
    fn user(&self) -> Result<(&User, &str), LoginError> {
        let id = &self.identity.user_id;
        self.people
            .enabled_user(id)
            .and_then(|user| {
                Some((
                    user,
                    self.people.organization(&user.organization_id)?.name.as_str(),
                ))
            })
            .ok_or(LoginError::Wrong)
    }
}

async fn change_password(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<PasswordRequest>,
) -> Result<Response, ApiError> {
    let owner = Owner::new(&app, caller, peer)?;
    let (user, organization) = owner.user()?;
    let current = request.current.map(|Secret(current)| current);
    let Secret(new) = request.new;
    login::change_password(&app, user, organization, &owner.origin, current, new).await?;
    tracing::info!(user = user.name, "password changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn propose_totp(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<TotpRequest>,
) -> Result<Response, ApiError> {
    let owner = Owner::new(&app, caller, peer)?;
    let (user, organization) = owner.user()?;
    let new = login::propose_totp(&app, user, organization, &owner.origin, request.password.0).await?;
    let json = TotpJson {
        secret: new.secret.expose_secret(),
        uri: new.uri.expose_secret(),
    };
    Ok(no_store((StatusCode::CREATED, Json(json)).into_response()))
}

async fn confirm_totp(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<ConfirmRequest>,
) -> Result<Response, ApiError> {
    let owner = Owner::new(&app, caller, peer)?;
    let (user, organization) = owner.user()?;
    let codes = login::confirm_totp(&app, user, organization, &owner.origin, &request.code.0).await?;
    tracing::info!(
        user = user.name,
        "codes of an authenticator app are asked for from now on"
    );
    let json = RecoveryJson {
        recovery_codes: codes.iter().map(ExposeSecret::expose_secret).collect(),
    };
    Ok(no_store(Json(json).into_response()))
}

async fn disable_totp(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<TotpRequest>,
) -> Result<Response, ApiError> {
    let owner = Owner::new(&app, caller, peer)?;
    let (user, organization) = owner.user()?;
    let proof = proof(request.totp, request.recovery_code);
    login::disable_totp(
        &app,
        user,
        organization,
        &owner.origin,
        request.password.0,
        &proof,
    )
    .await?;
    tracing::info!(user = user.name, "codes are not asked for any more");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Somebody of the administrator's organisation.
fn of_organization<'a>(people: &'a People, admin: &Identity, name: &str) -> Result<&'a User, LoginError> {
    people
        .find_user(&admin.organization_id, name)
        .ok_or_else(|| LoginError::NoUser(name.to_owned()))
}

async fn reset_password(
    Admin(admin): Admin,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let user = of_organization(&people, &admin, &name)?;
    let password = login::reset_password(&app, user).await?;
    tracing::info!(user = user.name, by = admin.user_name, "password reset");
    let json = ResetJson {
        password: password.expose_secret(),
    };
    Ok(no_store(Json(json).into_response()))
}

async fn reset_totp(
    Admin(admin): Admin,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let user = of_organization(&people, &admin, &name)?;
    login::reset_totp(&app, user).await?;
    tracing::info!(user = user.name, by = admin.user_name, "codes taken off");
    Ok(StatusCode::NO_CONTENT.into_response())
}
