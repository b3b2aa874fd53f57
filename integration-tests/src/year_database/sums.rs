//! The sums of the shares in every tier, as far back as the tier is kept, in the order of the tables' keys.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use mining_stats::Tier;
use rusqlite::{Connection, params};

use super::plan::{Plan, Span};
use super::shares::{Counts, REASONS, Shares};
use super::{HOUR_MS, MINUTE_MS};

/// Rows of a transaction: few large ones, since each ends with the pages that it changed going to the file.
const ROWS_PER_TRANSACTION: u64 = 2_000_000;
/// `series.kind` of all channels, a user identity, a downstream.
const ALL_CHANNELS: u8 = 0;
const IDENTITY: u8 = 1;
const DOWNSTREAM: u8 = 2;
/// `series.levels` of a series that has ten-second buckets.
const TEN_SECONDS: u8 = 1;

/// Returns the rows written.
pub(super) fn write(plan: &Plan, path: &Path) -> Result<u64> {
    let conn = Connection::open(path)?;
    // A file that is not whole yet needs no protection: whoever kills this throws it away.
    conn.execute_batch(
        "PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA locking_mode = exclusive; PRAGMA cache_size = -65536;",
    )?;
    let mut writer =
        Writer { series: SeriesIds::read(plan, &conn)?, counts: Counts::new(), plan, conn: &conn, rows: 0 };
    let totals = writer.tier(Tier::OneHour)?;
    // The pages that this leaves free take the other tiers.
    writer.settle()?;
    writer.ten_seconds()?;
    writer.tier(Tier::OneMinute)?;
    writer.tier(Tier::FiveMinutes)?;
    writer.totals(&totals)?;
    writer.channels()?;
    let rows = writer.rows;
    let end = plan.ms(plan.minutes);
    conn.execute("UPDATE series SET last_hour = ?1", [end - end % HOUR_MS])?;
    // The place in a journal that never was: the next sidecar begins with its own.
    conn.execute("DELETE FROM meta WHERE key IN ('journal_id', 'offset')", [])?;
    conn.execute_batch("PRAGMA locking_mode = normal; PRAGMA journal_mode = wal;")?;
    Ok(rows)
}

/// Rows of `series`; the numbers are small, so that sums are kept in a vector by them.
struct SeriesIds {
    total: usize,
    /// By downstream and worker in the plan, with whether it has ten-second buckets.
    identities: Vec<Vec<(usize, bool)>>,
    /// By the pool's number.
    downstreams: HashMap<u32, usize>,
    /// One more than the largest.
    end: usize,
}

impl SeriesIds {
    fn read(plan: &Plan, conn: &Connection) -> Result<Self> {
        let mut total = None;
        let (mut by_name, mut downstreams, mut end) = (HashMap::new(), HashMap::new(), 0);
        let mut rows = conn.prepare("SELECT id, kind, name, levels FROM series")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let id: usize = row.get::<_, u64>(0)?.try_into()?;
            let name: String = row.get(2)?;
            end = end.max(id + 1);
            match row.get::<_, u8>(1)? {
                ALL_CHANNELS => total = Some(id),
                IDENTITY => drop(by_name.insert(name, (id, row.get::<_, u8>(3)? & TEN_SECONDS != 0))),
                DOWNSTREAM => drop(downstreams.insert(name.parse()?, id)),
                _ => {}
            }
        }
        let identities = plan.downstreams.iter().map(|downstream| {
            let ids = downstream.workers.iter().map(|worker| by_name.get(&worker.name).copied());
            ids.collect::<Option<Vec<_>>>().context("a worker never opened a channel")
        });
        Ok(Self {
            total: total.context("the sink made no series of all channels: no block and no quote came")?,
            identities: identities.collect::<Result<_>>()?,
            downstreams,
            end,
        })
    }
}

struct Writer<'a> {
    series: SeriesIds,
    counts: Counts,
    plan: &'a Plan,
    conn: &'a Connection,
    rows: u64,
}

impl Writer<'_> {
    /// The first minute of the history that a tier keeps.
    fn kept_since(&self, tier: Tier) -> u32 {
        let end = self.plan.ms(self.plan.minutes);
        let since = tier.bucket_of(end.saturating_sub(tier.default_retention_ms()));
        (since.saturating_sub(self.plan.start_ms) / MINUTE_MS) as u32
    }

    /// Writes a tier of whole minutes and returns what it wrote of each series together.
    fn tier(&mut self, tier: Tier) -> Result<Vec<Shares>> {
        let width = (tier.width_ms() / MINUTE_MS) as u32;
        let mut totals = vec![Shares::default(); self.series.end];
        let mut table = Table::new(self.conn, tier.name())?;
        let mut bucket = vec![Shares::default(); self.series.end];
        for from in (self.kept_since(tier)..self.plan.minutes).step_by(width as usize) {
            self.gather(Span { from, to: (from + width).min(self.plan.minutes) }, tier, &mut bucket);
            for (total, shares) in totals.iter_mut().zip(&bucket) {
                total.add(shares);
            }
            table.insert(self.plan.ms(from), &mut bucket)?;
        }
        self.rows += table.finish()?;
        Ok(totals)
    }

    /// Adds the shares of a span to their series. Connections have five-minute samples only.
    fn gather(&self, span: Span, tier: Tier, bucket: &mut [Shares]) {
        for (downstream, ids) in self.plan.downstreams.iter().zip(&self.series.identities) {
            let first = downstream.connections.partition_point(|connection| connection.span.to <= span.from);
            for connection in &downstream.connections[first..] {
                if connection.span.from >= span.to {
                    break;
                }
                let minutes = connection.span.from.max(span.from)..connection.span.to.min(span.to);
                for (worker, (id, _)) in downstream.workers.iter().zip(ids) {
                    let mut shares = Shares::default();
                    for minute in minutes.clone() {
                        shares.add(&self.counts.of_minute(worker, minute));
                    }
                    bucket[*id].add(&shares);
                    bucket[self.series.total].add(&shares);
                    if tier == Tier::FiveMinutes
                        && let Some(id) = self.series.downstreams.get(&connection.id)
                    {
                        bucket[*id].add(&shares);
                    }
                }
            }
        }
    }

    /// Writes the finest tier, which the total and some workers have.
    fn ten_seconds(&mut self) -> Result<()> {
        let mut table = Table::new(self.conn, Tier::TenSeconds.name())?;
        let mut bucket = vec![Shares::default(); self.series.end];
        for minute in self.kept_since(Tier::TenSeconds)..self.plan.minutes {
            for sixth in 0..6 {
                for (downstream, ids) in self.plan.downstreams.iter().zip(&self.series.identities) {
                    if downstream.connected_at(minute).is_none() {
                        continue;
                    }
                    for (worker, (id, is_fine)) in downstream.workers.iter().zip(ids) {
                        let shares = self.counts.of_ten_seconds(worker, minute, sixth);
                        bucket[self.series.total].add(&shares);
                        if *is_fine {
                            bucket[*id].add(&shares);
                        }
                    }
                }
                let at = self.plan.ms(minute) + u64::from(sixth) * Tier::TenSeconds.width_ms();
                table.insert(at, &mut bucket)?;
            }
        }
        self.rows += table.finish()?;
        Ok(())
    }

    /// Hours are kept for longer than the history is, so that their sums are the totals.
    fn totals(&mut self, totals: &[Shares]) -> Result<()> {
        let mut table = Table::new(self.conn, "total")?;
        table.insert(0, &mut totals.to_vec())?;
        self.rows += table.finish()?;
        Ok(())
    }

    /// Moves the hours to where the sink moves them day by day, all but those with ehash, which SQL cannot add up.
    fn settle(&self) -> Result<()> {
        const DAY_MS: u64 = 24 * HOUR_MS;
        let end = self.plan.ms(self.plan.minutes).saturating_sub(DAY_MS);
        let until = end - end % DAY_MS;
        for (width, sums, reasons) in
            [(HOUR_MS, "settled_1h", "settled_rejects_1h"), (DAY_MS, "settled_1d", "settled_rejects_1d")]
        {
            self.conn.execute_batch(&format!(
                "BEGIN;
                 INSERT INTO {sums} (series, bucket, accepted, work, work_squared, best_share_work, rejected, blocks, quotes)
                 SELECT series, bucket - bucket % {width}, sum(accepted), sum(work), sum(work_squared), max(best_share_work),
                   sum(rejected), sum(blocks), sum(quotes)
                 FROM rollup_1h WHERE bucket < {until} AND ehash IS NULL GROUP BY 1, 2;
                 INSERT INTO {reasons} (series, bucket, reason, count)
                 SELECT series, bucket - bucket % {width}, reason, sum(count) FROM rejects_1h WHERE bucket < {until} GROUP BY 1, 2, 3;
                 COMMIT;"
            ))?;
        }
        self.conn.execute_batch(&format!(
            "BEGIN;
             DELETE FROM rollup_1h WHERE bucket < {until} AND ehash IS NULL;
             DELETE FROM rejects_1h WHERE bucket < {until};
             UPDATE series SET settled_from = (SELECT min(bucket) FROM settled_1d WHERE series = id);
             INSERT INTO meta (key, value) VALUES ('settled_until', {until})
             ON CONFLICT (key) DO UPDATE SET value = excluded.value;
             COMMIT;"
        ))?;
        Ok(())
    }

    /// Each channel has the sums of its own time.
    fn channels(&self) -> Result<()> {
        self.conn.execute_batch("BEGIN")?;
        let mut sessions = self.conn.prepare("SELECT id FROM sessions ORDER BY session_id")?;
        let sessions: Vec<i64> = sessions.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut update = self.conn.prepare(
            "UPDATE channels SET accepted = ?4, rejected = ?5, work = ?6, best_share_work = ?7, last_share_at = ?8
             WHERE session = ?1 AND downstream_id = ?2 AND channel_id = ?3",
        )?;
        for downstream in &self.plan.downstreams {
            for connection in &downstream.connections {
                for (channel, worker) in downstream.workers.iter().enumerate() {
                    let (mut sum, mut last) = (Shares::default(), None);
                    for minute in connection.span.from..connection.span.to {
                        let shares = self.counts.of_minute(worker, minute);
                        sum.add(&shares);
                        last = (shares.accepted > 0).then(|| self.plan.ms(minute + 1) - 1).or(last);
                    }
                    let session = sessions.get(connection.session).context("the sink lost a session")?;
                    update.execute(params![
                        session,
                        connection.id,
                        channel as u32 + 1,
                        sum.accepted,
                        sum.rejected(),
                        sum.work,
                        sum.best,
                        last
                    ])?;
                }
            }
        }
        self.conn.execute_batch("COMMIT")?;
        Ok(())
    }
}

/// The tables of a level.
struct Table<'a> {
    conn: &'a Connection,
    sums: rusqlite::Statement<'a>,
    rejects: rusqlite::Statement<'a>,
    rows: u64,
    committed: u64,
}

impl<'a> Table<'a> {
    fn new(conn: &'a Connection, level: &str) -> Result<Self> {
        // Blocks and quotes have made some of the rows.
        let sums = conn.prepare(&format!(
            "INSERT INTO rollup_{level} (bucket, series, accepted, work, work_squared, best_share_work, rejected)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (bucket, series) DO UPDATE SET accepted = excluded.accepted, work = excluded.work,
               work_squared = excluded.work_squared, best_share_work = max(best_share_work, excluded.best_share_work),
               rejected = excluded.rejected"
        ))?;
        let rejects = conn
            .prepare(&format!("INSERT INTO rejects_{level} (bucket, series, reason, count) VALUES (?1, ?2, ?3, ?4)"))?;
        conn.execute_batch("BEGIN")?;
        Ok(Self { conn, sums, rejects, rows: 0, committed: 0 })
    }

    /// Writes the sums of a bucket by series and empties them.
    fn insert(&mut self, at: u64, bucket: &mut [Shares]) -> Result<()> {
        for (series, shares) in bucket.iter_mut().enumerate().filter(|(_, shares)| !shares.is_empty()) {
            let Shares { accepted, rejected, work, work_squared, best } = std::mem::take(shares);
            let all_rejected: u32 = rejected.iter().sum();
            self.sums.execute(params![at, series, accepted, work, work_squared, best, all_rejected])?;
            self.rows += 1;
            for (reason, count) in REASONS.iter().zip(rejected).filter(|(_, count)| *count > 0) {
                self.rejects.execute(params![at, series, reason, count])?;
                self.rows += 1;
            }
        }
        if self.rows - self.committed > ROWS_PER_TRANSACTION {
            self.conn.execute_batch("COMMIT; BEGIN")?;
            self.committed = self.rows;
        }
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        self.conn.execute_batch("COMMIT")?;
        Ok(self.rows)
    }
}
