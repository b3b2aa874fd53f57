//! The token that opens the dashboard, as `Authorization: Bearer TOKEN` for programs and as the password of HTTP basic
//! authentication for browsers. It comes from a file or a named environment variable and is never printed.

use std::fmt;
use std::path::PathBuf;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};
use subtle::ConstantTimeEq;

/// Shortest token; a guess has one chance in 2^64 with `keygen token`, and must not have a good one with anything else.
const MIN_TOKEN: usize = 16;
/// Longest token in bytes.
const MAX_TOKEN: usize = 255;

/// `auth` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthSetting {
    /// `auth = "none"`: everybody who can reach the address may look, as its owner wants.
    Everybody,
    /// `auth = { token_file = "…" }`.
    TokenFile(PathBuf),
    /// `auth = { token_env = "…" }`: the name of an environment variable.
    TokenVariable(String),
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
                "`auth` is \"none\" or a table such as { token_file = \"secrets/dashboard-token\" }; a token never stands in this file",
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

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AuthError {
    /// The file cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set")]
    Variable {
        /// Its name.
        name: String,
    },
    /// Too short or too long.
    #[error("the token has {length} bytes; it must have {MIN_TOKEN} to {MAX_TOKEN}")]
    Length {
        /// Its length.
        length: usize,
    },
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
        let text = text.trim();
        if (MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) {
            Ok(Some(Token(text.to_owned())))
        } else {
            Err(AuthError::Length { length: text.len() })
        }
    }
}

/// The token itself.
#[derive(Clone)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Token {
    /// Whether the request carries the token.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let Some((scheme, given)) = value.split_once(' ') else { return false };
        if scheme.eq_ignore_ascii_case("bearer") {
            self.is(given.trim().as_bytes())
        } else if scheme.eq_ignore_ascii_case("basic") {
            let Ok(pair) = BASE64_STANDARD.decode(given.trim()) else { return false };
            // Any user name: there is one token.
            pair.iter().position(|byte| *byte == b':').is_some_and(|colon| self.is(&pair[colon + 1..]))
        } else {
            false
        }
    }

    /// Compares in a time that does not tell how much was right.
    fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        Token("0123456789abcdef".to_owned()).admits(&headers)
    }

    #[test]
    fn the_token_opens_by_either_scheme_and_nothing_else_does() {
        assert!(admits("Bearer 0123456789abcdef"));
        assert!(admits("bearer  0123456789abcdef "));
        assert!(admits(&format!("Basic {}", BASE64_STANDARD.encode("anybody:0123456789abcdef"))));
        assert!(!admits("Bearer 0123456789abcde"));
        assert!(!admits("Bearer 0123456789abcdef0"));
        assert!(!admits("Bearer"));
        assert!(!admits("Digest 0123456789abcdef"));
        assert!(!admits("Basic 0123456789abcdef"));
        assert!(!admits(&format!("Basic {}", BASE64_STANDARD.encode("0123456789abcdef:"))));
        assert!(!Token("0123456789abcdef".to_owned()).admits(&HeaderMap::new()));
    }

    #[test]
    fn tokens_come_from_files_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let setting = AuthSetting::TokenFile(path.clone());
        assert!(matches!(setting.load(), Err(AuthError::File { .. })));
        std::fs::write(&path, " short \n").unwrap();
        assert!(matches!(setting.load(), Err(AuthError::Length { length: 5 })));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let token = setting.load().unwrap().unwrap();
        assert_eq!(format!("{token:?}"), "***");
        assert!(AuthSetting::Everybody.load().unwrap().is_none());
    }
}
