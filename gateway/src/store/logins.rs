//! Passwords, codes, identities at an OpenID Connect provider and the sessions that came from there.

use sqlx::SqliteConnection;

use super::{BEGIN_WRITE, NewApiToken, Store, StoreError, people::PeopleTx, tokens};

/// How a local account is logged into.
#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub(crate) struct Credentials {
    /// PHC string.
    pub(crate) hash: String,
    /// The password is good for one login that sets another one.
    pub(crate) must_change: bool,
    /// Sealed; codes are asked for if it is there.
    pub(crate) totp: Option<Vec<u8>>,
    pub(crate) last_step: Option<i64>,
}

/// The codes of a user, confirmed or not.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Totp {
    /// Sealed.
    pub(crate) secret: Vec<u8>,
    pub(crate) confirmed_at: Option<i64>,
}

/// A session that came from a provider.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ProviderSession {
    pub(crate) token_id: String,
    pub(crate) user_id: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) session: Option<String>,
    /// Sealed.
    pub(crate) refresh_token: Option<Vec<u8>>,
    pub(crate) checked_at: i64,
}

impl Store {
    /// How this user logs in; `None` without a password.
    pub(crate) async fn credentials(&self, user_id: &str) -> Result<Option<Credentials>, StoreError> {
        // The writer's connection: a step that was used a moment ago must be seen.
        let row = sqlx::query_as(
            "SELECT p.hash, p.must_change, t.secret AS totp, t.last_step
             FROM passwords p LEFT JOIN totp t ON t.user_id = p.user_id AND t.confirmed_at IS NOT NULL
             WHERE p.user_id = ?",
        )
        .bind(user_id)
        .fetch_optional(&self.writer)
        .await?;
        Ok(row)
    }

    /// Gives a user a password.
    pub(crate) async fn set_password(
        &self,
        user_id: &str,
        hash: &str,
        must_change: bool,
        now: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO passwords (user_id, hash, must_change, changed_at) VALUES (?, ?, ?, ?)
             ON CONFLICT (user_id) DO UPDATE
             SET hash = excluded.hash, must_change = excluded.must_change, changed_at = excluded.changed_at",
        )
        .bind(user_id)
        .bind(hash)
        .bind(must_change)
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Codes of a user, also while they are not confirmed.
    pub(crate) async fn totp(&self, user_id: &str) -> Result<Option<Totp>, StoreError> {
        let row = sqlx::query_as("SELECT secret, confirmed_at FROM totp WHERE user_id = ?")
            .bind(user_id)
            .fetch_optional(&self.writer)
            .await?;
        Ok(row)
    }

    /// Keeps a secret that is not confirmed yet, in place of another one that is not; whether there is no confirmed one.
    pub(crate) async fn propose_totp(&self, user_id: &str, secret: &[u8]) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO totp (user_id, secret) VALUES (?, ?)
             ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret WHERE confirmed_at IS NULL",
        )
        .bind(user_id)
        .bind(secret)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Confirms a secret by the code of a step; whether it was this one and not confirmed before.
    pub(crate) async fn confirm_totp(
        &self,
        user_id: &str,
        secret: &[u8],
        step: i64,
        codes: &[[u8; 32]],
        now: i64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        let done = sqlx::query(
            "UPDATE totp SET confirmed_at = ?, last_step = ? WHERE user_id = ? AND secret = ? AND confirmed_at IS NULL",
        )
        .bind(now)
        .bind(step)
        .bind(user_id)
        .bind(secret)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for code in codes {
            sqlx::query("INSERT INTO recovery_codes (user_id, hash) VALUES (?, ?)")
                .bind(user_id)
                .bind(code.as_slice())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Takes the code of a step; whether none of it or of a later one was taken before.
    pub(crate) async fn use_totp_step(&self, user_id: &str, step: i64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE totp SET last_step = ?1 WHERE user_id = ?2 AND last_step < ?1")
            .bind(step)
            .bind(user_id)
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes a recovery code; whether there was one.
    pub(crate) async fn use_recovery_code(&self, user_id: &str, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM recovery_codes WHERE user_id = ? AND hash = ?")
            .bind(user_id)
            .bind(hash.as_slice())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes codes off a user; whether there were any.
    pub(crate) async fn delete_totp(&self, user_id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM totp WHERE user_id = ?")
            .bind(user_id)
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Keeps the token of a session; the ids of the user's oldest sessions, which end because there are too many.
    pub(crate) async fn add_session(
        &self,
        new: &NewApiToken<'_>,
        from_provider: Option<&ProviderSession>,
        most: u32,
    ) -> Result<Vec<String>, StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        tokens::insert(&mut tx, new).await?;
        if let Some(session) = from_provider {
            add_provider_session(&mut tx, session).await?;
        }
        let ended = sqlx::query_scalar(
            "DELETE FROM api_tokens WHERE id IN (
                 SELECT id FROM api_tokens WHERE user_id = ?1 AND kind = 'session' AND id <> ?2
                 ORDER BY created_at DESC, id LIMIT -1 OFFSET ?3)
             RETURNING id",
        )
        .bind(new.user_id)
        .bind(&new.token.id)
        .bind(most.saturating_sub(1))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Forgets the sessions of a user but one; their ids.
    pub(crate) async fn delete_sessions(
        &self,
        user_id: &str,
        but: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let ended = sqlx::query_scalar(
            "DELETE FROM api_tokens WHERE user_id = ? AND kind = 'session' AND id IS NOT ? RETURNING id",
        )
        .bind(user_id)
        .bind(but)
        .fetch_all(&self.writer)
        .await?;
        Ok(ended)
    }

    /// Whether a user comes from a provider.
    pub(crate) async fn is_external(&self, user_id: &str) -> Result<bool, StoreError> {
        let known: i64 = sqlx::query_scalar("SELECT count(*) FROM external_identities WHERE user_id = ?")
            .bind(user_id)
            .fetch_one(&self.readers)
            .await?;
        Ok(known > 0)
    }

    /// The user whom a provider knows by this subject.
    pub(crate) async fn external_user(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<String>, StoreError> {
        let mut connection = self.writer.acquire().await?;
        external_user(&mut connection, issuer, subject).await
    }

    /// A session of a provider, by its token.
    pub(crate) async fn provider_session(
        &self,
        token_id: &str,
    ) -> Result<Option<ProviderSession>, StoreError> {
        let row = sqlx::query_as("SELECT * FROM provider_sessions WHERE token_id = ?")
            .bind(token_id)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row)
    }

    /// Sessions of a provider that a logout there ends: those with that name, or all of the person if it names none. Of a session whose name
    /// the provider never told, only the person is known.
    pub(crate) async fn sessions_of(
        &self,
        issuer: &str,
        subject: Option<&str>,
        session: Option<&str>,
    ) -> Result<Vec<ProviderSession>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT * FROM provider_sessions
             WHERE issuer = ?1 AND (?2 IS NULL OR subject = ?2)
               AND (?3 IS NULL OR session = ?3 OR (session IS NULL AND ?2 IS NOT NULL))",
        )
        .bind(issuer)
        .bind(subject)
        .bind(session)
        .fetch_all(&self.writer)
        .await?;
        Ok(rows)
    }

    /// Sessions that can be asked about and were not since `before`, those that waited longest first.
    pub(crate) async fn sessions_to_check(
        &self,
        before: i64,
        now: i64,
        limit: u32,
    ) -> Result<Vec<ProviderSession>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT s.* FROM provider_sessions s JOIN api_tokens t ON t.id = s.token_id
             WHERE s.refresh_token IS NOT NULL AND s.checked_at <= ? AND t.expires_at > ?
             ORDER BY s.checked_at LIMIT ?",
        )
        .bind(before)
        .bind(now)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows)
    }

    /// A session was asked about; `refresh_token` if there is a new one.
    pub(crate) async fn session_checked(
        &self,
        token_id: &str,
        refresh_token: Option<&[u8]>,
        now: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE provider_sessions SET checked_at = ?, refresh_token = coalesce(?, refresh_token) WHERE token_id = ?",
        )
        .bind(now)
        .bind(refresh_token)
        .bind(token_id)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

impl PeopleTx {
    /// The user whom a provider knows by this subject.
    pub(crate) async fn external_user(
        &mut self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<String>, StoreError> {
        external_user(&mut self.0, issuer, subject).await
    }

    /// Says by which subject a provider knows a user.
    pub(crate) async fn add_external_identity(
        &mut self,
        issuer: &str,
        subject: &str,
        user_id: &str,
        now: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO external_identities (issuer, subject, user_id, created_at) VALUES (?, ?, ?, ?)",
        )
        .bind(issuer)
        .bind(subject)
        .bind(user_id)
        .bind(now)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Takes away every way to log in with a password.
    pub(crate) async fn delete_credentials(&mut self, user_id: &str) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM passwords WHERE user_id = ?",
            "DELETE FROM totp WHERE user_id = ?",
        ] {
            sqlx::query(sql).bind(user_id).execute(&mut *self.0).await?;
        }
        Ok(())
    }
}

async fn external_user(
    connection: &mut SqliteConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<String>, StoreError> {
    let id = sqlx::query_scalar("SELECT user_id FROM external_identities WHERE issuer = ? AND subject = ?")
        .bind(issuer)
        .bind(subject)
        .fetch_optional(connection)
        .await?;
    Ok(id)
}

async fn add_provider_session(
    connection: &mut SqliteConnection,
    new: &ProviderSession,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO provider_sessions (token_id, user_id, issuer, subject, session, refresh_token, checked_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.token_id)
    .bind(&new.user_id)
    .bind(&new.issuer)
    .bind(&new.subject)
    .bind(&new.session)
    .bind(&new.refresh_token)
    .bind(new.checked_at)
    .execute(connection)
    .await?;
    Ok(())
}
