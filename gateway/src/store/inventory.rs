//! The clusters' inventories.
//!
//! Two tables: a narrow one with the columns that queries filter and sort by, and one with the records as JSON, which a page reads
//! for its own rows only. Statements are what SQLite and PostgreSQL have in common, but for the tables' clauses.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use kantaloupe_gpu::inventory::Kind;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

pub(crate) use self::read::{Column, Item, Narrowed, Page, Query, Sort, SortBy, Test, is_of_namespace};
pub(super) use self::write::delete_all;

/// All kinds, in the order of [`Kind`].
pub(crate) const KINDS: [Kind; 9] = [
    Kind::Cluster,
    Kind::Node,
    Kind::Gpu,
    Kind::Allocation,
    Kind::Workload,
    Kind::Finding,
    Kind::GpuUsage,
    Kind::ContainerUsage,
    Kind::Check,
];

/// The number of a kind in the tables; the same as in the agents' messages.
pub(crate) const fn number(kind: Kind) -> i64 {
    match kind {
        Kind::Cluster => 1,
        Kind::Node => 2,
        Kind::Gpu => 3,
        Kind::Allocation => 4,
        Kind::Workload => 5,
        Kind::Finding => 6,
        Kind::GpuUsage => 7,
        Kind::ContainerUsage => 8,
        Kind::Check => 9,
    }
}

/// The kind of a number.
pub(crate) fn kind(number: i64) -> Option<Kind> {
    KINDS.into_iter().find(|kind| self::number(*kind) == number)
}

/// The columns of a record; see the migration for their meaning.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facets {
    pub(crate) node: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) vendor: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) severity: Option<i64>,
    pub(crate) code: Option<String>,
    pub(crate) workload: Option<String>,
    pub(crate) gpu: Option<String>,
    pub(crate) healthy: Option<bool>,
    pub(crate) cordoned: Option<bool>,
    pub(crate) stale: Option<bool>,
    pub(crate) held: Option<bool>,
    pub(crate) memory: Option<i64>,
    pub(crate) memory_used: Option<i64>,
    pub(crate) cores: Option<i64>,
    pub(crate) cores_used: Option<i64>,
    pub(crate) slots: Option<i64>,
    pub(crate) slots_used: Option<i64>,
    pub(crate) pods: Option<i64>,
    pub(crate) utilization: Option<f64>,
    pub(crate) since: Option<i64>,
    pub(crate) usage_id: Option<String>,
    pub(crate) search: String,
}

/// A record to be kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// One JSON object without line breaks.
    pub(crate) value: Arc<str>,
    pub(crate) facets: Facets,
}

/// The key of a record within its cluster.
pub(crate) type Key = (Kind, String);

/// A record that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) key: Key,
    pub(crate) namespace: Option<String>,
}

/// A part of a change of one cluster's inventory.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) cluster_id: Arc<str>,
    pub(crate) epoch: String,
    pub(crate) revision: i64,
    /// It starts a snapshot.
    pub(crate) snapshot: bool,
    /// It ends a change: the state is complete.
    pub(crate) complete: bool,
    /// Each key at most once.
    pub(crate) rows: Vec<Row>,
    pub(crate) removals: Vec<Key>,
    pub(crate) now: i64,
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is stored.
    Done {
        /// Rows that are new or differ from what was there.
        changed: Vec<Key>,
        /// Records that were there and are gone.
        removed: Vec<Gone>,
    },
    /// There is no such cluster any more; nothing was stored.
    NoCluster,
}

/// How far a cluster's inventory is.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct InventoryRow {
    pub(crate) cluster_id: String,
    pub(crate) epoch: String,
    pub(crate) revision: i64,
    pub(crate) partial: i64,
    pub(crate) updated_at: i64,
    pub(crate) seen_at: i64,
    /// The cluster's own record.
    pub(crate) cluster: Option<String>,
}

/// Where a page ended; the next one starts after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Sort that it belongs to.
    #[serde(rename = "s")]
    pub(crate) sort: String,
    /// Value of a text that is sorted by.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Bits of a number that is sorted by, so that none is lost in its text form.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(crate) bits: Option<u64>,
    #[serde(rename = "c")]
    pub(crate) cluster_id: String,
    #[serde(rename = "i")]
    pub(crate) id: String,
}

impl Store {
    /// How far all inventories are.
    pub(crate) async fn inventories(&self) -> Result<Vec<InventoryRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT i.cluster_id, i.epoch, i.revision, i.partial, i.updated_at, i.seen_at, v.value AS cluster FROM inventories i
             LEFT JOIN inventory_values v ON v.kind = ? AND v.cluster_id = i.cluster_id AND v.id = 'cluster'",
        )
        .bind(number(Kind::Cluster))
        .fetch_all(&self.readers)
        .await?;
        Ok(rows)
    }
}
