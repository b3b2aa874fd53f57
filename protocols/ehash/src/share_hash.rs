//! The hash of a share, with one byte order inside and conversions that say theirs.

use std::fmt;
use std::str::FromStr;

use stats_sv2::U256;

use crate::hex;

/// Double SHA-256 of a share's block header.
///
/// Two byte orders are in use. *Digest order* is how SHA-256 gives the bytes, how `bitcoin` and SRI's crates keep them, and
/// how both `stats-sv2` and `mint-quote-sv2` send them: as a number the least significant byte comes first, so that the
/// zeros of a good share are at the end. *Display order* is the reverse: what block explorers print, with the zeros in
/// front. Inside is digest order; `Display` and `FromStr` are hexadecimal in display order.
///
/// ```
/// use ehash::ShareHash;
///
/// let genesis: ShareHash = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f".parse().unwrap();
/// assert_eq!(genesis.to_digest_bytes()[..2], [0x6f, 0xe2]);
/// assert_eq!(genesis.leading_zero_bits(), 43);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareHash([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a share hash has 64 hexadecimal digits, this text of {length} bytes has not")]
pub struct ShareHashError {
    /// Bytes of the text.
    pub length: usize,
}

impl ShareHash {
    /// From bytes in digest order, such as `sha256d::Hash::to_byte_array` gives.
    #[must_use]
    pub const fn from_digest_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From bytes in display order, the most significant first.
    #[must_use]
    pub fn from_display_bytes(mut bytes: [u8; 32]) -> Self {
        bytes.reverse();
        Self(bytes)
    }

    /// From the field of a message, which is in digest order.
    #[must_use]
    pub const fn from_wire(field: U256) -> Self {
        Self(field.0)
    }

    /// Bytes in digest order.
    #[must_use]
    pub const fn to_digest_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Bytes in display order, the most significant first.
    #[must_use]
    pub fn to_display_bytes(self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes.reverse();
        bytes
    }

    /// For the field of a message, which is in digest order.
    #[must_use]
    pub const fn to_wire(self) -> U256 {
        U256(self.0)
    }

    /// Zero bits before the first one in display order: 0 to 256.
    #[must_use]
    pub fn leading_zero_bits(&self) -> u32 {
        self.0.iter().rev().position(|byte| *byte != 0).map_or(256, |zero_bytes| {
            // At most 31 zero bytes come before one that is not zero.
            zero_bytes as u32 * 8 + self.0[31 - zero_bytes].leading_zeros()
        })
    }
}

/// Hexadecimal in display order.
impl fmt::Display for ShareHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShareHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareHash({self})")
    }
}

/// Hexadecimal in display order.
impl FromStr for ShareHash {
    type Err = ShareHashError;

    fn from_str(text: &str) -> Result<Self, ShareHashError> {
        hex::decode(text).map(Self::from_display_bytes).ok_or(ShareHashError { length: text.len() })
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::{Hash, sha256d};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn conversions_are_inverse_and_agree_with_bitcoin(digest: [u8; 32]) {
            let hash = ShareHash::from_digest_bytes(digest);
            let theirs = sha256d::Hash::from_byte_array(digest);
            prop_assert_eq!(hash.to_string(), theirs.to_string());
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
            prop_assert_eq!(ShareHash::from_display_bytes(hash.to_display_bytes()), hash);
            prop_assert_eq!(ShareHash::from_wire(hash.to_wire()), hash);
            prop_assert_eq!(hash.to_digest_bytes(), digest);
            prop_assert_eq!(hash.to_wire().to_string(), hash.to_string());
        }

        /// Against a count bit by bit over the printed text.
        #[test]
        fn zero_bits_are_counted_in_display_order(digest: [u8; 32], zeros in 0..=256_u32) {
            let mut display = digest;
            for bit in 0..zeros as usize {
                display[bit / 8] &= !(0x80 >> (bit % 8));
            }
            if let Some(byte) = display.get_mut(zeros as usize / 8) {
                *byte |= 0x80 >> (zeros % 8);
            }
            prop_assert_eq!(ShareHash::from_display_bytes(display).leading_zero_bits(), zeros);
        }

        #[test]
        fn other_texts_are_no_hash(text in "[0-9a-f]{0,63}|[0-9a-f]{65,70}|[0-9a-f]{63}[g-z+ -]|\\PC{64}") {
            prop_assume!(text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            prop_assert_eq!(text.parse::<ShareHash>(), Err(ShareHashError { length: text.len() }));
        }
    }
}
