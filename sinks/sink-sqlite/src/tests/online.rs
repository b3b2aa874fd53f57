//! Who is online: whoever is connected and sent a share lately, or has just come; the same in every answer.

use stats_sv2::event::{ChannelClosed, ChannelOpened, MinerHashrateUpdate};
use stats_sv2::{ChannelId, DownstreamId, Event, MinerId, Text, UnixMillis};

use super::{EASY, Fixture, HOUR_START, MINUTE, SECOND, easy_work, heartbeat, miner, miner_share, share};
use crate::query::online::{OF_SOURCE, OF_WORKER};
use crate::query::{History, Presence, Subject};

fn closed(downstream: u32, at: u64) -> Event<'static> {
    Event::ChannelClosed(ChannelClosed {
        downstream_id: DownstreamId(downstream),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(at),
        reason: Text::cut("bye"),
    })
}

/// Opens a channel whose shares take so long on average.
fn sending(downstream: u32, name: &str, share_ms: u64, at: u64) -> Event<'_> {
    Event::ChannelOpened(ChannelOpened {
        downstream_id: DownstreamId(downstream),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(at),
        kind: 1,
        user_identity: Text::new(name).unwrap(),
        nominal_hashrate: (easy_work() * 1000.0 / share_ms as f64) as u64,
        target: EASY,
    })
}

/// Every worker with its presence, which every answer must agree on.
fn presences(fixture: &Fixture, now_ms: u64) -> Vec<(String, Presence)> {
    let history = History::open(&fixture.path()).unwrap();
    let workers = history.workers("pool-a", MINUTE, now_ms, None, 100).unwrap();
    let source = history.overview(now_ms).unwrap().sources.remove(0);
    let counted = |presence| workers.iter().filter(|worker| worker.presence == presence).count() as u64;
    assert_eq!(
        (source.workers_online, source.workers_silent),
        (counted(Presence::Online), counted(Presence::Silent)),
        "{workers:?}"
    );
    for worker in &workers {
        let name = worker.name.clone();
        let subject = if worker.is_miner { Subject::MinerName(name) } else { Subject::Identity(name) };
        assert_eq!(history.worker("pool-a", &subject, now_ms, 1).unwrap().presence, worker.presence, "{worker:?}");
        assert_eq!(worker.presence == Presence::Gone, worker.open == 0, "{worker:?}");
    }
    workers.into_iter().map(|worker| (worker.name, worker.presence)).collect()
}

#[test]
fn online_is_who_is_connected_and_sent_a_share_lately_or_just_came() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[
        sending(1, "fast", 10 * SECOND, t),
        sending(2, "idle", 10 * SECOND, t),
        sending(3, "gone", 10 * SECOND, t),
        sending(4, "slow", 2 * MINUTE, t),
        sending(5, "twice", 10 * SECOND, t),
        sending(6, "twice", 10 * SECOND, t),
        miner(7, "rig", t),
        share(1, t),
        share(2, t),
        share(3, t),
        share(4, t),
    ]);
    fixture.events(&[share(1, t + 4 * MINUTE), share(6, t + 4 * MINUTE), miner_share(7, t + 4 * MINUTE)]);
    let now = t + 6 * MINUTE;
    fixture.events(&[closed(3, t + 4 * MINUTE), sending(8, "late", 10 * SECOND, t + 4 * MINUTE), heartbeat(now)]);
    let told = |presences: &[(String, Presence)], name: &str| {
        presences.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}")).1
    };
    let then = presences(&fixture, now);
    for (name, presence) in [
        ("fast", Presence::Online),
        ("idle", Presence::Silent),
        ("gone", Presence::Gone),
        // A share takes it two minutes on average, so ten without one are nothing.
        ("slow", Presence::Online),
        ("twice", Presence::Online),
        ("rig", Presence::Online),
        // It has not sent anything yet.
        ("late", Presence::Online),
    ] {
        assert_eq!(told(&then, name), presence, "{name}");
    }
    // Of a source that is silent the last is known that was; of one that is heard it is known who fell silent.
    assert_eq!(presences(&fixture, now + 60 * MINUTE), then);
    let later = now + 5 * MINUTE;
    fixture.events(&[heartbeat(later)]);
    for (name, presence) in presences(&fixture, later) {
        assert_eq!(presence, if name == "gone" { Presence::Gone } else { Presence::Silent }, "{name}");
    }
    // A connection that just opened is there, whatever the one before did; vardiff may find that a rig is slow.
    fixture.events(&[
        sending(9, "gone", 10 * SECOND, later),
        Event::MinerHashrateUpdate(MinerHashrateUpdate {
            miner_id: MinerId(7),
            hashrate: (easy_work() / 600.0) as u64,
            timestamp: UnixMillis(later),
        }),
        heartbeat(later + SECOND),
    ]);
    let last = presences(&fixture, later + SECOND);
    assert_eq!((told(&last, "gone"), told(&last, "rig")), (Presence::Online, Presence::Online));
}

#[test]
fn who_is_online_is_read_by_the_indexes_of_what_is_open() {
    let fixture = Fixture::new();
    let conn = super::read(&fixture.path());
    for (sql, indexes) in [
        (OF_SOURCE, ["channels_open ", "miners_open "]),
        (OF_WORKER, ["channels_open_by_identity ", "miners_open_by_identity "]),
    ] {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> = plan.query_map([1], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        for index in indexes {
            assert!(plan.iter().any(|step| step.contains(&format!("INDEX {index}"))), "{index} in {plan:?}");
        }
    }
}
