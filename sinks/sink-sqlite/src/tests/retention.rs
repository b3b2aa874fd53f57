//! What is old goes, tier by tier; what must stay stays.

use sidecar_core::{BlockingSink, ByteSize};
use stats_sv2::UnixMillis;

use super::quotes::{answered, created, paid, sent};
use super::{
    DAY, Fixture, HOUR, HOUR_START, MINUTE, SECOND, block, easy_work, heartbeat, opened, session_ended, share,
};
use crate::query::{EhashOf, History, Part, QuoteReport, QuoteState, SeriesQuery, Subject};

fn maintain(fixture: &mut Fixture, now: u64) {
    for _ in 0..20 {
        fixture.sink.maintain(UnixMillis(now)).unwrap();
    }
}

fn rows(fixture: &Fixture, tier: &str) -> u64 {
    let table = if tier == "1h" { "hours".to_owned() } else { format!("rollup_{tier}") };
    fixture.get(&format!("SELECT count(*) FROM {table}"))
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
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM series WHERE settled_from IS NOT NULL"), 0);
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
    for table in [
        "channels",
        "downstreams",
        "sessions",
        "series WHERE kind IN (1, 2)",
        "settled_1h",
        "settled_1d",
        "settled_rejects_1h",
        "settled_rejects_1d",
    ] {
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
        fixture.get::<u64>("SELECT sum(accepted) FROM hours r JOIN series s ON s.id = r.series WHERE s.kind = 0"),
        36_000
    );
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 36_000);
    let since: u64 = fixture.get("SELECT since FROM kept_since WHERE tier = '1m'");
    assert!(since <= oldest_minute);
}

#[test]
fn the_disk_budget_takes_settled_days_too() {
    let mut fixture = Fixture::with(|settings| settings.disk_budget = ByteSize(1 << 20));
    for index in 0..40 {
        fixture.events(&[opened(index, &format!("worker-{index}"), HOUR_START)]);
    }
    let hours = 12 * DAY / HOUR;
    for hour in 0..hours {
        fixture.journal.set_now(UnixMillis(HOUR_START + hour * HOUR));
        let events: Vec<_> = (0..40).map(|index| share(index, HOUR_START + hour * HOUR)).collect();
        fixture.events(&events);
        if hour % 24 == 0 {
            maintain(&mut fixture, HOUR_START + hour * HOUR);
        }
    }
    let now = HOUR_START + hours * HOUR;
    let used = |fixture: &Fixture| {
        let pragma =
            |name: &str| fixture.sink.connection().pragma_query_value(None, name, |row| row.get::<_, u64>(0)).unwrap();
        (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
    };
    assert!(fixture.get::<u64>("SELECT count(*) FROM settled_1h") > 0);
    for _ in 0..500 {
        fixture.sink.maintain(UnixMillis(now)).unwrap();
    }
    assert!(used(&fixture) <= 1 << 20, "{}", used(&fixture));
    assert!(fixture.get::<u64>("SELECT count(*) FROM hours") > 0, "it does not take everything");
    let since: u64 = fixture.get("SELECT since FROM kept_since WHERE tier = '1h'");
    assert!(since > HOUR_START && since < now, "{since}");
    let days: u64 = fixture.get("SELECT coalesce(sum(accepted), 0) FROM settled_1d");
    let hours: u64 = fixture.get("SELECT coalesce(sum(accepted), 0) FROM settled_1h");
    assert_eq!(days, hours, "days go with their hours");
}

#[test]
fn quotes_go_by_age_and_number_and_their_sums_stay() {
    let mut fixture = Fixture::with(|settings| settings.max_quotes = 10);
    fixture.events(&[opened(1, "alice", HOUR_START)]);
    for share in 0..30_u8 {
        let at = HOUR_START + u64::from(share);
        fixture.events(&[created(share, 1 << 60, at), sent(share, 1 << 60, at + 5)]);
    }
    fixture.events(&[answered(29, "q", HOUR_START + 50), paid("early", 1, HOUR_START)]);
    let report = |fixture: &Fixture| {
        let history = History::open(&fixture.path()).unwrap();
        let report = history.quote_report("pool-a", DAY, HOUR_START + HOUR).unwrap();
        let ehash = history.ehash("pool-a", EhashOf::Identity, &Part::first(1)).unwrap().remove(0).ehash;
        (report, ehash)
    };
    let of = |report: &QuoteReport, state| report.by_state.iter().find(|view| view.state == state).unwrap().clone();
    let ehash = (30_u128 << 60).to_string();

    maintain(&mut fixture, HOUR_START + MINUTE);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM quotes"), 10);
    assert_eq!(fixture.get::<u64>("SELECT min(created_at) FROM quotes"), HOUR_START + 20, "the first ones go first");
    let (counts, sum) = report(&fixture);
    assert_eq!(sum, ehash);
    let (sent, abandoned) = (of(&counts, QuoteState::Sent), of(&counts, QuoteState::Abandoned));
    assert_eq!((sent.count, abandoned.count), (9, 20), "what is given up waits no more");
    assert_eq!(abandoned.ehash, (20_u128 << 60).to_string());
    assert_eq!((counts.total.latencies[0].count, counts.window.latencies[0].count), (30, 30));

    maintain(&mut fixture, HOUR_START + 20 * DAY);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM quotes"), 0);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM early_payments"), 0);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM quote_times WHERE level = 1"), 0);
    assert_eq!(fixture.get::<u64>("SELECT sum(count) FROM quote_times WHERE level = 3 AND stage = 0"), 30);
    let (counts, sum) = report(&fixture);
    assert_eq!((sum, of(&counts, QuoteState::Answered).count), (ehash.clone(), 1));
    assert_eq!(of(&counts, QuoteState::Abandoned).count, 29);

    maintain(&mut fixture, HOUR_START + 6 * 365 * DAY);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM quote_times WHERE level < 4"), 0);
    let (counts, sum) = report(&fixture);
    assert_eq!((sum, counts.total.latencies[0].count), (ehash, 30));
}

#[test]
fn ended_sessions_are_bounded() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    // A publisher that is restarted over and over.
    fixture
        .sink
        .connection()
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO sessions (source, session_id, started_at, ended_at) SELECT 1, 1000 + i, ?2, ?2 FROM n",
            rusqlite::params![crate::retention::MAX_ENDED_SESSIONS + 500, HOUR_START],
        )
        .unwrap();
    // Sessions are looked at when the limit of the five-minute tier moves.
    for round in 0..5 {
        maintain(&mut fixture, HOUR_START + 100 * DAY + round * HOUR);
    }
    let ended: u64 = fixture.get("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL");
    assert_eq!(ended, u64::from(crate::retention::MAX_ENDED_SESSIONS));
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM sessions WHERE ended_at IS NULL"), 1, "the open one stays");
    assert_eq!(fixture.get::<u64>("SELECT max(session_id) FROM sessions"), 1_500 + ended, "the latest stay");
}

#[test]
fn blocks_are_bounded_and_stay_counted() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START)]);
    let most = crate::retention::MAX_BLOCKS;
    let found: Vec<_> = (0..most + 50).map(|height| block(height, HOUR_START + u64::from(height))).collect();
    fixture.events(&found);
    maintain(&mut fixture, HOUR_START + 100 * DAY);
    let kept: (u32, u32) = (fixture.get("SELECT count(*) FROM blocks"), fixture.get("SELECT min(height) FROM blocks"));
    assert_eq!(kept, (most, 50), "the latest stay");
    assert_eq!(fixture.get::<u32>("SELECT blocks FROM rollup_total WHERE series = 1"), most + 50);
}

#[test]
fn what_is_given_up_is_a_gap_and_not_a_zero() {
    let mut fixture = Fixture::new();
    // One connection, a share an hour, for 200 days: its samples are kept for 90 days, the hours of its name for years.
    fixture.events(&[opened(1, "alice", HOUR_START)]);
    let end = HOUR_START + 200 * DAY;
    fixture.journal.set_now(UnixMillis(end));
    for day in 0..200 {
        let shares: Vec<_> = (0..24).map(|hour| share(1, HOUR_START + day * DAY + hour * HOUR + MINUTE)).collect();
        fixture.events(&shares);
    }
    fixture.events(&[heartbeat(end)]);
    maintain(&mut fixture, end);
    let points = |fixture: &Fixture, subject, from_ms, to_ms| {
        let history = History::open(&fixture.path()).unwrap();
        let query = SeriesQuery { publisher: "pool-a".to_owned(), subject, from_ms, to_ms, points: 0 };
        history.series(&query).unwrap().points
    };
    let expected = easy_work() / 3_600.0;
    let is_right = |value: f64| (value / expected - 1.0).abs() < 0.05;
    let limit: u64 = fixture.get("SELECT since FROM kept_since WHERE tier = '5m'");
    let of_connection = points(&fixture, Subject::Downstream(1), HOUR_START, end);
    assert!(of_connection.iter().any(|point| point.at_ms < limit) && of_connection.len() > 100);
    for point in &of_connection {
        if point.at_ms < limit {
            assert!(point.value.is_none() || point.at_ms + 2 * DAY > limit, "{point:?}");
            assert!(point.value.is_none_or(is_right), "what is left of a step stands for itself: {point:?}");
            assert!(point.accepted.is_none() || point.at_ms + 2 * DAY > limit, "{point:?}");
        } else {
            assert!(point.value.is_some_and(is_right), "{point:?}");
        }
    }

    // Hours go too: the limit lies within a day that is settled, which goes as a whole.
    let now = HOUR_START + 5 * 365 * DAY + 50 * DAY + 7 * HOUR;
    maintain(&mut fixture, now);
    let limit: u64 = fixture.get("SELECT since FROM kept_since WHERE tier = '1h'");
    assert!(limit > HOUR_START + 49 * DAY && !limit.is_multiple_of(DAY), "{limit}");
    for (from, to) in [(HOUR_START, end), (limit - 2 * DAY, limit + 2 * DAY)] {
        let of_name = points(&fixture, Subject::Identity("alice".to_owned()), from, to);
        assert!(of_name.iter().any(|point| point.value.is_some()), "{of_name:?}");
        for point in of_name {
            assert!(point.value.is_none_or(is_right), "{limit} {point:?}");
            assert!(point.at_ms + DAY > limit || point.value.is_none(), "{limit} {point:?}");
        }
    }
    let history = History::open(&fixture.path()).unwrap();
    let (publisher, subject) = ("pool-a".to_owned(), Subject::Identity("alice".to_owned()));
    let query = SeriesQuery { publisher, subject, from_ms: HOUR_START, to_ms: end, points: 0 };
    assert_eq!(history.rejects(&query).unwrap().from_ms, limit, "verdicts are counted from where they are kept");
}

#[test]
fn a_clock_that_was_ahead_does_not_close_the_tiers() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START)]);
    maintain(&mut fixture, HOUR_START + 10 * 365 * DAY);
    // Put right: from the next bucket on, everything is kept again.
    let now = HOUR_START + HOUR;
    maintain(&mut fixture, now);
    fixture.events(&[share(1, now)]);
    assert_eq!(rows(&fixture, "1m"), 0, "the bucket under way is not whole");
    let later = now + 2 * HOUR;
    maintain(&mut fixture, later);
    fixture.events(&[share(1, later)]);
    for tier in ["10s", "1m", "5m", "1h"] {
        assert!(rows(&fixture, tier) > 0, "{tier}");
    }
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 3);
}

#[test]
fn a_block_never_gets_another_finder() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START), block(1, HOUR_START + SECOND)]);
    fixture.derived(&[session_ended(HOUR_START + 2 * SECOND)]);
    let later = HOUR_START + 6 * 365 * DAY;
    maintain(&mut fixture, later);
    maintain(&mut fixture, later + HOUR);
    fixture.session = sink_contract::SyntheticSession::new("pool-a", stats_sv2::Role::Pool, 2);
    fixture.journal.set_now(UnixMillis(later + HOUR));
    for downstream in 2..6 {
        let name = format!("newcomer-{downstream}");
        fixture.events(&[opened(downstream, &name, later + HOUR), share(downstream, later + HOUR)]);
    }
    maintain(&mut fixture, later + 2 * HOUR);
    let finder = History::open(&fixture.path()).unwrap().blocks("pool-a", &Part::first(10)).unwrap().remove(0).identity;
    assert!(finder.as_deref().is_none_or(|name| name == "alice"), "{finder:?}");
}
