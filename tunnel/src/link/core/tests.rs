use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;

const WINDOW: usize = 64 << 10;

fn config() -> Config {
    Config {
        window: WINDOW,
        ack_bytes: 4 << 10,
        ..Config::default()
    }
}

/// Two ends, virtual time, and a carrier that can be cut in the middle of what is under way.
struct Pair {
    ends: [Core; 2],
    now: Instant,
    generation: u64,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            ends: [0, 1].map(|_| Core::new(config(), WINDOW, now)),
            now,
            generation: 1,
        }
    }

    /// Everything that end `i` wants to send now.
    fn transmit(&mut self, i: usize) -> Vec<Bytes> {
        std::iter::from_fn(|| self.ends[i].poll_transmit(self.now)).collect()
    }

    fn deliver(&mut self, to: usize, generation: u64, messages: &[Bytes]) {
        for message in messages {
            let frame = Frame::decode(message.clone()).unwrap();
            self.ends[to].on_frame(generation, frame, self.now).unwrap();
        }
    }

    /// Moves frames both ways until nothing is left to send.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for i in [0, 1] {
                let messages = self.transmit(i);
                moved |= !messages.is_empty();
                self.deliver(1 - i, self.generation, &messages);
            }
            if !moved {
                return;
            }
        }
    }

    fn reattach(&mut self) {
        self.generation += 1;
        let offsets = [self.ends[0].received(), self.ends[1].received()];
        for i in [0, 1] {
            self.ends[i]
                .attach(self.generation, offsets[1 - i], None, self.now)
                .unwrap();
        }
    }
}

fn write(core: &mut Core, bytes: &[u8]) -> usize {
    core.write(&[IoSlice::new(bytes)])
}

fn read_all(core: &mut Core, now: Instant) -> Vec<u8> {
    let mut out = vec![];
    core.read(usize::MAX, now, |b| out.extend_from_slice(b));
    out
}

fn pattern(from: u64, n: u64) -> Vec<u8> {
    (from..from + n).map(|k| u8::try_from(k % 251).unwrap()).collect()
}

#[test]
fn frames_of_an_old_carrier_are_ignored_and_overlap_is_dropped() {
    let mut pair = Pair::new();
    write(&mut pair.ends[0], &pattern(0, 500));
    let first = pair.transmit(0);
    write(&mut pair.ends[0], &pattern(500, 500));
    let second = pair.transmit(0);

    let before = pair.ends[1].received(); // what a resume would tell ...
    pair.deliver(1, 1, &first); // ... while the old carrier still delivers
    pair.ends[0].attach(2, before, None, pair.now).unwrap();
    let b = pair.ends[0].received();
    pair.ends[1].attach(2, b, None, pair.now).unwrap();
    pair.generation = 2;
    pair.deliver(1, 1, &second); // the old carrier after the switch
    assert_eq!(pair.ends[1].received(), 500);

    pair.settle();
    assert_eq!(pair.ends[1].config.metrics.duplicate.get(), 500);
    assert_eq!(read_all(&mut pair.ends[1], pair.now), pattern(0, 1000));
    assert_eq!(pair.ends[1].attach(2, 0, None, pair.now), Err(AttachError::Stale));
    assert_eq!(
        pair.ends[1].attach(3, 1, None, pair.now),
        Err(AttachError::Offset)
    );
}

#[test]
fn nothing_is_lost_or_doubled_over_20000_random_cuts() {
    let mut state = 1u64;
    let mut random = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let mut pair = Pair::new();
    let (mut sent, mut got, mut cuts) = ([0u64; 2], [0u64; 2], 0);
    while cuts < 20_000 {
        let i = usize::from(random(2) == 1);
        let data = pattern(sent[i], random(3000));
        sent[i] += write(&mut pair.ends[i], &data) as u64;
        assert!(pair.ends[i].replay_bytes() <= WINDOW);
        let mut messages = pair.transmit(i);
        let cut = random(10) == 0;
        if cut {
            messages.truncate(usize::try_from(random(messages.len() as u64 + 1)).unwrap());
        }
        pair.deliver(1 - i, pair.generation, &messages);
        if random(3) > 0 {
            let bytes = read_all(&mut pair.ends[1 - i], pair.now);
            assert_eq!(bytes, pattern(got[1 - i], bytes.len() as u64));
            got[1 - i] += bytes.len() as u64;
        }
        if cut {
            cuts += 1;
            pair.reattach();
        }
    }
    pair.settle();
    for i in [0, 1] {
        got[1 - i] += read_all(&mut pair.ends[1 - i], pair.now).len() as u64;
    }
    pair.settle();
    for i in [0, 1] {
        got[1 - i] += read_all(&mut pair.ends[1 - i], pair.now).len() as u64;
    }
    assert_eq!(got, [sent[1], sent[0]]);
}

#[test]
fn an_end_that_is_not_acknowledged_blocks_its_writer_at_the_window() {
    let mut pair = Pair::new();
    let mut total = 0;
    loop {
        let n = write(&mut pair.ends[0], &[1; 8192]);
        if n == 0 {
            break;
        }
        total += n;
        pair.transmit(0); // the carrier takes all, nobody acknowledges
    }
    assert!(total <= WINDOW && total > WINDOW * 9 / 10, "{total}");
}

#[test]
fn tiny_frames_are_bounded_by_count_at_both_ends() {
    let mut pair = Pair::new();
    let mut frames = 0;
    while write(&mut pair.ends[0], &[1]) == 1 {
        let messages = pair.transmit(0);
        frames += messages.len();
        pair.deliver(1, 1, &messages);
    }
    assert!(frames <= WINDOW / FRAME_COST, "{frames}");
    // A peer that does not keep to it is cut off.
    let mut core = Core::new(config(), WINDOW, pair.now);
    let result = (0..WINDOW as u64).try_for_each(|offset| {
        let payload = Bytes::from_static(b"x");
        core.on_frame(1, Frame::Data { offset, payload }, pair.now)
    });
    assert_eq!(result, Err("more data than the window allows"));
}

#[test]
fn fin_is_delivered_once_and_survives_a_cut_at_every_point() {
    for cut in 0..6 {
        let mut pair = Pair::new();
        write(&mut pair.ends[0], b"last words");
        pair.ends[0].finish();
        for step in 0..6 {
            if step == cut {
                pair.reattach();
            }
            let i = step % 2;
            let messages = pair.transmit(i);
            pair.deliver(1 - i, pair.generation, &messages);
            if step == 2 {
                assert_eq!(read_all(&mut pair.ends[1], pair.now), b"last words", "cut {cut}");
            }
        }
        pair.settle();
        assert!(pair.ends[1].eof() && pair.ends[0].fin_acked(), "cut {cut}");
        assert_eq!(write(&mut pair.ends[0], b"more"), 0);
        assert_eq!(pair.ends[0].replay_bytes(), 0);
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_is_named() {
    let now = Instant::now();
    let data = |offset, n: usize| Frame::Data {
        offset,
        payload: vec![0; n].into(),
    };
    let cases: [(Vec<Frame>, &str); 6] = [
        (vec![data(1, 1)], "gap in the data"),
        (
            vec![data(0, 60_000), data(60_000, 60_000)],
            "more data than the window allows",
        ),
        (vec![data(u64::MAX, 1)], "offset overflow"),
        (vec![Frame::Ack(1)], "acknowledgement of what was not sent"),
        (
            vec![Frame::Fin(1)],
            "FIN at another offset than the end of the data",
        ),
        (vec![Frame::New(1)], "handshake frame on an established link"),
    ];
    for (frames, want) in cases {
        let mut core = Core::new(config(), WINDOW, now);
        let got = frames.into_iter().try_for_each(|f| core.on_frame(1, f, now));
        // `data(u64::MAX, 1)` may be seen as a gap first; both are refusals of the same frame.
        assert_eq!(got, Err(want));
    }
    let mut core = Core::new(config(), WINDOW, now);
    core.on_frame(1, Frame::Fin(0), now).unwrap();
    assert_eq!(core.on_frame(1, data(0, 1), now), Err("data after FIN"));
}

#[test]
fn silence_is_probed_then_declared_dead_then_the_link_expires() {
    let mut pair = Pair::new();
    let config = config();
    let core = &mut pair.ends[0];
    // Idle: a ping after `ping_idle`, dead `dead_after` later.
    assert_eq!(core.deadline(), Some(pair.now + config.ping_idle));
    let t = pair.now + config.ping_idle;
    assert_eq!(core.on_timer(t), None);
    assert_eq!(core.poll_transmit(t), Some(Frame::Ping(1).encode()));
    assert_eq!(
        core.on_timer(t + config.dead_after - Duration::from_millis(1)),
        None
    );
    assert_eq!(core.on_timer(t + config.dead_after), Some(Event::CarrierDead));
    core.detach(t);
    assert_eq!(core.deadline(), Some(t + config.expiry));
    assert_eq!(core.on_timer(t + config.expiry), Some(Event::Expired));
    assert_eq!(core.dead(), Some(Dead::Expired));
    assert_eq!(write(core, b"x"), 0);
}

#[test]
fn unacknowledged_data_is_probed_sooner_and_an_answer_gives_the_round_trip() {
    let mut pair = Pair::new();
    write(&mut pair.ends[0], b"x");
    pair.transmit(0);
    assert_eq!(pair.ends[0].deadline(), Some(pair.now + config().ping_busy));
    pair.now += config().ping_busy;
    assert_eq!(pair.ends[0].on_timer(pair.now), None);
    let ping = pair.transmit(0);
    pair.deliver(1, 1, &ping);
    let pong = pair.transmit(1);
    pair.now += Duration::from_millis(40);
    pair.deliver(0, 1, &pong);
    let mut registry = Registry::default();
    pair.ends[0].config.metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("link_round_trip_seconds_sum 0.04\n"), "{text}");
}

#[test]
fn acknowledgements_wait_for_the_delay_or_enough_bytes() {
    let mut pair = Pair::new();
    write(&mut pair.ends[0], &[0; 1000]);
    let messages = pair.transmit(0);
    pair.deliver(1, 1, &messages);
    read_all(&mut pair.ends[1], pair.now);
    assert_eq!(pair.transmit(1), Vec::<Bytes>::new());
    assert_eq!(pair.ends[1].deadline(), Some(pair.now + config().ack_delay));
    pair.now += config().ack_delay;
    assert_eq!(pair.transmit(1), [Frame::Ack(1000).encode()]);

    write(&mut pair.ends[0], &[0; 4096]);
    let messages = pair.transmit(0);
    pair.deliver(1, 1, &messages);
    read_all(&mut pair.ends[1], pair.now);
    assert!(pair.ends[1].ack_wanted());
    assert_eq!(pair.transmit(1), [Frame::Ack(5096).encode()]);
}

#[test]
fn ends_that_close_at_once_without_reading_do_not_wait_for_each_other() {
    let mut pair = Pair::new();
    for end in &mut pair.ends {
        write(end, b"unread");
    }
    pair.settle();
    for end in &mut pair.ends {
        end.finish();
    }
    pair.settle();
    for end in &mut pair.ends {
        assert!(
            end.fin_acked(),
            "the FIN is acknowledged although nobody read what came before it"
        );
        assert!(end.deadline().unwrap() > pair.now, "nothing is due now");
        let mut got = Vec::new();
        end.read(100, pair.now, |bytes| got.extend_from_slice(bytes));
        assert_eq!(got, b"unread");
        assert!(end.eof());
        assert!(
            end.deadline().unwrap() > pair.now,
            "reading late makes nothing due either"
        );
    }
}
