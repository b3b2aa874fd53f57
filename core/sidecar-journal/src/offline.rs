//! Looking at a journal from outside, also while a sidecar runs: numbers, a full check, an export, dead letters. Never
//! writes.

mod dead_letters;

use std::io::Write;
use std::path::Path;

use rusqlite::Connection;
use sidecar_core::Record;
use sidecar_core::event_json::write_event_json;
use stats_sv2::Frames;

use crate::error::JournalError;
use crate::reader::{is_damage, next_readable};
use crate::row::{COLUMNS, RawRow, SessionNames};
use crate::schema::{self, JournalRow};
use crate::store::wal_bytes;

pub use self::dead_letters::{dead_letters, sinks_with_dead_letters};

/// Findings kept in a [`CheckReport`].
pub const MAX_FINDINGS: usize = 100;
/// Rows of one read: no read transaction lasts longer, since a sidecar may be running.
const READ_ROWS: usize = 16;

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct CheckReport {
    /// Records read.
    pub records: u64,
    /// Events in them.
    pub events: u64,
    /// What is wrong, one line each; the first [`MAX_FINDINGS`].
    pub findings: Vec<String>,
    /// How many things are wrong.
    pub faults: u64,
}

impl CheckReport {
    fn add(&mut self, finding: impl FnOnce() -> String) {
        self.faults += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding());
        }
    }
}

/// Numbers of a journal file.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct OfflineStats {
    /// Name of the journal, in hexadecimal.
    pub journal_id: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its write-ahead log.
    pub wal_bytes: u64,
    /// Offset of the oldest record.
    pub first_offset: u64,
    /// Offset of the last record.
    pub head_offset: u64,
    /// Records between them.
    pub records: u64,
    /// Events appended since the journal was made.
    pub cumulative_events: u64,
    /// Events that left by retention.
    pub cumulative_before_tail: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Bytes of dead letters.
    pub dead_letter_bytes: u64,
    /// Sinks and how far they are.
    pub cursors: Vec<SinkCursor>,
    /// Sessions known.
    pub sessions: u64,
    /// Sessions that have not ended.
    pub open_sessions: u64,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SinkCursor {
    /// The sink's name.
    pub sink: String,
    /// Offset of the last record that it took.
    pub offset: u64,
    /// Events after it.
    pub pending_events: u64,
}

/// Numbers of the journal at `path`.
pub fn stats(path: &Path) -> Result<OfflineStats, JournalError> {
    let connection = open(path)?;
    let read = || {
        let journal = JournalRow::read(&connection)?;
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count as u64);
        let mut cursors: Vec<SinkCursor> = schema::read_cursors(&connection)?
            .into_iter()
            .map(|(sink, cursor)| SinkCursor {
                sink,
                offset: cursor.offset,
                pending_events: journal.head_cumulative.saturating_sub(cursor.cumulative),
            })
            .collect();
        cursors.sort_by(|one, other| one.sink.cmp(&other.sink));
        Ok(OfflineStats {
            journal_id: journal.journal_id.to_string(),
            file_bytes: std::fs::metadata(path).map_or(0, |file| file.len()),
            wal_bytes: wal_bytes(path),
            first_offset: schema::first_offset(&connection)?.unwrap_or(journal.head_offset + 1),
            head_offset: journal.head_offset,
            records: count("SELECT count(*) FROM batches")?,
            cumulative_events: journal.head_cumulative,
            cumulative_before_tail: journal.tail_cumulative,
            dead_letters: journal.dead_letters,
            dead_letter_bytes: journal.dead_letter_bytes,
            cursors,
            sessions: count("SELECT count(*) FROM sessions")?,
            open_sessions: count("SELECT count(*) FROM sessions WHERE ended IS NULL")?,
        })
    };
    read().map_err(JournalError::sqlite("read the journal's numbers"))
}

/// Reads the whole journal at `path` and checks every record: its checksum, its frames, its place in the cumulative
/// count and in its session's numbers. `progress` is told (records read, records in all, about).
pub fn check(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, JournalError> {
    let connection = open(path)?;
    let journal = JournalRow::read(&connection).map_err(JournalError::sqlite("read the journal's numbers"))?;
    let first = schema::first_offset(&connection)
        .map_err(JournalError::sqlite("find the oldest record"))?
        .unwrap_or(journal.head_offset + 1);
    let all = (journal.head_offset + 1).saturating_sub(first);
    let mut report = CheckReport::default();
    let mut names = SessionNames::default();
    let mut cumulative = None;
    let mut numbers = std::collections::HashMap::new();
    walk(&connection, first.saturating_sub(1), journal.head_offset, &mut |step| {
        let row = match step {
            Step::Row(row) => row,
            Step::Unreadable { first, last } => {
                report.add(|| format!("records {first} to {last} cannot be read"));
                return Ok(());
            }
        };
        let head = row.head;
        report.records += 1;
        report.events += u64::from(head.count);
        if !row.is_intact() {
            report.add(|| format!("record {}: checksum is wrong", head.offset));
        } else if Frames::new(&row.frames).count() as u64 != u64::from(head.count) {
            report.add(|| format!("record {}: number of frames is not {}", head.offset, head.count));
        }
        let before = head.cumulative.wrapping_sub(u64::from(head.count));
        if let Some(expected) = cumulative.filter(|expected| *expected != before) {
            report.add(|| {
                format!("record {}: {} events before it are missing", head.offset, before.wrapping_sub(expected))
            });
        }
        cumulative = Some(head.cumulative);
        let last = numbers.insert((head.session, head.derived), head.last_sequence());
        if let Some(last) = last.filter(|last| *last >= head.first_sequence) {
            report.add(|| format!("record {}: begins at {} though {last} was there", head.offset, head.first_sequence));
        }
        if names.get(&connection, head.session)?.is_none() {
            report.add(|| format!("record {}: its session is not known", head.offset));
        }
        progress(report.records, all.max(report.records));
        Ok(())
    })?;
    Ok(report)
}

/// Writes every event from offset `from` on as JSON lines, and returns their number. Damaged records are left out.
pub fn export(path: &Path, from: u64, out: &mut dyn Write) -> Result<u64, JournalError> {
    let connection = open(path)?;
    let journal = JournalRow::read(&connection).map_err(JournalError::sqlite("read the journal's numbers"))?;
    let mut names = SessionNames::default();
    let mut events = 0;
    let mut lines = Vec::new();
    let mut failure = None;
    walk(&connection, from.saturating_sub(1), journal.head_offset, &mut |step| {
        let Step::Row(row) = step else { return Ok(()) };
        let owner = names.get(&connection, row.head.session)?;
        let (true, Some(owner), None) = (row.is_intact(), owner, &failure) else { return Ok(()) };
        let record: Record = row.into_record(&owner);
        lines.clear();
        for envelope in record.envelopes() {
            // What does not decode would have failed its checksum.
            if write_event_json(&envelope, &mut lines).is_ok() {
                lines.push(b'\n');
                events += 1;
            }
        }
        failure = out.write_all(&lines).err();
        Ok(())
    })?;
    match failure.map_or_else(|| out.flush(), Err) {
        Ok(()) => Ok(events),
        Err(error) => Err(JournalError::Export(error)),
    }
}

fn open(path: &Path) -> Result<Connection, JournalError> {
    // SQLite's own message would not say which file.
    std::fs::metadata(path).map_err(JournalError::file("open journal", path))?;
    let connection = schema::open_reader(path).map_err(JournalError::sqlite("open the journal for reading"))?;
    schema::check_identity(&connection, path)?;
    Ok(connection)
}

/// One step of a walk.
enum Step {
    Row(RawRow),
    Unreadable { first: u64, last: u64 },
}

/// Visits the rows after `after` up to `head`, a few in one read.
fn walk(
    connection: &Connection,
    after: u64,
    head: u64,
    visit: &mut dyn FnMut(Step) -> rusqlite::Result<()>,
) -> Result<(), JournalError> {
    let failed = |error| JournalError::sqlite("read journal records")(error);
    let sql =
        format!("SELECT {COLUMNS} FROM batches WHERE offset > ?1 AND offset <= ?2 ORDER BY offset LIMIT {READ_ROWS}");
    let mut last = after;
    loop {
        let mut rows = Vec::with_capacity(READ_ROWS);
        let outcome = (|| {
            let mut query = connection.prepare_cached(&sql)?;
            let mut found = query.query([last as i64, head as i64])?;
            while let Some(row) = found.next()? {
                rows.push(RawRow::read(row)?);
            }
            Ok(())
        })();
        let (ended, damaged) = match outcome {
            Ok(()) => (rows.len() < READ_ROWS, false),
            Err(error) if is_damage(&error) => (false, true),
            Err(error) => return Err(failed(error)),
        };
        for row in rows {
            last = row.head.offset;
            visit(Step::Row(row)).map_err(failed)?;
        }
        if damaged {
            let next = next_readable(connection, last, head).map_err(failed)?;
            let end = next.map_or(head, |next| next - 1);
            visit(Step::Unreadable { first: last + 1, last: end }).map_err(failed)?;
            last = end;
            if next.is_none() {
                return Ok(());
            }
        } else if ended {
            return Ok(());
        }
    }
}
