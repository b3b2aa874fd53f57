//! What graphs mark beside their values: blocks, new sessions and losses between two moments; and when a history begins.

use rusqlite::{Connection, Params, Row, params};

use crate::query::overview::LossView;
use crate::query::{History, QueryError, source_row};

impl History {
    /// The first moment that was observed of a publisher, in Unix milliseconds; a backlog is older than its arrival.
    pub fn begins(&self, publisher: &str) -> Result<Option<u64>, QueryError> {
        let source = source_row(&self.conn, publisher)?;
        let mut first =
            self.conn.prepare_cached("SELECT start_at FROM observed WHERE source = ?1 ORDER BY end_at LIMIT 1")?;
        let mut rows = first.query([source])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// What happened to a publisher from `from_ms` to `to_ms`, at most `limit` of each kind.
    pub fn marks(&self, publisher: &str, from_ms: u64, to_ms: u64, limit: u32) -> Result<MarksView, QueryError> {
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
            // Time in which a publisher was not connected is a gap of the graph itself.
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
    /// Losses that touch the range, except for time without a connection.
    pub losses: LatestOf<LossView>,
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
