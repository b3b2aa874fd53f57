//! What is known of a sink from outside its driver.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sidecar_core::{Clock, SinkError};
use sidecar_journal::Head;
use stats_sv2::UnixMillis;
use tokio::sync::{Notify, watch};

use super::SinkSpec;
use super::call::CallError;
use crate::health::{ComponentHealth, HealthSnapshot};
use crate::ledger::{Ledger, LedgerSnapshot};

/// Why an attempt to deliver failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FailureKind {
    Transient,
    Timeout,
    Permanent,
    Partial,
    Fatal,
    Panic,
}

impl FailureKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Transient, Self::Timeout, Self::Permanent, Self::Partial, Self::Fatal, Self::Panic];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Permanent => "permanent",
            Self::Partial => "partial",
            Self::Fatal => "fatal",
            Self::Panic => "panic",
        }
    }

    pub(crate) fn of(error: &CallError) -> Self {
        match error {
            CallError::Timeout(_) => Self::Timeout,
            CallError::Panic(_) => Self::Panic,
            CallError::Sink(SinkError::Permanent { .. }) => Self::Permanent,
            CallError::Sink(SinkError::Partial { .. }) => Self::Partial,
            CallError::Sink(SinkError::Fatal { .. }) => Self::Fatal,
            CallError::Sink(_) => Self::Transient,
        }
    }
}

/// A sink's state, shared between its driver and whoever shows it.
#[derive(Debug)]
pub(crate) struct SinkState {
    pub(crate) health: ComponentHealth,
    type_name: &'static str,
    pub(crate) required: bool,
    /// Asks the driver to reopen the sink's files.
    pub(crate) reopen: Notify,
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
    offset: AtomicU64,
    batches: AtomicU64,
    attempts: AtomicU64,
    failures: [AtomicU64; FailureKind::ALL.len()],
    announcements: AtomicU64,
    last_delivery_ms: AtomicU64,
    /// No record that waits was received before this; 0 while none was read.
    pending_since_ms: AtomicU64,
}

impl SinkState {
    pub(crate) fn new(spec: &SinkSpec, clock: Arc<dyn Clock>) -> Self {
        Self {
            health: ComponentHealth::starting(Arc::clone(&spec.name), Arc::clone(&clock)),
            type_name: spec.type_name,
            required: spec.required,
            reopen: Notify::new(),
            clock,
            ledger: Mutex::default(),
            offset: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            failures: Default::default(),
            announcements: AtomicU64::new(0),
            last_delivery_ms: AtomicU64::new(0),
            pending_since_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn at_offset(&self, offset: u64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    pub(crate) fn attempted(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, kind: FailureKind) {
        self.failures[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn announced(&self) {
        self.announcements.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch is under way whose oldest record was received then.
    pub(crate) fn batch_begun(&self, received_at: UnixMillis) {
        self.pending_since_ms.store(received_at.0, Ordering::Relaxed);
    }

    /// The batch is done with; its newest record was received then. `is_last`: nothing more waits at this moment.
    pub(crate) fn batch_done(&self, newest: UnixMillis, is_last: bool) {
        let now = self.clock.now();
        // What waits came after the newest record, and after this moment if nothing waits now.
        self.pending_since_ms.store(if is_last { now.0 } else { newest.0 }, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.last_delivery_ms.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, head: &watch::Receiver<Head>) -> SinkSnapshot {
        // The head is read while the account stands still, so it is never behind the sink's place.
        let ledger = {
            let ledger = self.ledger();
            ledger.snapshot(head.borrow().cumulative_events)
        };
        let last_delivery_ms = self.last_delivery_ms.load(Ordering::Relaxed);
        let lag_ms = match (ledger.pending, self.pending_since_ms.load(Ordering::Relaxed)) {
            (0, _) => Some(0),
            (_, 0) => None,
            (_, oldest) => Some(self.clock.now().0.saturating_sub(oldest)),
        };
        SinkSnapshot {
            health: self.health.snapshot(),
            type_name: self.type_name,
            required: self.required,
            offset: self.offset.load(Ordering::Relaxed),
            lag_events: ledger.pending,
            lag_ms,
            ledger_difference: ledger.difference(),
            ledger,
            batches: self.batches.load(Ordering::Relaxed),
            attempts: self.attempts.load(Ordering::Relaxed),
            failures: FailureKind::ALL
                .map(|kind| (kind.name(), self.failures[kind as usize].load(Ordering::Relaxed)))
                .into(),
            announcements: self.announcements.load(Ordering::Relaxed),
            last_delivery_ms: (last_delivery_ms > 0).then_some(last_delivery_ms),
        }
    }
}

/// A sink at one moment; counts are since start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkSnapshot {
    /// How it fares.
    #[serde(flatten)]
    pub health: HealthSnapshot,
    /// See [`SinkSpec::type_name`].
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// See [`SinkSpec::required`].
    pub required: bool,
    /// Offset of the last journal record it is done with.
    pub offset: u64,
    /// Events that it has still to take.
    pub lag_events: u64,
    /// Age of the oldest event that it has still to take, in milliseconds, at most; `None` while it has taken none.
    pub lag_ms: Option<u64>,
    /// Its account.
    pub ledger: LedgerSnapshot,
    /// What the account leaves unexplained: always 0, or there is a bug.
    pub ledger_difference: i128,
    /// Batches it is done with.
    pub batches: u64,
    /// Deliveries attempted.
    pub attempts: u64,
    /// Failed attempts by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// Announcements of what is open that it was given.
    pub announcements: u64,
    /// When a batch was done last, in Unix milliseconds.
    pub last_delivery_ms: Option<u64>,
}
