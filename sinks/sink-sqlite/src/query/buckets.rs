//! The sums of series, bucket by bucket or over a range: the one place that knows in which tables they stand.
//!
//! Tiers are in the order of time, so a series is read by one look-up for each bucket. Hours that are settled are in the
//! order of series, with their days beside them, and read as a range; an hour may have a row in both tables, which add up.

use mining_stats::{RejectReason, Sums, Tier};
use rusqlite::{Connection, OptionalExtension, Row, params};
use rustc_hash::FxHashMap;

use crate::kept::DAY_MS;
use crate::query::QueryError;
use crate::schema::{Level, Table};
use crate::settling::start_of_day;
use crate::store;

/// What a range is read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// Buckets of a tier.
    Tier(Tier),
    /// Days in UTC: sums of hours.
    Day,
}

impl Grain {
    /// The coarsest whose buckets make whole steps of a tier.
    pub(super) fn of_step(tier: Tier, step_ms: u64) -> Self {
        if tier == Tier::OneHour && step_ms.is_multiple_of(DAY_MS) { Self::Day } else { Self::Tier(tier) }
    }

    /// Milliseconds of a bucket.
    pub(super) const fn width_ms(self) -> u64 {
        match self {
            Self::Tier(tier) => tier.width_ms(),
            Self::Day => DAY_MS,
        }
    }

    /// The first bucket that begins at this time or later.
    pub(super) const fn first_from(self, time_ms: u64) -> u64 {
        time_ms.div_ceil(self.width_ms()).saturating_mul(self.width_ms())
    }

    const fn bucket_of(self, time_ms: u64) -> u64 {
        match self {
            Self::Tier(tier) => tier.bucket_of(time_ms),
            Self::Day => start_of_day(time_ms),
        }
    }
}

/// Number of columns that [`sums_of_row`] reads.
const COLUMNS: usize = 13;

/// The columns of a single bucket.
pub(super) const SINGLE: &str = "accepted, invalid_target, rejected, work, work_squared, squares_are_lower_bound, \
    unrated_shares, unrated_work, unrated_work_squared, best_share_work, blocks, quotes, ehash";

/// The same of several buckets together, without their ehash.
const SUMMED: &str = "sum(r.accepted), sum(r.invalid_target), sum(r.rejected), sum(r.work), sum(r.work_squared), \
    max(r.squares_are_lower_bound), sum(r.unrated_shares), sum(r.unrated_work), sum(r.unrated_work_squared), \
    max(r.best_share_work), sum(r.blocks), sum(r.quotes), NULL";

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

/// Calls `visit` once for each bucket of a series that exists between `from` and `to`, by rising time.
pub(super) fn for_each_bucket(
    conn: &Connection,
    grain: Grain,
    series: i64,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, Sums),
) -> Result<(), QueryError> {
    let settled = match grain {
        Grain::Tier(Tier::OneHour) => Table::SettledHours,
        Grain::Day => Table::SettledDays,
        Grain::Tier(tier) => return look_up(conn, tier, series, from, to, visit),
    };
    let mut recent: Vec<(u64, Sums)> = Vec::new();
    look_up(conn, Tier::OneHour, series, recent_from(conn, from)?, to, |hour, sums| {
        let bucket = grain.bucket_of(hour);
        match recent.last_mut() {
            Some((last, together)) if *last == bucket => together.merge(&sums),
            _ => recent.push((bucket, sums)),
        }
    })?;
    let mut recent = recent.into_iter().peekable();
    let mut rows = conn.prepare_cached(&format!(
        "SELECT {SINGLE}, bucket FROM {} WHERE series = ?1 AND bucket >= ?2 AND bucket < ?3 ORDER BY bucket",
        settled.rollup()
    ))?;
    let mut rows = rows.query(params![series, from, to])?;
    while let Some(row) = rows.next()? {
        let bucket = row.get(COLUMNS)?;
        while let Some((at, sums)) = recent.next_if(|(at, _)| *at < bucket) {
            visit(at, sums);
        }
        let mut sums = sums_of_row(row)?;
        if let Some((_, more)) = recent.next_if(|(at, _)| *at == bucket) {
            sums.merge(&more);
        }
        visit(bucket, sums);
    }
    recent.for_each(|(bucket, sums)| visit(bucket, sums));
    Ok(())
}

/// The sums of a series from the bucket of a tier that begins at `from` to the end of the one before `to`. Ehash only where
/// the tier is no hour.
pub(super) fn sums_over(conn: &Connection, tier: Tier, series: i64, from: u64, to: u64) -> Result<Sums, QueryError> {
    let mut sums = Sums::default();
    let recent = if tier == Tier::OneHour { recent_from(conn, from)? } else { from };
    look_up(conn, tier, series, recent, to, |_, bucket| sums.merge(&bucket))?;
    if tier == Tier::OneHour {
        for (table, from, to) in settled_parts(from, to) {
            sums.merge(&settled_sums(conn, table, series, from, to)?);
        }
    }
    Ok(sums)
}

/// The same for every series of a source that has buckets of this tier.
pub(super) fn sums_over_all(
    conn: &Connection,
    tier: Tier,
    source: i64,
    from: u64,
    to: u64,
    all: &mut FxHashMap<i64, Sums>,
) -> Result<(), QueryError> {
    let mut rows = conn.prepare_cached(&format!(
        "SELECT {SUMMED}, r.series FROM rollup_{} r JOIN series s ON s.id = r.series
         WHERE r.bucket >= ?1 AND r.bucket < ?2 AND s.source = ?3 GROUP BY r.series",
        tier.name()
    ))?;
    let mut rows = rows.query(params![from, to, source])?;
    while let Some(row) = rows.next()? {
        all.entry(row.get(COLUMNS)?).or_default().merge(&sums_of_row(row)?);
    }
    if tier != Tier::OneHour || from >= settled_to(conn)? {
        return Ok(());
    }
    let mut series = conn.prepare_cached("SELECT id FROM series WHERE source = ?1 AND settled_from IS NOT NULL")?;
    for series in series.query_map([source], |row| row.get::<_, i64>(0))? {
        let series = series?;
        for (table, from, to) in settled_parts(from, to) {
            let sums = settled_sums(conn, table, series, from, to)?;
            all.entry(series).or_default().merge(&sums);
        }
    }
    Ok(())
}

/// The same series by series and bucket by bucket, for some series whose tier is no hour.
pub(super) fn for_each_bucket_of(
    conn: &Connection,
    tier: Tier,
    series: &[i64],
    from: u64,
    to: u64,
    mut visit: impl FnMut(i64, u64, Sums),
) -> Result<(), QueryError> {
    let list = |numbers: &mut dyn Iterator<Item = String>| format!("[{}]", numbers.collect::<Vec<_>>().join(","));
    let buckets = (tier.bucket_of(from)..to).step_by(tier.width_ms() as usize);
    let mut rows = conn.prepare_cached(&format!(
        "SELECT {SINGLE}, bucket, series FROM rollup_{}
         WHERE bucket IN (SELECT value FROM json_each(?1)) AND series IN (SELECT value FROM json_each(?2))",
        tier.name()
    ))?;
    let mut rows = rows.query(params![
        list(&mut buckets.map(|bucket| bucket.to_string())),
        list(&mut series.iter().map(ToString::to_string))
    ])?;
    while let Some(row) = rows.next()? {
        visit(row.get(COLUMNS + 1)?, row.get(COLUMNS)?, sums_of_row(row)?);
    }
    Ok(())
}

/// Rejected shares of a series over a range as in [`sums_over`], by reason.
pub(super) fn reasons_over(
    conn: &Connection,
    tier: Tier,
    series: i64,
    from: u64,
    to: u64,
    mut visit: impl FnMut(RejectReason, u64),
) -> Result<(), QueryError> {
    let mut visit = |row: &Row<'_>| -> rusqlite::Result<()> {
        let reason = RejectReason::ALL.get(row.get::<_, usize>(0)?).copied().unwrap_or(RejectReason::Unknown);
        visit(reason, row.get(1)?);
        Ok(())
    };
    let mut of_bucket = conn.prepare_cached(&format!(
        "SELECT reason, count FROM {} WHERE bucket = ?1 AND series = ?2",
        Table::Level(Level::Tier(tier)).rejects()
    ))?;
    let mut bucket = if tier == Tier::OneHour { recent_from(conn, from)? } else { from };
    while bucket < to {
        let mut rows = of_bucket.query(params![bucket, series])?;
        while let Some(row) = rows.next()? {
            visit(row)?;
        }
        bucket += tier.width_ms();
    }
    if tier == Tier::OneHour {
        for (table, from, to) in settled_parts(from, to) {
            let mut rows = conn.prepare_cached(&format!(
                "SELECT reason, sum(count) FROM {} WHERE series = ?1 AND bucket >= ?2 AND bucket < ?3 GROUP BY reason",
                table.rejects()
            ))?;
            let mut rows = rows.query(params![series, from, to])?;
            while let Some(row) = rows.next()? {
                visit(row)?;
            }
        }
    }
    Ok(())
}

/// One look-up for each bucket.
fn look_up(
    conn: &Connection,
    tier: Tier,
    series: i64,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, Sums),
) -> Result<(), QueryError> {
    let mut lookup =
        conn.prepare_cached(&format!("SELECT {SINGLE} FROM rollup_{} WHERE bucket = ?1 AND series = ?2", tier.name()))?;
    let mut bucket = tier.bucket_of(from);
    while bucket < to {
        let mut rows = lookup.query(params![bucket, series])?;
        if let Some(row) = rows.next()? {
            visit(bucket, sums_of_row(row)?);
        }
        bucket += tier.width_ms();
    }
    Ok(())
}

fn settled_sums(conn: &Connection, table: Table, series: i64, from: u64, to: u64) -> Result<Sums, QueryError> {
    // Grouped, so that there is no row where there is nothing.
    let sums = conn
        .prepare_cached(&format!(
            "SELECT {SUMMED} FROM {} r WHERE series = ?1 AND bucket >= ?2 AND bucket < ?3 GROUP BY series",
            table.rollup()
        ))?
        .query_row(params![series, from, to], sums_of_row)
        .optional()?;
    Ok(sums.unwrap_or_default())
}

/// A range of settled hours, whole days of it as such.
fn settled_parts(from: u64, to: u64) -> impl Iterator<Item = (Table, u64, u64)> {
    let (first_day, last_day) = (from.div_ceil(DAY_MS) * DAY_MS, start_of_day(to));
    let parts = if first_day < last_day {
        [
            (Table::SettledHours, from, first_day),
            (Table::SettledDays, first_day, last_day),
            (Table::SettledHours, last_day, to),
        ]
    } else {
        [(Table::SettledHours, from, to), (Table::SettledDays, 0, 0), (Table::SettledHours, 0, 0)]
    };
    parts.into_iter().filter(|(_, from, to)| from < to)
}

/// Where the hours of a range that are not settled begin.
fn recent_from(conn: &Connection, from: u64) -> Result<u64, QueryError> {
    let oldest: Option<u64> =
        conn.prepare_cached("SELECT min(bucket) FROM rollup_1h")?.query_row([], |row| row.get(0))?;
    Ok(from.max(oldest.unwrap_or(from)))
}

/// A moment before which everything settled lies.
fn settled_to(conn: &Connection) -> Result<u64, QueryError> {
    Ok(crate::kept::Kept::load(conn)?.settled_until)
}
