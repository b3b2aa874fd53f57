//! A history of an older version is brought up to date with everything in it.

use rusqlite::Connection;
use sidecar_core::{BlockingSink, Durability};
use sink_contract::SyntheticSession;
use stats_sv2::Role;

use super::quotes::{answered, created, failed, paid, sent};
use super::{Fixture, HOUR, HOUR_START, MINUTE, opened, read, session_ended, share};
use crate::query::{EhashOf, History, Part, QueryError};
use crate::{HistoryError, SqliteSettings, SqliteSink};

/// What the program of version 1 wrote after [`deliver`], as SQL.
const VERSION_1: &str = include_str!("version_1.sql");

fn deliver(fixture: &mut Fixture) {
    let t = HOUR_START;
    fixture.events(&[
        opened(1, "alice", t),
        share(1, t),
        created(1, 16, t + 1),
        sent(1, 16, t + 5),
        answered(1, "q-1", t + 250),
    ]);
    fixture.events(&[paid("q-1", 16, t + MINUTE), paid("q-unknown", 1, t + MINUTE)]);
    fixture.events(&[created(2, 4, t + 3), sent(2, 4, t + 4), failed(Some(2), t + 30_000), failed(None, t + 30_001)]);
    fixture.events(&[opened(2, "bob", t + 10), created(3, 1 << 63, t + 5), created(4, 1 << 63, t + 6)]);
    fixture.derived(&[session_ended(t + 2 * MINUTE)]);
    let mut second = SyntheticSession::new("pool-a", Role::Pool, 2);
    let later = t + 3 * MINUTE;
    let events = [
        opened(1, "alice", later),
        share(1, later),
        created(5, 2, later),
        sent(5, 2, later + 2),
        created(6, 8, later + 7),
    ];
    let record = fixture.journal.append(&mut second, &events);
    fixture.deliver(&[record]);
}

#[test]
fn a_history_of_version_1_becomes_what_this_version_would_have_written() {
    let mut fixture = Fixture::new();
    deliver(&mut fixture);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.db");
    Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    assert!(matches!(History::open(&path), Err(QueryError::Open(HistoryError::OlderSchema { found: 1, known: 4 }))));
    let mut sink = SqliteSink::new(SqliteSettings::new(&path), Durability::Process).unwrap();
    let cursor = sink.start().unwrap().cursor;
    assert_eq!(cursor, fixture.sink.start().unwrap().cursor, "it goes on where it stood");

    for rows in [
        "SELECT * FROM quotes ORDER BY id",
        "SELECT * FROM quote_times ORDER BY level, bucket, source, stage, slot",
        "SELECT * FROM quote_notes ORDER BY level, bucket, source, kind, code",
        "SELECT * FROM quote_counts WHERE count > 0 ORDER BY source, state",
        "SELECT source, quote_id, paid_at FROM early_payments",
        "SELECT source, at, code, message FROM unattributed_quotes",
        "SELECT * FROM ehash_by_channel ORDER BY opened_at",
        "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name",
    ] {
        let dump = |path| -> Vec<Vec<rusqlite::types::Value>> {
            let conn = read(path);
            let mut rows = conn.prepare(rows).unwrap();
            let width = rows.column_count();
            let rows = rows.query_map([], |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let (migrated, fresh) = (dump(&path), dump(&fixture.path()));
        assert!(!fresh.is_empty(), "{rows}");
        assert_eq!(migrated, fresh, "{rows}");
    }

    // It works on: the answer to a quote of version 1, and to a payment that version 1 did not know.
    let mut second = SyntheticSession::new("pool-a", Role::Pool, 3);
    let record = fixture
        .journal
        .append(&mut second, &[answered(5, "q-5", HOUR_START + HOUR), answered(6, "q-unknown", HOUR_START + HOUR)]);
    sink.deliver(&fixture.journal.batch(&[record])).unwrap();
    let history = History::open(&path).unwrap();
    let states: Vec<_> = history.quotes("pool-a", None, 2).unwrap().iter().map(|quote| quote.state.as_str()).collect();
    assert_eq!(states, ["paid", "answered"]);
    assert_eq!(history.quote_report("pool-a", HOUR, HOUR_START + HOUR).unwrap().total.unknown_payments, 0);
    let alice = history.ehash("pool-a", EhashOf::Identity, &Part::first(1)).unwrap().remove(0);
    assert_eq!(alice.ehash, (2 * (1_u128 << 63) + 30).to_string());
}

#[test]
fn damage_that_a_migration_finds_costs_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(VERSION_1).unwrap();
    let one = |sql: &str| -> u64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    let (page, accepted) = (
        one("SELECT rootpage FROM sqlite_schema WHERE name = 'channels'"),
        one("SELECT sum(accepted) FROM rollup_total"),
    );
    drop(conn);
    super::file::damage(&path, (page - 1) * 4096, 4096);
    let mut sink = SqliteSink::new(SqliteSettings::new(&path), Durability::Process).unwrap();
    let cursor = sink.start().unwrap().cursor.unwrap();
    assert_eq!(cursor.journal_id, super::JOURNAL, "it goes on where it stood");
    sink.close().unwrap();
    let conn = read(&path);
    let one = |sql: &str| -> u64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(one("SELECT sum(accepted) FROM rollup_total"), accepted);
    assert_eq!(one("PRAGMA user_version"), 4);
}
