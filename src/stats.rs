//! `stats`: what a history database says.

use std::io::{self, Write};
use std::time::Duration;

use mining_stats::text;
use serde_json::json;
use sink_sqlite::query::{GroupView, History, Overview, QueryError, SourceView, WorkerView};
use stats_sv2::UnixMillis;

use crate::cli::StatsArgs;
use crate::exit::{Exit, Failure, output};
use crate::report::{interval, table, untrusted};

/// Workers shown of one publisher.
const MAX_WORKERS: u32 = 1_000;

pub(crate) fn stats(args: &StatsArgs) -> Result<(), Failure> {
    let failed = |error: QueryError| {
        let failure = Failure::from_error(Exit::Failure, &error);
        match error {
            QueryError::Open(_) => failure.advice(format!("is {} the path of an sqlite sink?", args.db.display())),
            _ => failure,
        }
    };
    let history = History::open(&args.db).map_err(failed)?;
    let UnixMillis(now_ms) = UnixMillis::now();
    let window_ms = u64::try_from(args.window.as_millis()).unwrap_or(u64::MAX >> 1);
    let overview = history.overview(now_ms).map_err(failed)?;
    let mut workers = Vec::new();
    for source in &overview.sources {
        workers.push(history.workers(&source.publisher, window_ms, now_ms, None, MAX_WORKERS).map_err(failed)?);
    }
    let mut out = io::stdout().lock();
    output(if args.json {
        let workers: Vec<_> = overview
            .sources
            .iter()
            .zip(&workers)
            .map(|(source, workers)| json!({ "publisher": source.publisher, "workers": workers }))
            .collect();
        writeln!(out, "{}", json!({ "overview": overview, "workers": workers }))
    } else {
        write_all(&mut out, &overview, &workers, args.window)
    })
}

fn write_all(
    out: &mut impl Write,
    overview: &Overview,
    workers: &[Vec<WorkerView>],
    window: Duration,
) -> io::Result<()> {
    if overview.sources.is_empty() {
        return writeln!(out, "no publisher has been heard yet");
    }
    for (source, workers) in overview.sources.iter().zip(workers) {
        write_source(out, source, overview.now_ms)?;
        for (what, group) in [("channels", &source.channels), ("SV1 miners", &source.miners)] {
            if let Some(group) = group {
                write_group(out, what, group)?;
            }
        }
        if !workers.is_empty() {
            write_workers(out, workers, window)?;
        }
        writeln!(out)?;
    }
    let hidden = overview.sources_total.saturating_sub(overview.sources.len() as u64);
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

fn write_workers(out: &mut impl Write, workers: &[WorkerView], window: Duration) -> io::Result<()> {
    let rows = workers.iter().map(|worker| {
        vec![
            format!("  {}", untrusted(&worker.name)),
            if worker.open > 0 { "open".to_owned() } else { "away".to_owned() },
            worker.window.text.clone(),
            interval(&worker.window.reading),
            worker.totals.accepted.to_string(),
            worker.totals.rejected.to_string(),
            worker.difficulty.map(text::difficulty).unwrap_or_default(),
        ]
    });
    let hashrate = format!("hashrate over {}", humantime::format_duration(window));
    let header = ["  worker", "", &hashrate, "95 % interval", "shares", "rejected", "difficulty"];
    writeln!(out, "{}", table(&header, rows.collect(), &[4, 5, 6]))
}
