//! What users, clusters and organisations may use at once, so that none takes the gateway away from the others.
//!
//! Requests and streams beyond a limit get a 429 with `Retry-After`, as the API server's own priority and fairness gives.
//! Bytes beyond theirs only make streams slower: ending a copy half way would help nobody.

mod bucket;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use self::bucket::Bucket;
use crate::config::{Limit, LimitConfig};

/// Requests of this time pass at once: kubectl asks for all API groups together.
const BURST: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// nginx's and Kubernetes' word for "soon".
const STREAM_RETRY: Duration = Duration::from_secs(1);
/// Entries that are kept, beyond which the idle ones go. One has some 200 bytes.
const MAX_KEPT: usize = 20_000;

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    User,
    Cluster,
    Organization,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exceeded {
    #[error("{whose} may make {limit} requests a second")]
    Requests {
        whose: Whose,
        limit: u32,
        retry: Duration,
    },
    #[error("{whose} may have {limit} requests and streams open at once")]
    Streams { whose: Whose, limit: u32 },
}

impl Exceeded {
    /// After this long it may be tried again; whole seconds, as the header has them.
    pub(crate) fn retry_after(&self) -> u64 {
        let retry = match self {
            Self::Requests { retry, .. } => *retry,
            Self::Streams { .. } => STREAM_RETRY,
        };
        retry.as_secs() + u64::from(retry.subsec_nanos() > 0)
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "a user",
            Self::Cluster => "a cluster",
            Self::Organization => "an organisation",
        })
    }
}

/// What one of them uses.
#[derive(Debug)]
struct Used {
    whose: Whose,
    limit: Limit,
    requests: Mutex<Bucket>,
    bytes: Mutex<Bucket>,
    streams: AtomicU32,
}

/// All of one kind.
#[derive(Debug)]
struct Kind {
    whose: Whose,
    limit: Limit,
    used: RwLock<HashMap<String, Arc<Used>>>,
}

/// The limits.
#[derive(Debug)]
pub(crate) struct Limits {
    users: Kind,
    clusters: Kind,
    organizations: Kind,
}

/// A request that is within its limits, for as long as it is open.
#[derive(Debug)]
pub(crate) struct Admitted([Arc<Used>; 3]);

impl Limits {
    pub(crate) fn new(config: &LimitConfig) -> Self {
        let kind = |whose, limit| Kind {
            whose,
            limit,
            used: RwLock::default(),
        };
        Self {
            users: kind(Whose::User, config.user),
            clusters: kind(Whose::Cluster, config.cluster),
            organizations: kind(Whose::Organization, config.organization),
        }
    }

    /// Counts a request of this user, by ids.
    pub(crate) fn admit(
        &self,
        user: &str,
        cluster: &str,
        organization: &str,
        now: Instant,
    ) -> Result<Admitted, Exceeded> {
        let all = [
            self.users.used(user, now),
            self.clusters.used(cluster, now),
            self.organizations.used(organization, now),
        ];
        for used in &all {
            used.request(now)?;
        }
        for (index, used) in all.iter().enumerate() {
            if let Err(exceeded) = used.open() {
                all[..index].iter().for_each(|used| used.close());
                return Err(exceeded);
            }
        }
        Ok(Admitted(all))
    }
}

impl Kind {
    fn used(&self, id: &str, now: Instant) -> Arc<Used> {
        if let Some(used) = self.used.read().get(id) {
            return Arc::clone(used);
        }
        let mut all = self.used.write();
        if all.len() >= MAX_KEPT {
            all.retain(|_, used| !used.is_idle(now));
        }
        let used = all.entry(id.to_owned()).or_insert_with(|| {
            let bytes = u64::from(self.limit.mib_per_minute) << 20;
            Arc::new(Used {
                whose: self.whose,
                limit: self.limit,
                requests: Mutex::new(Bucket::new(self.limit.requests.into(), SECOND, BURST)),
                bytes: Mutex::new(Bucket::new(bytes, MINUTE, MINUTE)),
                streams: AtomicU32::new(0),
            })
        });
        Arc::clone(used)
    }
}

impl Used {
    fn request(&self, now: Instant) -> Result<(), Exceeded> {
        self.requests
            .lock()
            .take(now)
            .map_err(|retry| Exceeded::Requests {
                whose: self.whose,
                limit: self.limit.requests,
                retry,
            })
    }

    fn open(&self) -> Result<(), Exceeded> {
        let open = self.streams.fetch_add(1, Relaxed);
        if self.limit.streams > 0 && open >= self.limit.streams {
            self.close();
            return Err(Exceeded::Streams {
                whose: self.whose,
                limit: self.limit.streams,
            });
        }
        Ok(())
    }

    fn close(&self) {
        self.streams.fetch_sub(1, Relaxed);
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.streams.load(Relaxed) == 0 && self.requests.lock().is_idle(now) && self.bytes.lock().is_idle(now)
    }
}

impl Admitted {
    /// Counts bytes that have passed, and says how long to wait before more may.
    pub(crate) fn moved(&self, bytes: usize, now: Instant) -> Duration {
        let waits = self.0.iter().filter(|used| used.limit.mib_per_minute > 0);
        waits
            .map(|used| used.bytes.lock().spend(bytes as u64, now))
            .max()
            .unwrap_or_default()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.iter().for_each(|used| used.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(user: Limit) -> Limits {
        let none = Limit {
            requests: 0,
            streams: 0,
            mib_per_minute: 0,
        };
        Limits::new(&LimitConfig {
            user,
            cluster: none,
            organization: Limit { streams: 4, ..none },
        })
    }

    #[test]
    fn one_user_does_not_take_from_another_until_the_organisation_is_full() {
        let limits = limits(Limit {
            requests: 0,
            streams: 3,
            mib_per_minute: 0,
        });
        let now = Instant::now();
        let mut open: Vec<_> = (0..3)
            .map(|_| limits.admit("ann", "c", "o", now).unwrap())
            .collect();
        let (whose, limit) = (Whose::User, 3);
        assert_eq!(
            limits.admit("ann", "c", "o", now).unwrap_err(),
            Exceeded::Streams { whose, limit }
        );
        open.push(limits.admit("bob", "c", "o", now).unwrap());
        let (whose, limit) = (Whose::Organization, 4);
        assert_eq!(
            limits.admit("bob", "c", "o", now).unwrap_err(),
            Exceeded::Streams { whose, limit }
        );
        limits.admit("eve", "c", "other", now).unwrap();
        drop(open);
        limits.admit("ann", "c", "o", now).unwrap();
        assert_eq!(
            limits.users.used("bob", now).streams.load(Relaxed),
            0,
            "nothing leaks"
        );
    }

    #[test]
    fn requests_come_back_with_time_and_say_when() {
        let limits = limits(Limit {
            requests: 2,
            streams: 0,
            mib_per_minute: 0,
        });
        let now = Instant::now();
        let passed = (0..100)
            .filter(|_| limits.admit("ann", "c", "o", now).is_ok())
            .count();
        assert_eq!(passed, 10);
        let exceeded = limits.admit("ann", "c", "o", now).unwrap_err();
        assert_eq!(exceeded.retry_after(), 1);
        assert_eq!(exceeded.to_string(), "a user may make 2 requests a second");
        limits.admit("ann", "c", "o", now + SECOND).unwrap();
    }

    #[test]
    fn bytes_make_slower_and_the_memory_is_bounded() {
        let limits = limits(Limit {
            requests: 0,
            streams: 0,
            mib_per_minute: 1,
        });
        let now = Instant::now();
        let admitted = limits.admit("ann", "c", "o", now).unwrap();
        assert_eq!(admitted.moved(1 << 19, now), Duration::ZERO);
        let wait = admitted.moved(1 << 20, now);
        assert!(wait > 29 * SECOND && wait < 31 * SECOND, "{wait:?}");
        for n in 0..50_000 {
            limits.admit(&n.to_string(), "c", "o", now).unwrap();
        }
        assert!(limits.users.used.read().len() <= MAX_KEPT);
        assert!(
            limits.users.used.read().contains_key("ann"),
            "who owes is remembered"
        );
    }
}
