//! Who is connected now: channels of a pool's downstreams, or a translator's miners.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use sink_sqlite::query::{ConnectionView, Overview, SourceView};

use super::fault::PageError;
use super::shell::{Frame, Page, respond};
use super::{SourceQuery, numbers, sources};
use crate::state::AppState;

/// Rows that are listed; the page says how many there are beyond.
const MAX_LISTED: u32 = 100;

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<SourceQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = asked.of(&overview)?;
    let mut rows = match source.map(|source| source.publisher.clone()) {
        Some(publisher) => state.history.read(move |history| history.connections(&publisher, MAX_LISTED)).await?,
        None => Vec::new(),
    };
    if let Some(source) = source {
        state.redaction.connections(&source.publisher, &mut rows);
    }
    Ok(respond(StatusCode::OK, document(&overview, source, &rows)))
}

fn document(overview: &Overview, source: Option<&SourceView>, rows: &[ConnectionView]) -> Markup {
    let frame = Frame::new(Page::Connections, overview, source);
    let open = source.map_or(0, |source| source.channels_open + source.miners_open);
    let content = html! {
        (frame.heading(&html! { "Connections" }))
        @if let Some(source) = source {
            p.note.above {
                @if source.channels_open > 0 || source.downstreams > 0 {
                    (numbers::plural(source.channels_open, "channel")) " over " (numbers::plural(source.downstreams, "downstream")) ". "
                }
                @if source.miners_open > 0 { (numbers::plural(source.miners_open, "miner")) ". " }
                @if open > rows.len() as u64 { "The newest " (numbers::count(rows.len() as u64)) " are listed. " }
                @if sources::health_words(source, overview.now_ms).0 == "is-stale" {
                    "The source is silent: this is what was open when it was last heard."
                }
            }
        }
        @if rows.is_empty() {
            p.empty { "Nothing is connected." }
        } @else {
            (table(rows, &frame))
        }
    };
    frame.document("Connections", &content)
}

fn table(rows: &[ConnectionView], frame: &Frame<'_>) -> Markup {
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Open connections" {
            table {
                thead {
                    tr {
                        th scope="col" { "Worker" }
                        th scope="col" { "Connection" }
                        th.wide scope="col" { "Address" }
                        th.wide scope="col" { "Program" }
                        th.wide scope="col" { "Open since" }
                        th.number scope="col" { "Accepted" }
                        th.number.wide scope="col" { "Rejected" }
                        th.number.wide scope="col" { "Quotes" }
                        th scope="col" { "Last share" }
                    }
                }
                tbody {
                    @for row in rows {
                        @let kind = if row.is_miner { "miner" } else { "identity" };
                        @let worker = frame.address("/worker").with("name", row.name.as_str()).with("kind", kind);
                        tr data-key=(format!("{}/{:?}", row.connection_id, row.channel_id)) {
                            th scope="row" { a.name href=(worker.text()) { (numbers::untrusted(&row.name)) } }
                            td.wrap {
                                @match row.channel_id {
                                    Some(channel) => { "downstream " (row.connection_id) ", channel " (channel) }
                                    None => { "miner " (row.connection_id) }
                                }
                            }
                            td.wide { (numbers::untrusted(&row.address)) }
                            td.wide { (numbers::untrusted(&row.program)) }
                            td.wide { (numbers::moment(row.opened_ms)) }
                            td.number { (numbers::count(row.accepted)) }
                            td.number.wide { (numbers::count(row.rejected)) }
                            td.number.wide { (numbers::count(row.quotes)) }
                            td { (numbers::ago_or(row.last_share_ms, frame.now_ms, "never")) }
                        }
                    }
                }
            }
        }
    }
}
