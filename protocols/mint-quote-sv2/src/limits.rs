//! Every limit of the protocol, by name.

use std::time::Duration;

/// Bytes of an SV2 frame header.
pub const HEADER_SIZE: usize = framing_sv2::SV2_FRAME_HEADER_SIZE;

/// Largest payload of a frame in bytes. The largest message, SetupConnection with five full strings, takes 1,291; the
/// rest is room for later messages.
pub const MAX_PAYLOAD: usize = 4096;

/// Bytes of a locking key: a compressed point of secp256k1.
pub const LOCKING_KEY_SIZE: usize = 33;

/// Largest amount: 2^63 `HASH`.
pub const MAX_AMOUNT: u64 = 1 << 63;

/// How long connecting, the Noise handshake and SetupConnection may take together.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
