//! Writes the clusters' connection states into the store, behind the events.
//!
//! Events only mark a cluster; one task writes what is true when it gets to it. So the store can never end up with an
//! older state than the last, a thousand agents that come back at once make a few transactions, and a full disk holds
//! nobody up: the marks stay until writing works again.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    directory::{Cluster, Directory},
    metrics::Metrics,
    store::Store,
};

/// How often `last_seen` of connected clusters moves: the error that it may have after a crash.
const TOUCH: Duration = Duration::from_mins(1);
/// Wait between attempts while the store fails.
const RETRY: Duration = Duration::from_secs(10);
/// Marks gather this long before they are written, so that a storm makes few transactions.
const GATHER: Duration = Duration::from_millis(100);

/// The marks. At most one per cluster.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    changed: Mutex<HashSet<Arc<str>>>,
    wake: Notify,
}

impl Journal {
    /// This cluster's connection changed.
    pub(crate) fn changed(&self, cluster: &Cluster) {
        self.changed.lock().insert(Arc::clone(&cluster.id));
        self.wake.notify_one();
    }

    /// Writes until `stop`, and then what is left.
    pub(crate) async fn run(
        &self,
        directory: &Directory,
        store: &Store,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) {
        let mut touch = time::interval(TOUCH);
        touch.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = touch.tick() => {
                    if let Err(error) = store.touch_connected(App::now()).await {
                        metrics.store_failures.inc();
                        tracing::warn!(%error, "last_seen of connected clusters not stored (KTA-SRV-006)");
                    }
                    continue;
                }
                () = self.wake.notified() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = time::sleep(GATHER) => {}
            }
            if !self.flush(directory, store, metrics).await {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = time::sleep(RETRY) => self.wake.notify_one(),
                }
            }
        }
        self.flush(directory, store, metrics).await;
    }

    async fn flush(&self, directory: &Directory, store: &Store, metrics: &Metrics) -> bool {
        let marked = std::mem::take(&mut *self.changed.lock());
        if marked.is_empty() {
            return true;
        }
        let now = App::now();
        let present = marked.iter().filter_map(|id| directory.find_by_id(id));
        let connections: Vec<_> = present.map(|cluster| cluster.connection(now)).collect();
        let Err(error) = store.save_connections(&connections).await else {
            return true;
        };
        metrics.store_failures.inc();
        tracing::warn!(%error, clusters = connections.len(), "connection states not stored; trying again (KTA-SRV-006)");
        self.changed.lock().extend(marked);
        false
    }
}

#[cfg(test)]
mod tests {
    use kantaloupe_proto::token::{Token, TokenKind};

    use super::*;
    use crate::{
        directory::About,
        store::{DEFAULT_ORGANIZATION, NewCluster, NewEnrollmentToken},
    };

    #[tokio::test]
    async fn the_last_state_is_written_and_a_failure_keeps_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let token = Token::generate(TokenKind::Enrollment);
        let enrollment = NewEnrollmentToken {
            token: &token,
            now: 1,
            expires_at: 2,
        };
        let new = NewCluster {
            id: "c-1",
            organization_id: DEFAULT_ORGANIZATION,
            name: "prod",
            display_name: "",
            profile: "observe",
            now: 1,
            enrollment,
        };
        store.create_cluster(&new).await.unwrap();
        let directory = Directory::new([Cluster::new(About::of(DEFAULT_ORGANIZATION, "c-1", "prod"), 1)]);
        let cluster = directory.find_by_id("c-1").unwrap();
        let (journal, metrics) = (Journal::default(), Metrics::default());

        cluster.disconnected(5);
        journal.changed(&cluster);
        journal.changed(&cluster);
        let stopped = CancellationToken::new();
        stopped.cancel();
        journal.run(&directory, &store, &metrics, &stopped).await;
        assert_eq!(store.clusters().await.unwrap()[0].last_seen, Some(5));
        assert!(journal.changed.lock().is_empty());

        journal.changed(&cluster);
        store.close().await;
        assert!(!journal.flush(&directory, &store, &metrics).await);
        assert_eq!(journal.changed.lock().len(), 1);
    }
}
