use std::sync::Arc;

use clap::Parser as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    audit::{Audit, Phase, run},
    config::AuditConfig,
};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: VerifyArgs,
}

/// What `audit verify` says, and the code of what it found.
async fn check(args: &[&str]) -> (String, Option<Code>) {
    let args = Cli::try_parse_from(["verify"].iter().chain(args)).unwrap().args;
    let mut out = Vec::new();
    let result = verify(&args, &mut out).await;
    let mut said = String::from_utf8(out).unwrap();
    let code = match result {
        Ok(()) => None,
        Err(VerifyError::Unsound(fault)) => {
            said.push_str(&fault.to_string());
            Some(fault.code())
        }
        Err(other) => panic!("{other}"),
    };
    (said, code)
}

async fn check_dir(dir: &TempDir) -> (String, Option<Code>) {
    check(&["--data-dir", dir.path().to_str().unwrap()]).await
}

/// An audit with its start and so many entries in the database, and so many more in the journal.
async fn audit(stored: u32, waiting: u32) -> (Arc<Audit>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(dir.path(), AuditConfig::default()).await.unwrap());
    write(&audit, stored);
    let stop = CancellationToken::new();
    stop.cancel();
    run(Arc::clone(&audit), stop).await;
    write(&audit, waiting);
    (audit, dir)
}

fn write(audit: &Audit, count: u32) {
    for n in 0..count {
        audit.note(&mut Entry {
            name: n.to_string().into(),
            ..Entry::new(Phase::Event)
        });
    }
}

#[tokio::test]
async fn a_sound_audit_is_said_to_be_so_beside_a_running_gateway() {
    let (audit, dir) = audit(10, 5).await;
    let (said, code) = check_dir(&dir).await;
    assert_eq!(code, None, "{said}");
    let head = audit.head();
    assert!(
        said.contains(&format!("sound: 16 entries; the last is 16:{}", head.hash)),
        "{said}"
    );
    assert!(said.contains("database: up to entry 11"), "{said}");
    // And what somebody has written down is held against it.
    let dir = dir.path().to_str().unwrap();
    let ask = async |text: String| check(&["--data-dir", dir, "--expect", &text]).await;
    assert_eq!(ask(format!("16:{}", head.hash)).await.1, None);
    let (said, code) = ask(format!("17:{}", head.hash)).await;
    assert_eq!(code, Some(Code::AUDIT_002));
    assert!(said.contains("its end was cut off"), "{said}");
    let (said, code) = ask(format!("15:{}", head.hash)).await;
    assert_eq!(code, Some(Code::AUDIT_002));
    assert!(said.contains("entry 15 has the hash"), "{said}");
}

#[tokio::test]
async fn the_first_bad_entry_is_named_whatever_was_done_to_the_database() {
    let cases = [
        (
            "UPDATE entries SET entry = replace(entry, '\"name\":\"3\"', '\"name\":\"4\"') WHERE seq = 5",
            "entry 5 was changed",
            4,
        ),
        (
            "DELETE FROM entries WHERE seq IN (4, 5)",
            "entries 4 to 5 are missing",
            3,
        ),
        (
            "DELETE FROM entries WHERE seq = 1",
            "entries 1 to 1 are missing",
            0,
        ),
        (
            "UPDATE entries SET seq = CASE seq WHEN 4 THEN -7 ELSE 4 END WHERE seq IN (4, 7);
             UPDATE entries SET seq = 7 WHERE seq = -7",
            "entry 7 stands where entry 4 should",
            3,
        ),
        (
            "UPDATE entries SET entry = '{}' WHERE seq = 9",
            "entry 9 is damaged",
            8,
        ),
    ];
    for (sql, expected, sound) in cases {
        let (audit, dir) = audit(10, 2).await;
        for sql in sql.split(';') {
            audit.store.tamper(sql.to_owned()).await;
        }
        let (said, code) = check_dir(&dir).await;
        assert_eq!(code, Some(Code::AUDIT_002), "{sql}: {said}");
        assert!(said.contains(expected), "{sql}: {said}");
        assert!(
            said.contains(&format!("{sound} entries are sound")),
            "{sql}: {said}"
        );
    }
}

#[tokio::test]
async fn a_database_that_differs_from_the_journal_is_noticed_even_if_its_own_chain_is_sound() {
    let (audit, dir) = audit(3, 0).await;
    // Somebody writes the last entry anew, with a hash that fits. The journal still has the true one.
    let rows = audit
        .store
        .page(&Query::default(), Page::After(3), 1)
        .await
        .unwrap();
    let (mut forged, _) = Entry::open(rows[0].1.as_bytes()).unwrap();
    forged.name = "forged".into();
    let mut line = Vec::new();
    forged.seal(&mut line);
    line.pop();
    let line = String::from_utf8(line).unwrap();
    audit
        .store
        .tamper(format!("UPDATE entries SET entry = '{line}' WHERE seq = 4"))
        .await;
    let (said, code) = check_dir(&dir).await;
    assert_eq!(code, Some(Code::AUDIT_002), "{said}");
    assert!(said.contains("entry 4 was changed"), "{said}");
}

#[tokio::test]
async fn what_retention_removed_is_told_and_is_no_damage() {
    let (audit, dir) = audit(10, 3).await;
    audit.store.remove_through(6, "now").await.unwrap();
    let (said, code) = check_dir(&dir).await;
    assert_eq!(code, None, "{said}");
    assert!(
        said.contains("entries 1 to 6 were removed by retention"),
        "{said}"
    );
    assert!(said.contains("sound: 8 entries"), "{said}");
    // Removed by somebody else, and not by retention.
    audit
        .store
        .tamper("DELETE FROM entries WHERE seq = 7".to_owned())
        .await;
    let (said, code) = check_dir(&dir).await;
    assert_eq!(code, Some(Code::AUDIT_002), "{said}");
    assert!(said.contains("entries 7 to 7 are missing"), "{said}");
}

#[tokio::test]
async fn an_export_is_checked_like_the_folder() {
    let (audit, dir) = audit(10, 0).await;
    let rows = audit
        .store
        .page(&Query::default(), Page::After(4), 100)
        .await
        .unwrap();
    let lines: Vec<_> = rows.into_iter().map(|(_, line)| line).collect();
    let file = dir.path().join("export.jsonl");
    let ask = async |lines: &[String]| {
        fs::write(&file, lines.join("\n")).unwrap();
        check(&["--file", file.to_str().unwrap()]).await
    };
    let (said, code) = ask(&lines).await;
    assert_eq!(code, None, "{said}");
    assert!(said.contains("begins with entry 5"), "{said}");
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let (said, code) = ask(&swapped).await;
    assert_eq!(code, Some(Code::AUDIT_002));
    assert!(said.contains("entry 8 stands where entry 7 should"), "{said}");
}

#[tokio::test]
async fn an_agents_log_is_held_against_the_audit() {
    let (audit, dir) = audit(0, 0).await;
    audit.note(&mut Entry {
        id: "r-1".into(),
        cluster: "c-1".into(),
        user: "ann".into(),
        ..Entry::new(Phase::Begin)
    });
    let line = |id: &str, seq: u64, prev: &str| {
        let entry = agent_log::Entry {
            chain: "x".to_owned(),
            seq,
            prev: prev.to_owned(),
            at: jiff::Timestamp::now().to_string(),
            id: Some(id.to_owned()),
            user: Some("ann".to_owned()),
            decision: "allow".to_owned(),
            ..agent_log::Entry::default()
        };
        let mut value = serde_json::to_value(&entry).unwrap();
        value["target"] = agent_log::TARGET.into();
        value["hash"] = entry.hash().into();
        (value.to_string(), entry.hash())
    };
    let (one, hash) = line("r-1", 1, agent_log::FIRST);
    let (two, _) = line("r-2", 2, &hash);
    let file = dir.path().join("agent.log");
    let args = [
        "--data-dir",
        dir.path().to_str().unwrap(),
        "--cluster",
        "c-1",
        "--agent-log",
        file.to_str().unwrap(),
    ];
    fs::write(&file, format!("{{}}\n{one}\n")).unwrap();
    let (said, code) = check(&args).await;
    assert_eq!(code, None, "{said}");
    assert!(said.contains("1 requests are the same"), "{said}");
    fs::write(&file, format!("{one}\n{two}\n")).unwrap();
    let (said, code) = check(&args).await;
    assert_eq!(code, Some(Code::AUDIT_003), "{said}");
    assert!(said.contains("r-2: only the agent has it"), "{said}");
    fs::write(&file, format!("{}\n", one.replace("ann", "bob"))).unwrap();
    let (said, code) = check(&args).await;
    assert_eq!(code, Some(Code::AUDIT_002), "{said}");
}
