//! `/api/v1/quotes/report`: what became of the quotes; and its parts as tables, `/states`, `/latencies` and `/failures`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{LatencyView, QuoteNote, QuoteReport, StateView};

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::range::{length, some_publisher};
use super::shape::{Answered, Asking, json};
use crate::state::AppState;

/// The window unless the question says otherwise.
const DEFAULT_WINDOW: &str = "24h";

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReportQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Length of the window, such as `1h`; `24h` if absent.
    window: Option<String>,
}

/// What became of the quotes: by state, with their latencies and failures.
#[utoipa::path(get, path = "/api/v1/quotes/report", tag = "quotes", params(ReportQuery),
    responses((status = 200, body = QuoteReport), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn report(State(state): State<AppState>, Query(asked): Query<ReportQuery>) -> Answered {
    json(&read(&state, asked).await?.1)
}

/// The publisher that is asked about, and its report.
async fn read(state: &AppState, asked: ReportQuery) -> Result<(String, QuoteReport), Problem> {
    let window_ms = length(asked.window.as_deref().unwrap_or(DEFAULT_WINDOW))?;
    let now_ms = state.now_ms();
    let read = state.history.read(move |history| {
        let publisher = some_publisher(history, asked.source.as_deref())?;
        let report = history.quote_report(&publisher, window_ms, now_ms)?;
        Ok((publisher, report))
    });
    Ok(read.await?)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatesQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// Quotes by state.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct States {
    /// The publisher.
    publisher: String,
    /// In the order of a quote's life.
    states: Vec<StateView>,
}

impl Table for States {
    const COLUMNS: &'static [&'static str] = &["state", "quotes", "ehash"];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.states {
            rows.row([row.state.as_str().into(), row.count.into(), (&row.ehash).into()]);
        }
    }
}

/// Quotes that were made since the history began, each in the state that it has now.
#[utoipa::path(get, path = "/api/v1/quotes/states", tag = "quotes", params(StatesQuery),
    responses((status = 200, body = States), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn states(
    State(state): State<AppState>,
    Query(asked): Query<StatesQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let (publisher, report) = read(&state, ReportQuery { source: asked.source, window: None }).await?;
    form.table(&States { publisher, states: report.by_state })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FlowQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Length of the window, such as `1h`; `24h` if absent.
    window: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// How long the stages of quotes took.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LatencyTable {
    /// The publisher.
    publisher: String,
    /// Where the window begins: at the start of a bucket.
    from_ms: u64,
    /// In the order of a quote's life.
    latencies: Vec<LatencyView>,
}

impl Table for LatencyTable {
    const COLUMNS: &'static [&'static str] = &["stage", "quotes", "p50_ms", "p90_ms", "p99_ms", "max_ms"];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.latencies {
            rows.row([
                row.stage.as_str().into(),
                row.count.into(),
                row.p50_ms.into(),
                row.p90_ms.into(),
                row.p99_ms.into(),
                row.max_ms.into(),
            ]);
        }
    }
}

/// How long the stages of quotes took that ended within the window.
#[utoipa::path(get, path = "/api/v1/quotes/latencies", tag = "quotes", params(FlowQuery),
    responses((status = 200, body = LatencyTable), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn latencies(
    State(state): State<AppState>,
    Query(asked): Query<FlowQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let (publisher, report) = read(&state, ReportQuery { source: asked.source, window: asked.window }).await?;
    form.table(&LatencyTable { publisher, from_ms: report.window.from_ms, latencies: report.window.latencies })
}

/// What went wrong with quotes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FailureTable {
    /// The publisher.
    publisher: String,
    /// Where the window begins: at the start of a bucket.
    from_ms: u64,
    /// By kind, then by code.
    failures: Vec<FailureRow>,
}

/// How often something went wrong.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct FailureRow {
    /// What it is.
    kind: QuoteNote,
    /// Its code; untrusted text, empty for payments of unknown quotes.
    code: String,
    /// How often.
    count: u64,
}

impl Table for FailureTable {
    const COLUMNS: &'static [&'static str] = &["kind", "code", "count"];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.failures {
            rows.row([row.kind.as_str().into(), (&row.code).into(), row.count.into()]);
        }
    }
}

/// What went wrong with quotes within the window.
#[utoipa::path(get, path = "/api/v1/quotes/failures", tag = "quotes", params(FlowQuery),
    responses((status = 200, body = FailureTable), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn failures(
    State(state): State<AppState>,
    Query(asked): Query<FlowQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let (publisher, report) = read(&state, ReportQuery { source: asked.source, window: asked.window }).await?;
    let flow = report.window;
    let payments = (flow.unknown_payments > 0).then(|| (String::new(), flow.unknown_payments));
    let groups = [
        (QuoteNote::Failed, flow.failed),
        (QuoteNote::Unattributed, flow.unattributed),
        (QuoteNote::Contradiction, flow.contradictions),
        (QuoteNote::UnknownPayment, payments.into_iter().collect()),
    ];
    let failures = groups
        .into_iter()
        .flat_map(|(kind, by_code)| by_code.into_iter().map(move |(code, count)| FailureRow { kind, code, count }));
    form.table(&FailureTable { publisher, from_ms: flow.from_ms, failures: failures.collect() })
}
