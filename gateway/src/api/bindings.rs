//! `/api/v1/bindings`: who has which role, where.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use kantaloupe_policy::Namespaces;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    extract::{Admin, Auditor, JsonBody, no_cluster},
    paging::{Paging, by_time},
    users::{check_group, no_user},
};
use crate::{
    app::App,
    ids,
    people::{self, Binding, ChangeError, People, Place, Role, Subject},
    problem::ApiError,
    store::people::BindingRow,
};

/// Bindings of one organisation: all of them are in memory, and each request goes over those of its user once.
const MAX_BINDINGS: usize = 20_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    subject: SubjectRequest,
    role: Role,
    scope: ScopeRequest,
    namespaces: Option<Vec<String>>,
}

/// Names a user or a group.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
enum SubjectRequest {
    User { name: String },
    Group { name: String },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
enum ScopeRequest {
    Organization,
    Cluster { cluster: String },
    Selector { selector: String },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateRequest {
    role: Option<Role>,
    /// Left out, they stay; null is all of them.
    #[serde(default)]
    namespaces: NamespacesRequest,
}

#[derive(Debug, Default)]
enum NamespacesRequest {
    #[default]
    Keep,
    /// Null is all.
    Set(Option<Vec<String>>),
}

impl<'de> Deserialize<'de> for NamespacesRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Set)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BindingJson<'a> {
    id: &'a str,
    subject: SubjectJson<'a>,
    role: Role,
    scope: ScopeJson<'a>,
    namespaces: NamespacesJson<'a>,
    created_at: String,
}

#[derive(Serialize)]
struct SubjectJson<'a> {
    kind: &'static str,
    /// Of users.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
}

/// Where a binding is for.
#[derive(Serialize)]
pub(super) struct ScopeJson<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<String>,
}

#[derive(Serialize)]
struct ClusterJson<'a> {
    id: &'a str,
    /// Not there for one that is gone.
    name: Option<String>,
}

/// A list, or null for all.
pub(super) struct NamespacesJson<'a>(pub(super) &'a Namespaces);

#[derive(Serialize)]
struct List<'a> {
    items: Vec<BindingJson<'a>>,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl Serialize for NamespacesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Namespaces::All => serializer.serialize_none(),
            Namespaces::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'a> ScopeJson<'a> {
    pub(super) fn of(app: &App, binding: &'a Binding) -> Self {
        let (kind, cluster, selector) = match &binding.place {
            Place::Organization => ("organization", None, None),
            Place::Cluster(id) => {
                let name = app.directory.find_by_id(id).map(|cluster| cluster.name.clone());
                ("cluster", Some(ClusterJson { id, name }), None)
            }
            Place::Selector(selector) => ("selector", None, Some(selector.to_string())),
        };
        Self {
            kind,
            cluster,
            selector,
        }
    }
}

impl<'a> BindingJson<'a> {
    fn of(app: &App, people: &'a People, binding: &'a Binding) -> Self {
        let subject = match &binding.subject {
            Subject::User(id) => SubjectJson {
                kind: "user",
                id: Some(id),
                name: people.user(id).map_or("", |user| user.name.as_str()),
            },
            Subject::Group(name) => SubjectJson {
                kind: "group",
                id: None,
                name,
            },
        };
        Self {
            id: &binding.id,
            subject,
            role: binding.role,
            scope: ScopeJson::of(app, binding),
            namespaces: NamespacesJson(&binding.namespaces),
            created_at: App::rfc3339(binding.created_at),
        }
    }
}

fn no_binding(id: &str) -> ApiError {
    ApiError::not_found(format!("There is no binding with the id {id:?}"))
}

/// The JSON of namespaces that may be given, for the store.
fn namespaces(role: Role, names: Option<Vec<String>>) -> Result<Option<String>, ApiError> {
    let Some(names) = names else { return Ok(None) };
    if role == Role::Auditor {
        return Err(ApiError::invalid(
            "The role auditor cannot be for namespaces: what was done in a cluster is one record",
        ));
    }
    match Namespaces::only(names) {
        Ok(Namespaces::Only(names)) => Ok(Some(
            serde_json::to_string(&names).expect("texts always serialize"),
        )),
        Ok(Namespaces::All) => Ok(None),
        Err(error) => Err(ApiError::invalid(format!("namespaces: {error}"))),
    }
}

pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    let organization_id = caller.organization_id.clone();
    let namespaces = namespaces(request.role, request.namespaces)?;
    let (user_id, group_name) = match request.subject {
        SubjectRequest::User { name } => {
            let people = app.people.current();
            let user = people.find_user(&organization_id, &name);
            (Some(user.ok_or_else(|| no_user(&name))?.id.clone()), None)
        }
        SubjectRequest::Group { name } => {
            check_group(&name)?;
            (None, Some(name))
        }
    };
    let (scope_kind, cluster_id, selector) = match request.scope {
        ScopeRequest::Organization => ("organization", None, None),
        ScopeRequest::Cluster { cluster: name } => {
            let cluster = app.directory.find(&organization_id, &name);
            let cluster = cluster.ok_or_else(|| no_cluster(&name))?;
            ("cluster", Some(cluster.id.to_string()), None)
        }
        ScopeRequest::Selector { selector } => {
            let selector: people::Selector = selector
                .parse()
                .map_err(|error| ApiError::invalid(format!("scope.selector: {error}")))?;
            ("selector", None, Some(selector.to_string()))
        }
    };
    let row = BindingRow {
        id: ids::binding(),
        organization_id,
        user_id,
        group_name,
        role: request.role.as_str().to_owned(),
        scope_kind: scope_kind.to_owned(),
        cluster_id,
        selector,
        namespaces,
        created_at: App::now(),
    };
    let id = row.id.clone();
    let directory = Arc::clone(&app);
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            // Deleted since it was looked for: no row refers to what is not there.
            if let Some(id) = &row.user_id
                && people.user(id).is_none()
            {
                return Err(ChangeError::Gone("such user any more".to_owned()));
            }
            if let Some(id) = &row.cluster_id
                && directory.directory.find_by_id(id).is_none()
            {
                return Err(ChangeError::Gone("such cluster any more".to_owned()));
            }
            if people.bindings(&row.organization_id).count() >= MAX_BINDINGS {
                return Err(ChangeError::TooMany(MAX_BINDINGS, "bindings"));
            }
            Ok(tx.add_binding(&row).await?)
        })
    })
    .await?;
    tracing::info!(binding = %id, by = %caller.user_name, "binding created");
    shown(&app, &caller.organization_id, &id, StatusCode::CREATED)
}

fn shown(app: &App, organization_id: &str, id: &str, status: StatusCode) -> Result<Response, ApiError> {
    let people = app.people.current();
    let binding = people
        .binding(organization_id, id)
        .ok_or_else(|| no_binding(id))?;
    Ok((status, Json(BindingJson::of(app, &people, binding))).into_response())
}

pub(super) async fn list(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let paging = Paging::read(query.as_deref())?;
    let people = app.people.current();
    let bindings = people.bindings(&caller.organization_id);
    let (bindings, next_cursor) = paging.page(bindings, |binding| by_time(binding.created_at, &binding.id));
    let items = bindings
        .into_iter()
        .map(|binding| BindingJson::of(&app, &people, binding))
        .collect();
    Ok(Json(List { items, next_cursor }).into_response())
}

pub(super) async fn get(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    shown(&app, &caller.organization_id, &id, StatusCode::OK)
}

pub(super) async fn update(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<UpdateRequest>,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let known = people
        .binding(&caller.organization_id, &id)
        .ok_or_else(|| no_binding(&id))?;
    let mut row = known.row();
    let role = request.role.unwrap_or(known.role);
    role.as_str().clone_into(&mut row.role);
    row.namespaces = match request.namespaces {
        NamespacesRequest::Set(names) => namespaces(role, names)?,
        NamespacesRequest::Keep => namespaces(role, names(&known.namespaces))?,
    };
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            if people.binding(&row.organization_id, &row.id).is_none() {
                return Err(ChangeError::Gone("such binding any more".to_owned()));
            }
            Ok(tx.update_binding(&row).await?)
        })
    })
    .await?;
    tracing::info!(binding = %id, by = %caller.user_name, "binding changed");
    shown(&app, &caller.organization_id, &id, StatusCode::OK)
}

fn names(namespaces: &Namespaces) -> Option<Vec<String>> {
    match namespaces {
        Namespaces::All => None,
        Namespaces::Only(names) => Some(names.iter().cloned().collect()),
    }
}

pub(super) async fn delete(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (organization_id, binding_id) = (caller.organization_id.clone(), id.clone());
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            if people.binding(&organization_id, &binding_id).is_none() {
                let what = format!("binding with the id {binding_id:?}");
                return Err(ChangeError::Gone(what));
            }
            Ok(tx.delete_binding(&binding_id).await?)
        })
    })
    .await?;
    tracing::info!(binding = %id, by = %caller.user_name, "binding deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}
