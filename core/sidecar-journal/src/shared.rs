//! What the writer thread and all handles share.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecar_core::JournalId;
use tokio::sync::{Semaphore, watch};

use crate::intake::Intake;
use crate::reader::Tail;
use crate::recent::Recent;
use crate::report::{Head, JournalHealth, JournalStats};
use crate::row::{RowHead, SessionName};
use crate::schema::StoredCursor;

/// Damaged records remembered, so that each is counted once however many read it.
const MAX_REMEMBERED_DAMAGE: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) id: JournalId,
    pub(crate) intake: Intake,
    pub(crate) recent: Recent,
    pub(crate) budget: Arc<Semaphore>,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) health: watch::Sender<JournalHealth>,
    /// Set by the writer thread as its last act: the events that it had to leave behind.
    pub(crate) stopped: watch::Sender<Option<u64>>,
    stats: Mutex<JournalStats>,
    places: Mutex<Places>,
    damage: Mutex<BTreeSet<u64>>,
}

/// The tail and the sinks' cursors, as committed.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) tail: Tail,
    pub(crate) cursors: HashMap<String, StoredCursor>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every value under these locks is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        path: PathBuf,
        id: JournalId,
        intake: Intake,
        recent: Recent,
        budget: usize,
        head: Head,
        places: Places,
    ) -> Self {
        Self {
            path,
            id,
            intake,
            recent,
            budget: Arc::new(Semaphore::new(budget)),
            head: watch::channel(head).0,
            health: watch::channel(JournalHealth::Healthy).0,
            stopped: watch::channel(None).0,
            stats: Mutex::default(),
            places: Mutex::new(places),
            damage: Mutex::default(),
        }
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, JournalStats> {
        lock(&self.stats)
    }

    pub(crate) fn places(&self) -> MutexGuard<'_, Places> {
        lock(&self.places)
    }

    /// Counts and logs a record whose checksum is wrong, once.
    pub(crate) fn note_damaged(&self, head: &RowHead, owner: Option<&SessionName>) {
        if !self.is_new_damage(head.offset) {
            return;
        }
        self.stats().damaged_events += u64::from(head.count);
        tracing::error!(
            path = %self.path.display(),
            offset = head.offset,
            publisher = owner.map_or("?", |owner| &owner.publisher),
            session = owner.map_or_else(String::new, |owner| format!("{:016x}", owner.session_id)),
            first_sequence = head.first_sequence,
            last_sequence = head.last_sequence(),
            events = head.count,
            "a journal record is damaged and is left out"
        );
    }

    /// Counts and logs records that SQLite itself cannot reach, once.
    pub(crate) fn note_unreadable(&self, after: u64, next: u64, events: u64) {
        if !self.is_new_damage(after + 1) {
            return;
        }
        self.stats().damaged_events += events;
        tracing::error!(
            path = %self.path.display(),
            first_offset = after + 1,
            last_offset = next - 1,
            events,
            "a part of the journal cannot be read and is left out"
        );
    }

    fn is_new_damage(&self, offset: u64) -> bool {
        let mut damage = lock(&self.damage);
        damage.len() < MAX_REMEMBERED_DAMAGE && damage.insert(offset)
    }
}
