//! The API for programs: `/api/v1`, described by `/api/v1/openapi.json`, which is made from this code.

mod activity;
mod connections;
pub(crate) mod csv;
pub(crate) mod cursor;
mod losses;
mod openapi;
pub(crate) mod pipeline;
pub(crate) mod problem;
pub(crate) mod query;
mod quote_report;
mod quotes;
pub(crate) mod range;
mod series;
pub(crate) mod shape;
pub(crate) mod status;
mod stream;
mod summary;
mod worker;
mod workers;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

/// Every path with a plain answer.
pub(crate) fn routes() -> Router<AppState> {
    let (router, _) = described().split_for_parts();
    router.merge(openapi::routes())
}

/// The streams.
pub(crate) fn stream_routes() -> Router<AppState> {
    Router::new().route("/api/v1/live", axum::routing::get(stream::live))
}

/// What `/` answers where there are no pages.
#[cfg(not(feature = "pages"))]
pub(crate) fn index() -> Router<AppState> {
    const INDEX: &str = "\
hashpool-sidecar dashboard, built without its pages
  /api/v1/summary        everything at a glance
  /api/v1/openapi.json   what else there is
";
    Router::new().route("/", axum::routing::get(async || INDEX))
}

/// The routes together with their descriptions.
fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(summary::summary))
        .routes(routes!(summary::sources))
        .routes(routes!(connections::downstreams))
        .routes(routes!(connections::channels))
        .routes(routes!(workers::workers))
        .routes(routes!(worker::worker))
        .routes(routes!(worker::connections))
        .routes(routes!(worker::shares))
        .routes(routes!(series::series))
        .routes(routes!(series::rejects))
        .routes(routes!(quotes::quotes))
        .routes(routes!(quote_report::report))
        .routes(routes!(quote_report::states))
        .routes(routes!(quote_report::latencies))
        .routes(routes!(quote_report::failures))
        .routes(routes!(quotes::ehash))
        .routes(routes!(quotes::blocks))
        .routes(routes!(activity::events))
        .routes(routes!(activity::alerts))
        .routes(routes!(status::health))
        .routes(routes!(status::pipeline))
        .routes(routes!(pipeline::sinks))
        .routes(routes!(pipeline::sessions))
        .routes(routes!(pipeline::dead_letters))
        .routes(routes!(losses::losses))
        .routes(routes!(stream::poll))
}
