//! A journal without a file: numbers events and makes records and batches as the real one does.

use std::sync::Arc;

use bytes::Bytes;
use sidecar_core::{Batch, JournalId, Record, RecordKind, Route};
use stats_sv2::{Event, Role, UnixMillis};

/// Gives records their offsets.
#[derive(Debug, Clone)]
pub struct SyntheticJournal {
    id: JournalId,
    records: u64,
    events: u64,
    now: UnixMillis,
}

/// Numbers the events of one session.
#[derive(Debug, Clone)]
pub struct SyntheticSession {
    publisher: Arc<str>,
    role: Role,
    session_id: u64,
    published: u64,
    derived: u64,
}

impl SyntheticSession {
    /// A session whose next event is number 1.
    #[must_use]
    pub fn new(publisher: &str, role: Role, session_id: u64) -> Self {
        Self { publisher: Arc::from(publisher), role, session_id, published: 0, derived: 0 }
    }
}

impl SyntheticJournal {
    /// An empty journal. Records are received at `now`.
    #[must_use]
    pub fn new(id: JournalId, now: UnixMillis) -> Self {
        Self { id, records: 0, events: 0, now }
    }

    /// The journal's name.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// Lets time pass.
    pub fn set_now(&mut self, now: UnixMillis) {
        self.now = now;
    }

    /// Appends events of the publisher as one record.
    pub fn append(&mut self, session: &mut SyntheticSession, events: &[Event<'_>]) -> Arc<Record> {
        let first = session.published + 1;
        session.published += events.len() as u64;
        self.record(session, RecordKind::Events, first, events)
    }

    /// Appends events of the sidecar about the session as one record.
    pub fn append_derived(&mut self, session: &mut SyntheticSession, events: &[Event<'_>]) -> Arc<Record> {
        let first = session.derived + 1;
        session.derived += events.len() as u64;
        self.record(session, RecordKind::Derived, first, events)
    }

    /// An announcement: in no journal, without numbers.
    #[must_use]
    pub fn announcement(&self, session: &SyntheticSession, events: &[Event<'_>]) -> Arc<Record> {
        self.clone().record(&mut session.clone(), RecordKind::Announcement, 0, events)
    }

    /// The same events at another place: in this journal, after what it has.
    pub fn import(&mut self, record: &Record) -> Arc<Record> {
        self.records += 1;
        self.events += u64::from(record.count);
        Arc::new(Record { offset: self.records, cumulative_events: self.events, ..record.clone() })
    }

    /// A batch of records for everything.
    #[must_use]
    pub fn batch(&self, records: &[Arc<Record>]) -> Arc<Batch> {
        batch(self.id, records, Route::all())
    }

    fn record(
        &mut self,
        session: &mut SyntheticSession,
        kind: RecordKind,
        first_sequence: u64,
        events: &[Event<'_>],
    ) -> Arc<Record> {
        let mut frames = Vec::new();
        for event in events {
            event.encode(&mut frames);
        }
        if kind != RecordKind::Announcement {
            self.records += 1;
            self.events += events.len() as u64;
        }
        Arc::new(Record {
            offset: if kind == RecordKind::Announcement { 0 } else { self.records },
            kind,
            publisher: Arc::clone(&session.publisher),
            role: session.role,
            session_id: session.session_id,
            finishing: false,
            first_sequence,
            count: u32::try_from(events.len()).expect("a record holds fewer than 2^32 events"),
            received_at: self.now,
            cumulative_events: self.events,
            frames: Bytes::from(frames),
        })
    }
}

/// A batch of at least one record through a route.
#[must_use]
pub fn batch(id: JournalId, records: &[Arc<Record>], route: Route) -> Arc<Batch> {
    Arc::new(Batch::new(id, records.to_vec(), Arc::new(route)).expect("a batch has at least one record"))
}
