//! Journal records and places in the journal. A record is a run of consecutive event frames of one session, kept as the
//! bytes that came over the wire.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use stats_sv2::codec::DecodeError;
use stats_sv2::limits::MAX_FUTURE;
use stats_sv2::{Event, EventKind, FrameView, Frames, Role, UnixMillis};

/// Names one journal file for its whole life; random, made with the file. Offsets mean something only together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u64);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How far a reader has come: every record up to and including `offset` is taken. Offsets begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The journal that the offset belongs to.
    pub journal_id: JournalId,
    /// Offset of the last record taken; 0 before the first.
    pub offset: u64,
}

/// Where a record's events come from, and so how they are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Frames of the publisher, numbered by its session.
    Events,
    /// Frames made by the sidecar about the session (SessionStarted, Gap, SessionEnded, ...), numbered apart from 1.
    Derived,
    /// What is open at the place where a sink starts (delivery rule 11): AnnounceBegin, open objects, AnnounceEnd. Has
    /// no offset and no numbers, counts nothing, is in no ledger.
    Announcement,
}

/// The stable id of an event: the same at every delivery, whatever the sink and however often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StableId {
    /// Name of the publisher.
    pub publisher: Arc<str>,
    /// Its session.
    pub session_id: u64,
    /// Whether `sequence` counts the sidecar's own events about the session.
    pub derived: bool,
    /// Number of the event.
    pub sequence: u64,
}

/// `publisher/session/sequence`, the session in hexadecimal, the sequence of a derived event with a leading `d`.
impl fmt::Display for StableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.derived { "d" } else { "" };
        write!(f, "{}/{:016x}/{mark}{}", self.publisher, self.session_id, self.sequence)
    }
}

/// A run of consecutive event frames of one session.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Place in the journal, from 1; 0 for an announcement.
    pub offset: u64,
    /// Where the events come from.
    pub kind: RecordKind,
    /// Stable name of the publisher.
    pub publisher: Arc<str>,
    /// What kind of program it is.
    pub role: Role,
    /// The session.
    pub session_id: u64,
    /// The session was replaced and delivers its rest: its state events open nothing (delivery rule 5).
    pub finishing: bool,
    /// Number of the first event; 0 for an announcement.
    pub first_sequence: u64,
    /// How many events.
    pub count: u32,
    /// When the sidecar received the run, by its wall clock, fixed once.
    pub received_at: UnixMillis,
    /// Events appended to the journal up to and including this record, since the journal was made.
    pub cumulative_events: u64,
    /// Whole frames, one after the other, as on the wire.
    pub frames: Bytes,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("offset", &self.offset)
            .field("kind", &self.kind)
            .field("publisher", &self.publisher)
            .field("session_id", &self.session_id)
            .field("first_sequence", &self.first_sequence)
            .field("count", &self.count)
            .field("bytes", &self.frames.len())
            .finish_non_exhaustive()
    }
}

impl Record {
    /// The events of the record, in order.
    #[inline]
    pub fn envelopes(&self) -> impl Iterator<Item = Envelope<'_>> {
        let numbered = self.kind != RecordKind::Announcement;
        Frames::new(&self.frames).enumerate().map(move |(index, frame)| Envelope {
            record: self,
            sequence: if numbered { self.first_sequence + index as u64 } else { 0 },
            frame,
        })
    }

    /// Number of the last event.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.count.saturating_sub(1))
    }

    /// Where an event with this timestamp counts: at its own time, or at its arrival when the timestamp lies more than
    /// two minutes after it (delivery rule 15).
    #[inline]
    #[must_use]
    pub fn counted_at(&self, timestamp: UnixMillis) -> UnixMillis {
        let limit = self.received_at.0.saturating_add(MAX_FUTURE.as_millis() as u64);
        if timestamp.0 > limit { self.received_at } else { timestamp }
    }
}

/// One event with what is known about it, borrowed from its record.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The record that holds it.
    pub record: &'a Record,
    /// Its number in the session (0 in an announcement).
    pub sequence: u64,
    /// The event as it came over the wire.
    pub frame: FrameView<'a>,
}

impl<'a> Envelope<'a> {
    /// Which fact this is.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> EventKind {
        EventKind::from_type(self.frame.msg_type)
    }

    /// The event itself. What the journal holds was checked at the door, so an error means a damaged file.
    #[inline]
    pub fn event(&self) -> Result<Event<'a>, DecodeError> {
        Event::decode(self.frame)
    }

    /// The id that stays the same at every delivery.
    #[must_use]
    pub fn stable_id(&self) -> StableId {
        StableId {
            publisher: Arc::clone(&self.record.publisher),
            session_id: self.record.session_id,
            derived: self.record.kind == RecordKind::Derived,
            sequence: self.sequence,
        }
    }
}
