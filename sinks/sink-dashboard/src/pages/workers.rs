//! The list of workers (miners on a translator's side): sorted, searched and cut into pages by the address, so that it works
//! without scripts and every view of it is a link.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::{Hashrate, Reading, text};
use serde::Deserialize;
use sink_sqlite::History;
use sink_sqlite::query::{MAX_ROWS, QueryError, WorkerView};

use super::address::Address;
use super::fault::PageError;
use super::presence::{Counts, Heard, Presence};
use super::query::Query;
use super::range::{Range, RangeQuery};
use super::shell::{Frame, Page, respond};
use super::sources::is_miner_side;
use super::sparklines::{self, Line};
use super::turn::Turn;
use super::{SourceQuery, csv_link, numbers, plot};
use crate::security::redact::Redaction;
use crate::state::AppState;

/// Rows of one page.
const PAGE_ROWS: usize = 50;
/// Windows that the list can be about.
const WINDOWS: [(&str, u64); 3] = [("15m", 900_000), ("1h", 3_600_000), ("1d", 86_400_000)];
/// Rows of a file: as many as the API gives at once.
const MAX_CSV: usize = 1_000;
/// A search longer than any name finds nothing.
const MAX_SEARCH: usize = 255;

/// What is asked, as it stands in the address.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct WorkersQuery {
    source: Option<String>,
    sort: Option<Column>,
    order: Option<Order>,
    q: Option<String>,
    hide: Option<String>,
    window: Option<String>,
    page: Option<usize>,
}

/// Columns that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Column {
    Name,
    Hashrate,
    Declared,
    Accepted,
    Rejected,
    Best,
    Last,
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Hashrate => "hashrate",
            Self::Declared => "declared",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Best => "best",
            Self::Last => "last",
        }
    }

    /// What a first click asks for: names from A, numbers from the top.
    const fn first_order(self) -> Order {
        match self {
            Self::Name => Order::Asc,
            _ => Order::Desc,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    Desc,
}

impl Order {
    const fn name(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Asc => Self::Desc,
            Self::Desc => Self::Asc,
        }
    }
}

/// The view that an address asks for.
#[derive(Debug, Clone)]
struct View {
    sort: Column,
    order: Order,
    search: String,
    hide_silent: bool,
    window: (&'static str, u64),
    page: usize,
}

impl View {
    fn of(asked: &WorkersQuery) -> Self {
        let sort = asked.sort.unwrap_or(Column::Hashrate);
        let window = asked.window.as_deref().and_then(|name| WINDOWS.into_iter().find(|(known, _)| *known == name));
        let search: String = asked.q.as_deref().unwrap_or_default().trim().chars().take(MAX_SEARCH).collect();
        Self {
            sort,
            order: asked.order.unwrap_or(sort.first_order()),
            search,
            hide_silent: asked.hide.as_deref() == Some("silent"),
            window: window.unwrap_or(WINDOWS[1]),
            page: asked.page.unwrap_or(1).max(1),
        }
    }

    /// The address of this view; what is as usual is left out.
    fn address(&self, base: Address) -> Address {
        let (sort, order) = (self.sort, self.order);
        base.with_some("sort", (sort != Column::Hashrate).then(|| sort.name()))
            .with_some("order", (order != sort.first_order()).then(|| order.name()))
            .with_some("q", (!self.search.is_empty()).then_some(self.search.as_str()))
            .with_some("hide", self.hide_silent.then_some("silent"))
            .with_some("window", (self.window != WINDOWS[1]).then_some(self.window.0))
            .with_some("page", (self.page > 1).then(|| self.page.to_string()))
    }

    /// Keeps the rows that are asked for, in their order. Names break ties, so that rows never swap between two looks.
    fn apply(&self, workers: &mut Vec<(String, WorkerView)>, heard: &Heard) {
        let wanted = self.search.to_lowercase();
        workers.retain(|(_, worker)| {
            (wanted.is_empty() || worker.name.to_lowercase().contains(&wanted))
                && !(self.hide_silent && heard.presence(worker) != Presence::Online)
        });
        workers.sort_by(|(_, a), (_, b)| {
            let by_column = match self.sort {
                Column::Name => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
                Column::Hashrate => by_rate(rate_of(&a.window.reading), rate_of(&b.window.reading)),
                Column::Declared => a.declared_hashrate.cmp(&b.declared_hashrate),
                Column::Accepted => a.totals.accepted.cmp(&b.totals.accepted),
                Column::Rejected => by_rate(rejected_part(a), rejected_part(b)),
                Column::Best => by_rate(a.totals.best_share_difficulty, b.totals.best_share_difficulty),
                Column::Last => a.last_share_ms.cmp(&b.last_share_ms),
            };
            let by_column = if self.order == Order::Desc { by_column.reverse() } else { by_column };
            by_column.then_with(|| (&a.name, a.is_miner).cmp(&(&b.name, b.is_miner)))
        });
    }
}

fn by_rate(a: Option<f64>, b: Option<f64>) -> Ordering {
    a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0))
}

/// What a reading counts for when it is sorted: a stale one by its last value, one without a value as none.
fn rate_of(reading: &Reading) -> Option<f64> {
    match reading {
        Reading::Measured(estimate) | Reading::Stale { last: Some(estimate), .. } => {
            Some(estimate.rate.hashes_per_second())
        }
        Reading::ObservedZero { .. } => Some(0.0),
        _ => None,
    }
}

fn rejected_part(worker: &WorkerView) -> Option<f64> {
    let submitted = worker.totals.accepted.saturating_add(worker.totals.rejected);
    (submitted > 0).then(|| worker.totals.rejected as f64 / submitted as f64)
}

/// What the page is made from.
#[derive(Debug)]
struct Listed {
    /// The rows of this page.
    rows: Vec<(WorkerView, Line)>,
    /// Rows on all pages.
    found: usize,
    /// Workers that are known.
    known: usize,
    counts: Counts,
    heard: Heard,
    view: View,
    /// What the small lines are about.
    lines: Range,
}

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<WorkersQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = SourceQuery { source: asked.source.clone() }.of(&overview)?;
    let view = View::of(&asked);
    let now_ms = overview.now_ms;
    let listed = match source {
        Some(source) => {
            let (publisher, heard) = (source.publisher.clone(), Heard::of(source, now_ms));
            let redaction = Arc::clone(&state.redaction);
            state.history.read(move |history| list(history, &publisher, view, &redaction, heard, now_ms)).await?
        }
        None => Listed {
            rows: Vec::new(),
            found: 0,
            known: 0,
            counts: Counts::default(),
            heard: Heard::default(),
            view,
            lines: RangeQuery::default().resolve(now_ms, None),
        },
    };
    let frame = Frame::new(Page::Workers, &overview, source);
    Ok(respond(StatusCode::OK, document(&frame, &listed)))
}

/// Reads all, keeps what is asked for. Searching and sorting go by the names that are shown.
fn list(
    history: &History,
    publisher: &str,
    mut view: View,
    redaction: &Redaction,
    heard: Heard,
    now_ms: u64,
) -> Result<Listed, QueryError> {
    let mut workers = history.workers(publisher, view.window.1, now_ms, None, MAX_ROWS)?;
    let names: Vec<String> = workers.iter().map(|worker| worker.name.clone()).collect();
    redaction.workers(publisher, &mut workers);
    let counts = Counts::of(&heard, &workers);
    let mut rows: Vec<(String, WorkerView)> = names.into_iter().zip(workers).collect();
    let known = rows.len();
    view.apply(&mut rows, &heard);
    let found = rows.len();
    let lines = RangeQuery::default().resolve(now_ms, history.begins(publisher)?);
    let turn = Turn::new(Some(view.page), found, PAGE_ROWS);
    view.page = turn.page;
    let rows = turn
        .rows(rows)
        .map(|(name, worker)| {
            let line = sparklines::of(history, publisher, name, worker.is_miner, &lines)?;
            Ok((worker, line))
        })
        .collect::<Result<_, QueryError>>()?;
    Ok(Listed { rows, found, known, counts, heard, view, lines })
}

fn document(frame: &Frame<'_>, data: &Listed) -> Markup {
    let title = Page::Workers.title(frame.source);
    let content = html! {
        (frame.heading(&html! { (title) }))
        (filters(data, frame))
        @if data.known > 0 { p.above data-key="presence" { (data.heard.summary(data.counts)) } }
        p.note.above role="status" data-key="found" {
            @if data.found == data.known { (numbers::count(data.known as u64)) " known" }
            @else { (numbers::count(data.found as u64)) " of " (numbers::count(data.known as u64)) " known" }
            @if data.known > 0 { "; shares are counted since each was first seen" }
            @if data.known >= MAX_ROWS as usize { "; more exist than are listed here" }
        }
        @if data.known == 0 {
            p.empty { "Nobody has connected yet." }
        } @else if data.rows.is_empty() {
            p.empty { "Nobody is like this. " a href=(frame.address("/workers").text()) { "Show all" } }
        } @else {
            (table(data, frame, frame.source.is_some_and(is_miner_side)))
            (turn(data, frame))
        }
    };
    frame.document(title, &content)
}

fn filters(data: &Listed, frame: &Frame<'_>) -> Markup {
    let view = &data.view;
    html! {
        form.filters method="get" action="/workers" data-filters="" role="search" {
            @if let (true, Some(source)) = (frame.sources.len() > 1, frame.source) {
                input type="hidden" name="source" value=(source.publisher);
            }
            @if view.sort != Column::Hashrate { input type="hidden" name="sort" value=(view.sort.name()); }
            @if view.order != view.sort.first_order() { input type="hidden" name="order" value=(view.order.name()); }
            label { "Name " input type="search" name="q" value=(view.search) maxlength=(MAX_SEARCH) autocomplete="off"; }
            label {
                "Hashrate over "
                select name="window" {
                    @for (name, _) in WINDOWS { option value=(name) selected[name == view.window.0] { (name) } }
                }
            }
            label { input type="checkbox" name="hide" value="silent" checked[view.hide_silent]; "Hide silent ones" }
            button type="submit" { "Show" }
            @if data.known > 0 { (csv_link(&csv(view, frame))) }
        }
    }
}

/// The workers of this view as a file; the API has no column for every way to sort here, so it has its own order.
fn csv(view: &View, frame: &Frame<'_>) -> Address {
    frame
        .csv("/api/v1/workers")
        .with("limit", MAX_CSV.to_string())
        .with("window", view.window.0)
        .with_some("q", (!view.search.is_empty()).then_some(view.search.as_str()))
}

fn table(data: &Listed, frame: &Frame<'_>, miner_side: bool) -> Markup {
    let head = |column: Column, name: &str, class: &str| {
        let view = &data.view;
        let is_sorted = view.sort == column;
        let order = if is_sorted { view.order.other() } else { column.first_order() };
        let next = View { sort: column, order, page: 1, ..view.clone() };
        let sorted = match (is_sorted, view.order) {
            (false, _) => None,
            (true, Order::Asc) => Some("ascending"),
            (true, Order::Desc) => Some("descending"),
        };
        html! {
            th.(class) scope="col" aria-sort=[sorted] {
                a href=(next.address(frame.address("/workers")).text()) data-sort=(column.name()) { (name) }
            }
        }
    };
    html! {
        div.frame tabindex="0" role="region" aria-label=(if miner_side { "Table: miners" } else { "Table: workers" }) {
            table.workers {
                thead {
                    tr {
                        (head(Column::Name, if miner_side { "Miner" } else { "Worker" }, "first"))
                        (head(Column::Hashrate, &format!("Hashrate, {}", data.view.window.0), "number"))
                        th.wide scope="col" { "Last " (data.lines.usual) }
                        (head(Column::Declared, "Declared", "number wide"))
                        (head(Column::Accepted, "Accepted", "number wide"))
                        (head(Column::Rejected, "Rejected", "number wide"))
                        (head(Column::Best, "Best share", "number wide"))
                        (head(Column::Last, "Last share", "last"))
                    }
                }
                tbody {
                    @for (worker, line) in &data.rows { (row(worker, line, frame, &data.heard)) }
                }
            }
        }
    }
}

fn row(worker: &WorkerView, line: &Line, frame: &Frame<'_>, heard: &Heard) -> Markup {
    // An identity and a miner of one name are two.
    let key = format!("{} {}", kind(worker.is_miner), worker.name);
    let totals = &worker.totals;
    let submitted = totals.accepted.saturating_add(totals.rejected);
    let silent = heard.presence(worker) != Presence::Online;
    html! {
        tr data-key=(key) class=[silent.then_some("is-silent")] {
            th scope="row" {
                a.name href=(address(&worker.name, worker.is_miner, frame).text()) { (numbers::untrusted(&worker.name)) }
                span.basis { (heard.words(worker)) }
            }
            td.number { (numbers::reading(&worker.window.reading)) span.basis { (numbers::basis(&worker.window)) } }
            td.wide { (plot::sparkline(line)) }
            td.number.wide { (declared(worker.declared_hashrate)) }
            td.number.wide data-count=(totals.accepted) { (numbers::count(totals.accepted)) }
            td.number.wide {
                (numbers::count(totals.rejected))
                @if let Some(part) = numbers::per_cent(totals.rejected, submitted) { span.basis { (part) } }
            }
            td.number.wide {
                @match totals.best_share_difficulty { Some(best) => { (text::difficulty(best)) } None => { (numbers::unknown()) } }
            }
            td { (numbers::ago_or(worker.last_share_ms, frame.now_ms, "never")) }
        }
    }
}

/// The page of one worker.
fn address(name: &str, is_miner: bool, frame: &Frame<'_>) -> Address {
    frame.address("/worker").with("name", name).with("kind", kind(is_miner))
}

/// What a name stands for, as addresses and the live stream have it.
const fn kind(is_miner: bool) -> &'static str {
    if is_miner { "miner" } else { "identity" }
}

/// The user_identity of a channel as a link to its page, where it is known.
pub(super) fn identity(name: Option<&str>, frame: &Frame<'_>) -> Markup {
    match name {
        Some(name) => html! { a.name href=(address(name, false, frame).text()) { (numbers::untrusted(name)) } },
        None => numbers::unknown(),
    }
}

/// What the miner or vardiff declares; never a measurement.
pub(super) fn declared(rate: Option<u64>) -> Markup {
    match rate {
        Some(rate) if rate > 0 => html! { (text::hashrate(Hashrate::from_hashes_per_second(rate as f64), 3)) },
        _ => numbers::unknown(),
    }
}

fn turn(data: &Listed, frame: &Frame<'_>) -> Markup {
    let to = |page| View { page, ..data.view.clone() }.address(frame.address("/workers")).text();
    Turn::new(Some(data.view.page), data.found, PAGE_ROWS).markup("list", to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_left_out_of_the_address() {
        let view = View::of(&WorkersQuery::default());
        assert_eq!(view.address(Address::new("/workers")).text(), "/workers");
        let asked = WorkersQuery {
            sort: Some(Column::Name),
            order: Some(Order::Desc),
            q: Some(" a&b ".to_owned()),
            hide: Some("silent".to_owned()),
            window: Some("1d".to_owned()),
            page: Some(3),
            ..WorkersQuery::default()
        };
        let address = View::of(&asked).address(Address::new("/workers")).text();
        assert_eq!(address, "/workers?sort=name&order=desc&q=a%26b&hide=silent&window=1d&page=3");
    }
}
