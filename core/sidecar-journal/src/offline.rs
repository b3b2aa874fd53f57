//! Looking at a journal from outside, also while a sidecar runs: numbers, a full check, an export. Never writes.

use std::io::Write;
use std::path::Path;

use crate::error::JournalError;

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct CheckReport {
    /// Records read.
    pub records: u64,
    /// Events in them.
    pub events: u64,
    /// What is wrong, one line each; the first [`MAX_FINDINGS`].
    pub findings: Vec<String>,
    /// How many things are wrong.
    pub faults: u64,
}

/// Numbers of a journal file.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct OfflineStats {
    /// Name of the journal, in hexadecimal.
    pub journal_id: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its write-ahead log.
    pub wal_bytes: u64,
    /// Offset of the oldest record.
    pub first_offset: u64,
    /// Offset of the last record.
    pub head_offset: u64,
    /// Records between them.
    pub records: u64,
    /// Events appended since the journal was made.
    pub cumulative_events: u64,
    /// Events that left by retention.
    pub cumulative_before_tail: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Bytes of dead letters.
    pub dead_letter_bytes: u64,
    /// Sinks and how far they are.
    pub cursors: Vec<SinkCursor>,
    /// Sessions known.
    pub sessions: u64,
    /// Sessions that have not ended.
    pub open_sessions: u64,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SinkCursor {
    /// The sink's name.
    pub sink: String,
    /// Offset of the last record that it took.
    pub offset: u64,
    /// Events after it.
    pub pending_events: u64,
}

/// Findings kept in a [`CheckReport`].
pub const MAX_FINDINGS: usize = 100;

/// Numbers of the journal at `path`.
pub fn stats(path: &Path) -> Result<OfflineStats, JournalError> {
    let _ = path;
    Err(JournalError::Closed)
}

/// Reads the whole journal at `path` and checks every record. `progress` is told (bytes read, bytes in all).
pub fn check(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, JournalError> {
    let _ = (path, progress);
    Err(JournalError::Closed)
}

/// Writes every event from offset `from` on as JSON lines. Returns the number of events.
pub fn export(path: &Path, from: u64, out: &mut dyn Write) -> Result<u64, JournalError> {
    let _ = (path, from, out);
    Err(JournalError::Closed)
}
