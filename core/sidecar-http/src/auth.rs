//! The `auth` setting: a token, as `Authorization: Bearer TOKEN` for programs and as the password of HTTP basic
//! authentication for browsers. It comes from a file or a named environment variable and is never printed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};
use sidecar_core::{ErrorChain, SettingProblem};
use subtle::ConstantTimeEq;

/// Shortest token in bytes; shorter ones could be guessed.
const MIN_TOKEN: usize = 16;
/// Longest token in bytes: a request's head must have room for it.
const MAX_TOKEN: usize = 1024;

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
    /// Too short to be a secret, or too long to be sent.
    #[error("the token has {length} bytes; it must have {MIN_TOKEN} to {MAX_TOKEN}")]
    Length {
        /// Its length without surrounding space.
        length: usize,
    },
}

/// The token itself.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Token {
    /// Whether a request with these headers carries the token.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        let Some((scheme, given)) = given else { return false };
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

impl AuthSetting {
    /// Reads the token, where one is needed.
    pub fn load(&self) -> Result<Option<Token>, AuthError> {
        let text = match self {
            Self::Everybody => return Ok(None),
            Self::TokenFile(path) => {
                std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.clone(), source })?
            }
            Self::TokenVariable(name) => std::env::var(name).map_err(|_| AuthError::Variable { name: name.clone() })?,
        };
        match text.trim() {
            token if (MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) => Ok(Some(Token(token.to_owned()))),
            token => Err(AuthError::Length { length: token.len() }),
        }
    }
}

/// What is wrong with who may read: a token that is not there, or an address that other hosts can reach without a word on
/// who they are. `what` names what is served there, such as `dashboard`.
#[must_use]
pub fn access_problem(listen: SocketAddr, auth: Option<&AuthSetting>, what: &str) -> Option<SettingProblem> {
    match auth.map(AuthSetting::load) {
        None if !listen.ip().is_loopback() => Some(SettingProblem {
            key: "listen",
            what: format!(
                "the address {listen} of the {what} can be reached from other hosts, and nobody is asked who they are"
            ),
            help: format!(
                "listen on 127.0.0.1, or add `auth = {{ token_file = \"secrets/{what}-token\" }}` and put TLS before it, or \
                 write `auth = \"none\"` if everybody may look"
            ),
        }),
        Some(Err(error)) => Some(SettingProblem {
            key: "auth",
            what: ErrorChain(&error).to_string(),
            help: "`hashpool-sidecar keygen token --out FILE` makes a token".to_owned(),
        }),
        None | Some(Ok(_)) => None,
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
                "`auth` is \"none\" or a table such as { token_file = \"secrets/token\" }; a token never stands in this file",
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
        for (text, wrong) in [(" short \n".to_owned(), 5), ("x".repeat(MAX_TOKEN + 1), MAX_TOKEN + 1)] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(setting.load(), Err(AuthError::Length { length }) if length == wrong));
        }
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let token = setting.load().unwrap().unwrap();
        assert_eq!(format!("{token:?}"), "***");
        assert!(AuthSetting::Everybody.load().unwrap().is_none());
    }
}
