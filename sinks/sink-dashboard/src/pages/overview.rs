//! The first page: the sources' health first, then the hashrate with what it rests on, then everything else at a glance.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::{HASHES_PER_DIFFICULTY, Reading, luck, text};
use serde::Deserialize;
use sink_sqlite::query::{GroupView, Overview, SourceView, Totals, WindowReading};

use super::fault::PageError;
use super::graph::{Graph, GraphLinks, GraphSubject};
use super::marks::{MarkKind, Marks};
use super::query::Query;
use super::range::RangeQuery;
use super::shell::{Frame, Page, respond};
use super::sources::{self, group, is_miner_side};
use super::{SourceQuery, blocks, csv_link, numbers, of_source};
use crate::state::AppState;

/// The window of the large number.
const HERO_WINDOW: &str = "15m";
/// Lines of the list of what happened.
const MAX_HAPPENED: u32 = 12;

#[derive(Debug, Deserialize)]
pub(super) struct OverviewQuery {
    source: Option<String>,
    range: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    view: Option<String>,
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<OverviewQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = SourceQuery { source: asked.source }.of(&overview)?;
    let range = RangeQuery::new(asked.range.as_deref(), asked.from, asked.to);
    let graph = match source {
        Some(source) => Graph::ask(&state, source, GraphSubject::Source, range, None).await?,
        None => None,
    };
    let now_ms = state.now_ms();
    let story = of_source(&state, source, move |history, publisher| {
        let happened = Marks::of(history.marks(publisher, 0, u64::MAX, now_ms, MAX_HAPPENED)?, 0, now_ms);
        Ok(Story { begins_ms: history.begins(publisher)?, happened })
    });
    let story = story.await?;
    let as_table = asked.view.as_deref() == Some("table");
    Ok(respond(StatusCode::OK, document(&overview, source, graph.as_ref(), &story, as_table)))
}

/// What the whole history of the source says.
#[derive(Debug, Default)]
struct Story {
    /// Its first observed moment: what was sent later about an earlier time is in the totals.
    begins_ms: Option<u64>,
    happened: Marks,
}

/// The whole page.
fn document(
    overview: &Overview,
    source: Option<&SourceView>,
    graph: Option<&Graph>,
    story: &Story,
    as_table: bool,
) -> Markup {
    let frame = Frame::new(Page::Overview, overview, source);
    let content = html! {
        (damaged(overview))
        section aria-labelledby="sources" {
            div.section-head { h1 #sources.visually-hidden { "Overview" } }
            @if overview.sources.is_empty() {
                p.empty {
                    "No pool and no translator has connected yet. They appear here with their first event; "
                    code { "hashpool-sidecar simulate" } " plays one."
                }
            } @else {
                (sources::table(overview, source))
            }
        }
        @if let Some(source) = source { (about(source, graph, story, as_table, &frame)) }
    };
    frame.document("Overview", &content)
}

/// Files that were damaged took history with them.
fn damaged(overview: &Overview) -> Markup {
    html! {
        @if overview.damaged_files > 0 {
            p.notice.is-bad {
                (numbers::plural(overview.damaged_files, "damaged history file")) " had to be set aside: what they held is not on these pages."
            }
        }
    }
}

fn about(source: &SourceView, graph: Option<&Graph>, story: &Story, as_table: bool, frame: &Frame<'_>) -> Markup {
    let now_ms = frame.now_ms;
    let Some(group) = group(source) else {
        return html! {
            p.empty { (numbers::untrusted_inline(&source.publisher)) " has not told of any share yet." }
        };
    };
    let begins_ms = story.begins_ms.map_or(source.first_seen_ms, |begins_ms| begins_ms.min(source.first_seen_ms));
    let subject = if is_miner_side(source) { "miners" } else { "channels" };
    let links = GraphLinks {
        page: frame.address("/"),
        data: frame.address("/graph"),
        csv: frame.csv("/api/v1/series").with("subject", subject),
    };
    html! {
        section.section aria-labelledby="hashrate" data-ticks="" {
            div.section-head {
                h2 #hashrate { "Hashrate of " (numbers::untrusted_inline(&source.publisher)) }
                p { "measured from accepted shares over observed time" }
            }
            (glance(&group.windows))
        }
        section.section aria-labelledby="graphs" {
            h2 #graphs.visually-hidden { "Graphs" }
            @match graph {
                Some(graph) => { (graph.markup(&links, as_table)) }
                None => { p.empty { "Nothing to draw yet." } }
            }
        }
        section.section aria-labelledby="totals" {
            div.section-head {
                h2 #totals { "Since " (numbers::moment(begins_ms)) }
                p { "totals of the whole history; losses are not in them" }
            }
            dl.figures data-ticks="" { (figures(source, group, frame)) }
        }
        div.pair {
            section.section aria-labelledby="rejects" {
                div.section-head {
                    h2 #rejects { "Rejected shares by reason" }
                    (csv_link(&frame.csv("/api/v1/rejects").with("range", "all").with("subject", subject), 0))
                }
                (rejects_of(&group.totals))
            }
            section.section aria-labelledby="happened" {
                div.section-head { h2 #happened { "What happened" } p { "blocks, restarts, outages" } }
                (happenings(&story.happened, now_ms))
            }
        }
    }
}

/// The large number and the windows beside it.
pub(super) fn glance(windows: &[WindowReading]) -> Markup {
    let hero = windows.iter().find(|window| window.window == HERO_WINDOW).or(windows.first());
    let bounds = whisker_bounds(windows);
    html! {
        div.glance {
            div {
                @if let Some(hero) = hero {
                    p data-key="hero" {
                        span.hero-value { (large(&hero.reading)) }
                        span.basis { (numbers::basis(hero)) }
                        @if let Some(estimate) = hero.reading.measured() {
                            span.basis { "95 %: " (numbers::interval(estimate)) }
                        }
                    }
                }
            }
            dl.windows {
                @for window in windows {
                    div data-key=(window.window) {
                        dt { (window.window) }
                        dd {
                            span.words { (numbers::reading(&window.reading)) " " span.basis { (numbers::basis(window)) } }
                            (whisker(&window.reading, bounds))
                        }
                    }
                }
            }
        }
    }
}

/// Number and unit apart, so that the unit may be smaller.
fn large(reading: &Reading) -> Markup {
    match reading.measured().map(text::rate) {
        Some(rate) => {
            let (number, unit) = rate.split_once(' ').unwrap_or((rate.as_str(), ""));
            html! { (number) span.unit { " " (unit) } }
        }
        None => numbers::reading(reading),
    }
}

/// The scale that the whiskers of all windows share: what the most certain window says is in its middle third.
fn whisker_bounds(windows: &[WindowReading]) -> Option<(f64, f64)> {
    let estimates = windows.iter().filter_map(|window| window.reading.measured());
    let best = estimates.max_by(|a, b| a.effective_shares.total_cmp(&b.effective_shares))?;
    let (rate, low, high) =
        (best.rate.hashes_per_second(), best.low.hashes_per_second(), best.high.hashes_per_second());
    let half = ((high - low) * 1.5).max(rate * 0.5);
    Some((rate - half, rate + half))
}

/// An interval as a line with its middle, on the common scale.
fn whisker(reading: &Reading, bounds: Option<(f64, f64)>) -> Markup {
    let Some((estimate, (from, to))) = reading.measured().zip(bounds) else { return html! {} };
    let x = |rate: mining_stats::Hashrate| ((rate.hashes_per_second() - from) / (to - from) * 200.0).clamp(0.0, 200.0);
    let (low, middle, high) = (x(estimate.low), x(estimate.rate), x(estimate.high));
    html! {
        svg.whisker viewBox="0 0 200 12" preserveAspectRatio="none" role="img"
            aria-label=(format!("95 % interval {}", numbers::interval(estimate))) {
            path.scale d="M0,6H200" {}
            path.span d=(format!("M{low:.0},6H{:.0}", high.max(low + 1.0))) {}
            rect.middle x=(format!("{:.0}", (middle - 2.0).clamp(0.0, 196.0))) y="1" width="4" height="10" {}
        }
    }
}

fn figures(source: &SourceView, group: &GroupView, frame: &Frame<'_>) -> Markup {
    let totals = &group.totals;
    let miner_side = is_miner_side(source);
    let submitted = totals.accepted.saturating_add(totals.rejected);
    let workers = frame.address("/workers").text();
    let figure = |key: &str, name: &str, value: Markup, basis: Markup| {
        html! { div data-key=(key) { dt { (name) } dd { span.figure { (value) } span.basis { (basis) } } } }
    };
    html! {
        (figure("online", if miner_side { "Miners online" } else { "Workers online" },
            sources::online(source, frame.now_ms),
            html! {
                @if miner_side {
                    span data-miners="" { (numbers::plural(source.miners_open, "connection")) } ", " a href=(workers) { "all miners" }
                } @else {
                    span data-channels="" { (numbers::plural(source.channels_open, "channel")) } " over "
                    span data-downstreams="" { (numbers::plural(source.downstreams, "connection")) } ", "
                    a href=(workers) { "all workers" }
                }
            }))
        (figure("accepted", "Accepted shares", html! { (numbers::count(totals.accepted)) },
            html! {
                (part_of(totals.accepted, submitted))
                @if totals.invalid_target > 0 { ", " (numbers::count(totals.invalid_target)) " without a valid target" }
            }))
        (figure("rejected", "Rejected shares", html! { (numbers::count(totals.rejected)) },
            part_of(totals.rejected, submitted)))
        (figure("best", "Best share",
            html! {
                @match totals.best_share_difficulty {
                    Some(difficulty) => { (text::difficulty(difficulty)) }
                    None => { (numbers::unknown()) }
                }
            },
            best_share_basis(group)))
        (figure("blocks", "Blocks found", html! { (numbers::count(totals.blocks.max(source.blocks.len() as u64))) },
            html! {
                @match source.blocks.first() {
                    Some(block) => {
                        "last " (numbers::ago(block.found_ms, frame.now_ms))
                        @if let Some((_, took)) = blocks::took(source) { "; " (took) }
                    }
                    None => { "none since the history began" }
                }
            }))
        // The shares of a translator go to the rounds of its pool.
        @if source.role != "proxy" {
            (luck_figure(source, &figure))
            (time_to_block(source, group, &figure))
        }
        @if totals.quotes > 0 || !miner_side {
            (figure("ehash", "Ehash", html! { (numbers::digits(&totals.ehash)) },
                html! {
                    "asked for in " a href=(frame.address("/quotes").text()) { (numbers::plural(totals.quotes, "quote")) } ", "
                    (numbers::count(source.quotes.paid)) " paid"
                }))
        }
        @if !source.upstreams.is_empty() {
            (figure("upstream", "Upstream", html! { (numbers::count(source.upstreams.len() as u64)) " connected" },
                html! { @for address in &source.upstreams { (numbers::untrusted_inline(address)) " " } }))
        }
    }
}

/// A part in per cent and of how many; scripts let both tick together with the number above them.
pub(super) fn part_of(part: u64, whole: u64) -> Markup {
    html! {
        @match numbers::per_cent(part, whole) {
            Some(part) => { span data-part="" { (part) } " of " span data-whole="" { (numbers::count(whole)) } " submitted" }
            None => { "none was submitted" }
        }
    }
}

/// How likely a share this good is, among so much work.
fn best_share_basis(group: &GroupView) -> Markup {
    let totals = &group.totals;
    let Some(difficulty) = totals.best_share_difficulty else { return html! { "no share yet" } };
    let chance = luck::probability_of_best_share(totals.work_hashes, difficulty * HASHES_PER_DIFFICULTY);
    html! { "difficulty; " (numbers::chance(chance)) " chance of one this good in the work done" }
}

fn luck_figure(source: &SourceView, figure: &dyn Fn(&str, &str, Markup, Markup) -> Markup) -> Markup {
    match &source.round {
        Some(round) => figure(
            "round",
            "This round's effort",
            html! { (numbers::part(round.effort)) },
            html! {
                "of the expected work, since " (numbers::moment(round.since_ms)) "; by chance, "
                (numbers::chance(round.probability)) " of rounds take at least as much"
            },
        ),
        None => figure(
            "round",
            "This round's effort",
            html! { span.reading.is-unknown { "unknown" } },
            html! { "the network's target was not told" },
        ),
    }
}

fn time_to_block(
    source: &SourceView,
    group: &GroupView,
    figure: &dyn Fn(&str, &str, Markup, Markup) -> Markup,
) -> Markup {
    let day = group.windows.iter().find(|window| window.window == "1h").and_then(|window| window.reading.measured());
    let difficulty = source.tip.and_then(|tip| tip.difficulty);
    let (Some(estimate), Some(difficulty)) = (day, difficulty) else { return html! {} };
    let work = difficulty * HASHES_PER_DIFFICULTY;
    let Some(seconds) = luck::expected_seconds_to_block(work, estimate.rate) else { return html! {} };
    let within_day = luck::probability_of_block_within(86_400.0, work, estimate.rate);
    figure(
        "to-block",
        "Mean time to a block",
        html! { (numbers::long_time(seconds)) },
        html! { (numbers::chance(within_day)) " within a day, at the hashrate of 1h and difficulty " (text::difficulty(difficulty)) },
    )
}

/// Reject reasons, the most frequent first, with their share as a bar.
pub(super) fn rejects_of(totals: &Totals) -> Markup {
    let mut reasons: Vec<(&str, u64)> =
        totals.rejected_by_reason.iter().map(|(code, count)| (*code, *count)).filter(|(_, count)| *count > 0).collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let most = reasons.first().map_or(1, |(_, count)| *count).max(1);
    html! {
        @if reasons.is_empty() {
            p.note { "No share was rejected among " (numbers::count(totals.accepted)) " accepted." }
        } @else {
            ul.shares-of {
                @for (code, count) in &reasons {
                    li data-key=(code) {
                        span { (code) }
                        svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                            rect width=(format!("{:.1}", *count as f64 / most as f64 * 100.0)) height="4" {}
                        }
                        span.number { (numbers::count(*count)) }
                    }
                }
            }
        }
    }
}

fn happenings(happened: &Marks, now_ms: u64) -> Markup {
    let total: u64 = MarkKind::ALL.map(|kind| happened.total(kind)).iter().sum();
    html! {
        @if happened.list.is_empty() {
            p.note { "Nothing yet." }
        } @else {
            ul.events {
                @for mark in happened.list.iter().take(MAX_HAPPENED as usize) {
                    li { (numbers::ago(mark.at_ms, now_ms)) span.what { (mark.text) } }
                }
            }
            @if total > u64::from(MAX_HAPPENED) {
                p.note { "The latest " (MAX_HAPPENED) " of " (numbers::count(total)) "." }
            }
        }
    }
}
