//! A damaged file is set aside, and what can be read of it is taken over into a new journal (delivery rule 19). Offsets
//! and cumulative counts stay, so that what is lost shows as a step; the name changes, since sinks may be ahead.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use sidecar_core::JournalId;
use stats_sv2::UnixMillis;

use crate::config::JournalConfig;
use crate::error::JournalError;
use crate::reader::{is_damage, next_readable};
use crate::report::Salvage;
use crate::row::{COLUMNS, RawRow};
use crate::schema::{self, JournalRow, SESSION_COLUMNS, beside};
use crate::store::{insert_row, write_cursor};

/// What one transaction takes over.
const IMPORT_BYTES: usize = 4 << 20;

/// A file with this suffix says that the running journal met damage that it could not write around.
const MARK: &str = ".damage";

/// Leaves a mark that makes the next start set the file aside.
pub(crate) fn mark(path: &Path, reason: &str) -> std::io::Result<()> {
    fs::write(beside(path, MARK), reason)
}

/// The mark that an earlier run left.
pub(crate) fn marked(path: &Path) -> Option<String> {
    fs::read_to_string(beside(path, MARK)).ok()
}

/// Sets the file aside and makes a new one from it. Answers with the new file's connection.
pub(crate) fn salvage(
    config: &JournalConfig,
    reason: String,
    now: UnixMillis,
) -> Result<(Connection, Salvage), JournalError> {
    let path = &config.path;
    let set_aside = free_name(path, now);
    tracing::error!(path = %path.display(), set_aside = %set_aside.display(), %reason, "the journal is damaged");
    let moved = |what| JournalError::file(what, path);
    fs::rename(path, &set_aside).map_err(moved("set aside"))?;
    let wal = beside(path, "-wal");
    if wal.exists() {
        fs::rename(&wal, beside(&set_aside, "-wal")).map_err(moved("set aside the write-ahead log of"))?;
    }
    for suffix in ["-shm", MARK] {
        let file = beside(path, suffix);
        if file.exists() {
            fs::remove_file(&file).map_err(JournalError::file("remove", &file))?;
        }
    }
    let failed = JournalError::sqlite;
    let (connection, _) = schema::open_writer(config, now).map_err(failed("make a new journal"))?;
    let mut salvage = Salvage { reason, set_aside, records: 0, events: 0, events_lost: 0, sessions: 0 };
    match open_damaged(&salvage.set_aside) {
        Ok(damaged) => import(&damaged, &connection, &mut salvage).map_err(failed("take over the damaged journal"))?,
        Err(error) => tracing::error!(%error, "nothing can be read of the damaged journal"),
    }
    tracing::warn!(
        records = salvage.records,
        events = salvage.events,
        events_lost = salvage.events_lost,
        sessions = salvage.sessions,
        "a new journal was made from what could be read"
    );
    Ok((connection, salvage))
}

fn free_name(path: &Path, now: UnixMillis) -> PathBuf {
    let plain = beside(path, &format!(".damaged-{}", now.0));
    let mut name = plain.clone();
    let mut number = 1;
    while name.exists() {
        number += 1;
        name = beside(&plain, &format!("-{number}"));
    }
    name
}

fn open_damaged(path: &Path) -> rusqlite::Result<Connection> {
    let damaged = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // With this SQLite reads a file that is shorter than its header says.
    damaged.pragma_update(None, "writable_schema", true)?;
    damaged.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(damaged)
}

/// Where a walk over a damaged table ends: at the row that cannot be read.
fn lenient<T>(outcome: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn import(damaged: &Connection, new: &Connection, salvage: &mut Salvage) -> rusqlite::Result<()> {
    let old = lenient(JournalRow::read(damaged))?;
    let new_id = JournalRow::read(new)?.journal_id;
    let transaction = new.unchecked_transaction()?;
    salvage.sessions = import_sessions(damaged, new)?;
    transaction.commit()?;
    let imported = import_rows(damaged, new, old.map_or(i64::MAX as u64, |old| old.head_offset), salvage)?;
    let transaction = new.unchecked_transaction()?;
    let cursors = import_cursors(damaged, new, old.map(|old| old.journal_id), new_id)?;
    // Sinks may have taken what is lost here; its offsets must not come again.
    let head_offset = old.map_or(0, |old| old.head_offset).max(imported.last_offset).max(cursors.offset);
    let head_cumulative = old.map_or(0, |old| old.head_cumulative).max(imported.cumulative).max(cursors.cumulative);
    let tail_cumulative = imported.before.unwrap_or(head_cumulative);
    let known_tail = old.map_or(tail_cumulative, |old| old.tail_cumulative).min(tail_cumulative);
    salvage.events_lost = (head_cumulative - known_tail).saturating_sub(salvage.events);
    new.execute(
        "UPDATE journal SET head_offset = ?1, head_cumulative = ?2, tail_cumulative = ?3",
        [head_offset as i64, head_cumulative as i64, tail_cumulative as i64],
    )?;
    import_rest(damaged, new)?;
    transaction.commit()
}

/// Sessions keep their committed sequence, so that nothing comes twice.
fn import_sessions(damaged: &Connection, new: &Connection) -> rusqlite::Result<u64> {
    let Some(mut query) =
        lenient(damaged.prepare(&format!("SELECT {SESSION_COLUMNS} FROM sessions NOT INDEXED ORDER BY id")))?
    else {
        return Ok(0);
    };
    let mut sessions = 0;
    let mut rows = query.query([])?;
    while let Some(Some(row)) = lenient(rows.next())? {
        if let Some(session) = lenient(schema::read_session(row))? {
            schema::write_session(new, &session)?;
            sessions += 1;
        }
    }
    Ok(sessions)
}

#[derive(Debug, Default)]
struct Imported {
    /// Events before the first record taken over.
    before: Option<u64>,
    last_offset: u64,
    cumulative: u64,
}

fn import_rows(damaged: &Connection, new: &Connection, head: u64, salvage: &mut Salvage) -> rusqlite::Result<Imported> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE offset > ?1 ORDER BY offset");
    let mut imported = Imported::default();
    let mut last = 0;
    let mut known = HashMap::new();
    let Some(mut query) = lenient(damaged.prepare(&sql))? else { return Ok(imported) };
    loop {
        let transaction = new.unchecked_transaction()?;
        let mut insert =
            new.prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
        let mut bytes = 0;
        let mut rows = query.query([last as i64])?;
        let ended = loop {
            match rows.next().and_then(|row| row.map(RawRow::read).transpose()) {
                Ok(None) => break true,
                Ok(Some(row)) => {
                    last = row.head.offset;
                    if row.is_intact() && is_known(new, row.head.session, &mut known)? {
                        insert_row(&mut insert, &row.head, &row.frames)?;
                        let count = u64::from(row.head.count);
                        imported.before.get_or_insert(row.head.cumulative - count);
                        imported.last_offset = last;
                        imported.cumulative = row.head.cumulative;
                        salvage.records += 1;
                        salvage.events += count;
                        note_number(new, &row)?;
                        bytes += row.frames.len();
                    }
                    if bytes >= IMPORT_BYTES {
                        break false;
                    }
                }
                Err(error) if is_damage(&error) => match next_readable(damaged, last, head)? {
                    Some(next) => {
                        last = next - 1;
                        break false;
                    }
                    None => break true,
                },
                Err(error) => return Err(error),
            }
        };
        drop(rows);
        drop(insert);
        transaction.commit()?;
        if ended {
            return Ok(imported);
        }
    }
}

/// Whether a record's session could be read; without it nobody could say whose events they are.
fn is_known(new: &Connection, session: i64, known: &mut HashMap<i64, bool>) -> rusqlite::Result<bool> {
    if let Some(known) = known.get(&session) {
        return Ok(*known);
    }
    let found: bool =
        new.query_row("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)", [session], |row| row.get(0))?;
    known.insert(session, found);
    Ok(found)
}

/// A session's row may be older than its records, where the row's page was lost in the write-ahead log.
fn note_number(new: &Connection, row: &RawRow) -> rusqlite::Result<()> {
    let column = if row.head.derived { "derived_sequence" } else { "committed_sequence" };
    new.prepare_cached(&format!(
        "UPDATE sessions SET {column} = max({column}, ?2), last_offset = max(last_offset, ?3) WHERE id = ?1"
    ))?
    .execute(params![row.head.session, row.head.last_sequence() as i64, row.head.offset as i64])?;
    Ok(())
}

/// The farthest place of any sink.
#[derive(Debug, Default)]
struct Farthest {
    offset: u64,
    cumulative: u64,
}

fn import_cursors(
    damaged: &Connection,
    new: &Connection,
    old_id: Option<JournalId>,
    new_id: JournalId,
) -> rusqlite::Result<Farthest> {
    let mut farthest = Farthest::default();
    let Some(cursors) = lenient(schema::read_cursors(damaged))? else { return Ok(farthest) };
    for (sink, mut cursor) in cursors {
        // Offsets stay, so the places that the journal itself noted stay good under the new name.
        if Some(cursor.journal_id) == old_id {
            cursor.journal_id = new_id;
            farthest.offset = farthest.offset.max(cursor.offset);
            farthest.cumulative = farthest.cumulative.max(cursor.cumulative);
        }
        write_cursor(new, &sink, Some(cursor))?;
    }
    Ok(farthest)
}

/// Dead letters, states of bridges, and what is open at the tail.
fn import_rest(damaged: &Connection, new: &Connection) -> rusqlite::Result<()> {
    copy_table(damaged, new, "local_states", 3)?;
    copy_table(damaged, new, "open_state", 2)?;
    copy_table(damaged, new, "dead_letters NOT INDEXED", 9)?;
    new.execute(
        "UPDATE journal SET (dead_letters, dead_letter_bytes) = (SELECT count(*), coalesce(sum(64 + octet_length(sink)
         + octet_length(publisher) + octet_length(reason) + octet_length(frame)), 0) FROM dead_letters)",
        [],
    )?;
    Ok(())
}

fn copy_table(damaged: &Connection, new: &Connection, table: &str, columns: usize) -> rusqlite::Result<()> {
    let Some(mut query) = lenient(damaged.prepare(&format!("SELECT * FROM {table}")))? else { return Ok(()) };
    let places: Vec<String> = (1..=columns).map(|place| format!("?{place}")).collect();
    let name = table.split(' ').next().unwrap_or(table);
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {name} VALUES ({})", places.join(", ")))?;
    let mut rows = query.query([])?;
    while let Some(Some(row)) = lenient(rows.next())? {
        let values = (0..columns).map(|place| row.get::<_, rusqlite::types::Value>(place));
        if let Some(values) = lenient(values.collect::<rusqlite::Result<Vec<_>>>())? {
            insert.execute(rusqlite::params_from_iter(values))?;
        }
    }
    Ok(())
}
