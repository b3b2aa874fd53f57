//! Every known session, and the rules by which runs are admitted: the one place where duplicates end (delivery rules 1,
//! 2, 4, 5, 12). Pure state; what it decides goes into the [`Group`] of the next commit.

mod expiry;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sidecar_core::RecordKind;
use stats_sv2::event::{ENDED_CLEAN, ENDED_REPLACED, GAP_MISSING, GAP_UNSEEN, Gap, SessionEnded, SessionStarted};
use stats_sv2::limits::{MAX_FUTURE, MAX_UNACKED_BYTES, MAX_UNACKED_EVENTS, U64_LIMIT};
use stats_sv2::session::OPEN_FINISHING;
use stats_sv2::{Event, Frames, Role, Text, UnixMillis};
use tokio::sync::watch;

use crate::dead_letter::{DeadLetter, INGEST};
use crate::error::{AppendError, JournalError, OpenError};
use crate::group::{Entry, Group, LocalRow, SessionRow};
use crate::local::{LocalContents, LocalRun};
use crate::report::SessionInfo;
use crate::session::{MAX_RUN_BYTES, OpenSession, Run};

pub use expiry::{EXPIRY_GRACE, SESSION_EXPIRES_AFTER};

/// Sessions that may be open at once, connected or not yet expired.
pub const MAX_OPEN_SESSIONS: usize = 4_096;

/// A session that used this part of its window has its commit at once, or it would soon stand still.
const WINDOW_SHARE: u32 = 4;

#[derive(Debug)]
struct Session {
    row: SessionRow,
    acknowledged: watch::Sender<u64>,
    /// Counts the connections; runs of an older one are refused.
    generation: u64,
    connected: bool,
    /// What stands in the group that is being gathered.
    waiting_events: u32,
    waiting_bytes: usize,
    last_entry: Option<usize>,
    dirty: bool,
    /// Not all that it opened is in this journal: ask for an announcement, at each open until a run comes. A publisher
    /// sends nothing before it has read the answer that asks.
    incomplete: bool,
}

/// Counters of what was decided here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decisions {
    pub(crate) gap_unseen: u64,
    pub(crate) gap_missing: u64,
    pub(crate) duplicates: u64,
    pub(crate) malformed: u64,
    pub(crate) refused_retired: u64,
    pub(crate) refused_beyond_next: u64,
}

/// A session just opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: i64,
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
    pub(crate) announce: bool,
    pub(crate) acknowledged: watch::Receiver<u64>,
}

/// The known sessions.
#[derive(Debug)]
pub(crate) struct Registry {
    sessions: HashMap<i64, Session>,
    ids: HashMap<(Arc<str>, u64), i64>,
    /// The session that is the publisher's present one.
    current: HashMap<Arc<str>, i64>,
    /// Sessions that a bridge's state belongs to.
    locals: HashMap<Arc<str>, i64>,
    dirty: Vec<i64>,
    next_id: i64,
    open: usize,
    expires_from: UnixMillis,
    pub(crate) decisions: Decisions,
}

impl Registry {
    /// Takes up what the file knows.
    pub(crate) fn new(
        rows: Vec<SessionRow>,
        locals: HashMap<Arc<str>, i64>,
        incomplete: impl Fn(i64) -> bool,
        now: UnixMillis,
    ) -> Self {
        let mut registry = Self {
            sessions: HashMap::with_capacity(rows.len()),
            ids: HashMap::with_capacity(rows.len()),
            current: HashMap::new(),
            locals,
            dirty: Vec::new(),
            next_id: 1,
            open: 0,
            expires_from: later(now, EXPIRY_GRACE),
            decisions: Decisions::default(),
        };
        for row in rows {
            registry.next_id = registry.next_id.max(row.id + 1);
            if row.ended.is_none() && !row.finishing {
                registry.current.insert(Arc::clone(&row.publisher), row.id);
            }
            let incomplete = incomplete(row.id);
            registry.insert(row, incomplete);
        }
        registry
    }

    fn insert(&mut self, row: SessionRow, incomplete: bool) {
        self.open += usize::from(row.ended.is_none());
        self.ids.insert((Arc::clone(&row.publisher), row.session_id), row.id);
        let session = Session {
            acknowledged: watch::channel(row.sequence).0,
            generation: 0,
            connected: false,
            waiting_events: 0,
            waiting_bytes: 0,
            last_entry: None,
            dirty: false,
            incomplete,
            row,
        };
        self.sessions.insert(session.row.id, session);
    }

    /// Delivery rules 2, 4 and 5: older connections are retired, a gap is recorded, another session is replaced.
    pub(crate) fn open(&mut self, open: &OpenSession, now: UnixMillis, group: &mut Group) -> Result<Opened, OpenError> {
        if open.first_sequence == 0 || open.first_sequence >= U64_LIMIT {
            return Err(OpenError::BadSequence { first_sequence: open.first_sequence });
        }
        let known = self.ids.get(&(Arc::clone(&open.publisher), open.session_id)).copied();
        if known.is_none() && self.open >= MAX_OPEN_SESSIONS {
            return Err(OpenError::TooManySessions { limit: MAX_OPEN_SESSIONS });
        }
        if !open.finishing {
            let other = self.current.get(&open.publisher).copied();
            if let Some(other) = other.filter(|other| Some(*other) != known) {
                self.end(other, ENDED_REPLACED, "", now, group);
            }
        }
        let id = known.unwrap_or_else(|| {
            self.start(
                &open.publisher,
                open.role,
                open.session_id,
                open.first_sequence,
                &open.vendor,
                open.finishing,
                now,
                group,
            )
        });
        if !open.finishing {
            self.current.insert(Arc::clone(&open.publisher), id);
        } else if self.current.get(&open.publisher) == Some(&id) {
            // It makes way by itself: the publisher's next session need not replace it.
            self.current.remove(&open.publisher);
        }
        let before = open.first_sequence - 1;
        let session = self.sessions.get_mut(&id).expect("the id was just found or made");
        session.generation += 1;
        session.connected = true;
        session.row.heard_at = now;
        session.row.finishing = open.finishing;
        if before > session.row.sequence {
            session.incomplete = true;
            let gap = Gap {
                session_id: open.session_id,
                first_sequence: session.row.sequence + 1,
                last_sequence: before,
                since: session.row.last_event_at,
                timestamp: now,
                kind: if known.is_some() { GAP_MISSING } else { GAP_UNSEEN },
            };
            let numbers = before - session.row.sequence;
            session.row.sequence = before;
            if known.is_some() {
                session.row.missing += numbers;
                self.decisions.gap_missing += numbers;
            } else {
                self.decisions.gap_unseen += numbers;
            }
            self.derive(id, &Event::Gap(gap), now, group);
        }
        self.touch(id);
        let session = self.sessions.get_mut(&id).expect("the id was just found or made");
        let announce = session.incomplete || session.row.ended.is_some();
        Ok(Opened {
            id,
            generation: session.generation,
            sequence: session.row.sequence,
            announce: announce && !open.finishing,
            acknowledged: session.acknowledged.subscribe(),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a session's first row")]
    fn start(
        &mut self,
        publisher: &Arc<str>,
        role: Role,
        session_id: u64,
        first_sequence: u64,
        vendor: &str,
        finishing: bool,
        now: UnixMillis,
        group: &mut Group,
    ) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        let row = SessionRow {
            id,
            publisher: Arc::clone(publisher),
            session_id,
            role,
            vendor: Text::cut(vendor).as_str().to_owned(),
            first_sequence,
            sequence: 0,
            // Not from 0: a journal made anew would number its records like those that sinks know from the former.
            derived: now.0.min(U64_LIMIT / 2),
            started_at: now,
            last_event_at: UnixMillis(0),
            heard_at: now,
            last_offset: 0,
            missing: 0,
            ended: None,
            ended_at: UnixMillis(0),
            finishing,
            loss_unknown: false,
        };
        self.insert(row, false);
        self.tell_start(id, now, group);
        id
    }

    fn tell_start(&mut self, id: i64, now: UnixMillis, group: &mut Group) {
        let row = &self.sessions[&id].row;
        let started = Event::SessionStarted(SessionStarted {
            session_id: row.session_id,
            role: row.role,
            timestamp: now,
            first_sequence: row.first_sequence,
            flags: if row.finishing { OPEN_FINISHING } else { 0 },
            vendor: Text::cut(row.vendor.clone()),
        });
        self.derive(id, &started, now, group);
    }

    /// Takes a run of one connection, without what is there already.
    pub(crate) fn admit(
        &mut self,
        id: i64,
        generation: u64,
        mut run: Run,
        now: UnixMillis,
        group: &mut Group,
    ) -> Result<(), AppendError> {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.generation == generation) else {
            self.decisions.refused_retired += 1;
            return Err(AppendError::Retired);
        };
        session.row.heard_at = now;
        let last = check_run(&run)?;
        let expected = session.row.sequence + 1;
        if run.first_sequence > expected {
            self.decisions.refused_beyond_next += 1;
            return Err(AppendError::BeyondNext { first_sequence: run.first_sequence, expected });
        }
        if last < expected {
            self.decisions.duplicates += u64::from(run.count);
            return Ok(());
        }
        // Below the count, since the last number is not known yet.
        let known = (expected - run.first_sequence) as u32;
        if known > 0 {
            self.decisions.duplicates += u64::from(known);
            let mut frames = Frames::new(&run.frames);
            if frames.by_ref().take(known as usize).count() < known as usize || frames.rest().is_empty() {
                return Err(AppendError::BadRun { what: "has fewer frames than it says" });
            }
            run.frames = run.frames.slice(run.frames.len() - frames.rest().len()..);
            run.count -= known;
            run.first_sequence = expected;
            run.malformed.retain(|frame| frame.sequence >= expected);
        }
        session.incomplete = false;
        let revived = session.row.ended.is_some() && !session.row.finishing;
        if revived {
            self.revive(id, now, group);
        }
        self.decisions.malformed += run.malformed.len() as u64;
        let row = &self.sessions[&id].row;
        group.malformed.extend(run.malformed.into_iter().map(|frame| DeadLetter {
            sink: INGEST.to_owned(),
            id: sidecar_core::StableId {
                publisher: Arc::clone(&row.publisher),
                session_id: row.session_id,
                derived: false,
                sequence: frame.sequence,
            },
            received_at: now,
            reason: frame.reason,
            frame: frame.bytes,
        }));
        group.permits.push(run.permit);
        self.take_frames(id, run.count, run.frames, run.has_state, run.last_event_at, now, group);
        Ok(())
    }

    /// Puts frames behind the session's last number.
    #[expect(clippy::too_many_arguments, reason = "the parts of a run")]
    fn take_frames(
        &mut self,
        id: i64,
        count: u32,
        frames: Bytes,
        has_state: bool,
        last_event_at: Option<UnixMillis>,
        now: UnixMillis,
        group: &mut Group,
    ) {
        self.touch(id);
        let session = self.sessions.get_mut(&id).expect("callers pass a known id");
        let row = &mut session.row;
        let entry = Entry {
            session: id,
            publisher: Arc::clone(&row.publisher),
            role: row.role,
            session_id: row.session_id,
            finishing: row.finishing,
            kind: RecordKind::Events,
            first_sequence: row.sequence + 1,
            count,
            received_at: now,
            has_state,
            bytes: frames.len(),
            pieces: vec![frames],
        };
        row.sequence += u64::from(count);
        row.heard_at = now;
        if let Some(at) = last_event_at {
            row.last_event_at = if at > later(now, MAX_FUTURE) { now } else { at };
        }
        session.waiting_events = session.waiting_events.saturating_add(count);
        session.waiting_bytes += entry.bytes;
        session.last_entry = Some(group.push(entry, session.last_entry));
    }

    /// Whether the session has used so much of its window that the commit should not wait for more.
    pub(crate) fn needs_commit(&self, id: i64) -> bool {
        self.sessions.get(&id).is_some_and(|session| {
            session.waiting_events >= MAX_UNACKED_EVENTS / WINDOW_SHARE
                || session.waiting_bytes >= MAX_UNACKED_BYTES / WINDOW_SHARE as usize
        })
    }

    /// Appends a run made inside the process, with the state that belongs to it. Returns its last number.
    pub(crate) fn admit_local(
        &mut self,
        local: LocalRun,
        contents: LocalContents,
        now: UnixMillis,
        group: &mut Group,
    ) -> Result<u64, JournalError> {
        let id = match self.ids.get(&(Arc::clone(&local.publisher), local.session_id)) {
            Some(id) => *id,
            None => {
                let open = OpenSession {
                    publisher: Arc::clone(&local.publisher),
                    role: local.role,
                    session_id: local.session_id,
                    first_sequence: 1,
                    vendor: local.vendor.clone(),
                    finishing: false,
                };
                let opened =
                    self.open(&open, now, group).map_err(|error| JournalError::Refused { what: error.to_string() })?;
                self.detach(opened.id, opened.generation);
                opened.id
            }
        };
        let row = &self.sessions[&id].row;
        if row.ended.is_some() {
            self.revive(id, now, group);
        }
        for part in contents.parts {
            self.take_frames(id, part.count, part.frames, part.has_state, part.last_event_at, now, group);
        }
        self.touch(id);
        self.locals.insert(Arc::clone(&local.name), id);
        group.locals.push(LocalRow { name: local.name, session: id, state: local.state });
        Ok(self.sessions[&id].row.sequence)
    }

    /// A session that had ended gives events again: it is the publisher's present one once more.
    fn revive(&mut self, id: i64, now: UnixMillis, group: &mut Group) {
        let row = &mut self.sessions.get_mut(&id).expect("callers pass a known id").row;
        let publisher = Arc::clone(&row.publisher);
        row.ended = None;
        self.open += 1;
        let other = self.current.insert(publisher, id);
        if let Some(other) = other.filter(|other| *other != id) {
            self.end(other, ENDED_REPLACED, "", now, group);
        }
        self.tell_start(id, now, group);
    }

    /// The publisher closed its session. Returns its last number, which is durable with the group.
    pub(crate) fn close(
        &mut self,
        id: i64,
        generation: u64,
        reason: &str,
        now: UnixMillis,
        group: &mut Group,
    ) -> Option<u64> {
        let session = self.sessions.get(&id).filter(|session| session.generation == generation)?;
        let sequence = session.row.sequence;
        self.end(id, ENDED_CLEAN, reason, now, group);
        Some(sequence)
    }

    /// Ends a session whoever has it open. `None` if it is not known.
    pub(crate) fn end_named(
        &mut self,
        publisher: &str,
        session_id: u64,
        outcome: u8,
        reason: &str,
        now: UnixMillis,
        group: &mut Group,
    ) -> Option<()> {
        let id = *self.ids.get(&(Arc::from(publisher), session_id))?;
        self.end(id, outcome, reason, now, group);
        Some(())
    }

    /// Writes the end of a session, unless it has ended like that before.
    fn end(&mut self, id: i64, outcome: u8, reason: &str, now: UnixMillis, group: &mut Group) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.generation += 1;
        session.connected = false;
        let row = &mut session.row;
        // A replaced session that has delivered its rest ends a second time, then clean.
        if row.ended.is_some_and(|ended| ended == outcome || outcome != ENDED_CLEAN) {
            return;
        }
        if row.ended.is_none() {
            self.open -= 1;
        }
        row.ended = Some(outcome);
        row.ended_at = now;
        row.loss_unknown = outcome != ENDED_CLEAN;
        let ended = Event::SessionEnded(SessionEnded {
            session_id: row.session_id,
            timestamp: if row.last_event_at.0 > 0 { row.last_event_at } else { row.heard_at },
            outcome,
            reason: Text::cut(reason),
        });
        if self.current.get(&row.publisher) == Some(&id) {
            let publisher = Arc::clone(&row.publisher);
            self.current.remove(&publisher);
        }
        self.derive(id, &ended, now, group);
    }

    /// Writes a record of our own about the session, under its own numbering.
    fn derive(&mut self, id: i64, event: &Event<'_>, now: UnixMillis, group: &mut Group) {
        self.touch(id);
        let mut frames = Vec::new();
        event.encode(&mut frames);
        let session = self.sessions.get_mut(&id).expect("callers pass a known id");
        let row = &mut session.row;
        row.derived += 1;
        let entry = Entry {
            session: id,
            publisher: Arc::clone(&row.publisher),
            role: row.role,
            session_id: row.session_id,
            finishing: row.finishing,
            kind: RecordKind::Derived,
            first_sequence: row.derived,
            count: 1,
            received_at: now,
            has_state: matches!(event, Event::SessionStarted(_) | Event::SessionEnded(_)),
            bytes: frames.len(),
            pieces: vec![frames.into()],
        };
        session.last_entry = Some(group.push(entry, None));
    }

    fn touch(&mut self, id: i64) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !std::mem::replace(&mut session.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// The connection was lost.
    pub(crate) fn detach(&mut self, id: i64, generation: u64) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| session.generation == generation) {
            session.connected = false;
        }
    }

    /// Hands the rows that the group changes to the writer; from here on new runs belong to the next group.
    pub(crate) fn seal(&mut self, group: &mut Group) {
        for id in self.dirty.drain(..) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.dirty = false;
            session.waiting_events = 0;
            session.waiting_bytes = 0;
            session.last_entry = None;
            group.sessions.push((session.row.clone(), session.acknowledged.clone()));
        }
    }

    /// The offsets of the sessions' last records are known after their commit.
    pub(crate) fn note_offsets(&mut self, rows: &[(SessionRow, watch::Sender<u64>)]) {
        for (row, _) in rows {
            if let Some(session) = self.sessions.get_mut(&row.id) {
                session.row.last_offset = session.row.last_offset.max(row.last_offset);
            }
        }
    }

    /// How many sessions have not ended.
    pub(crate) fn open_sessions(&self) -> usize {
        self.open
    }

    /// The session that a bridge's state belongs to, and its durable number.
    pub(crate) fn local(&self, name: &str) -> Option<(u64, u64)> {
        let session = self.sessions.get(self.locals.get(name)?)?;
        Some((session.row.session_id, *session.acknowledged.borrow()))
    }

    pub(crate) fn infos(&self) -> Vec<SessionInfo> {
        let info = |session: &Session| SessionInfo {
            publisher: Arc::clone(&session.row.publisher),
            role: session.row.role,
            session_id: session.row.session_id,
            vendor: session.row.vendor.clone(),
            committed_sequence: *session.acknowledged.borrow(),
            started_at: session.row.started_at,
            last_event_at: session.row.last_event_at,
            heard_at: session.row.heard_at,
            connected: session.connected,
            ended: session.row.ended,
            finishing: session.row.finishing,
            loss_unknown: session.row.loss_unknown,
            missing: session.row.missing,
        };
        self.sessions.values().map(info).collect()
    }
}

/// Checks what can be checked without reading the frames. Returns the run's last number.
fn check_run(run: &Run) -> Result<u64, AppendError> {
    let bad = |what| Err(AppendError::BadRun { what });
    if run.count == 0 || run.frames.is_empty() {
        return bad("is empty");
    }
    if run.frames.len() > MAX_RUN_BYTES {
        return bad("is over the size of one run");
    }
    match run.first_sequence.checked_add(u64::from(run.count) - 1) {
        Some(last) if run.first_sequence > 0 && last < U64_LIMIT => Ok(last),
        _ => bad("has numbers out of range"),
    }
}

fn later(time: UnixMillis, by: Duration) -> UnixMillis {
    UnixMillis(time.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
