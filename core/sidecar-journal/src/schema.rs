//! The tables of the journal file, and how a connection to it is set up.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use sidecar_core::JournalId;
use sidecar_core::status::Durability;
use stats_sv2::UnixMillis;

use crate::config::JournalConfig;
use crate::error::JournalError;
use crate::group::SessionRow;
use crate::row::role;

/// Marks the file as ours (`HPSJ`).
pub(crate) const APPLICATION_ID: i64 = 0x4850_534A;
/// Version of the tables.
pub(crate) const SCHEMA_VERSION: i64 = 1;
/// Bytes of a page. Measured on two cores with full runs and a sync for each commit, 10 million shares took 1.44 CPU-seconds
/// with pages of 4 KiB, 1.29 with 8, 1.06 with 16, 0.95 with 32. Larger ones would cost more than they save where little
/// is committed often, since each commit writes half a dozen pages at least.
const PAGE_BYTES: u32 = 16 << 10;
/// The write-ahead log is brought back into the file when it has this size, or a sixteenth of `max_bytes` if that is
/// less, and is cut to that when it begins anew. Reading it back is most of a start after a crash.
const LOG_BYTES: u64 = 16 << 20;
/// Page cache of the writer: a full group fits, so that nothing is spilled before its commit.
const WRITER_CACHE_KIB: u32 = 6 << 10;
/// Page cache of a reader: records are read once.
const READER_CACHE_KIB: u32 = 256;
/// A checkpoint blocks others for moments only.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE journal (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    journal_id INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    head_offset INTEGER NOT NULL,
    head_cumulative INTEGER NOT NULL,
    tail_cumulative INTEGER NOT NULL,
    dead_letters INTEGER NOT NULL,
    dead_letter_bytes INTEGER NOT NULL,
    dead_letters_expired INTEGER NOT NULL
) STRICT;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    publisher TEXT NOT NULL,
    session_id INTEGER NOT NULL,
    role INTEGER NOT NULL,
    vendor TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    committed_sequence INTEGER NOT NULL,
    derived_sequence INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    last_event_at INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    last_offset INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    ended INTEGER,
    ended_at INTEGER NOT NULL,
    finishing INTEGER NOT NULL,
    loss_unknown INTEGER NOT NULL,
    UNIQUE (publisher, session_id)
) STRICT;
CREATE TABLE batches (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    finishing INTEGER NOT NULL,
    state INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    count INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    cumulative INTEGER NOT NULL,
    crc32c INTEGER NOT NULL,
    frames BLOB NOT NULL
) STRICT;
CREATE INDEX state_batches ON batches (state) WHERE state = 1;
CREATE TABLE open_state (
    session INTEGER PRIMARY KEY,
    frames BLOB NOT NULL
) STRICT;
CREATE TABLE cursors (
    sink TEXT PRIMARY KEY,
    journal_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    cumulative INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    sink TEXT NOT NULL,
    publisher TEXT NOT NULL,
    session_id INTEGER NOT NULL,
    derived INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    frame BLOB NOT NULL,
    UNIQUE (sink, publisher, session_id, derived, sequence)
) STRICT;
CREATE TABLE local_states (
    name TEXT PRIMARY KEY,
    session INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// `path` with `suffix` behind its whole name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A new file is durable when its folder says that it is there.
pub(crate) fn sync_folder(path: &Path) -> Result<(), JournalError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(JournalError::file("sync the folder", folder))
}

/// Bytes of the write-ahead log at which it is brought back.
pub(crate) fn log_bytes(config: &JournalConfig) -> u64 {
    LOG_BYTES.min(config.max_bytes / 16)
}

/// Opens the file for the writer, and makes the tables if it is new. Says whether it was.
pub(crate) fn open_writer(config: &JournalConfig, now: UnixMillis) -> rusqlite::Result<(Connection, bool)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&config.path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Both take effect only before the first table. Incremental vacuum costs nothing measurable here, and lets space
    // go back to the file system when the limit is lowered.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(
        None,
        "synchronous",
        match config.durability {
            Durability::Power => "FULL",
            Durability::Process => "NORMAL",
        },
    )?;
    // Checkpoints are the writer's own decision, between commits.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // What a large step of retention made of it is cut off again.
    connection.pragma_update(None, "journal_size_limit", log_bytes(config) as i64)?;
    connection.pragma_update(None, "secure_delete", false)?;
    connection.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction
            .execute("INSERT INTO journal VALUES (1, ?1, ?2, 0, 0, 0, 0, 0, 0)", [new_id().0 as i64, now.0 as i64])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok((connection, tables == 0))
}

/// Opens the file for reading.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
    Ok(connection)
}

/// Refuses a database of something else, and tables newer than this program.
pub(crate) fn check_identity(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let failed = JournalError::sqlite;
    if pragma("application_id").map_err(failed("read the journal's header"))? != APPLICATION_ID {
        return Err(JournalError::NotAJournal { path: path.to_owned() });
    }
    let found = pragma("user_version").map_err(failed("read the journal's header"))?;
    if found > SCHEMA_VERSION {
        return Err(JournalError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// A random name for a journal, never 0.
pub(crate) fn new_id() -> JournalId {
    JournalId(rand::random::<u64>().max(1))
}

/// The one row of `journal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalRow {
    pub(crate) journal_id: JournalId,
    pub(crate) head_offset: u64,
    pub(crate) head_cumulative: u64,
    pub(crate) tail_cumulative: u64,
    pub(crate) dead_letters: u64,
    pub(crate) dead_letter_bytes: u64,
    pub(crate) dead_letters_expired: u64,
}

impl JournalRow {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |row: &rusqlite::Row<'_>, place: usize| row.get::<_, i64>(place).map(|number| number as u64);
        connection.query_row(
            "SELECT journal_id, head_offset, head_cumulative, tail_cumulative, dead_letters, dead_letter_bytes, \
             dead_letters_expired FROM journal",
            [],
            |row| {
                Ok(Self {
                    journal_id: JournalId(number(row, 0)?),
                    head_offset: number(row, 1)?,
                    head_cumulative: number(row, 2)?,
                    tail_cumulative: number(row, 3)?,
                    dead_letters: number(row, 4)?,
                    dead_letter_bytes: number(row, 5)?,
                    dead_letters_expired: number(row, 6)?,
                })
            },
        )
    }
}

/// Offset of the oldest record.
pub(crate) fn first_offset(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row("SELECT min(offset) FROM batches", [], |row| row.get::<_, Option<i64>>(0))
        .map(|offset| offset.map(|offset| offset as u64))
}

/// How far a sink has come, as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredCursor {
    pub(crate) journal_id: JournalId,
    pub(crate) offset: u64,
    pub(crate) cumulative: u64,
}

pub(crate) fn read_cursors(connection: &Connection) -> rusqlite::Result<HashMap<String, StoredCursor>> {
    let mut query = connection.prepare("SELECT sink, journal_id, offset, cumulative FROM cursors")?;
    let rows = query.query_map([], |row| {
        let cursor = StoredCursor {
            journal_id: JournalId(row.get::<_, i64>(1)? as u64),
            offset: row.get::<_, i64>(2)? as u64,
            cumulative: row.get::<_, i64>(3)? as u64,
        };
        Ok((row.get(0)?, cursor))
    })?;
    rows.collect()
}

/// The columns of [`read_session`].
pub(crate) const SESSION_COLUMNS: &str = "id, publisher, session_id, role, vendor, first_sequence, committed_sequence, \
     derived_sequence, started_at, last_event_at, heard_at, last_offset, missing, ended, ended_at, finishing, loss_unknown";

pub(crate) fn read_session(row: &rusqlite::Row<'_>) -> rusqlite::Result<SessionRow> {
    let number = |place: usize| row.get::<_, i64>(place).map(|number| number as u64);
    let time = |place: usize| number(place).map(UnixMillis);
    Ok(SessionRow {
        id: row.get(0)?,
        publisher: row.get::<_, String>(1)?.into(),
        session_id: number(2)?,
        role: role(row.get(3)?)?,
        vendor: row.get(4)?,
        first_sequence: number(5)?,
        sequence: number(6)?,
        derived: number(7)?,
        started_at: time(8)?,
        last_event_at: time(9)?,
        heard_at: time(10)?,
        last_offset: number(11)?,
        missing: number(12)?,
        ended: row.get(13)?,
        ended_at: time(14)?,
        finishing: row.get(15)?,
        loss_unknown: row.get(16)?,
    })
}

pub(crate) fn read_sessions(connection: &Connection) -> rusqlite::Result<Vec<SessionRow>> {
    let mut query = connection.prepare(&format!("SELECT {SESSION_COLUMNS} FROM sessions"))?;
    query.query_map([], read_session)?.collect()
}

pub(crate) fn write_session(connection: &Connection, row: &SessionRow) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (id) DO UPDATE SET committed_sequence = ?7, derived_sequence = ?8, last_event_at = ?10,
         heard_at = ?11, last_offset = ?12, missing = ?13, ended = ?14, ended_at = ?15, finishing = ?16,
         loss_unknown = ?17",
    )?;
    upsert.execute(rusqlite::params![
        row.id,
        &*row.publisher,
        row.session_id as i64,
        row.role as u8,
        row.vendor,
        row.first_sequence as i64,
        row.sequence as i64,
        row.derived as i64,
        row.started_at.0 as i64,
        row.last_event_at.0 as i64,
        row.heard_at.0 as i64,
        row.last_offset as i64,
        row.missing as i64,
        row.ended,
        row.ended_at.0 as i64,
        row.finishing,
        row.loss_unknown,
    ])?;
    Ok(())
}

/// Numbers of derived records go on from the present time in milliseconds: those in between may have been given to
/// records that are not in this file any more, and sinks take equal numbers for equal records.
pub(crate) fn renumber_derived(connection: &Connection, now: UnixMillis) -> rusqlite::Result<()> {
    connection.execute("UPDATE sessions SET derived_sequence = max(derived_sequence, ?1)", [now.0 as i64]).map(drop)
}

/// Which session each bridge's state belongs to.
pub(crate) fn read_local_sessions(connection: &Connection) -> rusqlite::Result<HashMap<Arc<str>, i64>> {
    let mut query = connection.prepare("SELECT name, session FROM local_states")?;
    query.query_map([], |row| Ok((row.get::<_, String>(0)?.into(), row.get(1)?)))?.collect()
}

pub(crate) fn read_local_state(connection: &Connection, name: &str) -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
    connection
        .query_row("SELECT session, state FROM local_states WHERE name = ?1", [name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}
