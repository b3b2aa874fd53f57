//! What is open at a place of the journal (delivery rule 11). The part that lies before the tail is carried along in a
//! table, session by session, as the frames that bring it about; the rest is replayed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use sidecar_core::{Record, RecordKind};
use stats_sv2::event::AnnounceBegin;
use stats_sv2::open_objects::OpenObjects;
use stats_sv2::session::OPEN_FINISHING;
use stats_sv2::{Event, EventKind, FrameView, Frames, Message, UnixMillis};

use crate::group::SessionRow;
use crate::reader::{is_damage, next_readable, read_row};
use crate::row::{COLUMNS, RawRow, SessionName, SessionNames};
use crate::schema::first_offset;
use crate::session::MAX_RUN_BYTES;

/// Rows of one read while replaying.
const REPLAY_ROWS: usize = 16;

/// What one session has open.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    /// The frame of its SessionStarted; none once it has ended.
    started: Option<Box<[u8]>>,
    objects: OpenObjects,
    /// What an announcement under way has named so far, after the mark that began it.
    announced: Option<(Box<[u8]>, OpenObjects)>,
}

impl SessionState {
    /// Whether there is anything to carry along.
    pub(crate) fn is_open(&self) -> bool {
        self.started.is_some()
    }

    /// Learns from the frames of one record.
    pub(crate) fn apply(&mut self, derived: bool, finishing: bool, frames: &[u8]) {
        for frame in Frames::new(frames) {
            if derived {
                self.apply_derived(frame);
            } else if !finishing {
                self.apply_event(frame);
            }
        }
    }

    fn apply_derived(&mut self, frame: FrameView<'_>) {
        match EventKind::from_type(frame.msg_type) {
            EventKind::SessionStarted => {
                let finishing = matches!(Event::decode(frame),
                    Ok(Event::SessionStarted(started)) if started.flags & OPEN_FINISHING != 0);
                *self = Self { started: (!finishing).then(|| frame.bytes.into()), ..Self::default() };
            }
            EventKind::SessionEnded => *self = Self::default(),
            _ => {}
        }
    }

    fn apply_event(&mut self, frame: FrameView<'_>) {
        match EventKind::from_type(frame.msg_type) {
            EventKind::AnnounceBegin => self.announced = Some((frame.bytes.into(), OpenObjects::default())),
            EventKind::AnnounceEnd => {
                if let Some((_, named)) = self.announced.take() {
                    self.objects = named;
                }
            }
            kind if OpenObjects::concerns(kind) => {
                self.objects.apply(frame);
                if let Some((_, named)) = &mut self.announced {
                    named.apply(frame);
                }
            }
            _ => {}
        }
    }

    /// Frames that bring about this state when they are read again.
    pub(crate) fn to_frames(&self) -> Vec<u8> {
        let mut frames = self.started.as_deref().unwrap_or_default().to_vec();
        self.objects.frames().for_each(|frame| frames.extend_from_slice(frame));
        if let Some((begin, named)) = &self.announced {
            frames.extend_from_slice(begin);
            named.frames().for_each(|frame| frames.extend_from_slice(frame));
        }
        frames
    }

    pub(crate) fn from_frames(frames: &[u8]) -> Self {
        let mut state = Self::default();
        for frame in Frames::new(frames) {
            if EventKind::from_type(frame.msg_type) == EventKind::SessionStarted {
                state.apply_derived(frame);
            } else {
                state.apply_event(frame);
            }
        }
        state
    }

    /// The announcement: SessionStarted, then the open objects between their marks, in records of the size of a run.
    fn announce(&self, owner: &SessionName, now: UnixMillis, records: &mut Vec<Arc<Record>>) {
        let mut all = self.started.as_deref().unwrap_or_default().to_vec();
        if self.objects.is_empty() {
            AnnounceBegin { timestamp: now }.encode(&mut all);
            stats_sv2::event::AnnounceEnd { timestamp: now }.encode(&mut all);
        } else {
            self.objects.announce(now, &mut all);
        }
        let all = Bytes::from(all);
        let mut from = 0;
        while from < all.len() {
            let (mut to, mut count) = (from, 0);
            for frame in Frames::new(&all[from..]) {
                if to - from + frame.bytes.len() > MAX_RUN_BYTES {
                    break;
                }
                to += frame.bytes.len();
                count += 1;
            }
            if count == 0 {
                break;
            }
            records.push(Arc::new(Record {
                offset: 0,
                kind: RecordKind::Announcement,
                publisher: Arc::clone(&owner.publisher),
                role: owner.role,
                session_id: owner.session_id,
                finishing: false,
                first_sequence: 0,
                count,
                received_at: now,
                cumulative_events: 0,
                frames: all.slice(from..to),
            }));
            from = to;
        }
    }
}

/// What stands in the table for one session.
pub(crate) fn load(connection: &Connection, session: i64) -> rusqlite::Result<SessionState> {
    let mut query = connection.prepare_cached("SELECT frames FROM open_state WHERE session = ?1")?;
    let state =
        query.query_row([session], |row| Ok(SessionState::from_frames(row.get_ref(0)?.as_blob()?))).optional()?;
    Ok(state.unwrap_or_default())
}

/// Writes it back.
pub(crate) fn store(connection: &Connection, session: i64, state: &SessionState) -> rusqlite::Result<()> {
    if state.is_open() {
        let mut upsert = connection.prepare_cached("INSERT OR REPLACE INTO open_state VALUES (?1, ?2)")?;
        upsert.execute(rusqlite::params![session, state.to_frames()])?;
    } else {
        connection.prepare_cached("DELETE FROM open_state WHERE session = ?1")?.execute([session])?;
    }
    Ok(())
}

/// Sessions of which a gap was the last that was written: the announcement that it made necessary has not come. The same
/// is said of those whose last record cannot be looked at any more, which costs one announcement.
pub(crate) fn unanswered_gaps(connection: &Connection, sessions: &[SessionRow]) -> rusqlite::Result<HashSet<i64>> {
    let mut query = connection.prepare_cached("SELECT kind, frames FROM batches WHERE offset = ?1")?;
    let mut unanswered = HashSet::new();
    for session in sessions.iter().filter(|session| session.ended.is_none()) {
        let gap = |row: &rusqlite::Row<'_>| {
            let (derived, frames): (bool, _) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
            let is_gap = |frame: FrameView<'_>| EventKind::from_type(frame.msg_type) == EventKind::Gap;
            Ok(derived && Frames::new(frames).any(is_gap))
        };
        let complete = match query.query_row([session.last_offset as i64], gap).optional() {
            Ok(found) => found == Some(false),
            Err(error) if is_damage(&error) => false,
            Err(error) => return Err(error),
        };
        if !complete {
            unanswered.insert(session.id);
        }
    }
    Ok(unanswered)
}

/// Announcements of what is open after the record at `at_offset`, or at the tail if that lies later.
pub(crate) fn announce_at(
    connection: &Connection,
    names: &mut SessionNames,
    at_offset: u64,
    now: UnixMillis,
) -> rusqlite::Result<Vec<Arc<Record>>> {
    let states = loop {
        let mut states = BTreeMap::new();
        // One read transaction for table and tail, which belong together; none is held over the whole replay.
        let mut next = {
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached("SELECT session, frames FROM open_state")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                states.insert(row.get(0)?, SessionState::from_frames(row.get_ref(1)?.as_blob()?));
            }
            drop(rows);
            drop(query);
            first_offset(&transaction)?.unwrap_or(u64::MAX)
        };
        if replay(connection, &mut states, &mut next, at_offset)? {
            break states;
        }
    };
    let mut records = Vec::new();
    for (session, state) in states {
        if state.is_open()
            && let Some(owner) = names.get(connection, session)?
        {
            state.announce(&owner, now, &mut records);
        }
    }
    Ok(records)
}

/// Applies the state records from `next` to `at_offset`. False if the tail overtook, so that some may have been missed.
fn replay(
    connection: &Connection,
    states: &mut BTreeMap<i64, SessionState>,
    next: &mut u64,
    at_offset: u64,
) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches INDEXED BY state_batches \
         WHERE state = 1 AND offset >= ?1 AND offset <= ?2 ORDER BY offset LIMIT {REPLAY_ROWS}"
    );
    while *next <= at_offset {
        let transaction = connection.unchecked_transaction()?;
        if first_offset(&transaction)?.is_none_or(|tail| tail > *next) {
            return Ok(false);
        }
        let mut query = transaction.prepare_cached(&sql)?;
        let mut rows: Vec<RawRow> = Vec::with_capacity(REPLAY_ROWS);
        let mut last = *next - 1;
        let upto = at_offset.min(i64::MAX as u64);
        let mut damaged = false;
        for row in query.query_map([*next as i64, upto as i64], RawRow::read)? {
            match row {
                Ok(row) => {
                    last = row.head.offset;
                    rows.push(row);
                }
                Err(error) if is_damage(&error) => damaged = true,
                Err(error) => return Err(error),
            }
            if damaged {
                break;
            }
        }
        if damaged {
            // Step by step, since the index may be what is damaged: the row that can be read is taken by itself.
            match next_readable(connection, last, upto)? {
                Some(offset) => {
                    last = offset;
                    rows.push(read_row(connection, offset)?);
                }
                None => last = at_offset,
            }
        } else if rows.is_empty() {
            break;
        }
        *next = last.saturating_add(1);
        for row in rows.iter().filter(|row| row.head.has_state && row.is_intact()) {
            let state = states.entry(row.head.session).or_default();
            state.apply(row.head.derived, row.head.finishing, &row.frames);
        }
    }
    Ok(true)
}
