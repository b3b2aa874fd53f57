//! Sums on their way into the buckets.
//!
//! A transaction adds to each touched bucket of each level once: the finest sums are gathered in memory, coarser ones are
//! made from them at the flush, and all are written as `row = row + difference`. Deriving a coarse tier later, when its finer
//! bucket closes, would write less, but then a late event or a crash between the two needs a rule of its own. Here every
//! level gets the same differences in the same transaction, so that counts over a tier equal those of the tier below by
//! construction. Only the place of an hour depends on its age: see [`crate::settling`].

use mining_stats::{RejectReason, ShareCredit, Spans, Sums, Tier};
use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use crate::error::HistoryError;
use crate::kept::Kept;
use crate::schema::{Level, Table};

/// Gathered buckets at most; more are written before the transaction ends (an event stream with wild timestamps).
const MAX_GATHERED: usize = 16_384;

const FIVE_MINUTES: u64 = Tier::FiveMinutes.width_ms();

/// Series whose last hour is remembered at most.
const MAX_LAST_HOURS: usize = 200_000;

/// A series and the levels that it is kept at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeriesRef {
    pub(crate) id: i64,
    /// Bit n stands for `Level::ALL[n]`.
    pub(crate) levels: u8,
}

impl SeriesRef {
    /// Levels of a publisher's total and of workers in small fleets.
    pub(crate) const FINE: u8 = 0b1_1111;
    /// Levels of other workers.
    pub(crate) const WORKER: u8 = 0b1_1110;
    /// Levels of connections, whose ids mean something only inside a session: the five-minute samples of the original
    /// design.
    pub(crate) const CONNECTION: u8 = 0b0_0100;

    pub(crate) fn has(self, level: Level) -> bool {
        self.levels & (1 << level.index()) != 0
    }

    /// The finest tier of the series.
    pub(crate) fn finest(self) -> Tier {
        Tier::ALL[(self.levels.trailing_zeros() as usize).min(Tier::ALL.len() - 1)]
    }

    /// Whether shares at this time give a rate: not if a loss touched their slot. The slot is the finest bucket of the
    /// series, a minute at least.
    pub(crate) fn is_rated(self, at: u64, struck: &Spans) -> bool {
        let slot = self.finest().max(Tier::OneMinute);
        let start = slot.bucket_of(at);
        !struck.touches(start, start + slot.width_ms())
    }
}

/// Accepted shares of one slot, before they reach a bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pending {
    slot: u64,
    accepted: u64,
    work: f64,
    work_squared: f64,
    best_share_work: f64,
}

impl Pending {
    /// Whether a share at this time goes with those that are here.
    #[inline]
    pub(crate) fn takes(&self, at: u64, width: u64) -> bool {
        self.accepted == 0 || at.wrapping_sub(self.slot) < width
    }

    #[inline]
    pub(crate) fn add(&mut self, credit: ShareCredit, at: u64, width: u64) {
        if self.accepted == 0 {
            self.slot = at - at % width;
        }
        self.accepted += 1;
        self.work += credit.work;
        self.work_squared += credit.work * credit.work;
        self.best_share_work = self.best_share_work.max(credit.share_work);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.accepted == 0
    }

    /// Work of the shares, in hashes.
    pub(crate) fn work(&self) -> f64 {
        self.work
    }

    /// Moves the shares into the buckets of a series.
    pub(crate) fn add_to(&self, rollup: &mut Rollup, series: SeriesRef, struck: &Spans) {
        let rated = series.is_rated(self.slot, struck);
        let sums = rollup.entry(series, self.slot);
        sums.accepted += self.accepted;
        sums.work += self.work;
        sums.work_squared += self.work_squared;
        sums.best_share_work = sums.best_share_work.max(self.best_share_work);
        if !rated {
            sums.unrated_shares += self.accepted;
            sums.unrated_work += self.work;
            sums.unrated_work_squared += self.work_squared;
        }
    }
}

/// The gathered sums of a transaction, in the finest buckets of each series.
#[derive(Debug, Default)]
pub(crate) struct Rollup {
    gathered: FxHashMap<(i64, u64), (u8, Sums)>,
    /// The last hour in which a series was seen, as the table knows it.
    last_hours: FxHashMap<i64, u64>,
    statements: Vec<(Table, TableSql)>,
}

#[derive(Debug)]
struct TableSql {
    shares: String,
    everything: String,
    rejects: String,
}

impl Rollup {
    /// The sums of a series at a time.
    #[inline]
    pub(crate) fn entry(&mut self, series: SeriesRef, at: u64) -> &mut Sums {
        let bucket = series.finest().bucket_of(at);
        &mut self.gathered.entry((series.id, bucket)).or_insert_with(|| (series.levels, Sums::default())).1
    }

    /// Work of a series that is gathered, in hashes. Looks at everything that is.
    pub(crate) fn gathered_work(&self, series: SeriesRef) -> f64 {
        self.gathered.iter().filter(|((id, _), _)| *id == series.id).map(|(_, (_, sums))| sums.work).sum()
    }

    /// Whether it is time to write, to bound memory.
    pub(crate) fn is_full(&self) -> bool {
        self.gathered.len() >= MAX_GATHERED
    }

    /// Forgets what was not written.
    pub(crate) fn clear(&mut self) {
        self.gathered = FxHashMap::default();
        self.last_hours = FxHashMap::default();
    }

    /// Adds what was gathered to the tables that keep its time.
    pub(crate) fn flush(&mut self, conn: &Connection, kept: &Kept) -> Result<(), HistoryError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        if self.statements.is_empty() {
            self.statements = Table::ALL.into_iter().map(|table| (table, TableSql::of(table))).collect();
        }
        let mut ordered: Vec<(u64, i64, u8, &Sums)> =
            self.gathered.iter().map(|((series, bucket), (levels, sums))| (*bucket, *series, *levels, sums)).collect();
        let is_late = ordered.iter().any(|(bucket, ..)| kept.admits(Table::SettledHours, *bucket));
        for (table, sql) in &self.statements {
            let table = *table;
            // In the order of the table's key, so that the pages are visited one after the other.
            match table {
                Table::Level(_) => {
                    ordered.sort_unstable_by_key(|(bucket, series, ..)| (table.bucket_of(*bucket), *series));
                }
                Table::SettledHours | Table::SettledDays if is_late => {
                    ordered.sort_unstable_by_key(|(bucket, series, ..)| (*series, table.bucket_of(*bucket)));
                }
                Table::SettledHours | Table::SettledDays => continue,
            }
            let mut shares = conn.prepare_cached(&sql.shares)?;
            let mut everything = conn.prepare_cached(&sql.everything)?;
            let mut rejects = conn.prepare_cached(&sql.rejects)?;
            let mut group = ordered
                .iter()
                .filter(|(_, series, levels, _)| SeriesRef { id: *series, levels: *levels }.has(table.level()))
                .filter(|(bucket, ..)| kept.admits(table, *bucket))
                .map(|(bucket, series, _, sums)| (table.bucket_of(*bucket), *series, *sums))
                .peekable();
            while let Some((bucket, series, first)) = group.next() {
                let mut merged;
                let mut sums = first;
                if group.peek().is_some_and(|next| (next.0, next.1) == (bucket, series)) {
                    merged = *first;
                    while let Some((.., more)) = group.next_if(|next| (next.0, next.1) == (bucket, series)) {
                        merged.merge(more);
                    }
                    sums = &merged;
                }
                if is_plain(sums) {
                    shares.execute(params![
                        bucket,
                        series,
                        sums.accepted,
                        sums.work,
                        sums.work_squared,
                        sums.best_share_work
                    ])?;
                    continue;
                }
                let ehash = (sums.ehash > 0).then(|| sums.ehash.to_be_bytes());
                everything.execute(params![
                    bucket,
                    series,
                    sums.accepted,
                    sums.work,
                    sums.work_squared,
                    sums.best_share_work,
                    sums.invalid_target,
                    sums.rejected_total(),
                    sums.squares_are_lower_bound,
                    sums.unrated_shares,
                    sums.unrated_work,
                    sums.unrated_work_squared,
                    sums.blocks,
                    sums.quotes,
                    ehash
                ])?;
                for (reason, count) in RejectReason::ALL.into_iter().zip(sums.rejected) {
                    if count > 0 {
                        rejects.execute(params![bucket, series, reason as u8, count])?;
                    }
                }
            }
        }
        if is_late {
            let mut settled = conn.prepare_cached(
                "UPDATE series SET settled_from = ?2 WHERE id = ?1 AND (settled_from IS NULL OR settled_from > ?2)",
            )?;
            for (bucket, series, levels, _) in &ordered {
                let series = SeriesRef { id: *series, levels: *levels };
                if series.has(Table::SettledDays.level()) && kept.admits(Table::SettledDays, *bucket) {
                    settled.execute(params![series.id, Table::SettledDays.bucket_of(*bucket)])?;
                }
            }
        }
        let mut seen = conn.prepare_cached("UPDATE series SET last_hour = ?2 WHERE id = ?1 AND last_hour < ?2")?;
        for (bucket, series, ..) in &ordered {
            let hour = Tier::OneHour.bucket_of(*bucket);
            let last = self.last_hours.entry(*series).or_insert(0);
            if *last < hour {
                *last = hour;
                seen.execute(params![series, hour])?;
            }
        }
        drop(ordered);
        self.gathered.clear();
        if self.last_hours.len() > MAX_LAST_HOURS {
            self.last_hours.clear();
        }
        Ok(())
    }
}

/// Accepted shares and nothing else: almost every bucket of almost every transaction, for which a short statement halves
/// the cost.
fn is_plain(sums: &Sums) -> bool {
    sums.invalid_target + sums.unrated_shares + sums.blocks + sums.quotes + sums.rejected_total() == 0
        && !sums.squares_are_lower_bound
}

impl TableSql {
    fn of(table: Table) -> Self {
        let (rollup, reasons) = (table.rollup(), table.rejects());
        let (columns, add, add_reasons) = (Table::columns(), Table::add(), Table::ADD_REASONS);
        Self {
            shares: format!(
                "INSERT INTO {rollup} (bucket, series, accepted, work, work_squared, best_share_work)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (bucket, series) DO UPDATE SET accepted = accepted + excluded.accepted,
                   work = work + excluded.work, work_squared = work_squared + excluded.work_squared,
                   best_share_work = max(best_share_work, excluded.best_share_work)"
            ),
            everything: format!(
                "INSERT INTO {rollup} (bucket, series, {columns})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) {add}"
            ),
            rejects: format!(
                "INSERT INTO {reasons} (bucket, series, reason, count) VALUES (?1, ?2, ?3, ?4) {add_reasons}"
            ),
        }
    }
}

/// Takes the slots between `from` and `to` (whole minutes) out of the rates of a source: what their buckets hold becomes
/// unrated, on every level. Sums that are gathered must be flushed before. Slots must not have been struck before. Where
/// minutes are not kept any more, whole hours go.
pub(crate) fn strike(conn: &Connection, source: i64, from: u64, to: u64, kept: &Kept) -> Result<(), HistoryError> {
    const HOUR: u64 = Tier::OneHour.width_ms();
    let minutes_since = kept.since(Tier::OneMinute);
    if from >= minutes_since {
        return strike_minutes(conn, source, from, to);
    }
    let minutes_from = minutes_since.div_ceil(HOUR) * HOUR;
    strike_hours(conn, source, from / HOUR * HOUR, (to.div_ceil(HOUR) * HOUR).min(minutes_from))?;
    if minutes_from < to { strike_minutes(conn, source, minutes_from, to) } else { Ok(()) }
}

/// Whole hours become unrated, with every finer bucket of theirs that is left.
fn strike_hours(conn: &Connection, source: i64, from: u64, to: u64) -> Result<(), HistoryError> {
    add_unrated(conn, Table::SettledDays, "settled_1h", "true", source, from, to)?;
    add_unrated(conn, Table::Level(Level::Total), "hours", "true", source, from, to)?;
    for table in Table::ALL {
        if !matches!(table, Table::SettledDays | Table::Level(Level::Total)) {
            unrate(conn, table, "true", source, from, to)?;
        }
    }
    Ok(())
}

fn strike_minutes(conn: &Connection, source: i64, from: u64, to: u64) -> Result<(), HistoryError> {
    // A row of hours that moves takes its unrated part along, so each hour is struck where it has a row.
    let hour = format!("f.bucket - f.bucket % {}", Tier::OneHour.width_ms());
    let is_settled = format!("NOT EXISTS (SELECT 1 FROM rollup_1h h WHERE h.bucket = {hour} AND h.series = f.series)");
    for (table, which) in [
        (Table::Level(Level::Tier(Tier::FiveMinutes)), "true"),
        (Table::HOURS, "true"),
        (Table::SettledHours, &*is_settled),
        (Table::SettledDays, &*is_settled),
        (Table::Level(Level::Total), "true"),
    ] {
        add_unrated(conn, table, "rollup_1m", which, source, from, to)?;
    }
    unrate(conn, Table::Level(Level::Tier(Tier::TenSeconds)), "levels & 1", source, from, to)?;
    unrate(conn, Table::Level(Level::Tier(Tier::OneMinute)), "levels & 2", source, from, to)?;
    // Series whose finest tier is five minutes lose the whole of it.
    let (from, to) = (from / FIVE_MINUTES * FIVE_MINUTES, to.div_ceil(FIVE_MINUTES) * FIVE_MINUTES);
    unrate(conn, Table::Level(Level::Tier(Tier::FiveMinutes)), "levels & 3 = 0", source, from, to)
}

/// Adds to the unrated part of a table's buckets what is still rated in the `finer` buckets `f` of which they are made.
fn add_unrated(
    conn: &Connection,
    table: Table,
    finer: &str,
    which: &str,
    source: i64,
    from: u64,
    to: u64,
) -> Result<(), HistoryError> {
    conn.prepare_cached(&format!(
        "UPDATE {rollup} AS u SET unrated_shares = u.unrated_shares + d.shares,
           unrated_work = u.unrated_work + d.work, unrated_work_squared = u.unrated_work_squared + d.squares
         FROM (SELECT {bucket} AS bucket, f.series AS series,
                 sum(f.accepted - f.invalid_target - f.unrated_shares) AS shares, sum(f.work - f.unrated_work) AS work,
                 sum(f.work_squared - f.unrated_work_squared) AS squares
               FROM {finer} f JOIN series s ON s.id = f.series
               WHERE f.bucket >= ?2 AND f.bucket < ?3 AND s.source = ?1 AND {which} GROUP BY 1, 2) AS d
         WHERE u.bucket = d.bucket AND u.series = d.series",
        rollup = table.rollup(),
        bucket = table.bucket_sql("f.bucket"),
    ))?
    .execute(params![source, from, to])?;
    Ok(())
}

/// Makes all of a table's buckets unrated, of the series `which`.
fn unrate(conn: &Connection, table: Table, which: &str, source: i64, from: u64, to: u64) -> Result<(), HistoryError> {
    conn.prepare_cached(&format!(
        "UPDATE {} SET unrated_shares = accepted - invalid_target, unrated_work = work, unrated_work_squared = work_squared
         WHERE bucket >= ?2 AND bucket < ?3 AND series IN (SELECT id FROM series WHERE source = ?1 AND {which})",
        table.rollup()
    ))?
    .execute(params![source, from, to])?;
    Ok(())
}
