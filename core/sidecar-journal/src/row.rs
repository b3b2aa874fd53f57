//! A record as a row of `batches`, with its checksum: SQLite does not check its pages (delivery rule 19).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use sidecar_core::{Record, RecordKind};
use stats_sv2::{Role, UnixMillis};

/// The columns that [`RawRow::read`] expects, in order.
pub(crate) const COLUMNS: &str = "offset, session, kind, finishing, state, first_sequence, count, received_at, cumulative, crc32c, length(frames), frames";

/// Columns of a row apart from its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowHead {
    pub(crate) offset: u64,
    pub(crate) session: i64,
    pub(crate) derived: bool,
    pub(crate) finishing: bool,
    pub(crate) has_state: bool,
    pub(crate) first_sequence: u64,
    pub(crate) count: u32,
    pub(crate) received_at: u64,
    pub(crate) cumulative: u64,
    pub(crate) crc: u32,
    pub(crate) bytes: usize,
}

impl RowHead {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            offset: row.get::<_, i64>(0)? as u64,
            session: row.get(1)?,
            derived: row.get(2)?,
            finishing: row.get(3)?,
            has_state: row.get(4)?,
            first_sequence: row.get::<_, i64>(5)? as u64,
            count: row.get(6)?,
            received_at: row.get::<_, i64>(7)? as u64,
            cumulative: row.get::<_, i64>(8)? as u64,
            crc: row.get(9)?,
            bytes: row.get::<_, i64>(10)? as usize,
        })
    }

    /// CRC-32C over every column but the offset, then the frames. The offset is left out, so that a record keeps its
    /// checksum when it is carried to another file.
    pub(crate) fn checksum(&self, frames: &[u8]) -> u32 {
        let mut head = [0; 40];
        head[..8].copy_from_slice(&self.session.to_le_bytes());
        head[8] = u8::from(self.derived) | u8::from(self.finishing) << 1 | u8::from(self.has_state) << 2;
        head[9..17].copy_from_slice(&self.first_sequence.to_le_bytes());
        head[17..21].copy_from_slice(&self.count.to_le_bytes());
        head[21..29].copy_from_slice(&self.received_at.to_le_bytes());
        head[29..37].copy_from_slice(&self.cumulative.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&head), frames)
    }

    /// Number of the last event.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.count.saturating_sub(1))
    }
}

/// A row with its frames, checksum not yet compared.
#[derive(Debug)]
pub(crate) struct RawRow {
    pub(crate) head: RowHead,
    pub(crate) frames: Bytes,
}

impl RawRow {
    /// Reads a row of [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let head = RowHead::read(row)?;
        let frames = Bytes::copy_from_slice(row.get_ref(11)?.as_blob()?);
        Ok(Self { head, frames })
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.head.checksum(&self.frames) == self.head.crc
    }

    pub(crate) fn into_record(self, owner: &SessionName) -> Record {
        Record {
            offset: self.head.offset,
            kind: if self.head.derived { RecordKind::Derived } else { RecordKind::Events },
            publisher: Arc::clone(&owner.publisher),
            role: owner.role,
            session_id: owner.session_id,
            finishing: self.head.finishing,
            first_sequence: self.head.first_sequence,
            count: self.head.count,
            received_at: UnixMillis(self.head.received_at),
            cumulative_events: self.head.cumulative,
            frames: self.frames,
        }
    }
}

/// Who a session is.
#[derive(Debug, Clone)]
pub(crate) struct SessionName {
    pub(crate) publisher: Arc<str>,
    pub(crate) role: Role,
    pub(crate) session_id: u64,
}

/// Names that were looked up already. One connection has one.
#[derive(Debug, Default)]
pub(crate) struct SessionNames(HashMap<i64, SessionName>);

/// Names kept; then it begins anew.
const MAX_NAMES: usize = 4_096;

impl SessionNames {
    pub(crate) fn get(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<Option<SessionName>> {
        if let Some(name) = self.0.get(&id) {
            return Ok(Some(name.clone()));
        }
        let mut query = connection.prepare_cached("SELECT publisher, role, session_id FROM sessions WHERE id = ?1")?;
        let name = query
            .query_row([id], |row| {
                Ok(SessionName {
                    publisher: row.get::<_, String>(0)?.into(),
                    role: role(row.get(1)?)?,
                    session_id: row.get::<_, i64>(2)? as u64,
                })
            })
            .optional()?;
        if let Some(name) = &name {
            if self.0.len() >= MAX_NAMES {
                self.0.clear();
            }
            self.0.insert(id, name.clone());
        }
        Ok(name)
    }
}

pub(crate) fn role(raw: u8) -> rusqlite::Result<Role> {
    Role::from_wire(raw).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, i64::from(raw)))
}
