//! What becomes of a damaged history file: it is set aside under a new name, what can be read of it goes into a new file.
//!
//! The sums of a damaged file may only be kept together with the numbers of the events that went into them: without the
//! cursor and the sessions, events that the journal still holds would be counted again. So unless those tables can be read
//! whole, nothing is carried over, and the new history begins with what the journal delivers from its oldest record on.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use sidecar_core::{Cursor, Durability, JournalId};

use crate::error::HistoryError;
use crate::schema;
use crate::settling;
use crate::store::{self, with_suffix};

/// Tables that must be read whole for any other to be of use.
const INDISPENSABLE: [&str; 5] = ["meta", "kept_since", "sources", "sessions", "series"];

/// Where a history stands that begins anew: in no journal. A cursor of another journal makes the driver begin at the
/// oldest record (delivery rule 16); without any it would go on where its own note says that the sink has come.
const BEFORE_EVERYTHING: Cursor = Cursor { journal_id: JournalId(0), offset: 0 };

/// Rows copied in one transaction.
const ROWS_PER_TRANSACTION: usize = 20_000;

/// What was saved.
#[derive(Debug)]
pub(crate) struct Report {
    /// The new name of the damaged file.
    pub(crate) set_aside: PathBuf,
    /// Rows in the new file.
    pub(crate) rows_kept: u64,
    /// Tables that could not be read to the end.
    pub(crate) tables_damaged: Vec<String>,
    /// The new file goes on where the damaged one stood; otherwise it begins anew.
    pub(crate) continued: bool,
}

/// Builds a new file beside the damaged one and exchanges them.
pub(crate) fn replace(path: &Path) -> Result<Report, HistoryError> {
    let rebuilt = with_suffix(path, ".rebuilt");
    remove(&rebuilt)?;
    let mut report = Report { set_aside: free_name(path), rows_kept: 0, tables_damaged: Vec::new(), continued: false };
    {
        let target = match copy(path, &rebuilt, &mut report) {
            Ok(target) => {
                report.continued = true;
                target
            }
            Err(error) => {
                // Reading failed, or what was read does not fit together: begin with an empty file.
                tracing::warn!(cause = %sidecar_core::ErrorChain(&error), "nothing of the damaged history can be carried over");
                remove(&rebuilt)?;
                report.rows_kept = 0;
                let target = store::connect(&rebuilt, Durability::Process)?;
                store::write_cursor(&target, BEFORE_EVERYTHING)?;
                target
            }
        };
        target.execute(
            "INSERT INTO meta (key, value) VALUES ('damaged_files', 1)
             ON CONFLICT (key) DO UPDATE SET value = value + 1",
            [],
        )?;
        // The last connection to close moves the WAL into the file, so one file is renamed below.
        target.close().map_err(|(_, error)| error)?;
    }
    for suffix in ["", "-wal", "-shm"] {
        rename(&with_suffix(path, suffix), &with_suffix(&report.set_aside, suffix))?;
    }
    rename(&rebuilt, path)?;
    sync_directory(path)?;
    Ok(report)
}

/// A crash between the renames of [`replace`] leaves the finished new file under its working name, and perhaps the side
/// files of the damaged one, which SQLite would read into the new.
pub(crate) fn finish_interrupted(path: &Path) -> Result<(), HistoryError> {
    let rebuilt = with_suffix(path, ".rebuilt");
    if path.exists() || !rebuilt.exists() {
        return Ok(());
    }
    let set_aside = last_name(path);
    for suffix in ["-wal", "-shm"] {
        rename(&with_suffix(path, suffix), &with_suffix(&set_aside, suffix))?;
    }
    rename(&rebuilt, path)?;
    sync_directory(path)
}

/// Makes the names in the file's directory durable, as the transactions that follow in the new file are.
fn sync_directory(path: &Path) -> Result<(), HistoryError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(|source| HistoryError::File {
        what: "sync",
        path: parent.to_owned(),
        source,
    })
}

/// Copies what can be read into a new file of the same version, and brings that to the newest.
fn copy(path: &Path, rebuilt: &Path, report: &mut Report) -> Result<Connection, HistoryError> {
    let source = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    schema::check(&source, schema::MIGRATIONS.len())?;
    let version = schema::version(&source)?;
    let mut target = store::connect_as(rebuilt, Durability::Process, version)?;
    let tables: Vec<String> = {
        let mut names =
            target.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")?;
        let names = names.query_map([], |row| row.get(0))?;
        names.collect::<Result<_, _>>()?
    };
    for table in INDISPENSABLE {
        report.rows_kept += copy_rows(&source, &mut target, table, "ASC")?;
    }
    for table in tables.iter().filter(|table| !INDISPENSABLE.contains(&table.as_str())) {
        let (Ok(kept) | Err((kept, _))) = copy_both_ways(&source, &mut target, table, report);
        report.rows_kept += kept;
    }
    schema::migrate(&mut target, schema::MIGRATIONS)?;
    if report.tables_damaged.iter().any(|table| table.starts_with("settled")) {
        settling::rebuild_days(&target)?;
    }
    Ok(target)
}

/// Reads a table from its start to the damage, then from its end back to the damage.
fn copy_both_ways(
    source: &Connection,
    target: &mut Connection,
    table: &str,
    report: &mut Report,
) -> Result<u64, (u64, HistoryError)> {
    let before = count(target, table);
    let result = copy_rows(source, target, table, "ASC");
    let result = result.or_else(|_| {
        report.tables_damaged.push(table.to_owned());
        copy_rows(source, target, table, "DESC")
    });
    let kept = count(target, table).saturating_sub(before);
    result.map(|_| kept).map_err(|error| (kept, error))
}

fn count(conn: &Connection, table: &str) -> u64 {
    conn.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0)).unwrap_or(0)
}

/// Copies rows in the order of the primary key until the end or the first error; what came before an error stays.
fn copy_rows(source: &Connection, target: &mut Connection, table: &str, order: &str) -> Result<u64, HistoryError> {
    let key = {
        let mut columns = target.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?;
        let columns = columns.query_map([table], |row| row.get::<_, String>(0))?;
        columns.map(|name| name.map(|name| format!("\"{name}\" {order}"))).collect::<Result<Vec<_>, _>>()?.join(", ")
    };
    let key = if key.is_empty() { format!("rowid {order}") } else { key };
    let mut read = source.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY {key}"))?;
    let width = read.column_count();
    let places = vec!["?"; width].join(", ");
    let write = format!("INSERT OR IGNORE INTO \"{table}\" VALUES ({places})");
    let mut rows = read.query([])?;
    let mut copied = 0;
    loop {
        let tx = target.transaction()?;
        let mut in_transaction = 0;
        let mut end = Ok(true);
        {
            let mut insert = tx.prepare_cached(&write)?;
            while in_transaction < ROWS_PER_TRANSACTION {
                let values = match rows.next() {
                    Ok(Some(row)) => {
                        (0..width).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>()
                    }
                    Ok(None) => break,
                    Err(error) => Err(error),
                };
                match values {
                    Ok(values) => copied += insert.execute(params_from_iter(values))? as u64,
                    Err(error) => {
                        end = Err(error);
                        break;
                    }
                }
                in_transaction += 1;
            }
            if in_transaction == ROWS_PER_TRANSACTION {
                end = Ok(false);
            }
        }
        tx.commit()?;
        if end? {
            return Ok(copied);
        }
    }
}

/// The first name `PATH.damaged-N` that is not taken.
fn free_name(path: &Path) -> PathBuf {
    damaged_names(path).find(|name| !name.exists()).unwrap_or_default()
}

/// The last one that is.
fn last_name(path: &Path) -> PathBuf {
    let taken = damaged_names(path).take_while(|name| name.exists()).last();
    taken.unwrap_or_else(|| free_name(path))
}

fn damaged_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    (1_u32..).map(move |n| with_suffix(path, &format!(".damaged-{n}")))
}

fn rename(from: &Path, to: &Path) -> Result<(), HistoryError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(HistoryError::File { what: "rename", path: from.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), HistoryError> {
    for suffix in ["", "-wal", "-shm"] {
        let file = with_suffix(path, suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HistoryError::File { what: "remove", path: file, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}
