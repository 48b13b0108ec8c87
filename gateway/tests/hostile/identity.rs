//! Who an agent says to be, and whose links and tunnels it says to go on with.

use aws_lc_rs::signature::Ed25519KeyPair;
use http::Method;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    agent_api::{ENROLL_PATH, TUNNEL_PATH},
    assertion::{SessionKind, sign},
    pb::{
        DrainRequest, DrainResponse, HelloRequest, HelloResponse, OpenDataRequest, OpenDataResponse,
        agent_service_server::{AgentService, AgentServiceServer},
    },
};
use kantaloupe_tunnel::{
    carrier::websocket,
    frame::Frame,
    link,
    session::{self, Kind},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt as _;

use super::{
    agent::{Agent, UID, enrollment, now},
    client::{empty, whole},
    siege::Siege,
    wire::{carrier, is_cut, put, take},
};

/// The status and code of an upgrade with this `Authorization`.
async fn with_assertion(agent: &Agent, assertion: &str) -> (u16, String) {
    let mut request = agent.client.request(Method::GET, TUNNEL_PATH, empty());
    websocket::client_headers(request.headers_mut());
    request
        .headers_mut()
        .insert("authorization", assertion.parse().unwrap());
    let response = agent.client.http1().await.send_request(request).await.unwrap();
    let (status, _, body) = whole(response).await;
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    (
        status.as_u16(),
        problem["code"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn h01_to_h08_names_of_others() {
    let siege = Siege::start().await;
    let (evil, victim) = (&siege.evil, siege.victim.identity.clone());
    let refused = |got: (http::StatusCode, String), what: &str| {
        assert_eq!(got.0, 401, "{what}: {got:?}");
    };
    // h01, h02, h03: another cluster's id, key id, or both, under the own signature.
    refused(
        evil.refused(|c| c.cluster_id.clone_from(&victim.cluster_id))
            .await,
        "h01",
    );
    refused(evil.refused(|c| c.key_id.clone_from(&victim.key_id)).await, "h02");
    refused(
        evil.refused(|c| {
            c.key_id.clone_from(&victim.key_id);
            c.cluster_id.clone_from(&victim.cluster_id);
        })
        .await,
        "h03",
    );
    siege.holds("h01 to h03: another's names").await;
    // h04: the UID of another Kubernetes cluster.
    refused(
        evil.refused(|c| c.cluster_uid = "00000000-forged".to_owned())
            .await,
        "h04",
    );
    // h05: times that no clock shows.
    for at in [i64::MAX, i64::MIN, 0, -1, now() - 3600, now() + 3600] {
        let got = evil.refused(|c| c.issued_at = at).await;
        assert_eq!(
            got,
            (http::StatusCode::UNAUTHORIZED, "KTA-TIME-001".to_owned()),
            "h05: {at}"
        );
    }
    siege.holds("h04, h05: a forged UID, impossible times").await;
    // h06: an assertion that was seen on the way, and is sent again by whoever has it.
    let mut seen = String::new();
    let (response, _) = evil
        .upgrade("t-1", SessionKind::Control, |c| {
            seen = sign(c, &evil.key);
        })
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(with_assertion(evil, &seen).await.0, 401, "h06");
    assert_eq!(with_assertion(&siege.victim, &seen).await.0, 401, "h06");
    // h07: assertions that are none.
    for assertion in [
        "Kantaloupe ",
        "Kantaloupe e30.e30",
        "Bearer x",
        "Kantaloupe ..",
        &"Kantaloupe ".repeat(700),
    ] {
        let (status, code) = with_assertion(evil, assertion).await;
        assert!(
            status == 401 && code == "KTA-AUTH-007",
            "h07: {assertion:.40}: {status} {code}"
        );
    }
    siege.holds("h06, h07: replayed and unreadable assertions").await;
    // h08: the own used token once more, for the victim's cluster and with more than an agent may say.
    let (_, token) = siege.testbed.cluster("third").await;
    let key = Ed25519KeyPair::generate().unwrap();
    let mut ask = enrollment(&token, &key, now());
    ask["clusterId"] = json!(victim.cluster_id);
    ask["groups"] = json!(["system:masters"]);
    ask["role"] = json!("admin");
    let (status, answer) = evil.client.call(Method::POST, ENROLL_PATH, ask).await;
    assert_eq!(
        (status.as_u16(), &answer["clusterName"]),
        (200, &json!("third")),
        "h08"
    );
    let other = Ed25519KeyPair::generate().unwrap();
    let (status, _) = evil
        .client
        .call(Method::POST, ENROLL_PATH, enrollment(&token, &other, now()))
        .await;
    assert_eq!(status, 409, "h08: a used token");
    siege.holds("h08: enrolment with more than a token gives").await;
    // Somebody is told: the refusals are counted.
    assert!(
        siege
            .metric("kantaloupe_gateway_agent_connects_total{outcome=\"refused\"}")
            .await
            >= 10
    );
}

#[tokio::test]
async fn h09_to_h11_links_and_tunnels_of_others() {
    let siege = Siege::start().await;
    // h09: links with guessed names.
    for id in 0..20_u8 {
        let mut carrier = carrier(&siege.evil, "t-guess", SessionKind::Control).await;
        let resume = Frame::Resume {
            received: 0,
            id: [id; 16],
            secret: [id; 32],
            generation: 2,
        };
        put(&mut carrier, resume.encode()).await.unwrap();
        assert_eq!(
            take(&mut carrier).await,
            Some(Frame::Refused(1)),
            "h09: an unknown link"
        );
    }
    siege.holds("h09: guessed links").await;
    // h10: name and secret of a link of the victim's, stolen from a memory dump, say.
    let mut theirs = carrier(&siege.victim, "t-victim", SessionKind::Control).await;
    put(&mut theirs, Frame::New(4 << 20).encode()).await.unwrap();
    let Some(Frame::Created { id, secret, .. }) = take(&mut theirs).await else {
        panic!("no link")
    };
    for (tunnel, session) in [
        ("t-victim", SessionKind::Control),
        ("t-victim", SessionKind::Data),
        ("t-evil", SessionKind::Control),
    ] {
        let mut stolen = carrier(&siege.evil, tunnel, session).await;
        let resume = Frame::Resume {
            received: 0,
            id,
            secret,
            generation: u64::MAX,
        };
        put(&mut stolen, resume.encode()).await.unwrap();
        // As if there were none: whether a link exists is not the business of others.
        assert_eq!(take(&mut stolen).await, Some(Frame::Refused(1)), "h10: {tunnel}");
        assert!(is_cut(&mut stolen).await, "h10");
    }
    put(&mut theirs, Frame::Ping(7).encode()).await.unwrap();
    let pong = async { while take(&mut theirs).await != Some(Frame::Pong(7)) {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), pong)
        .await
        .expect("h10: the victim's link goes on");
    siege.holds("h10: a stolen link").await;
    // h11: data sessions for the victim's tunnel, and for none at all, many times.
    for n in 0..50 {
        let tunnel = if n % 2 == 0 {
            "t-victim".to_owned()
        } else {
            format!("t-{n}")
        };
        let dialer = siege.evil.dialer(&tunnel, SessionKind::Data);
        let link = link::open(dialer, link::Config::default()).await.unwrap();
        drop(link);
    }
    siege.holds("h11: data sessions that nobody asked for").await;
    siege.settles("kantaloupe_gateway_data_sessions ", 1).await;
}

/// Says of itself what the test wants, or nothing at all.
struct Odd(Option<HelloResponse>);

#[tonic::async_trait]
impl AgentService for Odd {
    async fn hello(
        &self,
        _: tonic::Request<HelloRequest>,
    ) -> Result<tonic::Response<HelloResponse>, tonic::Status> {
        match &self.0 {
            Some(answer) => Ok(tonic::Response::new(answer.clone())),
            None => std::future::pending().await,
        }
    }

    async fn drain(
        &self,
        _: tonic::Request<DrainRequest>,
    ) -> Result<tonic::Response<DrainResponse>, tonic::Status> {
        std::future::pending().await
    }

    async fn open_data(
        &self,
        _: tonic::Request<OpenDataRequest>,
    ) -> Result<tonic::Response<OpenDataResponse>, tonic::Status> {
        std::future::pending().await
    }
}

async fn odd(agent: &Agent, answer: Option<HelloResponse>) -> AbortOnDropHandle<()> {
    let tunnel = uuid::Uuid::new_v4().to_string();
    let link = link::open(
        agent.dialer(&tunnel, SessionKind::Control),
        link::Config::default(),
    );
    let link = link.await.unwrap();
    let routes = tonic::service::Routes::new(AgentServiceServer::new(Odd(answer))).prepare();
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        routes.clone().oneshot(request.map(tonic::body::Body::new))
    });
    AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = session::serve(link, Kind::Control, service, CancellationToken::new()).await;
    }))
}

fn hello() -> HelloResponse {
    HelloResponse {
        agent_version: "0.1.0".to_owned(),
        protocol_version: PROTOCOL_VERSION,
        cluster_uid: UID.to_owned(),
        kubernetes_version: "v1.34.4".to_owned(),
        pod_name: "kantaloupe-agent-0".to_owned(),
        access_profile: "observe".to_owned(),
        access_limits: None,
    }
}

#[tokio::test]
async fn h12_to_h16_what_an_agent_says_of_itself() {
    let siege = Siege::start().await;
    // h12: another cluster than the one that enrolled. h13: an older and a newer protocol.
    let mut ended = vec![];
    for wrong in [
        HelloResponse {
            cluster_uid: "00000000-forged".to_owned(),
            ..hello()
        },
        HelloResponse {
            protocol_version: 0,
            ..hello()
        },
        HelloResponse {
            protocol_version: PROTOCOL_VERSION + 1,
            ..hello()
        },
    ] {
        ended.push(odd(&siege.evil, Some(wrong)).await);
    }
    for task in ended {
        tokio::time::timeout(std::time::Duration::from_secs(10), task)
            .await
            .expect("h12, h13: the tunnel goes on")
            .unwrap();
    }
    assert_eq!(
        siege.get("/clusters/evil").await["state"],
        "connecting",
        "h12, h13"
    );
    siege.holds("h12, h13: another cluster, other protocols").await;
    // h14: names of a megabyte, with control characters.
    let long = "\u{1b}[31m".repeat(100_000);
    let _loud = odd(
        &siege.evil,
        Some(HelloResponse {
            agent_version: long.clone(),
            kubernetes_version: long.clone(),
            pod_name: "<script>".repeat(1000),
            access_profile: long,
            ..hello()
        }),
    )
    .await;
    siege.testbed.wait_for("evil", "connected").await;
    let shown = siege.get("/clusters/evil").await;
    for field in ["version", "kubernetesVersion", "podName", "accessProfile"] {
        let text = shown["agent"][field].as_str().unwrap();
        assert!(
            text.len() <= 128 && !text.chars().any(char::is_control),
            "h14: {text:.40}"
        );
    }
    siege.holds("h14: names of half a megabyte").await;
    // h15: tunnels without end; only so many are kept, and those that never say Hello give way too.
    let mut tunnels = vec![];
    for _ in 0..40 {
        tunnels.push(odd(&siege.evil, Some(hello())).await);
        tunnels.push(odd(&siege.evil, None).await);
    }
    siege.holds("h15: 80 tunnels").await;
    assert!(
        siege.metric("kantaloupe_gateway_tunnels ").await <= 5,
        "h15: four of the attacker, one of the victim"
    );
    drop(tunnels);
    siege.settles("kantaloupe_gateway_tunnels ", 1).await;
    // h16: users of the attacker's cluster get an error in time, though the agent opens no data session.
    let _miser = odd(&siege.evil, Some(hello())).await;
    siege.settles("kantaloupe_gateway_tunnels ", 2).await;
    let ask = siege
        .testbed
        .client
        .call(Method::GET, "/clusters/evil/kubernetes/version", Value::Null);
    let (waited, ()) = tokio::join!(ask, siege.holds("h16: a wish for data that is never granted"));
    assert_eq!(waited.0, 503, "h16: {}", waited.1);
}
