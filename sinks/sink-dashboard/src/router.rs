//! Which path leads where.

use axum::Router;

use crate::state::AppState;

/// Everything that is served.
pub(crate) fn router(state: AppState) -> Router {
    let routes = Router::new();
    #[cfg(feature = "pages")]
    let routes = routes.merge(crate::pages::routes());
    routes.with_state(state)
}
