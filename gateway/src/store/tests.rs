//! What every implementation of the store must do.

mod migration;

use kantaloupe_proto::token::{Token, TokenKind};
use tempfile::TempDir;

use super::*;
use crate::people::create_first_admin;

const NOW: i64 = 1_790_000_000;
const HOUR: i64 = 3600;

pub(super) async fn store() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Store::open(dir.path()).await.unwrap(), dir)
}

pub(super) async fn cluster(store: &Store, id: &str, name: &str) -> Token {
    let token = Token::generate(TokenKind::Enrollment);
    let enrollment = NewEnrollmentToken {
        token: &token,
        now: NOW,
        expires_at: NOW + HOUR,
    };
    let new = NewCluster {
        id,
        organization_id: DEFAULT_ORGANIZATION,
        name,
        display_name: name,
        profile: "observe",
        now: NOW,
        enrollment,
    };
    store.create_cluster(&new).await.unwrap();
    token
}

fn connection(id: &str, connected: bool, at: i64) -> Connection {
    Connection {
        cluster_id: id.into(),
        connected,
        last_seen: Some(at),
        agent: Some("{}".to_owned()),
    }
}

fn agent<'a>(token: &'a Token, public_key: &'a [u8; 32], key_id: &'a str, now: i64) -> Enrollment<'a> {
    Enrollment {
        token,
        public_key,
        cluster_uid: "uid-1",
        key_id,
        now,
    }
}

#[tokio::test]
async fn a_cluster_and_the_audience_survive_a_restart() {
    let (store, dir) = store().await;
    let audience = store.audience().await.unwrap();
    cluster(&store, "c-1", "prod").await;
    store
        .save_connections(&[connection("c-1", true, NOW + 5)])
        .await
        .unwrap();
    store.close().await;

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.audience().await.unwrap(), audience);
    let rows = store.clusters().await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].name.as_str(), rows[0].connected, rows[0].last_seen),
        ("prod", true, Some(NOW + 5))
    );
}

#[tokio::test]
async fn a_name_is_given_once() {
    let (store, _dir) = store().await;
    cluster(&store, "c-1", "prod").await;
    let token = Token::generate(TokenKind::Enrollment);
    let enrollment = NewEnrollmentToken {
        token: &token,
        now: NOW,
        expires_at: NOW,
    };
    let again = NewCluster {
        id: "c-2",
        organization_id: DEFAULT_ORGANIZATION,
        name: "prod",
        display_name: "",
        profile: "observe",
        now: NOW,
        enrollment,
    };
    assert!(matches!(
        store.create_cluster(&again).await,
        Err(StoreError::NameTaken)
    ));
    store.delete_cluster("c-1", NOW).await.unwrap();
    store.create_cluster(&again).await.unwrap();
}

#[tokio::test]
async fn enrolment_is_idempotent_for_one_key_and_closed_to_another() {
    let (store, _dir) = store().await;
    let token = cluster(&store, "c-1", "prod").await;
    assert_eq!(store.clusters().await.unwrap()[0].enrolled_at, None);
    let first = store
        .enroll(&agent(&token, &[1; 32], "k-1", NOW))
        .await
        .unwrap()
        .unwrap();
    assert!(first.fresh);
    assert_eq!(store.clusters().await.unwrap()[0].enrolled_at, Some(NOW));
    // The answer was lost; the agent asks again, even after the token's time.
    let again = store
        .enroll(&agent(&token, &[1; 32], "k-2", NOW + 2 * HOUR))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.key_id.as_str(), again.fresh), ("k-1", false));
    let other = store.enroll(&agent(&token, &[2; 32], "k-3", NOW)).await.unwrap();
    assert_eq!(other, Err(EnrollRefusal::Used));
}

#[tokio::test]
async fn unknown_expired_and_forged_tokens_are_refused() {
    let (store, _dir) = store().await;
    let token = cluster(&store, "c-1", "prod").await;
    let unknown = Token::generate(TokenKind::Enrollment);
    let refused = store
        .enroll(&agent(&unknown, &[1; 32], "k-1", NOW))
        .await
        .unwrap();
    assert_eq!(refused, Err(EnrollRefusal::Unknown));
    let mut forged = Token::generate(TokenKind::Enrollment);
    forged.id.clone_from(&token.id);
    let refused = store.enroll(&agent(&forged, &[1; 32], "k-1", NOW)).await.unwrap();
    assert_eq!(refused, Err(EnrollRefusal::Unknown));
    let refused = store
        .enroll(&agent(&token, &[1; 32], "k-1", NOW + HOUR))
        .await
        .unwrap();
    assert_eq!(refused, Err(EnrollRefusal::Expired { at: NOW + HOUR }));
}

#[tokio::test]
async fn a_new_token_ends_the_unused_one_and_a_new_key_the_old_one() {
    let (store, _dir) = store().await;
    let first = cluster(&store, "c-1", "prod").await;
    let second = Token::generate(TokenKind::Enrollment);
    let new = NewEnrollmentToken {
        token: &second,
        now: NOW + 1,
        expires_at: NOW + HOUR,
    };
    store.replace_enrollment_token("c-1", &new).await.unwrap();
    let refused = store
        .enroll(&agent(&first, &[1; 32], "k-1", NOW + 2))
        .await
        .unwrap();
    assert_eq!(refused, Err(EnrollRefusal::Expired { at: NOW + 1 }));
    store
        .enroll(&agent(&second, &[1; 32], "k-1", NOW + 2))
        .await
        .unwrap()
        .unwrap();

    let third = Token::generate(TokenKind::Enrollment);
    let new = NewEnrollmentToken {
        token: &third,
        now: NOW + 3,
        expires_at: NOW + HOUR,
    };
    store.replace_enrollment_token("c-1", &new).await.unwrap();
    store
        .enroll(&agent(&third, &[2; 32], "k-2", NOW + 4))
        .await
        .unwrap()
        .unwrap();
    assert!(store.agent_key("k-1").await.unwrap().unwrap().revoked);
    assert!(!store.agent_key("k-2").await.unwrap().unwrap().revoked);
}

#[tokio::test]
async fn another_kubernetes_cluster_cannot_take_an_enrolled_one_unless_it_was_revoked() {
    let (store, _dir) = store().await;
    let token = cluster(&store, "c-1", "prod").await;
    store
        .enroll(&agent(&token, &[1; 32], "k-1", NOW))
        .await
        .unwrap()
        .unwrap();
    let second = Token::generate(TokenKind::Enrollment);
    let new = NewEnrollmentToken {
        token: &second,
        now: NOW,
        expires_at: NOW + HOUR,
    };
    store.replace_enrollment_token("c-1", &new).await.unwrap();
    let foreign = Enrollment {
        cluster_uid: "uid-2",
        ..agent(&second, &[2; 32], "k-2", NOW)
    };
    let refused = store.enroll(&foreign).await.unwrap();
    assert_eq!(
        refused,
        Err(EnrollRefusal::OtherCluster {
            enrolled_uid: "uid-1".to_owned()
        })
    );

    assert!(store.revoke_cluster("c-1", NOW).await.unwrap());
    let third = Token::generate(TokenKind::Enrollment);
    let new = NewEnrollmentToken {
        token: &third,
        now: NOW,
        expires_at: NOW + HOUR,
    };
    store.replace_enrollment_token("c-1", &new).await.unwrap();
    let foreign = Enrollment {
        cluster_uid: "uid-2",
        ..agent(&third, &[2; 32], "k-2", NOW)
    };
    store.enroll(&foreign).await.unwrap().unwrap();
    assert_eq!(
        store.clusters().await.unwrap()[0].revoked_at,
        None,
        "enrolling again ends the revocation"
    );
}

#[tokio::test]
async fn revoking_and_deleting_refuse_keys_and_tokens() {
    let (store, _dir) = store().await;
    let token = cluster(&store, "c-1", "prod").await;
    store
        .enroll(&agent(&token, &[1; 32], "k-1", NOW))
        .await
        .unwrap()
        .unwrap();
    assert!(store.revoke_cluster("c-1", NOW + 1).await.unwrap());
    assert!(store.agent_key("k-1").await.unwrap().unwrap().revoked);
    let refused = store
        .enroll(&agent(&token, &[1; 32], "k-2", NOW + 1))
        .await
        .unwrap();
    assert_eq!(refused, Err(EnrollRefusal::Revoked));

    let token = cluster(&store, "c-2", "test").await;
    store
        .enroll(&agent(&token, &[3; 32], "k-3", NOW))
        .await
        .unwrap()
        .unwrap();
    assert!(store.delete_cluster("c-2", NOW).await.unwrap());
    assert!(!store.delete_cluster("c-2", NOW).await.unwrap());
    assert!(
        store.agent_key("k-3").await.unwrap().unwrap().revoked,
        "the key is remembered as revoked"
    );
}

#[tokio::test]
async fn last_seen_moves_for_connected_clusters_only() {
    let (store, _dir) = store().await;
    cluster(&store, "c-1", "one").await;
    cluster(&store, "c-2", "two").await;
    store
        .save_connections(&[connection("c-1", true, NOW), connection("c-2", true, NOW)])
        .await
        .unwrap();
    store
        .save_connections(&[Connection {
            agent: None,
            ..connection("c-2", false, NOW + 1)
        }])
        .await
        .unwrap();
    store.touch_connected(NOW + 60).await.unwrap();
    let seen: Vec<_> = store
        .clusters()
        .await
        .unwrap()
        .iter()
        .map(|c| c.last_seen)
        .collect();
    assert_eq!(seen, [Some(NOW + 60), Some(NOW + 1)]);
    assert_eq!(
        store.clusters().await.unwrap()[1].agent.as_deref(),
        Some("{}"),
        "what was known stays"
    );
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_tokens_belong_to_their_user() {
    let (store, _dir) = store().await;
    let token = Token::generate(TokenKind::Api);
    create_first_admin(&store, &token, NOW).await.unwrap();
    create_first_admin(&store, &Token::generate(TokenKind::Api), NOW)
        .await
        .unwrap();
    let people = store.people().await.unwrap();
    assert_eq!((people.users.len(), people.bindings.len()), (1, 1));
    let kept = store.api_token(&token.id).await.unwrap().unwrap();
    assert_eq!(kept.user_id, people.users[0].id);
    assert!(token.matches_hash(&kept.secret_hash));
    assert_eq!(store.api_tokens(&kept.user_id).await.unwrap().len(), 1);

    assert!(!store.delete_api_token("someone-else", &token.id).await.unwrap());
    assert!(store.delete_api_token(&kept.user_id, &token.id).await.unwrap());
    assert!(store.api_token(&token.id).await.unwrap().is_none());
}

#[tokio::test]
async fn no_secret_is_in_the_file() {
    let (store, dir) = store().await;
    let token = cluster(&store, "c-1", "prod").await;
    store.close().await;
    let revealed = secrecy::ExposeSecret::expose_secret(&token.reveal()).to_owned();
    let secret = revealed.split('_').nth(2).unwrap().as_bytes().to_vec();
    let file = std::fs::read(dir.path().join(FILE)).unwrap();
    assert!(!file.windows(secret.len()).any(|window| window == secret));
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_reading_goes_on() {
    let (store, _dir) = store().await;
    store.simulate_full_disk().await;
    let mut full = false;
    for n in 0..500 {
        let token = Token::generate(TokenKind::Enrollment);
        let enrollment = NewEnrollmentToken {
            token: &token,
            now: NOW,
            expires_at: NOW,
        };
        let (id, name) = (format!("c-{n}"), format!("n{n}"));
        let new = NewCluster {
            id: &id,
            organization_id: DEFAULT_ORGANIZATION,
            name: &name,
            display_name: "",
            profile: "observe",
            now: NOW,
            enrollment,
        };
        match store.create_cluster(&new).await {
            Ok(()) => {}
            Err(StoreError::Full(_)) => {
                full = true;
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(full);
    store.clusters().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open(&dir.path().join("missing")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    std::fs::write(
        dir.path().join(FILE),
        "not a database, but long enough to be looked at as one",
    )
    .unwrap();
    Store::open(dir.path()).await.unwrap_err();
}
