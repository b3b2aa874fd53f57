//! The hub between the host's threads and the mint: what they share, and the threads that belong to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
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

/// How long after a deadline an answer is waited for.
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
    threads: Mutex<Option<(JoinHandle<()>, CallbackThread)>>,
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
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || {
            let guard = guard;
            let (report, replies) = runtime.block_on(worker.run());
            // A name that is being resolved has a thread of the runtime, which must not be waited for.
            runtime.shutdown_background();
            drop(guard);
            for reply in replies {
                // Whoever asked may have stopped waiting.
                reply.try_send(report).ok();
            }
        });
        match thread {
            Ok(thread) => Ok(Self { commands, threads: Mutex::new(Some((thread, callback_thread))) }),
            Err(error) => {
                shared.callbacks.stop();
                callback_thread.join(ANSWER_GRACE);
                Err(StartError::Thread(error))
            }
        }
    }

    /// Waits for answers until the deadline, ends the rest, and joins both threads. A second call finds nothing to do.
    pub(crate) fn close(&self, deadline: Duration) -> CloseReport {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((hub, callbacks)) = threads else { return CloseReport { complete: true, left: 0 } };
        let until = Instant::now() + deadline;
        let (reply, answer) = sync_channel(1);
        let report = match self.commands.try_send(Command::Close(until, reply)) {
            Ok(()) => answer.recv_timeout(deadline + ANSWER_GRACE).ok(),
            Err(_) => None,
        };
        // A hub without an answer hangs with a host's thread that is still inside `on_quote_created`, or is gone.
        if report.is_none() && !hub.is_finished() {
            tracing::error!("the mint hub does not end; its threads are left behind");
            return CloseReport { complete: false, left: 0 };
        }
        if hub.join().is_err() {
            tracing::error!("the mint hub's thread panicked");
        }
        let joined = callbacks.join(until.saturating_duration_since(Instant::now()) + ANSWER_GRACE);
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
