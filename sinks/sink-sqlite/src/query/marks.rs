//! What graphs mark beside their values: blocks, new sessions, outages and losses between two moments; and when a history
//! begins.

use mining_stats::Spans;
use mining_stats::reading::STALE_AFTER_MS;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use stats_sv2::event::ENDED_CLEAN;

use crate::query::overview::LossView;
use crate::query::{History, QueryError, source_row};

/// Spans, and losses, that are read of a source at most, the latest ones: a publisher that comes and goes makes many in a year.
/// Outages before them are not told.
const MAX_READ: u32 = 20_000;

impl History {
    /// The first moment that was observed of a publisher, in Unix milliseconds; a backlog is older than its arrival.
    pub fn begins(&self, publisher: &str) -> Result<Option<u64>, QueryError> {
        let source = source_row(&self.conn, publisher)?;
        let mut first =
            self.conn.prepare_cached("SELECT start_at FROM observed WHERE source = ?1 ORDER BY end_at LIMIT 1")?;
        let mut rows = first.query([source])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// What happened to a publisher from `from_ms` to `to_ms`, as of `now_ms`, at most `limit` of each kind.
    pub fn marks(
        &self,
        publisher: &str,
        from_ms: u64,
        to_ms: u64,
        now_ms: u64,
        limit: u32,
    ) -> Result<MarksView, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        // SQLite has signed numbers.
        let (from_ms, to_ms) = (from_ms.min(i64::MAX as u64), to_ms.min(i64::MAX as u64));
        let range = params![source, from_ms, to_ms];
        Ok(MarksView {
            blocks: latest(
                &tx,
                "found_at, height",
                "blocks WHERE source = ?1 AND found_at BETWEEN ?2 AND ?3 ORDER BY found_at DESC, id DESC",
                range,
                limit,
                |row| Ok(BlockMark { found_ms: row.get(0)?, height: row.get(1)? }),
            )?,
            // The first session is the beginning, no restart.
            restarts: latest(
                &tx,
                "started_at",
                "sessions WHERE source = ?1 AND started_at BETWEEN ?2 AND ?3
                 AND id > (SELECT min(id) FROM sessions WHERE source = ?1) ORDER BY id DESC",
                range,
                limit,
                |row| row.get(0),
            )?,
            outages: outages(&tx, source, (from_ms, to_ms), now_ms, limit as usize)?,
            // Older than the journal is no loss: nobody was there to observe it.
            losses: latest(
                &tx,
                LossView::COLUMNS,
                "losses WHERE source = ?1 AND end_at >= ?2 AND start_at <= ?3 AND kind <> 'unseen'
                 ORDER BY end_at DESC, id DESC",
                range,
                limit,
                LossView::of_row,
            )?,
        })
    }
}

/// What happened in a range, each kind with the latest first.
#[derive(Debug, Clone, Default)]
pub struct MarksView {
    /// Blocks that the publisher found.
    pub blocks: LatestOf<BlockMark>,
    /// When sessions began, the first ever left out.
    pub restarts: LatestOf<u64>,
    /// Times without data that touch the range, where no loss says so already.
    pub outages: LatestOf<Outage>,
    /// Losses that touch the range.
    pub losses: LatestOf<LossView>,
}

/// A time of which nothing was heard: longer than a publisher may be silent before it is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The last moment that was observed before.
    pub from_ms: u64,
    /// The first one that was observed after; `None` while it goes on.
    pub to_ms: Option<u64>,
    /// The publisher had ended its session before, as it does when it is stopped.
    pub had_stopped: bool,
}

/// The latest of some rows, and how many there are in all.
#[derive(Debug, Clone)]
pub struct LatestOf<T> {
    /// The latest ones, the latest first.
    pub latest: Vec<T>,
    /// All of them.
    pub total: u64,
}

impl<T> Default for LatestOf<T> {
    fn default() -> Self {
        Self { latest: Vec::new(), total: 0 }
    }
}

/// A block on a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockMark {
    /// When it was found.
    pub found_ms: u64,
    /// Height; 0 where unknown.
    pub height: u32,
}

fn latest<T>(
    conn: &Connection,
    columns: &str,
    from: &str,
    range: impl Params + Copy,
    limit: u32,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<LatestOf<T>, QueryError> {
    let mut rows = conn.prepare_cached(&format!("SELECT {columns} FROM {from} LIMIT {limit}"))?;
    let latest: Vec<T> = rows.query_map(range, read)?.collect::<Result<_, _>>()?;
    let total = if latest.len() < limit as usize {
        latest.len() as u64
    } else {
        conn.prepare_cached(&format!("SELECT count(*) FROM {from}"))?.query_row(range, |row| row.get(0))?
    };
    Ok(LatestOf { latest, total })
}

/// The holes between the observed spans of a source, whatever sessions these belong to.
fn outages(
    conn: &Connection,
    source: i64,
    (from, to): (u64, u64),
    now: u64,
    limit: usize,
) -> Result<LatestOf<Outage>, QueryError> {
    let mut losses = conn.prepare_cached(
        "SELECT start_at, end_at FROM losses WHERE source = ?1 AND end_at >= ?2 AND kind <> 'unseen'
         ORDER BY end_at DESC LIMIT ?3",
    )?;
    let losses = losses.query_map(params![source, from, MAX_READ], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let lost = losses.collect::<Result<Vec<_>, _>>().map(Spans::union_of)?;
    let mut spans = conn.prepare_cached(
        "SELECT start_at, end_at, session FROM observed WHERE source = ?1 ORDER BY end_at DESC, id DESC LIMIT ?2",
    )?;
    let mut outcome = conn.prepare_cached("SELECT outcome FROM sessions WHERE id = ?1")?;
    let mut spans = spans.query(params![source, MAX_READ])?;
    let mut found = LatestOf::default();
    // Where the spans that were read begin, all of them together, and the session of the first of them.
    let mut later: Option<(u64, i64)> = None;
    while let Some(span) = spans.next()? {
        let (start, end, session): (u64, u64, i64) = (span.get(0)?, span.get(1)?, span.get(2)?);
        let until = later.map_or(now, |(begin, _)| begin);
        let is_hole = until.saturating_sub(end) > STALE_AFTER_MS && lost.within(end, until) < until - end;
        if is_hole && end <= to && until >= from {
            found.total += 1;
            if found.latest.len() < limit {
                // A session that is too old to be kept says nothing.
                let outcome: Option<Option<u8>> = outcome.query_row([session], |row| row.get(0)).optional()?;
                let had_stopped =
                    outcome.flatten() == Some(ENDED_CLEAN) && later.is_none_or(|(_, next)| next != session);
                found.latest.push(Outage { from_ms: end, to_ms: later.map(|(begin, _)| begin), had_stopped });
            }
        }
        if end < from {
            break;
        }
        later = Some(match later {
            Some((begin, session)) if begin <= start => (begin, session),
            _ => (start, session),
        });
    }
    Ok(found)
}
