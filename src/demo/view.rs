//! The live table, and the summary at the end.

use std::path::Path;

use console::Term;
use mining_stats::{Hashrate, text};
use sidecar_pipeline::{DrainReport, PipelineSnapshot};
use sink_sqlite::query::{History, Overview, QueryError, QuoteCounts, WorkerView};
use stats_publisher::{Counters, DeliveryReport};
use stats_sv2::UnixMillis;

use super::PUBLISHER;
use super::truth::Truth;
use crate::cli::DemoArgs;
use crate::exit::{Exit, Failure, output};
use crate::report::{interval, table};
use crate::sidecar::Sidecar;

/// The table shows the hashrate over this window.
const WINDOW: &str = "1m";
const WINDOW_MS: u64 = 60_000;
/// Lines beside the miners' own.
const FRAME_LINES: u16 = 14;
/// Miners shown where the screen has no height.
const FEW_MINERS: u16 = 10;
/// Where nobody watches a terminal, a line comes after so many drawings.
const PLAIN_EVERY: u32 = 5;
/// Miners asked for; those that fit are shown.
const MAX_MINERS: u32 = 100;

/// Where the table is drawn.
pub(super) struct Screen {
    term: Term,
    header: String,
    /// Lines of the last drawing, to be drawn over.
    drawn: usize,
    drawings: u32,
}

impl Screen {
    pub(super) fn new(args: &DemoArgs, sidecar: &Sidecar) -> Self {
        let listen = sidecar.address().map(|address| address.to_string()).unwrap_or_default();
        let dashboard = sidecar.sink_address("dashboard").map(|address| format!("dashboard: http://{address}/\n"));
        let header = format!(
            "{}hashpool-sidecar demo: {} simulated miners, seed {}; sidecar on {listen}, http://{}/pipeline",
            dashboard.unwrap_or_default(),
            args.fleet.miners,
            args.fleet.seed,
            sidecar.admin_address(),
        );
        Self { term: Term::buffered_stdout(), header, drawn: 0, drawings: 0 }
    }

    pub(super) fn draw(
        &mut self,
        history: &Path,
        truth: Option<&Truth>,
        counters: &Counters,
        pipeline: &PipelineSnapshot,
    ) -> Result<(), Failure> {
        self.drawings += 1;
        let is_term = self.term.is_term();
        if !is_term && self.drawings % PLAIN_EVERY != 1 {
            return Ok(());
        }
        let Some(page) = Page::read(history).map_err(|error| Failure::from_error(Exit::Failure, &error))? else {
            return Ok(());
        };
        let (height, _) = self.term.size();
        let rows = if is_term { height.saturating_sub(FRAME_LINES).max(3) } else { FEW_MINERS };
        let text = if is_term {
            format!(
                "{}\n\n{}{}{}Ctrl-C ends\n",
                self.header,
                page.table(truth, rows),
                page.quotes(),
                health(counters, pipeline)
            )
        } else {
            let header = if self.drawings == 1 { format!("{}\n", self.header) } else { String::new() };
            format!("{header}{}\n", page.line(truth, counters))
        };
        let drawn = self.drawn;
        self.drawn = if is_term { text.lines().count() } else { 0 };
        output(
            self.term
                .clear_last_lines(drawn)
                .and_then(|()| self.term.write_str(&text))
                .and_then(|()| self.term.flush()),
        )
    }
}

/// What the history says now.
struct Page {
    overview: Overview,
    workers: Vec<WorkerView>,
    from_ms: u64,
}

impl Page {
    /// `None` before the history knows the pool.
    fn read(path: &Path) -> Result<Option<Self>, QueryError> {
        let UnixMillis(now) = UnixMillis::now();
        let history = History::open(path)?;
        let overview = history.overview(now)?;
        if overview.sources.is_empty() {
            return Ok(None);
        }
        let workers = history.workers(PUBLISHER, WINDOW_MS, now, None, MAX_MINERS)?;
        let window_ms = workers.first().map_or(WINDOW_MS, |worker| worker.window.window_ms);
        Ok(Some(Self { overview, workers, from_ms: now.saturating_sub(window_ms) }))
    }

    fn total(&self) -> Option<&sink_sqlite::query::WindowReading> {
        let group = self.overview.sources.first()?.channels.as_ref()?;
        group.windows.iter().find(|window| window.window == WINDOW)
    }

    fn table(&self, truth: Option<&Truth>, rows: u16) -> String {
        let rates = truth.and_then(|truth| truth.hashrates_since(self.from_ms));
        let show = |rate: Option<f64>| {
            rate.map(|rate| text::hashrate(Hashrate::from_hashes_per_second(rate), 3)).unwrap_or_default()
        };
        let true_rate = |name: &str| {
            let index = truth?.miners.iter().position(|miner| miner.name == name)?;
            rates.as_ref()?.get(index).copied()
        };
        let is_away = |name: &str| {
            truth.is_some_and(|truth| truth.miners.iter().any(|miner| miner.name == name && !miner.connected))
        };
        let mut lines = Vec::new();
        if let (Some(window), Some(source)) = (self.total(), self.overview.sources.first()) {
            let totals = source.channels.as_ref().map(|group| &group.totals);
            lines.push(vec![
                format!("all of {PUBLISHER}"),
                window.text.clone(),
                interval(&window.reading),
                show(rates.as_ref().map(|rates| rates.iter().sum())),
                totals.map(|totals| totals.accepted.to_string()).unwrap_or_default(),
                totals.map(|totals| totals.rejected.to_string()).unwrap_or_default(),
            ]);
        }
        lines.extend(self.workers.iter().take(usize::from(rows)).map(|worker| {
            let away = if is_away(&worker.name) { " (away)" } else { "" };
            vec![
                format!("  {}{away}", worker.name),
                worker.window.text.clone(),
                interval(&worker.window.reading),
                show(true_rate(&worker.name)),
                worker.totals.accepted.to_string(),
                worker.totals.rejected.to_string(),
            ]
        }));
        let header = ["miner", "measured over 1 m", "95 % interval", "true", "shares", "rejected"];
        let mut text = table(&header, lines, &[3, 4, 5]);
        let hidden = self.workers.len().saturating_sub(usize::from(rows));
        if hidden > 0 {
            text += &format!("\n  and {hidden} more");
        }
        text + "\n\n"
    }

    /// One line about quotes.
    fn quotes(&self) -> String {
        let Some(source) = self.overview.sources.first() else { return String::new() };
        let ehash = source.channels.as_ref().map_or("0", |group| &group.totals.ehash);
        let QuoteCounts { created, sent, answered, failed, paid, abandoned } = source.quotes;
        format!(
            "quotes: {} worth {ehash} ehash; {} wait, {answered} answered, {paid} paid, {failed} failed\n",
            created + sent + answered + failed + paid + abandoned,
            created + sent,
        )
    }

    /// The same in one line, for a log.
    fn line(&self, truth: Option<&Truth>, counters: &Counters) -> String {
        let measured = self.total().map_or_else(
            || "nothing measured yet".to_owned(),
            |window| format!("{} ({})", window.text, interval(&window.reading)),
        );
        let true_rate = truth
            .and_then(|truth| truth.hashrates_since(self.from_ms))
            .map(|rates| text::hashrate(Hashrate::from_hashes_per_second(rates.iter().sum()), 3))
            .map(|rate| format!(", true {rate}"))
            .unwrap_or_default();
        format!(
            "measured {measured}{true_rate}; {} events acknowledged, {} dropped",
            counters.acknowledged, counters.dropped
        )
    }
}

fn health(counters: &Counters, pipeline: &PipelineSnapshot) -> String {
    let latency = match (counters.ack_latency_p50, counters.ack_latency_p99) {
        (Some(p50), Some(p99)) => format!("ack latency {:.0} ms p50, {:.0} ms p99", ms(p50), ms(p99)),
        _ => "no acknowledgement yet".to_owned(),
    };
    let mut text = format!(
        "publisher: {} published, {} acknowledged, {} dropped; {latency}\njournal: {}, {} events\n",
        counters.published,
        counters.acknowledged,
        counters.dropped,
        pipeline.journal.health,
        pipeline.journal.stats.appended_events
    );
    for (name, sink) in &pipeline.sinks {
        text += &format!(
            "sink {name}: {}, {} delivered, {} pending\n",
            sink.health.status, sink.ledger.delivered, sink.ledger.pending
        );
    }
    text
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What came of it, and where it is.
pub(super) fn summary(
    truth: &Truth,
    counters: &Counters,
    delivered: DeliveryReport,
    report: &DrainReport,
    history: &Path,
    folder: &Path,
) -> Result<String, Failure> {
    let page = Page::read(history).map_err(|error| Failure::from_error(Exit::Failure, &error))?;
    let totals =
        page.as_ref().and_then(|page| page.overview.sources.first()?.channels.as_ref()).map(|group| &group.totals);
    let (accepted, rejected) = totals.map_or((0, 0), |totals| (totals.accepted, totals.rejected));
    let mut text = String::new();
    text += &format!("\nsimulated   {:>10} shares accepted, {} rejected\n", truth.accepted, truth.rejected);
    text += &format!("in history  {accepted:>10} shares accepted, {rejected} rejected\n");
    let told = &truth.quotes;
    let told_states = QuoteCounts {
        answered: told.answered - told.paid,
        paid: told.paid,
        failed: told.failed,
        // Whoever waits for an answer when the pool ends waits for nothing.
        abandoned: told.pending(),
        ..QuoteCounts::default()
    };
    let states = page.as_ref().and_then(|page| page.overview.sources.first()).map(|source| source.quotes);
    let ehash = totals.map_or("0", |totals| &totals.ehash);
    text += &format!("simulated   {}\n", quotes_text(&told_states, &told.ehash.to_string()));
    text += &format!("in history  {}\n", quotes_text(&states.unwrap_or_default(), ehash));
    text += &format!(
        "published   {:>10} events, {} acknowledged, {} dropped, {} left\n",
        counters.published, delivered.acknowledged, counters.dropped, delivered.left
    );
    for sink in &report.sinks {
        let ledger = &sink.ledger;
        text +=
            &format!("sink {:<10} {:>6} events delivered, {} pending\n", sink.name, ledger.delivered, ledger.pending);
    }
    let folder = folder.display();
    text += &format!(
        "\nThe files are in {folder}: journal.db, stats.db (history), events.jsonl (every event), sidecar.toml\n  \
         hashpool-sidecar stats --db {folder}/stats.db\n  hashpool-sidecar journal stats --path {folder}/journal.db\n  \
         rm -r {folder}\n"
    );
    Ok(text)
}

/// Quotes by state, in one line that two sides can be compared by.
fn quotes_text(counts: &QuoteCounts, ehash: &str) -> String {
    let QuoteCounts { created, sent, answered, failed, paid, abandoned } = counts;
    let all = created + sent + answered + failed + paid + abandoned;
    let mut text = format!("{all:>10} quotes worth {ehash} ehash: {answered} answered, {paid} paid, {failed} failed");
    for (count, state) in [(created, "created"), (sent, "sent"), (abandoned, "abandoned")] {
        if *count > 0 {
            text += &format!(", {count} {state}");
        }
    }
    text
}
