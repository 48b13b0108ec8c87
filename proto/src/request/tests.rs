use proptest::prelude::*;

use super::*;

/// `METHOD target | verb group version namespace resource subresource name`, a dash for empty.
///
/// The first part follows the tables of Kubernetes' own parser; the differences are said beside the rows.
const RESOURCES: &str = "
GET /api/v1/namespaces                                     | list - v1 - namespaces - -
GET /api/v1/namespaces/other                               | get - v1 other namespaces - other
GET /api/v1/namespaces/other/pods                          | list - v1 other pods - -
GET /api/v1/namespaces/other/pods/foo                      | get - v1 other pods - foo
HEAD /api/v1/namespaces/other/pods/foo                     | get - v1 other pods - foo
GET /api/v1/pods                                           | list - v1 - pods - -
HEAD /api/v1/pods                                          | list - v1 - pods - -
GET /api/v1/watch/pods                                     | watch - v1 - pods - -
GET /api/v1/pods?watch=true                                | watch - v1 - pods - -
GET /api/v1/pods?watch=false                               | list - v1 - pods - -
GET /api/v1/watch/namespaces/other/pods                    | watch - v1 other pods - -
GET /api/v1/namespaces/other/pods?watch=1                  | watch - v1 other pods - -
GET /api/v1/namespaces/other/pods?watch=0                  | list - v1 other pods - -
GET /api/v1/namespaces/other/pods/foo/status               | get - v1 other pods status foo
PUT /api/v1/namespaces/other/finalize                      | update - v1 other namespaces finalize other
PUT /api/v1/namespaces/other/status                        | update - v1 other namespaces status other
PATCH /api/v1/namespaces/other/pods/foo                    | patch - v1 other pods - foo
DELETE /api/v1/namespaces/other/pods/foo                   | delete - v1 other pods - foo
POST /api/v1/namespaces/other/pods                         | create - v1 other pods - -
DELETE /api/v1/nodes                                       | deletecollection - v1 - nodes - -
DELETE /api/v1/namespaces                                  | deletecollection - v1 - namespaces - -
DELETE /api/v1/namespaces/other/pods                       | deletecollection - v1 other pods - -
DELETE /apis/extensions/v1/namespaces/other/pods           | deletecollection extensions v1 other pods - -
POST /apis/extensions/v1/namespaces/other/pods             | create extensions v1 other pods - -
POST /apis/extensions/v1beta3/namespaces/other/pods        | create extensions v1beta3 other pods - -
GET /api/version/resource                                  | list - version - resource - -
GET /apis/group/version/resource/name/subresource          | get group version - resource subresource name
GET /api/version/resource/name/subresource                 | get - version - resource subresource name
GET /apis/batch/v1/job                                     | list batch v1 - job - -
GET /apis/batch/v1/job/foo                                 | get batch v1 - job - foo
GET /apis/batch/v1/job/foo/scale                           | get batch v1 - job scale foo
GET /apis/group/version/resource?fieldSelector=metadata.name=name1            | list group version - resource - name1
GET /apis/group/version/resource?watch=true&fieldSelector=metadata.name=name1 | watch group version - resource - name1
GET /apis/group/version/resource?fieldSelector=foo=bar&labelSelector=baz=qux  | list group version - resource - -
GET /apis/group/version/resource?fieldSelector=metadata.name=name1,foo        | list group version - resource - -
GET /apis/group/version/resource?fieldSelector=metadata.name=name1,foo&watch=true  | watch group version - resource - -
GET /apis/group/version/resource?fieldSelector=metadata.name=name1,foo&watch=false | list group version - resource - -
DELETE /apis/group/version/resource?fieldSelector=foo=bar&labelSelector=baz=qux    | deletecollection group version - resource - -
GET /apis/group/version/resource?fieldSelector=metadata.name=foo&fieldSelector=metadata.name=bar | list group version - resource - foo
GET /apis/group/version/resource/name?fieldSelector=foo=bar                   | get group version - resource - name
GET /apis/group/version/watch/resource?fieldSelector=metadata.name=foo        | watch group version - resource - -
GET /apis/group/version/watch/resource/name?fieldSelector=metadata.name=foo   | watch group version - resource - name
# Kubernetes says get or create for the next ones; here a stream is always connect.
GET /api/v1/namespaces/other/pods/foo/proxy/subpath        | connect - v1 other pods proxy foo
GET /api/v1/proxy/namespaces/other/pods/foo                | connect - v1 other pods proxy foo
GET /api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/subresource | connect - v1 other pods proxy foo
GET /api/v1/namespaces/other/pods/foo/exec?command=ls&stdin=true | connect - v1 other pods exec foo
POST /api/v1/namespaces/other/pods/foo/exec?command=ls     | connect - v1 other pods exec foo
POST /api/v1/namespaces/other/pods/foo/attach              | connect - v1 other pods attach foo
GET /api/v1/namespaces/other/pods/foo/portforward          | connect - v1 other pods portforward foo
DELETE /api/v1/namespaces/other/services/https:foo:443/proxy/ | connect - v1 other services proxy https:foo:443
GET /api/v1/nodes/n1/proxy/metrics/cadvisor                | connect - v1 - nodes proxy n1
GET /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/vm/portforward/22 | connect subresources.kubevirt.io v1 a virtualmachineinstances portforward vm
GET /api/v1/watch/namespaces/other/pods/foo/exec           | connect - v1 other pods exec foo
# More forms that clients send.
GET /api/v1/namespaces/                                    | list - v1 - namespaces - -
GET /api/v1/pods?watch                                     | watch - v1 - pods - -
GET /api/v1/pods?watch=FALSE                               | list - v1 - pods - -
GET /api/v1/pods?watch=false&watch=true                    | list - v1 - pods - -
GET /api/v1/pods?%77atch=1                                 | watch - v1 - pods - -
GET /api/v1/pods?watch=1;x&limit=5                         | list - v1 - pods - -
GET /api/v1/pods?watch=%zz                                 | list - v1 - pods - -
GET /api/v1/namespaces/other/pods/foo?watch=true           | get - v1 other pods - foo
GET /api/v1/namespaces/other/pods?fieldSelector=metadata.name%3Dfoo | list - v1 other pods - foo
GET /api/v1/namespaces/other/pods?fieldSelector=metadata.name==foo  | list - v1 other pods - foo
GET /api/v1/namespaces/other/pods?fieldSelector=metadata.name!=foo  | list - v1 other pods - -
GET /api/v1/namespaces/other/pods?fieldSelector=metadata.name=..    | list - v1 other pods - -
GET /api/v1/namespaces/other/pods/foo/log?follow=true      | get - v1 other pods log foo
POST /api/v1/namespaces/other/pods/foo/eviction            | create - v1 other pods eviction foo
PATCH /api/v1/namespaces/other/pods/foo/ephemeralcontainers | patch - v1 other pods ephemeralcontainers foo
PUT /apis/apps/v1/namespaces/other/deployments/web/scale   | update apps v1 other deployments scale web
POST /api/v1/namespaces                                    | create - v1 - namespaces - -
DELETE /api/v1/namespaces/other                            | delete - v1 other namespaces - other
OPTIONS /api/v1/pods                                       | options - v1 - pods - -
GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode | get rbac.authorization.k8s.io v1 - clusterroles - system:node
GET /api/v1/namespaces/kube%2dsystem/%73ecrets             | list - v1 kube-system secrets - -
GET /api/v1/namespaces/namespaces/pods                     | list - v1 namespaces pods - -
POST /apis/authentication.k8s.io/v1/selfsubjectreviews     | create authentication.k8s.io v1 - selfsubjectreviews - -
POST /api/v1/namespaces/other/serviceaccounts/default/token | create - v1 other serviceaccounts token default
GET /apis/metrics.k8s.io/v1beta1/nodes                     | list metrics.k8s.io v1beta1 - nodes - -
GET /api/v1/namespaces/a/services/web/proxy/100%25/a%20b   | connect - v1 a services proxy web
";

/// `METHOD path | verb` of requests that are for no resource.
const NON_RESOURCES: &str = "
GET /                            | get
GET /api                         | get
GET /api/                        | get
GET /api/version                 | get
GET /api/version/                | get
GET /apis                        | get
GET /apis/group/version/         | get
GET /apis/version/resource       | get
GET /apis/extensions/v1beta1     | get
GET /badprefix/version/resource  | get
GET /not-api/version/resource    | get
HEAD /healthz                    | head
GET /version?timeout=32s         | get
GET /openapi/v3/apis/apps/v1     | get
POST /livez                      | post
DELETE /metrics                  | delete
PUT /logs/x                      | put
PATCH /x                         | patch
OPTIONS /                        | options
";

fn rows(table: &str) -> impl Iterator<Item = (&str, Method, &str, Option<&str>, Vec<&str>)> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (request, expected) = line.split_once(" | ").unwrap();
            let (method, target) = request.trim().split_once(' ').unwrap();
            let (path, query) = target
                .split_once('?')
                .map_or((target, None), |(path, query)| (path, Some(query)));
            (
                line,
                method.parse().unwrap(),
                path,
                query,
                expected.split_whitespace().collect(),
            )
        })
}

#[test]
fn resources_are_understood_as_the_api_server_does() {
    for (line, method, path, query, expected) in rows(RESOURCES) {
        let info = parse(&method, path, query).unwrap_or_else(|error| panic!("{line}: {error}"));
        let found = [
            info.verb.as_str(),
            &info.api_group,
            &info.api_version,
            &info.namespace,
            &info.resource,
            &info.subresource,
            &info.name,
        ]
        .map(|text| if text.is_empty() { "-" } else { text });
        assert_eq!(found.as_slice(), expected, "{line}");
        assert!(info.is_resource_request && info.path.is_empty(), "{line}");
    }
    assert!(rows(RESOURCES).count() >= 60);
}

#[test]
fn everything_else_is_no_resource() {
    for (line, method, path, query, expected) in rows(NON_RESOURCES) {
        let info = parse(&method, path, query).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(
            info,
            RequestInfo::non_resource(info.verb, path.to_owned()),
            "{line}"
        );
        assert_eq!([info.verb.as_str()].as_slice(), expected, "{line}");
    }
}

#[test]
fn paths_with_two_readings_are_refused() {
    let long = format!("/{}", "x".repeat(MAX_PATH_LEN));
    let table = [
        ("", PathError::NotAbsolute),
        ("*", PathError::NotAbsolute),
        ("api/v1/pods", PathError::NotAbsolute),
        ("http://other/api/v1/pods", PathError::NotAbsolute),
        ("%2fapi/v1/pods", PathError::NotAbsolute),
        (&long, PathError::TooLong),
        ("//api/v1/secrets", PathError::EmptySegment),
        ("//evil.example.com/api", PathError::EmptySegment),
        ("/api//v1/pods", PathError::EmptySegment),
        ("/api/v1/pods//", PathError::EmptySegment),
        ("/api/v1/../../apis", PathError::DotSegment),
        ("/api/v1/./pods", PathError::DotSegment),
        ("/api/v1/pods/..", PathError::DotSegment),
        ("/..", PathError::DotSegment),
        ("/api/v1/%2e%2e/secrets", PathError::DotSegment),
        ("/api/v1/%2E./secrets", PathError::DotSegment),
        ("/api/v1/.%2e/secrets", PathError::DotSegment),
        ("/api/v1/%252e%252e/secrets", PathError::DotSegment),
        ("/api/v1/100%25/%252e%252e/secrets", PathError::DotSegment),
        ("/api/v1/namespaces/a%2fb/pods", PathError::EncodedSlash),
        ("/api/v1/namespaces/a%2Fb/pods", PathError::EncodedSlash),
        ("/api/v1/namespaces/a%252fb/pods", PathError::EncodedSlash),
        ("/api%2f%2fv1", PathError::EncodedSlash),
        ("/api/v1/pods%2525252e", PathError::Nested),
        ("/api/v1/pods;a=b", PathError::Character),
        ("/api/v1/pods%3ba=b", PathError::Character),
        ("/api/v1/..;/secrets", PathError::Character),
        ("/api\\v1\\pods", PathError::Character),
        ("/api/v1/%5c../pods", PathError::Character),
        ("/api/v1/%255c", PathError::Character),
        ("/api/v1/pods%00", PathError::Character),
        ("/api/v1/pods%2500", PathError::Character),
        ("/api/v1/pods\0", PathError::Character),
        ("/api/v1/pods%0d%0aHost:x", PathError::Character),
        ("/api/v1/pods\n", PathError::Character),
        ("/api/v1/pods%7f", PathError::Character),
        ("/api/v1/pods%c2%85", PathError::Character),
        ("/api/v1/a b", PathError::Character),
        ("/api/v1/pödes", PathError::Character),
        ("/api/v1/pods#fragment", PathError::Character),
        ("/api/v1/pods?x", PathError::Character),
        ("/api/v1/%", PathError::Encoding),
        ("/api/v1/%2", PathError::Encoding),
        ("/api/v1/%zz", PathError::Encoding),
        ("/api/v1/%u002e", PathError::Encoding),
        ("/api/v1/%c0%ae%c0%ae/secrets", PathError::Encoding),
        ("/api/v1/%ff", PathError::Encoding),
        ("/api/v1/watch", PathError::Incomplete),
        ("/api/v1/watch/", PathError::Incomplete),
        ("/apis/apps/v1/proxy", PathError::Incomplete),
    ];
    for (path, expected) in table {
        assert_eq!(parse(&Method::GET, path, None), Err(expected), "{path}");
    }
}

#[test]
fn tokens_in_the_query_are_refused() {
    for query in [
        "access_token=x",
        "watch=1&access%5Ftoken=x",
        "ACCESS_TOKEN",
        "a;access_token=x",
        "token=kta_0123456789ab_x",
        "x=%6bta_0123456789ab_x",
        "x=kte_0123456789ab_x",
    ] {
        assert_eq!(
            parse(&Method::GET, "/api/v1/pods", Some(query)),
            Err(PathError::TokenInQuery),
            "{query}"
        );
    }
    for query in [
        "watch=1&continue=abc",
        "labelSelector=access_token%3Dx",
        "x=a_kta_",
        "",
    ] {
        assert!(
            parse(&Method::GET, "/api/v1/pods", Some(query)).is_ok(),
            "{query}"
        );
    }
}

#[test]
fn methods_outside_the_list_are_refused() {
    for method in ["CONNECT", "TRACE", "get", "PROPFIND", "WATCH"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(
            parse(&method, "/api/v1/pods", None),
            Err(PathError::Method),
            "{method}"
        );
    }
}

#[test]
fn a_watch_path_does_not_hide_a_change() {
    for method in [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        assert_eq!(
            parse(&method, "/api/v1/watch/pods", None),
            Err(PathError::WatchMethod),
            "{method}"
        );
    }
}

fn any_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ])
}

/// Pieces out of which tricky paths are made.
fn tricky() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%25",
        "%",
        "%00",
        ";",
        "\\",
        "api",
        "apis",
        "v1",
        "watch",
        "proxy",
        "namespaces",
        "pods",
        "a",
        "exec",
        "status",
        "?",
        "#",
        "é",
        "%c3%a9",
    ]);
    prop::collection::vec(piece, 0..16).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_input_makes_it_panic(method in any_method(), path in any::<String>(), query in any::<Option<String>>()) {
        let _ = parse(&method, &path, query.as_deref());
        let _ = parse(&method, &format!("/api/v1/{path}"), query.as_deref());
    }

    #[test]
    fn what_passes_has_one_reading(method in any_method(), path in tricky()) {
        if let Ok(info) = parse(&method, &path, None) {
            // Decoding again and again never turns it into another path.
            let mut decoded = path.clone();
            for _ in 0..4 {
                prop_assert!(!decoded.contains("//") && !decoded.contains('\\') && !decoded.contains(';'));
                prop_assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert_eq!(slash_count(&decoded), slash_count(&path));
                match path::decode(&decoded) {
                    Ok(next) => decoded = next,
                    Err(_) => break,
                }
            }
            let starts = path::decode(&path).unwrap();
            prop_assert_eq!(
                info.is_resource_request,
                is_resource(&starts),
                "{}", starts
            );
        }
    }

    #[test]
    fn a_stream_is_connect_by_every_method(method in any_method(), name in "[a-z][a-z0-9.-]{0,20}[a-z]") {
        prop_assume!(method != Method::TRACE);
        for subresource in ["exec", "attach", "portforward", "proxy"] {
            let path = format!("/api/v1/namespaces/a/pods/{name}/{subresource}");
            let info = parse(&method, &path, None).unwrap();
            prop_assert_eq!((info.verb, info.subresource.as_str()), (Verb::Connect, subresource));
        }
    }
}

fn slash_count(path: &str) -> usize {
    path.matches('/').count()
}

fn is_resource(decoded: &str) -> bool {
    let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
    match parts[0] {
        "api" => parts.len() >= 3,
        "apis" => parts.len() >= 4,
        _ => false,
    }
}
