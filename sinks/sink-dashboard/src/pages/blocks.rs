//! Blocks that the source found, the round that runs, and the network's tip.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::text;
use sink_sqlite::query::{BlockView, Overview, SourceView};

use super::fault::PageError;
use super::query::Query;
use super::shell::{Frame, Page, respond};
use super::workers::identity;
use super::{SourceQuery, csv_link, numbers, of_source};
use crate::state::AppState;

/// Blocks that are listed.
const MAX_LISTED: u32 = 200;

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<SourceQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = asked.of(&overview)?;
    let mut rows = of_source(&state, source, |history, publisher| history.blocks(publisher, MAX_LISTED)).await?;
    if let Some(source) = source {
        state.redaction.blocks(&source.publisher, &mut rows);
    }
    Ok(respond(StatusCode::OK, document(&overview, source, &rows)))
}

fn document(overview: &Overview, source: Option<&SourceView>, rows: &[BlockView]) -> Markup {
    let frame = Frame::new(Page::Blocks, overview, source);
    let content = html! {
        (frame.heading(&html! { "Blocks" }))
        @if let Some(source) = source { (round(source)) }
        section.section aria-labelledby="found" {
            div.section-head {
                h2 #found { "Found by this source" }
                p {
                    @let (listed, found) = (rows.len() as u64, source.map_or(0, found));
                    @if listed < found { "the newest " (numbers::count(listed)) " of " (numbers::count(found)) " found" }
                    @else { (numbers::plural(listed, "block")) }
                    ", the latest first"
                }
                @if !rows.is_empty() { (csv_link(&frame.csv("/api/v1/blocks"))) }
            }
            @if rows.is_empty() {
                p.empty { "None since the history began. A new tip of the network is not a block of this source." }
            } @else {
                (table(rows, &frame))
            }
        }
    };
    frame.document("Blocks", &content)
}

/// Blocks since the history began.
fn found(source: &SourceView) -> u64 {
    source.channels.as_ref().map_or(0, |channels| channels.totals.blocks)
}

fn round(source: &SourceView) -> Markup {
    html! {
        dl.facts {
            dt { "Round since" }
            dd {
                @match &source.round {
                    _ if source.role == "proxy" => { "not here: its shares go to the rounds of its pool" }
                    Some(round) => {
                        (numbers::moment(round.since_ms)) ", " (numbers::part(round.effort)) " of the mean effort; "
                        (numbers::chance(round.probability)) " of rounds take at least this much"
                    }
                    None => { (numbers::unknown()) ", as the network's target was not told" }
                }
            }
            dt { "Network tip" }
            dd {
                @match &source.tip {
                    Some(tip) => {
                        "height " (numbers::count(tip.height.into())) " at " (numbers::moment(tip.at_ms))
                        @if let Some(difficulty) = tip.difficulty { ", difficulty " (text::difficulty(difficulty)) }
                    }
                    None => { (numbers::unknown()) }
                }
            }
        }
    }
}

fn table(rows: &[BlockView], frame: &Frame<'_>) -> Markup {
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Blocks" {
            table {
                thead {
                    tr {
                        th scope="col" { "Height" }
                        th scope="col" { "Found" }
                        th.wide scope="col" { "At" }
                        th scope="col" { "By" }
                        th.wide scope="col" { "Hash" }
                    }
                }
                tbody {
                    @for block in rows {
                        tr data-key=(format!("{} {}", block.found_ms, block.block_hash.as_deref().unwrap_or_default())) {
                            th scope="row" { @if block.height > 0 { (numbers::count(block.height.into())) } @else { (numbers::unknown()) } }
                            td { (numbers::ago(block.found_ms, frame.now_ms)) }
                            td.wide { (numbers::moment(block.found_ms)) }
                            td { (identity(block.identity.as_deref(), frame)) }
                            td.wide { @match &block.block_hash { Some(hash) => { code { (hash) } } None => { (numbers::unknown()) } } }
                        }
                    }
                }
            }
        }
    }
}
