//! `/api/v1/losses`: which events are missing, and when clocks were wrong.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{LossView, Part};

use super::csv::{Rows, Table};
use super::cursor;
use super::problem::Problem;
use super::query::Query;
use super::range::some_publisher;
use super::shape::{Answered, Asking, MAX_PAGE};
use crate::state::AppState;

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LossesQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// Losses of a publisher.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Losses {
    /// The publisher.
    publisher: String,
    /// The one that was told last comes first.
    losses: Vec<LossView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl Table for Losses {
    const COLUMNS: &'static [&'static str] = &["from_ms", "to_ms", "kind", "events", "reason"];

    fn rows(&self, rows: &mut Rows) {
        for loss in &self.losses {
            rows.row([
                loss.from_ms.into(),
                loss.to_ms.into(),
                (&loss.kind).into(),
                loss.events.into(),
                (&loss.reason).into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Losses of a publisher that the history still has.
#[utoipa::path(get, path = "/api/v1/losses", tag = "status", params(LossesQuery),
    responses((status = 200, body = Losses), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn losses(
    State(state): State<AppState>,
    Query(asked): Query<LossesQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let (publisher, mut losses) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let losses = history.losses(&publisher, &part)?;
            Ok((publisher, losses))
        })
        .await?;
    let next_cursor = cursor::cut(&mut losses, limit, |(number, _)| *number);
    state.redaction.losses(losses.iter_mut().map(|(_, loss)| loss));
    let losses = losses.into_iter().map(|(_, loss)| loss).collect();
    form.table(&Losses { publisher, losses, next_cursor })
}
