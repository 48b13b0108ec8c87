//! `/api/v1/users` and `/api/v1/whoami`: people and service accounts of the caller's organisation.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    bindings::{NamespacesJson, ScopeJson},
    extract::{Admin, Auditor, Caller, JsonBody, standing},
    organizations::Reference,
    paging::Paging,
};
use crate::{
    app::App,
    auth::Identity,
    people::{self, ChangeError, People, Role, Scope, Subject, User},
    problem::ApiError,
    store::people::UserRow,
};

/// Users of one organisation: all of them are in memory.
const MAX_USERS: usize = 20_000;
/// Groups that one user is in, and characters of a group's name: logins bring them.
const MAX_GROUPS: usize = 256;
const MAX_GROUP: usize = 256;
/// Characters of a display name.
const MAX_DISPLAY_NAME: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Person,
    Service,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    name: String,
    kind: Option<Kind>,
    display_name: Option<String>,
    #[serde(default)]
    groups: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateRequest {
    display_name: Option<String>,
    disabled: Option<bool>,
    groups: Option<BTreeSet<String>>,
}

/// A user as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserJson<'a> {
    id: &'a str,
    name: &'a str,
    kind: &'static str,
    display_name: &'a str,
    groups: &'a [String],
    created_at: String,
    disabled_at: Option<String>,
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<UserJson<'a>>,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WhoAmI<'a> {
    #[serde(flatten)]
    user: UserJson<'a>,
    organization: Reference<'a>,
    /// The greatest role for the whole organisation.
    role: Option<Role>,
    roles: Vec<HeldJson<'a>>,
    token_id: &'a str,
    token_kind: &'static str,
    /// What of the rights above the token has; all if none.
    token_scope: Option<&'a Scope>,
    expires_at: Option<String>,
}

/// A role that somebody has.
#[derive(Serialize)]
struct HeldJson<'a> {
    role: Role,
    scope: ScopeJson<'a>,
    namespaces: NamespacesJson<'a>,
    /// By which group.
    group: Option<&'a str>,
}

impl<'a> UserJson<'a> {
    pub(super) fn of(user: &'a User) -> Self {
        Self {
            id: &user.id,
            name: &user.name,
            kind: user.kind(),
            display_name: &user.display_name,
            groups: &user.groups,
            created_at: App::rfc3339(user.created_at),
            disabled_at: user.disabled_at.map(App::rfc3339),
        }
    }
}

pub(super) fn no_user(name: &str) -> ApiError {
    ApiError::not_found(format!("There is no user {name:?}"))
}

/// The user of this id or name, for himself and for those who may read all. For others nobody is there.
pub(super) fn readable<'a>(
    app: &App,
    people: &'a People,
    caller: &Identity,
    name: &str,
) -> Result<&'a User, ApiError> {
    people
        .find_user(&caller.organization_id, name)
        .filter(|user| user.id == caller.user_id || standing(app, caller).auditor)
        .ok_or_else(|| no_user(name))
}

pub(super) fn check_display_name(name: &str) -> Result<(), ApiError> {
    if name.chars().count() > MAX_DISPLAY_NAME || name.chars().any(char::is_control) {
        let what = format!("displayName has control characters or more than {MAX_DISPLAY_NAME} characters");
        return Err(ApiError::invalid(what));
    }
    Ok(())
}

fn check_groups(groups: &BTreeSet<String>) -> Result<(), ApiError> {
    if groups.len() > MAX_GROUPS {
        return Err(ApiError::invalid(format!(
            "There are more than {MAX_GROUPS} groups"
        )));
    }
    groups.iter().try_for_each(|name| check_group(name))
}

pub(super) fn check_group(name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > MAX_GROUP || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "The name of a group is empty, has control characters or more than {MAX_GROUP} bytes"
        )));
    }
    Ok(())
}

pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    people::check_name(&request.name).map_err(ApiError::invalid)?;
    check_groups(&request.groups)?;
    let display_name = request.display_name.unwrap_or_else(|| request.name.clone());
    check_display_name(&display_name)?;
    let kind = match request.kind {
        Some(Kind::Service) => "service",
        Some(Kind::Person) | None => "person",
    };
    let row = UserRow {
        id: uuid::Uuid::new_v4().to_string(),
        organization_id: caller.organization_id.clone(),
        name: request.name,
        kind: kind.to_owned(),
        display_name,
        member_of: serde_json::to_string(&request.groups).expect("texts always serialize"),
        created_at: App::now(),
        disabled_at: None,
    };
    let id = row.id.clone();
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            check_new(people, &row)?;
            Ok(tx.add_user(&row).await?)
        })
    })
    .await?;
    tracing::info!(user = %id, by = %caller.user_name, "user created");
    let people = app.people.current();
    let user = people.user(&id).ok_or_else(|| no_user(&id))?;
    Ok((StatusCode::CREATED, Json(UserJson::of(user))).into_response())
}

/// Whether there is place for a user with this name.
fn check_new(people: &People, row: &UserRow) -> Result<(), ChangeError> {
    if let Some(user) = people.user_like(&row.organization_id, &row.name) {
        let what = format!("there is a user with the name {:?} already", user.name);
        return Err(ChangeError::Taken(what));
    }
    if people.users(&row.organization_id).len() >= MAX_USERS {
        return Err(ChangeError::TooMany(MAX_USERS, "users"));
    }
    Ok(())
}

pub(super) async fn list(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let paging = Paging::read(query.as_deref())?;
    let people = app.people.current();
    let users = people.users(&caller.organization_id);
    let (users, next_cursor) = paging.page(users, |user| user.name.clone());
    let items = users.into_iter().map(UserJson::of).collect();
    Ok(Json(List { items, next_cursor }).into_response())
}

pub(super) async fn get(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let user = readable(&app, &people, &caller, &name)?;
    Ok(Json(UserJson::of(user)).into_response())
}

pub(super) async fn update(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<UpdateRequest>,
) -> Result<Response, ApiError> {
    if let Some(name) = &request.display_name {
        check_display_name(name)?;
    }
    if let Some(groups) = &request.groups {
        check_groups(groups)?;
    }
    let organization_id = caller.organization_id.clone();
    let disabled = request.disabled;
    let known = id_of(&app, &caller, &name);
    let changed = people::change(&app, move |people, tx| {
        Box::pin(async move {
            let user = people
                .find_user(&organization_id, &name)
                .ok_or_else(|| ChangeError::Gone(format!("user {name:?}")))?;
            let mut row = user.row();
            if let Some(name) = request.display_name {
                row.display_name = name;
            }
            if let Some(groups) = request.groups {
                row.member_of = serde_json::to_string(&groups).expect("texts always serialize");
            }
            match request.disabled {
                Some(true) => row.disabled_at = row.disabled_at.or_else(|| Some(App::now())),
                Some(false) => row.disabled_at = None,
                None => {}
            }
            tx.update_user(&row).await?;
            Ok(row.id)
        })
    })
    .await;
    let id = match changed {
        Err(error) if disabled == Some(true) => return Err(taken_away(&app, known, error)),
        changed => changed?,
    };
    if disabled.is_some() {
        app.auth.settle_user(&id);
    }
    tracing::info!(user = %id, by = %caller.user_name, "user changed");
    let people = app.people.current();
    let user = people.user(&id).ok_or_else(|| no_user(&id))?;
    Ok(Json(UserJson::of(user)).into_response())
}

pub(super) async fn delete(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let organization_id = caller.organization_id.clone();
    let known = id_of(&app, &caller, &name);
    let deleted = people::change(&app, move |people, tx| {
        Box::pin(async move {
            let user = people
                .find_user(&organization_id, &name)
                .ok_or_else(|| ChangeError::Gone(format!("user {name:?}")))?;
            tx.delete_user(&user.id).await?;
            Ok(user.id.clone())
        })
    });
    let id = deleted.await.map_err(|error| taken_away(&app, known, error))?;
    app.auth.settle_user(&id);
    tracing::info!(user = %id, by = %caller.user_name, "user deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn id_of(app: &App, caller: &Identity, name: &str) -> Option<String> {
    let people = app.people.current();
    let user = people.find_user(&caller.organization_id, name);
    user.map(|user| user.id.clone())
}

/// A user was to be disabled or deleted. If the store could not be written, he is nobody in memory at least.
fn taken_away(app: &App, user_id: Option<String>, error: ChangeError) -> ApiError {
    match (error, user_id) {
        (ChangeError::Store(error), Some(id)) => {
            app.auth.deny_user(&id);
            app.revocations.send_replace(());
            ApiError::until_restart(error, "the user")
        }
        (error, _) => error.into(),
    }
}

pub(super) async fn whoami(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let gone = || ApiError::not_found("You are no user any more");
    let user = people.user(&caller.user_id).ok_or_else(gone)?;
    let organization = people.organization(&user.organization_id).ok_or_else(gone)?;
    let roles = people.bindings_of(user).map(|binding| HeldJson {
        role: binding.role,
        scope: ScopeJson::of(&app, binding),
        namespaces: NamespacesJson(&binding.namespaces),
        group: match &binding.subject {
            Subject::Group(name) => Some(name),
            Subject::User(_) => None,
        },
    });
    let who = WhoAmI {
        user: UserJson::of(user),
        organization: Reference {
            id: &organization.id,
            name: &organization.name,
        },
        role: standing(&app, &caller).role,
        roles: roles.collect(),
        token_id: &caller.token_id,
        token_kind: caller.kind.as_str(),
        token_scope: caller.scope.as_ref(),
        expires_at: caller.expires_at.map(App::rfc3339),
    };
    Ok(Json(who).into_response())
}
