//! Sessions: their beginning and end, announcements of what is open, and facts about the source as a whole.

use rusqlite::{Connection, params};
use rustc_hash::FxHashSet;
use sidecar_core::Batch;
use stats_sv2::Event;
use stats_sv2::event::{ChainTipChanged, SessionEnded, SessionStarted, SourceInfo};
use stats_sv2::session::OPEN_FINISHING;

use crate::apply::Run;
use crate::cache::{Cache, Session, Source};
use crate::error::HistoryError;
use crate::quote_book::QuoteBook;

/// Facts about a source at most; further names are not kept.
const MAX_SOURCE_FACTS: u32 = 256;

impl Run<'_> {
    /// Events that the sidecar made about the session.
    pub(super) fn derived(&mut self, event: &Event<'_>) -> Result<(), HistoryError> {
        match event {
            Event::SessionStarted(started) => self.session_started(started),
            Event::SessionEnded(ended) => self.session_ended(ended),
            Event::Gap(gap) => self.gap(gap),
            // Alerts and tests are about sinks that tell people; the history has nothing to keep of them.
            _ => Ok(()),
        }
    }

    /// A session begins, or comes back after it had ended, with a beginning of its own.
    pub(super) fn session_started(&mut self, started: &SessionStarted<'_>) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached("UPDATE sessions SET vendor = ?2, started_at = min(started_at, ?3) WHERE id = ?1")?
            .execute(params![self.session.row, started.vendor.as_str(), started.timestamp.0])?;
        // One that only delivers its rest stays ended (delivery rule 5).
        if started.flags & OPEN_FINISHING == 0 {
            self.conn
                .prepare_cached("UPDATE sessions SET ended_at = NULL, outcome = NULL, reason = NULL WHERE id = ?1")?
                .execute([self.session.row])?;
            self.session.ended = false;
        }
        self.conn.prepare_cached("UPDATE sources SET role = ?2, vendor = ?3 WHERE id = ?1")?.execute(params![
            self.source.row,
            started.role as u8,
            started.vendor.as_str()
        ])?;
        Ok(())
    }

    /// Closes everything that the session had open (delivery rule 12), and its quotes that nobody will answer.
    fn session_ended(&mut self, ended: &SessionEnded<'_>) -> Result<(), HistoryError> {
        self.session.ended = true;
        // An announcement that it did not finish will not go on; one that comes back announces anew.
        self.session.announcing = false;
        let (row, at) = (self.session.row, ended.timestamp.0);
        end(self.conn, self.quotes, row, at, Some(ended.outcome), ended.reason.as_str())?;
        self.forget_what_closed()
    }

    pub(super) fn announce_begin(&mut self) -> Result<(), HistoryError> {
        self.session.announcement += 1;
        self.session.announcing = true;
        Ok(())
    }

    /// What the session had open and the announcement did not name is closed.
    pub(super) fn announce_end(&mut self, at: u64) -> Result<(), HistoryError> {
        if !std::mem::take(&mut self.session.announcing) {
            return Ok(());
        }
        close_unnamed(self.conn, self.session.row, at, self.session.announcement, "not-announced")?;
        self.forget_what_closed()
    }

    /// Brings what is open in memory to what the tables have left open.
    fn forget_what_closed(&mut self) -> Result<(), HistoryError> {
        let mut open = self.conn.prepare_cached(
            "SELECT id, 0 FROM channels WHERE session = ?1 AND closed_at IS NULL
             UNION ALL SELECT id, 1 FROM miners WHERE session = ?1 AND disconnected_at IS NULL",
        )?;
        let open = open.query_map([self.session.row], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let open: FxHashSet<(i64, bool)> = open.collect::<Result<_, _>>()?;
        for worker in self.session.workers.iter_mut().filter(|worker| worker.open) {
            if worker.row != 0 && !open.contains(&(worker.row, worker.is_miner)) {
                worker.open = false;
                self.session.closed_workers += 1;
            }
        }
        let mut downstreams =
            self.conn.prepare_cached("SELECT id FROM downstreams WHERE session = ?1 AND disconnected_at IS NULL")?;
        let downstreams = downstreams.query_map([self.session.row], |row| row.get(0))?;
        let downstreams: FxHashSet<i64> = downstreams.collect::<Result<_, _>>()?;
        self.session.downstreams.retain(|_, downstream| downstreams.contains(&downstream.row));
        Ok(())
    }

    pub(super) fn source_info(&mut self, info: &SourceInfo<'_>, at: u64) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached(
                "INSERT INTO source_info (source, name, value, updated_at)
                 SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT count(*) FROM source_info WHERE source = ?1 AND name <> ?2) < ?5
                 ON CONFLICT (source, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            )?
            .execute(params![self.source.row, info.name.as_str(), info.value.as_str(), at, MAX_SOURCE_FACTS])?;
        Ok(())
    }

    pub(super) fn chain_tip_changed(&mut self, tip: &ChainTipChanged, at: u64) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached(
                "INSERT INTO chain_tips (source, at, height, target) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (source, at) DO UPDATE SET height = excluded.height, target = excluded.target",
            )?
            .execute(params![self.source.row, at, tip.height, tip.target.0])?;
        Ok(())
    }
}

/// Ends the sessions that a batch of announcements alone does not contain: it says which sessions have not ended, and it
/// comes when the records that told the end of the others did not reach this sink. How they ended is not known.
pub(super) fn end_unannounced(conn: &Connection, cache: &mut Cache, batch: &Batch) -> Result<(), HistoryError> {
    let announced: FxHashSet<(&str, u64)> =
        batch.records().iter().map(|record| (&*record.publisher, record.session_id)).collect();
    let mut open = conn.prepare_cached(
        "SELECT s.id, s.source, s.session_id, iif(s.last_event_at > 0, s.last_event_at, s.started_at), o.publisher
         FROM sessions s JOIN sources o ON o.id = s.source WHERE s.ended_at IS NULL",
    )?;
    let open = open.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let open: Vec<(i64, i64, u64, u64, String)> = open.collect::<Result<_, _>>()?;
    for (row, source, session_id, last_at, publisher) in open {
        if !announced.contains(&(publisher.as_str(), session_id)) {
            end(conn, &mut cache.quotes, row, last_at, None, "not-announced")?;
            // Nothing of it waits to be written, since no record of this batch is its own.
            cache.sessions.remove(&(source, session_id));
        }
    }
    Ok(())
}

/// Ends a session in the tables, and with it everything that it had open and its quotes that nobody will answer.
fn end(
    conn: &Connection,
    quotes: &mut QuoteBook,
    session: i64,
    at: u64,
    outcome: Option<u8>,
    reason: &str,
) -> Result<(), HistoryError> {
    conn.prepare_cached("UPDATE sessions SET ended_at = ?2, outcome = ?3, reason = ?4, announcing = 0 WHERE id = ?1")?
        .execute(params![session, at, outcome, reason])?;
    close_unnamed(conn, session, at, u32::MAX, "session-ended")?;
    quotes.abandon(conn, session, at)
}

/// Closes all open objects of a session that were last named before this announcement.
fn close_unnamed(
    conn: &Connection,
    session: i64,
    at: u64,
    announcement: u32,
    reason: &str,
) -> Result<(), HistoryError> {
    for (table, opened, closed) in [
        ("channels", "opened_at", "closed_at"),
        ("downstreams", "connected_at", "disconnected_at"),
        ("miners", "connected_at", "disconnected_at"),
        ("upstreams", "connected_at", "disconnected_at"),
    ] {
        conn.prepare_cached(&format!(
            "UPDATE {table} SET {closed} = max({opened}, ?2), reason = ?3
             WHERE session = ?1 AND {closed} IS NULL AND named < ?4"
        ))?
        .execute(params![session, at, reason, announcement])?;
    }
    Ok(())
}

/// Writes what a transaction changed in a session.
pub(super) fn write(conn: &Connection, session: &mut Session) -> Result<(), HistoryError> {
    session.changed = false;
    conn.prepare_cached(
        "UPDATE sessions SET applied = ?2, applied_derived = ?3, announcement = ?4, announcing = ?5, observed = ?6,
           open_loss = ?7, last_event_at = ?8, last_heartbeat_at = ?9, earliest_since_heartbeat = ?10 WHERE id = ?1",
    )?
    .execute(params![
        session.row,
        session.applied,
        session.applied_derived,
        session.announcement,
        session.announcing,
        session.observed,
        session.open_loss,
        session.last_event_at,
        session.last_heartbeat_at,
        session.earliest_since_heartbeat.min(i64::MAX as u64)
    ])?;
    if let Some(observed) = session.observed {
        conn.prepare_cached("UPDATE observed SET end_at = max(end_at, ?2) WHERE id = ?1")?
            .execute(params![observed, session.observed_end])?;
    }
    conn.prepare_cached("UPDATE sources SET last_event_at = max(last_event_at, ?2) WHERE publisher = ?1")?
        .execute(params![&*session.source, session.last_event_at])?;
    Ok(())
}

/// Writes what a transaction changed in a source.
pub(super) fn write_source(conn: &Connection, source: &mut Source) -> Result<(), HistoryError> {
    conn.prepare_cached(
        "UPDATE sources SET last_received_at = ?2, events_dropped = events_dropped + ?3,
           events_missing = events_missing + ?4, unknown_events = unknown_events + ?5,
           undecodable_events = undecodable_events + ?6
         WHERE id = ?1 AND (last_received_at < ?2 OR ?3 + ?4 + ?5 + ?6 > 0)",
    )?
    .execute(params![
        source.row,
        source.last_received_at,
        std::mem::take(&mut source.dropped),
        std::mem::take(&mut source.missing),
        std::mem::take(&mut source.unknown),
        std::mem::take(&mut source.undecodable)
    ])?;
    Ok(())
}
