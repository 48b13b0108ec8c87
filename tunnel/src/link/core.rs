//! The link without I/O: a reliable byte stream over successive carriers.
//!
//! No clock, no sockets, no tasks: time, frames and carriers' fate are passed in. Call order of an adapter:
//!
//! 1. *inputs*: [`Core::write`], [`Core::finish`], [`Core::on_frame`], [`Core::attach`], [`Core::detach`], [`Core::on_timer`]
//! 2. *outputs*: [`Core::poll_transmit`] until `None`, [`Core::read`], [`Core::deadline`]
//!
//! Offsets of the sending half: `acked <= next <= end`; of the receiving half: `acknowledged <= consumed <= received`.

use std::{collections::VecDeque, io::IoSlice, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use super::{
    flight::Flight,
    types::{AttachError, Config, Dead, Event},
};
use crate::{
    carrier::blocks::append,
    frame::{Frame, HEADER, MAX_PAYLOAD, data_header},
};

/// Bytes accepted from the writer but not yet handed to a carrier that takes them at once. Small, so that scheduling
/// between streams stays in HTTP/2 and does not turn into a queue here. A blocked carrier lowers it.
const UNSENT: usize = 256 * 1024;
/// Charged for each frame in a queue, so that many tiny ones cannot exceed the bound in bytes.
const FRAME_COST: usize = 64;
/// First allocation of a quiet link; a busy one allocates whole frames.
const SMALL_BUFFER: usize = 2 * 1024;

struct Sent {
    start: u64,
    wire: Bytes,
}

impl Sent {
    fn end(&self) -> u64 {
        self.start + (self.wire.len() - HEADER) as u64
    }
}

/// State of one end of a link. See the module's documentation for the order of calls.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of two halves and a carrier, not one state"
)]
pub(super) struct Core {
    config: Config,
    peer_window: usize,
    // sending half
    frames: VecDeque<Sent>,
    /// Frames of the front of `frames` that the current carrier has got.
    handed: usize,
    /// Header placeholder and payload not yet sealed into a frame.
    open: BytesMut,
    acked: u64,
    next: u64,
    end: u64,
    sent_max: u64,
    finished: bool,
    fin_sent: bool,
    // receiving half
    queue: VecDeque<Bytes>,
    received: u64,
    consumed: u64,
    acknowledged: u64,
    force_ack: bool,
    peer_fin: Option<u64>,
    // carrier
    generation: u64,
    up: bool,
    unsent: usize,
    flight: Flight,
    since: Instant,
    last_heard: Instant,
    ping_sent: Option<Instant>,
    /// When the last ping left, for the round trip; unlike `ping_sent` it outlives other frames.
    pinged: Option<Instant>,
    want_ping: bool,
    first: Option<Bytes>,
    pong: Option<u64>,
    ack_due: Option<Instant>,
    dead: Option<Dead>,
}

impl Core {
    /// A link is born on its first carrier, generation 1. `peer_window` is what the peer granted, in bytes.
    pub(super) fn new(config: Config, peer_window: usize, now: Instant) -> Self {
        Self {
            config,
            peer_window,
            frames: VecDeque::new(),
            handed: 0,
            open: BytesMut::new(),
            acked: 0,
            next: 0,
            end: 0,
            sent_max: 0,
            finished: false,
            fin_sent: false,
            queue: VecDeque::new(),
            received: 0,
            consumed: 0,
            acknowledged: 0,
            force_ack: false,
            peer_fin: None,
            generation: 1,
            up: true,
            unsent: UNSENT,
            flight: Flight::default(),
            since: now,
            last_heard: now,
            ping_sent: None,
            pinged: None,
            want_ping: false,
            first: None,
            pong: None,
            ack_due: None,
            dead: None,
        }
    }

    // === getters ===

    /// Number of the current or last carrier.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Why the link is over, if it is.
    pub(super) fn dead(&self) -> Option<Dead> {
        self.dead
    }

    /// Offset to tell the peer at resume; counts a received FIN.
    pub(super) fn received(&self) -> u64 {
        self.received + u64::from(self.fin_received())
    }

    /// Bytes kept for a resend.
    pub(super) fn replay_bytes(&self) -> usize {
        delta(self.end, self.acked)
    }

    /// The peer has acknowledged everything and our FIN.
    pub(super) fn fin_acked(&self) -> bool {
        self.finished && self.acked == self.end + 1
    }

    // === writer ===

    /// Bytes that [`Core::write`] takes now; 0 means back-pressure.
    pub(super) fn room(&self) -> usize {
        if self.finished || self.dead.is_some() {
            return 0;
        }
        let used = self.replay_bytes() + FRAME_COST * self.frames.len();
        let window = self.config.window.min(self.peer_window);
        let window = self.flight.window().map_or(window, |flight| window.min(flight));
        window
            .saturating_sub(used)
            .min(self.unsent.saturating_sub(delta(self.end, self.next)))
    }

    /// Takes what fits. The one copy on the way out: the writer lends its bytes, the replay buffer has to own them.
    pub(super) fn write(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let total: usize = bufs.iter().map(|b| b.len()).sum();
        let taken = total.min(self.room());
        if taken < total {
            self.flight.on_limited();
        }
        let mut left = taken;
        for buf in bufs {
            let mut buf = &buf[..buf.len().min(left)];
            left -= buf.len();
            while !buf.is_empty() {
                self.make_room(total);
                let space =
                    (self.open.capacity() - self.open.len()).min(HEADER + MAX_PAYLOAD - self.open.len());
                let (now, later) = buf.split_at(buf.len().min(space));
                append(&mut self.open, now);
                self.end += now.len() as u64;
                buf = later;
            }
        }
        taken
    }

    /// Afterwards `open` starts with a header and has space for at least one byte.
    fn make_room(&mut self, expected: usize) {
        if self.open.len() == HEADER + MAX_PAYLOAD
            || (!self.open.is_empty() && self.open.len() == self.open.capacity())
        {
            self.seal();
        }
        if self.open.is_empty() {
            // What is left of the last allocation serves while it is big enough to be worth a frame.
            if self.open.capacity() < HEADER + expected.clamp(1, SMALL_BUFFER) {
                let payload = if expected > SMALL_BUFFER {
                    MAX_PAYLOAD
                } else {
                    SMALL_BUFFER
                };
                self.open.reserve(HEADER + payload);
            }
            self.open.put_bytes(0, HEADER);
        }
    }

    fn seal(&mut self) {
        let length = self.open.len().saturating_sub(HEADER);
        if length == 0 {
            return;
        }
        let start = self.end - length as u64;
        self.open[..HEADER].copy_from_slice(&data_header(length, start));
        self.frames.push_back(Sent {
            start,
            wire: self.open.split().freeze(),
        });
    }

    /// Enough is there to be worth a call of the carrier before the writer flushes.
    pub(super) fn has_full_frame(&self) -> bool {
        self.frames.len() > self.handed || self.open.len() >= MAX_PAYLOAD
    }

    /// No further writes; a FIN follows the last byte.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    // === carrier, outwards ===

    /// The next message for the carrier, or `None` when there is nothing to send now. Acknowledgements and pings go
    /// first, then data. A frame is handed out at most once per carrier.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if !self.up || self.dead.is_some() {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Some(value) = self.pong.take() {
            return Some(Frame::Pong(value).encode());
        }
        if std::mem::take(&mut self.want_ping) {
            return Some(Frame::Ping(self.generation).encode());
        }
        let has_data = self.next < self.end;
        if self.ack_is_due(now, has_data) {
            self.acknowledged = self.ack_value();
            self.force_ack = false;
            self.ack_due = None;
            return Some(Frame::Ack(self.acknowledged).encode());
        }
        if has_data {
            if self.handed == self.frames.len() {
                self.seal();
            }
            let sent = self.frames.get(self.handed)?;
            let (end, wire) = (sent.end(), sent.wire.clone());
            let again = self.sent_max.min(end).saturating_sub(self.next);
            if again > 0 {
                self.config.metrics.resent.inc_by(again);
            }
            self.handed += 1;
            self.next = end;
            self.sent_max = self.sent_max.max(end);
            self.flight.on_sent(end, self.acked, now);
            return Some(wire);
        }
        if self.finished && !self.fin_sent {
            self.fin_sent = true;
            return Some(Frame::Fin(self.end).encode());
        }
        None
    }

    fn ack_is_due(&self, now: Instant, has_data: bool) -> bool {
        let pending = delta(self.ack_value(), self.acknowledged);
        self.force_ack
            || pending >= self.config.ack_bytes
            || (pending > 0 && (has_data || self.ack_due.is_some_and(|due| now >= due)))
    }

    /// Tells whether the carrier takes frames at once; if not, less is accepted from the writer.
    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.unsent = if blocked {
            self.flight.unsent().min(UNSENT)
        } else {
            UNSENT
        };
    }

    /// Largest DATA frame of HTTP/2 that is fair to other streams on this line, bytes.
    pub(super) fn fair_frame(&self) -> usize {
        self.flight.frame()
    }

    // === carrier, inwards ===

    /// One frame from the carrier of `generation`. A frame of another generation is ignored: the old carrier may still
    /// deliver after the new one took over.
    pub(super) fn on_frame(
        &mut self,
        generation: u64,
        frame: Frame,
        now: Instant,
    ) -> Result<(), &'static str> {
        if generation != self.generation || !self.up {
            return Ok(());
        }
        self.last_heard = now;
        match frame {
            Frame::Data { offset, payload } => self.on_data(offset, payload)?,
            Frame::Ack(offset) => self.on_ack(offset, now)?,
            Frame::Ping(value) => self.pong = Some(value),
            Frame::Pong(_) => {
                if let Some(sent) = self.pinged.take() {
                    self.config.metrics.round_trip.observe((now - sent).as_secs_f64());
                }
            }
            Frame::Fin(offset) => {
                if offset != self.received || self.peer_fin.is_some_and(|fin| fin != offset) {
                    return Err("FIN at another offset than the end of the data");
                }
                self.peer_fin = Some(offset);
                self.ack_due.get_or_insert(now);
            }
            Frame::Close(reason) => self.dead = Some(Dead::Closed(reason)),
            _ => return Err("handshake frame on an established link"),
        }
        // Any frame proves life, so the next silence is counted anew.
        self.ping_sent = None;
        Ok(())
    }

    fn on_data(&mut self, offset: u64, mut payload: Bytes) -> Result<(), &'static str> {
        let end = offset
            .checked_add(payload.len() as u64)
            .ok_or("offset overflow")?;
        if offset > self.received {
            return Err("gap in the data");
        }
        if end > self.consumed + self.config.window as u64
            || self.queue.len() > self.config.window / FRAME_COST
        {
            return Err("more data than the window allows");
        }
        if self.peer_fin.is_some_and(|fin| end > fin) {
            return Err("data after FIN");
        }
        let known = delta(self.received, offset).min(payload.len());
        if known > 0 {
            self.config.metrics.duplicate.inc_by(known as u64);
            payload.advance(known);
        }
        if !payload.is_empty() {
            self.received = end;
            self.queue.push_back(payload);
        }
        Ok(())
    }

    fn on_ack(&mut self, offset: u64, now: Instant) -> Result<(), &'static str> {
        if offset > self.sent_max + u64::from(self.finished) {
            return Err("acknowledgement of what was not sent");
        }
        if offset > self.acked {
            self.acked = offset;
            self.flight.on_ack(offset, now);
            self.next = self.next.max(offset.min(self.end));
            while self.frames.front().is_some_and(|f| f.end() <= offset) {
                self.frames.pop_front();
                self.handed = self.handed.saturating_sub(1);
            }
            if self.open.capacity() <= HEADER + SMALL_BUFFER {
                self.give_back();
            }
        }
        Ok(())
    }

    // === reader ===

    /// Whether [`Core::read`] would give bytes.
    pub(super) fn readable(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Everything was read and the peer has finished.
    pub(super) fn eof(&self) -> bool {
        self.peer_fin.is_some_and(|fin| fin == self.consumed)
    }

    /// Gives up to `max` bytes to `sink`.
    pub(super) fn read(&mut self, max: usize, now: Instant, mut sink: impl FnMut(&[u8])) -> usize {
        let mut n = 0;
        while n < max {
            let Some(front) = self.queue.front_mut() else {
                break;
            };
            let k = front.len().min(max - n);
            sink(&front[..k]);
            n += k;
            if k == front.len() {
                self.queue.pop_front();
            } else {
                front.advance(k);
            }
        }
        self.consumed += n as u64;
        // After the peer's FIN everything is acknowledged already, and a due time for nothing would never pass.
        if n > 0 && delta(self.ack_value(), self.acknowledged) > 0 {
            // The end of the stream is told at once: the peer waits for it to close.
            let due = if self.eof() {
                now
            } else {
                now + self.config.ack_delay
            };
            self.ack_due = Some(self.ack_due.map_or(due, |d| d.min(due)));
        }
        n
    }

    /// So much was consumed that the peer should hear of it at once.
    pub(super) fn ack_wanted(&self) -> bool {
        delta(self.ack_value(), self.acknowledged) >= self.config.ack_bytes
    }

    fn fin_received(&self) -> bool {
        self.peer_fin.is_some_and(|fin| fin == self.received)
    }

    /// A peer that has finished needs no more window, so its FIN is acknowledged on receipt: a reader that has stopped
    /// reading, as HTTP/2 does when it closes, must not hold up the peer's shutdown, least of all at both ends at once.
    fn ack_value(&self) -> u64 {
        if self.fin_received() {
            self.received + 1
        } else {
            self.consumed
        }
    }

    // === carriers come and go ===

    /// Switches to a new carrier. `peer_received` is what the peer says it has received; it may be older than an
    /// acknowledgement that came since. `first` is sent before anything else on the new carrier.
    pub(super) fn attach(
        &mut self,
        generation: u64,
        peer_received: u64,
        first: Option<Bytes>,
        now: Instant,
    ) -> Result<(), AttachError> {
        if self.dead.is_some() {
            return Err(AttachError::Dead);
        }
        if generation <= self.generation {
            return Err(AttachError::Stale);
        }
        if peer_received > self.sent_max + u64::from(self.finished) {
            return Err(AttachError::Offset);
        }
        self.generation = generation;
        self.up = true;
        self.unsent = UNSENT;
        self.flight = Flight::default(); // another line, perhaps
        self.first = first;
        (self.pong, self.want_ping, self.ping_sent, self.pinged) = (None, false, None, None);
        self.fin_sent = false;
        let from = peer_received.max(self.acked).min(self.end);
        // Frames go out whole; the receiver drops what it has of the first one.
        self.handed = self.frames.partition_point(|f| f.end() <= from);
        self.next = self
            .frames
            .get(self.handed)
            .map_or_else(|| self.unsealed_start(), |f| f.start);
        self.force_ack = true; // the last acknowledgement may have been lost
        (self.since, self.last_heard) = (now, now);
        self.config.metrics.resumes.inc();
        Ok(())
    }

    fn unsealed_start(&self) -> u64 {
        self.end - self.open.len().saturating_sub(HEADER) as u64
    }

    /// The carrier is gone; the link waits for another until it expires.
    pub(super) fn detach(&mut self, now: Instant) {
        if self.up {
            self.up = false;
            self.since = now;
            self.first = None;
        }
    }

    /// The link is over, for `why`.
    pub(super) fn kill(&mut self, why: Dead) {
        self.dead.get_or_insert(why);
    }

    // === time ===

    /// When [`Core::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.dead.is_some() {
            return None;
        }
        if !self.up {
            return Some(self.since + self.config.expiry);
        }
        let life = match self.ping_sent {
            Some(sent) => sent + self.config.dead_after,
            None => self.last_heard + self.ping_after(),
        };
        Some(self.ack_due.map_or(life, |ack| ack.min(life)))
    }

    fn ping_after(&self) -> Duration {
        if self.acked < self.end {
            self.config.ping_busy
        } else {
            self.config.ping_idle
        }
    }

    /// Looks at the clock.
    pub(super) fn on_timer(&mut self, now: Instant) -> Option<Event> {
        if self.dead.is_some() {
            return None;
        }
        if !self.up {
            if now < self.since + self.config.expiry {
                return None;
            }
            self.dead = Some(Dead::Expired);
            return Some(Event::Expired);
        }
        match self.ping_sent {
            Some(sent) if now >= sent + self.config.dead_after => return Some(Event::CarrierDead),
            None if now >= self.last_heard + self.ping_after() => {
                (self.ping_sent, self.pinged) = (Some(now), Some(now));
                self.want_ping = true;
                self.give_back();
            }
            _ => {}
        }
        None
    }

    /// Frees the buffer of a link on which nothing is under way: a small one at once, since most links are quiet, a large one
    /// after a while.
    fn give_back(&mut self) {
        if self.acked >= self.end && self.open.is_empty() {
            self.open = BytesMut::new();
        }
    }
}

/// `high - low` of two offsets that never lie further apart than a window; 0 where a FIN has pushed `low` one beyond.
fn delta(high: u64, low: u64) -> usize {
    usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
