//! The once-a-second part of the live stream: while somebody listens, one update is made for all.

use std::time::Duration;

use sink_sqlite::query::{Overview, SourceView};
use tokio::time::MissedTickBehavior;

use super::hub::Outgoing;
use super::message::{MAX_WORKER_UPDATES, Message, SourceState, SourceUpdate, Update};
use crate::state::AppState;

/// Time between two updates.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub(crate) async fn run(state: AppState) {
    let mut tick = tokio::time::interval(EVERY);
    // After a pause one update is enough.
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        let now_ms = state.now_ms();
        state.live.tick(now_ms);
        if state.live.hub().is_wanted(now_ms) {
            let update = update(&state, now_ms).await;
            state.live.hub().publish(vec![Outgoing::from(&Message::Update(update))]);
        } else {
            state.live.forget_changes();
        }
    }
}

/// The update of this second.
async fn update(state: &AppState, now_ms: u64) -> Update {
    // Read here and not taken from what is kept, which would make an update up to a second older than it says. Pages and
    // the API are then given what this read.
    let overview = state.fresh_overview().await;
    // After the history, which may have to be waited for: what came meanwhile is told now and not a second later.
    let (workers, more_workers, suppressed) = state.live.take_changes(MAX_WORKER_UPDATES);
    let (sources, history_error) = match overview {
        Ok(overview) => (sources(&overview, now_ms), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Update { at_ms: now_ms, sources, history_error, workers, more_workers, suppressed }
}

fn sources(overview: &Overview, now_ms: u64) -> Vec<SourceUpdate> {
    overview.sources.iter().map(|source| source_update(source, now_ms)).collect()
}

fn source_update(source: &SourceView, now_ms: u64) -> SourceUpdate {
    let group = source.channels.as_ref().or(source.miners.as_ref());
    let totals = group.map(|group| group.totals.clone()).unwrap_or_default();
    SourceUpdate {
        publisher: source.publisher.clone(),
        role: source.role,
        state: source_state(source, now_ms),
        last_event_ms: source.last_event_ms,
        silent_ms: now_ms.saturating_sub(source.last_event_ms),
        downstreams: source.downstreams,
        channels_open: source.channels_open,
        miners_open: source.miners_open,
        workers_online: source.workers_online,
        windows: group.map(|group| group.windows.clone()).unwrap_or_default(),
        accepted: totals.accepted,
        rejected: totals.rejected,
        rejected_by_reason: totals.rejected_by_reason,
        best_share_difficulty: totals.best_share_difficulty,
        blocks: totals.blocks,
        quotes: totals.quotes,
        ehash: totals.ehash,
    }
}

/// Whether a publisher is there, by what the history knows.
pub(crate) fn source_state(source: &SourceView, now_ms: u64) -> SourceState {
    let has_session = source.sessions.iter().any(|session| session.ended_ms.is_none());
    SourceState::of(has_session, now_ms.saturating_sub(source.last_event_ms))
}
