//! The request to stop, and the report on how stopping went. A component that was asked says that it has stopped by
//! ending its task.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::ledger::LedgerSnapshot;

/// "Please stop": finish what is under way, take up nothing new.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Not requested yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for it.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// How a sink was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkReport {
    /// Its name.
    pub name: String,
    /// Its account; `pending` is what was left in the journal for the next start.
    pub ledger: LedgerSnapshot,
    /// Why it is not closed properly, if so.
    pub not_closed: Option<String>,
}

/// How stopping went.
#[must_use = "it names what was left behind"]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Each sink.
    pub sinks: Vec<SinkReport>,
    /// Connections that were cut because they did not end in time. Their publishers send again what was not acknowledged.
    pub connections_cut: u64,
    /// Bridges that did not end in time.
    pub bridges_cut: Vec<String>,
    /// Why the journal is not closed properly, if so.
    pub journal_not_closed: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl DrainReport {
    /// Whether every component stopped by itself and every sink has everything.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.connections_cut == 0
            && self.bridges_cut.is_empty()
            && self.journal_not_closed.is_none()
            && self.sinks.iter().all(|sink| sink.not_closed.is_none() && sink.ledger.pending == 0)
    }
}
