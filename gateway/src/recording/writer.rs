//! Brings a recording's lines to its file: behind the stream, in whole lines, at most [`GATHER`] late. What the disk does not take holds up this stream
//! and no other.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context as Waiting, Poll, Waker},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use super::{
    Recorder, Tap, cast,
    mend::Marker,
    metrics::Outcome,
    terminal::{Protocol, Terminal, Undecodable},
};
use crate::{
    audit::{self, RecordingNote},
    config::AuditFailure,
    files,
};

/// How long lines are gathered for one write: what a crash of the process may take from the end of a recording.
const GATHER: Duration = Duration::from_millis(500);
/// Bytes of lines that wait for the disk; with more the session waits too. One read of a stream may come on top.
const QUEUE: usize = 64 << 10;
/// Longest wait for the disk. A session that shows nothing for so long is given up by its user as well.
const STUCK: Duration = Duration::from_secs(30);

/// Why a recording ends before its session.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("{0}")]
    Undecodable(Undecodable),
    #[error("the disk does not take it: {0}")]
    Disk(String),
    #[error("it has {0} MiB, which is the limit of one session")]
    TooLarge(u64),
}

/// Why a recording cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("the recording of the session cannot be written: {0}")]
    Disk(#[from] io::Error),
    #[error("the recording of the session cannot be written: the disk has taken nothing for 30 seconds")]
    Stuck,
}

/// What the tap and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The session goes on without its recording.
    off: AtomicBool,
    /// There is something to write.
    work: Notify,
    /// It is much, or the last.
    urgent: Notify,
    /// The session has to end.
    failed: CancellationToken,
    limit: u64,
    failure: AuditFailure,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Bytes of all lines so far.
    bytes: u64,
    closed: bool,
    stop: Option<Stop>,
    waiting: Option<Waker>,
}

/// A recording that goes on. Dropped without [`Recording::finish`] its file stays as it is, and the gateway's next start mends it.
#[derive(Debug)]
pub(crate) struct Recording {
    shared: Arc<Shared>,
    writer: AbortOnDropHandle<Option<Out>>,
    active: Active,
    file: String,
    marker: Marker,
    begun: Instant,
}

/// A recording that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// For the audit; without a hash if the disk is stuck, so that nobody knows what it has.
    pub(crate) note: RecordingNote<'static>,
    /// Why it ended before its session.
    pub(crate) early: Option<String>,
    /// To be taken away once the audit has the note.
    pub(crate) marker: Marker,
}

/// Keeps retention off the file.
#[derive(Debug)]
struct Active {
    recorder: Arc<Recorder>,
    id: Uuid,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.recorder.active.lock().remove(&self.id);
        self.recorder.metrics.active.dec();
    }
}

impl Recorder {
    /// Makes a recording's file. `marker` is the audit's begin entry, for the case that the process ends before the recording does.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        id: Uuid,
        file: &str,
        title: &str,
        marker: Vec<u8>,
    ) -> Result<Recording, BeginError> {
        let begun = Instant::now();
        let (folder, path) = (self.folder.clone(), self.path(file));
        let head = cast::head(jiff::Timestamp::now().as_second(), title);
        self.active.lock().insert(id);
        self.metrics.active.inc();
        let active = Active {
            recorder: Arc::clone(self),
            id,
        };
        let made = async {
            let permit = Arc::clone(&self.writes).acquire_owned().await;
            #[expect(clippy::disallowed_methods, reason = "at most WRITES at once, by the permit")]
            let made = spawn_blocking(move || {
                let _permit = permit;
                make(&folder, &path, id, &head, &marker)
            });
            made.await.map_err(io::Error::other)?
        };
        let made = match timeout(STUCK, made).await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(BeginError::Stuck),
        };
        let (out, marker) = made.inspect_err(|_| self.metrics.ended(Outcome::Refused))?;
        let shared = Arc::new(Shared::new(
            self.config.session_bytes.saturating_sub(out.bytes),
            self.failure,
        ));
        let writer = write(Arc::clone(&shared), out, Arc::clone(&self.writes));
        Ok(Recording {
            shared,
            writer: AbortOnDropHandle::new(tokio::spawn(writer)),
            active,
            file: file.to_owned(),
            marker,
            begun,
        })
    }
}

/// Makes the folders, the marker, and the file with its first line; none of them if one cannot be made.
fn make(folder: &Path, path: &Path, id: Uuid, head: &[u8], marker: &[u8]) -> io::Result<(Out, Marker)> {
    if let Some(folder) = path.parent() {
        files::create_private_folder(folder)?;
    }
    let marker = Marker::make(folder, id, marker)?;
    let made = (|| {
        let mut options = fs::OpenOptions::new();
        let file = options.append(true).create_new(true).mode(0o600).open(path)?;
        let mut out = Out {
            file,
            hash: Context::new(&SHA256),
            bytes: 0,
        };
        out.write(head).inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(out)
    })();
    match made {
        Ok(out) => Ok((out, marker)),
        Err(error) => {
            marker.done();
            Err(error)
        }
    }
}

impl Recording {
    /// Reads along with this connection.
    pub(crate) fn tap<IO>(&self, io: IO, protocol: Protocol) -> Tap<IO> {
        Tap::new(io, Terminal::new(protocol), Arc::clone(&self.shared), self.begun)
    }

    /// Waits until the session has to end because of its recording.
    pub(crate) fn failed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.failed.clone().cancelled_owned()
    }

    /// Why the recording has ended, if it has.
    pub(crate) fn stopped(&self) -> Option<String> {
        let state = self.shared.state.lock();
        state.stop.as_ref().map(|stop| {
            let after = self.begun.elapsed().as_secs();
            format!("the recording of the session ended after {after} s: {stop}")
        })
    }

    /// Brings what is left to the disk.
    pub(crate) async fn finish(self) -> Finished {
        let early = self.stopped();
        self.shared.close();
        let written = timeout(2 * STUCK, self.writer).await;
        let out = written.ok().and_then(Result::ok).flatten();
        let late = self.shared.state.lock().stop.as_ref().map(ToString::to_string);
        let early = early.or_else(|| late.map(|stop| format!("the end of the recording is missing: {stop}")));
        let metrics = &self.active.recorder.metrics;
        metrics.ended(if early.is_none() {
            Outcome::Whole
        } else {
            Outcome::Cut
        });
        let bytes = out.as_ref().map(|out| out.bytes);
        metrics.bytes.inc_by(bytes.unwrap_or_default());
        Finished {
            note: RecordingNote {
                file: self.file.into(),
                bytes,
                sha256: out.map(|out| audit::Hash::from_digest(&out.hash.finish())),
            },
            early,
            marker: self.marker,
        }
    }

    /// The session did not come about: there is nothing to keep.
    pub(crate) async fn discard(self) {
        self.shared.close();
        let _ = timeout(2 * STUCK, self.writer).await;
        if let Err(error) = fs::remove_file(self.active.recorder.path(&self.file)) {
            tracing::warn!(%error, file = self.file, "an empty recording could not be deleted");
        }
        self.marker.done();
    }
}

impl Shared {
    /// Nothing is recorded yet; `limit` bytes may be.
    fn new(limit: u64, failure: AuditFailure) -> Self {
        Self {
            state: Mutex::default(),
            off: AtomicBool::new(false),
            work: Notify::new(),
            urgent: Notify::new(),
            failed: CancellationToken::new(),
            limit,
            failure,
        }
    }

    /// Whether the recording goes on, or has ended together with its session.
    pub(super) fn is_recording(&self) -> bool {
        !self.off.load(Relaxed)
    }

    /// Ready if more may be recorded. Never again once the session has to end.
    pub(super) fn poll_room(&self, cx: &Waiting<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if self.off.load(Relaxed) || (state.stop.is_none() && state.lines.len() < QUEUE) {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes whole lines.
    pub(super) fn push(&self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.stop.is_none() {
            state.bytes += lines.len() as u64;
            state.lines.append(lines);
            self.work.notify_one();
            if state.lines.len() >= QUEUE / 2 {
                self.urgent.notify_one();
            }
        }
        let too_large = state.bytes > self.limit;
        drop(state);
        lines.clear();
        if too_large {
            self.stop(Stop::TooLarge(self.limit.div_ceil(1 << 20)));
        }
    }

    /// Ends the recording, and the session unless it may go on without. The first reason counts.
    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.state.lock();
        if state.stop.is_some() {
            return;
        }
        tracing::warn!(%stop, "the recording of a session ends (KTA-AUDIT-004)");
        // What cannot be decoded is somebody's doing, and not the disk's.
        if self.failure == AuditFailure::Allow && !matches!(stop, Stop::Undecodable(_)) {
            self.off.store(true, Relaxed);
        } else {
            self.failed.cancel();
        }
        state.stop = Some(stop);
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
        self.urgent.notify_one();
    }

    /// What is to be written now, and whether it is the last.
    fn take(&self) -> (Vec<u8>, bool) {
        let mut state = self.state.lock();
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
        (std::mem::take(&mut state.lines), state.closed)
    }
}

/// The file, with what is known of it.
struct Out {
    file: File,
    hash: Context,
    /// Of whole lines.
    bytes: u64,
}

/// Writes until the recording is closed. Nothing if the disk is stuck.
async fn write(shared: Arc<Shared>, mut out: Out, writes: Arc<Semaphore>) -> Option<Out> {
    let mut broken = false;
    loop {
        shared.work.notified().await;
        let _ = timeout(GATHER, shared.urgent.notified()).await;
        let (lines, closed) = shared.take();
        if !broken && (!lines.is_empty() || closed) {
            let (back, result) = out.append(lines, closed, &writes).await;
            if let Err(error) = result {
                broken = true;
                shared.stop(Stop::Disk(error.to_string()));
            }
            out = back?;
        }
        if closed {
            return Some(out);
        }
    }
}

impl Out {
    async fn append(
        mut self,
        lines: Vec<u8>,
        last: bool,
        writes: &Arc<Semaphore>,
    ) -> (Option<Self>, io::Result<()>) {
        let written = async {
            let permit = Arc::clone(writes).acquire_owned().await;
            #[expect(clippy::disallowed_methods, reason = "at most WRITES at once, by the permit")]
            let written = spawn_blocking(move || {
                let _permit = permit;
                let mut result = self.write(&lines);
                if last && result.is_ok() {
                    result = self.file.sync_data();
                }
                (Some(self), result)
            });
            written
                .await
                .unwrap_or_else(|error| (None, Err(io::Error::other(error))))
        };
        timeout(STUCK, written).await.unwrap_or_else(|_| {
            let error = io::Error::new(io::ErrorKind::TimedOut, "it has taken nothing for 30 seconds");
            (None, Err(error))
        })
    }

    /// Writes whole lines, all of them or none.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines) {
            // A piece of a line would be none.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.hash.update(lines);
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` takes nothing.
    #[tokio::test]
    async fn a_full_disk_ends_the_session_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder::new(
            dir.path(),
            crate::config::RecordingConfig::default(),
            AuditFailure::Refuse,
        ));
        let shared = Arc::new(Shared::new(1 << 20, AuditFailure::Refuse));
        let out = Out {
            file: fs::OpenOptions::new().write(true).open("/dev/full").unwrap(),
            hash: Context::new(&SHA256),
            bytes: 0,
        };
        let writer = tokio::spawn(write(Arc::clone(&shared), out, Arc::clone(&recorder.writes)));
        shared.push(&mut b"[0.0,\"o\",\"x\"]\n".to_vec());
        timeout(Duration::from_secs(5), shared.failed.cancelled())
            .await
            .unwrap();
        assert!(matches!(shared.state.lock().stop, Some(Stop::Disk(_))));
        shared.push(&mut b"nothing more\n".to_vec());
        assert!(shared.state.lock().lines.is_empty());
        shared.close();
        assert_eq!(writer.await.unwrap().unwrap().bytes, 0);
    }
}
