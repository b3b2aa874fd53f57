//! What every request handler works with.

use std::sync::Arc;

use sidecar_core::{Clock, Neighbours};
use sink_sqlite::query::Overview;
use tokio::sync::{Mutex, Semaphore};

use crate::config::{DashboardSettings, count};
use crate::history::{HistoryPool, ReadError};
use crate::live::Live;
use crate::live::hub::Hub;
use crate::security::redact::Redaction;
use crate::worker_list::WorkerLists;

/// How long an overview is good for.
const OVERVIEW_MS: u64 = 1_000;

/// Shared by all handlers; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    /// The settings of this dashboard.
    pub(crate) settings: Arc<DashboardSettings>,
    /// The past: see [`HistoryPool::read`]. Its answers are not redacted yet.
    pub(crate) history: HistoryPool,
    /// The present, redacted.
    pub(crate) live: Arc<Live>,
    /// What must be left out of every answer that comes from the history.
    pub(crate) redaction: Arc<Redaction>,
    /// The rest of the sidecar: the state of its pipeline.
    pub(crate) neighbours: Arc<Neighbours>,
    /// The wall clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// One report of the pipeline is made at a time: it reads the journal's file on one of the few threads that may block.
    pub(crate) reporting: Arc<Semaphore>,
    overview: Arc<Mutex<Option<Arc<Overview>>>>,
    pub(crate) worker_lists: WorkerLists,
}

impl AppState {
    pub(crate) fn new(
        settings: DashboardSettings,
        history: HistoryPool,
        neighbours: Arc<Neighbours>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let redaction = Arc::new(Redaction::of(&settings));
        let hub = Hub::new(count(settings.max_live_clients), settings.of_one_address().1);
        let live = Arc::new(Live::new(Arc::clone(&redaction), hub));
        Self {
            settings: Arc::new(settings),
            history,
            live,
            redaction,
            neighbours,
            clock,
            reporting: Arc::new(Semaphore::new(1)),
            overview: Arc::default(),
            worker_lists: WorkerLists::default(),
        }
    }

    /// Now, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().0
    }

    /// Everything at a glance, redacted, at most a second old: read once for all who ask at the same time.
    pub(crate) async fn overview(&self) -> Result<Arc<Overview>, ReadError> {
        let mut latest = self.overview.lock().await;
        if let Some(overview) = &*latest
            && self.now_ms().abs_diff(overview.now_ms) < OVERVIEW_MS
        {
            return Ok(Arc::clone(overview));
        }
        self.read_overview(&mut latest).await
    }

    /// The same, read now; whoever asks within the next second is given it.
    pub(crate) async fn fresh_overview(&self) -> Result<Arc<Overview>, ReadError> {
        self.read_overview(&mut *self.overview.lock().await).await
    }

    async fn read_overview(&self, latest: &mut Option<Arc<Overview>>) -> Result<Arc<Overview>, ReadError> {
        let now_ms = self.now_ms();
        let mut overview = self.history.read(move |history| history.overview(now_ms)).await?;
        self.redaction.overview(&mut overview);
        let overview = Arc::new(overview);
        *latest = Some(Arc::clone(&overview));
        Ok(overview)
    }
}
