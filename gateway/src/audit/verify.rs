//! `kantaloupe-gateway audit verify`: whether the audit is what was written, also beside a running gateway.

use std::{
    fs,
    io::{self, BufRead as _},
    path::{Path, PathBuf},
};

use clap::Args;
use kantaloupe_checks::{Code, Fault};
use kantaloupe_proto::agent_log;

use super::{
    FOLDER,
    chain::{Damage, Head},
    compare::{Compared, Comparison},
    entry::{Entry, number},
    journal,
    store::{AuditStore, FILE, Page, Query},
    walk::Walk,
};
use crate::{
    recording::{Checked, Recordings},
    store::StoreError,
};

/// Entries that are read at once.
const PAGE: u32 = 1000;
/// How names of what recovery set aside begin.
const SET_ASIDE: &str = "damaged-";

/// Flags of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The gateway's data folder.
    #[arg(long, env = "KANTALOUPE_GATEWAY_DATA_DIR", required_unless_present = "file")]
    data_dir: Option<PathBuf>,
    /// An export of the whole audit, to be checked instead of a data folder.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The export has only some of the entries: of one organisation of several, or filtered.
    #[arg(long, requires = "file")]
    partial: bool,
    /// Number and hash of an entry that was written down elsewhere, as NUMBER:HASH; the audit has to hold it.
    #[arg(long, value_parser = head)]
    expect: Option<Head>,
    /// A log of the agents of one cluster, to be held against the audit; may be given for each replica.
    #[arg(long, requires = "cluster")]
    agent_log: Vec<PathBuf>,
    /// Id of that cluster.
    #[arg(long)]
    cluster: Option<String>,
}

/// Why it could not be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the journal: {0}")]
    Journal(io::Error),
    #[error("writing the answer: {0}")]
    Out(#[from] io::Error),
    /// It was checked, and is not what was written.
    #[error("{0}")]
    Unsound(Fault),
}

/// Reads `NUMBER:HASH`.
fn head(text: &str) -> Result<Head, String> {
    let (seq, hash) = text.split_once(':').ok_or("it is not NUMBER:HASH")?;
    Ok(Head {
        seq: seq.parse().map_err(|_| "the number cannot be read".to_owned())?,
        hash: hash.parse().map_err(|error| format!("{error}"))?,
    })
}

/// Checks, and tells what was found on `out`.
pub(crate) async fn verify(args: &VerifyArgs, out: &mut impl io::Write) -> Result<(), VerifyError> {
    let agents = agents(&args.agent_log)?;
    let mut comparison = args
        .cluster
        .as_deref()
        .filter(|_| !args.agent_log.is_empty())
        .map(|cluster| Comparison::new(cluster, &agents));
    let mut recordings = Recordings::default();
    let mut each = |entry: &Entry<'_>| {
        recordings.take(entry);
        if let Some(comparison) = &mut comparison {
            comparison.take(entry);
        }
    };
    let walk = match (&args.file, &args.data_dir) {
        (Some(file), _) => exported(file, args, &mut each, out)?,
        (None, Some(dir)) => kept(dir, args.expect, &mut each, out).await?,
        (None, None) => return Ok(()),
    };
    let head = walk.head;
    if let Err(unsound) = walk.finish() {
        writeln!(out, "{} entries are sound, up to {}", walk.count, head.seq)?;
        let fault = Fault::new(
            Code::AUDIT_002,
            format!("The audit is not what was written: {unsound}"),
        );
        return Err(VerifyError::Unsound(fault));
    }
    writeln!(
        out,
        "sound: {} entries; the last is {}:{}",
        walk.count, head.seq, head.hash
    )?;
    if let Some(dir) = args.data_dir.as_deref().filter(|_| args.file.is_none()) {
        tell_recordings(&recordings.check(dir), out)?;
    }
    match comparison.map(Comparison::finish) {
        Some(compared) => tell(&compared, out),
        None => Ok(()),
    }
}

fn tell_recordings(checked: &Checked, out: &mut impl io::Write) -> Result<(), VerifyError> {
    let Checked {
        sound,
        removed,
        wrong,
    } = checked;
    if sound + removed + wrong.len() > 0 {
        writeln!(
            out,
            "recordings: {sound} are sound, {removed} were removed by retention"
        )?;
    }
    let Some(first) = wrong.first() else {
        return Ok(());
    };
    for what in wrong {
        writeln!(out, "  {what}")?;
    }
    let what = format!(
        "{} recordings are not what was written; the first: {first}",
        wrong.len()
    );
    Err(VerifyError::Unsound(Fault::new(Code::AUDIT_006, what)))
}

/// Reads an export, which begins anywhere.
fn exported(
    file: &Path,
    args: &VerifyArgs,
    each: &mut impl FnMut(&Entry<'_>),
    out: &mut impl io::Write,
) -> Result<Walk, VerifyError> {
    let failed = |error| VerifyError::File {
        path: file.to_owned(),
        error,
    };
    let mut walk: Option<Walk> = None;
    for line in io::BufReader::new(fs::File::open(file).map_err(failed)?).split(b'\n') {
        let line = line.map_err(failed)?;
        if line.is_empty() {
            continue;
        }
        if walk.is_none() {
            let before = Entry::open(&line).map_or(Head::START, |(entry, _)| Head {
                seq: entry.seq.saturating_sub(1),
                hash: entry.prev,
            });
            writeln!(out, "the export begins with entry {}", before.seq + 1)?;
            let whole = Walk::new(before, args.expect);
            walk = Some(if args.partial { whole.partial() } else { whole });
        }
        if let Some(entry) = walk.as_mut().and_then(|walk| walk.take(&line)) {
            each(&entry);
        }
    }
    Ok(walk.unwrap_or_else(|| Walk::new(Head::START, args.expect)))
}

/// Reads database and journal of a data folder.
async fn kept(
    dir: &Path,
    expected: Option<Head>,
    each: &mut impl FnMut(&Entry<'_>),
    out: &mut impl io::Write,
) -> Result<Walk, VerifyError> {
    let store = match fs::exists(dir.join(FILE)) {
        Ok(true) => Some(AuditStore::read_only(dir).await?),
        Ok(false) => None,
        Err(error) => {
            return Err(VerifyError::File {
                path: dir.join(FILE),
                error,
            });
        }
    };
    let anchor = match &store {
        Some(store) => store.anchor().await?,
        None => None,
    };
    match anchor {
        Some(anchor) => writeln!(
            out,
            "entries 1 to {} were removed by retention; the rest follows {}",
            anchor.seq, anchor.hash
        )?,
        None => writeln!(out, "nothing was removed by retention")?,
    }
    if let Some((expected, anchor)) = expected.zip(anchor).filter(|(e, a)| e.seq < a.seq) {
        writeln!(
            out,
            "entry {} was removed by retention (up to {}): its hash cannot be compared any more",
            expected.seq, anchor.seq
        )?;
    }
    let mut walk = Walk::new(anchor.unwrap_or(Head::START), expected);
    let rows = from_database(store.as_ref(), walk.head.seq, &mut walk, each).await?;
    writeln!(out, "database: up to entry {rows}")?;
    from_journal(dir, store.as_ref(), rows, &mut walk, each, out).await?;
    if let Some(store) = store {
        store.close().await;
    }
    Ok(walk)
}

/// Takes what the database has after a row; says its last row.
async fn from_database(
    store: Option<&AuditStore>,
    mut after: u64,
    walk: &mut Walk,
    each: &mut impl FnMut(&Entry<'_>),
) -> Result<u64, VerifyError> {
    let Some(store) = store else {
        return Ok(after);
    };
    loop {
        let rows = store.page(&Query::default(), Page::After(after), PAGE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(after);
        };
        after = *last;
        for (row, line) in &rows {
            let expected = walk.head.seq + 1;
            if *row > expected && !walk.is_damaged() {
                walk.damaged(Damage::Missing(expected, row - 1));
            }
            if let Some(entry) = walk.take(line.as_bytes()) {
                each(&entry);
            }
        }
    }
}

/// Takes what the journal has beyond it. What it has still of what the database has too must be the same.
async fn from_journal(
    dir: &Path,
    store: Option<&AuditStore>,
    mut rows: u64,
    walk: &mut Walk,
    each: &mut impl FnMut(&Entry<'_>),
    out: &mut impl io::Write,
) -> Result<(), VerifyError> {
    let folder = dir.join(FOLDER);
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let segments = match journal::segments(&folder) {
        Err(error) if missing(&error) => return Ok(()),
        other => other.map_err(VerifyError::Journal)?,
    };
    for segment in segments {
        let content = match journal::content(&folder, segment) {
            // A running gateway has brought it into the database meanwhile.
            Err(error) if missing(&error) => continue,
            other => other.map_err(VerifyError::Journal)?,
        };
        if segment > rows + 1 {
            rows = from_database(store, rows, walk, each).await?;
        }
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else {
                writeln!(
                    out,
                    "journal: {} bytes at the end are no whole entry: just being written, or torn",
                    line.len()
                )?;
                break;
            };
            match number(line) {
                Some(seq) if seq <= rows => compare_both(store, walk, seq, line).await?,
                _ => {
                    if let Some(entry) = walk.take(line) {
                        each(&entry);
                    }
                }
            }
        }
    }
    let files = fs::read_dir(&folder).map_err(VerifyError::Journal)?;
    for file in files.flatten() {
        let name = file.file_name();
        if name.to_string_lossy().starts_with(SET_ASIDE) {
            writeln!(out, "set aside by an earlier start: {}", name.display())?;
        }
    }
    Ok(())
}

async fn compare_both(
    store: Option<&AuditStore>,
    walk: &mut Walk,
    seq: u64,
    line: &[u8],
) -> Result<(), VerifyError> {
    let Some(store) = store.filter(|_| !walk.is_damaged()) else {
        return Ok(());
    };
    let query = Query::default();
    let rows = store.page(&query, Page::After(seq.saturating_sub(1)), 1).await?;
    if let Some((row, kept)) = rows.first()
        && *row == seq
        && kept.as_bytes() != line
    {
        walk.damaged(Damage::Changed(seq));
    }
    Ok(())
}

/// The agents' entries, their own chains checked.
fn agents(files: &[PathBuf]) -> Result<Vec<agent_log::Entry>, VerifyError> {
    let mut entries = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).map_err(|error| VerifyError::File {
            path: path.clone(),
            error,
        })?;
        let verified = agent_log::verify(text.lines()).map_err(|broken| {
            let what = format!(
                "The agent's log {} is not what was written: {broken}",
                path.display()
            );
            VerifyError::Unsound(Fault::new(Code::AUDIT_002, what))
        })?;
        entries.extend(verified.entries);
    }
    Ok(entries)
}

fn tell(compared: &Compared, out: &mut impl io::Write) -> Result<(), VerifyError> {
    writeln!(
        out,
        "the agent's log: {} requests are the same on both sides",
        compared.same
    )?;
    if compared.before > 0 {
        writeln!(
            out,
            "the agent's log: {} requests are from before the audit begins",
            compared.before
        )?;
    }
    for difference in &compared.differences {
        writeln!(out, "  {difference}")?;
    }
    if compared.differences.is_empty() {
        return Ok(());
    }
    let count = compared.differences.len() + compared.more;
    let what = format!("The audit and the agent's log differ in {count} requests");
    Err(VerifyError::Unsound(Fault::new(Code::AUDIT_003, what)))
}

#[cfg(test)]
mod tests;
