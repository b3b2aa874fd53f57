//! What one sink may know of the rest of the sidecar: where histories of the same configuration are, and how the pipeline
//! is doing. Made before the sinks, completed once the pipeline runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;

/// A component that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Which one: `journal`, `sinks.NAME`.
    pub component: String,
    /// Why, for people.
    pub why: String,
}

/// The pipeline as its sinks may see it. An implementation must hold nothing of the pipeline alive, for the pipeline's sinks
/// hold it: only a weak reference. Once that leads nowhere the answers are `None`.
pub trait PipelineView: Send + Sync {
    /// What is not ready and why; empty means ready. Cheap, and does not block.
    fn not_ready(&self) -> Option<Vec<NotReady>>;

    /// Everything, in the form that the admin page `/pipeline` has. Reads the journal's file: not for an async thread.
    fn report(&self) -> Option<serde_json::Value>;
}

/// The other parts of the sidecar, as far as sinks may see them.
#[derive(Default)]
pub struct Neighbours {
    histories: BTreeMap<String, PathBuf>,
    pipeline: OnceLock<Box<dyn PipelineView>>,
    listening: Mutex<BTreeMap<String, SocketAddr>>,
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neighbours").field("histories", &self.histories).finish_non_exhaustive()
    }
}

impl Neighbours {
    /// With the history files of the sinks that keep one, by the sink's name.
    #[must_use]
    pub fn new(histories: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { histories: histories.into_iter().collect(), ..Self::default() }
    }

    /// The file in which the sink of this name keeps its history.
    #[must_use]
    pub fn history_path(&self, sink_name: &str) -> Option<&Path> {
        self.histories.get(sink_name).map(PathBuf::as_path)
    }

    /// Tells where a sink listens, now that it does: port 0 in its settings means any.
    pub fn listens(&self, sink_name: &str, address: SocketAddr) {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).insert(sink_name.to_owned(), address);
    }

    /// Where the sink of this name listens; `None` before it does.
    #[must_use]
    pub fn address(&self, sink_name: &str) -> Option<SocketAddr> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).get(sink_name).copied()
    }

    /// Tells how to look at the pipeline. The first call counts; the pipeline is made after its sinks, so this comes late.
    pub fn pipeline_is(&self, view: impl PipelineView + 'static) {
        // A second pipeline in one sidecar does not exist.
        drop(self.pipeline.set(Box::new(view)));
    }

    /// What of the pipeline is not ready; `None` before it runs and after it has ended.
    #[must_use]
    pub fn not_ready(&self) -> Option<Vec<NotReady>> {
        self.pipeline.get()?.not_ready()
    }

    /// Everything about the pipeline now; `None` before it runs and after it has ended. Blocks: see
    /// [`PipelineView::report`].
    #[must_use]
    pub fn report(&self) -> Option<serde_json::Value> {
        self.pipeline.get()?.report()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use super::*;

    struct Seen(Weak<u64>);

    impl PipelineView for Seen {
        fn not_ready(&self) -> Option<Vec<NotReady>> {
            self.0.upgrade().map(|_| Vec::new())
        }

        fn report(&self) -> Option<serde_json::Value> {
            self.0.upgrade().map(|number| serde_json::json!({ "sinks": *number }))
        }
    }

    #[test]
    fn the_pipeline_is_seen_while_it_lives() {
        let neighbours = Neighbours::new([("history".to_owned(), PathBuf::from("stats.db"))]);
        assert_eq!(neighbours.history_path("history"), Some(Path::new("stats.db")));
        assert_eq!(neighbours.history_path("histroy"), None);
        assert_eq!((neighbours.not_ready(), neighbours.report()), (None, None));
        let pipeline = Arc::new(7);
        neighbours.pipeline_is(Seen(Arc::downgrade(&pipeline)));
        assert_eq!(neighbours.not_ready(), Some(Vec::new()));
        assert_eq!(neighbours.report(), Some(serde_json::json!({ "sinks": 7 })));
        drop(pipeline);
        assert_eq!((neighbours.not_ready(), neighbours.report()), (None, None));
    }
}
