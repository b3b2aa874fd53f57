//! The `[quotes]` table in the host's own configuration file, so that a pool needs one line of code for it.

use std::sync::Arc;
use std::time::Duration;

use ehash::{LockingKey, LockingKeyError, QuoteCallbacks};
use serde::Deserialize;

use crate::builder::{
    DEFAULT_MAX_PENDING, DEFAULT_MINIMUM_DIFFICULTY, DEFAULT_QUEUE_SLOTS, DEFAULT_TIMEOUT, QuoteDispatcherBuilder,
    StartError,
};
use crate::dispatcher::QuoteDispatcher;

/// Why a `[quotes]` table cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML, or the table has an unknown key or a value of the wrong type.
    #[error("line {line}, column {column}: {message}")]
    Toml {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// There is no mint to ask.
    #[error("[quotes] has no `mint_address`: write host:port, or `enabled = false` to ask no mint")]
    NoMint,
    /// The default locking key cannot be used.
    #[error("[quotes] locking_key is not a key")]
    LockingKey(#[source] LockingKeyError),
    /// The timeout is not a time.
    #[error("[quotes] timeout {found:?} is not a time: write a number with a unit, such as \"60s\"")]
    Timeout {
        /// What was given.
        found: String,
        /// Why not.
        #[source]
        source: humantime::DurationError,
    },
    /// The authority key does not parse.
    #[cfg(feature = "noise")]
    #[error("[quotes] authority_public_key is not a key")]
    AuthorityKey(#[source] mint_quote_sv2::noise::KeyError),
    /// This program was built without encryption.
    #[error("[quotes] has authority_public_key, but this program was built without the feature `noise`")]
    NoNoise,
    /// The settings are understood, but nothing starts with them.
    #[error("[quotes] cannot be used")]
    Start(#[from] StartError),
}

/// The keys of the table.
///
/// Hosts that parse their file themselves put a field `quotes: Option<QuotesConfig>` into their own struct; others call
/// [`from_toml_str`](Self::from_toml_str). This type works with any version of the `toml` crate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct QuotesConfig {
    /// `false` asks no mint; quotes are still computed and told. A host without the table has no quotes at all.
    pub enabled: bool,
    /// Where the mint listens, `host:port`.
    pub mint_address: Option<String>,
    /// The mint's authority public key; encrypts the connection.
    pub authority_public_key: Option<String>,
    /// The least difficulty, in bits, that earns ehash.
    pub minimum_difficulty: u32,
    /// Key for channels whose user identity holds none, 66 hexadecimal digits.
    pub locking_key: Option<String>,
    /// How long a quote waits for the mint, such as `"60s"`.
    pub timeout: Option<String>,
    /// Quotes that may be without an answer.
    pub max_pending: usize,
    /// Quotes that may wait for the hub.
    pub queue_slots: usize,
}

impl Default for QuotesConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            mint_address: None,
            authority_public_key: None,
            minimum_difficulty: DEFAULT_MINIMUM_DIFFICULTY,
            locking_key: None,
            timeout: None,
            max_pending: DEFAULT_MAX_PENDING,
            queue_slots: DEFAULT_QUEUE_SLOTS,
        }
    }
}

/// The one table of a host's file that is ours; everything else in it is the host's.
#[derive(Deserialize)]
struct HostFile {
    quotes: Option<QuotesConfig>,
}

/// What [`QuotesConfig::from_toml_str`] found: the table, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing runs before `start`"]
pub struct QuotesTable(Option<QuotesConfig>);

impl QuotesTable {
    /// The table, where there is one.
    #[must_use]
    pub fn config(&self) -> Option<&QuotesConfig> {
        self.0.as_ref()
    }

    /// Starts the dispatcher that the table describes, or one that does nothing.
    pub fn start(&self, callbacks: Arc<dyn QuoteCallbacks>, vendor: &str) -> Result<QuoteDispatcher, ConfigError> {
        self.0.as_ref().map_or_else(|| Ok(QuoteDispatcher::off()), |config| config.start(callbacks, vendor))
    }
}

impl QuotesConfig {
    /// Reads the table from the text of a host's whole configuration file.
    pub fn from_toml_str(text: &str) -> Result<QuotesTable, ConfigError> {
        match toml::from_str::<HostFile>(text) {
            Ok(file) => Ok(QuotesTable(file.quotes)),
            Err(error) => {
                // Not the error's own display: it quotes the line, and other tables of the file may hold secrets.
                let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
                let line_start = before.rfind('\n').map_or(0, |at| at + 1);
                Err(ConfigError::Toml {
                    line: before.matches('\n').count() + 1,
                    column: before[line_start..].chars().count() + 1,
                    message: error.message().to_owned(),
                })
            }
        }
    }

    /// Starts the dispatcher that the table describes; `vendor` is the host's name and version.
    pub fn start(&self, callbacks: Arc<dyn QuoteCallbacks>, vendor: &str) -> Result<QuoteDispatcher, ConfigError> {
        Ok(self.builder()?.vendor(vendor).start(callbacks)?)
    }

    /// The builder that the table describes. All keys are checked, also where `enabled = false` makes no use of them.
    pub fn builder(&self) -> Result<QuoteDispatcherBuilder, ConfigError> {
        let mut builder = match &self.mint_address {
            Some(address) => QuoteDispatcherBuilder::new(address),
            None if self.enabled => return Err(ConfigError::NoMint),
            None => QuoteDispatcherBuilder::without_dispatch(),
        };
        builder.dispatch = self.enabled;
        builder = builder
            .minimum_difficulty(self.minimum_difficulty)
            .max_pending(self.max_pending)
            .queue_slots(self.queue_slots)
            .timeout(self.timeout()?);
        if let Some(key) = &self.locking_key {
            builder = builder.locking_key(key.parse::<LockingKey>().map_err(ConfigError::LockingKey)?);
        }
        if let Some(key) = &self.authority_public_key {
            #[cfg(feature = "noise")]
            {
                builder = builder.authority_public_key(key.parse().map_err(ConfigError::AuthorityKey)?);
            }
            #[cfg(not(feature = "noise"))]
            {
                let _ = key;
                return Err(ConfigError::NoNoise);
            }
        }
        Ok(builder)
    }

    fn timeout(&self) -> Result<Duration, ConfigError> {
        let Some(text) = &self.timeout else { return Ok(DEFAULT_TIMEOUT) };
        humantime::parse_duration(text).map_err(|source| ConfigError::Timeout { found: text.clone(), source })
    }
}

#[cfg(test)]
mod tests;
