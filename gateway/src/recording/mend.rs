//! Recordings that were open when the gateway's process ended: the next start finds their markers, and writes into the audit what there is of them.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use super::{Recorder, metrics::Outcome};
use crate::{
    audit::{Audit, Entry, Hash, Phase, RecordingNote},
    files,
};

/// Folder of the markers. No organisation's name begins with a dot.
const OPEN: &str = ".open";
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A file that is there as long as the audit does not have the end of a recording. It holds the audit's begin entry.
#[derive(Debug)]
pub(crate) struct Marker(PathBuf);

impl Marker {
    pub(super) fn make(folder: &Path, id: Uuid, entry: &[u8]) -> io::Result<Self> {
        let open = folder.join(OPEN);
        files::create_private_folder(&open)?;
        let path = open.join(id.to_string());
        files::write_private(&path, entry)?;
        Ok(Self(path))
    }

    /// The audit has the end.
    pub(crate) fn done(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a recording's marker could not be deleted");
        }
    }
}

/// Writes an entry for each recording that has no end yet. What cannot be mended now is tried again at the next start.
pub(crate) fn mend(recorder: &Recorder, audit: &Audit) {
    let markers = match fs::read_dir(recorder.folder.join(OPEN)) {
        Ok(markers) => markers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(%error, "recordings of the process before cannot be looked for");
            return;
        }
    };
    for marker in markers.flatten() {
        let path = marker.path();
        match mend_one(recorder, audit, &path) {
            Ok(true) => Marker(path).done(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, path = %path.display(), "a recording cannot be mended"),
        }
    }
}

/// Whether it is done with.
fn mend_one(recorder: &Recorder, audit: &Audit, marker: &Path) -> io::Result<bool> {
    let text = fs::read(marker)?;
    // A marker that was being written when the process ended has nothing behind it yet.
    let Ok(mut entry) = serde_json::from_slice::<Entry<'_>>(&text) else {
        return Ok(true);
    };
    let Some(note) = entry.recording.take() else {
        return Ok(true);
    };
    let path = recorder.path(&note.file);
    let (bytes, sha256) = match whole_lines(&path) {
        Ok((0, _)) => {
            fs::remove_file(&path)?;
            return Ok(true);
        }
        Ok((bytes, hash)) => (bytes, hash),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    entry.phase = Phase::Event;
    entry.reason = "the gateway's process ended before the session; the recording goes as far as this".into();
    entry.recording = Some(RecordingNote {
        bytes: Some(bytes),
        sha256: Some(sha256),
        ..note
    });
    recorder.metrics.ended(Outcome::Mended);
    Ok(audit.noted(&mut entry))
}

/// Cuts a piece of a line off the end; length and hash of what is left.
fn whole_lines(path: &Path) -> io::Result<(u64, Hash)> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let (mut whole, mut at) = (0, 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        if let Some(end) = chunk[..read].iter().rposition(|byte| *byte == b'\n') {
            whole = at + end as u64 + 1;
        }
        at += read as u64;
    }
    if whole < at {
        file.set_len(whole)?;
        file.sync_data()?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((whole, hash(&mut file)?.0))
}

/// Hash and length of a file from where it stands.
pub(super) fn hash(file: &mut File) -> io::Result<(Hash, u64)> {
    let (mut context, mut length) = (Context::new(&SHA256), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok((Hash::from_digest(&context.finish()), length));
        }
        context.update(&chunk[..read]);
        length += read as u64;
    }
}
