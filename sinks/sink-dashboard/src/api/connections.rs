//! `/api/v1/downstreams` and `/api/v1/channels`: what is open now.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{ConnectionView, DownstreamView, Part};

use super::csv::{Rows, Table, window};
use super::cursor;
use super::problem::Problem;
use super::query::Query;
use super::range::some_publisher;
use super::shape::{Answered, Asking, MAX_PAGE};
use crate::state::AppState;

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 1_000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionsQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Rows of a page; 1,000 if absent and at most, 10,000 in CSV.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
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
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
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
        "declared_hashrate_hs",
        "window",
        "observed_ms",
        "hashrate_hs",
        "hashrate_low_hs",
        "hashrate_high_hs",
        "window_accepted",
        "window_rejected",
        "accepted",
        "rejected",
        "quotes",
        "ehash",
        "last_share_ms",
    ];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.downstreams {
            let channels: Vec<String> = row.channels.iter().map(ToString::to_string).collect();
            let [window, observed, rate, low, high, accepted, rejected] = window(row.window.as_ref());
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
                row.declared_hashrate.into(),
                window,
                observed,
                rate,
                low,
                high,
                accepted,
                rejected,
                row.accepted.into(),
                row.rejected.into(),
                row.quotes.into(),
                (&row.ehash).into(),
                row.last_share_ms.into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Open downstream connections of a pool with what came over their open channels.
#[utoipa::path(get, path = "/api/v1/downstreams", tag = "connections", params(ConnectionsQuery),
    responses((status = 200, body = Downstreams), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn downstreams(
    State(state): State<AppState>,
    Query(asked): Query<ConnectionsQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let now_ms = state.now_ms();
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let (publisher, mut downstreams) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let downstreams = history.downstreams(&publisher, Some(now_ms), &part)?;
            Ok((publisher, downstreams))
        })
        .await?;
    let next_cursor = cursor::cut(&mut downstreams, limit, |last| last.place);
    state.redaction.downstreams(&mut downstreams);
    form.table(&Downstreams { publisher, downstreams, next_cursor })
}

/// Open channels of a pool, or open miner connections of a translator.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Channels {
    /// The publisher.
    publisher: String,
    /// The newest first.
    channels: Vec<ConnectionView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
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
        "difficulty",
        "declared_hashrate_hs",
        "window",
        "observed_ms",
        "hashrate_hs",
        "hashrate_low_hs",
        "hashrate_high_hs",
        "window_accepted",
        "window_rejected",
        "accepted",
        "rejected",
        "quotes",
        "ehash",
    ];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.channels {
            let [window, observed, rate, low, high, accepted, rejected] = window(row.window.as_ref());
            rows.row([
                (&row.name).into(),
                row.is_miner.into(),
                row.connection_id.into(),
                row.channel_id.into(),
                (&row.address).into(),
                (&row.program).into(),
                row.opened_ms.into(),
                row.last_share_ms.into(),
                row.difficulty.into(),
                row.declared_hashrate.into(),
                window,
                observed,
                rate,
                low,
                high,
                accepted,
                rejected,
                row.accepted.into(),
                row.rejected.into(),
                row.quotes.into(),
                (&row.ehash).into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Open channels and miner connections, the newest first.
#[utoipa::path(get, path = "/api/v1/channels", tag = "connections", params(ConnectionsQuery),
    responses((status = 200, body = Channels), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn channels(
    State(state): State<AppState>,
    Query(asked): Query<ConnectionsQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let now_ms = state.now_ms();
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let (publisher, mut channels) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let channels = history.connections(&publisher, Some(now_ms), &part)?;
            Ok((publisher, channels))
        })
        .await?;
    let next_cursor = cursor::cut(&mut channels, limit, |last| last.place);
    state.redaction.connections(&publisher, &mut channels);
    form.table(&Channels { publisher, channels, next_cursor })
}
