use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::audit::entry::Phase;

const PLENTY: u64 = 1 << 30;

fn open(folder: &TempDir, stored: Head, before: Option<Head>) -> (Journal, Recovered) {
    Journal::open(folder.path(), PLENTY, stored, before).unwrap()
}

fn append(journal: &Journal, name: &str) -> Head {
    let mut entry = Entry {
        name: name.to_owned().into(),
        ..Entry::new(Phase::Event)
    };
    journal.append(&mut entry).unwrap()
}

fn start() -> Cursor {
    Cursor {
        segment: 1,
        offset: 0,
    }
}

/// All entries from the start on, checked.
fn all(journal: &Journal) -> Vec<String> {
    let (mut cursor, mut head, mut names) = (start(), Head::START, Vec::new());
    loop {
        let batch = journal.read(cursor).unwrap();
        if batch.lines.is_empty() {
            return names;
        }
        for (seq, line) in &batch.lines {
            let entry = head.follow(line.as_bytes()).unwrap();
            assert_eq!(entry.seq, *seq);
            names.push(entry.name.into_owned());
        }
        cursor = batch.cursor;
    }
}

#[test]
fn entries_outlive_the_process_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(&folder, Head::START, Some(Head::START));
    assert_eq!((recovered.head, recovered.notes.len()), (Head::START, 0));
    let head = append(&journal, "a");
    assert_eq!(head.seq, 1);
    append(&journal, "b");
    let busy = Journal::open(folder.path(), PLENTY, Head::START, Some(Head::START)).unwrap_err();
    assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy, "one process at a time");
    let last = journal.head();
    // As after SIGKILL: nothing is flushed or closed by us.
    drop(journal);
    let (journal, recovered) = open(&folder, Head::START, Some(Head::START));
    assert_eq!((recovered.head, recovered.notes.len()), (last, 0));
    append(&journal, "c");
    assert_eq!(all(&journal), ["a", "b", "c"]);
    let mode = fs::metadata(path(folder.path(), 1)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_torn_end_is_set_aside_and_told_whatever_it_looks_like() {
    let ends: [&[u8]; 4] = [b"{\"seq\":3,\"at\":", &[0; 4096], b"\0\0\0\n", b"{}\n{}\n"];
    for end in ends {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(&folder, Head::START, Some(Head::START));
        append(&journal, "a");
        let last = append(&journal, "b");
        drop(journal);
        let segment = path(folder.path(), 1);
        let mut file = File::options().append(true).open(&segment).unwrap();
        file.write_all(end).unwrap();
        drop(file);
        let (journal, recovered) = open(&folder, Head::START, Some(Head::START));
        assert_eq!(recovered.head, last);
        assert_eq!(recovered.notes.len(), 2, "{:?}", recovered.notes);
        let name = recovered.notes[1].rsplit(' ').next().unwrap();
        assert_eq!(
            fs::read(folder.path().join(name)).unwrap(),
            end,
            "nothing is lost"
        );
        append(&journal, "c");
        assert_eq!(all(&journal), ["a", "b", "c"]);
    }
}

#[test]
fn every_cut_of_the_journal_leaves_a_sound_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(&folder, Head::START, Some(Head::START));
    for name in ["a", "b", "c"] {
        append(&journal, name);
    }
    drop(journal);
    let whole = fs::read(path(folder.path(), 1)).unwrap();
    // Each end of a line, and every few bytes in between.
    let ends = (0..=whole.len())
        .filter(|cut| cut % 17 == 0 || whole[..*cut].ends_with(b"\n") || *cut == whole.len());
    for cut in ends {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), 1), &whole[..cut]).unwrap();
        let (journal, _) = open(&folder, Head::START, Some(Head::START));
        append(&journal, "z");
        let names = all(&journal);
        let lines = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(names.len(), lines + 1);
        assert_eq!(names[..lines], ["a", "b", "c"][..lines]);
    }
}

#[test]
fn damage_in_the_middle_sets_everything_behind_it_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(&folder, Head::START, Some(Head::START));
    let first = append(&journal, "a");
    append(&journal, "b");
    journal.leave_older_than(Timestamp::MAX).unwrap();
    append(&journal, "c");
    drop(journal);
    let file = path(folder.path(), 1);
    let mut content = fs::read(&file).unwrap();
    let at = content.windows(10).position(|w| w == b"\"name\":\"b\"").unwrap();
    content[at + 8] = b'x';
    fs::write(&file, &content).unwrap();
    let (journal, recovered) = open(&folder, Head::START, Some(Head::START));
    assert_eq!(recovered.head, first);
    assert!(
        recovered.notes[0].contains("entry 2 was changed"),
        "{:?}",
        recovered.notes
    );
    let kept = fs::read_dir(folder.path()).unwrap();
    let kept = kept.filter(|f| {
        f.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("damaged")
    });
    assert_eq!(kept.count(), 2, "the rest of the first segment, and the second");
    append(&journal, "d");
    assert_eq!(all(&journal), ["a", "d"]);
}

#[test]
fn a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(&folder, Head::START, Some(Head::START));
    append(&journal, "a");
    for room in [0, 1, 50] {
        journal.simulate_full_disk(Some(room));
        let error = journal.append(&mut Entry::new(Phase::Event)).unwrap_err();
        assert!(matches!(error, JournalError::Write(e) if e.kind() == io::ErrorKind::StorageFull));
        assert_eq!(journal.head().seq, 1);
    }
    journal.simulate_full_disk(None);
    append(&journal, "b");
    assert_eq!(all(&journal), ["a", "b"]);
}

#[test]
fn segments_go_once_they_are_in_the_database_and_the_backlog_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), MAX_LINE + 1000, Head::START, Some(Head::START)).unwrap();
    append(&journal, "a");
    journal.leave_older_than(Timestamp::MAX).unwrap();
    append(&journal, "b");
    let mut refused = None;
    for _ in 0..100 {
        refused = journal.append(&mut Entry::new(Phase::Event)).err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(JournalError::Backlog(_))), "{refused:?}");
    let one = journal.read(start()).unwrap();
    assert_eq!(one.lines.len(), 1);
    journal.stored(one.bytes, 1).unwrap();
    assert_eq!(segments(folder.path()).unwrap(), [2]);
    append(&journal, "c");
    let rest = journal.read(one.cursor).unwrap();
    assert_eq!(rest.lines.first().unwrap().0, 2);
    journal.stored(rest.bytes, rest.lines.last().unwrap().0).unwrap();
    assert_eq!(journal.backlog(), 0);
    assert_eq!(segments(folder.path()).unwrap(), [2], "the one in use stays");
}

#[test]
fn the_database_may_be_ahead_or_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(&folder, Head::START, Some(Head::START));
    append(&journal, "a");
    journal.leave_older_than(Timestamp::MAX).unwrap();
    append(&journal, "b");
    let last = journal.head();
    let (first, second) = (path(folder.path(), 1), path(folder.path(), 2));
    drop(journal);
    fs::remove_file(first).unwrap();
    // Without the database nobody knows entry 1.
    let (journal, recovered) = open(&folder, Head::START, None);
    assert_eq!(recovered.head, last);
    assert!(
        recovered.notes[0].contains("begins with entry 2"),
        "{:?}",
        recovered.notes
    );
    drop(journal);
    // Without the journal the chain goes on from the database.
    fs::remove_file(second).unwrap();
    let (journal, recovered) = open(&folder, last, None);
    assert_eq!((recovered.head, recovered.notes.len()), (last, 0));
    assert_eq!(append(&journal, "c").seq, 3);
}
