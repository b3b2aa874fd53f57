//! `/api/v1/health` and `/api/v1/pipeline`: how the sources and the sidecar itself are doing.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use sink_sqlite::query::PublisherView;

use super::problem::Problem;
use super::shape::{Answered, json, json_with};
use crate::live::message::SourceState;
use crate::security::redact::HIDDEN;
use crate::state::AppState;

/// Fields of the pipeline's snapshot whose words come from anywhere.
const FREE_TEXT: [&str; 5] = ["contents", "last_error", "reason", "what", "why"];

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
    let health = Health::of(&publishers, state.now_ms(), is_ready(&state));
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
    pipeline_snapshot(state)
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the pipeline is not running yet, or no more"))
}

/// Whether the pipeline takes everything in. While it starts or stops it says nothing, and nothing is wrong.
pub(crate) fn is_ready(state: &AppState) -> bool {
    state.neighbours.pipeline().is_none_or(|snapshot| snapshot["ready"] != Value::Bool(false))
}

/// The pipeline now, without what must be left out; `None` while it does not run.
pub(crate) fn pipeline_snapshot(state: &AppState) -> Option<Value> {
    let mut snapshot = state.neighbours.pipeline()?;
    state.redaction.pipeline(&mut snapshot);
    if state.redaction.is_on() {
        without_free_text(&mut snapshot);
    }
    Some(snapshot)
}

/// Errors may name the address that did not answer, and an event that was refused holds names.
fn without_free_text(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::String(text) if FREE_TEXT.contains(&key.as_str()) => HIDDEN.clone_into(text),
                    value => without_free_text(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_free_text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_may_name_anything_are_hidden() {
        let mut snapshot = serde_json::json!({
            "sinks": { "mqtt": { "status": "retrying", "last_error": "cannot connect to 192.0.2.7:1883" } },
            "dead_letters": [{ "sink": "mqtt", "event": "channel_opened", "reason": "bad rig.7", "contents": "rig.7" }],
        });
        without_free_text(&mut snapshot);
        let text = snapshot.to_string();
        assert!(!text.contains("192.0.2.7") && !text.contains("rig.7"), "{text}");
        assert!(text.contains("retrying") && text.contains("channel_opened"), "{text}");
    }
}
