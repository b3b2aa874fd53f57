//! The latest committed records, kept in memory for the sinks that keep up. Sinks share them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecar_core::Record;

/// What a record costs besides its frames, roughly.
const RECORD_OVERHEAD: usize = 256;

#[derive(Debug)]
pub(crate) struct Recent {
    inner: Mutex<Inner>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// Consecutive in the journal, up to its head.
    records: VecDeque<Arc<Record>>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records that were just committed; the oldest go.
    pub(crate) fn extend(&self, records: impl IntoIterator<Item = Arc<Record>>) {
        let mut inner = self.lock();
        for record in records {
            inner.bytes += record.frames.len() + RECORD_OVERHEAD;
            inner.records.push_back(record);
        }
        while inner.bytes > self.limit
            && let Some(oldest) = inner.records.pop_front()
        {
            inner.bytes -= oldest.frames.len() + RECORD_OVERHEAD;
        }
    }

    /// Lets go what has left the journal.
    pub(crate) fn retire(&self, first_offset: u64) {
        let mut inner = self.lock();
        while inner.records.front().is_some_and(|record| record.offset < first_offset)
            && let Some(oldest) = inner.records.pop_front()
        {
            inner.bytes -= oldest.frames.len() + RECORD_OVERHEAD;
        }
    }

    /// The records after `after`; `None` when older ones than those in memory are wanted. Offsets between two records in
    /// memory do not exist.
    pub(crate) fn read(&self, after: u64, max_events: u32, max_bytes: usize) -> Option<Vec<Arc<Record>>> {
        let inner = self.lock();
        let place = inner.records.partition_point(|record| record.offset <= after);
        let known = inner.records.front().is_some_and(|first| first.offset <= after.saturating_add(1));
        if !known {
            return None;
        }
        let mut limit = ReadLimit::new(max_events, max_bytes);
        let records = inner.records.range(place..);
        Some(records.take_while(|record| limit.admits(record.count, record.frames.len())).cloned().collect())
    }

    /// The cumulative count at `offset`, if it is in memory.
    pub(crate) fn cumulative_at(&self, offset: u64) -> Option<u64> {
        let inner = self.lock();
        let place = inner.records.partition_point(|record| record.offset <= offset);
        inner.records.get(place.checked_sub(1)?).map(|record| record.cumulative_events)
    }
}

/// Counts what a read has taken: at least one record, else no more than the limits.
#[derive(Debug)]
pub(crate) struct ReadLimit {
    events: u64,
    bytes: usize,
    first: bool,
}

impl ReadLimit {
    pub(crate) fn new(max_events: u32, max_bytes: usize) -> Self {
        Self { events: u64::from(max_events), bytes: max_bytes, first: true }
    }

    pub(crate) fn admits(&mut self, count: u32, bytes: usize) -> bool {
        let fits = u64::from(count) <= self.events && bytes <= self.bytes;
        if !fits && !self.first {
            return false;
        }
        self.first = false;
        self.events = self.events.saturating_sub(u64::from(count));
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }

    /// What was admitted last turned out damaged: the next record is the first again.
    pub(crate) fn skip_damaged(&mut self) {
        self.first = true;
    }
}
