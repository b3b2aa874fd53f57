//! What stands above every page while the sidecar itself is not ready: otherwise numbers that stand still would look like
//! the fault of their sources.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use maud::{Markup, html};
use sidecar_core::NotReady;

use super::numbers;
use super::shell::{Frame, Page};
use crate::api::status::not_ready;
use crate::security::redact::HIDDEN;
use crate::state::AppState;

tokio::task_local! {
    /// What is not ready while this request is answered. Error pages, which are made without the state, tell it too.
    static NOT_READY: Vec<NotReady>;
}

/// Finds out what is not ready, for the page that is made inside.
pub(super) async fn look(State(state): State<AppState>, request: Request, next: Next) -> Response {
    NOT_READY.scope(not_ready(&state), next.run(request)).await
}

/// The place of the banner, which is there on every page, so that what comes into it is read out.
pub(super) fn markup(frame: &Frame<'_>) -> Markup {
    let not_ready = NOT_READY.try_with(Clone::clone).unwrap_or_default();
    html! {
        div data-key="not-ready" role="status" {
            @if !not_ready.is_empty() {
                div.notice.is-bad {
                    p { strong { "The sidecar is not ready" } ": what is shown may stand still through no fault of the sources." }
                    @for NotReady { component, why } in &not_ready {
                        p { (numbers::visible(component)) @if !why.is_empty() && why != HIDDEN { ": " (numbers::visible(why)) } }
                    }
                    @if frame.page != Page::Pipeline { p { a href=(frame.address("/pipeline").text()) { "See the pipeline" } } }
                }
            }
        }
    }
}
