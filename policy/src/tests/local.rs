//! The customer's own limits.

use super::*;

fn policy(change: impl FnOnce(&mut LocalPolicy)) -> LocalPolicy {
    let mut policy = LocalPolicy::new(Profile::Admin);
    change(&mut policy);
    policy
}

/// The setting that forbids it to an administrator of the gateway.
fn forbidden_by(policy: &LocalPolicy, request: &str) -> Option<&'static str> {
    let denied = policy
        .permits(&Grant::everywhere(Role::Admin), &asked(request))
        .err()?;
    Some(
        denied
            .setting()
            .unwrap_or_else(|| panic!("{request}: {denied}"))
            .key(),
    )
}

#[test]
fn the_profile_caps_every_role() {
    for (request, expected) in rows(ROLES) {
        let info = asked(request);
        for profile in Profile::ALL {
            let mut policy = LocalPolicy::new(profile);
            (policy.proxy, policy.services) = (true, vec!["a/web:80".parse().unwrap()]);
            for role in Role::ALL {
                let allowed = policy.permits(&Grant::everywhere(role), &info).is_ok();
                let wanted = expected[0]
                    .parse::<Role>()
                    .is_ok_and(|least| role.min(profile.role()) >= least);
                assert_eq!(allowed, wanted, "{request} as {role} under {profile}");
            }
        }
    }
    let denied = LocalPolicy::new(Profile::Observe)
        .permits(
            &Grant::everywhere(Role::Admin),
            &asked("DELETE /api/v1/namespaces/a/pods/x"),
        )
        .unwrap_err();
    assert_eq!(
        denied.to_string(),
        r#"cannot delete resource "pods" in API group "" in the namespace "a": it takes the role operator, and the cluster's owner allows at most viewer (access.profile: observe)"#
    );
}

#[test]
fn switches_forbid_by_every_form_of_a_request() {
    let exec = policy(|policy| (policy.exec, policy.proxy) = (false, true));
    let logs = policy(|policy| (policy.logs, policy.proxy) = (false, true));
    let forward = policy(|policy| (policy.port_forward, policy.proxy) = (false, true));
    let plain = policy(|_| ());
    for (policy, key, requests) in [
        (
            &exec,
            "access.exec",
            &[
                "GET /api/v1/namespaces/a/pods/x/exec?command=sh",
                "POST /api/v1/namespaces/a/pods/x/exec",
                "PUT /api/v1/namespaces/a/pods/x/exec",
                "GET /api/v1/watch/namespaces/a/pods/x/exec",
                "POST /api/v1/namespaces/a/pods/x/attach",
                "GET /api/v1/namespaces/a/pods/x/attach",
                "PATCH /api/v1/namespaces/a/pods/x/ephemeralcontainers",
                "PUT /api/v1/namespaces/a/pods/x/ephemeralcontainers",
                "POST /api/v1/nodes/n1/proxy/exec/a/x/c",
                "POST /apis/example.com/v1/namespaces/a/machines/x/exec",
            ][..],
        ),
        (
            &logs,
            "access.logs",
            &[
                "GET /api/v1/namespaces/a/pods/x/log?follow=1",
                "HEAD /api/v1/namespaces/a/pods/x/log",
                "GET /api/v1/nodes/n1/proxy/containerLogs/a/x/c",
                "GET /logs/",
                "GET /logs/pods/a",
            ],
        ),
        (
            &forward,
            "access.portForward",
            &[
                "GET /api/v1/namespaces/a/pods/x/portforward",
                "POST /api/v1/namespaces/a/pods/x/portforward",
                "POST /api/v1/nodes/n1/proxy/portForward/a/x",
            ],
        ),
        (
            &plain,
            "access.proxy",
            &[
                "GET /api/v1/namespaces/a/pods/x:8080/proxy/",
                "POST /api/v1/namespaces/a/pods/https:x:8443/proxy/a",
                "GET /api/v1/nodes/n1/proxy/pods",
                "GET /api/v1/nodes/n1:10250/proxy/run/a/x/c",
                "GET /api/v1/proxy/nodes/n1/pods",
                "GET /api/v1/proxy/namespaces/a/pods/x",
                "GET /apis/example.com/v1/namespaces/a/things/x/proxy",
            ],
        ),
    ] {
        for request in requests {
            assert_eq!(forbidden_by(policy, request), Some(key), "{request}");
        }
    }
    for request in [
        "GET /api/v1/namespaces/a/pods/x/exec",
        "GET /api/v1/namespaces/a/pods/x/log",
        "GET /api/v1/namespaces/a/pods/x/portforward",
        "GET /logs/x",
    ] {
        assert_eq!(forbidden_by(&plain, request), None, "{request}");
    }
    let on = policy(|policy| policy.proxy = true);
    for request in [
        "GET /api/v1/nodes/n1/proxy/pods",
        "GET /api/v1/namespaces/a/pods/x/proxy/",
    ] {
        assert_eq!(forbidden_by(&on, request), None, "{request}");
    }
}

#[test]
fn namespaces_of_the_owner_hold_for_everybody() {
    let policy = policy(|policy| policy.namespaces = "a,b".parse().unwrap());
    for (request, forbidden) in [
        ("GET /api/v1/namespaces/a/secrets", false),
        ("DELETE /api/v1/namespaces/b/pods", false),
        ("GET /version", false),
        ("GET /api/v1/namespaces/c/pods", true),
        ("GET /api/v1/namespaces/kube-system/secrets", true),
        ("GET /api/v1/pods", true),
        (
            "GET /api/v1/pods?watch=1&fieldSelector=metadata.namespace%3Da",
            true,
        ),
        ("GET /api/v1/watch/pods", true),
        ("GET /api/v1/nodes", true),
        (
            "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            true,
        ),
        ("PATCH /api/v1/namespaces/a", true),
        ("GET /metrics", true),
    ] {
        let expected = forbidden.then_some("access.namespaces");
        assert_eq!(forbidden_by(&policy, request), expected, "{request}");
    }
    // The gateway's own narrowing comes on top.
    let grant = grant(Role::Admin, &["b", "c"]);
    assert!(
        policy
            .permits(&grant, &asked("GET /api/v1/namespaces/b/pods"))
            .is_ok()
    );
    for request in ["GET /api/v1/namespaces/a/pods", "GET /api/v1/namespaces/c/pods"] {
        assert!(policy.permits(&grant, &asked(request)).is_err(), "{request}");
    }
}

#[test]
fn only_listed_services_are_reached() {
    let policy = policy(|policy| {
        policy.services = ["default/web:http", "default/web:8443", "mon/grafana:3000"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        // pods/proxy has no say in this.
        policy.proxy = true;
    });
    for (request, allowed) in [
        ("GET /api/v1/namespaces/default/services/web:http/proxy/", true),
        (
            "GET /api/v1/namespaces/default/services/http:web:http/proxy/a/b",
            true,
        ),
        (
            "POST /api/v1/namespaces/default/services/https:web:8443/proxy/",
            true,
        ),
        ("GET /api/v1/proxy/namespaces/mon/services/grafana:3000/", true),
        ("GET /api/v1/namespaces/default/services/web/proxy/", false),
        ("GET /api/v1/namespaces/default/services/web:/proxy/", false),
        ("GET /api/v1/namespaces/default/services/web:80/proxy/", false),
        (
            "GET /api/v1/namespaces/default/services/https:web:443/proxy/",
            false,
        ),
        (
            "GET /api/v1/namespaces/default/services/web:https:http/proxy/",
            false,
        ),
        (
            "GET /api/v1/namespaces/default/services/ftp:web:http/proxy/",
            false,
        ),
        (
            "GET /api/v1/namespaces/default/services/http:web:http:x/proxy/",
            false,
        ),
        ("GET /api/v1/namespaces/default/services/other:http/proxy/", false),
        ("GET /api/v1/namespaces/mon/services/web:http/proxy/", false),
        ("GET /api/v1/namespaces/default/services/WEB:http/proxy/", false),
        ("GET /api/v1/namespaces/default/services/web%3Ahttp/proxy/", true),
        ("GET /api/v1/services/web:http/proxy/", false),
    ] {
        let expected = (!allowed).then_some("access.services");
        assert_eq!(forbidden_by(&policy, request), expected, "{request}");
    }
    for bad in [
        "",
        "web",
        "a/b",
        "a/b:",
        "a/b:0",
        "a/b:65536",
        "a/b:080",
        "a/b:c/d",
        "/b:1",
        "a/:1",
        "A/b:1",
        "a/b:1:2",
        "*/b:1",
    ] {
        assert_eq!(bad.parse::<ServiceRule>(), Err(InvalidService), "{bad}");
    }
    assert_eq!("a/b:http".parse::<ServiceRule>().unwrap().to_string(), "a/b:http");
}

#[test]
fn the_agents_own_namespace_can_only_be_looked_at() {
    let policy = policy(|policy| policy.own_namespace = Some("kantaloupe-system".to_owned()));
    for (request, forbidden) in [
        ("GET /api/v1/namespaces/kantaloupe-system/pods", false),
        ("GET /api/v1/namespaces/kantaloupe-system/pods/a/log", false),
        (
            "GET /api/v1/namespaces/kantaloupe-system/configmaps?watch=1",
            false,
        ),
        ("GET /api/v1/namespaces/kantaloupe-system", false),
        (
            "PATCH /api/v1/namespaces/kantaloupe-system/configmaps/agent",
            true,
        ),
        (
            "PATCH /apis/apps/v1/namespaces/kantaloupe-system/deployments/agent",
            true,
        ),
        ("DELETE /api/v1/namespaces/kantaloupe-system/pods/agent", true),
        ("GET /api/v1/namespaces/kantaloupe-system/pods/agent/exec", true),
        (
            "GET /api/v1/namespaces/kantaloupe-system/pods/agent/portforward",
            true,
        ),
        (
            "PATCH /api/v1/namespaces/kantaloupe-system/pods/agent/ephemeralcontainers",
            true,
        ),
        ("GET /api/v1/namespaces/kantaloupe-system/secrets", true),
        (
            "GET /api/v1/namespaces/kantaloupe-system/secrets/agent-identity",
            true,
        ),
        ("GET /api/v1/watch/namespaces/kantaloupe-system/secrets", true),
        ("POST /api/v1/namespaces/kantaloupe-system/pods", true),
        ("DELETE /api/v1/namespaces/kantaloupe-system", true),
        (
            "POST /apis/rbac.authorization.k8s.io/v1/namespaces/kantaloupe-system/rolebindings",
            true,
        ),
        ("PATCH /api/v1/namespaces/default/configmaps/agent", false),
    ] {
        let expected = forbidden.then_some("the agent's namespace");
        assert_eq!(forbidden_by(&policy, request), expected, "{request}");
    }
}

fn any_policy() -> impl Strategy<Value = LocalPolicy> {
    let namespaces = prop_oneof![Just(Namespaces::All), any_names().prop_map(Namespaces::Only)];
    let services = prop::sample::subsequence(vec!["a/x:80", "b/x:80", "a/y:80"], 0..3);
    let own = prop::option::of(prop::sample::select(vec!["a", "b"]));
    let switches = any::<(bool, bool, bool, bool)>();
    (
        prop::sample::select(Profile::ALL.to_vec()),
        namespaces,
        switches,
        services,
        own,
    )
        .prop_map(
            |(profile, namespaces, (exec, logs, port_forward, proxy), services, own)| LocalPolicy {
                profile,
                namespaces,
                exec,
                logs,
                port_forward,
                proxy,
                services: services.iter().map(|text| text.parse().unwrap()).collect(),
                own_namespace: own.map(str::to_owned),
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_policy_only_takes_away(policy in any_policy(), grant in any_grant(), info in any_request()) {
        if policy.permits(&grant, &info).is_ok() {
            prop_assert!(permits(&grant, &info).is_ok());
            let ceiling = Grant { role: policy.profile.role(), namespaces: policy.namespaces.clone() };
            prop_assert!(permits(&ceiling, &info).is_ok());
            prop_assert!(policy.exec || !matches!(info.subresource.as_str(), "exec" | "attach" | "ephemeralcontainers"));
            prop_assert!(policy.logs || info.subresource != "log");
            prop_assert!(policy.port_forward || info.subresource != "portforward");
            if info.subresource == "proxy" {
                prop_assert!(policy.proxy || info.resource == "services");
                prop_assert!(info.resource != "services" || !policy.services.is_empty());
            }
        }
    }

    #[test]
    fn a_stricter_policy_never_allows_more(policy in any_policy(), grant in any_grant(), info in any_request(), off in any::<[bool; 5]>()) {
        let mut stricter = policy.clone();
        stricter.exec &= off[0];
        stricter.logs &= off[1];
        stricter.port_forward &= off[2];
        stricter.proxy &= off[3];
        if off[4] {
            stricter.services.clear();
            stricter.profile = Profile::Observe;
        }
        if stricter.permits(&grant, &info).is_ok() {
            prop_assert!(policy.permits(&grant, &info).is_ok());
        }
    }
}
