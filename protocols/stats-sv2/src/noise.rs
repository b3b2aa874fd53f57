//! The encrypted transport between hosts: the SV2 Noise NX handshake and, after it, frames in encrypted form. No I/O: bytes
//! come in and go out by the caller's hand. The publisher initiates and knows the sidecar's authority key; the sidecar
//! responds and proves that it holds the secret half.
//!
//! ```text
//! publisher                                         sidecar
//! Initiator::start(authority) ── 64 bytes ────────► Responder::answer(hello)
//! Initiator::finish(answer)   ◄──────── 234 bytes ─
//! FrameEncryptor::encrypt     ── frames ──────────► FrameDecryptor::decrypt
//! FrameDecryptor::decrypt     ◄────────── frames ── FrameEncryptor::encrypt
//! ```

mod handshake;
mod keys;
mod transport;

pub use handshake::{ANSWER_SIZE, CERTIFICATE_VALIDITY, HELLO_SIZE, HandshakeError, Initiator, Responder};
pub use keys::{AuthorityPublicKey, AuthoritySecretKey, KeyError};
pub use transport::{FrameDecryptor, FrameEncryptor, TransportError, encrypted_size};
