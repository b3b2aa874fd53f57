//! Frames in a byte buffer: where the next one ends, and which message it holds.

use stats_sv2::frame::CHANNEL_MSG;
pub use stats_sv2::{FrameError, FrameHeader, FrameRule};

use crate::EXTENSION_TYPE;
use crate::limits::{HEADER_SIZE, MAX_PAYLOAD};
use crate::message::{
    Message, MessageError, MintQuoteError, MintQuoteFailure, MintQuoteNotification, MintQuoteRequest, MintQuoteResponse,
};
use crate::setup::{SetupConnection, SetupConnectionError, SetupConnectionSuccess};

/// What the header of each frame says. The `channel_msg` bit may be set or not, as SV2 says for finding out which extension a
/// frame belongs to; peers differ.
pub const FRAME_RULE: FrameRule = FrameRule { extension_type: EXTENSION_TYPE, ignore_channel_msg: true };

/// Frames are read by code that has this limit.
const _: () = assert!(MAX_PAYLOAD == stats_sv2::limits::MAX_PAYLOAD);

/// Reads the header at the start of `buffer`: `None` when more bytes are needed.
pub fn read_header(buffer: &[u8]) -> Result<Option<FrameHeader>, FrameError> {
    FRAME_RULE.read_header(buffer)
}

/// Reads the frame at the start of `buffer`, header and payload: `None` when more bytes are needed. A bad header is told
/// as soon as its six bytes are there, before any payload is waited for.
pub fn read_frame(buffer: &mut [u8]) -> Result<Option<(FrameHeader, &mut [u8])>, FrameError> {
    let Some(header) = read_header(buffer)? else { return Ok(None) };
    Ok(buffer.get_mut(HEADER_SIZE..header.frame_size()).map(|payload| (header, payload)))
}

/// The frame header of a payload of this size, at most [`MAX_PAYLOAD`]. Messages that begin with a channel id carry the
/// `channel_msg` bit, as SV2 asks for.
#[must_use]
pub(crate) fn header(msg_type: u8, payload_size: usize) -> [u8; HEADER_SIZE] {
    debug_assert!(payload_size <= MAX_PAYLOAD, "no message is larger");
    let channel_msg = matches!(msg_type, MintQuoteNotification::TYPE | MintQuoteFailure::TYPE);
    let extension = if channel_msg { EXTENSION_TYPE | CHANNEL_MSG } else { EXTENSION_TYPE }.to_le_bytes();
    let size = payload_size.to_le_bytes();
    [extension[0], extension[1], msg_type, size[0], size[1], size[2]]
}

/// Any message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnyMessage {
    /// 0x00
    SetupConnection(SetupConnection),
    /// 0x01
    SetupConnectionSuccess(SetupConnectionSuccess),
    /// 0x02
    SetupConnectionError(SetupConnectionError),
    /// 0x80
    MintQuoteRequest(MintQuoteRequest),
    /// 0x81
    MintQuoteResponse(MintQuoteResponse),
    /// 0x82
    MintQuoteError(MintQuoteError),
    /// 0xC0
    MintQuoteNotification(MintQuoteNotification),
    /// 0xC1
    MintQuoteFailure(MintQuoteFailure),
    /// A type of a later version: receivers skip it.
    Unknown {
        /// The type.
        msg_type: u8,
    },
}

impl AnyMessage {
    /// Reads the payload of a frame of this type.
    pub fn decode(msg_type: u8, payload: &mut [u8]) -> Result<Self, MessageError> {
        macro_rules! decode {
            ($($name:ident)*) => {
                match msg_type {
                    $( $name::TYPE => $name::decode(payload).map(Self::$name), )*
                    msg_type => Ok(Self::Unknown { msg_type }),
                }
            };
        }
        decode!(
            SetupConnection SetupConnectionSuccess SetupConnectionError
            MintQuoteRequest MintQuoteResponse MintQuoteError MintQuoteNotification MintQuoteFailure
        )
    }
}
