//! What the SQLite history and the other files of a sidecar say, read from outside with plain SQL: the stories check the
//! product's own files, not its opinion of them.

mod miners;
mod quotes;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
pub use miners::{MinerRow, UpstreamRow};
pub use quotes::{QuoteLife, QuoteRow, quote_lives};
use rusqlite::{Connection, OpenFlags};

/// A history file, opened for reading.
#[derive(Debug)]
pub struct History {
    database: Connection,
}

impl History {
    /// Opens the file; a running sidecar does not mind.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn open(path: &Path) -> Result<Self> {
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { database })
    }

    /// Accepted shares of all channels of a publisher, over all its sessions.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn accepted(&self, publisher: &str) -> Result<u64> {
        self.number(
            "SELECT coalesce(sum(accepted), 0) FROM channels JOIN sources ON sources.id = channels.source WHERE publisher = ?1",
            publisher,
        )
    }

    /// Work of all channels of a publisher, in expected hashes, over all its sessions.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn work(&self, publisher: &str) -> Result<f64> {
        let sql = "SELECT total(work) FROM channels JOIN sources ON sources.id = channels.source WHERE publisher = ?1";
        Ok(self.database.query_row(sql, [publisher], |row| row.get(0))?)
    }

    /// Accepted shares of a publisher in the totals that retention never touches.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn accepted_in_total(&self, publisher: &str) -> Result<u64> {
        self.number(
            "SELECT coalesce(sum(accepted), 0) FROM rollup_total JOIN series ON series.id = rollup_total.series
             JOIN sources ON sources.id = series.source WHERE publisher = ?1 AND kind = 0",
            publisher,
        )
    }

    /// Channels of a publisher that the history has, open and closed, and those of them that are open.
    ///
    /// # Errors
    /// When the table is not there.
    pub fn channels(&self, publisher: &str) -> Result<(u64, u64)> {
        let sql =
            "SELECT count(*), count(*) - count(closed_at) FROM channels JOIN sources ON sources.id = channels.source
                   WHERE publisher = ?1";
        Ok(self.database.query_row(sql, [publisher], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// Accepted shares by the channel's key in its session: the sum over sessions with the same key, as (downstream, channel).
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn accepted_by_channel(&self, publisher: &str) -> Result<BTreeMap<(u64, u32), u64>> {
        let mut statement = self.database.prepare(
            "SELECT downstream_id, channel_id, sum(accepted) FROM channels JOIN sources ON sources.id = channels.source
             WHERE publisher = ?1 GROUP BY downstream_id, channel_id",
        )?;
        let rows = statement.query_map([publisher], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Rows of the five-minute view `hashrate_samples`, and the shares in them.
    ///
    /// # Errors
    /// When the view is not there.
    pub fn hashrate_samples(&self, publisher: &str) -> Result<(u64, u64)> {
        let count = self.number("SELECT count(*) FROM hashrate_samples WHERE publisher = ?1", publisher)?;
        let shares =
            self.number("SELECT coalesce(sum(shares_5min), 0) FROM hashrate_samples WHERE publisher = ?1", publisher)?;
        Ok((count, shares))
    }

    fn number(&self, sql: &str, publisher: &str) -> Result<u64> {
        Ok(self.database.query_row(sql, [publisher], |row| row.get(0))?)
    }
}

/// The events of a kind in a log file, by (session, sequence): how often each came.
///
/// # Errors
/// When a line is no whole JSON object, which a crash must never leave behind.
pub fn logged(path: &Path, kind: &str) -> Result<BTreeMap<(String, u64), u32>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.is_empty() || text.ends_with('\n'), "{} ends in half a line", path.display());
    let mut events = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let event: serde_json::Value = serde_json::from_str(line)
            .with_context(|| format!("line {} of {} is damaged", index + 1, path.display()))?;
        if event["kind"] == kind {
            let session = event["session"].as_str().context("an event without session")?.to_owned();
            let sequence = event["sequence"].as_u64().context("an event without sequence")?;
            *events.entry((session, sequence)).or_insert(0) += 1;
        }
    }
    Ok(events)
}
