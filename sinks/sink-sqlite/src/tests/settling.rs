//! Hours move to the settled tables little by little, while events come late and losses become known; nobody who reads sees
//! a difference.

use proptest::prelude::*;
use serde_json::Value;
use sidecar_core::BlockingSink;
use stats_sv2::event::{EventsDropped, ShareRejected};
use stats_sv2::{ChannelId, DownstreamId, Event, Text, UnixMillis};

use super::quotes::created;
use super::{DAY, Fixture, HOUR, HOUR_START, MINUTE, close, heartbeat, opened, share};
use crate::query::{History, SeriesQuery, Subject};

/// The start of a UTC day.
const DAY_START: u64 = HOUR_START - HOUR_START % DAY;
const DAYS: u64 = 6;
const END: u64 = DAY_START + DAYS * DAY;
const WORKERS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

fn rejected(downstream: u32, at: u64, code: &'static str) -> Event<'static> {
    Event::ShareRejected(ShareRejected {
        downstream_id: DownstreamId(downstream),
        timestamp: UnixMillis(at),
        channel_id: ChannelId(1),
        sequence_number: 1,
        error_code: Text::new(code).unwrap(),
    })
}

fn dropped(from: u64, to: u64) -> Event<'static> {
    Event::EventsDropped(EventsDropped {
        count: 3,
        first_timestamp: UnixMillis(from),
        last_timestamp: UnixMillis(to),
        reason: Text::new("queue-full").unwrap(),
    })
}

fn started() -> Fixture {
    let mut fixture = Fixture::with(|settings| settings.fine_workers = 0);
    fixture.journal.set_now(UnixMillis(END));
    let mut events = vec![heartbeat(DAY_START)];
    events.extend((1..).zip(WORKERS).map(|(id, name)| opened(id, name, DAY_START)));
    events.push(share(1, DAY_START));
    fixture.events(&events);
    fixture
}

/// Everything that hours and days take part in, as JSON.
fn answers(fixture: &Fixture) -> Vec<Value> {
    let history = History::open(&fixture.path()).unwrap();
    let subjects = WORKERS.map(|name| Subject::Identity(name.to_owned())).into_iter().chain([Subject::Channels]);
    let mut answers = Vec::new();
    for subject in subjects {
        // Steps of two hours and of a day; from the middle of a day to the middle of another.
        for (from, to) in
            [(END - 30 * DAY, END), (END - 365 * DAY, END), (DAY_START + 30 * HOUR, DAY_START + 3 * DAY + 7 * HOUR)]
        {
            let query = SeriesQuery {
                publisher: "pool-a".to_owned(),
                subject: subject.clone(),
                from_ms: from,
                to_ms: to,
                points: 40,
            };
            let query = if from < END - DAYS * DAY { SeriesQuery { points: 600, ..query } } else { query };
            answers.push(serde_json::to_value(history.series(&query).unwrap()).unwrap());
            answers.push(serde_json::to_value(history.rejects(&query).unwrap()).unwrap());
        }
    }
    for window in [30 * HOUR, 4 * DAY, 7 * DAY] {
        answers.push(serde_json::to_value(history.workers("pool-a", window, END, None, 10).unwrap()).unwrap());
    }
    answers.push(serde_json::to_value(history.overview(END).unwrap()).unwrap());
    answers
}

/// Equal, but for the rounding of sums in another order.
fn assert_alike(a: &Value, b: &Value) {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            assert!(close(x, y), "{x} {y}");
        }
        (Value::Array(x), Value::Array(y)) => {
            assert_eq!(x.len(), y.len());
            x.iter().zip(y).for_each(|(x, y)| assert_alike(x, y));
        }
        (Value::Object(x), Value::Object(y)) => {
            assert_eq!(x.len(), y.len());
            x.iter().for_each(|(key, x)| assert_alike(x, &y[key]));
        }
        (x, y) => assert_eq!(x, y),
    }
}

/// What happens: at which minute of the six days, in which order.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Share(u32, u64),
    Rejected(u32, u64, bool),
    Quote(u8, u64),
    Loss(u64, u64),
    /// A call of `maintain`, as of this day.
    Maintained(u64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let minute = || 0..DAYS * DAY / MINUTE;
    let worker = || 1..=WORKERS.len() as u32;
    let one = prop_oneof![
        8 => (worker(), minute()).prop_map(|(worker, at)| Happening::Share(worker, at)),
        2 => (worker(), minute(), any::<bool>()).prop_map(|(worker, at, stale)| Happening::Rejected(worker, at, stale)),
        1 => (any::<u8>(), minute()).prop_map(|(share, at)| Happening::Quote(share, at)),
        1 => (minute(), 0..90_u64).prop_map(|(at, length)| Happening::Loss(at, length)),
        4 => (2..=DAYS).prop_map(Happening::Maintained),
    ];
    prop::collection::vec(one, 1..120)
}

fn happen(fixture: &mut Fixture, what: Happening, maintains: bool) {
    let at = |minute: u64| DAY_START + minute * MINUTE;
    match what {
        Happening::Share(worker, minute) => fixture.events(&[share(worker, at(minute))]),
        Happening::Rejected(worker, minute, stale) => {
            let code = if stale { "stale-share" } else { "difficulty-too-low" };
            fixture.events(&[rejected(worker, at(minute), code)]);
        }
        Happening::Quote(share, minute) => fixture.events(&[created(share, 7, at(minute))]),
        Happening::Loss(minute, length) => fixture.events(&[dropped(at(minute), at(minute + length))]),
        Happening::Maintained(day) if maintains => {
            fixture.sink.maintain(UnixMillis(DAY_START + day * DAY)).unwrap();
        }
        Happening::Maintained(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn settling_changes_no_answer(happenings in happenings()) {
        let (mut settled, mut plain) = (started(), started());
        for what in happenings {
            happen(&mut settled, what, true);
            happen(&mut plain, what, false);
        }
        for (a, b) in answers(&settled).iter().zip(&answers(&plain)) {
            assert_alike(a, b);
        }
        // To the end, a few series at a time; each step alike.
        for _ in 0..40 {
            settled.sink.maintain(UnixMillis(END)).unwrap();
        }
        let until: u64 = settled.get("SELECT coalesce((SELECT value FROM meta WHERE key = 'settled_until'), 0)");
        prop_assert_eq!(settled.get::<u64>(&format!("SELECT count(*) FROM rollup_1h WHERE bucket < {until}")), 0);
        prop_assert_eq!(settled.get::<u64>(&format!("SELECT count(*) FROM settled_1h WHERE bucket >= {until}")), 0);
        for (a, b) in answers(&settled).iter().zip(&answers(&plain)) {
            assert_alike(a, b);
        }
        // Days are the sums of their hours, reasons included.
        for (days, hours, columns) in [
            ("settled_1d", "settled_1h", "series, sum(accepted), sum(rejected), sum(unrated_shares), max(best_share_work), sum(quotes)"),
            ("settled_rejects_1d", "settled_rejects_1h", "series, reason, sum(count)"),
        ] {
            let more = if columns.contains("reason") { ", 3" } else { "" };
            let summed = format!("SELECT bucket - bucket % {DAY} AS day, {columns} FROM {hours} GROUP BY 1, 2{more}");
            let kept = format!("SELECT bucket AS day, {columns} FROM {days} GROUP BY 1, 2{more}");
            for (one, other) in [(&summed, &kept), (&kept, &summed)] {
                let differ: u64 =
                    settled.get(&format!("SELECT count(*) FROM (SELECT * FROM ({one}) EXCEPT SELECT * FROM ({other}))"));
                prop_assert_eq!(differ, 0, "{}", days);
            }
        }
        prop_assert_eq!(settled.get::<u64>("SELECT count(*) FROM series WHERE settled_from % 86400000 <> 0"), 0);
        prop_assert_eq!(
            settled.get::<u64>("SELECT count(*) FROM series s WHERE settled_from IS NOT
                (SELECT min(bucket) - min(bucket) % 86400000 FROM settled_1h WHERE series = s.id)"),
            0
        );
    }
}

#[test]
fn a_loss_strikes_an_hour_that_stands_in_both_tables_once() {
    let (mut settled, mut plain) = (started(), started());
    let erin = WORKERS.len() as u32;
    let at = 5 * HOUR / MINUTE;
    let mut happenings: Vec<_> = (1..=erin).map(|worker| Happening::Share(worker, at)).collect();
    happenings.extend([
        Happening::Share(1, (DAYS * DAY - HOUR) / MINUTE),
        // Moves two series of the first day; what comes for the others stands beside what is still there.
        Happening::Maintained(DAYS),
        Happening::Share(erin, at + 1),
        Happening::Loss(at, 0),
    ]);
    for what in happenings {
        happen(&mut settled, what, true);
        happen(&mut plain, what, false);
    }
    let erins = |table: &str| -> u64 {
        settled.get(&format!(
            "SELECT count(*) FROM {table} WHERE bucket = {} AND series = (SELECT id FROM series WHERE name = 'erin')",
            DAY_START + 5 * HOUR
        ))
    };
    assert_eq!((erins("rollup_1h"), erins("settled_1h")), (1, 1));
    for (a, b) in answers(&settled).iter().zip(&answers(&plain)) {
        assert_alike(a, b);
    }
}

/// A history that keeps hours for a hundred days, with `names` names that were last heard long ago.
fn with_departed(names: u64, hours: u64, table: &str, settled: bool) -> Fixture {
    let mut fixture = Fixture::with(|settings| {
        settings.retention.one_hour = sidecar_core::Period(std::time::Duration::from_secs(100 * 86_400));
    });
    fixture.journal.set_now(UnixMillis(LONG_AFTER));
    fixture.events(&[heartbeat(LONG_AFTER), opened(1, "alice", LONG_AFTER), share(1, LONG_AFTER)]);
    let settled_from = if settled { DAY_START.to_string() } else { "NULL".to_owned() };
    let last = DAY_START + (hours - 1) * HOUR;
    fixture
        .sink
        .connection()
        .execute_batch(&format!(
            "BEGIN;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {names})
             INSERT INTO series (source, kind, name, levels, first_seen_at, last_hour, settled_from)
             SELECT 1, 1, 'gone-' || i, 30, {DAY_START}, {last}, {settled_from} FROM n;
             WITH RECURSIVE h(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM h WHERE i < {hours} - 1)
             INSERT INTO {table} (bucket, series, accepted, work, work_squared, best_share_work)
             SELECT {DAY_START} + h.i * {HOUR}, s.id, 1, 1.0, 1.0, 1.0 FROM series s, h WHERE s.name LIKE 'gone-%';
             COMMIT;"
        ))
        .unwrap();
    fixture
}

const LONG_AFTER: u64 = DAY_START + 200 * DAY;

#[test]
fn nobody_inherits_the_hours_of_a_name_that_went() {
    // More than a call deletes, so that names could go before their hours.
    let mut fixture = with_departed(100, 120, "rollup_1h", false);
    for minute in 0..60 {
        fixture.sink.maintain(UnixMillis(LONG_AFTER + minute * MINUTE)).unwrap();
    }
    // The number of the latest is not given again while its row stays.
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM series WHERE name LIKE 'gone-%'"), 1);
    for table in ["settled_1h", "settled_1d", "rollup_1h"] {
        let without: u64 =
            fixture.get(&format!("SELECT count(*) FROM {table} WHERE series NOT IN (SELECT id FROM series)"));
        assert_eq!(without, 0, "{table}");
    }
    for id in 2..50 {
        fixture.events(&[opened(id, &format!("new-{id}"), LONG_AFTER)]);
    }
    let inherited = "SELECT count(*) FROM hours WHERE series IN (SELECT id FROM series WHERE name LIKE 'new-%')";
    assert_eq!(fixture.get::<u64>(inherited), 0);
}

#[test]
fn a_call_gives_up_a_bounded_number_of_hours() {
    let mut fixture = with_departed(10, 2_000, "settled_1h", true);
    let mut left: u64 = fixture.get("SELECT count(*) FROM settled_1h");
    assert_eq!(left, 20_000);
    for call in 0.. {
        fixture.sink.maintain(UnixMillis(LONG_AFTER + call * 5 * MINUTE)).unwrap();
        let now: u64 = fixture.get("SELECT count(*) FROM settled_1h");
        assert!(left - now <= 5_050, "{} in one call", left - now);
        if now == 0 {
            break;
        }
        assert!(now < left || call < 2, "{now} hours are never given up");
        left = now;
    }
}

#[test]
fn days_whose_page_is_damaged_are_summed_again() {
    let mut fixture = with_departed(1, 4_000, "rollup_1h", false);
    // Nothing is too old yet.
    let now = DAY_START + 90 * DAY;
    fixture.sink.connection().execute("DELETE FROM rollup_1h WHERE bucket > ?1", [now]).unwrap();
    fixture.journal.set_now(UnixMillis(now));
    fixture.events(&[share(1, now)]);
    for _ in 0..200 {
        fixture.sink.maintain(UnixMillis(now)).unwrap();
    }
    let (hours, days): (u64, u64) =
        (fixture.get("SELECT sum(accepted) FROM settled_1h"), fixture.get("SELECT sum(accepted) FROM settled_1d"));
    assert!(hours > 2_000 && hours == days, "{hours} {days}");
    let page: u64 = fixture.get("SELECT rootpage FROM sqlite_schema WHERE name = 'settled_1d'");
    fixture.sink.close().unwrap();
    super::file::damage(&fixture.path(), (page - 1) * 4096, 4096);
    drop(crate::salvage::replace(&fixture.path()).unwrap());
    assert_eq!(fixture.get::<u64>("SELECT sum(accepted) FROM settled_1h"), hours);
    assert_eq!(fixture.get::<u64>("SELECT sum(accepted) FROM settled_1d"), hours);
    assert_eq!(
        fixture.get::<u64>("SELECT count(*) FROM series WHERE settled_from IS NOT NULL"),
        fixture.get::<u64>("SELECT count(DISTINCT series) FROM settled_1d")
    );
}

#[test]
fn the_present_stays_where_it_is_written_fast() {
    let mut fixture = started();
    for day in 0..DAYS {
        fixture.events(&[share(1, DAY_START + day * DAY + 5 * HOUR), heartbeat(DAY_START + day * DAY + 5 * HOUR)]);
    }
    for _ in 0..40 {
        fixture.sink.maintain(UnixMillis(END + 100 * DAY)).unwrap();
    }
    let recent: Vec<u64> = {
        let conn = super::read(&fixture.path());
        let mut days = conn.prepare("SELECT DISTINCT bucket / 86400000 FROM rollup_1h ORDER BY 1").unwrap();
        let days = days.query_map([], |row| row.get(0)).unwrap();
        days.map(Result::unwrap).collect()
    };
    let last = (DAY_START + (DAYS - 1) * DAY) / DAY;
    assert_eq!(recent, [last - 1, last], "a day and what is left of the one before, by the time of events");
    assert_eq!(fixture.get::<u64>("SELECT sum(accepted) FROM settled_1d WHERE series = 1"), DAYS - 2 + 1);
    assert_eq!(fixture.get::<u64>("SELECT sum(accepted) FROM hours WHERE series = 1"), DAYS + 1);
}
