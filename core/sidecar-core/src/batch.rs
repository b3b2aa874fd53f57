//! What a sink is given at once: a bounded run of records seen through the sink's route, or what is open.

use std::sync::Arc;

use crate::record::{Cursor, Envelope, JournalId, Record, RecordKind};
use crate::route::Route;

/// Events of a plain batch at most.
pub const BATCH_EVENTS: u32 = 4_096;
/// Bytes of a plain batch at most, unless one record alone is larger.
pub const BATCH_BYTES: usize = 256 << 10;
/// Events of a joined batch at most, for sinks that ask for it.
pub const JOINED_EVENTS: u32 = 65_536;
/// Bytes of a joined batch at most.
pub const JOINED_BYTES: usize = 4 << 20;

/// A non-empty run of records, in journal order, with the route that says which of their events are the sink's; or an
/// [announcement](Self::announcement).
#[derive(Debug, Clone)]
pub struct Batch {
    journal_id: JournalId,
    records: Vec<Arc<Record>>,
    route: Arc<Route>,
    events: u64,
    total: u64,
    /// Wanted events at the front that were delivered by an earlier, partial attempt.
    skip: u64,
}

impl Batch {
    /// Joins records; `None` if there are none. Counts once, by headers alone, which events the route wants.
    #[must_use]
    pub fn new(journal_id: JournalId, records: Vec<Arc<Record>>, route: Arc<Route>) -> Option<Self> {
        (!records.is_empty()).then(|| Self::of(journal_id, records, route))
    }

    /// What is open, in records of [`RecordKind::Announcement`]; without any, nothing is. Only here a batch may be empty.
    #[must_use]
    pub fn announcement(journal_id: JournalId, records: Vec<Arc<Record>>, route: Arc<Route>) -> Self {
        Self::of(journal_id, records, route)
    }

    fn of(journal_id: JournalId, records: Vec<Arc<Record>>, route: Arc<Route>) -> Self {
        let total = records
            .iter()
            .filter(|record| record.kind != RecordKind::Announcement)
            .map(|record| u64::from(record.count))
            .sum();
        let mut batch = Self { journal_id, records, route, events: 0, total, skip: 0 };
        batch.events =
            batch.wanted().filter(|envelope| envelope.record.kind != RecordKind::Announcement).count() as u64;
        batch
    }

    /// The events that the sink wants, in order, announcements included.
    pub fn envelopes(&self) -> impl Iterator<Item = Envelope<'_>> {
        self.wanted().skip(usize::try_from(self.skip).unwrap_or(usize::MAX))
    }

    fn wanted(&self) -> impl Iterator<Item = Envelope<'_>> {
        self.records
            .iter()
            .filter(|record| self.route.wants_source(&record.publisher))
            .flat_map(|record| record.envelopes())
            .filter(|envelope| self.route.kinds.contains(envelope.frame.msg_type))
    }

    /// The records, for a sink that reads frames itself. It must look at [`route`](Self::route) and
    /// [`skip`](Self::skip) too.
    #[must_use]
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// The sink's route.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// How many events the sink wants, those already delivered by a partial attempt included; announcements apart.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many events of the batch the route leaves out.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.total - self.events
    }

    /// Wanted events at the front that an earlier attempt delivered; [`envelopes`](Self::envelopes) starts after them.
    #[must_use]
    pub fn skip(&self) -> u64 {
        self.skip
    }

    /// The same batch without the first `count` of its remaining envelopes.
    #[must_use]
    pub fn after(&self, count: u64) -> Self {
        Self { skip: self.skip + count, ..self.clone() }
    }

    /// Bytes of all records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.frames.len()).sum()
    }

    /// The journal that the records belong to.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.journal_id
    }

    /// Where a sink stands once it has taken the batch. `None` for an announcement.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let last = self.records.iter().rev().find(|record| record.kind != RecordKind::Announcement)?;
        Some(Cursor { journal_id: self.journal_id, offset: last.offset })
    }
}
