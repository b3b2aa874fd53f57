//! The pages for people: HTML made by the server, useful without scripts, made more comfortable by them. A page reads the history
//! once and is written from that one state; what cannot be read is an error page, never zeros.

mod address;
pub(crate) mod assets;
mod blocks;
mod connect;
mod connections;
mod fault;
mod graph;
mod marks;
mod numbers;
mod overview;
mod pipeline;
mod plot;
mod quotes;
mod range;
mod shell;
mod sources;
mod sparklines;
mod worker;
mod workers;

use axum::Router;
use axum::routing::get;
use serde::Deserialize;
use sink_sqlite::query::{Overview, SourceView};

use self::fault::PageError;
use crate::state::AppState;

/// Every page and its data; the assets have [routes of their own](assets::routes).
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::page))
        .route("/workers", get(workers::page))
        .route("/worker", get(worker::page))
        .route("/connections", get(connections::page))
        .route("/quotes", get(quotes::page))
        .route("/blocks", get(blocks::page))
        .route("/pipeline", get(pipeline::page))
        .route("/connect", get(connect::page))
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
