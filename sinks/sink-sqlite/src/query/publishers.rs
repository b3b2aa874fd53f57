//! The publishers in short, and the names of their workers.

use rusqlite::{Connection, params};
use serde::Serialize;
use stats_sv2::Role;

use crate::cache::SeriesKind;
use crate::query::online::{Connected, Presence};
use crate::query::part::Part;
use crate::query::{History, QueryError, source_row};

impl History {
    /// Every publisher, in the order in which they were first heard.
    pub fn publishers(&self) -> Result<Vec<PublisherView>, QueryError> {
        publishers(&self.conn)
    }

    /// The publishers with what is open, by name.
    pub fn sources(&self, now_ms: u64, part: &Part<String>) -> Result<Vec<SourceLine>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        sources(&tx, now_ms, part)
    }

    /// How many publishers there are.
    pub fn sources_total(&self) -> Result<u64, QueryError> {
        Ok(self.conn.query_row("SELECT count(*) FROM sources", [], |row| row.get(0))?)
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
    /// When it was first heard.
    pub first_seen_ms: u64,
    /// Time of its last event or heartbeat.
    pub last_event_ms: u64,
    /// Whether a session of it is open.
    pub has_session: bool,
}

/// A publisher with what is open.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceLine {
    /// Its stable name.
    pub publisher: String,
    /// What kind of program it is.
    pub role: &'static str,
    /// Name and version of the program; untrusted text.
    pub vendor: String,
    /// Whether a session of it is open.
    pub has_session: bool,
    /// When it was first heard.
    pub first_seen_ms: u64,
    /// Time of its last event or heartbeat.
    pub last_event_ms: u64,
    /// Open downstream connections.
    pub downstreams: u64,
    /// Open channels.
    pub channels_open: u64,
    /// Connected SV1 miners.
    pub miners_open: u64,
    /// Workers that are online, as lists of workers have it.
    pub workers_online: u64,
    /// Workers that are connected without a share lately.
    pub workers_silent: u64,
    /// Events that it dropped, by its own count.
    pub events_dropped: u64,
    /// Events whose numbers will never come.
    pub events_missing: u64,
}

fn publishers(conn: &Connection) -> Result<Vec<PublisherView>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT publisher, role, first_seen_at, last_event_at,
           EXISTS (SELECT 1 FROM sessions WHERE source = sources.id AND ended_at IS NULL)
         FROM sources ORDER BY first_seen_at, publisher",
    )?;
    let rows = rows.query_map([], |row| {
        Ok(PublisherView {
            publisher: row.get(0)?,
            role: Role::from_wire(row.get(1)?).map_or("unknown", Role::name),
            first_seen_ms: row.get(2)?,
            last_event_ms: row.get(3)?,
            has_session: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn sources(conn: &Connection, now_ms: u64, part: &Part<String>) -> Result<Vec<SourceLine>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT publisher, role, vendor, EXISTS (SELECT 1 FROM sessions WHERE source = o.id AND ended_at IS NULL),
           first_seen_at, last_event_at,
           (SELECT count(*) FROM downstreams WHERE source = o.id AND disconnected_at IS NULL),
           (SELECT count(*) FROM channels WHERE source = o.id AND closed_at IS NULL),
           (SELECT count(*) FROM miners WHERE source = o.id AND disconnected_at IS NULL), events_dropped, events_missing, id
         FROM sources o WHERE ?1 IS NULL OR publisher > ?1 ORDER BY publisher LIMIT ?2 OFFSET ?3",
    )?;
    let mut rows = rows.query(params![part.after, part.limit(), part.skip()])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let last_event_ms = row.get(5)?;
        let connected = Connected::of_source(conn, row.get(11)?, last_event_ms, now_ms)?;
        lines.push(SourceLine {
            publisher: row.get(0)?,
            role: Role::from_wire(row.get(1)?).map_or("unknown", Role::name),
            vendor: row.get(2)?,
            has_session: row.get(3)?,
            first_seen_ms: row.get(4)?,
            last_event_ms,
            downstreams: row.get(6)?,
            channels_open: row.get(7)?,
            miners_open: row.get(8)?,
            workers_online: connected.count(Presence::Online),
            workers_silent: connected.count(Presence::Silent),
            events_dropped: row.get(9)?,
            events_missing: row.get(10)?,
        });
    }
    Ok(lines)
}
