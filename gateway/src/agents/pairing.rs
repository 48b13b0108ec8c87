//! Brings the two sessions of a tunnel together. No I/O.

use std::{collections::HashMap, sync::Arc};

/// Halves that one cluster may have waiting: an agent opens both sessions at once, so one is usual.
const MAX_WAITING_PER_CLUSTER: usize = 4;

/// Which tunnel a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_field_names,
    reason = "the names of the claims that they come from"
)]
pub(crate) struct TunnelKey {
    pub(crate) cluster_id: Arc<str>,
    pub(crate) key_id: String,
    pub(crate) tunnel_id: String,
}

/// Which session of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Control,
    Data,
}

/// What becomes of a session that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offer<T> {
    /// It is kept until its other half comes; the number is for [`Pairing::withdraw`].
    Waiting(u64),
    /// Both are there.
    Complete { control: T, data: T },
    /// The same half is waiting already, or too many are.
    Refused(T),
}

/// Sessions that wait for their other half.
#[derive(Debug)]
pub(crate) struct Pairing<T> {
    waiting: HashMap<TunnelKey, (u64, Side, T)>,
    next: u64,
}

impl<T> Default for Pairing<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            next: 0,
        }
    }
}

impl<T> Pairing<T> {
    /// A session arrived.
    pub(crate) fn offer(&mut self, key: &TunnelKey, side: Side, session: T) -> Offer<T> {
        match self.waiting.get(key) {
            Some((_, waiting, _)) if *waiting == side => Offer::Refused(session),
            Some(_) => {
                let (_, _, other) = self.waiting.remove(key).expect("it was there a line ago");
                match side {
                    Side::Control => Offer::Complete {
                        control: session,
                        data: other,
                    },
                    Side::Data => Offer::Complete {
                        control: other,
                        data: session,
                    },
                }
            }
            None => {
                let same_cluster = self.waiting.keys().filter(|k| k.cluster_id == key.cluster_id);
                if same_cluster.count() >= MAX_WAITING_PER_CLUSTER {
                    return Offer::Refused(session);
                }
                self.next += 1;
                self.waiting.insert(key.clone(), (self.next, side, session));
                Offer::Waiting(self.next)
            }
        }
    }

    /// Takes back a session that has waited long enough; `None` if it has been paired.
    pub(crate) fn withdraw(&mut self, key: &TunnelKey, number: u64) -> Option<T> {
        self.waiting
            .get(key)
            .filter(|(waiting, _, _)| *waiting == number)?;
        self.waiting.remove(key).map(|(_, _, session)| session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tunnel: &str) -> TunnelKey {
        TunnelKey {
            cluster_id: "c-1".into(),
            key_id: "k-1".to_owned(),
            tunnel_id: tunnel.to_owned(),
        }
    }

    #[test]
    fn halves_meet_in_either_order() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.offer(&key("t"), Side::Control, 1), Offer::Waiting(1));
        assert_eq!(
            pairing.offer(&key("t"), Side::Data, 2),
            Offer::Complete { control: 1, data: 2 }
        );
        assert_eq!(pairing.offer(&key("u"), Side::Data, 3), Offer::Waiting(2));
        assert_eq!(
            pairing.offer(&key("u"), Side::Control, 4),
            Offer::Complete { control: 4, data: 3 }
        );
        assert_eq!(pairing.withdraw(&key("u"), 2), None);
    }

    #[test]
    fn tunnels_of_different_keys_never_meet() {
        let mut pairing = Pairing::default();
        pairing.offer(&key("t"), Side::Control, 1);
        let foreign = TunnelKey {
            key_id: "k-2".to_owned(),
            ..key("t")
        };
        assert_eq!(pairing.offer(&foreign, Side::Data, 2), Offer::Waiting(2));
    }

    #[test]
    fn the_same_half_twice_and_too_many_are_refused() {
        let mut pairing = Pairing::default();
        for n in 0..MAX_WAITING_PER_CLUSTER {
            assert!(matches!(
                pairing.offer(&key(&n.to_string()), Side::Data, n),
                Offer::Waiting(_)
            ));
        }
        assert_eq!(pairing.offer(&key("0"), Side::Data, 9), Offer::Refused(9));
        assert_eq!(pairing.offer(&key("new"), Side::Data, 9), Offer::Refused(9));
        assert_eq!(pairing.withdraw(&key("0"), 1), Some(0));
        assert!(matches!(
            pairing.offer(&key("new"), Side::Data, 9),
            Offer::Waiting(_)
        ));
    }

    #[test]
    fn a_late_withdrawal_does_not_take_a_newer_half() {
        let mut pairing = Pairing::default();
        pairing.offer(&key("t"), Side::Data, 1);
        pairing.offer(&key("t"), Side::Control, 2);
        pairing.offer(&key("t"), Side::Data, 3);
        assert_eq!(pairing.withdraw(&key("t"), 1), None);
    }
}
