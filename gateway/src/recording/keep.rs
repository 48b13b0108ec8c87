//! Retention: recordings go with the audit's entries about them, and the oldest when all together are too large. Each removal is in the audit, so that a
//! recording that is missing for another reason shows.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Recorder, begun, date};
use crate::audit::{Audit, Entry, Phase};

/// How often old recordings are looked for.
const INTERVAL: Duration = Duration::from_hours(1);
/// The first time: a start has enough else to do.
const FIRST: Duration = Duration::from_mins(1);

/// Removes old recordings until `stop`.
pub(crate) async fn run(recorder: Arc<Recorder>, audit: Arc<Audit>, stop: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(pause) => pause = INTERVAL,
        }
        if let Err(error) = recorder.retain(&audit).await {
            tracing::warn!(%error, "old recordings could not be removed (KTA-SRV-006)");
        }
    }
}

/// A folder of one organisation's recordings of one day; ordered by day.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    date: String,
    organization: String,
}

/// Why a recording goes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Begun before this.
    before: Timestamp,
    /// Bytes of all together.
    bytes: u64,
}

impl Recorder {
    /// Removes what is too old or too much.
    pub(super) async fn retain(self: &Arc<Self>, audit: &Arc<Audit>) -> io::Result<()> {
        let limits = Limits {
            before: audit.kept_since().await.unwrap_or(Timestamp::MIN),
            bytes: self.config.total_bytes,
        };
        let (recorder, audit) = (Arc::clone(self), Arc::clone(audit));
        #[expect(clippy::disallowed_methods, reason = "one at a time, each hour")]
        let done = spawn_blocking(move || recorder.remove(&audit, limits));
        done.await.map_err(io::Error::other)?
    }

    fn remove(&self, audit: &Audit, limits: Limits) -> io::Result<()> {
        let days = self.days()?;
        let mut total: u64 = days.values().sum();
        for day in days.keys() {
            let too_much = limits.bytes > 0 && total > limits.bytes;
            // ISO dates are ordered as texts are.
            if day.date > date(limits.before) && !too_much {
                continue;
            }
            let folder = self.folder.join(&day.organization).join(&day.date);
            for (id, path, bytes) in recordings(&folder)? {
                let why = if begun(id) < limits.before {
                    "its entries in the audit are removed, too"
                } else if limits.bytes > 0 && total > limits.bytes {
                    "all recordings together are too large"
                } else {
                    continue;
                };
                if self.active.lock().contains(&id) || !told(audit, day, id, why) {
                    continue;
                }
                fs::remove_file(&path)?;
                total = total.saturating_sub(bytes);
                self.metrics.removed.inc();
            }
            // Fails while something is left in it.
            let _ = fs::remove_dir(&folder);
        }
        Ok(())
    }

    /// The days with their bytes, oldest first.
    fn days(&self) -> io::Result<BTreeMap<Day, u64>> {
        let mut days = BTreeMap::new();
        for (organization, folder) in folders(&self.folder)? {
            for (date, folder) in folders(&folder)? {
                let bytes = recordings(&folder)?.iter().map(|(.., bytes)| bytes).sum();
                let organization = organization.clone();
                days.insert(Day { date, organization }, bytes);
            }
        }
        Ok(days)
    }
}

/// Whether the audit has it that a recording is removed.
fn told(audit: &Audit, day: &Day, id: Uuid, why: &str) -> bool {
    audit.noted(&mut Entry {
        organization: day.organization.as_str().into(),
        verb: "remove".into(),
        resource: "recordings".into(),
        name: id.to_string().into(),
        reason: format!("retention removed the recording: {why}").into(),
        ..Entry::new(Phase::Event)
    })
}

/// Folders in a folder that is not hidden, by name.
fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.file_type()?.is_dir()
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// Recordings in a folder with their sizes, oldest first.
fn recordings(folder: &Path) -> io::Result<Vec<(Uuid, PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let id = path.extension().is_some_and(|ending| ending == "cast");
        let id = path.file_stem().filter(|_| id).and_then(|stem| stem.to_str());
        if let Some(id) = id.and_then(|text| text.parse().ok()) {
            found.push((id, path, entry.metadata()?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}
