use http::Method;
use kantaloupe_proto::request::parse;
use proptest::prelude::*;

use super::*;

mod chart;
mod local;

fn asked(request: &str) -> RequestInfo {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(p, q)| (p, Some(q)));
    parse(&method.parse::<Method>().unwrap(), path, query).unwrap()
}

fn grant(role: Role, namespaces: &[&str]) -> Grant {
    let namespaces = match namespaces {
        [] => Namespaces::All,
        names => Namespaces::only(names.iter().copied()).unwrap(),
    };
    Grant { role, namespaces }
}

/// `METHOD target | least role | least role with a grant for namespace a`, a dash for nobody.
const ROLES: &str = "
GET /version                                                        | viewer   | viewer
GET /api                                                            | viewer   | viewer
GET /api/v1                                                         | viewer   | viewer
GET /apis/apps/v1                                                   | viewer   | viewer
GET /openapi/v3                                                     | viewer   | viewer
GET /readyz                                                         | viewer   | viewer
HEAD /readyz                                                        | admin    | -
GET /readyz/etcd                                                    | admin    | -
GET /metrics                                                        | admin    | -
GET /                                                               | admin    | -
GET /logs/kube-apiserver.log                                        | admin    | -
GET /debug/pprof/heap                                               | admin    | -
POST /api                                                           | admin    | -
POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews         | viewer   | viewer
POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews          | viewer   | viewer
POST /apis/authentication.k8s.io/v1/selfsubjectreviews              | viewer   | viewer
POST /apis/authorization.k8s.io/v1/subjectaccessreviews             | admin    | -
POST /apis/authentication.k8s.io/v1/tokenreviews                    | admin    | -
GET /api/v1/namespaces/a/pods                                       | viewer   | viewer
GET /api/v1/namespaces/a/pods?watch=1                               | viewer   | viewer
GET /api/v1/watch/namespaces/a/pods                                 | viewer   | viewer
GET /api/v1/namespaces/a/pods/x                                     | viewer   | viewer
GET /api/v1/namespaces/a/pods/x/status                              | admin    | admin
GET /api/v1/namespaces/b/pods                                       | viewer   | -
GET /api/v1/pods                                                    | viewer   | -
GET /api/v1/pods?watch=1                                            | viewer   | -
GET /api/v1/watch/pods                                              | viewer   | -
GET /api/v1/pods?fieldSelector=metadata.namespace=a                 | viewer   | -
GET /api/v1/pods?fieldSelector=metadata.name=a                      | viewer   | -
GET /api/v1/namespaces                                              | viewer   | -
GET /api/v1/namespaces?fieldSelector=metadata.name=a                | viewer   | -
GET /api/v1/namespaces/a                                            | viewer   | viewer
GET /api/v1/namespaces/b                                            | viewer   | -
PATCH /api/v1/namespaces/a                                          | admin    | -
DELETE /api/v1/namespaces/a                                         | admin    | -
PUT /api/v1/namespaces/a/finalize                                   | admin    | -
POST /api/v1/namespaces                                             | admin    | -
GET /api/v1/nodes                                                   | viewer   | -
PATCH /api/v1/nodes/n1                                              | operator | -
DELETE /api/v1/nodes/n1                                             | admin    | -
GET /api/v1/namespaces/a/pods/x/log                                 | operator | operator
GET /api/v1/namespaces/a/pods/x/exec?command=sh                     | operator | operator
POST /api/v1/namespaces/a/pods/x/exec                               | operator | operator
POST /api/v1/namespaces/a/pods/x/attach                             | operator | operator
GET /api/v1/namespaces/a/pods/x/portforward                         | operator | operator
POST /api/v1/namespaces/b/pods/x/portforward                        | operator | -
GET /api/v1/watch/namespaces/a/pods/x/exec                          | operator | operator
GET /api/v1/namespaces/a/pods/x/proxy/                              | admin    | admin
GET /api/v1/proxy/namespaces/a/pods/x                               | admin    | admin
GET /api/v1/namespaces/a/services/web:80/proxy/                     | admin    | admin
GET /api/v1/nodes/n1/proxy/pods                                     | admin    | -
PATCH /api/v1/namespaces/a/pods/x/ephemeralcontainers               | admin    | admin
DELETE /api/v1/namespaces/a/pods/x                                  | operator | operator
DELETE /api/v1/namespaces/a/pods                                    | admin    | admin
DELETE /api/v1/pods                                                 | admin    | -
POST /api/v1/namespaces/a/pods                                      | admin    | admin
POST /api/v1/namespaces/a/pods/x/eviction                           | operator | operator
POST /api/v1/namespaces/a/serviceaccounts/default/token             | -        | -
POST /api/v1/namespaces/a/serviceaccounts                           | admin    | admin
GET /api/v1/namespaces/a/secrets                                    | admin    | admin
GET /api/v1/secrets                                                 | admin    | -
GET /api/v1/namespaces/a/configmaps                                 | operator | operator
GET /apis/apps/v1/namespaces/a/deployments                          | viewer   | viewer
PATCH /apis/apps/v1/namespaces/a/deployments/web                    | operator | operator
PUT /apis/apps/v1/namespaces/a/deployments/web/scale                | operator | operator
PUT /apis/apps/v1/namespaces/a/deployments/web                      | admin    | admin
GET /apis/extensions/v1/namespaces/a/deployments                    | admin    | admin
GET /apis/metrics.k8s.io/v1beta1/nodes                              | viewer   | -
GET /apis/metrics.k8s.io/v1beta1/namespaces/a/pods?watch=1          | admin    | admin
POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings         | admin    | -
POST /apis/rbac.authorization.k8s.io/v1/namespaces/a/rolebindings   | admin    | admin
PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval | admin | -
POST /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/vm/portforward | admin | admin
OPTIONS /api/v1/namespaces/a/pods                                   | admin    | admin
";

fn rows(table: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut cells = line.split(" | ").map(str::trim);
        (cells.next().unwrap(), cells.collect())
    })
}

#[test]
fn each_request_takes_its_role_and_its_namespace() {
    for (request, expected) in rows(ROLES) {
        let info = asked(request);
        for (namespaces, expected) in [(&[][..], expected[0]), (&["a", "c"], expected[1])] {
            let allowed: Vec<bool> = Role::ALL
                .iter()
                .map(|role| permits(&grant(*role, namespaces), &info).is_ok())
                .collect();
            let wanted: Vec<bool> = Role::ALL
                .iter()
                .map(|role| expected.parse::<Role>().is_ok_and(|least| *role >= least))
                .collect();
            assert_eq!(allowed, wanted, "{request} in {namespaces:?}");
        }
    }
    assert!(rows(ROLES).count() > 60);
}

#[test]
fn refusals_name_the_missing_right_in_kubernetes_words() {
    let text = |grant: &Grant, request: &str| permits(grant, &asked(request)).unwrap_err().to_string();
    assert_eq!(
        text(&grant(Role::Viewer, &[]), "GET /api/v1/namespaces/x/pods/p/exec"),
        r#"cannot create resource "pods/exec" in API group "" in the namespace "x": it takes the role operator there"#
    );
    assert_eq!(
        text(
            &grant(Role::Operator, &[]),
            "POST /apis/rbac.authorization.k8s.io/v1/clusterroles"
        ),
        r#"cannot create resource "clusterroles" in API group "rbac.authorization.k8s.io" at the cluster scope: it takes the role admin"#
    );
    assert_eq!(
        text(&grant(Role::Viewer, &["a", "b"]), "GET /api/v1/pods"),
        r#"cannot list resource "pods" in API group "" at the cluster scope: your role viewer is for the namespaces a, b only"#
    );
    assert_eq!(
        text(
            &grant(Role::Viewer, &["a"]),
            "GET /api/v1/namespaces/b/pods?watch=1"
        ),
        r#"cannot watch resource "pods" in API group "" in the namespace "b": your role viewer is for the namespace a only"#
    );
    assert_eq!(
        text(&grant(Role::Viewer, &[]), "GET /metrics"),
        r#"cannot get path "/metrics": it takes the role admin"#
    );
    assert_eq!(
        text(
            &grant(Role::Admin, &[]),
            "POST /api/v1/namespaces/a/serviceaccounts/default/token"
        ),
        r#"cannot create resource "serviceaccounts/token" in API group "" in the namespace "a": nobody may do this through the gateway"#
    );
    let many: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
    let many = Grant {
        role: Role::Admin,
        namespaces: Namespaces::only(many).unwrap(),
    };
    assert!(text(&many, "GET /api/v1/pods").ends_with("n06, n07 and 12 more only"));
}

#[test]
fn the_least_grant_that_allows_it_is_chosen() {
    let grants = [
        grant(Role::Admin, &["a"]),
        grant(Role::Viewer, &[]),
        grant(Role::Operator, &["a", "b"]),
        grant(Role::Operator, &["a"]),
        grant(Role::Admin, &["c"]),
    ];
    for (request, expected) in [
        ("GET /api/v1/pods", 1),
        ("GET /api/v1/namespaces/a/pods", 1),
        ("GET /api/v1/namespaces/a/pods/x/log", 3),
        ("GET /api/v1/namespaces/b/pods/x/log", 2),
        ("GET /api/v1/namespaces/c/pods/x/log", 4),
        ("GET /api/v1/namespaces/a/secrets", 0),
    ] {
        let info = asked(request);
        assert_eq!(choose(&grants, &info), Ok(&grants[expected]), "{request}");
        assert_eq!(
            choose(grants.iter().rev(), &info),
            Ok(&grants[expected]),
            "{request}"
        );
    }
    let why = |request: &str| choose(&grants, &asked(request)).unwrap_err().reason().clone();
    assert!(
        matches!(why("GET /api/v1/namespaces/d/pods/x/log"), Reason::Namespaces { role: Role::Operator, names } if names.len() == 3)
    );
    assert!(
        matches!(why("GET /api/v1/secrets"), Reason::Namespaces { role: Role::Admin, names } if names.len() == 2)
    );
    assert_eq!(
        choose(&grants[1..2], &asked("GET /api/v1/secrets"))
            .unwrap_err()
            .reason(),
        &Reason::Role(Role::Admin)
    );
    assert_eq!(
        choose(&[], &asked("GET /version")).unwrap_err().reason(),
        &Reason::Role(Role::Viewer)
    );
}

#[test]
fn namespaces_as_a_header_are_read_strictly() {
    for good in ["a", "a,b", "kube-system,team-1,0"] {
        let read: Namespaces = good.parse().unwrap();
        let written = read.header_value().unwrap();
        assert_eq!(written.parse(), Ok(read), "{good}");
    }
    let long = "a".repeat(64);
    for (bad, why) in [
        ("", InvalidNamespaces::Empty),
        (",", InvalidNamespaces::Name),
        ("a,", InvalidNamespaces::Name),
        ("a, b", InvalidNamespaces::Name),
        ("a b", InvalidNamespaces::Name),
        ("*", InvalidNamespaces::Name),
        ("A", InvalidNamespaces::Name),
        ("-a", InvalidNamespaces::Name),
        ("a-", InvalidNamespaces::Name),
        ("a.b", InvalidNamespaces::Name),
        ("a/b", InvalidNamespaces::Name),
        ("ä", InvalidNamespaces::Name),
        (&long, InvalidNamespaces::Name),
        ("a,b,a", InvalidNamespaces::Twice),
    ] {
        assert_eq!(bad.parse::<Namespaces>(), Err(why), "{bad}");
    }
    let count = |n: usize| Namespaces::only((0..n).map(|n| format!("n{n}")));
    assert!(count(MAX_NAMESPACES).is_ok());
    assert_eq!(count(MAX_NAMESPACES + 1), Err(InvalidNamespaces::TooMany));
    assert_eq!(Namespaces::All.header_value(), None);
}

#[test]
fn words_are_read_exactly() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    for profile in Profile::ALL {
        assert_eq!(profile.as_str().parse(), Ok(profile));
    }
    for bad in ["", "Admin", "admin ", "root", "auditor"] {
        assert_eq!(bad.parse::<Role>(), Err(UnknownRole));
        assert_eq!(bad.parse::<Profile>(), Err(UnknownProfile));
    }
}

#[test]
fn rows_of_the_table_do_not_overlap_and_each_is_reached() {
    for rule in table() {
        assert!(rule.role < Role::Admin && !rule.verbs.is_empty());
        for resource in rule.resources {
            let others = table().iter().filter(|other| {
                other.group == rule.group
                    && other.resources.contains(resource)
                    && other.verbs.iter().any(|verb| rule.verbs.contains(verb))
            });
            assert_eq!(others.count(), 1, "{resource} is in two rows with one verb");
        }
    }
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn any_names() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(
        prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        0..4,
    )
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let namespaces = prop_oneof![
        1 => Just(Namespaces::All),
        3 => any_names().prop_map(Namespaces::Only),
    ];
    (any_role(), namespaces).prop_map(|(role, namespaces)| Grant { role, namespaces })
}

/// Requests made of what the table knows and of what it does not.
pub(super) fn any_request() -> impl Strategy<Value = RequestInfo> {
    let mut resources: Vec<String> = vec![
        "/metrics".into(),
        "/api".into(),
        "/apis/x".into(),
        "/logs/a".into(),
    ];
    for (group, names) in table().iter().map(|rule| (rule.group, rule.resources)).chain([
        (
            "",
            &[
                "secrets",
                "pods/proxy",
                "nodes/proxy",
                "serviceaccounts/token",
                "pods/ephemeralcontainers",
            ][..],
        ),
        ("", &["services/proxy", "pods/status", "namespaces/finalize"]),
        ("rbac.authorization.k8s.io", &["clusterroles", "rolebindings"]),
        (
            "example.com",
            &["pods", "widgets", "pods/exec", "pods/log", "things/proxy"],
        ),
    ]) {
        let base = if group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{group}/v1")
        };
        for name in names {
            let (resource, sub) = name
                .split_once('/')
                .map_or((*name, String::new()), |(r, s)| (r, format!("/{s}")));
            for at in [
                "",
                "/namespaces/a",
                "/namespaces/b",
                "/watch/namespaces/c",
                "/watch",
                "/proxy/namespaces/a",
            ] {
                resources.push(format!("{base}{at}/{resource}/x:80{sub}"));
                resources.push(format!("{base}{at}/{resource}"));
            }
        }
    }
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
    let query = prop::sample::select(vec![
        None,
        Some("watch=1"),
        Some("fieldSelector=metadata.name%3Da,metadata.namespace%3Da"),
    ]);
    (method, prop::sample::select(resources), query)
        .prop_filter_map("a watch path with a change", |(method, path, query)| {
            parse(&method.parse::<Method>().unwrap(), &path, query).ok()
        })
}

/// The table read in another way: what RBAC would say to one role in all namespaces.
fn in_the_table(role: Role, info: &RequestInfo) -> bool {
    if role == Role::Admin {
        return true;
    }
    if !info.is_resource_request {
        return info.verb == Verb::Get
            && DISCOVERY.iter().any(|open| match open.split_once('*') {
                Some((prefix, _)) => info.path.starts_with(prefix),
                None => *open == info.path,
            });
    }
    let resource = if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    };
    table().iter().any(|rule| {
        rule.role <= role
            && rule.group == info.api_group
            && rule.resources.contains(&resource.as_str())
            && rule.verbs.contains(&info.verb)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn never_more_than_the_table(grant in any_grant(), info in any_request()) {
        if permits(&grant, &info).is_ok() {
            prop_assert!(in_the_table(grant.role, &info));
            prop_assert!(info.subresource != "token");
            if let Namespaces::Only(names) = &grant.namespaces {
                prop_assert!(names.contains(&info.namespace) || in_the_table(Role::Viewer, &info) && info.namespace.is_empty());
            }
        } else if grant.namespaces == Namespaces::All {
            prop_assert!(!in_the_table(grant.role, &info) || info.subresource == "token");
        }
    }

    #[test]
    fn a_narrower_grant_never_allows_more(wide in any_grant(), role in any_role(), names in any_names(), info in any_request()) {
        let namespaces = match &wide.namespaces {
            Namespaces::All => Namespaces::Only(names),
            Namespaces::Only(all) => Namespaces::Only(all.intersection(&names).cloned().collect()),
        };
        prop_assert!(wide.namespaces.covers(&namespaces));
        let narrow = Grant { role: role.min(wide.role), namespaces };
        if permits(&narrow, &info).is_ok() {
            prop_assert!(permits(&wide, &info).is_ok());
        }
    }

    #[test]
    fn choose_gives_the_least(grants in prop::collection::vec(any_grant(), 0..6), info in any_request()) {
        let allowing: Vec<&Grant> = grants.iter().filter(|grant| permits(grant, &info).is_ok()).collect();
        match choose(&grants, &info) {
            Ok(chosen) => {
                prop_assert!(allowing.contains(&chosen));
                prop_assert!(allowing.iter().all(|other| chosen.role <= other.role));
            }
            Err(_) => prop_assert!(allowing.is_empty()),
        }
    }
}
