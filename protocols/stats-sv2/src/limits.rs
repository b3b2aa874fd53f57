//! Every limit of the protocol, by name. Both sides use these constants; settings elsewhere may only lower them.

use std::time::Duration;

/// Largest payload of a frame in bytes. The largest message of version 1 (DownstreamConnected with five full strings)
/// takes 1,296 bytes; the rest is room for later messages.
pub const MAX_PAYLOAD: usize = 4096;

/// Bytes of an SV2 frame header.
pub const HEADER_SIZE: usize = framing_sv2::SV2_FRAME_HEADER_SIZE;

/// Longest string in bytes (SV2 `STR0_255`).
pub const MAX_TEXT: usize = 255;

/// Every U64 of the protocol other than an ehash amount is below this (2^63), so that it fits SQL integers.
pub const U64_LIMIT: u64 = 1 << 63;

/// Events that may be sent and not yet acknowledged, per session.
pub const MAX_UNACKED_EVENTS: u32 = 65_536;

/// Bytes that may be sent and not yet acknowledged, per session.
pub const MAX_UNACKED_BYTES: usize = 8 << 20;

/// How long the opening handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A publisher sends a Heartbeat this often.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// A connection that gave no frame for this long is closed.
pub const SILENT_SESSION: Duration = Duration::from_secs(60);

/// A publisher's name is held by its connection while that gave a frame within this time.
pub const NAME_HELD_FOR: Duration = Duration::from_secs(15);

/// A publisher reconnects when unacknowledged events made no progress for this long.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A step of the wall clock against the monotonic clock above this is told by the Heartbeat flag
/// [`crate::event::HEARTBEAT_CLOCK_STEPPED`].
pub const CLOCK_STEP: Duration = Duration::from_secs(2);

/// An event whose timestamp is later than its arrival by more than this counts at its arrival.
pub const MAX_FUTURE: Duration = Duration::from_secs(120);

/// Open objects (downstreams, channels, miners, upstreams, source facts) that one session may have.
pub const MAX_OPEN_OBJECTS: usize = 65_536;

/// Bytes of frames that describe the open objects of one session.
pub const MAX_OPEN_BYTES: usize = 16 << 20;
