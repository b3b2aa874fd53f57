//! From what is known and what is seen to events: the arithmetic of the bridge, without I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use mining_stats::Work;
use stats_sv2::event::{
    BlockFound, ChannelClosed, ChannelOpened, ChannelTargetChanged, DownstreamConnected, DownstreamDisconnected,
    EventsDropped, MinerConnected, MinerDisconnected, MinerHashrateUpdate, SharesCounted, SourceInfo,
    UpstreamConnected, UpstreamDisconnected,
};
use stats_sv2::{ChannelId, DownstreamId, Event, MinerId, Text, U256, UnixMillis};

use crate::known::{Known, KnownChannel, KnownDownstream, KnownMiner};
use crate::view::{ChannelView, DownstreamView, UPSTREAM_CHANNELS, View};

/// Blocks told in one poll at most; the rest follows with the next.
pub const MAX_BLOCKS_PER_POLL: u32 = 1_000;

/// A span longer than so many polls is told as EventsDropped besides: what opened and closed within it is unknown.
pub const LONGEST_SPAN_POLLS: u32 = 3;

/// Polls in a row that must not show an entry of a paged list before it counts as gone.
const MISSED_POLLS: u8 = 2;

/// Closed channels of a paged list whose counters are kept, per downstream; those with the lowest ids go first.
const MAX_CLOSED_CHANNELS: usize = 10_000;

/// Compares what is known with what a poll saw: the events since the last poll, and what is known from now on.
///
/// The sum of all [`SharesCounted`] of a channel is what its counters showed at the last poll that saw it, over restarts
/// of the program and of the bridge: counters of another run, and those that fell, count from zero. What closes is
/// closed at the time when it was last seen, what opens opens now.
#[must_use]
pub fn difference(known: &Known, view: &View, now: UnixMillis, longest_span: Duration) -> (Vec<Event<'static>>, Known) {
    let mut events = Vec::new();
    if let Some(last) = known.polled_at
        && u128::from(now.0.saturating_sub(last.0)) > longest_span.as_millis()
    {
        events.push(Event::EventsDropped(EventsDropped {
            count: 0,
            first_timestamp: last,
            last_timestamp: now,
            reason: Text::cut("not-polled"),
        }));
    }
    let same_role = known.role == Some(view.role);
    let same_run = same_role && known.started.is_some_and(|started| started.overlaps(view.started));
    let last_poll = known.polled_at.unwrap_or(UnixMillis(0)).min(now);
    let nothing = Known::default();
    let (before, unseen_since) = if same_run {
        (known, last_poll)
    } else {
        close_everything(known, last_poll, &mut events);
        events.push(Event::SourceInfo(SourceInfo {
            timestamp: now,
            name: Text::cut("process.started_at"),
            value: Text::cut(view.started.latest.to_string()),
        }));
        (&nothing, UnixMillis(now.0.saturating_sub(view.uptime_ms)).max(last_poll))
    };
    let mut poll = Poll {
        now,
        last_poll,
        unseen_since,
        blocks_left: MAX_BLOCKS_PER_POLL,
        // When the bridge meets a program for the first time, nobody knows when its blocks were found.
        tells_old_blocks: known.polled_at.is_some(),
        events,
    };
    let downstreams = poll.downstreams(before, view);
    let miners = poll.miners(before, view);
    let reached_upstream =
        view.downstreams.get(&UPSTREAM_CHANNELS).is_some_and(|upstream| !upstream.channels.is_empty());
    if reached_upstream && !before.upstream_connected {
        // A channel is proof of a connection; the lack of one proves nothing.
        poll.events.push(Event::UpstreamConnected(UpstreamConnected { timestamp: now, address: Text::cut("") }));
    }
    let next = Known {
        polled_at: Some(now),
        role: Some(view.role),
        started: Some(view.started),
        downstreams,
        miners,
        upstream_connected: before.upstream_connected || reached_upstream,
    };
    (poll.events, next)
}

/// Another run of the program has nothing of what this one had.
fn close_everything(known: &Known, last_poll: UnixMillis, events: &mut Vec<Event<'static>>) {
    const REASON: &str = "restarted";
    for (id, downstream) in &known.downstreams {
        if *id == UPSTREAM_CHANNELS {
            let open = downstream.channels.iter().filter(|(_, channel)| channel.open);
            events.extend(open.map(|(channel, known)| channel_closed(*id, *channel, known.counted_at, REASON)));
        } else if downstream.open {
            events.push(downstream_disconnected(*id, last_poll, REASON));
        }
    }
    events.extend(known.miners.keys().map(|id| miner_disconnected(*id, last_poll, REASON)));
    if known.upstream_connected {
        events.push(Event::UpstreamDisconnected(UpstreamDisconnected {
            timestamp: last_poll,
            address: Text::cut(""),
            reason: Text::cut(REASON),
        }));
    }
}

/// One comparison under way.
struct Poll {
    now: UnixMillis,
    last_poll: UnixMillis,
    /// Since when something that is seen for the first time can have counted.
    unseen_since: UnixMillis,
    blocks_left: u32,
    tells_old_blocks: bool,
    events: Vec<Event<'static>>,
}

impl Poll {
    fn downstreams(&mut self, before: &Known, view: &View) -> BTreeMap<u32, KnownDownstream> {
        for (id, downstream) in &before.downstreams {
            // The poll asked for each known id: one that is not there has gone, and its channels with it.
            if downstream.open && !view.downstreams.contains_key(id) {
                self.events.push(downstream_disconnected(*id, self.last_poll, "gone"));
            }
        }
        let unknown = KnownDownstream::default();
        view.downstreams
            .iter()
            .map(|(id, seen)| {
                let known = before.downstreams.get(id).unwrap_or(&unknown);
                if !known.open && *id != UPSTREAM_CHANNELS {
                    self.events.push(downstream_connected(*id, seen, self.now));
                }
                (*id, KnownDownstream { open: true, channels: self.channels(*id, known, seen) })
            })
            .collect()
    }

    fn channels(
        &mut self,
        downstream: u32,
        known: &KnownDownstream,
        seen: &DownstreamView,
    ) -> BTreeMap<u32, KnownChannel> {
        let mut next = self.missing_channels(downstream, known, seen);
        for (id, channel) in &seen.channels {
            let mut counted = match known.channels.get(id) {
                Some(known) if known.continues_as(channel) => known.clone(),
                Some(other) => {
                    if other.open {
                        self.events.push(channel_closed(downstream, *id, other.counted_at, "replaced"));
                    }
                    KnownChannel::new(channel, other.counted_at)
                }
                None => {
                    let blocks = if self.tells_old_blocks { 0 } else { channel.blocks };
                    KnownChannel { blocks, ..KnownChannel::new(channel, self.unseen_since) }
                }
            };
            if !counted.open {
                self.events.push(channel_opened(downstream, *id, channel, self.now));
            } else if counted.target() != channel.target {
                self.events.push(Event::ChannelTargetChanged(ChannelTargetChanged {
                    downstream_id: DownstreamId(downstream),
                    channel_id: ChannelId(*id),
                    timestamp: self.now,
                    target: channel.target,
                }));
            }
            self.shares(downstream, *id, &counted, channel);
            counted.open = true;
            counted.count(channel, self.now);
            counted.blocks += self.blocks(downstream, *id, channel.blocks.saturating_sub(counted.blocks));
            next.insert(*id, counted);
        }
        next
    }

    /// Channels that were there before and are not seen now. From a single page that is proof that they are closed.
    /// Between two pages a channel can be overlooked: it gets another chance, and even after that its counters are kept,
    /// since SRI gives no id twice within one connection.
    fn missing_channels(
        &mut self,
        downstream: u32,
        known: &KnownDownstream,
        seen: &DownstreamView,
    ) -> BTreeMap<u32, KnownChannel> {
        let mut kept = BTreeMap::new();
        for (id, channel) in known.channels.iter().filter(|(id, _)| !seen.channels.contains_key(id)) {
            let missed = channel.missed.saturating_add(1);
            let closed = !seen.paged || missed >= MISSED_POLLS;
            if closed && channel.open {
                self.events.push(channel_closed(downstream, *id, channel.counted_at, "gone"));
            }
            if seen.paged {
                kept.insert(*id, KnownChannel { missed, open: channel.open && !closed, ..channel.clone() });
            }
        }
        while kept.len() > MAX_CLOSED_CHANNELS {
            kept.pop_first();
        }
        kept
    }

    fn shares(&mut self, downstream: u32, id: u32, known: &KnownChannel, seen: &ChannelView) {
        let accepted = seen.accepted.saturating_sub(known.accepted);
        let rejected = seen.rejected.saturating_sub(known.rejected);
        let work = seen.work.growth_since(known.work()).unwrap_or(Work::ZERO);
        if accepted == 0 && rejected == 0 && work == Work::ZERO {
            return;
        }
        self.events.push(Event::SharesCounted(SharesCounted {
            downstream_id: DownstreamId(downstream),
            channel_id: ChannelId(id),
            timestamp: self.now,
            since: known.counted_at.min(self.now),
            accepted,
            rejected,
            work: work.to_wire(),
        }));
    }

    /// Tells of new blocks, whose height and hash the counter does not give; returns of how many.
    fn blocks(&mut self, downstream: u32, id: u32, found: u32) -> u32 {
        let told = found.min(self.blocks_left);
        self.blocks_left -= told;
        for _ in 0..told {
            self.events.push(Event::BlockFound(BlockFound {
                downstream_id: DownstreamId(downstream),
                channel_id: ChannelId(id),
                timestamp: self.now,
                height: 0,
                block_hash: U256::default(),
            }));
        }
        told
    }

    fn miners(&mut self, before: &Known, view: &View) -> BTreeMap<u32, KnownMiner> {
        let mut next = BTreeMap::new();
        for (id, miner) in before.miners.iter().filter(|(id, _)| !view.miners.contains_key(id)) {
            let missed = miner.missed.saturating_add(1);
            if view.miners_paged && missed < MISSED_POLLS {
                next.insert(*id, KnownMiner { missed, ..miner.clone() });
            } else {
                self.events.push(miner_disconnected(*id, self.last_poll, "gone"));
            }
        }
        for (id, seen) in &view.miners {
            let known = before.miners.get(id).filter(|known| known.name == seen.name && known.address == seen.address);
            if known.is_none() && before.miners.contains_key(id) {
                self.events.push(miner_disconnected(*id, self.last_poll, "replaced"));
            }
            if seen.name.is_empty() {
                // It has not authorized yet: its history would have no name.
                continue;
            }
            if known.is_none() {
                self.events.push(Event::MinerConnected(MinerConnected {
                    miner_id: MinerId(*id),
                    name: Text::cut(seen.name.clone()),
                    timestamp: self.now,
                    address: Text::cut(seen.address.clone()),
                    user_agent: Text::cut(""),
                }));
            }
            if known.map_or(0, |known| known.hashrate) != seen.hashrate {
                self.events.push(Event::MinerHashrateUpdate(MinerHashrateUpdate {
                    miner_id: MinerId(*id),
                    hashrate: seen.hashrate,
                    timestamp: self.now,
                }));
            }
            let (name, address) = (seen.name.clone(), seen.address.clone());
            next.insert(*id, KnownMiner { missed: 0, name, address, hashrate: seen.hashrate });
        }
        next
    }
}

fn downstream_connected(id: u32, seen: &DownstreamView, now: UnixMillis) -> Event<'static> {
    // The API tells a translator by just these two texts of its SetupConnection; others it does not pass on.
    let (vendor, hardware_version) = if seen.translator { ("SRI", "Translator Proxy") } else { ("", "") };
    Event::DownstreamConnected(DownstreamConnected {
        downstream_id: DownstreamId(id),
        flags: 0,
        timestamp: now,
        address: Text::cut(""),
        vendor: Text::cut(vendor),
        hardware_version: Text::cut(hardware_version),
        firmware: Text::cut(""),
        device_id: Text::cut(""),
    })
}

fn downstream_disconnected(id: u32, last_seen: UnixMillis, reason: &'static str) -> Event<'static> {
    Event::DownstreamDisconnected(DownstreamDisconnected {
        downstream_id: DownstreamId(id),
        timestamp: last_seen,
        reason: Text::cut(reason),
    })
}

fn channel_opened(downstream: u32, id: u32, seen: &ChannelView, now: UnixMillis) -> Event<'static> {
    Event::ChannelOpened(ChannelOpened {
        downstream_id: DownstreamId(downstream),
        channel_id: ChannelId(id),
        timestamp: now,
        kind: seen.kind,
        user_identity: Text::cut(seen.user_identity.clone()),
        nominal_hashrate: seen.nominal_hashrate,
        target: seen.target,
    })
}

fn channel_closed(downstream: u32, id: u32, last_seen: UnixMillis, reason: &'static str) -> Event<'static> {
    Event::ChannelClosed(ChannelClosed {
        downstream_id: DownstreamId(downstream),
        channel_id: ChannelId(id),
        timestamp: last_seen,
        reason: Text::cut(reason),
    })
}

fn miner_disconnected(id: u32, last_seen: UnixMillis, reason: &'static str) -> Event<'static> {
    Event::MinerDisconnected(MinerDisconnected {
        miner_id: MinerId(id),
        timestamp: last_seen,
        reason: Text::cut(reason),
    })
}
