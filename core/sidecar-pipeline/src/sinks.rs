//! Sinks as the pipeline sees them: what one is configured with, and the driver that each is given.

mod call;
mod driver;
mod pace;
mod place;
mod state;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sidecar_core::{Route, Sink};

use crate::retry::RetryPolicy;

pub(crate) use driver::{SinkDriver, Verdict};
pub use state::SinkSnapshot;
pub(crate) use state::SinkState;

/// How long a sink may take for one call, by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// After so long a failed sink is started again, by default: what was wrong may have been put right.
pub const DEFAULT_RESTART_AFTER: Duration = Duration::from_secs(30);

/// Where a sink begins that is new to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
}

/// A sink and how it is driven.
pub struct SinkSpec {
    /// Its name: its key in `[sinks.NAME]`, and the journal's name for its cursor.
    pub name: Arc<str>,
    /// Its type: `type` in `[sinks.NAME]`, for whoever looks at the status.
    pub type_name: &'static str,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// Which events it gets.
    pub route: Route,
    /// Where it begins if it is new.
    pub start: StartAt,
    /// How failed deliveries are repeated.
    pub retry: RetryPolicy,
    /// How long one call may take.
    pub timeout: Duration,
    /// Events per second at most.
    pub rate_limit: Option<NonZeroU32>,
    /// Start-up fails if this sink says that it cannot work; others only show it in their status.
    pub required: bool,
    /// When a failed sink is started again.
    pub restart_after: Duration,
}

impl SinkSpec {
    /// A sink that gets everything, with defaults.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, type_name: &'static str, sink: Box<dyn Sink>) -> Self {
        Self {
            name: name.into(),
            type_name,
            sink,
            route: Route::all(),
            start: StartAt::default(),
            retry: RetryPolicy::default(),
            timeout: DEFAULT_TIMEOUT,
            rate_limit: None,
            required: false,
            restart_after: DEFAULT_RESTART_AFTER,
        }
    }
}

impl std::fmt::Debug for SinkSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkSpec").field("name", &self.name).finish_non_exhaustive()
    }
}
