//! Enrolment tokens and the agents' keys.

use kantaloupe_proto::token::Token;
use sqlx::SqliteConnection;

use super::{BEGIN_WRITE, Store, StoreError};

/// An enrolment token to be kept.
#[derive(Debug)]
pub(crate) struct NewEnrollmentToken<'a> {
    pub(crate) token: &'a Token,
    pub(crate) now: i64,
    pub(crate) expires_at: i64,
}

/// An agent that asks to be enrolled.
#[derive(Debug)]
pub(crate) struct Enrollment<'a> {
    pub(crate) token: &'a Token,
    pub(crate) public_key: &'a [u8; 32],
    pub(crate) cluster_uid: &'a str,
    /// Id that the key gets, if it gets one.
    pub(crate) key_id: &'a str,
    pub(crate) now: i64,
}

/// The binding of a key to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enrolled {
    pub(crate) cluster_id: String,
    pub(crate) cluster_name: String,
    pub(crate) key_id: String,
    /// False when this repeats an enrolment whose answer was lost.
    pub(crate) fresh: bool,
}

/// Why an agent was not enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnrollRefusal {
    /// No such token, or another secret. Both look the same from outside.
    Unknown,
    /// Its time was over at this Unix second.
    Expired { at: i64 },
    /// Used, by another key.
    Used,
    /// The cluster's agent runs in another Kubernetes cluster.
    OtherCluster { enrolled_uid: String },
    /// Used by this very key, which was revoked since.
    Revoked,
}

/// A key as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentKey {
    pub(crate) cluster_id: String,
    pub(crate) public_key: [u8; 32],
    pub(crate) cluster_uid: String,
    pub(crate) revoked: bool,
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    cluster_id: String,
    cluster_name: String,
    secret_hash: Vec<u8>,
    expires_at: i64,
    used_by_key: Option<String>,
}

impl Store {
    /// Makes a new enrolment token; those that were made before and not used end.
    pub(crate) async fn replace_enrollment_token(
        &self,
        cluster_id: &str,
        new: &NewEnrollmentToken<'_>,
    ) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        expire_tokens(&mut tx, cluster_id, new.now).await?;
        insert_token(&mut tx, cluster_id, new).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Binds a key to the token's cluster. A repeat with the same key gets the same answer, whenever it comes.
    ///
    /// A new key replaces the cluster's earlier ones: their Secret is gone or in the wrong hands.
    pub(crate) async fn enroll(
        &self,
        agent: &Enrollment<'_>,
    ) -> Result<Result<Enrolled, EnrollRefusal>, StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        let found: Option<TokenRow> = sqlx::query_as(
            "SELECT t.cluster_id, c.name AS cluster_name, t.secret_hash, t.expires_at, t.used_by_key
             FROM enrollment_tokens t JOIN clusters c ON c.id = t.cluster_id WHERE t.id = ?",
        )
        .bind(&agent.token.id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = found.filter(|row| agent.token.matches_hash(&row.secret_hash)) else {
            return Ok(Err(EnrollRefusal::Unknown));
        };
        if let Some(key_id) = row.used_by_key {
            let key = key(&mut tx, &key_id).await?;
            return Ok(match key {
                Some(key) if key.public_key != *agent.public_key => Err(EnrollRefusal::Used),
                Some(key) if key.revoked => Err(EnrollRefusal::Revoked),
                Some(key) if key.cluster_uid != agent.cluster_uid => Err(EnrollRefusal::OtherCluster {
                    enrolled_uid: key.cluster_uid,
                }),
                Some(_) => Ok(Enrolled {
                    cluster_id: row.cluster_id,
                    cluster_name: row.cluster_name,
                    key_id,
                    fresh: false,
                }),
                None => Err(EnrollRefusal::Used),
            });
        }
        if row.expires_at <= agent.now {
            return Ok(Err(EnrollRefusal::Expired { at: row.expires_at }));
        }
        let bound: Option<String> = sqlx::query_scalar(
            "SELECT cluster_uid FROM agent_keys WHERE cluster_id = ? AND revoked_at IS NULL AND cluster_uid <> ?",
        )
        .bind(&row.cluster_id)
        .bind(agent.cluster_uid)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(enrolled_uid) = bound {
            return Ok(Err(EnrollRefusal::OtherCluster { enrolled_uid }));
        }
        revoke_keys(&mut tx, &row.cluster_id, agent.now).await?;
        sqlx::query(
            "INSERT INTO agent_keys (id, cluster_id, public_key, cluster_uid, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(agent.key_id)
        .bind(&row.cluster_id)
        .bind(agent.public_key.as_slice())
        .bind(agent.cluster_uid)
        .bind(agent.now)
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE enrollment_tokens SET used_by_key = ? WHERE id = ?")
            .bind(agent.key_id)
            .bind(&agent.token.id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE clusters SET revoked_at = NULL WHERE id = ?")
            .bind(&row.cluster_id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Ok(Enrolled {
            cluster_id: row.cluster_id,
            cluster_name: row.cluster_name,
            key_id: agent.key_id.to_owned(),
            fresh: true,
        }))
    }

    /// A key by its id.
    pub(crate) async fn agent_key(&self, id: &str) -> Result<Option<AgentKey>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        key(&mut connection, id).await
    }
}

async fn key(connection: &mut SqliteConnection, id: &str) -> Result<Option<AgentKey>, StoreError> {
    let row: Option<(String, Vec<u8>, String, Option<i64>)> =
        sqlx::query_as("SELECT cluster_id, public_key, cluster_uid, revoked_at FROM agent_keys WHERE id = ?")
            .bind(id)
            .fetch_optional(connection)
            .await?;
    Ok(
        row.map(|(cluster_id, public_key, cluster_uid, revoked_at)| AgentKey {
            cluster_id,
            public_key: public_key.try_into().expect("the table checks the length"),
            cluster_uid,
            revoked: revoked_at.is_some(),
        }),
    )
}

pub(super) async fn insert_token(
    connection: &mut SqliteConnection,
    cluster_id: &str,
    new: &NewEnrollmentToken<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO enrollment_tokens (id, cluster_id, secret_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&new.token.id)
    .bind(cluster_id)
    .bind(new.token.secret_hash().as_slice())
    .bind(new.now)
    .bind(new.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn expire_tokens(
    connection: &mut SqliteConnection,
    cluster_id: &str,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE enrollment_tokens SET expires_at = min(expires_at, ?) WHERE cluster_id = ? AND used_by_key IS NULL",
    )
    .bind(now)
    .bind(cluster_id)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn revoke_keys(
    connection: &mut SqliteConnection,
    cluster_id: &str,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE agent_keys SET revoked_at = ? WHERE cluster_id = ? AND revoked_at IS NULL")
        .bind(now)
        .bind(cluster_id)
        .execute(connection)
        .await?;
    Ok(())
}
