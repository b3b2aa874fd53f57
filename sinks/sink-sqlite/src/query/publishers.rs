//! The publishers in short, and the names of their workers.

use rusqlite::{Connection, params};
use serde::Serialize;
use stats_sv2::Role;

use crate::cache::SeriesKind;
use crate::query::{History, QueryError, source_row};

impl History {
    /// Every publisher, the most recently heard first.
    pub fn publishers(&self) -> Result<Vec<PublisherView>, QueryError> {
        publishers(&self.conn)
    }

    /// The names of a publisher's workers: of its miners, or its user identities.
    pub fn worker_names(&self, publisher: &str, miners: bool) -> Result<Vec<String>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let kind = if miners { SeriesKind::MinerName } else { SeriesKind::Identity };
        let source = source_row(&tx, publisher)?;
        let mut rows = tx.prepare_cached("SELECT name FROM series WHERE source = ?1 AND kind = ?2 ORDER BY name")?;
        let rows = rows.query_map(params![source, kind as u8], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A publisher in one line.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublisherView {
    /// Its stable name.
    pub publisher: String,
    /// What kind of program it is.
    pub role: &'static str,
    /// Time of its last event or heartbeat.
    pub last_event_ms: u64,
    /// Whether a session of it is open.
    pub has_session: bool,
}

fn publishers(conn: &Connection) -> Result<Vec<PublisherView>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT publisher, role, last_event_at,
           EXISTS (SELECT 1 FROM sessions WHERE source = sources.id AND ended_at IS NULL)
         FROM sources ORDER BY last_event_at DESC, publisher",
    )?;
    let rows = rows.query_map([], |row| {
        Ok(PublisherView {
            publisher: row.get(0)?,
            role: Role::from_wire(row.get(1)?).map_or("unknown", Role::name),
            last_event_ms: row.get(2)?,
            has_session: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
