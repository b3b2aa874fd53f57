//! The pages: what each path answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sidecar_core::route::KindSet;
use sidecar_core::{NotReady, Route};
use sidecar_http::metrics_response;

use super::{AdminState, Phase, live_events, metrics};

const INDEX: &str = "\
hashpool-sidecar
  /live      is the process there
  /ready     does it take events; 503 with reasons if not
  /metrics   numbers for Prometheus
  /pipeline  everything known, as JSON
  /tap       live events as JSON lines; ?events=block_found,quote_*&sources=pool-*
";

pub(super) fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/pipeline", get(pipeline))
        .route("/tap", get(tap))
        .with_state(state)
}

async fn ready(State(state): State<AdminState>) -> Response {
    let mut reasons = state.status.not_ready();
    if *state.phase.borrow() != Phase::Working {
        let why = "it is stopping".to_owned();
        reasons.insert(0, NotReady { component: "sidecar".to_owned(), why });
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &json!({ "ready": reasons.is_empty(), "not_ready": reasons }))
}

async fn pipeline(State(state): State<AdminState>) -> Response {
    #[derive(Serialize)]
    struct Page {
        version: &'static str,
        started_at_ms: u64,
        #[serde(flatten)]
        pipeline: sidecar_pipeline::PipelineReport,
    }
    let status = Arc::clone(&state.status);
    // The dead letters are in the journal's file.
    let Ok(pipeline) = tokio::task::spawn_blocking(move || status.report()).await else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the pipeline cannot be read");
    };
    json_response(
        StatusCode::OK,
        &Page { version: env!("CARGO_PKG_VERSION"), started_at_ms: state.started.0, pipeline },
    )
}

async fn metrics(State(state): State<AdminState>, headers: HeaderMap) -> Response {
    metrics_response(&headers, metrics::encode(state.status.snapshot(), state.started))
}

/// What a tap shows.
#[derive(Debug, Deserialize)]
struct TapQuery {
    events: Option<String>,
    sources: Option<String>,
}

async fn tap(State(state): State<AdminState>, Query(query): Query<TapQuery>) -> Response {
    let globs = |list: Option<String>| -> Vec<String> {
        list.map(|list| list.split(',').filter(|glob| !glob.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let events = globs(query.events);
    let kinds = match events.len() {
        0 => Ok(KindSet::ALL),
        _ => KindSet::from_globs(events.iter().map(String::as_str)),
    };
    let kinds = match kinds {
        Ok(kinds) => kinds,
        Err(glob) => return error(StatusCode::BAD_REQUEST, &format!("no event is named `{glob}`")),
    };
    match state.tap.open(Route { kinds, sources: globs(query.sources) }) {
        Ok(tap) => {
            let body = Body::from_stream(live_events::json_lines(tap, state.phase));
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))], body).into_response()
        }
        Err(full) => error(StatusCode::SERVICE_UNAVAILABLE, &full.to_string()),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    json_response(status, &json!({ "error": message }))
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (status, headers, text + "\n").into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
