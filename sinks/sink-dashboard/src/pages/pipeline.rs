//! How the sidecar itself is: journal, sources' sessions, sinks with their ledgers. Reads the same snapshot as the admin page
//! `/pipeline`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use sink_sqlite::query::{Overview, SourceView};
use std::collections::BTreeMap;

use super::address::Address;
use super::dead_letters;
use super::fault::PageError;
use super::query::Query;
use super::shell::{Frame, Page, respond};
use super::{SourceQuery, csv_link, numbers};
use crate::api::pipeline::DeadLetter;
use crate::api::status::pipeline_report;
use crate::state::AppState;

/// The report, as far as the page shows it. What is missing from it is unknown, not zero.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pipeline {
    ready: Option<bool>,
    journal: Journal,
    sources: Vec<Session>,
    sinks: BTreeMap<String, Sink>,
    dead_letters: Vec<DeadLetter>,
    bridges: BTreeMap<String, Health>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Journal {
    health: Option<String>,
    what: Option<String>,
    bytes: Option<u64>,
    cumulative_events: Option<u64>,
    retired_events: Option<u64>,
    damaged_events: Option<u64>,
    gap_missing: Option<u64>,
    dead_letters: Option<u64>,
    dead_letter_bytes: Option<u64>,
    dead_letters_expired: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Session {
    publisher: String,
    session: String,
    connected: bool,
    ended: Option<String>,
    committed_sequence: u64,
    missing: u64,
    loss_unknown: bool,
    heard_at_ms: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Health {
    status: Option<String>,
    since_ms: Option<u64>,
    errors: u64,
    last_error: Option<String>,
    last_error_at_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sink {
    #[serde(flatten)]
    health: Health,
    #[serde(rename = "type")]
    kind: Option<String>,
    ledger: Ledger,
    lag_ms: Option<u64>,
    attempts: Option<u64>,
    failures: BTreeMap<String, u64>,
    last_delivery_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ledger {
    appended: u64,
    delivered: u64,
    filtered: u64,
    dead_lettered: u64,
    expired: BTreeMap<String, u64>,
    pending: u64,
}

impl Journal {
    fn kept_letters(&self) -> dead_letters::Kept {
        dead_letters::Kept {
            count: self.dead_letters,
            bytes: self.dead_letter_bytes,
            expired: self.dead_letters_expired,
        }
    }
}

impl Ledger {
    fn expired(&self) -> u64 {
        self.expired.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Events that the ledger does not explain; anything but 0 is a fault of the sidecar.
    fn difference(&self) -> i128 {
        let explained = [self.delivered, self.filtered, self.dead_lettered, self.expired(), self.pending];
        i128::from(self.appended) - explained.into_iter().map(i128::from).sum::<i128>()
    }
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<SourceQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = asked.of(&overview)?;
    let pipeline = pipeline_report(&state).await.and_then(|report| serde_json::from_value(report).ok());
    Ok(respond(StatusCode::OK, document(&overview, source, pipeline.as_ref())))
}

fn document(overview: &Overview, source: Option<&SourceView>, pipeline: Option<&Pipeline>) -> Markup {
    let frame = Frame::new(Page::Pipeline, overview, source);
    let now_ms = frame.now_ms;
    let content = html! {
        (frame.heading(&html! { "Pipeline" }))
        @match pipeline {
            None => { p.notice { "The pipeline says nothing: it is starting or stopping." } }
            Some(pipeline) => {
                @if pipeline.ready == Some(true) { p { span.health.is-live { "ready" } } }
                (sinks(pipeline, now_ms))
                (dead_letters::section(pipeline.journal.kept_letters(), &pipeline.dead_letters, now_ms))
                (journal(&pipeline.journal))
                (sessions(pipeline, now_ms))
            }
        }
        @if let Some(source) = source { (losses(source)) }
    };
    frame.document("Pipeline", &content)
}

/// The address of a table as a file.
pub(super) fn csv(path: &'static str) -> Address {
    Address::new(path).with("format", "csv")
}

fn status(health: &Health) -> Markup {
    let (class, word) = match health.status.as_deref() {
        Some("healthy") => ("is-live", "healthy"),
        Some(other @ ("failed" | "stopped")) => ("is-lossy", other),
        Some(other) => ("is-stale", other),
        None => ("", "unknown"),
    };
    html! {
        span class=(format!("health {class}")) { (word) }
        @if let Some(since) = health.since_ms { span.basis.wide { "since " (numbers::moment(since)) } }
    }
}

fn last_error(health: &Health, now_ms: u64) -> Markup {
    html! {
        (numbers::plural(health.errors, "error")) ", "
        (numbers::ago_or(health.last_error_at_ms, now_ms, "time unknown"))
    }
}

fn sinks(pipeline: &Pipeline, now_ms: u64) -> Markup {
    html! {
        section.section aria-labelledby="sinks" {
            div.section-head {
                h2 #sinks { "Sinks and their ledgers" }
                p { "since the start: appended = delivered + filtered + dead letters + expired + pending" }
                (csv_link(&csv("/api/v1/pipeline/sinks"), 0))
            }
            div.frame tabindex="0" role="region" aria-label="Table: Sinks" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Sink" }
                            th scope="col" { "State" }
                            th.number scope="col" { "Pending" }
                            th.number.wide scope="col" { "Appended" }
                            th.number.wide scope="col" { "Delivered" }
                            th.number.wide scope="col" { "Filtered" }
                            th.number scope="col" { "Dead letters" }
                            th.number scope="col" { "Expired" }
                            th.number.wide scope="col" { "Unexplained" }
                            th.number.wide scope="col" { "Failed attempts" }
                            th.wide scope="col" { "Last delivery" }
                            th.wide scope="col" { "Last error" }
                        }
                    }
                    tbody {
                        @for (name, sink) in &pipeline.sinks {
                            @let ledger = &sink.ledger;
                            tr data-key=(name) {
                                th scope="row" { (name) @if let Some(kind) = &sink.kind { span.basis { (kind) } } }
                                td {
                                    (status(&sink.health))
                                    // Screens that have no room for the last column still say why.
                                    @if let Some(error) = &sink.health.last_error {
                                        span.basis.narrow.free { (numbers::visible(error)) }
                                        span.basis.narrow { (last_error(&sink.health, now_ms)) }
                                    }
                                }
                                td.number {
                                    (numbers::count(ledger.pending))
                                    span.basis { (behind(sink)) }
                                }
                                td.number.wide { (numbers::count(ledger.appended)) }
                                td.number.wide { (numbers::count(ledger.delivered)) }
                                td.number.wide { (numbers::count(ledger.filtered)) }
                                td.number { (counted_loss(ledger.dead_lettered)) }
                                td.number {
                                    (counted_loss(ledger.expired()))
                                    @for (reason, count) in ledger.expired.iter().filter(|(_, count)| **count > 0) {
                                        span.basis { (reason.replace('_', " ")) " " (numbers::count(*count)) }
                                    }
                                }
                                td.number.wide { @match ledger.difference() { 0 => { "none" } difference => { span.health.is-lossy { (difference) } } } }
                                td.number.wide { (failed_attempts(sink)) }
                                td.wide { (numbers::ago_or(sink.last_delivery_ms, now_ms, "none")) }
                                td.wide {
                                    @match &sink.health.last_error {
                                        Some(error) => {
                                            span.name title=(numbers::visible(error)) { (numbers::visible(error)) }
                                            span.basis { (last_error(&sink.health, now_ms)) }
                                        }
                                        None => { span.note { "none" } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @for (name, health) in &pipeline.bridges {
                p { "Bridge " strong { (name) } ": " (status(health))
                    @if let Some(error) = &health.last_error { " " (numbers::visible(error)) } }
            }
        }
    }
}

/// How late a sink is.
fn behind(sink: &Sink) -> String {
    match (sink.ledger.pending, sink.lag_ms) {
        (0, _) => "up to date".to_owned(),
        (_, Some(lag)) => format!("{} behind", numbers::length(lag)),
        (_, None) => "not begun".to_owned(),
    }
}

/// Attempts that failed, of how many; each failure that may pass is repeated.
fn failed_attempts(sink: &Sink) -> Markup {
    let Some(attempts) = sink.attempts else { return numbers::unknown() };
    let failed = sink.failures.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    html! {
        (numbers::count(failed))
        span.basis { "of " (numbers::count(attempts)) }
        @for (kind, count) in sink.failures.iter().filter(|(_, count)| **count > 0) {
            span.basis { (kind) " " (numbers::count(*count)) }
        }
    }
}

fn counted_loss(count: u64) -> Markup {
    match count {
        0 => html! { "0" },
        count => html! { span.health.is-lossy { (numbers::count(count)) } },
    }
}

fn journal(journal: &Journal) -> Markup {
    let number = |value: Option<u64>| html! { @match value { Some(value) => { (numbers::count(value)) } None => { (numbers::unknown()) } } };
    html! {
        section.section aria-labelledby="journal" {
            div.section-head { h2 #journal { "Journal" } }
            dl.facts {
                dt { "State" }
                dd {
                    @match journal.health.as_deref() {
                        Some("healthy") => { span.health.is-live { "healthy" } }
                        Some(other) => {
                            span.health.is-lossy { (other) }
                            @if let Some(what) = &journal.what { " " (numbers::visible(what)) }
                        }
                        None => { (numbers::unknown()) }
                    }
                }
                dt { "Size" } dd { @match journal.bytes { Some(bytes) => { (numbers::bytes(bytes)) } None => { (numbers::unknown()) } } }
                dt { "Events ever" } dd { (number(journal.cumulative_events)) }
                dt { "Left by retention" } dd { (number(journal.retired_events)) " since the start" }
                dt { "Found damaged" } dd { (number(journal.damaged_events)) }
                dt { "Never arrived" } dd { (number(journal.gap_missing)) }
            }
        }
    }
}

fn sessions(pipeline: &Pipeline, now_ms: u64) -> Markup {
    html! {
        section.section aria-labelledby="sessions" {
            div.section-head {
                h2 #sessions { "Sessions of publishers" }
                (csv_link(&csv("/api/v1/pipeline/sessions"), 0))
            }
            @if pipeline.sources.is_empty() {
                p.note { "None." }
            } @else {
                div.frame tabindex="0" role="region" aria-label="Table: Sessions" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Publisher" }
                                th scope="col" { "State" }
                                th.number scope="col" { "Last durable event" }
                                th.number scope="col" { "Missing" }
                                th scope="col" { "Heard" }
                                th.wide scope="col" { "Session" }
                            }
                        }
                        tbody {
                            @for session in &pipeline.sources {
                                tr data-key=(session.session) {
                                    th scope="row" { (numbers::untrusted(&session.publisher)) }
                                    td {
                                        @match (&session.ended, session.connected) {
                                            (Some(ended), _) => { "ended, " (ended) }
                                            (None, true) => { span.health.is-live { "connected" } }
                                            (None, false) => { span.health.is-stale { "not connected" } }
                                        }
                                        @if session.loss_unknown { span.basis { "what it had not sent is unknown" } }
                                    }
                                    td.number { (numbers::count(session.committed_sequence)) }
                                    td.number { (counted_loss(session.missing)) }
                                    td { (numbers::ago(session.heard_at_ms, now_ms)) }
                                    td.wide { code { (session.session) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn losses(source: &SourceView) -> Markup {
    html! {
        section.section aria-labelledby="losses" {
            div.section-head {
                h2 #losses { "Losses of " (numbers::untrusted_inline(&source.publisher)) }
                p { "the last ones" }
                (csv_link(&csv("/api/v1/losses").with("source", source.publisher.as_str()), 0))
            }
            @if source.losses.is_empty() {
                p.note { "None is known." }
            } @else {
                div.frame tabindex="0" role="region" aria-label="Table: Losses" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "From" }
                                th scope="col" { "Length" }
                                th scope="col" { "What" }
                                th.number scope="col" { "Events" }
                                th.wide scope="col" { "Why" }
                            }
                        }
                        tbody {
                            @for loss in &source.losses {
                                tr {
                                    th scope="row" { (numbers::moment(loss.from_ms)) }
                                    td { (numbers::length(loss.to_ms.saturating_sub(loss.from_ms))) }
                                    td { (loss.kind) }
                                    td.number { @if loss.events > 0 { (numbers::count(loss.events)) } @else { span.note { "not counted" } } }
                                    td.wide { (numbers::untrusted(&loss.reason)) }
                                }
                            }
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
    fn a_ledger_that_does_not_balance_is_seen() {
        let ledger = Ledger { appended: 10, delivered: 6, pending: 3, ..Ledger::default() };
        assert_eq!(ledger.difference(), 1);
        let expired = BTreeMap::from([("behind_retention".to_owned(), 1)]);
        assert_eq!(Ledger { expired, ..ledger }.difference(), 0);
    }

    #[test]
    fn a_sink_is_shown_with_its_type() {
        let pipeline: Pipeline =
            serde_json::from_str(r#"{"sinks":{"past":{"status":"healthy","type":"sqlite"}}}"#).unwrap();
        let shown = sinks(&pipeline, 0).into_string();
        assert!(shown.contains("past<span class=\"basis\">sqlite</span>"), "{shown}");
    }

    #[test]
    fn what_the_snapshot_does_not_say_is_unknown() {
        let pipeline: Pipeline = serde_json::from_str(r#"{"sinks":{"x":{"status":"retrying"}}}"#).unwrap();
        assert_eq!(pipeline.ready, None);
        let shown = journal(&pipeline.journal).into_string();
        assert!(shown.contains("unknown") && !shown.contains(">0<"), "{shown}");
    }
}
