//! A steady thousand events a second: what the sidecar costs, and how soon an event is in SQLite.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sidecar_process::{Sidecar, Sinks, simulate};
use crate::table::{Limit, Table};

const RATE: u64 = 1_000;
/// The default `max_delay` of the journal, and what the way through publisher, driver and SQLite may add.
const LIMIT_MS: f64 = 200.0 + 100.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let seconds = if quick { 10 } else { 60 };
    let sidecar = Sidecar::start(Sinks { sqlite: true, log_file: false })?;
    let database = sidecar.path("stats.db");
    let cpu_before = sidecar.cpu_time()?;
    let begin = Instant::now();
    let mut delays = std::thread::scope(|scope| -> Result<Vec<f64>> {
        let watcher = scope.spawn(move || watch(&database, Duration::from_secs(seconds)));
        let events = (RATE * seconds).to_string();
        simulate(&sidecar, &["--miners", "100", "--rate", &RATE.to_string(), "--events", &events, "--seed", "2"])?;
        watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    })?;
    let cpu = sidecar.cpu_time()? - cpu_before;
    let share = 100.0 * cpu.as_secs_f64() / begin.elapsed().as_secs_f64();
    table.add(format!("{RATE} events/s: CPU of the sidecar"), share, "% of a core", Limit::AtMost(2.0));
    ensure!(!delays.is_empty(), "nothing reached SQLite");
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    table.add(format!("{RATE} events/s: event to SQLite, p50"), at(0.5), "ms", Limit::None);
    table.add(format!("{RATE} events/s: event to SQLite, p99"), at(0.99), "ms", Limit::AtMost(LIMIT_MS));
    Ok(())
}

/// Looks again and again at the time of the newest share in the history. Each time it moves, everything between the old
/// and the new value has just become visible: the oldest of it waited longest, and that wait is what is recorded.
fn watch(database: &std::path::Path, patience: Duration) -> Result<Vec<f64>> {
    let history = rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .context("cannot read the history")?;
    let mut newest = history.prepare("SELECT max(last_share_at) FROM channels")?;
    let (mut delays, mut seen) = (Vec::new(), None::<i64>);
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let now_newest: Option<i64> = newest.query_row([], |row| row.get(0))?;
        if let (Some(old), Some(new)) = (seen, now_newest)
            && new > old
        {
            let now = stats_sv2::UnixMillis::now().0 as i64;
            delays.push((now - old) as f64);
        }
        seen = now_newest.or(seen);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(delays)
}
