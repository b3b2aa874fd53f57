//! Reading records after a place: the latest from memory, older ones from the file.

use std::sync::Arc;

use sidecar_core::Record;

use crate::error::JournalError;

/// The old end of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Offset of the oldest record still there; one beyond the head if there is none.
    pub first_offset: u64,
    /// Events appended before it.
    pub cumulative_before: u64,
}

/// Reads the journal. Cheap to clone; its calls block.
#[derive(Debug, Clone)]
pub struct JournalReader {}

impl JournalReader {
    /// The records after offset `after`, up to `max_events` and `max_bytes`, but at least one if there is any. A damaged
    /// record is left out; its events show as a step in [`Record::cumulative_events`].
    pub fn read(&self, after: u64, max_events: u32, max_bytes: usize) -> Result<Vec<Arc<Record>>, JournalError> {
        let _ = (after, max_events, max_bytes);
        Ok(Vec::new())
    }

    /// The oldest record still there.
    #[must_use]
    pub fn tail(&self) -> Tail {
        Tail { first_offset: 1, cumulative_before: 0 }
    }
}
