//! 32, 33, 34, 39, 40: floods, slow peers, logs, and what the agent may and shows.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, ensure};
use http::Method;
use kantaloupe_tests::{
    bare::{Bare, Setup, own, shared},
    people::{Role, person},
    raw::SPDY,
    raw2::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Outcome, PING, RST_STREAM, Raw2,
        SETTINGS, WINDOW_UPDATE, block,
    },
    tunnel::localhost,
    usage::resident,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// Memory that the floods may add to the gateway: what the windows of unread answers say (45 MiB), and buffers.
const GROWTH: u64 = 192 << 20;
/// Streams of the rapid reset.
const RESETS: u32 = 100_000;

/// Answers that each of three readers leaves unread: together fewer than the 64 that the tunnel's window has room for.
const STALLED: u32 = 15;

async fn serves(bare: &Bare) -> anyhow::Result<()> {
    let start = Instant::now();
    let answer = timeout(Duration::from_secs(10), bare.ask("GET", "/version", &[]))
        .await
        .context("nobody is served")??;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(
        start.elapsed() < Duration::from_secs(5),
        "others wait for {:?}",
        start.elapsed()
    );
    Ok(())
}

async fn h2(bare: &Bare) -> anyhow::Result<Raw2> {
    Raw2::connect(bare.gateway.addr, &bare.gateway.tls, &[]).await
}

#[test]
fn n32_floods_of_frames() -> anyhow::Result<()> {
    own(Setup::default(), async |bare| {
        let before = resident(bare.gateway.process.pid())?;
        // Limits of one user keep the cluster's for the others, who are the administrator here.
        let flooder = person(&bare, "flooder", &[Role::everywhere("viewer")]).await?;
        let authorization = format!("Bearer {flooder}");
        let path = bare.path("/version?n32=1");
        let head = block([
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("authorization", authorization.as_str()),
        ]);
        // Opened and reset, as fast as the connection takes it.
        let (mut opened, mut at, mut flood) = (0, 1, h2(&bare).await?);
        while opened < RESETS {
            let mut bytes = vec![];
            for _ in 0..500 {
                bytes.extend(Frame::new(HEADERS, END_STREAM | END_HEADERS, at, head.clone()).bytes());
                bytes.extend(Frame::new(RST_STREAM, 0, at, 8_u32.to_be_bytes()).bytes());
                at += 2;
                opened += 1;
            }
            if flood.send(&bytes).await.is_err() {
                (at, flood) = (1, h2(&bare).await?);
            }
        }
        let start = Instant::now();
        serves(&bare).await?;
        println!("after the resets others wait for {:?}", start.elapsed());
        // Frames that mean nothing, too many of them, and headers that never end.
        let floods: [(&str, Vec<u8>, usize); 6] = [
            ("empty DATA", Frame::new(DATA, 0, 1, []).bytes(), 50_000),
            ("PING", Frame::new(PING, 0, 0, [0; 8]).bytes(), 50_000),
            ("SETTINGS", Frame::new(SETTINGS, 0, 0, []).bytes(), 50_000),
            (
                "WINDOW_UPDATE",
                Frame::new(WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes()).bytes(),
                50_000,
            ),
            (
                "RST_STREAM",
                Frame::new(RST_STREAM, 0, 1, 8_u32.to_be_bytes()).bytes(),
                50_000,
            ),
            (
                "CONTINUATION",
                Frame::new(CONTINUATION, 0, 1, block([("x-a", "b")])).bytes(),
                200_000,
            ),
        ];
        for (what, frame, count) in floods {
            let mut flood = h2(&bare).await?;
            let flags = if what == "CONTINUATION" { 0 } else { END_HEADERS };
            flood
                .send(&Frame::new(HEADERS, flags, 1, head.clone()).bytes())
                .await?;
            let many = frame.repeat(1000);
            for _ in 0..count / 1000 {
                // Ended by the gateway, which is as good.
                if flood.send(&many).await.is_err() {
                    break;
                }
            }
            serves(&bare).await.context(what)?;
        }
        // A frame of an unknown type is nothing; one that is too large is an error.
        let authorization = format!("Bearer {}", bare.gateway.token);
        let head = block([
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("authorization", authorization.as_str()),
        ]);
        let mut odd = h2(&bare).await?;
        odd.send(&Frame::new(0x7e, 0xff, 0, [1; 100]).bytes()).await?;
        let outcome = odd
            .request(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", &path),
                ("authorization", &authorization),
            ])
            .await?;
        ensure!(
            matches!(&outcome, Outcome::Answer(body) if body.contains("gitVersion")),
            "{outcome:?}"
        );
        let stream = odd.stream();
        odd.send(&Frame::new(HEADERS, END_HEADERS, stream, head.clone()).bytes())
            .await?;
        let _cut = odd
            .send(&Frame::new(DATA, 0, stream, vec![0; 128 << 10]).bytes())
            .await;
        ensure!(
            matches!(odd.outcome(stream).await?, Outcome::Ended | Outcome::Reset(_)),
            "128 KiB in a frame"
        );
        // Windows of one byte, and readers that never read: each holds what its windows say.
        let mut slow = vec![];
        for settings in [&[(4, 1)][..], &[(4, 0)], &[(4, 0x7fff_ffff)]] {
            let mut reader = Raw2::connect(bare.gateway.addr, &bare.gateway.tls, settings).await?;
            for n in 0..STALLED {
                let path = bare.path("/openapi/v2?n32=2");
                let head = block([
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "localhost"),
                    (":path", path.as_str()),
                    ("authorization", authorization.as_str()),
                ]);
                reader
                    .send(&Frame::new(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, head).bytes())
                    .await?;
            }
            slow.push(reader);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        serves(&bare).await?;
        let grown = resident(bare.gateway.process.pid())?.saturating_sub(before);
        println!("the floods added {} MiB to the gateway", grown >> 20);
        ensure!(grown < GROWTH, "{} MiB more", grown >> 20);
        drop(slow);
        Ok(())
    })
}

#[test]
fn n33_slow_peers() -> anyhow::Result<()> {
    shared(async |bare| {
        let mut silent = vec![];
        for _ in 0..200 {
            silent.push(TcpStream::connect(bare.gateway.addr).await?);
        }
        let mut heads = vec![];
        for _ in 0..100 {
            let tcp = TcpStream::connect(bare.gateway.addr).await?;
            let mut tls = bare
                .gateway
                .tls
                .speaking("http/1.1")
                .connect(localhost(), tcp)
                .await?;
            tls.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-slow: ")
                .await?;
            heads.push(tls);
        }
        // The ports without TLS: the gateway's and the agent's for health and metrics.
        for addr in [bare.gateway.admin, bare.agent.health] {
            for _ in 0..50 {
                let mut tcp = TcpStream::connect(addr).await?;
                tcp.write_all(b"GET /metrics HT").await?;
                silent.push(tcp);
            }
        }
        serves(bare).await?;
        for tls in &mut heads {
            tls.write_all(b"y").await?;
        }
        serves(bare).await?;
        // Who does not get through TLS is put out.
        let mut first = silent.swap_remove(0);
        let end = timeout(Duration::from_secs(15), first.read(&mut [0; 1]))
            .await
            .context("a silent connection lives for more than 15 s")?;
        ensure!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        for addr in [bare.gateway.admin, bare.agent.health] {
            let mut tcp = TcpStream::connect(addr).await?;
            tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            timeout(Duration::from_secs(10), tcp.read_to_string(&mut answer)).await??;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        Ok(())
    })
}

#[test]
fn n34_no_log_holds_a_secret_at_any_level() -> anyhow::Result<()> {
    shared(async |bare| {
        // Every path that sees one, also the ones that refuse.
        bare.ask("GET", "/api/v1/namespaces/team-a/secrets/canary", &[])
            .await?;
        bare.ask("GET", "/api/v1/namespaces?n34=1", &["Impersonate-User: a"])
            .await?;
        bare.call(
            &bare.gateway.token,
            Method::POST,
            "/api/v1/tokens",
            Some(json!({"name": "n34", "x": bare.gateway.token})),
        )
        .await?;
        bare.call(
            &format!("{}x", bare.gateway.token),
            Method::GET,
            "/api/v1/whoami",
            None,
        )
        .await?;
        let body = json!({"token": bare.enrollment, "publicKey": "AAAA", "clusterUid": "x", "agentVersion": "0", "time": 0});
        bare.call("", Method::POST, "/agent/v1/enroll", Some(body))
            .await?;
        let secret = |token: &str| token.split('_').nth(2).unwrap_or_default().to_owned();
        let mut words = vec![
            secret(&bare.gateway.token),
            secret(&bare.enrollment),
            "secret-of-the-cluster".to_owned(),
            "c2VjcmV0LW9mLXRoZS1jbHVzdGVy".to_owned(),
            "service-account-of-the-agent".to_owned(),
        ];
        let mut api = bare.server.connect().await?;
        let identity = api
            .ok(
                Method::GET,
                "/api/v1/namespaces/kantaloupe-system/secrets/kantaloupe-agent-identity",
                None,
            )
            .await?;
        words.push(
            identity["data"]["private-key"]
                .as_str()
                .context("no key")?
                .to_owned(),
        );
        let logs = [
            ("gateway", bare.gateway.process.said()),
            ("agent", bare.agent.process.said()),
        ];
        for (name, log) in &logs {
            ensure!(
                log.contains(r#""level":"trace""#) || log.contains("TRACE"),
                "the {name}'s log is not at the highest level"
            );
            for word in &words {
                ensure!(
                    word.len() > 16 && !log.contains(word.as_str()),
                    "the {name}'s log holds a secret"
                );
            }
        }
        ensure!(
            !bare.server.audit()?.contains(&words[0]),
            "the API server's audit log holds a token of ours"
        );
        Ok(())
    })
}

#[test]
fn n35_written_before_it_is_done() -> anyhow::Result<()> {
    own(Setup::default(), async |mut bare| {
        // A stream that is open when the gateway is killed: what began it is on the disk.
        let token = person(&bare, "typist", &[Role::everywhere("operator")]).await?;
        let path = "/api/v1/namespaces/team-a/pods/good/exec?command=n35-secret-argument&container=main";
        let mut raw = bare.raw().await?;
        raw.send(bare.head(&token, "POST", &bare.path(path), &SPDY, ""))
            .await?;
        ensure!(raw.answer().await?.status == 101);
        raw.send("typed-canary-n35\n").await?;
        ensure!(
            raw.rest().await?.0.contains("typed-canary-n35"),
            "the pod got nothing"
        );
        bare.gateway.process.kill().await?;
        bare.gateway.restart().await?;
        let find = async |phase: &str| -> anyhow::Result<Option<Value>> {
            let (status, list) = bare
                .call(
                    &bare.gateway.token,
                    Method::GET,
                    "/api/v1/audit?user=typist&limit=100",
                    None,
                )
                .await?;
            ensure!(status == 200, "{status} {list}");
            let items = list["items"].as_array().context("no items")?;
            Ok(items
                .iter()
                .find(|entry| entry["phase"] == phase && entry["subresource"] == "exec")
                .cloned())
        };
        let end = Instant::now() + Duration::from_secs(10);
        let begin = loop {
            if let Some(begin) = find("begin").await? {
                break begin;
            }
            ensure!(Instant::now() < end, "the beginning is not in the audit");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        ensure!(
            begin["name"] == "good" && begin["namespace"] == "team-a" && begin["decision"] == "allow",
            "{begin}"
        );
        // The same id at the API server.
        let entry = bare.entry("n35-secret-argument").await?;
        ensure!(entry["auditID"] == begin["id"], "{begin} {entry}");
        // What was typed, the query and tokens are nowhere on the disk.
        let secret = token.split('_').nth(2).unwrap_or_default().to_owned();
        let (mut files, mut folders) = (0, vec![bare.gateway.data.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path)?;
                files += 1;
                for word in ["typed-canary-n35", "n35-secret-argument", &secret] {
                    let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                    ensure!(!found, "{} holds {word}", path.display());
                }
            }
        }
        ensure!(files > 2, "only {files} files");
        Ok(())
    })
}

#[test]
fn n39_rights_of_the_agent() -> anyhow::Result<()> {
    shared(async |bare| {
        let mut api = bare.server.connect_as_agent().await?;
        let ask = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "team-a"}});
        let rules = api
            .ok(
                Method::POST,
                "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                Some(&ask),
            )
            .await?;
        let rules = rules["status"]["resourceRules"].as_array().context("no rules")?;
        let list = |rule: &Value, key: &str| -> BTreeSet<String> {
            rule[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        ensure!(rules.len() > 5, "{rules:?}");
        for rule in rules {
            let (verbs, resources) = (list(rule, "verbs"), list(rule, "resources"));
            for words in [&verbs, &resources, &list(rule, "apiGroups")] {
                ensure!(!words.contains("*"), "a wildcard: {rule}");
            }
            ensure!(
                !resources.iter().any(|resource| resource.starts_with("secrets")),
                "{rule}"
            );
            let reads = verbs
                .iter()
                .all(|verb| ["get", "list", "watch"].contains(&verb.as_str()));
            let reviews = resources.iter().all(|resource| resource.starts_with("self"));
            let acts_as = verbs.iter().all(|verb| verb.starts_with("impersonate"));
            ensure!(
                reads || reviews || acts_as,
                "the agent may change something: {rule}"
            );
        }
        for (verb, resource, namespace, name) in [
            ("list", "secrets", "kantaloupe-system", ""),
            ("get", "secrets", "kantaloupe-system", "other"),
            ("create", "pods", "kantaloupe-system", ""),
            ("get", "secrets", "team-a", "canary"),
            ("impersonate", "groups", "", "system:masters"),
            (
                "create",
                "serviceaccounts/token",
                "kantaloupe-system",
                "kantaloupe-agent",
            ),
        ] {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let ask = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes":
                {"verb": verb, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name}}});
            let answer = api
                .ok(
                    Method::POST,
                    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                    Some(&ask),
                )
                .await?;
            ensure!(
                answer["status"]["allowed"] == false,
                "the agent may {verb} {resource}/{subresource} {name}"
            );
        }
        Ok(())
    })
}

/// Ports on which a process listens, as the kernel has them.
fn listens(pid: u32) -> anyhow::Result<BTreeSet<u16>> {
    let mut sockets = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        if let Ok(link) = std::fs::read_link(entry.path())
            && let Some(inode) = link
                .to_string_lossy()
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
        {
            sockets.insert(inode.to_owned());
        }
    }
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let listening = fields[3] == "0A" || table.starts_with("udp");
            if listening && sockets.contains(fields[9]) {
                ports.insert(u16::from_str_radix(
                    fields[1].rsplit(':').next().unwrap_or_default(),
                    16,
                )?);
            }
        }
    }
    Ok(ports)
}

#[test]
fn n40_the_agent_listens_for_health_only() -> anyhow::Result<()> {
    shared(async |bare| {
        let ports = listens(bare.agent.process.pid())?;
        ensure!(ports == BTreeSet::from([bare.agent.health.port()]), "{ports:?}");
        let ports = listens(bare.gateway.process.pid())?;
        ensure!(
            ports == BTreeSet::from([bare.gateway.addr.port(), bare.gateway.admin.port()]),
            "{ports:?}"
        );
        for path in [
            "/",
            "/kubernetes/api",
            "/api/v1/secrets",
            "/debug/pprof/",
            "/config",
            "/env",
            "/proxy",
        ] {
            for method in ["GET", "POST"] {
                let mut tcp = TcpStream::connect(bare.agent.health).await?;
                tcp.write_all(
                    format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
                )
                .await?;
                let mut answer = String::new();
                timeout(Duration::from_secs(10), tcp.read_to_string(&mut answer)).await??;
                ensure!(
                    answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 405"),
                    "{method} {path}: {answer}"
                );
            }
        }
        Ok(())
    })
}
