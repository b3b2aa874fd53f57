//! Which path leads where, and what every request passes on its way.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use sidecar_http::Token;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::answers::{Answers, cached};
use crate::api::problem::Problem;
use crate::security::guard::{Guard, guard};
use crate::security::headers;
use crate::state::AppState;
use crate::{api, compat};

/// Bytes from which an answer is worth compressing: less goes in one packet anyhow.
const COMPRESSED_FROM: u16 = 1_024;

/// Everything that is served.
pub(crate) fn router(state: AppState, token: Option<Token>) -> Router {
    let door = Arc::new(Guard::new(&state.settings, token));
    let answers = Answers::new(Arc::clone(&state.clock));
    let routes = api::routes().merge(compat::routes());
    #[cfg(feature = "pages")]
    let routes = routes.merge(crate::pages::routes(&state));
    #[cfg(not(feature = "pages"))]
    let routes = routes.merge(api::index());
    // Inside of what is kept, so that an answer is compressed once and not for each client. No credential is ever in an
    // answer: the length of a compressed one leads to none (BREACH). What pages refer to was compressed by the build.
    let compressed =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(COMPRESSED_FROM));
    // Streams are not kept: they have no end.
    let routes = routes.layer(compressed).layer(from_fn_with_state(answers, cached)).merge(api::stream_routes());
    #[cfg(feature = "pages")]
    let routes = routes.merge(crate::pages::assets::routes());
    routes
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(from_fn_with_state(door, guard))
        .layer(from_fn(headers::add))
        .with_state(state)
}
