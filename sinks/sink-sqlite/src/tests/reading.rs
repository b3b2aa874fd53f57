//! The read side: windows, series, states that are not zeros, the original design's views.

use mining_stats::Reading;
use stats_sv2::event::{ChainTipChanged, SourceInfo};
use stats_sv2::{CompactTarget, Event, Text, UnixMillis};

use super::{
    DAY, Fixture, HOUR, HOUR_START, MINUTE, SECOND, close, easy_work, heartbeat, miner, miner_share, opened, share,
};
use crate::query::{History, Part, QueryError, SeriesQuery, Subject};

/// A share of each of two workers every ten seconds for so long, then a heartbeat.
fn two_workers(fixture: &mut Fixture, seconds: u64) {
    fixture.events(&[opened(1, "alice", HOUR_START), opened(2, "bob", HOUR_START), heartbeat(HOUR_START)]);
    let mut events: Vec<_> = (0..seconds / 10)
        .flat_map(|index| [share(1, HOUR_START + index * 10 * SECOND), share(2, HOUR_START + index * 10 * SECOND)])
        .collect();
    events.push(heartbeat(HOUR_START + seconds * SECOND));
    fixture.events(&events);
}

fn series(subject: Subject, from: u64, to: u64) -> SeriesQuery {
    SeriesQuery { publisher: "pool-a".to_owned(), subject, from_ms: from, to_ms: to, points: 600 }
}

#[test]
fn windows_are_exact_sums_over_observed_time() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 7_200 + 90);
    let now = HOUR_START + (7_200 + 90) * SECOND;
    let overview = History::open(&fixture.path()).unwrap().overview(now).unwrap();
    let source = &overview.sources[0];
    let group = source.channels.as_ref().unwrap();
    assert_eq!((source.channels_open, source.downstreams, source.role), (2, 2, "pool"));
    assert_eq!(group.totals.accepted, 2 * 729);
    for window in &group.windows {
        let from = now - window.window_ms;
        assert_eq!(from % (10 * SECOND), 0, "{}", window.window);
        let start = from.max(HOUR_START);
        let expected = 2 * (now - start).div_ceil(10 * SECOND);
        assert_eq!(window.accepted, expected, "{}", window.window);
        assert_eq!(window.observed_ms, now - start, "{}", window.window);
        let estimate = window.reading.measured().unwrap();
        let rate = estimate.rate.hashes_per_second();
        assert!(close(rate, expected as f64 * easy_work() * 1000.0 / window.observed_ms as f64), "{}", window.window);
        assert!(estimate.low < estimate.rate && estimate.rate < estimate.high);
        assert!(window.text.contains("shares"), "{}", window.text);
    }
    assert!(source.miners.is_none(), "a pool has no SV1 miners, not zero of them");
}

#[test]
fn workers_are_listed_in_one_order_with_pages() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 600);
    fixture.events(&[miner(3, "rig-3", HOUR_START), miner_share(3, HOUR_START + SECOND)]);
    let history = History::open(&fixture.path()).unwrap();
    let now = HOUR_START + 600 * SECOND;
    let all = history.workers("pool-a", 5 * MINUTE, now, None, 10).unwrap();
    let names: Vec<_> = all.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["alice", "bob", "rig-3"]);
    assert_eq!(all[0].window.accepted, 30);
    assert_eq!((all[0].declared_hashrate, all[0].open), (Some(1_000_000), 1));
    assert!(close(all[0].difficulty.unwrap(), 1.0));
    assert_eq!((all[2].is_miner, all[2].user_agent.as_deref()), (true, Some("cgminer/4.12")));
    assert_eq!(all[2].last_share_ms, Some(HOUR_START + SECOND));
    let Reading::ObservedZero { below: Some(below), .. } = all[2].window.reading else {
        panic!("{:?}", all[2].window.reading)
    };
    assert!(below.hashes_per_second() > 0.0);
    let second = history.workers("pool-a", 5 * MINUTE, now, Some(("alice", false)), 1).unwrap();
    assert_eq!(second[0].name, "bob");
    let connections = history.connections("pool-a", Some(now), &Part::first(10)).unwrap();
    assert_eq!(connections.len(), 3);
    assert_eq!(connections.iter().map(|c| c.accepted).sum::<u64>(), 60 + 60 + 1);
    // Whoever has just come back had its last share before.
    fixture.events(&[opened(4, "alice", now)]);
    let alice = History::open(&fixture.path()).unwrap().workers("pool-a", 5 * MINUTE, now, None, 1).unwrap().remove(0);
    assert_eq!(alice.last_share_ms, all[0].last_share_ms);
}

#[test]
fn silence_is_stale_and_not_zero() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 600);
    let now = HOUR_START + 600 * SECOND + 5 * MINUTE;
    let overview = History::open(&fixture.path()).unwrap().overview(now).unwrap();
    let windows = &overview.sources[0].channels.as_ref().unwrap().windows;
    assert!(windows.iter().all(|window| matches!(window.reading, Reading::Stale { age_ms: 300_000, .. })));
    assert!(windows[2].text.starts_with("stale for 300 s, last"), "{}", windows[2].text);
}

#[test]
fn the_server_picks_a_step_and_says_which() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 7_200);
    let history = History::open(&fixture.path()).unwrap();
    let hour = history.series(&series(Subject::Channels, HOUR_START, HOUR_START + HOUR)).unwrap();
    assert_eq!((hour.step_ms, hour.points.len()), (10 * SECOND, 360));
    let year = history.series(&series(Subject::Channels, HOUR_START - 364 * DAY, HOUR_START + DAY)).unwrap();
    assert!(year.points.len() <= 600);
    assert_eq!(year.step_ms, DAY);
    let day = year.points.iter().find(|point| point.value.is_some()).unwrap();
    assert!((day.observed - 2.0 / 24.0).abs() < 1e-3, "two hours of it were observed: {}", day.observed);
    let rate = 2.0 * easy_work() / 10.0;
    assert!((day.value.unwrap() / rate - 1.0).abs() < 1e-3);
    assert_eq!((day.min, day.max), (None, None), "a day is read as a whole");
    let month = history.series(&series(Subject::Channels, HOUR_START - 29 * DAY, HOUR_START + DAY)).unwrap();
    assert_eq!(month.step_ms, 2 * HOUR);
    let point = month.points.iter().find(|point| point.value.is_some()).unwrap();
    assert!(point.min.is_some() && point.min <= point.max);
    let downstream = history.series(&series(Subject::Downstream(2), HOUR_START, HOUR_START + HOUR)).unwrap();
    assert_eq!(downstream.step_ms, 5 * MINUTE);
    assert!(close(downstream.points[3].value.unwrap(), easy_work() / 10.0));
}

#[test]
fn a_worker_that_came_late_is_not_diluted() {
    let mut fixture = Fixture::new();
    fixture.events(&[heartbeat(HOUR_START), opened(1, "late", HOUR_START + 50 * MINUTE)]);
    let mut events: Vec<_> = (0..60).map(|index| share(1, HOUR_START + 50 * MINUTE + index * 10 * SECOND)).collect();
    events.push(heartbeat(HOUR_START + HOUR));
    fixture.events(&events);
    let worker =
        History::open(&fixture.path()).unwrap().workers("pool-a", HOUR, HOUR_START + HOUR, None, 1).unwrap().remove(0);
    assert_eq!(worker.window.observed_ms, 10 * MINUTE);
    let rate = worker.window.reading.measured().unwrap().rate.hashes_per_second();
    assert!(close(rate, easy_work() / 10.0), "{rate}");
}

#[test]
fn failing_questions_are_errors_and_not_zeros() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 60);
    let history = History::open(&fixture.path()).unwrap();
    let unknown = SeriesQuery { publisher: "nobody".to_owned(), ..series(Subject::Channels, 0, 1) };
    assert!(matches!(history.series(&unknown), Err(QueryError::UnknownPublisher { .. })));
    let worker = series(Subject::Identity("mallory".to_owned()), 0, HOUR);
    assert!(matches!(history.series(&worker), Err(QueryError::UnknownSubject { .. })));
    assert!(matches!(history.series(&series(Subject::Channels, 5, 5)), Err(QueryError::EmptyRange { .. })));
    assert!(matches!(history.workers("nobody", 1, 1, None, 1), Err(QueryError::UnknownPublisher { .. })));
    assert!(matches!(History::open(&fixture.folder.path().join("none.db")), Err(QueryError::Open(_))));
}

#[test]
fn the_views_of_the_original_design() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 900);
    fixture.events(&[miner(3, "rig-3", HOUR_START + 2 * MINUTE), miner_share(3, HOUR_START + 3 * MINUTE)]);
    let conn = super::read(&fixture.path());
    let mut rows = conn
        .prepare("SELECT timestamp, downstream_id, shares_5min, estimated_hashrate, publisher FROM hashrate_samples ORDER BY 1, 2")
        .unwrap();
    let rows: Vec<(u64, u32, u64, f64, String)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 6, "three samples of two downstreams");
    for (index, (timestamp, downstream, shares, hashrate, publisher)) in rows.iter().enumerate() {
        assert_eq!(*timestamp, HOUR_START / 1000 + index as u64 / 2 * 300, "Unix seconds");
        assert_eq!((*downstream, *shares, publisher.as_str()), (index as u32 % 2 + 1, 30, "pool-a"));
        assert!(close(*hashrate, easy_work() / 10.0), "{hashrate}");
    }
    let miner: (u64, u32, u64, f64) = conn
        .query_row("SELECT timestamp, miner_id, shares_5min, estimated_hashrate FROM miner_hashrate", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!((miner.0, miner.1, miner.2), (HOUR_START / 1000, 3, 1));
    assert!(close(miner.3, easy_work() / 180.0), "over the three minutes in which it existed: {}", miner.3);
    let columns: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_info('quote_history')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(columns, ["timestamp", "downstream_id", "amount", "publisher"]);
}

#[test]
fn facts_about_the_source_and_its_round() {
    let mut fixture = Fixture::new();
    two_workers(&mut fixture, 600);
    let info = |name: &str, value: &str| {
        Event::SourceInfo(SourceInfo {
            timestamp: UnixMillis(HOUR_START),
            name: Text::new(name.to_owned()).unwrap(),
            value: Text::new(value.to_owned()).unwrap(),
        })
    };
    let mut events: Vec<_> = (0..400).map(|index| info(&format!("fact-{index:03}"), "x")).collect();
    events.extend([
        info("fact-000", "newer"),
        Event::ChainTipChanged(ChainTipChanged {
            timestamp: UnixMillis(HOUR_START),
            height: 900_000,
            target: CompactTarget(0x1c00_ffff),
        }),
    ]);
    fixture.events(&events);
    let overview = History::open(&fixture.path()).unwrap().overview(HOUR_START + 600 * SECOND).unwrap();
    let source = &overview.sources[0];
    assert_eq!(source.info.len(), 256, "bounded");
    assert_eq!(source.info["fact-000"], "newer");
    assert_eq!((source.tip.unwrap().height, source.tip.unwrap().difficulty.unwrap().round()), (900_000, 256.0));
    let round = source.round.unwrap();
    assert!((round.effort - 120.0 / 256.0).abs() < 1e-4, "{}", round.effort);
}

#[test]
fn what_is_open_is_counted_by_the_index_of_what_is_open() {
    let fixture = Fixture::new();
    let conn = super::read(&fixture.path());
    for (table, closed, index) in [
        ("downstreams", "disconnected_at", "downstreams_open"),
        ("channels", "closed_at", "channels_open"),
        ("miners", "disconnected_at", "miners_open"),
    ] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT count(*) FROM {table} WHERE source = ?1 AND {closed} IS NULL");
        let plan: String = conn.query_row(&sql, [1], |row| row.get(3)).unwrap();
        assert!(plan.contains(&format!("INDEX {index} ")), "{plan}");
    }
}
