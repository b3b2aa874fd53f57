//! The `mint-quote` protocol: how a Stratum V2 pool asks a Cashu mint for quotes, one for each accepted share that earns
//! ehash. The normative text is `SPEC.md` beside this crate; `vectors.json` holds byte-level examples.
//!
//! This crate does no I/O. It knows the messages ([`message`], [`setup`]), their bytes ([`definition`], [`frame`]) and,
//! with the feature `noise`, the encrypted transport. What a quote is worth, and who asks for it, is not here.
#![forbid(unsafe_code)]

pub mod definition;
pub mod frame;
pub mod limits;
pub mod message;
#[cfg(feature = "noise")]
pub mod noise;
pub mod setup;

pub use frame::{AnyMessage, FRAME_RULE, FrameError, FrameHeader, read_frame, read_header};
pub use message::{
    Message, MessageError, MintQuoteError, MintQuoteFailure, MintQuoteNotification, MintQuoteRequest, MintQuoteResponse,
};
pub use setup::{SetupConnection, SetupConnectionError, SetupConnectionSuccess};

/// `SetupConnection.protocol` of a connection that carries this protocol.
pub const PROTOCOL: u8 = 3;

/// The one version of the protocol, numbered like that of Stratum V2 itself.
pub const PROTOCOL_VERSION: u16 = 2;

/// Extension type of every frame: the messages belong to a protocol of their own, not to an extension.
pub const EXTENSION_TYPE: u16 = 0;

/// The unit of ehash in [`MintQuoteRequest::unit`].
pub const UNIT: &str = "HASH";
