//! Synthetic events of every kind: well formed, with plausible values, from a seed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use stats_sv2::event::*;
use stats_sv2::{
    Amount, ChannelId, CompactTarget, DownstreamId, EventKind, FIRST_DERIVED_TYPE, LAST_DERIVED_TYPE, MinerId, Role,
    Text, U256, UnixMillis,
};

/// A message type that no version knows.
const UNKNOWN_TYPE: u8 = 0xee;

/// Event times lie within this many milliseconds before the present of the [`Draw`].
const SPREAD_MS: u64 = 3_600_000;

/// Texts that break whoever does not escape, cut or compare with care.
const HOSTILE: [&str; 10] = [
    "",
    "\0",
    "line\nbreak\r\n\u{85}\u{2028}",
    "\"quoted\\\" and 'single'",
    "'; DROP TABLE shares; --",
    "<script>alert(1)</script>",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "\u{202e}reversed\u{202c} \u{feff}",
    "{\"kind\":\"share_submitted\"}\n{",
    "名前 😀 e\u{301}\u{300}\u{302} %s%n ../../etc/passwd",
];

/// The kinds that a publisher sends, and one that nobody knows. Without the announcement marks, which mean something only
/// as a pair: see [`Draw::announcement`].
#[must_use]
pub fn published_kinds() -> Vec<EventKind> {
    let marks = [EventKind::AnnounceBegin, EventKind::AnnounceEnd];
    let mut kinds: Vec<EventKind> =
        EventKind::ALL.iter().copied().filter(|kind| !is_derived(*kind) && !marks.contains(kind)).collect();
    kinds.push(EventKind::Unknown(UNKNOWN_TYPE));
    kinds
}

/// The kinds that the sidecar makes about a session. Without Malformed, which stands among published events.
#[must_use]
pub fn derived_kinds() -> Vec<EventKind> {
    EventKind::ALL.iter().copied().filter(|kind| is_derived(*kind) && *kind != EventKind::Malformed).collect()
}

fn is_derived(kind: EventKind) -> bool {
    (FIRST_DERIVED_TYPE..=LAST_DERIVED_TYPE).contains(&kind.msg_type())
}

/// Draws the values of events from a seed: the same seed gives the same events.
///
/// Ids come from a small range, so that state events meet each other; times lie within the hour before the present;
/// targets are valid, and a share's own hash is below its target.
#[derive(Debug)]
pub struct Draw {
    random: SmallRng,
    now: UnixMillis,
    hostile: bool,
}

impl Draw {
    /// Plain texts.
    #[must_use]
    pub fn new(seed: u64, now: UnixMillis) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), now, hostile: false }
    }

    /// Texts with everything that a miner could send.
    #[must_use]
    pub fn hostile(seed: u64, now: UnixMillis) -> Self {
        Self { hostile: true, ..Self::new(seed, now) }
    }

    /// An event of this kind.
    #[must_use]
    pub fn event(&mut self, kind: EventKind) -> Event<'static> {
        match kind {
            EventKind::ShareSubmitted => Event::ShareSubmitted(ShareSubmitted {
                downstream_id: self.downstream(),
                timestamp: self.time(),
                channel_id: self.channel(),
                sequence_number: self.random.random(),
                target: self.target(),
                share: self.share(),
            }),
            EventKind::ShareRejected => Event::ShareRejected(ShareRejected {
                downstream_id: self.downstream(),
                timestamp: self.time(),
                channel_id: self.channel(),
                sequence_number: self.random.random(),
                error_code: self.code("stale-share"),
            }),
            EventKind::QuoteCreated => Event::QuoteCreated(QuoteCreated {
                downstream_id: self.downstream(),
                amount: self.amount(),
                timestamp: self.time(),
                channel_id: self.channel(),
                share_hash: self.hash(),
                sequence_number: self.random.random(),
            }),
            EventKind::QuoteSent => Event::QuoteSent(QuoteSent {
                downstream_id: self.downstream(),
                channel_id: self.channel(),
                sequence_number: self.random.random(),
                amount: self.amount(),
                timestamp: self.time(),
                share_hash: self.hash(),
            }),
            EventKind::QuoteAnswered => Event::QuoteAnswered(QuoteAnswered {
                share_hash: self.hash(),
                quote_id: self.text("quote"),
                timestamp: self.time(),
            }),
            EventKind::QuoteFailed => Event::QuoteFailed(QuoteFailed {
                share_hash: self.random.random::<bool>().then(|| self.hash()),
                error_code: self.code("timeout"),
                error_message: self.text("no answer"),
                timestamp: self.time(),
            }),
            EventKind::SharesCounted => {
                let timestamp = self.time();
                let since = UnixMillis(timestamp.0 - self.random.random_range(1..10_000));
                let accepted = self.random.random_range(0..1_000);
                Event::SharesCounted(SharesCounted {
                    downstream_id: self.downstream(),
                    channel_id: self.channel(),
                    timestamp,
                    since,
                    accepted,
                    rejected: self.random.random_range(0..10),
                    work: number(u64::from(accepted) << 32),
                })
            }
            EventKind::QuotePaid => Event::QuotePaid(QuotePaid {
                quote_id: self.text("quote"),
                amount: self.amount(),
                timestamp: self.time(),
            }),
            EventKind::ChannelOpened => Event::ChannelOpened(ChannelOpened {
                downstream_id: self.downstream(),
                channel_id: self.channel(),
                timestamp: self.time(),
                kind: self.random.random_range(CHANNEL_STANDARD..=CHANNEL_GROUP),
                user_identity: self.text("alice.rig"),
                nominal_hashrate: self.random.random_range(0..1 << 50),
                target: self.target(),
            }),
            EventKind::ChannelClosed => Event::ChannelClosed(ChannelClosed {
                downstream_id: self.downstream(),
                channel_id: self.channel(),
                timestamp: self.time(),
                reason: self.text("closed"),
            }),
            EventKind::ChannelTargetChanged => Event::ChannelTargetChanged(ChannelTargetChanged {
                downstream_id: self.downstream(),
                channel_id: self.channel(),
                timestamp: self.time(),
                target: self.target(),
            }),
            EventKind::DownstreamConnected => Event::DownstreamConnected(DownstreamConnected {
                downstream_id: self.downstream(),
                flags: self.random.random_range(0..8),
                timestamp: self.time(),
                address: self.text("192.0.2.7:34254"),
                vendor: self.text("vendor"),
                hardware_version: self.text("1"),
                firmware: self.text("2"),
                device_id: self.text("device"),
            }),
            EventKind::DownstreamDisconnected => Event::DownstreamDisconnected(DownstreamDisconnected {
                downstream_id: self.downstream(),
                timestamp: self.time(),
                reason: self.text("gone"),
            }),
            EventKind::BlockFound => Event::BlockFound(BlockFound {
                downstream_id: self.downstream(),
                channel_id: self.channel(),
                timestamp: self.time(),
                height: self.random.random_range(1..1_000_000),
                block_hash: self.hash(),
            }),
            EventKind::ChainTipChanged => Event::ChainTipChanged(ChainTipChanged {
                timestamp: self.time(),
                height: self.random.random_range(1..1_000_000),
                target: self.target(),
            }),
            EventKind::MinerConnected => Event::MinerConnected(MinerConnected {
                miner_id: self.miner(),
                name: self.text("bob.rig"),
                timestamp: self.time(),
                address: self.text("192.0.2.8"),
                user_agent: self.text("miner/1.0"),
            }),
            EventKind::MinerDisconnected => Event::MinerDisconnected(MinerDisconnected {
                miner_id: self.miner(),
                timestamp: self.time(),
                reason: self.text("gone"),
            }),
            EventKind::MinerShareSubmitted => Event::MinerShareSubmitted(MinerShareSubmitted {
                miner_id: self.miner(),
                timestamp: self.time(),
                target: self.target(),
                share: self.share(),
            }),
            EventKind::MinerShareRejected => Event::MinerShareRejected(MinerShareRejected {
                miner_id: self.miner(),
                timestamp: self.time(),
                error_code: self.code("duplicate-share"),
            }),
            EventKind::MinerHashrateUpdate => Event::MinerHashrateUpdate(MinerHashrateUpdate {
                miner_id: self.miner(),
                hashrate: self.random.random_range(0..1 << 50),
                timestamp: self.time(),
            }),
            EventKind::UpstreamConnected => Event::UpstreamConnected(UpstreamConnected {
                timestamp: self.time(),
                address: self.text("198.51.100.1:3333"),
            }),
            EventKind::UpstreamDisconnected => Event::UpstreamDisconnected(UpstreamDisconnected {
                timestamp: self.time(),
                address: self.text("198.51.100.1:3333"),
                reason: self.text("reset"),
            }),
            EventKind::SourceInfo => Event::SourceInfo(SourceInfo {
                timestamp: self.time(),
                name: self.text("network"),
                value: self.text("signet"),
            }),
            EventKind::EventsDropped => {
                let first_timestamp = self.time();
                Event::EventsDropped(EventsDropped {
                    count: self.random.random_range(1..1_000),
                    first_timestamp,
                    last_timestamp: UnixMillis(first_timestamp.0 + self.random.random_range(0..1_000)),
                    reason: self.code("queue-full"),
                })
            }
            EventKind::Heartbeat => Event::Heartbeat(Heartbeat {
                timestamp: self.time(),
                flags: self.random.random_range(0..=HEARTBEAT_CLOCK_STEPPED),
            }),
            EventKind::AnnounceBegin => Event::AnnounceBegin(AnnounceBegin { timestamp: self.time() }),
            EventKind::AnnounceEnd => Event::AnnounceEnd(AnnounceEnd { timestamp: self.time() }),
            EventKind::SessionStarted => Event::SessionStarted(SessionStarted {
                session_id: self.random.random_range(1..1 << 63),
                role: Role::Pool,
                timestamp: self.time(),
                first_sequence: 1,
                flags: 0,
                vendor: self.text("vendor"),
            }),
            EventKind::SessionEnded => Event::SessionEnded(SessionEnded {
                session_id: self.random.random_range(1..1 << 63),
                timestamp: self.time(),
                outcome: self.random.random_range(ENDED_CLEAN..=ENDED_EXPIRED),
                reason: self.text("shutdown"),
            }),
            EventKind::Gap => {
                let timestamp = self.time();
                Event::Gap(Gap {
                    session_id: self.random.random_range(1..1 << 63),
                    first_sequence: 5,
                    last_sequence: 5 + self.random.random_range(0..100),
                    since: UnixMillis(timestamp.0 - 1),
                    timestamp,
                    kind: self.random.random_range(GAP_UNSEEN..=GAP_MISSING),
                })
            }
            EventKind::AlertFired => Event::AlertFired(AlertFired {
                timestamp: self.time(),
                alert: self.code("silent-worker"),
                subject: self.text("alice.rig"),
                message: self.text("no share for ten minutes"),
            }),
            EventKind::AlertResolved => Event::AlertResolved(AlertResolved {
                timestamp: self.time(),
                alert: self.code("silent-worker"),
                subject: self.text("alice.rig"),
                message: self.text("shares again"),
            }),
            EventKind::Test => Event::Test(Test { timestamp: self.time(), message: self.text("test") }),
            EventKind::Malformed => Event::Malformed(Malformed {
                msg_type: 0x10,
                length: 3,
                reason: self.text("payload ends inside field timestamp"),
            }),
            EventKind::Unknown(msg_type) => {
                let length = self.random.random_range(0..64);
                let payload: Vec<u8> = (0..length).map(|_| self.random.random()).collect();
                Event::Unknown { msg_type, payload: payload.into() }
            }
            other => panic!("the kit draws no {other:?} yet: add it here"),
        }
    }

    /// One event of every kind that a publisher sends, an announcement at the end.
    #[must_use]
    pub fn every_kind(&mut self) -> Vec<Event<'static>> {
        let mut events: Vec<_> = published_kinds().into_iter().map(|kind| self.event(kind)).collect();
        events.extend(self.announcement());
        events
    }

    /// AnnounceBegin, a downstream with a channel, a miner, AnnounceEnd.
    #[must_use]
    pub fn announcement(&mut self) -> Vec<Event<'static>> {
        [
            EventKind::AnnounceBegin,
            EventKind::DownstreamConnected,
            EventKind::ChannelOpened,
            EventKind::MinerConnected,
            EventKind::AnnounceEnd,
        ]
        .map(|kind| self.event(kind))
        .into()
    }

    fn downstream(&mut self) -> DownstreamId {
        DownstreamId(self.random.random_range(1..=4))
    }

    fn channel(&mut self) -> ChannelId {
        ChannelId(self.random.random_range(1..=3))
    }

    fn miner(&mut self) -> MinerId {
        MinerId(self.random.random_range(1..=4))
    }

    fn time(&mut self) -> UnixMillis {
        UnixMillis(self.now.0 - self.random.random_range(0..SPREAD_MS))
    }

    fn target(&mut self) -> CompactTarget {
        let targets = [0x1d00_ffff, 0x1c7f_ffff, 0x1b00_ffff, 0x1e10_0000];
        CompactTarget(targets[self.random.random_range(0..targets.len())])
    }

    /// Below every target of [`target`](Self::target).
    fn share(&mut self) -> CompactTarget {
        CompactTarget(0x1a00_0000 | self.random.random_range(0x1000..0xffff))
    }

    fn amount(&mut self) -> Amount {
        Amount(1 << self.random.random_range(0..=63))
    }

    fn hash(&mut self) -> U256 {
        U256(self.random.random())
    }

    fn text(&mut self, plain: &str) -> Text<'static> {
        if !self.hostile {
            return Text::cut(format!("{plain}-{}", self.random.random_range(1..=4)));
        }
        let hostile = HOSTILE[self.random.random_range(0..HOSTILE.len())];
        Text::cut(match self.random.random_range(0..3) {
            0 => hostile.to_owned(),
            1 => hostile.repeat(64),
            _ => format!("{plain}{hostile}"),
        })
    }

    fn code(&mut self, plain: &str) -> Text<'static> {
        if self.hostile { self.text(plain) } else { Text::cut(plain.to_owned()) }
    }
}

fn number(value: u64) -> U256 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    U256(bytes)
}

#[cfg(test)]
mod tests {
    use stats_sv2::Frames;

    use super::*;

    #[test]
    fn every_kind_is_drawn_and_decodes() {
        for hostile in [false, true] {
            let mut draw = Draw { hostile, ..Draw::new(1, UnixMillis(1_700_000_000_000)) };
            for kind in published_kinds().into_iter().chain(derived_kinds()).chain([
                EventKind::Malformed,
                EventKind::AnnounceBegin,
                EventKind::AnnounceEnd,
            ]) {
                for _ in 0..20 {
                    let event = draw.event(kind);
                    assert_eq!(event.kind(), kind);
                    let mut frame = Vec::new();
                    event.encode(&mut frame);
                    let read = Frames::new(&frame).next().unwrap();
                    assert_eq!(Event::decode(read).unwrap(), event);
                }
            }
        }
    }
}
