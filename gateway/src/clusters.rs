//! What changes clusters: store and directory together, one change at a time, never half done.
//!
//! Each change runs in a task of its own: a caller who hangs up in the middle does not leave the directory behind the
//! store.

use std::sync::Arc;

use kantaloupe_proto::token::{Token, TokenKind};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::{
    app::App,
    directory::{About, Cluster},
    ids, people,
    store::{EnrollRefusal, Enrolled, Enrollment, NewCluster, NewEnrollmentToken, Store, StoreError},
};

/// How long an enrolment token is good.
pub(crate) const TOKEN_TTL_SECS: i64 = 60 * 60;

/// Held during a change, so that directory and store see changes in the same order.
pub(crate) type ChangeLock = Mutex<()>;

/// An enrolment token for its user: shown once.
#[derive(Debug)]
pub(crate) struct IssuedToken {
    pub(crate) text: SecretString,
    pub(crate) expires_at: i64,
}

/// A cluster that a user wants, checked.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) organization_id: String,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) profile: String,
}

/// Runs a change to its end, whatever becomes of the caller.
async fn change<T: Send + 'static>(
    app: &Arc<App>,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let inner = Arc::clone(app);
    app.to_the_end(async move {
        let _lock = inner.changes.lock().await;
        work.await
    })
    .await
}

/// Makes a cluster and its first enrolment token.
pub(crate) async fn create(
    app: &Arc<App>,
    wanted: Wanted,
) -> Result<(Arc<Cluster>, IssuedToken), StoreError> {
    let inner = Arc::clone(app);
    change(app, async move {
        let (id, now, token) = (ids::cluster(), App::now(), Token::generate(TokenKind::Enrollment));
        let issued = IssuedToken {
            text: token.reveal(),
            expires_at: now + TOKEN_TTL_SECS,
        };
        let new = NewCluster {
            id: &id,
            organization_id: &wanted.organization_id,
            name: &wanted.name,
            display_name: &wanted.display_name,
            profile: &wanted.profile,
            now,
            enrollment: NewEnrollmentToken {
                token: &token,
                now,
                expires_at: issued.expires_at,
            },
        };
        inner.store.create_cluster(&new).await?;
        let about = About {
            id: id.into(),
            organization_id: wanted.organization_id.into(),
            name: wanted.name,
            display_name: wanted.display_name,
            profile: wanted.profile,
        };
        Ok((inner.directory.insert(Cluster::new(about, now)), issued))
    })
    .await
}

/// Makes a new enrolment token for a cluster.
pub(crate) async fn renew_token(app: &Arc<App>, cluster: &Cluster) -> Result<IssuedToken, StoreError> {
    let (inner, id) = (Arc::clone(app), Arc::clone(&cluster.id));
    change(app, async move {
        let (now, token) = (App::now(), Token::generate(TokenKind::Enrollment));
        let issued = IssuedToken {
            text: token.reveal(),
            expires_at: now + TOKEN_TTL_SECS,
        };
        let new = NewEnrollmentToken {
            token: &token,
            now,
            expires_at: issued.expires_at,
        };
        inner.store.replace_enrollment_token(&id, &new).await?;
        Ok(issued)
    })
    .await
}

/// Ends a cluster's tunnels and streams and refuses its agents from now on.
pub(crate) async fn revoke(app: &Arc<App>, cluster: &Arc<Cluster>) -> Result<(), StoreError> {
    let now = App::now();
    // Before the store: should its disk be full, the agent is out all the same until the next start, and the error
    // says that the rest is missing.
    cluster.revoke(now);
    app.revocations.send_replace(());
    let (inner, id) = (Arc::clone(app), Arc::clone(&cluster.id));
    change(app, async move {
        inner.store.revoke_cluster(&id, now).await.map(|_| ())
    })
    .await
}

/// Forgets a cluster, ends its tunnels and streams and refuses its agents for good.
pub(crate) async fn delete(app: &Arc<App>, cluster: &Arc<Cluster>) -> Result<(), StoreError> {
    let now = App::now();
    let (inner, id, deleted) = (Arc::clone(app), Arc::clone(&cluster.id), Arc::clone(cluster));
    change(app, async move {
        inner.store.delete_cluster(&id, now).await?;
        inner.directory.remove(&id);
        inner.inventory.deleted(&deleted);
        inner.revocations.send_replace(());
        // Its bindings and labels went with it.
        if let Err(error) = people::reload(&inner).await {
            // They are for an id that is never given again.
            tracing::warn!(%error, "bindings of a deleted cluster stay in memory until the next change (KTA-SRV-006)");
        }
        Ok(())
    })
    .await
}

/// Binds an agent's key to the cluster of its token.
pub(crate) async fn enroll(
    app: &Arc<App>,
    token: Token,
    public_key: [u8; 32],
    cluster_uid: String,
    now: i64,
) -> Result<Result<Enrolled, EnrollRefusal>, StoreError> {
    let inner = Arc::clone(app);
    change(app, async move {
        let key_id = ids::key();
        let enrollment = Enrollment {
            token: &token,
            public_key: &public_key,
            cluster_uid: &cluster_uid,
            key_id: &key_id,
            now,
        };
        let enrolled = inner.store.enroll(&enrollment).await?;
        if let Ok(enrolled) = &enrolled
            && enrolled.fresh
        {
            // Ends the tunnels of the key that this one replaces.
            inner.directory.renew(&enrolled.cluster_id, now);
            inner.revocations.send_replace(());
        }
        Ok(enrolled)
    })
    .await
}

/// Reads the clusters at start.
pub(crate) async fn load(store: &Store, now: i64) -> Result<Vec<Cluster>, StoreError> {
    Ok(store
        .clusters()
        .await?
        .iter()
        .map(|row| Cluster::from_row(row, now))
        .collect())
}
