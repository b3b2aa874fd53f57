//! The paths that hashpool's pages read (web-pool and web-proxy), and those of the original design, in their shapes.
//!
//! What differs from the originals, on purpose: an error is an error with its status, never zeros with 200; a gap in a
//! hashrate is `null`; facts about the source that nobody told are `null`. Where the two have one path with different
//! parameters (`/api/hashrate`, `/api/miners`, `/api/stats`) one endpoint takes either and answers the fields of both.

mod facts;
mod hashrate;
mod miners;
mod pool;
#[cfg(test)]
mod tests;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

pub(crate) fn routes() -> Router<AppState> {
    described().split_for_parts().0
}

/// The routes together with their descriptions.
pub(crate) fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(pool::stats))
        .routes(routes!(pool::services))
        .routes(routes!(pool::connections))
        .routes(routes!(pool::pool))
        .routes(routes!(pool::health))
        .routes(routes!(hashrate::hashrate))
        .routes(routes!(hashrate::downstream))
        .routes(routes!(miners::miners))
}
