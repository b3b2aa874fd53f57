//! A history file of one year with a thousand workers, made in minutes, for benchmarks and for anyone who wants to see what a
//! full year looks like.
//!
//! The sink itself makes the file and applies all that is rare: sessions, connections, tips, blocks, quotes. Only the sums
//! of the shares, which are tens of millions of rows, are written with SQL. Every share is a function of its worker and its
//! minute, so that the sums of all tiers agree by construction.

mod life;
mod plan;
mod shares;
mod sums;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stats_sv2::UnixMillis;

use plan::Plan;

/// The publisher of the year: the one that `simulate` is by default, so that a simulated pool goes on where the year ends.
pub const PUBLISHER: &str = "simulated-pool";

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What is made.
#[derive(Debug, Clone, Copy)]
pub struct YearDatabase {
    /// User identities, named as `simulate` names them.
    pub workers: u32,
    /// Days up to `end`.
    pub days: u32,
    /// Quotes of the last two weeks, the time for which quotes are kept one by one.
    pub quotes: u32,
    /// When the history ends.
    pub end: UnixMillis,
}

impl YearDatabase {
    /// A year with a thousand workers and a hundred thousand quotes, up to now.
    #[must_use]
    pub fn until_now() -> Self {
        Self { workers: 1_000, days: 365, quotes: 100_000, end: UnixMillis::now() }
    }

    /// Makes the file.
    ///
    /// # Errors
    /// When there is a file already, or writing fails.
    pub fn write(&self, path: &Path) -> Result<Written> {
        ensure!(!path.exists(), "{} is there already; move it away first", path.display());
        ensure!(self.workers > 0 && self.days > 0, "a history needs at least one worker and one day");
        let begin = Instant::now();
        let plan = Plan::new(self);
        let events = life::deliver(&plan, path).context("the sink did not take the events of the year")?;
        let rows = sums::write(&plan, path).context("cannot write the sums of the shares")?;
        life::settle(path, self.end).context("the sink did not settle the hours")?;
        Ok(Written { rows, events, took: begin.elapsed() })
    }
}

/// What was made.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Rows of sums.
    pub rows: u64,
    /// Events that the sink applied.
    pub events: u64,
    /// How long it took.
    pub took: Duration,
}
