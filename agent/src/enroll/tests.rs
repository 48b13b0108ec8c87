use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::testing::{
    self,
    gateway::{Gateway, public_key, token},
    kubernetes::{CLUSTER_UID, Kubernetes},
};

/// A gateway, an API server, and a token file.
struct Bench {
    gateway: Gateway,
    kubernetes: Kubernetes,
    config: Config,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let gateway = Gateway::start().await;
        let kubernetes = Kubernetes::start().await;
        let directory = tempfile::tempdir().unwrap();
        let config = testing::config(
            gateway.address,
            Some(gateway.certificate.pin()),
            &directory.path().join("token"),
        );
        Self {
            gateway,
            kubernetes,
            config,
            directory,
        }
    }

    fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    /// Writes a new token to the file; gives its id.
    fn give_token(&self) -> String {
        let (token, text) = token();
        std::fs::write(self.token_file(), text + "\n").unwrap();
        token.id
    }

    async fn obtain(&self, refused: Option<&str>) -> Result<Identity, Failure> {
        self.obtain_as(CLUSTER_UID, refused).await
    }

    async fn obtain_as(&self, cluster_uid: &str, refused: Option<&str>) -> Result<Identity, Failure> {
        let control_plane = ControlPlane::new(&self.config).unwrap();
        let store = KeyStore::new(
            self.kubernetes.client(),
            &self.config.pod_namespace,
            &self.config.secret_name,
        );
        let enroller = Enroller {
            config: &self.config,
            control_plane: &control_plane,
            store: &store,
            cluster_uid,
        };
        testing::soon(enroller.obtain(refused)).await
    }

    fn secret(&self) -> Value {
        self.kubernetes.store.lock().secret.clone().unwrap()
    }
}

fn code(result: Result<Identity, Failure>) -> (Code, bool) {
    let failure = result.unwrap_err();
    (failure.fault.code(), failure.permanent)
}

#[tokio::test]
async fn a_token_becomes_an_identity_once() {
    let bench = Bench::new().await;
    let token_id = bench.give_token();
    let identity = bench.obtain(None).await.unwrap();
    assert_eq!(identity.enrolled.cluster_id, "c-1a2b3c4d");
    assert_eq!(identity.enrolled.key_id, "k-1");
    assert_eq!(identity.enrolled.audience, "test-gateway");
    assert_eq!(identity.enrolled.cluster_uid, CLUSTER_UID);
    assert_eq!(identity.enrolled.token_id, token_id);
    assert_eq!(bench.gateway.state.lock().keys, [public_key(&bench.secret())]);

    // A restart, even with a newer token and without the gateway, uses what is stored.
    bench.give_token();
    let again = bench.obtain(None).await.unwrap();
    assert_eq!(again.enrolled, identity.enrolled);
    assert_eq!(bench.gateway.state.lock().keys.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let bench = Bench::new().await;
    bench.give_token();
    bench.gateway.state.lock().lose_answers = 1;
    assert_eq!(code(bench.obtain(None).await), (Code::NET_007, false));
    bench.obtain(None).await.unwrap();
    let state = bench.gateway.state.lock();
    assert_eq!(state.keys.len(), 2);
    assert_eq!(state.keys[0], state.keys[1]);
    assert_eq!(state.tokens[0], state.tokens[1]);
}

#[tokio::test]
async fn refusals_of_the_gateway_keep_their_code() {
    let bench = Bench::new().await;
    bench.give_token();
    for (status, text, expected) in [
        (401, "KTA-AUTH-002", (Code::AUTH_002, true)),
        (401, "KTA-AUTH-003", (Code::AUTH_003, true)),
        (409, "KTA-AUTH-004", (Code::AUTH_004, true)),
        (401, "KTA-TIME-001", (Code::TIME_001, false)),
        (429, "KTA-SRV-003", (Code::SRV_003, false)),
    ] {
        bench.gateway.state.lock().refuse_enrolment = Some((status, text, "because"));
        assert_eq!(code(bench.obtain(None).await), expected, "{text}");
    }
}

#[tokio::test]
async fn tokens_that_are_missing_or_damaged_are_seen_before_anything_is_sent() {
    let bench = Bench::new().await;
    assert_eq!(code(bench.obtain(None).await), (Code::CFG_003, true));
    for (text, expected) in [
        (String::new(), Code::CFG_003),
        (" \n".to_owned(), Code::CFG_003),
        ("x".repeat(5000), Code::CFG_003),
        ("kte_abc".to_owned(), Code::AUTH_001),
        ("kta_abc".to_owned(), Code::AUTH_001),
        (token().1[..40].to_owned(), Code::AUTH_001),
    ] {
        std::fs::write(bench.token_file(), &text).unwrap();
        assert_eq!(code(bench.obtain(None).await), (expected, true), "{text:?}");
    }
    assert!(bench.gateway.state.lock().keys.is_empty());
    assert!(
        bench.kubernetes.store.lock().secret.is_none(),
        "nothing was written either"
    );
}

#[tokio::test]
async fn the_answer_must_be_for_the_configured_cluster() {
    let mut bench = Bench::new().await;
    bench.give_token();
    bench.config.cluster_id = Some("c-99999999".to_owned());
    let failure = bench.obtain(None).await.unwrap_err();
    assert_eq!(failure.fault.code(), Code::AUTH_005);
    let text = failure.to_string();
    assert!(
        text.contains("c-99999999") && text.contains("c-1a2b3c4d"),
        "{text}"
    );
    assert!(bench.secret()["data"]["identity.json"].is_null());
}

#[tokio::test]
async fn a_refused_identity_is_replaced_only_by_a_new_token() {
    let bench = Bench::new().await;
    bench.give_token();
    let first = bench.obtain(None).await.unwrap();
    // The same token: the identity stays, and the next attempt shows whether it is accepted again.
    assert_eq!(bench.obtain(Some("k-1")).await.unwrap().enrolled.key_id, "k-1");
    let token_id = bench.give_token();
    // Another key was refused: this one is not meant.
    assert_eq!(bench.obtain(Some("k-0")).await.unwrap().enrolled.key_id, "k-1");
    let second = bench.obtain(Some("k-1")).await.unwrap();
    assert_eq!(second.enrolled.key_id, "k-2");
    assert_eq!(second.enrolled.token_id, token_id);
    assert_ne!(
        second.key.public(),
        first.key.public(),
        "a refused key is not used again"
    );
}

#[tokio::test]
async fn an_identity_that_was_copied_to_another_cluster_is_not_used() {
    let bench = Bench::new().await;
    bench.give_token();
    bench.obtain(None).await.unwrap();
    let failure = bench.obtain_as("another-uid", None).await.unwrap_err();
    assert_eq!((failure.fault.code(), failure.permanent), (Code::AUTH_005, true));
    assert!(failure.to_string().contains("another-uid"), "{failure}");
    bench.give_token();
    let own = bench.obtain_as("another-uid", None).await.unwrap();
    assert_eq!(own.enrolled.cluster_uid, "another-uid");
    assert_eq!(own.enrolled.key_id, "k-2");
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_stops_before_the_token_is_used() {
    let bench = Bench::new().await;
    bench.give_token();
    bench.kubernetes.store.lock().refuse_writes = Some(403);
    assert_eq!(code(bench.obtain(None).await), (Code::AUTH_008, false));
    assert!(bench.gateway.state.lock().tokens.is_empty());
}
