//! Nonces that were used: each is good once. No I/O, no clock.

use std::collections::{HashSet, VecDeque};

use kantaloupe_proto::assertion::Nonce;

/// Used nonces that are remembered until they expire. They live a minute, so this allows 1,600 connects a second, and
/// takes 6 MB at most; beyond it connects wait.
const MAX_USED: usize = 100_000;

/// Why a nonce is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NonceRefusal {
    /// Somebody used it before.
    #[error("the nonce was used before")]
    Used,
    /// Too many connects at once.
    #[error("too many agents connect at once")]
    Full,
}

/// The nonces that were used and have not expired.
#[derive(Debug, Default)]
pub(crate) struct UsedNonces {
    seen: HashSet<[u8; 16]>,
    /// In order of use; expiry differs by at most a minute, so cleaning from the front is nearly exact.
    order: VecDeque<Nonce>,
}

impl UsedNonces {
    /// Uses a nonce that is genuine and not expired at `now` (Unix seconds).
    pub(crate) fn take(&mut self, nonce: Nonce, now: i64) -> Result<(), NonceRefusal> {
        while let Some(oldest) = self.order.front().filter(|oldest| oldest.expires_at <= now) {
            self.seen.remove(&oldest.id);
            self.order.pop_front();
        }
        if self.order.len() >= MAX_USED {
            return Err(NonceRefusal::Full);
        }
        if !self.seen.insert(nonce.id) {
            return Err(NonceRefusal::Used);
        }
        self.order.push_back(nonce);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_forgotten_when_expired() {
        let mut used = UsedNonces::default();
        let nonce = Nonce {
            id: [1; 16],
            expires_at: 160,
        };
        assert_eq!(used.take(nonce, 100), Ok(()));
        assert_eq!(used.take(nonce, 159), Err(NonceRefusal::Used));
        assert_eq!(
            used.take(
                Nonce {
                    id: [2; 16],
                    expires_at: 220
                },
                160
            ),
            Ok(())
        );
        assert_eq!(used.order.len(), 1);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut used = UsedNonces::default();
        for n in 0..MAX_USED as u128 {
            used.take(
                Nonce {
                    id: n.to_be_bytes(),
                    expires_at: 160,
                },
                100,
            )
            .unwrap();
        }
        let one_more = Nonce {
            id: u128::MAX.to_be_bytes(),
            expires_at: 160,
        };
        assert_eq!(used.take(one_more, 100), Err(NonceRefusal::Full));
        assert_eq!(
            used.take(
                Nonce {
                    expires_at: 230,
                    ..one_more
                },
                160
            ),
            Ok(())
        );
    }
}
