//! The file: one process, versions, a full disk, damage.

use std::io::{Seek, SeekFrom, Write};

use rusqlite::Connection;
use sidecar_core::{BlockingSink, Durability, SinkError, SinkRegistry};

use super::{Fixture, HOUR_START, JOURNAL, SECOND, heartbeat, opened, share};
use crate::query::{History, QueryError};
use crate::{HistoryError, SqliteSettings, SqliteSink, schema, store};

fn message(error: &SinkError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn a_second_process_is_refused_until_the_first_has_closed() {
    let mut fixture = Fixture::new();
    let mut second = SqliteSink::new(fixture.settings.clone(), Durability::Process).unwrap();
    let error = second.start().unwrap_err();
    assert!(matches!(error, SinkError::Fatal { .. }), "{error:?}");
    assert!(message(&error).contains("in use by another process"), "{}", message(&error));
    fixture.sink.close().unwrap();
    second.start().unwrap();
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let mut fixture = Fixture::new();
    fixture.sink.close().unwrap();
    let conn = Connection::open(fixture.path()).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let error = fixture.sink.start().unwrap_err();
    assert!(matches!(error, SinkError::Fatal { .. }), "{error:?}");
    assert!(message(&error).contains("version 99"), "{}", message(&error));
    assert!(matches!(
        History::open(&fixture.path()),
        Err(QueryError::Open(HistoryError::NewerSchema { found: 99, .. }))
    ));
    assert_eq!(fixture.get::<u32>("SELECT user_version FROM pragma_user_version"), 99);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE coins (id INTEGER); INSERT INTO coins VALUES (1)").unwrap();
    drop(conn);
    let before = std::fs::read(&path).unwrap();
    let mut sink = SqliteSink::new(SqliteSettings::new(&path), Durability::Process).unwrap();
    let error = sink.start().unwrap_err();
    assert!(message(&error).contains("not a history"), "{}", message(&error));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn an_older_file_is_migrated_and_a_failed_migration_changes_nothing() {
    fn broken() -> String {
        "CREATE TABLE half (id INTEGER); this is no SQL".to_owned()
    }
    fn another() -> String {
        "ALTER TABLE sources ADD COLUMN note TEXT NOT NULL DEFAULT 'none'".to_owned()
    }
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    fixture.sink.close().unwrap();
    let mut conn = Connection::open(fixture.path()).unwrap();
    let known = schema::MIGRATIONS.len();
    let with = |next: fn() -> String| [schema::MIGRATIONS, &[next]].concat();
    schema::migrate(&mut conn, &with(broken)).unwrap_err();
    assert_eq!(schema::version(&conn).unwrap(), known);
    let half: u32 =
        conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", [], |row| row.get(0)).unwrap();
    assert_eq!(half, 0);
    schema::migrate(&mut conn, &with(another)).unwrap();
    assert_eq!(schema::version(&conn).unwrap(), known + 1);
    let note: String = conn.query_row("SELECT note FROM sources", [], |row| row.get(0)).unwrap();
    assert_eq!(note, "none");
    assert!(matches!(schema::check(&conn, known), Err(HistoryError::NewerSchema { .. })));
}

#[test]
fn a_full_disk_leaves_nothing_half_applied_and_work_resumes() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    let pages: u32 = fixture.sink.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    fixture.sink.connection().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    // New workers in new minutes need new pages.
    let events: Vec<_> = (0..2_000).map(|index| share(index, HOUR_START + u64::from(index) * SECOND)).collect();
    let record = fixture.journal.append(&mut fixture.session, &events);
    let batch = fixture.journal.batch(&[record]);
    let error = fixture.sink.deliver(&batch).unwrap_err();
    assert!(matches!(error, SinkError::Transient { .. }), "{error:?}");
    assert!(message(&error).contains("full"), "{}", message(&error));
    assert_eq!(fixture.get::<u64>("SELECT applied FROM sessions"), 2);
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 1);
    assert_eq!(fixture.get::<u64>("SELECT value FROM meta WHERE key = 'offset'"), 1);

    fixture.sink.connection().pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
    fixture.sink.deliver(&batch).unwrap();
    fixture.sink.deliver(&batch).unwrap();
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 2_001);
}

/// Overwrites a part of the file.
pub(super) fn damage(path: &std::path::Path, from: u64, length: usize) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0x5a; length]).unwrap();
}

#[test]
fn a_file_with_a_damaged_head_is_set_aside_and_a_new_one_begun() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    fixture.sink.close().unwrap();
    damage(&fixture.path(), 0, 4096);
    let start = fixture.sink.start().unwrap();
    let cursor = start.cursor.expect("without one the driver would go on at its own note, and nothing came again");
    assert_ne!(cursor.journal_id, JOURNAL, "nothing of it may be kept: the journal delivers again");
    assert!(store::with_suffix(&fixture.path(), ".damaged-1").exists());
    fixture.events(&[share(1, HOUR_START + SECOND)]);
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 1);
    assert_eq!(History::open(&fixture.path()).unwrap().overview(HOUR_START).unwrap().damaged_files, 1);
}

#[test]
fn a_file_with_a_damaged_table_keeps_the_rest_and_counts_nothing_twice() {
    let mut fixture = Fixture::new();
    for round in 0..20_u64 {
        let at = HOUR_START + round * 60 * SECOND;
        let events: Vec<_> = (0..200).map(|index| share(index, at)).collect();
        fixture.events(&events);
    }
    fixture.events(&[heartbeat(HOUR_START + 1_200 * SECOND)]);
    let page: u64 = fixture.get("SELECT rootpage FROM sqlite_schema WHERE name = 'rollup_1m'");
    let last_record = fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START + 1_201 * SECOND)]);
    fixture.deliver(std::slice::from_ref(&last_record));
    fixture.sink.close().unwrap();
    damage(&fixture.path(), (page - 1) * 4096, 4096);
    fixture.sink.start().unwrap();

    // The damage shows when the table is touched: nothing is lost, the same batch comes again.
    let record = fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START + 1_202 * SECOND)]);
    let batch = fixture.journal.batch(&[last_record, record]);
    let error = fixture.sink.deliver(&batch).unwrap_err();
    assert!(matches!(error, SinkError::Fatal { .. }), "{error:?}");
    fixture.sink.close().unwrap();
    let cursor = fixture.sink.start().unwrap().cursor.unwrap();
    assert_eq!((cursor.journal_id, cursor.offset), (JOURNAL, 22), "it goes on where the damaged file stood");
    fixture.sink.deliver(&batch).unwrap();
    assert!(store::with_suffix(&fixture.path(), ".damaged-1").exists());
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 4_002, "totals and numbers were kept together");
    assert_eq!(fixture.bucket("1h", 0, "", HOUR_START).0, 4_002);
}

#[test]
fn damage_that_shows_while_it_runs_is_filled_from_the_journal() {
    let mut fixture = Fixture::new();
    let mut records = Vec::new();
    for round in 0..5 {
        records.push(fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START + round * SECOND)]));
        fixture.deliver(&records[round as usize..]);
    }
    let page: u64 = fixture.get("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'");
    fixture.sink.close().unwrap();
    damage(&fixture.path(), (page - 1) * 4096, 4096);
    assert_eq!(fixture.sink.start().unwrap().cursor.unwrap().offset, 5, "not seen yet");
    let next = fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START + 5 * SECOND)]);
    records.push(next);
    // The batch alone must not be taken by the new file: what lies before it is not there.
    let next = fixture.journal.batch(&records[5..]);
    assert!(matches!(fixture.sink.deliver(&next).unwrap_err(), SinkError::Fatal { .. }));
    fixture.sink.close().unwrap();
    assert_ne!(fixture.sink.start().unwrap().cursor.unwrap().journal_id, JOURNAL);
    fixture.deliver(&records);
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 6);
    assert_eq!(fixture.sink.start().unwrap().cursor.unwrap().offset, 6);
}

#[test]
fn damage_that_shows_at_the_start_is_answered_by_the_new_files_cursor() {
    let mut fixture = Fixture::new();
    fixture.events(&[share(1, HOUR_START)]);
    let page: u64 = fixture.get("SELECT rootpage FROM sqlite_schema WHERE name = 'meta'");
    fixture.sink.close().unwrap();
    damage(&fixture.path(), (page - 1) * 4096, 4096);
    assert_ne!(fixture.sink.start().unwrap().cursor.unwrap().journal_id, JOURNAL);
    assert!(store::with_suffix(&fixture.path(), ".damaged-1").exists());
}

#[test]
fn a_sink_that_is_not_started_takes_nothing() {
    let mut fixture = Fixture::new();
    let record = fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START)]);
    fixture.sink.close().unwrap();
    let batch = fixture.journal.batch(&[record]);
    assert!(matches!(fixture.sink.deliver(&batch).unwrap_err(), SinkError::Fatal { .. }));
}

#[test]
fn the_wal_stays_bounded_while_somebody_reads() {
    let mut fixture = Fixture::new();
    let wal = store::with_suffix(&fixture.path(), "-wal");
    let mut largest = 0;
    for round in 0..25_u64 {
        // Every minute of a day and many downstreams: pages all over the file.
        let events: Vec<_> = (0..1_440)
            .map(|minute| share((round * 7 + minute) as u32 % 500, HOUR_START + minute * 60 * SECOND))
            .collect();
        let record = fixture.journal.append(&mut fixture.session, &events);
        fixture.deliver(&[record]);
        let history = History::open(&fixture.path()).unwrap();
        history.overview(HOUR_START).unwrap();
        largest = largest.max(std::fs::metadata(&wal).unwrap().len());
    }
    let written: u64 =
        fixture.get("SELECT sum(accepted) FROM rollup_total t JOIN series s ON s.id = t.series WHERE s.kind = 0");
    assert_eq!(written, 25 * 1_440);
    assert!(largest < 12 << 20, "{largest}");
}

#[test]
fn an_interrupted_replacement_is_finished() {
    let mut fixture = Fixture::new();
    fixture.events(&[share(1, HOUR_START)]);
    fixture.sink.close().unwrap();
    let path = fixture.path();
    let damaged = store::with_suffix(&path, ".damaged-1");
    std::fs::write(&damaged, b"damaged").unwrap();
    std::fs::rename(&path, store::with_suffix(&path, ".rebuilt")).unwrap();
    // The kill came before the damaged file's WAL had its new name.
    std::fs::write(store::with_suffix(&path, "-wal"), b"of the damaged file").unwrap();
    fixture.sink.start().unwrap();
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 1);
    assert_eq!(std::fs::read(store::with_suffix(&damaged, "-wal")).unwrap(), b"of the damaged file");
}

/// SQLite syncs the WAL in every commit if, and only if, the connection that commits has `synchronous = FULL`; so whatever
/// way the connection came about must have set it: a new file, one that was there, one that took a damaged one's place.
#[test]
fn durability_power_syncs_every_commit() {
    for (durability, synchronous) in [(Durability::Power, 2), (Durability::Process, 1)] {
        let assert_set = |sink: &SqliteSink, when: &str| {
            let conn = sink.connection();
            let found: u32 = conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
            assert_eq!(found, synchronous, "{when}");
            let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal", "{when}");
            let vacuum: u32 = conn.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
            assert_eq!(vacuum, 2, "free pages can be given back: {when}");
        };
        let mut fixture = Fixture::new();
        fixture.sink.close().unwrap();
        std::fs::remove_file(fixture.path()).unwrap();
        fixture.sink = SqliteSink::new(fixture.settings.clone(), durability).unwrap();
        fixture.sink.start().unwrap();
        assert_set(&fixture.sink, "a new file");
        fixture.events(&[share(1, HOUR_START)]);
        let page: u64 = fixture.get("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'");
        fixture.sink.close().unwrap();
        fixture.sink.start().unwrap();
        assert_set(&fixture.sink, "a file that was there");
        fixture.sink.close().unwrap();
        damage(&fixture.path(), (page - 1) * 4096, 4096);
        fixture.sink.start().unwrap();
        let record = fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START)]);
        fixture.sink.deliver(&fixture.journal.batch(&[record])).unwrap_err();
        assert_set(&fixture.sink, "a file in place of a damaged one");
    }
}

#[test]
fn settings_are_checked() {
    let mut registry = SinkRegistry::new();
    crate::register(&mut registry).unwrap();
    let parse = |text: &str| {
        let table = toml::de::ValueDeserializer::parse(text).unwrap();
        registry.parse("sqlite", table).unwrap().map_err(|error| error.to_string())
    };
    let settings = parse(r#"{ path = "x/stats.db", retention = { "1m" = "3d" }, disk_budget = "1 GiB" }"#).unwrap();
    assert_eq!(settings.claims().len(), 1);
    assert!(settings.probe().is_err(), "its directory does not exist");
    assert!(parse(r#"{ path = "x", disc_budget = "1 GiB" }"#).unwrap_err().contains("disk_budget"));
    let bad = SqliteSettings { hardest_difficulty: Some(-1.0), ..SqliteSettings::new("x") };
    assert!(matches!(SqliteSink::new(bad, Durability::Power), Err(SinkError::Fatal { .. })));
    let crossed =
        SqliteSettings { easiest_difficulty: Some(10.0), hardest_difficulty: Some(1.0), ..SqliteSettings::new("x") };
    assert!(matches!(SqliteSink::new(crossed, Durability::Power), Err(SinkError::Fatal { .. })));
}
