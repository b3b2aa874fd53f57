//! The host's handle: submit an accepted share from any thread, close, read the counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use ehash::{QuoteCallbacks, QuoteContext, QuoteError, ShareHash, build_parsed_quote_request, calculate_ehash_amount};
use stats_sv2::{ChannelId, DownstreamId};
use tokio::time::Instant;

use crate::book::{Ending, QuoteBook};
use crate::builder::{QuoteDispatcherBuilder, Settings, StartError};
use crate::callback_thread::{Callback, CallbackQueue};
use crate::counters::{Gauges, QuoteCounters, count};
use crate::hub::{MintPoolMessageHub, Shared};
use crate::key_cache::KeyCache;
use crate::quote::{Quote, SinceStart};

/// How long dropping the last handle waits for answers while the mint is connected.
pub const DROP_DEADLINE: Duration = Duration::from_millis(500);

/// A share that the pool accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedShare<'a> {
    /// The connection that it came from.
    pub downstream_id: DownstreamId,
    /// The channel, unique with the downstream.
    pub channel_id: ChannelId,
    /// The channel's own counter of submissions.
    pub sequence_number: u32,
    /// The hash that made it acceptable: of its own header, not of the block before it.
    pub share_hash: ShareHash,
    /// The channel's user identity, which may hold a locking key
    /// ([`LockingKey::from_user_identity`](ehash::LockingKey::from_user_identity)).
    pub user_identity: &'a str,
}

/// What became of a submitted share. Most callers have no use for it: everything is counted, and told to the callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitOutcome {
    /// It has a quote, on its way to the mint.
    Queued,
    /// It has a quote that is told and not sent, since dispatch is switched off.
    NotDispatched,
    /// It earns nothing.
    BelowMinimum,
    /// Its hash has a quote, or had one; nothing was created.
    Duplicate,
    /// It has a quote that ended at once: no room, or no locking key. `on_quote_error` tells which.
    Rejected,
    /// The host has no quotes; nothing was created.
    Off,
    /// [`close`](QuoteDispatcher::close) was called; nothing was created.
    Closed,
}

/// What [`close`](QuoteDispatcher::close) achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// Every quote had ended by itself, and every callback has run.
    pub complete: bool,
    /// Quotes that closing ended, with [`QuoteError::Closed`].
    pub left: u64,
}

/// Turns accepted shares into quotes, without ever making its caller wait.
///
/// Clones share one queue, one connection and one set of counters. Dropping the last one closes as
/// [`close`](Self::close) does, with a deadline of [`DROP_DEADLINE`] if the mint is connected and none otherwise; the dropping
/// thread waits for that, as long as `close` may take.
#[derive(Debug, Clone)]
pub struct QuoteDispatcher {
    /// `None` for a host without quotes.
    running: Option<Arc<Running>>,
}

struct Running {
    minimum_difficulty: u32,
    keys: KeyCache,
    callbacks: Arc<dyn QuoteCallbacks>,
    shared: Arc<Shared>,
    queue_slots: usize,
    /// `None` when dispatch is switched off.
    hub: Option<MintPoolMessageHub>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("shared", &self.shared).field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl QuoteDispatcher {
    /// Settings for the mint at this address, `host:port`.
    pub fn builder(mint_address: impl Into<String>) -> QuoteDispatcherBuilder {
        QuoteDispatcherBuilder::new(mint_address)
    }

    /// A dispatcher that does nothing, for a host without quotes.
    #[must_use]
    pub fn off() -> Self {
        Self { running: None }
    }

    pub(crate) fn spawn(
        builder: &QuoteDispatcherBuilder,
        settings: Settings,
        callbacks: Arc<dyn QuoteCallbacks>,
    ) -> Result<Self, StartError> {
        let gauges = Arc::new(Gauges::default());
        let (open, queue_slots) =
            if builder.dispatch { (settings.max_pending + settings.queue_slots, settings.queue_slots) } else { (0, 1) };
        let shared = Arc::new(Shared {
            start: Instant::now(),
            queue: ArrayQueue::new(queue_slots),
            book: Arc::new(QuoteBook::new(open)),
            callbacks: Arc::new(CallbackQueue::new(gauges.clone(), settings.timing.callback_slots.max(1))),
            gauges,
            closed: AtomicBool::new(false),
            submitting: AtomicUsize::new(0),
        });
        let hub = match builder.dispatch {
            true => Some(MintPoolMessageHub::start(settings, shared.clone(), callbacks.clone())?),
            false => None,
        };
        Ok(Self {
            running: Some(Arc::new(Running {
                minimum_difficulty: builder.minimum_difficulty,
                keys: KeyCache::new(builder.locking_key),
                callbacks,
                shared,
                queue_slots,
                hub,
            })),
        })
    }

    /// Makes a quote for an accepted share, if it earns ehash. Calls `on_quote_created` and returns; never waits, does no
    /// I/O, wakes nobody, and allocates only for the first share of a user identity. Everything else happens on the hub's
    /// threads.
    pub fn submit_quote(&self, share: &AcceptedShare<'_>) -> SubmitOutcome {
        let Some(running) = &self.running else { return SubmitOutcome::Off };
        let amount = calculate_ehash_amount(&share.share_hash, running.minimum_difficulty);
        if amount.0 == 0 {
            count(&running.shared.gauges.below_minimum);
            return SubmitOutcome::BelowMinimum;
        }
        // In this order with the hub's own look, so that either this thread sees the end or the hub waits for it.
        running.shared.submitting.fetch_add(1, Ordering::SeqCst);
        let _submitting = Submitting(&running.shared.submitting);
        if running.shared.closed.load(Ordering::SeqCst) {
            return SubmitOutcome::Closed;
        }
        running.submit(
            share,
            QuoteContext {
                downstream_id: share.downstream_id,
                channel_id: share.channel_id,
                sequence_number: share.sequence_number,
                amount,
            },
        )
    }

    /// Whether shares get quotes at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// A snapshot of what happened so far.
    #[must_use]
    pub fn counters(&self) -> QuoteCounters {
        self.running.as_ref().map(|running| running.shared.gauges.snapshot()).unwrap_or_default()
    }

    /// Takes no more shares, waits for the mint's answers at most until the deadline, ends the rest with
    /// [`QuoteError::Closed`], runs the callbacks that wait, and ends the threads. All clones are closed with it; a call
    /// during another one, or after it, returns when that one has ended and with its report. Of several deadlines the
    /// earliest counts.
    ///
    /// Blocks the thread: in an async host call it from `spawn_blocking`. It takes at most the deadline and 4 seconds: 2 for
    /// a host thread that is still inside `on_quote_created`, and 2 for callbacks that are slow. What runs even then is left
    /// behind, and the report is not complete.
    pub fn close(&self, deadline: Duration) -> CloseReport {
        self.running.as_ref().map_or(CloseReport { complete: true, left: 0 }, |running| running.close(deadline))
    }
}

impl Running {
    fn submit(&self, share: &AcceptedShare<'_>, context: QuoteContext) -> SubmitOutcome {
        let shared = &*self.shared;
        let share_hash = share.share_hash;
        if !shared.book.begin(share_hash) {
            count(&shared.gauges.duplicate_shares);
            return SubmitOutcome::Duplicate;
        }
        count(&shared.gauges.created);
        shared.callbacks.guard(|| self.callbacks.on_quote_created(share_hash, &context));
        if self.hub.is_none() {
            shared.book.end(share_hash, Ending::Rejected, Instant::now());
            count(&shared.gauges.not_dispatched);
            return SubmitOutcome::NotDispatched;
        }
        let request = self
            .keys
            .get(share.user_identity)
            .map_err(QuoteError::LockingKey)
            .and_then(|key| build_parsed_quote_request(share_hash, context.amount, key));
        let submitted = Instant::now();
        let queued = request.and_then(|request| {
            let quote = Quote {
                request,
                downstream_id: context.downstream_id,
                channel_id: context.channel_id,
                sequence_number: context.sequence_number,
                submitted: SinceStart::new(shared.start, submitted),
            };
            shared.queue.push(quote).map_err(|_| QuoteError::QueueFull { limit: self.queue_slots })
        });
        match queued {
            Ok(()) => SubmitOutcome::Queued,
            Err(error) => {
                shared.book.end(share_hash, Ending::Rejected, submitted);
                count(&shared.gauges.rejected);
                shared.callbacks.push(Callback::Error(error, Some(share_hash)));
                SubmitOutcome::Rejected
            }
        }
    }

    fn close(&self, deadline: Duration) -> CloseReport {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.hub.as_ref().map_or(CloseReport { complete: true, left: 0 }, |hub| hub.close(deadline))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let connected = self.shared.gauges.connected.load(Ordering::Relaxed);
        self.close(if connected { DROP_DEADLINE } else { Duration::ZERO });
    }
}

/// Ends what `submit_quote` began, on every way out.
struct Submitting<'a>(&'a AtomicUsize);

impl Drop for Submitting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
