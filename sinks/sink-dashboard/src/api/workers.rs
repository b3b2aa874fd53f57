//! `/api/v1/workers`: the list of user identities and miners, sorted, searched and cut into pages.

use std::cmp::Ordering;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{QueryError, SeriesQuery, WorkerView};

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::range::{length, named};
use super::shape::{Answered, Asking};
use crate::live::message::WorkerKind;
use crate::state::AppState;
use crate::worker_list::WorkerList;

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;
/// Rows of a page at most.
const MAX_LIMIT: u32 = 1_000;
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
    limit: Option<u32>,
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
    let start = asked.cursor.as_deref().map_or(Ok(0), |cursor| {
        cursor.parse::<usize>().map_err(|_| Problem::bad_request("`cursor` is not one that was given out"))
    })?;
    let most = if asked.sparkline { MAX_SPARKLINES } else { MAX_LIMIT };
    let page_size = form.rows(asked.limit, DEFAULT_LIMIT, most)? as usize;
    let list = state.worker_list(asked.source.clone(), window_ms).await?;
    let rows = select(&list.workers, &asked);
    let next = start.saturating_add(page_size);
    let page: Vec<usize> = rows.iter().copied().skip(start).take(page_size).collect();
    let sparklines = match asked.sparkline {
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
        is_cut: list.total > list.workers.len() as u64,
        workers,
        next_cursor: (next < rows.len()).then(|| next.to_string()),
    };
    form.table(&answer)
}

/// The places of the rows that are asked for, in their order. Names are those that are shown: a search must not tell a
/// name that is hidden.
fn select(workers: &[WorkerView], asked: &WorkersQuery) -> Vec<usize> {
    let wanted = asked.q.as_deref().unwrap_or_default().to_lowercase();
    let is_wanted = |worker: &WorkerView| {
        (wanted.is_empty() || worker.name.to_lowercase().contains(&wanted)) && !(asked.hide_offline && worker.open == 0)
    };
    let mut rows: Vec<usize> = (0..workers.len()).filter(|index| is_wanted(&workers[*index])).collect();
    let sort = asked.sort.unwrap_or_default();
    let order = asked.order.unwrap_or(if sort == Column::Name { Order::Asc } else { Order::Desc });
    rows.sort_by(|a, b| {
        let (a, b) = (&workers[*a], &workers[*b]);
        let by_column = compare(a, b, sort);
        let by_column = if order == Order::Desc { by_column.reverse() } else { by_column };
        // Names break ties, so that rows never swap between two looks.
        by_column.then_with(|| (&a.name, a.is_miner).cmp(&(&b.name, b.is_miner)))
    });
    rows
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
