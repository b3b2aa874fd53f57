//! The heavy tier (`cargo xtask heavy`): ten thousand connections, and fifty million events with memory that stays flat.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sidecar_process::{Sidecar, Sinks, appended, caught_up, simulate};
use crate::table::{Limit, Table};

const CONNECTIONS: usize = 10_000;
const EVENTS: u64 = 50_000_000;
const MEMORY_MIB: f64 = 64.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    connections(table, if quick { 500 } else { CONNECTIONS })?;
    long_run(table, if quick { EVENTS / 20 } else { EVENTS })
}

/// Connections that say nothing: those over the limit are closed at once, the others when the handshake is late, and a
/// publisher beside them does not notice.
fn connections(table: &mut Table, count: usize) -> Result<()> {
    let sidecar = Sidecar::start(Sinks { sqlite: true, log_file: false })?;
    let mut open = Vec::with_capacity(count);
    let mut refused = 0_u64;
    let begin = Instant::now();
    for _ in 0..count {
        match std::net::TcpStream::connect(&sidecar.listen) {
            Ok(stream) => open.push(stream),
            Err(_) => refused += 1,
        }
    }
    table.add(format!("{count} silent connections: seconds to make"), begin.elapsed().as_secs_f64(), "s", Limit::None);
    table.add(format!("{count} silent connections: not accepted by the kernel"), refused as f64, "", Limit::None);
    let report = simulate(&sidecar, &["--miners", "100", "--rate", "1000", "--events", "10000", "--seed", "5"])?;
    ensure!(report["dropped"] == 0 && report["acknowledged"] == 10_000, "{report}");
    table.add(
        format!("{count} silent connections: events acknowledged beside them"),
        10_000.0,
        "",
        Limit::AtLeast(10_000.0),
    );
    let (_, peak) = sidecar.memory_mib()?;
    table.add(format!("{count} silent connections: resident memory, peak"), peak, "MiB", Limit::AtMost(MEMORY_MIB));
    Ok(())
}

fn long_run(table: &mut Table, events: u64) -> Result<()> {
    let sidecar = Sidecar::start(Sinks { sqlite: true, log_file: false })?;
    let begin = Instant::now();
    let mut samples: Vec<f64> = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let arguments =
            ["--miners", "1000", "--rate", "max", "--events", &events.to_string(), "--seed", "6"].map(str::to_owned);
        let sidecar = &sidecar;
        let run = scope.spawn(move || simulate(sidecar, &arguments.each_ref().map(String::as_str)));
        while !run.is_finished() {
            samples.push(sidecar.memory_mib()?.0);
            std::thread::sleep(Duration::from_millis(500));
        }
        let report = run.join().map_err(|_| anyhow::anyhow!("simulate's watcher panicked"))??;
        ensure!(report["dropped"] == 0, "{report}");
        Ok(())
    })?;
    sidecar.wait_for(begin, |now| appended(now).is_some_and(|count| count >= events) && caught_up(now))?;
    let (_, peak) = sidecar.memory_mib()?;
    // Flat: the second half needs no more than the first.
    let half = samples.len() / 2;
    let highest = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let growth = highest(samples.get(half..).context("no samples")?) - highest(&samples[..half]);
    let what = format!("{} million events", events / 1_000_000);
    table.add(format!("{what}: resident memory, peak"), peak, "MiB", Limit::AtMost(MEMORY_MIB));
    table.add(format!("{what}: growth in the second half"), growth, "MiB", Limit::AtMost(2.0));
    Ok(())
}
