//! The host's handle: publish from any thread, flush, close, read the counters.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use stats_sv2::Event;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::builder::{StartError, StatsPublisherBuilder};
use crate::counters::{Counters, Gauges};
use crate::intake::{Intake, PublishOutcome};
use crate::spool::Spool;
use crate::worker::{Command, Worker};

/// How long dropping the last handle waits for acknowledgements while the sidecar is connected.
pub const DROP_DEADLINE: Duration = Duration::from_millis(500);

/// Requests that may wait for the publisher's thread, which takes them within microseconds.
const COMMANDS: usize = 64;

/// How long after a deadline the thread's answer is waited for: it may be inside a write to the spool.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// How long a thread that waits for room sleeps between two looks. At three million events a second a queue of the
/// default size loses a twentieth of its content in this time: long enough to be cheap, short enough never to run dry.
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// What [`flush`](StatsPublisher::flush) and [`close`](StatsPublisher::close) achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// Everything published before the call is acknowledged; for `close` also the end of the session.
    pub complete: bool,
    /// Events that the sidecar has acknowledged since the publisher started.
    pub acknowledged: u64,
    /// Events that were taken and are not acknowledged.
    pub left: u64,
    /// Of these, the ones that lie in the spool: the next run delivers them.
    pub spooled: u64,
}

/// Publishes events to the sidecar without ever making its caller wait.
///
/// Clones share one queue, one session and one thread. Dropping the last one closes the session as
/// [`close`](Self::close) does, with a deadline of [`DROP_DEADLINE`] if the sidecar is connected and none otherwise; the
/// dropping thread waits for that. Call `close` to choose the deadline, and to learn what was left.
#[derive(Debug, Clone)]
pub struct StatsPublisher {
    /// `None` when the publisher is disabled.
    running: Option<Arc<Running>>,
}

#[derive(Debug)]
struct Running {
    intake: Arc<Intake>,
    gauges: Arc<Gauges>,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl StatsPublisher {
    /// Settings to start from.
    pub fn builder() -> StatsPublisherBuilder {
        StatsPublisherBuilder::default()
    }

    /// A publisher that does nothing, for a host without statistics.
    #[must_use]
    pub fn disabled() -> Self {
        Self { running: None }
    }

    /// Hands over an event. Never waits, does no I/O, reads no clock and wakes nobody; for shares it allocates nothing.
    ///
    /// Events that are published one after the other, on whichever threads, are delivered in that order. The result may
    /// be ignored: what is dropped is counted, and the sidecar is told. Numbers from 2^63 on (other than an ehash amount)
    /// are no values of the protocol; the sidecar sets such an event aside as malformed.
    #[inline]
    pub fn publish<'a>(&self, event: impl Into<Event<'a>>) -> PublishOutcome {
        match &self.running {
            Some(running) => running.intake.publish(event.into()),
            None => PublishOutcome::Disabled,
        }
    }

    /// Like [`publish`](Self::publish), but waits while the queue is nearly full instead of dropping. Not for a pool:
    /// for tools that must lose nothing and may be slow. Sleeps, so not for an async task either; see
    /// [`has_room`](Self::has_room). Waits as long as the sidecar is away.
    pub fn publish_wait<'a>(&self, event: impl Into<Event<'a>>) -> PublishOutcome {
        let Some(running) = &self.running else { return PublishOutcome::Disabled };
        while !running.intake.has_room() && !running.intake.is_closed() {
            std::thread::sleep(ROOM_PAUSE);
        }
        running.intake.publish(event.into())
    }

    /// Whether at least an eighth of the queue is free: a single thread may then publish as many events as that without
    /// one being dropped. A look costs about as much as a `publish`, so look once in a hundred events.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.intake.has_room())
    }

    /// Waits, asleep, until [`has_room`](Self::has_room) or the time is over; says which. Also returns, with `false`, when
    /// the publisher is closed.
    #[must_use]
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let Some(running) = &self.running else { return true };
        let deadline = std::time::Instant::now() + timeout;
        loop {
            if running.intake.has_room() {
                return true;
            }
            if running.intake.is_closed() || std::time::Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(ROOM_PAUSE);
        }
    }

    /// Whether events go anywhere: `false` for a publisher that its configuration switches off.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.running.is_some()
    }

    /// A snapshot of what happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.running.as_ref().map(|running| running.gauges.snapshot(&running.intake)).unwrap_or_default()
    }

    /// Waits until everything published before is acknowledged, at most until the deadline. Blocks the thread; in an
    /// async task use [`flush_async`](Self::flush_async).
    pub fn flush(&self, deadline: Duration) -> DeliveryReport {
        self.ask_blocking(deadline, Command::Flush)
    }

    /// [`flush`](Self::flush) for async code, on whichever runtime.
    pub async fn flush_async(&self, deadline: Duration) -> DeliveryReport {
        self.ask(deadline, Command::Flush).await
    }

    /// Takes no more events, delivers what was published, ends the session at the sidecar and waits for its
    /// acknowledgement, at most until the deadline. All clones are closed with it. What is left then is lost, unless there is
    /// a spool. Blocks the thread; in an async task use [`close_async`](Self::close_async).
    pub fn close(&self, deadline: Duration) -> DeliveryReport {
        self.stop_accepting();
        let report = self.ask_blocking(deadline, Command::Close);
        self.join(report)
    }

    /// [`close`](Self::close) for async code, on whichever runtime.
    pub async fn close_async(&self, deadline: Duration) -> DeliveryReport {
        self.stop_accepting();
        let report = self.ask(deadline, Command::Close).await;
        self.join(report)
    }

    pub(crate) fn spawn(settings: StatsPublisherBuilder) -> Result<Self, StartError> {
        let spool = match &settings.spool {
            Some(spool) => Some(Spool::open(&spool.path, spool.max_bytes, &settings.publisher)?),
            None => None,
        };
        let intake = Arc::new(Intake::new(settings.queue_slots, settings.boxed_event_bytes));
        let gauges = Arc::new(Gauges::default());
        let (commands, requests) = mpsc::channel(COMMANDS);
        let worker = Worker::new(settings, intake.clone(), gauges.clone(), spool, requests);
        // A thread and a runtime of its own, also where the host has a runtime: the drain keeps its pace when the host's
        // tasks are late, works in hosts without tokio, and still delivers when the host's runtime is being shut down. The
        // cost is one thread that sleeps most of the time.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name(THREAD_NAME)
            .build()
            .map_err(StartError::Thread)?;
        let guard = CloseOnExit { intake: intake.clone(), gauges: gauges.clone() };
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || {
                let _guard = guard;
                let answer = runtime.block_on(worker.run());
                // A name that is being resolved has a thread of the runtime, which must not be waited for.
                runtime.shutdown_background();
                answer.send();
            })
            .map_err(StartError::Thread)?;
        Ok(Self { running: Some(Arc::new(Running { intake, gauges, commands, thread: Mutex::new(Some(thread)) })) })
    }

    fn stop_accepting(&self) {
        if let Some(running) = &self.running {
            running.intake.close();
        }
    }

    fn ask_blocking(&self, deadline: Duration, command: fn(Instant, Reply) -> Command) -> DeliveryReport {
        let Some(running) = &self.running else { return DeliveryReport { complete: true, ..Default::default() } };
        let (reply, answer): (SyncSender<DeliveryReport>, _) = sync_channel(1);
        let reply = Reply::Blocking(reply);
        if running.commands.try_send(command(Instant::now() + deadline, reply)).is_err() {
            return running.report();
        }
        match answer.recv_timeout(deadline + ANSWER_GRACE) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => running.report(),
        }
    }

    async fn ask(&self, deadline: Duration, command: fn(Instant, Reply) -> Command) -> DeliveryReport {
        let Some(running) = &self.running else { return DeliveryReport { complete: true, ..Default::default() } };
        let (reply, answer) = oneshot::channel();
        if running.commands.try_send(command(Instant::now() + deadline, Reply::Async(reply))).is_err() {
            return running.report();
        }
        // The thread keeps the deadline; if it is gone the channel is closed.
        answer.await.unwrap_or_else(|_| running.report())
    }

    /// Waits for the thread, which ends right after it has answered. If it did not answer it hangs in a system call,
    /// and waiting would hang the host with it.
    fn join(&self, report: DeliveryReport) -> DeliveryReport {
        if let Some(running) = &self.running {
            running.join_if_finished();
        }
        report
    }
}

/// At most 15 bytes, or Linux refuses the name.
const THREAD_NAME: &str = "stats-publisher";

impl Running {
    /// For when the thread gives no answer: its last one, or what the counters say.
    fn report(&self) -> DeliveryReport {
        if let Some(report) = self.gauges.last_report() {
            return report;
        }
        let counters = self.gauges.snapshot(&self.intake);
        DeliveryReport {
            complete: false,
            acknowledged: counters.acknowledged,
            left: counters.unacknowledged + counters.queued,
            spooled: 0,
        }
    }

    fn join_if_finished(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if self.commands.is_closed() {
            if thread.join().is_err() {
                tracing::error!("the statistics publisher's thread panicked");
            }
        } else {
            tracing::error!("the statistics publisher's thread does not answer; it is left behind");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.commands.is_closed() {
            self.join_if_finished();
            return;
        }
        self.intake.close();
        let connected = self.gauges.connected.load(std::sync::atomic::Ordering::Relaxed);
        let deadline = if connected { DROP_DEADLINE } else { Duration::ZERO };
        let (reply, answer) = sync_channel(1);
        let command = Command::Close(Instant::now() + deadline, Reply::Blocking(reply));
        if self.commands.try_send(command).is_ok() {
            // Whether an answer came is seen by the thread's end.
            answer.recv_timeout(deadline + ANSWER_GRACE).ok();
        }
        self.join_if_finished();
    }
}

/// Where an answer goes: a thread that blocks, or a task that waits.
#[derive(Debug)]
pub(crate) enum Reply {
    Blocking(SyncSender<DeliveryReport>),
    Async(oneshot::Sender<DeliveryReport>),
}

impl Reply {
    /// Answers; whoever asked may have given up.
    pub(crate) fn send(self, report: DeliveryReport) {
        match self {
            Self::Blocking(reply) => drop(reply.try_send(report)),
            Self::Async(reply) => drop(reply.send(report)),
        }
    }
}

/// Makes `publish` answer [`PublishOutcome::Closed`] once the thread is gone, by a panic too.
struct CloseOnExit {
    intake: Arc<Intake>,
    gauges: Arc<Gauges>,
}

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.intake.close();
        self.gauges.connected.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}
