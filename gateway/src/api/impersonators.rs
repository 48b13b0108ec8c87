//! `/api/v1/impersonators`: who may act as whom at clusters (`kubectl --as`).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    extract::{Admin, Auditor, JsonBody},
    organizations::Reference,
};
use crate::{
    app::App,
    ids,
    people::{self, ChangeError, People},
    problem::ApiError,
    store::people::ImpersonatorRow,
};

/// Of one organisation.
const MAX_IMPERSONATORS: usize = 10_000;
/// Stands for every user of the organisation.
const EVERYBODY: &str = "*";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRequest {
    /// Who may act.
    user: String,
    /// As whom, or `*`.
    target: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImpersonatorJson<'a> {
    id: &'a str,
    user: Reference<'a>,
    /// Null is everybody.
    target: Option<Reference<'a>>,
    created_at: String,
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<ImpersonatorJson<'a>>,
}

impl<'a> ImpersonatorJson<'a> {
    fn of(people: &'a People, row: &'a ImpersonatorRow) -> Self {
        let user = |id: &'a str| Reference {
            id,
            name: people.user(id).map_or("", |user| user.name.as_str()),
        };
        Self {
            id: &row.id,
            user: user(&row.user_id),
            target: row.target_id.as_deref().map(user),
            created_at: App::rfc3339(row.created_at),
        }
    }
}

pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Response, ApiError> {
    let (organization_id, id) = (caller.organization_id.clone(), ids::impersonator());
    let row_id = id.clone();
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            let find = |name: &str| {
                people
                    .find_user(&organization_id, name)
                    .ok_or_else(|| ChangeError::Gone(format!("user {name:?}")))
            };
            let user_id = find(&request.user)?.id.clone();
            let target_id = match request.target.as_str() {
                EVERYBODY => None,
                name => Some(find(name)?.id.clone()),
            };
            let known = || people.impersonators(&organization_id);
            if known().any(|row| row.user_id == user_id && row.target_id == target_id) {
                return Err(ChangeError::Taken("the user has this right already".to_owned()));
            }
            if known().count() >= MAX_IMPERSONATORS {
                return Err(ChangeError::TooMany(MAX_IMPERSONATORS, "rights to act as others"));
            }
            let row = ImpersonatorRow {
                id: row_id,
                organization_id,
                user_id,
                target_id,
                created_at: App::now(),
            };
            Ok(tx.add_impersonator(&row).await?)
        })
    })
    .await?;
    tracing::info!(impersonator = %id, by = %caller.user_name, "right to act as another user given");
    let people = app.people.current();
    let row = people
        .impersonators(&caller.organization_id)
        .find(|row| row.id == id)
        .ok_or_else(|| ApiError::not_found("The right was taken away already"))?;
    Ok((StatusCode::CREATED, Json(ImpersonatorJson::of(&people, row))).into_response())
}

pub(super) async fn list(Auditor(caller): Auditor, State(app): State<Arc<App>>) -> Response {
    let people = app.people.current();
    let items = people
        .impersonators(&caller.organization_id)
        .map(|row| ImpersonatorJson::of(&people, row))
        .collect();
    Json(List { items }).into_response()
}

pub(super) async fn delete(
    Admin(caller): Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (organization_id, row_id) = (caller.organization_id.clone(), id.clone());
    people::change(&app, move |people, tx| {
        Box::pin(async move {
            if !people.impersonators(&organization_id).any(|row| row.id == row_id) {
                return Err(ChangeError::Gone(format!("impersonator with the id {row_id:?}")));
            }
            Ok(tx.delete_impersonator(&row_id).await?)
        })
    })
    .await?;
    tracing::info!(impersonator = %id, by = %caller.user_name, "right to act as another user taken away");
    Ok(StatusCode::NO_CONTENT.into_response())
}
