//! Applying a batch: which of its events are new, what each one means, and the flush of everything that they changed.
//!
//! All of it happens inside the caller's transaction. Numbers decide whether an event is applied (delivery rule 23), so a
//! batch may come again, whole or in other pieces, without any effect.

mod objects;
mod observed;
mod quotes;
mod sessions;
mod shares;

use mining_stats::TargetBounds;
use rusqlite::{Connection, params};
use sidecar_core::{Batch, Record, RecordKind, Route};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::{Event, EventKind, Frames, Message, UnixMillis};

use crate::cache::{Cache, SeriesLimits, Session, Source};
use crate::error::HistoryError;
use crate::kept::Kept;
use crate::quote_book::QuoteBook;
use crate::rollup::Rollup;
use crate::store;

/// Settings that applying depends on.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) bounds: TargetBounds,
    pub(crate) series: SeriesLimits,
}

/// Applies every new event of the batch and its cursor.
pub(crate) fn apply(
    conn: &Connection,
    cache: &mut Cache,
    rollup: &mut Rollup,
    policy: &Policy,
    batch: &Batch,
) -> Result<(), HistoryError> {
    let kept = cache.kept(conn)?;
    let mut delivered = batch.skip();
    for record in batch.records() {
        if !batch.route().wants_source(&record.publisher) {
            continue;
        }
        let mut source = cache.take_source(conn, record)?;
        let mut session = cache.take_session(conn, &source, record)?;
        let run = Run {
            conn,
            rollup,
            quotes: &mut cache.quotes,
            policy,
            kept: &kept,
            record,
            source: &mut source,
            session: &mut session,
        };
        run.apply(batch.route(), &mut delivered)?;
        cache.sessions.insert((source.row, record.session_id), session);
        cache.sources.insert(record.publisher.clone(), source);
    }
    for session in cache.sessions.values_mut().filter(|session| session.changed) {
        write_workers(conn, session)?;
        sessions::write(conn, session)?;
        session.forget_closed();
    }
    if batch.cursor().is_none() {
        sessions::end_unannounced(conn, cache, batch)?;
    }
    rollup.flush(conn, &kept)?;
    cache.quotes.flush(conn, &kept.since)?;
    for source in cache.sources.values_mut() {
        sessions::write_source(conn, source)?;
    }
    if let Some(cursor) = batch.cursor() {
        store::write_cursor(conn, cursor)?;
    }
    Ok(())
}

/// One record on its way into the tables.
struct Run<'a> {
    conn: &'a Connection,
    rollup: &'a mut Rollup,
    quotes: &'a mut QuoteBook,
    policy: &'a Policy,
    kept: &'a Kept,
    record: &'a Record,
    source: &'a mut Source,
    session: &'a mut Session,
}

impl Run<'_> {
    /// `delivered` counts down the wanted events at the front of the batch that an earlier, partial attempt delivered.
    fn apply(mut self, route: &Route, delivered: &mut u64) -> Result<(), HistoryError> {
        self.session.changed = true;
        self.source.last_received_at = self.source.last_received_at.max(self.record.received_at.0);
        let applied = match self.record.kind {
            RecordKind::Events => &mut self.session.applied,
            RecordKind::Derived => &mut self.session.applied_derived,
            // An announcement has no numbers; it merges with what is known, as often as it comes.
            RecordKind::Announcement => return self.frames(route, delivered, 0),
        };
        let before = *applied;
        *applied = before.max(self.record.last_sequence());
        if self.record.kind == RecordKind::Events && self.record.first_sequence > before + 1 {
            self.numbers_jumped(before)?;
        }
        let known = (before + 1).saturating_sub(self.record.first_sequence);
        if known >= u64::from(self.record.count) && *delivered == 0 {
            return Ok(());
        }
        // Below 2^32, or all of the record is known.
        self.frames(route, delivered, usize::try_from(known).unwrap_or(usize::MAX))?;
        self.spill()
    }

    /// Applies the wanted frames after the first `known` of the record.
    fn frames(&mut self, route: &Route, delivered: &mut u64, known: usize) -> Result<(), HistoryError> {
        let frames = &self.record.frames;
        for (index, frame) in Frames::new(frames).enumerate() {
            if !route.kinds.contains(frame.msg_type) {
                continue;
            }
            if *delivered > 0 {
                *delivered -= 1;
                continue;
            }
            if index < known {
                continue;
            }
            // The one message that comes by the million is read without the table of messages.
            if frame.msg_type == ShareSubmitted::TYPE {
                match ShareSubmitted::decode(frame.payload()) {
                    Ok(share) => self.share_submitted(&share)?,
                    Err(_) => self.source.undecodable += 1,
                }
                continue;
            }
            match Event::decode(frame) {
                Ok(event) => self.event(&event)?,
                // The door checked every payload, so this is a damaged journal whose checksum did not show it.
                Err(_) => self.source.undecodable += 1,
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), HistoryError> {
        if self.record.kind == RecordKind::Derived {
            return self.derived(event);
        }
        let at = self.record.counted_at(event.timestamp().unwrap_or(self.record.received_at)).0;
        if self.record.kind == RecordKind::Announcement {
            return self.announced(event, at);
        }
        match event {
            Event::AnnounceBegin(_) => {
                self.moment(at)?;
                return self.announce_begin();
            }
            Event::AnnounceEnd(_) => {
                self.announce_end(at)?;
                return self.moment(at);
            }
            _ => {}
        }
        if self.session.announcing {
            // Original times, and nothing counts (delivery rule 10).
            return if tells_what_is_open(event.kind()) { self.state(event, at) } else { Ok(()) };
        }
        self.moment(at)?;
        match event {
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat, at),
            Event::EventsDropped(dropped) => self.events_dropped(dropped),
            Event::ShareRejected(reject) => self.share_rejected(reject, at),
            Event::MinerShareSubmitted(share) => self.miner_share_submitted(share, at),
            Event::MinerShareRejected(reject) => self.miner_share_rejected(reject, at),
            Event::SharesCounted(counted) => self.shares_counted(counted, at),
            Event::BlockFound(block) => self.block_found(block, at),
            Event::QuoteCreated(quote) => self.quote_created(quote, at),
            Event::QuoteSent(quote) => self.quote_sent(quote, at),
            Event::QuoteAnswered(quote) => self.quote_answered(quote, at),
            Event::QuoteFailed(quote) => self.quote_failed(quote, at),
            Event::QuotePaid(quote) => self.quote_paid(quote, at),
            Event::Unknown { .. } => {
                self.source.unknown += 1;
                Ok(())
            }
            other => self.state(other, at),
        }
    }

    /// An event of the sidecar's own announcement, which says what is open and nothing else: it counts nothing, and the
    /// time until it was made was not observed.
    fn announced(&mut self, event: &Event<'_>, at: u64) -> Result<(), HistoryError> {
        match event {
            Event::SessionStarted(started) => self.session_started(started),
            Event::AnnounceBegin(_) => self.announce_begin(),
            Event::AnnounceEnd(_) => self.announce_end(at),
            other if self.session.announcing && tells_what_is_open(other.kind()) => self.state(other, at),
            _ => Ok(()),
        }
    }

    /// Events that tell what is open or true, inside an announcement or not.
    fn state(&mut self, event: &Event<'_>, at: u64) -> Result<(), HistoryError> {
        match event {
            Event::DownstreamConnected(connected) => self.downstream_connected(connected, at),
            Event::DownstreamDisconnected(gone) => self.downstream_disconnected(gone, at),
            Event::ChannelOpened(opened) => self.channel_opened(opened, at),
            Event::ChannelClosed(closed) => self.channel_closed(closed, at),
            Event::ChannelTargetChanged(changed) => self.channel_target_changed(changed),
            Event::MinerConnected(connected) => self.miner_connected(connected, at),
            Event::MinerDisconnected(gone) => self.miner_disconnected(gone, at),
            Event::MinerHashrateUpdate(update) => self.miner_hashrate_update(update, at),
            Event::UpstreamConnected(connected) => self.upstream_connected(connected, at),
            Event::UpstreamDisconnected(gone) => self.upstream_disconnected(gone, at),
            Event::SourceInfo(info) => self.source_info(info, at),
            Event::ChainTipChanged(tip) => self.chain_tip_changed(tip, at),
            _ => Ok(()),
        }
    }

    /// The time that an event with this timestamp counts at.
    fn at(&self, timestamp: UnixMillis) -> u64 {
        self.record.counted_at(timestamp).0
    }

    /// Moves everything that waits in the session into the gathered buckets.
    fn spill(&mut self) -> Result<(), HistoryError> {
        for index in 0..self.session.dirty.len() {
            let worker = self.session.dirty[index] as usize;
            self.spill_worker(worker);
        }
        for total in [&mut self.session.channels_total, &mut self.session.miners_total] {
            if let (Some(series), pending) = total
                && !pending.is_empty()
            {
                pending.add_to(self.rollup, *series, &self.source.struck);
                *pending = Default::default();
            }
        }
        if self.rollup.is_full() {
            self.rollup.flush(self.conn, self.kept)?;
        }
        if self.quotes.is_full() {
            self.quotes.flush(self.conn, &self.kept.since)?;
        }
        Ok(())
    }

    fn spill_worker(&mut self, index: usize) {
        let worker = &mut self.session.workers[index];
        if worker.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut worker.pending);
        pending.add_to(self.rollup, worker.identity, &self.source.struck);
        pending.add_to(self.rollup, worker.connection, &self.source.struck);
    }
}

/// Whether an announcement may hold events of this kind.
fn tells_what_is_open(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::DownstreamConnected
            | EventKind::ChannelOpened
            | EventKind::ChannelTargetChanged
            | EventKind::MinerConnected
            | EventKind::MinerHashrateUpdate
            | EventKind::UpstreamConnected
            | EventKind::SourceInfo
            | EventKind::ChainTipChanged
    )
}

/// Adds to the rows of channels and miners what they gained. A share that comes after the end of its connection, as the rest
/// of an ended session does, shows that it lasted longer: its work and its time must count alike.
fn write_workers(conn: &Connection, session: &mut Session) -> Result<(), HistoryError> {
    let mut channel = conn.prepare_cached(
        "UPDATE channels SET accepted = accepted + ?2, rejected = rejected + ?3, invalid_target = invalid_target + ?4,
           work = work + ?5, best_share_work = max(best_share_work, ?6), last_share_at = nullif(max(coalesce(last_share_at, 0), ?7), 0),
           target = coalesce(?8, target) WHERE id = ?1",
    )?;
    let mut channel_extras = conn.prepare_cached(
        "UPDATE channels SET blocks = blocks + ?2, quotes = quotes + ?3, ehash = ehash_add(ehash, ?4) WHERE id = ?1",
    )?;
    let mut miner = conn.prepare_cached(
        "UPDATE miners SET accepted = accepted + ?2, rejected = rejected + ?3, invalid_target = invalid_target + ?4,
           work = work + ?5, best_share_work = max(best_share_work, ?6), last_share_at = nullif(max(coalesce(last_share_at, 0), ?7), 0),
           target = coalesce(?8, target) WHERE id = ?1",
    )?;
    // In statements of their own: naming an indexed column writes every index that has it, whatever its value.
    let mut late_channel = conn.prepare_cached("UPDATE channels SET closed_at = max(closed_at, ?2) WHERE id = ?1")?;
    let mut late_miner =
        conn.prepare_cached("UPDATE miners SET disconnected_at = max(disconnected_at, ?2) WHERE id = ?1")?;
    // In the order of rows, so that pages are visited one after the other.
    let mut dirty = std::mem::take(&mut session.dirty);
    dirty.sort_unstable_by_key(|index| session.workers[*index as usize].row);
    for index in &dirty {
        let worker = &mut session.workers[*index as usize];
        worker.dirty = false;
        let counts = std::mem::take(&mut worker.counts);
        if worker.row == 0 {
            continue;
        }
        let target = (counts.target.0 != 0).then_some(counts.target.0);
        let update = if worker.is_miner { &mut miner } else { &mut channel };
        update.execute(params![
            worker.row,
            counts.accepted,
            counts.rejected,
            counts.invalid_target,
            counts.work,
            counts.best_share_work,
            counts.last_share_at.max(counts.late_share_at),
            target
        ])?;
        if counts.late_share_at > 0 {
            let late = if worker.is_miner { &mut late_miner } else { &mut late_channel };
            late.execute(params![worker.row, counts.late_share_at])?;
        }
        if !worker.is_miner && (counts.blocks > 0 || counts.quotes > 0) {
            let ehash = (counts.quotes > 0).then(|| counts.ehash.to_be_bytes());
            channel_extras.execute(params![worker.row, counts.blocks, counts.quotes, ehash])?;
        }
    }
    dirty.clear();
    session.dirty = dirty;
    Ok(())
}
