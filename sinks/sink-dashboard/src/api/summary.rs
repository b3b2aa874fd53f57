//! `/api/v1/summary` and `/api/v1/sources`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{Overview, Part, SourceLine};

use super::csv::{Rows, Table};
use super::cursor;
use super::problem::Problem;
use super::query::Query;
use super::shape::{Answered, Asking, MAX_PAGE, json};
use crate::live::message::SourceState;
use crate::state::AppState;

/// Everything at a glance: each source with its state, its hashrate over `1m 5m 15m 1h 6h 1d 7d` with 95 % intervals, its
/// totals, last blocks, round and losses. Ehash is a decimal number as text, since it goes beyond 2^53.
#[utoipa::path(get, path = "/api/v1/summary", tag = "status",
    responses((status = 200, body = Overview), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn summary(State(state): State<AppState>) -> Answered {
    json(&*state.overview().await?)
}

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SourcesQuery {
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// The publishers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Sources {
    /// By name.
    sources: Vec<Source>,
    /// Publishers that are known in all.
    total: u64,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A publisher in one line.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Source {
    #[serde(flatten)]
    line: SourceLine,
    /// Whether it is there.
    state: SourceState,
}

impl Table for Sources {
    const COLUMNS: &'static [&'static str] = &[
        "publisher",
        "role",
        "vendor",
        "state",
        "first_seen_ms",
        "last_event_ms",
        "downstreams",
        "channels_open",
        "miners_open",
        "workers_online",
        "workers_silent",
        "events_dropped",
        "events_missing",
    ];

    fn rows(&self, rows: &mut Rows) {
        for Source { line, state } in &self.sources {
            rows.row([
                (&line.publisher).into(),
                line.role.into(),
                (&line.vendor).into(),
                state.name().into(),
                line.first_seen_ms.into(),
                line.last_event_ms.into(),
                line.downstreams.into(),
                line.channels_open.into(),
                line.miners_open.into(),
                line.workers_online.into(),
                line.workers_silent.into(),
                line.events_dropped.into(),
                line.events_missing.into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// The publishers in short, by name.
#[utoipa::path(get, path = "/api/v1/sources", tag = "status", params(SourcesQuery),
    responses((status = 200, body = Sources), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sources(
    State(state): State<AppState>,
    Query(asked): Query<SourcesQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let now_ms = state.now_ms();
    let (mut lines, total) =
        state.history.read(move |history| Ok((history.sources(now_ms, &part)?, history.sources_total()?))).await?;
    let next_cursor = cursor::cut(&mut lines, limit, |last| last.publisher.clone());
    let sources = lines.into_iter().map(|line| {
        let state = SourceState::of(line.has_session, now_ms.saturating_sub(line.last_event_ms));
        Source { line, state }
    });
    form.table(&Sources { sources: sources.collect(), total, next_cursor })
}
