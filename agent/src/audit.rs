//! The agent's own log of what it let through and what it refused, see [`kantaloupe_proto::agent_log`].
//!
//! ```text
//! refused    ──> one line at once
//! let through ─> Pending, held by the bodies or the stream ── dropped with the last of them ──> one line
//! ```

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use kantaloupe_proto::{
    agent_log::{Entry, FIRST},
    request::RequestInfo,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

/// Longest part of a path in the log. Paths without a resource are short; of others it tells what was tried.
const MAX_PATH: usize = 256;

/// Who asks for what, as far as it could be understood. What could not is absent: nothing unchecked gets into the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) namespaces: Option<String>,
    pub(crate) info: Option<RequestInfo>,
    /// As sent, for the case that it cannot be understood.
    pub(crate) path: String,
}

impl Asked {
    /// The request's id, for other log lines.
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// The verb, for metrics.
    pub(crate) fn verb(&self) -> &'static str {
        self.info.as_ref().map_or("unknown", |info| info.verb.as_str())
    }

    fn entry(&self, decision: &str) -> Entry {
        let mut entry = Entry {
            decision: decision.to_owned(),
            id: self.id.clone(),
            user: self.user.clone(),
            actor: self.actor.clone(),
            organization: self.organization.clone(),
            role: self.role.clone(),
            namespaces: self.namespaces.clone(),
            ..Entry::default()
        };
        let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let cut = |text: &str| Some(text.chars().take(MAX_PATH).collect());
        match &self.info {
            Some(info) if info.is_resource_request => {
                entry.verb = Some(info.verb.as_str().to_owned());
                entry.group = Some(info.api_group.clone());
                entry.resource = Some(info.resource.clone());
                entry.subresource = set(&info.subresource);
                entry.namespace = set(&info.namespace);
                entry.name = set(&info.name);
            }
            Some(info) => {
                entry.verb = Some(info.verb.as_str().to_owned());
                entry.path = cut(&info.path);
            }
            None => entry.path = cut(&self.path),
        }
        entry
    }
}

/// Writes the entries of this process, each with the hash of the one before.
pub(crate) struct AuditLog {
    chain: String,
    /// Number and hash of the last entry. Held while a line is written, so that lines are in the order of the chain.
    tail: Mutex<(u64, String)>,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    pub(crate) fn new() -> Self {
        Self {
            chain: uuid::Uuid::new_v4().simple().to_string(),
            tail: Mutex::new((0, FIRST.to_owned())),
        }
    }

    /// A request that was refused by the agent itself.
    pub(crate) fn refused(&self, asked: &Asked, reason: &str, status: u16) {
        let mut entry = asked.entry("deny");
        entry.reason = Some(reason.to_owned());
        entry.status = Some(status);
        self.write(entry);
    }

    /// A request that passes; its line is written when the last clone is dropped.
    pub(crate) fn begin(self: &Arc<Self>, asked: Asked) -> Arc<Pending> {
        Arc::new(Pending {
            log: Arc::clone(self),
            asked,
            began: Instant::now(),
            status: AtomicU16::new(0),
            reason: OnceLock::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    fn write(&self, mut entry: Entry) {
        let mut tail = self.tail.lock();
        entry.chain.clone_from(&self.chain);
        entry.seq = tail.0 + 1;
        entry.prev = std::mem::take(&mut tail.1);
        entry.at = format!("{:.3}", Timestamp::now());
        let hash = entry.hash();
        emit(&entry, &hash);
        *tail = (entry.seq, hash);
    }
}

/// tracing wants every field by its name. The target is [`kantaloupe_proto::agent_log::TARGET`].
fn emit(entry: &Entry, hash: &str) {
    info!(
        target: "audit",
        chain = entry.chain,
        seq = entry.seq,
        prev = entry.prev,
        at = entry.at,
        id = entry.id,
        user = entry.user,
        actor = entry.actor,
        organization = entry.organization,
        role = entry.role,
        namespaces = entry.namespaces,
        verb = entry.verb,
        group = entry.group,
        resource = entry.resource,
        subresource = entry.subresource,
        namespace = entry.namespace,
        name = entry.name,
        path = entry.path,
        decision = entry.decision,
        reason = entry.reason,
        status = entry.status,
        received = entry.received,
        sent = entry.sent,
        ms = entry.ms,
        hash,
        "request"
    );
}

/// A request or stream under way.
#[derive(Debug)]
pub(crate) struct Pending {
    log: Arc<AuditLog>,
    asked: Asked,
    began: Instant,
    /// 0 until there is an answer.
    status: AtomicU16,
    reason: OnceLock<&'static str>,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Pending {
    /// What was asked.
    pub(crate) const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The answer has come.
    pub(crate) fn answered(&self, status: http::StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// There will be no answer of the API server's.
    pub(crate) fn failed(&self, reason: &'static str, status: http::StatusCode) {
        let _first = self.reason.set(reason);
        self.answered(status);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut entry = self.asked.entry("allow");
        let status = *self.status.get_mut();
        entry.status = (status != 0).then_some(status);
        entry.reason = self.reason.get().map(|reason| (*reason).to_owned());
        if status == 0 {
            entry.reason = Some("gone".to_owned());
        }
        entry.received = *self.received.get_mut();
        entry.sent = *self.sent.get_mut();
        entry.ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.write(entry);
    }
}

#[cfg(test)]
pub(crate) mod tests;
