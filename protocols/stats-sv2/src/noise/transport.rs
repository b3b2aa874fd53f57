//! Frames in encrypted form: the header as one Noise message, the payload as another. That is what the SV2
//! specification says for payloads that fit one Noise message, and [`MAX_PAYLOAD`] is far below that.

use noise_sv2::{AEAD_MAC_LEN, NoiseDecryptor, NoiseEncryptor};

use crate::frame::{FrameError, FrameRule};
use crate::limits::{HEADER_SIZE, MAX_PAYLOAD};

/// Bytes of an encrypted header.
const ENCRYPTED_HEADER_SIZE: usize = HEADER_SIZE + AEAD_MAC_LEN;

/// Plain bytes that fit one Noise message (65,535 bytes with its MAC). Longer payloads would travel in several; none of
/// ours is longer.
const MAX_CHUNK: usize = 65_535 - AEAD_MAC_LEN;
const _: () = assert!(MAX_PAYLOAD <= MAX_CHUNK);

/// Bytes on the wire of a frame with a payload of this size (at most [`MAX_PAYLOAD`]).
#[must_use]
pub const fn encrypted_size(payload_size: usize) -> usize {
    ENCRYPTED_HEADER_SIZE + encrypted_payload_size(payload_size)
}

/// An empty payload takes no bytes: there is nothing to authenticate.
const fn encrypted_payload_size(payload_size: usize) -> usize {
    if payload_size == 0 { 0 } else { payload_size + AEAD_MAC_LEN }
}

/// Why encrypted traffic cannot go on. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Received bytes were changed on the way, or are out of step.
    #[error("received bytes do not authenticate: they were changed, lost or repeated on the way")]
    Tampered,
    /// A header that authenticates, but is none of this protocol.
    #[error("frame header refused")]
    Frame(#[source] FrameError),
    /// The bytes to be sent end inside a frame.
    #[error("{count} bytes to be encrypted end inside a frame")]
    PartialFrame {
        /// Bytes of the partial frame.
        count: usize,
    },
    /// 2^64 - 1 messages were sent under one key.
    #[error("the encryption key is used up")]
    Exhausted,
}

/// The sending direction.
#[derive(Debug)]
pub struct FrameEncryptor {
    rule: FrameRule,
    noise: NoiseEncryptor,
    scratch: Vec<u8>,
}

impl FrameEncryptor {
    pub(super) fn new(rule: FrameRule, noise: NoiseEncryptor) -> Self {
        Self { rule, noise, scratch: Vec::with_capacity(MAX_PAYLOAD + AEAD_MAC_LEN) }
    }

    /// Appends `frames` (whole frames, any number) to `out` in encrypted form. The order of calls is the order of sending.
    ///
    /// When `frames` is refused, nothing is appended and the direction goes on as before.
    pub fn encrypt(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut rest = frames;
        let mut size = 0;
        while let Some(frame) = next_frame(self.rule, rest)? {
            size += encrypted_size(frame.len() - HEADER_SIZE);
            rest = &rest[frame.len()..];
        }
        out.reserve(size);

        let mut rest = frames;
        while let Some(frame) = next_frame(self.rule, rest)? {
            let (header, payload) = frame.split_at(HEADER_SIZE);
            self.encrypt_message(header, out)?;
            if !payload.is_empty() {
                self.encrypt_message(payload, out)?;
            }
            rest = &rest[frame.len()..];
        }
        Ok(())
    }

    fn encrypt_message(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(plain);
        self.noise.encrypt(&mut self.scratch).map_err(|_| TransportError::Exhausted)?;
        out.extend_from_slice(&self.scratch);
        Ok(())
    }
}

/// The bytes of the first frame, `None` at the end.
fn next_frame(rule: FrameRule, frames: &[u8]) -> Result<Option<&[u8]>, TransportError> {
    if frames.is_empty() {
        return Ok(None);
    }
    let header = rule.read_header(frames).map_err(TransportError::Frame)?;
    match header.and_then(|header| frames.get(..header.frame_size())) {
        Some(frame) => Ok(Some(frame)),
        None => Err(TransportError::PartialFrame { count: frames.len() }),
    }
}

/// The receiving direction.
#[derive(Debug)]
pub struct FrameDecryptor {
    rule: FrameRule,
    noise: NoiseDecryptor,
    /// The part of the awaited Noise message that has come.
    pending: Vec<u8>,
    awaited: Awaited,
}

#[derive(Debug)]
enum Awaited {
    Header,
    Payload {
        header: [u8; HEADER_SIZE],
        size: usize,
    },
    /// After an error: what follows can no longer be told apart.
    Nothing(TransportError),
}

impl FrameDecryptor {
    pub(super) fn new(rule: FrameRule, noise: NoiseDecryptor) -> Self {
        Self { rule, noise, pending: Vec::with_capacity(MAX_PAYLOAD + AEAD_MAC_LEN), awaited: Awaited::Header }
    }

    /// Takes received bytes, cut anywhere, and appends to `frames` the whole frames that they complete. What is left
    /// over is kept inside, at most one Noise message of [`MAX_PAYLOAD`] bytes.
    ///
    /// A header of another extension or above [`MAX_PAYLOAD`] is refused before any payload is waited for. After an
    /// error every further call gives the same error; frames appended before it are good.
    pub fn decrypt(&mut self, received: &[u8], frames: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut rest = received;
        loop {
            let needed = match &self.awaited {
                Awaited::Header => ENCRYPTED_HEADER_SIZE,
                Awaited::Payload { size, .. } => encrypted_payload_size(*size),
                Awaited::Nothing(error) => return Err(error.clone()),
            };
            let (now, later) = rest.split_at(rest.len().min(needed - self.pending.len()));
            self.pending.extend_from_slice(now);
            rest = later;
            if self.pending.len() < needed {
                return Ok(());
            }
            let message = self.message(frames);
            self.pending.clear();
            self.awaited = message.unwrap_or_else(Awaited::Nothing);
        }
    }

    /// Whether bytes of an unfinished frame are held: an end of the stream here cuts a frame.
    #[must_use]
    pub fn is_inside_frame(&self) -> bool {
        !self.pending.is_empty() || matches!(self.awaited, Awaited::Payload { .. })
    }

    /// Reads the Noise message that is complete in `pending`; returns what comes next.
    fn message(&mut self, frames: &mut Vec<u8>) -> Result<Awaited, TransportError> {
        self.noise.decrypt(&mut self.pending).map_err(|_| TransportError::Tampered)?;
        if let Awaited::Payload { header, .. } = &self.awaited {
            frames.extend_from_slice(header);
            frames.extend_from_slice(&self.pending);
            return Ok(Awaited::Header);
        }
        let header: [u8; HEADER_SIZE] = self.pending.as_slice().try_into().map_err(|_| TransportError::Tampered)?;
        match self.rule.read_header(&header).map_err(TransportError::Frame)? {
            Some(read) if read.payload_size > 0 => Ok(Awaited::Payload { header, size: read.payload_size }),
            // The frame is whole already: it has no payload.
            _ => {
                frames.extend_from_slice(&header);
                Ok(Awaited::Header)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Message, header};
    use crate::event::{AnnounceBegin, Heartbeat, SourceInfo};
    use crate::noise::{AuthoritySecretKey, Initiator, Responder};
    use crate::value::{Text, UnixMillis};

    struct Ends {
        publisher: (FrameEncryptor, FrameDecryptor),
        sidecar: (FrameEncryptor, FrameDecryptor),
    }

    fn connect() -> Ends {
        let secret = AuthoritySecretKey::generate();
        let now = UnixMillis::now();
        let (initiator, hello) = Initiator::start(secret.public_key()).unwrap();
        let (answer, encryptor, decryptor) = Responder::new(secret).answer(&hello, now).unwrap();
        Ends { publisher: initiator.finish(&answer, now).unwrap(), sidecar: (encryptor, decryptor) }
    }

    /// Small, empty and largest payloads.
    fn some_frames() -> Vec<u8> {
        let mut frames = Vec::new();
        Heartbeat { timestamp: UnixMillis(5), flags: 1 }.encode(&mut frames);
        frames.extend_from_slice(&header(0x70, 0));
        frames.extend_from_slice(&header(0x71, MAX_PAYLOAD));
        frames.extend_from_slice(&[0xa5; MAX_PAYLOAD]);
        SourceInfo { timestamp: UnixMillis(6), name: Text::default(), value: Text::cut("x".repeat(255)) }
            .encode(&mut frames);
        AnnounceBegin { timestamp: UnixMillis(7) }.encode(&mut frames);
        frames
    }

    #[test]
    fn both_sides_read_each_other_however_the_bytes_are_cut() {
        let frames = some_frames();
        for piece in [1, 2, 21, 22, 23, 1000, usize::MAX] {
            let Ends { mut publisher, mut sidecar } = connect();
            for (sender, receiver) in [(&mut publisher.0, &mut sidecar.1), (&mut sidecar.0, &mut publisher.1)] {
                let mut sent = Vec::new();
                // Twice, so that the second batch continues the first one's numbering of messages.
                for _ in 0..2 {
                    sender.encrypt(&frames, &mut sent).unwrap();
                }
                let expected: usize = [12, 0, MAX_PAYLOAD, 8 + 1 + 256, 8].into_iter().map(encrypted_size).sum();
                assert_eq!(sent.len(), 2 * expected);

                let mut received = Vec::new();
                for part in sent.chunks(piece) {
                    receiver.decrypt(part, &mut received).unwrap();
                    assert!(receiver.pending.capacity() <= MAX_PAYLOAD + AEAD_MAC_LEN);
                }
                assert_eq!(received, [frames.as_slice(), &frames].concat());
                assert!(!receiver.is_inside_frame());
            }
        }
    }

    #[test]
    fn a_changed_byte_stops_the_direction_for_good() {
        let frames = some_frames();
        let whole = encrypted_size(12);
        for place in [0, 5, 6, 21, 22, 33, 34, whole - 1] {
            let Ends { publisher: (mut sender, _), sidecar: (_, mut receiver) } = connect();
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            sender.encrypt(&frames, &mut sent).unwrap();
            sent[place] ^= 0x80;
            assert_eq!(receiver.decrypt(&sent, &mut received), Err(TransportError::Tampered));
            assert!(received.is_empty());
            sent[place] ^= 0x80;
            assert_eq!(receiver.decrypt(&sent, &mut received), Err(TransportError::Tampered));
            assert!(received.is_empty());
        }
    }

    #[test]
    fn a_repeated_or_lost_message_does_not_authenticate() {
        let mut frame = Vec::new();
        AnnounceBegin { timestamp: UnixMillis(7) }.encode(&mut frame);
        for lost in [false, true] {
            let Ends { publisher: (mut sender, _), sidecar: (_, mut receiver) } = connect();
            let (mut first, mut second, mut received) = (Vec::new(), Vec::new(), Vec::new());
            sender.encrypt(&frame, &mut first).unwrap();
            sender.encrypt(&frame, &mut second).unwrap();
            let out_of_step = if lost {
                second
            } else {
                receiver.decrypt(&first, &mut received).unwrap();
                first
            };
            assert_eq!(receiver.decrypt(&out_of_step, &mut received), Err(TransportError::Tampered));
        }
    }

    #[test]
    fn a_header_outside_the_protocol_is_refused_before_its_payload_comes() {
        let foreign = [0x53, 0x54, 0x10, 8, 0, 0];
        let too_long = [0x54, 0x53, 0x10, 1, 0x10, 0];
        let huge = [0x54, 0x53, 0x10, 0, 0, 1];
        for (bytes, expected) in [
            (foreign, FrameError::WrongExtension { found: 0x5453, expected: 0x5354 }),
            (too_long, FrameError::TooLong { length: MAX_PAYLOAD + 1 }),
            (huge, FrameError::TooLong { length: 1 << 16 }),
        ] {
            let Ends { publisher: (mut sender, _), sidecar: (_, mut receiver) } = connect();
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            // Such a header cannot be had from `encrypt`.
            assert_eq!(sender.encrypt(&bytes, &mut sent), Err(TransportError::Frame(expected.clone())));
            sender.encrypt_message(&bytes, &mut sent).unwrap();
            assert_eq!(receiver.decrypt(&sent, &mut received), Err(TransportError::Frame(expected)));
        }
    }

    #[test]
    fn a_partial_frame_is_not_sent() {
        let Ends { publisher: (mut sender, _), sidecar: (_, mut receiver) } = connect();
        let frames = some_frames();
        let mut sent = Vec::new();
        let cut = &frames[..frames.len() - 1];
        assert_eq!(sender.encrypt(cut, &mut sent), Err(TransportError::PartialFrame { count: 13 }));
        assert!(sent.is_empty());
        // The direction is as it was.
        let mut received = Vec::new();
        sender.encrypt(&frames, &mut sent).unwrap();
        receiver.decrypt(&sent, &mut received).unwrap();
        assert_eq!(received, frames);
    }
}
