//! The authority key pair in the text form of the SV2 reference implementation: base58check, the public half behind the
//! two bytes of its version.

use std::fmt;
use std::str::FromStr;

use secp256k1::{Keypair, SECP256K1, SecretKey, XOnlyPublicKey};

/// Version of a public key's text form, in its first two bytes, little-endian.
const PUBLIC_KEY_VERSION: u16 = 1;

/// Why a text is no authority key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A character outside the alphabet, or a wrong checksum: most likely a typing error.
    #[error("the key is not base58check text, or is mistyped")]
    Text(#[source] bs58::decode::Error),
    /// The text holds another number of bytes.
    #[error("the key has {found} bytes instead of {expected}; was the other half of the pair meant?")]
    Length {
        /// Bytes of this kind of key.
        expected: usize,
        /// Bytes of the text.
        found: usize,
    },
    /// The version is not 1.
    #[error("the public key has version {found} instead of {PUBLIC_KEY_VERSION}")]
    Version {
        /// The version that was read.
        found: u16,
    },
    /// The number is not on the curve, or is zero.
    #[error("the key is no valid number of secp256k1")]
    Number(#[source] secp256k1::Error),
}

/// The public half of the authority key pair: what a publisher knows of its sidecar.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorityPublicKey(pub(super) XOnlyPublicKey);

impl FromStr for AuthorityPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes: [u8; 34] = decode(text)?;
        let found = u16::from_le_bytes([bytes[0], bytes[1]]);
        if found != PUBLIC_KEY_VERSION {
            return Err(KeyError::Version { found });
        }
        XOnlyPublicKey::from_slice(&bytes[2..]).map(Self).map_err(KeyError::Number)
    }
}

impl fmt::Display for AuthorityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = PUBLIC_KEY_VERSION.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.0.serialize());
        f.write_str(&bs58::encode(bytes).with_check().into_string())
    }
}

impl fmt::Debug for AuthorityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityPublicKey({self})")
    }
}

/// The secret half of the authority key pair: what makes a sidecar that sidecar. Neither `Debug` nor `Display` shows it,
/// and its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct AuthoritySecretKey(SecretKey);

impl AuthoritySecretKey {
    /// A new key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(SecretKey::new(&mut secp256k1::rand::thread_rng()))
    }

    /// The other half, to be given to the publishers.
    #[must_use]
    pub fn public_key(&self) -> AuthorityPublicKey {
        AuthorityPublicKey(self.0.x_only_public_key(SECP256K1).0)
    }

    /// The key as text, for the one file that keeps it.
    #[must_use]
    pub fn expose_text(&self) -> String {
        bs58::encode(self.0.secret_bytes()).with_check().into_string()
    }

    pub(super) fn keypair(&self) -> Keypair {
        Keypair::from_secret_key(SECP256K1, &self.0)
    }
}

impl FromStr for AuthoritySecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes: [u8; 32] = decode(text)?;
        SecretKey::from_slice(&bytes).map(Self).map_err(KeyError::Number)
    }
}

impl fmt::Debug for AuthoritySecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthoritySecretKey(of {})", self.public_key())
    }
}

impl Drop for AuthoritySecretKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

/// Reads base58check text of exactly `N` bytes.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    let bytes = bs58::decode(text).with_check(None).into_vec().map_err(KeyError::Text)?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| KeyError::Length { expected: N, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair from the reference implementation's own example configurations.
    const SRI_PUBLIC: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
    const SRI_SECRET: &str = "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n";

    #[test]
    fn keys_of_the_reference_implementation_are_understood() {
        let secret: AuthoritySecretKey = SRI_SECRET.parse().unwrap();
        assert_eq!(secret.public_key(), SRI_PUBLIC.parse().unwrap());
        assert_eq!(secret.public_key().to_string(), SRI_PUBLIC);
        assert_eq!(secret.expose_text(), SRI_SECRET);
    }

    #[test]
    fn a_generated_pair_survives_its_text_form() {
        let secret = AuthoritySecretKey::generate();
        let again: AuthoritySecretKey = secret.expose_text().parse().unwrap();
        assert_eq!(again.public_key(), secret.public_key());
        assert_eq!(secret.public_key().to_string().parse(), Ok(secret.public_key()));
        assert_ne!(AuthoritySecretKey::generate().public_key(), secret.public_key());
    }

    #[test]
    fn debug_shows_the_public_half_only() {
        let secret: AuthoritySecretKey = SRI_SECRET.parse().unwrap();
        let shown = format!("{secret:?} {secret:#?}");
        assert!(shown.contains(SRI_PUBLIC));
        assert!(!shown.contains(SRI_SECRET));
        let hex: String = secret.0.secret_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(&hex));
    }

    #[test]
    fn each_fault_in_a_key_is_named() {
        let mistyped = SRI_PUBLIC.replace("H72", "H73");
        assert!(matches!(mistyped.parse::<AuthorityPublicKey>(), Err(KeyError::Text(_))));
        assert!(matches!("0OIl".parse::<AuthorityPublicKey>(), Err(KeyError::Text(_))));
        assert_eq!(SRI_SECRET.parse::<AuthorityPublicKey>(), Err(KeyError::Length { expected: 34, found: 32 }));
        assert!(matches!(SRI_PUBLIC.parse::<AuthoritySecretKey>(), Err(KeyError::Length { expected: 32, found: 34 })));
        let text = |bytes: &[u8]| bs58::encode(bytes).with_check().into_string();
        let mut other_version = vec![2, 0];
        other_version.extend_from_slice(&[1; 32]);
        assert_eq!(text(&other_version).parse::<AuthorityPublicKey>(), Err(KeyError::Version { found: 2 }));
        assert!(matches!(text(&[0; 32]).parse::<AuthoritySecretKey>(), Err(KeyError::Number(_))));
    }
}
