//! `/api/v1/summary` and `/api/v1/sources`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{Overview, SourceView};

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::shape::{Answered, Asking, json};
use crate::live::message::SourceState;
use crate::live::updater::source_state;
use crate::online::Online;
use crate::state::AppState;

/// Everything at a glance: each source with its state, its hashrate over `1m 5m 15m 1h 6h 1d 7d` with 95 % intervals, its
/// totals, last blocks, round and losses. Ehash is a decimal number as text, since it goes beyond 2^53.
#[utoipa::path(get, path = "/api/v1/summary", tag = "status",
    responses((status = 200, body = Overview), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn summary(State(state): State<AppState>) -> Answered {
    json(&*state.overview().await?)
}

/// Options of every table.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TableQuery {
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// The publishers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Sources {
    /// The most recently heard first.
    sources: Vec<Source>,
    /// Publishers that are known in all.
    total: u64,
}

/// A publisher in one line.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Source {
    /// Its name.
    publisher: String,
    /// What kind of program it is: `pool`, `proxy`, ...
    #[schema(value_type = String)]
    role: &'static str,
    /// Name and version of the program; untrusted text.
    vendor: String,
    /// Whether it is there.
    state: SourceState,
    /// When it was first heard.
    first_seen_ms: u64,
    /// Time of its last event or heartbeat.
    last_event_ms: u64,
    /// Open downstream connections.
    downstreams: u64,
    /// Open channels.
    channels_open: u64,
    /// Connected SV1 miners.
    miners_open: u64,
    /// Worker names with at least one open channel or connection.
    workers_online: u64,
    /// Events that it dropped, by its own count.
    events_dropped: u64,
    /// Events whose numbers will never come.
    events_missing: u64,
}

impl Source {
    fn of(source: &SourceView, online: &Online, now_ms: u64) -> Self {
        Self {
            publisher: source.publisher.clone(),
            role: source.role,
            vendor: source.vendor.clone(),
            state: source_state(source, now_ms),
            first_seen_ms: source.first_seen_ms,
            last_event_ms: source.last_event_ms,
            downstreams: source.downstreams,
            channels_open: source.channels_open,
            miners_open: source.miners_open,
            workers_online: online.of(&source.publisher),
            events_dropped: source.events_dropped,
            events_missing: source.events_missing,
        }
    }
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
        "events_dropped",
        "events_missing",
    ];

    fn rows(&self, rows: &mut Rows) {
        for source in &self.sources {
            rows.row([
                (&source.publisher).into(),
                source.role.into(),
                (&source.vendor).into(),
                source.state.name().into(),
                source.first_seen_ms.into(),
                source.last_event_ms.into(),
                source.downstreams.into(),
                source.channels_open.into(),
                source.miners_open.into(),
                source.workers_online.into(),
                source.events_dropped.into(),
                source.events_missing.into(),
            ]);
        }
    }
}

/// The publishers in short.
#[utoipa::path(get, path = "/api/v1/sources", tag = "status", params(TableQuery),
    responses((status = 200, body = Sources), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sources(
    State(state): State<AppState>,
    Query(asked): Query<TableQuery>,
    asking: Asking,
) -> Answered {
    let overview = state.overview().await?;
    let online = state.online(&overview).await?;
    let sources = overview.sources.iter().map(|source| Source::of(source, &online, overview.now_ms)).collect();
    asking.form(asked.format.as_deref())?.table(&Sources { sources, total: overview.sources_total })
}
