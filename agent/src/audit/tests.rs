use std::io::Write;

use kantaloupe_proto::{agent_log::verify, request::parse};
use tracing_subscriber::{fmt, layer::SubscriberExt};

use super::*;

/// What is logged as JSON, as `logging::init` sets it up.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// Captures what this thread logs.
    pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let captured = Self::default();
        let writer = captured.clone();
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        (captured, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    /// The entries so far, after their chain was checked.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let found = verify(self.text().lines()).unwrap();
        assert!(found.cut.is_empty());
        found.entries
    }
}

fn asked(path: &str) -> Asked {
    Asked {
        id: Some("r-1".to_owned()),
        user: Some("alice".to_owned()),
        role: Some("admin".to_owned()),
        info: parse(&http::Method::GET, path, Some("token=canary")).ok(),
        path: path.to_owned(),
        ..Asked::default()
    }
}

#[tokio::test]
async fn lines_can_be_read_back_and_their_chain_holds() {
    // Two dispatchers, else tracing remembers the interest of whichever thread comes first.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let (captured, _guard) = Captured::start();
    let log = Arc::new(AuditLog::new());
    log.refused(&asked("/api/v1/namespaces/a/pods/b/exec"), "local_exec", 403);
    let pending = log.begin(asked("/version"));
    pending.answered(http::StatusCode::OK);
    let body = Arc::clone(&pending);
    body.sent(5);
    body.received(3);
    drop(pending);
    assert_eq!(captured.entries().len(), 1, "it is still under way");
    drop(body);
    drop(log.begin(asked("/api/v1/pods")));
    log.begin(asked(&format!("/api/%2e%2e/{}", "x".repeat(1000))))
        .failed("unreachable", http::StatusCode::SERVICE_UNAVAILABLE);

    let entries = captured.entries();
    let short: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry.seq,
                entry.decision.as_str(),
                entry.reason.as_deref(),
                entry.status,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            (1, "deny", Some("local_exec"), Some(403)),
            (2, "allow", None, Some(200)),
            (3, "allow", Some("gone"), None),
            (4, "allow", Some("unreachable"), Some(503)),
        ]
    );
    let exec = &entries[0];
    assert_eq!(
        [
            &exec.verb,
            &exec.group,
            &exec.resource,
            &exec.subresource,
            &exec.namespace,
            &exec.name
        ]
        .map(|text| text.as_deref()),
        [
            Some("connect"),
            Some(""),
            Some("pods"),
            Some("exec"),
            Some("a"),
            Some("b")
        ]
    );
    assert_eq!(
        (exec.id.as_deref(), exec.user.as_deref(), exec.path.as_deref()),
        (Some("r-1"), Some("alice"), None)
    );
    let version = &entries[1];
    assert_eq!(
        (version.verb.as_deref(), version.path.as_deref()),
        (Some("get"), Some("/version"))
    );
    assert_eq!((version.received, version.sent), (3, 5));
    assert!(
        version.at.ends_with('Z') && version.at.len() == "2026-01-02T03:04:05.678Z".len(),
        "{}",
        version.at
    );
    assert_eq!(entries[2].resource.as_deref(), Some("pods"));
    assert_eq!(
        (
            entries[3].verb.as_deref(),
            entries[3].path.as_ref().unwrap().len()
        ),
        (None, MAX_PATH)
    );
    let text = captured.text();
    assert!(!text.contains("canary"), "no query gets into the log");
    // A line that somebody changed later shows.
    let forged = text.replacen("alice", "mallory", 1);
    assert!(verify(forged.lines()).is_err());
}

#[tokio::test]
async fn each_process_has_a_chain_of_its_own() {
    assert_ne!(AuditLog::new().chain, AuditLog::new().chain);
}
