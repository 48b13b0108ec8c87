//! What outlives the process: clusters, agents' keys, tokens and users, in one SQLite file.
//!
//! One connection writes and four read: SQLite has one writer anyway, so that waiting for it happens in order here
//! and not as "database is locked" there. Nothing on the path of a user's request reads the store; see
//! [`crate::auth`] and [`crate::directory`] for what is kept in memory.

mod clusters;
mod enrollment;
mod error;
pub(crate) mod inventory;
pub(crate) mod logins;
pub(crate) mod people;
mod tokens;

#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::files;

pub(crate) use self::{
    clusters::{ClusterRow, Connection, NewCluster},
    enrollment::{EnrollRefusal, Enrolled, Enrollment, NewEnrollmentToken},
    error::StoreError,
    people::DEFAULT_ORGANIZATION,
    tokens::{ApiToken, ApiTokenInfo, ApiTokenKind, NewApiToken},
};

/// File in the data folder.
const FILE: &str = "gateway.db";

/// Another process (a backup, `sqlite3`) may hold the file for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the writing connection: transactions take milliseconds, so this long means a stuck disk.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Kibibytes, as SQLite wants it with this sign. The records of a large cluster come in no order that an index has: pages that do not
/// stay in memory until the end of a transaction are written and read several times.
const WRITER_CACHE: &str = "-16384";

/// Pages of 4 KiB in the write-ahead log before they are put into their places. Pages that many transactions change are then moved
/// once for several of them.
const CHECKPOINT: &str = "4000";

/// Reads come from the API and from agents that connect; they take microseconds.
const READERS: u32 = 4;

/// Starts a transaction that reads before it writes: taking the write lock at once means it can never fail half way.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

const AUDIENCE: &str = "audience";

/// The store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens the database in `data_dir`, making it and bringing it up to date if needed.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let file = data_dir.join(FILE);
        // SQLite gives its other files the permissions of this one; hashes of secrets are nobody else's business.
        files::ensure_private(&file).map_err(|error| StoreError::Unusable(error.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL and not NORMAL: an agent that was told "enrolled" must find its key after a power cut, because its
            // token is spent. There are few writes, so the extra fsync does not show.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            // A statement of many rows keeps what it changes until it has succeeded; larger than 64 KiB that goes to a file otherwise.
            .pragma("temp_store", "memory");
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                // A local file does not go away; reopening would only cost.
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writing = options
            .clone()
            .pragma("cache_size", WRITER_CACHE)
            .pragma("wal_autocheckpoint", CHECKPOINT);
        let writer = pool(1).connect_with(writing).await?;
        sqlx::migrate!().run(&writer).await?;
        let readers = pool(READERS)
            .connect_with(options.create_if_missing(false).read_only(true))
            .await?;
        Ok(Self { writer, readers })
    }

    /// Whether a folder holds a database.
    pub(crate) fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE).is_file()
    }

    /// Finishes what is running and closes the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// This gateway's name in assertions, made at first start.
    pub(crate) async fn audience(&self) -> Result<String, StoreError> {
        let candidate = uuid::Uuid::new_v4().to_string();
        sqlx::query("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING")
            .bind(AUDIENCE)
            .bind(candidate)
            .execute(&self.writer)
            .await?;
        let value = sqlx::query_scalar("SELECT value FROM settings WHERE key = ?")
            .bind(AUDIENCE)
            .fetch_one(&self.writer)
            .await?;
        Ok(value)
    }

    /// Lets every further write fail, while reading goes on; `false` lets all pass again.
    #[cfg(test)]
    pub(crate) async fn fail_writes(&self, fail: bool) {
        let pragma = format!("PRAGMA query_only = {}", u8::from(fail));
        sqlx::query(sqlx::AssertSqlSafe(pragma))
            .execute(&self.writer)
            .await
            .unwrap();
    }

    /// Lets every further write that needs a new page fail as on a full disk.
    #[cfg(test)]
    pub(crate) async fn simulate_full_disk(&self) {
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&self.writer)
            .await
            .unwrap();
        let pragma = format!("PRAGMA max_page_count = {pages}");
        sqlx::query(sqlx::AssertSqlSafe(pragma))
            .fetch_all(&self.writer)
            .await
            .unwrap();
    }
}
