//! The shared secret, kept out of logs, error messages and `Debug`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The token that the sidecar asks for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the secret; white space around it, such as the line end of a file, is not part of it.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(secret.trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Token(none)" } else { "Token(…)" })
    }
}

/// Refuses other types without quoting the value, as serde's own message would.
impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Secret;

        macro_rules! refuse {
            ($($method:ident($ty:ty)),*) => {$(
                fn $method<E: Error>(self, _: $ty) -> Result<Token, E> {
                    Err(E::custom("the token must be a string in quotes"))
                }
            )*};
        }

        impl Visitor<'_> for Secret {
            type Value = Token;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token as a string")
            }

            fn visit_str<E: Error>(self, secret: &str) -> Result<Token, E> {
                Ok(Token::new(secret))
            }

            refuse!(
                visit_bool(bool),
                visit_i64(i64),
                visit_i128(i128),
                visit_u64(u64),
                visit_u128(u128),
                visit_f64(f64)
            );
        }

        deserializer.deserialize_any(Secret)
    }
}
