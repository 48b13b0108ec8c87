//! The audit's database: what the journal held, with indexes to query it by. One SQLite file beside the store's.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use sqlx::{
    QueryBuilder, Row as _, Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{chain::Head, entry::Hash};
use crate::{files, store::StoreError};

/// File in the data folder.
pub(crate) const FILE: &str = "audit.db";
/// Another process (a backup, `audit verify`) may hold the file for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the writing connection, which only the ingesting task uses.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Queries and exports at once; each reads a page and lets go.
const READERS: u32 = 2;
/// Rows of one statement: SQLite compiles it once and takes some ten microseconds per statement.
const ROWS: usize = 100;

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct AuditStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// Which entries, and how many. Texts are compared as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Only of this organisation; `None` is all of them, and what belongs to none.
    pub(crate) organization: Option<String>,
    /// Also what belongs to none.
    pub(crate) unowned: bool,
    /// From this time on, and before that one, as entries write it.
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) verb: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) phase: Option<String>,
    pub(crate) id: Option<String>,
    /// Only what says how a recording has ended.
    pub(crate) recordings: bool,
}

/// Where a page begins, and in which direction it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The oldest entries after this number first.
    After(u64),
    /// The newest entries before this number first.
    Before(u64),
}

impl AuditStore {
    /// Opens the database in `data_dir`, making it and bringing it up to date if needed.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let file = data_dir.join(FILE);
        files::ensure_private(&file).map_err(|error| StoreError::Unusable(error.into()))?;
        let options = options(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a batch's segment is deleted once it is committed, so it has to be on the disk by then.
            .synchronous(SqliteSynchronous::Full);
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::migrate!("./audit-migrations").run(&writer).await?;
        let readers = pool(READERS)
            .connect_with(options.create_if_missing(false).read_only(true))
            .await?;
        Ok(Self { writer, readers })
    }

    /// Opens an existing database without writing to it, also beside a running gateway.
    pub(crate) async fn read_only(data_dir: &Path) -> Result<Self, StoreError> {
        let readers = pool(1)
            .connect_with(options(&data_dir.join(FILE)).read_only(true))
            .await?;
        Ok(Self {
            writer: readers.clone(),
            readers,
        })
    }

    /// Finishes what is running and closes the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The last entry; the anchor if there is none.
    pub(crate) async fn head(&self) -> Result<Head, StoreError> {
        let last: Option<(i64, String)> =
            sqlx::query_as("SELECT seq, entry FROM entries ORDER BY seq DESC LIMIT 1")
                .fetch_optional(&self.readers)
                .await?;
        match last.as_ref().and_then(|(seq, entry)| head_of(*seq, entry)) {
            Some(head) => Ok(head),
            None => Ok(self.anchor().await?.unwrap_or(Head::START)),
        }
    }

    /// The last entry that retention removed.
    pub(crate) async fn anchor(&self) -> Result<Option<Head>, StoreError> {
        let row: Option<(i64, String)> = sqlx::query_as("SELECT seq, hash FROM anchor")
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.and_then(|(seq, hash)| {
            Some(Head {
                seq: seq.try_into().ok()?,
                hash: hash.parse().ok()?,
            })
        }))
    }

    /// What is known of this entry: it, the anchor, or the beginning.
    pub(crate) async fn known(&self, seq: u64) -> Result<Option<Head>, StoreError> {
        if seq == 0 {
            return Ok(Some(Head::START));
        }
        let entry: Option<String> = sqlx::query_scalar("SELECT entry FROM entries WHERE seq = ?")
            .bind(sqlite(seq))
            .fetch_optional(&self.readers)
            .await?;
        if let Some(entry) = entry {
            return Ok(head_of(sqlite(seq), &entry));
        }
        Ok(self.anchor().await?.filter(|anchor| anchor.seq == seq))
    }

    /// Keeps entries in one transaction. One that is there already stays as it is.
    pub(crate) async fn insert(&self, lines: &[(u64, String)]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        for rows in lines.chunks(ROWS) {
            let mut sql = QueryBuilder::<Sqlite>::new("INSERT INTO entries (seq, entry) ");
            sql.push_values(rows, |mut row, (seq, line)| {
                row.push_bind(sqlite(*seq)).push_bind(line);
            });
            sql.push(" ON CONFLICT (seq) DO NOTHING");
            sql.build().execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// A page of entries: their numbers, and themselves as they were written.
    pub(crate) async fn page(
        &self,
        query: &Query,
        page: Page,
        limit: u32,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT seq, entry FROM entries WHERE ");
        match page {
            Page::After(seq) => sql.push("seq > ").push_bind(sqlite(seq)),
            Page::Before(seq) => sql.push("seq < ").push_bind(sqlite(seq)),
        };
        if let Some(organization) = &query.organization {
            sql.push(" AND (organization = ").push_bind(organization);
            sql.push(if query.unowned {
                " OR organization IS NULL)"
            } else {
                ")"
            });
        }
        for (condition, value) in [
            (" AND at >= ", &query.from),
            (" AND at < ", &query.to),
            (" AND user = ", &query.user),
            (" AND cluster = ", &query.cluster),
            (" AND verb = ", &query.verb),
            (" AND decision = ", &query.decision),
            (" AND phase = ", &query.phase),
            (" AND id = ", &query.id),
        ] {
            if let Some(value) = value {
                sql.push(condition).push_bind(value);
            }
        }
        if query.recordings {
            sql.push(" AND recording IS NOT NULL");
        }
        sql.push(match page {
            Page::After(_) => " ORDER BY seq LIMIT ",
            Page::Before(_) => " ORDER BY seq DESC LIMIT ",
        });
        sql.push_bind(limit);
        let rows = sql.build().fetch_all(&self.readers).await?;
        let rows = rows.iter().map(|row| {
            let seq: i64 = row.get(0);
            (u64::try_from(seq).unwrap_or_default(), row.get(1))
        });
        Ok(rows.collect())
    }

    /// The last entry before `time`, with all before it.
    pub(crate) async fn last_before(&self, time: &str) -> Result<Option<u64>, StoreError> {
        // Up to the first that is young enough: what is removed has to be one piece from the beginning.
        let first: Option<i64> = sqlx::query_scalar("SELECT min(seq) FROM entries WHERE at >= ?")
            .bind(time)
            .fetch_one(&self.readers)
            .await?;
        let last: Option<i64> = match first {
            Some(first) => {
                sqlx::query_scalar("SELECT max(seq) FROM entries WHERE seq < ?")
                    .bind(first)
                    .fetch_one(&self.readers)
                    .await?
            }
            None => {
                sqlx::query_scalar("SELECT max(seq) FROM entries")
                    .fetch_one(&self.readers)
                    .await?
            }
        };
        Ok(last.and_then(|seq| u64::try_from(seq).ok()))
    }

    /// The first entry that is there.
    pub(crate) async fn first(&self) -> Result<Option<u64>, StoreError> {
        let first: Option<i64> = sqlx::query_scalar("SELECT min(seq) FROM entries")
            .fetch_one(&self.readers)
            .await?;
        Ok(first.and_then(|seq| u64::try_from(seq).ok()))
    }

    /// The time of the first entry, if there were others before it.
    pub(crate) async fn first_after_retention(&self) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<String> = sqlx::query_scalar(
            "SELECT at FROM entries WHERE EXISTS (SELECT 1 FROM anchor) ORDER BY seq LIMIT 1",
        )
        .fetch_optional(&self.readers)
        .await?;
        Ok(at.and_then(|at| at.parse().ok()))
    }

    /// Removes every entry up to this one, which becomes the anchor; how many there were.
    pub(crate) async fn remove_through(&self, seq: u64, now: &str) -> Result<u64, StoreError> {
        let Some(anchor) = self.known(seq).await? else {
            return Ok(0);
        };
        let mut tx = self.writer.begin().await?;
        sqlx::query(
            "INSERT INTO anchor (one, seq, hash, removed_at) VALUES (1, ?, ?, ?)
             ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, removed_at = excluded.removed_at",
        )
        .bind(sqlite(anchor.seq))
        .bind(anchor.hash.to_string())
        .bind(now)
        .execute(&mut *tx)
        .await?;
        let done = sqlx::query("DELETE FROM entries WHERE seq <= ?")
            .bind(sqlite(seq))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// Bytes of the file that are in use.
    pub(crate) async fn bytes(&self) -> Result<u64, StoreError> {
        let (pages, free, size): (i64, i64, i64) = sqlx::query_as(
            "SELECT p.page_count, f.freelist_count, s.page_size
             FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(u64::try_from((pages - free) * size).unwrap_or_default())
    }

    /// Lets every further write that needs a new page fail as on a full disk; `false` lets all pass again.
    #[cfg(test)]
    pub(crate) async fn simulate_full_disk(&self, full: bool) {
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&self.writer)
            .await
            .unwrap();
        let pages = if full { pages } else { 1 << 30 };
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
            .fetch_all(&self.writer)
            .await
            .unwrap();
    }

    /// For tests that do what nobody should.
    #[cfg(test)]
    pub(crate) async fn tamper(&self, sql: String) {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&self.writer)
            .await
            .unwrap();
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// SQLite's integers have a sign; no chain gets that long.
fn sqlite(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Number and hash of an entry as written. Not checked: that is what verifying is for.
fn head_of(seq: i64, entry: &str) -> Option<Head> {
    let hash = entry.rsplit_once("\"hash\":\"")?.1.strip_suffix("\"}")?;
    Some(Head {
        seq: u64::try_from(seq).ok()?,
        hash: hash.parse::<Hash>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::tests::lines;

    pub(crate) fn rows(from: Head, count: u64) -> Vec<(u64, String)> {
        let lines = lines(from, count);
        (from.seq + 1..)
            .zip(lines)
            .map(|(seq, line)| (seq, String::from_utf8(line).unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn entries_are_kept_as_written_and_found_by_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = AuditStore::open(dir.path()).await.unwrap();
        assert_eq!(store.head().await.unwrap(), Head::START);
        let rows = rows(Head::START, 250);
        store.insert(&rows).await.unwrap();
        store.insert(&rows[..3]).await.unwrap();
        let page = store.page(&Query::default(), Page::After(10), 5).await.unwrap();
        assert_eq!(page, rows[10..15]);
        let page = store.page(&Query::default(), Page::Before(4), 5).await.unwrap();
        assert_eq!(page.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 2, 1]);
        let ask = async |query: Query| store.page(&query, Page::After(0), 1000).await.unwrap().len();
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(
            ask(Query {
                user: of("ann"),
                ..Query::default()
            })
            .await,
            250
        );
        assert_eq!(
            ask(Query {
                user: of("bob"),
                ..Query::default()
            })
            .await,
            0
        );
        assert_eq!(
            ask(Query {
                organization: of("default"),
                ..Query::default()
            })
            .await,
            0
        );
        let from = of("2026-09-21T14:13:40.000Z"); // 20 s after the first
        assert_eq!(
            ask(Query {
                from,
                ..Query::default()
            })
            .await,
            230
        );
        let head = store.head().await.unwrap();
        assert_eq!(store.known(250).await.unwrap(), Some(head));
        assert_eq!(store.known(251).await.unwrap(), None);
    }

    #[tokio::test]
    async fn retention_leaves_an_anchor_that_the_rest_follows() {
        let dir = tempfile::tempdir().unwrap();
        let store = AuditStore::open(dir.path()).await.unwrap();
        let rows = rows(Head::START, 30);
        store.insert(&rows).await.unwrap();
        let last = store.last_before("2026-09-21T14:13:40.000Z").await.unwrap();
        assert_eq!(last, Some(20));
        assert_eq!(store.remove_through(20, "now").await.unwrap(), 20);
        let mut head = store.anchor().await.unwrap().unwrap();
        for (_, line) in store.page(&Query::default(), Page::After(0), 100).await.unwrap() {
            head.follow(line.as_bytes()).unwrap();
        }
        assert_eq!(head.seq, 30);
        assert_eq!(store.remove_through(30, "now").await.unwrap(), 10);
        assert_eq!(
            store.head().await.unwrap(),
            head,
            "the anchor alone is enough to go on"
        );
    }

    #[tokio::test]
    async fn a_full_disk_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = AuditStore::open(dir.path()).await.unwrap();
        store.simulate_full_disk(true).await;
        let rows = rows(Head::START, 500);
        assert!(matches!(
            store.insert(&rows).await.unwrap_err(),
            StoreError::Full(_)
        ));
        assert_eq!(store.head().await.unwrap(), Head::START);
        store.simulate_full_disk(false).await;
        store.insert(&rows).await.unwrap();
        assert_eq!(store.head().await.unwrap().seq, 500);
    }
}
