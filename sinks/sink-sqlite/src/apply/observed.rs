//! Which time was observed and which was lost (delivery rules 6 and 14).

use mining_stats::{Spans, Tier};
use rusqlite::{OptionalExtension, params};
use stats_sv2::event::{EventsDropped, GAP_MISSING, Gap, HEARTBEAT_CLOCK_STEPPED, Heartbeat};

use crate::apply::Run;
use crate::cache::struck_slots;
use crate::error::HistoryError;
use crate::rollup;

/// Times before the first block of Bitcoin (3 January 2009) are no times: an unset clock must not make decades observed.
const EARLIEST_MS: u64 = 1_231_006_505_000;

/// A loss that begins this soon after the last one of its kind is the same loss going on, so that a publisher that drops at
/// every drain makes one row, not thousands.
const SAME_LOSS_MS: u64 = 60_000;

/// Events that one report of a loss adds to the counts at most. Numbers on the wire may be as large as 2^63; what is
/// added up must stay an SQLite integer, or the batch could never be applied.
const MAX_LOST: u64 = 1 << 40;

impl Run<'_> {
    /// Consecutive numbers have come up to an event of this time: the observed span grows, or a new one begins. Only for
    /// numbered events of the publisher.
    #[inline]
    pub(super) fn moment(&mut self, at: u64) -> Result<(), HistoryError> {
        if at < EARLIEST_MS {
            return Ok(());
        }
        let session = &mut *self.session;
        session.last_event_at = session.last_event_at.max(at);
        session.earliest_since_heartbeat = session.earliest_since_heartbeat.min(at);
        if session.observed.is_some() {
            session.observed_end = session.observed_end.max(at);
            return Ok(());
        }
        self.begin_span(at)
    }

    fn begin_span(&mut self, at: u64) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached("INSERT INTO observed (source, session, start_at, end_at) VALUES (?1, ?2, ?3, ?3)")?
            .execute(params![self.source.row, self.session.row, at])?;
        self.session.observed = Some(self.conn.last_insert_rowid());
        self.session.observed_end = at;
        let Some(loss) = self.session.open_loss.take() else { return Ok(()) };
        // The first event after missing numbers says until when they may have happened.
        let since: u64 = self
            .conn
            .prepare_cached("SELECT start_at FROM losses WHERE id = ?1")?
            .query_row([loss], |row| row.get(0))?;
        let (start, end) = self.struck_by(since, at.max(since));
        self.conn
            .prepare_cached("UPDATE losses SET start_at = ?2, end_at = ?3, strikes = 1 WHERE id = ?1")?
            .execute(params![loss, start, end])?;
        self.strike(start, end)
    }

    /// What a loss takes out of the rates. Where its minutes are gone, whole hours: shares and time alike.
    fn struck_by(&self, start: u64, end: u64) -> (u64, u64) {
        if start >= self.kept.since(Tier::OneMinute) {
            return (start, end);
        }
        let hour = Tier::OneHour.width_ms();
        (start / hour * hour, (end.max(start) / hour + 1) * hour - 1)
    }

    /// The observed span ends with the last event; what comes next begins another.
    fn end_span(&mut self) -> Result<(), HistoryError> {
        if let Some(span) = self.session.observed.take() {
            self.conn
                .prepare_cached("UPDATE observed SET end_at = max(end_at, ?2) WHERE id = ?1")?
                .execute(params![span, self.session.observed_end])?;
        }
        self.session.observed_end = 0;
        // What an interrupted announcement named stays; it will be announced again.
        self.session.announcing = false;
        Ok(())
    }

    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat, at: u64) -> Result<(), HistoryError> {
        if heartbeat.flags & HEARTBEAT_CLOCK_STEPPED != 0 {
            // A clock that was not set before it stepped says nothing about when; it must not strike out decades.
            let times = [self.session.earliest_since_heartbeat, self.session.last_heartbeat_at, at];
            let start = times.into_iter().filter(|time| *time >= EARLIEST_MS).min().unwrap_or(at);
            let end = self.session.last_event_at.max(at);
            self.lose("clock-stepped", start, end, 0, "", true)?;
        }
        self.session.last_heartbeat_at = at;
        self.session.earliest_since_heartbeat = u64::MAX >> 1;
        Ok(())
    }

    pub(super) fn events_dropped(&mut self, dropped: &EventsDropped<'_>) -> Result<(), HistoryError> {
        let count = dropped.count.min(MAX_LOST);
        self.source.dropped += count;
        let end = self.at(dropped.last_timestamp);
        let start = self.not_long_before_the_session(self.at(dropped.first_timestamp), end)?;
        self.lose("events-dropped", start, end, count, dropped.reason.as_str(), true)
    }

    /// The start of a loss that a publisher tells: it happened in its session, so a wild time must not strike out years.
    pub(super) fn not_long_before_the_session(&self, start: u64, end: u64) -> Result<u64, HistoryError> {
        let session_start: u64 = self
            .conn
            .prepare_cached("SELECT coalesce(min(start_at), ?2) FROM observed WHERE session = ?1")?
            .query_row(params![self.session.row, end], |row| row.get(0))?;
        Ok(start.max(session_start.saturating_sub(SAME_LOSS_MS)).min(end))
    }

    /// Numbers of this session that will never come.
    pub(super) fn gap(&mut self, gap: &Gap) -> Result<(), HistoryError> {
        let count = gap.last_sequence.saturating_add(1).saturating_sub(gap.first_sequence).min(MAX_LOST);
        let end = self.session.observed_end;
        let since = if end > 0 { end } else { self.at(gap.since) };
        self.end_span()?;
        if gap.kind != GAP_MISSING {
            return self.lose("unseen", since, since, count, "", false);
        }
        self.source.missing += count;
        self.open_loss("missing", since, count)
    }

    /// The numbers of the next record do not follow on the last applied one, and no gap record said so: the events were
    /// expired before this sink read them, or the sink is younger than the session.
    pub(super) fn numbers_jumped(&mut self, applied: u64) -> Result<(), HistoryError> {
        let since = self.session.observed_end;
        let (known, pending) = (self.session.observed.is_some(), self.session.open_loss.is_some());
        self.end_span()?;
        if !known || pending {
            return Ok(());
        }
        self.open_loss("not-read", since, (self.record.first_sequence - applied - 1).min(MAX_LOST))
    }

    /// Notes a loss whose end the next event will tell.
    fn open_loss(&mut self, kind: &str, since: u64, events: u64) -> Result<(), HistoryError> {
        if let Some(open) = self.session.open_loss {
            self.conn
                .prepare_cached("UPDATE losses SET events = events + ?2 WHERE id = ?1")?
                .execute(params![open, events])?;
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "INSERT INTO losses (source, session, kind, start_at, end_at, events, strikes) VALUES (?1, ?2, ?3, ?4, ?4, ?5, 0)",
            )?
            .execute(params![self.source.row, self.session.row, kind, since, events])?;
        // Without a known start no slot can be named; the span that ended is all that is left out.
        if since >= EARLIEST_MS {
            self.session.open_loss = Some(self.conn.last_insert_rowid());
        }
        Ok(())
    }

    /// Notes a loss of known extent and takes its slots out of the rates.
    pub(super) fn lose(
        &mut self,
        kind: &str,
        start: u64,
        end: u64,
        events: u64,
        reason: &str,
        strikes: bool,
    ) -> Result<(), HistoryError> {
        let (start, end) = if strikes { self.struck_by(start, end) } else { (start, end) };
        let last: Option<(i64, u64)> = self
            .conn
            .prepare_cached(
                "SELECT id, end_at FROM losses WHERE source = ?1 AND session = ?2 AND kind = ?3 AND reason = ?4
                   AND start_at <= ?5 AND end_at BETWEEN ?6 AND ?7 ORDER BY end_at DESC LIMIT 1",
            )?
            .query_row(
                params![
                    self.source.row,
                    self.session.row,
                    kind,
                    reason,
                    start,
                    start.saturating_sub(SAME_LOSS_MS),
                    end
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let from = match last {
            Some((id, last_end)) => {
                self.conn
                    .prepare_cached("UPDATE losses SET end_at = ?2, events = events + ?3 WHERE id = ?1")?
                    .execute(params![id, end, events])?;
                last_end.min(start)
            }
            None => {
                self.conn
                    .prepare_cached(
                        "INSERT INTO losses (source, session, kind, start_at, end_at, events, reason, strikes)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![self.source.row, self.session.row, kind, start, end, events, reason, strikes])?;
                start
            }
        };
        if strikes { self.strike(from, end) } else { Ok(()) }
    }

    fn strike(&mut self, start: u64, end: u64) -> Result<(), HistoryError> {
        let touched = Spans::union_of([struck_slots((start, end))]);
        let new = touched.difference(&self.source.struck);
        if new.is_empty() {
            return Ok(());
        }
        // What waits counts under the old verdict first, so that the tables hold all that came before the loss.
        self.spill()?;
        self.rollup.flush(self.conn, self.kept)?;
        for (from, to) in new.as_slice() {
            rollup::strike(self.conn, self.source.row, *from, *to, self.kept)?;
        }
        let all = self.source.struck.as_slice().iter().chain(touched.as_slice()).copied();
        self.source.struck = Spans::union_of(all);
        Ok(())
    }
}
