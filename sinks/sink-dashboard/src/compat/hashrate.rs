//! `/api/hashrate` and `/api/downstream/{id}/hashrate`, with `hours` or with `from` and `to` in Unix seconds.

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{SeriesQuery, Subject};

use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::range::{Range, publisher, whole};
use crate::api::shape::{Answered, json};
use crate::state::AppState;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HashrateQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// The last hours, fractions allowed; 24 if no range is given.
    hours: Option<f64>,
    /// Start in Unix seconds, instead of `hours`.
    from: Option<u64>,
    /// End in Unix seconds; now if absent.
    to: Option<u64>,
}

impl HashrateQuery {
    fn range(&self, now_ms: u64) -> Result<Range, Problem> {
        let to_ms = self.to.map(|to| to.saturating_mul(1000));
        match (self.hours, self.from) {
            (Some(_), Some(_)) => Err(Problem::bad_request("give `hours` or `from`, not both")),
            (_, Some(from)) => Range::asked(Some(from.saturating_mul(1000)), to_ms, None, now_ms),
            (hours, None) => Range::hours(hours.unwrap_or(24.0), to_ms.unwrap_or(now_ms)),
        }
    }
}

/// A hashrate over time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Hashrates {
    /// Evenly spaced, by time. Empty before anything was heard.
    data: Vec<HashratePoint>,
}

/// A point.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct HashratePoint {
    /// Start of the span, in Unix seconds.
    timestamp: u64,
    /// Hashes per second; null for a gap, in which nothing was observed.
    hashrate_hs: Option<f64>,
}

/// The hashrate of the pool (of all miners, for a translator).
#[utoipa::path(get, path = "/api/hashrate", tag = "compatibility", params(HashrateQuery),
    responses((status = 200, body = Hashrates), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn hashrate(State(state): State<AppState>, Query(asked): Query<HashrateQuery>) -> Answered {
    read(&state, asked, None).await
}

/// The hashrate of one downstream connection, by the pool's number for it.
#[utoipa::path(get, path = "/api/downstream/{id}/hashrate", tag = "compatibility",
    params(("id" = u32, Path, description = "The pool's number for the downstream"), HashrateQuery),
    responses((status = 200, body = Hashrates), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn downstream(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(asked): Query<HashrateQuery>,
) -> Answered {
    let id = id.parse().map_err(|_| Problem::bad_request(format!("`{id}` is no number of a downstream")))?;
    read(&state, asked, Some(id)).await
}

async fn read(state: &AppState, asked: HashrateQuery, downstream: Option<u32>) -> Answered {
    let Range { from_ms, to_ms } = asked.range(state.now_ms())?;
    let series = state
        .history
        .read(move |history| {
            let fits = |role: &str| downstream.is_none() || role == "pool";
            let Some(publisher) = publisher(history, asked.source.as_deref(), fits)? else { return Ok(None) };
            let subject = match downstream {
                Some(id) => Subject::Downstream(id),
                None => whole(history, &publisher)?,
            };
            history.series(&SeriesQuery { publisher, subject, from_ms, to_ms, points: 0 }).map(Some)
        })
        .await?;
    let points = series.map(|series| series.points).unwrap_or_default();
    let data = points
        .into_iter()
        .map(|point| HashratePoint { timestamp: point.at_ms / 1000, hashrate_hs: point.value })
        .collect();
    json(&Hashrates { data })
}
