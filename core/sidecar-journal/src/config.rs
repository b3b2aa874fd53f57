//! Settings of the journal: the `[journal]` table as operators write it, and the checked form that the journal takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sidecar_core::status::Durability;
use sidecar_core::{ByteSize, Period};

/// Default of [`JournalConfig::max_delay`].
pub const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(200);
/// Default of [`JournalConfig::max_bytes`].
pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;
/// Least value of [`JournalConfig::max_bytes`]: below it the write-ahead log alone would be over the limit.
pub const MIN_MAX_BYTES: u64 = 4 << 20;
/// Default of [`JournalConfig::max_age`].
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Default of [`JournalConfig::ballast_bytes`].
pub const DEFAULT_BALLAST_BYTES: u64 = 8 << 20;
/// Default of [`JournalConfig::ingest_budget`].
pub const DEFAULT_INGEST_BUDGET: usize = 16 << 20;
/// Default of [`JournalConfig::recent_bytes`]: half of the 16 MiB that the design allows, which keeps the whole sidecar under
/// 64 MB at full load. Sinks that keep up find every record here; sinks that lag read the file either way.
pub const DEFAULT_RECENT_BYTES: usize = 8 << 20;
/// Default of [`JournalConfig::dead_letter_bytes`].
pub const DEFAULT_DEAD_LETTER_BYTES: u64 = 64 << 20;

/// What happens when the journal reaches `max_bytes` with batches that some sink has not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest batches go, and count as expired for the sinks that lag.
    #[default]
    DropOldest,
    /// Nothing more is acknowledged until the sinks have caught up; publishers buffer, then drop and count.
    Block,
}

/// What a journal is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The database file. Its lock, its ballast and SQLite's own files stand beside it under longer names.
    pub path: PathBuf,
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// How long an event waits for others to share its commit, at most.
    pub max_delay: Duration,
    /// Bytes on disk, the write-ahead log included, above which the oldest batches leave.
    pub max_bytes: u64,
    /// Age at which a batch leaves, taken or not.
    pub max_age: Duration,
    /// When set, a batch that every sink has taken leaves at this age already. It has no effect while no sink is known.
    pub keep_taken: Option<Duration>,
    /// What happens at `max_bytes`.
    pub when_full: WhenFull,
    /// Bytes held back on the disk, so that deletion and checkpoint have room when it is full. 0 for none.
    pub ballast_bytes: u64,
    /// Bytes of received frames that may wait for their commit, all sessions together.
    pub ingest_budget: usize,
    /// Bytes of the latest records that are kept in memory for the sinks.
    pub recent_bytes: usize,
    /// Bytes of dead letters, above which the oldest expire.
    pub dead_letter_bytes: u64,
}

impl JournalConfig {
    /// The defaults with this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            max_delay: DEFAULT_MAX_DELAY,
            max_bytes: DEFAULT_MAX_BYTES,
            max_age: DEFAULT_MAX_AGE,
            keep_taken: None,
            when_full: WhenFull::default(),
            ballast_bytes: DEFAULT_BALLAST_BYTES,
            ingest_budget: DEFAULT_INGEST_BUDGET,
            recent_bytes: DEFAULT_RECENT_BYTES,
            dead_letter_bytes: DEFAULT_DEAD_LETTER_BYTES,
        }
    }
}

/// The `[journal]` table as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSettings {
    /// See [`JournalConfig::path`].
    pub path: PathBuf,
    /// See [`JournalConfig::durability`].
    #[serde(default)]
    pub durability: Durability,
    /// See [`JournalConfig::max_delay`].
    pub max_delay: Option<Period>,
    /// See [`JournalConfig::max_bytes`].
    pub max_bytes: Option<ByteSize>,
    /// See [`JournalConfig::max_age`].
    pub max_age: Option<Period>,
    /// See [`JournalConfig::keep_taken`].
    pub keep_taken: Option<Period>,
    /// See [`JournalConfig::when_full`].
    #[serde(default)]
    pub when_full: WhenFull,
    /// See [`JournalConfig::ballast_bytes`].
    pub ballast: Option<ByteSize>,
    /// See [`JournalConfig::dead_letter_bytes`].
    pub dead_letter_bytes: Option<ByteSize>,
}

/// Why a `[journal]` table cannot be used although every value is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalConfigError {
    /// `max_bytes` is too small.
    #[error("max_bytes = \"{given}\" is below the least, \"{least}\"", least = ByteSize(MIN_MAX_BYTES))]
    MaxBytesTooSmall {
        /// What was given.
        given: ByteSize,
    },
    /// `max_delay` is zero or above the time in which a publisher expects progress.
    #[error("max_delay = \"{given}\" is not between \"1ms\" and \"5s\"")]
    MaxDelayOutOfRange {
        /// What was given.
        given: Period,
    },
    /// `keep_taken` has no meaning above `max_age`.
    #[error("keep_taken = \"{keep_taken}\" is above max_age = \"{max_age}\", so it never applies")]
    KeepTakenAboveMaxAge {
        /// What was given.
        keep_taken: Period,
        /// What was given, or the default.
        max_age: Period,
    },
}

impl TryFrom<JournalSettings> for JournalConfig {
    type Error = JournalConfigError;

    fn try_from(settings: JournalSettings) -> Result<Self, JournalConfigError> {
        let mut config = Self::new(settings.path);
        config.durability = settings.durability;
        config.when_full = settings.when_full;
        if let Some(given) = settings.max_delay {
            if given.0 < Duration::from_millis(1) || given.0 > Duration::from_secs(5) {
                return Err(JournalConfigError::MaxDelayOutOfRange { given });
            }
            config.max_delay = given.0;
        }
        if let Some(given) = settings.max_bytes {
            if given.0 < MIN_MAX_BYTES {
                return Err(JournalConfigError::MaxBytesTooSmall { given });
            }
            config.max_bytes = given.0;
        }
        if let Some(max_age) = settings.max_age {
            config.max_age = max_age.0;
        }
        if let Some(keep_taken) = settings.keep_taken {
            if keep_taken.0 > config.max_age {
                return Err(JournalConfigError::KeepTakenAboveMaxAge { keep_taken, max_age: Period(config.max_age) });
            }
            config.keep_taken = Some(keep_taken.0);
        }
        if let Some(ballast) = settings.ballast {
            config.ballast_bytes = ballast.0;
        }
        if let Some(bytes) = settings.dead_letter_bytes {
            config.dead_letter_bytes = bytes.0;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &str) -> Result<JournalConfig, String> {
        let settings: JournalSettings = toml::from_str(table).map_err(|error| error.message().to_owned())?;
        JournalConfig::try_from(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_enough_and_every_key_reaches_its_place() {
        assert_eq!(parse("path = \"a.db\"").unwrap(), JournalConfig::new("a.db"));
        let config = parse(
            "path = \"a.db\"\ndurability = \"process\"\nmax_delay = \"50ms\"\nmax_bytes = \"8 MiB\"\nmax_age = \"2h\"\n\
             keep_taken = \"0s\"\nwhen_full = \"block\"\nballast = \"1 MiB\"\ndead_letter_bytes = \"2 MiB\"",
        );
        let expected = JournalConfig {
            durability: Durability::Process,
            max_delay: Duration::from_millis(50),
            max_bytes: 8 << 20,
            max_age: Duration::from_secs(7200),
            keep_taken: Some(Duration::ZERO),
            when_full: WhenFull::Block,
            ballast_bytes: 1 << 20,
            dead_letter_bytes: 2 << 20,
            ..JournalConfig::new("a.db")
        };
        assert_eq!(config.unwrap(), expected);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        for (line, key) in [
            ("max_bytes = \"1 MiB\"", "max_bytes"),
            ("max_delay = \"0s\"", "max_delay"),
            ("max_delay = \"1m\"", "max_delay"),
            ("max_age = \"1h\"\nkeep_taken = \"2h\"", "keep_taken"),
            ("when_ful = \"block\"", "when_ful"),
        ] {
            let error = parse(&format!("path = \"a.db\"\n{line}")).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
