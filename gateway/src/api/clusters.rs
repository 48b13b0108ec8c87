//! `/api/v1/clusters`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use kantaloupe_checks::Code;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{
    extract::{Admin, Caller, JsonBody, Managed, Named},
    install::{Install, uninstall_command},
    no_store,
    users::check_display_name,
    visible::Visible,
};
use crate::{
    app::App,
    clusters::{self, IssuedToken, Wanted},
    directory::{AgentInfo, Cluster},
    ids,
    people::{self, Labels},
    problem::ApiError,
    state::State as ClusterState,
    store::StoreError,
};

/// Characters of a name: a DNS label, because names stand in URLs and kubeconfig contexts.
const MAX_NAME: usize = 63;
const PROFILES: [&str; 3] = ["observe", "operate", "admin"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    name: String,
    display_name: Option<String>,
    profile: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateRequest {
    /// Added to those that there are; without a value, taken out.
    labels: BTreeMap<String, Option<String>>,
}

/// A cluster as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterJson {
    id: String,
    name: String,
    display_name: String,
    profile: String,
    labels: Labels,
    state: ClusterState,
    since: String,
    last_seen: Option<String>,
    agent: Option<AgentInfo>,
}

#[derive(Serialize)]
struct List {
    items: Vec<ClusterJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EnrollmentJson<'a> {
    token: &'a str,
    expires_at: String,
    install_command: String,
}

#[derive(Serialize)]
struct Issued<'a> {
    cluster: ClusterJson,
    enrollment: EnrollmentJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    id: String,
    name: String,
    uninstall_command: String,
}

impl ClusterJson {
    fn of(app: &App, cluster: &Cluster) -> Self {
        let view = cluster.view(App::now());
        Self {
            id: cluster.id.to_string(),
            name: cluster.name.clone(),
            display_name: cluster.display_name.clone(),
            profile: cluster.profile.clone(),
            labels: app.people.current().labels(&cluster.id).clone(),
            state: view.state,
            since: App::rfc3339(view.since),
            last_seen: view.last_seen.map(App::rfc3339),
            agent: view.agent,
        }
    }
}

pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    let wanted = check(&caller.organization_id, request)?;
    let name = wanted.name.clone();
    let (cluster, token) = clusters::create(&app, wanted)
        .await
        .map_err(|error| match error {
            StoreError::NameTaken => {
                let what = format!("There is a cluster with the name {name:?} already");
                ApiError::new(StatusCode::CONFLICT, Code::SRV_008, what)
            }
            other => other.into(),
        })?;
    tracing::info!(cluster = %cluster.id, name = %cluster.name, "cluster created");
    Ok(issued(&app, &cluster, &token))
}

fn check(organization_id: &str, request: CreateRequest) -> Result<Wanted, ApiError> {
    let name = request.name;
    if !is_dns_label(&name) {
        let what = format!(
            "name {name:?} is not a DNS label: lower-case letters, digits and hyphens, at most {MAX_NAME}"
        );
        return Err(ApiError::invalid(what));
    }
    if ids::looks_like_cluster(&name) {
        return Err(ApiError::invalid(format!(
            "name {name:?} looks like an id (c- and eight characters)"
        )));
    }
    let display_name = request.display_name.unwrap_or_else(|| name.clone());
    check_display_name(&display_name)?;
    let profile = request.profile.unwrap_or_else(|| PROFILES[0].to_owned());
    if !PROFILES.contains(&profile.as_str()) {
        return Err(ApiError::invalid(format!(
            "profile {profile:?} is none of {}",
            PROFILES.join(", ")
        )));
    }
    Ok(Wanted {
        organization_id: organization_id.to_owned(),
        name,
        display_name,
        profile,
    })
}

pub(super) fn is_dns_label(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) async fn list(Caller(caller): Caller, State(app): State<Arc<App>>) -> Response {
    let items = Visible::of(&app, &caller)
        .clusters()
        .map(|cluster| ClusterJson::of(&app, cluster))
        .collect();
    Json(List { items }).into_response()
}

pub(super) async fn get(State(app): State<Arc<App>>, Named(cluster, _): Named) -> Response {
    Json(ClusterJson::of(&app, &cluster)).into_response()
}

pub(super) async fn update(
    State(app): State<Arc<App>>,
    Managed(cluster): Managed,
    JsonBody(request): JsonBody<UpdateRequest>,
) -> Result<Response, ApiError> {
    let id = cluster.id.to_string();
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            let mut labels = people.labels(&id).clone();
            for (key, value) in request.labels {
                match value {
                    Some(value) => labels.insert(key, value),
                    None => labels.remove(&key),
                };
            }
            people::check_labels(&labels)?;
            let json = serde_json::to_string(&labels).expect("texts always serialize");
            Ok(tx.label_cluster(&id, &json).await?)
        })
    })
    .await?;
    tracing::info!(cluster = %cluster.id, name = %cluster.name, "cluster labelled");
    Ok(Json(ClusterJson::of(&app, &cluster)).into_response())
}

pub(super) async fn delete(
    _: Admin,
    State(app): State<Arc<App>>,
    Named(cluster, _): Named,
) -> Result<Response, ApiError> {
    clusters::delete(&app, &cluster).await?;
    tracing::info!(cluster = %cluster.id, name = %cluster.name, "cluster deleted");
    let deleted = Deleted {
        id: cluster.id.to_string(),
        name: cluster.name.clone(),
        uninstall_command: uninstall_command(),
    };
    Ok(Json(deleted).into_response())
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Managed(cluster): Managed,
) -> Result<Response, ApiError> {
    clusters::revoke(&app, &cluster).await?;
    tracing::info!(cluster = %cluster.id, name = %cluster.name, "cluster revoked");
    Ok(Json(ClusterJson::of(&app, &cluster)).into_response())
}

pub(super) async fn enrollment_token(
    State(app): State<Arc<App>>,
    Managed(cluster): Managed,
) -> Result<Response, ApiError> {
    let token = clusters::renew_token(&app, &cluster).await?;
    tracing::info!(cluster = %cluster.id, name = %cluster.name, "new enrolment token");
    Ok(issued(&app, &cluster, &token))
}

fn issued(app: &App, cluster: &Cluster, token: &IssuedToken) -> Response {
    let install = Install {
        chart: &app.settings.chart,
        agent_url: &app.settings.agent_url,
        cluster_id: &cluster.id,
        token: &token.text,
        pin: app.settings.own_ca.is_some().then_some(app.settings.pin.as_str()),
        profile: &cluster.profile,
        image: app.settings.image.as_ref(),
    };
    let enrollment = EnrollmentJson {
        token: token.text.expose_secret(),
        expires_at: App::rfc3339(token.expires_at),
        install_command: install.command(),
    };
    let body = Issued {
        cluster: ClusterJson::of(app, cluster),
        enrollment,
    };
    no_store((StatusCode::CREATED, Json(body)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "prod-1", &"x".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "ä", &"x".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }
}
