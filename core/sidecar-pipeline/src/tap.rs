//! Live records for whoever looks on: committed, bounded, and dropped for a tapper that does not keep up. The journal is
//! the buffer, so a tap costs no memory and nobody else notices it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sidecar_core::batch::{BATCH_BYTES, BATCH_EVENTS};
use sidecar_core::{Batch, Route};
use sidecar_journal::{Head, Journal, JournalReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Taps at a time.
pub const MAX_TAPS: usize = 16;

/// Events that a tapper may lag behind before it loses some: what the journal surely has in memory.
const MAX_LAG: u64 = 65_536;

/// Where taps are opened.
#[derive(Debug, Clone)]
pub struct TapSource {
    journal: Journal,
    places: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

/// As many taps as may be are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{MAX_TAPS} taps are open")]
pub struct TooManyTapsError;

/// One look at the live records.
#[derive(Debug)]
pub struct Tap {
    journal: Journal,
    reader: JournalReader,
    head: watch::Receiver<Head>,
    route: Arc<Route>,
    offset: u64,
    cumulative: u64,
    dropped: Arc<AtomicU64>,
    _place: OwnedSemaphorePermit,
}

/// What a tap gives next.
#[derive(Debug, Clone)]
pub struct Tapped {
    /// The events.
    pub batch: Batch,
    /// Events that this tap lost before them.
    pub dropped: u64,
}

impl TapSource {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal, places: Arc::new(Semaphore::new(MAX_TAPS)), dropped: Arc::default() }
    }

    /// Opens a tap that begins now.
    pub fn open(&self, route: Route) -> Result<Tap, TooManyTapsError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TooManyTapsError)?;
        let mut head = self.journal.watch_head();
        let Head { offset, cumulative_events: cumulative } = *head.borrow_and_update();
        Ok(Tap {
            journal: self.journal.clone(),
            reader: self.journal.reader(),
            head,
            route: Arc::new(route),
            offset,
            cumulative,
            dropped: Arc::clone(&self.dropped),
            _place: place,
        })
    }

    /// Taps that are open.
    #[must_use]
    pub fn open_taps(&self) -> usize {
        MAX_TAPS - self.places.available_permits()
    }

    /// Events that slow taps lost since start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Tap {
    /// Waits for the next events that the route wants; `None` when the journal is closed or fails.
    pub async fn next(&mut self) -> Option<Tapped> {
        let mut dropped = 0;
        loop {
            let head = *self.head.borrow_and_update();
            if head.offset <= self.offset {
                self.head.changed().await.ok()?;
                continue;
            }
            if head.cumulative_events.saturating_sub(self.cumulative) > MAX_LAG {
                dropped += head.cumulative_events - self.cumulative;
                (self.offset, self.cumulative) = (head.offset, head.cumulative_events);
                continue;
            }
            let (reader, after) = (self.reader.clone(), self.offset);
            let read = tokio::task::spawn_blocking(move || reader.read(after, BATCH_EVENTS, BATCH_BYTES));
            let records = read.await.ok()?.ok()?;
            let Some(last) = records.last() else {
                (self.offset, self.cumulative) = (head.offset, head.cumulative_events);
                continue;
            };
            (self.offset, self.cumulative) = (last.offset, last.cumulative_events);
            let batch = Batch::new(self.journal.id(), records, Arc::clone(&self.route))?;
            if batch.events() > 0 {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
                return Some(Tapped { batch, dropped });
            }
        }
    }
}
