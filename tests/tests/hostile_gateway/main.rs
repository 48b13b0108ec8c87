//! A gateway with hostile code in it cannot make the agent exceed what the cluster's owner allows.
//!
//! The agent is the one that ships, the API server a real one with the chart's widest roles, so that nothing but the
//! agent refuses. The API server's audit log proves that nothing arrived, the agent's own that each try was seen.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of a test fail the test; figures are for people"
)]

mod constrained;
mod tries;

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, uri::PathAndQuery,
};
use http_body_util::BodyExt;
use hyper::{body::Incoming, ext::Protocol};
use kantaloupe_proto::{
    agent_log::{Entry, verify},
    token::{Token, TokenKind},
};
use kantaloupe_tests::{
    apiserver::{ApiServer, Release},
    bare::install_chart,
    hostile_gateway::{HostileGateway, Taken},
    kubelet::Kubelet,
    processes::Agent,
    tunnel::{empty, full},
};
use kantaloupe_tunnel::{session::ORIGIN, upgrade};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tries::{NARROW, Try, WIDE};

/// Longest for an answer of the agent's, and for a line in a log.
const SOON: Duration = Duration::from_secs(20);
/// Name of the service account with whose token the agent asks.
const AGENT: &str = "system:serviceaccount:kantaloupe-system:kantaloupe-agent";

struct World {
    server: ApiServer,
    _kubelet: Kubelet,
    dir: TempDir,
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("kantaloupe-hostile-")?;
        let server = ApiServer::start_audited(&dir.path().join("server"), Release::Default).await?;
        let kubelet = Kubelet::start(&server.tls).await?;
        let mut api = server.connect().await?;
        for name in ["kantaloupe-system", "team-a", "team-b"] {
            let body = json!({"metadata": {"name": name}});
            api.ok(Method::POST, "/api/v1/namespaces", Some(&body)).await?;
        }
        kubelet.register(&mut api, &["team-a"]).await?;
        let secret = json!({"metadata": {"name": "canary"}, "stringData": {"word": "secret-of-the-cluster"}});
        api.ok(Method::POST, "/api/v1/namespaces/team-a/secrets", Some(&secret))
            .await?;
        let values = [
            "access.profile=admin",
            "access.admin.iUnderstand=true",
            "cluster.organization=acme",
        ];
        install_chart(&server, &values.map(str::to_owned)).await?;
        Ok(Self {
            server,
            _kubelet: kubelet,
            dir,
        })
    }

    /// An agent with these limits at a hostile gateway of its own.
    async fn agent(&self, name: &str, limits: Value) -> anyhow::Result<Attacked> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        let kubeconfig = dir.join("kubeconfig");
        self.server.agent_kubeconfig(&kubeconfig)?;
        let mut gateway = HostileGateway::start(&self.server.tls).await?;
        let url = format!("https://localhost:{}", gateway.addr.port());
        let token = Token::generate(TokenKind::Enrollment).reveal();
        let mut config = limits;
        // Its own Secret: each agent enrols by itself.
        config["identity"] = json!({"secretName": "kantaloupe-agent-identity"});
        // The audit log is written at every level.
        config["logging"] = json!({"level": "error"});
        let agent = Agent::start_with(
            &dir,
            &url,
            &kubeconfig,
            token.expose_secret(),
            &self.server.tls,
            &config,
            vec![],
        )?;
        let taken = gateway.take().await.with_context(|| agent.process.said())?;
        Ok(Attacked {
            agent,
            taken,
            _gateway: gateway,
        })
    }

    /// What reached the API server for somebody: entries of people, with their answer.
    fn reached(&self) -> anyhow::Result<Vec<Value>> {
        Ok(self
            .entries()?
            .into_iter()
            .filter(|entry| !entry["impersonatedUser"].is_null() && entry["stage"] == "ResponseComplete")
            .collect())
    }

    fn entries(&self) -> anyhow::Result<Vec<Value>> {
        let log = self.server.audit()?;
        Ok(log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Waits for the entry with this id.
    async fn entry(&self, id: &str) -> anyhow::Result<Value> {
        let end = Instant::now() + SOON;
        loop {
            if let Some(entry) = self.reached()?.into_iter().find(|entry| entry["auditID"] == id) {
                return Ok(entry);
            }
            ensure!(Instant::now() < end, "{id} never came to the API server");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// An agent and what its gateway does to it.
struct Attacked {
    agent: Agent,
    taken: Taken,
    _gateway: HostileGateway,
}

impl Attacked {
    async fn send(
        &self,
        request: Request<kantaloupe_tunnel::session::Body>,
    ) -> anyhow::Result<Response<Incoming>> {
        timeout(SOON, self.taken.data.request(request))
            .await
            .context("the agent does not answer")?
            .context("the agent ended the stream")
    }

    /// The audit log so far, whose chain holds.
    fn log(&self) -> anyhow::Result<Vec<Entry>> {
        let said = self.agent.process.said();
        // The last line may be half written.
        let whole = &said[..said.rfind('\n').map_or(0, |end| end + 1)];
        let found = verify(whole.lines())?;
        ensure!(
            found.cut.is_empty(),
            "the audit log does not begin with its first entry"
        );
        Ok(found.entries)
    }

    async fn entry(&self, number: usize) -> anyhow::Result<Entry> {
        let end = Instant::now() + SOON;
        loop {
            if let Some(entry) = self.log()?.get(number) {
                return Ok(entry.clone());
            }
            ensure!(
                Instant::now() < end,
                "line {number} is missing:\n{}",
                self.agent.process.said()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Tries one and looks at the answer and at the agent's log.
    async fn is_refused(&self, attempt: &Try, id: &str) -> anyhow::Result<()> {
        let before = self.log()?.len();
        let response = self.send(attempt.build(id)).await?;
        let status = response.status();
        let expected = match attempt.reason {
            "identity" | "path" | "upgrade" => StatusCode::BAD_REQUEST,
            "prefix" | "authority" => StatusCode::NOT_FOUND,
            _ => StatusCode::FORBIDDEN,
        };
        ensure!(status == expected, "the status is {status}");
        let body = response.into_body().collect().await?.to_bytes();
        if !attempt.request.contains("HEAD") {
            let answer: Value = serde_json::from_slice(&body)?;
            ensure!(
                answer["kind"] == "Status" && answer["code"] == status.as_u16(),
                "the answer is {answer}"
            );
            let message = answer["message"].as_str().unwrap_or_default();
            ensure!(
                status != StatusCode::FORBIDDEN || message.contains("KTA-POL-00"),
                "the answer names no code: {message}"
            );
        }
        let entry = self.entry(before).await?;
        let seen = (entry.decision.as_str(), entry.reason.as_deref(), entry.status);
        ensure!(
            seen == ("deny", Some(attempt.reason), Some(status.as_u16())),
            "the agent wrote down {seen:?}"
        );
        let named = attempt
            .headers
            .iter()
            .any(|(name, _)| *name == "kantaloupe-request-id");
        ensure!(
            named || entry.id.as_deref() == Some(id),
            "the agent wrote down the id {:?}",
            entry.id
        );
        ensure!(self.log()?.len() == before + 1, "there is more than one line");
        Ok(())
    }
}

/// Headers as an honest gateway sets them for an administrator.
fn headers(id: &str) -> HeaderMap {
    let usual = [
        ("kantaloupe-user", "alice"),
        ("kantaloupe-role", "admin"),
        ("kantaloupe-organization", "acme"),
        ("kantaloupe-request-id", id),
    ];
    usual
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

impl Try {
    fn build(&self, id: &str) -> Request<kantaloupe_tunnel::session::Body> {
        let mut headers = headers(id);
        for (name, values) in self.headers {
            headers.remove(*name);
            for value in *values {
                let huge = "a".repeat(50 << 10);
                let value = if *value == "huge" { &huge } else { *value };
                headers.append(
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
        }
        let parts: Vec<&str> = self.request.split(' ').collect();
        match *parts {
            // An upgrade, as gateways ask for it, but for the headers.
            [protocol, "NONE", path] => {
                let mut request = Request::new(empty());
                *request.method_mut() = Method::CONNECT;
                *request.uri_mut() = uri(path);
                *request.headers_mut() = headers;
                request.extensions_mut().insert(Protocol::from(protocol));
                request
            }
            [protocol, method, path] => {
                let method = method.parse::<Method>().unwrap();
                let protocol = HeaderValue::from_str(protocol).unwrap();
                let path = PathAndQuery::try_from(path).unwrap();
                upgrade::connect_request(&method, &protocol, path, headers, empty()).unwrap()
            }
            [method, target] => {
                let mut request = Request::new(match method {
                    "POST" | "PUT" | "PATCH" => full(Bytes::from_static(b"{}")),
                    _ => empty(),
                });
                *request.method_mut() = method.parse().unwrap();
                *request.uri_mut() = uri(target);
                *request.headers_mut() = headers;
                request
            }
            _ => unreachable!("a try is two or three words"),
        }
    }
}

fn uri(target: &str) -> Uri {
    let whole = if target.starts_with('/') {
        format!("{ORIGIN}{target}")
    } else {
        target.to_owned()
    };
    whole.parse().unwrap()
}

/// Tries all, and collects what was not as it should be.
async fn attack(attacked: &Attacked, name: &str, all: &[Try]) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (number, attempt) in all.iter().enumerate() {
        let id = format!("{name}-{number}");
        if let Err(error) = attacked.is_refused(attempt, &id).await {
            wrong.push(format!("{} {:?}: {error:#}", attempt.request, attempt.headers));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
    println!("{name}: {} tries refused, none reached the API server", all.len());
    Ok(())
}

/// Asks for something that is allowed: without this the tests above could not fail.
async fn control(
    world: &World,
    attacked: &Attacked,
    id: &str,
    path: &str,
    more: &[(&'static str, &str)],
) -> anyhow::Result<Value> {
    let mut request = Request::get(format!("{ORIGIN}/kubernetes{path}")).body(empty())?;
    *request.headers_mut() = headers(id);
    for (name, value) in more {
        request.headers_mut().append(*name, HeaderValue::from_str(value)?);
    }
    let response = attacked.send(request).await?;
    ensure!(
        response.status() == StatusCode::OK,
        "{path} is answered with {}",
        response.status()
    );
    response.into_body().collect().await?;
    world.entry(id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_refuses_what_the_owner_does_not_allow() -> anyhow::Result<()> {
    let world = World::start().await?;
    ensure!(
        NARROW.len() + WIDE.len() >= 100,
        "there are {} tries",
        NARROW.len() + WIDE.len()
    );

    let limits = json!({
        "access": {"profile": "operate", "namespaces": ["team-a"], "exec": false, "logs": false, "portForward": false},
        "cluster": {"organization": "acme"},
    });
    let narrow = world.agent("narrow", limits).await?;
    let pods = "/api/v1/namespaces/team-a/pods";
    let entry = control(&world, &narrow, "control-1", pods, &[]).await?;
    // The profile caps the role; the organisation is named because the owner named it.
    let groups = json!([
        "kantaloupe:role:operator",
        "kantaloupe:org:acme",
        "system:authenticated"
    ]);
    ensure!(
        entry["impersonatedUser"] == json!({"username": "kantaloupe:user:alice", "groups": groups}),
        "{entry}"
    );
    attack(&narrow, "narrow", NARROW).await?;
    control(&world, &narrow, "control-2", pods, &[]).await?;
    ensure!(narrow.log()?.len() == NARROW.len() + 2);
    let passed: Vec<_> = narrow
        .log()?
        .into_iter()
        .filter(|entry| entry.decision == "allow")
        .collect();
    ensure!(
        passed.len() == 2 && passed[1].status == Some(200) && passed[1].sent > 0,
        "{passed:?}"
    );
    drop(narrow);

    // A new cluster as far as the next gateway is concerned.
    let path = "/api/v1/namespaces/kantaloupe-system/secrets/kantaloupe-agent-identity";
    let mut api = world.server.connect().await?;
    api.ok(Method::PATCH, path, Some(&json!({"data": null}))).await?;
    let limits = json!({"access": {"profile": "admin", "services": ["team-a/web:80"]}});
    let wide = world.agent("wide", limits).await?;
    attack(&wide, "wide", WIDE).await?;
    // What claims to be somebody else does not pass with what is allowed.
    let secret = "/api/v1/namespaces/team-a/secrets/canary";
    let smuggled = [
        ("impersonate-user", "system:admin"),
        ("impersonate-group", "system:masters"),
        ("impersonate-group", "kantaloupe:role:admin"),
        ("impersonate-uid", "0"),
        ("impersonate-extra-scopes", "all"),
        ("impersonate-extra-acme.com%2fproject", "x"),
        ("impersonate-unknown", "x"),
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-a", "b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("authorization", "Bearer administrator"),
        ("proxy-authorization", "Basic YTpi"),
        ("cookie", "token=administrator"),
        ("audit-id", "somebody-elses"),
        (
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.YWRtaW5pc3RyYXRvcg, v4.channel.k8s.io",
        ),
        ("kantaloupe-upgrade-method", "DELETE"),
        ("x-http-method-override", "DELETE"),
    ];
    let entry = control(&world, &wide, "control-3", secret, &smuggled).await?;
    let groups = json!(["kantaloupe:role:admin", "system:authenticated"]);
    ensure!(
        entry["impersonatedUser"] == json!({"username": "kantaloupe:user:alice", "groups": groups})
            && entry["user"]["username"] == AGENT
            && entry["verb"] == "get",
        "{entry}"
    );

    // Nothing else has come for anybody, and the agent itself did nothing but look and keep its own Secret.
    let ids: Vec<Value> = world
        .reached()?
        .iter()
        .map(|entry| entry["auditID"].clone())
        .collect();
    ensure!(ids == ["control-1", "control-2", "control-3"], "{ids:?}");
    let own = world.entries()?;
    let own: Vec<_> = own
        .iter()
        .filter(|entry| entry["user"]["username"] == AGENT && entry["impersonatedUser"].is_null())
        .collect();
    ensure!(
        own.len() > 5,
        "the audit log has {} entries of the agent's",
        own.len()
    );
    for entry in own {
        let object = &entry["objectRef"];
        let looks = matches!(entry["verb"].as_str(), Some("get" | "list" | "watch"))
            && object["resource"] != "secrets";
        let keeps = object["name"] == "kantaloupe-agent-identity";
        let asks_itself = object["resource"]
            .as_str()
            .is_some_and(|resource| resource.starts_with("selfsubject"));
        ensure!(looks || keeps || asks_itself, "the agent did {entry}");
    }
    Ok(())
}

/// Each reason that the agent knows.
#[test]
fn every_limit_is_tried() {
    let reasons: std::collections::BTreeSet<&str> =
        NARROW.iter().chain(WIDE).map(|attempt| attempt.reason).collect();
    let settings = [
        "local_profile",
        "local_namespaces",
        "local_exec",
        "local_logs",
        "local_port_forward",
        "local_proxy",
        "local_services",
        "local_organization",
        "local_own_namespace",
        "never",
        "role",
        "namespaces",
        "identity",
        "path",
        "prefix",
        "authority",
        "upgrade",
    ];
    for reason in settings {
        assert!(reasons.contains(reason), "{reason}");
    }
}
