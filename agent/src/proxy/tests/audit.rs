//! What the agent writes down of what passes and of what does not.

use super::*;
use crate::audit::tests::Captured;

#[tokio::test]
async fn each_request_and_stream_has_one_line_when_it_has_ended() {
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let (captured, _guard) = Captured::start();
    let kubernetes = api(handler(|request: Request<Incoming>| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let body = Full::from("twelve bytes").map_err(|e| match e {}).boxed_unsync();
    let request = ask(
        Method::POST,
        "/api/v1/namespaces/a/configmaps?secret=canary",
        body,
    );
    assert_eq!(text(bench.send(request).await).await, "twelve bytes");
    eventually("the first line", || captured.entries().len() == 1).await;
    let entry = &captured.entries()[0];
    assert_eq!(
        (entry.decision.as_str(), entry.status, entry.received, entry.sent),
        ("allow", Some(200), 12, 12)
    );
    assert_eq!(
        (
            entry.user.as_deref(),
            entry.role.as_deref(),
            entry.id.as_deref(),
            entry.verb.as_deref()
        ),
        (Some("alice"), Some("admin"), Some("r-1"), Some("create"))
    );

    let kubernetes = api(echo()).await;
    let streams = Bench::new(&kubernetes.config()).await;
    let path = "/kubernetes/api/v1/namespaces/a/pods/b/exec?command=canary";
    let (status, _, response) = streams.upgrade(path, "websocket").await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    soon(stream.read_exact(&mut four)).await.unwrap();
    assert_eq!(lines(&captured), 1, "the stream is still open");
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    eventually("the line of the stream", || lines(&captured) == 2).await;
    let text = captured.text();
    let line = text
        .lines()
        .rfind(|line| line.contains(r#""target":"audit""#))
        .unwrap();
    for part in [
        r#""subresource":"exec""#,
        r#""verb":"connect""#,
        r#""status":101"#,
        r#""received":4"#,
        r#""sent":11"#,
    ] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    assert!(!text.contains("canary"), "a query or a command is in the log");
}

fn lines(captured: &Captured) -> usize {
    captured.text().matches(r#""target":"audit""#).count()
}

#[tokio::test]
async fn what_the_owner_forbids_reaches_nobody_and_is_written_down() {
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let (captured, _guard) = Captured::start();
    let hits: Arc<AtomicUsize> = Arc::default();
    let counter = Arc::clone(&hits);
    let kubernetes = api(handler(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Response::new(full("")) }
    }))
    .await;
    let mut policy = LocalPolicy::new(Profile::Operate);
    (policy.exec, policy.logs) = (false, false);
    let bench = Bench::with(&kubernetes.config(), policy).await;
    let exec = "/kubernetes/api/v1/namespaces/a/pods/b/exec";
    for protocol in ["websocket", "SPDY/3.1"] {
        let (status, _, response) = bench.upgrade(exec, protocol).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(text(response).await.contains("access.exec"));
    }
    for path in ["/api/v1/namespaces/a/pods/b/log", "/api/v1/secrets"] {
        let response = bench.get(path).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let body = text(response).await;
        assert!(
            body.contains(r#""reason":"Forbidden""#) && body.contains("KTA-POL-001"),
            "{body}"
        );
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0);
    let reasons: Vec<_> = captured
        .entries()
        .into_iter()
        .map(|entry| (entry.decision, entry.reason.unwrap()))
        .collect();
    let expected = ["local_exec", "local_exec", "local_logs", "local_profile"];
    assert_eq!(
        reasons,
        expected.map(|reason| ("deny".to_owned(), reason.to_owned()))
    );
    let count = |reason| {
        bench
            .metrics
            .refused
            .get_or_create(&RefusedLabels { reason })
            .get()
    };
    assert_eq!((count("local_exec"), count("local_logs")), (2, 1));
}

#[tokio::test]
async fn a_refusal_has_a_body_but_for_head() {
    let kubernetes = api(handler(|_| async { Response::new(full("")) })).await;
    let mut policy = LocalPolicy::new(Profile::Admin);
    policy.logs = false;
    let bench = Bench::with(&kubernetes.config(), policy).await;
    let path = "/api/v1/namespaces/a/pods/b/log";
    for (method, has_body) in [(Method::HEAD, false), (Method::GET, true)] {
        let response = bench.send(ask(method, path, empty())).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(!text(response).await.is_empty(), has_body);
    }
}
