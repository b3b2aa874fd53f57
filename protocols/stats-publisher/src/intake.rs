//! Where the host's threads put events: one bounded lock-free queue, and what happens when it is full. The only code of
//! this crate that runs on the host's threads for every event; it never waits, and reads no clock.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_queue::ArrayQueue;
use stats_sv2::event::{AnnounceBegin, AnnounceEnd, MinerShareSubmitted, ShareSubmitted};
use stats_sv2::limits::MAX_PAYLOAD;
use stats_sv2::open_objects::OpenObjects;
use stats_sv2::{Event, FIRST_DERIVED_TYPE, FIRST_EVENT_TYPE, LAST_DERIVED_TYPE, UnixMillis};

use crate::overflow::{Overflow, Overflowed};

/// What became of a published event.
///
/// Most callers have no use for it: what was dropped is counted, and told to the sidecar, without their help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// It will be sent. A state event that found the queue full is also queued, merged with others of the same object.
    Queued,
    /// There was no room. The loss is counted and the sidecar is told how many events are missing from when to when.
    Dropped,
    /// Only the publisher or the sidecar makes events of this kind (announcement marks, types from 0x40 to 0x4f), or an
    /// [`Event::Unknown`] is too large or has no event's type. The event is counted as refused.
    Refused,
    /// This publisher is switched off by its configuration.
    Disabled,
    /// [`close`](crate::StatsPublisher::close) was called, or the publisher's thread is gone.
    Closed,
}

/// One place in the queue. Shares come by the million and lie inline; other events are encoded frames in a box, which
/// keeps a slot at 48 bytes with the queue's own stamp (a larger slot costs every share).
#[derive(Debug)]
pub(crate) enum Slot {
    Share(ShareSubmitted),
    MinerShare(MinerShareSubmitted),
    Frame(Box<[u8]>),
}

impl Slot {
    fn timestamp(&self) -> Option<UnixMillis> {
        match self {
            Self::Share(share) => Some(share.timestamp),
            Self::MinerShare(share) => Some(share.timestamp),
            Self::Frame(_) => None,
        }
    }
}

/// Events go to the queue.
const ACCEPTING: u8 = 0;
/// A state event went to the overflow list. Until the drain has taken it nothing may pass it in the queue.
const OVERFLOWING: u8 = 1;
/// The publisher is closed.
const CLOSED: u8 = 2;

/// Kept on cache lines of its own: written on other paths than the state that every `publish` reads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// What was dropped since the start, and the span since the last report.
#[derive(Debug)]
struct Losses {
    count: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
    refused: AtomicU64,
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

/// The span of the losses that were taken for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LossSpan {
    pub(crate) first: UnixMillis,
    pub(crate) last: UnixMillis,
}

#[derive(Debug)]
pub(crate) struct Intake {
    state: AtomicU8,
    frame_bytes_limit: usize,
    queue: ArrayQueue<Slot>,
    frame_bytes: Apart<AtomicUsize>,
    losses: Apart<Losses>,
    overflow: Apart<Mutex<Overflow>>,
}

impl Intake {
    pub(crate) fn new(slots: usize, frame_bytes_limit: usize) -> Self {
        Self {
            state: AtomicU8::new(ACCEPTING),
            frame_bytes_limit,
            queue: ArrayQueue::new(slots),
            frame_bytes: Apart::default(),
            losses: Apart::default(),
            overflow: Apart(Mutex::new(Overflow::new(frame_bytes_limit))),
        }
    }

    #[inline]
    pub(crate) fn publish(&self, event: Event<'_>) -> PublishOutcome {
        match event {
            Event::ShareSubmitted(share) => self.publish_inline(Slot::Share(share)),
            Event::MinerShareSubmitted(share) => self.publish_inline(Slot::MinerShare(share)),
            event => self.publish_frame(&event),
        }
    }

    #[inline]
    fn publish_inline(&self, slot: Slot) -> PublishOutcome {
        if self.state.load(Ordering::Acquire) != ACCEPTING {
            return self.lose(&slot);
        }
        match self.queue.push(slot) {
            Ok(()) => PublishOutcome::Queued,
            Err(slot) => self.lose(&slot),
        }
    }

    #[cold]
    fn lose(&self, slot: &Slot) -> PublishOutcome {
        self.count_loss(slot.timestamp())
    }

    fn count_loss(&self, timestamp: Option<UnixMillis>) -> PublishOutcome {
        if self.is_closed() {
            return PublishOutcome::Closed;
        }
        let losses = &self.losses.0;
        if let Some(UnixMillis(timestamp)) = timestamp {
            losses.first.fetch_min(timestamp, Ordering::Relaxed);
            losses.last.fetch_max(timestamp, Ordering::Relaxed);
        }
        // After the span, so that whoever sees the count has seen a span that covers it.
        losses.count.fetch_add(1, Ordering::Release);
        PublishOutcome::Dropped
    }

    #[inline(never)]
    fn publish_frame(&self, event: &Event<'_>) -> PublishOutcome {
        if !may_be_published(event) {
            self.losses.0.refused.fetch_add(1, Ordering::Relaxed);
            return PublishOutcome::Refused;
        }
        let state = self.state.load(Ordering::Acquire);
        if state == CLOSED {
            return PublishOutcome::Closed;
        }
        let is_state = OpenObjects::concerns(event.kind());
        if state == OVERFLOWING && !is_state {
            return self.count_loss(event.timestamp());
        }
        let mut frame = Vec::with_capacity(TYPICAL_FRAME);
        event.encode(&mut frame);
        let frame = frame.into_boxed_slice();
        let size = frame.len();

        let mut unqueued = frame;
        if state == ACCEPTING {
            let held = self.frame_bytes.0.fetch_add(size, Ordering::Relaxed);
            if held + size <= self.frame_bytes_limit {
                match self.queue.push(Slot::Frame(unqueued)) {
                    Err(Slot::Frame(frame)) => unqueued = frame,
                    _ => return PublishOutcome::Queued,
                }
            }
            self.frame_bytes.0.fetch_sub(size, Ordering::Relaxed);
        }
        if is_state { self.overflow(event, unqueued) } else { self.count_loss(event.timestamp()) }
    }

    fn overflow(&self, event: &Event<'_>, frame: Box<[u8]>) -> PublishOutcome {
        let mut overflow = self.lock_overflow();
        if !overflow.insert(event, frame) {
            drop(overflow);
            return self.count_loss(event.timestamp());
        }
        // Under the lock, so that the drain cannot take the list and open the queue in between. A failure says that the
        // state was set already, or that the publisher is closed and the drain looks at the list anyway.
        let was = self.state.compare_exchange(ACCEPTING, OVERFLOWING, Ordering::AcqRel, Ordering::Acquire);
        if was == Err(CLOSED) { PublishOutcome::Closed } else { PublishOutcome::Queued }
    }

    fn lock_overflow(&self) -> MutexGuard<'_, Overflow> {
        // No code under this lock can leave the list half changed.
        self.overflow.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an eighth of the queue is free, and so much room besides for boxed events.
    pub(crate) fn has_room(&self) -> bool {
        let free = self.queue.capacity() - self.queue.len();
        self.state.load(Ordering::Acquire) == ACCEPTING
            && free >= (self.queue.capacity() / 8).max(1)
            && self.frame_bytes.0.load(Ordering::Relaxed) <= self.frame_bytes_limit / 8 * 7
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    pub(crate) fn close(&self) {
        self.state.store(CLOSED, Ordering::Release);
    }

    // What follows is for the drain alone.

    pub(crate) fn pop(&self) -> Option<Slot> {
        self.queue.pop()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    pub(crate) fn release_frame_bytes(&self, size: usize) {
        self.frame_bytes.0.fetch_sub(size, Ordering::Relaxed);
    }

    pub(crate) fn overflowed(&self) -> usize {
        self.lock_overflow().len()
    }

    /// State events that a later one of the same object replaced in the overflow list.
    pub(crate) fn merged(&self) -> u64 {
        self.lock_overflow().merged()
    }

    /// Takes the overflow list and opens the queue again. Putting the list in order is left to the caller: then nobody
    /// waits for the lock.
    pub(crate) fn take_overflow(&self) -> Overflowed {
        let mut overflow = self.lock_overflow();
        let overflowed = overflow.take();
        // A closed queue stays closed: then nothing is to be opened.
        self.state.compare_exchange(OVERFLOWING, ACCEPTING, Ordering::AcqRel, Ordering::Acquire).ok();
        overflowed
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.losses.0.count.load(Ordering::Acquire)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.losses.0.refused.load(Ordering::Relaxed)
    }

    /// The span of the losses since the last call, to be read after [`dropped`](Self::dropped): then it covers at least
    /// those. `None` if none of them carried a time.
    pub(crate) fn take_loss_span(&self) -> Option<LossSpan> {
        let first = self.losses.0.first.swap(u64::MAX, Ordering::Relaxed);
        let last = self.losses.0.last.swap(0, Ordering::Relaxed);
        (first != u64::MAX).then(|| LossSpan { first: UnixMillis(first), last: UnixMillis(last.max(first)) })
    }
}

/// Enough for most events without growing: a channel with a long identity takes 100 bytes.
const TYPICAL_FRAME: usize = 128;

fn may_be_published(event: &Event<'_>) -> bool {
    let msg_type = event.kind().msg_type();
    msg_type >= FIRST_EVENT_TYPE
        && !(FIRST_DERIVED_TYPE..=LAST_DERIVED_TYPE).contains(&msg_type)
        && !matches!(msg_type, AnnounceBegin::TYPE | AnnounceEnd::TYPE)
        && !matches!(event, Event::Unknown { payload, .. } if payload.len() > MAX_PAYLOAD)
}

#[cfg(test)]
mod tests {
    use stats_sv2::event::DownstreamDisconnected;
    use stats_sv2::{DownstreamId, Text};

    use super::*;

    #[test]
    fn events_are_published_while_the_overflow_list_is_put_in_order() {
        let intake = Intake::new(1, 1 << 20);
        let publish = |id| {
            intake.publish(Event::from(DownstreamDisconnected {
                downstream_id: DownstreamId(id),
                timestamp: UnixMillis(1),
                reason: Text::default(),
            }))
        };
        assert_eq!([publish(1), publish(2), publish(3)], [PublishOutcome::Queued; 3]);
        assert_eq!(intake.overflowed(), 2);
        // Not in order yet, and no lock is held.
        let overflowed = intake.take_overflow();
        assert_eq!(publish(4), PublishOutcome::Queued);
        assert_eq!(intake.overflowed(), 1);
        assert_eq!(overflowed.into_frames().count(), 2);
    }

    #[test]
    fn a_slot_takes_48_bytes() {
        // The queue adds one stamp of 8 bytes to each value.
        assert_eq!(size_of::<Slot>() + size_of::<AtomicU64>(), 48);
    }
}
