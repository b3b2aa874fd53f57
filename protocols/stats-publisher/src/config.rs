//! The `[stats]` table in the host's own configuration file, so that a pool needs one line of code for it.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Deserialize;
use stats_sv2::Role;

use crate::builder::{
    DEFAULT_ADDRESS, DEFAULT_BOXED_EVENT_BYTES, DEFAULT_QUEUE_SLOTS, DEFAULT_SPOOL_BYTES, StartError,
    StatsPublisherBuilder,
};
use crate::publisher::StatsPublisher;
use crate::token::Token;

/// Why a `[stats]` table cannot be used.
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
        /// What is wrong. Quotes keys and types, never the token.
        message: String,
    },
    /// Two keys say the same thing.
    #[error("[stats] has both `{first}` and `{second}`: keep one")]
    Conflict {
        /// One key.
        first: &'static str,
        /// The other key.
        second: &'static str,
    },
    /// A key has no meaning without another.
    #[error("[stats] has `{key}` but no `{needs}`")]
    Missing {
        /// The key that is there.
        key: &'static str,
        /// The key that is not.
        needs: &'static str,
    },
    /// The role is none of the protocol's.
    #[error("[stats] role {found:?} is unknown: write one of {}", Role::ALL.map(Role::name).join(", "))]
    Role {
        /// What was given.
        found: String,
    },
    /// The file with the token cannot be read.
    #[error("cannot read the token from {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The environment variable with the token is not set.
    #[error("the environment variable {name:?} named by `token_env` is not set")]
    TokenEnv {
        /// The variable.
        name: String,
    },
    /// The key does not parse.
    #[cfg(feature = "noise")]
    #[error("[stats] authority_public_key is not a key")]
    AuthorityKey(#[source] stats_sv2::noise::KeyError),
    /// This program was built without encryption.
    #[error("[stats] has authority_public_key, but this program was built without the feature `noise`")]
    NoNoise,
    /// The settings are understood, but nothing starts with them.
    #[error("[stats] cannot be used")]
    Start(#[from] StartError),
}

/// The keys of the table. Every one has a default; an empty table means a sidecar on the same host.
///
/// Hosts that parse their file themselves put a field `stats: Option<StatsConfig>` into their own struct; others call
/// [`from_toml_str`](Self::from_toml_str). This type works with any version of the `toml` crate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StatsConfig {
    /// `false` switches the publisher off without removing the table.
    pub enabled: bool,
    /// Where the sidecar listens, `host:port`.
    pub stats_server_address: String,
    /// Stable name of this installation, such as `pool-eu-1`. Default: the role's name.
    pub publisher: Option<String>,
    /// `pool`, `proxy`, `jd-client`, `jd-server`, `mint`, `relay` or `bridge`. Default: what the host says it is.
    pub role: Option<String>,
    /// Shared secret. Rather name a file or a variable.
    pub token: Option<Token>,
    /// File that holds the shared secret and nothing else.
    pub token_file: Option<PathBuf>,
    /// Environment variable that holds the shared secret.
    pub token_env: Option<String>,
    /// File that keeps unacknowledged events over a crash of the host.
    pub spool: Option<PathBuf>,
    /// Size limit of that file, such as `"2 GiB"`.
    pub spool_max_bytes: Option<ByteSize>,
    /// The sidecar's public key; encrypts the connection.
    pub authority_public_key: Option<String>,
    /// Events that may wait in memory, 48 bytes each.
    pub queue_slots: usize,
    /// Size limit of waiting events other than shares, such as `"8 MiB"`.
    pub boxed_event_bytes: ByteSize,
}

impl Default for StatsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            stats_server_address: DEFAULT_ADDRESS.to_owned(),
            publisher: None,
            role: None,
            token: None,
            token_file: None,
            token_env: None,
            spool: None,
            spool_max_bytes: None,
            authority_public_key: None,
            queue_slots: DEFAULT_QUEUE_SLOTS,
            boxed_event_bytes: ByteSize::b(DEFAULT_BOXED_EVENT_BYTES as u64),
        }
    }
}

/// The one table of a host's file that is ours; everything else in it is the host's.
#[derive(Deserialize)]
struct HostFile {
    stats: Option<StatsConfig>,
}

impl StatsConfig {
    /// Reads the table from the text of a host's whole configuration file. A file without it means a publisher that is
    /// switched off.
    pub fn from_toml_str(text: &str) -> Result<Self, ConfigError> {
        match toml::from_str::<HostFile>(text) {
            Ok(file) => Ok(file.stats.unwrap_or_else(|| Self { enabled: false, ..Self::default() })),
            Err(error) => {
                // Not the error's own display: it quotes the line, which may hold the token.
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

    /// Starts the publisher that the table describes, or one that is switched off. `role` is what the host is, unless
    /// the table says otherwise; `vendor` its name and version.
    pub fn start(&self, role: Role, vendor: &str) -> Result<StatsPublisher, ConfigError> {
        if !self.enabled {
            return Ok(StatsPublisher::disabled());
        }
        Ok(self.builder(role)?.vendor(vendor).start()?)
    }

    /// The builder that the table describes; reads the token's file or variable.
    pub fn builder(&self, role: Role) -> Result<StatsPublisherBuilder, ConfigError> {
        let role = match &self.role {
            Some(name) => Role::from_name(name).ok_or_else(|| ConfigError::Role { found: name.clone() })?,
            None => role,
        };
        let mut builder = StatsPublisher::builder()
            .address(&*self.stats_server_address)
            .role(role)
            .publisher(self.publisher.as_deref().unwrap_or(role.name()))
            .queue_slots(self.queue_slots)
            .boxed_event_bytes(usize::try_from(self.boxed_event_bytes.as_u64()).unwrap_or(usize::MAX));
        builder.token = self.read_token()?;
        match (&self.spool, self.spool_max_bytes) {
            (Some(path), limit) => {
                builder = builder.spool(path, limit.map_or(DEFAULT_SPOOL_BYTES, |limit| limit.as_u64()));
            }
            (None, Some(_)) => return Err(ConfigError::Missing { key: "spool_max_bytes", needs: "spool" }),
            (None, None) => {}
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

    fn read_token(&self) -> Result<Token, ConfigError> {
        let given = [
            self.token.as_ref().map(|_| "token"),
            self.token_file.as_ref().map(|_| "token_file"),
            self.token_env.as_ref().map(|_| "token_env"),
        ];
        let mut given = given.into_iter().flatten();
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(ConfigError::Conflict { first, second });
        }
        if let Some(path) = &self.token_file {
            let secret = std::fs::read_to_string(path);
            let secret = secret.map_err(|source| ConfigError::TokenFile { path: path.clone(), source })?;
            return Ok(Token::new(&secret));
        }
        if let Some(name) = &self.token_env {
            let secret = std::env::var(name).map_err(|_| ConfigError::TokenEnv { name: name.clone() })?;
            return Ok(Token::new(&secret));
        }
        Ok(self.token.clone().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
