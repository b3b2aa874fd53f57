//! A journal in a folder of its own, and events to put into it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sidecar_core::status::Durability;
use sidecar_core::{ManualClock, Record, RecordKind};
use sidecar_journal::{
    Journal, JournalConfig, OpenReport, OpenSession, OpenedSession, Run, SessionWriter, carries_state,
};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::{CompactTarget, Event, EventKind, Frames, Role, Text, UnixMillis};
use tempfile::TempDir;

pub(crate) const NOW: u64 = 1_760_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: JournalConfig,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: the disk's own speed is no part of these tests.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let mut config = JournalConfig::new(folder.path().join("journal.db"));
        config.durability = Durability::Process;
        config.max_delay = Duration::from_millis(1);
        config.ballast_bytes = 0;
        Self { folder, clock: Arc::new(ManualClock::at(UnixMillis(NOW))), config }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.config.path.clone()
    }

    pub(crate) fn open(&self) -> Journal {
        self.open_report().0
    }

    pub(crate) fn open_report(&self) -> (Journal, OpenReport) {
        Journal::open(self.config.clone(), self.clock.clone()).unwrap()
    }

    pub(crate) fn pass(&self, time: Duration) {
        let now = sidecar_core::Clock::now(&*self.clock);
        self.clock.set(UnixMillis(now.0 + time.as_millis() as u64));
    }
}

pub(crate) fn hello(publisher: &str, session_id: u64, first_sequence: u64) -> OpenSession {
    OpenSession {
        publisher: publisher.into(),
        role: Role::Pool,
        session_id,
        first_sequence,
        vendor: "test 1.0".to_owned(),
        finishing: false,
    }
}

/// The share event of this number.
pub(crate) fn share(sequence: u64) -> Event<'static> {
    Event::ShareSubmitted(ShareSubmitted {
        downstream_id: 7.into(),
        timestamp: UnixMillis(NOW + sequence),
        channel_id: 1.into(),
        sequence_number: sequence as u32,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    })
}

pub(crate) fn shares(first: u64, count: u64) -> Vec<Event<'static>> {
    (first..first + count).map(share).collect()
}

pub(crate) fn text(text: &str) -> Text<'static> {
    Text::new(text.to_owned()).unwrap()
}

/// A run of these events from this number on.
pub(crate) async fn run(journal: &Journal, first_sequence: u64, events: &[Event<'_>]) -> Run {
    let mut frames = Vec::new();
    events.iter().for_each(|event| event.encode(&mut frames));
    let permit = journal.ingest_budget().acquire_many_owned(frames.len() as u32).await.unwrap();
    Run {
        first_sequence,
        count: events.len() as u32,
        frames: Bytes::from(frames),
        has_state: events.iter().any(|event| carries_state(event.kind().msg_type())),
        last_event_at: events.iter().filter_map(Event::timestamp).next_back(),
        malformed: Vec::new(),
        permit,
    }
}

/// A session that was opened, and the calls that tests repeat.
pub(crate) struct Publisher {
    pub(crate) journal: Journal,
    pub(crate) opened: OpenedSession,
}

impl Publisher {
    pub(crate) async fn open(journal: &Journal, open: OpenSession) -> Self {
        Self { journal: journal.clone(), opened: journal.open_session(open).await.unwrap() }
    }

    pub(crate) fn writer(&self) -> &SessionWriter {
        &self.opened.writer
    }

    /// Appends events and waits until they are durable.
    pub(crate) async fn append(&self, first_sequence: u64, events: &[Event<'_>]) {
        self.writer().append(run(&self.journal, first_sequence, events).await).await.unwrap();
        self.acknowledged(first_sequence + events.len() as u64 - 1).await;
    }

    pub(crate) async fn acknowledged(&self, sequence: u64) {
        let mut acknowledged = self.writer().acknowledged();
        within(acknowledged.wait_for(|committed| *committed >= sequence)).await.unwrap();
    }
}

/// Fails the test instead of hanging it.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// Asks again until the answer is yes.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Every record there is, in the order of reading, a few at a time.
pub(crate) fn read_all(journal: &Journal) -> Vec<Arc<Record>> {
    let reader = journal.reader();
    let mut records: Vec<Arc<Record>> = Vec::new();
    loop {
        let after = records.last().map_or(0, |record| record.offset);
        let more = reader.read(after, 4096, 256 << 10).unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The numbers of a session's events in the journal.
pub(crate) fn numbers(records: &[Arc<Record>], session_id: u64) -> Vec<u64> {
    records
        .iter()
        .filter(|record| record.session_id == session_id && record.kind == RecordKind::Events)
        .flat_map(|record| record.envelopes().map(|envelope| envelope.sequence).collect::<Vec<_>>())
        .collect()
}

/// The kinds of events of all records, in order.
pub(crate) fn kinds(records: &[Arc<Record>]) -> Vec<EventKind> {
    let kinds = |record: &Arc<Record>| {
        Frames::new(&record.frames).map(|frame| EventKind::from_type(frame.msg_type)).collect::<Vec<_>>()
    };
    records.iter().flat_map(kinds).collect()
}

/// The derived events of all records.
pub(crate) fn derived(records: &[Arc<Record>]) -> Vec<Event<'static>> {
    records
        .iter()
        .filter(|record| record.kind == RecordKind::Derived)
        .flat_map(|record| {
            record.envelopes().map(|envelope| envelope.event().unwrap().into_owned()).collect::<Vec<_>>()
        })
        .collect()
}
