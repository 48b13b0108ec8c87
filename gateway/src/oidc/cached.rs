//! One thing of the provider that is fetched when needed, kept for a while, and fetched by one caller at a time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::fault::OidcError;

/// A failure is everybody's answer for so long: callers who waited must not each wait for the same timeout again.
const FAILURE_FOR: Duration = Duration::from_secs(3);
/// Shortest time between two fetches that somebody else's token can cause.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

type Slot<T> = Option<(Instant, Result<Arc<T>, OidcError>)>;

/// The thing.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    keep: Duration,
    slot: Mutex<Slot<T>>,
}

impl<T> Cached<T> {
    pub(crate) fn new(keep: Duration) -> Self {
        Self {
            keep,
            slot: Mutex::new(None),
        }
    }

    /// The thing, as it was at most `keep` ago.
    pub(crate) async fn get(
        &self,
        now: Instant,
        fetch: impl Future<Output = Result<T, OidcError>>,
    ) -> Result<Arc<T>, OidcError> {
        let mut slot = self.slot.lock().await;
        if let Some((at, result)) = slot.as_ref() {
            let good_for = if result.is_ok() { self.keep } else { FAILURE_FOR };
            if now.saturating_duration_since(*at) < good_for {
                return result.clone();
            }
        }
        Self::fill(&mut slot, now, fetch).await
    }

    /// A newer one than `seen`, unless that was fetched just now.
    pub(crate) async fn newer(
        &self,
        seen: &Arc<T>,
        now: Instant,
        fetch: impl Future<Output = Result<T, OidcError>>,
    ) -> Result<Arc<T>, OidcError> {
        let mut slot = self.slot.lock().await;
        if let Some((at, result)) = slot.as_ref() {
            let is_seen = result.as_ref().is_ok_and(|current| Arc::ptr_eq(current, seen));
            if !is_seen || now.saturating_duration_since(*at) < AGAIN_AFTER {
                return result.clone();
            }
        }
        Self::fill(&mut slot, now, fetch).await
    }

    async fn fill(
        slot: &mut Slot<T>,
        now: Instant,
        fetch: impl Future<Output = Result<T, OidcError>>,
    ) -> Result<Arc<T>, OidcError> {
        let result = fetch.await.map(Arc::new);
        *slot = Some((now, result.clone()));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[tokio::test]
    async fn it_is_fetched_once_kept_and_fetched_again_no_more_often_than_allowed() {
        let (cached, fetched) = (Cached::new(Duration::from_mins(1)), AtomicU32::new(0));
        let mut now = Instant::now();
        let fetch = async || Ok(fetched.fetch_add(1, SeqCst));
        let many = futures::future::join_all((0..20).map(|_| cached.get(now, fetch()))).await;
        assert!(many.iter().all(|one| **one.as_ref().unwrap() == 0));
        let seen = cached.get(now, fetch()).await.unwrap();
        let newer = cached.newer(&seen, now, fetch()).await.unwrap();
        assert_eq!(*newer, 0, "fetched just now");
        now += AGAIN_AFTER;
        assert_eq!(*cached.newer(&seen, now, fetch()).await.unwrap(), 1);
        // Another caller who also saw the old one gets what was fetched meanwhile.
        now += AGAIN_AFTER;
        assert_eq!(*cached.newer(&seen, now, fetch()).await.unwrap(), 1);
        now += Duration::from_mins(1);
        assert_eq!(*cached.get(now, fetch()).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_failure_is_kept_for_a_moment_only() {
        let (cached, fetched) = (Cached::<u32>::new(Duration::from_mins(1)), AtomicU32::new(0));
        let now = Instant::now();
        let fail = async || {
            fetched.fetch_add(1, SeqCst);
            Err(OidcError::NotConfigured)
        };
        for _ in 0..10 {
            assert!(cached.get(now, fail()).await.is_err());
        }
        assert_eq!(fetched.load(SeqCst), 1);
        assert_eq!(*cached.get(now + FAILURE_FOR, async { Ok(7) }).await.unwrap(), 7);
    }
}
