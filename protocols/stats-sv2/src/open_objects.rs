//! What is open at a publisher: downstreams, channels, miners, upstreams and facts about the source, learned from state
//! events in order. The publisher announces from it after a loss; the journal carries it past its tail.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::Message;
use crate::event::{AnnounceBegin, AnnounceEnd, Event, EventKind};
use crate::frame::FrameView;
use crate::limits::{MAX_OPEN_BYTES, MAX_OPEN_OBJECTS};
use crate::value::{ChannelId, DownstreamId, MinerId, UnixMillis};

/// What an open object is known by. The order is the order of an announcement: a channel after its downstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Source(String),
    Tip,
    Upstream(String),
    Downstream(DownstreamId),
    Channel(DownstreamId, ChannelId),
    Miner(MinerId),
}

/// The frame that opened an object, and the latest that changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Opened {
    opened: Box<[u8]>,
    changed: Option<Box<[u8]>>,
}

impl Opened {
    fn size(&self) -> usize {
        self.opened.len() + self.changed.as_ref().map_or(0, |frame| frame.len())
    }
}

/// The open objects of one session, at most [`MAX_OPEN_OBJECTS`] of together [`MAX_OPEN_BYTES`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenObjects {
    objects: BTreeMap<Key, Opened>,
    /// Bytes of all frames in `objects`.
    bytes: usize,
    /// Between the marks of an announcement: what it has named so far.
    announced: Option<BTreeSet<Key>>,
    /// Frames that were not taken up because of a limit.
    refused: u64,
}

impl OpenObjects {
    /// Whether events of this kind can change what is open; others need not be shown to [`apply`](Self::apply).
    #[must_use]
    pub const fn concerns(kind: EventKind) -> bool {
        matches!(
            kind,
            EventKind::DownstreamConnected
                | EventKind::DownstreamDisconnected
                | EventKind::ChannelOpened
                | EventKind::ChannelClosed
                | EventKind::ChannelTargetChanged
                | EventKind::MinerConnected
                | EventKind::MinerDisconnected
                | EventKind::MinerHashrateUpdate
                | EventKind::UpstreamConnected
                | EventKind::UpstreamDisconnected
                | EventKind::SourceInfo
                | EventKind::ChainTipChanged
                | EventKind::AnnounceBegin
                | EventKind::AnnounceEnd
        )
    }

    /// Learns from one event frame. Frames that do not decode, and those of other kinds, change nothing.
    ///
    /// At the end mark of an announcement, what it did not name is closed.
    pub fn apply(&mut self, frame: FrameView<'_>) {
        if !Self::concerns(EventKind::from_type(frame.msg_type)) {
            return;
        }
        let Ok(event) = Event::decode(frame) else { return };
        match event {
            Event::DownstreamConnected(e) => self.open(Key::Downstream(e.downstream_id), frame),
            Event::DownstreamDisconnected(e) => self.close_downstream(e.downstream_id),
            Event::ChannelOpened(e) => self.open(Key::Channel(e.downstream_id, e.channel_id), frame),
            Event::ChannelClosed(e) => self.close(&Key::Channel(e.downstream_id, e.channel_id)),
            Event::ChannelTargetChanged(e) => {
                self.change(&Key::Channel(e.downstream_id, e.channel_id), frame);
            }
            Event::MinerConnected(e) => self.open(Key::Miner(e.miner_id), frame),
            Event::MinerDisconnected(e) => self.close(&Key::Miner(e.miner_id)),
            Event::MinerHashrateUpdate(e) => self.change(&Key::Miner(e.miner_id), frame),
            Event::UpstreamConnected(e) => {
                self.open(Key::Upstream(e.address.as_str().to_owned()), frame);
            }
            Event::UpstreamDisconnected(e) => {
                self.close(&Key::Upstream(e.address.as_str().to_owned()));
            }
            Event::SourceInfo(e) => self.open(Key::Source(e.name.as_str().to_owned()), frame),
            Event::ChainTipChanged(_) => self.open(Key::Tip, frame),
            Event::AnnounceBegin(_) => self.announced = Some(BTreeSet::new()),
            Event::AnnounceEnd(_) => self.close_unannounced(),
            _ => {}
        }
    }

    /// Appends an announcement: AnnounceBegin, every open object with its original times, AnnounceEnd. Returns the
    /// number of frames.
    pub fn announce(&self, now: UnixMillis, out: &mut Vec<u8>) -> u64 {
        AnnounceBegin { timestamp: now }.encode(out);
        let mut frames = 2;
        for object in self.frames() {
            out.extend_from_slice(object);
            frames += 1;
        }
        AnnounceEnd { timestamp: now }.encode(out);
        frames
    }

    /// The frames that open and change each object, in the order of an announcement.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.objects.values().flat_map(|object| std::iter::once(&*object.opened).chain(object.changed.as_deref()))
    }

    /// How many objects are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Bytes of the frames that [`frames`](Self::frames) gives.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that were not taken up because [`MAX_OPEN_OBJECTS`] or [`MAX_OPEN_BYTES`] was reached.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn open(&mut self, key: Key, frame: FrameView<'_>) {
        let known = self.objects.get(&key).map(Opened::size);
        let bytes = self.bytes - known.unwrap_or(0) + frame.bytes.len();
        let fits = bytes <= MAX_OPEN_BYTES && (known.is_some() || self.objects.len() < MAX_OPEN_OBJECTS);
        if let Some(announced) = &mut self.announced
            && (fits || known.is_some())
        {
            announced.insert(key.clone());
        }
        if !fits {
            self.refused += 1;
            return;
        }
        self.bytes = bytes;
        self.objects.insert(key, Opened { opened: frame.bytes.into(), changed: None });
    }

    fn change(&mut self, key: &Key, frame: FrameView<'_>) {
        let Some(object) = self.objects.get_mut(key) else { return };
        let before = object.changed.as_ref().map_or(0, |frame| frame.len());
        let bytes = self.bytes - before + frame.bytes.len();
        if bytes > MAX_OPEN_BYTES {
            self.refused += 1;
            return;
        }
        self.bytes = bytes;
        object.changed = Some(frame.bytes.into());
    }

    fn close(&mut self, key: &Key) {
        if let Some(object) = self.objects.remove(key) {
            self.bytes -= object.size();
        }
    }

    fn close_downstream(&mut self, id: DownstreamId) {
        self.close(&Key::Downstream(id));
        let channels: Vec<Key> = self
            .objects
            .range(Key::Channel(id, ChannelId(0))..=Key::Channel(id, ChannelId(u32::MAX)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in channels {
            self.close(&key);
        }
    }

    fn close_unannounced(&mut self) {
        // An end mark without its beginning names nothing and closes nothing.
        let Some(announced) = self.announced.take() else { return };
        self.objects.retain(|key, _| announced.contains(key));
        self.bytes = self.objects.values().map(Opened::size).sum();
    }
}
