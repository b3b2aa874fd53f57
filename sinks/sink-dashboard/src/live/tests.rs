//! The present: who is connected, through reconnects, announcements and repeated deliveries.

use std::sync::Arc;

use proptest::prelude::*;
use sidecar_core::{JournalId, Record, Route};
use sink_contract::{SyntheticJournal, SyntheticSession, batch};
use stats_sv2::event::{
    AnnounceBegin, AnnounceEnd, ChannelClosed, ChannelOpened, MinerConnected, MinerShareRejected, MinerShareSubmitted,
    ShareRejected, ShareSubmitted, SharesCounted,
};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Event, MinerId, Role, Text, U256, UnixMillis};

use super::Live;
use super::hub::Hub;
use super::message::WorkerKind;
use super::source::MAX_WORKERS;
use crate::config::DashboardSettings;
use crate::security::redact::Redaction;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn opened(id: u32, name: &str) -> Event<'static> {
    Event::ChannelOpened(ChannelOpened {
        downstream_id: DownstreamId(id),
        channel_id: ChannelId(0),
        timestamp: NOW,
        kind: 0,
        user_identity: Text::cut(name.to_owned()),
        nominal_hashrate: 0,
        target: CompactTarget(0x1d00_ffff),
    })
}

fn closed(id: u32) -> Event<'static> {
    Event::ChannelClosed(ChannelClosed {
        downstream_id: DownstreamId(id),
        channel_id: ChannelId(0),
        timestamp: NOW,
        reason: Text::cut(""),
    })
}

fn share(id: u32) -> Event<'static> {
    Event::ShareSubmitted(ShareSubmitted {
        downstream_id: DownstreamId(id),
        timestamp: NOW,
        channel_id: ChannelId(0),
        sequence_number: 0,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    })
}

struct Fed {
    live: Live,
    journal: SyntheticJournal,
    session: SyntheticSession,
}

impl Fed {
    fn new() -> Self {
        let redaction = Arc::new(Redaction::of(&DashboardSettings::new("history")));
        Self {
            live: Live::new(redaction, Hub::new(4, 4)),
            journal: SyntheticJournal::new(JournalId(1), NOW),
            session: SyntheticSession::new("pool-a", Role::Pool, 1),
        }
    }

    fn events(&mut self, events: &[Event<'_>]) -> Arc<Record> {
        let record = self.journal.append(&mut self.session, events);
        self.apply(&record);
        record
    }

    fn apply(&self, record: &Arc<Record>) {
        self.live.apply(&batch(self.journal.id(), &[Arc::clone(record)], Route::all()));
    }

    fn messages(&self) -> Vec<String> {
        self.live
            .hub()
            .after(0)
            .messages
            .iter()
            .map(|message| String::from_utf8(message.data().to_vec()).unwrap())
            .collect()
    }
}

#[test]
fn a_worker_is_connected_while_any_connection_is_open() {
    let mut fed = Fed::new();
    fed.events(&[opened(1, "alice"), opened(2, "alice")]);
    fed.events(&[closed(1)]);
    assert_eq!((fed.live.connected("pool-a"), fed.messages().len()), (1, 1), "up once, not down yet");
    fed.events(&[closed(2)]);
    assert_eq!(fed.live.connected("pool-a"), 0);
    assert!(fed.messages()[1].contains("\"down\""));
}

#[test]
fn a_delivery_that_is_repeated_counts_once() {
    let mut fed = Fed::new();
    let record = fed.events(&[opened(1, "alice"), share(1), share(1)]);
    fed.apply(&record);
    let (changes, more, _) = fed.live.take_changes(10);
    assert_eq!((changes.len(), changes[0].accepted, more), (1, 2, 0));
    assert_eq!(fed.live.recent_shares("pool-a", WorkerKind::Identity, "alice").len(), 2);
    assert!(fed.live.take_changes(10).0.is_empty(), "told once");
}

#[test]
fn an_announcement_opens_silently_and_closes_what_it_does_not_name() {
    let mut fed = Fed::new();
    let begin = Event::AnnounceBegin(AnnounceBegin { timestamp: NOW });
    let end = Event::AnnounceEnd(AnnounceEnd { timestamp: NOW });
    let announced =
        fed.journal.announcement(&fed.session, &[begin.clone(), opened(1, "alice"), opened(2, "bob"), end.clone()]);
    fed.apply(&announced);
    assert_eq!((fed.live.connected("pool-a"), fed.messages().len()), (2, 0));
    fed.events(&[begin, opened(2, "bob"), end]);
    assert_eq!(fed.live.connected("pool-a"), 1);
    assert!(fed.messages()[0].contains("alice") && fed.messages()[0].contains("\"down\""));
}

#[test]
fn a_new_session_closes_what_the_old_one_had_open() {
    let mut fed = Fed::new();
    fed.events(&[opened(1, "alice"), opened(2, "bob")]);
    fed.session = SyntheticSession::new("pool-a", Role::Pool, 2);
    fed.events(&[opened(1, "bob")]);
    assert_eq!(fed.live.connected("pool-a"), 1);
}

#[test]
fn floods_are_cut_and_counted() {
    let mut fed = Fed::new();
    for id in 0..200 {
        fed.events(&[opened(id, &format!("worker-{id}"))]);
    }
    let told = fed.messages().len() as u64;
    let (_, _, suppressed) = fed.live.take_changes(10);
    assert!((1..100).contains(&told));
    assert_eq!(told + suppressed, 200);
    fed.live.tick(NOW.0);
    fed.events(&[closed(0)]);
    assert_eq!(fed.messages().len() as u64, told + 1, "another second, another allowance");
}

#[test]
fn every_kind_of_share_counts_for_its_worker() {
    let mut fed = Fed::new();
    let rejected = ShareRejected {
        downstream_id: DownstreamId(1),
        timestamp: NOW,
        channel_id: ChannelId(0),
        sequence_number: 0,
        error_code: Text::cut("stale-share"),
    };
    let counted = SharesCounted {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(0),
        timestamp: NOW,
        since: UnixMillis(NOW.0 - 1_000),
        accepted: 5,
        rejected: 2,
        work: U256([0; 32]),
    };
    let connected = MinerConnected {
        miner_id: MinerId(1),
        name: Text::cut("rig"),
        timestamp: NOW,
        address: Text::cut(""),
        user_agent: Text::cut(""),
    };
    fed.events(&[opened(1, "alice"), Event::MinerConnected(connected)]);
    fed.events(&[
        share(1),
        Event::ShareRejected(rejected),
        Event::SharesCounted(counted),
        Event::MinerShareSubmitted(MinerShareSubmitted {
            miner_id: MinerId(1),
            timestamp: NOW,
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x1c00_ffff),
        }),
        Event::MinerShareRejected(MinerShareRejected {
            miner_id: MinerId(1),
            timestamp: NOW,
            error_code: Text::cut("job-not-found"),
        }),
        // Nobody's.
        share(9),
    ]);
    let (changes, more, _) = fed.live.take_changes(10);
    let mut changes: Vec<_> =
        changes.iter().map(|worker| (worker.name.as_str(), worker.kind, worker.accepted, worker.rejected)).collect();
    changes.sort_unstable();
    assert_eq!(changes, [("alice", WorkerKind::Identity, 6, 3), ("rig", WorkerKind::Miner, 1, 1)]);
    assert_eq!(more, 0);
    let shares = fed.live.recent_shares("pool-a", WorkerKind::Identity, "alice");
    assert_eq!((shares.len(), shares[0].error_code), (2, Some("stale-share")));
}

#[test]
fn the_rest_of_a_replaced_session_changes_nothing() {
    let mut fed = Fed::new();
    fed.events(&[opened(1, "alice")]);
    let mut old = fed.session.clone();
    fed.session = SyntheticSession::new("pool-a", Role::Pool, 2);
    fed.events(&[opened(1, "bob")]);
    let rest = fed.journal.append(&mut old, &[opened(2, "carol"), closed(1), share(1)]);
    fed.apply(&Arc::new(Record { finishing: true, ..Record::clone(&rest) }));
    assert_eq!(fed.live.connected("pool-a"), 1);
    assert!(fed.live.take_changes(10).0.is_empty());
    fed.events(&[share(1)]);
    assert_eq!(fed.live.take_changes(10).0[0].name, "bob");
}

#[test]
fn who_went_makes_room_for_who_comes() {
    let mut fed = Fed::new();
    let ids = |range: std::ops::Range<u32>| range.map(|id| opened(id, &format!("worker-{id}"))).collect::<Vec<_>>();
    let all = MAX_WORKERS as u32;
    fed.events(&ids(0..all));
    fed.events(&[share(0), share(1)]);
    fed.events(&ids(all..all + 1));
    assert_eq!(fed.live.connected("pool-a"), u64::from(all), "there is no room");
    fed.events(&[closed(0), closed(2)]);
    fed.events(&ids(all..all + 3));
    assert_eq!(fed.live.connected("pool-a"), u64::from(all));
    fed.events(&[share(all), share(1)]);
    let (changes, ..) = fed.live.take_changes(10);
    let mut changes: Vec<_> = changes.iter().map(|worker| (worker.name.clone(), worker.accepted)).collect();
    changes.sort_unstable();
    assert_eq!(changes, [("worker-1".to_owned(), 2), (format!("worker-{all}"), 1)], "and none of the other's shares");
}

#[test]
fn what_nobody_listened_to_is_not_told_later() {
    let mut fed = Fed::new();
    fed.events(&[opened(1, "alice"), share(1)]);
    fed.live.forget_changes();
    fed.events(&[share(1)]);
    assert_eq!(fed.live.take_changes(10).0[0].accepted, 1);
}

proptest! {
    /// Whatever opens and closes, in whatever order: who is connected is who has something open.
    #[test]
    fn connected_is_who_has_something_open(steps in prop::collection::vec((0_u32..6, 0_usize..4, any::<bool>()), 0..60)) {
        let mut fed = Fed::new();
        let mut model: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
        for (id, name, opens) in steps {
            if opens {
                fed.events(&[opened(id, &format!("worker-{name}"))]);
                model.insert(id, name);
            } else {
                fed.events(&[closed(id)]);
                model.remove(&id);
            }
            let connected: std::collections::BTreeSet<&usize> = model.values().collect();
            prop_assert_eq!(fed.live.connected("pool-a"), connected.len() as u64);
        }
    }
}
