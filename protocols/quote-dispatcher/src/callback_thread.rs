//! Runs the host's callbacks, one after the other, on a thread of their own behind a bounded queue: a slow one delays only
//! the next, a panic ends only itself, and what finds the queue full is dropped and counted (delivery rule 35).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use ehash::{MintQuoteResponseEvent, PaymentFailedEvent, QuoteCallbacks, QuoteError, QuotePaidEvent, ShareHash};

use crate::counters::{Gauges, count};
use crate::quote::Quote;

/// Callbacks that may wait, about 1 MiB of them.
pub(crate) const CALLBACK_SLOTS: usize = 8_192;

/// How long a callback may wait that came without a wake-up: one from the host's own threads, which must not pay for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// At most 15 bytes, or Linux refuses the name.
const THREAD_NAME: &str = "quote-callbacks";

#[derive(Debug)]
pub(crate) enum Callback {
    Send(Quote),
    Response(MintQuoteResponseEvent),
    Error(QuoteError, Option<ShareHash>),
    Paid(QuotePaidEvent),
    PaymentFailed(PaymentFailedEvent),
}

/// Where callbacks wait.
#[derive(Debug)]
pub(crate) struct CallbackQueue {
    queue: ArrayQueue<Callback>,
    gauges: Arc<Gauges>,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct CallbackThread {
    handle: JoinHandle<()>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
}

impl CallbackQueue {
    pub(crate) fn new(gauges: Arc<Gauges>, slots: usize) -> Self {
        Self { queue: ArrayQueue::new(slots), gauges, stop: AtomicBool::new(false), thread: OnceLock::new() }
    }

    /// Adds a callback without waking the thread.
    pub(crate) fn push(&self, callback: Callback) {
        if self.queue.push(callback).is_err() {
            count(&self.gauges.callbacks_dropped);
        }
    }

    /// Callbacks that may wait.
    pub(crate) fn slots(&self) -> usize {
        self.queue.capacity()
    }

    /// Callbacks that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Wakes the thread if something waits for it.
    pub(crate) fn wake(&self) {
        if !self.queue.is_empty() {
            self.unpark();
        }
    }

    /// No more callbacks come; the thread runs those that wait, and ends.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, callbacks: &dyn QuoteCallbacks) {
        loop {
            // Read before the queue is found empty: what came before the stop is then run.
            let stop = self.stop.load(Ordering::Acquire);
            while let Some(callback) = self.queue.pop() {
                self.call(callbacks, &callback);
            }
            if stop {
                return;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    fn call(&self, callbacks: &dyn QuoteCallbacks, callback: &Callback) {
        self.guard(|| match callback {
            Callback::Send(quote) => callbacks.on_quote_send(&quote.request, &quote.context()),
            Callback::Response(response) => callbacks.on_quote_response(response),
            Callback::Error(error, share_hash) => callbacks.on_quote_error(error, *share_hash),
            Callback::Paid(paid) => callbacks.on_quote_paid(paid),
            Callback::PaymentFailed(failed) => callbacks.on_payment_failed(failed),
        });
    }

    /// Runs host code; a panic ends here, and is counted. What the host's own state is after it is the host's concern,
    /// as it would be on a thread of its own.
    pub(crate) fn guard(&self, host_code: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(host_code)).is_err() {
            count(&self.gauges.callback_panics);
            tracing::error!("a quote callback panicked");
        }
    }
}

impl CallbackThread {
    pub(crate) fn spawn(queue: Arc<CallbackQueue>, callbacks: Arc<dyn QuoteCallbacks>) -> std::io::Result<Self> {
        let (end, ended): (SyncSender<()>, _) = sync_channel(1);
        let shared = queue.clone();
        let handle = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || {
            let _end = end;
            shared.run(&*callbacks);
        })?;
        // Set once, here.
        queue.thread.get_or_init(|| handle.thread().clone());
        Ok(Self { handle, ended })
    }

    /// Waits for the end of the thread, after [`CallbackQueue::stop`]; `false` if a callback still runs then.
    pub(crate) fn join(self, patience: Duration) -> bool {
        // Nothing is ever sent: the only news is that the thread's half is gone.
        let hangs = self.ended.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if hangs {
            tracing::error!("a quote callback does not return; its thread is left behind");
        } else if self.handle.join().is_err() {
            tracing::error!("the thread of the quote callbacks panicked");
        }
        !hangs
    }
}
