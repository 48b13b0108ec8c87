//! 14 to 18: where one request ends and the next one begins, and what an answer to an upgrade leaves behind.

use anyhow::ensure;
use kantaloupe_tests::{
    bare::{Bare, shared},
    raw::{SPDY, WEBSOCKET},
    raw2::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Outcome, Raw2, block},
};

/// A request that somebody smuggles: it has no token, because it wants to use another's.
fn smuggled(bare: &Bare, mark: &str) -> String {
    format!(
        "GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        bare.path(&format!("/api/v1/namespaces/team-a/secrets/canary?{mark}"))
    )
}

fn exec(pod: &str, mark: &str) -> String {
    format!("/api/v1/namespaces/team-a/pods/{pod}/exec?command={mark}&container=main")
}

#[test]
fn n14_answers_that_are_no_upgrade() -> anyhow::Result<()> {
    shared(async |bare| {
        for (method, lines) in [("POST", &SPDY[..]), ("GET", &WEBSOCKET[..])] {
            for (pod, want) in [
                // The API server itself takes an answer of 200 for a fault of the node.
                ("says200", 500),
                ("says403", 403),
                ("says500", 500),
                ("late", 500),
            ] {
                let mut raw = bare.raw().await?;
                raw.send(bare.head(
                    &bare.gateway.token,
                    method,
                    &bare.path(&exec(pod, "n14")),
                    lines,
                    "",
                ))
                .await?;
                let answer = raw.answer().await?;
                ensure!(answer.status == want, "{pod}: {answer:?}");
                // The connection to the API server is gone; on the one to the gateway only the gateway listens.
                let _closed = raw.send(smuggled(bare, "n14=smuggled")).await;
                let (rest, _) = raw.rest().await?;
                ensure!(
                    !rest.contains("secret-of-the-cluster")
                        && !rest.contains("HTTP/1.1 200")
                        && !rest.contains("HTTP/1.1 101"),
                    "{pod}: {rest}"
                );
                ensure!(rest.is_empty() || rest.contains("401"), "{pod}: {rest}");
            }
        }
        ensure!(
            bare.reached("n14=smuggled")? == 0,
            "a smuggled request reached the API server"
        );
        ensure!(bare.reached("command=n14")? == 8);
        Ok(())
    })
}

#[test]
fn n15_redirects_are_not_followed() -> anyhow::Result<()> {
    shared(async |bare| {
        for (method, lines) in [("POST", &SPDY[..]), ("GET", &WEBSOCKET[..]), ("GET", &[][..])] {
            let answer = bare.ask(method, &exec("moved", "n15"), lines).await?;
            ensure!(answer.status != 101 && answer.status != 200, "{answer:?}");
        }
        let answer = bare
            .ask("GET", "/api/v1/namespaces/team-a/pods/moved/log?n15=1", &[])
            .await?;
        ensure!(
            answer.status != 200 || !answer.body.contains("stolen"),
            "{answer:?}"
        );
        ensure!(
            *bare.kubelet.followed.lock() == 0,
            "somebody went where the node sent him"
        );
        Ok(())
    })
}

#[test]
fn n16_lengths_that_disagree() -> anyhow::Result<()> {
    shared(async |bare| {
        let path = bare.path("/api/v1/namespaces/team-a/configmaps?n16=1&dryRun=All");
        let token = &bare.gateway.token;
        let second = smuggled(bare, "n16=smuggled");
        let post = |lines: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{lines}\r\n\r\n{body}{second}"
            )
        };
        let refused = [
            (
                "double length",
                post("content-length: 2\r\ncontent-length: 60", "{}"),
            ),
            ("lengths in one line", post("content-length: 2, 60", "{}")),
            ("a signed length", post("content-length: +2", "{}")),
            ("a hexadecimal length", post("content-length: 0x2", "{}")),
            ("a negative length", post("content-length: -2", "{}")),
            (
                "no such coding",
                post("transfer-encoding: xchunked", "2\r\n{}\r\n0\r\n\r\n"),
            ),
            (
                "chunked is not last",
                post("transfer-encoding: chunked, identity", "2\r\n{}\r\n0\r\n\r\n"),
            ),
            (
                "a blank before the colon",
                post("transfer-encoding : chunked", "2\r\n{}\r\n0\r\n\r\n"),
            ),
            (
                "a folded line",
                post("x-folded: a\r\n transfer-encoding: chunked", ""),
            ),
            ("a bare CR", post("x-cr: a\rtransfer-encoding: chunked", "")),
            ("a NUL", post("x-nul: a\0b", "")),
            (
                "no end of a chunk's size",
                post("transfer-encoding: chunked", "2;\n{}\r\n0\r\n\r\n"),
            ),
            (
                "no chunk's size",
                post("transfer-encoding: chunked", "x\r\n{}\r\n0\r\n\r\n"),
            ),
            (
                "a huge chunk",
                post("transfer-encoding: chunked", "ffffffffffffffffff\r\n{}"),
            ),
        ];
        for (what, bytes) in refused {
            let mut raw = bare.raw().await?;
            raw.send(&bytes).await?;
            let (rest, _) = raw.rest().await?;
            ensure!(!rest.contains("secret-of-the-cluster"), "{what}: {rest}");
            ensure!(!rest.starts_with("HTTP/1.1 2"), "{what}: {rest}");
        }
        // Both lengths: the coding counts, and what comes behind is a request of its own, without a token.
        for (what, bytes) in [
            (
                "both lengths",
                post(
                    "content-length: 4\r\ntransfer-encoding: chunked",
                    "2\r\n{}\r\n0\r\n\r\n",
                ),
            ),
            (
                "both, the other way",
                post(
                    "transfer-encoding: chunked\r\ncontent-length: 400",
                    "2\r\n{}\r\n0\r\n\r\n",
                ),
            ),
            (
                "chunk extensions",
                post("transfer-encoding: chunked", "2;a=b;c=\"d\"\r\n{}\r\n0;e\r\n\r\n"),
            ),
            (
                "trailers",
                post(
                    "transfer-encoding: chunked",
                    "2\r\n{}\r\n0\r\nauthorization: Bearer x\r\nimpersonate-user: root\r\n\r\n",
                ),
            ),
        ] {
            let mut raw = bare.raw().await?;
            raw.send(&bytes).await?;
            let (rest, _) = raw.rest().await?;
            ensure!(!rest.contains("secret-of-the-cluster"), "{what}: {rest}");
            let statuses: Vec<_> = rest
                .match_indices("HTTP/1.1 ")
                .map(|(at, _)| &rest[at + 9..at + 12])
                .collect();
            ensure!(
                statuses.iter().skip(1).all(|status| *status == "401"),
                "{what}: {statuses:?} {rest}"
            );
        }
        ensure!(
            bare.reached("n16=smuggled")? == 0,
            "a smuggled request reached the API server"
        );
        // A GET with a body: the body belongs to it.
        let mut raw = bare.raw().await?;
        let get = format!(
            "GET {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{second}",
            bare.path("/api/v1/namespaces?n16=2"),
            second.len()
        );
        raw.send(&get).await?;
        ensure!(raw.answer().await?.status == 200);
        ensure!(raw.rest().await?.0.is_empty(), "the body was taken for a request");
        ensure!(bare.reached("n16=smuggled")? == 0);
        Ok(())
    })
}

#[test]
fn n17_http2_heads_for_http1() -> anyhow::Result<()> {
    shared(async |bare| {
        let authorization = format!("Bearer {}", bare.gateway.token);
        let path = bare.path("/api/v1/namespaces?n17=1");
        let base = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("authorization", authorization.as_str()),
        ];
        let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
        let without_path = |path: &'static str| {
            vec![
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", path),
                ("authorization", authorization.as_str()),
            ]
        };
        let refused = [
            ("CRLF in a value", with(&[("x-a", "b\r\nimpersonate-user: root")])),
            ("LF in a value", with(&[("x-a", "b\nimpersonate-user: root")])),
            ("NUL in a value", with(&[("x-a", "b\0")])),
            ("CRLF in a name", with(&[("x-a\r\nimpersonate-user", "root")])),
            ("a colon in a name", with(&[("impersonate-user:", "root")])),
            ("a blank in a name", with(&[("impersonate user", "root")])),
            ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
            ("connection", with(&[("connection", "impersonate-user")])),
            ("upgrade", with(&[("upgrade", "websocket")])),
            ("te", with(&[("te", "gzip")])),
            ("a late pseudo header", with(&[(":path", "/api/v1/clusters")])),
            ("two methods", with(&[(":method", "DELETE")])),
            ("an unknown pseudo header", with(&[(":impersonate", "root")])),
            ("an unexpected length", with(&[("content-length", "5")])),
            (
                "no slash",
                without_path("clusters/prod/kubernetes/api/v1/secrets?n17=1"),
            ),
            ("an empty path", without_path("")),
            ("a star", without_path("*")),
            (
                "an absolute path",
                without_path("https://localhost/clusters/prod/kubernetes/api/v1/secrets?n17=1"),
            ),
            (
                "a blank in the path",
                without_path("/clusters/prod/kubernetes/api/v1/secrets?n17=1 HTTP/1.1"),
            ),
            (
                "CRLF in the path",
                without_path("/clusters/prod/kubernetes/version?n17=1\r\nimpersonate-user: root"),
            ),
        ];
        for (what, headers) in refused {
            let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
            let outcome = h2.request(&headers).await?;
            let refused = !matches!(outcome, Outcome::Answer(_)) || matches!(outcome.code(), Some(400 | 404));
            ensure!(refused, "{what}: {outcome:?}");
        }
        ensure!(bare.reached("n17=1")? == 0, "one of them reached the API server");

        // Another name in Host than in :authority changes nothing: routes go by the path alone.
        let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
        let outcome = h2
            .request(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", &bare.path("/version?n17=2")),
                ("authorization", &authorization),
                ("host", "169.254.169.254"),
            ])
            .await?;
        let passed = matches!(&outcome, Outcome::Answer(body) if body.contains("gitVersion"));
        ensure!(
            passed || matches!(outcome.code(), Some(400)) || matches!(outcome, Outcome::Reset(_)),
            "{outcome:?}"
        );
        // A body longer than its content-length.
        let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
        let stream = h2.stream();
        let path = bare.path("/api/v1/namespaces/team-a/configmaps?n17=3");
        let head = block([
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("content-length", "2"),
        ]);
        h2.send(&Frame::new(HEADERS, END_HEADERS, stream, head).bytes())
            .await?;
        let body = format!("{{}}{}", smuggled(bare, "n17=smuggled"));
        h2.send(&Frame::new(DATA, END_STREAM, stream, body).bytes())
            .await?;
        let outcome = h2.outcome(stream).await?;
        ensure!(
            !matches!(&outcome, Outcome::Answer(body) if body.contains("secret-of-the-cluster") || body.contains("uid")),
            "{outcome:?}"
        );
        ensure!(bare.reached("n17=smuggled")? == 0);
        Ok(())
    })
}

#[test]
fn n18_bytes_behind_an_upgrade_request() -> anyhow::Result<()> {
    shared(async |bare| {
        let token = &bare.gateway.token;
        // After a 101 they belong to the stream.
        let second = smuggled(bare, "n18=smuggled");
        let mut raw = bare.raw().await?;
        let head = bare.head(token, "POST", &bare.path(&exec("good", "n18")), &SPDY, "");
        raw.send(format!("{head}{second}")).await?;
        ensure!(raw.answer().await?.status == 101);
        let (echo, _) = raw.rest().await?;
        ensure!(echo == second, "the stream did not get its bytes: {echo}");
        // After a refusal they are a request to the gateway, and need a token of their own.
        for pod in ["says403", "says200", "moved", "late"] {
            let mut raw = bare.raw().await?;
            let head = bare.head(token, "POST", &bare.path(&exec(pod, "n18")), &SPDY, "");
            raw.send(format!("{head}{second}")).await?;
            raw.answer().await?;
            let (rest, _) = raw.rest().await?;
            ensure!(rest.is_empty() || rest.contains("401"), "{pod}: {rest}");
            ensure!(!rest.contains("secret-of-the-cluster"), "{pod}: {rest}");
        }
        ensure!(
            bare.reached("n18=smuggled")? == 0,
            "a smuggled request reached the API server"
        );
        // Other protocols behind our back.
        for protocol in ["h2c", "TLS/1.0", "SPDY/3.1, h2c", "HTTP/2.0", "connect-tcp"] {
            let line = format!("upgrade: {protocol}");
            let answer = bare
                .ask(
                    "POST",
                    &exec("good", "n18-protocol"),
                    &["connection: Upgrade", &line],
                )
                .await?;
            ensure!(answer.status == 400, "{protocol}: {answer:?}");
        }
        Ok(())
    })
}
