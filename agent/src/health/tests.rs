use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::testing::plain_get as get;

async fn start() -> (SocketAddr, Arc<Health>, AbortOnDropHandle<()>) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Arc::new(Health::new(Arc::new(Metrics::new())));
    let task = tokio::spawn(serve(listener, Arc::clone(&health)));
    (address, health, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn readiness_says_why_not_and_draining_is_final() {
    let (address, health, _task) = start().await;
    assert_eq!(get(address, "/startupz").await.0, 200);
    assert_eq!(get(address, "/livez").await.0, 200);
    assert_eq!(get(address, "/readyz").await.0, 503);

    health.set(Readiness::NotReady(Arc::new(crate::fault::new(
        Code::NET_002,
        "no such host",
        "gw.example.com",
    ))));
    let (status, body) = get(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("KTA-NET-002") && body.contains("gw.example.com"),
        "{body}"
    );

    health.set(Readiness::Ready);
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".to_owned()));

    health.set(Readiness::Draining);
    health.set(Readiness::Ready);
    assert_eq!(get(address, "/readyz").await, (503, "draining\n".to_owned()));
    assert_eq!(get(address, "/livez").await.0, 200);
    assert_eq!(get(address, "/other").await.0, 404);
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let (address, _health, _task) = start().await;
    let (status, body) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("kantaloupe_agent_build_info{version="), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_runtime_is_seen_and_a_running_one_is_not() {
    let health = Health::new(Arc::new(Metrics::new()));
    tokio::time::advance(STUCK_AFTER).await;
    assert_eq!(
        health.answer(&Method::GET, "/livez").0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let watched = timeout(STUCK_AFTER * 3, health.watchdog()).await;
    assert!(watched.is_err(), "the watchdog never returns");
    assert_eq!(health.answer(&Method::GET, "/livez").0, StatusCode::OK);
}

#[tokio::test]
async fn an_occupied_port_is_a_fault() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let fault = bind(address).await.unwrap_err().to_string();
    assert!(
        fault.contains("KTA-SRV-007") && fault.contains(&address.to_string()),
        "{fault}"
    );
}
