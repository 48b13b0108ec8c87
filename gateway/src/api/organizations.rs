//! `/api/v1/organizations`. Administrators of the organisation `default` make others, and see only their own all the same.

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
    clusters::is_dns_label,
    extract::{Admin, Caller, JsonBody},
    no_store,
    users::{UserJson, check_display_name},
};
use crate::{
    app::App,
    auth::Identity,
    ids,
    people::{self, ChangeError, People, Role},
    problem::ApiError,
    store::{
        ApiTokenKind, DEFAULT_ORGANIZATION, NewApiToken,
        people::{BindingRow, OrganizationRow, UserRow},
    },
};

/// Organisations of one gateway.
const MAX_ORGANIZATIONS: usize = 10_000;
/// How long the first administrator's token is good: to make another one, or to set up logins.
const FIRST_TOKEN_SECS: i64 = 7 * 24 * 3600;

/// Something by id and name.
#[derive(Serialize)]
pub(super) struct Reference<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    name: String,
    display_name: Option<String>,
    administrator: Administrator,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Administrator {
    name: String,
    display_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateRequest {
    display_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrganizationJson<'a> {
    id: &'a str,
    name: &'a str,
    display_name: &'a str,
    created_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    organization: OrganizationJson<'a>,
    administrator: UserJson<'a>,
    /// Of the administrator; shown once.
    token: &'a str,
    expires_at: String,
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<OrganizationJson<'a>>,
}

impl<'a> OrganizationJson<'a> {
    fn of(row: &'a OrganizationRow) -> Self {
        Self {
            id: &row.id,
            name: &row.name,
            display_name: &row.display_name,
            created_at: App::rfc3339(row.created_at),
        }
    }
}

pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    if caller.organization_id != DEFAULT_ORGANIZATION {
        return Err(ApiError::forbidden(
            "This takes the role admin in the organisation \"default\"",
        ));
    }
    let (name, administrator) = (request.name, request.administrator);
    if !is_dns_label(&name) {
        return Err(ApiError::invalid(format!(
            "name {name:?} is not a DNS label: lower-case letters, digits and hyphens"
        )));
    }
    people::check_name(&administrator.name).map_err(ApiError::invalid)?;
    let now = App::now();
    let organization = OrganizationRow {
        id: ids::organization(),
        display_name: request.display_name.unwrap_or_else(|| name.clone()),
        name,
        created_at: now,
    };
    check_display_name(&organization.display_name)?;
    let user = UserRow {
        id: uuid::Uuid::new_v4().to_string(),
        organization_id: organization.id.clone(),
        display_name: administrator
            .display_name
            .unwrap_or_else(|| administrator.name.clone()),
        name: administrator.name,
        kind: "person".to_owned(),
        member_of: "[]".to_owned(),
        created_at: now,
        disabled_at: None,
    };
    check_display_name(&user.display_name)?;
    let (organization_id, user_id, token) = (
        organization.id.clone(),
        user.id.clone(),
        Token::generate(TokenKind::Api),
    );
    let text = token.reveal();
    let expires_at = now + FIRST_TOKEN_SECS.min(app.settings.token_seconds);
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            if people.organization_named(&organization.name).is_some() {
                let what = format!("there is an organisation {:?} already", organization.name);
                return Err(ChangeError::Taken(what));
            }
            if people.organizations() >= MAX_ORGANIZATIONS {
                return Err(ChangeError::TooMany(MAX_ORGANIZATIONS, "organisations"));
            }
            tx.add_organization(&organization).await?;
            tx.add_user(&user).await?;
            tx.add_binding(&BindingRow {
                id: ids::binding(),
                organization_id: organization.id,
                user_id: Some(user.id.clone()),
                group_name: None,
                role: Role::Admin.as_str().to_owned(),
                scope_kind: "organization".to_owned(),
                cluster_id: None,
                selector: None,
                namespaces: None,
                created_at: now,
            })
            .await?;
            let new = NewApiToken {
                token: &token,
                kind: ApiTokenKind::Personal,
                user_id: &user.id,
                name: "first-administrator",
                scope: None,
                now,
                expires_at: Some(expires_at),
            };
            Ok(tx.add_token(&new).await?)
        })
    })
    .await?;
    tracing::info!(organization = %organization_id, by = %caller.user_name, "organisation created");
    let people = app.people.current();
    let made = people.organization(&organization_id).zip(people.user(&user_id));
    let (organization, user) = made.ok_or_else(|| no_organization(&organization_id))?;
    let created = Created {
        organization: OrganizationJson::of(organization),
        administrator: UserJson::of(user),
        token: text.expose_secret(),
        expires_at: App::rfc3339(expires_at),
    };
    Ok(no_store((StatusCode::CREATED, Json(created)).into_response()))
}

fn no_organization(name: &str) -> ApiError {
    ApiError::not_found(format!("There is no organisation {name:?}"))
}

/// The caller's own, if the path names it.
fn own<'a>(people: &'a People, caller: &Identity, name: &str) -> Result<&'a OrganizationRow, ApiError> {
    people
        .organization(&caller.organization_id)
        .filter(|row| row.id == name || row.name == name)
        .ok_or_else(|| no_organization(name))
}

pub(super) async fn list(Caller(caller): Caller, State(app): State<Arc<App>>) -> Response {
    let people = app.people.current();
    let own = people.organization(&caller.organization_id);
    let items = own.into_iter().map(OrganizationJson::of).collect();
    Json(List { items }).into_response()
}

pub(super) async fn get(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let people = app.people.current();
    let row = own(&people, &caller, &name)?;
    Ok(Json(OrganizationJson::of(row)).into_response())
}

pub(super) async fn update(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<UpdateRequest>,
) -> Result<Response, ApiError> {
    check_display_name(&request.display_name)?;
    own(&app.people.current(), &caller, &name)?;
    let id = caller.organization_id.clone();
    people::change(&app, move |_, tx| {
        Box::pin(async move { Ok(tx.show_organization_as(&id, &request.display_name).await?) })
    })
    .await?;
    let people = app.people.current();
    let row = own(&people, &caller, &name)?;
    Ok(Json(OrganizationJson::of(row)).into_response())
}
