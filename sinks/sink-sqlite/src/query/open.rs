//! How much is open in all, however few rows a list of it may have.

use rusqlite::params;

use crate::query::{History, QueryError, source_row};

impl History {
    /// Open channels and miners of a publisher, in all.
    pub fn open_totals(&self, publisher: &str) -> Result<OpenTotals, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let totals = tx
            .prepare_cached(
                "SELECT count(*), coalesce(sum(accepted), 0) FROM (
                   SELECT accepted FROM channels WHERE source = ?1 AND closed_at IS NULL
                   UNION ALL SELECT accepted FROM miners WHERE source = ?1 AND disconnected_at IS NULL)",
            )?
            .query_row(params![source], |row| Ok(OpenTotals { connections: row.get(0)?, accepted: row.get(1)? }))?;
        Ok(totals)
    }
}

/// What is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenTotals {
    /// Open channels and miner connections.
    pub connections: u64,
    /// Their accepted shares.
    pub accepted: u64,
}
