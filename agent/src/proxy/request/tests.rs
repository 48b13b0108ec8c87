use http::{Method, Request, StatusCode};

use super::*;

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
        ("accept", "application/json"),
    ]);
    let mut parts = parts(
        Method::GET,
        "https://agent/kubernetes/api/v1/pods?watch=1&limit=5",
        &headers,
    );
    let asked = rewrite(&mut parts).unwrap();
    assert_eq!(
        asked,
        Asked {
            verb: Verb::Watch,
            request_id: "r-1".to_owned()
        }
    );
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
            "impersonate-group: kantaloupe:role:operator",
            "impersonate-user: kantaloupe:user:alice",
        ]
    );
}

#[test]
fn the_path_is_passed_as_it_was_sent() {
    for path in [
        "/api/v1/namespaces/a/services/https:web:443/proxy/a%20b/",
        "/version",
        "/apis/x/v1/y/z:w",
    ] {
        let mut parts = parts(Method::GET, &format!("/kubernetes{path}"), &CALLER);
        rewrite(&mut parts).unwrap();
        assert_eq!(parts.uri.to_string(), path);
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let refused = |method: Method, uri: &str, headers: &[(&str, &str)]| {
        rewrite(&mut parts(method, uri, headers)).expect_err(uri).status
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
    assert_eq!(
        refused(Method::TRACE, "/kubernetes/api", &CALLER),
        StatusCode::BAD_REQUEST
    );
    for headers in [
        &CALLER[..1],
        &CALLER[1..],
        &[],
        &[("kantaloupe-user", ""), ("kantaloupe-role", "admin")],
        &[("kantaloupe-user", "a"), ("kantaloupe-role", "root")],
        &[("kantaloupe-user", "a"), ("kantaloupe-role", "")],
        &[
            ("kantaloupe-user", "a"),
            ("kantaloupe-user", "b"),
            ("kantaloupe-role", "admin"),
        ],
        &[
            ("kantaloupe-user", "a"),
            ("kantaloupe-role", "viewer"),
            ("kantaloupe-role", "admin"),
        ],
    ] {
        assert_eq!(
            refused(Method::GET, "/kubernetes/api", headers),
            StatusCode::BAD_REQUEST,
            "{headers:?}"
        );
    }
}
