//! The facts, defined once: one struct for each event, its number on the wire, and the closed enum of all of them.
//!
//! The same structs serve in the publisher's calls, the journal, the sinks and the plugin border. Times are Unix
//! milliseconds. `target` is the target that was in force for the job, `share` the share's own hash, both compact.

use crate::codec::{DecodeError, FieldValue, Message, messages};
use crate::frame::FrameView;
use crate::value::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, U256, UnixMillis};

/// Set in [`Heartbeat::flags`]: the publisher's wall clock stepped since the last heartbeat (delivery rule 6).
pub const HEARTBEAT_CLOCK_STEPPED: u32 = 1;

/// [`ChannelOpened::kind`]: a standard channel.
pub const CHANNEL_STANDARD: u8 = 0;
/// [`ChannelOpened::kind`]: an extended channel.
pub const CHANNEL_EXTENDED: u8 = 1;
/// [`ChannelOpened::kind`]: a group channel.
pub const CHANNEL_GROUP: u8 = 2;

/// [`SessionEnded::outcome`]: the publisher closed its session.
pub const ENDED_CLEAN: u8 = 0;
/// [`SessionEnded::outcome`]: a newer session of the same publisher took over.
pub const ENDED_REPLACED: u8 = 1;
/// [`SessionEnded::outcome`]: nothing was heard for 24 hours.
pub const ENDED_EXPIRED: u8 = 2;

/// [`Gap::kind`]: the numbers were used before this sidecar knew the session; no loss of ours.
pub const GAP_UNSEEN: u8 = 0;
/// [`Gap::kind`]: the events are lost.
pub const GAP_MISSING: u8 = 1;

/// Declares the event structs, [`Event`] and [`EventKind`] from one list.
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $type:literal $label:literal $name:ident $(<$lt:lifetime>)? { $($fields:tt)* }
    )*) => {
        messages! { $( $(#[$doc])* $type $name $(<$lt>)? { $($fields)* } )* }

        /// One fact. Which structs exist and what their fields mean is the protocol's definition.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Event<'a> {
            $( $(#[$doc])* $name(events!(@ty $name $($lt)?)), )*
            /// A message type that this version does not know: numbered, kept and counted.
            Unknown {
                /// Type in the frame header.
                msg_type: u8,
                /// The payload as it came.
                payload: std::borrow::Cow<'a, [u8]>,
            },
        }

        impl<'a> Event<'a> {
            /// Reads an event frame of any type, those made by the sidecar included.
            #[inline]
            pub fn decode(frame: FrameView<'a>) -> Result<Self, DecodeError> {
                let payload = frame.payload();
                match frame.msg_type {
                    $( $type => <$name as Message<'a>>::decode(payload).map(Self::$name), )*
                    msg_type => Ok(Self::Unknown { msg_type, payload: payload.into() }),
                }
            }

            /// Which fact this is.
            #[must_use]
            pub fn kind(&self) -> EventKind {
                match self {
                    $( Self::$name(_) => EventKind::$name, )*
                    Self::Unknown { msg_type, .. } => EventKind::Unknown(*msg_type),
                }
            }

            /// Bytes of the payload.
            #[must_use]
            pub fn payload_size(&self) -> usize {
                match self {
                    $( Self::$name(event) => event.payload_size(), )*
                    Self::Unknown { payload, .. } => payload.len(),
                }
            }

            /// Appends header and payload. The one event that can exceed [`MAX_PAYLOAD`](crate::limits::MAX_PAYLOAD) is an
            /// unknown one made by hand; readers refuse it.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$name(event) => event.encode(out), )*
                    Self::Unknown { msg_type, payload } => {
                        out.extend_from_slice(&crate::codec::header(*msg_type, payload.len()));
                        out.extend_from_slice(payload);
                    }
                }
            }

            /// The same event, independent of the buffer that it was read from.
            #[must_use]
            pub fn into_owned(self) -> Event<'static> {
                match self {
                    $( Self::$name(event) => Event::$name(event.into_owned()), )*
                    Self::Unknown { msg_type, payload } => {
                        Event::Unknown { msg_type, payload: payload.into_owned().into() }
                    }
                }
            }

            /// Calls `visit` with each field's name and value, in wire order. An unknown event shows no fields.
            pub fn for_each_field(&self, visit: &mut dyn FnMut(&'static str, FieldValue<'_>)) {
                match self {
                    $( Self::$name(event) => event.for_each_field(visit), )*
                    Self::Unknown { .. } => {}
                }
            }
        }

        $( impl<'a> From<events!(@ty $name $($lt)?)> for Event<'a> {
            fn from(event: events!(@ty $name $($lt)?)) -> Self {
                Self::$name(event)
            }
        } )*

        /// The kinds of [`Event`], for routes, labels and configuration.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $( $(#[$doc])* $name, )*
            /// A message type that this version does not know.
            Unknown(u8),
        }

        impl EventKind {
            /// Every known kind, in the order of its number.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The kind with this number on the wire.
            #[must_use]
            pub const fn from_type(msg_type: u8) -> Self {
                match msg_type {
                    $( $type => Self::$name, )*
                    other => Self::Unknown(other),
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn msg_type(self) -> u8 {
                match self {
                    $( Self::$name => $type, )*
                    Self::Unknown(msg_type) => msg_type,
                }
            }

            /// The name in configuration files, JSON and labels, such as `share_submitted`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $label, )*
                    Self::Unknown(_) => "unknown",
                }
            }
        }
    };
    (@ty $name:ident) => { $name };
    (@ty $name:ident $lt:lifetime) => { $name<'a> };
}

events! {
    /// A share was accepted.
    0x10 "share_submitted" ShareSubmitted {
        /// The connection that it came from.
        downstream_id: DownstreamId,
        /// When the pool accepted it.
        timestamp: UnixMillis,
        /// The channel, unique with the downstream.
        channel_id: ChannelId,
        /// The channel's own counter of submissions (SV2 `SubmitShares*`).
        sequence_number: u32,
        /// The target in force for the job: what the share is credited for.
        target: CompactTarget,
        /// The share's own hash: for best share and luck only.
        share: CompactTarget,
    }
    /// A share was rejected.
    0x11 "share_rejected" ShareRejected<'a> {
        /// The connection that it came from.
        downstream_id: DownstreamId,
        /// When the pool rejected it.
        timestamp: UnixMillis,
        /// The channel, unique with the downstream.
        channel_id: ChannelId,
        /// The channel's own counter of submissions.
        sequence_number: u32,
        /// SV2 error code of `SubmitShares.Error`, such as `stale-share`.
        error_code: Text<'a>,
    }
    /// A quote for ehash was computed for an accepted share.
    0x12 "quote_created" QuoteCreated {
        /// The connection of the share.
        downstream_id: DownstreamId,
        /// Ehash in `HASH`.
        amount: Amount,
        /// When.
        timestamp: UnixMillis,
        /// The channel of the share.
        channel_id: ChannelId,
        /// Hash of the share.
        share_hash: U256,
        /// Sequence number of the share.
        sequence_number: u32,
    }
    /// A quote was handed to the mint connection.
    0x13 "quote_sent" QuoteSent {
        /// The connection of the share.
        downstream_id: DownstreamId,
        /// The channel of the share.
        channel_id: ChannelId,
        /// Sequence number of the share.
        sequence_number: u32,
        /// Ehash in `HASH`.
        amount: Amount,
        /// When.
        timestamp: UnixMillis,
        /// Hash of the share.
        share_hash: U256,
    }
    /// The mint answered a quote.
    0x14 "quote_answered" QuoteAnswered<'a> {
        /// Hash of the share.
        share_hash: U256,
        /// The mint's id of the quote.
        quote_id: Text<'a>,
        /// When.
        timestamp: UnixMillis,
    }
    /// A quote ended without an answer, or an error could not be attributed.
    0x15 "quote_failed" QuoteFailed<'a> {
        /// Hash of the share, where known.
        share_hash: Option<U256>,
        /// Short code, such as `timeout`.
        error_code: Text<'a>,
        /// Text for people.
        error_message: Text<'a>,
        /// When.
        timestamp: UnixMillis,
    }
    /// Shares counted over a span by a program that only offers counters.
    0x16 "shares_counted" SharesCounted {
        /// The connection of the channel.
        downstream_id: DownstreamId,
        /// The channel.
        channel_id: ChannelId,
        /// End of the span.
        timestamp: UnixMillis,
        /// Start of the span.
        since: UnixMillis,
        /// Accepted in the span.
        accepted: u32,
        /// Rejected in the span.
        rejected: u32,
        /// Expected hashes of the accepted shares in the span.
        work: U256,
    }
    /// A quote was paid.
    0x17 "quote_paid" QuotePaid<'a> {
        /// The mint's id of the quote.
        quote_id: Text<'a>,
        /// Ehash in `HASH`.
        amount: Amount,
        /// When.
        timestamp: UnixMillis,
    }
    /// A mining channel opened.
    0x18 "channel_opened" ChannelOpened<'a> {
        /// The connection.
        downstream_id: DownstreamId,
        /// The channel, unique with the downstream.
        channel_id: ChannelId,
        /// When.
        timestamp: UnixMillis,
        /// [`CHANNEL_STANDARD`], [`CHANNEL_EXTENDED`] or [`CHANNEL_GROUP`].
        kind: u8,
        /// Who mines; untrusted.
        user_identity: Text<'a>,
        /// Declared by the miner, H/s.
        nominal_hashrate: u64,
        /// First target.
        target: CompactTarget,
    }
    /// A mining channel closed.
    0x19 "channel_closed" ChannelClosed<'a> {
        /// The connection.
        downstream_id: DownstreamId,
        /// The channel.
        channel_id: ChannelId,
        /// When.
        timestamp: UnixMillis,
        /// Text for people.
        reason: Text<'a>,
    }
    /// A channel got a new target.
    0x1a "channel_target_changed" ChannelTargetChanged {
        /// The connection.
        downstream_id: DownstreamId,
        /// The channel.
        channel_id: ChannelId,
        /// When.
        timestamp: UnixMillis,
        /// The target from now on.
        target: CompactTarget,
    }
    /// A downstream connected.
    0x1b "downstream_connected" DownstreamConnected<'a> {
        /// The connection.
        downstream_id: DownstreamId,
        /// Flags of SV2 `SetupConnection`.
        flags: u32,
        /// When.
        timestamp: UnixMillis,
        /// Network address.
        address: Text<'a>,
        /// SV2 `SetupConnection.vendor`; untrusted.
        vendor: Text<'a>,
        /// SV2 `SetupConnection.hardware_version`; untrusted.
        hardware_version: Text<'a>,
        /// SV2 `SetupConnection.firmware`; untrusted.
        firmware: Text<'a>,
        /// SV2 `SetupConnection.device_id`; untrusted.
        device_id: Text<'a>,
    }
    /// A downstream disconnected; its channels are closed with it.
    0x1c "downstream_disconnected" DownstreamDisconnected<'a> {
        /// The connection.
        downstream_id: DownstreamId,
        /// When.
        timestamp: UnixMillis,
        /// Text for people.
        reason: Text<'a>,
    }
    /// A share of ours solved a block.
    0x1d "block_found" BlockFound {
        /// The connection of the share.
        downstream_id: DownstreamId,
        /// The channel of the share.
        channel_id: ChannelId,
        /// When.
        timestamp: UnixMillis,
        /// Height of the block, 0 where unknown.
        height: u32,
        /// Hash of the block.
        block_hash: U256,
    }
    /// The network has a new tip.
    0x1e "chain_tip_changed" ChainTipChanged {
        /// When.
        timestamp: UnixMillis,
        /// Height of the tip.
        height: u32,
        /// Target of the next block.
        target: CompactTarget,
    }
    /// An SV1 miner connected to a translator.
    0x20 "miner_connected" MinerConnected<'a> {
        /// The miner.
        miner_id: MinerId,
        /// Name it authorized with; untrusted.
        name: Text<'a>,
        /// When.
        timestamp: UnixMillis,
        /// Network address.
        address: Text<'a>,
        /// Program it says it is; untrusted.
        user_agent: Text<'a>,
    }
    /// An SV1 miner disconnected.
    0x21 "miner_disconnected" MinerDisconnected<'a> {
        /// The miner.
        miner_id: MinerId,
        /// When.
        timestamp: UnixMillis,
        /// Text for people.
        reason: Text<'a>,
    }
    /// An SV1 miner's share was accepted.
    0x22 "miner_share_submitted" MinerShareSubmitted {
        /// The miner.
        miner_id: MinerId,
        /// When.
        timestamp: UnixMillis,
        /// The target in force for the job.
        target: CompactTarget,
        /// The share's own hash.
        share: CompactTarget,
    }
    /// An SV1 miner's share was rejected.
    0x23 "miner_share_rejected" MinerShareRejected<'a> {
        /// The miner.
        miner_id: MinerId,
        /// When.
        timestamp: UnixMillis,
        /// Reason as a code.
        error_code: Text<'a>,
    }
    /// Vardiff has a new estimate of a miner's hashrate.
    0x24 "miner_hashrate_update" MinerHashrateUpdate {
        /// The miner.
        miner_id: MinerId,
        /// H/s as declared by vardiff, never a measurement.
        hashrate: u64,
        /// When.
        timestamp: UnixMillis,
    }
    /// A translator reached its upstream.
    0x25 "upstream_connected" UpstreamConnected<'a> {
        /// When.
        timestamp: UnixMillis,
        /// Network address.
        address: Text<'a>,
    }
    /// A translator lost its upstream.
    0x26 "upstream_disconnected" UpstreamDisconnected<'a> {
        /// When.
        timestamp: UnixMillis,
        /// Network address.
        address: Text<'a>,
        /// Text for people.
        reason: Text<'a>,
    }
    /// A fact about the source that pages show, such as `listen_address`, `network`, `service.mint`.
    0x2f "source_info" SourceInfo<'a> {
        /// When.
        timestamp: UnixMillis,
        /// Which fact.
        name: Text<'a>,
        /// Its value; the latest counts.
        value: Text<'a>,
    }
    /// The publisher dropped events; they have no numbers.
    0x30 "events_dropped" EventsDropped<'a> {
        /// How many.
        count: u64,
        /// Time of the first, or of the moment when dropping began.
        first_timestamp: UnixMillis,
        /// Time of the last, or of the moment when it ended.
        last_timestamp: UnixMillis,
        /// Why, such as `queue-full`.
        reason: Text<'a>,
    }
    /// The publisher is alive; the span up to here is observed.
    0x31 "heartbeat" Heartbeat {
        /// When.
        timestamp: UnixMillis,
        /// [`HEARTBEAT_CLOCK_STEPPED`]; other bits are zero.
        flags: u32,
    }
    /// What follows, up to the end mark, tells what is open and counts nothing.
    0x32 "announce_begin" AnnounceBegin {
        /// When.
        timestamp: UnixMillis,
    }
    /// End of the announcement: what the session had open and was not named is closed.
    0x33 "announce_end" AnnounceEnd {
        /// When.
        timestamp: UnixMillis,
    }
    /// A session began (made by the sidecar).
    0x40 "session_started" SessionStarted<'a> {
        /// The session.
        session_id: u64,
        /// What kind of program publishes.
        role: Role,
        /// When the sidecar accepted it.
        timestamp: UnixMillis,
        /// The publisher's oldest number.
        first_sequence: u64,
        /// Flags of OpenStatsSession.
        flags: u32,
        /// Name and version of the program.
        vendor: Text<'a>,
    }
    /// A session ended, and all that it had open with it (made by the sidecar).
    0x41 "session_ended" SessionEnded<'a> {
        /// The session.
        session_id: u64,
        /// Time of its last event or heartbeat.
        timestamp: UnixMillis,
        /// [`ENDED_CLEAN`], [`ENDED_REPLACED`] or [`ENDED_EXPIRED`].
        outcome: u8,
        /// The publisher's own words, where it closed.
        reason: Text<'a>,
    }
    /// Numbers of a session that will never come (made by the sidecar).
    0x42 "gap" Gap {
        /// The session.
        session_id: u64,
        /// First number of the gap.
        first_sequence: u64,
        /// Last number of the gap.
        last_sequence: u64,
        /// Time of the session's last event before the gap, 0 where unknown.
        since: UnixMillis,
        /// When the gap was noticed.
        timestamp: UnixMillis,
        /// [`GAP_UNSEEN`] or [`GAP_MISSING`].
        kind: u8,
    }
    /// An alert fired (made by the sidecar).
    0x43 "alert_fired" AlertFired<'a> {
        /// When.
        timestamp: UnixMillis,
        /// Name of the rule.
        alert: Text<'a>,
        /// What it is about.
        subject: Text<'a>,
        /// Text for people.
        message: Text<'a>,
    }
    /// An alert is over (made by the sidecar).
    0x44 "alert_resolved" AlertResolved<'a> {
        /// When.
        timestamp: UnixMillis,
        /// Name of the rule.
        alert: Text<'a>,
        /// What it was about.
        subject: Text<'a>,
        /// Text for people.
        message: Text<'a>,
    }
    /// A test of a sink, asked for by an operator (made by the sidecar).
    0x45 "test" Test<'a> {
        /// When.
        timestamp: UnixMillis,
        /// Text for people.
        message: Text<'a>,
    }
    /// Stands in the place of an event whose payload was malformed, under its number; the bytes themselves are a dead
    /// letter (made by the sidecar).
    0x46 "malformed" Malformed<'a> {
        /// Type of the malformed frame.
        msg_type: u8,
        /// Bytes of its payload.
        length: u32,
        /// What was wrong.
        reason: Text<'a>,
    }
}

impl Event<'_> {
    /// When the event happened, by the publisher's clock; `None` for the few without a time.
    #[must_use]
    pub fn timestamp(&self) -> Option<UnixMillis> {
        let mut found = None;
        self.for_each_field(&mut |name, value| {
            if let (None, FieldValue::Time(time)) = (found, value)
                && matches!(name, "timestamp" | "last_timestamp")
            {
                found = Some(time);
            }
        });
        found
    }
}

/// Checks an event frame from a publisher: the type must not be the sidecar's own, and a known payload must decode.
#[inline]
pub fn validate(frame: FrameView<'_>) -> Result<(), DecodeError> {
    // The one message that comes by the million goes first and skips the table.
    if frame.msg_type == ShareSubmitted::TYPE {
        return ShareSubmitted::decode(frame.payload()).map(drop);
    }
    if (crate::FIRST_DERIVED_TYPE..=crate::LAST_DERIVED_TYPE).contains(&frame.msg_type) {
        return Err(DecodeError::Reserved { msg_type: frame.msg_type });
    }
    Event::decode(frame).map(drop)
}
