use super::*;

macro_rules! fixture {
    ($name:literal) => {
        build_info(include_bytes!(concat!(
            "../../../../tests/fixtures/metrics/api-buildinfo-",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

fn known(info: BuildInfo) -> Server {
    match info {
        BuildInfo::Known(server) => server,
        BuildInfo::Victoria => panic!("taken for VictoriaMetrics"),
    }
}

#[test]
fn prometheus_is_supported_from_2_37_on() {
    let server = known(fixture!("prometheus-3.5.0"));
    assert_eq!(
        (server.kind, server.version.as_deref()),
        (ServerKind::Prometheus, Some("3.5.0"))
    );
    assert_eq!(server.is_supported(), Some(true));
    assert_eq!(
        known(fixture!("prometheus-2.36.2-too-old")).is_supported(),
        Some(false)
    );
    for (version, supported) in [
        ("2.37.0", Some(true)),
        ("2.37.0-rc.1", Some(true)),
        ("v2.5.0", Some(false)),
        ("10.0.0", Some(true)),
        ("unknown", None),
    ] {
        let server = Server {
            kind: ServerKind::Prometheus,
            version: Some(version.to_owned()),
            name: None,
        };
        assert_eq!(server.is_supported(), supported, "{version}");
    }
}

#[test]
fn victoria_metrics_is_told_apart_old_and_new() {
    for info in [fixture!("victoriametrics"), fixture!("victoriametrics-old")] {
        assert_eq!(info, BuildInfo::Victoria);
    }
    // A Prometheus 2.24.0 has a revision.
    let old = br#"{"status":"success","data":{"version":"2.24.0","revision":"02e92236a8bad3503ff5eec3e04ac205a3b8e4fe"}}"#;
    assert_eq!(known(build_info(old).unwrap()).is_supported(), Some(false));
    let server = victoria(None);
    assert_eq!(
        (server.version.as_deref(), server.is_supported()),
        (None, Some(true))
    );
}

#[test]
fn the_version_of_victoria_metrics_is_in_its_metrics() {
    let long = "victoria-metrics-20231116-165345-tags-v1.95.1-0-g1b4fc8d15c";
    let metrics = format!("a 1\nvm_app_version{{version=\"{long}\", short_version=\"v1.95.1\"}} 1\n");
    assert_eq!(victoria_version(metrics.as_bytes()).as_deref(), Some("v1.95.1"));
    let metrics = format!("vm_app_version{{version=\"{long}\", short_version=\"\"}} 1\n");
    assert_eq!(victoria_version(metrics.as_bytes()).as_deref(), Some("v1.95.1"));
    assert_eq!(
        victoria_version(b"vm_app_version{version=\"\", short_version=\"\"} 1\n"),
        None
    );
    assert_eq!(victoria_version(b"<html>"), None);
}

#[test]
fn others_have_versions_of_their_own() {
    let thanos =
        known(build_info(br#"{"status":"success","data":{"version":"0.34.1","revision":"x"}}"#).unwrap());
    assert_eq!((thanos.kind, thanos.is_supported()), (ServerKind::Other, None));
    let mimir =
        br#"{"status":"success","data":{"application":"Grafana Mimir","version":"2.10.0","revision":"x"}}"#;
    assert_eq!(
        known(build_info(mimir).unwrap()).name.as_deref(),
        Some("Grafana Mimir")
    );
    for nonsense in [
        &b""[..],
        b"<html>",
        br#"{"status":"error","data":{}}"#,
        br#"{"status":"success"}"#,
    ] {
        assert_eq!(build_info(nonsense), None);
    }
}
