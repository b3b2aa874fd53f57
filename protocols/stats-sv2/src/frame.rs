//! Frames in a byte buffer: where the next one ends, what its header says, nothing about its payload.

use framing_sv2::header::Header;

use crate::limits::{HEADER_SIZE, MAX_PAYLOAD};
use crate::{EXTENSION_TYPE, FIRST_EVENT_TYPE};

/// Why the bytes at this place cannot be a frame of the protocol. The connection ends: the next header cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header names another extension, or has the `channel_msg` bit set where it must not be.
    #[error("extension type {found:#06x} is not {expected:#06x}")]
    WrongExtension {
        /// What the header says.
        found: u16,
        /// What it must say.
        expected: u16,
    },
    /// The payload would exceed [`MAX_PAYLOAD`].
    #[error("payload of {length} bytes exceeds {MAX_PAYLOAD}")]
    TooLong {
        /// What the header says.
        length: usize,
    },
}

/// What the header of each frame of a protocol says. A value, so that another protocol between the same hosts (the mint-quote
/// protocol is one) reads and encrypts its frames with the same code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRule {
    /// The extension to which the messages belong, 0 for none.
    pub extension_type: u16,
    /// Whether receivers ignore SV2's `channel_msg` bit.
    pub ignore_channel_msg: bool,
}

/// SV2's bit of the extension type for payloads that begin with a channel id.
pub const CHANNEL_MSG: u16 = 0x8000;

impl FrameRule {
    /// This protocol's own frames.
    pub const STATS_SV2: Self = Self { extension_type: EXTENSION_TYPE, ignore_channel_msg: false };

    /// Reads the header at the start of `buffer`: `None` when more bytes are needed.
    #[inline]
    pub fn read_header(self, buffer: &[u8]) -> Result<Option<FrameHeader>, FrameError> {
        let Ok(header) = Header::from_bytes(buffer) else {
            return Ok(None);
        };
        let ignored = if self.ignore_channel_msg { CHANNEL_MSG } else { 0 };
        if header.ext_type() & !ignored != self.extension_type {
            return Err(FrameError::WrongExtension { found: header.ext_type(), expected: self.extension_type });
        }
        let length = header.payload_length();
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong { length });
        }
        Ok(Some(FrameHeader { msg_type: header.msg_type(), payload_size: length }))
    }
}

/// A header that is within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Message type.
    pub msg_type: u8,
    /// Bytes of the payload.
    pub payload_size: usize,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    #[inline]
    #[must_use]
    pub fn frame_size(&self) -> usize {
        HEADER_SIZE + self.payload_size
    }
}

/// One frame inside a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// Message type of the header.
    pub msg_type: u8,
    /// Header and payload.
    pub bytes: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// The payload alone.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_SIZE..).unwrap_or_default()
    }

    /// Whether the frame takes a sequence number.
    #[inline]
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.msg_type >= FIRST_EVENT_TYPE
    }
}

/// Reads the frame at the start of `buffer`: `None` when more bytes are needed. A bad header is told as soon as its six
/// bytes are there, before any payload is waited for.
#[inline]
pub fn read_frame(buffer: &[u8]) -> Result<Option<FrameView<'_>>, FrameError> {
    let Some(header) = FrameRule::STATS_SV2.read_header(buffer)? else { return Ok(None) };
    Ok(buffer.get(..header.frame_size()).map(|bytes| FrameView { msg_type: header.msg_type, bytes }))
}

/// The frames of a buffer that holds whole frames only, such as a journal record. Ends early at damage; the caller
/// compares counts.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Iterates over `buffer`.
    #[must_use]
    pub fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }

    /// The bytes after the last frame that was returned.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = FrameView<'a>;

    #[inline]
    fn next(&mut self) -> Option<FrameView<'a>> {
        let frame = read_frame(self.rest).ok().flatten()?;
        self.rest = &self.rest[frame.bytes.len()..];
        Some(frame)
    }
}
