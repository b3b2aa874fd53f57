//! The pages for people: HTML made by the server, useful without scripts, made more comfortable by them. A page reads the history
//! once and is written from that one state; what cannot be read is an error page, never zeros.

mod address;
pub(crate) mod assets;
mod banner;
mod blocks;
mod connect;
mod connections;
mod dead_letters;
mod fault;
mod graph;
mod marks;
mod numbers;
mod overview;
mod pipeline;
mod plot;
mod presence;
mod query;
mod quotes;
mod range;
mod shell;
mod sources;
mod sparklines;
#[cfg(test)]
mod tests;
mod turn;
mod worker;
mod workers;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use sink_sqlite::History;
use sink_sqlite::query::{Overview, QueryError, SourceView};

use self::fault::PageError;
use crate::api::shape::MAX_FILE;
use crate::state::AppState;

/// Every page and its data; the assets have [routes of their own](assets::routes).
pub(crate) fn routes(state: &AppState) -> Router<AppState> {
    Router::new()
        .route("/", get(overview::page))
        .route("/workers", get(workers::page))
        .route("/worker", get(worker::page))
        .route("/connections", get(connections::page))
        .route("/quotes", get(quotes::page))
        .route("/blocks", get(blocks::page))
        .route("/pipeline", get(pipeline::page))
        .route("/connect", get(connect::page))
        .layer(from_fn_with_state(state.clone(), banner::look))
        .route("/graph", get(graph::data))
}

/// The part of an address that names a source.
#[derive(Debug, Default, Deserialize)]
struct SourceQuery {
    source: Option<String>,
}

impl SourceQuery {
    /// The source that a page is about; `None` while there is none at all.
    fn of<'a>(&self, overview: &'a Overview) -> Result<Option<&'a SourceView>, PageError> {
        match (sources::choose(overview, self.source.as_deref()), &self.source) {
            (Some(source), _) => Ok(Some(source)),
            (None, Some(publisher)) => Err(PageError::Unknown { what: publisher.clone() }),
            (None, None) => Ok(None),
        }
    }
}

/// Asks the history about the source of a page; the default where there is none.
async fn of_source<T: Default + Send + 'static>(
    state: &AppState,
    source: Option<&SourceView>,
    ask: impl FnOnce(&History, &str) -> Result<T, QueryError> + Send + 'static,
) -> Result<T, PageError> {
    match source.map(|source| source.publisher.clone()) {
        Some(publisher) => Ok(state.history.read(move |history| ask(history, &publisher)).await?),
        None => Ok(T::default()),
    }
}

/// The page in the place of an answer that is too large.
pub(crate) fn too_large(why: String) -> Response {
    PageError::TooLarge { why }.into_response()
}

/// The link to a table of so many rows as a file, which ends at its limit.
fn csv_link(address: &address::Address, rows: u64) -> Markup {
    html! {
        a.button href=(address.text()) download {
            "CSV" @if rows > u64::from(MAX_FILE) { ", at most " (numbers::count(MAX_FILE.into())) " rows" }
        }
    }
}
