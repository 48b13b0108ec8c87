//! Locks that keep the scheduler from binding two pods to one node at once. A lock that nobody released stops all scheduling there until it expires.

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

/// `hami.io/mutex.lock`: when it was taken, and since HAMi 2.5 for which pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// When.
    pub at: Timestamp,
    /// Namespace and name of the pod.
    pub pod: Option<(String, String)>,
}

/// The value is no lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a lock is a time, or a time, a namespace and a pod, separated by commas")]
pub struct LockError;

/// HAMi releases locks after this time (`HAMI_NODELOCK_EXPIRE`), but only when it next binds a pod to the node.
pub const EXPIRES: SignedDuration = SignedDuration::from_mins(5);

/// Reads the value of the annotation.
pub fn parse(value: &str) -> Result<Lock, LockError> {
    let mut parts = value.trim().split(',');
    let at = parts
        .next()
        .and_then(|time| time.trim().parse().ok())
        .ok_or(LockError)?;
    let pod = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => None,
        (Some(namespace), Some(name), None) => Some((namespace.to_owned(), name.to_owned())),
        _ => return Err(LockError),
    };
    Ok(Lock { at, pod })
}

impl Lock {
    /// Whether it should have been released.
    pub fn is_leaked(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) > EXPIRES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms() {
        let old = parse("2024-05-13T13:04:17Z").unwrap();
        assert_eq!(old.pod, None);
        let new = parse("2025-06-18T09:06:27Z,default,ubuntu-684fc95568-2jh7s").unwrap();
        assert_eq!(
            new.pod,
            Some(("default".to_owned(), "ubuntu-684fc95568-2jh7s".to_owned()))
        );
        assert_eq!(parse("2025-06-18T17:06:27+08:00").unwrap().at, new.at);
        for value in [
            "",
            "now",
            "2025-06-18T09:06:27Z,default",
            "2025-06-18T09:06:27Z,a,b,c",
            ",a,b",
        ] {
            assert_eq!(parse(value), Err(LockError), "{value}");
        }
    }

    #[test]
    fn leaks_after_five_minutes() {
        let lock = parse("2025-06-18T09:06:27Z").unwrap();
        assert!(!lock.is_leaked("2025-06-18T09:11:27Z".parse().unwrap()));
        assert!(lock.is_leaked("2025-06-18T09:11:28Z".parse().unwrap()));
        assert!(
            !lock.is_leaked("2025-06-18T09:00:00Z".parse().unwrap()),
            "clocks differ"
        );
        assert!(lock.is_leaked(Timestamp::MAX) && !lock.is_leaked(Timestamp::MIN));
    }

    proptest! {
        #[test]
        fn never_panics(value in "\\PC*") {
            let _ = parse(&value);
        }
    }
}
