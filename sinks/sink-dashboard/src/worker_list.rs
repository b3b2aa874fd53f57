//! The list of a publisher's workers, read once a second at most for each window: the page and `/api/v1/workers` sort, search
//! and cut the same list.

pub(crate) mod selection;

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sink_sqlite::query::{MAX_ROWS, QueryError, WorkerView};

use crate::history::ReadError;
use crate::state::AppState;

/// How long a list is good for.
const KEPT_MS: u64 = 1_000;
/// Workers of all lists that are kept; 10,000 take about 6 MB. A list of as many as one can hold is kept too.
const MAX_WORKERS: u64 = MAX_ROWS as u64 + 1;
/// Windows times publishers that are usually looked at in one second.
const USUAL_LISTS: usize = 8;

/// The workers of a publisher.
#[derive(Debug)]
pub(crate) struct WorkerList {
    /// The publisher.
    pub(crate) publisher: String,
    /// By name, redacted.
    pub(crate) workers: Vec<WorkerView>,
    /// Their real names, in the same order.
    pub(crate) real_names: Vec<String>,
    /// Workers that the publisher has; the list may hold fewer.
    pub(crate) total: u64,
}

/// Which list, and of which second.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    second: u64,
    publisher: String,
    window_ms: u64,
}

#[derive(Debug, Clone)]
struct ByWorkers;

impl Weighter<Key, Arc<WorkerList>> for ByWorkers {
    fn weight(&self, _: &Key, list: &Arc<WorkerList>) -> u64 {
        1 + list.workers.len() as u64
    }
}

/// The lists of this second.
#[derive(Debug, Clone)]
pub(crate) struct WorkerLists(Arc<Cache<Key, Arc<WorkerList>, ByWorkers>>);

impl Default for WorkerLists {
    fn default() -> Self {
        // In one shard, since each would only take its part of the workers.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(USUAL_LISTS)
            .weight_capacity(MAX_WORKERS)
            // What is larger than this part of the room would not be kept at all.
            .hot_allocation(1.0)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self(Arc::new(Cache::with_options(options, ByWorkers, hasher, lifecycle)))
    }
}

impl WorkerList {
    /// The publisher has more workers than the list.
    pub(crate) fn is_cut(&self) -> bool {
        self.total > self.workers.len() as u64
    }
}

impl AppState {
    /// The workers of a publisher with their hashrates over a window up to now.
    pub(crate) async fn worker_list(&self, publisher: String, window_ms: u64) -> Result<Arc<WorkerList>, ReadError> {
        let now_ms = self.now_ms();
        let key = Key { second: now_ms / KEPT_MS, publisher: publisher.clone(), window_ms };
        let redaction = Arc::clone(&self.redaction);
        let read = self.history.read(move |history| {
            let mut workers = history.workers(&publisher, window_ms, now_ms, None, MAX_ROWS)?;
            let total = if workers.len() < MAX_ROWS as usize {
                workers.len()
            } else {
                history.worker_names(&publisher, false)?.len() + history.worker_names(&publisher, true)?.len()
            };
            let real_names = workers.iter().map(|worker| worker.name.clone()).collect();
            redaction.workers(&publisher, &mut workers);
            Ok::<_, QueryError>(Arc::new(WorkerList { publisher, workers, real_names, total: total as u64 }))
        });
        let lists = &self.worker_lists.0;
        let read = async {
            // Nobody asks for those of an earlier second again.
            lists.retain(|kept, _| kept.second == key.second);
            read.await
        };
        lists.get_or_insert_async(&key, read).await
    }
}
