//! A request to a cluster: its entry before it leaves, and its entry once nothing of it is open any more.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
    },
};

use http::{HeaderValue, StatusCode};
use kantaloupe_proto::request::RequestInfo;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Audit, Decision, Entry, JournalError, Phase, RecordingNote, text};
use crate::{
    auth::Identity,
    authorize::Authorized,
    directory::Cluster,
    recording::{self, Marker},
};

/// Who asks for what.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) id: Uuid,
    pub(crate) source: IpAddr,
    pub(crate) identity: Arc<Identity>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) info: RequestInfo,
    user: HeaderValue,
    actor: Option<HeaderValue>,
    organization: HeaderValue,
    role: &'static str,
    /// File of the recording of the session that the request opens.
    recording: Option<String>,
}

/// A request that was let through. Shared by what moves its bytes; the last that is dropped writes the end.
#[derive(Debug)]
pub(crate) struct Pending {
    audit: Arc<Audit>,
    about: About,
    start: Instant,
    /// 0 until there is an answer.
    status: AtomicU16,
    reason: OnceLock<String>,
    received: AtomicU64,
    sent: AtomicU64,
    recorded: OnceLock<(RecordingNote<'static>, Marker)>,
}

/// A request that was refused, with what was known of it by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) id: Uuid,
    pub(crate) source: IpAddr,
    pub(crate) identity: Option<&'a Identity>,
    /// Name of the caller's organisation.
    pub(crate) organization: &'a str,
    pub(crate) cluster: Option<&'a Cluster>,
    pub(crate) info: Option<&'a RequestInfo>,
    /// As sent, without the query.
    pub(crate) path: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) reason: &'a str,
}

impl About {
    pub(crate) fn new(
        id: Uuid,
        source: IpAddr,
        identity: Arc<Identity>,
        cluster: Arc<Cluster>,
        info: RequestInfo,
        authorized: &Authorized,
    ) -> Self {
        Self {
            id,
            source: source.to_canonical(),
            identity,
            cluster,
            info,
            user: authorized.user().clone(),
            actor: authorized.actor.clone(),
            organization: authorized.organization().clone(),
            role: authorized.grant().role.as_str(),
            recording: None,
        }
    }

    /// The session that it opens is recorded.
    pub(crate) fn recorded(mut self) -> Self {
        self.recording = Some(recording::file(header(&self.organization), self.id));
        self
    }

    fn entry(&self, phase: Phase) -> Entry<'_> {
        let mut entry = described(Entry::new(phase), Some(&self.info));
        entry.id = self.id.to_string().into();
        entry.organization = header(&self.organization).into();
        entry.user = header(&self.user).into();
        entry.actor = self.actor.as_ref().map(header).unwrap_or_default().into();
        entry.token = self.identity.token_id.as_str().into();
        entry.source = self.source.to_string().into();
        entry.cluster = (&*self.cluster.id).into();
        entry.role = self.role.into();
        entry.recording = self.recording.as_deref().map(|file| RecordingNote {
            file: file.into(),
            bytes: None,
            sha256: None,
        });
        entry
    }
}

/// Names are checked to be ASCII when people are made.
fn header(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn described<'a>(mut entry: Entry<'a>, info: Option<&'a RequestInfo>) -> Entry<'a> {
    if let Some(info) = info {
        entry.verb = info.verb.as_str().into();
        if info.is_resource_request {
            entry.group = text(&info.api_group);
            entry.resource = text(&info.resource);
            entry.subresource = text(&info.subresource);
            entry.namespace = text(&info.namespace);
            entry.name = text(&info.name);
        } else {
            entry.path = text(&info.path);
        }
    }
    entry
}

impl Audit {
    /// Writes that a request is about to leave. An error means that it must not.
    pub(crate) fn begin(self: &Arc<Self>, about: About) -> Result<Arc<Pending>, JournalError> {
        self.admit(&mut about.entry(Phase::Begin))?;
        Ok(Arc::new(Pending {
            audit: Arc::clone(self),
            about,
            start: Instant::now(),
            status: AtomicU16::new(0),
            reason: OnceLock::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            recorded: OnceLock::new(),
        }))
    }

    /// Writes that a request was refused: its only entry.
    pub(crate) fn refused(&self, refused: &Refused<'_>) {
        let mut entry = described(Entry::new(Phase::End), refused.info);
        entry.id = refused.id.to_string().into();
        entry.organization = text(refused.organization);
        entry.source = refused.source.to_canonical().to_string().into();
        if let Some(cluster) = refused.cluster {
            entry.cluster = (&*cluster.id).into();
        }
        if refused.info.is_none() {
            entry.path = text(refused.path);
        }
        entry.decision = Decision::Deny;
        entry.status = Some(refused.status.as_u16());
        entry.reason = text(refused.reason);
        match refused.identity {
            Some(identity) => {
                entry.user = text(&identity.user_name);
                entry.token = identity.token_id.as_str().into();
                // Somebody who is over his limit is as loud as a stranger.
                if refused.status == StatusCode::TOO_MANY_REQUESTS {
                    self.refused_stranger(&mut entry);
                } else {
                    self.note(&mut entry);
                }
            }
            None => self.refused_stranger(&mut entry),
        }
    }
}

impl Pending {
    /// The id, for the agent.
    pub(crate) const fn id(&self) -> Uuid {
        self.about.id
    }

    /// File of the recording that the begin entry has promised.
    pub(crate) fn recording(&self) -> Option<&str> {
        self.about.recording.as_deref()
    }

    /// What the recording is called: whose it is, and what of.
    pub(crate) fn title(&self) -> String {
        let (about, info) = (&self.about, &self.about.info);
        let (user, cluster) = (header(&about.user), &about.cluster.name);
        let (what, namespace, name) = (&info.subresource, &info.namespace, &info.name);
        format!("{user}: {what} {namespace}/{name} in {cluster}")
    }

    /// The begin entry once more.
    pub(crate) fn begin_entry(&self) -> Vec<u8> {
        serde_json::to_vec(&self.about.entry(Phase::Begin)).expect("texts and numbers always serialize")
    }

    /// The recording has ended as this. The marker goes as soon as the audit has it.
    pub(crate) fn recorded(&self, note: RecordingNote<'static>, marker: Marker) {
        let _first = self.recorded.set((note, marker));
    }

    /// The caller gets this answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Relaxed);
    }

    /// It ended early, or in another way than its answer says. The first reason counts.
    pub(crate) fn because(&self, reason: impl Into<String>) {
        let _first = self.reason.set(reason.into());
    }

    /// Bytes came from the caller.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes went to the caller.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let status = *self.status.get_mut();
        let mut entry = self.about.entry(Phase::End);
        entry.status = (status > 0).then_some(status);
        entry.reason = match self.reason.get() {
            Some(reason) => text(reason),
            None if status == 0 => "the caller left before there was an answer".into(),
            None => "".into(),
        };
        entry.received = Some(self.received.load(Relaxed));
        entry.sent = Some(self.sent.load(Relaxed));
        entry.ms = u64::try_from(self.start.elapsed().as_millis()).ok();
        let (note, marker) = self.recorded.take().unzip();
        entry.recording = note;
        if self.audit.noted(&mut entry)
            && let Some(marker) = marker
        {
            marker.done();
        }
    }
}
