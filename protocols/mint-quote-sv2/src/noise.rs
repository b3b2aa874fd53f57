//! The encrypted transport between hosts: the SV2 Noise NX handshake and, after it, this protocol's frames in encrypted
//! form. No I/O. The pool initiates and knows the mint's authority key; the mint responds and proves that it holds the
//! secret half. Keys and handshake errors are those of `stats_sv2`, whose own transport passes frames of its extension only.

use std::time::Duration;

use noise_sv2::{AEAD_MAC_LEN, NoiseDecryptor, NoiseEncryptor};
use secp256k1::{Keypair, SECP256K1, SecretKey, XOnlyPublicKey};
use stats_sv2::UnixMillis;
pub use stats_sv2::noise::{ANSWER_SIZE, AuthorityPublicKey, AuthoritySecretKey, HELLO_SIZE, HandshakeError, KeyError};

use crate::frame::{FrameError, read_header};
use crate::limits::{HEADER_SIZE, MAX_PAYLOAD};

/// Bytes of an encrypted header.
const ENCRYPTED_HEADER_SIZE: usize = HEADER_SIZE + AEAD_MAC_LEN;

/// A Noise message holds 65,535 bytes. Larger payloads would travel in several; none of ours is larger.
const _: () = assert!(MAX_PAYLOAD + AEAD_MAC_LEN <= 65_535);

/// How long a certificate is valid: each handshake makes a new one, so this covers its round trip and the difference
/// between the clocks of the two hosts.
const CERTIFICATE_VALIDITY: Duration = stats_sv2::noise::CERTIFICATE_VALIDITY;

/// Seconds by which the clocks may differ besides, as in `noise_sv2`.
const CLOCK_LEEWAY_S: u32 = 10;

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
    /// What was to be encrypted does not end with a whole frame.
    #[error("{count} bytes to be encrypted end inside a frame")]
    PartialFrame {
        /// Bytes of the partial frame.
        count: usize,
    },
    /// 2^64 - 1 messages were sent under one key.
    #[error("the encryption key is used up")]
    Exhausted,
}

/// The pool's side, between its message and the answer.
#[derive(Debug)]
pub struct Initiator {
    noise: Box<noise_sv2::Initiator>,
    authority: AuthorityPublicKey,
}

impl Initiator {
    /// Begins a handshake with the holder of this key. The bytes go to the mint.
    pub fn start(authority: AuthorityPublicKey) -> Result<(Self, [u8; HELLO_SIZE]), HandshakeError> {
        let mut noise = noise_sv2::Initiator::new(Some(point(&authority)));
        let hello = noise.step_0().map_err(|_| HandshakeError::Tampered)?;
        Ok((Self { noise, authority }, hello))
    }

    /// Takes the mint's answer, checks its certificate at the time `now`, and opens both directions.
    pub fn finish(
        mut self,
        answer: &[u8; ANSWER_SIZE],
        now: UnixMillis,
    ) -> Result<(FrameEncryptor, FrameDecryptor), HandshakeError> {
        let now = unix_seconds(now);
        let engine = self.noise.step_2_with_now(*answer, now).map_err(|error| match error {
            noise_sv2::Error::InvalidCertificate(found) => {
                // `noise_sv2` says only that one of its tests failed. What a certificate says about itself explains a
                // failure to those who made it, so the signature comes last.
                if found.version != noise_sv2::CERTIFICATE_VERSION {
                    HandshakeError::CertificateVersion { version: found.version }
                } else if found.valid_from.saturating_sub(CLOCK_LEEWAY_S) > now
                    || found.not_valid_after.saturating_add(CLOCK_LEEWAY_S) < now
                {
                    let (valid_from, not_valid_after) = (found.valid_from, found.not_valid_after);
                    HandshakeError::CertificateTime { valid_from, not_valid_after, now }
                } else {
                    HandshakeError::WrongAuthority { expected: self.authority }
                }
            }
            _ => HandshakeError::Tampered,
        })?;
        let (encryptor, decryptor) = engine.into_split();
        Ok((FrameEncryptor::new(encryptor), FrameDecryptor::new(decryptor)))
    }
}

/// Answers one pool's message as the holder of `authority`, with a certificate from `now` on, and opens both directions.
/// The bytes go to the pool before anything else.
pub fn respond(
    authority: &AuthoritySecretKey,
    hello: &[u8; HELLO_SIZE],
    now: UnixMillis,
) -> Result<([u8; ANSWER_SIZE], FrameEncryptor, FrameDecryptor), HandshakeError> {
    let validity = u32::try_from(CERTIFICATE_VALIDITY.as_secs()).unwrap_or(u32::MAX);
    let (answer, engine) = noise_sv2::Responder::new(keypair(authority), validity)
        .step_1_with_now_rng(*hello, unix_seconds(now), &mut secp256k1::rand::thread_rng())
        .map_err(|_| HandshakeError::Tampered)?;
    let (encryptor, decryptor) = engine.into_split();
    Ok((answer, FrameEncryptor::new(encryptor), FrameDecryptor::new(decryptor)))
}

/// The 32-bit seconds of SV2 certificates.
fn unix_seconds(now: UnixMillis) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// The number behind a key. `stats_sv2` keeps it to itself; its text form is defined by SV2 and holds it.
fn point(key: &AuthorityPublicKey) -> XOnlyPublicKey {
    let bytes = base58check(&key.to_string());
    XOnlyPublicKey::from_slice(&bytes[VERSION_SIZE..]).expect("the text form of a key holds a key")
}

fn keypair(key: &AuthoritySecretKey) -> Keypair {
    let secret = SecretKey::from_slice(&base58check(&key.expose_text()));
    Keypair::from_secret_key(SECP256K1, &secret.expect("the text form of a key holds a key"))
}

/// Bytes of the version before a public key.
const VERSION_SIZE: usize = 2;

fn base58check(text: &str) -> Vec<u8> {
    bs58::decode(text).with_check(None).into_vec().expect("the text form of a key is base58check")
}

/// The sending direction.
#[derive(Debug)]
pub struct FrameEncryptor {
    noise: NoiseEncryptor,
    scratch: Vec<u8>,
}

impl FrameEncryptor {
    fn new(noise: NoiseEncryptor) -> Self {
        Self { noise, scratch: Vec::with_capacity(MAX_PAYLOAD + AEAD_MAC_LEN) }
    }

    /// Appends `frames` (whole frames, any number) to `out` in encrypted form. After an error the connection is of no use.
    pub fn encrypt(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut rest = frames;
        while !rest.is_empty() {
            let header = read_header(rest).map_err(TransportError::Frame)?;
            let frame = header.and_then(|header| rest.split_at_checked(header.frame_size()));
            let Some((frame, later)) = frame else {
                return Err(TransportError::PartialFrame { count: rest.len() });
            };
            let (header, payload) = frame.split_at(HEADER_SIZE);
            self.encrypt_message(header, out)?;
            if !payload.is_empty() {
                self.encrypt_message(payload, out)?;
            }
            rest = later;
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

/// The receiving direction.
#[derive(Debug)]
pub struct FrameDecryptor {
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
    fn new(noise: NoiseDecryptor) -> Self {
        Self { noise, pending: Vec::with_capacity(MAX_PAYLOAD + AEAD_MAC_LEN), awaited: Awaited::Header }
    }

    /// Takes received bytes, cut anywhere, and appends to `frames` the whole frames that they complete. A bad header is
    /// refused before any payload is waited for. After an error every further call gives the same error; frames appended
    /// before it are good.
    pub fn decrypt(&mut self, received: &[u8], frames: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut rest = received;
        loop {
            let needed = match &self.awaited {
                Awaited::Header => ENCRYPTED_HEADER_SIZE,
                Awaited::Payload { size, .. } => size + AEAD_MAC_LEN,
                Awaited::Nothing(error) => return Err(error.clone()),
            };
            let (now, later) = rest.split_at(rest.len().min(needed - self.pending.len()));
            self.pending.extend_from_slice(now);
            rest = later;
            if self.pending.len() < needed {
                return Ok(());
            }
            self.awaited = self.message(frames).unwrap_or_else(Awaited::Nothing);
            self.pending.clear();
        }
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
        match read_header(&header).map_err(TransportError::Frame)? {
            Some(parsed) if parsed.payload_size > 0 => Ok(Awaited::Payload { header, size: parsed.payload_size }),
            // An empty payload takes no bytes: there is nothing to authenticate.
            _ => {
                frames.extend_from_slice(&header);
                Ok(Awaited::Header)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stats_sv2::{Amount, Text, U256};

    use super::*;
    use crate::message::{Message, MintQuoteError, MintQuoteRequest};

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

    type Direction = (FrameEncryptor, FrameDecryptor);

    fn connect() -> (Direction, Direction) {
        let secret = AuthoritySecretKey::generate();
        let (initiator, hello) = Initiator::start(secret.public_key()).unwrap();
        let (answer, encryptor, decryptor) = respond(&secret, &hello, NOW).unwrap();
        (initiator.finish(&answer, NOW).unwrap(), (encryptor, decryptor))
    }

    fn some_frames() -> Vec<u8> {
        let mut frames = Vec::new();
        MintQuoteRequest::new(Amount(8), Text::cut("HASH"), U256([7; 32]), None, [2; 33]).unwrap().encode(&mut frames);
        frames.extend_from_slice(&crate::frame::header(0x90, 0));
        frames.extend_from_slice(&crate::frame::header(0x91, MAX_PAYLOAD));
        frames.extend_from_slice(&[0xa5; MAX_PAYLOAD]);
        MintQuoteError { error_code: 1, error_message: Text::cut("no") }.encode(&mut frames);
        frames
    }

    #[test]
    fn both_sides_read_each_other_however_the_bytes_are_cut() {
        let frames = some_frames();
        for piece in [1, 2, 21, 22, 23, 1000, usize::MAX] {
            let (mut pool, mut mint) = connect();
            for (sender, receiver) in [(&mut pool.0, &mut mint.1), (&mut mint.0, &mut pool.1)] {
                let mut sent = Vec::new();
                sender.encrypt(&frames, &mut sent).unwrap();
                sender.encrypt(&frames, &mut sent).unwrap();
                assert!(!sent.windows(64).any(|window| window == [0xa5; 64]), "plain bytes on the wire");
                let mut received = Vec::new();
                for part in sent.chunks(piece) {
                    receiver.decrypt(part, &mut received).unwrap();
                }
                assert!(received == [frames.as_slice(), &frames].concat(), "pieces of {piece}");
            }
        }
    }

    #[test]
    fn another_authority_and_wrong_clocks_are_told() {
        let held = AuthoritySecretKey::generate();
        let expected = AuthoritySecretKey::generate().public_key();
        let shake = |known: AuthorityPublicKey, at: UnixMillis| {
            let (initiator, hello) = Initiator::start(known).unwrap();
            let (answer, ..) = respond(&held, &hello, at).unwrap();
            initiator.finish(&answer, NOW).map(drop)
        };
        assert_eq!(shake(held.public_key(), NOW), Ok(()));
        assert_eq!(shake(expected, NOW), Err(HandshakeError::WrongAuthority { expected }));
        let late = UnixMillis(NOW.0 + 7_200_000);
        assert!(matches!(shake(held.public_key(), late), Err(HandshakeError::CertificateTime { .. })));
    }

    #[test]
    fn changed_bytes_end_the_direction_for_good() {
        let mut sent = Vec::new();
        let (mut pool, mut mint) = connect();
        pool.0.encrypt(&some_frames(), &mut sent).unwrap();
        sent[30] ^= 1;
        let mut received = Vec::new();
        assert_eq!(mint.1.decrypt(&sent, &mut received), Err(TransportError::Tampered));
        assert_eq!(mint.1.decrypt(&[], &mut received), Err(TransportError::Tampered));
        assert!(received.is_empty());
    }

    #[test]
    fn frames_of_another_protocol_are_refused_on_both_sides() {
        let (mut pool, mut mint) = connect();
        let foreign = [0x53, 0x54, 0x10, 0, 0, 0];
        let wrong = TransportError::Frame(FrameError::WrongExtension { found: 0x5453 });
        assert_eq!(pool.0.encrypt(&foreign, &mut Vec::new()), Err(wrong.clone()));
        assert_eq!(pool.0.encrypt(&[0, 0, 0x80], &mut Vec::new()), Err(TransportError::PartialFrame { count: 3 }));
        // A sender that does not check.
        let mut sent = Vec::new();
        pool.0.encrypt_message(&foreign, &mut sent).unwrap();
        assert_eq!(mint.1.decrypt(&sent, &mut Vec::new()), Err(wrong));
    }
}
