//! `stats`: what a history database says.

mod quotes;

use std::io::{self, Write};
use std::time::Duration;

use mining_stats::text;
use serde_json::json;
use sink_sqlite::query::{
    EhashOf, EhashView, GroupView, History, MinerView, Overview, Part, QueryError, QuoteKey, QuoteReport, SourceView,
    WorkerView,
};
use stats_sv2::UnixMillis;

use crate::cli::StatsArgs;
use crate::exit::{Exit, Failure, must_exist, output};
use crate::report::{interval, table, untrusted};

/// Workers, and rows of ehash, shown of one publisher.
const MAX_WORKERS: u32 = 1_000;
/// Rows of ehash in the table for people.
const TOP_IDENTITIES: usize = 10;

/// What is said about one publisher.
struct Source<'a> {
    view: &'a SourceView,
    workers: Vec<WorkerView>,
    miners: Vec<MinerView>,
    quotes: QuoteReport,
    ehash: [Vec<EhashView>; 3],
}

pub(crate) fn stats(args: &StatsArgs) -> Result<(), Failure> {
    let failed = |error: QueryError| {
        let failure = Failure::from_error(Exit::Failure, &error);
        match error {
            QueryError::Open(_) => failure.advice(format!("is {} the path of an sqlite sink?", args.db.display())),
            _ => failure,
        }
    };
    must_exist(&args.db, "name the path of a sink of type sqlite; its file is there once a sidecar has run")?;
    let history = History::open(&args.db).map_err(failed)?;
    if let Some(key) = &args.quote {
        return follow(&history, key, args).map_err(failed)?;
    }
    let UnixMillis(now_ms) = UnixMillis::now();
    let mut overview = history.overview(now_ms).map_err(failed)?;
    if let Some(publisher) = &args.publisher {
        overview.sources.retain(|source| source.publisher == *publisher);
        if overview.sources.is_empty() {
            return Err(failed(QueryError::UnknownPublisher { publisher: publisher.clone() }));
        }
        overview.sources_total = 1;
    }
    let sources: Result<Vec<_>, _> =
        overview.sources.iter().map(|view| Source::read(&history, view, args.window, now_ms)).collect();
    let sources = sources.map_err(failed)?;
    let mut out = io::stdout().lock();
    output(if args.json {
        let workers: Vec<_> = sources
            .iter()
            .map(|source| json!({ "publisher": source.view.publisher, "workers": source.workers }))
            .collect();
        let miners: Vec<_> = sources
            .iter()
            .map(|source| json!({ "publisher": source.view.publisher, "miners": source.miners }))
            .collect();
        let quotes: Vec<_> = sources.iter().map(Source::quotes_json).collect();
        let all = json!({ "overview": overview, "workers": workers, "miners": miners, "quotes": quotes });
        writeln!(out, "{all}")
    } else {
        write_all(&mut out, &overview, &sources, args.window)
    })
}

/// Follows one quote. The outer error is the history's, the inner one that of the command.
fn follow(history: &History, key: &QuoteKey, args: &StatsArgs) -> Result<Result<(), Failure>, QueryError> {
    let publisher = args.publisher.as_deref();
    let traces = history.trace_quotes(key, publisher)?;
    let payments = match key {
        QuoteKey::QuoteId(id) if traces.is_empty() => history.unknown_payments(id, publisher)?,
        _ => Vec::new(),
    };
    let mut out = io::stdout().lock();
    let written = output(if args.json {
        writeln!(out, "{}", json!({ "quotes": traces, "unknown_payments": payments }))
    } else {
        quotes::write_traces(&mut out, &traces, &payments)
    });
    if written.is_err() || !traces.is_empty() {
        return Ok(written);
    }
    let failure = Failure::new(Exit::Failure, format!("no quote is known for {}", untrusted(&key.to_string())));
    Ok(Err(failure.advice(
        "a quote is kept for the time that retention.quotes of the sqlite sink says; a share below the minimum has none",
    )))
}

impl<'a> Source<'a> {
    fn read(history: &History, view: &'a SourceView, window: Duration, now_ms: u64) -> Result<Self, QueryError> {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX >> 1);
        let name = &view.publisher;
        let ehash = |of| history.ehash(name, of, &Part::first(MAX_WORKERS));
        Ok(Self {
            view,
            workers: history.workers(name, window_ms, now_ms, None, MAX_WORKERS)?,
            miners: history.miners(name, window_ms, now_ms, None, MAX_WORKERS)?,
            quotes: history.quote_report(name, window_ms, now_ms)?,
            ehash: [ehash(EhashOf::Identity)?, ehash(EhashOf::Downstream)?, ehash(EhashOf::Channel)?],
        })
    }

    fn quotes_json(&self) -> serde_json::Value {
        let [by_identity, by_downstream, by_channel] = &self.ehash;
        json!({
            "publisher": self.view.publisher,
            "report": self.quotes,
            "ehash": { "by_identity": by_identity, "by_downstream": by_downstream, "by_channel": by_channel },
        })
    }
}

fn write_all(out: &mut impl Write, overview: &Overview, sources: &[Source<'_>], window: Duration) -> io::Result<()> {
    if sources.is_empty() {
        return writeln!(out, "no publisher has been heard yet");
    }
    for source in sources {
        let view = source.view;
        write_source(out, view, overview.now_ms)?;
        for (what, group) in [("channels", &view.channels), ("SV1 miners", &view.miners)] {
            if let Some(group) = group {
                write_group(out, what, group)?;
            }
        }
        // Miners have a table of their own, with what only they have.
        let identities: Vec<_> = source.workers.iter().filter(|worker| !worker.is_miner).collect();
        if !identities.is_empty() {
            write_workers(out, &identities, window)?;
        }
        if !source.miners.is_empty() {
            write_miners(out, &source.miners, window)?;
        }
        quotes::write_report(out, &source.quotes, window)?;
        quotes::write_top(out, &source.ehash[0], TOP_IDENTITIES)?;
        writeln!(out)?;
    }
    let hidden = overview.sources_total.saturating_sub(sources.len() as u64);
    if hidden > 0 {
        writeln!(out, "{hidden} more publishers are not shown")?;
    }
    Ok(())
}

fn write_source(out: &mut impl Write, source: &SourceView, now_ms: u64) -> io::Result<()> {
    let ago = Duration::from_secs(now_ms.saturating_sub(source.last_event_ms) / 1000);
    writeln!(
        out,
        "{} ({}, {}), last event {} ago",
        untrusted(&source.publisher),
        source.role,
        untrusted(&source.vendor),
        humantime::format_duration(ago)
    )?;
    writeln!(
        out,
        "  open: {} downstreams, {} channels, {} SV1 miners; blocks found: {}; lost: {} dropped, {} missing events",
        source.downstreams,
        source.channels_open,
        source.miners_open,
        source.blocks.len(),
        source.events_dropped,
        source.events_missing
    )
}

fn write_group(out: &mut impl Write, what: &str, group: &GroupView) -> io::Result<()> {
    let totals = &group.totals;
    writeln!(out, "  {what}: {} shares accepted, {} rejected", totals.accepted, totals.rejected)?;
    for (reason, count) in &totals.rejected_by_reason {
        writeln!(out, "    {count} {reason}")?;
    }
    let rows = group.windows.iter().map(|window| {
        vec![
            format!("  {}", window.window),
            window.text.clone(),
            interval(&window.reading),
            window.accepted.to_string(),
        ]
    });
    writeln!(out, "{}", table(&["  window", "hashrate", "95 % interval", "shares"], rows.collect(), &[3]))
}

fn write_workers(out: &mut impl Write, workers: &[&WorkerView], window: Duration) -> io::Result<()> {
    let rows = workers.iter().map(|worker| row_of(worker)).collect();
    let hashrate = hashrate_over(window);
    let header = ["  worker", "", &hashrate, "95 % interval", "shares", "rejected", "difficulty"];
    writeln!(out, "{}", table(&header, rows, &[4, 5, 6]))
}

/// A miner's rejects and programs stand in its row: they are what one looks for.
fn write_miners(out: &mut impl Write, miners: &[MinerView], window: Duration) -> io::Result<()> {
    let rows = miners.iter().map(|miner| {
        let mut row = row_of(&miner.worker);
        let reasons = &miner.worker.totals.rejected_by_reason;
        let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let programs: Vec<_> = miner.user_agents.iter().take(3).map(|program| untrusted(&program.user_agent)).collect();
        row.extend([miner.connections.to_string(), reasons.join(", "), programs.join(", ")]);
        row
    });
    let hashrate = hashrate_over(window);
    let header = [
        "  miner",
        "",
        &hashrate,
        "95 % interval",
        "shares",
        "rejected",
        "difficulty",
        "connections",
        "reasons",
        "programs",
    ];
    writeln!(out, "{}", table(&header, rows.collect(), &[4, 5, 6, 7]))
}

fn row_of(worker: &WorkerView) -> Vec<String> {
    vec![
        format!("  {}", untrusted(&worker.name)),
        if worker.open > 0 { "open".to_owned() } else { "away".to_owned() },
        worker.window.text.clone(),
        interval(&worker.window.reading),
        worker.totals.accepted.to_string(),
        worker.totals.rejected.to_string(),
        worker.difficulty.map(text::difficulty).unwrap_or_default(),
    ]
}

fn hashrate_over(window: Duration) -> String {
    format!("hashrate over {}", humantime::format_duration(window))
}
