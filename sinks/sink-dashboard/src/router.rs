//! Which path leads where, and what every request passes on its way.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use sidecar_http::Token;

use crate::answers::{Answers, cached};
use crate::api::problem::Problem;
use crate::security::guard::{Guard, guard};
use crate::security::headers;
use crate::state::AppState;
use crate::{api, compat};

/// Everything that is served.
pub(crate) fn router(state: AppState, token: Option<Token>) -> Router {
    let door = Arc::new(Guard::new(&state.settings, token));
    let answers = Answers::new(Arc::clone(&state.clock));
    let routes = api::routes().merge(compat::routes());
    #[cfg(feature = "pages")]
    let routes = routes.merge(crate::pages::routes());
    #[cfg(not(feature = "pages"))]
    let routes = routes.merge(api::index());
    // Streams are not kept: they have no end.
    let routes = routes.layer(from_fn_with_state(answers, cached)).merge(api::stream_routes());
    #[cfg(feature = "pages")]
    let routes = routes.merge(crate::pages::assets::routes());
    routes
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(from_fn_with_state(door, guard))
        .layer(from_fn(headers::add))
        .with_state(state)
}
