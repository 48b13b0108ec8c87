//! `/api/v1/oidc`: login at the OpenID Connect provider.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Query, Request, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    extract::{Caller, JsonBody, read_body},
    login::{audited, session_json},
    no_store,
};
use crate::{
    app::App,
    login::{
        Session,
        metrics::{Method, Outcome},
        seal::Purpose,
    },
    oidc::{self, AdmitError, Callback, LOGIN_SECS, Oidc, OidcError, Person, Polled},
    problem::ApiError,
    route::Peer,
    secret::Secret,
};

/// The prefix keeps other hosts of the same domain from setting them (RFC 6265bis, section 4.1.3.2).
const LOGIN_COOKIE: &str = "__Host-kantaloupe-login";
const HANDOVER_COOKIE: &str = "__Host-kantaloupe-session";
/// Seconds that the page which a browser was sent to has to take its session.
const HANDOVER_SECS: i64 = 60;
/// When a source that calls too often may come back.
const CALLS_WINDOW: Duration = Duration::from_mins(1);
/// Bytes of the form that tells of a logout: the longest token, and as much for its encoding.
const MAX_LOGOUT: usize = 128 << 10;
/// Bytes of a cookie header that is looked at; browsers send at most 16 KiB.
const MAX_COOKIES: usize = 16 << 10;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/oidc/login", get(start))
        .route(oidc::CALLBACK_PATH, get(callback))
        .route("/api/v1/oidc/session", post(take_session))
        .route("/api/v1/oidc/device", post(start_device))
        .route("/api/v1/oidc/device/token", post(poll_device))
        .route("/api/v1/oidc/refresh", post(refresh))
        .route("/api/v1/oidc/backchannel-logout", post(logout_by_provider))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartQuery {
    return_to: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceJson<'a> {
    device_code: &'a str,
    user_code: &'a str,
    verification_uri: &'a str,
    verification_uri_complete: Option<&'a str>,
    expires_in_seconds: i64,
    interval_seconds: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceTokenRequest {
    device_code: Secret,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PendingJson {
    status: &'static str,
    interval_seconds: u32,
}

/// A session on its way to the page, in the browser's cookie.
#[derive(Serialize, Deserialize)]
struct Handover {
    token: String,
    token_id: String,
    user: String,
    organization: String,
    expires_at: i64,
    until: i64,
}

/// The provider, for a source that may call.
fn provider(app: &App, peer: Peer) -> Result<&Oidc, ApiError> {
    let oidc = oidc::of(app)?;
    if !oidc.may_call(peer.0.ip()) {
        let what = "Too many logins at the provider from this address";
        return Err(ApiError::too_many(what, CALLS_WINDOW));
    }
    Ok(oidc)
}

/// Makes a session for somebody whom the provider knows.
async fn admitted(
    app: &Arc<App>,
    peer: Peer,
    method: Method,
    person: Person,
    now: i64,
) -> Result<Session, ApiError> {
    let name = person.user_name.clone();
    let session = oidc::admit(app, person, now).await;
    let session = told(app, peer, method, &name, session)?;
    audited(app, peer, &session, how(method))?;
    app.logins.metrics.count(method, Outcome::Ok);
    Ok(session)
}

const fn how(method: Method) -> &'static str {
    match method {
        Method::Device => "OpenID Connect, device code",
        _ => "OpenID Connect, browser",
    }
}

/// Counts a login that failed, and writes it down as one with a password is. `name` is what the provider calls the person, once it is known.
fn told<T, E: Into<AdmitError>>(
    app: &App,
    peer: Peer,
    method: Method,
    name: &str,
    result: Result<T, E>,
) -> Result<T, ApiError> {
    let error: AdmitError = match result {
        Ok(good) => return Ok(good),
        Err(error) => error.into(),
    };
    let failed = match &error {
        AdmitError::Oidc(error) => error.is_failure(),
        AdmitError::Store(_) => true,
    };
    let outcome = if failed { Outcome::Failed } else { Outcome::Refused };
    app.logins.metrics.count(method, outcome);
    let organization = oidc::of(app).map(Oidc::organization).unwrap_or_default();
    let reason = format!("{}: {error}", how(method));
    app.audit.refused_login(organization, name, peer.0.ip(), &reason);
    Err(error.into())
}

async fn start(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<StartQuery>,
) -> Result<Response, ApiError> {
    let oidc = provider(&app, peer)?;
    let return_to =
        match query.return_to {
            None => None,
            Some(path) => Some(oidc::local_path(&app.settings.public_url, &path).ok_or_else(|| {
                ApiError::invalid("returnTo is not a path of this gateway, such as /console")
            })?),
        };
    let started = oidc::start(oidc, &app.logins.seals, return_to, App::now()).await?;
    let mut response = to(started.location.as_str())?;
    // Lax: the provider's redirect back is a navigation from another site, and must carry it.
    set_cookie(&mut response, LOGIN_COOKIE, &started.cookie, "Lax", LOGIN_SECS);
    Ok(response)
}

async fn callback(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Response {
    let finished = finish(&app, peer, &headers, &callback).await;
    let mut response = finished.unwrap_or_else(ApiError::into_response);
    // It is spent, however this ended.
    set_cookie(&mut response, LOGIN_COOKIE, "", "Lax", 0);
    response
        .headers_mut()
        .insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    no_store(response)
}

async fn finish(
    app: &Arc<App>,
    peer: Peer,
    headers: &HeaderMap,
    callback: &Callback,
) -> Result<Response, ApiError> {
    let oidc = provider(app, peer)?;
    let now = App::now();
    let cookie = cookie(headers, LOGIN_COOKIE);
    let finished = oidc::finish(oidc, &app.logins.seals, cookie, callback, now).await;
    let (person, return_to) = told(app, peer, Method::Browser, "", finished)?;
    let session = admitted(app, peer, Method::Browser, person, now).await?;
    let Some(path) = return_to else {
        return Ok(session_json(&session));
    };
    let handover = Handover {
        token: session.token.expose_secret().to_owned(),
        token_id: session.token_id,
        user: session.user_name,
        organization: session.organization,
        expires_at: session.expires_at,
        until: now + HANDOVER_SECS,
    };
    let plain = serde_json::to_vec(&handover).expect("texts and numbers always serialize");
    let sealed = URL_SAFE_NO_PAD.encode(app.logins.seals.seal(Purpose::Handover, "", &plain));
    let mut response = to(&path)?;
    // Strict: only this gateway's own pages take it.
    set_cookie(&mut response, HANDOVER_COOKIE, &sealed, "Strict", HANDOVER_SECS);
    Ok(response)
}

/// Gives the page that the browser was sent to its session, once.
async fn take_session(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let oidc = oidc::of(&app)?;
    let now = App::now();
    let handover = cookie(&headers, HANDOVER_COOKIE)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|sealed| app.logins.seals.unseal(Purpose::Handover, "", &sealed))
        .and_then(|plain| serde_json::from_slice::<Handover>(&plain).ok())
        .filter(|handover| handover.until > now)
        .filter(|handover| oidc.used.first(&handover.token_id, handover.until, now))
        .ok_or(OidcError::Login(
            "there is no session to take, or it was taken already",
        ))?;
    let session = Session {
        token: handover.token.into(),
        token_id: handover.token_id,
        user_name: handover.user,
        organization: handover.organization,
        expires_at: handover.expires_at,
    };
    let mut response = session_json(&session);
    set_cookie(&mut response, HANDOVER_COOKIE, "", "Strict", 0);
    Ok(response)
}

async fn start_device(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, ApiError> {
    let oidc = provider(&app, peer)?;
    let login = oidc::start_device(oidc, &app.logins.seals, App::now()).await?;
    let json = DeviceJson {
        device_code: login.handle.expose_secret(),
        user_code: &login.user_code,
        verification_uri: login.verification_uri.as_str(),
        verification_uri_complete: login.verification_uri_complete.as_ref().map(url::Url::as_str),
        expires_in_seconds: login.expires_in,
        interval_seconds: login.interval,
    };
    Ok(no_store(Json(json).into_response()))
}

async fn poll_device(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<DeviceTokenRequest>,
) -> Result<Response, ApiError> {
    let oidc = provider(&app, peer)?;
    let now = App::now();
    let polled = oidc::poll(oidc, &app.logins.seals, &request.device_code.0, now).await;
    match told(&app, peer, Method::Device, "", polled)? {
        Polled::Pending(interval_seconds) => {
            let json = PendingJson {
                status: "pending",
                interval_seconds,
            };
            Ok(no_store((StatusCode::ACCEPTED, Json(json)).into_response()))
        }
        Polled::Person(person) => {
            let session = admitted(&app, peer, Method::Device, person, now).await?;
            Ok(session_json(&session))
        }
    }
}

/// Asks the provider about the caller's session now.
async fn refresh(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, ApiError> {
    provider(&app, peer)?;
    let session = app
        .store
        .provider_session(&caller.token_id)
        .await?
        .filter(|session| session.refresh_token.is_some())
        .ok_or_else(|| ApiError::invalid("This is no session that the provider can be asked about again"))?;
    oidc::refresh_one(&app, &session, App::now()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The provider tells of a logout. Whoever calls shows nothing but the token, which only the provider can sign.
async fn logout_by_provider(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Response, ApiError> {
    let oidc = oidc::of(&app)?;
    if !oidc.may_tell_logouts(peer.ip()) {
        return Err(ApiError::too_many(
            "Too many logouts from this address",
            CALLS_WINDOW,
        ));
    }
    let body = read_body(request, MAX_LOGOUT).await?;
    let mut tokens = url::form_urlencoded::parse(&body).filter(|(name, _)| name == "logout_token");
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
        return Err(ApiError::invalid("There is not one logout_token in the form"));
    };
    let token = SecretString::from(token.into_owned());
    let ended = oidc::logout_by_provider(&app, &token, App::now()).await;
    let count = ended.map_err(|error| {
        let refused = matches!(
            &error,
            AdmitError::Oidc(OidcError::Token(_) | OidcError::Claims(_))
        );
        let mut error = ApiError::from(error);
        if refused {
            // The caller's mistake, and not the provider's (section 2.8).
            error.status = StatusCode::BAD_REQUEST;
        }
        error
    })?;
    tracing::info!(count, %peer, "the provider has ended sessions");
    Ok(no_store(StatusCode::OK.into_response()))
}

fn to(location: &str) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(location)
        .map_err(|_| ApiError::invalid("The address to go to has characters that no header has"))?;
    let response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    Ok(no_store(response))
}

fn set_cookie(response: &mut Response, name: &str, value: &str, same_site: &str, seconds: i64) {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={seconds}");
    let value = HeaderValue::from_str(&text).expect("base64url and numbers are good in headers");
    response.headers_mut().append(header::SET_COOKIE, value);
}

/// The value of a cookie; none if there are two of that name, since one of them is somebody else's.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter(|value| value.len() <= MAX_COOKIES)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}
