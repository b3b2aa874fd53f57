//! Frames of one session that are not acknowledged yet, in memory, with the place up to which they were sent.

use std::collections::VecDeque;

use stats_sv2::Frames;

/// Frames are gathered in buffers of at most this size; one write to the socket takes at most one of them.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// A buffer is given back as a whole, so a window is made of at least this many.
const CHUNKS_PER_WINDOW: usize = 8;

/// The least window: a buffer must take the longest frame, and then some.
pub(crate) const MIN_WINDOW_BYTES: usize = CHUNKS_PER_WINDOW * (8 << 10);

/// Emptied buffers that are kept for the next frames, so that a busy publisher does not ask the system for fresh pages
/// again and again. Enough for a full window of shares.
const KEPT_CHUNKS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowLimits {
    pub(crate) events: u64,
    pub(crate) bytes: usize,
}

impl WindowLimits {
    /// The size of one buffer, and so of one batch.
    pub(crate) fn chunk_bytes(self) -> usize {
        (self.bytes / CHUNKS_PER_WINDOW).min(CHUNK_BYTES)
    }
}

/// Some frames in order, and the number of the first.
#[derive(Debug)]
struct Chunk {
    first: u64,
    count: u64,
    bytes: Vec<u8>,
    /// The end of the last of these frames in the spool.
    spool_end: Option<u64>,
}

impl Chunk {
    fn last(&self) -> u64 {
        self.first + self.count - 1
    }
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Released {
    /// Everything in the spool before this place is acknowledged.
    pub(crate) spool_end: Option<u64>,
}

/// The window.
///
/// ```text
///   committed     handed        last
///       │           │             │
///  ─────┼───────────┼─────────────┼──► numbers
///  gone │ in flight │ to be sent  │
/// ```
#[derive(Debug)]
pub(crate) struct Window {
    chunks: VecDeque<Chunk>,
    kept: Vec<Vec<u8>>,
    limits: WindowLimits,
    /// The highest acknowledged number.
    committed: u64,
    /// The highest number held; `committed` when none is.
    last: u64,
    bytes: usize,
    /// The chunk that is being sent.
    sending: usize,
    /// Bytes of that chunk that the socket took.
    sent: usize,
    /// Bytes of that chunk that may be sent: whole frames, the last of them number `handed`.
    handed_bytes: usize,
    handed: u64,
}

impl Window {
    /// A window whose first frame will have the number `first`, at least 1.
    pub(crate) fn new(first: u64, limits: WindowLimits) -> Self {
        let committed = first - 1;
        Self {
            chunks: VecDeque::new(),
            kept: Vec::new(),
            limits,
            committed,
            last: committed,
            bytes: 0,
            sending: 0,
            sent: 0,
            handed_bytes: 0,
            handed: committed,
        }
    }

    /// The highest acknowledged number.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// The highest number that went, or may have gone, to the socket since the last [`rewind`](Self::rewind).
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last == self.committed
    }

    pub(crate) fn events_room(&self) -> u64 {
        self.limits.events.saturating_sub(self.last - self.committed)
    }

    pub(crate) fn chunk_bytes(&self) -> usize {
        self.limits.chunk_bytes()
    }

    /// Bytes that may still be taken. What is acknowledged of a buffer counts until all of it is.
    pub(crate) fn bytes_room(&self) -> usize {
        self.limits.bytes.saturating_sub(self.bytes)
    }

    /// Whether so much fits. An empty window takes anything: it must not refuse a record that was spooled under larger
    /// limits.
    pub(crate) fn fits(&self, count: u64, bytes: usize) -> bool {
        self.chunks.is_empty() || (count <= self.events_room() && bytes <= self.bytes_room())
    }

    /// Whether frames numbered from `first` continue what is held.
    pub(crate) fn continues(&self, first: u64) -> bool {
        if self.chunks.is_empty() { first <= self.committed + 1 } else { first == self.last + 1 }
    }

    /// Appends `count` frames, numbered from `first`, which must be the number after the last one held. An empty window
    /// takes frames from any number on up to the one after the highest acknowledged, and skips those already
    /// acknowledged.
    pub(crate) fn push(&mut self, first: u64, count: u64, frames: &[u8], spool_end: Option<u64>) {
        debug_assert!(count > 0 && !frames.is_empty());
        debug_assert!(self.continues(first) && self.committed < first + count);
        match self.chunks.back_mut() {
            Some(tail) if tail.bytes.len() + frames.len() <= self.limits.chunk_bytes() => {
                tail.bytes.extend_from_slice(frames);
                tail.count += count;
                tail.spool_end = spool_end;
            }
            _ => {
                let mut bytes = self.kept.pop().unwrap_or_default();
                bytes.extend_from_slice(frames);
                self.chunks.push_back(Chunk { first, count, bytes, spool_end });
            }
        }
        self.bytes += frames.len();
        self.last = first + count - 1;
        if first <= self.committed {
            self.rewind(self.committed);
        }
    }

    /// The next bytes to write; none of a frame beyond `limit`. Empty when there is nothing to send.
    pub(crate) fn sendable(&mut self, limit: u64) -> &[u8] {
        self.hand_out(limit);
        match self.chunks.get(self.sending) {
            Some(chunk) => &chunk.bytes[self.sent..self.handed_bytes],
            None => &[],
        }
    }

    /// Says that the socket took so many of the [`sendable`](Self::sendable) bytes.
    pub(crate) fn mark_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.handed_bytes);
    }

    fn hand_out(&mut self, limit: u64) {
        if self.sent < self.handed_bytes {
            return;
        }
        if let Some(chunk) = self.chunks.get(self.sending)
            && self.sent == chunk.bytes.len()
            && self.sending + 1 < self.chunks.len()
        {
            self.sending += 1;
            self.sent = 0;
            self.handed_bytes = 0;
        }
        let Some(chunk) = self.chunks.get(self.sending) else { return };
        if chunk.last() <= limit {
            self.handed_bytes = chunk.bytes.len();
            self.handed = chunk.last();
        } else if limit > self.handed {
            let frames = usize::try_from(limit - self.handed).unwrap_or(usize::MAX);
            self.handed_bytes += length_of(&chunk.bytes[self.handed_bytes..], frames);
            self.handed = limit;
        }
    }

    /// Takes an acknowledgement up to `committed`, at most [`handed`](Self::handed).
    pub(crate) fn acknowledge(&mut self, committed: u64) -> Released {
        debug_assert!(committed <= self.last);
        let mut released = Released::default();
        self.committed = committed.max(self.committed);
        while self.chunks.front().is_some_and(|chunk| chunk.last() <= committed) {
            let Some(mut chunk) = self.chunks.pop_front() else { break };
            self.bytes -= chunk.bytes.len();
            released.spool_end = chunk.spool_end.or(released.spool_end);
            if self.sending > 0 {
                self.sending -= 1;
            } else {
                self.sent = 0;
                self.handed_bytes = 0;
            }
            chunk.bytes.clear();
            if self.kept.len() < KEPT_CHUNKS {
                self.kept.push(chunk.bytes);
            }
        }
        self.handed = self.handed.max(self.committed);
        released
    }

    /// Prepares for a new connection on which `committed`, at least the highest acknowledged number, is acknowledged:
    /// everything after it is to be sent again.
    pub(crate) fn rewind(&mut self, committed: u64) -> Released {
        let released = self.acknowledge(committed.min(self.last));
        self.committed = self.committed.max(committed);
        self.last = self.last.max(committed);
        self.sending = 0;
        let skip = match self.chunks.front() {
            Some(chunk) => {
                let frames = usize::try_from(self.committed + 1 - chunk.first).unwrap_or(usize::MAX);
                length_of(&chunk.bytes, frames)
            }
            None => 0,
        };
        self.sent = skip;
        self.handed_bytes = skip;
        self.handed = self.committed;
        released
    }

    /// Gives up the oldest frame: its number will never come. For the time without a connection only.
    pub(crate) fn skip_one(&mut self) -> Released {
        if self.is_empty() { Released::default() } else { self.rewind(self.committed + 1) }
    }

    /// Gives memory back while nothing happens.
    pub(crate) fn release_memory(&mut self) {
        self.kept.truncate(1);
    }
}

/// Bytes of the first `frames` frames of a buffer of whole frames.
fn length_of(buffer: &[u8], frames: usize) -> usize {
    Frames::new(buffer).take(frames).map(|frame| frame.bytes.len()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stats_sv2::codec::Message;
    use stats_sv2::event::{Heartbeat, SourceInfo};
    use stats_sv2::{Event, Text, UnixMillis};

    use super::*;

    const LIMITS: WindowLimits = WindowLimits { events: 1000, bytes: 1 << 20 };

    /// A frame that tells its number, of varying length.
    fn frame(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if number.is_multiple_of(3) {
            let (name, value) = (Text::cut("x".repeat((number % 50) as usize)), Text::default());
            SourceInfo { timestamp: UnixMillis(number), name, value }.encode(&mut bytes);
        } else {
            Heartbeat { timestamp: UnixMillis(number), flags: 0 }.encode(&mut bytes);
        }
        bytes
    }

    fn numbers(frames: &[u8]) -> Vec<u64> {
        let all = Frames::new(frames);
        let numbers = all.map(|frame| Event::decode(frame).unwrap().timestamp().unwrap().0).collect();
        assert!(Frames::new(frames).map(|frame| frame.bytes.len()).sum::<usize>() == frames.len(), "cut frame");
        numbers
    }

    #[derive(Debug, Clone)]
    enum Action {
        Push(u64),
        Send { socket_takes: usize, limit: u64 },
        Acknowledge(u64),
        Reconnect { further: u64 },
        Skip,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => (1..40u64).prop_map(Action::Push),
            4 => (1..2000usize, 1..60u64).prop_map(|(socket_takes, limit)| Action::Send { socket_takes, limit }),
            3 => (0..50u64).prop_map(Action::Acknowledge),
            1 => (0..10u64).prop_map(|further| Action::Reconnect { further }),
            1 => Just(Action::Skip),
        ]
    }

    proptest! {
        /// Whatever happens, a connection carries the numbers after its first acknowledged one, each once, in order,
        /// never beyond its limit; and room is what the limits leave.
        #[test]
        fn each_connection_carries_consecutive_numbers(actions in prop::collection::vec(action(), 1..120)) {
            let mut window = Window::new(1, LIMITS);
            let mut next = 1;
            let mut committed = 0;
            let mut connection: Vec<u8> = Vec::new();
            let mut connection_from = 0;
            let mut highest_limit = 0;
            for action in actions {
                match action {
                    Action::Push(count) if count <= window.events_room() => {
                        let frames: Vec<u8> = (next..next + count).flat_map(frame).collect();
                        window.push(next, count, &frames, Some(next + count));
                        next += count;
                    }
                    Action::Push(_) => {}
                    Action::Send { mut socket_takes, limit } => {
                        highest_limit = highest_limit.max(committed + limit);
                        loop {
                            let slice = window.sendable(committed + limit);
                            let taken = slice.len().min(socket_takes);
                            connection.extend_from_slice(&slice[..taken]);
                            window.mark_sent(taken);
                            socket_takes -= taken;
                            if taken == 0 { break; }
                        }
                    }
                    Action::Acknowledge(further) => {
                        // A sidecar acknowledges what it has received as a whole.
                        let received = connection_from + Frames::new(&connection).count() as u64;
                        committed = (committed + further).min(received.max(committed));
                        window.acknowledge(committed);
                    }
                    Action::Reconnect { further } => {
                        committed = (committed + further).min(next - 1);
                        window.rewind(committed);
                        connection.clear();
                        connection_from = committed;
                        highest_limit = 0;
                    }
                    Action::Skip => {
                        window.skip_one();
                        committed = window.committed();
                        connection.clear();
                        connection_from = committed;
                        highest_limit = 0;
                    }
                }
                prop_assert_eq!(window.committed(), committed);
                prop_assert_eq!(window.events_room(), LIMITS.events - (next - 1 - committed));
                let whole: usize = Frames::new(&connection).map(|frame| frame.bytes.len()).sum();
                let got = numbers(&connection[..whole]);
                prop_assert_eq!(&got, &(connection_from + 1..=connection_from + got.len() as u64).collect::<Vec<_>>());
                prop_assert!(got.last().is_none_or(|last| *last <= highest_limit && *last <= window.handed()));
            }
        }
    }

    #[test]
    fn chunks_are_released_with_their_place_in_the_spool() {
        let mut window = Window::new(1, LIMITS);
        let big: Vec<u8> = (1..=8000).flat_map(frame).collect();
        window.push(1, 8000, &big, Some(70));
        window.push(8001, 1, &frame(8001), Some(80));
        while !window.sendable(u64::MAX).is_empty() {
            let taken = window.sendable(u64::MAX).len();
            window.mark_sent(taken);
        }
        assert_eq!(window.acknowledge(7999).spool_end, None);
        assert_eq!(window.acknowledge(8001).spool_end, Some(80));
        assert!(window.is_empty());
        assert_eq!(window.bytes_room(), LIMITS.bytes);
    }
}
