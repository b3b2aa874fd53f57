//! `/api/v1/health` and `/api/v1/pipeline`: how the sources and the sidecar itself are doing.

use axum::extract::State;
use axum::http::StatusCode;
use mining_stats::reading::STALE_AFTER_MS;
use serde::Serialize;
use sink_sqlite::query::PublisherView;

use super::problem::Problem;
use super::shape::{Answered, json, json_with};
use crate::live::message::SourceState;
use crate::state::AppState;

/// Whether the numbers are fresh.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// A source is heard, so the numbers are of now.
    pub(crate) healthy: bool,
    /// No source is heard: the last numbers are shown, with their age.
    pub(crate) stale: bool,
    /// Each publisher.
    pub(crate) sources: Vec<SourceHealth>,
}

/// Whether a publisher is heard.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SourceHealth {
    /// Its name.
    pub(crate) publisher: String,
    /// Whether it is there.
    pub(crate) state: SourceState,
    /// Milliseconds since its last event or heartbeat.
    pub(crate) silent_ms: u64,
}

impl Health {
    pub(crate) fn of(publishers: &[PublisherView], now_ms: u64) -> Self {
        let sources: Vec<SourceHealth> = publishers
            .iter()
            .map(|publisher| {
                let silent_ms = now_ms.saturating_sub(publisher.last_event_ms);
                let state = match silent_ms > STALE_AFTER_MS {
                    _ if !publisher.has_session => SourceState::Ended,
                    true => SourceState::Stale,
                    false => SourceState::Live,
                };
                SourceHealth { publisher: publisher.publisher.clone(), state, silent_ms }
            })
            .collect();
        let healthy = sources.iter().any(|source| source.state == SourceState::Live);
        Self { healthy, stale: !healthy, sources }
    }

    pub(crate) fn status(&self) -> StatusCode {
        if self.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

/// Whether the numbers are fresh: 200 if a source is heard, 503 if none is.
#[utoipa::path(get, path = "/api/v1/health", tag = "status",
    responses((status = 200, body = Health), (status = 503, body = Health), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn health(State(state): State<AppState>) -> Answered {
    let publishers = state.history.read(sink_sqlite::History::publishers).await?;
    let health = Health::of(&publishers, state.now_ms());
    json_with(health.status(), &health)
}

/// The pipeline: journal, sessions, each sink with its lag, its account of events and its dead letters; the same document as
/// the admin listener's `/pipeline`.
#[utoipa::path(get, path = "/api/v1/pipeline", tag = "status",
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pipeline(State(state): State<AppState>) -> Answered {
    let mut snapshot = state
        .neighbours
        .pipeline()
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the pipeline is not running yet, or no more"))?;
    state.redaction.pipeline(&mut snapshot);
    json(&snapshot)
}
