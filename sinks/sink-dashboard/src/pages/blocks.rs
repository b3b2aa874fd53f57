//! Blocks that the source found, the round that runs, and the network's tip.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::text;
use serde::Deserialize;
use sink_sqlite::query::{BlockView, LuckView, Overview, SourceView};

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
                        (numbers::moment(round.since_ms)) ", " (numbers::part(round.effort)) " of the expected work so far; by chance, "
                        (numbers::chance(round.probability)) " of rounds take at least as much"
                    }
                    None => { (numbers::unknown()) ", as the network's target was not told" }
                }
            }
            @if let Some((luck, took)) = took(source) {
                dt { "Luck" }
                dd {
                    (took) "; by chance, " (numbers::chance(luck.probability)) " of "
                    @if luck.blocks == 1 { "blocks" } @else { "such series" } " take at least as much"
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

/// What the last blocks took, in words; the shares of a translator go to the blocks of its pool.
pub(super) fn took(source: &SourceView) -> Option<(&LuckView, String)> {
    let luck = source.luck.as_ref().filter(|_| source.role != "proxy")?;
    let (known, all) = (u64::from(luck.blocks), source.blocks.len() as u64);
    let which = match known {
        1 if all == 1 => "the last block".to_owned(),
        1 => format!("the one of the last {} blocks whose effort is known", numbers::count(all)),
        _ if known == all => format!("the last {} blocks", numbers::count(all)),
        _ => format!("the {} of the last {} blocks whose effort is known", numbers::count(known), numbers::count(all)),
    };
    let average = if known == 1 { "" } else { " on average" };
    Some((luck, format!("{which} took {} of the expected work{average}", numbers::part(luck.mean_effort))))
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
                        th.number scope="col" { "Effort" }
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
                            td.number {
                                @match block.effort { Some(effort) => { (numbers::part(effort)) } None => { (numbers::unknown()) } }
                            }
                            td { (identity(block.identity.as_deref(), frame)) }
                            td.wide { @match &block.block_hash { Some(hash) => { code { (hash) } } None => { (numbers::unknown()) } } }
                        }
                    }
                }
            }
        }
    }
}
