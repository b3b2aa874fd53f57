//! The hub's thread: drains the queue on its own clock, keeps the connection to the mint, and ends quotes.
//!
//! One loop owns everything, so nothing but the queues and the book is shared: drain, write and read what the socket takes
//! and has, end what is too old, sleep until the next of these is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ehash::{MintQuoteResponseEvent, PaymentFailedEvent, QuoteError, QuotePaidEvent, ShareHash};
use mint_quote_sv2::{AnyMessage, Message};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::builder::Settings;
use crate::callback_pace::CallbackPace;
use crate::callback_thread::Callback;
use crate::connection::{Connection, ConnectionError, Opening, Received};
use crate::counters::count;
use crate::dispatcher::CloseReport;
use crate::hub::Shared;
use crate::odd_answers::OddAnswerLog;
use crate::pending::{Answer, Next, PendingQuotes};
use crate::quote::Quote;

/// Drains without a quote after which the longer interval begins.
const IDLE_PASSES: u32 = 10;

/// Turns of writing and reading before the queue is looked at again.
const TURNS_AT_ONCE: usize = 16;

/// How often the book is rid of old hashes.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How often the hub looks whether the host's callbacks have made room.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(1);

/// The longest that a mint may say nothing while it owes an answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);

/// A busy mint or a network that holds its breath is no dead connection.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// Connections that a quote may find silent before its time is over.
const CHANCES: u32 = 4;

/// Requests of the host's threads.
#[derive(Debug)]
pub(crate) enum Command {
    /// End what is pending by answers until the deadline, the rest by [`QuoteError::Closed`].
    Close(Instant),
}

pub(crate) struct Worker {
    settings: Settings,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    pending: PendingQuotes,
    link: Link,
    backoff: Backoff,
    pace: CallbackPace,
    /// The deadline of closing.
    closing: Option<Instant>,
    /// Quotes that closing has ended.
    left: u64,
    next_drain: Instant,
    idle_passes: u32,
    tidy_at: Instant,
    odd_answers: OddAnswerLog,
    /// Frames on their way to the connection; kept for its memory.
    frames: Vec<u8>,
}

enum Link {
    Waiting { until: Instant },
    Opening(Pin<Box<dyn Future<Output = Result<Box<Connection>, ConnectionError>> + Send>>),
    Up(Up),
}

struct Up {
    connection: Box<Connection>,
    /// Since when the mint owes an answer and has sent nothing.
    silent_since: Option<Instant>,
}

/// What ended a wait.
enum Wake {
    Command(Option<Command>),
    Opened(Result<Box<Connection>, ConnectionError>),
    Socket(Result<(), ConnectionError>),
    Time,
}

impl Worker {
    pub(crate) fn new(settings: Settings, shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Self {
        let now = Instant::now();
        Self {
            pending: PendingQuotes::new(shared.book.clone(), settings.max_pending, settings.timeout, shared.start),
            backoff: Backoff::new(settings.timing.backoff_first, settings.timing.backoff_longest),
            pace: CallbackPace::new(settings.timing.callback_patience),
            settings,
            shared,
            commands,
            link: Link::Waiting { until: now },
            closing: None,
            left: 0,
            next_drain: now,
            idle_passes: 0,
            tidy_at: now,
            odd_answers: OddAnswerLog::default(),
            frames: Vec::new(),
        }
    }

    /// Runs until closed.
    pub(crate) async fn run(mut self) -> CloseReport {
        loop {
            let now = Instant::now();
            self.drain(now);
            if let Err(error) = self.pump(now) {
                self.disconnect(&error, now);
            }
            self.expire(now);
            self.leave_silence(now);
            self.look_after_link(now);
            self.shared.callbacks.wake();
            if let Some(report) = self.closed(now) {
                return report;
            }
            match self.wait().await {
                Wake::Command(Some(Command::Close(deadline))) => self.close(deadline),
                // The handles are gone without a word, which their drop prevents.
                Wake::Command(None) => self.close(now),
                Wake::Opened(Ok(connection)) => self.begin(connection),
                Wake::Opened(Err(error)) | Wake::Socket(Err(error)) => self.disconnect(&error, Instant::now()),
                Wake::Socket(Ok(())) | Wake::Time => {}
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        if self.pace.is_waiting() {
            // Not for the socket, which may be ready all the while.
            return tokio::select! {
                command = self.commands.recv() => Wake::Command(command),
                () = tokio::time::sleep(WAIT_FOR_ROOM) => Wake::Time,
            };
        }
        let mut until = self.next_drain;
        match &mut self.link {
            Link::Waiting { until: retry_at } => {
                until = until.min(*retry_at);
                tokio::select! {
                    command = self.commands.recv() => Wake::Command(command),
                    () = tokio::time::sleep_until(until) => Wake::Time,
                }
            }
            Link::Opening(opening) => tokio::select! {
                command = self.commands.recv() => Wake::Command(command),
                opened = opening.as_mut() => Wake::Opened(opened),
                () = tokio::time::sleep_until(until) => Wake::Time,
            },
            Link::Up(up) => tokio::select! {
                command = self.commands.recv() => Wake::Command(command),
                ready = up.connection.ready() => Wake::Socket(ready),
                () = tokio::time::sleep_until(until) => Wake::Time,
            },
        }
    }

    /// Takes quotes from the queue while there is room; what stays there keeps the host's threads from adding more.
    fn drain(&mut self, now: Instant) {
        let mut drained = false;
        while self.pending.has_room() {
            let Some(quote) = self.shared.queue.pop() else { break };
            self.pending.push(quote);
            drained = true;
        }
        self.idle_passes = if drained { 0 } else { self.idle_passes.saturating_add(1) };
        if now >= self.next_drain {
            let timing = &self.settings.timing;
            self.next_drain = now + if self.idle_passes < IDLE_PASSES { timing.drain_every } else { timing.drain_idle };
        }
        if now >= self.tidy_at {
            self.shared.book.expire(now);
            self.odd_answers.tell(&self.shared.gauges, now);
            self.tidy_at = now + TIDY_EVERY;
        }
    }

    /// Sends and receives what goes without waiting.
    fn pump(&mut self, now: Instant) -> Result<(), ConnectionError> {
        for _ in 0..TURNS_AT_ONCE {
            // Those that were left for want of room come before more is read.
            if !self.take_messages(now)? {
                return Ok(());
            }
            let Link::Up(up) = &mut self.link else { return Ok(()) };
            let received = up.connection.receive()?;
            if !self.take_messages(now)? {
                return Ok(());
            }
            if received == Received::End {
                return Err(ConnectionError::Ended);
            }
            if let Link::Up(up) = &mut self.link
                && received == Received::Bytes
            {
                up.silent_since = self.pending.is_awaiting().then_some(now);
            }
            let sent = self.send_requests(now)?;
            if received == Received::Nothing && !sent {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the messages that have come; `false` when some are left, since the host's callbacks have no room.
    fn take_messages(&mut self, now: Instant) -> Result<bool, ConnectionError> {
        while self.pace.may_call(&self.shared.callbacks, now) {
            let Link::Up(up) = &mut self.link else { return Ok(true) };
            let Some(message) = up.connection.next_message()? else { return Ok(true) };
            self.take(message, now)?;
        }
        Ok(false)
    }

    /// Hands requests to the connection while it has room, and ends those that are too old; whether any were sent.
    fn send_requests(&mut self, now: Instant) -> Result<bool, ConnectionError> {
        let Link::Up(up) = &mut self.link else { return Ok(false) };
        let mut sent = false;
        while up.connection.has_room()
            && self.pace.may_call(&self.shared.callbacks, now)
            && let Some(next) = self.pending.next_to_send(now)
        {
            let (quote, first_time) = match next {
                Next::Send { quote, first_time } => (quote, first_time),
                Next::TimedOut(quote) => {
                    tell_timeout(&self.shared, &self.settings, quote);
                    continue;
                }
            };
            quote.request.to_message().encode(&mut self.frames);
            up.connection.send(&self.frames)?;
            self.frames.clear();
            if first_time {
                count(&self.shared.gauges.sent);
                self.shared.callbacks.push(Callback::Send(quote));
            } else {
                count(&self.shared.gauges.resent);
            }
            up.silent_since.get_or_insert(now);
            sent = true;
        }
        up.connection.flush()?;
        Ok(sent)
    }

    fn take(&mut self, message: AnyMessage, now: Instant) -> Result<(), ConnectionError> {
        let gauges = &self.shared.gauges;
        let callbacks = &self.shared.callbacks;
        match message {
            AnyMessage::MintQuoteResponse(response) => {
                let share_hash = ShareHash::from_wire(response.header_hash());
                let quote_id = response.quote_id();
                match self.pending.answer(share_hash, quote_id.as_str(), now) {
                    Answer::Answered(quote) => {
                        self.backoff.reset();
                        count(&gauges.answered);
                        let (quote_id, context) = (quote_id.clone(), quote.context());
                        callbacks.push(Callback::Response(MintQuoteResponseEvent { share_hash, quote_id, context }));
                    }
                    Answer::Duplicate => count(&gauges.duplicate_answers),
                    Answer::Conflict => {
                        count(&gauges.conflicts);
                        tracing::debug!(%share_hash, ?quote_id, "the mint answered a quote again, and differently");
                    }
                    Answer::Late => {
                        count(&gauges.late_answers);
                        tracing::debug!(%share_hash, ?quote_id, "the mint answered a quote after its timeout");
                    }
                    Answer::Unknown => {
                        count(&gauges.unknown_answers);
                        tracing::debug!(%share_hash, ?quote_id, "the mint answered a quote that was not asked for");
                    }
                }
            }
            AnyMessage::MintQuoteError(error) => {
                let (error_code, error_message) = (error.error_code, error.error_message);
                if let Some(quote) = self.pending.refuse(now) {
                    self.backoff.reset();
                    count(&gauges.failed);
                    let error = QuoteError::Mint { error_code, error_message };
                    callbacks.push(Callback::Error(error, Some(quote.share_hash())));
                } else {
                    count(&gauges.unattributed_errors);
                    callbacks.push(Callback::Error(QuoteError::Unattributed { error_code, error_message }, None));
                }
            }
            AnyMessage::MintQuoteNotification(paid) => {
                count(&gauges.payments);
                let (quote_id, amount) = (paid.quote_id().clone(), paid.amount());
                callbacks.push(Callback::Paid(QuotePaidEvent { quote_id, amount }));
            }
            AnyMessage::MintQuoteFailure(failure) => {
                count(&gauges.payment_failures);
                callbacks.push(Callback::PaymentFailed(PaymentFailedEvent {
                    quote_id: failure.quote_id().clone(),
                    error_code: failure.error_code(),
                    error_message: failure.error_message().clone(),
                }));
            }
            AnyMessage::Unknown { .. } => count(&gauges.unknown_messages),
            _ => return Err(ConnectionError::Protocol("a message that is not the mint's to send")),
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        while self.pace.may_call(&self.shared.callbacks, now)
            && let Some(quote) = self.pending.expire(now)
        {
            tell_timeout(&self.shared, &self.settings, quote);
        }
    }

    /// A slow mint still answers others; one that says nothing at all may be gone without a word. It is left in time to
    /// ask again on other connections, which harms nothing: requests are idempotent (delivery rule 32).
    fn leave_silence(&mut self, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        if !self.pending.is_awaiting() {
            up.silent_since = None;
        }
        let limit = (self.settings.timeout / CHANCES).clamp(SHORTEST_SILENCE, LONGEST_SILENCE);
        // While the hub waits for the host's callbacks it does not listen.
        if !self.pace.is_waiting() && up.silent_since.is_some_and(|since| now.duration_since(since) >= limit) {
            self.disconnect(&ConnectionError::Silent(limit), now);
        }
    }

    fn look_after_link(&mut self, now: Instant) {
        if let Link::Waiting { until } = self.link
            && now >= until
        {
            self.link = Link::Opening(Box::pin(Connection::open(Opening {
                address: self.settings.address.clone(),
                vendor: self.settings.vendor.clone(),
                #[cfg(feature = "noise")]
                authority: self.settings.authority,
                timeout: self.settings.timing.handshake_timeout,
            })));
        }
    }

    fn begin(&mut self, connection: Box<Connection>) {
        self.pending.reconnected();
        self.link = Link::Up(Up { connection, silent_since: None });
        count(&self.shared.gauges.connections);
        self.shared.gauges.connected.store(true, Ordering::Relaxed);
        tracing::info!(mint = self.settings.address, "connected to the mint");
    }

    fn disconnect(&mut self, error: &ConnectionError, now: Instant) {
        self.link = Link::Waiting { until: now + self.backoff.next() };
        count(&self.shared.gauges.failures);
        self.shared.gauges.connected.store(false, Ordering::Relaxed);
        let words = chain(error);
        if self.shared.gauges.note_error(words.clone()) {
            tracing::warn!(mint = self.settings.address, "no connection to the mint, quotes wait: {words}");
        }
    }

    fn close(&mut self, deadline: Instant) {
        let at = self.closing.get_or_insert(deadline);
        *at = deadline.min(*at);
        // Soon, not at the pace of an idle hub.
        self.idle_passes = 0;
        self.next_drain = Instant::now();
    }

    /// Whether all is done: every quote has ended and no thread is about to submit another.
    fn closed(&mut self, now: Instant) -> Option<CloseReport> {
        let over = now >= self.closing?;
        // In this order: a thread that is no longer submitting has put its quote into the queue.
        if self.shared.submitting.load(Ordering::SeqCst) != 0 {
            return None;
        }
        let is_done = self.pending.is_empty() && self.shared.queue.is_empty();
        if !is_done && !over {
            return None;
        }
        loop {
            if self.pending.is_empty() {
                let Some(quote) = self.shared.queue.pop() else { break };
                self.pending.push(quote);
            }
            if !self.pace.may_call(&self.shared.callbacks, now) {
                return None;
            }
            if let Some(quote) = self.pending.give_up(now) {
                self.left += 1;
                count(&self.shared.gauges.rejected);
                self.shared.callbacks.push(Callback::Error(QuoteError::Closed, Some(quote.share_hash())));
            }
        }
        let left = self.left;
        self.shared.gauges.connected.store(false, Ordering::Relaxed);
        Some(CloseReport { complete: left == 0, left })
    }
}

fn tell_timeout(shared: &Shared, settings: &Settings, quote: Quote) {
    count(&shared.gauges.timed_out);
    let error = QuoteError::Timeout { after: settings.timeout };
    shared.callbacks.push(Callback::Error(error, Some(quote.share_hash())));
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
