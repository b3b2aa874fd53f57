//! The writer's connection: one transaction for each group, sizes, checkpoints. Decides nothing about retries.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, TransactionBehavior, params};
use sidecar_core::{Cursor, JournalId, Record, RecordKind};
use stats_sv2::UnixMillis;

use crate::config::{JournalConfig, WhenFull};
use crate::dead_letter::DeadLetter;
use crate::group::Group;
use crate::reader::Tail;
use crate::report::Head;
use crate::retention::{self, Removed, Rules};
use crate::row::RowHead;
use crate::schema::{self, JournalRow, StoredCursor, beside};

/// Retention removes at least this much at a time once the limit is reached, as a part of `max_bytes`.
const RETENTION_PART: u64 = 64;
/// What retention may remove within one commit, unless the commit itself brings more.
const RETENTION_STEP_BYTES: u64 = 8 << 20;
/// Ages are looked at this often: each step writes back what stays open of the sessions that it touches.
const RETENTION_EVERY: Duration = Duration::from_secs(5);
/// What a dead letter costs besides its texts and its frame, roughly.
const DEAD_LETTER_OVERHEAD: u64 = 64;

/// A record with what only its row says.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) record: Arc<Record>,
    head: RowHead,
}

/// What a commit would change in memory, once it is through.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) cursors: Vec<(String, Option<StoredCursor>)>,
    pub(crate) removed: Option<Removed>,
    pub(crate) dead_letters: DeadLetterCount,
}

/// Dead letters there are, and those that had to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeadLetterCount {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) expired: u64,
}

/// The file's sizes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) used: u64,
    pub(crate) file: u64,
    pub(crate) wal: u64,
}

#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    config: JournalConfig,
    page_bytes: u64,
    pub(crate) journal_id: JournalId,
    pub(crate) head: Head,
    pub(crate) tail: Tail,
    pub(crate) dead_letters: DeadLetterCount,
    pub(crate) cursors: HashMap<String, StoredCursor>,
    /// Retention passed the limit and goes on until the part is free.
    draining: bool,
    /// When records were last looked at for their age.
    aged_at: UnixMillis,
    #[cfg(test)]
    pub(crate) faults: crate::fault::Faults,
}

impl Store {
    /// Takes over an open connection. Reads only what does not grow with the journal.
    pub(crate) fn new(connection: Connection, config: &JournalConfig) -> rusqlite::Result<Self> {
        let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let mut store = Self {
            connection,
            config: config.clone(),
            page_bytes: page_bytes as u64,
            journal_id: JournalId(0),
            head: Head::default(),
            tail: Tail { first_offset: 1, cumulative_before: 0 },
            dead_letters: DeadLetterCount::default(),
            cursors: HashMap::new(),
            draining: false,
            aged_at: UnixMillis(0),
            #[cfg(test)]
            faults: crate::fault::Faults::default(),
        };
        store.reload()?;
        Ok(store)
    }

    /// Reads the first and the last row and a page of each other table, so that damage there is found at once.
    pub(crate) fn touch_ends(&self) -> rusqlite::Result<()> {
        for sql in [
            "SELECT min(offset) FROM batches",
            "SELECT max(offset) FROM batches",
            "SELECT session FROM open_state LIMIT 1",
            "SELECT name FROM local_states LIMIT 1",
            "SELECT id FROM dead_letters ORDER BY id DESC LIMIT 1",
            "SELECT seq FROM sqlite_sequence",
        ] {
            self.connection.prepare(sql)?.query([])?.next()?;
        }
        Ok(())
    }

    /// Closes and opens the file again after an I/O error, and reads again what it says (delivery rule 17): the commit
    /// that failed may be there.
    pub(crate) fn reopen(&mut self, now: UnixMillis) -> rusqlite::Result<()> {
        // Until the new connection stands there is none to the file: a lock held by the broken one would be in its way.
        let idle = Connection::open_in_memory()?;
        drop(std::mem::replace(&mut self.connection, idle));
        self.connection = schema::open_writer(&self.config, now)?.0;
        self.reload()
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        let row = JournalRow::read(&self.connection)?;
        let head = Head { offset: row.head_offset, cumulative_events: row.head_cumulative };
        let first_offset = schema::first_offset(&self.connection)?.unwrap_or(head.offset + 1);
        self.journal_id = row.journal_id;
        self.tail = Tail { first_offset, cumulative_before: row.tail_cumulative };
        self.dead_letters = DeadLetterCount {
            count: row.dead_letters,
            bytes: row.dead_letter_bytes,
            expired: row.dead_letters_expired,
        };
        self.cursors = schema::read_cursors(&self.connection)?;
        self.head = head;
        Ok(())
    }

    /// Gives the group's entries their offsets and cumulative counts.
    pub(crate) fn number(&self, group: &mut Group) -> Vec<NewRow> {
        let mut head = self.head;
        let mut rows = Vec::with_capacity(group.entries.len());
        let mut last_offsets = HashMap::new();
        for entry in group.entries.drain(..) {
            head.offset += 1;
            head.cumulative_events += u64::from(entry.count);
            last_offsets.insert(entry.session, head.offset);
            let frames = entry.frames();
            let mut row = RowHead {
                offset: head.offset,
                session: entry.session,
                derived: entry.kind == RecordKind::Derived,
                finishing: entry.finishing,
                has_state: entry.has_state,
                first_sequence: entry.first_sequence,
                count: entry.count,
                received_at: entry.received_at.0,
                cumulative: head.cumulative_events,
                crc: 0,
                bytes: frames.len(),
            };
            row.crc = row.checksum(&frames);
            let record = Record {
                offset: head.offset,
                kind: entry.kind,
                publisher: entry.publisher,
                role: entry.role,
                session_id: entry.session_id,
                finishing: entry.finishing,
                first_sequence: entry.first_sequence,
                count: entry.count,
                received_at: entry.received_at,
                cumulative_events: head.cumulative_events,
                frames,
            };
            rows.push(NewRow { record: Arc::new(record), head: row });
        }
        for (session, _) in &mut group.sessions {
            if let Some(offset) = last_offsets.get(&session.id) {
                session.last_offset = *offset;
            }
        }
        rows
    }

    /// Writes everything in one transaction. After an error nothing of it is there, unless the error came at the very
    /// end: [`reopen`](Self::reopen) tells.
    pub(crate) fn commit(
        &mut self,
        rows: &[NewRow],
        group: &Group,
        cursors: &[(String, Option<Cursor>)],
        letters: &[DeadLetter],
        now: UnixMillis,
    ) -> rusqlite::Result<Committed> {
        #[cfg(test)]
        self.faults.before_commit()?;
        let rules = self.rules(group.bytes as u64, now)?;
        let cursors = self.resolve(cursors)?;
        let mut committed = Committed { dead_letters: self.dead_letters, ..Committed::default() };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // First the old goes, so that the new finds its pages.
        if let Some(rules) = rules {
            committed.removed = retention::step(&transaction, &rules)?;
        }
        for id in &group.forgotten_sessions {
            transaction.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id])?;
        }
        for (session, _) in &group.sessions {
            schema::write_session(&transaction, session)?;
        }
        write_rows(&transaction, rows)?;
        for local in &group.locals {
            transaction.prepare_cached("INSERT OR REPLACE INTO local_states VALUES (?1, ?2, ?3)")?.execute(params![
                &*local.name,
                local.session,
                local.state
            ])?;
        }
        let all_letters = || group.malformed.iter().chain(letters);
        if all_letters().next().is_some() {
            write_dead_letters(
                &transaction,
                all_letters(),
                self.config.dead_letter_bytes,
                &mut committed.dead_letters,
            )?;
        }
        for (sink, cursor) in &cursors {
            write_cursor(&transaction, sink, *cursor)?;
        }
        #[cfg(test)]
        self.faults.in_commit()?;
        transaction.commit()?;
        #[cfg(test)]
        self.faults.after_commit()?;
        committed.cursors = cursors;
        if let Some(rules) = rules {
            self.note_step(&rules, committed.removed, now);
        }
        Ok(committed)
    }

    /// Takes up what a commit changed.
    pub(crate) fn apply(&mut self, committed: &Committed, rows: &[NewRow]) {
        if let Some(last) = rows.last() {
            self.head = Head { offset: last.head.offset, cumulative_events: last.head.cumulative };
        }
        if let Some(removed) = committed.removed {
            self.tail = Tail { first_offset: removed.last_offset + 1, cumulative_before: removed.cumulative };
        }
        self.dead_letters = committed.dead_letters;
        for (sink, cursor) in &committed.cursors {
            match cursor {
                Some(cursor) => self.cursors.insert(sink.clone(), *cursor),
                None => self.cursors.remove(sink),
            };
        }
    }

    /// The cumulative counts that belong to cursors. A cursor of another journal says nothing here.
    fn resolve(&self, cursors: &[(String, Option<Cursor>)]) -> rusqlite::Result<Vec<(String, Option<StoredCursor>)>> {
        let mut resolved = Vec::with_capacity(cursors.len());
        for (sink, cursor) in cursors {
            let Some(cursor) = cursor else {
                resolved.push((sink.clone(), None));
                continue;
            };
            if cursor.journal_id == self.journal_id {
                let cumulative = cumulative_at(&self.connection, cursor.offset, self.head, self.tail, &self.cursors)?;
                let stored = StoredCursor { journal_id: cursor.journal_id, offset: cursor.offset, cumulative };
                resolved.push((sink.clone(), Some(stored)));
            }
        }
        Ok(resolved)
    }

    /// The last record that every sink has taken; `None` while no sink is known.
    fn taken(&self) -> Option<u64> {
        let offset = |cursor: &StoredCursor| if cursor.journal_id == self.journal_id { cursor.offset } else { 0 };
        self.cursors.values().map(offset).min()
    }

    /// What has to leave when `incoming` bytes come; `None` for nothing.
    fn rules(&mut self, incoming: u64, now: UnixMillis) -> rusqlite::Result<Option<Rules>> {
        if self.tail.first_offset > self.head.offset {
            return Ok(None);
        }
        let used = self.counted()? + incoming;
        let target = self.config.max_bytes - self.config.max_bytes / RETENTION_PART;
        self.draining = used > self.config.max_bytes || (self.draining && used > target);
        // The clock may step back; then it is due as well.
        let aged = now.0.abs_diff(self.aged_at.0) >= RETENTION_EVERY.as_millis() as u64;
        if !self.draining && !aged {
            return Ok(None);
        }
        let by_age = |age| if aged { retention::before(now, age) } else { UnixMillis(0) };
        Ok(Some(Rules {
            over: if self.draining { used.saturating_sub(target) } else { 0 },
            droppable: match self.config.when_full {
                WhenFull::DropOldest => u64::MAX,
                // While no sink is known nobody is waited for.
                WhenFull::Block => self.taken().unwrap_or(u64::MAX),
            },
            too_old: by_age(self.config.max_age),
            taken: self.config.keep_taken.and_then(|age| Some((self.taken()?, by_age(age)))),
            step_bytes: RETENTION_STEP_BYTES.min(self.config.max_bytes / 16).max(2 * incoming),
        }))
    }

    /// Removes what is due, apart from any commit, before `incoming` bytes come. Says whether anything left.
    pub(crate) fn retire(&mut self, incoming: u64, now: UnixMillis) -> rusqlite::Result<bool> {
        let Some(rules) = self.rules(incoming, now)? else { return Ok(false) };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = retention::step(&transaction, &rules)?;
        transaction.commit()?;
        self.note_step(&rules, removed, now);
        let committed = Committed { removed, dead_letters: self.dead_letters, ..Committed::default() };
        self.apply(&committed, &[]);
        Ok(removed.is_some())
    }

    /// Ages need not be looked at again for a while, unless the step ended because it was full.
    fn note_step(&mut self, rules: &Rules, removed: Option<Removed>, now: UnixMillis) {
        if removed.is_none_or(|removed| removed.bytes < rules.step_bytes) {
            self.aged_at = now;
        }
    }

    /// Whether `when_full = "block"` holds a group of this size back.
    pub(crate) fn is_blocked(&mut self, incoming: u64) -> rusqlite::Result<bool> {
        if self.config.when_full != WhenFull::Block || incoming == 0 {
            return Ok(false);
        }
        Ok(self.counted()? + incoming > self.config.max_bytes && self.tail.first_offset <= self.head.offset)
    }

    /// Bytes that count against `max_bytes`.
    fn counted(&self) -> rusqlite::Result<u64> {
        let sizes = self.sizes()?;
        // What a large step made of the log is cut again by itself; no record has to leave for it.
        Ok(sizes.used - sizes.wal + sizes.wal.min(2 * schema::log_bytes(&self.config)))
    }

    /// The file's sizes now.
    pub(crate) fn sizes(&self) -> rusqlite::Result<Sizes> {
        let pragma = |name| {
            self.connection
                .prepare_cached(name)?
                .query_row([], |row| row.get::<_, i64>(0))
                .map(|pages| pages as u64 * self.page_bytes)
        };
        let (file, free) = (pragma("PRAGMA page_count")?, pragma("PRAGMA freelist_count")?);
        let wal = wal_bytes(&self.config.path);
        Ok(Sizes { used: file.saturating_sub(free) + wal, file, wal })
    }

    /// Brings the write-ahead log back into the file if it has grown enough. Says whether it did.
    pub(crate) fn checkpoint_if_due(&mut self) -> rusqlite::Result<bool> {
        let (pages, done) = self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::NOOP)?;
        let pending = u64::try_from(pages - done).unwrap_or(0) * self.page_bytes;
        if pending < schema::log_bytes(&self.config) {
            return Ok(false);
        }
        // A reader in between lets some pages wait for the next time; it never waits for the reader.
        self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
        Ok(true)
    }

    /// Brings everything back and empties the write-ahead log.
    pub(crate) fn checkpoint_all(&mut self) -> rusqlite::Result<()> {
        self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE).map(drop)
    }

    /// Gives up to 128 free pages at the end of the file back to the file system, unless retention will soon fill
    /// them again. Says whether it did.
    pub(crate) fn shrink(&mut self) -> rusqlite::Result<bool> {
        let sizes = self.sizes()?;
        let free = (sizes.file + sizes.wal).saturating_sub(sizes.used);
        // A quarter of the file may stay free: handing pages back and forth would cost more than they are worth.
        if free <= sizes.file / 4 {
            return Ok(false);
        }
        let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum(128)")?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        drop(vacuum);
        // The file itself becomes shorter only now.
        self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
        Ok(true)
    }

    /// The caller tells now what became of a damaged file.
    pub(crate) fn forget_salvage(&mut self) -> rusqlite::Result<()> {
        crate::salvage::forget_report(&self.connection)
    }

    /// A new name: cursors that sinks keep themselves are of another journal from now on.
    pub(crate) fn rename(&mut self, now: UnixMillis) -> rusqlite::Result<()> {
        let id = schema::new_id();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE journal SET journal_id = ?1", [id.0 as i64])?;
        schema::renumber_derived(&transaction, now)?;
        transaction.commit()?;
        self.journal_id = id;
        Ok(())
    }
}

/// Events up to and including `offset`: from the row, or a cursor at just that place, or the tail.
pub(crate) fn cumulative_at(
    connection: &Connection,
    offset: u64,
    head: Head,
    tail: Tail,
    cursors: &HashMap<String, StoredCursor>,
) -> rusqlite::Result<u64> {
    if offset >= head.offset {
        return Ok(head.cumulative_events);
    }
    if offset >= tail.first_offset {
        let mut query = connection
            .prepare_cached("SELECT cumulative FROM batches WHERE offset <= ?1 ORDER BY offset DESC LIMIT 1")?;
        let mut rows = query.query([offset as i64])?;
        if let Some(row) = rows.next()? {
            return row.get::<_, i64>(0).map(|count| count as u64);
        }
    }
    if offset + 1 >= tail.first_offset {
        return Ok(tail.cumulative_before);
    }
    // Behind the tail only the places of cursors are remembered; between them the nearest below is a lower bound.
    Ok(cursors.values().filter(|cursor| cursor.offset <= offset).map(|cursor| cursor.cumulative).max().unwrap_or(0))
}

pub(crate) fn wal_bytes(path: &Path) -> u64 {
    fs::metadata(beside(path, "-wal")).map_or(0, |file| file.len())
}

fn write_rows(connection: &Connection, rows: &[NewRow]) -> rusqlite::Result<()> {
    let Some(last) = rows.last() else { return Ok(()) };
    let mut insert =
        connection.prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    for NewRow { record, head } in rows {
        insert_row(&mut insert, head, &record.frames)?;
    }
    connection
        .prepare_cached("UPDATE journal SET head_offset = ?1, head_cumulative = ?2")?
        .execute([last.head.offset as i64, last.head.cumulative as i64])?;
    Ok(())
}

/// Writes one row with a statement that has the columns of `batches` in order.
pub(crate) fn insert_row(
    insert: &mut rusqlite::CachedStatement<'_>,
    head: &RowHead,
    frames: &[u8],
) -> rusqlite::Result<()> {
    insert.execute(params![
        head.offset as i64,
        head.session,
        head.derived,
        head.finishing,
        head.has_state,
        head.first_sequence as i64,
        head.count,
        head.received_at as i64,
        head.cumulative as i64,
        head.crc,
        frames,
    ])?;
    Ok(())
}

/// Writes letters that are not there yet, then lets the oldest go until the rest fits (delivery rule 26).
pub(crate) fn write_dead_letters<'a>(
    connection: &Connection,
    letters: impl Iterator<Item = &'a DeadLetter>,
    limit: u64,
    count: &mut DeadLetterCount,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO dead_letters (sink, publisher, session_id, derived, sequence, received_at, reason, frame)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for letter in letters {
        let inserted = insert.execute(params![
            letter.sink,
            &*letter.id.publisher,
            letter.id.session_id as i64,
            letter.id.derived,
            letter.id.sequence as i64,
            letter.received_at.0 as i64,
            letter.reason,
            &letter.frame[..],
        ])?;
        if inserted > 0 {
            count.count += 1;
            count.bytes += dead_letter_bytes(letter);
        }
    }
    let mut oldest = connection.prepare_cached(
        "DELETE FROM dead_letters WHERE id = (SELECT min(id) FROM dead_letters)
         RETURNING octet_length(sink) + octet_length(publisher) + octet_length(reason) + octet_length(frame)",
    )?;
    while count.bytes > limit && count.count > 0 {
        let bytes: i64 = oldest.query_row([], |row| row.get(0))?;
        count.bytes = count.bytes.saturating_sub(bytes as u64 + DEAD_LETTER_OVERHEAD);
        count.count -= 1;
        count.expired += 1;
    }
    connection
        .prepare_cached("UPDATE journal SET dead_letters = ?1, dead_letter_bytes = ?2, dead_letters_expired = ?3")?
        .execute([count.count as i64, count.bytes as i64, count.expired as i64])?;
    Ok(())
}

fn dead_letter_bytes(letter: &DeadLetter) -> u64 {
    let texts = letter.sink.len() + letter.id.publisher.len() + letter.reason.len() + letter.frame.len();
    texts as u64 + DEAD_LETTER_OVERHEAD
}

pub(crate) fn write_cursor(connection: &Connection, sink: &str, cursor: Option<StoredCursor>) -> rusqlite::Result<()> {
    match cursor {
        Some(cursor) => connection
            .prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![sink, cursor.journal_id.0 as i64, cursor.offset as i64, cursor.cumulative as i64])?,
        None => connection.prepare_cached("DELETE FROM cursors WHERE sink = ?1")?.execute([sink])?,
    };
    Ok(())
}
