//! What is open: downstreams, channels, miners, upstreams. A state event that repeats what is known changes nothing, and in
//! a session that is over it opens nothing.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use stats_sv2::Event;
use stats_sv2::event::{ChannelOpened, MinerConnected};
use stats_sv2::limits::MAX_OPEN_OBJECTS;

use crate::label;
use crate::numbers::Run;
use crate::numbers::session::Session;

/// Closed channels and miners whose names a session remembers, for shares that come after the end.
const MAX_CLOSED: usize = 4_096;

/// A downstream with its channels.
#[derive(Debug, Default)]
pub(crate) struct Downstream {
    named: u32,
    channels: FxHashSet<u32>,
}

/// A channel, or a closed one whose name is remembered.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) worker: Arc<str>,
    pub(crate) open: bool,
    named: u32,
}

/// A miner, or one that is gone and whose name is remembered.
#[derive(Debug)]
pub(crate) struct Miner {
    pub(crate) worker: Arc<str>,
    pub(crate) open: bool,
    named: u32,
}

impl Session {
    /// Closes all open objects that were last named before this announcement.
    pub(super) fn close_unless_named(&mut self, announcement: u32) {
        self.downstreams.retain(|_, downstream| downstream.named == announcement);
        for channel in self.channels.values_mut() {
            channel.open &= channel.named == announcement;
        }
        for miner in self.miners.values_mut() {
            miner.open &= miner.named == announcement;
        }
        self.upstreams.retain(|_, named| *named == announcement);
        self.forget_closed();
    }

    fn close_downstream(&mut self, id: u32) {
        let Some(downstream) = self.downstreams.remove(&id) else { return };
        for channel_id in downstream.channels {
            self.close_channel(id, channel_id);
        }
    }

    fn close_channel(&mut self, downstream_id: u32, channel_id: u32) {
        if let Some(channel) = self.channels.get_mut(&(downstream_id, channel_id)) {
            channel.open = false;
        }
    }

    fn forget_closed(&mut self) {
        if self.channels.values().filter(|channel| !channel.open).count() > MAX_CLOSED {
            self.channels.retain(|_, channel| channel.open);
        }
        if self.miners.values().filter(|miner| !miner.open).count() > MAX_CLOSED {
            self.miners.retain(|_, miner| miner.open);
        }
    }

    /// Whether another object would be one too many. Names of what is closed give way first.
    fn is_full(&mut self) -> bool {
        if self.objects() >= MAX_OPEN_OBJECTS {
            self.channels.retain(|_, channel| channel.open);
            self.miners.retain(|_, miner| miner.open);
        }
        self.objects() >= MAX_OPEN_OBJECTS
    }

    fn objects(&self) -> usize {
        self.downstreams.len() + self.channels.len() + self.miners.len() + self.upstreams.len()
    }
}

impl Run<'_> {
    /// Events that tell what is open or true, inside an announcement or not.
    pub(super) fn state(&mut self, event: &Event<'_>) {
        let opens = !self.session.ended && !self.record.finishing;
        match event {
            Event::DownstreamConnected(connected) if opens => self.open_downstream(connected.downstream_id.0),
            Event::DownstreamDisconnected(gone) => self.session.close_downstream(gone.downstream_id.0),
            Event::ChannelOpened(opened) => self.channel_opened(opened, opens),
            Event::ChannelClosed(closed) => {
                let (downstream_id, channel_id) = (closed.downstream_id.0, closed.channel_id.0);
                self.session.close_channel(downstream_id, channel_id);
                if let Some(downstream) = self.session.downstreams.get_mut(&downstream_id) {
                    downstream.channels.remove(&channel_id);
                }
                self.session.forget_closed_now_and_then();
            }
            Event::MinerConnected(connected) => self.miner_connected(connected, opens),
            Event::MinerDisconnected(gone) => {
                if let Some(miner) = self.session.miners.get_mut(&gone.miner_id.0) {
                    miner.open = false;
                }
                self.session.forget_closed_now_and_then();
            }
            Event::UpstreamConnected(connected) if opens => self.open_upstream(connected.address.as_str()),
            Event::UpstreamDisconnected(gone) => {
                self.session.upstreams.remove(gone.address.as_str());
            }
            Event::SourceInfo(info) if info.name.as_str() == "network" => {
                self.source.network = Some(label::of_name(info.value.as_str()));
            }
            Event::ChainTipChanged(tip) => self.source.tip_changed(tip),
            _ => {}
        }
    }

    fn open_upstream(&mut self, address: &str) {
        let named = self.session.naming();
        if self.session.upstreams.contains_key(address) || !self.session.is_full() {
            self.session.upstreams.insert(address.into(), named);
        }
    }

    fn open_downstream(&mut self, id: u32) {
        let named = self.session.naming();
        if let Some(known) = self.session.downstreams.get_mut(&id) {
            known.named = named;
        } else if !self.session.is_full() {
            self.session.downstreams.insert(id, Downstream { named, channels: FxHashSet::default() });
        }
    }

    fn channel_opened(&mut self, opened: &ChannelOpened<'_>, opens: bool) {
        let key = (opened.downstream_id.0, opened.channel_id.0);
        let (worker, named) = (label::of_name(opened.user_identity.as_str()), self.session.naming());
        if !self.session.channels.contains_key(&key) && self.session.is_full() {
            return;
        }
        self.session.channels.insert(key, Channel { worker, open: opens, named });
        if opens {
            // Whose channel is open is open itself.
            self.open_downstream(key.0);
            if let Some(downstream) = self.session.downstreams.get_mut(&key.0) {
                downstream.channels.insert(key.1);
            }
        }
    }

    fn miner_connected(&mut self, connected: &MinerConnected<'_>, opens: bool) {
        let id = connected.miner_id.0;
        let (worker, named) = (label::of_name(connected.name.as_str()), self.session.naming());
        if self.session.miners.contains_key(&id) || !self.session.is_full() {
            self.session.miners.insert(id, Miner { worker, open: opens, named });
        }
    }

    /// The worker of a channel; shares of an unknown one count as unnamed.
    pub(super) fn worker_of_channel(&self, downstream_id: u32, channel_id: u32) -> Arc<str> {
        let known = self.session.channels.get(&(downstream_id, channel_id));
        known.map_or_else(|| label::UNNAMED.into(), |channel| Arc::clone(&channel.worker))
    }

    /// The same for a miner.
    pub(super) fn worker_of_miner(&self, miner_id: u32) -> Arc<str> {
        let known = self.session.miners.get(&miner_id);
        known.map_or_else(|| label::UNNAMED.into(), |miner| Arc::clone(&miner.worker))
    }
}

impl Session {
    /// Counting what is closed takes a walk over everything, so it is done when there may be enough of it.
    fn forget_closed_now_and_then(&mut self) {
        if (self.channels.len() + self.miners.len()).is_multiple_of(MAX_CLOSED / 2) {
            self.forget_closed();
        }
    }
}
