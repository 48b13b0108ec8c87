//! The tunnels of one cluster, newest first. No I/O.
//!
//! A tunnel is removed by its own number and by the guard that came with it, never by its cluster: a late end of an
//! old tunnel cannot take its successor along.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::RwLock;

/// Tunnels that one cluster may have. Two agents overlap during an upgrade, each with a successor during a drain;
/// more are leftovers of connections that nobody has missed yet.
pub(crate) const MAX_TUNNELS: usize = 4;

type Entries<T> = RwLock<Vec<(u64, T)>>;

/// The tunnels of one cluster.
#[derive(Debug)]
pub(crate) struct Tunnels<T> {
    entries: Arc<Entries<T>>,
    next: AtomicU64,
}

/// Takes its tunnel out of the registry when dropped.
#[derive(Debug)]
pub(crate) struct Registration<T> {
    entries: Weak<Entries<T>>,
    number: u64,
}

impl<T> Default for Tunnels<T> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            next: AtomicU64::new(1),
        }
    }
}

impl<T: Clone> Tunnels<T> {
    /// Adds the newest tunnel. The oldest one comes back if there are too many now: the caller ends it.
    pub(crate) fn insert(&self, tunnel: T) -> (Registration<T>, Option<T>) {
        let number = self.next.fetch_add(1, Relaxed);
        let mut entries = self.entries.write();
        entries.insert(0, (number, tunnel));
        let evicted = if entries.len() > MAX_TUNNELS {
            entries.pop().map(|(_, tunnel)| tunnel)
        } else {
            None
        };
        (
            Registration {
                entries: Arc::downgrade(&self.entries),
                number,
            },
            evicted,
        )
    }

    /// The newest tunnel that `usable` accepts.
    pub(crate) fn newest(&self, mut usable: impl FnMut(&T) -> bool) -> Option<T> {
        self.entries
            .read()
            .iter()
            .find(|(_, tunnel)| usable(tunnel))
            .map(|(_, tunnel)| tunnel.clone())
    }

    /// All tunnels, newest first.
    pub(crate) fn all(&self) -> Vec<T> {
        self.entries
            .read()
            .iter()
            .map(|(_, tunnel)| tunnel.clone())
            .collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.read().is_empty()
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        if let Some(entries) = self.entries.upgrade() {
            entries.write().retain(|(number, _)| *number != self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_usable_tunnel_is_taken() {
        let tunnels = Tunnels::default();
        let (_a, _) = tunnels.insert("a");
        let (b, _) = tunnels.insert("b");
        assert_eq!(tunnels.newest(|_| true), Some("b"));
        assert_eq!(tunnels.newest(|t| *t != "b"), Some("a"));
        drop(b);
        assert_eq!(tunnels.newest(|_| true), Some("a"));
    }

    #[test]
    fn a_late_end_does_not_take_the_successor_along() {
        let tunnels = Tunnels::default();
        let (old, _) = tunnels.insert("same");
        let (_new, _) = tunnels.insert("same");
        drop(old);
        assert_eq!(tunnels.all(), ["same"]);
        assert!(!tunnels.is_empty());
    }

    #[test]
    fn too_many_tunnels_push_out_the_oldest_and_its_guard_does_nothing_more() {
        let tunnels = Tunnels::default();
        let mut guards: Vec<_> = (0..MAX_TUNNELS).map(|n| tunnels.insert(n).0).collect();
        let (_newest, evicted) = tunnels.insert(99);
        assert_eq!(evicted, Some(0));
        drop(guards.remove(0));
        assert_eq!(tunnels.all(), [99, 3, 2, 1]);
    }

    #[test]
    fn a_guard_may_outlive_the_cluster() {
        let tunnels = Tunnels::default();
        let (guard, _) = tunnels.insert(());
        drop(tunnels);
        drop(guard);
    }
}
