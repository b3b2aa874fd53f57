//! What waits for the next commit: runs of frames and records of our own, in the order in which they were admitted.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sidecar_core::{Cursor, RecordKind};
use stats_sv2::{Role, UnixMillis};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::dead_letter::DeadLetter;

/// Runs that follow each other are joined to one record up to this size: a publisher that sends little and often would
/// otherwise cost a row for each of its packets.
const JOINED_RUN_BYTES: usize = 64 << 10;

/// What becomes one record.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: i64,
    pub(crate) publisher: Arc<str>,
    pub(crate) role: Role,
    pub(crate) session_id: u64,
    pub(crate) finishing: bool,
    pub(crate) kind: RecordKind,
    pub(crate) first_sequence: u64,
    pub(crate) count: u32,
    pub(crate) received_at: UnixMillis,
    pub(crate) has_state: bool,
    pub(crate) bytes: usize,
    pub(crate) pieces: Vec<Bytes>,
}

impl Entry {
    /// Takes the frames of `next` behind its own if the two make one record; `next` comes back if not.
    fn join(&mut self, next: Self) -> Result<(), Self> {
        let fits = self.kind == RecordKind::Events
            && next.kind == RecordKind::Events
            && self.finishing == next.finishing
            && self.first_sequence + u64::from(self.count) == next.first_sequence
            && self.bytes + next.bytes <= JOINED_RUN_BYTES;
        if !fits {
            return Err(next);
        }
        self.count += next.count;
        self.bytes += next.bytes;
        self.has_state |= next.has_state;
        self.pieces.extend(next.pieces);
        Ok(())
    }

    /// The frames in a buffer of exactly their size. This is the one copy on their way: slices of a connection's read
    /// buffer would keep all of that buffer in memory as long as the record is.
    pub(crate) fn frames(&self) -> Bytes {
        let mut frames = Vec::with_capacity(self.bytes);
        for piece in &self.pieces {
            frames.extend_from_slice(piece);
        }
        frames.into()
    }
}

/// A session's row as it will be after the commit.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) id: i64,
    pub(crate) publisher: Arc<str>,
    pub(crate) session_id: u64,
    pub(crate) role: Role,
    pub(crate) vendor: String,
    pub(crate) first_sequence: u64,
    /// The last number handed over; durable once the row is.
    pub(crate) sequence: u64,
    /// The last number of the session's derived records.
    pub(crate) derived: u64,
    pub(crate) started_at: UnixMillis,
    pub(crate) last_event_at: UnixMillis,
    pub(crate) heard_at: UnixMillis,
    /// Offset of the session's last record.
    pub(crate) last_offset: u64,
    pub(crate) missing: u64,
    pub(crate) ended: Option<u8>,
    pub(crate) ended_at: UnixMillis,
    pub(crate) finishing: bool,
    pub(crate) loss_unknown: bool,
}

/// State to be stored under a bridge's name.
#[derive(Debug)]
pub(crate) struct LocalRow {
    pub(crate) name: Arc<str>,
    pub(crate) session: i64,
    pub(crate) state: Vec<u8>,
}

/// All of one commit's runs, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) entries: Vec<Entry>,
    /// Rows of the sessions that the entries touch, filled in when the writer takes the group.
    pub(crate) sessions: Vec<(SessionRow, watch::Sender<u64>)>,
    pub(crate) forgotten_sessions: Vec<i64>,
    pub(crate) locals: Vec<LocalRow>,
    pub(crate) malformed: Vec<DeadLetter>,
    pub(crate) permits: Vec<OwnedSemaphorePermit>,
    pub(crate) answers: Vec<oneshot::Sender<()>>,
    pub(crate) bytes: usize,
    pub(crate) events: u64,
    /// Permits of the gathering room, given back when the group is taken.
    pub(crate) room: usize,
    pub(crate) since: Option<Instant>,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.sessions.is_empty()
            && self.forgotten_sessions.is_empty()
            && self.locals.is_empty()
            && self.answers.is_empty()
    }

    /// Adds an entry, behind the session's last one where the two make one record. Returns its place.
    pub(crate) fn push(&mut self, entry: Entry, last: Option<usize>) -> usize {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += entry.bytes;
        self.events += u64::from(entry.count);
        let entry = match last.and_then(|place| self.entries.get_mut(place).map(|entry| (place, entry))) {
            Some((place, last)) => match last.join(entry) {
                Ok(()) => return place,
                Err(entry) => entry,
            },
            None => entry,
        };
        self.entries.push(entry);
        self.entries.len() - 1
    }
}

/// What sinks ask to be written. It may be committed while the runs are held back (`when_full = "block"`), since it is
/// what frees their place.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Sink and its new cursor; `None` forgets the sink. In order of arrival, one for each sink.
    pub(crate) cursors: Vec<(String, Option<Cursor>)>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) answers: Vec<oneshot::Sender<()>>,
    pub(crate) since: Option<Instant>,
}

impl Notes {
    pub(crate) fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.dead_letters.is_empty() && self.answers.is_empty()
    }

    pub(crate) fn set_cursor(&mut self, sink: &str, cursor: Option<Cursor>) {
        self.since.get_or_insert_with(Instant::now);
        match self.cursors.iter_mut().find(|(name, _)| name == sink) {
            Some((_, noted)) => *noted = cursor,
            None => self.cursors.push((sink.to_owned(), cursor)),
        }
    }

    /// Puts what came later behind this.
    pub(crate) fn append(&mut self, later: Self) {
        for (sink, cursor) in later.cursors {
            self.set_cursor(&sink, cursor);
        }
        self.dead_letters.extend(later.dead_letters);
        self.answers.extend(later.answers);
    }
}
