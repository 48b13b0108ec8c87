//! What a start makes of the segments that are there.
//!
//! After SIGKILL every line is whole. After a power cut the last second may be missing, torn or full of zeros. Either way
//! the longest sound chain is kept and gone on with; what is behind it is set aside in files of their own, and the first
//! entry of the new process says so.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use super::{content, path, segments};
use crate::audit::{
    chain::{Damage, Head},
    entry::Entry,
};

/// What was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The last sound entry, in the journal or the database.
    pub(crate) head: Head,
    /// Bytes in the journal.
    pub(crate) waiting: u64,
    /// What was wrong, in sentences.
    pub(crate) notes: Vec<String>,
}

/// Checks the segments, and sets aside what is behind the first damage.
pub(super) fn recover(folder: &Path, stored: Head, before: Option<Head>) -> io::Result<Recovered> {
    let mut recovered = Recovered {
        head: before.unwrap_or(Head::START),
        waiting: 0,
        notes: Vec::new(),
    };
    let mut known = before.is_some();
    let mut damaged = false;
    for segment in segments(folder)? {
        let content = content(folder, segment)?;
        if content.is_empty() {
            fs::remove_file(path(folder, segment))?;
            continue;
        }
        let mut sound = 0;
        if !damaged {
            if !known {
                recovered.begin_anywhere(&content, segment);
                known = true;
            }
            let (len, damage) = recovered.follow(&content);
            sound = len;
            if let Some(damage) = damage {
                damaged = true;
                recovered.notes.push(damage);
            }
        }
        recovered.waiting += sound as u64;
        if sound < content.len() {
            let kept = set_aside(folder, segment, &content, sound)?;
            recovered.notes.push(format!(
                "{} bytes behind entry {} were set aside in {kept}",
                content.len() - sound,
                recovered.head.seq
            ));
        }
    }
    if stored.seq > recovered.head.seq {
        if recovered.waiting > 0 {
            recovered.notes.push(format!(
                "the database has entries up to {} and the journal only up to {}",
                stored.seq, recovered.head.seq
            ));
        }
        recovered.head = stored;
    }
    Ok(recovered)
}

impl Recovered {
    /// Nobody knows what the first entry has to follow: the database is gone, or older than the journal.
    fn begin_anywhere(&mut self, content: &[u8], segment: u64) {
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Ok((entry, _)) = Entry::open(line)
            && entry.seq == segment
            && segment > 1
        {
            self.head = Head {
                seq: segment - 1,
                hash: entry.prev,
            };
            self.notes.push(format!(
                "the journal begins with entry {segment}, and the one before it is in neither journal nor database"
            ));
        }
    }

    /// Bytes of sound entries, and what is wrong behind them.
    fn follow(&mut self, content: &[u8]) -> (usize, Option<String>) {
        let mut sound = 0;
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let Some(whole) = line.strip_suffix(b"\n") else {
                return (sound, Some("the last entry of the journal was torn".to_owned()));
            };
            match self.head.follow(whole) {
                Ok(_) => sound += line.len(),
                Err(Damage::NotAnEntry(seq)) if whole.iter().all(|byte| *byte == 0) => {
                    return (
                        sound,
                        Some(format!("the journal has zeros where entry {seq} should be")),
                    );
                }
                Err(damage) => return (sound, Some(damage.to_string())),
            }
        }
        (sound, None)
    }
}

/// Moves what is behind `sound` bytes of a segment into a file of its own, and says its name.
fn set_aside(folder: &Path, segment: u64, content: &[u8], sound: usize) -> io::Result<String> {
    let stem = format!("damaged-{segment:020}-{sound}");
    for attempt in 0_u32.. {
        let name = format!("{stem}.{attempt}");
        let mut file = match File::options()
            .write(true)
            .create_new(true)
            .open(folder.join(&name))
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        // On the disk before it is taken out of the segment.
        file.write_all(&content[sound..])?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        let path = path(folder, segment);
        if sound == 0 {
            fs::remove_file(path)?;
        } else {
            let file = File::options().write(true).open(path)?;
            file.set_len(sound as u64)?;
            file.sync_all()?;
        }
        return Ok(name);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
