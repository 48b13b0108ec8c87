//! Clusters and what is remembered of their connections.

use std::sync::Arc;

use super::{BEGIN_WRITE, NewEnrollmentToken, Store, StoreError, enrollment, inventory};

/// A cluster to be made, with the token that enrols its agent.
#[derive(Debug)]
pub(crate) struct NewCluster<'a> {
    pub(crate) id: &'a str,
    pub(crate) organization_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) display_name: &'a str,
    pub(crate) profile: &'a str,
    pub(crate) now: i64,
    pub(crate) enrollment: NewEnrollmentToken<'a>,
}

/// A cluster as kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ClusterRow {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) profile: String,
    pub(crate) created_at: i64,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) connected: bool,
    pub(crate) last_seen: Option<i64>,
    /// JSON; see [`crate::directory::AgentInfo`].
    pub(crate) agent: Option<String>,
    /// When the key that is good now was enrolled.
    pub(crate) enrolled_at: Option<i64>,
}

/// What is remembered of a cluster's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) cluster_id: Arc<str>,
    pub(crate) connected: bool,
    pub(crate) last_seen: Option<i64>,
    pub(crate) agent: Option<String>,
}

impl Store {
    /// All clusters, by name.
    pub(crate) async fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT id, organization_id, name, display_name, profile, created_at, revoked_at, connected, last_seen, agent,
                    (SELECT max(k.created_at) FROM agent_keys k
                     WHERE k.cluster_id = clusters.id AND k.revoked_at IS NULL) AS enrolled_at
             FROM clusters ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(rows)
    }

    /// Makes a cluster and its first enrolment token, both or neither.
    pub(crate) async fn create_cluster(&self, new: &NewCluster<'_>) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        let inserted = sqlx::query(
            "INSERT INTO clusters (id, organization_id, name, display_name, profile, created_at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (organization_id, name) DO NOTHING",
        )
        .bind(new.id)
        .bind(new.organization_id)
        .bind(new.name)
        .bind(new.display_name)
        .bind(new.profile)
        .bind(new.now)
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::NameTaken);
        }
        enrollment::insert_token(&mut tx, new.id, &new.enrollment).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a cluster and refuses its agents for good; whether there was one.
    pub(crate) async fn delete_cluster(&self, id: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        enrollment::revoke_keys(&mut tx, id, now).await?;
        inventory::delete_all(&mut tx, id).await?;
        let done = sqlx::query("DELETE FROM clusters WHERE id = ?")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Refuses a cluster's agents and open enrolment tokens from now on; whether there is such a cluster.
    pub(crate) async fn revoke_cluster(&self, id: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        let done = sqlx::query(
            "UPDATE clusters SET revoked_at = coalesce(revoked_at, ?), connected = 0 WHERE id = ?",
        )
        .bind(now)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        enrollment::revoke_keys(&mut tx, id, now).await?;
        enrollment::expire_tokens(&mut tx, id, now).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Remembers the connections of these clusters, all in one transaction: after a restart of the gateway thousands
    /// of agents come back within seconds.
    pub(crate) async fn save_connections(&self, connections: &[Connection]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        for connection in connections {
            sqlx::query(
                "UPDATE clusters SET connected = ?, last_seen = coalesce(?, last_seen), agent = coalesce(?, agent)
                 WHERE id = ?",
            )
            .bind(connection.connected)
            .bind(connection.last_seen)
            .bind(&connection.agent)
            .bind(&*connection.cluster_id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Moves `last_seen` of every connected cluster to `now`, in one statement.
    pub(crate) async fn touch_connected(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE clusters SET last_seen = ? WHERE connected = 1")
            .bind(now)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
