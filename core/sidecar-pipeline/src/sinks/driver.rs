//! One sink's driver: starts the sink, finds its place in the journal, delivers batch after batch, keeps the account,
//! closes. It alone retries, waits and counts; whatever its sink does, nobody else notices.

mod delivery;

use std::sync::Arc;
use std::time::Duration;

use sidecar_core::{Batch, Clock, Cursor, ErrorChain, Record, Route, Sink, SinkError, SinkStart, Status};
use sidecar_journal::{Head, Journal, JournalError, JournalReader};
use stats_sv2::UnixMillis;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::call::{CallError, call};
use super::pace::Pace;
use super::place::{Found, Known, Place, Track};
use super::state::{FailureKind, SinkState};
use super::{SinkSpec, StartAt};
use crate::burst::Burst;
use crate::drain::{Drain, SinkReport};
use crate::ledger::Settled;
use crate::retry::{AfterFailure, RetryPolicy};

/// How often a sink is asked to do what is due by time.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);

/// Pause before the journal is asked again after an error of its own.
const JOURNAL_PAUSE: Duration = Duration::from_secs(1);

/// Reads that must find nothing before the records up to the head are taken for damaged.
const EMPTY_READS: u32 = 3;

/// What became of a sink's first start.
#[derive(Debug)]
pub(crate) enum Verdict {
    Started,
    /// It is being tried again.
    Trying,
    Failed(String),
}

/// Why the driver leaves what it is doing.
#[derive(Debug)]
enum Halt {
    /// Asked to stop, and there is nothing more to do, or it cannot be done now.
    Drained,
    /// The deadline for stopping has passed.
    Aborted,
    /// The sink cannot work.
    Broken(CallError),
}

/// See the module. Its async methods take `&mut self` even where they change nothing: a sink is `Send` and not `Sync`, so
/// a shared reference to its driver could not be held while waiting.
pub(crate) struct SinkDriver {
    name: Arc<str>,
    sink: Box<dyn Sink>,
    route: Arc<Route>,
    start_at: StartAt,
    retry: RetryPolicy,
    timeout: Duration,
    restart_after: Duration,
    journal: Journal,
    reader: JournalReader,
    clock: Arc<dyn Clock>,
    state: Arc<SinkState>,
    head: watch::Receiver<Head>,
    drain: Drain,
    abort: CancellationToken,
    verdict: Option<oneshot::Sender<Verdict>>,
    pace: Pace,
    place: Place,
    /// The head when the driver was made, before any source could append.
    made_at: Head,
    /// The offset up to which the sink may rightly say it has come: `made_at`, then what it was offered.
    reach: u64,
    /// Once the sink has come so far it is told what is open.
    announce_from: Option<u64>,
    /// The sink keeps state of what is open, or a cursor of its own.
    keeps_state: bool,
    maintain_at: Instant,
    empty_reads: u32,
    failure_lines: Burst,
    expiry_lines: Burst,
    dead_letter_lines: Burst,
}

/// Who says how far the sink has come.
#[derive(Debug, Clone, Copy)]
enum Note {
    /// The journal's note of it.
    Journal,
    /// The sink itself; `None` from one that is new or was emptied.
    Sink(Option<Cursor>),
}

impl SinkDriver {
    pub(crate) fn new(
        spec: SinkSpec,
        journal: &Journal,
        clock: Arc<dyn Clock>,
        drain: Drain,
        abort: CancellationToken,
        verdict: oneshot::Sender<Verdict>,
    ) -> Self {
        let state = Arc::new(SinkState::new(&spec, Arc::clone(&clock)));
        let now = Instant::now();
        let head = journal.watch_head();
        let made_at = *head.borrow();
        Self {
            name: spec.name,
            sink: spec.sink,
            route: Arc::new(spec.route),
            start_at: spec.start,
            retry: spec.retry,
            timeout: spec.timeout,
            restart_after: spec.restart_after,
            reader: journal.reader(),
            head,
            journal: journal.clone(),
            clock,
            state,
            drain,
            abort,
            verdict: Some(verdict),
            pace: Pace::new(spec.rate_limit, now),
            place: Place { offset: 0, cumulative: 0 },
            made_at,
            reach: made_at.offset,
            announce_from: None,
            keeps_state: false,
            maintain_at: now + MAINTAIN_EVERY,
            empty_reads: 0,
            failure_lines: Burst::default(),
            expiry_lines: Burst::default(),
            dead_letter_lines: Burst::default(),
        }
    }

    pub(crate) fn state(&self) -> Arc<SinkState> {
        Arc::clone(&self.state)
    }

    /// Drives the sink until it is asked to stop.
    pub(crate) async fn run(mut self) -> SinkReport {
        // The place by the journal's note, before the sink has started: an event that comes meanwhile is pending for it.
        let mut halt = match self.find_place().await {
            Ok(()) => {
                self.state.ledger().begin(self.place.cumulative);
                self.work().await
            }
            Err(halt) => halt,
        };
        while let Halt::Broken(error) = halt {
            self.broken(&error);
            halt = self.rest_and_restart().await;
        }
        self.close(matches!(halt, Halt::Aborted)).await
    }

    /// Starts the sink and delivers to it until something halts that.
    async fn work(&mut self) -> Halt {
        match self.start_and_deliver().await {
            Ok(never) => match never {},
            Err(halt) => halt,
        }
    }

    async fn start_and_deliver(&mut self) -> Result<std::convert::Infallible, Halt> {
        let start = self.start().await?;
        self.pace.joins(start.joins_batches);
        self.keeps_state = start.keeps_cursor || start.cursor.is_some() || start.wants_announcement;
        let keeps_cursor = start.keeps_cursor || start.cursor.is_some();
        let track = if keeps_cursor { self.follow(start.cursor).await? } else { Track::Kept };
        self.state.health.set(Status::Healthy);
        self.verdict(Verdict::Started);
        let is_behind = self.is_behind_tail();
        self.skip_expired();
        if track == Track::Lost {
            // The sink may know more than the journal says at this place; only the end is news to it in every case.
            self.announce_from = Some(self.head.borrow().offset);
        }
        if start.wants_announcement || (self.keeps_state && is_behind) {
            self.announce(self.place.offset).await?;
        }
        self.note_place();
        loop {
            self.step().await?;
        }
    }

    /// Starts the sink, again and again if that helps.
    async fn start(&mut self) -> Result<SinkStart, Halt> {
        self.state.health.set(Status::Starting);
        let (mut attempts, first) = (0, Instant::now());
        loop {
            attempts += 1;
            let sink = &mut self.sink;
            let error = match until_abort(&self.abort, call(self.timeout, || sink.start())).await? {
                Ok(start) => return Ok(start),
                Err(error) => error,
            };
            self.state.failed(FailureKind::of(&error));
            if !is_worth_a_retry(&error) {
                return Err(Halt::Broken(error));
            }
            self.told_failure(&error, "the sink does not start; it is tried again");
            self.verdict(Verdict::Trying);
            // Starting has no budget: the events wait in the journal.
            let policy = RetryPolicy { max_age: None, max_attempts: None, ..self.retry };
            if let AfterFailure::RetryAfter(pause) = policy.after_failure(attempts, first.elapsed(), rand::random()) {
                self.pause(pause).await?;
            }
        }
    }

    /// Finds the place by the journal's note, before the sink has said what it knows itself.
    async fn find_place(&mut self) -> Result<(), Halt> {
        self.locate(Note::Journal).await.map(|found| self.place = found.place)
    }

    /// Goes to where the sink's own store stands: it overrides the journal's note.
    async fn follow(&mut self, own: Option<Cursor>) -> Result<Track, Halt> {
        let Found { place, track } = self.locate(Note::Sink(own)).await?;
        if place != self.place {
            let mut ledger = self.state.ledger();
            if ledger.is_untouched() {
                ledger.begin(place.cumulative);
            } else {
                ledger.resume_at(place.cumulative);
            }
            self.place = place;
        }
        Ok(track)
    }

    async fn locate(&mut self, note: Note) -> Result<Found, Halt> {
        let (name, start_at) = (Arc::clone(&self.name), self.start_at);
        let (head, reach) = (self.made_at, self.reach);
        let reader = self.reader.clone();
        self.ask_journal("find the sink's place", move |journal| {
            let known = Known { journal_id: journal.id(), head, reach, tail: reader.tail() };
            let cursor = match (note, start_at) {
                (Note::Sink(Some(own)), _) => Some(own),
                // Emptied, it wants everything again, whatever the journal noted.
                (Note::Sink(None), StartAt::Earliest) => None,
                // "From now on" was said when it was new: the note tells when that was.
                (Note::Sink(None), StartAt::Latest) | (Note::Journal, _) => journal.cursor(&name)?,
            };
            known.find(cursor, start_at, |offset| journal.cumulative_at(offset))
        })
        .await
    }

    fn is_behind_tail(&self) -> bool {
        self.place.offset + 1 < self.reader.tail().first_offset
    }

    /// Moves over what retention has taken before the sink.
    fn skip_expired(&mut self) {
        if !self.is_behind_tail() {
            return;
        }
        let oldest = Place::oldest(self.reader.tail());
        let expired = self.state.ledger().expire_to(oldest.cumulative);
        self.place = oldest;
        if expired > 0
            && let Some(silent) = self.expiry_lines.pass(Instant::now())
        {
            tracing::error!(
                sink = %self.name, expired, silent,
                "the sink lagged behind the journal's retention; these events will not reach it",
            );
        }
    }

    /// One round: what is due, then the next batch if there is one, else waiting.
    async fn step(&mut self) -> Result<(), Halt> {
        if self.abort.is_cancelled() {
            return Err(Halt::Aborted);
        }
        if Instant::now() >= self.maintain_at {
            self.maintain().await?;
        }
        if self.announce_from.is_some_and(|from| self.place.offset >= from) {
            self.announce(self.place.offset).await?;
            self.announce_from = None;
        }
        let head = *self.head.borrow_and_update();
        let waits_until = if head.offset > self.place.offset {
            match self.pace.wait_until(head.cumulative_events.saturating_sub(self.place.cumulative), Instant::now()) {
                Some(at) if !self.drain.is_requested() => Some(at),
                _ => return self.next_batch(head).await,
            }
        } else if self.drain.is_requested() {
            return Err(Halt::Drained);
        } else {
            None
        };
        let wake = waits_until.map_or(self.maintain_at, |at| at.min(self.maintain_at));
        let reopen = tokio::select! {
            biased;
            () = self.abort.cancelled() => return Err(Halt::Aborted),
            () = self.drain.requested(), if !self.drain.is_requested() => false,
            () = self.state.reopen.notified() => true,
            () = sleep_until(wake) => false,
            changed = self.head.changed(), if waits_until.is_none() => {
                if changed.is_err() {
                    return Err(Halt::Drained);
                }
                false
            }
        };
        if reopen { self.reopen().await } else { Ok(()) }
    }

    async fn maintain(&mut self) -> Result<(), Halt> {
        let now = self.clock.now_for_ages();
        let sink = &mut self.sink;
        let done = until_abort(&self.abort, call(self.timeout, || sink.maintain(now))).await?;
        self.maintain_at = Instant::now() + MAINTAIN_EVERY;
        self.side_task(done, "the sink's maintenance failed; it is tried again")
    }

    async fn reopen(&mut self) -> Result<(), Halt> {
        let sink = &mut self.sink;
        let done = until_abort(&self.abort, call(self.timeout, || sink.reopen())).await?;
        self.side_task(done, "the sink cannot reopen its files")
    }

    /// The outcome of something other than a delivery: only what ends the sink ends the round.
    fn side_task(&self, done: Result<(), CallError>, what: &str) -> Result<(), Halt> {
        match done {
            Ok(()) => Ok(()),
            Err(error) if is_worth_a_retry(&error) => {
                self.state.failed(FailureKind::of(&error));
                self.told_failure(&error, what);
                // The next delivery shows whether the sink works.
                Ok(())
            }
            Err(error) => {
                self.state.failed(FailureKind::of(&error));
                Err(Halt::Broken(error))
            }
        }
    }

    /// Reads the next batch and delivers it.
    async fn next_batch(&mut self, head: Head) -> Result<(), Halt> {
        let (max_events, max_bytes) = self.pace.batch_limits();
        let (reader, after) = (self.reader.clone(), self.place.offset);
        let records = self.ask_journal("read the journal", move |_| reader.read(after, max_events, max_bytes)).await?;
        let Some((first, last)) = records.first().zip(records.last()) else {
            return self.nothing_there(head).await;
        };
        self.empty_reads = 0;

        let (before, after) = (Place::before(first), Place::after(last));
        let (received_at, newest) = (first.received_at, last.received_at);
        if before.cumulative > self.place.cumulative {
            let tail = self.reader.tail();
            let retired = tail.cumulative_before.min(before.cumulative).max(self.place.cumulative);
            self.expire(retired, before.cumulative);
            self.place = before;
            if self.keeps_state {
                self.announce(before.offset).await?;
            }
        }
        let damaged = missing_between(&records);
        let Some(batch) = Batch::new(self.journal.id(), records, Arc::clone(&self.route)) else { return Ok(()) };
        let mut settled = Settled { filtered: batch.filtered(), damaged, ..Settled::default() };
        self.pace.begin(batch.events(), Instant::now());
        self.state.batch_begun(received_at);
        // A sink with a cursor of its own sees every batch, so that the cursor keeps up with what is filtered.
        if batch.events() > 0 || self.keeps_state {
            self.reach = self.reach.max(after.offset);
            self.deliver(batch, &mut settled).await?;
        }
        self.settle(settled, after, newest);
        Ok(())
    }

    /// Books and tells what will not reach the sink: up to `retired` by retention, from there to `to` by damage.
    fn expire(&self, retired: u64, to: u64) {
        let mut ledger = self.state.ledger();
        let by_retention = ledger.expire_to(retired);
        let damaged = to - retired;
        ledger.settle(Settled { damaged, ..Settled::default() }, to);
        drop(ledger);
        if let Some(silent) = self.expiry_lines.pass(Instant::now()) {
            tracing::error!(
                sink = %self.name, by_retention, damaged, silent,
                "events are gone from the journal before the sink took them",
            );
        }
    }

    /// The head is ahead, and yet no record is there: retention has taken all, or the file is damaged.
    async fn nothing_there(&mut self, head: Head) -> Result<(), Halt> {
        if self.is_behind_tail() {
            self.skip_expired();
            return self.go_on_after_loss().await;
        }
        self.empty_reads += 1;
        if self.empty_reads < EMPTY_READS {
            return self.pause(JOURNAL_PAUSE / 10).await;
        }
        self.empty_reads = 0;
        self.expire(self.place.cumulative, head.cumulative_events.max(self.place.cumulative));
        self.place = Place::newest(head);
        self.go_on_after_loss().await
    }

    /// The sink goes on at a place where it has not seen what came before.
    async fn go_on_after_loss(&mut self) -> Result<(), Halt> {
        if self.keeps_state {
            self.announce(self.place.offset).await?;
        }
        self.note_place();
        Ok(())
    }

    /// The batch is done with: the account, the place and the journal's note move together.
    fn settle(&mut self, settled: Settled, place: Place, newest: UnixMillis) {
        self.state.ledger().settle(settled, place.cumulative);
        self.place = place;
        self.state.batch_done(newest, self.head.borrow().cumulative_events <= place.cumulative);
        self.note_place();
    }

    fn note_place(&mut self) {
        self.reach = self.reach.max(self.place.offset);
        self.state.at_offset(self.place.offset);
        self.journal.set_cursor(&self.name, Cursor { journal_id: self.journal.id(), offset: self.place.offset });
    }

    /// Tells a sink without state, or with a stale one, what is open after this offset (delivery rule 11). That nothing is
    /// open is told as well: what such a sink has open ended unseen.
    async fn announce(&mut self, offset: u64) -> Result<(), Halt> {
        let records = self.ask_journal("read what is open", move |journal| journal.open_state(offset)).await?;
        let batch = Batch::announcement(self.journal.id(), records, Arc::clone(&self.route));
        self.deliver(batch, &mut Settled::default()).await?;
        self.state.announced();
        Ok(())
    }

    /// Asks the journal something that blocks, again after a pause if it fails.
    async fn ask_journal<T: Send + 'static>(
        &mut self,
        what: &'static str,
        ask: impl Fn(&Journal) -> Result<T, JournalError> + Send + Clone + 'static,
    ) -> Result<T, Halt> {
        loop {
            let (journal, ask) = (self.journal.clone(), ask.clone());
            let asked = tokio::task::spawn_blocking(move || ask(&journal)).await;
            let error = match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                // The runtime stops, or the journal panicked and says why itself.
                Err(_) => JournalError::Closed,
            };
            if matches!(error, JournalError::Closed) {
                return Err(Halt::Drained);
            }
            if let Some(silent) = self.failure_lines.pass(Instant::now()) {
                tracing::error!(sink = %self.name, error = %ErrorChain(&error), silent, "cannot {what}");
            }
            self.state.health.fail(Status::Retrying, format!("cannot {what}: {}", ErrorChain(&error)));
            self.pause(JOURNAL_PAUSE).await?;
        }
    }

    /// Waits, unless asked to stop: what is not done then stays in the journal for the next start.
    async fn pause(&mut self, pause: Duration) -> Result<(), Halt> {
        tokio::select! {
            biased;
            () = self.abort.cancelled() => Err(Halt::Aborted),
            () = self.drain.requested() => Err(Halt::Drained),
            () = sleep(pause) => Ok(()),
        }
    }

    fn told_failure(&self, error: &CallError, what: &str) {
        let chain = ErrorChain(error).to_string();
        if let Some(silent) = self.failure_lines.pass(Instant::now()) {
            tracing::warn!(sink = %self.name, error = chain, silent, "{what}");
        }
        self.state.health.fail(Status::Retrying, chain);
    }

    fn broken(&mut self, error: &CallError) {
        let chain = ErrorChain(error).to_string();
        tracing::error!(
            sink = %self.name, error = chain, restart_after = ?self.restart_after,
            "the sink has failed; its events wait in the journal",
        );
        self.verdict(Verdict::Failed(chain.clone()));
        self.state.health.fail(Status::Failed, chain);
    }

    fn verdict(&mut self, verdict: Verdict) {
        if let Some(told) = self.verdict.take() {
            // Nobody listens unless the sink is required.
            drop(told.send(verdict));
        }
    }

    async fn rest_and_restart(&mut self) -> Halt {
        let sink = &mut self.sink;
        if let Err(error) = call(self.timeout, || sink.close()).await {
            tracing::debug!(sink = %self.name, error = %ErrorChain(&error), "the failed sink does not close");
        }
        match self.pause(self.restart_after).await {
            Ok(()) => self.work().await,
            Err(halt) => halt,
        }
    }

    async fn close(mut self, aborted: bool) -> SinkReport {
        self.state.health.set(Status::Stopping);
        let sink = &mut self.sink;
        let closing = call(self.timeout, || sink.close());
        let closed = tokio::select! {
            biased;
            closed = closing => closed,
            // A sink that was cut off gets a moment to release what it holds.
            () = async { self.abort.cancelled().await; sleep(CLOSE_AFTER_ABORT).await } => {
                Err(CallError::Timeout(CLOSE_AFTER_ABORT))
            }
        };
        if aborted || matches!(closed, Err(CallError::Timeout(_))) {
            // A thread of its own may hang in it, and dropping the sink would wait for that thread. The process is about
            // to end anyway, and the report names the sink.
            std::mem::forget(self.sink);
        }
        self.state.health.set(Status::Stopped);
        let head = self.head.borrow().cumulative_events;
        SinkReport {
            name: self.name.to_string(),
            ledger: self.state.ledger().snapshot(head),
            not_closed: closed.err().map(|error| ErrorChain(&error).to_string()),
        }
    }
}

/// How long a sink may take to close once the deadline has passed.
const CLOSE_AFTER_ABORT: Duration = Duration::from_millis(250);

/// Runs a call unless the deadline for stopping passes.
async fn until_abort<T>(abort: &CancellationToken, call: impl Future<Output = T>) -> Result<T, Halt> {
    tokio::select! {
        biased;
        done = call => Ok(done),
        () = abort.cancelled() => Err(Halt::Aborted),
    }
}

/// Whether the same call may succeed later without anybody changing anything.
fn is_worth_a_retry(error: &CallError) -> bool {
    match error {
        CallError::Timeout(_) => true,
        CallError::Panic(_) => false,
        CallError::Sink(error) => !matches!(error, SinkError::Fatal { .. }),
    }
}

/// Events missing between the records of one read.
fn missing_between(records: &[Arc<Record>]) -> u64 {
    records.windows(2).map(|pair| Place::before(&pair[1]).cumulative.saturating_sub(pair[0].cumulative_events)).sum()
}
