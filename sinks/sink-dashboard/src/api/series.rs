//! `/api/v1/series` and `/api/v1/rejects`: a range of time, point by point or as a whole.

use std::cmp::Reverse;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{History, QueryError, RejectsView, SeriesAnswer, SeriesQuery};

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::range::{AskedSubject, Range, SubjectKind, some_publisher};
use super::shape::{Answered, Asking};
use crate::state::AppState;

/// The range since the history began.
const EVER: &str = "all";

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// What it is about; all channels of a pool or all miners of a translator if absent.
    #[param(inline)]
    subject: Option<SubjectKind>,
    /// The name, for `identity` and `miner`, as lists show it.
    name: Option<String>,
    /// The number, for `downstream` and `miner_connection`.
    id: Option<u32>,
    /// Length up to `to`, such as `1h`, `6h`, `24h`, `7d`, `30d`, `1y`; `24h` if absent. For rejects also `all`: since the
    /// history began.
    range: Option<String>,
    /// Start, in Unix milliseconds, instead of `range`.
    from: Option<u64>,
    /// End, in Unix milliseconds; now if absent.
    to: Option<u64>,
    /// Points at most; 600 if absent, never more than 2,000.
    points: Option<u64>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

impl RangeQuery {
    fn range(&self, now_ms: u64) -> Result<Range, Problem> {
        Range::asked(self.from, self.to, self.range.as_deref(), now_ms)
    }
}

/// A hashrate over time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Series {
    /// The publisher.
    publisher: String,
    /// The unit of `value`, `low`, `high`, `min` and `max`: hashes per second.
    #[schema(value_type = String)]
    unit: &'static str,
    #[serde(flatten)]
    series: SeriesAnswer,
}

impl Table for Series {
    const COLUMNS: &'static [&'static str] =
        &["at_ms", "hashrate_hs", "low_hs", "high_hs", "min_hs", "max_hs", "observed", "accepted", "rejected"];

    fn rows(&self, rows: &mut Rows) {
        for point in &self.series.points {
            rows.row([
                point.at_ms.into(),
                point.value.into(),
                point.low.into(),
                point.high.into(),
                point.min.into(),
                point.max.into(),
                point.observed.into(),
                point.accepted.into(),
                point.rejected.into(),
            ]);
        }
    }
}

/// Hashrate and shares over a range. The server chooses tier and step: evenly spaced points, each with its value, the ends of
/// its 95 % interval, the fraction of it that was observed, and its shares. A gap is a point whose values are null.
#[utoipa::path(get, path = "/api/v1/series", tag = "series", params(RangeQuery),
    responses((status = 200, body = Series), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn series(State(state): State<AppState>, Query(asked): Query<RangeQuery>, asking: Asking) -> Answered {
    answer(&state, asked, asking, |history, query| {
        let publisher = query.publisher.clone();
        Ok(Series { publisher, unit: "H/s", series: history.series(query)? })
    })
    .await
}

/// Verdicts over a range.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Rejects {
    /// The publisher.
    publisher: String,
    #[serde(flatten)]
    rejects: RejectsView,
}

impl Table for Rejects {
    const COLUMNS: &'static [&'static str] = &["reason", "shares"];

    fn rows(&self, rows: &mut Rows) {
        rows.row(["accepted".into(), self.rejects.accepted.into()]);
        let mut reasons: Vec<_> = self.rejects.by_reason.iter().collect();
        // The most frequent first, as on pages.
        reasons.sort_by_key(|(reason, count)| (Reverse(**count), **reason));
        for (reason, count) in reasons {
            rows.row([(*reason).into(), (*count).into()]);
        }
    }
}

/// Accepted and rejected shares of a range, the latter by reason: the codes of Stratum V2, or `unknown`.
#[utoipa::path(get, path = "/api/v1/rejects", tag = "series", params(RangeQuery),
    responses((status = 200, body = Rejects), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rejects(
    State(state): State<AppState>,
    Query(asked): Query<RangeQuery>,
    asking: Asking,
) -> Answered {
    if asked.range.as_deref() == Some(EVER) && asked.from.is_none() && asked.to.is_none() {
        return rejects_ever(&state, asked, asking).await;
    }
    answer(&state, asked, asking, |history, query| {
        let publisher = query.publisher.clone();
        Ok(Rejects { publisher, rejects: history.rejects(query)? })
    })
    .await
}

/// Since the history began.
async fn rejects_ever(state: &AppState, asked: RangeQuery, asking: Asking) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let about = AskedSubject::new(asked.subject, asked.name, asked.id)?;
    let (redaction, now_ms) = (std::sync::Arc::clone(&state.redaction), state.now_ms());
    let read = state.history.read(move |history| {
        let publisher = some_publisher(history, asked.source.as_deref())?;
        let subject = about.find(history, &publisher, &redaction)?;
        let rejects = history.rejects_ever(&publisher, &subject, now_ms).map_err(|error| about.blamed(error))?;
        Ok(Rejects { publisher, rejects })
    });
    form.table(&read.await?)
}

/// What `ask` finds for the subject and the range that are asked about, as a table.
async fn answer<T: Serialize + Table + Send + 'static>(
    state: &AppState,
    asked: RangeQuery,
    asking: Asking,
    ask: impl FnOnce(&History, &SeriesQuery) -> Result<T, QueryError> + Send + 'static,
) -> Answered {
    let Range { from_ms, to_ms } = asked.range(state.now_ms())?;
    let about = AskedSubject::new(asked.subject, asked.name, asked.id)?;
    let form = asking.form(asked.format.as_deref())?;
    let redaction = std::sync::Arc::clone(&state.redaction);
    let answer = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let subject = about.find(history, &publisher, &redaction)?;
            let points = asked.points.unwrap_or(0);
            let query = SeriesQuery { publisher, subject, from_ms, to_ms, points };
            ask(history, &query).map_err(|error| about.blamed(error))
        })
        .await?;
    form.table(&answer)
}
