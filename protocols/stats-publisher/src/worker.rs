//! The publisher's thread: drains the queue on its own clock, keeps the connection, and answers flush and close.
//!
//! One loop owns everything, so nothing is shared and nothing is locked: drain into the outbox, write and read what the
//! socket takes and has, look after the connection, sleep until the next of these is due.

mod link;
mod requests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use stats_sv2::limits::U64_LIMIT;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::backoff::Backoff;
use crate::builder::StatsPublisherBuilder;
use crate::connection::ConnectionError;
use crate::counters::{Gauges, add, set};
use crate::drain::{Batch, Drain, MAX_FRAME, Now, Room};
use crate::intake::Intake;
use crate::outbox::Outbox;
use crate::spool::{Segment, Spool, SpoolError};
use crate::window::{Released, WindowLimits};

use link::{Link, Opened};
use requests::{Closing, PendingFlush};
pub(crate) use requests::{Command, LastWords};

/// Drains without an event after which the longer interval begins.
const IDLE_PASSES: u32 = 10;

/// Percentiles are computed at most so often.
const LATENCY_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Worker {
    settings: StatsPublisherBuilder,
    intake: Arc<Intake>,
    gauges: Arc<Gauges>,
    commands: mpsc::Receiver<Command>,
    drain: Drain,
    accounts: Accounts,
    batch: Batch,
    /// The number of the batch's first frame while neither disk nor memory takes it. Nothing is drained meanwhile.
    stuck: Option<u64>,
    own: Outbox,
    spool: Option<Spool>,
    /// Segments of earlier runs; the first of them is `finishing`.
    segments: VecDeque<Segment>,
    finishing: Option<Outbox>,
    link: Link,
    backoff: Backoff,
    /// Session and committed number at which the sidecar last called a frame malformed.
    rejected: Option<(u64, u64)>,
    flushes: Vec<PendingFlush>,
    closing: Option<Closing>,
    next_drain: Instant,
    /// Events since the queue was last found empty.
    burst: u64,
    idle_passes: u32,
    /// Draining stopped for want of room, not of events.
    starved: bool,
    latency_at: Instant,
}

/// What ended a wait.
enum Wake {
    Command(Option<Command>),
    Opened(Box<Opened>),
    Socket(Result<(), ConnectionError>),
    Time,
}

impl Worker {
    pub(crate) fn new(
        settings: StatsPublisherBuilder,
        intake: Arc<Intake>,
        gauges: Arc<Gauges>,
        spool: Option<(Spool, VecDeque<Segment>)>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let now = Now::read();
        let (spool, segments) = spool.map_or_else(Default::default, |(spool, segments)| (Some(spool), segments));
        let mut worker = Self {
            drain: Drain::new(intake.clone(), settings.timing.heartbeat_every, now),
            accounts: Accounts::new(),
            batch: Batch::default(),
            stuck: None,
            own: Outbox::new(random_session_id(), limits(&settings)),
            spool,
            segments,
            finishing: None,
            link: Link::Waiting { until: now.mono },
            backoff: Backoff::new(settings.timing.backoff_first, settings.timing.backoff_longest),
            rejected: None,
            flushes: Vec::new(),
            closing: None,
            next_drain: now.mono,
            burst: 0,
            idle_passes: 0,
            starved: false,
            latency_at: now.mono,
            settings,
            intake,
            gauges,
            commands,
        };
        worker.take_up_segment();
        worker
    }

    pub(crate) async fn run(mut self) -> LastWords {
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.accept(command);
            }
            let now = Now::read();
            self.drain(now);
            if let Err(error) = self.pump(now) {
                self.disconnect(&error, now);
            }
            self.look_after_link(now);
            self.note_gauges(now);
            if let Some(last_words) = self.answer(now) {
                return last_words;
            }
            match self.wait(now).await {
                Wake::Command(Some(command)) => self.accept(command),
                // The handles are gone without a word, which their drop prevents.
                Wake::Command(None) => return self.last_words(false),
                Wake::Opened(opened) => {
                    let now = Now::read();
                    let begun = (*opened).and_then(|(connection, success)| self.begin(connection, &success, now));
                    if let Err(error) = begun {
                        self.disconnect(&error, now);
                    }
                }
                Wake::Socket(Err(error)) => self.disconnect(&error, Now::read()),
                Wake::Socket(Ok(())) | Wake::Time => {}
            }
        }
    }

    // --- from the queue to the outbox

    /// Makes one batch, if it is time, or if there is room again after there was none.
    fn drain(&mut self, now: Now) {
        let room = self.room();
        let has_room = room.events > 0 && room.bytes >= MAX_FRAME && self.stuck.is_none();
        if now.mono < self.next_drain && !(self.starved && has_room) {
            return;
        }
        self.drain.observe(now);
        if let Some(first) = self.stuck.take()
            && !self.keep(first)
        {
            self.stuck = Some(first);
        }
        if !has_room || self.own.ended {
            self.starved = !self.own.ended;
            self.next_drain = now.mono + self.settings.timing.drain_every;
            return;
        }
        let pass = self.drain.encode(now, room, &mut self.batch);
        if self.batch.frames > 0 {
            let first = self.own.last + 1;
            self.own.last += self.batch.frames;
            self.accounts.store(first, &self.batch, now.mono);
            if !self.keep(first) {
                self.stuck = Some(first);
            }
        }
        self.burst += pass.popped;
        self.starved = pass.full;
        self.next_drain = now.mono + if pass.full { Duration::ZERO } else { self.pause() };
    }

    /// How much one batch may take.
    fn room(&self) -> Room {
        let limits = limits(&self.settings);
        let bytes = limits.chunk_bytes();
        match &self.spool {
            None => Room { events: self.own.window.events_room(), bytes: self.own.window.bytes_room().min(bytes) },
            Some(spool) if spool.has_room(bytes) => Room { events: limits.events, bytes },
            Some(_) => Room { events: 0, bytes: 0 },
        }
    }

    /// Puts the batch where it waits for its acknowledgement; `false` if there is no such place now.
    fn keep(&mut self, first: u64) -> bool {
        let (batch, own) = (&self.batch, &mut self.own);
        let Some(spool) = &mut self.spool else {
            return own.take(first, batch, None);
        };
        match spool.append(own.session_id, first, batch.frames, &batch.bytes) {
            Ok(place) => {
                let end = spool.end();
                if !own.take(first, batch, Some(end)) {
                    own.fall_behind(place);
                }
                true
            }
            Err(error) => {
                // Delivered without the safety of the spool rather than not at all, where memory has the room.
                let kept = own.take(first, batch, None);
                self.note_spool_error(&error);
                kept
            }
        }
    }

    /// How long to sleep after the queue was found empty: less when it filled fast, more when nothing came.
    fn pause(&mut self) -> Duration {
        let timing = &self.settings.timing;
        let burst = std::mem::take(&mut self.burst);
        let capacity = self.intake.capacity() as u64;
        if burst > 0 {
            self.idle_passes = 0;
            return match burst {
                _ if burst >= capacity.div_ceil(2) => Duration::ZERO,
                _ if burst >= capacity.div_ceil(8) => timing.drain_every / 10,
                _ => timing.drain_every,
            };
        }
        self.idle_passes = self.idle_passes.saturating_add(1);
        if self.idle_passes < IDLE_PASSES {
            return timing.drain_every;
        }
        self.own.window.release_memory();
        timing.drain_idle
    }

    // --- after an acknowledgement

    fn note_acknowledged(&mut self, committed: u64, released: Released, now: Now) {
        match &self.finishing {
            Some(_) => {}
            None => self.accounts.acknowledge(committed, now.mono),
        }
        // Where everything is acknowledged, so is what was skipped or could not be read back.
        let end = match &self.finishing {
            None if self.own.is_delivered() => self.spool.as_ref().map(Spool::end),
            _ => released.spool_end,
        };
        if let Some(end) = end {
            self.release_spool(end);
        }
    }

    fn release_spool(&mut self, place: u64) {
        if let Some(Err(error)) = self.spool.as_mut().map(|spool| spool.release(place)) {
            self.note_spool_error(&error);
        }
    }

    fn take_up_segment(&mut self) {
        self.finishing = self.segments.front().map(|segment| Outbox::finishing(*segment, limits(&self.settings)));
    }

    fn note_spool_error(&self, error: &SpoolError) {
        add(&self.gauges.spool_errors, 1);
        let text = chain(error);
        if self.gauges.note_error(text.clone()) {
            tracing::error!(error = text, "the publisher's spool fails");
        }
    }

    fn note_gauges(&mut self, now: Now) {
        set(&self.gauges.taken, self.drain.taken());
        set(&self.gauges.encoded, self.own.last);
        set(&self.gauges.unfinished_sessions, self.segments.len() as u64);
        set(&self.gauges.spool_bytes, self.spool.as_ref().map_or(0, Spool::file_len));
        self.gauges.note_accounts(&self.accounts);
        if now.mono >= self.latency_at {
            self.gauges.note_latency(&self.accounts);
            self.latency_at = now.mono + LATENCY_EVERY;
        }
    }

    // --- sleeping

    async fn wait(&mut self, now: Now) -> Wake {
        let has_room = self.room().bytes >= MAX_FRAME && self.room().events > 0;
        let mut until = self.next_drain;
        for flush in &self.flushes {
            until = until.min(flush.deadline);
        }
        if let Some(closing) = &self.closing {
            until = until.min(closing.deadline);
        }
        match &self.link {
            Link::Waiting { until: attempt } => until = until.min(*attempt),
            Link::Opening(_) => {}
            Link::Up(up) => until = self.ack_due(up).map_or(until, |due| until.min(due)),
        }
        if until <= now.mono || self.starved && has_room && self.stuck.is_none() {
            // The system's events are looked at, then the loop goes on.
            tokio::task::yield_now().await;
            return Wake::Time;
        }
        let Self { link, commands, .. } = self;
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            wake = link.event() => wake,
            () = tokio::time::sleep_until(until) => Wake::Time,
        }
    }
}

fn limits(settings: &StatsPublisherBuilder) -> WindowLimits {
    WindowLimits { events: settings.window_events, bytes: settings.window_bytes }
}

/// From 1 to 2^63-1.
fn random_session_id() -> u64 {
    rand::random_range(1..U64_LIMIT)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
