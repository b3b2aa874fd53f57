//! The hub between the host's threads and the mint: what they share, and the threads that belong to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use ehash::QuoteCallbacks;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::book::QuoteBook;
use crate::builder::{Settings, StartError};
use crate::callback_thread::{CallbackQueue, CallbackThread};
use crate::counters::Gauges;
use crate::dispatcher::CloseReport;
use crate::quote::Quote;
use crate::worker::{Command, Worker};

/// At most 15 bytes, or Linux refuses the name.
const THREAD_NAME: &str = "mint-hub";

/// Requests that may wait for the hub's thread, which takes them within microseconds.
const COMMANDS: usize = 16;

/// How long beyond a deadline closing waits for the hub, and then again for the callbacks.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// What the host's threads and the hub's share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) start: Instant,
    pub(crate) queue: ArrayQueue<Quote>,
    pub(crate) book: Arc<QuoteBook>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) callbacks: Arc<CallbackQueue>,
    /// No share is taken any more.
    pub(crate) closed: AtomicBool,
    /// Threads between their look at `closed` and their push.
    pub(crate) submitting: AtomicUsize,
}

/// Owns the connection to the mint, through its thread, and the thread of the callbacks.
#[derive(Debug)]
pub(crate) struct MintPoolMessageHub {
    commands: mpsc::Sender<Command>,
    /// Locked for as long as closing takes, so that another caller waits for its end.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Running(Threads),
    Closed(CloseReport),
}

#[derive(Debug)]
struct Threads {
    hub: JoinHandle<()>,
    /// What the hub says last.
    ended: Receiver<CloseReport>,
    callbacks: CallbackThread,
}

impl MintPoolMessageHub {
    pub(crate) fn start(
        settings: Settings,
        shared: Arc<Shared>,
        callbacks: Arc<dyn QuoteCallbacks>,
    ) -> Result<Self, StartError> {
        let (commands, requests) = mpsc::channel(COMMANDS);
        // A runtime of its own, also where the host has one: the hub keeps its pace when the host's tasks are late, and
        // works in hosts without tokio. The cost is one thread that sleeps most of the time.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name(THREAD_NAME)
            .build()
            .map_err(StartError::Thread)?;
        let worker = Worker::new(settings, shared.clone(), requests);
        let callback_thread = CallbackThread::spawn(shared.callbacks.clone(), callbacks).map_err(StartError::Thread)?;
        let guard = StopOnExit(shared.clone());
        let (end, ended) = sync_channel(1);
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || {
            let guard = guard;
            let report = runtime.block_on(worker.run());
            // A name that is being resolved has a thread of the runtime, which must not be waited for.
            runtime.shutdown_background();
            drop(guard);
            // Whoever closes may have stopped waiting.
            end.try_send(report).ok();
        });
        match thread {
            Ok(hub) => {
                let threads = Threads { hub, ended, callbacks: callback_thread };
                Ok(Self { commands, state: Mutex::new(State::Running(threads)) })
            }
            Err(error) => {
                shared.callbacks.stop();
                callback_thread.join(ANSWER_GRACE);
                Err(StartError::Thread(error))
            }
        }
    }

    /// Waits for answers until the deadline, ends the rest, and joins both threads; blocks at most until the deadline and
    /// [`ANSWER_GRACE`] twice. A second call waits for the first, whose deadline it may shorten, and gets the same report.
    pub(crate) fn close(&self, deadline: Duration) -> CloseReport {
        let until = Instant::now() + deadline;
        // Before the lock, which another caller with a later deadline may hold. Fails only when the hub ends already, or
        // hangs with so many requests before this one.
        self.commands.try_send(Command::Close(until)).ok();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let report = match std::mem::replace(&mut *state, State::Closed(CloseReport::default())) {
            State::Running(threads) => threads.join(until),
            State::Closed(report) => report,
        };
        *state = State::Closed(report);
        report
    }
}

impl Threads {
    fn join(self, until: Instant) -> CloseReport {
        let patience = || until.saturating_duration_since(Instant::now()) + ANSWER_GRACE;
        let report = self.ended.recv_timeout(patience());
        if report == Err(RecvTimeoutError::Timeout) {
            // With a host's thread that is still inside `on_quote_created`.
            tracing::error!("the mint hub does not end; its threads are left behind");
            return CloseReport { complete: false, left: 0 };
        }
        if self.hub.join().is_err() {
            tracing::error!("the mint hub's thread panicked");
        }
        let joined = self.callbacks.join(patience());
        let mut report = report.unwrap_or_default();
        report.complete &= joined;
        report
    }
}

/// However the hub's thread ends, no more shares are taken, and the callback thread ends after what it has.
struct StopOnExit(Arc<Shared>);

impl Drop for StopOnExit {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.callbacks.stop();
    }
}
