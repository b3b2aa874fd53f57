//! Rules 10 to 12: what is open, announcements, the end of a session. No ghosts, and no miner twice.

use sidecar_core::BlockingSink;
use sink_contract::SyntheticSession;
use stats_sv2::event::{
    AnnounceBegin, AnnounceEnd, ChannelClosed, DownstreamConnected, DownstreamDisconnected, MinerHashrateUpdate,
    SessionStarted, ShareRejected, UpstreamConnected,
};
use stats_sv2::session::OPEN_FINISHING;
use stats_sv2::{ChannelId, DownstreamId, Event, MinerId, Role, Text, UnixMillis};

use super::{Fixture, HOUR, HOUR_START, MINUTE, heartbeat, miner, miner_share, opened, session_ended, share};
use crate::query::{History, SeriesQuery, Subject};

fn begin(at: u64) -> Event<'static> {
    Event::AnnounceBegin(AnnounceBegin { timestamp: UnixMillis(at) })
}

fn end(at: u64) -> Event<'static> {
    Event::AnnounceEnd(AnnounceEnd { timestamp: UnixMillis(at) })
}

fn connected(id: u32, at: u64) -> Event<'static> {
    Event::DownstreamConnected(DownstreamConnected {
        downstream_id: DownstreamId(id),
        flags: 0,
        timestamp: UnixMillis(at),
        address: Text::new("192.0.2.7:1000").unwrap(),
        vendor: Text::new("braiins").unwrap(),
        hardware_version: Text::new("s19").unwrap(),
        firmware: Text::new("22").unwrap(),
        device_id: Text::new("a").unwrap(),
    })
}

fn disconnected(id: u32, at: u64) -> Event<'static> {
    Event::DownstreamDisconnected(DownstreamDisconnected {
        downstream_id: DownstreamId(id),
        timestamp: UnixMillis(at),
        reason: Text::new("gone").unwrap(),
    })
}

fn closed(downstream: u32, at: u64) -> Event<'static> {
    Event::ChannelClosed(ChannelClosed {
        downstream_id: DownstreamId(downstream),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(at),
        reason: Text::new("bye").unwrap(),
    })
}

fn upstream(at: u64) -> Event<'static> {
    Event::UpstreamConnected(UpstreamConnected {
        timestamp: UnixMillis(at),
        address: Text::new("198.51.100.1:3333").unwrap(),
    })
}

fn session_started(session_id: u64, at: u64, flags: u32) -> Event<'static> {
    Event::SessionStarted(SessionStarted {
        session_id,
        role: Role::Pool,
        timestamp: UnixMillis(at),
        first_sequence: 1,
        flags,
        vendor: Text::new("hashpool").unwrap(),
    })
}

/// Open downstreams, channels, miners, upstreams.
fn open(fixture: &Fixture) -> [u64; 4] {
    [
        fixture.get("SELECT count(*) FROM downstreams WHERE disconnected_at IS NULL"),
        fixture.get("SELECT count(*) FROM channels WHERE closed_at IS NULL"),
        fixture.get("SELECT count(*) FROM miners WHERE disconnected_at IS NULL"),
        fixture.get("SELECT count(*) FROM upstreams WHERE disconnected_at IS NULL"),
    ]
}

#[test]
fn an_announcement_counts_nothing_and_closes_what_it_does_not_name() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[
        connected(1, t),
        opened(1, "alice", t),
        connected(2, t + 1),
        opened(2, "bob", t + 1),
        miner(5, "rig-5", t),
        miner(6, "rig-6", t),
        upstream(t),
        share(1, t + 2),
        share(2, t + 2),
    ]);
    assert_eq!(open(&fixture), [2, 2, 2, 1]);
    fixture.events(&[begin(t + HOUR), connected(1, t), opened(1, "alice", t), share(1, t + HOUR)]);
    // The announcement is cut in two by a restart.
    fixture.restart();
    fixture.events(&[
        connected(3, t + MINUTE),
        opened(3, "carol", t + MINUTE),
        miner(6, "rig-6", t),
        Event::MinerHashrateUpdate(MinerHashrateUpdate {
            miner_id: MinerId(99),
            hashrate: 5,
            timestamp: UnixMillis(t),
        }),
        upstream(t),
        end(t + HOUR + 1),
        share(1, t + HOUR + 2),
    ]);
    assert_eq!(open(&fixture), [2, 2, 1, 1], "alice and carol, rig-6, the upstream");
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM channels"), 3, "alice was not opened again");
    assert_eq!(
        fixture.get::<u64>("SELECT opened_at FROM channels ORDER BY id DESC LIMIT 1"),
        t + MINUTE,
        "original times"
    );
    assert_eq!(
        fixture.get::<u64>("SELECT closed_at FROM channels c JOIN series s ON s.id = c.identity WHERE s.name = 'bob'"),
        t + HOUR + 1
    );
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 2, "the share between the marks does not count");
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM observed"), 1);
    assert_eq!(fixture.get::<u64>("SELECT start_at FROM observed"), t, "announced times are no observed times");
}

#[test]
fn a_sink_without_state_is_told_what_is_open_before_its_first_record() {
    let mut fixture = Fixture::new();
    let start = fixture.sink.start().unwrap();
    assert!(start.wants_announcement && start.joins_batches && start.cursor.is_none());
    let t = HOUR_START;
    let announcement = fixture
        .journal
        .announcement(&fixture.session, &[begin(t), connected(1, t - HOUR), opened(1, "alice", t - HOUR), end(t)]);
    // The events before it are in the past of this sink.
    for _ in 0..9 {
        fixture.journal.append(&mut fixture.session, &[heartbeat(t)]);
    }
    let record = fixture.journal.append(&mut fixture.session, &[share(1, t + 1)]);
    fixture.deliver(&[announcement.clone(), record.clone()]);
    fixture.deliver(&[announcement, record]);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 1);
    assert_eq!(open(&fixture), [1, 1, 0, 0]);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM losses"), 0, "what came before this sink is no loss of it");
    assert!(!fixture.sink.start().unwrap().wants_announcement);
}

#[test]
fn the_end_of_a_session_closes_everything_and_a_lost_connection_nothing() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[connected(1, t), opened(1, "alice", t), miner(5, "rig", t), upstream(t), share(1, t + 1)]);
    // Another session of the same publisher sends: that alone closes nothing here.
    let mut next = SyntheticSession::new("pool-a", Role::Pool, 2);
    let record = fixture.journal.append(&mut next, &[opened(1, "alice", t + MINUTE), share(1, t + MINUTE)]);
    fixture.deliver(&[record]);
    assert_eq!(open(&fixture), [2, 2, 1, 1]);
    fixture.derived(&[session_ended(t + 2)]);
    assert_eq!(open(&fixture), [1, 1, 0, 0], "those of the other session stay");
    assert_eq!(fixture.get::<u64>("SELECT closed_at FROM channels WHERE session = 1"), t + 2);

    // What the ended session still delivers counts, and opens nothing (rule 5).
    fixture.events(&[
        share(1, t + 3),
        opened(9, "dave", t + 4),
        share(9, t + 5),
        miner(7, "late", t),
        miner_share(7, t),
    ]);
    assert_eq!(open(&fixture), [1, 1, 0, 0]);
    assert_eq!(fixture.bucket("total", 1, "dave", 0).0, 1);
    assert_eq!(fixture.bucket("total", 4, "late", 0).0, 1);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 3, "one miner, over both sessions");
}

#[test]
fn a_session_that_delivers_its_rest_counts_and_opens_nothing() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[connected(1, t), opened(1, "alice", t), share(1, t + 1)]);
    let record =
        fixture.journal.append(&mut fixture.session, &[opened(2, "bob", t + 2), share(2, t + 3), share(1, t + 3)]);
    let finishing = std::sync::Arc::new(sidecar_core::Record { finishing: true, ..(*record).clone() });
    fixture.deliver(&[finishing]);
    assert_eq!(open(&fixture), [1, 1, 0, 0]);
    assert_eq!(fixture.bucket("total", 1, "bob", 0).0, 1);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 2);
}

/// Shares every ten seconds for ten minutes.
fn ten_minutes_of(downstream: u32, from: u64) -> Vec<Event<'static>> {
    (0..60).map(|index| share(downstream, from + index * 10_000)).collect()
}

#[test]
fn the_rest_of_a_session_brings_its_time_along() {
    for ended_first in [false, true] {
        let mut fixture = Fixture::new();
        let t = HOUR_START;
        fixture.events(&[connected(1, t), opened(1, "alice", t), miner(5, "rig", t)]);
        fixture.events(&ten_minutes_of(1, t));
        if ended_first {
            fixture.derived(&[session_ended(t + 10 * MINUTE)]);
        }
        // The sidecar was away. Alice went on, bob came, and a new session has begun when the rest arrives.
        let mut next = SyntheticSession::new("pool-a", Role::Pool, 2);
        let began = fixture.journal.append(&mut next, &[heartbeat(t + 30 * MINUTE)]);
        fixture.deliver(&[began]);
        let mut rest = vec![connected(2, t + 10 * MINUTE), opened(2, "bob", t + 10 * MINUTE)];
        rest.extend(
            ten_minutes_of(1, t + 10 * MINUTE)
                .into_iter()
                .zip(ten_minutes_of(2, t + 10 * MINUTE))
                .flat_map(<[_; 2]>::from),
        );
        rest.extend((0..60).map(|index| miner_share(5, t + 10 * MINUTE + index * 10_000)));
        rest.push(closed(2, t + 20 * MINUTE));
        rest.push(heartbeat(t + 20 * MINUTE));
        let rest = fixture.journal.append(&mut fixture.session, &rest);
        fixture.deliver(&[std::sync::Arc::new(sidecar_core::Record { finishing: true, ..(*rest).clone() })]);

        let history = History::open(&fixture.path()).unwrap();
        let expected = super::easy_work() / 10.0;
        for subject in [
            Subject::Identity("alice".to_owned()),
            Subject::Identity("bob".to_owned()),
            Subject::MinerName("rig".to_owned()),
            Subject::Downstream(1),
            Subject::Downstream(2),
        ] {
            let (publisher, to_ms) = ("pool-a".to_owned(), t + 20 * MINUTE);
            let query = SeriesQuery { publisher, subject: subject.clone(), from_ms: t + 10 * MINUTE, to_ms, points: 2 };
            let points = history.series(&query).unwrap().points;
            assert_eq!(points.len(), 2, "{points:?}");
            for point in points {
                let value = point.value.unwrap_or_default();
                assert!((value / expected - 1.0).abs() < 0.05, "{subject:?}, ended first: {ended_first}: {point:?}");
                assert!(point.observed > 0.95 && point.observed <= 1.0, "{subject:?}: {point:?}");
            }
        }
        assert_eq!(open(&fixture), if ended_first { [0, 0, 0, 0] } else { [1, 1, 1, 0] });
    }
}

#[test]
fn a_downstream_whose_channel_is_announced_is_open() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[connected(1, t), connected(2, t), opened(1, "alice", t)]);
    // The channel is named, its downstream is not.
    fixture.events(&[begin(t + 1), opened(1, "alice", t), end(t + 1)]);
    assert_eq!(open(&fixture), [1, 1, 0, 0]);
    fixture.events(&[disconnected(1, t + 2)]);
    assert_eq!(open(&fixture), [0, 0, 0, 0], "and its channel closes with it");
}

#[test]
fn the_rest_of_a_session_that_comes_back_opens_again() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    let rest = fixture.journal.append(&mut fixture.session, &[opened(1, "alice", t)]);
    fixture.deliver(&[std::sync::Arc::new(sidecar_core::Record { finishing: true, ..(*rest).clone() })]);
    assert_eq!(open(&fixture), [0, 0, 0, 0]);
    // The same session is the publisher's current one again: whether it opens is said by each record.
    fixture.events(&[opened(2, "bob", t)]);
    assert_eq!(open(&fixture), [1, 1, 0, 0]);
}

#[test]
fn a_session_that_comes_back_after_its_end_is_alive() {
    for (announced, restarted) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut fixture = Fixture::new();
        let t = HOUR_START;
        fixture.derived(&[session_started(1, t, 0)]);
        fixture.events(&[connected(1, t), opened(1, "alice", t), begin(t), connected(1, t)]);
        fixture.derived(&[session_ended(t + MINUTE)]);
        // A restart that only delivers the rest does not bring it back.
        fixture.derived(&[session_started(1, t + HOUR, OPEN_FINISHING)]);
        fixture.events(&[opened(1, "alice", t)]);
        assert_eq!(open(&fixture), [0, 0, 0, 0]);

        let started = [session_started(1, t + 2 * HOUR, 0)];
        if announced {
            let record = fixture.journal.announcement(&fixture.session, &started);
            fixture.deliver(&[record]);
        } else {
            fixture.derived(&started);
        }
        assert_eq!(fixture.get::<u64>("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND outcome IS NULL"), 1);
        assert_eq!(fixture.get::<u64>("SELECT started_at FROM sessions"), t, "its first start");
        if restarted {
            fixture.restart();
        }
        fixture.events(&[opened(1, "alice", t), share(1, t + 2 * HOUR)]);
        assert_eq!(open(&fixture), [1, 1, 0, 0], "announced: {announced}");
        assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 1, "the announcement that its end cut off is over");
    }
}

#[test]
fn a_sink_that_lagged_ends_what_nobody_announces() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[connected(1, t), opened(1, "alice", t), miner(5, "rig", t), upstream(t), share(1, t + 1)]);
    let mut other = SyntheticSession::new("pool-b", Role::Pool, 2);
    let mut idle = SyntheticSession::new("pool-a", Role::Pool, 3);
    let records = [
        fixture.journal.append(&mut other, &[connected(1, t), opened(1, "bob", t)]),
        fixture.journal.append(&mut idle, &[connected(1, t)]),
    ];
    fixture.deliver(&records);
    // What a publisher announces says nothing about other sessions.
    let record = fixture.journal.append(&mut other, &[begin(t + 2), opened(1, "bob", t), connected(1, t), end(t + 2)]);
    fixture.deliver(&[record]);
    assert_eq!(open(&fixture), [3, 2, 1, 1]);

    // The sink lags; meanwhile the fixture's session ends and the idle one loses what it had. Nobody has anything open
    // but pool-b.
    let announcements = [
        fixture.journal.announcement(&other, &[begin(t + HOUR), connected(1, t), opened(1, "bob", t), end(t + HOUR)]),
        fixture.journal.announcement(&idle, &[begin(t + HOUR), end(t + HOUR)]),
    ];
    for _ in 0..2 {
        fixture.deliver(&announcements);
        assert_eq!(open(&fixture), [1, 1, 0, 0]);
        assert_eq!(fixture.get::<u64>("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL"), 1);
    }
    let ended: (u64, u64, Option<u8>) = super::read(&fixture.path())
        .query_row("SELECT session_id, ended_at, outcome FROM sessions WHERE ended_at IS NOT NULL", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(ended, (1, t + 1, None), "at its last event; how it ended is not known");
    assert_eq!(fixture.get::<u64>("SELECT closed_at FROM channels WHERE session = 1"), t + 1);

    // What was in memory of it is gone too: it opens nothing.
    fixture.events(&[opened(9, "alice", t), share(9, t + HOUR), share(1, t + HOUR)]);
    assert_eq!(open(&fixture), [1, 1, 0, 0]);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 3);
    // An announcement beside records is not about all sessions.
    let record = fixture.journal.append(&mut idle, &[connected(7, t + HOUR)]);
    fixture.deliver(&[announcements[1].clone(), record]);
    assert_eq!(open(&fixture), [2, 1, 0, 0]);
}

#[test]
fn ids_are_reused_and_miners_are_not_doubled() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[connected(1, t), opened(1, "alice", t), share(1, t + 1), disconnected(1, t + 2)]);
    assert_eq!(open(&fixture), [0, 0, 0, 0], "the channels of a downstream close with it");
    fixture.events(&[connected(2, t + 3), opened(2, "alice", t + 3), share(2, t + 4)]);
    // The same id again, without a close in between.
    fixture.events(&[opened(2, "bob", t + 5), share(2, t + 6)]);
    // A share for a channel that is closed, and one for a channel that nobody opened.
    fixture.events(&[share(1, t + 7), share(8, t + 8)]);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 3);
    assert_eq!(fixture.bucket("total", 1, "bob", 0).0, 1);
    assert_eq!(fixture.bucket("total", 1, "", 0).0, 1);
    // The opening of the unknown one turns up: it gets its name.
    fixture.events(&[opened(8, "eve", t), share(8, t + 9)]);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM channels WHERE downstream_id = 8"), 1);
    assert_eq!(fixture.bucket("total", 1, "eve", 0).0, 1);
    fixture.events(&[closed(8, t + MINUTE)]);
    let history = History::open(&fixture.path()).unwrap();
    let names: Vec<(String, u64)> = history
        .workers("pool-a", HOUR, t + HOUR, None, 100)
        .unwrap()
        .into_iter()
        .map(|worker| (worker.name, worker.open))
        .collect();
    let expected = [("", 0), ("alice", 0), ("bob", 1), ("eve", 0)].map(|(name, open)| (name.to_owned(), open));
    assert_eq!(names, expected);
}

#[test]
fn rejections_open_no_channels_however_many_are_invented() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    let reject = |downstream_id: u32, channel_id: u32| {
        Event::ShareRejected(ShareRejected {
            downstream_id: DownstreamId(downstream_id),
            timestamp: UnixMillis(t + 1),
            channel_id: ChannelId(channel_id),
            sequence_number: 1,
            error_code: Text::new("invalid-channel-id").unwrap(),
        })
    };
    fixture.events(&[connected(1, t), opened(1, "alice", t), connected(2, t), opened(2, "bob", t), disconnected(2, t)]);
    // 1000 channels of a downstream that is there, 100 of one that was never seen, and a late one for a channel that is closed.
    let invented: Vec<_> = (1_000..2_000).map(|id| reject(1, id)).chain((100..200).map(|id| reject(id, 1))).collect();
    fixture.events(&invented);
    fixture.restart();
    fixture.events(&[reject(1, 1), reject(2, 1), reject(2, 9)]);

    assert_eq!(open(&fixture), [1, 1, 0, 0]);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM channels"), 2);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM downstreams"), 2);
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM series WHERE kind = 2"), 2);
    let rejected = |kind: u8, name: &str| {
        fixture.get::<u64>(&format!(
            "SELECT rejected FROM rollup_5m r JOIN series s ON s.id = r.series WHERE s.kind = {kind} AND s.name = '{name}'"
        ))
    };
    assert_eq!((rejected(0, ""), rejected(2, "1"), rejected(2, "2")), (1_103, 1_001, 1));
    assert_eq!((rejected(1, "alice"), rejected(1, "bob")), (1, 1), "those of the channels themselves");
    let overview = History::open(&fixture.path()).unwrap().overview(t + MINUTE).unwrap();
    let channels = overview.sources[0].channels.as_ref().unwrap();
    assert_eq!((overview.sources[0].channels_open, channels.totals.rejected), (1, 1_103));
}

#[test]
fn names_beyond_the_limit_share_one_history() {
    let mut fixture = Fixture::with(|settings| settings.max_series = 3);
    for index in 0..10 {
        let name = format!("worker-{index}");
        fixture.events(&[opened(index, &name, HOUR_START), share(index, HOUR_START + 1)]);
    }
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM series WHERE kind = 1"), 4);
    assert_eq!(fixture.bucket("total", 1, "(other)", 0).0, 7);
    assert_eq!(fixture.bucket("total", 0, "", 0).0, 10);
}

#[test]
fn many_closed_channels_do_not_stay_in_memory() {
    let mut fixture = Fixture::new();
    for round in 0..40_u32 {
        let events: Vec<_> = (0..50)
            .flat_map(|index| {
                let (id, at) = (round * 50 + index, HOUR_START + u64::from(round));
                [connected(id, at), opened(id, "alice", at), share(id, at), disconnected(id, at)]
            })
            .collect();
        fixture.events(&events);
    }
    assert!(fixture.sink.cached_workers() < 600, "{}", fixture.sink.cached_workers());
    // The forgotten ones are found again.
    fixture.events(&[share(3, HOUR_START + MINUTE)]);
    assert_eq!(fixture.bucket("total", 1, "alice", 0).0, 2_001);
    assert_eq!(fixture.get::<u64>("SELECT accepted FROM channels WHERE downstream_id = 3"), 2);
}
