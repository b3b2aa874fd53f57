//! What a publisher did so far, as numbers that anyone may read at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::accounts::Accounts;
use crate::intake::Intake;
use crate::publisher::DeliveryReport;

/// A snapshot of a publisher's numbers since its start. "Events" are those that the host published.
///
/// `published = acknowledged + unacknowledged + queued + merged + malformed`; dropped and refused events come on top.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Events that were taken: [`PublishOutcome::Queued`](crate::PublishOutcome::Queued).
    pub published: u64,
    /// Events that found no room. The sidecar is told in EventsDropped.
    pub dropped: u64,
    /// Events that only the publisher or the sidecar may make.
    pub refused: u64,
    /// State events that found the queue full and were replaced by a later one of the same object.
    pub merged: u64,
    /// Events that were given up because the sidecar called the same frame malformed twice.
    pub malformed: u64,
    /// Events still in the queue.
    pub queued: u64,
    /// Events that are numbered and not acknowledged.
    pub unacknowledged: u64,
    /// Events that the sidecar has acknowledged: they are durable there.
    pub acknowledged: u64,
    /// All frames that got a number: events, and the publisher's own heartbeats, loss reports and announcements.
    pub encoded: u64,
    /// Frames that were sent again after a reconnect.
    pub resent: u64,
    /// Connections on which the session was opened.
    pub connections: u64,
    /// Attempts to connect that failed, and connections that were lost.
    pub failures: u64,
    /// Whether the session is open on a connection now.
    pub connected: bool,
    /// Sessions of earlier runs in the spool that are still to be finished.
    pub unfinished_sessions: u64,
    /// Events and other frames of earlier runs that were delivered from the spool.
    pub finished: u64,
    /// Bytes of the spool file; 0 without a spool.
    pub spool_bytes: u64,
    /// Writes to the spool that failed, and damage found in it.
    pub spool_errors: u64,
    /// The latest failure, in words.
    pub last_error: Option<String>,
    /// Median time from encoding to acknowledgement; `None` before the first.
    pub ack_latency_p50: Option<Duration>,
    /// 99th percentile of the same.
    pub ack_latency_p99: Option<Duration>,
}

/// Where the publisher's thread keeps its numbers. Nothing here is touched by `publish()`.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) taken: AtomicU64,
    pub(crate) unacknowledged: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) encoded: AtomicU64,
    pub(crate) resent: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) connected: AtomicBool,
    pub(crate) unfinished_sessions: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) spool_bytes: AtomicU64,
    pub(crate) spool_errors: AtomicU64,
    last_error: Mutex<Option<String>>,
    latency: Mutex<Option<(Duration, Duration)>>,
    last_report: Mutex<Option<DeliveryReport>>,
}

impl Gauges {
    /// Notes a failure; whether it differs from the one before, so that the log has a line for each change only.
    pub(crate) fn note_error(&self, error: String) -> bool {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_ref() != Some(&error);
        *last = Some(error);
        is_new
    }

    /// Copies the figures of the accounts.
    pub(crate) fn note_accounts(&self, accounts: &Accounts) {
        set(&self.unacknowledged, accounts.unacknowledged());
        set(&self.acknowledged, accounts.acknowledged());
    }

    /// Computes the latencies anew. Takes some microseconds, so once in a while.
    pub(crate) fn note_latency(&self, accounts: &Accounts) {
        let latency = accounts.latency();
        if !latency.is_empty() {
            let at = |quantile| Duration::from_micros(latency.value_at_quantile(quantile));
            *self.latency.lock().unwrap_or_else(PoisonError::into_inner) = Some((at(0.5), at(0.99)));
        }
    }

    /// What closing achieved, for whoever asks again.
    pub(crate) fn note_report(&self, report: DeliveryReport) {
        *self.last_report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    pub(crate) fn last_report(&self) -> Option<DeliveryReport> {
        *self.last_report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self, intake: &Intake) -> Counters {
        // From the end of an event's way to its start, so that one which moves on meanwhile is not counted twice.
        let acknowledged = get(&self.acknowledged);
        let unacknowledged = get(&self.unacknowledged);
        let taken = get(&self.taken);
        let queued = (intake.queued() + intake.overflowed()) as u64;
        let merged = intake.merged();
        let latency = *self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        Counters {
            published: taken + queued + merged,
            dropped: intake.dropped(),
            refused: intake.refused(),
            merged,
            malformed: get(&self.malformed),
            queued,
            unacknowledged,
            acknowledged,
            encoded: get(&self.encoded),
            resent: get(&self.resent),
            connections: get(&self.connections),
            failures: get(&self.failures),
            connected: self.connected.load(Ordering::Relaxed),
            unfinished_sessions: get(&self.unfinished_sessions),
            finished: get(&self.finished),
            spool_bytes: get(&self.spool_bytes),
            spool_errors: get(&self.spool_errors),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ack_latency_p50: latency.map(|(p50, _)| p50),
            ack_latency_p99: latency.map(|(_, p99)| p99),
        }
    }
}

/// The publisher's thread alone writes, so nothing is lost between reading and writing.
pub(crate) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Ordering::Relaxed);
}

/// Adds to a gauge of the publisher's thread.
pub(crate) fn add(gauge: &AtomicU64, more: u64) {
    gauge.fetch_add(more, Ordering::Relaxed);
}

fn get(gauge: &AtomicU64) -> u64 {
    gauge.load(Ordering::Relaxed)
}
