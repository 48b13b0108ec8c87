use http::{Method, Request, StatusCode};
use kantaloupe_policy::Profile;

use super::*;

fn rules(profile: Profile) -> Rules {
    Rules {
        policy: LocalPolicy::new(profile),
        organization: None,
    }
}

fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder()
        .method(method)
        .uri(uri)
        .version(Version::HTTP_2);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

const CALLER: [(&str, &str); 3] = [
    ("kantaloupe-user", "alice"),
    ("kantaloupe-role", "operator"),
    ("kantaloupe-request-id", "r-1"),
];

const ADMIN: [(&str, &str); 3] = [
    ("kantaloupe-user", "alice"),
    ("kantaloupe-role", "admin"),
    ("kantaloupe-request-id", "r-1"),
];

#[test]
fn identity_is_translated_and_forgeries_are_dropped() {
    let mut headers = CALLER.to_vec();
    headers.extend([
        ("impersonate-user", "system:admin"),
        ("impersonate-group", "system:masters"),
        ("impersonate-uid", "1"),
        ("impersonate-extra-scopes", "all"),
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("authorization", "Bearer stolen"),
        ("proxy-authorization", "Basic stolen"),
        ("cookie", "session=1"),
        ("host", "gw.example.com"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("audit-id", "forged"),
        ("accept", "application/json"),
    ]);
    let mut parts = parts(
        Method::GET,
        "https://agent/kubernetes/api/v1/pods?watch=1&limit=5",
        &headers,
    );
    let asked = rewrite(&mut parts, &rules(Profile::Operate)).unwrap();
    assert_eq!((asked.verb(), asked.id()), ("watch", "r-1"));
    assert_eq!(parts.uri.to_string(), "/api/v1/pods?watch=1&limit=5");
    assert_eq!(parts.version, Version::HTTP_11);
    let mut left: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "accept: application/json",
            "audit-id: r-1",
            "impersonate-group: kantaloupe:role:operator",
            "impersonate-user: kantaloupe:user:alice",
        ]
    );
}

#[test]
fn the_path_is_passed_as_it_was_sent() {
    for path in [
        "/api/v1/namespaces/a/configmaps/a%20b/",
        "/version",
        "/apis/x/v1/y/z:w",
    ] {
        let mut parts = parts(Method::GET, &format!("/kubernetes{path}"), &ADMIN);
        rewrite(&mut parts, &rules(Profile::Admin)).unwrap();
        assert_eq!(parts.uri.to_string(), path);
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let refused = |method: Method, uri: &str, headers: &[(&str, &str)]| {
        rewrite(&mut parts(method, uri, headers), &rules(Profile::Admin))
            .expect_err(uri)
            .refusal
            .status
    };
    for path in [
        "/kubernetes/api//v1",
        "/kubernetes/api/../secrets",
        "/kubernetes/api/%2e%2e/x",
        "/kubernetes/api/a%2fb",
        "/kubernetes/api/a%00",
        "/kubernetes/api/v1;x",
    ] {
        assert_eq!(
            refused(Method::GET, path, &CALLER),
            StatusCode::BAD_REQUEST,
            "{path}"
        );
    }
    for path in ["/", "/kubernetes", "/kubernetesapi", "/healthz", "/services/a"] {
        assert_eq!(
            refused(Method::GET, path, &CALLER),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    for uri in [
        "http://169.254.169.254/kubernetes/api",
        "https://kubernetes.default.svc/kubernetes/api",
    ] {
        assert_eq!(refused(Method::GET, uri, &CALLER), StatusCode::NOT_FOUND, "{uri}");
    }
    assert!(kantaloupe_tunnel::session::ORIGIN.ends_with(&format!("//{AGENT}")));
    assert_eq!(
        refused(Method::TRACE, "/kubernetes/api", &CALLER),
        StatusCode::BAD_REQUEST
    );
    let long = "a".repeat(129);
    for (name, values) in [
        ("kantaloupe-user", &[][..]),
        ("kantaloupe-user", &[""]),
        ("kantaloupe-user", &["a", "b"]),
        ("kantaloupe-user", &["a", "a"]),
        ("kantaloupe-user", &["system:admin"]),
        ("kantaloupe-user", &["a b"]),
        ("kantaloupe-user", &["a,b"]),
        ("kantaloupe-user", &[long.as_str()]),
        ("kantaloupe-role", &[]),
        ("kantaloupe-role", &[""]),
        ("kantaloupe-role", &["root"]),
        ("kantaloupe-role", &["Admin"]),
        ("kantaloupe-role", &["viewer", "admin"]),
        ("kantaloupe-role", &["viewer,admin"]),
        ("kantaloupe-namespaces", &[""]),
        ("kantaloupe-namespaces", &["*"]),
        ("kantaloupe-namespaces", &["a, b"]),
        ("kantaloupe-namespaces", &["a", "b"]),
        ("kantaloupe-organization", &["a b"]),
        ("kantaloupe-organization", &["a", "b"]),
        ("kantaloupe-actor", &[""]),
        ("kantaloupe-actor", &["system:masters/x"]),
        ("kantaloupe-request-id", &[]),
        ("kantaloupe-request-id", &["a b"]),
        ("kantaloupe-request-id", &["a", "b"]),
    ] {
        let mut headers: Vec<_> = ADMIN.into_iter().filter(|(other, _)| *other != name).collect();
        headers.extend(values.iter().map(|value| (name, *value)));
        assert_eq!(
            refused(Method::GET, "/kubernetes/api", &headers),
            StatusCode::BAD_REQUEST,
            "{name}: {values:?}"
        );
    }
}

/// What is impersonated, or the word for the refusal.
fn outcome(
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    rules: &Rules,
) -> Result<Vec<String>, &'static str> {
    let mut parts = parts(method.clone(), &format!("/kubernetes{path}"), headers);
    rewrite(&mut parts, rules).map_err(|refused| {
        assert!(refused.asked.user.is_some() && refused.asked.id.is_some());
        refused.why
    })?;
    let values = parts.headers.get_all(IMPERSONATE_GROUP).iter();
    Ok(values.map(|value| value.to_str().unwrap().to_owned()).collect())
}

#[test]
fn the_profile_caps_the_role_that_is_impersonated() {
    let get = |path, profile| outcome(&Method::GET, path, &ADMIN, &rules(profile));
    let pods = "/api/v1/pods";
    assert_eq!(get(pods, Profile::Observe).unwrap(), ["kantaloupe:role:viewer"]);
    assert_eq!(get(pods, Profile::Operate).unwrap(), ["kantaloupe:role:operator"]);
    assert_eq!(get(pods, Profile::Admin).unwrap(), ["kantaloupe:role:admin"]);
    let log = "/api/v1/namespaces/a/pods/b/log";
    assert_eq!(get(log, Profile::Observe), Err("local_profile"));
    assert!(get(log, Profile::Operate).is_ok());
    assert_eq!(get("/api/v1/secrets", Profile::Operate), Err("local_profile"));
    // What the gateway's own grant does not include is told apart.
    let viewer = outcome(
        &Method::GET,
        log,
        &[ADMIN[0], ("kantaloupe-role", "viewer"), ADMIN[2]],
        &rules(Profile::Admin),
    );
    assert_eq!(viewer, Err("role"));
}

#[test]
fn namespaces_of_the_grant_and_of_the_owner_both_hold() {
    let mut headers = ADMIN.to_vec();
    headers.push(("kantaloupe-namespaces", "a,b"));
    let mut rules = rules(Profile::Admin);
    let get = |namespace: &str, rules: &Rules| {
        outcome(
            &Method::GET,
            &format!("/api/v1/namespaces/{namespace}/pods"),
            &headers,
            rules,
        )
        .err()
    };
    assert_eq!((get("a", &rules), get("c", &rules)), (None, Some("namespaces")));
    rules.policy.namespaces = "b,c".parse().unwrap();
    assert_eq!(get("a", &rules), Some("local_namespaces"));
    assert_eq!((get("b", &rules), get("c", &rules)), (None, Some("namespaces")));
}

#[test]
fn another_organisation_is_refused_where_the_owner_named_one() {
    let mut rules = rules(Profile::Admin);
    let with =
        |organization: &'static str| [&ADMIN[..], &[("kantaloupe-organization", organization)]].concat();
    let get = |headers: &[(&str, &str)], rules: &Rules| outcome(&Method::GET, "/api", headers, rules);
    assert_eq!(get(&with("other"), &rules).unwrap(), ["kantaloupe:role:admin"]);
    rules.organization = Some("acme".to_owned());
    assert_eq!(
        get(&with("acme"), &rules).unwrap(),
        ["kantaloupe:role:admin", "kantaloupe:org:acme"]
    );
    for headers in [with("other"), with("ACME"), ADMIN.to_vec()] {
        assert_eq!(get(&headers, &rules), Err("local_organization"), "{headers:?}");
    }
}

#[test]
fn refusals_name_the_right_the_setting_and_a_code() {
    let mut rules = rules(Profile::Operate);
    rules.policy.exec = false;
    let message = |path: &str, headers: &[(&str, &str)]| {
        let mut parts = parts(Method::GET, &format!("/kubernetes{path}"), headers);
        let refusal = rewrite(&mut parts, &rules).unwrap_err().refusal;
        assert_eq!(
            (refusal.status, refusal.reason),
            (StatusCode::FORBIDDEN, "Forbidden")
        );
        refusal.message
    };
    assert_eq!(
        message("/api/v1/namespaces/a/pods/b/exec", &CALLER),
        r#"refused by the agent: cannot create resource "pods/exec" in API group "" in the namespace "a": the cluster's owner forbids it (access.exec: false) (KTA-POL-001)"#
    );
    assert!(message("/api/v1/secrets", &CALLER).ends_with("it takes the role admin (KTA-POL-002)"));
    assert!(message("/api/v1/secrets", &ADMIN).contains("access.profile: operate"));
}
