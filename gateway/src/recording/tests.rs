use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use kantaloupe_proto::request;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::{terminal::Protocol, writer::Finished, *};
use crate::{
    audit::{Audit, Entry, Page, Phase, Query, RecordingNote},
    config::AuditConfig,
};

fn recorder(dir: &Path, failure: AuditFailure, session_bytes: u64) -> Arc<Recorder> {
    let config = RecordingConfig {
        mode: RecordMode::Terminals,
        session_bytes,
        total_bytes: 0,
    };
    Arc::new(Recorder::new(dir, config, failure))
}

/// A recording of `acme`, and the file's name.
async fn begin(recorder: &Arc<Recorder>) -> (Uuid, String, Recording) {
    let id = Uuid::now_v7();
    let file = file("acme", id);
    let entry = Entry {
        id: id.to_string().into(),
        organization: "acme".into(),
        user: "ann".into(),
        recording: Some(RecordingNote {
            file: file.as_str().into(),
            bytes: None,
            sha256: None,
        }),
        ..Entry::new(Phase::Begin)
    };
    let entry = serde_json::to_vec(&entry).unwrap();
    let recording = recorder.begin(id, &file, "a test", entry).await.unwrap();
    (id, file, recording)
}

/// A message of a server on stdout.
fn shown(text: &str) -> Vec<u8> {
    let mut message = vec![0x82, 126];
    message.extend_from_slice(&u16::try_from(text.len() + 1).unwrap().to_be_bytes());
    message.push(1);
    message.extend_from_slice(text.as_bytes());
    message
}

fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn audit(dir: &TempDir) -> Arc<Audit> {
    Arc::new(Audit::open(dir.path(), AuditConfig::default()).await.unwrap())
}

const EXEC: &str = "/api/v1/namespaces/a/pods/p/exec";

#[test]
fn terminals_are_what_kubernetes_takes_for_one() {
    let wants = |mode, path: &str, query: &str| {
        let config = RecordingConfig {
            mode,
            ..RecordingConfig::default()
        };
        let info = request::parse(&http::Method::POST, path, Some(query)).unwrap();
        Recorder::new(Path::new("/"), config, AuditFailure::Refuse).wants(&info, Some(query))
    };
    for query in [
        "tty=true",
        "command=sh&tty=1",
        "tty",
        "tty=",
        "tty=yes",
        "%74ty=TRUE",
        "tty=false&tty=true",
    ] {
        assert_eq!(wants(RecordMode::Terminals, EXEC, query), Wanted::Yes, "{query}");
    }
    for query in ["", "command=tty", "tty=false", "tty=False", "tty=0", "x=tty=true"] {
        assert_eq!(wants(RecordMode::Terminals, EXEC, query), Wanted::No, "{query}");
        assert_eq!(wants(RecordMode::All, EXEC, query), Wanted::Yes, "{query}");
    }
    let attach = "/api/v1/namespaces/a/pods/p/attach";
    assert_eq!(wants(RecordMode::Terminals, attach, "tty=1"), Wanted::Yes);
    assert_eq!(wants(RecordMode::Off, attach, "tty=1"), Wanted::No);
    let forward = "/api/v1/namespaces/a/pods/p/portforward";
    assert_eq!(wants(RecordMode::All, forward, "tty=1"), Wanted::No);
    let kubelet = "/api/v1/nodes/n/proxy/exec/a/p/c";
    assert_eq!(wants(RecordMode::Terminals, kubelet, ""), Wanted::Refused);
    assert_eq!(wants(RecordMode::Off, kubelet, ""), Wanted::No);
}

#[tokio::test]
async fn what_was_shown_is_in_the_file_before_the_session_ends_and_has_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path(), AuditFailure::Refuse, 1 << 20);
    let (id, file, recording) = begin(&recorder).await;
    let path = recorder.path(&file);
    let (mut user, gateway) = tokio::io::duplex(1 << 16);
    let mut tap = recording.tap(gateway, Protocol::WebSocket);
    tap.write_all(&shown("hello\r\n")).await.unwrap();
    let mut got = vec![0; 12];
    user.read_exact(&mut got).await.unwrap();
    assert_eq!(got, shown("hello\r\n"), "as it came");
    // Typed, with a mask of zeros: goes on, and is not recorded.
    user.write_all(&[0x82, 0x84, 0, 0, 0, 0, 0, b's', b'e', b'c'])
        .await
        .unwrap();
    let mut typed = [0; 10];
    tap.read_exact(&mut typed).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(events(&path)[1][2], "hello\r\n", "at most a second late");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    tap.write_all(&shown("上")).await.unwrap();
    tap.finish();
    let Finished { note, early, marker } = recording.finish().await;
    assert_eq!((note.file, early), (file.clone().into(), None));
    assert_eq!(note.bytes, Some(path.metadata().unwrap().len()));
    let (hash, _) = mend::hash(&mut fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(note.sha256, Some(hash));
    let shown: String = events(&path)[1..]
        .iter()
        .map(|event| event[2].as_str().unwrap())
        .collect();
    assert_eq!(shown, "hello\r\n上");
    assert!(
        file.starts_with("acme/20") && file.ends_with(&format!("/{id}.cast")),
        "{file}"
    );
    marker.done();
    assert_eq!(fs::read_dir(recorder.path(".open")).unwrap().count(), 0);
    assert!(recorder.active.lock().is_empty());
}

/// Polls a write once.
fn write_once(tap: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> Poll<usize> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(tap).poll_write(&mut cx, bytes).map(Result::unwrap)
}

#[tokio::test]
async fn a_recording_that_is_too_large_ends_its_session_or_goes_on_without() {
    for (failure, goes_on) in [(AuditFailure::Refuse, false), (AuditFailure::Allow, true)] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = recorder(dir.path(), failure, 2000);
        let (_, file, recording) = begin(&recorder).await;
        let (mut user, gateway) = tokio::io::duplex(1 << 16);
        let mut tap = recording.tap(gateway, Protocol::WebSocket);
        for n in 0..10 {
            let message = shown(&format!("{n}{}", "x".repeat(300)));
            if write_once(&mut tap, &message).is_pending() {
                break;
            }
        }
        let mut failed = pin!(recording.failed());
        let ended = failed
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        assert_eq!(ended, !goes_on);
        let why = recording.stopped().unwrap();
        assert!(why.contains("the limit of one session"), "{why}");
        if !goes_on {
            tap.farewell(b"{\"status\":\"Failure\"}").await;
        }
        tap.finish();
        let finished = recording.finish().await;
        assert_eq!(
            finished.early.as_deref().map(|early| early.contains("limit")),
            Some(true)
        );
        assert!(finished.note.sha256.is_some());
        let bytes = recorder.path(&file).metadata().unwrap().len();
        assert!((1500..2600).contains(&bytes), "{bytes}");
        drop(tap);
        let mut got = Vec::new();
        user.read_to_end(&mut got).await.unwrap();
        let farewell = b"\x82\x15\x03{\"status\":\"Failure\"}\x88\x02\x03\xf0";
        assert_eq!(got.ends_with(farewell), !goes_on);
        assert_eq!(
            got.windows(2).any(|pair| pair == b"9x"),
            goes_on,
            "all of it came"
        );
    }
}

/// A disk that takes nothing holds up its own session at a bounded queue. The file is a pipe that nobody reads.
#[tokio::test]
async fn a_slow_disk_holds_up_the_session_and_its_memory_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path(), AuditFailure::Refuse, 1 << 30);
    let places = Arc::clone(&recorder.writes).acquire_many_owned(8).await.unwrap();
    let (_, other, places) = {
        drop(places);
        let begun = begin(&recorder).await;
        let places = Arc::clone(&recorder.writes).acquire_many_owned(8).await.unwrap();
        (begun.1, begun.2, places)
    };
    let (_user, gateway) = tokio::io::duplex(64 << 20);
    let mut tap = other.tap(gateway, Protocol::WebSocket);
    let message = shown(&"y".repeat(30_000));
    let mut passed = 0;
    for _ in 0..1000 {
        // The writer takes what there is once, and waits for the disk with it.
        tokio::task::yield_now().await;
        match write_once(&mut tap, &message) {
            Poll::Ready(len) => passed += len,
            Poll::Pending => break,
        }
    }
    assert!((60_000..300_000).contains(&passed), "{passed}");
    let mut nothing = [0; 16];
    let mut cx = Context::from_waker(Waker::noop());
    let read = Pin::new(&mut tap).poll_read(&mut cx, &mut ReadBuf::new(&mut nothing));
    assert!(read.is_pending(), "the client waits, too");
    drop(places);
    let waited = tokio::time::timeout(Duration::from_secs(5), tap.write_all(&message));
    waited.await.unwrap().unwrap();
    tap.finish();
    let finished = other.finish().await;
    assert_eq!(finished.early, None);
    assert!(finished.note.bytes.unwrap() > passed as u64);
}

#[tokio::test]
async fn a_client_that_sends_something_else_is_ended_also_where_failures_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path(), AuditFailure::Allow, 1 << 20);
    let (_, _, recording) = begin(&recorder).await;
    let (mut user, gateway) = tokio::io::duplex(1 << 16);
    let mut tap = recording.tap(gateway, Protocol::WebSocket);
    user.write_all(&[0x82, 0x02, 0, b'a', b'b']).await.unwrap(); // without a mask
    let mut buffer = [0; 64];
    let mut buffer = ReadBuf::new(&mut buffer);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut tap).poll_read(&mut cx, &mut buffer).is_pending());
    assert!(buffer.filled().is_empty(), "nothing of it goes on");
    recording.failed().await;
    let early = recording.finish().await.early.unwrap();
    assert!(early.contains("not what Kubernetes sends"), "{early}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_refuses_the_session() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FOLDER), "a file").unwrap();
    let recorder = recorder(dir.path(), AuditFailure::Refuse, 1 << 20);
    let id = Uuid::now_v7();
    recorder
        .begin(id, &file("acme", id), "t", Vec::new())
        .await
        .unwrap_err();
    assert!(recorder.active.lock().is_empty());
}

#[tokio::test]
async fn the_next_start_mends_what_a_killed_process_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path(), AuditFailure::Refuse, 1 << 20);
    let (id, file, recording) = begin(&recorder).await;
    let mut tap = recording.tap(tokio::io::sink(), Protocol::WebSocket);
    tap.write_all(&shown("before the end\r\n")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop((tap, recording));
    let path = recorder.path(&file);
    let whole = path.metadata().unwrap().len();
    let mut torn = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut torn, b"[2.0,\"o\",\"torn").unwrap();

    let audit = audit(&dir).await;
    mend(&recorder, &audit);
    assert_eq!(path.metadata().unwrap().len(), whole);
    assert_eq!(events(&path)[1][2], "before the end\r\n");
    let stop = CancellationToken::new();
    let ingest = tokio::spawn(crate::audit::run(Arc::clone(&audit), stop.clone()));
    audit.flush().await;
    let query = Query {
        organization: Some("acme".to_owned()),
        id: Some(id.to_string()),
        recordings: true,
        ..Query::default()
    };
    let rows = audit.store.page(&query, Page::After(0), 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    let entry: Entry<'_> = serde_json::from_str(&rows[0].1).unwrap();
    assert_eq!((entry.phase, &*entry.user), (Phase::Event, "ann"));
    let mut recordings = Recordings::default();
    recordings.take(&entry);
    assert_eq!(recordings.check(dir.path()).sound, 1);
    assert_eq!(fs::read_dir(recorder.path(".open")).unwrap().count(), 0);
    mend(&recorder, &audit);
    // One byte else, one more, none: each is noticed.
    let content = fs::read(&path).unwrap();
    for damage in [0, 1, 2] {
        let mut bytes = content.clone();
        match damage {
            0 => bytes[20] ^= 1,
            1 => bytes.push(b'\n'),
            _ => {}
        }
        fs::write(&path, bytes).unwrap();
        if damage == 2 {
            fs::remove_file(&path).unwrap();
        }
        let checked = recordings.check(dir.path());
        assert_eq!((checked.sound, checked.wrong.len()), (0, 1), "{checked:?}");
    }
    recordings.take(&Entry {
        verb: "remove".into(),
        resource: "recordings".into(),
        name: id.to_string().into(),
        ..Entry::new(Phase::Event)
    });
    let checked = recordings.check(dir.path());
    assert_eq!((checked.removed, checked.wrong.len()), (1, 0), "{checked:?}");
    stop.cancel();
    ingest.await.unwrap();
}

#[tokio::test]
async fn the_oldest_go_when_all_are_too_large_and_the_audit_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(&dir).await;
    let config = RecordingConfig {
        mode: RecordMode::Terminals,
        session_bytes: 1 << 20,
        total_bytes: 2500,
    };
    let recorder = Arc::new(Recorder::new(dir.path(), config, AuditFailure::Refuse));
    // Days ago, of two organisations; 1,000 bytes each.
    let mut files = Vec::new();
    for (days, organization) in [
        (400_u64, "acme"),
        (3, "beta"),
        (2, "acme"),
        (1, "beta"),
        (0, "acme"),
    ] {
        let at = u64::try_from(Timestamp::now().as_second()).unwrap() - days * 86400;
        let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at, 0));
        let path = recorder.path(&file(organization, id));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [b'x'; 1000]).unwrap();
        files.push((id, path));
    }
    recorder.active.lock().insert(files[2].0);
    recorder.retain(&audit).await.unwrap();
    let left: Vec<_> = files.iter().map(|(_, path)| path.exists()).collect();
    // The first is too old (180 days), the second is too much, the third is being written.
    assert_eq!(left, [false, false, true, false, true]);
    assert!(!files[0].1.parent().unwrap().exists());
    let head = audit.head().seq;
    recorder.retain(&audit).await.unwrap();
    assert_eq!(audit.head().seq, head, "nothing more to do");
    assert_eq!(head, 4, "a start, and three removals");
}
