//! The present: who is online, through reconnects, announcements and repeated deliveries.

use std::sync::Arc;

use proptest::prelude::*;
use sidecar_core::{JournalId, Record, Route};
use sink_contract::{SyntheticJournal, SyntheticSession, batch};
use stats_sv2::event::{AnnounceBegin, AnnounceEnd, ChannelClosed, ChannelOpened, ShareSubmitted};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Event, Role, Text, UnixMillis};

use super::Live;
use super::message::WorkerKind;
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
            live: Live::new(redaction, 4),
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
fn a_worker_is_online_while_any_connection_is_open() {
    let mut fed = Fed::new();
    fed.events(&[opened(1, "alice"), opened(2, "alice")]);
    fed.events(&[closed(1)]);
    assert_eq!((fed.live.workers_online("pool-a"), fed.messages().len()), (1, 1), "up once, not down yet");
    fed.events(&[closed(2)]);
    assert_eq!(fed.live.workers_online("pool-a"), 0);
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
    assert_eq!((fed.live.workers_online("pool-a"), fed.messages().len()), (2, 0));
    fed.events(&[begin, opened(2, "bob"), end]);
    assert_eq!(fed.live.workers_online("pool-a"), 1);
    assert!(fed.messages()[0].contains("alice") && fed.messages()[0].contains("\"down\""));
}

#[test]
fn a_new_session_closes_what_the_old_one_had_open() {
    let mut fed = Fed::new();
    fed.events(&[opened(1, "alice"), opened(2, "bob")]);
    fed.session = SyntheticSession::new("pool-a", Role::Pool, 2);
    fed.events(&[opened(1, "bob")]);
    assert_eq!(fed.live.workers_online("pool-a"), 1);
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

proptest! {
    /// Whatever opens and closes, in whatever order: who is online is who has something open.
    #[test]
    fn online_is_who_has_something_open(steps in prop::collection::vec((0_u32..6, 0_usize..4, any::<bool>()), 0..60)) {
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
            let online: std::collections::BTreeSet<&usize> = model.values().collect();
            prop_assert_eq!(fed.live.workers_online("pool-a"), online.len() as u64);
        }
    }
}
