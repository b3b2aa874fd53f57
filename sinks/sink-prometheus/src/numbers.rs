//! The numbers of all publishers, fed by batches: which of a batch's events are new, and whose they are.
//!
//! Numbers decide whether an event counts, as in the history: a batch may come again, whole or in other pieces, without any
//! effect. Everything here has a limit: publishers and workers with series of their own by setting, the rest by constants.

mod objects;
mod quotes;
mod session;
mod source;
mod windows;
mod workers;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use sidecar_core::{Batch, Record, RecordKind, Route};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::{Event, Frames, Message, UnixMillis};

use crate::label;

pub(crate) use quotes::{LATENCY_BUCKETS, Quotes};
pub(crate) use session::OpenCounts;
pub(crate) use source::{Level, LevelSums, Source};
pub(crate) use windows::WINDOWS;
pub(crate) use workers::Seats;

/// How often expired series are looked for, in milliseconds.
const EXPIRE_EVERY_MS: u64 = 60_000;

/// Limits of the numbers, from the settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) sources: NonZeroU32,
    pub(crate) workers: u32,
    pub(crate) expire_after_ms: u64,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Numbers {
    limits: Limits,
    /// By the label of the publisher's name; sorted, so that the text does not flip from scrape to scrape.
    sources: BTreeMap<Arc<str>, Source>,
    seats: Seats,
    next_expiry_ms: u64,
}

impl Numbers {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, sources: BTreeMap::new(), seats: Seats::new(limits.workers), next_expiry_ms: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = (&Arc<str>, &Source)> {
        self.sources.iter()
    }

    pub(crate) fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Counts every new event of the batch.
    pub(crate) fn apply(&mut self, batch: &Batch) {
        let mut delivered = batch.skip();
        for record in batch.records() {
            if batch.route().wants_source(&record.publisher) {
                self.apply_record(record, batch.route(), &mut delivered);
            }
        }
        if batch.cursor().is_none() {
            self.end_unannounced(batch);
        }
    }

    /// Ends what has been silent for too long, and gives the free series to those with the most work.
    pub(crate) fn maintain(&mut self, now: UnixMillis) {
        if now.0 >= self.next_expiry_ms || now.0 + 2 * EXPIRE_EVERY_MS < self.next_expiry_ms {
            self.next_expiry_ms = now.0 + EXPIRE_EVERY_MS;
            let since = now.0.saturating_sub(self.limits.expire_after_ms);
            let seats = &mut self.seats;
            self.sources.retain(|_, source| !source.expire(since, seats));
            for source in self.sources.values_mut() {
                source.forget_old_slots(now.0);
            }
        }
        if self.seats.is_due(now.0) {
            let tables =
                self.sources.values_mut().flat_map(|source| &mut source.levels).map(|level| &mut level.workers);
            workers::rank(tables, &mut self.seats, now.0);
        }
    }

    fn apply_record(&mut self, record: &Record, route: &Route, delivered: &mut u64) {
        let name = label::of_name(&record.publisher);
        let limit = self.limits.sources.get() as usize;
        let name =
            if self.sources.contains_key(&name) || self.sources.len() < limit { name } else { label::OTHER.into() };
        let source = self.sources.entry(name).or_insert_with(|| Source::new(record));
        source.heard(record);
        let mut session = source.take_session(record);
        let mut run = Run { record, source, session: &mut session, seats: &mut self.seats };
        run.apply(route, delivered);
        source.put_session(record, session);
    }

    /// Ends the sessions that a batch of announcements alone does not contain: it says which sessions have not ended.
    fn end_unannounced(&mut self, batch: &Batch) {
        let announced: FxHashSet<(&str, u64)> =
            batch.records().iter().map(|record| (&*record.publisher, record.session_id)).collect();
        for source in self.sources.values_mut() {
            source.end_sessions_except(&announced);
        }
    }
}

/// One record on its way into the numbers.
pub(crate) struct Run<'a> {
    pub(crate) record: &'a Record,
    pub(crate) source: &'a mut Source,
    pub(crate) session: &'a mut session::Session,
    pub(crate) seats: &'a mut Seats,
}

impl Run<'_> {
    /// `delivered` counts down the wanted events at the front of the batch that an earlier, partial attempt delivered.
    fn apply(&mut self, route: &Route, delivered: &mut u64) {
        let applied = match self.record.kind {
            RecordKind::Events => &mut self.session.applied,
            RecordKind::Derived => &mut self.session.applied_derived,
            // An announcement has no numbers; it merges with what is known, as often as it comes.
            RecordKind::Announcement => return self.frames(route, delivered, 0),
        };
        let before = applied.unwrap_or(self.record.first_sequence.saturating_sub(1));
        *applied = Some(before.max(self.record.last_sequence()));
        if self.record.kind == RecordKind::Events && self.record.first_sequence > before + 1 {
            self.numbers_jumped(before + 1, self.record.first_sequence - 1);
        }
        let known = (before + 1).saturating_sub(self.record.first_sequence);
        // Below 2^32, or all of the record is known.
        self.frames(route, delivered, usize::try_from(known).unwrap_or(usize::MAX));
    }

    /// Counts the wanted frames after the first `known` of the record.
    fn frames(&mut self, route: &Route, delivered: &mut u64, known: usize) {
        for (index, frame) in Frames::new(&self.record.frames).enumerate() {
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
            if self.record.kind != RecordKind::Announcement {
                self.source.events[usize::from(frame.msg_type)] += 1;
            }
            // The one message that comes by the million is read without the table of messages.
            if frame.msg_type == ShareSubmitted::TYPE {
                match ShareSubmitted::decode(frame.payload()) {
                    Ok(share) => self.share_submitted(&share),
                    Err(_) => self.source.undecodable += 1,
                }
                continue;
            }
            match Event::decode(frame) {
                Ok(event) => self.event(&event),
                // The door checked every payload, so this is a damaged journal whose checksum did not show it.
                Err(_) => self.source.undecodable += 1,
            }
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        if self.record.kind == RecordKind::Derived {
            return self.derived(event);
        }
        let at = self.record.counted_at(event.timestamp().unwrap_or(self.record.received_at)).0;
        if self.record.kind == RecordKind::Announcement {
            return self.announced(event);
        }
        match event {
            Event::AnnounceBegin(_) => {
                self.moment(at);
                return self.session.announce_begin();
            }
            Event::AnnounceEnd(_) => self.session.announce_end(),
            // Original times, and nothing counts (delivery rule 10).
            other if self.session.is_announcing() => return self.state(other),
            _ => {}
        }
        self.moment(at);
        match event {
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat, at),
            Event::EventsDropped(dropped) => self.events_dropped(dropped),
            Event::ShareRejected(reject) => self.share_rejected(reject),
            Event::MinerShareSubmitted(share) => self.miner_share_submitted(share, at),
            Event::MinerShareRejected(reject) => self.miner_share_rejected(reject),
            Event::SharesCounted(counted) => self.shares_counted(counted, at),
            Event::BlockFound(block) => self.source.block_found(block.block_hash, at),
            Event::QuoteCreated(quote) => {
                self.source.quotes.created(quote, self.record.session_id, at);
            }
            Event::QuoteSent(_) => self.source.quotes.sent += 1,
            Event::QuoteAnswered(quote) => self.source.quotes.answered(quote.share_hash, at),
            Event::QuoteFailed(quote) => self.source.quotes.failed(quote),
            Event::QuotePaid(quote) => self.source.quotes.paid(quote.amount),
            other => self.state(other),
        }
    }

    /// An event of the sidecar's own announcement, which says what is open and counts nothing; the time until it was made
    /// was not observed.
    fn announced(&mut self, event: &Event<'_>) {
        match event {
            Event::SessionStarted(started) => self.session_started(started, false),
            Event::AnnounceBegin(_) => self.session.announce_begin(),
            Event::AnnounceEnd(_) => self.session.announce_end(),
            other if self.session.is_announcing() => self.state(other),
            _ => {}
        }
    }

    /// Events that the sidecar made about the session.
    fn derived(&mut self, event: &Event<'_>) {
        match event {
            Event::SessionStarted(started) => self.session_started(started, true),
            Event::SessionEnded(ended) => {
                self.source.session_ended(ended.outcome);
                self.session.end();
                self.source.quotes.abandon(self.record.session_id);
            }
            Event::Gap(gap) => self.gap(gap),
            _ => {}
        }
    }
}
