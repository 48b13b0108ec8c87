//! Writing: several updates in one transaction, several rows in one statement.

use kantaloupe_gpu::inventory::Kind;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::{Applied, Gone, KINDS, Key, Row, Update, kind, number};
use crate::store::{BEGIN_WRITE, Store, StoreError};

/// Rows of one statement. A few fixed numbers, so that prepared statements are found again; the largest stays far
/// below SQLite's limit of parameters.
const CHUNKS: [usize; 3] = [64, 8, 1];

/// What `partial` says.
const COMPLETE: i64 = 0;
const IN_SNAPSHOT: i64 = 1;
const IN_CHANGE: i64 = 2;

const COLUMNS: &str = "kind, cluster_id, id, generation, size, node, namespace, name, vendor, model, mode, state, severity, code, \
     workload, gpu, healthy, cordoned, stale, held, memory, memory_used, cores, cores_used, slots, slots_used, pods, utilization, \
     since, usage_id, search";

const ON_CONFLICT: &str = " ON CONFLICT (kind, cluster_id, id) DO UPDATE SET generation = excluded.generation, size = excluded.size, \
     node = excluded.node, namespace = excluded.namespace, name = excluded.name, vendor = excluded.vendor, model = excluded.model, \
     mode = excluded.mode, state = excluded.state, severity = excluded.severity, code = excluded.code, workload = excluded.workload, \
     gpu = excluded.gpu, healthy = excluded.healthy, cordoned = excluded.cordoned, stale = excluded.stale, held = excluded.held, \
     memory = excluded.memory, memory_used = excluded.memory_used, cores = excluded.cores, cores_used = excluded.cores_used, \
     slots = excluded.slots, slots_used = excluded.slots_used, pods = excluded.pods, utilization = excluded.utilization, \
     since = excluded.since, usage_id = excluded.usage_id, search = excluded.search";

impl Store {
    /// Applies updates, all in one transaction. After an error nothing of them is stored.
    pub(crate) async fn apply_inventory(&self, updates: &[Update]) -> Result<Vec<Applied>, StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        let mut applied = Vec::with_capacity(updates.len());
        for update in updates {
            applied.push(apply(&mut tx, update).await?);
        }
        tx.commit().await?;
        Ok(applied)
    }

    /// Remembers until when inventories were known to be true.
    pub(crate) async fn inventories_seen(&self, seen: &[(String, i64)]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with(BEGIN_WRITE).await?;
        for (cluster_id, at) in seen {
            sqlx::query("UPDATE inventories SET seen_at = ? WHERE cluster_id = ? AND seen_at < ?")
                .bind(at)
                .bind(cluster_id)
                .bind(at)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Deletes all records of a cluster; its row in `inventories` goes with the cluster.
pub(in crate::store) async fn delete_all(
    connection: &mut SqliteConnection,
    cluster_id: &str,
) -> Result<(), StoreError> {
    for kind in KINDS {
        for sql in [
            "DELETE FROM inventory_values WHERE kind = ? AND cluster_id = ?",
            "DELETE FROM inventory_records WHERE kind = ? AND cluster_id = ?",
        ] {
            sqlx::query(sql)
                .bind(number(kind))
                .bind(cluster_id)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

async fn apply(connection: &mut SqliteConnection, update: &Update) -> Result<Applied, StoreError> {
    let Some((mut generation, mut partial)) = progress(connection, &update.cluster_id).await? else {
        return Ok(Applied::NoCluster);
    };
    if update.snapshot {
        generation += 1;
        partial = IN_SNAPSHOT;
    } else if !update.complete && partial == COMPLETE {
        partial = IN_CHANGE;
    }
    let changed = upsert(connection, update, generation).await?;
    let mut removed = remove(connection, &update.cluster_id, &update.removals).await?;
    if update.complete {
        if partial == IN_SNAPSHOT {
            removed.extend(sweep(connection, &update.cluster_id, generation).await?);
        }
        sqlx::query(
            "UPDATE inventories SET epoch = ?, revision = ?, generation = ?, partial = ?, updated_at = ?, seen_at = ?
             WHERE cluster_id = ?",
        )
        .bind(&update.epoch)
        .bind(update.revision)
        .bind(generation)
        .bind(COMPLETE)
        .bind(update.now)
        .bind(update.now)
    } else {
        sqlx::query("UPDATE inventories SET generation = ?, partial = ? WHERE cluster_id = ?")
            .bind(generation)
            .bind(partial)
    }
    .bind(&*update.cluster_id)
    .execute(connection)
    .await?;
    Ok(Applied::Done { changed, removed })
}

/// Generation and `partial` of an inventory, which is made if the cluster has none; `None` if there is no such cluster.
async fn progress(
    connection: &mut SqliteConnection,
    cluster_id: &str,
) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = "SELECT generation, partial FROM inventories WHERE cluster_id = ?";
    let found = sqlx::query_as(sql)
        .bind(cluster_id)
        .fetch_optional(&mut *connection)
        .await?;
    if found.is_some() {
        return Ok(found);
    }
    let made = sqlx::query(
        "INSERT INTO inventories (cluster_id, epoch, revision, generation, partial, updated_at, seen_at)
         SELECT id, '', 0, 0, ?, 0, 0 FROM clusters WHERE id = ?",
    )
    .bind(IN_SNAPSHOT)
    .bind(cluster_id)
    .execute(connection)
    .await?;
    Ok((made.rows_affected() > 0).then_some((0, IN_SNAPSHOT)))
}

/// Cuts a list into pieces of the sizes in [`CHUNKS`].
fn chunks<T>(mut list: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= list.len())?;
        let (chunk, rest) = list.split_at(size);
        list = rest;
        Some(chunk)
    })
}

/// Writes the rows; the keys of those that are new or differ.
async fn upsert(
    connection: &mut SqliteConnection,
    update: &Update,
    generation: i64,
) -> Result<Vec<Key>, StoreError> {
    let mut changed = Vec::new();
    for rows in chunks(&update.rows) {
        let mut sql =
            QueryBuilder::<Sqlite>::new("INSERT INTO inventory_values (kind, cluster_id, id, value) ");
        sql.push_values(rows, |mut tuple, row| {
            tuple
                .push_bind(number(row.kind))
                .push_bind(&*update.cluster_id)
                .push_bind(&row.id)
                .push_bind(&*row.value);
        });
        sql.push(
            " ON CONFLICT (kind, cluster_id, id) DO UPDATE SET value = excluded.value
             WHERE inventory_values.value <> excluded.value RETURNING kind, id",
        );
        changed.extend(keys(&sql.build().fetch_all(&mut *connection).await?));
        let mut sql = QueryBuilder::<Sqlite>::new("INSERT INTO inventory_records (");
        sql.push(COLUMNS).push(") ");
        sql.push_values(rows, |tuple, row| {
            bind(tuple, row, &update.cluster_id, generation);
        });
        sql.push(ON_CONFLICT);
        sql.build().execute(&mut *connection).await?;
    }
    Ok(changed)
}

/// Binds a row in the order of [`COLUMNS`].
fn bind(
    mut tuple: sqlx::query_builder::Separated<'_, Sqlite, &'static str>,
    row: &Row,
    cluster_id: &str,
    generation: i64,
) {
    let f = &row.facets;
    tuple
        .push_bind(number(row.kind))
        .push_bind(cluster_id)
        .push_bind(&row.id)
        .push_bind(generation)
        .push_bind(i64::try_from(row.value.len()).unwrap_or(i64::MAX));
    for text in [
        &f.node,
        &f.namespace,
        &f.name,
        &f.vendor,
        &f.model,
        &f.mode,
        &f.state,
    ] {
        tuple.push_bind(text);
    }
    tuple.push_bind(f.severity);
    for text in [&f.code, &f.workload, &f.gpu] {
        tuple.push_bind(text);
    }
    for flag in [f.healthy, f.cordoned, f.stale, f.held] {
        tuple.push_bind(flag);
    }
    for figure in [
        f.memory,
        f.memory_used,
        f.cores,
        f.cores_used,
        f.slots,
        f.slots_used,
        f.pods,
    ] {
        tuple.push_bind(figure);
    }
    tuple
        .push_bind(f.utilization)
        .push_bind(f.since)
        .push_bind(&f.usage_id)
        .push_bind(&f.search);
}

/// Deletes records by key; those that were there.
async fn remove(
    connection: &mut SqliteConnection,
    cluster_id: &str,
    removals: &[Key],
) -> Result<Vec<Gone>, StoreError> {
    let mut removed = Vec::new();
    for kind in KINDS {
        let ids: Vec<&str> = removals
            .iter()
            .filter(|(of, _)| *of == kind)
            .map(|(_, id)| id.as_str())
            .collect();
        for ids in chunks(&ids) {
            for (table, returning) in [
                ("inventory_values", ""),
                ("inventory_records", " RETURNING kind, id, namespace"),
            ] {
                let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM ");
                sql.push(table).push(" WHERE kind = ").push_bind(number(kind));
                sql.push(" AND cluster_id = ").push_bind(cluster_id);
                sql.push(" AND id IN (");
                let mut list = sql.separated(", ");
                for id in ids {
                    list.push_bind(*id);
                }
                sql.push(")").push(returning);
                removed.extend(gone(&sql.build().fetch_all(&mut *connection).await?));
            }
        }
    }
    Ok(removed)
}

/// Deletes what the snapshot that is complete now did not name.
async fn sweep(
    connection: &mut SqliteConnection,
    cluster_id: &str,
    generation: i64,
) -> Result<Vec<Gone>, StoreError> {
    let mut removed = Vec::new();
    for kind in KINDS {
        sqlx::query(
            "DELETE FROM inventory_values WHERE kind = ? AND cluster_id = ? AND id IN
             (SELECT id FROM inventory_records WHERE kind = ? AND cluster_id = ? AND generation <> ?)",
        )
        .bind(number(kind))
        .bind(cluster_id)
        .bind(number(kind))
        .bind(cluster_id)
        .bind(generation)
        .execute(&mut *connection)
        .await?;
        let rows = sqlx::query(
            "DELETE FROM inventory_records WHERE kind = ? AND cluster_id = ? AND generation <> ?
             RETURNING kind, id, namespace",
        )
        .bind(number(kind))
        .bind(cluster_id)
        .bind(generation)
        .fetch_all(&mut *connection)
        .await?;
        removed.extend(gone(&rows));
    }
    Ok(removed)
}

/// The keys of rows of `RETURNING kind, id`.
fn keys(rows: &[sqlx::sqlite::SqliteRow]) -> Vec<Key> {
    rows.iter()
        .filter_map(|row| {
            let kind: Kind = kind(row.get(0))?;
            Some((kind, row.get(1)))
        })
        .collect()
}

/// The records of rows of `RETURNING kind, id, namespace`.
fn gone(rows: &[sqlx::sqlite::SqliteRow]) -> Vec<Gone> {
    rows.iter()
        .filter_map(|row| {
            Some(Gone {
                key: (kind(row.get(0))?, row.get(1)),
                namespace: row.get(2),
            })
        })
        .collect()
}
