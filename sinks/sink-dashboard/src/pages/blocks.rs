//! Blocks that the source found, the round that runs, and the network's tip.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::text;
use serde::Deserialize;
use sink_sqlite::query::{BlockView, Overview, SourceView};

use super::fault::PageError;
use super::query::Query;
use super::shell::{Frame, Page, respond};
use super::turn::Turn;
use super::workers::identity;
use super::{SourceQuery, csv_link, numbers, of_source};
use crate::state::AppState;

/// Rows of one page.
const PAGE_ROWS: usize = 50;

/// What is asked, as it stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct BlocksQuery {
    source: Option<String>,
    page: Option<usize>,
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<BlocksQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = SourceQuery { source: asked.source }.of(&overview)?;
    let (found, mut rows) = of_source(&state, source, move |history, publisher| {
        let found = history.blocks_total(publisher)?;
        let turn = Turn::new(asked.page, found as usize, PAGE_ROWS);
        Ok((found, history.blocks(publisher, &turn.part())?))
    })
    .await?;
    if let Some(source) = source {
        state.redaction.blocks(&source.publisher, &mut rows);
    }
    let turn = Turn::new(asked.page, found as usize, PAGE_ROWS);
    Ok(respond(StatusCode::OK, document(&overview, source, &rows, found, turn)))
}

/// `found`: blocks on all pages.
fn document(overview: &Overview, source: Option<&SourceView>, rows: &[BlockView], found: u64, turn: Turn) -> Markup {
    let frame = Frame::new(Page::Blocks, overview, source);
    let content = html! {
        (frame.heading(&html! { "Blocks" }))
        @if let Some(source) = source { (round(source)) }
        section.section aria-labelledby="found" {
            div.section-head {
                h2 #found { "Found by this source" }
                p { (numbers::plural(found, "block")) ", the latest first" }
                @if found > 0 { (csv_link(&frame.csv("/api/v1/blocks"), found)) }
            }
            @if rows.is_empty() {
                p.empty { "None since the history began. A new tip of the network is not a block of this source." }
            } @else {
                (table(rows, &frame))
                (turn.markup("blocks", |page| {
                    frame.address("/blocks").with_some("page", (page > 1).then(|| page.to_string())).text()
                }))
            }
        }
    };
    frame.document("Blocks", &content)
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
            @if let Some(luck) = source.luck.as_ref().filter(|_| source.role != "proxy") {
                dt { "Luck" }
                dd {
                    @let rounds = u64::from(luck.blocks);
                    @if rounds == 1 { "the round of the last block took " }
                    @else { "the rounds of the last " (numbers::count(rounds)) " blocks took " }
                    (numbers::part(luck.mean_effort)) " of the mean effort" @if rounds > 1 { " on average" } "; "
                    (numbers::chance(luck.probability)) " of " @if rounds > 1 { "so many " } "rounds take at least this much"
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
                        th.number scope="col" { "Effort" }
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
                            td.number {
                                @match block.effort { Some(effort) => { (numbers::part(effort)) } None => { (numbers::unknown()) } }
                            }
                            td.wide { @match &block.block_hash { Some(hash) => { code { (hash) } } None => { (numbers::unknown()) } } }
                        }
                    }
                }
            }
        }
    }
}
