//! The administrator of an installation: made at first start, and made anew for those who are locked out.

use kantaloupe_proto::token::Token;

use super::model::Role;
use crate::{
    ids,
    store::{
        ApiTokenKind, NewApiToken, Store, StoreError,
        people::{BindingRow, DEFAULT_ORGANIZATION, PeopleTx, UserRow},
    },
};

/// Name of his organisation, the first.
pub(crate) const ORGANIZATION: &str = "default";
/// His name.
pub(crate) const ADMIN: &str = "admin";

/// Makes the first administrator with a token. Does nothing if there is a user already.
pub(crate) async fn create_first_admin(store: &Store, token: &Token, now: i64) -> Result<(), StoreError> {
    let mut tx = store.change_people().await?;
    if !tx.read().await?.users.is_empty() {
        return Ok(());
    }
    let user = user(now);
    tx.add_user(&user).await?;
    tx.add_binding(&binding(&user.id, now)).await?;
    give(&mut tx, &user.id, token, now).await?;
    tx.commit().await
}

/// Makes the administrator of the default organisation one again, whatever was done to him, and gives him one token in place of
/// all that he had.
pub(crate) async fn reset_admin(store: &Store, token: &Token, now: i64) -> Result<(), StoreError> {
    let mut tx = store.change_people().await?;
    let rows = tx.read().await?;
    let known = rows
        .users
        .into_iter()
        .find(|user| user.organization_id == DEFAULT_ORGANIZATION && user.name.eq_ignore_ascii_case(ADMIN));
    let user = if let Some(mut user) = known {
        user.disabled_at = None;
        tx.update_user(&user).await?;
        tx.delete_tokens(&user.id).await?;
        tx.delete_credentials(&user.id).await?;
        user
    } else {
        let user = user(now);
        tx.add_user(&user).await?;
        user
    };
    let is_admin = |binding: &BindingRow| {
        binding.user_id.as_ref() == Some(&user.id)
            && binding.role == Role::Admin.as_str()
            && binding.scope_kind == "organization"
            && binding.namespaces.is_none()
    };
    if !rows.bindings.iter().any(is_admin) {
        tx.add_binding(&binding(&user.id, now)).await?;
    }
    give(&mut tx, &user.id, token, now).await?;
    tx.commit().await
}

fn user(now: i64) -> UserRow {
    UserRow {
        id: uuid::Uuid::new_v4().to_string(),
        organization_id: DEFAULT_ORGANIZATION.to_owned(),
        name: ADMIN.to_owned(),
        kind: "person".to_owned(),
        display_name: "Administrator".to_owned(),
        member_of: "[]".to_owned(),
        created_at: now,
        disabled_at: None,
    }
}

fn binding(user_id: &str, now: i64) -> BindingRow {
    BindingRow {
        id: ids::binding(),
        organization_id: DEFAULT_ORGANIZATION.to_owned(),
        user_id: Some(user_id.to_owned()),
        group_name: None,
        role: Role::Admin.as_str().to_owned(),
        scope_kind: "organization".to_owned(),
        cluster_id: None,
        selector: None,
        namespaces: None,
        created_at: now,
    }
}

async fn give(tx: &mut PeopleTx, user_id: &str, token: &Token, now: i64) -> Result<(), StoreError> {
    let new = NewApiToken {
        token,
        kind: ApiTokenKind::Personal,
        user_id,
        name: "administrator",
        scope: None,
        now,
        expires_at: None,
    };
    tx.add_token(&new).await
}
