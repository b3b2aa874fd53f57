//! Quotes of one publisher: how many got how far, and how long the mint took.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use stats_sv2::event::{QuoteCreated, QuoteFailed};
use stats_sv2::{Amount, U256};

/// Upper ends of the latency's buckets, in seconds.
pub(crate) const LATENCY_BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Codes that a failure may bear as a label; others become [`OTHER_CODE`], for a mint's words must not make series.
const CODES: [&str; 8] =
    ["mint-error", "unattributed", "timeout", "queue-full", "locking-key", "amount", "closed", "payment-failed"];
const OTHER_CODE: &str = "other";

/// Quotes that are remembered from their creation on; older ones are forgotten, and their answers have no latency.
const MAX_REMEMBERED: usize = 16_384;

#[derive(Debug)]
struct Remembered {
    created_ms: u64,
    session_id: u64,
    answered: bool,
    pending: bool,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Quotes {
    pub(crate) created: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// By code, in the order of `CODES`, others last.
    failed: [u64; CODES.len() + 1],
    pub(crate) paid: u64,
    pub(crate) abandoned: u64,
    pub(crate) ehash_created: u128,
    pub(crate) ehash_paid: u128,
    /// Quotes that wait for an answer, among those remembered.
    pub(crate) pending: u64,
    /// Answers by bucket, those slower than all buckets last; not cumulative.
    pub(crate) latency: [u64; LATENCY_BUCKETS.len() + 1],
    pub(crate) latency_sum_seconds: f64,
    remembered: FxHashMap<U256, Remembered>,
    order: VecDeque<U256>,
}

impl Quotes {
    pub(crate) fn created(&mut self, quote: &QuoteCreated, session_id: u64, at: u64) {
        // Told again by another session of the publisher: it was created once.
        if self.remembered.contains_key(&quote.share_hash) {
            return;
        }
        self.created += 1;
        self.ehash_created = self.ehash_created.saturating_add(u128::from(quote.amount.0));
        if self.order.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
            && let Some(forgotten) = self.remembered.remove(&oldest)
        {
            self.pending -= u64::from(forgotten.pending);
        }
        self.order.push_back(quote.share_hash);
        let remembered = Remembered { created_ms: at, session_id, answered: false, pending: true };
        self.remembered.insert(quote.share_hash, remembered);
        self.pending += 1;
    }

    pub(crate) fn answered(&mut self, share_hash: U256, at: u64) {
        let Some(quote) = self.remembered.get_mut(&share_hash) else {
            // Its creation went past this sink.
            self.answered += 1;
            return;
        };
        // The first answer wins (delivery rule 32).
        if std::mem::replace(&mut quote.answered, true) {
            return;
        }
        self.answered += 1;
        self.pending -= u64::from(std::mem::take(&mut quote.pending));
        let seconds = at.saturating_sub(quote.created_ms) as f64 / 1000.0;
        let bucket = LATENCY_BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(LATENCY_BUCKETS.len());
        self.latency[bucket] += 1;
        self.latency_sum_seconds += seconds;
    }

    pub(crate) fn failed(&mut self, quote: &QuoteFailed<'_>) {
        let code = CODES.iter().position(|code| *code == quote.error_code.as_str()).unwrap_or(CODES.len());
        self.failed[code] += 1;
        if let Some(known) = quote.share_hash.and_then(|hash| self.remembered.get_mut(&hash)) {
            self.pending -= u64::from(std::mem::take(&mut known.pending));
        }
    }

    pub(crate) fn paid(&mut self, amount: Amount) {
        self.paid += 1;
        self.ehash_paid = self.ehash_paid.saturating_add(u128::from(amount.0));
    }

    /// The session ended: nobody will tell how its pending quotes go on.
    pub(crate) fn abandon(&mut self, session_id: u64) {
        for quote in self.remembered.values_mut().filter(|quote| quote.session_id == session_id) {
            let pending = u64::from(std::mem::take(&mut quote.pending));
            self.pending -= pending;
            self.abandoned += pending;
        }
    }

    /// Failures by code.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.into_iter().chain([OTHER_CODE]).zip(self.failed)
    }
}
