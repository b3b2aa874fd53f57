//! `/api/v1/workers`: the list of user identities and miners, sorted, searched and cut into pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{QueryError, SeriesQuery, WorkerView};

use super::csv::{Format, Rows, Table, window};
use super::cursor;
use super::problem::Problem;
use super::query::Query;
use super::range::{length, named, some_publisher};
use super::shape::{Answered, Asking, MAX_PAGE};
use crate::live::message::WorkerKind;
use crate::state::AppState;
use crate::worker_list::WorkerList;
use crate::worker_list::selection::{Column, Hidden, Order, Place, Selection};

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;
/// Rows of a page with sparklines at most: each is a series of its own.
const MAX_SPARKLINES: u32 = 200;
/// Points of a sparkline at most.
const SPARK_POINTS: u64 = 48;
/// What a sparkline shows.
const SPARK_MS: u64 = 24 * 3_600_000;
/// The window unless the question says otherwise.
const DEFAULT_WINDOW: &str = "15m";

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkersQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Window of the hashrate, such as `5m`, `1h` or `1d`; `15m` if absent.
    window: Option<String>,
    /// Column; `hashrate` if absent. Equal rows stand by name.
    #[param(inline)]
    sort: Option<Column>,
    /// `asc` or `desc`; names rise and numbers fall if absent.
    #[param(inline)]
    order: Option<Order>,
    /// Text that the name must contain, in any case.
    q: Option<String>,
    /// Leave out who is not online.
    #[param(inline)]
    hide: Option<Hidden>,
    /// Add the hashrate of the last day in at most 48 points; pages then have at most 200 rows. Not in CSV.
    #[serde(default)]
    sparkline: bool,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// A page of workers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Workers {
    /// The publisher.
    publisher: String,
    /// Workers that the question is about, on all pages.
    matched: u64,
    /// Workers that the publisher has.
    total: u64,
    /// The publisher has more workers than are looked through (10,000): the rest, by name, is in no page.
    is_cut: bool,
    /// The page.
    workers: Vec<Worker>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A worker in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Worker {
    #[serde(flatten)]
    worker: WorkerView,
    /// The hashrate of the last day, point by point; null for a gap. Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sparkline: Option<Vec<Option<f64>>>,
}

impl Table for Workers {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "is_miner",
        "open",
        "presence",
        "first_seen_ms",
        "last_share_ms",
        "window",
        "observed_ms",
        "hashrate_hs",
        "hashrate_low_hs",
        "hashrate_high_hs",
        "window_accepted",
        "window_rejected",
        "difficulty",
        "declared_hashrate_hs",
        "accepted",
        "rejected",
        "best_share_difficulty",
        "blocks",
        "quotes",
        "ehash",
    ];

    fn rows(&self, rows: &mut Rows) {
        for Worker { worker, .. } in &self.workers {
            let [window, observed, rate, low, high, accepted, rejected] = window(Some(&worker.window));
            rows.row([
                (&worker.name).into(),
                worker.is_miner.into(),
                worker.open.into(),
                worker.presence.name().into(),
                worker.first_seen_ms.into(),
                worker.last_share_ms.into(),
                window,
                observed,
                rate,
                low,
                high,
                accepted,
                rejected,
                worker.difficulty.into(),
                worker.declared_hashrate.into(),
                worker.totals.accepted.into(),
                worker.totals.rejected.into(),
                worker.totals.best_share_difficulty.into(),
                worker.totals.blocks.into(),
                worker.totals.quotes.into(),
                (&worker.totals.ehash).into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// User identities of a pool, and SV1 miners of a translator: over all their connections and reconnects, each once.
#[utoipa::path(get, path = "/api/v1/workers", tag = "workers", params(WorkersQuery),
    responses((status = 200, body = Workers), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn workers(
    State(state): State<AppState>,
    Query(asked): Query<WorkersQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let window_ms = length(asked.window.as_deref().unwrap_or(DEFAULT_WINDOW))?;
    let selection = Selection::new(asked.sort, asked.order, asked.q.as_deref(), asked.hide);
    let after: Option<Place> = cursor::read(asked.cursor.as_deref())?;
    if after.as_ref().is_some_and(|place| !selection.has(place)) {
        return Err(cursor::unknown());
    }
    let has_sparklines = asked.sparkline && form.format == Format::Json;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, if has_sparklines { MAX_SPARKLINES } else { MAX_PAGE })?;
    let publisher = state.history.read(move |history| some_publisher(history, asked.source.as_deref())).await?;
    let list = state.worker_list(publisher, window_ms).await?;
    let rows = selection.of(&list.workers);
    // Not so many rows on but behind the last one of the page before: what moves in between moves no other row.
    let start = after.map_or(0, |place| rows.partition_point(|row| !selection.is_behind(&list.workers[*row], &place)));
    let mut page: Vec<usize> = rows[start..].iter().copied().take(limit as usize + 1).collect();
    let next_cursor = cursor::cut(&mut page, limit, |last| selection.place(&list.workers[*last]));
    let sparklines = match has_sparklines {
        true => sparklines(&state, &list, &page).await?.into_iter().map(Some).collect(),
        false => vec![None; page.len()],
    };
    let workers = page
        .iter()
        .zip(sparklines)
        .map(|(index, sparkline)| Worker { worker: list.workers[*index].clone(), sparkline })
        .collect();
    let answer = Workers {
        publisher: list.publisher.clone(),
        matched: rows.len() as u64,
        total: list.total,
        is_cut: list.is_cut(),
        workers,
        next_cursor,
    };
    form.table(&answer)
}

/// The hashrate of the last day of the workers at these places.
async fn sparklines(state: &AppState, list: &WorkerList, page: &[usize]) -> Result<Vec<Vec<Option<f64>>>, Problem> {
    let now_ms = state.now_ms();
    let queries: Vec<SeriesQuery> = page
        .iter()
        .map(|index| {
            let kind = if list.workers[*index].is_miner { WorkerKind::Miner } else { WorkerKind::Identity };
            SeriesQuery {
                publisher: list.publisher.clone(),
                subject: named(kind, list.real_names[*index].clone()),
                from_ms: now_ms.saturating_sub(SPARK_MS),
                to_ms: now_ms,
                points: SPARK_POINTS,
            }
        })
        .collect();
    let values = state
        .history
        .read(move |history| {
            let values = |query| Ok(history.series(query)?.points.into_iter().map(|point| point.value).collect());
            queries.iter().map(values).collect::<Result<_, QueryError>>()
        })
        .await?;
    Ok(values)
}
