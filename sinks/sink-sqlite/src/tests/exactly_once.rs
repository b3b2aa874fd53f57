//! Whatever is delivered in whatever pieces, again and across crashes: the tables hold each event once, and the tiers agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::types::Value;
use sidecar_core::{BlockingSink, Durability, Record, RecordKind};
use sink_contract::{Draw, SyntheticJournal, SyntheticSession, derived_kinds, published_kinds};
use stats_sv2::{Event, Role, UnixMillis};

use super::{DAY, Fixture, HOUR, HOUR_START, JOURNAL, MINUTE, close, heartbeat, opened, read, share};
use crate::{SqliteSettings, SqliteSink};

const NOW: UnixMillis = UnixMillis(HOUR_START + 30 * MINUTE);

type Dump = BTreeMap<String, Vec<Vec<Value>>>;

/// Every row of every table.
fn dump(path: &Path) -> Dump {
    let conn = read(path);
    let mut names = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    names
        .into_iter()
        .map(|name| {
            let key: Vec<String> = conn
                .prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")
                .unwrap()
                .query_map([&name], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let order = if key.is_empty() { "rowid".to_owned() } else { key.join(", ") };
            let mut rows = conn.prepare(&format!("SELECT * FROM {name} ORDER BY {order}")).unwrap();
            let width = rows.column_count();
            let rows = rows.query_map([], |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
            (name, rows.map(Result::unwrap).collect())
        })
        .collect()
}

/// Equal, except that sums of floating-point numbers may differ by rounding.
fn assert_same(a: &Dump, b: &Dump) {
    for ((table, rows_a), rows_b) in a.iter().zip(b.values()) {
        assert_eq!(rows_a.len(), rows_b.len(), "rows of {table}: {rows_a:?} {rows_b:?}");
        for (row_a, row_b) in rows_a.iter().zip(rows_b) {
            let same = row_a.iter().zip(row_b).all(|pair| match pair {
                (Value::Real(x), Value::Real(y)) => close(*x, *y) || (x - y).abs() < 1.0,
                (x, y) => x == y,
            });
            assert!(same, "{table}: {row_a:?} {row_b:?}");
        }
    }
}

fn sink(folder: &Path) -> SqliteSink {
    // Small limits, so that their rules are part of what is compared.
    let settings = SqliteSettings { fine_workers: 2, max_series: 6, ..SqliteSettings::new(folder.join("stats.db")) };
    let mut sink = SqliteSink::new(settings, Durability::Process).unwrap();
    sink.start().unwrap();
    sink
}

/// Shares that count, by the rules alone: all of the publisher outside announcements; a gap ends an announcement, as the
/// end of its session does.
fn expected_shares(records: &[Arc<Record>]) -> u64 {
    let mut announcing: BTreeMap<(String, u64), bool> = BTreeMap::new();
    let mut shares = 0;
    for record in records {
        let announcing = announcing.entry((record.publisher.to_string(), record.session_id)).or_default();
        for envelope in record.envelopes() {
            match (record.kind, envelope.event().unwrap()) {
                (RecordKind::Derived, Event::Gap(_) | Event::SessionEnded(_)) => *announcing = false,
                (RecordKind::Events, Event::AnnounceBegin(_)) => *announcing = true,
                (RecordKind::Events, Event::AnnounceEnd(_)) => *announcing = false,
                (RecordKind::Events, Event::ShareSubmitted(_)) if !*announcing => shares += 1,
                (RecordKind::Events, Event::SharesCounted(counted)) if !*announcing => {
                    shares += u64::from(counted.accepted);
                }
                _ => {}
            }
        }
    }
    shares
}

/// Sums of `columns` of a tier by series and by the bucket of a coarser tier.
fn sums_by(path: &Path, level: &str, bucket: &str, columns: &str) -> BTreeMap<(i64, i64), Vec<f64>> {
    let conn = read(path);
    let sql = format!("SELECT series, {bucket}, {columns} FROM rollup_{level} GROUP BY 1, 2");
    let mut rows = conn.prepare(&sql).unwrap();
    let width = rows.column_count();
    rows.query_map([], |row| {
        let sums = (2..width).map(|column| row.get::<_, f64>(column)).collect::<Result<_, _>>()?;
        Ok(((row.get(0)?, row.get(1)?), sums))
    })
    .unwrap()
    .map(Result::unwrap)
    .collect()
}

fn assert_tiers_agree(path: &Path) {
    const COUNTS: &str = "total(accepted), total(invalid_target), total(rejected), total(unrated_shares), total(blocks), \
                          total(quotes), max(best_share_work), max(squares_are_lower_bound)";
    const WORK: &str = "total(work), total(work_squared), total(unrated_work)";
    let conn = read(path);
    let mut levels = conn.prepare("SELECT id, levels FROM series").unwrap();
    let levels: BTreeMap<i64, u8> =
        levels.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    for (fine, coarse, bucket, level) in [
        ("10s", "1m", "bucket - bucket % 60000", 1),
        ("1m", "5m", "bucket - bucket % 300000", 2),
        ("5m", "1h", "bucket - bucket % 3600000", 3),
        ("1h", "total", "0", 4),
    ] {
        let (from_fine, from_coarse) = (sums_by(path, fine, bucket, COUNTS), sums_by(path, coarse, "bucket", COUNTS));
        // Connections have no coarser tier.
        let is_kept = |key: &(i64, i64)| levels[&key.0] & (1 << level) != 0;
        for (key, counts) in from_fine.iter().filter(|(key, _)| is_kept(key)) {
            assert_eq!(Some(counts), from_coarse.get(key), "{fine} {coarse} {key:?}");
        }
        let (fine_work, coarse_work) = (sums_by(path, fine, bucket, WORK), sums_by(path, coarse, "bucket", WORK));
        for (key, work) in fine_work.iter().filter(|(key, _)| is_kept(key)) {
            let other = &coarse_work[key];
            let scale = work[0].max(1.0);
            assert!(close(work[0], other[0]), "{fine} {coarse} {work:?} {other:?}");
            assert!(close(work[1], other[1]), "{fine} {coarse} {work:?} {other:?}");
            assert!((work[2] - other[2]).abs() <= 1e-9 * scale, "{fine} {coarse} {work:?} {other:?}");
        }
    }
    // The same holds for the reasons.
    for (table, rejects) in
        [("rollup_1m", "rejects_1m"), ("rollup_5m", "rejects_5m"), ("rollup_total", "rejects_total")]
    {
        let differ: u64 = conn
            .query_row(
                &format!(
                    "SELECT count(*) FROM {table} r WHERE rejected <> (SELECT coalesce(sum(count), 0) FROM {rejects} j
                     WHERE j.bucket = r.bucket AND j.series = r.series)"
                ),
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(differ, 0, "{table}");
    }
}

/// What is counted of quotes is what the quotes say, since none was given up yet.
fn assert_quotes_agree(path: &Path) {
    let conn = read(path);
    let rows = |sql: &str| -> Vec<Vec<Value>> {
        let mut rows = conn.prepare(sql).unwrap();
        let width = rows.column_count();
        let rows = rows.query_map([], |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(
        rows("SELECT source, state, count FROM quote_counts WHERE count <> 0 ORDER BY 1, 2"),
        rows("SELECT source, state, count(*) FROM quotes GROUP BY 1, 2 ORDER BY 1, 2"),
    );
    for (stage, start, end) in
        [(0, "created_at", "sent_at"), (1, "sent_at", "answered_at"), (2, "answered_at", "paid_at")]
    {
        for (level, bucket) in [(1, "60000"), (3, "3600000"), (4, "9223372036854775807")] {
            assert_eq!(
                rows(&format!(
                    "SELECT bucket, source, sum(count), max(max_ms) FROM quote_times WHERE level = {level} AND stage = {stage}
                     GROUP BY 1, 2 ORDER BY 1, 2"
                )),
                rows(&format!(
                    "SELECT iif({level} = 4, 0, {end} - {end} % {bucket}), source, count(*), max(max(0, {end} - {start}))
                     FROM quotes WHERE {start} IS NOT NULL AND {end} IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
                )),
                "stage {stage}, level {level}"
            );
        }
    }
    let told: u64 =
        conn.query_row("SELECT count(*) FROM quotes WHERE amount IS NOT NULL", [], |row| row.get(0)).unwrap();
    let counted: u64 = conn
        .query_row(
            "SELECT coalesce(sum(t.quotes), 0) FROM rollup_total t JOIN series s ON s.id = t.series WHERE s.kind = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(counted, told, "each quote counts once");
}

/// Records of three sessions of two publishers: events of all kinds, derived events, announcements whole or cut off.
fn records() -> impl Strategy<Value = Vec<Arc<Record>>> {
    let piece = (0_usize..3, 0_u8..10, any::<u64>(), any::<bool>(), prop::collection::vec(any::<usize>(), 1..40));
    prop::collection::vec(piece, 1..16).prop_map(|pieces| {
        let mut journal = SyntheticJournal::new(JOURNAL, NOW);
        let mut sessions = [("pool-a", Role::Pool, 1), ("pool-a", Role::Pool, 2), ("proxy \"b\"\n", Role::Proxy, 3)]
            .map(|(publisher, role, id)| SyntheticSession::new(publisher, role, id));
        let (published, derived) = (published_kinds(), derived_kinds());
        pieces
            .into_iter()
            .map(|(session, what, seed, hostile, picks)| {
                let session = &mut sessions[session];
                let mut draw = if hostile { Draw::hostile(seed, NOW) } else { Draw::new(seed, NOW) };
                match what {
                    0 => journal.append_derived(session, &[draw.event(derived[picks[0] % derived.len()])]),
                    1 | 2 => {
                        let mut events = draw.announcement();
                        events.truncate(picks.len());
                        journal.append(session, &events)
                    }
                    _ => {
                        let events: Vec<_> =
                            picks.iter().map(|pick| draw.event(published[pick % published.len()])).collect();
                        journal.append(session, &events)
                    }
                }
            })
            .collect()
    })
}

/// How the records are delivered the second time.
#[derive(Debug, Clone)]
struct Piece {
    records: usize,
    /// Records before the piece that come again, as after a crash that lost the driver's cursor.
    again: usize,
    restart: bool,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = (1_usize..5, 0_usize..4, prop::bool::weighted(0.3));
    prop::collection::vec(piece.prop_map(|(records, again, restart)| Piece { records, again, restart }), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_with_repetitions_gives_the_same_tables(
        records in records(),
        pieces in pieces(),
    ) {
        let journal = SyntheticJournal::new(JOURNAL, NOW);
        let whole = tempfile::tempdir().unwrap();
        let mut at_once = sink(whole.path());
        at_once.deliver(&journal.batch(&records)).unwrap();
        at_once.close().unwrap();

        let split = tempfile::tempdir().unwrap();
        let mut in_pieces = sink(split.path());
        let mut taken = 0;
        let rest = Piece { records: records.len(), again: 2, restart: true };
        for piece in pieces.iter().chain([&rest]) {
            if piece.restart {
                in_pieces.close().unwrap();
                in_pieces = sink(split.path());
            }
            let end = (taken + piece.records).min(records.len());
            let start = taken.saturating_sub(piece.again);
            if start < end {
                in_pieces.deliver(&journal.batch(&records[start..end])).unwrap();
            }
            taken = end;
        }
        let start = in_pieces.start().unwrap();
        prop_assert_eq!(start.cursor.map(|cursor| cursor.offset), Some(records.len() as u64));
        in_pieces.close().unwrap();

        let (a, b) = (dump(&whole.path().join("stats.db")), dump(&split.path().join("stats.db")));
        assert_same(&a, &b);
        assert_tiers_agree(&whole.path().join("stats.db"));
        assert_quotes_agree(&whole.path().join("stats.db"));

        let counted: u64 = super::one(
            &split.path().join("stats.db"),
            "SELECT coalesce(sum(accepted), 0) FROM rollup_total t JOIN series s ON s.id = t.series WHERE s.kind = 1",
            [],
        );
        prop_assert_eq!(counted, expected_shares(&records));
    }
}

#[test]
fn a_record_of_which_a_part_is_known_adds_the_rest() {
    let mut fixture = Fixture::new();
    let first = fixture.journal.append(&mut fixture.session, &[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    fixture.deliver(std::slice::from_ref(&first));
    // The journal's cut may fall elsewhere after its own recovery: the same events in a longer record.
    let mut frames = first.frames.to_vec();
    share(1, HOUR_START + 1).encode(&mut frames);
    let longer = Arc::new(Record { count: 3, frames: frames.into(), offset: 2, ..(*first).clone() });
    fixture.deliver(&[longer]);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 2);
    assert_eq!(fixture.get::<u64>("SELECT applied FROM sessions"), 3);
}

#[test]
fn sessions_and_derived_events_have_numbers_of_their_own() {
    let mut fixture = Fixture::new();
    fixture.events(&[share(1, HOUR_START), share(1, HOUR_START)]);
    fixture.derived(&[super::session_ended(HOUR_START)]);
    let mut other = sink_contract::SyntheticSession::new("pool-a", stats_sv2::Role::Pool, 2);
    let record = fixture.journal.append(&mut other, &[share(1, HOUR_START)]);
    fixture.deliver(&[record]);
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 3, "number 1 of another session is another event");
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL"), 1);
}

#[test]
fn late_and_future_events_find_their_bucket() {
    let mut fixture = Fixture::new();
    fixture.journal.set_now(UnixMillis(HOUR_START + 10 * MINUTE));
    fixture.events(&[
        opened(1, "alice", HOUR_START),
        heartbeat(HOUR_START),
        // Rule 15: late ones count at their own time, ones from the future at their arrival.
        share(1, HOUR_START + 3 * MINUTE),
        share(1, HOUR_START + 11 * MINUTE),
        share(1, HOUR_START + DAY),
    ]);
    assert_eq!(fixture.bucket("1m", 1, "alice", HOUR_START + 3 * MINUTE).0, 1);
    assert_eq!(fixture.bucket("1m", 1, "alice", HOUR_START + 11 * MINUTE).0, 1, "within two minutes");
    assert_eq!(fixture.bucket("1m", 1, "alice", HOUR_START + 10 * MINUTE).0, 1, "beyond them");
    assert_eq!(fixture.bucket("1h", 1, "alice", HOUR_START).0, 3);
    assert_eq!(fixture.bucket("1h", 1, "alice", HOUR_START + DAY / HOUR * HOUR).0, 0);
    assert_tiers_agree(&fixture.path());
}
