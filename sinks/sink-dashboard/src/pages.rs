//! The pages for people.

use axum::Router;
use axum::routing::get;

use crate::state::AppState;

/// Every page.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/", get(|| async { "The API is at /api/v1/summary\n" }))
}
