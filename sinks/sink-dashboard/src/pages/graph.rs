//! The two graphs of a page, hashrate and shares: as drawings, as a table, and as data for the scripts that draw over them.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use maud::{Markup, html};
use mining_stats::{Hashrate, text};
use serde::{Deserialize, Serialize};
use sink_sqlite::History;
use sink_sqlite::query::{QueryError, SeriesAnswer, SeriesQuery, SourceView, Subject};

use super::address::Address;
use super::fault::PageError;
use super::marks::{MAX_MARKS, Mark, MarkKind, Marks};
use super::query::Query;
use super::range::{RANGES, Range, RangeQuery};
use super::sources::is_miner_side;
use super::worker::real_name;
use super::{SourceQuery, numbers, plot};
use crate::history::ReadError;
use crate::state::AppState;

/// Points of a drawing made by the server: it is part of the first page, so it is coarser than what scripts fetch.
const DRAWN_POINTS: u64 = 160;
/// Points for scripts; fewer than the API gives, since no screen shows more.
const DATA_POINTS: u64 = 600;

/// Steps up to this long are shown only when they are over.
const SHORT_STEP_MS: u64 = 60_000;
/// How long an event may take from the source to the history.
const ON_ITS_WAY_MS: u64 = 1_000;

/// Which series a graph is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GraphSubject {
    /// A whole source.
    Source,
    /// One worker, or one miner of a translator.
    Worker { name: String, is_miner: bool },
}

impl GraphSubject {
    fn subject(&self, source: &SourceView) -> Subject {
        match self {
            Self::Source if is_miner_side(source) => Subject::Miners,
            Self::Source => Subject::Channels,
            Self::Worker { name, is_miner: true } => Subject::MinerName(name.clone()),
            Self::Worker { name, is_miner: false } => Subject::Identity(name.clone()),
        }
    }
}

/// What a graph shows.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    range: Range,
    answer: SeriesAnswer,
    marks: Marks,
    /// The series is about one worker, the marks are about all.
    is_part: bool,
}

/// Where the parts of a graph lead; each address is completed by a range.
#[derive(Debug)]
pub(super) struct GraphLinks {
    /// The page itself.
    pub(super) page: Address,
    /// What scripts ask.
    pub(super) data: Address,
    /// The values as a file.
    pub(super) csv: Address,
}

impl Graph {
    /// Asks the history for a drawing; `None` where the source has no shares yet. `begins_ms` says when the subject's own
    /// history begins, where that is known already; otherwise it begins with the source's.
    pub(super) async fn ask(
        state: &AppState,
        source: &SourceView,
        subject: GraphSubject,
        range: RangeQuery,
        begins_ms: Option<u64>,
    ) -> Result<Option<Self>, PageError> {
        Self::ask_points(state, source, subject, range, begins_ms, DRAWN_POINTS).await
    }

    async fn ask_points(
        state: &AppState,
        source: &SourceView,
        subject: GraphSubject,
        range: RangeQuery,
        begins_ms: Option<u64>,
        points: u64,
    ) -> Result<Option<Self>, PageError> {
        let (publisher, of, now_ms) = (source.publisher.clone(), subject.subject(source), state.now_ms());
        let is_part = subject != GraphSubject::Source;
        let ask = move |history: &History| {
            let begins_ms = match begins_ms {
                Some(begins_ms) => Some(begins_ms),
                None => history.begins(&publisher)?,
            };
            let range = range.resolve(now_ms, begins_ms);
            let Range { from_ms, to_ms, .. } = range;
            let marks = Marks::of(history.marks(&publisher, from_ms, to_ms, now_ms, MAX_MARKS)?, from_ms, now_ms);
            let mut answer = history.series(&SeriesQuery { publisher, subject: of, from_ms, to_ms, points })?;
            without_the_unfinished(&mut answer, now_ms);
            Ok(Self { range, answer, marks, is_part })
        };
        match state.history.read(ask).await {
            Ok(graph) => Ok(Some(graph)),
            // A source without a share has no series of its own yet.
            Err(ReadError::Query(QueryError::UnknownSubject { .. })) if subject == GraphSubject::Source => Ok(None),
            // The history's own words hold the name, which may be hidden here.
            Err(ReadError::Query(QueryError::UnknownSubject { .. })) => {
                Err(PageError::Unknown { what: "this series".to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An address with the range that is shown.
    fn ranged(&self, address: &Address) -> Address {
        match self.range.name {
            Some(name) => address.clone().with("range", name),
            None => {
                address.clone().with("from", self.range.from_ms.to_string()).with("to", self.range.to_ms.to_string())
            }
        }
    }

    /// Both graphs with their ranges.
    pub(super) fn markup(&self, links: &GraphLinks, as_table: bool) -> Markup {
        let answer = &self.answer;
        html! {
            div.graph data-graph=(links.data.text()) data-range=(self.range.name.unwrap_or_default())
                data-from=(self.range.from_ms) data-to=(self.range.to_ms)
                // Scripts draw; a table they leave to the page as it is read again.
                data-keep=[(!as_table).then_some("")] {
                div.graph-tools {
                    nav.ranges aria-label="Range of the graphs" {
                        @let view = as_table.then_some("table");
                        @for (name, _) in RANGES {
                            a href=(links.page.clone().with("range", name).with_some("view", view).text()) data-range=(name)
                                aria-current=[(self.range.name == Some(name)).then_some("true")] { (name) }
                        }
                    }
                    span.note data-graph-span="" {
                        (numbers::moment(self.range.from_ms)) " to " (numbers::moment(self.range.to_ms)) ", one point for "
                        (numbers::length(answer.step_ms))
                    }
                    @let (view, words) = if as_table { (None, "Graph") } else { (Some("table"), "Table") };
                    span.buttons {
                        a.button href=(self.ranged(&links.page).with_some("view", view).text()) data-graph-table="" { (words) }
                        a.button href=(self.ranged(&links.csv).text()) data-graph-csv="" download { "CSV" }
                    }
                }
                @if as_table { (self.table()) } @else { (self.drawings()) }
            }
        }
    }

    fn drawings(&self) -> Markup {
        let answer = &self.answer;
        html! {
            div.graph-head { h3 { "Hashrate" } div.readout data-readout="" aria-hidden="true" {} }
            div.canvas data-plot="hashrate" {
                (plot::hashrate(answer, &self.marks.list, "Hashrate with its 95 % band"))
                span.scale.is-top { (text::hashrate(Hashrate::from_hashes_per_second(plot::top_of(answer)), 2)) }
                span.scale.is-bottom { "0 H/s" }
            }
            p.graph-summary data-graph-summary="hashrate" { (self.hashrate_summary()) }
            div.graph-head { h3 { "Shares" } }
            div.canvas.is-short data-plot="shares" {
                (plot::shares(answer, &self.marks.list, "Accepted and rejected shares"))
                span.scale.is-top { (numbers::plural(plot::top_of_shares(answer) as u64, "share")) }
            }
            // Scripts draw an axis with times; without them the two ends are told.
            p.graph-ends aria-hidden="true" { (numbers::moment(answer.from_ms)) " " (numbers::moment(answer.to_ms)) }
            p.graph-summary data-graph-summary="shares" { (self.shares_summary()) }
            ul.legend aria-label="Legend" {
                li { i {} "measured" }
                li { i.of-band {} "95 % interval" }
                li { i.of-gap {} "no data" }
                li { i.of-rejected {} "rejected" }
                li { i.of-block {} "block found" }
                li { i.of-restart {} "restart or outage" }
            }
        }
    }

    /// The hashrate graph in words.
    fn hashrate_summary(&self) -> String {
        let answer = &self.answer;
        let value = |rate: f64| text::hashrate(Hashrate::from_hashes_per_second(rate), 3);
        let values: Vec<f64> = answer.points.iter().filter_map(|point| point.value).collect();
        let observed: f64 = answer.points.iter().map(|point| point.observed).sum::<f64>() * answer.step_ms as f64;
        let whole = answer.to_ms.saturating_sub(answer.from_ms);
        let observed = format!("{} of {} observed", numbers::length(observed as u64), numbers::length(whole));
        let Some(latest) = values.last() else { return format!("No data in this range; {observed}.") };
        let (least, most) = values.iter().fold((f64::MAX, 0.0_f64), |(least, most), v| (least.min(*v), most.max(*v)));
        format!("Between {} and {}, at the end {}; {observed}.", value(least), value(most), value(*latest))
    }

    /// The shares graph and the marks in words.
    fn shares_summary(&self) -> String {
        let sum = |of: fn(&sink_sqlite::query::Point) -> Option<u64>| -> u64 {
            self.answer.points.iter().filter_map(of).sum()
        };
        let (accepted, rejected) = (sum(|point| point.accepted), sum(|point| point.rejected));
        let rate =
            numbers::per_cent(rejected, accepted + rejected).map(|part| format!(" ({part})")).unwrap_or_default();
        format!(
            "{} accepted, {} rejected{rate}; {}{}, {}, {}.",
            numbers::plural(accepted, "share"),
            numbers::count(rejected),
            if self.is_part { "of the whole source " } else { "" },
            self.marks.words(MarkKind::Block),
            self.marks.words(MarkKind::Restart),
            self.marks.words(MarkKind::Outage),
        )
    }

    fn table(&self) -> Markup {
        let rate = |rate: Option<f64>| {
            rate.map_or_else(|| "no data".to_owned(), |rate| text::hashrate(Hashrate::from_hashes_per_second(rate), 3))
        };
        let number = |count: Option<u64>| count.map_or_else(|| "no data".to_owned(), numbers::count);
        html! {
            div.frame tabindex="0" role="region" aria-label="Table: Values of the graphs" data-graph-values="" {
                table {
                    caption { (self.hashrate_summary()) " " (self.shares_summary()) }
                    thead {
                        tr {
                            th scope="col" { "From" }
                            th.number scope="col" { "Hashrate" }
                            th.number scope="col" { "Low" }
                            th.number scope="col" { "High" }
                            th.number scope="col" { "Observed" }
                            th.number scope="col" { "Accepted" }
                            th.number scope="col" { "Rejected" }
                        }
                    }
                    tbody {
                        @for point in self.answer.points.iter().rev() {
                            tr data-key=(point.at_ms) {
                                th scope="row" { (numbers::moment(point.at_ms)) }
                                td.number { (rate(point.value)) }
                                td.number { (rate(point.low)) }
                                td.number { (rate(point.high)) }
                                td.number { (numbers::part(point.observed)) }
                                td.number { (number(point.accepted)) }
                                td.number { (number(point.rejected)) }
                            }
                        }
                    }
                }
            }
            @if !self.marks.list.is_empty() { (self.marks.table()) }
        }
    }
}

/// Takes away the steps that still run, where they are short: what is on its way to the history would look like a fall.
fn without_the_unfinished(answer: &mut SeriesAnswer, now_ms: u64) {
    if answer.step_ms <= SHORT_STEP_MS {
        let settled = now_ms.saturating_sub(ON_ITS_WAY_MS);
        answer.points.retain(|point| point.at_ms + answer.step_ms <= settled);
    }
}

/// What scripts ask for.
#[derive(Debug, Deserialize)]
pub(super) struct GraphQuery {
    source: Option<String>,
    name: Option<String>,
    kind: Option<String>,
    range: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    /// When the history of the subject begins, as the page knows it: it decides which range is usual.
    begins: Option<u64>,
}

impl GraphQuery {
    fn range(&self) -> RangeQuery {
        RangeQuery::new(self.range.as_deref(), self.from, self.to)
    }
}

/// The data of both graphs, by columns. Private to the pages' scripts: programs use the API.
#[derive(Debug, Serialize)]
struct GraphData {
    from_ms: u64,
    to_ms: u64,
    step_ms: u64,
    range: Option<&'static str>,
    value: Vec<Option<f64>>,
    low: Vec<Option<f64>>,
    high: Vec<Option<f64>>,
    observed: Vec<f64>,
    accepted: Vec<Option<u64>>,
    rejected: Vec<Option<u64>>,
    marks: Vec<Mark>,
    hashrate_summary: String,
    shares_summary: String,
}

impl From<Graph> for GraphData {
    fn from(graph: Graph) -> Self {
        let (hashrate_summary, shares_summary) = (graph.hashrate_summary(), graph.shares_summary());
        let points = &graph.answer.points;
        // Five digits are more than a screen resolves and half of what the number has.
        let short = |number: f64| format!("{number:.4e}").parse().unwrap_or(number);
        Self {
            from_ms: graph.answer.from_ms,
            to_ms: graph.answer.to_ms,
            step_ms: graph.answer.step_ms,
            range: graph.range.name,
            value: points.iter().map(|point| point.value.map(short)).collect(),
            low: points.iter().map(|point| point.low.map(short)).collect(),
            high: points.iter().map(|point| point.high.map(short)).collect(),
            observed: points.iter().map(|point| short(point.observed)).collect(),
            accepted: points.iter().map(|point| point.accepted).collect(),
            rejected: points.iter().map(|point| point.rejected).collect(),
            marks: graph.marks.list,
            hashrate_summary,
            shares_summary,
        }
    }
}

pub(super) async fn data(
    State(state): State<AppState>,
    Query(asked): Query<GraphQuery>,
) -> Result<impl IntoResponse, PageError> {
    let overview = state.overview().await?;
    let (range, begins_ms) = (asked.range(), asked.begins);
    let source = SourceQuery { source: asked.source }.of(&overview)?;
    let source = source.ok_or_else(|| PageError::Unknown { what: "a source".to_owned() })?;
    let subject = match asked.name {
        Some(name) => {
            let is_miner = asked.kind.as_deref() == Some("miner");
            GraphSubject::Worker { name: real_name(&state, source, name, is_miner).await?, is_miner }
        }
        None => GraphSubject::Source,
    };
    let graph = Graph::ask_points(&state, source, subject, range, begins_ms, DATA_POINTS).await?;
    let graph = graph.ok_or_else(|| PageError::Unknown { what: "a series".to_owned() })?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(GraphData::from(graph))))
}
