//! What is open, against a simple model.

use std::collections::{BTreeSet, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;
use stats_sv2::codec::Message;
use stats_sv2::event::*;
use stats_sv2::limits::{MAX_OPEN_BYTES, MAX_OPEN_OBJECTS};
use stats_sv2::open_objects::OpenObjects;
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, EventKind, Frames, MinerId, Text, UnixMillis, read_frame};

/// State events about few objects, so that they meet.
fn state_event() -> impl Strategy<Value = Event<'static>> {
    let id = 0..3_u32;
    (0..16_u8, id.clone(), id, 0..4_u64).prop_map(|(which, a, b, time)| {
        let downstream_id = DownstreamId(a);
        let channel_id = ChannelId(b);
        let miner_id = MinerId(a);
        let timestamp = UnixMillis(time);
        let target = CompactTarget(b);
        let text = || Text::cut(format!("text-{b}"));
        match which {
            0 | 1 => DownstreamConnected {
                downstream_id,
                flags: b,
                timestamp,
                address: text(),
                vendor: text(),
                hardware_version: text(),
                firmware: text(),
                device_id: text(),
            }
            .into(),
            2 => DownstreamDisconnected { downstream_id, timestamp, reason: text() }.into(),
            3..=5 => ChannelOpened {
                downstream_id,
                channel_id,
                timestamp,
                kind: CHANNEL_EXTENDED,
                user_identity: text(),
                nominal_hashrate: time,
                target,
            }
            .into(),
            6 => ChannelClosed { downstream_id, channel_id, timestamp, reason: text() }.into(),
            7 => ChannelTargetChanged { downstream_id, channel_id, timestamp, target }.into(),
            8 => MinerConnected { miner_id, name: text(), timestamp, address: text(), user_agent: text() }.into(),
            9 => MinerDisconnected { miner_id, timestamp, reason: text() }.into(),
            10 => MinerHashrateUpdate { miner_id, hashrate: time, timestamp }.into(),
            11 => UpstreamConnected { timestamp, address: text() }.into(),
            12 => UpstreamDisconnected { timestamp, address: text(), reason: text() }.into(),
            13 => SourceInfo { timestamp, name: text(), value: Text::cut(time.to_string()) }.into(),
            14 => ChainTipChanged { timestamp, height: a, target }.into(),
            // Counts something, opens nothing.
            _ => ShareSubmitted { downstream_id, timestamp, channel_id, sequence_number: b, target, share: target }
                .into(),
        }
    })
}

/// A state event, or a mark of an announcement.
fn any_event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![
        12 => state_event(),
        1 => Just(AnnounceBegin { timestamp: UnixMillis(9) }.into()),
        1 => Just(AnnounceEnd { timestamp: UnixMillis(9) }.into()),
    ]
}

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    bytes
}

fn apply(open: &mut OpenObjects, event: &Event<'_>) {
    let bytes = encoded(event);
    open.apply(read_frame(&bytes).unwrap().unwrap());
}

fn apply_all(open: &mut OpenObjects, frames: &[u8]) {
    Frames::new(frames).for_each(|frame| open.apply(frame));
}

/// Names of objects as text: `channel/1/2`.
#[derive(Default)]
struct Model {
    open: HashMap<String, Vec<Vec<u8>>>,
    named: Option<BTreeSet<String>>,
}

impl Model {
    fn apply(&mut self, event: &Event<'_>) {
        let frame = encoded(event);
        let mut opens = None;
        match event {
            Event::DownstreamConnected(e) => opens = Some(format!("downstream/{}", e.downstream_id)),
            Event::ChannelOpened(e) => opens = Some(format!("channel/{}/{}", e.downstream_id, e.channel_id)),
            Event::MinerConnected(e) => opens = Some(format!("miner/{}", e.miner_id)),
            Event::UpstreamConnected(e) => opens = Some(format!("upstream/{}", e.address)),
            Event::SourceInfo(e) => opens = Some(format!("fact/{}", e.name)),
            Event::ChainTipChanged(_) => opens = Some("tip".to_owned()),
            Event::ChannelTargetChanged(e) => {
                self.change(&format!("channel/{}/{}", e.downstream_id, e.channel_id), frame.clone());
            }
            Event::MinerHashrateUpdate(e) => self.change(&format!("miner/{}", e.miner_id), frame.clone()),
            Event::DownstreamDisconnected(e) => {
                let channels = format!("channel/{}/", e.downstream_id);
                self.open.retain(|name, _| !name.starts_with(&channels));
                self.open.remove(&format!("downstream/{}", e.downstream_id));
            }
            Event::ChannelClosed(e) => {
                self.open.remove(&format!("channel/{}/{}", e.downstream_id, e.channel_id));
            }
            Event::MinerDisconnected(e) => {
                self.open.remove(&format!("miner/{}", e.miner_id));
            }
            Event::UpstreamDisconnected(e) => {
                self.open.remove(&format!("upstream/{}", e.address));
            }
            Event::AnnounceBegin(_) => self.named = Some(BTreeSet::new()),
            Event::AnnounceEnd(_) => {
                if let Some(named) = self.named.take() {
                    self.open.retain(|name, _| named.contains(name));
                }
            }
            _ => {}
        }
        if let Some(name) = opens {
            if let Some(named) = &mut self.named {
                named.insert(name.clone());
            }
            self.open.insert(name, vec![frame]);
        }
    }

    fn change(&mut self, name: &str, frame: Vec<u8>) {
        if let Some(frames) = self.open.get_mut(name) {
            frames.truncate(1);
            frames.push(frame);
        }
    }
}

proptest! {
    #[test]
    fn what_is_open_is_what_the_model_says(events in vec(any_event(), 0..80)) {
        let (mut open, mut model) = (OpenObjects::default(), Model::default());
        for event in &events {
            apply(&mut open, event);
            model.apply(event);

            let mut found: Vec<&[u8]> = open.frames().collect();
            let mut expected: Vec<&[u8]> = model.open.values().flatten().map(Vec::as_slice).collect();
            prop_assert_eq!(open.bytes(), expected.iter().map(|frame| frame.len()).sum::<usize>());
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(open.len(), model.open.len());
            prop_assert_eq!(open.is_empty(), model.open.is_empty());
        }
        prop_assert_eq!(open.refused(), 0);
    }

    /// Whoever reads an announcement knows what the announcer knows, whatever it held to be open before.
    #[test]
    fn an_announcement_carries_everything_and_closes_the_rest(
        events in vec(state_event(), 0..80),
        stale in vec(state_event(), 0..80),
    ) {
        let mut open = OpenObjects::default();
        events.iter().for_each(|event| apply(&mut open, event));
        let mut frames = Vec::new();
        let count = open.announce(UnixMillis(7), &mut frames);
        prop_assert_eq!(Frames::new(&frames).count() as u64, count);

        let mut told = OpenObjects::default();
        apply_all(&mut told, &frames);
        prop_assert_eq!(&told, &open);

        let mut stale_reader = OpenObjects::default();
        stale.iter().for_each(|event| apply(&mut stale_reader, event));
        apply_all(&mut stale_reader, &frames);
        prop_assert_eq!(&stale_reader, &open);
    }

    /// A reader that drops channels without a connection can take the frames one by one.
    #[test]
    fn a_channel_is_announced_after_its_downstream(events in vec(state_event(), 0..80)) {
        let mut open = OpenObjects::default();
        events.iter().for_each(|event| apply(&mut open, event));
        let mut frames = Vec::new();
        open.announce(UnixMillis(7), &mut frames);
        let mut channels = BTreeSet::new();
        for frame in Frames::new(&frames) {
            match Event::decode(frame).unwrap() {
                Event::ChannelOpened(e) => {
                    channels.insert(e.downstream_id);
                }
                Event::DownstreamConnected(e) => prop_assert!(!channels.contains(&e.downstream_id)),
                _ => {}
            }
        }
    }
}

#[test]
fn only_state_events_concern_it() {
    for kind in EventKind::ALL {
        // Events that concern nothing may be skipped by the caller, so they must change nothing.
        if !OpenObjects::concerns(*kind) {
            let mut open = OpenObjects::default();
            let payload = [0; 200];
            for length in 0..payload.len() {
                let mut bytes = stats_sv2::codec::header(kind.msg_type(), length).to_vec();
                bytes.extend_from_slice(&payload[..length]);
                open.apply(read_frame(&bytes).unwrap().unwrap());
            }
            assert!(open.is_empty(), "{kind:?}");
        }
    }
}

#[test]
fn the_number_of_objects_is_bounded() {
    let mut open = OpenObjects::default();
    let miner = |id: u32, name: &'static str| {
        let mut bytes = Vec::new();
        MinerConnected {
            miner_id: MinerId(id),
            name: Text::cut(name),
            timestamp: UnixMillis(1),
            address: Text::default(),
            user_agent: Text::default(),
        }
        .encode(&mut bytes);
        bytes
    };
    let limit = u32::try_from(MAX_OPEN_OBJECTS).unwrap();
    for id in 0..limit + 3 {
        apply_all(&mut open, &miner(id, ""));
    }
    assert_eq!((open.len(), open.refused()), (MAX_OPEN_OBJECTS, 3));
    // A known object still changes, and room that is given up is used again.
    apply_all(&mut open, &miner(5, "new name"));
    apply(
        &mut open,
        &MinerDisconnected { miner_id: MinerId(0), timestamp: UnixMillis(2), reason: Text::default() }.into(),
    );
    apply_all(&mut open, &miner(limit, ""));
    assert_eq!((open.len(), open.refused()), (MAX_OPEN_OBJECTS, 3));
}

#[test]
fn the_bytes_of_objects_are_bounded() {
    let mut open = OpenObjects::default();
    let long = || Text::cut("x".repeat(255));
    let mut id = 0;
    while open.refused() == 0 {
        id += 1;
        let event = DownstreamConnected {
            downstream_id: DownstreamId(id),
            flags: 0,
            timestamp: UnixMillis(1),
            address: long(),
            vendor: long(),
            hardware_version: long(),
            firmware: long(),
            device_id: long(),
        };
        apply(&mut open, &event.into());
        assert!(open.bytes() <= MAX_OPEN_BYTES);
    }
    assert!(open.bytes() > MAX_OPEN_BYTES - 1400);
    assert!(open.len() < MAX_OPEN_OBJECTS);
}
