//! 8, 10, 12, 23, 24, 25, 30: what people may not do whose rights are not enough, or not for this, or no longer.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use kantaloupe_tests::{
    bare::{Bare, REVIEW, REVIEW_BODY, Setup, own, shared},
    people::{Role, bind, create, person},
    raw::{Answer, SPDY, WEBSOCKET},
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long something may go on after the right to it was taken away.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

fn is_refused(answer: &Answer) -> bool {
    answer.status == 403
        && answer.body.contains(r#""kind":"Status""#)
        && answer.body.contains(r#""reason":"Forbidden""#)
}

/// Whom the API server takes the owner of a token for.
async fn who(bare: &Bare, token: &str, lines: &[&str]) -> anyhow::Result<(u16, String)> {
    let answer = bare.review(token, lines).await?;
    let value: Value = serde_json::from_str(&answer.body)?;
    let name = value.pointer("/status/userInfo/username").and_then(Value::as_str);
    Ok((answer.status, name.unwrap_or_default().to_owned()))
}

#[test]
fn n08_acting_as_others() -> anyhow::Result<()> {
    shared(async |bare| {
        let deputy = person(bare, "deputy", &[Role::everywhere("admin")]).await?;
        person(bare, "junior", &[Role::everywhere("viewer")]).await?;
        let secrets = "/api/v1/namespaces/team-a/secrets?n08=1";
        // Nobody allowed it, and of these nobody can.
        for line in [
            "Impersonate-User: junior",
            "Impersonate-User: nobody-of-this-name",
            "Impersonate-User: system:admin",
            "Impersonate-User: system:serviceaccount:kube-system:default",
            "Impersonate-User: kantaloupe:user:junior",
            "Impersonate-User: ",
        ] {
            let answer = bare.ask_as(&deputy, "GET", secrets, &[line], "").await?;
            ensure!(is_refused(&answer), "{line}: {answer:?}");
        }
        create(
            bare,
            "/api/v1/impersonators",
            json!({"user": "deputy", "target": "junior"}),
        )
        .await?;
        let found = who(bare, &deputy, &["Impersonate-User: junior"]).await?;
        ensure!(found == (201, "kantaloupe:user:junior".to_owned()), "{found:?}");
        // With the other's rights, not with both.
        let answer = bare
            .ask_as(&deputy, "GET", secrets, &["Impersonate-User: junior"], "")
            .await?;
        ensure!(is_refused(&answer), "{answer:?}");
        for lines in [
            &["Impersonate-User: junior", "Impersonate-Group: system:masters"][..],
            &["Impersonate-Group: system:masters"],
            &["Impersonate-User: junior", "Impersonate-Uid: 0"],
            &["Impersonate-User: junior", "Impersonate-Extra-scopes: all"],
            &["Impersonate-User: junior", "Impersonate-User: admin"],
            &["Impersonate-User: admin"],
        ] {
            let answer = bare.ask_as(&deputy, "GET", secrets, lines, "").await?;
            ensure!(is_refused(&answer), "{lines:?}: {answer:?}");
        }
        ensure!(bare.reached("n08=1")? == 0);
        Ok(())
    })
}

#[test]
fn n10_reading_is_not_entering() -> anyhow::Result<()> {
    shared(async |bare| {
        let reader = person(bare, "reader10", &[Role::everywhere("viewer")]).await?;
        let pod = "/api/v1/namespaces/team-a/pods/good";
        for path in [
            format!("{pod}/exec?command=id&n10"),
            format!("{pod}/attach?n10"),
            format!("{pod}/portforward?ports=80&n10"),
            format!("{pod}/proxy/?n10"),
            format!("{pod}:80/proxy/x?n10"),
            "/api/v1/proxy/namespaces/team-a/pods/good?n10".to_owned(),
            "/api/v1/namespaces/team-a/services/web/proxy/?n10".to_owned(),
            "/api/v1/nodes/fake-node/proxy/run/team-a/good/main?cmd=id&n10".to_owned(),
            "/api/v1/watch/namespaces/team-a/pods/good/exec?n10".to_owned(),
        ] {
            for (method, lines) in [
                ("GET", &WEBSOCKET[..]),
                ("GET", &SPDY),
                ("POST", &SPDY),
                ("GET", &[]),
                ("POST", &[]),
            ] {
                let answer = bare.ask_as(&reader, method, &path, lines, "").await?;
                ensure!(
                    is_refused(&answer) || answer.status == 400,
                    "{method} {path}: {answer:?}"
                );
            }
        }
        for (method, path) in [
            (
                "POST",
                "/api/v1/namespaces/team-a/serviceaccounts/default/token?n10",
            ),
            (
                "PATCH",
                "/api/v1/namespaces/team-a/pods/good/ephemeralcontainers?n10",
            ),
            (
                "PUT",
                "/api/v1/namespaces/team-a/pods/good/ephemeralcontainers?n10",
            ),
            (
                "PUT",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval?n10",
            ),
            ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles?n10"),
            (
                "POST",
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?n10",
            ),
            (
                "PATCH",
                "/apis/rbac.authorization.k8s.io/v1/namespaces/team-a/roles/x?n10",
            ),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews?n10"),
            ("GET", "/api/v1/namespaces/team-a/secrets/canary?n10"),
            ("GET", "/api/v1/watch/namespaces/team-a/secrets?n10"),
            ("GET", "/api/v1/namespaces/team-a/pods/good/log?n10"),
            ("DELETE", "/api/v1/namespaces/team-a/pods?n10"),
            ("POST", "/api/v1/namespaces/team-a/pods/good/eviction?n10"),
            ("POST", "/api/v1/namespaces/team-a/pods/good/binding?n10"),
        ] {
            let answer = bare.ask_as(&reader, method, path, &[], "{}").await?;
            ensure!(is_refused(&answer), "{method} {path}: {answer:?}");
        }
        ensure!(bare.reached("n10")? == 0, "one of them reached the API server");
        // What an admin may do, but not this way, and what nobody may.
        let admin = &bare.gateway.token;
        for path in [
            "/api/v1/namespaces/team-a/serviceaccounts/default/token?never10",
            "/api/v1/nodes/fake-node/proxy/exec?never10",
        ] {
            let answer = bare.ask_as(admin, "POST", path, &[], "{}").await?;
            ensure!(is_refused(&answer), "{path}: {answer:?}");
        }
        ensure!(bare.reached("never10")? == 0);
        Ok(())
    })
}

#[test]
fn n12_a_namespace_is_not_the_cluster() -> anyhow::Result<()> {
    shared(async |bare| {
        let token = person(bare, "tenant12", &[Role::within("operator", &["team-a"])]).await?;
        for (method, path) in [
            ("GET", "/api/v1/pods?n12"),
            ("GET", "/api/v1/pods?watch=1&n12"),
            ("GET", "/api/v1/watch/pods?n12"),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.namespace%3Dteam-a&n12",
            ),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name%3Dgood,metadata.namespace%3Dteam-a&n12",
            ),
            ("GET", "/api/v1/pods?labelSelector=a%3Db&n12"),
            ("GET", "/api/v1/pods?limit=1&continue=x&n12"),
            ("GET", "/api/v1/namespaces/team-b/pods?n12"),
            ("GET", "/api/v1/namespaces/team-b/pods/good/log?n12"),
            ("GET", "/api/v1/watch/namespaces/team-b/pods?n12"),
            ("GET", "/api/v1/namespaces/team-a%20/pods?n12"),
            ("GET", "/api/v1/namespaces/TEAM-A/pods?n12"),
            ("GET", "/api/v1/namespaces/team-a./pods?n12"),
            ("GET", "/api/v1/namespaces?n12"),
            ("GET", "/api/v1/namespaces/team-b?n12"),
            ("GET", "/api/v1/namespaces/kube-system?n12"),
            ("GET", "/api/v1/nodes?n12"),
            ("GET", "/api/v1/persistentvolumes?n12"),
            ("GET", "/apis/apps/v1/deployments?n12"),
            ("DELETE", "/api/v1/namespaces/team-a/pods?n12"),
            ("DELETE", "/api/v1/namespaces/team-a/configmaps?n12"),
            ("DELETE", "/api/v1/namespaces/team-a?n12"),
            ("PATCH", "/api/v1/namespaces/team-a?n12"),
            ("PATCH", "/api/v1/nodes/fake-node?n12"),
            ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews?n12"),
        ] {
            let answer = bare.ask_as(&token, method, path, &[], "").await?;
            ensure!(is_refused(&answer), "{method} {path}: {answer:?}");
        }
        ensure!(bare.reached("n12")? == 0, "one of them reached the API server");
        // A refusal says which namespace would do; and in that one it works.
        let answer = bare.ask_as(&token, "GET", "/api/v1/pods", &[], "").await?;
        ensure!(answer.body.contains("team-a"), "{answer:?}");
        let answer = bare
            .ask_as(&token, "GET", "/api/v1/namespaces/team-a/pods", &[], "")
            .await?;
        ensure!(
            answer.status == 200 && !answer.body.contains("team-b"),
            "{answer:?}"
        );
        Ok(())
    })
}

#[test]
fn n23_nobody_gets_what_was_kept_for_another() -> anyhow::Result<()> {
    shared(async |bare| {
        let one = person(bare, "one23", &[Role::everywhere("operator")]).await?;
        let two = person(bare, "two23", &[Role::within("viewer", &["team-b"])]).await?;
        let binding = bind(bare, "two23", Role::within("viewer", &["team-a"])).await?;
        // In turn on one connection, and at once on many: each gets his own name and rights.
        let mut raw = bare.raw().await?;
        for round in 0..20 {
            let (token, name) = if round % 2 == 0 {
                (&one, "one23")
            } else {
                (&two, "two23")
            };
            raw.send(bare.head(token, "POST", &bare.path(REVIEW), &[], REVIEW_BODY))
                .await?;
            let answer = raw.answer().await?;
            ensure!(
                answer.body.contains(&format!("kantaloupe:user:{name}")),
                "{name}: {answer:?}"
            );
        }
        let names = futures::future::join_all((0..60).map(|round| {
            let token = if round % 2 == 0 { &one } else { &two };
            who(bare, token, &[])
        }))
        .await;
        for (round, found) in names.into_iter().enumerate() {
            let want = if round % 2 == 0 {
                "kantaloupe:user:one23"
            } else {
                "kantaloupe:user:two23"
            };
            ensure!(found?.1 == want, "round {round}");
        }
        for (token, path, want) in [
            (&one, "/api/v1/namespaces/team-a/pods", 200),
            (&two, "/api/v1/namespaces/team-a/pods", 200),
            (&one, "/api/v1/pods", 200),
            (&two, "/api/v1/pods", 403),
            (&two, "/api/v1/namespaces/team-a/pods/good/log", 403),
            (&one, "/api/v1/namespaces/team-a/pods/good/log", 200),
        ] {
            let answer = bare.ask_as(token, "GET", path, &[], "").await?;
            ensure!(answer.status == want, "{path}: {answer:?}");
        }
        // What was worked out once is worked out anew when it changes.
        let path = format!("/api/v1/bindings/{binding}");
        let (status, answer) = bare
            .call(&bare.gateway.token, Method::DELETE, &path, None)
            .await?;
        ensure!(status.is_success(), "{status}: {answer}");
        let answer = bare
            .ask_as(&two, "GET", "/api/v1/namespaces/team-a/pods", &[], "")
            .await?;
        ensure!(is_refused(&answer), "{answer:?}");
        Ok(())
    })
}

#[test]
fn n24_another_organisation_is_not_there() -> anyhow::Result<()> {
    shared(async |bare| {
        let made = create(
            bare,
            "/api/v1/organizations",
            json!({"name": "rival", "administrator": {"name": "boss"}}),
        )
        .await?;
        let boss = made
            .pointer("/token")
            .or_else(|| made.pointer("/administrator/token"))
            .and_then(Value::as_str);
        let boss = boss.with_context(|| made.to_string())?.to_owned();
        let (status, who) = bare.call(&boss, Method::GET, "/api/v1/whoami", None).await?;
        ensure!(status == 200 && who["name"] == "boss", "{who}");
        for cluster in ["prod", &bare.id] {
            for path in [
                format!("/clusters/{cluster}/kubernetes/api/v1/namespaces?rival24"),
                format!("/clusters/{cluster}/kubernetes/api/v1/namespaces/team-a/pods/good/exec?rival24"),
                format!("/api/v1/clusters/{cluster}"),
                format!("/api/v1/clusters/{cluster}/kubeconfig"),
                format!("/api/v1/clusters/{cluster}/nodes"),
                format!("/api/v1/clusters/{cluster}/inventory/events"),
                "/api/v1/users/admin".to_owned(),
            ] {
                let (status, answer) = bare.call(&boss, Method::GET, &path, None).await?;
                ensure!(status == 404, "{path}: {status} {answer}");
            }
            for path in [
                format!("/api/v1/clusters/{cluster}/revoke"),
                format!("/api/v1/clusters/{cluster}/enrollment-token"),
            ] {
                let (status, answer) = bare.call(&boss, Method::POST, &path, None).await?;
                ensure!(status == 404, "{path}: {status} {answer}");
            }
            let (status, answer) = bare
                .call(
                    &boss,
                    Method::DELETE,
                    &format!("/api/v1/clusters/{cluster}"),
                    None,
                )
                .await?;
            ensure!(status == 404, "{status} {answer}");
        }
        for list in ["/api/v1/clusters", "/api/v1/nodes", "/api/v1/gpus"] {
            let (status, answer) = bare.call(&boss, Method::GET, list, None).await?;
            ensure!(
                status == 200 && answer["items"].as_array().is_some_and(Vec::is_empty),
                "{list}: {answer}"
            );
        }
        let (_, users) = bare.call(&boss, Method::GET, "/api/v1/users", None).await?;
        ensure!(
            users["items"].as_array().is_some_and(|users| users.len() == 1),
            "{users}"
        );
        ensure!(bare.reached("rival24")? == 0);
        Ok(())
    })
}

#[test]
fn n25_what_was_opened_ends_with_the_right_to_it() -> anyhow::Result<()> {
    own(Setup::default(), async |bare| {
        let exec = "/api/v1/namespaces/team-a/pods/good/exec?command=n25&container=main";
        let watch = "/api/v1/namespaces/team-a/pods?watch=1&n25";
        // One way after the other takes it away: the binding, the token, the user, the cluster.
        for (number, way) in ["binding", "token", "user", "cluster"].into_iter().enumerate() {
            let name = format!("p25-{number}");
            let token = person(&bare, &name, &[]).await?;
            let binding = bind(&bare, &name, Role::everywhere("operator")).await?;
            let mut open = vec![];
            for (method, path, lines) in [
                ("GET", watch, &[][..]),
                ("GET", exec, &WEBSOCKET),
                ("POST", exec, &SPDY),
            ] {
                let mut raw = bare.raw().await?;
                raw.send(bare.head(&token, method, &bare.path(path), lines, ""))
                    .await?;
                let answer = raw.answer().await?;
                ensure!(matches!(answer.status, 101 | 200), "{way}: {path}: {answer:?}");
                open.push(raw);
            }
            let (method, path) = match way {
                "binding" => (Method::DELETE, format!("/api/v1/bindings/{binding}")),
                "token" => (
                    Method::DELETE,
                    format!("/api/v1/tokens/{}", token.split('_').nth(1).unwrap_or_default()),
                ),
                "user" => (Method::DELETE, format!("/api/v1/users/{name}")),
                _ => (Method::POST, "/api/v1/clusters/prod/revoke".to_owned()),
            };
            let (status, answer) = bare.call(&bare.gateway.token, method, &path, None).await?;
            ensure!(status.is_success(), "{path}: {status} {answer}");
            let start = Instant::now();
            for raw in &mut open {
                ensure!(
                    raw.ends(REVOKED_WITHIN).await,
                    "a stream goes on after its {way} is gone"
                );
            }
            ensure!(start.elapsed() < REVOKED_WITHIN, "{way}: {:?}", start.elapsed());
            let answer = bare
                .ask_as(&token, "GET", "/api/v1/namespaces/team-a/pods", &[], "")
                .await?;
            ensure!(
                matches!(answer.status, 401 | 403 | 404 | 503),
                "{way}: {answer:?}"
            );
        }
        // The agent of a revoked cluster is told so, and does not come back.
        let end = Instant::now() + Duration::from_secs(20);
        while !bare.agent.process.said().contains("KTA-AUTH-007") {
            ensure!(Instant::now() < end, "{}", bare.agent.process.said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(bare.gateway.state("prod").await? == "revoked");
        Ok(())
    })
}

#[test]
fn n30_only_listed_services_are_reached() -> anyhow::Result<()> {
    const ELSEWHERE: [&str; 16] = [
        "/api/v1/namespaces/team-a/services/169.254.169.254:80/proxy/latest/meta-data?n30",
        "/api/v1/namespaces/team-a/services/http:169.254.169.254:80/proxy/?n30",
        "/api/v1/namespaces/team-a/services/http:[::ffff:169.254.169.254]:80/proxy/?n30",
        "/api/v1/namespaces/team-a/services/localhost:10250/proxy/?n30",
        "/api/v1/namespaces/team-a/services/https:kubernetes:443/proxy/?n30",
        "/api/v1/namespaces/default/services/https:kubernetes:443/proxy/api?n30",
        "/api/v1/namespaces/team-a/services/web:9090/proxy/?n30",
        "/api/v1/namespaces/team-a/services/ftp:web:80/proxy/?n30",
        "/api/v1/namespaces/team-a/services/web/proxy/?n30",
        "/api/v1/namespaces/team-b/services/web:80/proxy/?n30",
        "/api/v1/namespaces/team-a/services/other:80/proxy/?n30",
        "/api/v1/namespaces/team-a/services/web.team-b:80/proxy/?n30",
        "/api/v1/nodes/fake-node:10250/proxy/pods?n30",
        "/api/v1/nodes/127.0.0.1:2379/proxy/v3/kv/range?n30",
        "/api/v1/namespaces/team-a/pods/good:9091/proxy/metrics?n30",
        "/api/v1/proxy/namespaces/team-a/services/web:9090/?n30",
    ];
    let limits = json!({"services": ["team-a/web:80", "team-a/outside:80"]});
    own(
        Setup {
            limits,
            ..Setup::default()
        },
        async |bare| {
            for path in ELSEWHERE {
                for (method, lines) in [("GET", &[][..]), ("POST", &[]), ("GET", &WEBSOCKET)] {
                    let answer = bare.ask(method, path, lines).await?;
                    ensure!(
                        is_refused(&answer) || answer.status == 400,
                        "{method} {path}: {answer:?}"
                    );
                }
            }
            ensure!(bare.reached("n30")? == 0, "one of them reached the API server");
            // What is listed reaches the API server, which resolves nothing outside: an ExternalName has no endpoints, and
            // endpoints on link-local and loopback addresses are not accepted.
            let mut api = bare.server.connect().await?;
            for (name, spec) in [
                ("web", json!({"ports": [{"port": 80}]})),
                (
                    "outside",
                    json!({"type": "ExternalName", "externalName": "169.254.169.254.nip.io", "ports": [{"port": 80}]}),
                ),
            ] {
                let service = json!({"metadata": {"name": name}, "spec": spec});
                api.ok(Method::POST, "/api/v1/namespaces/team-a/services", Some(&service))
                    .await?;
            }
            for name in ["web", "outside"] {
                let answer = bare
                    .ask(
                        "GET",
                        &format!("/api/v1/namespaces/team-a/services/{name}:80/proxy/?listed30={name}"),
                        &[],
                    )
                    .await?;
                // Without endpoints the API server says one or the other.
                ensure!(matches!(answer.status, 404 | 503), "{name}: {answer:?}");
                bare.entry(&format!("listed30={name}")).await?;
            }
            for ip in ["169.254.169.254", "127.0.0.1", "::ffff:169.254.169.254"] {
                let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"},
                "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]});
                let answer = bare
                    .ask_as(
                        &bare.gateway.token,
                        "POST",
                        "/api/v1/namespaces/team-a/endpoints",
                        &[],
                        &endpoints.to_string(),
                    )
                    .await?;
                ensure!(answer.status == 422, "{ip}: {answer:?}");
            }
            Ok(())
        },
    )
}
