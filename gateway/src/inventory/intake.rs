//! What an agent sends, checked: nothing of it is trusted but that it is about the agent's own cluster, which the tunnel says and
//! not the message.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use kantaloupe_gpu::inventory::{Kind, Record};
use kantaloupe_proto::pb::{InventoryKind, InventoryRecord, InventoryUpdate};

use super::facets;
use crate::{
    agents::clipped,
    store::inventory::{Key, Row},
};

/// Largest message, also after decompression: agents send at most 256 KiB and one record.
pub(super) const MAX_MESSAGE: usize = 1 << 20;
/// Longest id: namespace, pod and container names have at most 253 characters together with a device's id.
const MAX_ID: usize = 768;
/// Largest record: the largest real ones, clusters with many components, have a tenth of it.
const MAX_VALUE: usize = 64 << 10;
/// Longest epoch: a UUID or a number.
const MAX_EPOCH: usize = 64;

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rejection {
    /// A kind that this gateway does not know.
    Kind,
    /// An id that is empty, too long or has control characters.
    Id,
    /// A value that is too large.
    Size,
    /// A value that is not the JSON of its kind.
    Json,
    /// A value that names another record than its id does.
    OtherId,
    /// The cluster has too many records, or too large ones.
    Quota,
}

impl Rejection {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "unknown_kind",
            Self::Id => "bad_id",
            Self::Size => "too_large",
            Self::Json => "unparsable",
            Self::OtherId => "other_id",
            Self::Quota => "quota",
        }
    }
}

/// Why a stream is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("the agent names no epoch, or one of more than {MAX_EPOCH} characters")]
    Epoch,
    #[error("the agent sent a change where only a snapshot makes sense")]
    NoSnapshot,
    #[error("the agent's revision {0} is larger than any can be")]
    Revision(u64),
}

/// What of a message can be taken.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// Each key once.
    pub(super) rows: Vec<Row>,
    /// Each key once; among them those whose new value was not taken: no value is better than an old one that looks new.
    pub(super) removals: Vec<Key>,
    /// The ids as sent, cut.
    pub(super) rejected: Vec<(Rejection, String)>,
}

/// Follows the rules of one stream.
#[derive(Debug)]
pub(super) struct Session {
    /// Epoch of what is known; empty if nothing is.
    epoch: String,
}

impl Session {
    /// A stream that was asked for with this epoch.
    pub(super) fn new(asked: String) -> Self {
        Self { epoch: asked }
    }

    /// Checks the head of a message; its revision as the store keeps it.
    pub(super) fn check(&mut self, update: &InventoryUpdate) -> Result<i64, Violation> {
        let epoch = &update.epoch;
        if epoch.is_empty() || epoch.len() > MAX_EPOCH || epoch.chars().any(char::is_control) {
            return Err(Violation::Epoch);
        }
        if *epoch != self.epoch {
            if !update.snapshot {
                return Err(Violation::NoSnapshot);
            }
            // Another process, or the agent began anew.
            self.epoch.clone_from(epoch);
        }
        i64::try_from(update.revision).map_err(|_| Violation::Revision(update.revision))
    }
}

/// Takes the records of a message.
pub(super) fn take(update: InventoryUpdate) -> Taken {
    let mut taken = Taken::default();
    let mut at: HashMap<Key, usize> = HashMap::with_capacity(update.upserts.len());
    for record in update.upserts {
        match check_record(record) {
            Ok(row) => {
                // A key that comes twice: the later one counts.
                let key = (row.kind, row.id.clone());
                if let Some(index) = at.get(&key) {
                    taken.rows[*index] = row;
                } else {
                    at.insert(key, taken.rows.len());
                    taken.rows.push(row);
                }
            }
            Err(refused) => {
                taken.rejected.push((refused.reason, clipped(refused.id)));
                taken.removals.extend(refused.key);
            }
        }
    }
    for key in update.removals {
        match known(key.kind).filter(|_| is_id(&key.id)) {
            Some(kind) => taken.removals.push((kind, key.id)),
            None => taken.rejected.push((Rejection::Kind, clipped(key.id))),
        }
    }
    taken.removals.sort_unstable();
    taken.removals.dedup();
    // What is there in this message is not gone.
    taken.removals.retain(|key| !at.contains_key(key));
    taken
}

/// Takes a message that anybody may have made, and says what does not hold of the outcome though it always must.
pub fn probe(update: InventoryUpdate) -> Result<(), &'static str> {
    let (upserts, removals) = (update.upserts.len(), update.removals.len());
    // An error is an answer too.
    let _violation = Session::new(String::new()).check(&update);
    let taken = take(update);
    let mut keys: Vec<_> = taken.rows.iter().map(|row| (row.kind, row.id.clone())).collect();
    keys.extend(taken.removals.iter().cloned());
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() != all {
        return Err("a key counts twice");
    }
    if taken.rows.len() + taken.rejected.len() > upserts + removals {
        return Err("there is more than was sent");
    }
    for row in &taken.rows {
        let record =
            Record::from_json(row.kind, row.value.as_bytes()).map_err(|_| "a value cannot be read back")?;
        if record.id() != row.id.as_str() || !is_id(&row.id) || row.value.len() > MAX_VALUE {
            return Err("a record is kept that is not the one of its id, or too large");
        }
    }
    Ok(())
}

struct Refused {
    reason: Rejection,
    id: String,
    /// The key, if it is one.
    key: Option<Key>,
}

fn check_record(record: InventoryRecord) -> Result<Row, Refused> {
    let refused = |reason, id: String, kind: Option<Kind>| Refused {
        reason,
        key: kind.map(|kind| (kind, id.clone())),
        id,
    };
    let InventoryRecord { kind, id, value } = record;
    let Some(kind) = known(kind) else {
        return Err(refused(Rejection::Kind, id, None));
    };
    if !is_id(&id) {
        return Err(refused(Rejection::Id, id, None));
    }
    if value.len() > MAX_VALUE {
        return Err(refused(Rejection::Size, id, Some(kind)));
    }
    // serde would take a list for a record with its fields in order.
    let is_object = value.trim_ascii_start().starts_with(b"{");
    let Some(record) = Record::from_json(kind, &value).ok().filter(|_| is_object) else {
        return Err(refused(Rejection::Json, id, Some(kind)));
    };
    if record.id() != Cow::Borrowed(id.as_str()) {
        return Err(refused(Rejection::OtherId, id, Some(kind)));
    }
    // Written anew: what is kept and handed on has the form that is documented, whatever the agent's had.
    let value: Arc<str> = match serde_json::to_string(&record) {
        Ok(value) if value.len() <= MAX_VALUE => value.into(),
        Ok(_) => return Err(refused(Rejection::Size, id, Some(kind))),
        Err(_) => return Err(refused(Rejection::Json, id, Some(kind))),
    };
    Ok(Row {
        kind,
        id,
        value,
        facets: facets::of(&record),
    })
}

fn known(kind: i32) -> Option<Kind> {
    Some(match InventoryKind::try_from(kind).ok()? {
        InventoryKind::Unspecified => return None,
        InventoryKind::Cluster => Kind::Cluster,
        InventoryKind::Node => Kind::Node,
        InventoryKind::Gpu => Kind::Gpu,
        InventoryKind::Allocation => Kind::Allocation,
        InventoryKind::Workload => Kind::Workload,
        InventoryKind::Finding => Kind::Finding,
        InventoryKind::GpuUsage => Kind::GpuUsage,
        InventoryKind::ContainerUsage => Kind::ContainerUsage,
        InventoryKind::Check => Kind::Check,
    })
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
