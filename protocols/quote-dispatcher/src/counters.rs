//! What became of quotes so far, as numbers that anyone may read at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// A snapshot of a dispatcher's numbers since its start.
        ///
        /// `created = answered + failed + timed_out + rejected + not_dispatched + pending`, exactly so when nothing
        /// moves.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct QuoteCounters {
            $( $(#[$doc])* pub $name: u64, )*
            /// Quotes that have not ended: in the queue, or with the hub.
            pub pending: u64,
            /// Whether the connection to the mint is open now.
            pub connected: bool,
            /// The latest failure of the connection, in words.
            pub last_error: Option<String>,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Gauges {
            $( pub(crate) $name: AtomicU64, )*
            pub(crate) connected: AtomicBool,
            last_error: Mutex<Option<String>>,
        }

        impl Gauges {
            pub(crate) fn snapshot(&self) -> QuoteCounters {
                let mut counters = QuoteCounters {
                    connected: self.connected.load(Ordering::Relaxed),
                    last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                    ..QuoteCounters::default()
                };
                // `created` is first in the list and read last: a quote that ends meanwhile is then not missing.
                let mut copies = [$( (&mut counters.$name, &self.$name), )*];
                for (copy, gauge) in copies.iter_mut().rev() {
                    **copy = gauge.load(Ordering::Acquire);
                }
                let ended = counters.answered + counters.failed + counters.timed_out + counters.rejected;
                counters.pending = counters.created.saturating_sub(ended + counters.not_dispatched);
                counters
            }
        }
    };
}

counters! {
    /// Shares that earn ehash: each has a quote, told to `on_quote_created`.
    created,
    /// Quotes that the mint answered.
    answered,
    /// Quotes that the mint refused.
    failed,
    /// Quotes without an answer in time.
    timed_out,
    /// Quotes that ended here: no room, no locking key, or closed.
    rejected,
    /// Quotes that were only told, since dispatch is switched off.
    not_dispatched,
    /// Shares below the minimum difficulty.
    below_minimum,
    /// Shares whose hash has a quote already; nothing was created for them.
    duplicate_shares,
    /// Quotes that were sent, each counted once.
    sent,
    /// Requests that were sent again after a reconnect.
    resent,
    /// Answers that say what an earlier one said.
    duplicate_answers,
    /// Answers with another id than an earlier one, or after an error. The first stands.
    conflicts,
    /// Answers after the timeout.
    late_answers,
    /// Answers for hashes that have no quote.
    unknown_answers,
    /// Errors of the mint that cannot be attributed to a quote, since its answers are out of order.
    unattributed_errors,
    /// Payments that the mint told.
    payments,
    /// Failed payments that the mint told.
    payment_failures,
    /// Frames of types that this version does not know.
    unknown_messages,
    /// Connections that were opened.
    connections,
    /// Attempts to connect that failed, and connections that were lost.
    failures,
    /// Callbacks that were not called, since those before them take too long.
    callbacks_dropped,
    /// Callbacks that panicked.
    callback_panics,
}

impl Gauges {
    /// Notes a failure; whether it differs from the one before, so that the log has a line for each change only.
    pub(crate) fn note_error(&self, error: String) -> bool {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_ref() != Some(&error);
        *last = Some(error);
        is_new
    }
}

/// Counts one more.
pub(crate) fn count(gauge: &AtomicU64) {
    gauge.fetch_add(1, Ordering::Release);
}
