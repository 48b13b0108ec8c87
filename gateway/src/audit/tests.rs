//! The audit as a whole.

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

async fn open(dir: &TempDir, config: AuditConfig) -> std::sync::Arc<Audit> {
    std::sync::Arc::new(Audit::open(dir.path(), config).await.unwrap())
}

fn write(audit: &Audit, name: &str) -> Result<(), JournalError> {
    audit.admit(&mut Entry {
        name: name.to_owned().into(),
        ..Entry::new(Phase::Begin)
    })
}

/// Brings everything into the database, as a process that ends does.
async fn ingest(audit: &std::sync::Arc<Audit>) {
    let stop = CancellationToken::new();
    stop.cancel();
    run(std::sync::Arc::clone(audit), stop).await;
}

/// All entries in the database, which have to be one chain.
async fn stored(audit: &Audit) -> Vec<(String, String, String)> {
    let mut head = audit.store.anchor().await.unwrap().unwrap_or(Head::START);
    let rows = audit
        .store
        .page(&Query::default(), Page::After(0), 10_000)
        .await
        .unwrap();
    let entries = rows.iter().map(|(_, line)| {
        let entry = head.follow(line.as_bytes()).unwrap();
        (
            entry.verb.to_string(),
            entry.name.to_string(),
            entry.reason.to_string(),
        )
    });
    entries.collect()
}

#[tokio::test]
async fn what_is_written_is_in_the_database_a_moment_later_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(&dir, AuditConfig::default()).await;
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(std::sync::Arc::clone(&audit), stop.clone()));
    write(&audit, "a").unwrap();
    audit.flush().await;
    let names = |entries: Vec<(String, String, String)>| -> Vec<String> {
        entries
            .into_iter()
            .map(|(verb, name, _)| format!("{verb}{name}"))
            .collect()
    };
    assert_eq!(names(stored(&audit).await), ["start", "a"]);
    // As a crash leaves it: "b" is in the journal only.
    task.abort();
    let _ = task.await;
    write(&audit, "b").unwrap();
    audit.store.close().await;
    drop(audit);
    let audit = open(&dir, AuditConfig::default()).await;
    ingest(&audit).await;
    assert_eq!(names(stored(&audit).await), ["start", "a", "b", "start"]);
}

#[tokio::test]
async fn a_full_disk_refuses_or_lets_pass_and_the_gap_is_told() {
    for failure in [AuditFailure::Refuse, AuditFailure::Allow] {
        let dir = tempfile::tempdir().unwrap();
        let config = AuditConfig {
            failure,
            ..AuditConfig::default()
        };
        let audit = open(&dir, config).await;
        write(&audit, "a").unwrap();
        audit.journal.simulate_full_disk(Some(40));
        for _ in 0..3 {
            assert_eq!(write(&audit, "b").is_err(), failure == AuditFailure::Refuse);
        }
        audit.note(&mut Entry::new(Phase::End));
        assert_eq!(audit.metrics.lost.get(), 4);
        audit.journal.simulate_full_disk(None);
        write(&audit, "c").unwrap();
        ingest(&audit).await;
        let entries = stored(&audit).await;
        let last = &entries[entries.len() - 2..];
        assert_eq!((last[0].1.as_str(), last[1].0.as_str()), ("c", "lost"));
        assert!(last[1].2.starts_with("4 entries"), "{last:?}");
        assert_eq!(entries.len(), 4);
    }
}

#[tokio::test]
async fn a_database_that_fails_holds_nobody_up_until_the_backlog_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let config = AuditConfig {
        max_backlog: 200_000,
        ..AuditConfig::default()
    };
    let audit = open(&dir, config).await;
    ingest(&audit).await;
    audit.store.simulate_full_disk(true).await;
    let mut written = 0;
    while write(&audit, "x").is_ok() {
        written += 1;
        assert!(written < 10_000);
    }
    assert!(written > 100, "{written}");
    ingest(&audit).await;
    assert_eq!(*audit.stored.borrow(), 1, "nothing is taken out of the journal");
    audit.store.simulate_full_disk(false).await;
    ingest(&audit).await;
    assert_eq!(audit.journal.backlog(), 0);
    write(&audit, "y").unwrap();
    ingest(&audit).await;
    assert_eq!(
        stored(&audit).await.len(),
        written + 3,
        "with start, y and the gap"
    );
}

#[tokio::test]
async fn retention_removes_by_size_and_the_chain_goes_on_from_its_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let config = AuditConfig {
        max_bytes: 300_000,
        ..AuditConfig::default()
    };
    let audit = open(&dir, config).await;
    let stop = CancellationToken::new();
    for n in 0..3000 {
        write(&audit, &n.to_string()).unwrap();
    }
    let task = tokio::spawn(run(std::sync::Arc::clone(&audit), stop.clone()));
    let removed = async {
        while audit.metrics.removed.get() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), removed).await.unwrap();
    stop.cancel();
    task.await.unwrap();
    assert!(audit.store.bytes().await.unwrap() <= config.max_bytes);
    let entries = stored(&audit).await;
    let last = entries.last().unwrap();
    assert_eq!(last.0, "remove");
    assert!(last.2.contains("retention removed entries 1 to "), "{last:?}");
    assert!(entries.len() > 100, "{}", entries.len());
}

#[tokio::test]
async fn strangers_do_not_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(&dir, AuditConfig::default()).await;
    let before = audit.head().seq;
    for _ in 0..1000 {
        audit.refused_stranger(&mut Entry::new(Phase::End));
    }
    assert!(audit.head().seq - before <= 101);
    assert!(audit.metrics.summed.get() >= 899);
}
