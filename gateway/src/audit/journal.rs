//! The audit's journal: entries are on their way to the database from here on, and survive the process.
//!
//! Segments of lines in a folder, only ever appended to. An entry is one write(2) under a lock, so that it is with the
//! kernel, and safe from SIGKILL, before its request leaves. The ingesting task brings segments to the disk and into the
//! database, and deletes those that are in it as a whole; see [`super::ingest`].

mod recovery;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    chain::Head,
    entry::{Entry, number},
};
use crate::files;

pub(crate) use self::recovery::Recovered;

/// Bytes of a segment, after which the next is begun: some 20,000 entries.
const SEGMENT: u64 = 8 << 20;
/// Bytes that are read at once for the database.
const CHUNK: u64 = 1 << 20;
/// More than the longest entry: all its texts at their bound, each character escaped.
const MAX_LINE: u64 = 64 << 10;
/// How names of segments end; what stands before is the number of the first entry.
const SUFFIX: &str = ".jsonl";
/// Taken by the process that writes.
const LOCK: &str = "lock";

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The disk did not take it.
    #[error("the journal of the audit cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The database has not taken what is in the journal for long.
    #[error("{0} bytes of the journal of the audit wait for its database, which is the limit")]
    Backlog(u64),
}

/// Where reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The segment, by its first entry.
    pub(crate) segment: u64,
    /// Bytes of it that were read.
    pub(crate) offset: u64,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Entries by number; empty if there is nothing more at the moment.
    pub(crate) lines: Vec<(u64, String)>,
    /// Bytes of them in the journal.
    pub(crate) bytes: u64,
    /// Where to go on.
    pub(crate) cursor: Cursor,
}

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    /// Bytes that may wait for the database.
    max_backlog: u64,
    state: Mutex<State>,
    _lock: File,
}

#[derive(Debug)]
struct State {
    file: File,
    /// First entry of this segment.
    segment: u64,
    /// When it was begun.
    begun: Timestamp,
    /// Bytes of whole entries in it.
    len: u64,
    /// The last entry.
    head: Head,
    /// Bytes of all segments that are not in the database yet.
    backlog: u64,
    /// A write failed half way: what is behind `len` has to go first.
    torn: bool,
    line: Vec<u8>,
    /// Bytes that a full disk still takes.
    #[cfg(test)]
    room: Option<usize>,
}

impl Journal {
    /// Opens the journal in `folder`, or makes one. `stored` is the last entry in the database; `before` what is known
    /// of the entry before the first segment's, see [`Journal::first`].
    ///
    /// What cannot be read is set aside, never deleted; see [`Recovered`].
    pub(crate) fn open(
        folder: &Path,
        max_backlog: u64,
        stored: Head,
        before: Option<Head>,
    ) -> io::Result<(Self, Recovered)> {
        files::create_private_folder(folder)?;
        let lock = lock(folder)?;
        let recovered = recovery::recover(folder, stored, before)?;
        let head = recovered.head;
        let (segment, file) = begin(folder, head)?;
        let state = State {
            file,
            segment,
            begun: Timestamp::now(),
            len: 0,
            head,
            backlog: recovered.waiting,
            torn: false,
            line: Vec::new(),
            #[cfg(test)]
            room: None,
        };
        let journal = Self {
            folder: folder.to_owned(),
            max_backlog,
            state: Mutex::new(state),
            _lock: lock,
        };
        Ok((journal, recovered))
    }

    /// The first entry that any segment in `folder` begins with.
    pub(crate) fn first(folder: &Path) -> io::Result<Option<u64>> {
        match segments(folder) {
            Ok(segments) => Ok(segments.first().copied()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an entry, which gets its number, time and place in the chain. When this returns, the entry outlives the
    /// process. If it fails, nothing was written.
    pub(crate) fn append(&self, entry: &mut Entry<'_>) -> Result<Head, JournalError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.backlog + MAX_LINE > self.max_backlog {
            return Err(JournalError::Backlog(state.backlog));
        }
        if state.torn {
            state.file.set_len(state.len)?;
            state.torn = false;
        }
        if state.len >= SEGMENT
            && let Err(error) = self.next_segment(state)
        {
            // The present one goes on growing: worse than a new one, better than no entry.
            tracing::warn!(%error, "no new segment of the audit's journal (KTA-SRV-006)");
        }
        entry.seq = state.head.seq + 1;
        entry.prev = state.head.hash;
        entry.at = Timestamp::now();
        state.line.clear();
        let hash = entry.seal(&mut state.line);
        if let Err(error) = state.write() {
            // Now, or before the next entry: until then nobody reads beyond `len`.
            state.torn = state.file.set_len(state.len).is_err();
            return Err(error.into());
        }
        let written = state.line.len() as u64;
        state.len += written;
        state.backlog += written;
        state.head = Head { seq: entry.seq, hash };
        Ok(state.head)
    }

    /// The last entry.
    pub(crate) fn head(&self) -> Head {
        self.state.lock().head
    }

    /// Bytes that wait for the database.
    pub(crate) fn backlog(&self) -> u64 {
        self.state.lock().backlog
    }

    /// The next whole entries after `cursor`, brought to the disk.
    pub(crate) fn read(&self, mut cursor: Cursor) -> io::Result<Batch> {
        loop {
            let (active, len) = {
                let state = self.state.lock();
                (state.segment, state.len)
            };
            let path = path(&self.folder, cursor.segment);
            let len = if cursor.segment == active {
                len
            } else {
                match fs::metadata(&path) {
                    Ok(metadata) => metadata.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    Err(error) => return Err(error),
                }
            };
            if cursor.offset < len {
                return read(&path, cursor, len);
            }
            let next = segments(&self.folder)?.into_iter().find(|s| *s > cursor.segment);
            match next {
                Some(segment) if cursor.segment < active => cursor = Cursor { segment, offset: 0 },
                _ => {
                    return Ok(Batch {
                        lines: Vec::new(),
                        bytes: 0,
                        cursor,
                    });
                }
            }
        }
    }

    /// These bytes are in the database, whose last entry is `stored`: segments that end before it go.
    pub(crate) fn stored(&self, bytes: u64, stored: u64) -> io::Result<()> {
        let active = {
            let mut state = self.state.lock();
            state.backlog = state.backlog.saturating_sub(bytes);
            state.segment
        };
        let segments = segments(&self.folder)?;
        for pair in segments.windows(2) {
            if let [first, next] = *pair
                && first < active
                && next <= stored + 1
            {
                fs::remove_file(path(&self.folder, first))?;
            }
        }
        Ok(())
    }

    /// Begins a segment if the present one has entries and was begun before `time`, so that it can be deleted.
    pub(crate) fn leave_older_than(&self, time: Timestamp) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.len > 0 && state.begun < time && !state.torn {
            self.next_segment(&mut state)?;
        }
        Ok(())
    }

    fn next_segment(&self, state: &mut State) -> io::Result<()> {
        let (segment, file) = begin(&self.folder, state.head)?;
        state.segment = segment;
        state.file = file;
        state.len = 0;
        state.begun = Timestamp::now();
        Ok(())
    }

    /// Lets writes beyond so many bytes of the next entry fail as on a full disk; `None` lets all pass again.
    #[cfg(test)]
    pub(crate) fn simulate_full_disk(&self, room: Option<usize>) {
        self.state.lock().room = room;
    }
}

impl State {
    fn write(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(room) = self.room {
            self.file.write_all(&self.line[..room.min(self.line.len())])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(&self.line)
    }
}

/// Keeps a second process off the folder.
fn lock(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK);
    files::ensure_private(&path)?;
    let lock = File::options().append(true).open(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process writes the audit in this folder",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the segment of the entry that follows `head`.
fn begin(folder: &Path, head: Head) -> io::Result<(u64, File)> {
    let segment = head.seq + 1;
    let path = path(folder, segment);
    // One that was begun before may be there; recovery has left nothing in it.
    files::ensure_private(&path)?;
    let file = File::options().append(true).open(&path)?;
    // The file itself has to last before its content can.
    File::open(folder)?.sync_all()?;
    Ok((segment, file))
}

fn path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:020}{SUFFIX}"))
}

/// The segments in a folder by their first entries, oldest first.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut segments = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        segments.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The content of a segment.
pub(crate) fn content(folder: &Path, segment: u64) -> io::Result<Vec<u8>> {
    fs::read(path(folder, segment))
}

fn read(path: &Path, cursor: Cursor, len: u64) -> io::Result<Batch> {
    let mut file = File::open(path)?;
    // Nothing goes into the database that a power cut could still take out of the journal.
    file.sync_data()?;
    file.seek(SeekFrom::Start(cursor.offset))?;
    let mut content = Vec::new();
    file.take((len - cursor.offset).min(CHUNK))
        .read_to_end(&mut content)?;
    let whole = content
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole == 0 {
        return Err(io::Error::other(
            "a segment of the audit's journal has no whole entry where one was written",
        ));
    }
    let damaged = || io::Error::other("a segment of the audit's journal was changed while it was in use");
    let lines = content[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let text = String::from_utf8(line.to_vec()).map_err(|_| damaged())?;
            Ok((number(line).ok_or_else(damaged)?, text))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let bytes = whole as u64;
    let cursor = Cursor {
        offset: cursor.offset + bytes,
        ..cursor
    };
    Ok(Batch { lines, bytes, cursor })
}

#[cfg(test)]
mod tests;
