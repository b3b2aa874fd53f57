use rusqlite::Connection;
use sidecar_core::BlockingSink;
use sink_sqlite::query::{SeriesQuery, Subject};
use sink_sqlite::{History, SqliteSettings, SqliteSink};

use super::*;

const END: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY_MS: u64 = 24 * HOUR_MS;

/// Accepted and rejected shares and work of a table since a time, by kind of series.
fn sums(path: &Path, table: &str, kind: u8, since: u64) -> (u64, u64, f64) {
    let conn = Connection::open(path).unwrap();
    let sql = format!(
        "SELECT coalesce(sum(accepted), 0), coalesce(sum(rejected), 0), total(work) FROM {table} r
         JOIN series s ON s.id = r.series WHERE s.kind = ?1 AND r.bucket >= ?2"
    );
    conn.query_row(&sql, rusqlite::params![kind, since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

fn close((a, b, c): (u64, u64, f64), (x, y, z): (u64, u64, f64)) -> bool {
    (a, b) == (x, y) && (c - z).abs() <= 1e-9 * z && a > 0
}

#[test]
fn the_tiers_agree_the_history_reads_them_and_a_sink_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.db");
    // Longer than minutes are kept.
    let year = YearDatabase { workers: 6, days: 15, quotes: 400, end: END };
    year.write(&path).unwrap();
    assert!(year.write(&path).is_err(), "it never writes over a file");
    assert!(!path.with_extension("db-wal").exists(), "the file is whole");
    let whole = sums(&path, "rollup_total", 0, 0);
    for (table, kind) in [("hours", 0), ("hours", 1), ("rollup_total", 1), ("rollup_5m", 0), ("rollup_5m", 2)] {
        assert!(close(sums(&path, table, kind, 0), whole), "{table} {kind}");
    }
    let two_days = END.0 - END.0 % HOUR_MS - 2 * DAY_MS;
    assert!(close(sums(&path, "rollup_1m", 1, two_days), sums(&path, "hours", 1, two_days)));
    let hour = END.0 - END.0 % HOUR_MS - HOUR_MS;
    assert!(close(sums(&path, "rollup_10s", 0, hour), sums(&path, "rollup_1m", 0, hour)));
    let minutes = sums(&path, "rollup_1m", 1, 0);
    assert!(close(sums(&path, "settled_1d", 1, 0), sums(&path, "settled_1h", 1, 0)));
    let one = |sql: &str| Connection::open(&path).unwrap().query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(one("SELECT sum(accepted) FROM channels"), whole.0);
    assert_eq!(one("SELECT sum(count) FROM rejects_total r JOIN series s ON s.id = r.series WHERE kind = 0"), whole.1);
    assert_eq!(
        one("SELECT count(*) FROM rollup_1m WHERE bucket < (SELECT since FROM kept_since WHERE tier = '1m')"),
        0
    );

    let hours = sums(&path, "rollup_1h", 1, 0);

    let history = History::open(&path).unwrap();
    let overview = history.overview(END.0).unwrap();
    let source = &overview.sources[0];
    assert_eq!((source.publisher.as_str(), source.channels_open), (PUBLISHER, 0));
    assert_eq!(source.channels.as_ref().unwrap().totals.accepted, whole.0);
    assert!(!source.blocks.is_empty() && source.tip.is_some() && source.losses.is_empty());
    let quotes: u64 = one("SELECT sum(count) FROM quote_counts");
    assert!((350..=400).contains(&quotes), "{quotes}");
    let workers = history.workers(PUBLISHER, DAY_MS, END.0, None, 100).unwrap();
    assert_eq!(workers.len(), 6);
    let query = SeriesQuery {
        publisher: PUBLISHER.to_owned(),
        subject: Subject::Identity("sim.rig-0005".to_owned()),
        from_ms: END.0 - 7 * DAY_MS,
        to_ms: END.0,
        points: 0,
    };
    let series = history.series(&query).unwrap();
    assert!(series.points.iter().filter(|point| point.value.is_some_and(|value| value > 1e12)).count() > 150);

    let mut sink = SqliteSink::new(SqliteSettings::new(&path), sidecar_core::Durability::Process).unwrap();
    assert_eq!(sink.start().unwrap().cursor, None, "it stands in no journal");
    sink.maintain(END).unwrap();
    sink.close().unwrap();
    assert_eq!(sums(&path, "rollup_1m", 1, 0), minutes, "nothing was too old");
    assert_eq!(sums(&path, "rollup_1h", 1, 0), hours, "and nothing was left to settle");
}
