//! Start to ready with a journal and a history of a gigabyte each.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::decode::median;
use crate::sidecar_process::{Sidecar, Sinks, appended, caught_up, simulate};
use crate::table::{Limit, Table};

const STARTS: usize = 5;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    // 34 bytes a share: a gigabyte of journal.
    let events: u64 = if quick { 1_000_000 } else { 32_000_000 };
    let sinks = Sinks { sqlite: true, log_file: false };
    let sidecar = Sidecar::start(sinks)?;
    let begin = Instant::now();
    simulate(&sidecar, &["--miners", "1000", "--rate", "max", "--events", &events.to_string(), "--seed", "3"])?;
    sidecar.wait_for(begin, |now| appended(now).is_some_and(|count| count >= events) && caught_up(now))?;
    let (journal, history) = (sidecar.path("journal.db"), sidecar.path("stats.db"));
    let mut folder = sidecar.stop()?;
    grow_history(&history, if quick { 32 << 20 } else { 1 << 30 })?;
    let size =
        |path: &std::path::Path| std::fs::metadata(path).map_or(0.0, |data| data.len() as f64 / f64::from(1 << 20));
    table.add("size of the journal", size(&journal), "MiB", Limit::None);
    table.add("size of the history", size(&history), "MiB", Limit::None);
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let sidecar = Sidecar::start_in(folder, sinks)?;
        starts.push(sidecar.ready_after.as_secs_f64() * 1e3);
        folder = sidecar.stop()?;
    }
    table.add("start to ready", median(starts), "ms", Limit::AtMost(200.0));
    Ok(())
}

/// Fills the history with five-minute buckets of the last three months, for every series that it knows, until the file has
/// `bytes`.
fn grow_history(path: &std::path::Path, bytes: u64) -> Result<()> {
    const BUCKET_MS: u64 = 300_000;
    let history = rusqlite::Connection::open(path).context("cannot open the history")?;
    history.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = off")?;
    let mut insert = history.prepare(
        "INSERT OR IGNORE INTO rollup_5m (bucket, series, accepted, invalid_target, rejected, work, work_squared,
             squares_are_lower_bound, unrated_shares, unrated_work, unrated_work_squared, best_share_work)
         SELECT ?1, id, 30, 0, 0, 3e10, 9e20, 0, 0, 0, 0, 1e9 FROM series",
    )?;
    let now = stats_sv2::UnixMillis::now().0;
    let mut bucket = now - now % BUCKET_MS - 85 * 24 * 3_600_000;
    while std::fs::metadata(path)?.len() < bytes && bucket < now - BUCKET_MS {
        history.execute_batch("BEGIN")?;
        for _ in 0..200 {
            insert.execute([bucket])?;
            bucket += BUCKET_MS;
        }
        history.execute_batch("COMMIT; PRAGMA wal_checkpoint(truncate)")?;
    }
    Ok(())
}
