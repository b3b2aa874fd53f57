//! What is old goes, tier by tier; what must stay stays.

use sidecar_core::{BlockingSink, ByteSize};
use stats_sv2::UnixMillis;

use super::{DAY, Fixture, HOUR, HOUR_START, MINUTE, SECOND, heartbeat, opened, session_ended, share};

fn maintain(fixture: &mut Fixture, now: u64) {
    for _ in 0..20 {
        fixture.sink.maintain(UnixMillis(now)).unwrap();
    }
}

fn rows(fixture: &Fixture, tier: &str) -> u64 {
    fixture.get(&format!("SELECT count(*) FROM rollup_{tier}"))
}

#[test]
fn each_tier_is_kept_for_its_time() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START), share(1, HOUR_START + HOUR)]);
    for (after, expected) in [
        (HOUR, [true, true, true, true]),
        (2 * DAY, [false, true, true, true]),
        (20 * DAY, [false, false, true, true]),
        (120 * DAY, [false, false, false, true]),
        (6 * 365 * DAY, [false, false, false, false]),
    ] {
        maintain(&mut fixture, HOUR_START + HOUR + after);
        let kept = ["10s", "1m", "5m", "1h"].map(|tier| rows(&fixture, tier) > 0);
        assert_eq!(kept, expected, "{after}");
    }
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 2, "its channel is open, so its totals stay");
}

#[test]
fn late_events_reach_the_tiers_that_still_keep_their_time() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    maintain(&mut fixture, HOUR_START + 20 * DAY);
    fixture.journal.set_now(UnixMillis(HOUR_START + 20 * DAY));
    fixture.events(&[share(1, HOUR_START + MINUTE)]);
    assert_eq!(rows(&fixture, "1m"), 0);
    assert_eq!(fixture.bucket("5m", 1, "alice", HOUR_START).0, 2);
    maintain(&mut fixture, HOUR_START + 6 * 365 * DAY);
    fixture.events(&[share(1, HOUR_START + 2 * MINUTE)]);
    assert_eq!(rows(&fixture, "1h"), 0);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 3, "older than all: totals only");
}

#[test]
fn closed_connections_and_names_go_with_their_last_buckets() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START), heartbeat(HOUR_START + SECOND)]);
    fixture.derived(&[session_ended(HOUR_START + SECOND)]);
    maintain(&mut fixture, HOUR_START + 120 * DAY);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM series WHERE kind = 2"), 0, "its samples are gone");
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM channels"), 1, "the hours still need to know when it existed");
    maintain(&mut fixture, HOUR_START + 6 * 365 * DAY);
    maintain(&mut fixture, HOUR_START + 6 * 365 * DAY + HOUR);
    for table in ["channels", "downstreams", "sessions", "series WHERE kind IN (1, 2)"] {
        assert_eq!(fixture.get::<u64>(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 1, "the publisher's totals stay");
}

#[test]
fn the_disk_budget_takes_the_oldest_first() {
    let mut fixture = Fixture::with(|settings| settings.disk_budget = ByteSize(1 << 20));
    for index in 0..20 {
        let name = format!("worker-{index}");
        fixture.events(&[opened(index, &name, HOUR_START)]);
    }
    for hour in 0..30_u64 {
        fixture.journal.set_now(UnixMillis(HOUR_START + (hour + 1) * HOUR));
        let events: Vec<_> = (0..60 * 20)
            .map(|index| share(index as u32 % 20, HOUR_START + hour * HOUR + index / 20 * MINUTE))
            .collect();
        let record = fixture.journal.append(&mut fixture.session, &events);
        fixture.deliver(&[record]);
    }
    let used = |fixture: &mut Fixture| {
        let pragma =
            |name: &str| fixture.sink.connection().pragma_query_value(None, name, |row| row.get::<_, u64>(0)).unwrap();
        (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
    };
    assert!(used(&mut fixture) > 1 << 20, "{}", used(&mut fixture));
    let now = HOUR_START + 30 * HOUR;
    for _ in 0..400 {
        fixture.sink.maintain(UnixMillis(now)).unwrap();
    }
    assert!(used(&mut fixture) <= 1 << 20, "{}", used(&mut fixture));
    let oldest_minute: u64 = fixture.get("SELECT min(bucket) FROM rollup_1m");
    let newest_minute: u64 = fixture.get("SELECT max(bucket) FROM rollup_1m");
    assert!(oldest_minute > HOUR_START && newest_minute >= now - HOUR);
    assert_eq!(
        fixture.get::<u64>("SELECT sum(accepted) FROM rollup_1h r JOIN series s ON s.id = r.series WHERE s.kind = 0"),
        36_000
    );
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 36_000);
    let since: u64 = fixture.get("SELECT since FROM kept_since WHERE tier = '1m'");
    assert!(since <= oldest_minute);
}
