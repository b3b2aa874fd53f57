//! `simulate --rate max` with a thousand channels into `run`, both on the same cores: events a second until the cursor of
//! every sink has reached the last event.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::reference;
use crate::sidecar_process::{Sidecar, Sinks, appended, caught_up, simulate};
use crate::table::{Limit, Table};

const MINERS: &str = "1000";
/// Resident memory that the sidecar may use throughout.
const MEMORY_MIB: f64 = 64.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let scale = if quick { 10 } else { 1 };
    let bare = reference::bare_path(20_000_000 / scale)?;
    table.add("bare path: TCP, SQLite rows of 1 MiB, a sync each", bare, "events/s", Limit::None);
    for (what, sinks, events, limit) in [
        ("journal alone", Sinks { sqlite: false, log_file: false }, 20_000_000, 2e6),
        ("journal and SQLite", Sinks { sqlite: true, log_file: false }, 10_000_000, 1e6),
        ("journal, SQLite and log file", Sinks { sqlite: true, log_file: true }, 5_000_000, 5e5),
    ] {
        let run = one(sinks, events / scale)?;
        table.add(what, run.events_per_s, "events/s", Limit::AtLeast(limit));
        table.add(format!("{what}: share of the bare path"), 100.0 * run.events_per_s / bare, "%", Limit::None);
        table.add(format!("{what}: per CPU-second of the sidecar"), run.events_per_cpu_s, "events", Limit::None);
        table.add(format!("{what}: resident memory, peak"), run.peak_mib, "MiB", Limit::AtMost(MEMORY_MIB));
    }
    Ok(())
}

struct Run {
    events_per_s: f64,
    events_per_cpu_s: f64,
    peak_mib: f64,
}

fn one(sinks: Sinks, events: u64) -> Result<Run> {
    let sidecar = Sidecar::start(sinks)?;
    let cpu_before = sidecar.cpu_time()?;
    let before = appended(&sidecar.pipeline()?).context("/pipeline does not say how much was appended")?;
    let begin = Instant::now();
    let report =
        simulate(&sidecar, &["--miners", MINERS, "--rate", "max", "--events", &events.to_string(), "--seed", "1"])?;
    let elapsed = sidecar.wait_for(begin, |pipeline| {
        appended(pipeline).is_some_and(|now| now >= before + events) && caught_up(pipeline)
    })?;
    let cpu = sidecar.cpu_time()? - cpu_before;
    ensure!(report["dropped"] == 0, "simulate dropped events: {report}");
    let (_, peak_mib) = sidecar.memory_mib()?;
    Ok(Run {
        events_per_s: events as f64 / elapsed.as_secs_f64(),
        events_per_cpu_s: events as f64 / cpu.as_secs_f64(),
        peak_mib,
    })
}
