//! The two messages of the handshake, one from each side.

use std::time::Duration;

use super::keys::{AuthorityPublicKey, AuthoritySecretKey};
use super::transport::{FrameDecryptor, FrameEncryptor};
use crate::frame::FrameRule;
use crate::value::UnixMillis;

/// Bytes of the initiator's message: an ephemeral key.
pub const HELLO_SIZE: usize = noise_sv2::ELLSWIFT_ENCODING_SIZE;

/// Bytes of the responder's message: an ephemeral key, its static key and a certificate signed by the authority key.
pub const ANSWER_SIZE: usize = noise_sv2::INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE;

/// How long a certificate is valid. Each handshake makes a new one, so this only has to cover its own round trip and the
/// difference between the clocks of the two hosts.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(60 * 60);

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer is not what the authority key stands for.
    #[error(
        "the peer does not hold the authority key {expected}: compare it with the peer's own public key; if they \
         are equal, somebody stands between"
    )]
    WrongAuthority {
        /// The key that was asked for.
        expected: AuthorityPublicKey,
    },
    /// The certificate is not valid at this time.
    #[error(
        "the peer's certificate is valid from {valid_from} to {not_valid_after}, and it is {now} (Unix seconds): compare \
         the clocks of the two hosts"
    )]
    CertificateTime {
        /// Start of its validity in Unix seconds.
        valid_from: u32,
        /// End of its validity in Unix seconds.
        not_valid_after: u32,
        /// This host's clock in Unix seconds.
        now: u32,
    },
    /// The certificate has a version that is not known.
    #[error("the peer's certificate has the unknown version {version}")]
    CertificateVersion {
        /// The version that was read.
        version: u16,
    },
    /// The bytes are no handshake message, or were changed on the way.
    #[error("the peer's handshake message does not authenticate: it speaks no SV2 Noise, or the bytes were changed")]
    Tampered,
}

/// The side that knows the key, between its message and the answer.
#[derive(Debug)]
pub struct Initiator {
    rule: FrameRule,
    noise: Box<noise_sv2::Initiator>,
    authority: AuthorityPublicKey,
}

impl Initiator {
    /// Begins a handshake with the holder of this key. The bytes go to the peer.
    pub fn start(authority: AuthorityPublicKey) -> Result<(Self, [u8; HELLO_SIZE]), HandshakeError> {
        let mut noise = noise_sv2::Initiator::new(Some(authority.0));
        let hello = noise.step_0().map_err(|_| HandshakeError::Tampered)?;
        Ok((Self { rule: FrameRule::STATS_SV2, noise, authority }, hello))
    }

    /// Sets which frames the connection carries, where they are not those of stats-sv2.
    #[must_use]
    pub fn carrying(mut self, rule: FrameRule) -> Self {
        self.rule = rule;
        self
    }

    /// Takes the peer's answer, checks its certificate at the time `now`, and opens both directions.
    pub fn finish(
        mut self,
        answer: &[u8; ANSWER_SIZE],
        now: UnixMillis,
    ) -> Result<(FrameEncryptor, FrameDecryptor), HandshakeError> {
        let now = unix_seconds(now);
        let engine = self.noise.step_2_with_now(*answer, now).map_err(|error| match error {
            noise_sv2::Error::InvalidCertificate(certificate) => {
                // The same tests as inside `noise_sv2`, which only says that one of them failed. The signature comes
                // last: what a certificate says about itself explains a failure to those who made it.
                if certificate.version != noise_sv2::CERTIFICATE_VERSION {
                    HandshakeError::CertificateVersion { version: certificate.version }
                } else if certificate.valid_from.saturating_sub(CLOCK_LEEWAY_S) > now
                    || certificate.not_valid_after.saturating_add(CLOCK_LEEWAY_S) < now
                {
                    HandshakeError::CertificateTime {
                        valid_from: certificate.valid_from,
                        not_valid_after: certificate.not_valid_after,
                        now,
                    }
                } else {
                    HandshakeError::WrongAuthority { expected: self.authority }
                }
            }
            _ => HandshakeError::Tampered,
        })?;
        let (encryptor, decryptor) = engine.into_split();
        Ok((FrameEncryptor::new(self.rule, encryptor), FrameDecryptor::new(self.rule, decryptor)))
    }
}

/// Seconds by which the clocks of the two hosts may differ, as in `noise_sv2`.
const CLOCK_LEEWAY_S: u32 = 10;

/// The side that holds the key: answers handshakes with a certificate for each.
#[derive(Debug, Clone)]
pub struct Responder {
    rule: FrameRule,
    authority: AuthoritySecretKey,
    validity: Duration,
}

impl Responder {
    /// A responder that holds this key; certificates are valid for [`CERTIFICATE_VALIDITY`] unless told otherwise.
    #[must_use]
    pub fn new(authority: AuthoritySecretKey) -> Self {
        Self { rule: FrameRule::STATS_SV2, authority, validity: CERTIFICATE_VALIDITY }
    }

    /// Sets which frames the connections carry, where they are not those of stats-sv2.
    #[must_use]
    pub fn carrying(mut self, rule: FrameRule) -> Self {
        self.rule = rule;
        self
    }

    /// Sets how long a certificate is valid from its handshake on.
    #[must_use]
    pub fn certificate_validity(mut self, validity: Duration) -> Self {
        self.validity = validity;
        self
    }

    /// Answers one peer's message with a certificate from `now` on, and opens both directions. The bytes go to the peer
    /// before anything else.
    pub fn answer(
        &self,
        hello: &[u8; HELLO_SIZE],
        now: UnixMillis,
    ) -> Result<([u8; ANSWER_SIZE], FrameEncryptor, FrameDecryptor), HandshakeError> {
        let validity = u32::try_from(self.validity.as_secs()).unwrap_or(u32::MAX);
        let mut noise = noise_sv2::Responder::new(self.authority.keypair(), validity);
        let (answer, engine) = noise
            .step_1_with_now_rng(*hello, unix_seconds(now), &mut secp256k1::rand::thread_rng())
            .map_err(|_| HandshakeError::Tampered)?;
        let (encryptor, decryptor) = engine.into_split();
        Ok((answer, FrameEncryptor::new(self.rule, encryptor), FrameDecryptor::new(self.rule, decryptor)))
    }
}

/// The 32-bit seconds of SV2 certificates.
fn unix_seconds(now: UnixMillis) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

    fn shake(
        known: AuthorityPublicKey,
        held: AuthoritySecretKey,
        answered_at: UnixMillis,
        tamper: impl FnOnce(&mut [u8; ANSWER_SIZE]),
    ) -> Result<(), HandshakeError> {
        let (initiator, hello) = Initiator::start(known)?;
        let (mut answer, ..) = Responder::new(held).answer(&hello, answered_at)?;
        tamper(&mut answer);
        initiator.finish(&answer, NOW).map(drop)
    }

    #[test]
    fn the_holder_of_the_authority_key_is_accepted() {
        let held = AuthoritySecretKey::generate();
        assert_eq!(shake(held.public_key(), held, NOW, |_| {}), Ok(()));
    }

    #[test]
    fn another_authority_is_refused_by_name() {
        let expected = AuthoritySecretKey::generate().public_key();
        assert_eq!(
            shake(expected, AuthoritySecretKey::generate(), NOW, |_| {}),
            Err(HandshakeError::WrongAuthority { expected })
        );
    }

    #[test]
    fn clocks_that_differ_by_more_than_the_validity_are_told() {
        let held = AuthoritySecretKey::generate();
        for hours in [-2, 2] {
            let answered_at = UnixMillis(NOW.0.strict_add_signed(hours * 3_600_000));
            assert!(matches!(
                shake(held.public_key(), held.clone(), answered_at, |_| {}),
                Err(HandshakeError::CertificateTime { now: 1_750_000_000, .. })
            ));
        }
    }

    #[test]
    fn a_changed_byte_anywhere_in_the_answer_fails_the_handshake() {
        let held = AuthoritySecretKey::generate();
        // One byte of each part: ephemeral key, static key and its MAC, certificate and its MAC.
        for place in [0, 63, 64, 127, 130, 143, 144, 200, 217, 218, ANSWER_SIZE - 1] {
            assert_eq!(
                shake(held.public_key(), held.clone(), NOW, |answer| answer[place] ^= 1),
                Err(HandshakeError::Tampered),
                "byte {place}"
            );
        }
    }

    #[test]
    fn any_bytes_from_a_peer_are_answered_or_refused() {
        let held = AuthoritySecretKey::generate();
        for byte in [0, 1, 0x7f, 0xff] {
            let (initiator, _) = Initiator::start(held.public_key()).unwrap();
            assert_eq!(initiator.finish(&[byte; ANSWER_SIZE], NOW).map(drop), Err(HandshakeError::Tampered));
            // The first message is a key and nothing else: every 64 bytes encode one.
            assert!(Responder::new(held.clone()).answer(&[byte; HELLO_SIZE], NOW).is_ok());
        }
    }
}
