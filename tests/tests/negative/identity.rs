//! 1 to 9: who somebody is, and what he may say of himself.

use anyhow::ensure;
use kantaloupe_tests::{
    bare::{Bare, CLUSTER, shared},
    raw::SPDY,
    raw2::{Outcome, Raw2},
};
use serde_json::Value;

/// Whom the API server takes the sender of these lines for: name and groups.
async fn who(bare: &Bare, lines: &[&str]) -> anyhow::Result<(String, Vec<String>)> {
    let answer = bare.review(&bare.gateway.token, lines).await?;
    ensure!(answer.status == 201, "{answer:?}");
    let value: Value = serde_json::from_str(&answer.body)?;
    let user = &value["status"]["userInfo"];
    let groups = user["groups"].as_array().into_iter().flatten();
    Ok((
        user["username"].as_str().unwrap_or_default().to_owned(),
        groups
            .filter_map(|group| group.as_str().map(str::to_owned))
            .collect(),
    ))
}

fn is_admin((name, groups): &(String, Vec<String>)) -> bool {
    name == "kantaloupe:user:admin"
        && groups.iter().any(|group| group == "kantaloupe:role:admin")
        && !groups.iter().any(|group| group == "system:masters")
}

#[test]
fn n01_impersonation_headers() -> anyhow::Result<()> {
    shared(async |bare| {
        for (index, name) in [
            "Impersonate-User: system:admin",
            "Impersonate-Group: system:masters",
            "Impersonate-Uid: 0",
            "Impersonate-Extra-Scopes: all",
            "Impersonate-Foo: x",
            "Impersonate-: x",
        ]
        .into_iter()
        .enumerate()
        {
            let answer = bare
                .ask("GET", &format!("/api/v1/namespaces?n01={index}"), &[name])
                .await?;
            ensure!(
                answer.status == 403 && answer.body.contains(r#""kind":"Status""#),
                "{name}: {answer:?}"
            );
        }
        ensure!(
            bare.reached("n01=")? == 0,
            "a forged identity reached the API server"
        );
        ensure!(is_admin(&who(bare, &[]).await?), "the real one does not");
        Ok(())
    })
}

#[test]
fn n02_impersonation_in_other_spellings() -> anyhow::Result<()> {
    shared(async |bare| {
        for lines in [
            &["iMPERSONATE-uSER: system:admin"][..],
            &["impersonate-user: a", "Impersonate-User: b"],
            &["Impersonate-Extra-a%2Fb: x"],
            &["Impersonate-Extra-%61: x"],
            &["IMPERSONATE-GROUP:system:masters"],
        ] {
            let answer = bare.ask("GET", "/api/v1/namespaces?n02=1", lines).await?;
            ensure!(answer.status == 403, "{lines:?}: {answer:?}");
        }
        // No header name for HTTP, or one for careless readers only.
        for line in [
            "Impersonate_User: a",
            "Impersonate-User : a",
            "X-Impersonate-User: a",
            "Impersonate-User\t: a",
            "Impersonate-Us\u{131}er: a",
        ] {
            let answer = bare.review(&bare.gateway.token, &[line]).await?;
            if answer.status == 201 {
                ensure!(
                    answer.body.contains("kantaloupe:user:admin"),
                    "{line}: {answer:?}"
                );
            } else {
                ensure!(answer.status == 400, "{line}: {answer:?}");
            }
        }
        let authorization = format!("Bearer {}", bare.gateway.token);
        let path = bare.path("/api/v1/namespaces?n02=2");
        for (name, want) in [
            ("impersonate-user", Some(403)),
            ("impersonate-extra-a%2fb", Some(403)),
            ("Impersonate-User", None),
        ] {
            let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
            let outcome = h2
                .request(&[
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "localhost"),
                    (":path", &path),
                    ("authorization", &authorization),
                    (name, "system:admin"),
                ])
                .await?;
            match want {
                Some(code) => ensure!(outcome.code() == Some(code), "{name}: {outcome:?}"),
                // Upper case is no header name in HTTP/2.
                None => ensure!(!matches!(outcome, Outcome::Answer(_)), "{name}: {outcome:?}"),
            }
        }
        ensure!(bare.reached("n02=")? == 0);
        Ok(())
    })
}

#[test]
fn n03_headers_named_by_connection() -> anyhow::Result<()> {
    shared(async |bare| {
        for line in [
            "Connection: Impersonate-User, Authorization",
            "Connection: kantaloupe-user, kantaloupe-role, kantaloupe-request-id",
            "Connection: authorization, host, content-length",
            "Connection: close, Impersonate-Group",
        ] {
            let found = who(bare, &[line, "kantaloupe-user: root", "kantaloupe-role: admin"]).await?;
            ensure!(is_admin(&found), "{line}: {found:?}");
            let answer = bare
                .ask("GET", "/api/v1/namespaces?n03=1", &[line, "Impersonate-User: a"])
                .await?;
            ensure!(answer.status == 403, "{line}: {answer:?}");
        }
        ensure!(bare.reached("n03=")? == 0);
        Ok(())
    })
}

#[test]
fn n04_identities_of_front_proxies() -> anyhow::Result<()> {
    shared(async |bare| {
        let forged = [
            "X-Remote-User: system:admin",
            "X-Remote-Group: system:masters",
            "X-Remote-Extra-Scopes: all",
            "X-Remote-Uid: 0",
            "X-Forwarded-For: 203.0.113.77",
            "X-Forwarded-User: system:admin",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Client-Cert: x",
            "Forwarded: for=203.0.113.77",
            "kantaloupe-user: system:admin",
            "kantaloupe-role: admin",
            "kantaloupe-namespaces: kube-system",
            "kantaloupe-organization: other",
            "kantaloupe-actor: somebody",
        ];
        let found = who(bare, &forged).await?;
        ensure!(is_admin(&found), "{found:?}");
        bare.ask("GET", "/api/v1/namespaces?n04=1", &forged).await?;
        let entry = bare.entry("n04=1").await?;
        ensure!(!entry.to_string().contains("203.0.113.77"), "{entry}");
        ensure!(
            entry["impersonatedUser"]["username"] == "kantaloupe:user:admin",
            "{entry}"
        );
        Ok(())
    })
}

#[test]
fn n05_two_authorizations() -> anyhow::Result<()> {
    shared(async |bare| {
        let own = format!("Authorization: Bearer {}", bare.gateway.token);
        for second in ["authorization: Bearer kta_other", &own] {
            let answer = bare.ask("GET", "/api/v1/namespaces?n05=1", &[second]).await?;
            ensure!(matches!(answer.status, 400 | 401), "{second}: {answer:?}");
        }
        for value in [
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "bearer,",
            "Kantaloupe e30.e30",
            "",
        ] {
            let mut raw = bare.raw().await?;
            let path = bare.path("/api/v1/namespaces?n05=1");
            raw.send(format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {value}\r\n\r\n"
            ))
            .await?;
            let answer = raw.answer().await?;
            ensure!(answer.status == 401, "{value:?}: {answer:?}");
        }
        let authorization = format!("Bearer {}", bare.gateway.token);
        let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
        let path = bare.path("/api/v1/namespaces?n05=1");
        let outcome = h2
            .request(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", &path),
                ("authorization", &authorization),
                ("authorization", "Bearer other"),
            ])
            .await?;
        ensure!(matches!(outcome.code(), Some(400 | 401)), "{outcome:?}");
        ensure!(bare.reached("n05=")? == 0);
        Ok(())
    })
}

#[test]
fn n06_tokens_in_other_places() -> anyhow::Result<()> {
    shared(async |bare| {
        let token = bare.gateway.token.clone();
        let secret = token.split('_').nth(2).unwrap_or_default().to_owned();
        // In the query nothing is accepted, and nothing goes on.
        for query in [
            format!("access_token={token}"),
            format!("access%5Ftoken={token}"),
            format!("n06=1&x={token}"),
            "access_token=other".to_owned(),
        ] {
            let mut raw = bare.raw().await?;
            let path = bare.path(&format!("/api/v1/namespaces?{query}"));
            raw.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
                .await?;
            ensure!(
                raw.answer().await?.status == 401,
                "a token in the query was accepted"
            );
            let answer = bare
                .ask("GET", &format!("/api/v1/namespaces?{query}"), &[])
                .await?;
            ensure!(
                answer.status == 400 && !answer.body.contains(&secret),
                "{answer:?}"
            );
        }
        // Among subprotocols neither; the others arrive.
        let path = "/api/v1/namespaces/team-a/pods/good/exec?command=n06&container=main";
        let bearer = format!(
            "sec-websocket-protocol: v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{}",
            "c2VjcmV0LW4wNg"
        );
        let upgrade = [
            "connection: Upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let answer = bare
            .ask("GET", path, &[&upgrade[..], &[&bearer]].concat())
            .await?;
        ensure!(answer.status == 101, "{answer:?}");
        ensure!(
            answer.header("sec-websocket-protocol").as_deref() == Some("v4.channel.k8s.io"),
            "{answer:?}"
        );
        let mut raw = bare.raw().await?;
        let target = bare.path(path);
        raw.send(format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\n{}\r\n{bearer}\r\n\r\n",
            upgrade.join("\r\n")
        ))
        .await?;
        ensure!(
            raw.answer().await?.status == 401,
            "a token among the subprotocols was accepted"
        );
        bare.entry("command=n06").await?;
        let seen = [
            bare.server.audit()?,
            bare.kubelet.heads.lock().join("\n"),
            bare.gateway.process.said(),
            bare.agent.process.said(),
        ]
        .join("\n");
        for word in [secret.as_str(), "c2VjcmV0LW4wNg"] {
            ensure!(!seen.contains(word), "a token came further than it may");
        }
        Ok(())
    })
}

#[test]
fn n07_credentials_end_at_their_hop() -> anyhow::Result<()> {
    shared(async |bare| {
        let lines = [
            "Cookie: session=cookie-canary-n07",
            "Proxy-Authorization: Basic cHJveHktY2FuYXJ5",
        ];
        let answer = bare
            .ask("GET", "/api/v1/namespaces/team-a/pods/good/log?n07=1", &lines)
            .await?;
        ensure!(
            answer.status == 200 && answer.body.contains("plain"),
            "{answer:?}"
        );
        // What a program in the cluster sets must not be set for the gateway's name.
        for name in ["set-cookie", "www-authenticate", "proxy-authenticate"] {
            ensure!(answer.header(name).is_none(), "{answer:?}");
        }
        let answer = bare
            .ask(
                "POST",
                "/api/v1/namespaces/team-a/pods/says200/exec?command=n07",
                &[&SPDY[..], &lines].concat(),
            )
            .await?;
        ensure!(answer.header("set-cookie").is_none(), "{answer:?}");
        let heads = bare.kubelet.heads.lock().join("\n");
        for word in [
            bare.gateway.token.as_str(),
            "cookie-canary-n07",
            "cHJveHktY2FuYXJ5",
            "kantaloupe-",
            "service-account-of-the-agent",
        ] {
            ensure!(
                !heads.to_ascii_lowercase().contains(&word.to_ascii_lowercase()),
                "{word} came to the node"
            );
        }
        Ok(())
    })
}

#[test]
fn n09_heads_beyond_the_limit() -> anyhow::Result<()> {
    shared(async |bare| {
        let large = format!("x-large: {}", "x".repeat(100 << 10));
        let many: Vec<String> = (0..3000).map(|n| format!("x-{n}: {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for lines in [&[large.as_str()][..], &many] {
            let mut raw = bare.raw().await?;
            let head = bare.head(
                &bare.gateway.token,
                "GET",
                &bare.path("/api/v1/namespaces?n09=1"),
                lines,
                "",
            );
            // The server may answer and close before all of it is sent.
            let _cut = raw.send(head).await;
            let answer = raw.answer().await?;
            ensure!(answer.status == 431, "{answer:?}");
        }
        let path = bare.path("/api/v1/namespaces?n09=2");
        let authorization = format!("Bearer {}", bare.gateway.token);
        let mut h2 = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await?;
        let value = "x".repeat(7000);
        let mut headers = vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("authorization", authorization.as_str()),
        ];
        headers.extend(std::iter::repeat_n(("x-large", value.as_str()), 2));
        let outcome = h2.request(&headers).await?;
        ensure!(
            outcome.code().is_none() && matches!(outcome, Outcome::Answer(_)),
            "14 KiB are no reason: {outcome:?}"
        );
        ensure!(bare.reached("n09=1")? == 0 && bare.reached("n09=2")? == 1);
        ensure!(
            bare.ask("GET", "/version", &[]).await?.status == 200,
            "{CLUSTER} is served on"
        );
        Ok(())
    })
}
