//! One worker or miner: its hashrate measured beside declared, rejects, connections and reconnects, and its latest shares.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::text;
use serde::Deserialize;
use sink_sqlite::History;
use sink_sqlite::query::{QueryError, SourceView, Subject, WorkerDetail};

use super::address::Address;
use super::fault::PageError;
use super::graph::{Graph, GraphLinks, GraphSubject};
use super::overview::{glance, part_of, rejects_of};
use super::presence::Heard;
use super::query::Query;
use super::range::RangeQuery;
use super::shell::{Frame, Page, respond};
use super::workers::{self, declared};
use super::{SourceQuery, csv_link, numbers};
use crate::api::range;
use crate::history::ReadError;
use crate::live::message::WorkerKind;
use crate::live::recent::RecentShare;
use crate::state::AppState;

/// Connections that are listed, past ones included.
const MAX_CONNECTIONS: u32 = 50;

#[derive(Debug, Deserialize)]
pub(super) struct WorkerQuery {
    source: Option<String>,
    name: String,
    kind: Option<String>,
    range: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    view: Option<String>,
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<WorkerQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let now_ms = overview.now_ms;
    let range = RangeQuery::new(asked.range.as_deref(), asked.from, asked.to);
    let unknown = || PageError::Unknown { what: asked.name.clone() };
    let source = SourceQuery { source: asked.source.clone() }.of(&overview)?.ok_or_else(unknown)?;
    let is_miner = asked.kind.as_deref() == Some("miner");
    let name = real_name(&state, source, asked.name.clone(), is_miner).await?;
    let subject = if is_miner { Subject::MinerName(name.clone()) } else { Subject::Identity(name.clone()) };
    let publisher = source.publisher.clone();
    let read = state.history.read(move |history| history.worker(&publisher, &subject, now_ms, MAX_CONNECTIONS)).await;
    let mut worker = match read {
        Err(ReadError::Query(QueryError::UnknownSubject { .. })) => return Err(unknown()),
        other => other?,
    };
    let kind = if is_miner { WorkerKind::Miner } else { WorkerKind::Identity };
    let shares = state.live.recent_shares(&source.publisher, kind, &name);
    let graph =
        Graph::ask(&state, source, GraphSubject::Worker { name, is_miner }, range, Some(worker.first_seen_ms)).await?;
    state.redaction.worker(&source.publisher, &mut worker);
    let frame = Frame::new(Page::Workers, &overview, Some(source));
    let as_table = asked.view.as_deref() == Some("table");
    Ok(respond(StatusCode::OK, document(&frame, &worker, &shares, graph.as_ref(), as_table)))
}

/// The name in the history of a worker that is shown by this name. Where names are shown nothing is read for it.
pub(super) async fn real_name(
    state: &AppState,
    source: &SourceView,
    shown: String,
    is_miner: bool,
) -> Result<String, PageError> {
    if state.redaction.shows_names() {
        return Ok(shown);
    }
    let (publisher, redaction) = (source.publisher.clone(), Arc::clone(&state.redaction));
    let kind = if is_miner { WorkerKind::Miner } else { WorkerKind::Identity };
    let read = move |history: &History| range::real_name(history, &publisher, kind, shown, &redaction);
    Ok(state.history.read(read).await?)
}

fn document(
    frame: &Frame<'_>,
    worker: &WorkerDetail,
    shares: &[RecentShare],
    graph: Option<&Graph>,
    as_table: bool,
) -> Markup {
    let now_ms = frame.now_ms;
    let kind = workers::kind(worker.is_miner);
    let of_worker = |address: Address, of: &'static str| address.with("name", worker.name.as_str()).with(of, kind);
    let links = GraphLinks {
        page: of_worker(frame.address("/worker"), "kind"),
        data: of_worker(frame.address("/graph"), "kind").with("begins", worker.first_seen_ms.to_string()),
        csv: of_worker(frame.csv("/api/v1/series"), "subject"),
    };
    let heard = frame.source.map(|source| Heard::of(source, now_ms)).unwrap_or_default();
    let totals = &worker.totals;
    let submitted = totals.accepted.saturating_add(totals.rejected);
    let figure = |key: &str, name: &str, value: Markup, basis: Markup| {
        html! { div data-key=(key) { dt { (name) } dd { span.figure { (value) } span.basis { (basis) } } } }
    };
    let content = html! {
        (frame.heading(&html! { (numbers::untrusted_inline(&worker.name)) }))
        (glance(&worker.windows))
        section.section aria-label="Numbers" { dl.figures {
            (figure("declared", "Declared hashrate", declared(worker.declared_hashrate),
                html! { @if worker.is_miner { "by vardiff, not measured" } @else { "by the miner, not measured" } }))
            (figure("state", "State", html! { (heard.words(worker.presence, worker.open, worker.is_miner)) }, html! {
                "last share " (numbers::ago_or(worker.last_share_ms, now_ms, "never"))
            }))
            (figure("accepted", "Accepted shares", html! { (numbers::count(totals.accepted)) },
                html! { "since " (numbers::moment(worker.first_seen_ms)) }))
            (figure("rejected", "Rejected shares", html! { (numbers::count(totals.rejected)) },
                part_of(totals.rejected, submitted)))
            (figure("best", "Best share",
                html! {
                    @match totals.best_share_difficulty { Some(best) => { (text::difficulty(best)) } None => { (numbers::unknown()) } }
                },
                html! { "difficulty; since " (numbers::moment(worker.first_seen_ms)) }))
            (figure("target", "Share difficulty",
                html! {
                    @match worker.difficulty { Some(target) => { (text::difficulty(target)) } None => { (numbers::unknown()) } }
                },
                html! { "of the target in force" }))
            @if totals.quotes > 0 {
                (figure("ehash", "Ehash", html! { (numbers::digits(&totals.ehash)) },
                    html! { "in " (numbers::plural(totals.quotes, "quote")) }))
            }
        } }
        section.section aria-labelledby="graphs" {
            h2 #graphs.visually-hidden { "Graphs" }
            @match graph {
                Some(graph) => { (graph.markup(&links, as_table)) }
                None => { p.empty { "Nothing to draw yet." } }
            }
        }
        div.pair.is-uneven {
            section.section aria-labelledby="rejects" {
                div.section-head {
                    h2 #rejects { "Rejected shares by reason" }
                    (csv_link(&of_worker(frame.csv("/api/v1/rejects").with("range", "all"), "subject"), 0))
                }
                (rejects_of(totals))
            }
            section.section aria-labelledby="about" {
                div.section-head {
                    h2 #about { "Connections and reconnects" }
                    p {
                        (numbers::plural(worker.connections_total, "connection")) ", " (numbers::count(worker.open)) " open"
                        @if worker.connections_total > u64::from(MAX_CONNECTIONS) { "; the latest " (MAX_CONNECTIONS) " are listed" }
                    }
                    (csv_link(&of_worker(frame.csv("/api/v1/worker/connections"), "kind"), worker.connections_total))
                }
                (connections(worker, now_ms))
            }
        }
        section.section aria-labelledby="shares" {
            div.section-head {
                h2 #shares { "Latest shares" }
                p { "since the sidecar started, the latest first" }
                @if !shares.is_empty() { (csv_link(&of_worker(frame.csv("/api/v1/worker/shares"), "kind"), 0)) }
            }
            (share_log(shares, now_ms))
        }
    };
    frame.document(&numbers::visible(&worker.name), &content)
}

fn connections(worker: &WorkerDetail, now_ms: u64) -> Markup {
    html! {
        @if let Some(program) = &worker.user_agent {
            p.note { "Program: " (numbers::untrusted_inline(program)) }
        }
        @if worker.connections.is_empty() {
            p.note { "None is known." }
        } @else {
            div.frame tabindex="0" role="region" aria-label="Table: Connections" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Opened" }
                            th scope="col" { "For" }
                            th.wide scope="col" { "Address" }
                            th.number scope="col" { "Accepted" }
                            th.number scope="col" { "Rejected" }
                            th.wide scope="col" { "Closed because" }
                        }
                    }
                    tbody {
                        @for connection in &worker.connections {
                            tr {
                                th scope="row" { (numbers::moment(connection.opened_ms)) }
                                td {
                                    @let end = connection.closed_ms.unwrap_or(now_ms);
                                    (numbers::length(end.saturating_sub(connection.opened_ms)))
                                    @if connection.closed_ms.is_none() { ", open" }
                                }
                                td.wide { (numbers::untrusted(&connection.address)) }
                                td.number { (numbers::count(connection.accepted)) }
                                td.number { (numbers::count(connection.rejected)) }
                                td.wide {
                                    @match (&connection.reason, connection.closed_ms) {
                                        (_, None) => { span.note { "open" } }
                                        (Some(reason), _) if !reason.is_empty() => { (numbers::untrusted(reason)) }
                                        _ => { (numbers::unknown()) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn share_log(shares: &[RecentShare], now_ms: u64) -> Markup {
    let difficulty = |number: Option<f64>| html! { @match number { Some(number) => { (text::difficulty(number)) } None => { span.note { "none" } } } };
    html! {
        @if shares.is_empty() {
            p.note { "None since the sidecar started." }
        } @else {
            div.frame tabindex="0" role="region" aria-label="Table: Latest shares" {
                table {
                    thead {
                        tr {
                            th scope="col" { "When" }
                            th scope="col" { "Verdict" }
                            th.number scope="col" { "Difficulty asked" }
                            th.number scope="col" { "Reached" }
                        }
                    }
                    tbody {
                        @for share in shares {
                            tr {
                                th scope="row" { (numbers::ago(share.at_ms, now_ms)) }
                                td {
                                    @if share.accepted { "accepted" }
                                    @else { span.health.is-lossy { (share.error_code.unwrap_or("rejected")) } }
                                }
                                td.number { (difficulty(share.difficulty)) }
                                td.number { (difficulty(share.share_difficulty)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
