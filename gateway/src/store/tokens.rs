//! Users and their API tokens.

use std::fmt;

use kantaloupe_proto::token::Token;

use super::{BEGIN_WRITE, Store, StoreError};

/// The organisation of installations that have only one.
pub(crate) const DEFAULT_ORGANIZATION: &str = "o-default";

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Reads.
    Viewer,
    /// Changes workloads.
    Operator,
    /// Everything, including clusters and tokens.
    Admin,
}

impl Role {
    /// The word in headers, JSON and the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl From<String> for Role {
    fn from(text: String) -> Self {
        match text.as_str() {
            "admin" => Self::Admin,
            "operator" => Self::Operator,
            // The table allows three words; should it ever hold another, the least is the safe reading.
            _ => Self::Viewer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token to be kept.
#[derive(Debug)]
pub(crate) struct NewApiToken<'a> {
    pub(crate) token: &'a Token,
    pub(crate) user_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) now: i64,
    pub(crate) expires_at: Option<i64>,
}

/// A kept token with its user, for authentication.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ApiToken {
    pub(crate) id: String,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    #[sqlx(try_from = "String")]
    pub(crate) role: Role,
}

/// A kept token as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ApiTokenInfo {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
}

impl Store {
    /// Whether nobody can log in yet.
    pub(crate) async fn has_no_user(&self) -> Result<bool, StoreError> {
        let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
            .fetch_one(&self.writer)
            .await?;
        Ok(users == 0)
    }

    /// Makes the first administrator with a token. Does nothing if there is a user already.
    pub(crate) async fn create_first_admin(&self, token: &Token, now: i64) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
            .fetch_one(&mut *tx)
            .await?;
        if users > 0 {
            return Ok(());
        }
        let user_id = uuid::Uuid::new_v4().to_string();
        sqlx::query(
            "INSERT INTO users (id, organization_id, name, kind, display_name, created_at)
             VALUES (?, ?, 'admin', 'person', 'First administrator', ?)",
        )
        .bind(&user_id)
        .bind(DEFAULT_ORGANIZATION)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO bindings (id, organization_id, user_id, role, scope_kind, created_at)
             VALUES (?, ?, ?, 'admin', 'organization', ?)",
        )
        .bind(uuid::Uuid::new_v4().to_string())
        .bind(DEFAULT_ORGANIZATION)
        .bind(&user_id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        let first = NewApiToken {
            token,
            user_id: &user_id,
            name: "first-administrator",
            now,
            expires_at: None,
        };
        insert(&mut tx, &first).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps a token's hash.
    pub(crate) async fn create_api_token(&self, new: &NewApiToken<'_>) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        insert(&mut connection, new).await
    }

    /// A token by its public id.
    pub(crate) async fn api_token(&self, id: &str) -> Result<Option<ApiToken>, StoreError> {
        let row = sqlx::query_as(
            "SELECT t.id, t.secret_hash, t.expires_at, t.user_id, u.name AS user_name,
                    coalesce((SELECT b.role FROM bindings b WHERE b.user_id = u.id AND b.scope_kind = 'organization'
                              ORDER BY b.role LIMIT 1), 'viewer') AS role
             FROM api_tokens t JOIN users u ON u.id = t.user_id WHERE t.id = ?",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row)
    }

    /// A user's tokens, oldest first.
    pub(crate) async fn api_tokens(&self, user_id: &str) -> Result<Vec<ApiTokenInfo>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT id, name, created_at, expires_at FROM api_tokens WHERE user_id = ? ORDER BY created_at, id",
        )
        .bind(user_id)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows)
    }

    /// Forgets a token of this user; whether there was one.
    pub(crate) async fn delete_api_token(&self, user_id: &str, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM api_tokens WHERE id = ? AND user_id = ?")
            .bind(id)
            .bind(user_id)
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

async fn insert(connection: &mut sqlx::SqliteConnection, new: &NewApiToken<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO api_tokens (id, user_id, kind, name, secret_hash, created_at, expires_at)
         VALUES (?, ?, 'personal', ?, ?, ?, ?)",
    )
    .bind(&new.token.id)
    .bind(new.user_id)
    .bind(new.name)
    .bind(new.token.secret_hash().as_slice())
    .bind(new.now)
    .bind(new.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}
