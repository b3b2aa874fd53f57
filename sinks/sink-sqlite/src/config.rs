//! The sink's settings: its table `[sinks.NAME]` with `type = "sqlite"`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mining_stats::{Sv1Difficulty, Target, TargetBounds, Tier};
use serde::Deserialize;
use sidecar_core::{
    ByteSize, Claim, OnThread, Period, Sink, SinkContext, SinkError, SinkRegistry, SinkSettings,
    registry::DuplicateSinkTypeError,
};

use crate::sink::SqliteSink;
use crate::store;

/// The sink's type in the configuration.
pub const TYPE_NAME: &str = "sqlite";

/// The settings as they are written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteSettings {
    /// The database file. Its directory must exist.
    pub path: PathBuf,
    /// Bytes that the data may take before the oldest of it is given up, whatever its age.
    #[serde(default = "default_disk_budget")]
    pub disk_budget: ByteSize,
    /// How long each tier is kept.
    #[serde(default)]
    pub retention: Retention,
    /// Workers of a publisher that get ten-second buckets, by the order of their appearance; later ones begin at a minute.
    #[serde(default = "default_fine_workers")]
    pub fine_workers: u32,
    /// Names with a history of their own, per publisher; later ones share the series `(other)`.
    #[serde(default = "default_max_series")]
    pub max_series: u32,
    /// Quotes kept one by one, over all publishers; older ones are given up whatever their age, their sums stay.
    #[serde(default = "default_max_quotes")]
    pub max_quotes: u32,
    /// Shares with an easier target are counted as `invalid-target` (SV1 difficulty).
    #[serde(default)]
    pub easiest_difficulty: Option<f64>,
    /// Shares with a harder target are counted as `invalid-target` (SV1 difficulty).
    #[serde(default)]
    pub hardest_difficulty: Option<f64>,
}

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Buckets of ten seconds.
    #[serde(rename = "10s")]
    pub ten_seconds: Period,
    /// Buckets of a minute.
    #[serde(rename = "1m")]
    pub one_minute: Period,
    /// Buckets of five minutes.
    #[serde(rename = "5m")]
    pub five_minutes: Period,
    /// Buckets of an hour, and with them closed connections and observed spans.
    #[serde(rename = "1h")]
    pub one_hour: Period,
    /// Quotes one by one; their sums stay in the buckets.
    pub quotes: Period,
}

impl Default for Retention {
    fn default() -> Self {
        let tier = |tier: Tier| Period(Duration::from_millis(tier.default_retention_ms()));
        Self {
            ten_seconds: tier(Tier::TenSeconds),
            one_minute: tier(Tier::OneMinute),
            five_minutes: tier(Tier::FiveMinutes),
            one_hour: tier(Tier::OneHour),
            quotes: tier(Tier::OneMinute),
        }
    }
}

impl Retention {
    /// Milliseconds that a tier is kept: never shorter than a finer tier, since coarse answers stand in for fine ones.
    pub(crate) fn tier_ms(&self, tier: Tier) -> u64 {
        let ms = |period: Period| u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX);
        let own = [self.ten_seconds, self.one_minute, self.five_minutes, self.one_hour];
        Tier::ALL.iter().zip(own).filter(|(other, _)| **other <= tier).map(|(_, period)| ms(period)).max().unwrap_or(0)
    }

    pub(crate) fn quotes_ms(&self) -> u64 {
        u64::try_from(self.quotes.0.as_millis()).unwrap_or(u64::MAX)
    }
}

fn default_disk_budget() -> ByteSize {
    ByteSize::mib(8 << 10)
}

fn default_fine_workers() -> u32 {
    50
}

fn default_max_series() -> u32 {
    50_000
}

/// About a gigabyte.
fn default_max_quotes() -> u32 {
    2_000_000
}

impl SqliteSettings {
    /// The defaults for this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            disk_budget: default_disk_budget(),
            retention: Retention::default(),
            fine_workers: default_fine_workers(),
            max_series: default_max_series(),
            max_quotes: default_max_quotes(),
            easiest_difficulty: None,
            hardest_difficulty: None,
        }
    }

    pub(crate) fn target_bounds(&self) -> Result<TargetBounds, SinkError> {
        let target = |setting: &'static str, difficulty: Option<f64>, default: Target| match difficulty {
            None => Ok(default),
            Some(number) => {
                Sv1Difficulty::from_sv1_number(number).map(Sv1Difficulty::to_target).ok_or(SinkError::Fatal {
                    what: format!("{setting} = {number} is no difficulty; write a number above 0"),
                    source: None,
                })
            }
        };
        let easiest = target("easiest_difficulty", self.easiest_difficulty, Target::MAX)?;
        let hardest = target("hardest_difficulty", self.hardest_difficulty, TargetBounds::DEFAULT_HARDEST)?;
        if easiest < hardest {
            return Err(SinkError::Fatal {
                what: "easiest_difficulty is above hardest_difficulty; no share could be valid".to_owned(),
                source: None,
            });
        }
        Ok(TargetBounds::new(easiest, hardest))
    }
}

impl SinkSettings for SqliteSettings {
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::File(self.path.clone())]
    }

    fn history(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn probe(&self) -> Result<(), SinkError> {
        self.target_bounds()?;
        store::probe(&self.path).map_err(SinkError::from)
    }

    fn build(&self, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let thread_name = format!("sink-{}", context.name);
        let sink = SqliteSink::new(self.clone(), context.durability)?;
        let on_thread = OnThread::new(&thread_name, sink)
            .map_err(|error| SinkError::fatal("the thread of the history could not be started", error))?;
        Ok(Box::new(on_thread))
    }
}

/// Adds the sink type `sqlite`.
pub fn register(registry: &mut SinkRegistry) -> Result<(), DuplicateSinkTypeError> {
    registry.register::<SqliteSettings>(TYPE_NAME)
}
