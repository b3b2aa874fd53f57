//! How many workers are online: names with an open channel, or as a miner.

use std::collections::BTreeMap;

use sink_sqlite::query::{Overview, SourceView};

use crate::history::ReadError;
use crate::state::AppState;

/// The window of the list that is counted where the live state knows nothing; it does not change who is in it.
const ANY_WINDOW_MS: u64 = 15 * 60_000;

/// Workers online by publisher.
#[derive(Debug, Default)]
pub(crate) struct Online(BTreeMap<String, u64>);

impl Online {
    pub(crate) fn of(&self, publisher: &str) -> u64 {
        self.0.get(publisher).copied().unwrap_or(0)
    }
}

impl AppState {
    /// What the live state knows of a source; `None` where it knows nothing and the history does: the names of what is
    /// open are told to a sink when it starts, and only of sources that are routed to it.
    pub(crate) fn live_online(&self, source: &SourceView) -> Option<u64> {
        match self.live.workers_online(&source.publisher) {
            0 if source.channels_open > 0 || source.miners_open > 0 => None,
            online => Some(online),
        }
    }

    /// Workers online of every source.
    pub(crate) async fn online(&self, overview: &Overview) -> Result<Online, ReadError> {
        let mut online = BTreeMap::new();
        for source in &overview.sources {
            let count = match self.live_online(source) {
                Some(count) => count,
                None => {
                    let list = self.worker_list(Some(source.publisher.clone()), ANY_WINDOW_MS).await?;
                    list.workers.iter().filter(|worker| worker.open > 0).count() as u64
                }
            };
            online.insert(source.publisher.clone(), count);
        }
        Ok(Online(online))
    }
}
