//! `/api/v1/live` and `/api/v1/live/poll`: the live stream, see `live::message` for what it carries.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::problem::Problem;
use super::query::Query;
use super::shape::{Answered, json};
use crate::live::hub::TooManyClientsError;
use crate::live::message::Message;
use crate::live::stream::stream;
use crate::security::guard::Client;
use crate::state::AppState;

const LAST_EVENT_ID: &str = "last-event-id";

/// The last id that the client saw, where its browser cannot send `Last-Event-ID` itself.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LiveQuery {
    /// The last id that the client saw; what came since is sent first.
    last_event_id: Option<String>,
}

/// Server-sent events: `update` once a second, `worker`, `block`, `quote` and `source` as they happen, `reset` with `{}` where
/// what was missed is not known any more. `data` of each is one line of JSON, here described. `Last-Event-ID` continues where
/// the client stopped.
#[utoipa::path(get, path = "/api/v1/live", tag = "live", params(LiveQuery),
    responses((status = 200, content_type = "text/event-stream", body = Message), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn live(
    State(state): State<AppState>,
    Extension(Client(client)): Extension<Client>,
    Query(asked): Query<LiveQuery>,
    headers: HeaderMap,
) -> Response {
    let seat = match state.live.hub().enter(client) {
        Ok(seat) => seat,
        Err(full) => {
            let status = match full {
                TooManyClientsError::All { .. } => StatusCode::SERVICE_UNAVAILABLE,
                TooManyClientsError::Address { .. } => StatusCode::TOO_MANY_REQUESTS,
            };
            return Problem::new(status, format!("{full}; use /api/v1/live/poll")).into_response();
        }
    };
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).or(asked.last_event_id.as_deref());
    let body = Body::from_stream(stream(state.live, seat, last_id));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would otherwise collect events before it passes them on.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PollQuery {
    /// `last_id` of the answer before; without it nothing but `last_id` is answered.
    after: Option<String>,
}

/// What came since the last poll.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Polled {
    /// What to give as `after` next.
    last_id: String,
    /// What was missed is not known any more: read the page's numbers again.
    reset: bool,
    /// In order.
    messages: Vec<PolledMessage>,
}

/// One message of the live stream.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PolledMessage {
    /// Its id.
    id: String,
    /// Its type: `update`, `worker`, `block`, `quote` or `source`.
    #[schema(value_type = String)]
    event: &'static str,
    /// What the live stream has as `data`.
    #[schema(value_type = Message)]
    data: Box<RawValue>,
}

/// The live stream for clients that cannot hold one open: what came since `after`. Poll every second or slower.
#[utoipa::path(get, path = "/api/v1/live/poll", tag = "live", params(PollQuery),
    responses((status = 200, body = Polled), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn poll(State(state): State<AppState>, Query(asked): Query<PollQuery>) -> Answered {
    let hub = state.live.hub();
    hub.note_poll(state.now_ms());
    let Some(after) = asked.after.as_deref() else {
        return json(&Polled { last_id: hub.id(hub.last()), reset: false, messages: Vec::new() });
    };
    let caught = hub.number_of(after).map(|number| hub.after(number)).filter(|caught| !caught.reset);
    let Some(caught) = caught else {
        return json(&Polled { last_id: hub.id(hub.last()), reset: true, messages: Vec::new() });
    };
    let messages = caught
        .messages
        .iter()
        .filter_map(|message| {
            // It was written as JSON.
            let data =
                String::from_utf8(message.data().to_vec()).ok().and_then(|text| RawValue::from_string(text).ok())?;
            Some(PolledMessage { id: hub.id(message.number), event: message.event, data })
        })
        .collect();
    json(&Polled { last_id: hub.id(caught.last), reset: false, messages })
}
