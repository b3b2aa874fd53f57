//! State events that found the queue full, merged per object: what opens, changes or closes a downstream, a channel, a
//! miner or an upstream is never dropped while this list has room, and the list is bounded by the number of objects.

use std::collections::BTreeMap;

use stats_sv2::limits::MAX_OPEN_OBJECTS;
use stats_sv2::{ChannelId, DownstreamId, Event, MinerId};

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Source(String),
    Tip,
    Upstream(String),
    Downstream(DownstreamId),
    Channel(DownstreamId, ChannelId),
    Miner(MinerId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Makes everything said before about the object moot, except that one before it ended: with a downstream its
    /// channels did.
    Opens,
    /// Makes the change before moot.
    Changes,
    /// Makes changes moot, and an end before; the opening stays, since its times and names are history.
    Closes,
}

#[derive(Debug)]
struct Kept {
    /// Place among all events of the list.
    order: u64,
    effect: Effect,
    frame: Box<[u8]>,
}

/// The list. An object has at most three frames in it: the end of one before, its opening, its change or end.
#[derive(Debug)]
pub(crate) struct Overflow {
    objects: BTreeMap<Object, Vec<Kept>>,
    next_order: u64,
    frames: usize,
    bytes: usize,
    bytes_limit: usize,
    merged: u64,
}

impl Overflow {
    pub(crate) fn new(bytes_limit: usize) -> Self {
        Self { objects: BTreeMap::new(), next_order: 0, frames: 0, bytes: 0, bytes_limit, merged: 0 }
    }

    /// Takes up a state event; `false` when a limit forbids it. Other events are not taken.
    pub(crate) fn insert(&mut self, event: &Event<'_>, frame: Box<[u8]>) -> bool {
        let Some((object, effect)) = object_of(event) else { return false };
        let known = self.objects.contains_key(&object);
        if (!known && self.objects.len() >= MAX_OPEN_OBJECTS) || self.bytes + frame.len() > self.bytes_limit {
            return false;
        }
        if let (Object::Downstream(id), Effect::Closes) = (&object, effect) {
            self.forget_channels(*id);
        }
        let kept = self.objects.entry(object).or_default();
        if effect == Effect::Changes && kept.last().is_some_and(|kept| kept.effect == Effect::Closes) {
            // What is closed cannot change.
            self.merged += 1;
            return true;
        }
        let before = (kept.len(), kept.iter().map(|kept| kept.frame.len()).sum::<usize>());
        kept.retain(|kept| match effect {
            Effect::Opens => kept.effect == Effect::Closes,
            Effect::Changes => kept.effect != Effect::Changes,
            Effect::Closes => kept.effect == Effect::Opens,
        });
        let after = (kept.len(), kept.iter().map(|kept| kept.frame.len()).sum::<usize>());
        self.merged += (before.0 - after.0) as u64;
        self.frames = self.frames - (before.0 - after.0) + 1;
        self.bytes = self.bytes - (before.1 - after.1) + frame.len();
        kept.push(Kept { order: self.next_order, effect, frame });
        self.next_order += 1;
        true
    }

    /// The channels of a downstream end with it.
    fn forget_channels(&mut self, id: DownstreamId) {
        let channels: Vec<Object> = self
            .objects
            .range(Object::Channel(id, ChannelId(0))..=Object::Channel(id, ChannelId(u32::MAX)))
            .map(|(object, _)| object.clone())
            .collect();
        for kept in channels.iter().filter_map(|channel| self.objects.remove(channel)) {
            self.merged += kept.len() as u64;
            self.frames -= kept.len();
            self.bytes -= kept.iter().map(|kept| kept.frame.len()).sum::<usize>();
        }
    }

    /// Empties the list, in constant time: the host's threads wait for it.
    pub(crate) fn take(&mut self) -> Overflowed {
        self.frames = 0;
        self.bytes = 0;
        Overflowed(std::mem::take(&mut self.objects))
    }

    /// Frames in the list.
    pub(crate) fn len(&self) -> usize {
        self.frames
    }

    /// Events that a later one replaced, since the start.
    pub(crate) fn merged(&self) -> u64 {
        self.merged
    }
}

/// What was in the list.
#[derive(Debug)]
#[must_use = "these events are nowhere else"]
pub(crate) struct Overflowed(BTreeMap<Object, Vec<Kept>>);

impl Overflowed {
    /// The frames in the order of their events. Takes its time: for whoever holds no lock.
    pub(crate) fn into_frames(self) -> impl Iterator<Item = Box<[u8]>> {
        let mut kept: Vec<Kept> = self.0.into_values().flatten().collect();
        kept.sort_unstable_by_key(|kept| kept.order);
        kept.into_iter().map(|kept| kept.frame)
    }
}

fn object_of(event: &Event<'_>) -> Option<(Object, Effect)> {
    Some(match event {
        Event::DownstreamConnected(e) => (Object::Downstream(e.downstream_id), Effect::Opens),
        Event::DownstreamDisconnected(e) => (Object::Downstream(e.downstream_id), Effect::Closes),
        Event::ChannelOpened(e) => (Object::Channel(e.downstream_id, e.channel_id), Effect::Opens),
        Event::ChannelTargetChanged(e) => (Object::Channel(e.downstream_id, e.channel_id), Effect::Changes),
        Event::ChannelClosed(e) => (Object::Channel(e.downstream_id, e.channel_id), Effect::Closes),
        Event::MinerConnected(e) => (Object::Miner(e.miner_id), Effect::Opens),
        Event::MinerHashrateUpdate(e) => (Object::Miner(e.miner_id), Effect::Changes),
        Event::MinerDisconnected(e) => (Object::Miner(e.miner_id), Effect::Closes),
        Event::UpstreamConnected(e) => (Object::Upstream(e.address.as_str().to_owned()), Effect::Opens),
        Event::UpstreamDisconnected(e) => (Object::Upstream(e.address.as_str().to_owned()), Effect::Closes),
        Event::SourceInfo(e) => (Object::Source(e.name.as_str().to_owned()), Effect::Opens),
        Event::ChainTipChanged(_) => (Object::Tip, Effect::Opens),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stats_sv2::event::{
        ChannelClosed, ChannelOpened, ChannelTargetChanged, DownstreamConnected, DownstreamDisconnected,
    };
    use stats_sv2::open_objects::OpenObjects;
    use stats_sv2::{CompactTarget, EventKind, Text, UnixMillis, read_frame};

    use super::*;

    fn frame(event: &Event<'_>) -> Box<[u8]> {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        bytes.into()
    }

    fn state_event() -> impl Strategy<Value = Event<'static>> {
        (0..5u8, 0..3u32, 0..3u32, 0..1000u64).prop_map(|(what, downstream, channel, time)| {
            let (downstream_id, channel_id) = (DownstreamId(downstream), ChannelId(channel));
            let (timestamp, target) = (UnixMillis(time), CompactTarget(time as u32));
            let text = Text::default;
            match what {
                0 => DownstreamConnected {
                    downstream_id,
                    flags: 0,
                    timestamp,
                    address: text(),
                    vendor: text(),
                    hardware_version: text(),
                    firmware: text(),
                    device_id: text(),
                }
                .into(),
                1 => DownstreamDisconnected { downstream_id, timestamp, reason: text() }.into(),
                2 => ChannelOpened {
                    downstream_id,
                    channel_id,
                    timestamp,
                    kind: 0,
                    user_identity: text(),
                    nominal_hashrate: 0,
                    target,
                }
                .into(),
                3 => ChannelClosed { downstream_id, channel_id, timestamp, reason: text() }.into(),
                _ => ChannelTargetChanged { downstream_id, channel_id, timestamp, target }.into(),
            }
        })
    }

    proptest! {
        /// What is open after the merged list equals what is open after every event; each event is kept or counted as
        /// merged; no object has more than three frames.
        #[test]
        fn merging_changes_nothing_that_is_open(
            before in prop::collection::vec(state_event(), 0..20),
            events in prop::collection::vec(state_event(), 0..60),
        ) {
            let mut all = OpenObjects::default();
            for event in &before {
                all.apply(read_frame(&frame(event)).unwrap().unwrap());
            }
            let mut merged = all.clone();
            let mut overflow = Overflow::new(1 << 20);
            for event in &events {
                prop_assert!(OpenObjects::concerns(event.kind()));
                prop_assert!(overflow.insert(event, frame(event)));
                all.apply(read_frame(&frame(event)).unwrap().unwrap());
            }
            let held = overflow.len();
            prop_assert!(held <= 3 * (3 + 9));
            prop_assert_eq!(held as u64 + overflow.merged(), events.len() as u64);
            let frames: Vec<_> = overflow.take().into_frames().collect();
            prop_assert_eq!(frames.len(), held);
            prop_assert_eq!((overflow.len(), overflow.bytes), (0, 0));
            for frame in &frames {
                merged.apply(read_frame(frame).unwrap().unwrap());
            }
            prop_assert_eq!(merged, all);
        }
    }

    #[test]
    fn every_state_event_has_an_object() {
        // An event that `OpenObjects` knows and this list does not would be dropped silently when the queue is full.
        for kind in EventKind::ALL {
            if matches!(kind, EventKind::AnnounceBegin | EventKind::AnnounceEnd) {
                // Refused by `publish`.
                continue;
            }
            let zeroes = [0u8; 256];
            let event = (0..zeroes.len()).find_map(|length| {
                let mut bytes = stats_sv2::codec::header(kind.msg_type(), length).to_vec();
                bytes.extend_from_slice(&zeroes[..length]);
                Event::decode(read_frame(&bytes).ok()??).ok().map(Event::into_owned)
            });
            let event = event.expect("every event decodes from enough zero bytes");
            assert_eq!(object_of(&event).is_some(), OpenObjects::concerns(*kind), "{kind:?}");
        }
    }

    #[test]
    fn the_limit_of_bytes_holds() {
        let open = |id| -> Event<'static> {
            DownstreamDisconnected {
                downstream_id: DownstreamId(id),
                timestamp: UnixMillis(1),
                reason: Text::default(),
            }
            .into()
        };
        let size = frame(&open(0)).len();
        let mut overflow = Overflow::new(3 * size);
        let taken = (0..10).filter(|id| overflow.insert(&open(*id), frame(&open(*id)))).count();
        assert_eq!(taken, 3);
        assert_eq!(overflow.take().into_frames().count(), 3);
        assert!(overflow.insert(&open(9), frame(&open(9))));
    }
}
