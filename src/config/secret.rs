//! Secrets: read from a file or a named environment variable, never from the configuration file itself, never printed.

use std::fmt;
use std::path::{Path, PathBuf};

use super::substitute::Lookup;

/// Longest secret in bytes: a token must fit the wire's STR0_255, and keys are shorter.
const MAX_SECRET: usize = 255;

/// Text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for whoever needs it to compare or to sign.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a secret is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SecretError {
    #[error("cannot read the secret file {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the environment variable {name} is not set")]
    Variable { name: String },
    #[error("the secret is empty")]
    Empty,
    #[error("the secret is longer than {MAX_SECRET} bytes")]
    TooLong,
}

/// Reads a secret file; white space around the text does not count.
pub(crate) fn from_file(path: &Path) -> Result<Secret, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::File { path: path.to_owned(), source })?;
    checked(&text)
}

/// Reads a secret from a named environment variable.
pub(crate) fn from_variable(name: &str, lookup: Lookup<'_>) -> Result<Secret, SecretError> {
    checked(&lookup(name).ok_or_else(|| SecretError::Variable { name: name.to_owned() })?)
}

fn checked(text: &str) -> Result<Secret, SecretError> {
    match text.trim() {
        "" => Err(SecretError::Empty),
        text if text.len() > MAX_SECRET => Err(SecretError::TooLong),
        text => Ok(Secret::new(text.to_owned())),
    }
}
