//! A damaged file is set aside, and what can be read of it is taken over into a new journal (delivery rule 19). Offsets
//! and cumulative counts stay, so that what is lost shows as a step; the name changes, since sinks may be ahead.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use sidecar_core::JournalId;
use stats_sv2::UnixMillis;

use crate::config::JournalConfig;
use crate::error::JournalError;
use crate::reader::{is_damage, next_readable};
use crate::report::Salvage;
use crate::row::{COLUMNS, RawRow};
use crate::schema::{self, JournalRow, SESSION_COLUMNS, beside, sync_folder};
use crate::store::{insert_row, write_cursor};

/// What one transaction takes over.
const IMPORT_BYTES: usize = 4 << 20;

/// A file with this suffix says that the running journal met damage that it could not write around.
const MARK: &str = ".damage";

/// The new file while it is being built.
const BUILDING: &str = ".rebuilding";

/// The new file once it is complete.
const REBUILT: &str = ".rebuilt";

/// The table of the new file that says what became of the damaged one.
const REPORT: &str = "salvage";

/// Leaves a mark that makes the next start set the file aside.
pub(crate) fn mark(path: &Path, reason: &str) -> std::io::Result<()> {
    fs::write(beside(path, MARK), reason)
}

/// The mark that an earlier run left.
pub(crate) fn marked(path: &Path) -> Option<String> {
    fs::read_to_string(beside(path, MARK)).ok()
}

/// Makes a new file from what can be read of the damaged one, and puts it in its place.
///
/// A kill at any moment loses nothing: until the new file is complete the old one stays as it is and the next start
/// begins again; from then on the next start finds the new file and goes on putting it in place.
pub(crate) fn salvage(config: &JournalConfig, reason: &str, now: UnixMillis) -> Result<(), JournalError> {
    build(config, reason, now)?;
    put_in_place(&config.path)
}

/// Builds the new file. It has its final name only when it is complete and on the disk.
fn build(config: &JournalConfig, reason: &str, now: UnixMillis) -> Result<(), JournalError> {
    let path = &config.path;
    let set_aside = free_name(path, now);
    tracing::error!(path = %path.display(), %reason, "the journal is damaged");
    let building = beside(path, BUILDING);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove(&beside(&building, suffix))?;
    }
    let failed = JournalError::sqlite;
    let mut building_config = config.clone();
    building_config.path.clone_from(&building);
    let (connection, _) = schema::open_writer(&building_config, now).map_err(failed("make a new journal"))?;
    let mut salvage =
        Salvage { reason: reason.to_owned(), set_aside, records: 0, events: 0, events_lost: 0, sessions: 0 };
    match open_damaged(path) {
        Ok(damaged) => {
            import(&damaged, &connection, now, &mut salvage).map_err(failed("take over the damaged journal"))?
        }
        Err(error) => tracing::error!(%error, "nothing can be read of the damaged journal"),
    }
    let finish = || {
        write_report(&connection, path, &salvage)?;
        // Brings everything into the one file, which is renamed as a whole.
        connection.pragma_update(None, "journal_mode", "DELETE")
    };
    finish().map_err(failed("complete the new journal"))?;
    connection.close().map_err(|(_, error)| failed("complete the new journal")(error))?;
    File::open(&building).and_then(|file| file.sync_all()).map_err(JournalError::file("sync", &building))?;
    rename(&building, &beside(path, REBUILT))?;
    sync_folder(path)
}

/// Puts a new file that is complete in the place of the damaged one, which is set aside. Does what is left of that, if
/// anything.
pub(crate) fn put_in_place(path: &Path) -> Result<(), JournalError> {
    let rebuilt = beside(path, REBUILT);
    if !rebuilt.exists() {
        return Ok(());
    }
    let connection = schema::open_reader(&rebuilt).map_err(JournalError::sqlite("read the new journal"))?;
    let salvage = read_report(&connection, path).map_err(JournalError::sqlite("read the new journal"))?;
    drop(connection);
    if let Some(salvage) = salvage {
        // The log before its file: the file's name says which name both get.
        for suffix in ["-wal", ""] {
            let file = beside(path, suffix);
            if file.exists() {
                rename(&file, &beside(&salvage.set_aside, suffix))?;
            }
        }
    }
    remove(&beside(path, "-shm"))?;
    remove(&beside(path, MARK))?;
    // What follows must not be on the disk before what went before.
    sync_folder(path)?;
    rename(&rebuilt, path)?;
    sync_folder(path)
}

/// Keeps in the new file what is to be told of it, so that a kill does not keep it from being told.
fn write_report(connection: &Connection, path: &Path, salvage: &Salvage) -> rusqlite::Result<()> {
    let (whole, stem) = (salvage.set_aside.to_string_lossy(), path.to_string_lossy());
    connection.execute_batch(&format!(
        "CREATE TABLE {REPORT} (reason TEXT, suffix TEXT, records INTEGER, events INTEGER, events_lost INTEGER, \
         sessions INTEGER) STRICT"
    ))?;
    connection.execute(
        &format!("INSERT INTO {REPORT} VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
        params![
            salvage.reason,
            whole.strip_prefix(&*stem).unwrap_or(&whole),
            salvage.records as i64,
            salvage.events as i64,
            salvage.events_lost as i64,
            salvage.sessions as i64,
        ],
    )?;
    Ok(())
}

/// What became of the damaged file from which the journal at `path` was made, unless it was told before.
pub(crate) fn read_report(connection: &Connection, path: &Path) -> rusqlite::Result<Option<Salvage>> {
    let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
    if !connection.query_row(there, [REPORT], |row| row.get::<_, bool>(0))? {
        return Ok(None);
    }
    let sql = format!("SELECT reason, suffix, records, events, events_lost, sessions FROM {REPORT}");
    connection
        .query_row(&sql, [], |row| {
            let number = |place: usize| row.get::<_, i64>(place).map(|number| number as u64);
            Ok(Salvage {
                reason: row.get(0)?,
                set_aside: beside(path, &row.get::<_, String>(1)?),
                records: number(2)?,
                events: number(3)?,
                events_lost: number(4)?,
                sessions: number(5)?,
            })
        })
        .optional()
}

/// It is told now.
pub(crate) fn forget_report(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("DROP TABLE IF EXISTS {REPORT}"))
}

fn rename(from: &Path, to: &Path) -> Result<(), JournalError> {
    fs::rename(from, to).map_err(JournalError::file("rename", from))
}

fn remove(file: &Path) -> Result<(), JournalError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(JournalError::file("remove", file)(error)),
        _ => Ok(()),
    }
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

fn import(damaged: &Connection, new: &Connection, now: UnixMillis, salvage: &mut Salvage) -> rusqlite::Result<()> {
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
    schema::renumber_derived(new, now)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sidecar_core::ManualClock;
    use sidecar_core::status::Durability;
    use stats_sv2::Role;
    use tempfile::TempDir;

    use super::*;
    use crate::{Journal, OpenSession};

    const NOW: UnixMillis = UnixMillis(1_760_000_000_000);

    /// The files of a journal with the starts of 20 sessions, as a crash leaves them: all in the write-ahead log, one
    /// record with a wrong checksum, and marked.
    async fn damaged() -> (TempDir, JournalConfig) {
        let folder = TempDir::new().unwrap();
        let config_in = |name: &str| {
            let mut config = JournalConfig::new(folder.path().join(name));
            config.durability = Durability::Process;
            config.ballast_bytes = 0;
            config
        };
        let (first, second) = (config_in("first.db"), config_in("journal.db"));
        let (journal, _) = Journal::open(first.clone(), Arc::new(ManualClock::at(NOW))).unwrap();
        for session_id in 1..=20 {
            let open = OpenSession {
                publisher: format!("pool-{session_id}").into(),
                role: Role::Pool,
                session_id,
                first_sequence: 1,
                vendor: String::new(),
                finishing: false,
            };
            journal.open_session(open).await.unwrap();
        }
        let file = Connection::open(&first.path).unwrap();
        file.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE batches SET crc32c = 0 WHERE offset = 7").unwrap();
        for suffix in ["", "-wal"] {
            fs::copy(beside(&first.path, suffix), beside(&second.path, suffix)).unwrap();
        }
        mark(&second.path, "torn").unwrap();
        (folder, second)
    }

    type Kill = fn(&JournalConfig);

    /// Each function leaves the files as a kill at another moment does.
    #[tokio::test]
    async fn a_kill_at_any_moment_loses_nothing_and_hides_nothing() {
        let kills: [(&str, Kill); 7] = [
            ("before", |_| ()),
            ("building", |config| {
                build(config, "torn", NOW).unwrap();
                fs::rename(beside(&config.path, REBUILT), beside(&config.path, BUILDING)).unwrap();
                fs::write(beside(&config.path, ".rebuilding-wal"), b"half").unwrap();
            }),
            ("built", |config| build(config, "torn", NOW).unwrap()),
            ("log set aside", |config| {
                build(config, "torn", NOW).unwrap();
                let wal = beside(&config.path, "-wal");
                if wal.exists() {
                    fs::rename(&wal, beside(&free_name(&config.path, NOW), "-wal")).unwrap();
                }
            }),
            ("set aside", |config| {
                build(config, "torn", NOW).unwrap();
                fs::rename(&config.path, free_name(&config.path, NOW)).unwrap();
            }),
            ("unmarked", |config| {
                build(config, "torn", NOW).unwrap();
                fs::rename(&config.path, free_name(&config.path, NOW)).unwrap();
                remove(&beside(&config.path, MARK)).unwrap();
            }),
            ("in place", |config| salvage(config, "torn", NOW).unwrap()),
        ];
        for (moment, kill) in kills {
            let (folder, config) = damaged().await;
            kill(&config);
            let open = || Journal::open(config.clone(), Arc::new(ManualClock::at(NOW))).unwrap();
            let (journal, report) = open();
            let salvage = report.salvage.unwrap_or_else(|| panic!("nothing is told after a kill {moment}"));
            assert_eq!((&*salvage.reason, salvage.records, salvage.events_lost), ("torn", 19, 1), "{moment}");
            assert!(salvage.set_aside.exists(), "{moment}");
            assert_eq!(journal.reader().read(0, 1000, 1 << 20).unwrap().len(), 19, "{moment}");
            assert_eq!((journal.sessions().len(), journal.watch_head().borrow().offset), (20, 20), "{moment}");
            journal.close(std::time::Duration::from_secs(10)).await.unwrap();
            assert_eq!(open().1.salvage, None, "{moment}");
            drop(folder);
        }
    }
}
