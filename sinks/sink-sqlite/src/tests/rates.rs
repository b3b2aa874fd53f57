//! Hashrates of connections: of the connection and not of its number, over the time in which it was there.

use mining_stats::Reading;
use stats_sv2::event::{DownstreamDisconnected, MinerDisconnected, MinerHashrateUpdate};
use stats_sv2::{DownstreamId, Event, MinerId, Text, UnixMillis};

use super::{Fixture, HOUR_START, MINUTE, SECOND, close, easy_work, heartbeat, miner, miner_share, opened, share};
use crate::query::{ConnectionView, DownstreamView, History, Part};

fn downstream(fixture: &Fixture, id: u32, now_ms: u64) -> DownstreamView {
    let rows = History::open(&fixture.path()).unwrap().downstreams("pool-a", Some(now_ms), &Part::first(100)).unwrap();
    rows.into_iter().find(|row| row.downstream_id == id).unwrap()
}

fn connection(fixture: &Fixture, is_miner: bool, id: u32, now_ms: u64) -> ConnectionView {
    let rows = History::open(&fixture.path()).unwrap().connections("pool-a", Some(now_ms), &Part::first(100)).unwrap();
    rows.into_iter().find(|row| (row.is_miner, row.connection_id) == (is_miner, id)).unwrap()
}

#[test]
fn a_connection_is_measured_over_a_quarter_of_an_hour() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[heartbeat(t), opened(1, "a", t), miner(2, "rig", t), opened(3, "idle", t)]);
    let mut events = Vec::new();
    for at in (t..t + 30 * MINUTE).step_by(10_000) {
        events.extend([share(1, at), miner_share(2, at), heartbeat(at)]);
    }
    fixture.events(&events);
    let now = t + 32 * MINUTE;
    fixture.events(&[
        opened(4, "new", now - 10 * SECOND),
        Event::MinerHashrateUpdate(MinerHashrateUpdate {
            miner_id: MinerId(2),
            hashrate: 7_000,
            timestamp: UnixMillis(now),
        }),
        heartbeat(now),
    ]);
    let pool = downstream(&fixture, 1, now);
    let rig = connection(&fixture, true, 2, now);
    for window in [pool.window.unwrap(), rig.window.unwrap()] {
        // From the beginning of a bucket on, and no shares in the last two minutes.
        assert_eq!((window.window.as_str(), window.window_ms), ("15m", 17 * MINUTE));
        assert_eq!((window.accepted, window.observed_ms), (15 * 6, 17 * MINUTE));
        let estimate = window.reading.measured().unwrap();
        assert!(close(estimate.rate.hashes_per_second(), 90.0 * easy_work() / (17.0 * 60.0)));
        assert!(estimate.low < estimate.rate && estimate.rate < estimate.high);
    }
    assert_eq!(pool.declared_hashrate, Some(1_000_000));
    assert_eq!((rig.declared_hashrate, rig.difficulty.map(f64::round)), (Some(7_000), Some(1.0)));
    let channel = connection(&fixture, false, 1, now);
    assert_eq!((channel.declared_hashrate, channel.difficulty.map(f64::round)), (Some(1_000_000), Some(1.0)));
    assert!(channel.window.is_none(), "the sums are of its downstream");
    let Reading::ObservedZero { below: Some(_), .. } = downstream(&fixture, 3, now).window.unwrap().reading else {
        panic!("it was there and sent nothing")
    };
    let young = downstream(&fixture, 4, now).window.unwrap();
    assert!(matches!(young.reading, Reading::WarmingUp { .. }), "{young:?}");
    assert_eq!(young.observed_ms, 10 * SECOND, "not longer than it exists");
    let stale = downstream(&fixture, 1, now + MINUTE).window.unwrap();
    assert!(matches!(stale.reading, Reading::Stale { last: Some(_), .. }), "{stale:?}");
}

#[test]
fn shares_of_another_with_the_same_number_are_not_counted() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[heartbeat(t), opened(1, "old", t), miner(2, "old", t)]);
    let mut events = Vec::new();
    for at in (t..t + 6 * MINUTE).step_by(1_000) {
        events.extend([share(1, at), miner_share(2, at), heartbeat(at)]);
    }
    fixture.events(&events);
    let then = t + 6 * MINUTE;
    fixture.events(&[
        Event::DownstreamDisconnected(DownstreamDisconnected {
            downstream_id: DownstreamId(1),
            timestamp: UnixMillis(then),
            reason: Text::cut("eof"),
        }),
        Event::MinerDisconnected(MinerDisconnected {
            miner_id: MinerId(2),
            timestamp: UnixMillis(then),
            reason: Text::cut("eof"),
        }),
        opened(1, "new", then + SECOND),
        miner(2, "new", then + SECOND),
        heartbeat(then + 2 * SECOND),
    ]);
    // Its first bucket is the other's too: nothing is said before the next one.
    let now = then + 2 * MINUTE;
    fixture.events(&[heartbeat(now)]);
    assert!(downstream(&fixture, 1, now).window.is_none());
    assert!(connection(&fixture, true, 2, now).window.is_none());
    let mut events = Vec::new();
    for at in (now..t + 14 * MINUTE).step_by(10_000) {
        events.extend([share(1, at), miner_share(2, at), heartbeat(at)]);
    }
    fixture.events(&events);
    let now = t + 14 * MINUTE;
    fixture.events(&[heartbeat(now)]);
    for window in [downstream(&fixture, 1, now).window.unwrap(), connection(&fixture, true, 2, now).window.unwrap()] {
        assert_eq!((window.accepted, window.window_ms), (4 * 6, 4 * MINUTE), "from the next bucket on");
        let rate = window.reading.measured().unwrap().rate.hashes_per_second();
        assert!(close(rate, easy_work() / 10.0), "{rate}");
    }
}

#[test]
fn the_sums_of_a_page_are_looked_up() {
    let fixture = Fixture::new();
    let conn = super::read(&fixture.path());
    let sql = "EXPLAIN QUERY PLAN SELECT accepted FROM rollup_5m
               WHERE bucket IN (SELECT value FROM json_each('[1]')) AND series IN (SELECT value FROM json_each('[1]'))";
    let plan: String = conn.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("PRIMARY KEY (bucket=? AND series=?)"), "{plan}");
}
