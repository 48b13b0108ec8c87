use base64::{Engine, engine::general_purpose::STANDARD};
use kantaloupe_checks::Code;
use serde_json::{Value, json};

use super::*;
use crate::testing::{
    gateway::public_key,
    kubernetes::{CLUSTER_UID, Kubernetes},
};

fn store(kubernetes: &Kubernetes) -> KeyStore {
    KeyStore::new(kubernetes.client(), "kantaloupe-system", "identity")
}

fn enrolled() -> Enrolled {
    Enrolled {
        cluster_id: "c-1a2b3c4d".to_owned(),
        key_id: "k-1".to_owned(),
        audience: "gw".to_owned(),
        control_plane_url: "https://gw".to_owned(),
        cluster_uid: CLUSTER_UID.to_owned(),
        time: "2026-01-01T00:00:00Z".to_owned(),
        token_id: "t1".to_owned(),
    }
}

/// The Secret that another replica writes.
fn foreign_secret(key: &Key, identity: Option<&Enrolled>) -> Value {
    let mut data = json!({PRIVATE_KEY: STANDARD.encode(key.pkcs8.expose_secret())});
    if let Some(identity) = identity {
        data[IDENTITY] = STANDARD.encode(serde_json::to_vec(identity).unwrap()).into();
    }
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "identity"}, "data": data})
}

#[tokio::test]
async fn key_and_identity_survive_a_restart() {
    let kubernetes = Kubernetes::start().await;
    let store = store(&kubernetes);
    let empty = store.load().await.unwrap();
    assert!(empty.key.is_none() && empty.identity().is_none());

    let key = Key::generate().unwrap();
    let public = key.public();
    let stored = store.write_key(empty, key).await.unwrap();
    assert_eq!(
        public_key(kubernetes.store.lock().secret.as_ref().unwrap()),
        public
    );
    let again = store.load().await.unwrap();
    assert_eq!(again.key.as_ref().unwrap().public(), public);
    assert!(again.identity().is_none(), "a key alone is no identity");

    store.write_enrolled(stored, &enrolled()).await.unwrap();
    let identity = store.load().await.unwrap().identity().unwrap();
    assert_eq!(identity.key.public(), public);
    assert_eq!(identity.enrolled, enrolled());
}

#[tokio::test]
async fn the_documented_field_names_are_written_and_other_data_is_kept() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.store.lock().secret = Some(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "identity", "labels": {"helm": "yes"}, "resourceVersion": "7"},
        "data": {"note": "aGk="},
    }));
    let store = store(&kubernetes);
    let stored = store.load().await.unwrap();
    let stored = store.write_key(stored, Key::generate().unwrap()).await.unwrap();
    store.write_enrolled(stored, &enrolled()).await.unwrap();
    let secret = kubernetes.store.lock().secret.clone().unwrap();
    assert_eq!(secret["metadata"]["labels"]["helm"], "yes");
    assert_eq!(secret["data"]["note"], "aGk=");
    let identity = STANDARD
        .decode(secret["data"]["identity.json"].as_str().unwrap())
        .unwrap();
    let identity: Value = serde_json::from_slice(&identity).unwrap();
    for field in [
        "clusterId",
        "keyId",
        "audience",
        "controlPlaneUrl",
        "clusterUid",
        "enrolledAt",
    ] {
        assert!(identity[field].is_string(), "{field} is missing in {identity}");
    }
}

#[tokio::test]
async fn a_new_key_removes_the_old_identity() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.store.lock().secret = Some(foreign_secret(&Key::generate().unwrap(), Some(&enrolled())));
    let store = store(&kubernetes);
    let stored = store.load().await.unwrap();
    assert!(stored.identity().is_some());
    store.write_key(stored, Key::generate().unwrap()).await.unwrap();
    assert!(store.load().await.unwrap().identity().is_none());
}

#[tokio::test]
async fn when_another_replica_was_faster_its_key_wins() {
    let kubernetes = Kubernetes::start().await;
    let theirs = Key::generate().unwrap();
    kubernetes.store.lock().intruder = Some(foreign_secret(&theirs, None));
    let store = store(&kubernetes);
    let empty = store.load().await.unwrap();
    let stored = store.write_key(empty, Key::generate().unwrap()).await.unwrap();
    assert_eq!(stored.key.as_ref().unwrap().public(), theirs.public());

    // Both enrolled with that key; the answer is the same, and so is the identity.
    kubernetes.store.lock().intruder = Some(foreign_secret(&theirs, Some(&enrolled())));
    let identity = store.write_enrolled(stored, &enrolled()).await.unwrap();
    assert_eq!(identity.key.public(), theirs.public());
}

#[tokio::test]
async fn another_key_in_the_secret_is_a_twin() {
    let kubernetes = Kubernetes::start().await;
    let store = store(&kubernetes);
    let empty = store.load().await.unwrap();
    let stored = store.write_key(empty, Key::generate().unwrap()).await.unwrap();
    kubernetes.store.lock().intruder = Some(foreign_secret(&Key::generate().unwrap(), None));
    let failure = store.write_enrolled(stored, &enrolled()).await.unwrap_err();
    assert_eq!(failure.fault.code(), Code::AUTH_006, "{failure}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_names_the_rights_that_are_missing() {
    let kubernetes = Kubernetes::start().await;
    let store = store(&kubernetes);
    for status in [403, 422, 500] {
        kubernetes.store.lock().refuse_writes = Some(status);
        let empty = store.load().await.unwrap();
        let failure = store
            .write_key(empty, Key::generate().unwrap())
            .await
            .unwrap_err();
        assert_eq!(failure.fault.code(), Code::AUTH_008, "{failure}");
        let text = failure.to_string();
        assert!(text.contains("kantaloupe-system/identity"), "{text}");
        assert_eq!(text.contains("needs get and update"), status == 403, "{text}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away() {
    let kubernetes = Kubernetes::start().await;
    let store = store(&kubernetes);
    drop(kubernetes);
    let failure = store.load().await.unwrap_err();
    assert_eq!(failure.fault.code(), Code::K8S_001, "{failure}");
    assert!(!failure.permanent);
}

#[tokio::test]
async fn damaged_data_counts_as_absent() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.store.lock().secret = Some(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "identity"},
        "data": {PRIVATE_KEY: "AAAA", IDENTITY: "e30="},
    }));
    let stored = store(&kubernetes).load().await.unwrap();
    assert!(stored.key.is_none() && stored.enrolled.is_none());
}

#[test]
fn a_key_does_not_show_itself() {
    let key = Key::generate().unwrap();
    assert_eq!(format!("{key:?}"), "Key(hidden)");
}
