//! The publisher's thread: drains the queue on its own clock, keeps the connection, and answers flush and close.
//!
//! One loop owns everything, so nothing is shared and nothing is locked: drain into the outbox, write and read what the
//! socket takes and has, look after the connection, sleep until the next of these is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stats_sv2::Text;
use stats_sv2::codec::Message;
use stats_sv2::limits::U64_LIMIT;
use stats_sv2::session::{CloseStatsSession, OpenStatsSessionSuccess, SUCCESS_ANNOUNCE, error_code};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::backoff::Backoff;
use crate::builder::StatsPublisherBuilder;
use crate::connection::{Connection, ConnectionError, Incoming, Opening, Received};
use crate::counters::{Gauges, add, set};
use crate::drain::{Batch, Drain, MAX_FRAME, Now, Room};
use crate::intake::Intake;
use crate::outbox::Outbox;
use crate::publisher::{DeliveryReport, Reply};
use crate::spool::{Segment, Spool, SpoolError};
use crate::window::{Released, WindowLimits};

/// Drains without an event after which the longer interval begins.
const IDLE_PASSES: u32 = 10;

/// Looks at the socket's receive buffer between two writes: acknowledgements come a few hundred bytes at a time.
const READS_AT_ONCE: usize = 16;

/// Percentiles are computed at most so often.
const LATENCY_EVERY: Duration = Duration::from_millis(250);

/// Requests of the host's threads.
#[derive(Debug)]
pub(crate) enum Command {
    Flush(Instant, Reply),
    Close(Instant, Reply),
}

/// What is said when the thread ends, after everything it held is gone.
#[derive(Debug)]
pub(crate) struct LastWords {
    replies: Vec<Reply>,
    report: DeliveryReport,
}

impl LastWords {
    pub(crate) fn send(self) {
        for reply in self.replies {
            reply.send(self.report);
        }
    }
}

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
    segments: std::collections::VecDeque<Segment>,
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

type Opened = Result<(Connection, OpenStatsSessionSuccess), ConnectionError>;

enum Link {
    Waiting { until: Instant },
    Opening(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Up(Box<Up>),
}

struct Up {
    connection: Connection,
    max_unacked: u64,
    /// When the sidecar last acknowledged something new, or the first event after a pause was sent.
    progress_at: Instant,
    /// The socket took no more.
    blocked: bool,
    close: CloseStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloseStage {
    Open,
    Sent { at: Instant },
    Acknowledged,
}

struct PendingFlush {
    mark: u64,
    /// The number that must be acknowledged, once it is known.
    target: Option<u64>,
    deadline: Instant,
    reply: Reply,
}

struct Closing {
    mark: u64,
    deadline: Instant,
    replies: Vec<Reply>,
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
        spool: Option<(Spool, std::collections::VecDeque<Segment>)>,
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

    fn accept(&mut self, command: Command) {
        self.next_drain = Instant::now();
        match command {
            Command::Flush(deadline, reply) => {
                let mark = self.drain.force();
                self.flushes.push(PendingFlush { mark, target: None, deadline, reply });
            }
            Command::Close(deadline, reply) => {
                self.intake.close();
                // The span up to the end was observed.
                self.drain.make_heartbeat_due(Now::read());
                let mark = self.drain.force();
                let closing = self.closing.get_or_insert_with(|| Closing { mark, deadline, replies: Vec::new() });
                closing.deadline = closing.deadline.min(deadline);
                closing.replies.push(reply);
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
        // After the end of the session was announced nothing may follow.
        let ended = matches!(&self.link, Link::Up(up) if up.close != CloseStage::Open) && self.finishing.is_none();
        if !has_room || ended {
            self.starved = !ended;
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

    // --- the connection

    /// Reads and writes as far as the socket goes without waiting.
    fn pump(&mut self, now: Now) -> Result<(), ConnectionError> {
        self.receive(now)?;
        match self.transmit(now) {
            // The reason for a reset may be in the receive buffer.
            Err(error @ ConnectionError::Io(_)) => self.receive(now).and(Err(error)),
            result => result,
        }
    }

    fn receive(&mut self, now: Now) -> Result<(), ConnectionError> {
        for _ in 0..READS_AT_ONCE {
            let Link::Up(up) = &mut self.link else { return Ok(()) };
            let received = up.connection.receive()?;
            while let Link::Up(up) = &mut self.link
                && let Some(incoming) = up.connection.next_incoming()?
            {
                self.take_incoming(incoming, now)?;
            }
            let Link::Up(up) = &mut self.link else { return Ok(()) };
            match received {
                Received::Bytes => {}
                Received::Nothing => break,
                Received::End if up.close == CloseStage::Open => return Err(ConnectionError::Ended),
                Received::End => {
                    up.close = CloseStage::Acknowledged;
                    break;
                }
            }
        }
        Ok(())
    }

    fn take_incoming(&mut self, incoming: Incoming, now: Now) -> Result<(), ConnectionError> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        let outbox = self.finishing.as_mut().unwrap_or(&mut self.own);
        match incoming {
            Incoming::Ack { committed } => {
                if matches!(up.close, CloseStage::Sent { .. }) {
                    // All events were acknowledged before, so this answers the end of the session.
                    up.close = CloseStage::Acknowledged;
                    return Ok(());
                }
                if committed > outbox.window.handed() {
                    return Err(ConnectionError::Protocol(format!(
                        "number {committed} is acknowledged, but {} is the last that was sent",
                        outbox.window.handed()
                    )));
                }
                if committed > outbox.window.committed() {
                    up.progress_at = now.mono;
                    self.backoff.reset();
                    let released = outbox.window.acknowledge(committed);
                    self.note_acknowledged(committed, released, now);
                }
                Ok(())
            }
            Incoming::Close { reason } => {
                if up.close != CloseStage::Open {
                    up.close = CloseStage::Acknowledged;
                    return Ok(());
                }
                if reason == error_code::MALFORMED {
                    self.note_malformed();
                }
                Err(ConnectionError::Closed(reason))
            }
        }
    }

    fn transmit(&mut self, now: Now) -> Result<(), ConnectionError> {
        loop {
            let loaded = match &self.spool {
                Some(spool) => self.finishing.as_mut().unwrap_or(&mut self.own).load(spool),
                None => Ok(Default::default()),
            };
            match loaded {
                Ok(loaded) => {
                    if let Some(place) = loaded.passed {
                        self.release_spool(place);
                    }
                    if loaded.reopen && matches!(self.link, Link::Up(_)) {
                        return Err(ConnectionError::Protocol("the spool has a gap".to_owned()));
                    }
                }
                Err(error) => self.note_spool_error(&error),
            }
            let Link::Up(up) = &mut self.link else { return Ok(()) };
            let window = &mut self.finishing.as_mut().unwrap_or(&mut self.own).window;
            if !up.connection.flush_outgoing()? {
                up.blocked = true;
                return Ok(());
            }
            let was_quiet = window.handed() == window.committed();
            let limit = window.committed().saturating_add(up.max_unacked);
            let frames = window.sendable(limit);
            up.blocked = !frames.is_empty();
            if frames.is_empty() {
                return Ok(());
            }
            let sent = up.connection.send(frames)?;
            if was_quiet {
                up.progress_at = now.mono;
            }
            if sent == 0 {
                return Ok(());
            }
            window.mark_sent(sent);
        }
    }

    /// Notices silence, ends what is to be ended, connects when it is time.
    fn look_after_link(&mut self, now: Now) {
        match &self.link {
            Link::Opening(_) => {}
            Link::Waiting { until } => {
                if now.mono >= *until {
                    self.link = Link::Opening(Box::pin(Connection::open(self.opening())));
                }
            }
            Link::Up(up) => {
                if let Some(due) = self.ack_due(up)
                    && now.mono >= due
                {
                    self.disconnect(&ConnectionError::NoProgress(self.settings.timing.ack_timeout), now);
                    return;
                }
                let acknowledged = up.close == CloseStage::Acknowledged;
                let Some(finishing) = &self.finishing else { return };
                if acknowledged {
                    if let Some(segment) = finishing.segment() {
                        add(&self.gauges.finished, finishing.window.committed() + 1 - segment.first);
                        self.release_spool(segment.end);
                    }
                    self.segments.pop_front();
                    self.take_up_segment();
                    self.gauges.connected.store(false, Ordering::Relaxed);
                    self.link = Link::Waiting { until: now.mono };
                } else if finishing.is_delivered() {
                    self.send_close("finished from the spool", now);
                }
            }
        }
    }

    /// When the connection counts as stalled.
    fn ack_due(&self, up: &Up) -> Option<Instant> {
        let window = &self.finishing.as_ref().unwrap_or(&self.own).window;
        match up.close {
            CloseStage::Sent { at } => Some(at + self.settings.timing.ack_timeout),
            CloseStage::Open if window.handed() > window.committed() => {
                Some(up.progress_at + self.settings.timing.ack_timeout)
            }
            _ => None,
        }
    }

    fn opening(&self) -> Opening {
        let outbox = self.finishing.as_ref().unwrap_or(&self.own);
        Opening {
            address: self.settings.address.clone(),
            #[cfg(feature = "noise")]
            authority: self.settings.authority,
            timeout: self.settings.timing.handshake_timeout,
            flags: outbox.open_flags(),
            role: self.settings.role,
            publisher: self.settings.publisher_text(),
            session_id: outbox.session_id,
            first_sequence: outbox.window.committed() + 1,
            vendor: self.settings.vendor_text(),
            token: self.settings.token.clone(),
        }
    }

    /// The sidecar has opened the session: goes on after the number that it says is durable.
    fn begin(
        &mut self,
        connection: Connection,
        success: &OpenStatsSessionSuccess,
        now: Now,
    ) -> Result<(), ConnectionError> {
        let is_own = self.finishing.is_none();
        let outbox = self.finishing.as_mut().unwrap_or(&mut self.own);
        let mut committed = success.committed_sequence;
        if committed < outbox.window.committed() {
            return Err(ConnectionError::Protocol(format!(
                "the sidecar goes back to number {committed}, but has acknowledged {}",
                outbox.window.committed()
            )));
        }
        if committed > outbox.last {
            if is_own {
                return Err(self.change_session(committed));
            }
            // The spool lost its end with the host's power; what it lost had been delivered.
            committed = outbox.last;
        }
        add(&self.gauges.resent, outbox.window.handed().saturating_sub(committed));
        let released = outbox.window.rewind(committed);
        let session_id = outbox.session_id;
        self.note_acknowledged(committed, released, now);
        if success.flags & SUCCESS_ANNOUNCE != 0 && is_own {
            self.drain.request_announcement();
        }
        self.link = Link::Up(Box::new(Up {
            connection,
            max_unacked: u64::from(success.max_unacked),
            progress_at: now.mono,
            blocked: false,
            close: CloseStage::Open,
        }));
        self.next_drain = now.mono;
        add(&self.gauges.connections, 1);
        self.gauges.connected.store(true, Ordering::Relaxed);
        tracing::info!(address = self.settings.address, session_id, committed, "connected to the sidecar");
        Ok(())
    }

    /// The sidecar knows more of this session than was ever sent: it is another's, from a restored snapshot of this host
    /// perhaps. The numbers stay, so that nothing has to be renumbered; the new session begins with the first that is not
    /// acknowledged.
    fn change_session(&mut self, committed: u64) -> ConnectionError {
        let (old, new) = (self.own.session_id, random_session_id());
        let error = ConnectionError::Protocol(format!(
            "session {old} is committed up to {committed}, beyond the last number {}; a new session begins",
            self.own.last
        ));
        self.own.session_id = new;
        if let Some(Err(error)) = self.spool.as_mut().map(|spool| spool.rename_session(old, new)) {
            self.note_spool_error(&error);
        }
        // It knows nothing of what is open.
        self.drain.request_announcement();
        error
    }

    fn disconnect(&mut self, error: &ConnectionError, now: Now) {
        self.gauges.connected.store(false, Ordering::Relaxed);
        add(&self.gauges.failures, 1);
        let text = chain(error);
        if self.gauges.note_error(text.clone()) {
            tracing::warn!(address = self.settings.address, error = text, "no connection to the sidecar; trying again");
        }
        self.link = Link::Waiting { until: now.mono + self.backoff.next() };
    }

    fn send_close(&mut self, reason: &'static str, now: Now) {
        let Link::Up(up) = &mut self.link else { return };
        if up.close != CloseStage::Open {
            return;
        }
        let mut message = Vec::new();
        CloseStatsSession { reason: Text::cut(reason) }.encode(&mut message);
        match up.connection.send_message(&message) {
            Ok(()) => up.close = CloseStage::Sent { at: now.mono },
            Err(error) => self.disconnect(&error, now),
        }
    }

    /// Told twice at the same place: the next frame is given up, and the session goes on behind it.
    fn note_malformed(&mut self) {
        let is_own = self.finishing.is_none();
        let outbox = self.finishing.as_mut().unwrap_or(&mut self.own);
        let place = (outbox.session_id, outbox.window.committed());
        if self.rejected.replace(place) != Some(place) || outbox.window.is_empty() {
            return;
        }
        self.rejected = None;
        let released = outbox.window.skip_one();
        tracing::error!(number = place.1 + 1, "gave up an event that the sidecar called malformed twice");
        if is_own && self.accounts.skip_one() {
            add(&self.gauges.malformed, 1);
        }
        if let Some(end) = released.spool_end {
            self.release_spool(end);
        }
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

    // --- flush and close

    /// Answers what can be answered. Returns when the thread is to end.
    fn answer(&mut self, now: Now) -> Option<LastWords> {
        if !self.flushes.is_empty() {
            self.answer_flushes(now);
        }
        let closing = self.closing.as_ref()?;
        if now.mono >= closing.deadline {
            return Some(self.last_words(false));
        }
        let all_encoded = self.drain.has_settled(closing.mark) && self.stuck.is_none() && self.intake.queued() == 0;
        if !all_encoded || self.finishing.is_some() || !self.own.is_delivered() {
            return None;
        }
        self.send_close("shutdown", now);
        match &self.link {
            Link::Up(up) if up.close == CloseStage::Acknowledged => Some(self.last_words(true)),
            _ => None,
        }
    }

    fn answer_flushes(&mut self, now: Now) {
        for mut flush in std::mem::take(&mut self.flushes) {
            if flush.target.is_none() && self.stuck.is_none() && self.drain.has_settled(flush.mark) {
                flush.target = Some(self.own.last);
            }
            let complete = flush.target.is_some_and(|target| self.own.window.committed() >= target);
            if complete || now.mono >= flush.deadline {
                self.gauges.note_latency(&self.accounts);
                flush.reply.send(self.report(complete));
            } else {
                self.flushes.push(flush);
            }
        }
    }

    fn report(&self, complete: bool) -> DeliveryReport {
        let unacknowledged = self.accounts.unacknowledged();
        let waiting = (self.intake.queued() + self.intake.overflowed()) as u64;
        DeliveryReport {
            complete,
            acknowledged: self.accounts.acknowledged(),
            left: unacknowledged + waiting,
            spooled: if self.spool.is_some() { unacknowledged } else { 0 },
        }
    }

    fn last_words(&mut self, complete: bool) -> LastWords {
        let report = self.report(complete);
        self.gauges.note_latency(&self.accounts);
        self.gauges.note_accounts(&self.accounts);
        self.gauges.note_report(report);
        if report.left > 0 {
            tracing::warn!(
                left = report.left,
                spooled = report.spooled,
                "publisher closed before all was acknowledged"
            );
        }
        for flush in self.flushes.drain(..) {
            flush.reply.send(DeliveryReport { complete: false, ..report });
        }
        LastWords { replies: self.closing.take().map(|closing| closing.replies).unwrap_or_default(), report }
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

impl Link {
    /// Waits for what the link itself brings. Cancel-safe.
    async fn event(&mut self) -> Wake {
        match self {
            Self::Waiting { .. } => std::future::pending().await,
            Self::Opening(attempt) => Wake::Opened(Box::new(attempt.await)),
            Self::Up(up) => Wake::Socket(up.connection.ready(up.blocked).await),
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
