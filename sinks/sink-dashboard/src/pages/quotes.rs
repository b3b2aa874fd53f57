//! Quotes: how many stand at which step, how long answers take, what failed, and the latest ones.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use sink_sqlite::query::{QuoteFilter, QuoteFlow, QuotePlace, QuoteReport, QuoteStage, QuoteState, QuoteView};

use super::fault::PageError;
use super::query::Query;
use super::shell::{Frame, Page, respond};
use super::workers::identity;
use super::{SourceQuery, csv_link, numbers, of_source};
use crate::api::cursor;
use crate::state::AppState;

/// Rows of a page.
const PAGE_ROWS: u32 = 50;
/// Latencies and failures are told of this long.
const WINDOW_MS: u64 = 86_400_000;

#[derive(Debug, Deserialize)]
pub(super) struct QuotesQuery {
    source: Option<String>,
    /// The list begins after the quote with this latest fact, in Unix milliseconds...
    before: Option<u64>,
    /// ... and this number, as several may have the same time.
    number: Option<u64>,
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<QuotesQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = SourceQuery { source: asked.source }.of(&overview)?;
    let before = asked.before.map(|noted_ms| QuotePlace { noted_ms, number: asked.number.unwrap_or(0) });
    let (filter, now_ms) = (QuoteFilter { before, ..QuoteFilter::default() }, overview.now_ms);
    let mut quotes = of_source(&state, source, move |history, publisher| {
        let report = history.quote_report(publisher, WINDOW_MS, now_ms)?;
        Ok(Some((report, history.quote_page(publisher, &filter, PAGE_ROWS + 1)?)))
    })
    .await?;
    let mut has_older = false;
    if let (Some(source), Some((_, rows))) = (source, &mut quotes) {
        has_older = rows.len() > PAGE_ROWS as usize;
        rows.truncate(PAGE_ROWS as usize);
        state.redaction.quotes(&source.publisher, rows);
    }
    let frame = Frame::new(Page::Quotes, &overview, source);
    Ok(respond(StatusCode::OK, document(&frame, quotes.as_ref(), before, has_older)))
}

/// `before`: the list begins behind that place and not with the latest.
fn document(
    frame: &Frame<'_>,
    quotes: Option<&(QuoteReport, Vec<QuoteView>)>,
    before: Option<QuotePlace>,
    has_older: bool,
) -> Markup {
    let is_older = before.is_some();
    let known = quotes.map_or(0, |(report, _)| report.by_state.iter().map(|view| view.count).sum());
    let rows = quotes.map_or(&[][..], |(_, rows)| rows.as_slice());
    let content = html! {
        (frame.heading(&html! { "Quotes" }))
        @if let Some((report, _)) = quotes {
            (steps(report))
            p.note.below {
                "Quotes since the history began, each in the state that it has now. "
                (csv_link(&frame.csv("/api/v1/quotes/states"), 0))
            }
            div.pair {
                section.section aria-labelledby="latency" {
                    div.section-head {
                        h2 #latency { "How long it took" }
                        p { "quotes of the last day" }
                        (csv_link(&frame.csv("/api/v1/quotes/latencies"), 0))
                    }
                    (latencies(&report.window))
                }
                section.section aria-labelledby="failures" {
                    div.section-head {
                        h2 #failures { "What went wrong" }
                        p { "in the last day" }
                        (csv_link(&frame.csv("/api/v1/quotes/failures"), 0))
                    }
                    (failures(&report.window))
                }
            }
        }
        section.section aria-labelledby="latest" {
            div.section-head {
                h2 #latest { @if is_older { "Older quotes" } @else { "Latest quotes" } }
                p { (numbers::plural(rows.len() as u64, "quote")) " listed, the latest first" }
                // The file begins where the page does, and goes on to the oldest.
                @let file = frame.csv("/api/v1/quotes").with_some("cursor", before.map(|place| cursor::write(&place)));
                @if !rows.is_empty() { (csv_link(&file, known)) }
            }
            @if rows.is_empty() {
                p.empty { @if is_older { "No older ones are kept." } @else { "No quote has been created yet." } }
            } @else {
                (table(rows, frame))
            }
            nav.turn aria-label="Pages of the list" {
                span { @if is_older { a href=(frame.address("/quotes").text()) data-turn="" { "Latest" } } }
                @if let (true, Some(last)) = (has_older, rows.last()) {
                    @let older = frame.address("/quotes").with("before", last.place.noted_ms.to_string())
                        .with("number", last.place.number.to_string());
                    a href=(older.text()) data-turn="" rel="next" { "Older" }
                }
            }
        }
    };
    frame.document("Quotes", &content)
}

/// Where the quotes stand: each is counted once, in its state.
fn steps(report: &QuoteReport) -> Markup {
    let told = |state: QuoteState| match state {
        QuoteState::Created => ("Created", "not sent yet", ""),
        QuoteState::Sent => ("Sent", "waiting for the mint", ""),
        QuoteState::Answered => ("Answered", "not paid yet", ""),
        QuoteState::Paid => ("Paid", "done", ""),
        QuoteState::Failed => ("Failed", "ended without an answer", "is-bad"),
        QuoteState::Abandoned => ("Abandoned", "left by a session that ended", "is-left"),
    };
    html! {
        ol.steps aria-label="Quotes by state, since the history began" {
            @for view in &report.by_state {
                @let (name, words, class) = told(view.state);
                @let class = if view.count > 0 { class } else { "" };
                li data-key=(name) class=(class) {
                    span { (name) }
                    span.figure { (numbers::count(view.count)) }
                    span.basis { (numbers::digits(&view.ehash)) " ehash, " (words) }
                }
            }
        }
    }
}

fn latencies(flow: &QuoteFlow) -> Markup {
    let name = |stage: QuoteStage| match stage {
        QuoteStage::CreatedToSent => "created to sent",
        QuoteStage::SentToAnswered => "sent to answered",
        QuoteStage::AnsweredToPaid => "answered to paid",
    };
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Latencies" {
            table {
                thead {
                    tr {
                        th scope="col" { "Step" }
                        th.number scope="col" { "Median" }
                        th.number scope="col" { "90 %" }
                        th.number scope="col" { "99 %" }
                        th.number scope="col" { "Slowest" }
                        th.number scope="col" { "Quotes" }
                    }
                }
                tbody {
                    @for latency in &flow.latencies {
                        tr {
                            th scope="row" { (name(latency.stage)) }
                            td.number { (took(latency.p50_ms)) }
                            td.number { (took(latency.p90_ms)) }
                            td.number { (took(latency.p99_ms)) }
                            td.number { (took(latency.max_ms)) }
                            td.number { (numbers::count(latency.count)) }
                        }
                    }
                }
            }
        }
    }
}

fn took(ms: Option<u64>) -> Markup {
    match ms {
        Some(ms) if ms < 10_000 => html! { (numbers::count(ms)) " ms" },
        Some(ms) => html! { (numbers::length(ms)) },
        None => html! { span.note { "none" } },
    }
}

fn failures(flow: &QuoteFlow) -> Markup {
    let groups = [
        ("failed", &flow.failed),
        ("failed, share not named", &flow.unattributed),
        ("contradicted", &flow.contradictions),
    ];
    html! {
        @if groups.iter().all(|(_, codes)| codes.is_empty()) && flow.unknown_payments == 0 {
            p.note { "Nothing." }
        } @else {
            dl.facts {
                @for (what, codes) in groups {
                    @for (code, count) in codes { dt { (what) ": " (numbers::untrusted_inline(code)) } dd { (numbers::count(*count)) } }
                }
                @if flow.unknown_payments > 0 { dt { "payments of unknown quotes" } dd { (numbers::count(flow.unknown_payments)) } }
            }
        }
    }
}

fn table(rows: &[QuoteView], frame: &Frame<'_>) -> Markup {
    let now_ms = frame.now_ms;
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Quotes" {
            table {
                thead {
                    tr {
                        th scope="col" { "Share" }
                        th scope="col" { "Step" }
                        th.number scope="col" { "Ehash" }
                        th.wide scope="col" { "Worker" }
                        th.wide scope="col" { "Created" }
                        th.number scope="col" { "Answer after" }
                        th.wide scope="col" { "Quote" }
                        th scope="col" { "Latest" }
                    }
                }
                tbody {
                    @for quote in rows {
                        tr data-key=(quote.share_hash) {
                            th scope="row" { span.hash title=(quote.share_hash) { (quote.share_hash.trim_start_matches('0')) } }
                            td {
                                (quote.state.as_str())
                                @if let Some(code) = &quote.error_code { span.basis { (numbers::untrusted(code)) } }
                            }
                            td.number { @match &quote.amount { Some(amount) => { (numbers::digits(amount)) } None => { (numbers::unknown()) } } }
                            td.wide { (identity(quote.identity.as_deref(), frame)) }
                            td.wide { @match quote.created_ms { Some(at) => { (numbers::moment(at)) } None => { (numbers::unknown()) } } }
                            td.number {
                                (took(quote.latency_ms))
                            }
                            td.wide {
                                @match &quote.quote_id { Some(id) => { span.hash title=(numbers::visible(id)) { bdi { (numbers::visible(id)) } } } None => { span.note { "none yet" } } }
                            }
                            td { (numbers::ago(quote.noted_ms, now_ms)) }
                        }
                    }
                }
            }
        }
    }
}
