//! Faults that tests inject into commits.

use std::sync::{Arc, Mutex};

use rusqlite::ffi;

/// Where a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before anything was written.
    Before,
    /// With everything written, before the commit.
    Within,
    /// After the commit, which is there nevertheless.
    After,
}

/// The next faults, shared with a running writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: Option<(Place, i32, u32)>,
    hit: u32,
}

impl Faults {
    /// The next `times` commits fail at `place` with an SQLite code.
    pub(crate) fn set(&self, place: Place, code: i32, times: u32) {
        self.0.lock().unwrap().next = Some((place, code, times));
    }

    /// How many faults there have been.
    pub(crate) fn hit(&self) -> u32 {
        self.0.lock().unwrap().hit
    }

    fn at(&self, place: Place) -> rusqlite::Result<()> {
        let mut inner = self.0.lock().unwrap();
        match &mut inner.next {
            Some((at, code, times)) if *at == place && *times > 0 => {
                *times -= 1;
                let error = rusqlite::Error::SqliteFailure(ffi::Error::new(*code), Some("injected".to_owned()));
                inner.hit += 1;
                Err(error)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn before_commit(&self) -> rusqlite::Result<()> {
        self.at(Place::Before)
    }

    pub(crate) fn in_commit(&self) -> rusqlite::Result<()> {
        self.at(Place::Within)
    }

    pub(crate) fn after_commit(&self) -> rusqlite::Result<()> {
        self.at(Place::After)
    }
}

mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use sidecar_core::status::Durability;
    use sidecar_core::{ManualClock, SystemClock};
    use stats_sv2::Role;
    use tempfile::TempDir;

    use super::Place;
    use crate::schema::beside;
    use crate::{Journal, JournalConfig, JournalError, JournalHealth, OpenSession, OpenedSession, Run};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn config(folder: &TempDir) -> JournalConfig {
        let mut config = JournalConfig::new(folder.path().join("journal.db"));
        config.durability = Durability::Process;
        config.max_delay = Duration::from_millis(1);
        config.ballast_bytes = 100_000;
        config
    }

    async fn open_session(journal: &Journal) -> OpenedSession {
        let open = OpenSession {
            publisher: "pool".into(),
            role: Role::Pool,
            session_id: 1,
            first_sequence: 1,
            vendor: String::new(),
            finishing: false,
        };
        journal.open_session(open).await.unwrap()
    }

    /// Appends one event that says its own number.
    async fn append(journal: &Journal, session: &OpenedSession, sequence: u64) {
        let mut frames = Vec::new();
        let payload = sequence.to_le_bytes().to_vec().into();
        stats_sv2::Event::Unknown { msg_type: 0xf0, payload }.encode(&mut frames);
        let permit = journal.ingest_budget().acquire_many_owned(frames.len() as u32).await.unwrap();
        let run = Run {
            first_sequence: sequence,
            count: 1,
            frames: Bytes::from(frames),
            has_state: false,
            last_event_at: None,
            malformed: Vec::new(),
            permit,
        };
        session.writer.append(run).await.unwrap();
    }

    async fn acknowledged(session: &OpenedSession, sequence: u64) {
        let mut acknowledged = session.writer.acknowledged();
        let reached = acknowledged.wait_for(|committed| *committed >= sequence);
        tokio::time::timeout(PATIENCE, reached).await.unwrap().unwrap();
    }

    async fn healthy(journal: &Journal, healthy: bool) -> JournalHealth {
        let mut health = journal.watch_health();
        let seen = health.wait_for(|health| (*health == JournalHealth::Healthy) == healthy);
        tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap().clone()
    }

    /// The numbers in the payloads of all records.
    fn stored(journal: &Journal) -> Vec<u64> {
        let records = journal.reader().read(0, u32::MAX, usize::MAX).unwrap();
        let payloads = |record: &Arc<sidecar_core::Record>| {
            let frames = stats_sv2::Frames::new(&record.frames);
            let numbers = frames.filter(|frame| frame.msg_type == 0xf0);
            numbers.map(|frame| u64::from_le_bytes(frame.payload().try_into().unwrap())).collect::<Vec<_>>()
        };
        records.iter().flat_map(payloads).collect()
    }

    /// Delivery rule 17, for a fault at each place of a commit: the same runs, once, nothing later before them.
    #[tokio::test]
    async fn a_failed_commit_is_tried_again_with_the_same_runs() {
        let io_error = rusqlite::ffi::SQLITE_IOERR_FSYNC;
        for place in [Place::Before, Place::Within, Place::After] {
            let folder = TempDir::new().unwrap();
            let (journal, _) = Journal::open(config(&folder), Arc::new(SystemClock)).unwrap();
            let session = open_session(&journal).await;
            append(&journal, &session, 1).await;
            acknowledged(&session, 1).await;
            // One fault is enough where the commit is there afterwards: it is found, not tried again.
            journal.faults().set(place, io_error, if place == Place::After { 1 } else { 3 });
            for sequence in 2..=20 {
                append(&journal, &session, sequence).await;
            }
            acknowledged(&session, 20).await;
            assert!(journal.faults().hit() >= 1);
            healthy(&journal, true).await;
            assert_eq!(stored(&journal), (1..=20).collect::<Vec<_>>());
            journal.close(PATIENCE).await.unwrap();
            let (journal, report) = Journal::open(config(&folder), Arc::new(SystemClock)).unwrap();
            assert_eq!(report.salvage, None);
            assert_eq!(stored(&journal), (1..=20).collect::<Vec<_>>(), "after a fault at {place:?}");
        }
    }

    #[tokio::test]
    async fn a_failing_journal_acknowledges_nothing_and_says_why() {
        let folder = TempDir::new().unwrap();
        let (journal, _) = Journal::open(config(&folder), Arc::new(SystemClock)).unwrap();
        let session = open_session(&journal).await;
        journal.faults().set(Place::Within, rusqlite::ffi::SQLITE_IOERR_WRITE, u32::MAX);
        append(&journal, &session, 1).await;
        let JournalHealth::Failing { what, .. } = healthy(&journal, false).await else { panic!("it should fail") };
        assert!(what.contains("journal.db") && what.contains("injected"), "{what}");
        assert_eq!(*session.writer.acknowledged().borrow(), 0);
        assert!(stored(&journal).is_empty());
        // What cannot be written until the deadline is said to be left behind.
        let closed = journal.close(Duration::from_millis(20)).await;
        assert!(matches!(closed, Err(JournalError::NotFlushed { events: 1 })));
        let (journal, _) = Journal::open(config(&folder), Arc::new(SystemClock)).unwrap();
        assert_eq!(open_session(&journal).await.committed_sequence, 0);
    }

    /// Delivery rule 20.
    #[tokio::test]
    async fn a_full_disk_takes_the_ballast_until_there_is_room_again() {
        let folder = TempDir::new().unwrap();
        let (journal, _) = Journal::open(config(&folder), Arc::new(ManualClock::default())).unwrap();
        let ballast = beside(&config(&folder).path, ".ballast");
        assert_eq!(fs::metadata(&ballast).unwrap().len(), 100_000);
        let session = open_session(&journal).await;
        // A folder in the ballast's place stands for a disk on which it cannot be made.
        fs::remove_file(&ballast).unwrap();
        fs::create_dir(&ballast).unwrap();
        journal.faults().set(Place::Within, rusqlite::ffi::SQLITE_FULL, 1);
        append(&journal, &session, 1).await;
        let JournalHealth::Failing { what, .. } = healthy(&journal, false).await else { panic!("it should fail") };
        assert!(what.contains("full"), "{what}");
        let failed = journal.stats().failed_commits;
        append(&journal, &session, 2).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(*session.writer.acknowledged().borrow(), 0, "the room that is left is not for events");
        assert_eq!(journal.stats().failed_commits, failed, "nor is it tried");
        fs::remove_dir(&ballast).unwrap();
        acknowledged(&session, 2).await;
        healthy(&journal, true).await;
        assert_eq!(fs::metadata(&ballast).unwrap().len(), 100_000);
        assert_eq!(stored(&journal), [1, 2]);
    }

    #[tokio::test]
    async fn damage_that_the_writer_meets_sets_the_file_aside_at_the_next_start() {
        let folder = TempDir::new().unwrap();
        let (journal, _) = Journal::open(config(&folder), Arc::new(SystemClock)).unwrap();
        let session = open_session(&journal).await;
        append(&journal, &session, 1).await;
        acknowledged(&session, 1).await;
        journal.faults().set(Place::Before, rusqlite::ffi::SQLITE_CORRUPT, 1);
        append(&journal, &session, 2).await;
        let JournalHealth::Failing { what, .. } = healthy(&journal, false).await else { panic!("it should fail") };
        assert!(what.contains("restart"), "{what}");
        assert!(journal.close(Duration::from_millis(20)).await.is_err());
        let (journal, report) = Journal::open(config(&folder), Arc::new(SystemClock)).unwrap();
        let salvage = report.salvage.expect("the file is marked");
        assert_eq!((salvage.events, salvage.events_lost), (2, 0));
        assert_eq!(open_session(&journal).await.committed_sequence, 1);
        assert_eq!(stored(&journal), [1]);
        journal.close(PATIENCE).await.unwrap();
        assert_eq!(Journal::open(config(&folder), Arc::new(SystemClock)).unwrap().1.salvage, None, "once");
    }
}
