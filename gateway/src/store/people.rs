//! Organisations, users, bindings and who may act as whom.
//!
//! They are read all at once, into memory, by whoever changes them, before the change is committed: what is in memory is
//! what the file has, or the change failed.

use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::{BEGIN_WRITE, NewApiToken, Store, StoreError, tokens};

/// The organisation of installations that have only one.
pub(crate) const DEFAULT_ORGANIZATION: &str = "o-default";

/// An organisation as kept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct OrganizationRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) created_at: i64,
}

/// A user as kept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct UserRow {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) name: String,
    /// `person` or `service`.
    pub(crate) kind: String,
    pub(crate) display_name: String,
    /// JSON list of groups' names.
    pub(crate) member_of: String,
    pub(crate) created_at: i64,
    pub(crate) disabled_at: Option<i64>,
}

/// A binding as kept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct BindingRow {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    /// Either this or [`Self::group_name`].
    pub(crate) user_id: Option<String>,
    pub(crate) group_name: Option<String>,
    pub(crate) role: String,
    /// `organization`, `cluster` or `selector`.
    pub(crate) scope_kind: String,
    pub(crate) cluster_id: Option<String>,
    pub(crate) selector: Option<String>,
    /// JSON list; all namespaces if not there.
    pub(crate) namespaces: Option<String>,
    pub(crate) created_at: i64,
}

/// A right to act as somebody else, as kept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ImpersonatorRow {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) user_id: String,
    /// Everybody of the organisation if not there.
    pub(crate) target_id: Option<String>,
    pub(crate) created_at: i64,
}

/// Labels of a cluster, as kept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct LabelsRow {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    /// JSON object of texts.
    pub(crate) labels: String,
}

/// All that decides what people may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeopleRows {
    pub(crate) organizations: Vec<OrganizationRow>,
    pub(crate) users: Vec<UserRow>,
    pub(crate) bindings: Vec<BindingRow>,
    pub(crate) impersonators: Vec<ImpersonatorRow>,
    pub(crate) labels: Vec<LabelsRow>,
}

/// A change of people that is not committed yet. Dropping it undoes it.
#[derive(Debug)]
pub(crate) struct PeopleTx(pub(super) Transaction<'static, Sqlite>);

impl Store {
    /// Reads all of it.
    pub(crate) async fn people(&self) -> Result<PeopleRows, StoreError> {
        let mut tx = self.readers.begin().await?;
        read(&mut tx).await
    }

    /// Starts a change.
    pub(crate) async fn change_people(&self) -> Result<PeopleTx, StoreError> {
        Ok(PeopleTx(self.writer.begin_with(BEGIN_WRITE).await?))
    }
}

async fn read(connection: &mut SqliteConnection) -> Result<PeopleRows, StoreError> {
    Ok(PeopleRows {
        organizations: sqlx::query_as(
            "SELECT id, name, display_name, created_at FROM organizations ORDER BY name",
        )
        .fetch_all(&mut *connection)
        .await?,
        users: sqlx::query_as(
            "SELECT id, organization_id, name, kind, display_name, member_of, created_at, disabled_at
             FROM users ORDER BY name",
        )
        .fetch_all(&mut *connection)
        .await?,
        bindings: sqlx::query_as(
            "SELECT id, organization_id, user_id, group_name, role, scope_kind, cluster_id, selector, namespaces, created_at
             FROM bindings ORDER BY created_at, id",
        )
        .fetch_all(&mut *connection)
        .await?,
        impersonators: sqlx::query_as(
            "SELECT id, organization_id, user_id, target_id, created_at FROM impersonators ORDER BY created_at, id",
        )
        .fetch_all(&mut *connection)
        .await?,
        labels: sqlx::query_as("SELECT id, organization_id, labels FROM clusters WHERE labels <> '{}'")
            .fetch_all(&mut *connection)
            .await?,
    })
}

impl PeopleTx {
    /// All of it, with the change.
    pub(crate) async fn read(&mut self) -> Result<PeopleRows, StoreError> {
        read(&mut self.0).await
    }

    /// Keeps the change.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.commit().await?)
    }

    /// Adds an organisation.
    pub(crate) async fn add_organization(&mut self, new: &OrganizationRow) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO organizations (id, name, display_name, created_at) VALUES (?, ?, ?, ?)")
            .bind(&new.id)
            .bind(&new.name)
            .bind(&new.display_name)
            .bind(new.created_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Gives an organisation another name to show.
    pub(crate) async fn show_organization_as(&mut self, id: &str, name: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE organizations SET display_name = ? WHERE id = ?")
            .bind(name)
            .bind(id)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Adds a user.
    pub(crate) async fn add_user(&mut self, new: &UserRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO users (id, organization_id, name, kind, display_name, member_of, created_at, disabled_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.organization_id)
        .bind(&new.name)
        .bind(&new.kind)
        .bind(&new.display_name)
        .bind(&new.member_of)
        .bind(new.created_at)
        .bind(new.disabled_at)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Writes what may change of a user.
    pub(crate) async fn update_user(&mut self, user: &UserRow) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET display_name = ?, member_of = ?, disabled_at = ? WHERE id = ?")
            .bind(&user.display_name)
            .bind(&user.member_of)
            .bind(user.disabled_at)
            .bind(&user.id)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Deletes a user with all that belongs to the user.
    pub(crate) async fn delete_user(&mut self, id: &str) -> Result<(), StoreError> {
        self.delete("DELETE FROM users WHERE id = ?", id).await
    }

    /// Adds a binding.
    pub(crate) async fn add_binding(&mut self, new: &BindingRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO bindings
                 (id, organization_id, user_id, group_name, role, scope_kind, cluster_id, selector, namespaces, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.organization_id)
        .bind(&new.user_id)
        .bind(&new.group_name)
        .bind(&new.role)
        .bind(&new.scope_kind)
        .bind(&new.cluster_id)
        .bind(&new.selector)
        .bind(&new.namespaces)
        .bind(new.created_at)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Writes what may change of a binding: role and namespaces.
    pub(crate) async fn update_binding(&mut self, binding: &BindingRow) -> Result<(), StoreError> {
        sqlx::query("UPDATE bindings SET role = ?, namespaces = ? WHERE id = ?")
            .bind(&binding.role)
            .bind(&binding.namespaces)
            .bind(&binding.id)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Deletes a binding.
    pub(crate) async fn delete_binding(&mut self, id: &str) -> Result<(), StoreError> {
        self.delete("DELETE FROM bindings WHERE id = ?", id).await
    }

    /// Adds a right to act as somebody else.
    pub(crate) async fn add_impersonator(&mut self, new: &ImpersonatorRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO impersonators (id, organization_id, user_id, target_id, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.organization_id)
        .bind(&new.user_id)
        .bind(&new.target_id)
        .bind(new.created_at)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Takes such a right away.
    pub(crate) async fn delete_impersonator(&mut self, id: &str) -> Result<(), StoreError> {
        self.delete("DELETE FROM impersonators WHERE id = ?", id).await
    }

    /// Writes a cluster's labels, a JSON object of texts.
    pub(crate) async fn label_cluster(&mut self, id: &str, labels: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE clusters SET labels = ? WHERE id = ?")
            .bind(labels)
            .bind(id)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Keeps a token's hash.
    pub(crate) async fn add_token(&mut self, new: &NewApiToken<'_>) -> Result<(), StoreError> {
        tokens::insert(&mut self.0, new).await
    }

    /// Forgets all tokens of a user.
    pub(crate) async fn delete_tokens(&mut self, user_id: &str) -> Result<(), StoreError> {
        self.delete("DELETE FROM api_tokens WHERE user_id = ?", user_id)
            .await
    }

    async fn delete(&mut self, sql: &'static str, id: &str) -> Result<(), StoreError> {
        sqlx::query(sql).bind(id).execute(&mut *self.0).await?;
        Ok(())
    }
}
