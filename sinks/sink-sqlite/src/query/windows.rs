//! Sums of one or many series over a window that ends now, from as few buckets as possible: hours in the middle, finer
//! buckets at its start. That is exact, since counts over a tier equal those of the tier below.

use mining_stats::reading::Circumstances;
use mining_stats::{Reading, Sums, Tier};
use rusqlite::Connection;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::query::QueryError;
use crate::query::buckets::{sums_over, sums_over_all};
use crate::query::presence::ObservedTime;
use crate::rollup::SeriesRef;

const MINUTE: u64 = 60_000;

/// The windows that people know, with their names.
pub const WINDOWS: [(&str, u64); 7] = [
    ("1m", MINUTE),
    ("5m", 5 * MINUTE),
    ("15m", 15 * MINUTE),
    ("1h", 60 * MINUTE),
    ("6h", 360 * MINUTE),
    ("1d", 1_440 * MINUTE),
    ("7d", 10_080 * MINUTE),
];

/// A hashrate over a window, with what it rests on.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WindowReading {
    /// Name of the window, such as `5m`.
    pub window: String,
    /// Its length; it begins at the start of a bucket, so it is up to one bucket longer than its name says.
    pub window_ms: u64,
    /// Milliseconds of it that were observed and untouched by losses.
    pub observed_ms: u64,
    /// Accepted shares, those in touched slots included.
    pub accepted: u64,
    /// Rejected shares.
    pub rejected: u64,
    /// The hashrate, or why there is none.
    pub reading: Reading,
    /// The same in words.
    pub text: String,
}

impl WindowReading {
    pub(super) fn new(
        window: &str,
        from: u64,
        now: u64,
        sums: &Sums,
        time: &ObservedTime,
        circumstances: &Circumstances,
    ) -> Self {
        let observed_ms = time.rated_within(from, now);
        let reading = Reading::of(&sums.sample(observed_ms), circumstances);
        Self {
            window: window.to_owned(),
            window_ms: now.saturating_sub(from),
            observed_ms,
            accepted: sums.accepted,
            rejected: sums.rejected_total(),
            text: mining_stats::text::reading(&reading),
            reading,
        }
    }
}

/// Buckets that together cover everything from a time on.
#[derive(Debug)]
pub(super) struct Cover {
    /// Where it begins: the start of a bucket at or before the asked time.
    pub(super) from: u64,
    ranges: Vec<(Tier, u64, u64)>,
}

impl Cover {
    /// Covers from `start` to the end of the history. `kept` gives the usable tiers with the time from which each is kept.
    pub(super) fn from_on(start: u64, now: u64, kept: &[(Tier, u64)]) -> Self {
        // The finest tier that is kept back to the start decides where the cover begins.
        let mut tiers: Vec<(Tier, u64)> =
            kept.iter().copied().filter(|(tier, since)| *since <= tier.bucket_of(start)).collect();
        if tiers.is_empty() {
            tiers.extend(kept.iter().copied().max_by_key(|(tier, _)| *tier));
        }
        let Some((finest, since)) = tiers.first().copied() else { return Self { from: start, ranges: Vec::new() } };
        let from = finest.bucket_of(start).max(since);
        let mut ranges = Vec::new();
        let mut at = from;
        for (index, (tier, _)) in tiers.iter().enumerate() {
            let Some((coarser, _)) = tiers.get(index + 1) else {
                // Nothing coarser: to the end, late and slightly future buckets included.
                ranges.push((*tier, at, u64::MAX >> 1));
                break;
            };
            let end = at.div_ceil(coarser.width_ms()) * coarser.width_ms();
            if end > now {
                // The window ends before the next coarse bucket begins.
                ranges.push((*tier, at, u64::MAX >> 1));
                break;
            }
            if end > at {
                ranges.push((*tier, at, end));
            }
            at = end;
        }
        Self { from, ranges }
    }

    /// The sums of one series, without their ehash.
    pub(super) fn sums_of(&self, conn: &Connection, series: SeriesRef, now: u64) -> Result<Sums, QueryError> {
        let mut sums = Sums::default();
        for (tier, from, to) in &self.ranges {
            // Nothing counts later than two minutes from now (delivery rule 15).
            let to = (*to).min(tier.bucket_of(now + 120_000) + tier.width_ms());
            sums.merge(&sums_over(conn, *tier, series.id, *from, to)?);
        }
        Ok(sums)
    }

    /// The sums of every series of a source.
    pub(super) fn sums_of_all(&self, conn: &Connection, source: i64) -> Result<FxHashMap<i64, Sums>, QueryError> {
        let mut all: FxHashMap<i64, Sums> = FxHashMap::default();
        for (tier, from, to) in &self.ranges {
            sums_over_all(conn, *tier, source, *from, *to, &mut all)?;
        }
        Ok(all)
    }
}
