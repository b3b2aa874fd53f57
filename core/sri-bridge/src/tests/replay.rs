//! What a reader of the events would believe: sums, and what is open. Panics where events contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use mining_stats::Work;
use stats_sv2::{Event, UnixMillis};

/// Accepted shares, rejected shares, work.
pub(crate) type Totals = (u64, u64, Work);

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Replay {
    pub(crate) totals: BTreeMap<(u32, u32), Totals>,
    pub(crate) downstreams: BTreeSet<u32>,
    /// Name and target of the open channels.
    pub(crate) channels: BTreeMap<(u32, u32), (String, u32)>,
    pub(crate) miners: BTreeMap<u32, (String, u64)>,
    pub(crate) upstream: bool,
    pub(crate) blocks: u64,
    pub(crate) heartbeats: Vec<(UnixMillis, u32)>,
    pub(crate) dropped: u64,
}

impl Replay {
    pub(crate) fn all(events: &[Event<'_>]) -> Self {
        let mut replay = Self::default();
        replay.apply(events);
        replay
    }

    pub(crate) fn apply(&mut self, events: &[Event<'_>]) {
        for event in events {
            self.apply_one(event);
        }
    }

    fn apply_one(&mut self, event: &Event<'_>) {
        match event {
            Event::DownstreamConnected(e) => assert!(self.downstreams.insert(e.downstream_id.0), "{e:?} twice"),
            Event::DownstreamDisconnected(e) => {
                assert!(self.downstreams.remove(&e.downstream_id.0), "{e:?} was not there");
                self.channels.retain(|(downstream, _), _| *downstream != e.downstream_id.0);
            }
            Event::ChannelOpened(e) => {
                let (downstream, key) = (e.downstream_id.0, (e.downstream_id.0, e.channel_id.0));
                assert!(downstream == 0 || self.downstreams.contains(&downstream), "{e:?} without a downstream");
                let opened = self.channels.insert(key, (e.user_identity.as_str().to_owned(), e.target.0));
                assert!(opened.is_none(), "{e:?} twice");
            }
            Event::ChannelClosed(e) => {
                assert!(self.channels.remove(&(e.downstream_id.0, e.channel_id.0)).is_some(), "{e:?} was not there");
            }
            Event::ChannelTargetChanged(e) => {
                let channel = self.channels.get_mut(&(e.downstream_id.0, e.channel_id.0)).expect("an open channel");
                assert_ne!(channel.1, e.target.0, "{e:?} changes nothing");
                channel.1 = e.target.0;
            }
            Event::SharesCounted(e) => {
                let key = (e.downstream_id.0, e.channel_id.0);
                assert!(self.channels.contains_key(&key), "{e:?} on a closed channel");
                assert!(e.since <= e.timestamp, "{e:?} ends before it begins");
                let totals = self.totals.entry(key).or_default();
                totals.0 += u64::from(e.accepted);
                totals.1 += u64::from(e.rejected);
                totals.2 = totals.2.saturating_add(Work::from_wire(e.work));
            }
            Event::BlockFound(_) => self.blocks += 1,
            Event::MinerConnected(e) => {
                let connected = self.miners.insert(e.miner_id.0, (e.name.as_str().to_owned(), 0));
                assert!(connected.is_none(), "{e:?} twice");
            }
            Event::MinerDisconnected(e) => assert!(self.miners.remove(&e.miner_id.0).is_some(), "{e:?} was not there"),
            Event::MinerHashrateUpdate(e) => {
                self.miners.get_mut(&e.miner_id.0).expect("a connected miner").1 = e.hashrate;
            }
            Event::UpstreamConnected(e) => assert!(!std::mem::replace(&mut self.upstream, true), "{e:?} twice"),
            Event::UpstreamDisconnected(e) => assert!(std::mem::take(&mut self.upstream), "{e:?} was not there"),
            Event::Heartbeat(e) => self.heartbeats.push((e.timestamp, e.flags)),
            Event::EventsDropped(e) => {
                assert!(e.first_timestamp <= e.last_timestamp && e.count == 0);
                self.dropped += 1;
            }
            Event::SourceInfo(_) => {}
            other => panic!("a bridge makes no {other:?}"),
        }
    }
}
