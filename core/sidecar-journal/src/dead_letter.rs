//! Events that could not be delivered, or not even understood, kept with the reason.

use bytes::Bytes;
use rusqlite::Row;
use sidecar_core::StableId;
use stats_sv2::{Role, UnixMillis};

/// Sink name of the dead letters that are malformed payloads.
pub const INGEST: &str = "(ingest)";

/// The columns that [`DeadLetter::read`] expects, in order; `letters` stands for the table.
pub(crate) const COLUMNS: &str = "letters.sink, letters.publisher, letters.session_id, letters.derived, letters.sequence, \
     letters.received_at, letters.reason, letters.frame";

/// One event that can never succeed at one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sink's name, or [`INGEST`].
    pub sink: String,
    /// Which event.
    pub id: StableId,
    /// When the sidecar received it.
    pub received_at: UnixMillis,
    /// Why, for people.
    pub reason: String,
    /// The frame as it came over the wire.
    pub frame: Bytes,
}

impl DeadLetter {
    /// Reads a row of [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let id = StableId {
            publisher: row.get::<_, String>(1)?.into(),
            session_id: row.get::<_, i64>(2)? as u64,
            derived: row.get(3)?,
            sequence: row.get::<_, i64>(4)? as u64,
        };
        Ok(Self {
            sink: row.get(0)?,
            id,
            received_at: UnixMillis(row.get::<_, i64>(5)? as u64),
            reason: row.get(6)?,
            frame: Bytes::from(row.get::<_, Vec<u8>>(7)?),
        })
    }
}

/// A dead letter as it lies in the journal's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLetter {
    /// The letter.
    pub letter: DeadLetter,
    /// What kind of program published the event; `None` once the journal has forgotten its session.
    pub role: Option<Role>,
}
