//! The network's faults against a real listener, and a whole run against an API server and a gateway.

use std::{net::SocketAddr, path::Path};

use http::StatusCode;

use super::*;
use crate::testing::{Certificate, config, gateway::Gateway, handler, install_provider, json as answer};

/// Longer than any of these takes, shorter than the limit of a run.
const BUDGET: Duration = Duration::from_secs(8);

async fn probe_of(config: &Config) -> Vec<Outcome> {
    let control_plane = ControlPlane::new(config).unwrap();
    let probed = control_plane.probe(BUDGET).await;
    network::way(&probed, control_plane.is_pinned(), &config.url)
}

/// Codes that failed or warned; what comes after a failed one names it.
fn wrong(outcomes: &[Outcome]) -> Vec<&str> {
    let is_wrong = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Fail | Verdict::Warn);
    outcomes
        .iter()
        .filter(is_wrong)
        .map(|outcome| outcome.code.as_ref())
        .collect()
}

fn at(address: SocketAddr, certificate: &Certificate) -> Config {
    config(address, Some(certificate.pin()), Path::new("/nonexistent"))
}

#[tokio::test]
async fn the_way_to_a_gateway_is_passed_step_by_step_without_an_identity() {
    let gateway = Gateway::start().await;
    let outcomes = probe_of(&at(gateway.address, &gateway.certificate)).await;
    let passed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Pass)
        .map(|outcome| outcome.code.as_ref())
        .collect();
    let way = [
        "KTA-NET-002",
        "KTA-NET-003",
        "KTA-TLS-002",
        "KTA-TLS-001",
        "KTA-NET-007",
        "KTA-TIME-001",
        "KTA-VER-001",
    ];
    assert_eq!(passed, way, "{outcomes:?}");
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    install_provider();
    let certificate = Certificate::new("localhost");
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let outcomes = probe_of(&at(address, &certificate)).await;
    assert_eq!(wrong(&outcomes), ["KTA-NET-003"], "{outcomes:?}");
    for outcome in outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Skip) {
        assert_eq!(outcome.blocked_by.as_deref(), Some("KTA-NET-003"), "{outcome:?}");
    }
    assert!(outcomes[1].commands[0].starts_with("curl -v"), "{outcomes:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    install_provider();
    let certificate = Certificate::new("localhost");
    let mut config = at("127.0.0.1:1".parse().unwrap(), &certificate);
    config.url = "https://gateway.invalid".parse().unwrap();
    let outcomes = probe_of(&config).await;
    assert_eq!(wrong(&outcomes), ["KTA-NET-002"], "{outcomes:?}");
}

#[tokio::test]
async fn a_wrong_pin_and_a_certificate_that_nobody_trusts() {
    let gateway = Gateway::start().await;
    let other = Certificate::new("localhost");
    let outcomes = probe_of(&at(gateway.address, &other)).await;
    assert_eq!(wrong(&outcomes), ["KTA-TLS-002"], "{outcomes:?}");

    let mut unpinned = at(gateway.address, &gateway.certificate);
    unpinned.pin = None;
    let outcomes = probe_of(&unpinned).await;
    assert_eq!(wrong(&outcomes), ["KTA-TLS-001"], "{outcomes:?}");
}

#[tokio::test]
async fn another_server_and_a_proxy_that_removes_upgrades() {
    install_provider();
    let certificate = Certificate::new("localhost");
    let page = crate::testing::TlsServer::start(
        &certificate,
        handler(|_| async { answer(404, &serde_json::json!({"error": "no such page"})) }),
    )
    .await;
    let outcomes = probe_of(&at(page.address, &certificate)).await;
    assert_eq!(wrong(&outcomes), ["KTA-NET-007"], "{outcomes:?}");

    // The gateway sees no upgrade, and says so with the same code.
    let proxied = crate::testing::TlsServer::start(
        &certificate,
        handler(|request| async move {
            if request.uri().path().ends_with("/challenge") {
                let now = Timestamp::now().as_second();
                answer(
                    200,
                    &serde_json::json!({"nonce": "n", "time": now, "protocolVersion": 1}),
                )
            } else {
                crate::testing::problem(
                    StatusCode::BAD_REQUEST.as_u16(),
                    "KTA-NET-007",
                    "The request asks for no upgrade",
                )
            }
        }),
    )
    .await;
    let outcomes = probe_of(&at(proxied.address, &certificate)).await;
    assert_eq!(wrong(&outcomes), ["KTA-NET-007"], "{outcomes:?}");
}

#[tokio::test]
async fn clocks_that_differ() {
    install_provider();
    let certificate = Certificate::new("localhost");
    for (ahead, verdict) in [
        (0, Verdict::Pass),
        (60, Verdict::Warn),
        (900, Verdict::Fail),
        (-900, Verdict::Fail),
    ] {
        let server = crate::testing::TlsServer::start(
            &certificate,
            handler(move |request| async move {
                if request.uri().path().ends_with("/challenge") {
                    let time = Timestamp::now().as_second() - ahead;
                    answer(
                        200,
                        &serde_json::json!({"nonce": "n", "time": time, "protocolVersion": 1}),
                    )
                } else {
                    crate::testing::problem(401, "KTA-AUTH-007", "The request has no assertion")
                }
            }),
        )
        .await;
        let outcomes = probe_of(&at(server.address, &certificate)).await;
        let clock = outcomes
            .iter()
            .find(|outcome| outcome.code == "KTA-TIME-001")
            .unwrap();
        assert_eq!(clock.verdict, verdict, "{ahead}: {clock:?}");
    }
}

/// Nothing is asked that is not wanted, and a broken configuration does not keep the cluster from being looked at.
#[tokio::test]
async fn without_a_cluster_everything_in_it_is_skipped_and_names_the_cause() {
    install_provider();
    let facts = gather::facts(Ask {
        client: Err("There are no credentials".to_owned()),
        pod: None,
        config: None,
        health: None,
        egress: None,
        monitoring: None,
        nodes: None,
        deadline: Instant::now() + BUDGET,
    })
    .await;
    let outcomes = checks::run(&facts);
    assert_eq!(wrong(&outcomes), ["KTA-K8S-001"]);
    assert!(outcomes[0].message.contains("no credentials"), "{outcomes:?}");
    let rest = outcomes.iter().skip(1);
    assert!(rest.into_iter().all(|outcome| outcome.verdict == Verdict::Skip));
}

fn run_with(verdicts: &[Verdict], partial: bool) -> Run {
    let outcomes = verdicts
        .iter()
        .map(|&verdict| Outcome::new(Code::K8S_007, verdict, "x"))
        .collect();
    let report = Report {
        command: "preflight",
        run_id: String::new(),
        started: Timestamp::UNIX_EPOCH,
        duration_ms: 0,
        cluster: None,
        outcomes,
        partial,
    };
    Run {
        report,
        interrupted: false,
    }
}

#[test]
fn exit_codes() {
    use Verdict::{Fail, Pass, Skip, Unknown, Warn};
    for (verdicts, partial, strict, code) in [
        (&[Pass, Skip, Unknown][..], false, true, 0),
        (&[Pass, Warn], false, false, 0),
        (&[Pass, Warn], false, true, WARNED),
        (&[Warn, Fail], false, false, FAILED),
        (&[Pass], true, false, PARTIAL),
        (&[Fail], true, false, FAILED),
    ] {
        assert_eq!(
            exit_code(&run_with(verdicts, partial), strict),
            code,
            "{verdicts:?}"
        );
    }
}

#[test]
fn every_check_that_is_named_in_the_registry_is_run_by_something() {
    let run: Vec<Code> = checks::codes().collect();
    let elsewhere = ["CFG", "NET", "TLS", "TIME", "VER", "AUTH"];
    for check in all().filter(|check| check.name.is_some()) {
        let by_platform = run.contains(&check.code);
        assert!(
            by_platform || elsewhere.contains(&check.code.area()),
            "{}",
            check.code
        );
    }
}
