//! What the journal says about itself: head, health, counters, sessions, and the report of how opening went.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sidecar_core::JournalId;
use stats_sv2::{Role, UnixMillis};

/// The end of the journal. Told after commit only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Offset of the last record; 0 if there never was one.
    pub offset: u64,
    /// Events appended since the journal was made.
    pub cumulative_events: u64,
}

/// Whether the journal can commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalHealth {
    /// It can.
    Healthy,
    /// It cannot: the disk is full or fails. Nothing is acknowledged; it tries again by itself.
    Failing {
        /// What failed, with all causes, for people.
        what: String,
        /// Since when.
        since: UnixMillis,
    },
    /// It is full, and `when_full = "block"`: it waits for the sinks.
    Blocked {
        /// Since when.
        since: UnixMillis,
    },
}

/// Counters and sizes. Counters are since start unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct JournalStats {
    /// Bytes of the database file in use, without its free pages.
    pub bytes: u64,
    /// Bytes of the database file as it stands on the disk.
    pub file_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Offset of the oldest record still there; one beyond the head if there is none.
    pub first_offset: u64,
    /// Offset of the last record.
    pub head_offset: u64,
    /// Events appended since the journal was made.
    pub cumulative_events: u64,
    /// Events that left by retention since the journal was made.
    pub cumulative_before_tail: u64,
    /// Events appended.
    pub appended_events: u64,
    /// Bytes of frames appended.
    pub appended_bytes: u64,
    /// Records appended.
    pub appended_records: u64,
    /// Commits.
    pub commits: u64,
    /// Commits that failed; each was tried again.
    pub failed_commits: u64,
    /// Time spent in commits.
    pub commit_time: Duration,
    /// The longest commit.
    pub slowest_commit: Duration,
    /// Checkpoints of the write-ahead log.
    pub checkpoints: u64,
    /// Time spent in checkpoints.
    pub checkpoint_time: Duration,
    /// Events that left by retention.
    pub retired_events: u64,
    /// Events of records that were found damaged.
    pub damaged_events: u64,
    /// Numbers that were used before this journal knew their session.
    pub gap_unseen: u64,
    /// Numbers that are lost.
    pub gap_missing: u64,
    /// Events that came again and were dropped.
    pub duplicates: u64,
    /// Malformed payloads.
    pub malformed: u64,
    /// Runs refused because their connection was retired.
    pub refused_retired: u64,
    /// Runs refused because they began beyond the next number.
    pub refused_beyond_next: u64,
    /// Dead letters there are.
    pub dead_letters: u64,
    /// Their bytes.
    pub dead_letter_bytes: u64,
    /// Dead letters that expired since the journal was made.
    pub dead_letters_expired: u64,
    /// Events that wait for their commit.
    pub waiting_events: u64,
    /// Sessions that have not ended.
    pub open_sessions: u64,
    /// Whether the ballast file is there.
    pub ballast: bool,
}

/// One session, as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Stable name of the publisher.
    pub publisher: Arc<str>,
    /// What kind of program it is.
    pub role: Role,
    /// The session.
    pub session_id: u64,
    /// Name and version of the program.
    pub vendor: String,
    /// Its last durable number.
    pub committed_sequence: u64,
    /// When the sidecar first accepted it.
    pub started_at: UnixMillis,
    /// Time of its last event or heartbeat; 0 before the first.
    pub last_event_at: UnixMillis,
    /// When the sidecar last heard of it.
    pub heard_at: UnixMillis,
    /// Whether a connection has it open.
    pub connected: bool,
    /// How it ended: one of `stats_sv2::event::ENDED_*`.
    pub ended: Option<u8>,
    /// It delivers its rest after it was replaced.
    pub finishing: bool,
    /// It ended without saying so: what it had not delivered is not known.
    pub loss_unknown: bool,
    /// Numbers that are lost.
    pub missing: u64,
}

/// How opening went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// The journal's name.
    pub journal_id: JournalId,
    /// There was no file.
    pub created: bool,
    /// A cursor lay beyond the head, as after a restored backup, so the journal has a new name and the sinks start at
    /// its oldest record (delivery rule 16).
    pub renamed: bool,
    /// The file was damaged (delivery rule 19).
    pub salvage: Option<Salvage>,
    /// Sessions that have not ended.
    pub open_sessions: usize,
}

/// What became of a damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// Why the file could not be used.
    pub reason: String,
    /// Where it is now.
    pub set_aside: PathBuf,
    /// Records taken over into the new journal.
    pub records: u64,
    /// Events taken over.
    pub events: u64,
    /// Events that could not be read.
    pub events_lost: u64,
    /// Sessions taken over with their committed sequence.
    pub sessions: u64,
}
