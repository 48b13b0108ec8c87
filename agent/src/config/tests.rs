use kantaloupe_policy::{Namespaces, Profile};

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "POD_NAME" => Some("agent-0".to_owned()),
        "POD_NAMESPACE" => Some("kantaloupe-system".to_owned()),
        _ => None,
    }
}

fn findings(text: &str) -> Vec<Finding> {
    Config::parse(text, env).expect_err("must be refused").0
}

const PIN: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn a_full_file_is_understood() {
    let text = format!(
        "controlPlane: {{url: 'https://gw.example.com:8443/prefix/', caPin: '{PIN}'}}
cluster: {{id: c-1a2b3c4d, organization: acme}}
enrollment: {{tokenFile: /tmp/token}}
identity: {{secretName: other}}
tls: {{caFile: /tmp/ca.pem}}
access: {{profile: admin}}
health: {{listen: '127.0.0.1:0'}}
logging: {{format: text, level: debug}}
drain: {{timeout: 1500ms}}
"
    );
    let config = Config::parse(&text, env).unwrap();
    assert_eq!(config.url.as_str(), "https://gw.example.com:8443/prefix");
    assert_eq!(config.pin.unwrap().to_string(), PIN);
    assert_eq!(config.cluster_id.as_deref(), Some("c-1a2b3c4d"));
    assert_eq!(config.token_file, Path::new("/tmp/token"));
    assert_eq!(config.secret_name, "other");
    assert_eq!(config.ca_file.as_deref(), Some(Path::new("/tmp/ca.pem")));
    assert_eq!(config.policy.profile, Profile::Admin);
    assert_eq!(config.organization.as_deref(), Some("acme"));
    assert_eq!(config.health_listen.port(), 0);
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.log_level, "debug");
    assert_eq!(config.drain_timeout, Duration::from_millis(1500));
    assert_eq!(config.pod_name, "agent-0");
    assert_eq!(config.pod_namespace, "kantaloupe-system");
}

#[test]
fn only_the_url_is_required_and_empty_values_count_as_absent() {
    let config = Config::parse(
        "controlPlane: {url: https://gw.example.com, caPin: ''}\ntls: {caFile: ''}\ncluster:\n",
        env,
    )
    .unwrap();
    assert_eq!(config.pin, None);
    assert_eq!(config.ca_file, None);
    assert_eq!(config.cluster_id, None);
    assert_eq!(
        config.token_file,
        Path::new("/var/run/kantaloupe/enrollment/token")
    );
    assert_eq!(config.secret_name, "kantaloupe-agent-identity");
    let mut defaults = LocalPolicy::new(Profile::Observe);
    defaults.own_namespace = Some("kantaloupe-system".to_owned());
    assert_eq!(config.policy, defaults);
    assert_eq!(config.organization, None);
    assert_eq!(config.health_listen, "0.0.0.0:9090".parse().unwrap());
    assert_eq!(config.drain_timeout, Duration::from_secs(45));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let error = Config::parse(
        "controlPlane: {url: 'http://gw', caPin: 'sha256:zz', capin: x}
cluster: {id: nope, organization: a b}
access: {profile: root, namespaces: [A, ''], exec: perhaps, services: [web, {a: b}], logs: [], port-forward: true}
health: {listen: '9090'}
logging: {format: xml, level: loud}
drain: {timeout: 45}
drian: {}
",
        |_| None,
    )
    .unwrap_err();
    let places: Vec<&str> = error.0.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "controlPlane.url",
            "controlPlane.caPin",
            "controlPlane.capin",
            "cluster.id",
            "cluster.organization",
            "access.profile",
            "access.namespaces[1]",
            "access.namespaces",
            "access.exec",
            "access.logs",
            "access.services[0]",
            "access.services[1]",
            "access.port-forward",
            "health.listen",
            "logging.format",
            "logging.level",
            "drain.timeout",
            "drian",
            "env POD_NAME",
            "env POD_NAMESPACE",
        ]
    );
    let text = error.fault().to_string();
    for place in places {
        assert!(text.contains(place), "{place} is missing in: {text}");
    }
    assert!(text.contains("KTA-CFG-002"), "{text}");
}

#[test]
fn the_owners_limits_are_read() {
    let access = |text: &str| {
        let text = format!("controlPlane: {{url: https://gw}}\naccess: {text}");
        Config::parse(&text, env).map(|config| config.policy)
    };
    let policy = access(
        "{profile: operate, namespaces: [team-a, team-b], exec: false, logs: 'false', portForward: false, proxy: true,
  services: ['monitoring/grafana:3000', default/web:http]}",
    )
    .unwrap();
    assert_eq!(policy.namespaces, "team-a,team-b".parse().unwrap());
    assert_eq!(
        (policy.exec, policy.logs, policy.port_forward, policy.proxy),
        (false, false, false, true)
    );
    let services: Vec<String> = policy.services.iter().map(ToString::to_string).collect();
    assert_eq!(services, ["monitoring/grafana:3000", "default/web:http"]);
    assert_eq!(policy.own_namespace.as_deref(), Some("kantaloupe-system"));
    let text = "controlPlane: {url: https://gw}\naccess: {namespaces: [a], logs: false, services: ['a/b:1']}";
    let limits = Config::parse(text, env).unwrap().access_limits();
    assert_eq!(
        (limits.namespaces, limits.services),
        (vec!["a".to_owned()], vec!["a/b:1".to_owned()])
    );
    assert!(limits.exec && !limits.logs);
    assert_eq!(access("{namespaces: []}").unwrap().namespaces, Namespaces::All);
    // What could be meant as "none" never reads as "all".
    for bad in [
        "{namespaces: ['']}",
        "{namespaces: [null]}",
        "{namespaces: '*'}",
        "{namespaces: ['*']}",
        "{namespaces: [a, a]}",
        "{namespaces: {a: b}}",
        "{services: ['*/*:*']}",
        "{services: default/web}",
        "{exec: 'no'}",
        "{exec: 0}",
    ] {
        assert!(access(bad).is_err(), "{bad}");
    }
}

#[test]
fn urls() {
    let url = |text: &str| Config::parse(&format!("controlPlane: {{url: '{text}'}}"), env);
    for (given, normal) in [
        ("https://gw.example.com/", "https://gw.example.com/"),
        ("https://gw.example.com", "https://gw.example.com/"),
        ("https://GW.example.com:443/a/b//", "https://gw.example.com/a/b"),
        ("https://[::1]:8443", "https://[::1]:8443/"),
    ] {
        assert_eq!(url(given).unwrap().url.as_str(), normal, "{given}");
    }
    for given in [
        "gw.example.com",
        "http://gw.example.com",
        "ftp://gw.example.com",
        "https://",
        "https://user@gw.example.com",
        "https://gw.example.com/?a=b",
        "https://gw.example.com/#a",
        "https://gw.example.com:99999",
    ] {
        assert_eq!(url(given).unwrap_err().0[0].code, Code::CFG_002, "{given}");
    }
}

#[test]
fn durations() {
    for (text, millis) in [
        ("0s", Some(0)),
        ("500ms", Some(500)),
        ("2m", Some(120_000)),
        ("1h", Some(3_600_000)),
    ] {
        assert_eq!(parse_duration(text).ok().map(|d| d.as_millis()), millis, "{text}");
    }
    for text in [
        "",
        "45",
        "s",
        "-1s",
        "1.5s",
        "2h",
        "99999999999999999999s",
        "18446744073709551615h",
        "1 s",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn broken_files() {
    for (text, problem) in [
        ("a: [", "not valid YAML"),
        ("- a", "expected keys"),
        ("controlPlane: https://gw", "expected a section"),
        ("controlPlane: {url: [a]}", "expected a single value"),
        ("controlPlane: {url: https://a, url: https://b}", "not valid YAML"),
        ("1: 2\ncontrolPlane: {url: https://a}", "unknown key"),
    ] {
        let all = findings(text);
        assert!(all[0].problem.contains(problem), "{text}: {all:?}");
    }
}

#[test]
fn a_missing_and_an_oversized_file_are_findings_not_panics() {
    let missing = Config::load(Path::new("/nonexistent/agent.yaml")).unwrap_err();
    assert_eq!(missing.0[0].code, Code::CFG_001);
    assert!(missing.0[0].problem.contains("cannot be read"));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'#'; 300 * 1024]).unwrap();
    assert!(
        Config::load(file.path()).unwrap_err().0[0]
            .problem
            .contains("at most")
    );
}

fn monitoring(section: &str) -> Monitoring {
    let text = format!("controlPlane: {{url: https://gw.example.com}}\nmonitoring: {section}\n");
    Config::parse(&text, env).unwrap().monitoring
}

#[test]
fn prometheus_is_looked_for_unless_its_address_is_given() {
    let found = monitoring("");
    assert_eq!(
        (found.url.clone(), found.discover, found.is_on()),
        (None, true, true)
    );
    assert!(!monitoring("{discover: false}").is_on());
    let given =
        monitoring("{url: 'https://p.example.com/prom/', usernameFile: /u, passwordFile: /p, caFile: /ca}");
    assert_eq!(given.url.unwrap().as_str(), "https://p.example.com/prom");
    assert_eq!(given.ca_file.as_deref(), Some(Path::new("/ca")));
    let basic = Auth::Basic {
        username: "/u".into(),
        password: "/p".into(),
    };
    assert_eq!(given.auth, basic);
    let bearer = monitoring("{url: 'http://p:9090', bearerTokenFile: /t}");
    assert_eq!(bearer.auth, Auth::Bearer("/t".into()));
}

#[test]
fn mistakes_in_monitoring_are_named() {
    let places = |section: &str| -> Vec<String> {
        let text = format!("controlPlane: {{url: https://gw.example.com}}\nmonitoring: {section}\n");
        findings(&text).into_iter().map(|finding| finding.place).collect()
    };
    for (section, place) in [
        ("{url: 'p:9090'}", "monitoring.url"),
        ("{url: 'http://u:secret@p'}", "monitoring.url"),
        ("{url: 'http://p/?x=1'}", "monitoring.url"),
        ("{discover: maybe}", "monitoring.discover"),
        ("{url: 'http://p', usernameFile: /u}", "monitoring.passwordFile"),
        ("{url: 'http://p', passwordFile: /u}", "monitoring.usernameFile"),
        (
            "{url: 'http://p', bearerTokenFile: /t, usernameFile: /u}",
            "monitoring.bearerTokenFile",
        ),
        ("{bearerTokenFile: /t}", "monitoring.url"),
        ("{token: x}", "monitoring.token"),
    ] {
        assert_eq!(places(section), [place], "{section}");
    }
}
