//! `/api/v1/events` and `/api/v1/alerts`: what happened.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sidecar_core::EventKind;
use sidecar_core::route::KindSet;

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::range::some_publisher;
use super::shape::{Answered, Asking};
use crate::live::hub::Hub;
use crate::live::recent::{MAX_EVENTS, RecentEvent};
use crate::state::AppState;

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Name of the publisher; all if absent.
    source: Option<String>,
    /// Kinds separated by commas, with `*` and `?`, such as `block_found,channel_*`; all if absent.
    kinds: Option<String>,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV all of them.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// A page of events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Events {
    /// The newest first.
    events: Vec<RecentEvent>,
    /// What to give as `cursor` for the next page; null on the last one. It is good until the sidecar starts again: then it
    /// is answered 410, and the list is read from its beginning.
    next_cursor: Option<String>,
}

impl Table for Events {
    const COLUMNS: &'static [&'static str] = &["number", "received_ms", "kind", "publisher", "event"];

    fn rows(&self, rows: &mut Rows) {
        for event in &self.events {
            rows.row([
                event.number.into(),
                event.received_ms.into(),
                event.kind.into(),
                (&*event.publisher).into(),
                event.event.get().into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// The last 1,000 events that this run of the sidecar saw, shares and heartbeats left out, each as it came.
#[utoipa::path(get, path = "/api/v1/events", tag = "activity", params(EventsQuery),
    responses((status = 200, body = Events), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(
    State(state): State<AppState>,
    Query(asked): Query<EventsQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let kinds = asked.kinds.as_deref().map(|globs| {
        KindSet::from_globs(globs.split(',').map(str::trim).filter(|glob| !glob.is_empty()))
            .map_err(|glob| Problem::bad_request(format!("no event is named `{glob}`")))
    });
    let kinds = kinds.transpose()?.unwrap_or(KindSet::ALL);
    let names: Vec<&str> =
        EventKind::ALL.iter().filter(|kind| kinds.contains(kind.msg_type())).map(|kind| kind.name()).collect();
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_EVENTS as u32)? as usize;
    let hub = state.live.hub();
    let before = asked.cursor.as_deref().map(|cursor| place(hub, cursor)).transpose()?;
    let mut events = state.live.recent_events(before, limit + 1, |event| {
        let is_known = EventKind::ALL.iter().any(|kind| kind.name() == event.kind);
        (names.contains(&event.kind) || (!is_known && asked.kinds.is_none()))
            && asked.source.as_deref().is_none_or(|source| source == &*event.publisher)
    });
    if let (true, Some(source)) = (events.is_empty(), asked.source.clone()) {
        // A source without events is empty, one that nobody knows does not exist.
        state.history.read(move |history| some_publisher(history, Some(&source))).await?;
    }
    let has_more = events.len() > limit;
    events.truncate(limit);
    let next_cursor = events.last().filter(|_| has_more).map(|event| hub.id(event.number));
    form.table(&Events { events, next_cursor })
}

/// The number in a cursor. Events are numbered anew in each run, and another run's number would lead to other events.
fn place(hub: &Hub, cursor: &str) -> Result<u64, Problem> {
    hub.number_of(cursor).ok_or_else(|| match Hub::is_id(cursor) {
        true => Problem::new(
            StatusCode::GONE,
            "`cursor` is of a run of the sidecar that is over, and so are its events: begin without it",
        ),
        false => Problem::bad_request("`cursor` is not one that was given out"),
    })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertsQuery {
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// Alerts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Alerts {
    /// Empty: this version makes no alerts.
    #[schema(value_type = Vec<Object>)]
    alerts: [(); 0],
}

impl Table for Alerts {
    const COLUMNS: &'static [&'static str] = &["at_ms", "alert", "state"];

    fn rows(&self, _: &mut Rows) {}
}

/// Alerts that fire now. This version has no alerts, so the list is empty.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "activity", params(AlertsQuery),
    responses((status = 200, body = Alerts), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn alerts(Query(asked): Query<AlertsQuery>, asking: Asking) -> Answered {
    asking.form(asked.format.as_deref())?.table(&Alerts { alerts: [] })
}
