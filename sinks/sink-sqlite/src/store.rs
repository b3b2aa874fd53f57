//! The history file on disk: one process at a time, its pragmas, and what happens when its bytes are damaged.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::{Connection, OpenFlags, params};
use sidecar_core::{Cursor, Durability, ErrorChain};

use crate::error::HistoryError;
use crate::{latency, salvage, schema};

/// Pages after which a commit moves the WAL into the file: 8 MiB.
const WAL_CHECKPOINT_PAGES: u32 = 2_048;
/// Bytes to which the WAL file is cut after a checkpoint.
const WAL_LIMIT: u32 = 16 << 20;
/// Memory for pages.
const PAGE_CACHE_KIB: i32 = 8 << 10;
/// Prepared statements kept: every one that applying a batch uses.
const STATEMENTS: usize = 128;

/// The open file and the lock that keeps other processes out.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) conn: Connection,
    path: PathBuf,
    durability: Durability,
    lock: File,
}

impl Store {
    /// Opens or makes the file. A damaged one is set aside and replaced.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, HistoryError> {
        let lock = lock(path)?;
        salvage::finish_interrupted(path)?;
        let conn = match connect(path, durability) {
            Err(error) if error.is_damage() => {
                replace_damaged(path, &error)?;
                connect(path, durability)?
            }
            other => other?,
        };
        Ok(Self { conn, path: path.to_owned(), durability, lock })
    }

    /// Replaces the file by what can be read of it, after SQLite found damage inside.
    pub(crate) fn recover(self, damage: &HistoryError) -> Result<Self, HistoryError> {
        let Self { conn, path, durability, lock } = self;
        // Whatever the damaged file says on closing, it is put aside.
        drop(conn);
        replace_damaged(&path, damage)?;
        let conn = connect(&path, durability)?;
        Ok(Self { conn, path, durability, lock })
    }

    /// Closes the file, then gives the lock back.
    pub(crate) fn close(self) -> Result<(), HistoryError> {
        let Self { conn, lock, .. } = self;
        conn.close().map_err(|(_, error)| error)?;
        drop(lock);
        Ok(())
    }
}

fn replace_damaged(path: &Path, damage: &HistoryError) -> Result<(), HistoryError> {
    let report = salvage::replace(path)?;
    tracing::error!(
        history = %path.display(),
        set_aside = %report.set_aside.display(),
        rows_kept = report.rows_kept,
        tables_damaged = %report.tables_damaged.join(", "),
        continued = report.continued,
        cause = %ErrorChain(damage),
        "the history file is damaged; it was set aside and a new one begun"
    );
    Ok(())
}

/// Takes the lock beside the file. It is an advisory lock of the operating system, so a killed process leaves none behind.
fn lock(path: &Path) -> Result<File, HistoryError> {
    let lock_path = with_suffix(path, ".lock");
    let fail = |source| HistoryError::File { what: "lock", path: lock_path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HistoryError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// The path with something added to its last component, as SQLite names its own side files.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens the file for writing and brings it to the newest schema.
pub(crate) fn connect(path: &Path, durability: Durability) -> Result<Connection, HistoryError> {
    connect_as(path, durability, schema::MIGRATIONS.len())
}

/// The same for an older version of the schema.
pub(crate) fn connect_as(path: &Path, durability: Durability, version: usize) -> Result<Connection, HistoryError> {
    let mut conn = Connection::open(path)?;
    schema::check(&conn, schema::MIGRATIONS.len())?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    // Only possible before the first table, WAL mode included: free pages can later be given back a few at a time.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Rule 22: with FULL a commit is on the disk when it returns; with NORMAL loss of power may take the last ones, and
    // the journal's cursor beside the data goes back with them.
    let synchronous = match durability {
        Durability::Power => "FULL",
        Durability::Process => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_CHECKPOINT_PAGES)?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "secure_delete", "OFF").or_else(ignore_answer)?;
    plan_once(&conn)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    add_functions(&conn)?;
    schema::migrate(&mut conn, schema::MIGRATIONS.get(..version).unwrap_or(schema::MIGRATIONS))?;
    Ok(conn)
}

/// Keeps SQLite from planning a statement anew for the values that are bound to it: every statement here is written for one
/// plan, and planning costs more than most of them.
pub(crate) fn plan_once(conn: &Connection) -> Result<(), HistoryError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Notes where in the journal the history stands.
pub(crate) fn write_cursor(conn: &Connection, cursor: Cursor) -> Result<(), HistoryError> {
    let mut write = conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?;
    // As text: a journal's id may be any 64 bits.
    write.execute(params!["journal_id", cursor.journal_id.to_string()])?;
    write.execute(params!["offset", cursor.offset])?;
    Ok(())
}

/// Some pragmas answer with their value; that is no error.
fn ignore_answer(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::ExecuteReturnedResults => Ok(()),
        other => Err(other),
    }
}

/// `ehash_add(a, b)`: the sum of two 16-byte numbers, NULL counting as 0, and `ehash_sum(a)`, the same over rows. SQLite's
/// integers end at 2^63. `latency_slot(ms)`: the slot in which a latency counts.
pub(crate) fn add_functions(conn: &Connection) -> Result<(), HistoryError> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("ehash_add", 2, flags, |context| {
        let sum = ehash(context.get_raw(0).as_blob_or_null().ok().flatten())
            .saturating_add(ehash(context.get_raw(1).as_blob_or_null().ok().flatten()));
        Ok(sum.to_be_bytes().to_vec())
    })?;
    conn.create_aggregate_function("ehash_sum", 1, flags, EhashSum)?;
    conn.create_scalar_function("latency_slot", 1, flags, |context| {
        Ok(latency::slot_of(context.get::<i64>(0)?.unsigned_abs()))
    })?;
    Ok(())
}

/// The aggregate `ehash_sum`.
struct EhashSum;

impl Aggregate<u128, Vec<u8>> for EhashSum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<u128> {
        Ok(0)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut u128) -> rusqlite::Result<()> {
        *sum = sum.saturating_add(ehash(context.get_raw(0).as_blob_or_null().ok().flatten()));
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<u128>) -> rusqlite::Result<Vec<u8>> {
        Ok(sum.unwrap_or(0).to_be_bytes().to_vec())
    }
}

/// The number in an ehash column; 0 where there is none.
pub(crate) fn ehash(blob: Option<&[u8]>) -> u128 {
    blob.and_then(|bytes| bytes.try_into().ok()).map_or(0, u128::from_be_bytes)
}

/// Whether a sink could start on this path, without changing anything there.
pub(crate) fn probe(path: &Path) -> Result<(), HistoryError> {
    if !path.exists() {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        return std::fs::metadata(directory).map(drop).map_err(|source| HistoryError::File {
            what: "find the directory of",
            path: path.to_owned(),
            source,
        });
    }
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    schema::check(&conn, schema::MIGRATIONS.len())
}
