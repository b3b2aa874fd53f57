//! Losses of a publisher, all that are kept.

use rusqlite::{Connection, params};

use crate::query::overview::LossView;
use crate::query::part::{Bounded, Part};
use crate::query::{History, QueryError, source_row};

impl History {
    /// Losses of a publisher with their numbers, by which a part begins; the one that was told last comes first.
    pub fn losses(&self, publisher: &str, part: &Part<u64>) -> Result<Vec<(u64, LossView)>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        losses(&tx, source, part)
    }
}

fn losses(conn: &Connection, source: i64, part: &Part<u64>) -> Result<Vec<(u64, LossView)>, QueryError> {
    let mut rows = conn.prepare_cached(&format!(
        "SELECT {}, id FROM losses WHERE source = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3 OFFSET ?4",
        LossView::COLUMNS
    ))?;
    let rows = rows
        .query_map(params![source, Bounded(part.after.unwrap_or(u64::MAX)), part.limit(), part.skip()], |row| {
            Ok((row.get(5)?, LossView::of_row(row)?))
        })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
