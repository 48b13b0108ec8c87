//! Recordings of terminal sessions, off by default: what a person was shown in `kubectl exec -it`, as asciicast files beside the audit.
//!
//! ```text
//!   user <── Tap ────────────── splice ── agent        the tap reads along (terminal.rs) before bytes go on
//!             │ lines, at most QUEUE bytes
//!             └──> writer.rs ──> recordings/<organisation>/<date>/<request id>.cast
//! ```
//!
//! What is typed is not recorded: it holds passwords that the terminal does not show. A session whose recording cannot be begun is refused, and
//! one whose recording cannot go on ends, unless the audit may fail too (`--audit-failure allow`). The name and the hash of each recording are in the
//! audit's `end` entry.

mod cast;
mod keep;
mod mend;
mod metrics;
mod protocols;
mod resize;
mod spdy;
mod tap;
pub(crate) mod terminal;
mod verify;
mod websocket;
mod writer;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use kantaloupe_proto::request::RequestInfo;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::metrics::RecordingMetrics;
pub(crate) use self::{
    keep::run,
    mend::{Marker, mend},
    protocols::{protocol, restrict},
    tap::Tap,
    verify::{Checked, Recordings},
    writer::Recording,
};
use crate::config::{AuditFailure, RecordMode, RecordingConfig};

/// Folder in the data folder.
pub(crate) const FOLDER: &str = "recordings";
/// Writes to the disk at once. Each holds a thread, and a stuck disk must not take them all from the rest of the gateway.
const WRITES: usize = 8;
/// Forms of a boolean that are false for Kubernetes (`runtime.Convert_Slice_string_To_bool`): anything else is true.
const FALSE: [&str; 2] = ["false", "0"];

/// What all recordings share.
#[derive(Debug)]
pub(crate) struct Recorder {
    folder: PathBuf,
    config: RecordingConfig,
    /// Whether sessions go on without their recording.
    failure: AuditFailure,
    writes: Arc<Semaphore>,
    /// Recordings that are being written.
    active: Mutex<HashSet<Uuid>>,
    pub(crate) metrics: RecordingMetrics,
}

/// What becomes of a request that opens a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    No,
    Yes,
    /// It is a way around recordings.
    Refused,
}

impl Recorder {
    pub(crate) fn new(data_dir: &Path, config: RecordingConfig, failure: AuditFailure) -> Self {
        Self {
            folder: data_dir.join(FOLDER),
            config,
            failure,
            writes: Arc::new(Semaphore::new(WRITES)),
            active: Mutex::default(),
            metrics: RecordingMetrics::default(),
        }
    }

    /// Whether the stream that a request opens is to be recorded.
    pub(crate) fn wants(&self, info: &RequestInfo, query: Option<&str>) -> Wanted {
        if self.config.mode == RecordMode::Off || !info.api_group.is_empty() {
            return Wanted::No;
        }
        match (&*info.resource, &*info.subresource) {
            ("pods", "exec" | "attach") if self.config.mode == RecordMode::All || has_terminal(query) => {
                Wanted::Yes
            }
            // The kubelet's own exec, which says elsewhere whether it has a terminal.
            ("nodes", "proxy") => Wanted::Refused,
            _ => Wanted::No,
        }
    }

    /// Whether sessions go on without their recording.
    pub(crate) const fn failure(&self) -> AuditFailure {
        self.failure
    }

    /// Where a recording is.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}

/// Path of a request's recording in the folder: `<organisation>/<date>/<id>.cast`, with the date of the id (UTC).
pub(crate) fn file(organization: &str, id: Uuid) -> String {
    format!("{organization}/{}/{id}.cast", date(begun(id)))
}

/// When the request with this id came.
fn begun(id: Uuid) -> Timestamp {
    let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let seconds = i64::try_from(seconds).unwrap_or_default();
    Timestamp::new(seconds, i32::try_from(nanos).unwrap_or_default()).unwrap_or_default()
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Whether a query asks for a terminal, in any way that Kubernetes could read it.
fn has_terminal(query: Option<&str>) -> bool {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "tty" && !FALSE.iter().any(|no| value.eq_ignore_ascii_case(no)))
}

#[cfg(test)]
mod tests;
