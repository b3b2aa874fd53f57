//! The key to which a quote is locked, and where a pool finds it.

use std::fmt;
use std::str::FromStr;

use mint_quote_sv2::limits::LOCKING_KEY_SIZE;
use secp256k1::PublicKey;

use crate::hex;

/// A part of a user identity with so many hexadecimal digits and nothing else is meant as a key. Worker names are
/// shorter; a key that lost or gained a few digits is still told from them.
pub const MIN_KEY_LIKE: usize = 60;

/// A compressed public key of secp256k1: whoever holds its secret half may mint the quote. Always a point of the curve.
///
/// As text it is 66 hexadecimal digits, the first two `02` or `03`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockingKey([u8; LOCKING_KEY_SIZE]);

/// Why there is no locking key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockingKeyError {
    /// The text is not hexadecimal, or too long or short.
    #[error("a locking key has 66 hexadecimal digits, this text of {length} bytes has not")]
    Text {
        /// Bytes of the text.
        length: usize,
    },
    /// The bytes are no point in compressed form.
    #[error("the locking key is no compressed point of secp256k1; was a digit mistyped?")]
    NotAPoint(#[source] secp256k1::Error),
    /// A user identity holds more than one key.
    #[error("the user identity holds {found} locking keys; keep one")]
    Ambiguous {
        /// How many parts of it are meant as keys.
        found: usize,
    },
    /// Neither the user identity nor the configuration holds a key.
    #[error(
        "the user identity holds no locking key, and none is configured: put the key's 66 hexadecimal digits before \
         the worker name, as in KEY.worker, or set a default"
    )]
    Missing,
}

impl LockingKey {
    /// Takes the compressed form of a point.
    pub fn from_bytes(bytes: [u8; LOCKING_KEY_SIZE]) -> Result<Self, LockingKeyError> {
        // The bytes are kept and not the library's own form, which takes 64: they are what is sent.
        PublicKey::from_slice(&bytes).map(|_| Self(bytes)).map_err(LockingKeyError::NotAPoint)
    }

    /// The compressed form.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LOCKING_KEY_SIZE] {
        self.0
    }

    /// The key in a channel's `user_identity`: one of its parts between full stops, such as `KEY`, `KEY.worker` or
    /// `name.KEY.rig7`. `None` when no part is meant as a key.
    ///
    /// A part of [`MIN_KEY_LIKE`] or more hexadecimal digits and nothing else is meant as a key. If it is none, or if there
    /// are two, that is an error: falling back to a default would lock a miner's ehash to somebody else's key.
    pub fn from_user_identity(user_identity: &str) -> Result<Option<Self>, LockingKeyError> {
        let is_meant = |part: &&str| part.len() >= MIN_KEY_LIKE && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut meant = user_identity.split('.').filter(is_meant);
        let Some(key) = meant.next() else { return Ok(None) };
        match meant.count() {
            0 => key.parse().map(Some),
            more => Err(LockingKeyError::Ambiguous { found: 1 + more }),
        }
    }

    /// The key for the quotes of a channel: that of its user identity, otherwise the default.
    pub fn for_channel(user_identity: &str, default: Option<Self>) -> Result<Self, LockingKeyError> {
        Self::from_user_identity(user_identity)?.or(default).ok_or(LockingKeyError::Missing)
    }
}

impl FromStr for LockingKey {
    type Err = LockingKeyError;

    fn from_str(text: &str) -> Result<Self, LockingKeyError> {
        Self::from_bytes(hex::decode(text).ok_or(LockingKeyError::Text { length: text.len() })?)
    }
}

impl fmt::Display for LockingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LockingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockingKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secp256k1::{SECP256K1, SecretKey};

    use super::*;

    /// The generator of the curve.
    const G: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn any_key() -> impl Strategy<Value = LockingKey> {
        any::<[u8; 32]>().prop_filter_map("zero and the order are no secrets", |bytes| {
            let secret = SecretKey::from_slice(&bytes).ok()?;
            Some(LockingKey(secret.public_key(SECP256K1).serialize()))
        })
    }

    proptest! {
        #[test]
        fn points_survive_bytes_and_text(key in any_key()) {
            prop_assert_eq!(LockingKey::from_bytes(key.to_bytes()), Ok(key));
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            prop_assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
        }

        /// About half of all x are on the curve; which, is checked with the uncompressed form.
        #[test]
        fn what_is_no_point_is_refused(bytes in proptest::collection::vec(any::<u8>(), 33)) {
            let bytes: [u8; 33] = bytes.try_into().unwrap();
            match LockingKey::from_bytes(bytes) {
                Ok(_) => {
                    prop_assert!(matches!(bytes[0], 2 | 3));
                    let point = PublicKey::from_slice(&bytes).unwrap().serialize_uncompressed();
                    prop_assert_eq!(&point[1..33], &bytes[1..]);
                    prop_assert_eq!(point[64] & 1, bytes[0] & 1);
                }
                Err(error) => prop_assert!(matches!(error, LockingKeyError::NotAPoint(_))),
            }
        }

        #[test]
        fn the_key_is_found_in_any_part(key in any_key(), before in "([a-z0-9_-]{0,20}\\.){0,2}", after in "(\\.[a-z0-9_-]{0,20}){0,2}") {
            prop_assert_eq!(LockingKey::from_user_identity(&format!("{before}{key}{after}")), Ok(Some(key)));
        }

        #[test]
        fn two_keys_are_one_too_many(one in any_key(), other in any_key()) {
            let identity = format!("{one}.{other}");
            prop_assert_eq!(LockingKey::from_user_identity(&identity), Err(LockingKeyError::Ambiguous { found: 2 }));
            let same = format!("{one}.rig.{one}");
            prop_assert_eq!(LockingKey::from_user_identity(&same), Err(LockingKeyError::Ambiguous { found: 2 }));
        }

        #[test]
        fn other_identities_hold_no_key(identity in "[a-z0-9._-]{0,59}|bc1q[a-z0-9]{38,58}\\.rig|[g-z]{66}") {
            prop_assert_eq!(LockingKey::from_user_identity(&identity), Ok(None));
        }

        /// A key that lost or gained digits is refused, not replaced by the default.
        #[test]
        fn mistyped_keys_are_refused(key in any_key(), digits in 60..=70_usize) {
            prop_assume!(digits != 66);
            let text: String = key.to_string().chars().cycle().take(digits).collect();
            let refused = Err(LockingKeyError::Text { length: digits });
            prop_assert_eq!(LockingKey::for_channel(&format!("{text}.worker"), Some(key)), refused);
        }
    }

    #[test]
    fn the_default_serves_identities_without_a_key() {
        let default = G.parse().unwrap();
        let other: LockingKey = G.replacen("02", "03", 1).parse().unwrap();
        assert_eq!(LockingKey::for_channel("alice.rig1", Some(default)), Ok(default));
        assert_eq!(LockingKey::for_channel("", Some(default)), Ok(default));
        assert_eq!(LockingKey::for_channel(&format!("{other}.rig1"), Some(default)), Ok(other));
        assert_eq!(LockingKey::for_channel("alice.rig1", None), Err(LockingKeyError::Missing));
        let no_point = G.replacen("02", "04", 1);
        assert!(matches!(LockingKey::for_channel(&no_point, Some(default)), Err(LockingKeyError::NotAPoint(_))));
    }
}
