//! Whether the recordings that the audit names are what was written.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io,
    path::Path,
};

use super::{FOLDER, mend::hash};
use crate::audit::{Entry, Hash, Phase};

/// What the audit says of recordings.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    /// By id: file, bytes and hash.
    named: BTreeMap<String, (String, u64, Hash)>,
    removed: HashSet<String>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) sound: usize,
    /// Removed by retention.
    pub(crate) removed: usize,
    /// What is wrong, by file.
    pub(crate) wrong: Vec<String>,
}

impl Recordings {
    /// Takes a sound entry.
    pub(crate) fn take(&mut self, entry: &Entry<'_>) {
        if entry.phase == Phase::Event && entry.verb == "remove" && entry.resource == "recordings" {
            self.removed.insert(entry.name.clone().into_owned());
        }
        if let Some(note) = &entry.recording
            && let (Some(bytes), Some(hash)) = (note.bytes, note.sha256)
        {
            let file = note.file.clone().into_owned();
            self.named
                .insert(entry.id.clone().into_owned(), (file, bytes, hash));
        }
    }

    /// Looks at the files.
    pub(crate) fn check(&self, data_dir: &Path) -> Checked {
        let mut checked = Checked::default();
        for (id, (file, bytes, expected)) in &self.named {
            let found = File::open(data_dir.join(FOLDER).join(file)).and_then(|mut file| hash(&mut file));
            match found {
                Ok((found, _)) if found == *expected => checked.sound += 1,
                Ok((_, length)) if length != *bytes => {
                    let what = format!("{file} has {length} bytes and not {bytes}");
                    checked.wrong.push(what);
                }
                Ok((found, _)) => {
                    let what = format!("{file} was changed: it has the hash {found} and not {expected}");
                    checked.wrong.push(what);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.removed.contains(id) => {
                    checked.removed += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    checked
                        .wrong
                        .push(format!("{file} is missing, and retention has not removed it"));
                }
                Err(error) => checked.wrong.push(format!("{file} cannot be read: {error}")),
            }
        }
        checked
    }
}
