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
/// Series of a day that move, and series that lose days, in one call. Few in unit tests, so that these see many calls.
const SERIES_PER_CALL: u32 = if cfg!(test) { 2 } else { 200 };
/// Hours that are given up in one call, and a day of a series more.
const ROWS_PER_CALL: usize = 5_000;
const HOURS_OF_DAY: usize = 24;

/// The ehash of several buckets.
const EHASH: &str = "iif(count(ehash), ehash_sum(ehash), NULL)";

/// Up to when hours are settled, as of `now`: by the latest event that counts, so that reading a long backlog again settles
/// nothing ahead of it.
pub(crate) fn settled_until(conn: &Connection, now: u64) -> Result<u64, HistoryError> {
    let latest: Option<u64> =
        conn.prepare_cached("SELECT max(bucket) FROM rollup_1h")?.query_row([], |row| row.get(0))?;
    let latest = latest.unwrap_or(0).min(now);
    Ok(start_of_day(latest.saturating_sub(SETTLES_AFTER_MS)))
}

/// Moves a part of the hours before [`Kept::settled_until`]: some series of the oldest day. Hours that are not kept any more
/// stay for those who delete them, since nobody would delete them where they came to.
pub(crate) fn settle(conn: &Connection, kept: &Kept) -> Result<(), HistoryError> {
    let oldest: Option<u64> = conn
        .prepare_cached("SELECT min(bucket) FROM rollup_1h WHERE bucket >= ?1 AND bucket < ?2")?
        .query_row(params![kept.since(Tier::OneHour), kept.settled_until], |row| row.get(0))?;
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
             SELECT {bucket}, series, {sums}, {EHASH} FROM rollup_1h WHERE {these}
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
        // As many days as the call has room for, but one at least.
        let beyond: Option<u64> = conn
            .prepare_cached("SELECT bucket FROM settled_1h WHERE series = ?1 ORDER BY bucket LIMIT 1 OFFSET ?2")?
            .query_row(params![series, ROWS_PER_CALL - deleted + HOURS_OF_DAY], |row| row.get(0))
            .optional()?;
        deleted += delete_of(conn, series, beyond.map_or(since, start_of_day).min(since))?;
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

/// Gives up what is settled of a series that goes: what is left of its last day, all before having gone.
pub(crate) fn delete_series(conn: &Connection, series: i64) -> Result<(), HistoryError> {
    delete_of(conn, series, i64::MAX as u64).map(drop)
}

/// Deletes what is settled of a series before this time. Returns the hours that went.
fn delete_of(conn: &Connection, series: i64, before: u64) -> Result<usize, HistoryError> {
    let delete = |name: &str| -> Result<usize, HistoryError> {
        let sql = format!("DELETE FROM {name} WHERE series = ?1 AND bucket < ?2");
        Ok(conn.prepare_cached(&sql)?.execute(params![series, before])?)
    };
    for name in [Table::SettledHours.rejects(), Table::SettledDays.rollup(), Table::SettledDays.rejects()] {
        delete(&name)?;
    }
    delete(&Table::SettledHours.rollup())
}

/// Sums the days anew, and notes where each series begins, after a part of them was lost.
pub(crate) fn rebuild_days(conn: &Connection) -> Result<(), HistoryError> {
    let sums = COUNTED.map(|(column, sum)| format!("{sum}({column})")).join(", ");
    conn.execute_batch(&format!(
        "BEGIN;
         DELETE FROM settled_1d;
         DELETE FROM settled_rejects_1d;
         INSERT INTO settled_1d (series, bucket, {columns})
         SELECT series, bucket - bucket % {DAY_MS}, {sums}, {EHASH} FROM settled_1h GROUP BY 1, 2;
         INSERT INTO settled_rejects_1d (series, bucket, reason, count)
         SELECT series, bucket - bucket % {DAY_MS}, reason, sum(count) FROM settled_rejects_1h GROUP BY 1, 2, 3;
         UPDATE series SET settled_from = (SELECT min(bucket) FROM settled_1d WHERE series = id);
         COMMIT;",
        columns = Table::columns()
    ))?;
    Ok(())
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
