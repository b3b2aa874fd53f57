//! What every request handler works with.

use std::sync::Arc;

use sidecar_core::{Clock, Neighbours};

use crate::config::DashboardSettings;
use crate::history::HistoryPool;
use crate::live::Live;

/// Shared by all handlers; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    /// The settings of this dashboard.
    pub(crate) settings: Arc<DashboardSettings>,
    /// The past: see [`HistoryPool::read`].
    pub(crate) history: HistoryPool,
    /// The present.
    pub(crate) live: Arc<Live>,
    /// The rest of the sidecar: the state of its pipeline.
    pub(crate) neighbours: Arc<Neighbours>,
    /// The wall clock.
    pub(crate) clock: Arc<dyn Clock>,
}

impl AppState {
    /// Now, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().0
    }
}
