//! `/api/v1/downstreams` and `/api/v1/channels`: what is open now.

use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{ConnectionView, DownstreamView, MAX_ROWS};

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::range::{limit, some_publisher};
use super::shape::{Answered, table};
use crate::state::AppState;

/// Rows unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 1_000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionsQuery {
    /// Name of the publisher; the most recently heard one if absent.
    source: Option<String>,
    /// Rows at most; 1,000 if absent, never more than 10,000.
    limit: Option<u32>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// Open downstream connections of a pool.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Downstreams {
    /// The publisher.
    publisher: String,
    /// By number.
    downstreams: Vec<DownstreamView>,
}

impl Table for Downstreams {
    const COLUMNS: &'static [&'static str] = &[
        "downstream_id",
        "address",
        "vendor",
        "hardware_version",
        "firmware",
        "device_id",
        "flags",
        "connected_ms",
        "channels",
        "accepted",
        "rejected",
        "quotes",
        "ehash",
        "last_share_ms",
    ];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.downstreams {
            let channels: Vec<String> = row.channels.iter().map(ToString::to_string).collect();
            rows.row([
                row.downstream_id.into(),
                (&row.address).into(),
                (&row.vendor).into(),
                (&row.hardware_version).into(),
                (&row.firmware).into(),
                (&row.device_id).into(),
                row.flags.into(),
                row.connected_ms.into(),
                channels.join(" ").as_str().into(),
                row.accepted.into(),
                row.rejected.into(),
                row.quotes.into(),
                (&row.ehash).into(),
                row.last_share_ms.into(),
            ]);
        }
    }
}

/// Open downstream connections of a pool with what came over their open channels.
#[utoipa::path(get, path = "/api/v1/downstreams", tag = "connections", params(ConnectionsQuery),
    responses((status = 200, body = Downstreams), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn downstreams(
    State(state): State<AppState>,
    Query(asked): Query<ConnectionsQuery>,
    headers: HeaderMap,
) -> Answered {
    let limit = limit(asked.limit, DEFAULT_LIMIT, MAX_ROWS)?;
    let mut answer = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            Ok(Downstreams { downstreams: history.downstreams(&publisher, limit)?, publisher })
        })
        .await?;
    state.redaction.downstreams(&mut answer.downstreams);
    table(&answer, asked.format.as_deref(), &headers)
}

/// Open channels of a pool, or open miner connections of a translator.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Channels {
    /// The publisher.
    publisher: String,
    /// The newest first.
    channels: Vec<ConnectionView>,
}

impl Table for Channels {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "is_miner",
        "connection_id",
        "channel_id",
        "address",
        "program",
        "opened_ms",
        "last_share_ms",
        "accepted",
        "rejected",
        "quotes",
        "ehash",
    ];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.channels {
            rows.row([
                (&row.name).into(),
                row.is_miner.into(),
                row.connection_id.into(),
                row.channel_id.into(),
                (&row.address).into(),
                (&row.program).into(),
                row.opened_ms.into(),
                row.last_share_ms.into(),
                row.accepted.into(),
                row.rejected.into(),
                row.quotes.into(),
                (&row.ehash).into(),
            ]);
        }
    }
}

/// Open channels and miner connections, the newest first.
#[utoipa::path(get, path = "/api/v1/channels", tag = "connections", params(ConnectionsQuery),
    responses((status = 200, body = Channels), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn channels(
    State(state): State<AppState>,
    Query(asked): Query<ConnectionsQuery>,
    headers: HeaderMap,
) -> Answered {
    let limit = limit(asked.limit, DEFAULT_LIMIT, MAX_ROWS)?;
    let mut answer = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            Ok(Channels { channels: history.connections(&publisher, limit)?, publisher })
        })
        .await?;
    state.redaction.connections(&answer.publisher, &mut answer.channels);
    table(&answer, asked.format.as_deref(), &headers)
}
