//! The token that opens the metrics, sent as `Authorization: Bearer TOKEN`. It comes from a file or a named environment
//! variable and is never printed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Deserializer, de};
use subtle::ConstantTimeEq;

/// Shorter tokens could be guessed.
const MIN_TOKEN: usize = 16;

/// `auth` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthSetting {
    /// `auth = "none"`: whoever can reach the address may read, as its owner wants.
    Everybody,
    /// `auth = { token_file = "…" }`.
    TokenFile(PathBuf),
    /// `auth = { token_env = "…" }`: the name of an environment variable.
    TokenVariable(String),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The file cannot be read.
    #[error("cannot read the token in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set")]
    Variable {
        /// Its name.
        name: String,
    },
    /// Too short to be a secret.
    #[error("the token has {length} bytes, at least {MIN_TOKEN} are needed")]
    Short {
        /// Its length without surrounding space.
        length: usize,
    },
}

/// The token itself.
#[derive(Clone)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Whether the request carries the token; takes a time that does not tell how much of it is right.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && self.0.as_bytes().ct_eq(token).into()
        })
    }
}

impl AuthSetting {
    /// Reads the token, where one is needed.
    pub(crate) fn load(&self) -> Result<Option<Token>, AuthError> {
        let text = match self {
            Self::Everybody => return Ok(None),
            Self::TokenFile(path) => {
                std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.clone(), source })?
            }
            Self::TokenVariable(name) => std::env::var(name).map_err(|_| AuthError::Variable { name: name.clone() })?,
        };
        let token = text.trim();
        if token.len() < MIN_TOKEN {
            return Err(AuthError::Short { length: token.len() });
        }
        Ok(Some(Token(token.to_owned())))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    token_file: Option<PathBuf>,
    token_env: Option<String>,
}

impl<'de> Deserialize<'de> for AuthSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AuthVisitor)
    }
}

struct AuthVisitor;

impl<'de> de::Visitor<'de> for AuthVisitor {
    type Value = AuthSetting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"none\" or a table with `token_file` or `token_env`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AuthSetting, E> {
        match text {
            "none" => Ok(AuthSetting::Everybody),
            // Not repeated in the message: somebody may have written the token itself.
            _ => Err(E::custom(
                "`auth` is \"none\" or a table such as { token_file = \"secrets/metrics-token\" }; a token never stands in \
                 this file",
            )),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<AuthSetting, A::Error> {
        let table = TokenTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        match (table.token_file, table.token_env) {
            (Some(path), None) => Ok(AuthSetting::TokenFile(path)),
            (None, Some(name)) => Ok(AuthSetting::TokenVariable(name)),
            _ => Err(de::Error::custom("`auth` needs one of `token_file` and `token_env`")),
        }
    }
}
