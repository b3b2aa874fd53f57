//! Settling: hours that few events still reach move from the table in the order of time, where a transaction over all series
//! writes few pages, to tables in the order of series, where a worker's year is read from few pages. Whole days are summed
//! beside them.
//!
//! Sums add up, so an hour's are those of its row in either table, or of both: hours move a few at a time, each with its
//! part of the day, and an event that comes late is added where its time stands by then. Nobody who reads sees a difference.

use mining_stats::Tier;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::HistoryError;
use crate::kept::{DAY_MS, Kept};
use crate::schema::{COUNTED, Table};

/// Hours stay in the order of time for as long after the latest event, and to the end of their day: a backlog of a day is
/// written as fast as the present.
const SETTLES_AFTER_MS: u64 = DAY_MS;
/// Series of a day that move, and series that lose days, in one call. Tests see more calls.
const SERIES_PER_CALL: u32 = if cfg!(test) { 2 } else { 200 };
/// Hours that are given up in one call.
const ROWS_PER_CALL: usize = 5_000;

/// Up to when hours are settled, as of `now`: by the latest event that counts, so that reading a long backlog again settles
/// nothing ahead of it.
pub(crate) fn settled_until(conn: &Connection, now: u64) -> Result<u64, HistoryError> {
    let latest: Option<u64> =
        conn.prepare_cached("SELECT max(bucket) FROM rollup_1h")?.query_row([], |row| row.get(0))?;
    let latest = latest.unwrap_or(0).min(now);
    Ok(start_of_day(latest.saturating_sub(SETTLES_AFTER_MS)))
}

/// Moves a part of the hours before `until`: some series of the oldest day.
pub(crate) fn settle(conn: &Connection, until: u64) -> Result<(), HistoryError> {
    let oldest: Option<u64> = conn
        .prepare_cached("SELECT min(bucket) FROM rollup_1h WHERE bucket < ?1")?
        .query_row([until], |row| row.get(0))?;
    let Some(oldest) = oldest else { return Ok(()) };
    let day = start_of_day(oldest);
    // As many series as every hour of the day has room for; all their hours move with them, so that each row of the day is
    // written once.
    let mut last = i64::MAX;
    for hour in (day..day + DAY_MS).step_by(Tier::OneHour.width_ms() as usize) {
        let beyond: Option<i64> = conn
            .prepare_cached("SELECT series FROM rollup_1h WHERE bucket = ?1 ORDER BY series LIMIT 1 OFFSET ?2")?
            .query_row(params![hour, SERIES_PER_CALL], |row| row.get(0))
            .optional()?;
        last = last.min(beyond.unwrap_or(i64::MAX));
    }
    let hours: Vec<String> = (0..DAY_MS / Tier::OneHour.width_ms())
        .map(|hour| format!("?1 + {}", hour * Tier::OneHour.width_ms()))
        .collect();
    let these = format!("bucket IN ({}) AND series <= ?2", hours.join(", "));
    let sums = COUNTED.map(|(column, sum)| format!("{sum}({column})")).join(", ");
    for (table, bucket) in [(Table::SettledHours, "bucket"), (Table::SettledDays, "?1")] {
        let (add, columns, add_reasons) = (Table::add(), Table::columns(), Table::ADD_REASONS);
        conn.prepare_cached(&format!(
            "INSERT INTO {rollup} (bucket, series, {columns})
             SELECT {bucket}, series, {sums}, iif(count(ehash), ehash_sum(ehash), NULL) FROM rollup_1h WHERE {these}
             GROUP BY 2, 1 {add}",
            rollup = table.rollup()
        ))?
        .execute(params![day, last])?;
        conn.prepare_cached(&format!(
            "INSERT INTO {rejects} (bucket, series, reason, count)
             SELECT {bucket}, series, reason, sum(count) FROM rejects_1h WHERE {these} GROUP BY 2, 1, 3 {add_reasons}",
            rejects = table.rejects()
        ))?
        .execute(params![day, last])?;
    }
    conn.prepare_cached(&format!(
        "UPDATE series SET settled_from = ?1 WHERE id IN (SELECT series FROM rollup_1h WHERE {these})
           AND (settled_from IS NULL OR settled_from > ?1)"
    ))?
    .execute(params![day, last])?;
    for table in ["rollup_1h", "rejects_1h"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE {these}"))?.execute(params![day, last])?;
    }
    Ok(())
}

/// Whether there are settled days before this time.
pub(crate) fn has_before(conn: &Connection, since: u64) -> Result<bool, HistoryError> {
    Ok(conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM series WHERE settled_from < ?1)")?
        .query_row([start_of_day(since)], |row| row.get(0))?)
}

/// The oldest day of which something is settled.
pub(crate) fn oldest(conn: &Connection) -> Result<Option<u64>, HistoryError> {
    Ok(conn.query_row("SELECT min(settled_from) FROM series WHERE settled_from IS NOT NULL", [], |row| row.get(0))?)
}

/// Gives up whole settled days before this time, those of a few series.
pub(crate) fn delete_before(conn: &Connection, since: u64) -> Result<(), HistoryError> {
    let since = start_of_day(since);
    let mut series =
        conn.prepare_cached("SELECT id FROM series WHERE settled_from < ?1 ORDER BY settled_from LIMIT ?2")?;
    let series = series.query_map(params![since, SERIES_PER_CALL], |row| row.get::<_, i64>(0))?;
    let mut deleted = 0;
    for series in series.collect::<Result<Vec<_>, _>>()? {
        deleted += delete_of(conn, series, since, ROWS_PER_CALL)?;
        conn.prepare_cached(
            "UPDATE series SET settled_from = (SELECT min(bucket) - min(bucket) % ?2 FROM settled_1h WHERE series = ?1)
             WHERE id = ?1",
        )?
        .execute(params![series, DAY_MS])?;
        if deleted >= ROWS_PER_CALL {
            break;
        }
    }
    Ok(())
}

/// Gives up everything that is settled of a series.
pub(crate) fn delete_series(conn: &Connection, series: i64) -> Result<(), HistoryError> {
    delete_of(conn, series, i64::MAX as u64, usize::MAX >> 1).map(drop)
}

/// Deletes what is settled of a series before this time: at most `limit` rows of hours, then the days before those that are
/// left. Returns the rows of hours that went.
fn delete_of(conn: &Connection, series: i64, since: u64, limit: usize) -> Result<usize, HistoryError> {
    let deleted = conn
        .prepare_cached(
            "DELETE FROM settled_1h WHERE series = ?1 AND bucket IN
               (SELECT bucket FROM settled_1h WHERE series = ?1 AND bucket < ?2 ORDER BY bucket LIMIT ?3)",
        )?
        .execute(params![series, since, limit])?;
    for table in [Table::SettledDays.rollup(), Table::SettledHours.rejects(), Table::SettledDays.rejects()] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE series = ?1 AND bucket < ?2"))?
            .execute(params![series, since])?;
    }
    Ok(deleted)
}

/// The start of the UTC day that holds this time.
pub(crate) const fn start_of_day(time_ms: u64) -> u64 {
    time_ms - time_ms % DAY_MS
}

impl Kept {
    /// Whether sums of this moment go to a table.
    pub(crate) fn admits(&self, table: Table, at: u64) -> bool {
        let hour = Tier::OneHour.bucket_of(at);
        match table {
            Table::Level(level) => {
                let since = self.since.get(level.index()).copied().unwrap_or(0);
                level.bucket_of(at) >= since && (table != Table::HOURS || hour >= self.settled_until)
            }
            Table::SettledHours | Table::SettledDays => hour >= self.since(Tier::OneHour) && hour < self.settled_until,
        }
    }
}
