//! Reading records after a place: the latest from memory, older ones from the file.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use sidecar_core::Record;

use crate::error::JournalError;
use crate::recent::ReadLimit;
use crate::row::{COLUMNS, RawRow, RowHead, SessionNames};
use crate::schema;
use crate::shared::Shared;

/// The old end of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Offset of the oldest record still there; one beyond the head if there is none.
    pub first_offset: u64,
    /// Events appended before it.
    pub cumulative_before: u64,
}

/// Reads the journal. Cheap to clone, clones share a connection; its calls block.
#[derive(Debug, Clone)]
pub struct JournalReader {
    shared: Arc<Shared>,
    side: Arc<Mutex<ReadSide>>,
}

/// A read connection, opened when first needed: sinks that keep up never need one.
#[derive(Default)]
pub(crate) struct ReadSide {
    connection: Option<Connection>,
    pub(crate) names: SessionNames,
}

impl fmt::Debug for ReadSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadSide").field("open", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl ReadSide {
    /// Runs `read` on the connection. After an error the connection is opened anew the next time.
    pub(crate) fn with<T>(
        &mut self,
        shared: &Shared,
        what: &'static str,
        read: impl FnOnce(&Connection, &mut SessionNames) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => schema::open_reader(&shared.path).map_err(JournalError::sqlite("open the journal for reading"))?,
        };
        let value = read(&connection, &mut self.names).map_err(JournalError::sqlite(what))?;
        self.connection = Some(connection);
        Ok(value)
    }
}

impl JournalReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, side: Arc::default() }
    }

    /// The records after offset `after`, up to `max_events` and `max_bytes`, but at least one if there is any. A damaged
    /// record is left out; its events show as a step in [`Record::cumulative_events`]. No read transaction is held when
    /// this returns (delivery rule 21).
    pub fn read(&self, after: u64, max_events: u32, max_bytes: usize) -> Result<Vec<Arc<Record>>, JournalError> {
        if after >= self.shared.head.borrow().offset {
            return Ok(Vec::new());
        }
        if let Some(records) = self.shared.recent.read(after, max_events, max_bytes) {
            return Ok(records);
        }
        let shared = &self.shared;
        lock(&self.side).with(shared, "read journal records", |connection, names| {
            read_stored(connection, names, shared, after, max_events, max_bytes)
        })
    }

    /// The oldest record still there.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.shared.places().tail
    }
}

pub(crate) fn lock(side: &Mutex<ReadSide>) -> MutexGuard<'_, ReadSide> {
    // A panic may have left a connection in use; it is closed and opened anew.
    side.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
        let mut side: MutexGuard<'_, ReadSide> = poisoned.into_inner();
        *side = ReadSide::default();
        side
    })
}

fn read_stored(
    connection: &Connection,
    names: &mut SessionNames,
    shared: &Shared,
    after: u64,
    max_events: u32,
    max_bytes: usize,
) -> rusqlite::Result<Vec<Arc<Record>>> {
    let mut limit = ReadLimit::new(max_events, max_bytes);
    let mut records = Vec::new();
    let mut last = after;
    match read_rows(connection, names, shared, &mut last, &mut limit, &mut records) {
        Err(error) if records.is_empty() && is_damage(&error) => {}
        // What was read before the damage is good; the next read comes upon it first.
        Err(error) if is_damage(&error) => return Ok(records),
        outcome => return outcome.map(|()| records),
    }
    let head = shared.head.borrow().offset;
    let known = last;
    let Some(next) = next_readable(connection, known, head)? else { return Ok(records) };
    let row = read_row(connection, next)?;
    let before = match known {
        0 => 0,
        known => cumulative_of(connection, known).unwrap_or(shared.places().tail.cumulative_before),
    };
    let lost = (row.head.cumulative - u64::from(row.head.count)).saturating_sub(before);
    shared.note_unreadable(known, next, lost);
    last = next - 1;
    match read_rows(connection, names, shared, &mut last, &mut limit, &mut records) {
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(records),
    }
}

/// Reads on after `last`, which moves along.
fn read_rows(
    connection: &Connection,
    names: &mut SessionNames,
    shared: &Shared,
    last: &mut u64,
    limit: &mut ReadLimit,
    records: &mut Vec<Arc<Record>>,
) -> rusqlite::Result<()> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM batches WHERE offset > ?1 ORDER BY offset"))?;
    let mut rows = query.query([*last as i64])?;
    while let Some(row) = rows.next()? {
        let head = RowHead::read(row)?;
        if !limit.admits(head.count, head.bytes) {
            break;
        }
        let row = RawRow::read(row)?;
        let owner = names.get(connection, head.session)?;
        *last = head.offset;
        match owner {
            Some(owner) if row.is_intact() => records.push(Arc::new(row.into_record(&owner))),
            owner => {
                shared.note_damaged(&head, owner.as_ref());
                limit.skip_damaged();
            }
        }
    }
    Ok(())
}

/// Whether an error says that the file is not as it was written, so that trying again is of no use.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    use rusqlite::ffi::{
        SQLITE_CORRUPT, SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_DATA, SQLITE_IOERR_SHORT_READ, SQLITE_NOTADB,
    };
    if let Some(code) = error.sqlite_extended_error_code() {
        // A short read is a page behind the end of a file that was cut.
        return matches!(code & 0xff, SQLITE_CORRUPT | SQLITE_NOTADB)
            || matches!(code, SQLITE_IOERR_SHORT_READ | SQLITE_IOERR_CORRUPTFS | SQLITE_IOERR_DATA);
    }
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

pub(crate) fn read_row(connection: &Connection, offset: u64) -> rusqlite::Result<RawRow> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM batches WHERE offset = ?1"))?
        .query_row([offset as i64], RawRow::read)
}

fn cumulative_of(connection: &Connection, offset: u64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT cumulative FROM batches WHERE offset = ?1")?
        .query_row([offset as i64], |row| row.get::<_, i64>(0).map(|count| count as u64))
}

/// The first offset after `after` whose row can be read, up to `head`. Steps over damage in doubling strides, then
/// halves back, since a broken page may hold one row or thousands.
pub(crate) fn next_readable(connection: &Connection, after: u64, head: u64) -> rusqlite::Result<Option<u64>> {
    let readable = |offset: u64| match read_at_or_after(connection, offset, head) {
        Err(error) if !is_damage(&error) => Err(error),
        outcome => Ok(outcome.ok().flatten()),
    };
    let (mut bad, mut stride) = (after, 1);
    let found = loop {
        let probe = bad.saturating_add(stride);
        if probe > head {
            // The last stride may have jumped over the end.
            match stride {
                1 => return Ok(None),
                _ => stride = 1,
            }
            continue;
        }
        match readable(probe)? {
            Some(offset) => break offset,
            None => {
                bad = probe;
                stride *= 2;
            }
        }
    };
    // Between the last probe that failed and this one there may be earlier rows.
    let (mut low, mut high) = (bad, found);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match readable(middle)? {
            Some(offset) if offset < high => high = offset,
            _ => low = middle,
        }
    }
    Ok(Some(high))
}

fn read_at_or_after(connection: &Connection, offset: u64, head: u64) -> rusqlite::Result<Option<u64>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM batches WHERE offset >= ?1 AND offset <= ?2 ORDER BY offset LIMIT 1"
    ))?;
    let mut rows = query.query([offset as i64, head as i64])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    RawRow::read(row).map(|row| Some(row.head.offset))
}
