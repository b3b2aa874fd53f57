//! Who is connected now: a pool's downstreams and the channels over them, or a translator's miners.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::text;
use serde::Deserialize;
use sink_sqlite::query::{ConnectionView, DownstreamView, SourceView, WindowReading};

use super::fault::PageError;
use super::query::Query;
use super::shell::{Frame, Page, respond};
use super::turn::Turn;
use super::workers::{self, declared};
use super::{SourceQuery, csv_link, numbers, of_source, sources};
use crate::state::AppState;

/// Rows of one page of either table.
const PAGE_ROWS: usize = 25;
/// Channels of a downstream that are told by number.
const MAX_NAMED: usize = 4;

/// What is asked, as it stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectionsQuery {
    source: Option<String>,
    /// Page of the channels and miners.
    page: Option<usize>,
    /// Page of the downstreams.
    downstreams: Option<usize>,
}

/// A page of a list with its place in it.
#[derive(Debug)]
struct Listed<T> {
    rows: Vec<T>,
    turn: Turn,
    /// Rows on all pages.
    all: u64,
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<ConnectionsQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = SourceQuery { source: asked.source }.of(&overview)?;
    let open = source.map_or(0, |source| source.channels_open + source.miners_open);
    let below = source.map_or(0, |source| source.downstreams);
    let channels = Turn::new(asked.page, open as usize, PAGE_ROWS);
    let downstreams = Turn::new(asked.downstreams, below as usize, PAGE_ROWS);
    let now_ms = overview.now_ms;
    let (mut rows, mut lower) = of_source(&state, source, move |history, publisher| {
        let rows = history.connections(publisher, Some(now_ms), &channels.part())?;
        let lower =
            if below > 0 { history.downstreams(publisher, Some(now_ms), &downstreams.part())? } else { Vec::new() };
        Ok((rows, lower))
    })
    .await?;
    if let Some(source) = source {
        state.redaction.connections(&source.publisher, &mut rows);
        state.redaction.downstreams(&mut lower);
    }
    let frame = Frame::new(Page::Connections, &overview, source);
    let channels = Listed { rows, turn: channels, all: open };
    let downstreams = Listed { rows: lower, turn: downstreams, all: below };
    Ok(respond(StatusCode::OK, document(&frame, &channels, &downstreams)))
}

fn document(frame: &Frame<'_>, channels: &Listed<ConnectionView>, downstreams: &Listed<DownstreamView>) -> Markup {
    // Each table is turned by itself; the other one stays where it is.
    let to = |page: usize, below: usize| {
        let some = |page: usize| (page > 1).then(|| page.to_string());
        frame.address("/connections").with_some("page", some(page)).with_some("downstreams", some(below)).text()
    };
    let (page, below) = (channels.turn.page, downstreams.turn.page);
    let has_miners = frame.source.is_some_and(|source| source.miners_open > 0);
    let has_channels = frame.source.is_some_and(|source| source.channels_open > 0);
    let name = if has_miners && !has_channels { "miners" } else { "channels" };
    let content = html! {
        (frame.heading(&html! { "Connections" }))
        @if let Some(source) = frame.source { (summary(source, frame.now_ms)) }
        @if channels.all == 0 && downstreams.all == 0 {
            p.empty { "Nothing is connected." }
        }
        @if downstreams.all > 0 {
            section.section aria-labelledby="downstreams" {
                div.section-head {
                    h2 #downstreams { "Downstreams" }
                    p { "counts are of the channels that are open now" }
                    (csv_link(&frame.csv("/api/v1/downstreams"), downstreams.all))
                }
                (downstream_table(&downstreams.rows, frame.now_ms))
                (downstreams.turn.markup("downstreams", |below| to(page, below)))
            }
        }
        @if channels.all > 0 {
            section.section aria-labelledby="channels" {
                div.section-head {
                    h2 #channels { (name) }
                    p { "the newest first; counts are since each opened" }
                    (csv_link(&frame.csv("/api/v1/channels"), channels.all))
                }
                (channel_table(&channels.rows, name, frame))
                (channels.turn.markup(name, |page| to(page, below)))
            }
        }
    };
    frame.document("Connections", &content)
}

fn summary(source: &SourceView, now_ms: u64) -> Markup {
    html! {
        p.note {
            @if source.channels_open > 0 || source.downstreams > 0 {
                (numbers::plural(source.channels_open, "channel")) " over " (numbers::plural(source.downstreams, "downstream")) ". "
            }
            @if source.miners_open > 0 { (numbers::plural(source.miners_open, "miner")) ". " }
            @if sources::health_words(source, now_ms).0 == "is-stale" {
                "The source is silent: this is what was open when it was last heard."
            }
        }
    }
}

fn downstream_table(rows: &[DownstreamView], now_ms: u64) -> Markup {
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Downstreams" {
            table {
                thead {
                    tr {
                        th scope="col" { "Downstream" }
                        th.wide scope="col" { "Program" }
                        th.wide scope="col" { "Hardware" }
                        th.wide scope="col" { "Device" }
                        th.wide scope="col" { "Connected since" }
                        th scope="col" { "Channels" }
                        th.number scope="col" { "Hashrate, 15m" }
                        th.number.wide scope="col" { "Declared" }
                        th.number.wide scope="col" { "Accepted" }
                        th.number.wide scope="col" { "Rejected" }
                        th scope="col" { "Last share" }
                    }
                }
                tbody {
                    @for row in rows {
                        tr data-key=(format!("{} {}", row.downstream_id, row.connected_ms)) {
                            th scope="row" {
                                (row.downstream_id)
                                @if !row.address.is_empty() { span.basis { (numbers::untrusted_inline(&row.address)) } }
                            }
                            td.wide { (told(format!("{} {}", row.vendor, row.firmware).trim())) }
                            td.wide { (told(&row.hardware_version)) }
                            td.wide { (told(&row.device_id)) }
                            td.wide { (numbers::moment(row.connected_ms)) }
                            td.wrap { (channel_numbers(&row.channels)) }
                            td.number { (measured(row.window.as_ref())) (declared_narrow(row.declared_hashrate)) }
                            td.number.wide { (declared(row.declared_hashrate)) }
                            td.number.wide { (numbers::count(row.accepted)) }
                            td.number.wide { (numbers::count(row.rejected)) }
                            td { (numbers::ago_or(row.last_share_ms, now_ms, "never")) }
                        }
                    }
                }
            }
        }
    }
}

/// A hashrate with what it rests on.
fn measured(window: Option<&WindowReading>) -> Markup {
    match window {
        Some(window) => html! { (numbers::reading(&window.reading)) span.basis { (numbers::basis(window)) } },
        None => html! { span.note { "not measured" } },
    }
}

/// What is declared, below what is measured on screens that have no room for its column.
fn declared_narrow(rate: Option<u64>) -> Markup {
    html! { span.basis.narrow { "declared " (declared(rate)) } }
}

/// What a downstream says about itself, if it does.
fn told(text: &str) -> Markup {
    if text.is_empty() {
        html! { span.note { "not told" } }
    } else {
        numbers::untrusted(text)
    }
}

fn channel_numbers(channels: &[u32]) -> String {
    let named: Vec<String> = channels.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    match (channels.len() as u64, channels.len().saturating_sub(MAX_NAMED) as u64) {
        (0, _) => "none".to_owned(),
        (1, _) => format!("number {}", named.join("")),
        (all, 0) => format!("{all}: {}", named.join(", ")),
        (all, more) => format!("{}: {} and {} more", numbers::count(all), named.join(", "), numbers::count(more)),
    }
}

fn channel_table(rows: &[ConnectionView], name: &str, frame: &Frame<'_>) -> Markup {
    // A miner of a translator has none: its shares are paid upstream.
    let has_quotes = rows.iter().any(|row| !row.is_miner);
    // Channels are measured by downstream and by name.
    let has_miners = rows.iter().any(|row| row.is_miner);
    html! {
        div.frame tabindex="0" role="region" aria-label=(format!("Table: open {name}")) {
            table {
                thead {
                    tr {
                        th scope="col" { @if has_quotes { "Worker" } @else { "Miner" } }
                        th.wide scope="col" { "Connection" }
                        th.wide scope="col" { "Address" }
                        th.wide scope="col" { "Program" }
                        th.wide scope="col" { "Open since" }
                        @if has_miners { th.number scope="col" { "Hashrate, 15m" } }
                        th.number.wide scope="col" { "Declared" }
                        th.number.wide scope="col" { "Difficulty" }
                        th.number scope="col" { "Accepted" }
                        th.number.wide scope="col" { "Rejected" }
                        @if has_quotes { th.number.wide scope="col" { "Quotes" } }
                        th scope="col" { "Last share" }
                    }
                }
                tbody {
                    @for row in rows {
                        @let worker = workers::address(&row.name, row.is_miner, frame);
                        tr data-key=(format!("{}/{:?}", row.connection_id, row.channel_id)) {
                            th scope="row" { a.name href=(worker.text()) { (numbers::untrusted(&row.name)) } }
                            td.wide {
                                @match row.channel_id {
                                    Some(channel) => { "downstream " (row.connection_id) ", channel " (channel) }
                                    None => { "miner " (row.connection_id) }
                                }
                            }
                            td.wide { (told(&row.address)) }
                            td.wide { (told(&row.program)) }
                            td.wide { (numbers::moment(row.opened_ms)) }
                            @if has_miners { td.number { (measured(row.window.as_ref())) (declared_narrow(row.declared_hashrate)) } }
                            td.number.wide { (declared(row.declared_hashrate)) }
                            td.number.wide {
                                @match row.difficulty { Some(target) => { (text::difficulty(target)) } None => { (numbers::unknown()) } }
                            }
                            td.number { (numbers::count(row.accepted)) }
                            td.number.wide { (numbers::count(row.rejected)) }
                            @if has_quotes { td.number.wide { (numbers::count(row.quotes)) } }
                            td { (numbers::ago_or(row.last_share_ms, frame.now_ms, "never")) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_of_a_downstream_are_named_or_counted() {
        assert_eq!(channel_numbers(&[]), "none");
        assert_eq!(channel_numbers(&[7]), "number 7");
        assert_eq!(channel_numbers(&[7, 9]), "2: 7, 9");
        assert_eq!(channel_numbers(&(1..=1_008).collect::<Vec<_>>()), "1,008: 1, 2, 3, 4 and 1,004 more");
    }
}
