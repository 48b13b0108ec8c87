//! Changes on their way to listeners.
//!
//! Each listener reads from a ring that all share: one that is slow misses the oldest changes and is told so. Memory is bounded by the
//! rings and not by the number of listeners.

use std::sync::Arc;

use kantaloupe_gpu::inventory::Kind;

/// Batches that a cluster's ring keeps: each is one part of at most [`super::intake::MAX_MESSAGE`], usually a few records.
pub(super) const CLUSTER_BACKLOG: usize = 16;
/// The same for the ring of all clusters.
pub(super) const FLEET_BACKLOG: usize = 64;

/// Listeners to all clusters; each may hold one rendered batch of a megabyte or two. Those to one cluster are among its streams.
pub(super) const MAX_LISTENERS: usize = 256;

/// What one commit changed of one cluster.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) cluster_id: Arc<str>,
    pub(crate) organization_id: Arc<str>,
    pub(crate) changes: Vec<Change>,
    /// How far or how old the inventory is changed.
    pub(crate) state: bool,
    /// The cluster was deleted.
    pub(crate) deleted: bool,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// That it belongs to, if it belongs to one.
    pub(crate) namespace: Option<String>,
    /// Its JSON, or `None` if it is gone.
    pub(crate) value: Option<Arc<str>>,
}
