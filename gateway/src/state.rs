//! In which state a cluster is, worked out from what is known. No I/O, no clock.

use serde::Serialize;

/// After this long without an agent a cluster is offline and no longer about to come back. Longer than any restart,
/// upgrade or change of a node's network.
pub(crate) const OFFLINE_AFTER_SECS: i64 = 300;

/// What users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Waits for its agent to enrol.
    Pending,
    /// Enrolled, and not yet connected for the first time.
    Connecting,
    /// Serves requests.
    Connected,
    /// Was connected a moment ago.
    Reconnecting,
    /// Has no agent.
    Offline,
    /// Refuses its agents.
    Revoked,
}

/// What is known of a cluster. Times are Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) created_at: i64,
    pub(crate) revoked_at: Option<i64>,
    /// When the present key was enrolled.
    pub(crate) enrolled_at: Option<i64>,
    /// Since when there has been at least one tunnel; none now if not set.
    pub(crate) connected_since: Option<i64>,
    /// Since when every tunnel has been without a connection under it.
    pub(crate) down_since: Option<i64>,
    /// When the last tunnel ended.
    pub(crate) lost_at: Option<i64>,
}

/// The state and since when.
pub(crate) fn of(facts: &Facts, now: i64) -> (State, i64) {
    let missing = |since: i64, young| {
        if now - since < OFFLINE_AFTER_SECS {
            (young, since)
        } else {
            (State::Offline, since)
        }
    };
    match *facts {
        Facts {
            revoked_at: Some(at), ..
        } => (State::Revoked, at),
        Facts {
            connected_since: Some(_),
            down_since: Some(at),
            ..
        } => missing(at, State::Reconnecting),
        Facts {
            connected_since: Some(at),
            ..
        } => (State::Connected, at),
        // Enrolled again after it was lost: the later of the two counts.
        Facts {
            lost_at: Some(lost),
            enrolled_at: Some(enrolled),
            ..
        } if enrolled > lost => missing(enrolled, State::Connecting),
        Facts {
            lost_at: Some(at), ..
        } => missing(at, State::Reconnecting),
        Facts {
            enrolled_at: Some(at),
            ..
        } => missing(at, State::Connecting),
        Facts { created_at, .. } => (State::Pending, created_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_the_life_of_a_cluster() {
        let now = 10_000;
        let new = Facts {
            created_at: 1,
            ..Facts::default()
        };
        assert_eq!(of(&new, now), (State::Pending, 1));
        let enrolled = Facts {
            enrolled_at: Some(now - 10),
            ..new
        };
        assert_eq!(of(&enrolled, now), (State::Connecting, now - 10));
        assert_eq!(
            of(&enrolled, now + OFFLINE_AFTER_SECS),
            (State::Offline, now - 10)
        );
        let connected = Facts {
            connected_since: Some(now - 5),
            ..enrolled
        };
        assert_eq!(of(&connected, now), (State::Connected, now - 5));
        let down = Facts {
            down_since: Some(now - 2),
            ..connected
        };
        assert_eq!(of(&down, now), (State::Reconnecting, now - 2));
        let lost = Facts {
            lost_at: Some(now),
            ..enrolled
        };
        assert_eq!(
            of(&lost, now + OFFLINE_AFTER_SECS - 1),
            (State::Reconnecting, now)
        );
        assert_eq!(of(&lost, now + OFFLINE_AFTER_SECS), (State::Offline, now));
        let again = Facts {
            enrolled_at: Some(now + 500),
            ..lost
        };
        assert_eq!(of(&again, now + 501), (State::Connecting, now + 500));
        let revoked = Facts {
            revoked_at: Some(7),
            ..connected
        };
        assert_eq!(of(&revoked, now), (State::Revoked, 7));
    }
}
