//! The frames of an upgraded stream, as far as it takes to answer a ping between two of them.
//!
//! While a pod's output waits for a slow reader, a ping that goes on to the API server does harm: the server cannot write its pong, stops
//! reading, and when it is done it closes with the next ping unread. Its kernel makes a reset of that and throws away what it had not
//! sent yet, which is the end of the output, megabytes of it. So the ping is answered here, on the server's behalf.

/// How a stream is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// RFC 6455.
    WebSocket,
    /// SPDY/3.1, <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>.
    Spdy,
}

/// Longest frame that is kept until all of it has come: a WebSocket ping, and so the longest header.
pub(super) const MAX_KEPT: usize = 6 + MAX_PING;
/// RFC 6455 5.5: longest payload of a ping.
const MAX_PING: usize = 125;

/// Follows the frames of one direction.
#[derive(Debug)]
pub(super) struct Frames {
    framing: Framing,
    /// Bytes of the current frame that have not come yet.
    left: u64,
    /// The beginning of a frame of which too little has come; it is looked at again with what follows.
    pub(super) kept: Vec<u8>,
}

/// A frame's header.
struct Head {
    /// Of the whole frame, bytes.
    length: u64,
    ping: bool,
}

impl Framing {
    /// Of an `Upgrade` header.
    pub fn of(protocol: &[u8]) -> Option<Self> {
        if protocol.eq_ignore_ascii_case(b"websocket") {
            Some(Self::WebSocket)
        } else if protocol.eq_ignore_ascii_case(b"SPDY/3.1") {
            Some(Self::Spdy)
        } else {
            None
        }
    }

    /// `None`: more bytes are needed.
    fn parse(self, bytes: &[u8]) -> Option<Head> {
        match self {
            Self::WebSocket => {
                let [first, second] = *bytes.first_chunk()?;
                let mask = if second & 0x80 == 0 { 0 } else { 4 };
                let (header, payload) = match second & 0x7f {
                    126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
                    127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
                    short => (2, u64::from(short)),
                };
                Some(Head {
                    length: payload.saturating_add(header + mask),
                    ping: first == 0x89 && mask > 0 && payload <= MAX_PING as u64,
                })
            }
            Self::Spdy => {
                let [a, b, c, d, _, high, mid, low] = *bytes.first_chunk()?;
                let payload = u32::from_be_bytes([0, high, mid, low]);
                let ping = [a, b, c, d] == [0x80, 3, 0, 6] && payload == 4;
                // What a client asks has an odd number; an even one is its answer to the server's own ping.
                let ping = ping && bytes.get(11)? % 2 == 1;
                Some(Head {
                    length: u64::from(payload) + 8,
                    ping,
                })
            }
        }
    }

    /// The answer to a whole ping.
    fn answer(self, ping: &[u8]) -> Vec<u8> {
        match self {
            Self::WebSocket => {
                let (head, payload) = ping.split_at(6.min(ping.len()));
                let payload = payload
                    .iter()
                    .zip(head[2..].iter().cycle())
                    .map(|(b, key)| b ^ key);
                [0x8a, head[1] & 0x7f].into_iter().chain(payload).collect()
            }
            Self::Spdy => ping.to_vec(),
        }
    }
}

impl Frames {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            left: 0,
            kept: vec![],
        }
    }

    /// Whether the next byte begins a frame.
    pub(super) fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Takes the pings out of `bytes`; gives how many bytes are left, at the front, and the answer to the last ping (RFC 6455
    /// 5.5.3 asks for no more).
    pub(super) fn take_pings(&mut self, bytes: &mut [u8]) -> (usize, Option<Vec<u8>>) {
        let (mut from, mut to, mut answer) = (0, 0, None);
        while from < bytes.len() {
            if self.left > 0 {
                let n = self.advance(bytes.len() - from);
                if from > to {
                    bytes.copy_within(from..from + n, to);
                }
                (from, to) = (from + n, to + n);
                continue;
            }
            let rest = &bytes[from..];
            match self.framing.parse(rest) {
                Some(Head { length, ping: true }) if rest.len() as u64 >= length => {
                    let (ping, _) = rest.split_at(usize::try_from(length).unwrap_or(rest.len()));
                    answer = Some(self.framing.answer(ping));
                    from += ping.len();
                }
                Some(head) if !head.ping => self.left = head.length,
                _ => {
                    self.kept = rest.to_vec();
                    break;
                }
            }
        }
        (to, answer)
    }

    /// Follows `bytes`; gives how many of them may go on, and where among these a frame begins first.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> (usize, Option<usize>) {
        let (mut at, mut boundary) = (0, None);
        loop {
            at += self.advance(bytes.len() - at);
            if self.left > 0 {
                return (at, boundary);
            }
            boundary.get_or_insert(at);
            if at == bytes.len() {
                return (at, boundary);
            }
            let Some(head) = self.framing.parse(&bytes[at..]) else {
                self.kept = bytes[at..].to_vec();
                return (at, boundary);
            };
            self.left = head.length;
        }
    }

    /// Of the current frame.
    fn advance(&mut self, there: usize) -> usize {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(there);
        self.left -= n as u64;
        n
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn websocket(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
        let mask = if key.is_some() { 0x80 } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            n @ 0..126 => frame.push(mask | u8::try_from(n).unwrap()),
            n @ 126..65536 => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(n).unwrap().to_be_bytes());
            }
            n => {
                frame.push(mask | 0x7f);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        frame.extend(key.into_iter().flatten());
        let key = key.unwrap_or_default();
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
        frame
    }

    fn spdy(head: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&head[..], &[0], &length[1..], payload].concat()
    }

    /// A frame, and the answer to it if it is a ping.
    type Sent = (Vec<u8>, Option<Vec<u8>>);

    fn frames(framing: Framing) -> impl Strategy<Value = Vec<Sent>> {
        let payload = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..126),
            proptest::collection::vec(any::<u8>(), 100..70_000)
        ];
        let frame = (any::<bool>(), payload, any::<[u8; 4]>()).prop_map(move |(ping, payload, key)| {
            match (framing, ping) {
                (Framing::WebSocket, true) => {
                    let payload = &payload[..payload.len().min(MAX_PING)];
                    let answer = websocket(0x8a, payload, None);
                    (websocket(0x89, payload, Some(key)), Some(answer))
                }
                (Framing::WebSocket, false) => (websocket(0x82, &payload, Some(key)), None),
                (Framing::Spdy, true) => {
                    let ping = spdy([0x80, 3, 0, 6], &[key[0], key[1], key[2], key[3] | 1]);
                    (ping.clone(), Some(ping))
                }
                // Data of a stream, and an answer of the client's.
                (Framing::Spdy, false) if payload.len() % 3 > 0 => (spdy([0, 0, 0, 1], &payload), None),
                (Framing::Spdy, false) => (
                    spdy([0x80, 3, 0, 6], &[key[0], key[1], key[2], key[3] & !1]),
                    None,
                ),
            }
        });
        proptest::collection::vec(frame, 0..12)
    }

    fn streams() -> impl Strategy<Value = (Framing, Vec<Sent>, Vec<usize>)> {
        let framing = prop_oneof![Just(Framing::WebSocket), Just(Framing::Spdy)];
        framing.prop_flat_map(|framing| {
            let cuts = proptest::collection::vec(1..5000_usize, 1..20);
            (Just(framing), frames(framing), cuts)
        })
    }

    /// In pieces of these sizes, in turn; each is what was kept before, and new bytes.
    fn pieces(all: &[u8], cuts: &[usize], mut each: impl FnMut(&mut Vec<u8>, &mut Vec<u8>)) {
        let (mut rest, mut kept) = (all, vec![]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                return;
            }
            let (new, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            let mut piece = std::mem::take(&mut kept);
            piece.extend(new);
            each(&mut piece, &mut kept);
            assert!(kept.len() <= MAX_KEPT);
        }
    }

    proptest! {
        #[test]
        fn pings_are_answered_and_the_rest_is_whole((framing, frames, cuts) in streams()) {
            let all: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
            let rest: Vec<u8> = frames.iter().filter(|(_, ping)| ping.is_none()).flat_map(|(f, _)| f.clone()).collect();
            let (mut follow, mut got, mut answers) = (Frames::new(framing), vec![0; 0], vec![]);
            pieces(&all, &cuts, |piece, kept| {
                let (n, answer) = follow.take_pings(piece);
                got.extend(&piece[..n]);
                answers.extend(answer);
                *kept = std::mem::take(&mut follow.kept);
            });
            prop_assert!(got == rest);
            let wanted: Vec<_> = frames.iter().filter_map(|(_, answer)| answer.clone()).collect();
            prop_assert!(answers.iter().all(|answer| wanted.contains(answer)));
            prop_assert_eq!(answers.last(), wanted.last());
        }

        #[test]
        fn boundaries_are_those_of_frames((framing, frames, cuts) in streams()) {
            let all: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
            let mut starts = vec![0];
            for (frame, _) in &frames {
                starts.push(starts.last().unwrap() + frame.len());
            }
            let (mut follow, mut got) = (Frames::new(framing), vec![0; 0]);
            let mut found = vec![];
            pieces(&all, &cuts, |piece, kept| {
                let (n, boundary) = follow.pass(piece);
                found.extend(boundary.map(|at| got.len() + at));
                got.extend(&piece[..n]);
                *kept = std::mem::take(&mut follow.kept);
            });
            prop_assert!(got == all);
            prop_assert!(found.iter().all(|at| starts.contains(at)));
        }

        #[test]
        fn any_bytes_are_followed_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), spdy: bool) {
            let framing = if spdy { Framing::Spdy } else { Framing::WebSocket };
            let mut follow = Frames::new(framing);
            let _ = follow.pass(&bytes);
            let (n, _) = Frames::new(framing).take_pings(&mut bytes);
            prop_assert!(n <= bytes.len());
        }
    }
}
