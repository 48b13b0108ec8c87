//! 11, 13, 22, 24, 31: paths and methods that could be read in two ways, and paths that lead nowhere.

use anyhow::ensure;
use kantaloupe_tests::{
    bare::shared,
    raw2::{Outcome, Raw2},
};

#[test]
fn n11_path_tricks() -> anyhow::Result<()> {
    const TRICKS: [&str; 26] = [
        "//api/v1/secrets?n11",
        "/api//v1/secrets?n11",
        "/api/v1/../v1/secrets?n11",
        "/api/v1/namespaces/team-a/../../secrets?n11",
        "/./api/v1/secrets?n11",
        "/api/v1/%2e%2e/v1/secrets?n11",
        "/api/v1/.%2E/v1/secrets?n11",
        "/api/v1/%252e%252e/v1/secrets?n11",
        "/api/v1/namespaces/a%2fb/secrets?n11",
        "/api/v1/namespaces/team-a%2Fsecrets?n11",
        "/api/v1/namespaces/team-a%252fsecrets?n11",
        "/api%2fv1/secrets?n11",
        "/api/v1/secrets;a=b?n11",
        "/api/v1/secrets%3b?n11",
        "/api/v1/..;/v1/secrets?n11",
        "/api/v1\\secrets?n11",
        "/api/v1/%5csecrets?n11",
        "/api/v1/secrets%00?n11",
        "/api/v1/secrets%0a?n11",
        "/api/v1/secrets%0d%0ahost:x?n11",
        "/api/v1/%c0%ae%c0%ae/secrets?n11",
        "/api/v1/%u002e/secrets?n11",
        "/api/v1/secrets%?n11",
        "/api/v1/secrets/?n11//",
        "/api/v1/watch?n11",
        "/api/v1/pods//exec?n11",
    ];
    shared(async |bare| {
        for path in TRICKS.iter().filter(|path| !path.ends_with("n11//")) {
            let answer = bare.ask("GET", path, &[]).await?;
            ensure!(answer.status == 400, "{path}: {answer:?}");
            let authorization = format!("Bearer {}", bare.gateway.token);
            let target = bare.path(path);
            let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
            let outcome = h2
                .request(&[
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "localhost"),
                    (":path", &target),
                    ("authorization", &authorization),
                ])
                .await?;
            ensure!(
                outcome.code() == Some(400) || !matches!(outcome, Outcome::Answer(_)),
                "{path}: {outcome:?}"
            );
        }
        ensure!(bare.reached("n11")? == 0, "one of them reached the API server");

        // A dot at the end is part of the name, for us and for the API server.
        bare.ask("GET", "/api/v1/namespaces/team-a./pods?dot11=1", &[])
            .await?;
        let entry = bare.entry("dot11=1").await?;
        ensure!(entry["objectRef"]["namespace"] == "team-a.", "{entry}");
        // An absolute URI names no other server.
        for authority in ["localhost", "169.254.169.254", "kubernetes.default.svc"] {
            let mut raw = bare.raw().await?;
            let target = format!("https://{authority}{}", bare.path("/version?abs11=1"));
            raw.send(bare.head(&bare.gateway.token, "GET", &target, &[], ""))
                .await?;
            let answer = raw.answer().await?;
            ensure!(
                answer.status == 400 || (answer.status == 200 && answer.body.contains("gitVersion")),
                "{authority}: {answer:?}"
            );
        }
        for target in ["*", "api/v1/secrets", "localhost:443"] {
            let mut raw = bare.raw().await?;
            raw.send(bare.head(&bare.gateway.token, "GET", target, &[], ""))
                .await?;
            let answer = raw.answer().await?;
            ensure!(matches!(answer.status, 400 | 404), "{target}: {answer:?}");
        }
        Ok(())
    })
}

#[test]
fn n13_methods_by_other_ways() -> anyhow::Result<()> {
    shared(async |bare| {
        let lines = [
            "X-HTTP-Method-Override: DELETE",
            "X-HTTP-Method: DELETE",
            "X-Method-Override: DELETE",
            "_method: DELETE",
        ];
        let answer = bare
            .ask("GET", "/api/v1/namespaces/team-b?n13=1&_method=DELETE", &lines)
            .await?;
        ensure!(answer.status == 200, "{answer:?}");
        ensure!(bare.entry("n13=1").await?["verb"] == "get");
        let answer = bare.ask("GET", "/api/v1/namespaces/team-b", &[]).await?;
        ensure!(answer.body.contains(r#""phase":"Active""#), "{answer:?}");
        for method in ["CONNECT", "TRACE", "PROPFIND", "get", "GETX", "WATCH"] {
            let answer = bare.ask(method, "/api/v1/namespaces?n13=2", &[]).await?;
            ensure!(matches!(answer.status, 400 | 404 | 405), "{method}: {answer:?}");
        }
        ensure!(bare.reached("n13=2")? == 0);
        Ok(())
    })
}

#[test]
fn n31_other_upstreams_do_not_exist() -> anyhow::Result<()> {
    shared(async |bare| {
        // There is no way to the cluster's Prometheus but the API server's own proxy, which is n30's.
        for path in [
            "prometheus/api/v1/query?query=up",
            "prometheus/api/v1/admin/tsdb/delete_series",
            "prometheus/-/reload",
            "prometheus/api/v1/write",
            "grafana/",
            "kubernetesx/api",
            "services/x",
        ] {
            for method in ["GET", "POST"] {
                let mut raw = bare.raw().await?;
                raw.send(bare.head(
                    &bare.gateway.token,
                    method,
                    &format!("/clusters/prod/{path}"),
                    &[],
                    "",
                ))
                .await?;
                let answer = raw.answer().await?;
                ensure!(answer.status == 404, "{method} {path}: {answer:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn n24_a_foreign_cluster_is_none() -> anyhow::Result<()> {
    shared(async |bare| {
        for name in ["c-00000000", "nobody", "prod%20", "PROD", "..", "%2e%2e"] {
            for path in [
                format!("/clusters/{name}/kubernetes/api/v1/namespaces?n24=1"),
                format!("/api/v1/clusters/{name}"),
                format!("/api/v1/clusters/{name}/kubeconfig"),
                format!("/console/clusters/{name}"),
            ] {
                let mut raw = bare.raw().await?;
                raw.send(bare.head(&bare.gateway.token, "GET", &path, &[], ""))
                    .await?;
                let answer = raw.answer().await?;
                ensure!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
            }
        }
        ensure!(bare.reached("n24=1")? == 0);
        Ok(())
    })
}
