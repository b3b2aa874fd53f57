//! The list of workers (miners on a translator's side): sorted, searched and cut into pages by the address, so that it works
//! without scripts and every view of it is a link.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mining_stats::{Hashrate, text};
use serde::Deserialize;
use sink_sqlite::query::{MAX_ROWS, Presence, QueryError, SourceView, WorkerView};

use super::address::Address;
use super::fault::PageError;
use super::presence::Heard;
use super::query::Query;
use super::range::{Range, RangeQuery};
use super::shell::{Frame, Page, respond};
use super::sources::is_miner_side;
use super::sparklines::{self, Line};
use super::turn::Turn;
use super::{SourceQuery, csv_link, numbers, plot};
use crate::state::AppState;
use crate::worker_list::selection::{Column, Hidden, MAX_SEARCH, Order, Selection};

/// Rows of one page.
const PAGE_ROWS: usize = 50;
/// Windows that the list can be about.
const WINDOWS: [(&str, u64); 3] = [("15m", 900_000), ("1h", 3_600_000), ("1d", 86_400_000)];

/// What is asked, as it stands in the address.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct WorkersQuery {
    source: Option<String>,
    sort: Option<Column>,
    order: Option<Order>,
    q: Option<String>,
    hide: Option<Hidden>,
    window: Option<String>,
    page: Option<usize>,
}

/// The view that an address asks for.
#[derive(Debug, Clone)]
struct View {
    selection: Selection,
    window: (&'static str, u64),
    page: usize,
}

impl View {
    fn of(asked: &WorkersQuery) -> Self {
        let window = asked.window.as_deref().and_then(|name| WINDOWS.into_iter().find(|(known, _)| *known == name));
        Self {
            selection: Selection::new(asked.sort, asked.order, asked.q.as_deref(), asked.hide),
            window: window.unwrap_or(WINDOWS[1]),
            page: asked.page.unwrap_or(1).max(1),
        }
    }

    /// The address of this view; what is as usual is left out.
    fn address(&self, base: Address) -> Address {
        self.selected(base)
            .with_some("window", (self.window != WINDOWS[1]).then_some(self.window.0))
            .with_some("page", (self.page > 1).then(|| self.page.to_string()))
    }

    /// The address of the whole list in this order as a file.
    fn csv(&self, base: Address) -> Address {
        self.selected(base).with("window", self.window.0)
    }

    fn selected(&self, base: Address) -> Address {
        let Selection { sort, order, search, hide } = &self.selection;
        base.with_some("sort", (*sort != Column::default()).then(|| sort.name()))
            .with_some("order", (*order != sort.first_order()).then(|| order.name()))
            .with_some("q", (!search.is_empty()).then_some(search.as_str()))
            .with_some("hide", hide.map(Hidden::name))
    }
}

/// What the page is made from.
#[derive(Debug)]
struct Listed {
    /// The rows of this page.
    rows: Vec<(WorkerView, Line)>,
    /// Rows on all pages.
    found: usize,
    /// Workers that are known.
    known: u64,
    /// More are known than are on any page.
    is_cut: bool,
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
        Some(source) => list(&state, source, view, now_ms).await?,
        None => Listed {
            rows: Vec::new(),
            found: 0,
            known: 0,
            is_cut: false,
            heard: Heard::default(),
            view,
            lines: RangeQuery::default().resolve(now_ms, None),
        },
    };
    let frame = Frame::new(Page::Workers, &overview, source);
    Ok(respond(StatusCode::OK, document(&frame, &listed)))
}

/// The page of the list that is asked for, with a small line for each of its rows.
async fn list(state: &AppState, source: &SourceView, mut view: View, now_ms: u64) -> Result<Listed, PageError> {
    let list = state.worker_list(source.publisher.clone(), view.window.1).await?;
    let rows = view.selection.of(&list.workers);
    let found = rows.len();
    let turn = Turn::new(Some(view.page), found, PAGE_ROWS);
    view.page = turn.page;
    let rows: Vec<usize> = turn.rows(rows).collect();
    let of = rows.iter().map(|row| (list.real_names[*row].clone(), list.workers[*row].is_miner));
    let (publisher, of) = (source.publisher.clone(), of.collect::<Vec<_>>());
    let read = state.history.read(move |history| {
        let range = RangeQuery::default().resolve(now_ms, history.begins(&publisher)?);
        let line = |(name, is_miner)| sparklines::of(history, &publisher, name, is_miner, &range);
        Ok((range, of.into_iter().map(line).collect::<Result<Vec<_>, QueryError>>()?))
    });
    let (lines, of) = read.await?;
    let rows = rows.iter().map(|row| list.workers[*row].clone()).zip(of).collect();
    let heard = Heard::of(source, now_ms);
    Ok(Listed { rows, found, known: list.total, is_cut: list.is_cut(), heard, view, lines })
}

fn document(frame: &Frame<'_>, data: &Listed) -> Markup {
    let title = Page::Workers.title(frame.source);
    let content = html! {
        (frame.heading(&html! { (title) }))
        (filters(data, frame))
        @if let (Some(source), true) = (frame.source, data.known > 0) {
            p.above data-key="presence" { (data.heard.summary(source, data.known)) }
        }
        p.note.above role="status" data-key="found" {
            @if data.found as u64 == data.known { (numbers::count(data.known)) " known" }
            @else { (numbers::count(data.found as u64)) " of " (numbers::count(data.known)) " known" }
            @if data.known > 0 { "; shares are counted since each was first seen" }
            @if data.is_cut { "; only the first " (numbers::count(MAX_ROWS.into())) " by name are looked through" }
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
    let Selection { sort, order, search, hide } = &view.selection;
    html! {
        form.filters method="get" action="/workers" data-filters="" role="search" {
            @if let Some(source) = frame.source {
                input type="hidden" name="source" value=(source.publisher);
            }
            @if *sort != Column::default() { input type="hidden" name="sort" value=(sort.name()); }
            @if *order != sort.first_order() { input type="hidden" name="order" value=(order.name()); }
            label { "Name " input type="search" name="q" value=(search) maxlength=(MAX_SEARCH) autocomplete="off"; }
            label {
                "Hashrate over "
                select name="window" {
                    @for (name, _) in WINDOWS { option value=(name) selected[name == view.window.0] { (name) } }
                }
            }
            label {
                input type="checkbox" name="hide" value=(Hidden::Silent.name()) checked[*hide == Some(Hidden::Silent)];
                "Hide silent ones"
            }
            button type="submit" { "Show" }
            @if data.found > 0 { (csv_link(&view.csv(frame.csv("/api/v1/workers")), data.found as u64)) }
        }
    }
}

fn table(data: &Listed, frame: &Frame<'_>, miner_side: bool) -> Markup {
    let head = |column: Column, name: &str, class: &str| {
        let mut next = View { page: 1, ..data.view.clone() };
        let Selection { sort, order, .. } = &mut next.selection;
        let (is_sorted, shown) = (*sort == column, *order);
        (*sort, *order) = (column, if is_sorted { shown.other() } else { column.first_order() });
        let sorted = match (is_sorted, shown) {
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
                        (head(Column::BestShare, "Best share", "number wide"))
                        (head(Column::LastShare, "Last share", "last"))
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
    let silent = worker.presence != Presence::Online;
    html! {
        tr data-key=(key) class=[silent.then_some("is-silent")] {
            th scope="row" {
                a.name href=(address(&worker.name, worker.is_miner, frame).text()) { (numbers::untrusted(&worker.name)) }
                span.basis { (heard.words(worker.presence, worker.open, worker.is_miner)) }
            }
            td.number { (numbers::reading(&worker.window.reading)) span.basis { (numbers::basis(&worker.window)) } }
            td.wide { (plot::sparkline(line)) }
            td.number.wide { (declared(worker.declared_hashrate)) }
            td.number.wide data-count=(totals.accepted) { (numbers::count(totals.accepted)) }
            td.number.wide {
                // What the column is sorted by comes first.
                @match numbers::per_cent(totals.rejected, submitted) {
                    Some(part) => { (part) span.basis { (numbers::count(totals.rejected)) } }
                    None => { span.note { "none" } }
                }
            }
            td.number.wide {
                @match totals.best_share_difficulty { Some(best) => { (text::difficulty(best)) } None => { (numbers::unknown()) } }
            }
            td { (numbers::ago_or(worker.last_share_ms, frame.now_ms, "never")) }
        }
    }
}

/// The page of one worker.
pub(super) fn address(name: &str, is_miner: bool, frame: &Frame<'_>) -> Address {
    frame.address("/worker").with("name", name).with("kind", kind(is_miner))
}

/// What a name stands for, as addresses and the live stream have it.
pub(super) const fn kind(is_miner: bool) -> &'static str {
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
            hide: Some(Hidden::Silent),
            window: Some("1d".to_owned()),
            page: Some(3),
            ..WorkersQuery::default()
        };
        let address = View::of(&asked).address(Address::new("/workers")).text();
        assert_eq!(address, "/workers?sort=name&order=desc&q=a%26b&hide=silent&window=1d&page=3");
    }
}
