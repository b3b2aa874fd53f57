//! Sums of one or many series over a window that ends now, from as few buckets as possible: hours in the middle, finer
//! buckets at its start. That is exact, since counts over a tier equal those of the tier below.

use mining_stats::reading::Circumstances;
use mining_stats::{Reading, Sums, Tier};
use rusqlite::{Connection, Row, params};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::query::QueryError;
use crate::query::presence::ObservedTime;
use crate::rollup::SeriesRef;
use crate::store;

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
        let mut tiers: Vec<(Tier, u64)> = kept
            .iter()
            .copied()
            .filter(|(tier, since)| *since <= tier.bucket_of(start) && *tier >= Tier::OneMinute)
            .collect();
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

    /// The sums of one series: one look-up per bucket.
    pub(super) fn sums_of(&self, conn: &Connection, series: SeriesRef, now: u64) -> Result<Sums, QueryError> {
        let mut sums = Sums::default();
        for (tier, from, to) in &self.ranges {
            // Nothing counts later than two minutes from now (delivery rule 15).
            let to = (*to).min(tier.bucket_of(now + 120_000) + tier.width_ms());
            for_each_bucket(conn, *tier, series, *from, to, |_, bucket| sums.merge(&bucket))?;
        }
        Ok(sums)
    }

    /// The sums of every series of a source: one scan.
    pub(super) fn sums_of_all(&self, conn: &Connection, source: i64) -> Result<FxHashMap<i64, Sums>, QueryError> {
        let mut all: FxHashMap<i64, Sums> = FxHashMap::default();
        for (tier, from, to) in &self.ranges {
            let mut rows = conn.prepare_cached(&format!(
                "SELECT {SUMMED}, r.series FROM rollup_{} r JOIN series s ON s.id = r.series
                 WHERE r.bucket >= ?1 AND r.bucket < ?2 AND s.source = ?3 GROUP BY r.series",
                tier.name()
            ))?;
            let mut rows = rows.query(params![from, to, source])?;
            while let Some(row) = rows.next()? {
                all.entry(row.get(COLUMNS)?).or_default().merge(&sums_of_row(row)?);
            }
        }
        Ok(all)
    }
}

/// Number of columns that [`sums_of_row`] reads.
pub(super) const COLUMNS: usize = 13;

const SUMMED: &str = "sum(r.accepted), sum(r.invalid_target), sum(r.rejected), sum(r.work), sum(r.work_squared), \
    max(r.squares_are_lower_bound), sum(r.unrated_shares), sum(r.unrated_work), sum(r.unrated_work_squared), \
    max(r.best_share_work), sum(r.blocks), sum(r.quotes), NULL";

/// The columns of a single bucket.
pub(super) const SINGLE: &str = "accepted, invalid_target, rejected, work, work_squared, squares_are_lower_bound, \
    unrated_shares, unrated_work, unrated_work_squared, best_share_work, blocks, quotes, ehash";

/// The sums of a row; rejects without their reasons stand under "unknown", see `rejects_*` for the reasons.
pub(super) fn sums_of_row(row: &Row<'_>) -> rusqlite::Result<Sums> {
    let mut sums = Sums {
        accepted: row.get(0)?,
        invalid_target: row.get(1)?,
        work: row.get(3)?,
        work_squared: row.get(4)?,
        squares_are_lower_bound: row.get(5)?,
        unrated_shares: row.get(6)?,
        unrated_work: row.get(7)?,
        unrated_work_squared: row.get(8)?,
        best_share_work: row.get(9)?,
        blocks: row.get(10)?,
        quotes: row.get(11)?,
        ehash: store::ehash(row.get_ref(12)?.as_blob_or_null()?),
        ..Sums::default()
    };
    sums.rejected[0] = row.get(2)?;
    Ok(sums)
}

/// Calls `visit` for each bucket of a series that exists between `from` and `to`, by rising time.
pub(super) fn for_each_bucket(
    conn: &Connection,
    tier: Tier,
    series: SeriesRef,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, Sums),
) -> Result<(), QueryError> {
    let mut lookup =
        conn.prepare_cached(&format!("SELECT {SINGLE} FROM rollup_{} WHERE bucket = ?1 AND series = ?2", tier.name()))?;
    let mut bucket = tier.bucket_of(from);
    while bucket < to {
        let mut rows = lookup.query(params![bucket, series.id])?;
        if let Some(row) = rows.next()? {
            visit(bucket, sums_of_row(row)?);
        }
        bucket += tier.width_ms();
    }
    Ok(())
}
