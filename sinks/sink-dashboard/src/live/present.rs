//! From events to the present and to messages. Nothing here is a statistic: those come from the history, which counts every
//! event once and knows what was lost.

use std::collections::VecDeque;
use std::sync::Arc;

use mining_stats::reading::STALE_AFTER_MS;
use rustc_hash::FxHashMap;
use sidecar_core::{Batch, Envelope, Event, Record, RecordKind};
use stats_sv2::U256;

use super::hub::Outgoing;
use super::message::{
    BlockMessage, Message, QuoteMessage, SourceMessage, UpDown, WorkerKind, WorkerMessage, WorkerUpdate,
};
use super::recent::{MAX_EVENTS, RecentEvent, RecentEvents, RecentShare, is_shown};
use super::source::{Connection, Source, channel};
use crate::security::redact::Redaction;

/// Publishers that are followed.
const MAX_SOURCES: usize = 1_024;
/// Messages of each type in a second; what goes beyond is counted and told in the next update.
const MESSAGES_A_SECOND: u32 = 20;

/// Kinds of message that have an allowance.
#[derive(Debug, Clone, Copy)]
enum Topic {
    Worker,
    Block,
    Quote,
    Source,
}

/// Everything that is known of now.
#[derive(Debug)]
pub(crate) struct Present {
    redaction: Arc<Redaction>,
    sources: Vec<Source>,
    /// Where each publisher is among the sources.
    places: FxHashMap<Arc<str>, usize>,
    events: RecentEvents,
    messages: Vec<Outgoing>,
    sent: [u32; 4],
    suppressed: u64,
}

/// A record that is applied.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Where its publisher is among the sources.
    place: usize,
    /// How many of its events were applied before.
    known: u64,
}

impl Present {
    pub(crate) fn new(redaction: Arc<Redaction>) -> Self {
        Self {
            redaction,
            sources: Vec::new(),
            places: FxHashMap::default(),
            events: RecentEvents::default(),
            messages: Vec::new(),
            sent: [0; 4],
            suppressed: 0,
        }
    }

    pub(crate) fn take_messages(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.messages)
    }

    pub(crate) fn apply(&mut self, batch: &Batch) {
        let mut shown: VecDeque<Envelope<'_>> = VecDeque::new();
        let mut current: Option<(&Record, Option<Begun>)> = None;
        for envelope in batch.envelopes() {
            let record = envelope.record;
            let begun = match current {
                Some((of, begun)) if std::ptr::eq(of, record) => begun,
                _ => {
                    let begun = self.begin_record(record);
                    current = Some((record, begun));
                    begun
                }
            };
            let Some(Begun { place, known }) = begun else { continue };
            // A delivery may be repeated: what was applied is not applied again.
            if record.kind != RecordKind::Announcement && envelope.sequence < record.first_sequence + known {
                continue;
            }
            if self.sources.get_mut(place).is_some_and(|source| source.take_shares(&envelope)) {
                continue;
            }
            let Ok(event) = envelope.event() else { continue };
            self.event(place, record, &event);
            if record.kind != RecordKind::Announcement && is_shown(envelope.kind()) {
                if shown.len() == MAX_EVENTS {
                    shown.pop_front();
                }
                shown.push_back(envelope);
            }
        }
        self.events.add(&shown, &self.redaction);
    }

    /// Finds the publisher of a record; `None` if nothing of the record is applied.
    fn begin_record(&mut self, record: &Record) -> Option<Begun> {
        let role = record.role.name();
        let place = self.place_of(record)?;
        let source = self.sources.get_mut(place)?;
        if record.finishing && record.session_id != source.session_id {
            // The rest of a session that was replaced opens nothing and closes nothing of the new one (delivery rule 5).
            return None;
        }
        source.heard_ms = source.heard_ms.max(record.received_at.0);
        let mut gone = Vec::new();
        if source.session_id != record.session_id {
            gone = source.begin_session(role, record.session_id);
        }
        let known = match record.kind {
            RecordKind::Announcement => 0,
            kind => source.applied_before(kind == RecordKind::Derived, record.first_sequence, record.last_sequence()),
        };
        let heard_again = std::mem::take(&mut source.is_silent);
        self.workers_went(&record.publisher, gone, record.received_at.0);
        if heard_again {
            self.source_message(&record.publisher, role, UpDown::Up, record.received_at.0, "heard-again");
        }
        Some(Begun { place, known })
    }

    /// Where the publisher of a record is; a new one is taken in if there is room.
    fn place_of(&mut self, record: &Record) -> Option<usize> {
        if let Some(place) = self.places.get(&record.publisher) {
            return Some(*place);
        }
        if self.sources.len() >= MAX_SOURCES {
            self.sources.retain(|source| source.has_session);
            let sources = self.sources.iter().enumerate();
            self.places = sources.map(|(place, source)| (Arc::clone(&source.publisher), place)).collect();
            if self.sources.len() >= MAX_SOURCES {
                return None;
            }
        }
        let place = self.sources.len();
        self.sources.push(Source::new(Arc::clone(&record.publisher), record.role.name(), record.session_id));
        self.places.insert(Arc::clone(&record.publisher), place);
        Some(place)
    }

    fn source(&self, publisher: &str) -> Option<&Source> {
        self.sources.get(*self.places.get(publisher)?)
    }

    /// Applies any event that is not about shares.
    fn event(&mut self, place: usize, record: &Record, event: &Event<'_>) {
        let publisher = &record.publisher;
        let at = event.timestamp().map_or(record.received_at, |at| record.counted_at(at)).0;
        let Some(source) = self.sources.get_mut(place) else { return };
        match event {
            Event::SessionStarted(started) => {
                source.has_session = true;
                let role = started.role.name();
                source.role = role;
                self.source_message(publisher, role, UpDown::Up, at, "session-started");
            }
            Event::SessionEnded(ended) if ended.session_id == source.session_id => {
                source.has_session = false;
                let (gone, role) = (source.close_all(), source.role);
                self.workers_went(publisher, gone, at);
                self.source_message(publisher, role, UpDown::Down, at, "session-ended");
            }
            Event::AnnounceBegin(_) => source.announce_begin(),
            Event::AnnounceEnd(_) => {
                let gone = source.announce_end();
                self.workers_went(publisher, gone, at);
            }
            Event::ChannelOpened(opened) => {
                let connection = channel(opened.downstream_id.0, opened.channel_id.0);
                self.opened(place, record, connection, WorkerKind::Identity, opened.user_identity.as_str(), at);
            }
            Event::ChannelClosed(closed) => {
                let gone = source.close(channel(closed.downstream_id.0, closed.channel_id.0));
                self.workers_went(publisher, gone, at);
            }
            Event::DownstreamDisconnected(gone) => {
                let gone = source.close_downstream(gone.downstream_id.0);
                self.workers_went(publisher, gone, at);
            }
            Event::MinerConnected(connected) => {
                let connection = Connection::Miner(connected.miner_id.0);
                self.opened(place, record, connection, WorkerKind::Miner, connected.name.as_str(), at);
            }
            Event::MinerDisconnected(gone) => {
                let gone = source.close(Connection::Miner(gone.miner_id.0));
                self.workers_went(publisher, gone, at);
            }
            // Inside an announcement everything has happened before.
            _ if source.announcing => {}
            Event::BlockFound(block) => {
                let name = self.name_of(publisher, channel(block.downstream_id.0, block.channel_id.0));
                let hash = Some(block.block_hash).filter(|hash| *hash != U256([0; 32]));
                let message = BlockMessage {
                    publisher: publisher.to_string(),
                    at_ms: at,
                    height: block.height,
                    block_hash: hash.map(|hash| hash.to_string()),
                    name,
                };
                self.message(Topic::Block, || Message::Block(message));
            }
            event => self.quote(publisher, event, at),
        }
    }

    fn quote(&mut self, publisher: &Arc<str>, event: &Event<'_>, at_ms: u64) {
        let blank = |state| QuoteMessage {
            publisher: publisher.to_string(),
            state,
            at_ms,
            share_hash: None,
            amount: None,
            quote_id: None,
            name: None,
            error_code: None,
        };
        let is_quote = matches!(
            event,
            Event::QuoteCreated(_)
                | Event::QuoteSent(_)
                | Event::QuoteAnswered(_)
                | Event::QuoteFailed(_)
                | Event::QuotePaid(_)
        );
        if !is_quote {
            return;
        }
        if !self.may_send(Topic::Quote) {
            return;
        }
        let message = match event {
            Event::QuoteCreated(quote) => QuoteMessage {
                share_hash: Some(quote.share_hash.to_string()),
                amount: Some(quote.amount.0.to_string()),
                name: self.name_of(publisher, channel(quote.downstream_id.0, quote.channel_id.0)),
                ..blank("created")
            },
            Event::QuoteSent(quote) => QuoteMessage {
                share_hash: Some(quote.share_hash.to_string()),
                amount: Some(quote.amount.0.to_string()),
                name: self.name_of(publisher, channel(quote.downstream_id.0, quote.channel_id.0)),
                ..blank("sent")
            },
            Event::QuoteAnswered(quote) => QuoteMessage {
                share_hash: Some(quote.share_hash.to_string()),
                quote_id: Some(quote.quote_id.as_str().to_owned()),
                ..blank("answered")
            },
            Event::QuoteFailed(quote) => QuoteMessage {
                share_hash: quote.share_hash.map(|hash| hash.to_string()),
                error_code: Some(quote.error_code.as_str().to_owned()),
                ..blank("failed")
            },
            Event::QuotePaid(quote) => QuoteMessage {
                quote_id: Some(quote.quote_id.as_str().to_owned()),
                amount: Some(quote.amount.0.to_string()),
                ..blank("paid")
            },
            _ => return,
        };
        self.messages.push(Outgoing::from(&Message::Quote(message)));
    }

    fn opened(&mut self, place: usize, record: &Record, connection: Connection, kind: WorkerKind, name: &str, at: u64) {
        let Some(source) = self.sources.get_mut(place) else { return };
        let came = source.open(connection, kind, name);
        // What is announced was open before: nothing came up now.
        if came.is_none() || source.announcing || record.kind == RecordKind::Announcement {
            return;
        }
        self.worker_message(&record.publisher, kind, name, UpDown::Up, at);
    }

    fn workers_went(&mut self, publisher: &Arc<str>, gone: impl IntoIterator<Item = u32>, at: u64) {
        for id in gone {
            let worker = self.source(publisher).and_then(|source| source.get(id));
            if let Some((kind, name)) = worker.map(|worker| (worker.kind, Arc::clone(&worker.name))) {
                self.worker_message(publisher, kind, &name, UpDown::Down, at);
            }
        }
    }

    fn worker_message(&mut self, publisher: &Arc<str>, kind: WorkerKind, name: &str, state: UpDown, at_ms: u64) {
        let name = self.redaction.shown_name(publisher, name);
        let message = WorkerMessage { publisher: publisher.to_string(), kind, name, state, at_ms };
        self.message(Topic::Worker, || Message::Worker(message));
    }

    fn source_message(
        &mut self,
        publisher: &Arc<str>,
        role: &'static str,
        state: UpDown,
        at_ms: u64,
        reason: &'static str,
    ) {
        let message = SourceMessage { publisher: publisher.to_string(), role, state, at_ms, reason };
        self.message(Topic::Source, || Message::Source(message));
    }

    fn message(&mut self, topic: Topic, make: impl FnOnce() -> Message) {
        if self.may_send(topic) {
            self.messages.push(Outgoing::from(&make()));
        }
    }

    fn may_send(&mut self, topic: Topic) -> bool {
        let sent = &mut self.sent[topic as usize];
        if *sent >= MESSAGES_A_SECOND {
            self.suppressed += 1;
            return false;
        }
        *sent += 1;
        true
    }

    fn name_of(&self, publisher: &Arc<str>, connection: Connection) -> Option<String> {
        let worker = self.source(publisher)?.worker_of(connection)?;
        Some(self.redaction.shown_name(publisher, &worker.name))
    }

    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.sent = [0; 4];
        let mut silent: Vec<(Arc<str>, &'static str)> = Vec::new();
        for source in &mut self.sources {
            let is_silent = now_ms.saturating_sub(source.heard_ms) > STALE_AFTER_MS;
            if source.has_session && is_silent && !source.is_silent {
                source.is_silent = true;
                silent.push((Arc::clone(&source.publisher), source.role));
            }
        }
        silent.sort_unstable();
        for (publisher, role) in silent {
            self.source_message(&publisher, role, UpDown::Down, now_ms, "silent");
        }
    }

    pub(crate) fn take_changes(&mut self, limit: usize) -> (Vec<WorkerUpdate>, u64, u64) {
        let mut changed: Vec<_> =
            self.sources.iter().flat_map(|source| source.changed().map(|worker| (&source.publisher, worker))).collect();
        // Stable: of the same moment, who was first since the last look stays first.
        changed.sort_by_key(|(_, worker)| std::cmp::Reverse(worker.last_share_ms));
        let more = changed.len().saturating_sub(limit) as u64;
        let told = changed.into_iter().take(limit).map(|(publisher, worker)| WorkerUpdate {
            publisher: publisher.to_string(),
            kind: worker.kind,
            name: self.redaction.shown_name(publisher, &worker.name),
            open: worker.open,
            accepted: worker.accepted,
            rejected: worker.rejected,
            last_share_ms: worker.last_share_ms,
        });
        let workers = told.collect();
        let suppressed = std::mem::take(&mut self.suppressed);
        self.forget_changes();
        (workers, more, suppressed)
    }

    pub(crate) fn forget_changes(&mut self) {
        self.suppressed = 0;
        self.sources.iter_mut().for_each(Source::forget_changes);
    }

    #[cfg(test)]
    pub(crate) fn connected(&self, publisher: &str) -> u64 {
        self.source(publisher).map_or(0, Source::connected)
    }

    pub(crate) fn recent_shares(&self, publisher: &str, kind: WorkerKind, name: &str) -> Vec<RecentShare> {
        let worker = self.source(publisher).and_then(|source| source.find(kind, name));
        worker.map(|worker| worker.shares.iter().rev().copied().map(RecentShare::from).collect()).unwrap_or_default()
    }

    pub(crate) fn recent_events(
        &self,
        before: Option<u64>,
        limit: usize,
        wanted: impl Fn(&RecentEvent) -> bool,
    ) -> Vec<RecentEvent> {
        self.events.list(before, limit, wanted)
    }
}
