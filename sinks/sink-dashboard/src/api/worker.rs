//! `/api/v1/worker`, `/api/v1/worker/connections` and `/api/v1/worker/shares`: one worker. Its name is a parameter, since it may hold anything.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{Part, PastConnection, WorkerDetail};

use super::csv::{Rows, Table};
use super::cursor;
use super::problem::Problem;
use super::query::Query;
use super::range::{AskedSubject, named, real_name, some_publisher};
use super::shape::{Answered, Asking, MAX_PAGE, json};
use crate::live::message::WorkerKind;
use crate::live::recent::RecentShare;
use crate::state::AppState;

/// Past connections in an answer.
const MAX_CONNECTIONS: u32 = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkerQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// What the name stands for.
    #[param(inline)]
    kind: WorkerKind,
    /// The name, as lists show it.
    name: String,
    /// `json` or `csv`, for tables; without it `Accept` decides.
    format: Option<String>,
}

/// A worker with its last shares.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct WorkerAnswer {
    /// The publisher.
    publisher: String,
    #[serde(flatten)]
    worker: WorkerDetail,
    /// The last shares that this run of the sidecar saw, the newest first; at most 20.
    recent_shares: Vec<RecentShare>,
}

/// One worker: its hashrate over every window, its totals, its connections and its last shares.
#[utoipa::path(get, path = "/api/v1/worker", tag = "workers", params(WorkerQuery),
    responses((status = 200, body = WorkerAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn worker(State(state): State<AppState>, Query(asked): Query<WorkerQuery>) -> Answered {
    let now_ms = state.now_ms();
    let (redaction, kind) = (std::sync::Arc::clone(&state.redaction), asked.kind);
    let (publisher, name, mut worker) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let name = real_name(history, &publisher, kind, asked.name.clone(), &redaction)?;
            let worker = history
                .worker(&publisher, &named(kind, name.clone()), now_ms, MAX_CONNECTIONS)
                .map_err(|error| AskedSubject::Worker(kind, asked.name).blamed(error))?;
            Ok((publisher, name, worker))
        })
        .await?;
    let recent_shares = state.live.recent_shares(&publisher, kind, &name);
    state.redaction.worker(&publisher, &mut worker);
    json(&WorkerAnswer { publisher, worker, recent_shares })
}

/// The last shares of a worker.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Shares {
    /// The publisher.
    publisher: String,
    /// The newest first.
    shares: Vec<RecentShare>,
}

impl Table for Shares {
    const COLUMNS: &'static [&'static str] = &["at_ms", "accepted", "difficulty", "share_difficulty", "error_code"];

    fn rows(&self, rows: &mut Rows) {
        for share in &self.shares {
            rows.row([
                share.at_ms.into(),
                share.accepted.into(),
                share.difficulty.into(),
                share.share_difficulty.into(),
                share.error_code.into(),
            ]);
        }
    }
}

/// The last shares of a worker that this run of the sidecar saw.
#[utoipa::path(get, path = "/api/v1/worker/shares", tag = "workers", params(WorkerQuery),
    responses((status = 200, body = Shares), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn shares(
    State(state): State<AppState>,
    Query(asked): Query<WorkerQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let (redaction, kind) = (std::sync::Arc::clone(&state.redaction), asked.kind);
    let (publisher, name) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let name = real_name(history, &publisher, kind, asked.name, &redaction)?;
            Ok((publisher, name))
        })
        .await?;
    let shares = state.live.recent_shares(&publisher, kind, &name);
    form.table(&Shares { publisher, shares })
}

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkerConnectionsQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// What the name stands for.
    #[param(inline)]
    kind: WorkerKind,
    /// The name, as lists show it.
    name: String,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// The connections of a worker.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct WorkerConnections {
    /// The publisher.
    publisher: String,
    /// The latest first.
    connections: Vec<PastConnection>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl Table for WorkerConnections {
    const COLUMNS: &'static [&'static str] = &[
        "connection_id",
        "channel_id",
        "address",
        "program",
        "opened_ms",
        "closed_ms",
        "reason",
        "difficulty",
        "accepted",
        "rejected",
    ];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.connections {
            rows.row([
                row.connection_id.into(),
                row.channel_id.into(),
                (&row.address).into(),
                (&row.program).into(),
                row.opened_ms.into(),
                row.closed_ms.into(),
                row.reason.as_deref().into(),
                row.difficulty.into(),
                row.accepted.into(),
                row.rejected.into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// The channels or connections of a worker that the history still has, open or not.
#[utoipa::path(get, path = "/api/v1/worker/connections", tag = "workers", params(WorkerConnectionsQuery),
    responses((status = 200, body = WorkerConnections), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn connections(
    State(state): State<AppState>,
    Query(asked): Query<WorkerConnectionsQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let (redaction, kind) = (std::sync::Arc::clone(&state.redaction), asked.kind);
    let (publisher, mut connections) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let name = real_name(history, &publisher, kind, asked.name.clone(), &redaction)?;
            let connections = history
                .worker_connections(&publisher, &named(kind, name), &part)
                .map_err(|error| AskedSubject::Worker(kind, asked.name).blamed(error))?;
            Ok((publisher, connections))
        })
        .await?;
    let next_cursor = cursor::cut(&mut connections, limit, |last| last.place);
    state.redaction.past_connections(&mut connections);
    form.table(&WorkerConnections { publisher, connections, next_cursor })
}
