//! `/api/v1/health` and `/api/v1/pipeline`: how the sources and the sidecar itself are doing.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use sidecar_core::NotReady;
use sink_sqlite::query::PublisherView;

use super::problem::Problem;
use super::shape::{Answered, json, json_with};
use crate::live::message::SourceState;
use crate::state::AppState;

/// Whether the numbers are fresh.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// A source is heard and the sidecar is ready, so the numbers are of now.
    pub(crate) healthy: bool,
    /// The sidecar takes in what sources tell: false while its disk is full, for example; `/api/v1/pipeline` says why.
    pub(crate) ready: bool,
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
    pub(crate) fn of(publishers: &[PublisherView], now_ms: u64, ready: bool) -> Self {
        let sources: Vec<SourceHealth> = publishers
            .iter()
            .map(|publisher| {
                let silent_ms = now_ms.saturating_sub(publisher.last_event_ms);
                let state = SourceState::of(publisher.has_session, silent_ms);
                SourceHealth { publisher: publisher.publisher.clone(), state, silent_ms }
            })
            .collect();
        let is_heard = sources.iter().any(|source| source.state == SourceState::Live);
        Self { healthy: is_heard && ready, ready, stale: !is_heard, sources }
    }

    pub(crate) fn status(&self) -> StatusCode {
        if self.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

/// Whether the numbers are fresh: 200 if a source is heard and the sidecar is ready, else 503.
#[utoipa::path(get, path = "/api/v1/health", tag = "status",
    responses((status = 200, body = Health), (status = 503, body = Health), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn health(State(state): State<AppState>) -> Answered {
    let publishers = state.history.read(sink_sqlite::History::publishers).await?;
    let health = Health::of(&publishers, state.now_ms(), not_ready(&state).is_empty());
    json_with(health.status(), &health)
}

/// The pipeline: journal, sessions, each sink with its lag, its account of events and its dead letters; the same document as
/// the admin listener's `/pipeline`.
#[utoipa::path(get, path = "/api/v1/pipeline", tag = "status",
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pipeline(State(state): State<AppState>) -> Answered {
    json(&report(&state).await?)
}

/// The pipeline now, without what must be left out.
pub(super) async fn report(state: &AppState) -> Result<Value, Problem> {
    pipeline_report(state)
        .await
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the pipeline is not running yet, or no more"))
}

/// What of the sidecar is not ready, as it may be shown. While the pipeline starts or stops it says nothing, and nothing is
/// wrong.
pub(crate) fn not_ready(state: &AppState) -> Vec<NotReady> {
    let mut parts = state.neighbours.not_ready().unwrap_or_default();
    state.redaction.not_ready(&mut parts);
    parts
}

/// The pipeline now, without what must be left out; `None` while it does not run.
pub(crate) async fn pipeline_report(state: &AppState) -> Option<Value> {
    let neighbours = Arc::clone(&state.neighbours);
    // Nobody closes the semaphore.
    let turn = Arc::clone(&state.reporting).acquire_owned().await.ok()?;
    let report = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        neighbours.report()
    })
    .await;
    let mut report = report.unwrap_or_else(|error| {
        tracing::error!(%error, "the pipeline cannot be read");
        None
    })?;
    state.redaction.pipeline(&mut report);
    Some(report)
}
