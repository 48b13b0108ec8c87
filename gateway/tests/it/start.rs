//! Starts that fail, and what they say.

use std::os::unix::fs::PermissionsExt as _;

use http::Method;
use kantaloupe_checks::Code;
use kantaloupe_gateway::{
    app::Gateway,
    config::{Config, TlsSource},
};
use serde_json::Value;

use super::client::{Client, Testbed};

#[tokio::test]
async fn data_certificate_and_token_survive_a_restart() {
    let testbed = Testbed::start().await;
    testbed.cluster("prod").await;
    let mode = std::fs::metadata(testbed.dir.path().join("admin-token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (pin, token) = (testbed.gateway.pin.clone(), testbed.client.token.clone());
    let Testbed { gateway, dir, .. } = testbed;
    gateway.shutdown().await;
    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    assert_eq!((&gateway.pin, &client.token), (&pin, &token));
    let (status, _) = client
        .call(Method::GET, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let first = Testbed::start().await;
    for admin in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::local(dir.path());
        *(if admin {
            &mut config.admin_listen
        } else {
            &mut config.listen
        }) = first.gateway.addr;
        let error = Gateway::start(config).await.unwrap_err();
        assert_eq!((error.fault.code(), error.exit_code), (Code::SRV_007, 1));
        assert!(
            error.to_string().contains(&first.gateway.addr.to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made_or_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Gateway::start(Config::local(file.join("data")))
        .await
        .unwrap_err();
    assert_eq!((error.fault.code(), error.exit_code), (Code::SRV_006, 1));
    assert!(error.to_string().contains("file/data"), "{error}");
    // Nobody can write there, not even root.
    let error = Gateway::start(Config::local("/proc/self")).await.unwrap_err();
    assert_eq!(
        (error.fault.code(), error.exit_code),
        (Code::SRV_006, 1),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("gateway.db"),
        "this was a database once, before something wrote over it",
    )
    .unwrap();
    let error = Gateway::start(Config::local(dir.path())).await.unwrap_err();
    assert_eq!(
        (error.fault.code(), error.exit_code),
        (Code::SRV_006, 1),
        "{error}"
    );
}

#[tokio::test]
async fn a_given_certificate_is_served_and_a_foreign_key_is_refused() {
    let (one, two) = (Testbed::start().await, Testbed::start().await);
    let source = |key: &Testbed| TlsSource::Files {
        cert: one.dir.path().join("tls.crt"),
        key: key.dir.path().join("tls.key"),
    };
    let dir = tempfile::tempdir().unwrap();
    let given = Gateway::start(Config {
        tls: source(&one),
        ..Config::local(dir.path())
    })
    .await
    .unwrap();
    assert_eq!((&given.pin, &given.own_ca), (&one.gateway.pin, &None));
    let dir = tempfile::tempdir().unwrap();
    let error = Gateway::start(Config {
        tls: source(&two),
        ..Config::local(dir.path())
    })
    .await
    .unwrap_err();
    assert_eq!((error.fault.code(), error.exit_code), (Code::CFG_001, 2));
    assert!(error.to_string().contains("does not belong"), "{error}");
}

#[tokio::test]
async fn health_and_metrics_are_on_the_second_port() {
    let testbed = Testbed::start().await;
    for path in ["/livez", "/readyz"] {
        assert!(testbed.admin(path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    let metrics = testbed.admin("/metrics").await;
    assert!(
        metrics.contains("kantaloupe_gateway_tunnels 0") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
}
