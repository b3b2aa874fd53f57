//! Turns what the host published into numbered frames, in order: takes from the queue, keeps the registry of open
//! objects, and adds what the publisher itself has to say (heartbeats, loss reports, announcements). No I/O.

use std::sync::Arc;
use std::time::Duration;

use stats_sv2::codec::Message;
use stats_sv2::event::{EventsDropped, HEARTBEAT_CLOCK_STEPPED, Heartbeat};
use stats_sv2::limits::{CLOCK_STEP, HEADER_SIZE, MAX_PAYLOAD};
use stats_sv2::open_objects::OpenObjects;
use stats_sv2::{EventKind, Text, UnixMillis, read_frame};
use tokio::time::Instant;

use crate::intake::{Intake, LossSpan, Slot};

/// A frame can be this long; room for less is no room.
pub(crate) const MAX_FRAME: usize = HEADER_SIZE + MAX_PAYLOAD;

/// Losses are reported at once, then at most this often while they go on: an announcement follows each report.
const LOSS_REPORT_EVERY: Duration = Duration::from_secs(1);

/// The `reason` of [`EventsDropped`].
const QUEUE_FULL: &str = "queue-full";

/// Both clocks, read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) mono: Instant,
    pub(crate) wall: UnixMillis,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self { mono: Instant::now(), wall: UnixMillis::now() }
    }
}

/// How much a pass may encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) events: u64,
    pub(crate) bytes: usize,
}

/// Frames that one pass made, to be numbered one after the other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: u64,
    /// Runs of frames that are the publisher's own: (index of the first, count).
    pub(crate) own: Vec<(u64, u64)>,
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.frames = 0;
        self.own.clear();
    }

    fn fits_frame(&self, room: Room) -> bool {
        self.frames < room.events && self.bytes.len() + MAX_FRAME <= room.bytes
    }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Events that the queue gave.
    pub(crate) popped: u64,
    /// Whether the pass stopped for want of room: more may be waiting.
    pub(crate) full: bool,
}

#[derive(Debug)]
pub(crate) struct Drain {
    intake: Arc<Intake>,
    registry: OpenObjects,
    pending: Pending,
    clock: ClockWatch,
    heartbeat_every: Duration,
    next_heartbeat: Instant,
    /// Events of the host that left the intake, those replaced in the overflow list not counted.
    taken: u64,
    popped: u64,
    /// When so many events have been popped, what was queued before a loss or a request has gone ahead of it.
    settle_at: Option<u64>,
    announce: bool,
    /// Whether losses are to be told now, however short ago the last report was.
    forced: bool,
    losses_told: u64,
    told_at: Option<Instant>,
    last_loss: UnixMillis,
}

impl Drain {
    pub(crate) fn new(intake: Arc<Intake>, heartbeat_every: Duration, now: Now) -> Self {
        Self {
            intake,
            registry: OpenObjects::default(),
            pending: Pending::default(),
            clock: ClockWatch::new(now),
            heartbeat_every,
            // The first tells that observation begins.
            next_heartbeat: now.mono,
            taken: 0,
            popped: 0,
            settle_at: None,
            announce: false,
            forced: false,
            losses_told: 0,
            told_at: None,
            last_loss: now.wall,
        }
    }

    /// Events of the host that were taken over so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Asks for an announcement behind what is queued now.
    pub(crate) fn request_announcement(&mut self) {
        self.announce = true;
    }

    /// Asks that everything published so far, losses included, is encoded as soon as there is room. Returns the mark to
    /// give to [`has_settled`](Self::has_settled).
    pub(crate) fn force(&mut self) -> u64 {
        self.forced = true;
        let mark = self.popped + self.intake.queued() as u64;
        self.settle_at = Some(self.settle_at.map_or(mark, |at| at.max(mark)));
        mark
    }

    /// Whether everything from before this mark is encoded.
    pub(crate) fn has_settled(&self, mark: u64) -> bool {
        self.popped >= mark && self.settle_at.is_none_or(|at| at > mark) && self.pending.is_empty()
    }

    /// Makes a heartbeat due, so that the span up to now counts as observed.
    pub(crate) fn make_heartbeat_due(&mut self, now: Now) {
        self.next_heartbeat = now.mono;
    }

    /// Watches the clocks. To be called at each drain, room or not.
    pub(crate) fn observe(&mut self, now: Now) {
        self.clock.observe(now);
    }

    /// Encodes into `batch` as much as there is, up to `room`.
    pub(crate) fn encode(&mut self, now: Now, room: Room, batch: &mut Batch) -> Pass {
        batch.clear();
        let popped_before = self.popped;
        if self.settle_at.is_none() && self.has_something_to_say(now) {
            self.settle_at = Some(self.popped + self.intake.queued() as u64);
        }
        let full = loop {
            if !self.pending.move_to(batch, room) {
                break true;
            }
            let quota = match self.settle_at {
                Some(at) if at <= self.popped => {
                    self.settle(now);
                    continue;
                }
                Some(at) => at - self.popped,
                None => u64::MAX,
            };
            if !batch.fits_frame(room) {
                break true;
            }
            if self.pop(quota, room, batch) {
                continue;
            }
            // The queue is empty: whatever was to be waited for has gone ahead.
            if self.settle_at.is_none() {
                break false;
            }
            self.settle_at = Some(self.popped);
        };
        Pass { popped: self.popped - popped_before, full }
    }

    /// Pops up to `quota` events while the batch has room; `false` when the queue is empty.
    fn pop(&mut self, quota: u64, room: Room, batch: &mut Batch) -> bool {
        let mut left = quota.min(room.events - batch.frames);
        let before = left;
        let mut released = 0;
        let mut empty = false;
        while left > 0 && batch.bytes.len() + MAX_FRAME <= room.bytes {
            match self.intake.pop() {
                Some(Slot::Share(share)) => share.encode(&mut batch.bytes),
                Some(Slot::MinerShare(share)) => share.encode(&mut batch.bytes),
                Some(Slot::Frame(frame)) => {
                    released += frame.len();
                    self.learn(&frame);
                    batch.bytes.extend_from_slice(&frame);
                }
                None => {
                    empty = true;
                    break;
                }
            }
            left -= 1;
        }
        let popped = before - left;
        batch.frames += popped;
        self.popped += popped;
        self.taken += popped;
        if released > 0 {
            self.intake.release_frame_bytes(released);
        }
        !empty
    }

    fn learn(&mut self, frame: &[u8]) {
        if let Ok(Some(frame)) = read_frame(frame)
            && OpenObjects::concerns(EventKind::from_type(frame.msg_type))
        {
            self.registry.apply(frame);
        }
    }

    fn has_something_to_say(&self, now: Now) -> bool {
        self.announce
            || now.mono >= self.next_heartbeat
            || self.intake.overflowed() > 0
            || self.may_tell_losses(now) && self.intake.dropped() > self.losses_told
    }

    fn may_tell_losses(&self, now: Now) -> bool {
        self.forced || self.told_at.is_none_or(|at| now.mono >= at + LOSS_REPORT_EVERY)
    }

    /// What was queued has gone ahead; now the overflow list, the losses, the announcement and the heartbeat.
    fn settle(&mut self, now: Now) {
        self.settle_at = None;
        for frame in self.intake.take_overflow().into_frames() {
            self.learn(&frame);
            self.pending.push_published(&frame);
            self.taken += 1;
        }
        let dropped = self.intake.dropped();
        if dropped > self.losses_told && self.may_tell_losses(now) {
            // A loss whose span was taken by the report before it is told with the end of that span.
            let span = self.intake.take_loss_span().unwrap_or(LossSpan { first: self.last_loss, last: self.last_loss });
            let report = EventsDropped {
                count: dropped - self.losses_told,
                first_timestamp: span.first,
                last_timestamp: span.last,
                reason: Text::cut(QUEUE_FULL),
            };
            tracing::error!(count = report.count, total = dropped, "events dropped: the publisher's queue was full");
            report.encode(self.pending.own(1));
            self.losses_told = dropped;
            self.last_loss = span.last;
            self.told_at = Some(now.mono);
            self.announce = true;
        }
        self.forced = false;
        if std::mem::take(&mut self.announce) {
            let frames = self.registry.announce(now.wall, self.pending.own(0));
            self.pending.own(frames);
        }
        if now.mono >= self.next_heartbeat {
            let flags = if self.clock.take_stepped() { HEARTBEAT_CLOCK_STEPPED } else { 0 };
            Heartbeat { timestamp: now.wall, flags }.encode(self.pending.own(1));
            // No burst of missed ones: one heartbeat covers the span.
            self.next_heartbeat = now.mono + self.heartbeat_every;
        }
    }
}

/// Encoded frames that wait for room, all of them ahead of what is in the queue.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    moved: usize,
    /// Frames at the front that the host published; those behind are the publisher's own.
    published: u64,
    own: u64,
}

/// More than this is given back once it was sent: an announcement of thousands of objects is rare.
const KEPT_PENDING_BYTES: usize = 64 << 10;

impl Pending {
    fn is_empty(&self) -> bool {
        self.moved == self.bytes.len()
    }

    fn push_published(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.published += 1;
    }

    /// Where `frames` frames of the publisher's own are to be appended.
    fn own(&mut self, frames: u64) -> &mut Vec<u8> {
        self.own += frames;
        &mut self.bytes
    }

    /// Moves as many frames as there is room for; whether all were moved.
    fn move_to(&mut self, batch: &mut Batch, room: Room) -> bool {
        if self.is_empty() {
            return true;
        }
        let own_before = self.own;
        let own_from = batch.frames + self.published;
        while let Ok(Some(frame)) = read_frame(&self.bytes[self.moved..]) {
            if !batch.fits_frame(room) {
                break;
            }
            batch.bytes.extend_from_slice(frame.bytes);
            batch.frames += 1;
            self.moved += frame.bytes.len();
            let kind = if self.published > 0 { &mut self.published } else { &mut self.own };
            *kind -= 1;
        }
        if own_before > self.own {
            batch.own.push((own_from, own_before - self.own));
        }
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_PENDING_BYTES);
            self.moved = 0;
        }
        self.is_empty()
    }
}

/// Finds steps of the wall clock by comparing it with the monotonic clock.
#[derive(Debug)]
struct ClockWatch {
    last: Now,
    stepped: bool,
}

impl ClockWatch {
    fn new(now: Now) -> Self {
        Self { last: now, stepped: false }
    }

    fn observe(&mut self, now: Now) {
        let expected = self.last.wall.0.saturating_add(millis(now.mono.saturating_duration_since(self.last.mono)));
        if now.wall.0.abs_diff(expected) > millis(CLOCK_STEP) {
            self.stepped = true;
        }
        self.last = now;
    }

    fn take_stepped(&mut self) -> bool {
        std::mem::take(&mut self.stepped)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
