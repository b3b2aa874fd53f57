//! The `stats-sv2` protocol: which facts a Stratum V2 pool or translator reports, how they look on the wire, and which
//! limits hold. The normative text is `SPEC.md` beside this crate; `vectors.json` holds byte-level examples.
//!
//! This crate does no I/O. It knows messages ([`event`], [`session`]), their bytes ([`codec`], [`frame`]), what is
//! open at a publisher ([`open_objects`]) and, with the feature `noise`, the encrypted transport.
#![forbid(unsafe_code)]

pub mod codec;
pub mod definition;
pub mod event;
pub mod frame;
pub mod limits;
#[cfg(feature = "noise")]
pub mod noise;
pub mod open_objects;
pub mod session;
pub mod value;

pub use codec::{DecodeError, Message};
pub use event::{Event, EventKind};
pub use frame::{FrameError, FrameHeader, FrameRule, FrameView, Frames, read_frame};
pub use value::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, TextError, U256, UnixMillis};

/// Extension type of every frame of this protocol, in the range that the SV2 specification reserves for experiments.
/// The `channel_msg` bit (0x8000) is never set.
pub const EXTENSION_TYPE: u16 = 0x5354;

/// The one version of the protocol so far.
pub const PROTOCOL_VERSION: u16 = 1;

/// Message types from here on are events and take a sequence number; those below manage the session and take none.
pub const FIRST_EVENT_TYPE: u8 = 0x10;

/// Message types from here on are made by the sidecar itself; a publisher that sends one has sent a malformed event.
pub const FIRST_DERIVED_TYPE: u8 = 0x40;

/// End of the range of types that the sidecar makes.
pub const LAST_DERIVED_TYPE: u8 = 0x4f;

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
