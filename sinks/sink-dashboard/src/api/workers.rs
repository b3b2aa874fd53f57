//! `/api/v1/workers`: the list of user identities and miners, sorted, searched and cut into pages.

use std::cmp::Ordering;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use sink_sqlite::History;
use sink_sqlite::query::{MAX_ROWS, QueryError, SeriesQuery, WorkerView};

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::range::{length, named, some_publisher};
use super::shape::{Answered, table};
use crate::live::message::WorkerKind;
use crate::state::AppState;

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Rows of a page at most.
const MAX_LIMIT: usize = 1_000;
/// Rows of a page with sparklines at most: each is a series of its own.
const MAX_SPARKLINES: usize = 200;
/// Points of a sparkline at most.
const SPARK_POINTS: u64 = 48;
/// What a sparkline shows.
const SPARK_MS: u64 = 24 * 3_600_000;
/// The window unless the question says otherwise.
const DEFAULT_WINDOW: &str = "15m";

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkersQuery {
    /// Name of the publisher; the most recently heard one if absent.
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
    /// Leave out workers without an open connection.
    #[serde(default)]
    hide_offline: bool,
    /// Add the hashrate of the last day in at most 48 points; pages then have at most 200 rows.
    #[serde(default)]
    sparkline: bool,
    /// Rows of a page; 100 if absent, at most 1,000.
    limit: Option<usize>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// Columns to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Column {
    /// The name.
    Name,
    /// The measured hashrate over the window; workers without a measurement stand below those with one.
    #[default]
    Hashrate,
    /// Accepted shares since the history began.
    Accepted,
    /// Rejected shares since the history began.
    Rejected,
    /// The best share.
    BestShare,
    /// The last accepted share.
    LastShare,
    /// When it first appeared.
    FirstSeen,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The least first.
    Asc,
    /// The greatest first.
    Desc,
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
            let estimate = worker.window.reading.measured();
            rows.row([
                (&worker.name).into(),
                worker.is_miner.into(),
                worker.open.into(),
                worker.first_seen_ms.into(),
                worker.last_share_ms.into(),
                (&worker.window.window).into(),
                worker.window.observed_ms.into(),
                estimate.map(|estimate| estimate.rate.hashes_per_second()).into(),
                estimate.map(|estimate| estimate.low.hashes_per_second()).into(),
                estimate.map(|estimate| estimate.high.hashes_per_second()).into(),
                worker.window.accepted.into(),
                worker.window.rejected.into(),
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
}

/// User identities of a pool, and SV1 miners of a translator: over all their connections and reconnects, each once.
#[utoipa::path(get, path = "/api/v1/workers", tag = "workers", params(WorkersQuery),
    responses((status = 200, body = Workers), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn workers(
    State(state): State<AppState>,
    Query(asked): Query<WorkersQuery>,
    headers: HeaderMap,
) -> Answered {
    let window_ms = length(asked.window.as_deref().unwrap_or(DEFAULT_WINDOW))?;
    let format = asked.format.clone();
    let start = asked.cursor.as_deref().map_or(Ok(0), |cursor| {
        cursor.parse::<usize>().map_err(|_| Problem::bad_request("`cursor` is not one that was given out"))
    })?;
    let now_ms = state.now_ms();
    let redaction = std::sync::Arc::clone(&state.redaction);
    let answer = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let mut workers = history.workers(&publisher, window_ms, now_ms, None, MAX_ROWS)?;
            let looked_at = workers.len();
            let total = if looked_at < MAX_ROWS as usize {
                looked_at
            } else {
                history.worker_names(&publisher, false)?.len() + history.worker_names(&publisher, true)?.len()
            };
            // By the names that are shown: a search must not tell a name that is hidden.
            let real_names: Vec<String> = workers.iter().map(|worker| worker.name.clone()).collect();
            redaction.workers(&publisher, &mut workers);
            let mut rows: Vec<(WorkerView, String)> = workers.into_iter().zip(real_names).collect();
            select(&mut rows, &asked);
            let matched = rows.len();
            let limit = page_size(&asked);
            let next = start.saturating_add(limit);
            let page = rows.into_iter().skip(start).take(limit);
            let workers = page
                .map(|(worker, real_name)| {
                    let sparkline =
                        asked.sparkline.then(|| sparkline(history, &publisher, worker.is_miner, real_name, now_ms));
                    Ok(Worker { sparkline: sparkline.transpose()?, worker })
                })
                .collect::<Result<_, QueryError>>()?;
            Ok(Workers {
                publisher,
                matched: matched as u64,
                total: total as u64,
                is_cut: total > looked_at,
                workers,
                next_cursor: (next < matched).then(|| next.to_string()),
            })
        })
        .await?;
    table(&answer, format.as_deref(), &headers)
}

fn page_size(asked: &WorkersQuery) -> usize {
    let most = if asked.sparkline { MAX_SPARKLINES } else { MAX_LIMIT };
    asked.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, most)
}

/// Keeps the rows that are asked for, in their order.
fn select(rows: &mut Vec<(WorkerView, String)>, asked: &WorkersQuery) {
    let wanted = asked.q.as_deref().unwrap_or_default().to_lowercase();
    rows.retain(|(worker, _)| {
        (wanted.is_empty() || worker.name.to_lowercase().contains(&wanted)) && !(asked.hide_offline && worker.open == 0)
    });
    let sort = asked.sort.unwrap_or_default();
    let order = asked.order.unwrap_or(if sort == Column::Name { Order::Asc } else { Order::Desc });
    rows.sort_by(|(a, _), (b, _)| {
        let by_column = compare(a, b, sort);
        let by_column = if order == Order::Desc { by_column.reverse() } else { by_column };
        // Names break ties, so that rows never swap between two looks.
        by_column.then_with(|| (&a.name, a.is_miner).cmp(&(&b.name, b.is_miner)))
    });
}

fn compare(a: &WorkerView, b: &WorkerView, sort: Column) -> Ordering {
    let rate = |worker: &WorkerView| worker.window.reading.measured().map(|estimate| estimate.rate.hashes_per_second());
    let floats = |a: Option<f64>, b: Option<f64>| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    match sort {
        Column::Name => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
        Column::Hashrate => floats(rate(a), rate(b)),
        Column::Accepted => a.totals.accepted.cmp(&b.totals.accepted),
        Column::Rejected => a.totals.rejected.cmp(&b.totals.rejected),
        Column::BestShare => floats(a.totals.best_share_difficulty, b.totals.best_share_difficulty),
        Column::LastShare => a.last_share_ms.cmp(&b.last_share_ms),
        Column::FirstSeen => a.first_seen_ms.cmp(&b.first_seen_ms),
    }
}

fn sparkline(
    history: &History,
    publisher: &str,
    is_miner: bool,
    name: String,
    now_ms: u64,
) -> Result<Vec<Option<f64>>, QueryError> {
    let kind = if is_miner { WorkerKind::Miner } else { WorkerKind::Identity };
    let query = SeriesQuery {
        publisher: publisher.to_owned(),
        subject: named(kind, name),
        from_ms: now_ms.saturating_sub(SPARK_MS),
        to_ms: now_ms,
        points: SPARK_POINTS,
    };
    Ok(history.series(&query)?.points.into_iter().map(|point| point.value).collect())
}
