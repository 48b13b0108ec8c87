//! API tokens.

use kantaloupe_proto::token::Token;

use super::{BEGIN_WRITE, Store, StoreError};

/// What made a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiTokenKind {
    /// A person, for himself.
    Personal,
    /// An administrator, for a service account.
    Service,
    /// A login.
    Session,
}

/// A token to be kept.
#[derive(Debug)]
pub(crate) struct NewApiToken<'a> {
    pub(crate) token: &'a Token,
    pub(crate) kind: ApiTokenKind,
    pub(crate) user_id: &'a str,
    pub(crate) name: &'a str,
    /// JSON of a [`crate::people::Scope`].
    pub(crate) scope: Option<&'a str>,
    pub(crate) now: i64,
    pub(crate) expires_at: Option<i64>,
}

/// A kept token, for authentication.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ApiToken {
    pub(crate) id: String,
    pub(crate) secret_hash: Vec<u8>,
    #[sqlx(try_from = "String")]
    pub(crate) kind: ApiTokenKind,
    pub(crate) scope: Option<String>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) user_id: String,
}

/// A kept token as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ApiTokenInfo {
    pub(crate) id: String,
    pub(crate) name: String,
    #[sqlx(try_from = "String")]
    pub(crate) kind: ApiTokenKind,
    pub(crate) scope: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
}

impl ApiTokenKind {
    /// The word in JSON and the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Service => "service",
            Self::Session => "session",
        }
    }
}

impl From<String> for ApiTokenKind {
    fn from(text: String) -> Self {
        match text.as_str() {
            "service" => Self::Service,
            "session" => Self::Session,
            // The table allows three words.
            _ => Self::Personal,
        }
    }
}

impl Store {
    /// Keeps a token's hash.
    pub(crate) async fn create_api_token(&self, new: &NewApiToken<'_>) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        insert(&mut connection, new).await
    }

    /// A token by its public id.
    pub(crate) async fn api_token(&self, id: &str) -> Result<Option<ApiToken>, StoreError> {
        let row = sqlx::query_as(
            "SELECT id, secret_hash, kind, scope, expires_at, user_id FROM api_tokens WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row)
    }

    /// A user's tokens, oldest first.
    pub(crate) async fn api_tokens(&self, user_id: &str) -> Result<Vec<ApiTokenInfo>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT id, name, kind, scope, created_at, expires_at, last_used_at FROM api_tokens
             WHERE user_id = ? ORDER BY created_at, id",
        )
        .bind(user_id)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows)
    }

    /// How many tokens a user has that are good at `now`.
    pub(crate) async fn count_api_tokens(&self, user_id: &str, now: i64) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM api_tokens WHERE user_id = ? AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(user_id)
        .bind(now)
        .fetch_one(&self.readers)
        .await?;
        Ok(count)
    }

    /// The user of a token.
    pub(crate) async fn api_token_user(&self, id: &str) -> Result<Option<String>, StoreError> {
        let user = sqlx::query_scalar("SELECT user_id FROM api_tokens WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        Ok(user)
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

    /// Remembers when tokens were last used, all in one transaction.
    pub(crate) async fn api_tokens_used(&self, used: &[(String, i64)]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        for (id, at) in used {
            sqlx::query(
                "UPDATE api_tokens SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?",
            )
            .bind(at)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets tokens that expired before `before`.
    pub(crate) async fn delete_expired_tokens(&self, before: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM api_tokens WHERE expires_at < ?")
            .bind(before)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

pub(super) async fn insert(
    connection: &mut sqlx::SqliteConnection,
    new: &NewApiToken<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO api_tokens (id, user_id, kind, name, secret_hash, scope, created_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.token.id)
    .bind(new.user_id)
    .bind(new.kind.as_str())
    .bind(new.name)
    .bind(new.token.secret_hash().as_slice())
    .bind(new.scope)
    .bind(new.now)
    .bind(new.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}
