//! Rules 6 and 14: what was lost adds to totals, and neither its work nor its time to a rate.

use sidecar_core::BlockingSink;
use stats_sv2::event::{
    AnnounceBegin, AnnounceEnd, EventsDropped, GAP_MISSING, GAP_UNSEEN, Gap, HEARTBEAT_CLOCK_STEPPED, Heartbeat,
};
use stats_sv2::{Event, Text, UnixMillis};

use super::{DAY, Fixture, HOUR, HOUR_START, MINUTE, SECOND, close, easy_work, heartbeat, opened, share};
use crate::query::{History, SeriesQuery, Subject};

fn dropped(from: u64, to: u64) -> Event<'static> {
    Event::EventsDropped(EventsDropped {
        count: 7,
        first_timestamp: UnixMillis(from),
        last_timestamp: UnixMillis(to),
        reason: Text::new("queue-full").unwrap(),
    })
}

/// Ten minutes with a share every ten seconds, from `start` on.
fn ten_minutes(start: u64) -> Vec<Event<'static>> {
    (0..=60)
        .map(|index| if index == 60 { heartbeat(start + index * 10_000) } else { share(1, start + index * 10_000) })
        .collect()
}

/// The rate of ten minutes of such shares, whatever was lost in between.
fn rate(fixture: &Fixture, subject: Subject, from: u64, to: u64) -> Vec<Option<f64>> {
    let history = History::open(&fixture.path()).unwrap();
    let query = SeriesQuery { publisher: "pool-a".to_owned(), subject, from_ms: from, to_ms: to, points: 600 };
    history.series(&query).unwrap().points.iter().map(|point| point.value).collect()
}

#[test]
fn events_dropped_strike_their_minutes_out_of_every_rate() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START)]);
    fixture.events(&ten_minutes(HOUR_START));
    let before = fixture.bucket("1h", 1, "alice", HOUR_START);
    assert_eq!((before.0, before.2), (60, 0));

    // The loss is told after the shares of its time.
    fixture.events(&[dropped(HOUR_START + 3 * MINUTE + 1, HOUR_START + 4 * MINUTE + 1)]);
    for level in ["1h", "5m"] {
        let (accepted, work, unrated) = fixture.bucket(level, 1, "alice", HOUR_START);
        assert_eq!((accepted, unrated), (if level == "1h" { 60 } else { 30 }, 12), "{level}");
        assert!(close(work, accepted as f64 * easy_work()), "totals keep everything");
    }
    assert_eq!(fixture.bucket("1m", 1, "alice", HOUR_START + 3 * MINUTE).2, 6);
    assert_eq!(fixture.bucket("10s", 0, "", HOUR_START + 3 * MINUTE).2, 1);
    assert_eq!(fixture.bucket("1m", 1, "alice", HOUR_START + 5 * MINUTE).2, 0);
    assert_eq!(fixture.bucket("5m", 2, "1", HOUR_START).2, 30, "connections lose their whole sample");

    // A late share of a struck minute is a total too.
    fixture.events(&[share(1, HOUR_START + 3 * MINUTE + 5)]);
    assert_eq!(fixture.bucket("1h", 1, "alice", HOUR_START).2, 13);

    let expected = easy_work() / 10.0;
    for subject in [Subject::Channels, Subject::Identity("alice".to_owned())] {
        let minutes = rate(&fixture, subject.clone(), HOUR_START, HOUR_START + 10 * MINUTE);
        let rates: Vec<f64> = minutes.iter().flatten().copied().collect();
        assert!(rates.iter().all(|rate| close(*rate, expected)), "{subject:?} {minutes:?}");
        let struck = minutes.iter().filter(|point| point.is_none()).count();
        assert_eq!(struck, if minutes.len() == 60 { 12 } else { 2 }, "{subject:?} {minutes:?}");
        let hour = rate(&fixture, subject, HOUR_START - 100 * HOUR, HOUR_START + 1);
        let last = hour.last().unwrap().unwrap();
        assert!(close(last, expected), "work and time of the struck minutes are left out alike: {last} {expected}");
    }
    assert_eq!(fixture.get::<u64>("SELECT events_dropped FROM sources"), 7);
}

#[test]
fn where_all_was_lost_no_shares_are_not_zero_shares() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START), heartbeat(HOUR_START + 10 * MINUTE)]);
    fixture.events(&[dropped(HOUR_START + 3 * MINUTE + 1, HOUR_START + 4 * MINUTE + 1)]);
    let history = History::open(&fixture.path()).unwrap();
    let (publisher, subject) = ("pool-a".to_owned(), Subject::Channels);
    let query = SeriesQuery { publisher, subject, from_ms: HOUR_START, to_ms: HOUR_START + 6 * MINUTE, points: 6 };
    let answer = history.series(&query).unwrap();
    let told: Vec<_> = answer.points.iter().map(|point| (point.observed, point.accepted, point.value)).collect();
    assert_eq!(told[2], (1.0, Some(0), Some(0.0)), "observed, and nothing came");
    assert_eq!(told[3..5], [(0.0, None, None), (0.0, None, None)], "lost");
    assert_eq!(told[5], (1.0, Some(0), Some(0.0)));
}

#[test]
fn missing_numbers_end_the_observed_span_until_the_next_event() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START)]);
    fixture.events(&ten_minutes(HOUR_START));
    let last = fixture.journal.append(&mut fixture.session, &[heartbeat(HOUR_START + 10 * MINUTE + 1)]);
    let last_sequence = last.last_sequence();
    fixture.deliver(&[last]);
    let gap = |kind| {
        Event::Gap(Gap {
            session_id: 1,
            first_sequence: last_sequence + 1,
            last_sequence: last_sequence + 100,
            since: UnixMillis(HOUR_START + 10 * MINUTE + 1),
            timestamp: UnixMillis(HOUR_START + HOUR),
            kind,
        })
    };
    fixture.derived(&[gap(GAP_MISSING)]);
    assert_eq!(fixture.get::<u64>("SELECT events_missing FROM sources"), 100);
    // The sidecar restarts in between, and the backlog begins twelve minutes later.
    fixture.restart();
    for _ in 0..100 {
        fixture.journal.append(&mut fixture.session, &[heartbeat(0)]);
    }
    fixture.events(&ten_minutes(HOUR_START + 22 * MINUTE));
    let loss: (u64, u64, u64) = super::read(&fixture.path())
        .query_row("SELECT start_at, end_at, events FROM losses WHERE kind = 'missing'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(loss, (HOUR_START + 10 * MINUTE + 1, HOUR_START + 22 * MINUTE, 100));
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM losses"), 1, "the jump in the numbers is the gap itself");
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM observed"), 2);
    let points = rate(&fixture, Subject::Channels, HOUR_START, HOUR_START + 35 * MINUTE);
    let per_minute = points.len() as u64 / 35;
    let at = |minute: u64| points[(minute * per_minute) as usize];
    assert!(close(at(5).unwrap(), easy_work() / 10.0));
    assert_eq!((at(10), at(15), at(22)), (None, None, None), "the gap, and the slots that it touches");
    assert!(close(at(25).unwrap(), easy_work() / 10.0));
    assert_eq!(at(33), None, "not observed yet");

    // Numbers from before this sidecar knew the session are no loss.
    fixture.derived(&[gap(GAP_UNSEEN)]);
    assert_eq!(fixture.get::<u64>("SELECT events_missing FROM sources"), 100);
    assert_eq!(fixture.get::<u64>("SELECT strikes FROM losses WHERE kind = 'unseen'"), 0);
}

#[test]
fn numbers_that_this_sink_never_got_are_a_loss_too() {
    let mut fixture = Fixture::new();
    fixture.events(&[heartbeat(HOUR_START), share(1, HOUR_START + SECOND)]);
    // Expired behind retention: the sink reads on at a later record.
    fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START + MINUTE)]);
    fixture.events(&[share(1, HOUR_START + 2 * MINUTE)]);
    let loss: (String, u64, u64, u64) = super::read(&fixture.path())
        .query_row("SELECT kind, start_at, end_at, events FROM losses", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!(loss, ("not-read".to_owned(), HOUR_START + SECOND, HOUR_START + 2 * MINUTE, 1));
    assert_eq!(fixture.bucket("1m", 0, "", HOUR_START).2, 1);
}

#[test]
fn time_that_was_not_read_is_not_observed_though_an_announcement_ends_it() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START + SECOND)]);
    // An hour expires behind retention; the driver tells what is open, then the sink reads on.
    fixture.journal.append(&mut fixture.session, &[share(1, HOUR_START + MINUTE)]);
    let back = HOUR_START + HOUR;
    let mark = |end: bool| match end {
        false => Event::AnnounceBegin(AnnounceBegin { timestamp: UnixMillis(back) }),
        true => Event::AnnounceEnd(AnnounceEnd { timestamp: UnixMillis(back) }),
    };
    let announcement =
        fixture.journal.announcement(&fixture.session, &[mark(false), opened(1, "alice", HOUR_START), mark(true)]);
    fixture.deliver(&[announcement]);
    assert_eq!(
        fixture.get::<u64>("SELECT last_event_at FROM sessions"),
        HOUR_START + SECOND,
        "nothing was heard of it"
    );
    fixture.events(&[share(1, back + SECOND), heartbeat(back + MINUTE)]);
    let observed: u64 = fixture.get("SELECT sum(end_at - start_at) FROM observed");
    assert_eq!(observed, SECOND + MINUTE - SECOND, "up to the last event, and from the next one on");
    let loss: (u64, u64) = super::read(&fixture.path())
        .query_row("SELECT start_at, end_at FROM losses", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(loss, (HOUR_START + SECOND, back + SECOND));
}

#[test]
fn an_hour_without_shares_is_observed_and_a_gap_is_not() {
    let mut fixture = Fixture::new();
    fixture.events(&[
        opened(1, "alice", HOUR_START),
        share(1, HOUR_START + SECOND),
        heartbeat(HOUR_START + 30 * MINUTE),
    ]);
    let history = History::open(&fixture.path()).unwrap();
    let query = |from, to| SeriesQuery {
        publisher: "pool-a".to_owned(),
        subject: Subject::Identity("alice".to_owned()),
        from_ms: from,
        to_ms: to,
        points: 60,
    };
    let answer = history.series(&query(HOUR_START, HOUR_START + 50 * MINUTE)).unwrap();
    let at = |minute: u64| answer.points[(minute * MINUTE / answer.step_ms) as usize];
    assert_eq!((at(20).value, at(20).accepted, at(20).observed), (Some(0.0), Some(0), 1.0));
    assert!(at(20).high.unwrap() > 0.0, "zero shares bound the hashrate, they do not say zero");
    assert_eq!((at(40).value, at(40).low, at(40).accepted, at(40).observed), (None, None, None, 0.0));
}

#[test]
fn a_clock_that_steps_takes_the_buckets_that_overlap_out_of_the_rates() {
    let mut fixture = Fixture::new();
    fixture.events(&ten_minutes(HOUR_START));
    // The clock goes back by five minutes; the same minutes are counted a second time.
    fixture.events(&[
        share(1, HOUR_START + 5 * MINUTE),
        Event::Heartbeat(Heartbeat { timestamp: UnixMillis(HOUR_START + 5 * MINUTE), flags: HEARTBEAT_CLOCK_STEPPED }),
    ]);
    fixture.events(&ten_minutes(HOUR_START + 5 * MINUTE));
    let (accepted, _, unrated) = fixture.bucket("1h", 0, "", HOUR_START);
    assert_eq!(accepted, 121);
    let minutes = rate(&fixture, Subject::Channels, HOUR_START, HOUR_START + 15 * MINUTE);
    let per_minute = minutes.len() / 15;
    for (index, point) in minutes.iter().enumerate() {
        let minute = index / per_minute;
        assert_eq!(point.is_none(), (5..=10).contains(&minute), "{minute}: {point:?}");
        assert!(point.is_none_or(|rate| close(rate, easy_work() / 10.0)), "never twice: {point:?}");
    }
    assert!(unrated >= 61);
}

#[test]
fn a_clock_that_was_not_set_before_it_stepped_strikes_out_its_own_time_alone() {
    let mut fixture = Fixture::new();
    fixture.events(&ten_minutes(HOUR_START));
    let mut next = sink_contract::SyntheticSession::new("pool-a", stats_sv2::Role::Pool, 2);
    let at = HOUR_START + HOUR;
    let stepped = Event::Heartbeat(Heartbeat { timestamp: UnixMillis(at), flags: HEARTBEAT_CLOCK_STEPPED });
    let records = [
        fixture.journal.append(&mut next, &[heartbeat(SECOND), share(1, 2 * SECOND)]),
        fixture.journal.append(&mut next, &[stepped, share(1, at + 1)]),
    ];
    fixture.deliver(&records);
    assert_eq!(fixture.bucket("1h", 0, "", HOUR_START).2, 0, "the session before it has its rate still");
    assert_eq!(fixture.bucket("1h", 0, "", HOUR_START + HOUR).2, 1);
    assert_eq!(fixture.get::<u64>("SELECT start_at FROM losses WHERE kind = 'clock-stepped'"), at);
}

#[test]
fn absurd_counts_of_lost_events_do_not_stop_the_sink() {
    let mut fixture = Fixture::new();
    fixture.events(&[heartbeat(HOUR_START)]);
    for _ in 0..4 {
        fixture.events(&[Event::EventsDropped(EventsDropped {
            count: u64::MAX >> 1,
            first_timestamp: UnixMillis(HOUR_START),
            last_timestamp: UnixMillis(HOUR_START),
            reason: Text::new("queue-full").unwrap(),
        })]);
        let mut other = sink_contract::SyntheticSession::new("pool-a", stats_sv2::Role::Pool, 2);
        other = std::mem::replace(&mut fixture.session, other);
        fixture.derived(&[Event::Gap(Gap {
            session_id: 2,
            first_sequence: 1,
            last_sequence: u64::MAX >> 1,
            since: UnixMillis(HOUR_START),
            timestamp: UnixMillis(HOUR_START),
            kind: GAP_MISSING,
        })]);
        fixture.session = other;
    }
    assert!(fixture.get::<i64>("SELECT events_dropped + events_missing FROM sources") > 1 << 40);
    fixture.events(&[share(1, HOUR_START)]);
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 1);
}

#[test]
fn a_publisher_that_drops_all_the_time_makes_one_row() {
    let mut fixture = Fixture::new();
    fixture.events(&[heartbeat(HOUR_START)]);
    for index in 0..50 {
        let at = HOUR_START + index * 100;
        fixture.events(&[dropped(at, at + 50)]);
    }
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM losses"), 1);
    assert_eq!(fixture.get::<u64>("SELECT events FROM losses"), 350);
    // A wild time cannot strike out years.
    fixture.events(&[dropped(0, HOUR_START + HOUR)]);
    assert!(fixture.get::<u64>("SELECT min(start_at) FROM losses") >= HOUR_START - MINUTE);
}

#[test]
fn a_loss_whose_minutes_are_gone_takes_its_hours_out_of_the_rates() {
    let day_start = HOUR_START - HOUR_START % DAY;
    let hour = day_start + 5 * HOUR;
    for settles in [false, true] {
        let mut fixture = Fixture::with(|settings| settings.fine_workers = 0);
        fixture.journal.set_now(UnixMillis(hour + 30 * DAY));
        fixture.events(&[heartbeat(hour - HOUR), opened(1, "alice", hour - HOUR)]);
        let even: Vec<_> = (0..120).map(|minute| share(1, hour + minute * MINUTE)).collect();
        fixture.events(&even);
        fixture.events(&[heartbeat(hour + 2 * HOUR)]);
        if settles {
            fixture.events(&[share(1, hour + 30 * DAY)]);
            for _ in 0..20 {
                fixture.sink.maintain(UnixMillis(hour + 30 * DAY)).unwrap();
            }
            assert_eq!(fixture.get::<u64>("SELECT count(*) FROM settled_1d WHERE series = 1"), 1);
        }
        fixture.sink.maintain(UnixMillis(hour + 30 * DAY)).unwrap();
        fixture.events(&[dropped(hour + 10 * MINUTE, hour + 49 * MINUTE)]);
        for table in ["hours", "rollup_5m", "rollup_total"] {
            let alice = "series = (SELECT id FROM series WHERE name = 'alice' AND kind = 1)";
            assert_eq!(
                fixture.get::<u64>(&format!("SELECT sum(unrated_shares) FROM {table} WHERE {alice}")),
                60,
                "{table}"
            );
        }
        if settles {
            assert_eq!(fixture.get::<u64>("SELECT max(unrated_shares) FROM settled_1d"), 60);
        }
        let rates = rate(&fixture, Subject::Identity("alice".to_owned()), hour, hour + 2 * HOUR);
        let known: Vec<f64> = rates.iter().flatten().copied().collect();
        assert!(!known.is_empty() && known.len() < rates.len());
        assert!(known.iter().all(|rate| close(*rate, easy_work() / 60.0)), "{known:?}");
        // A share of that hour that comes later still is none of its rate either.
        fixture.restart();
        fixture.events(&[share(1, hour + 20 * MINUTE)]);
        assert_eq!(fixture.get::<u64>("SELECT sum(unrated_shares) FROM rollup_total WHERE series = 1"), 61);
    }
}

#[test]
fn missing_numbers_whose_minutes_are_gone_take_hours_out_of_the_rates_with_their_time() {
    let hour = HOUR_START - HOUR_START % DAY + 5 * HOUR;
    let mut fixture = Fixture::with(|settings| settings.fine_workers = 0);
    fixture.journal.set_now(UnixMillis(hour + 30 * DAY));
    fixture.sink.maintain(UnixMillis(hour + 30 * DAY)).unwrap();
    fixture.events(&[heartbeat(hour - HOUR), opened(1, "alice", hour - HOUR)]);
    let minutes =
        |from: u64, to: u64| -> Vec<_> { (from..to).map(|minute| share(1, hour + minute * MINUTE)).collect() };
    fixture.events(&minutes(0, 51));
    // What follows is five minutes later, and its numbers do not follow.
    fixture.journal.append(&mut fixture.session, &[heartbeat(0)]);
    fixture.events(&minutes(56, 120));
    fixture.events(&[heartbeat(hour + 2 * HOUR)]);
    let loss: (u64, u64) = super::read(&fixture.path())
        .query_row("SELECT start_at, end_at FROM losses WHERE kind = 'not-read'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(loss, (hour, hour + HOUR - 1), "what is struck and what is told are the same");
    let rates = rate(&fixture, Subject::Identity("alice".to_owned()), hour, hour + 2 * HOUR);
    let known: Vec<f64> = rates.iter().flatten().copied().collect();
    assert!(!known.is_empty() && known.len() < rates.len(), "{rates:?}");
    assert!(known.iter().all(|rate| close(*rate, easy_work() / 60.0)), "{known:?}");
}

#[test]
fn silence_of_many_is_bounded_by_the_hardest_target() {
    let mut fixture = Fixture::new();
    // A hundred times harder than difficulty 1, and one that is none.
    let hard = stats_sv2::CompactTarget(0x1c02_8f59);
    fixture.events(&[opened(1, "small", HOUR_START), opened(2, "large", HOUR_START), opened(3, "none", HOUR_START)]);
    for (downstream, target) in [(2, hard), (3, stats_sv2::CompactTarget(0x0100_0000))] {
        fixture.events(&[Event::ChannelTargetChanged(stats_sv2::event::ChannelTargetChanged {
            downstream_id: stats_sv2::DownstreamId(downstream),
            channel_id: stats_sv2::ChannelId(1),
            timestamp: UnixMillis(HOUR_START),
            target,
        })]);
    }
    fixture.events(&[share(1, HOUR_START + SECOND), heartbeat(HOUR_START + 10 * MINUTE)]);
    let history = History::open(&fixture.path()).unwrap();
    let (from_ms, to_ms) = (HOUR_START + MINUTE, HOUR_START + 2 * MINUTE);
    let query = SeriesQuery { publisher: "pool-a".to_owned(), subject: Subject::Channels, from_ms, to_ms, points: 6 };
    for point in history.series(&query).unwrap().points {
        // Three shares of the hard target, over ten seconds.
        let bound = 100.0 * easy_work() * 3.0 / 10.0;
        assert_eq!(point.value, Some(0.0), "{point:?}");
        assert!(point.high.is_some_and(|high| (high / bound - 1.0).abs() < 0.3), "{bound} {point:?}");
    }
}
