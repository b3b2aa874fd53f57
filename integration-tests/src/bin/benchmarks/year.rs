//! A sidecar over a year of a thousand workers, with or without a dashboard, and the simulated pool that goes on where the
//! year ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::YearDatabase;

use crate::sidecar_process::{Sidecar, binary, free_address};
use crate::table::{Limit, Table};

pub(crate) const WORKERS: u32 = 1_000;
/// Names a file that is kept, and of which a copy is used: making the year takes minutes, and a run leaves the traces of
/// millions of events in it.
const KEPT: &str = "HASHPOOL_YEAR_DATABASE";

/// The file, and the folder that goes with it.
pub(crate) struct Year {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Year {
    /// Makes the database, or takes the one that is kept.
    pub(crate) fn make(table: &mut Table, days: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sidecar-year").tempdir()?;
        let kept = std::env::var_os(KEPT).map(PathBuf::from);
        let path = folder.path().join("stats.db");
        let made = kept.unwrap_or_else(|| path.clone());
        if !made.exists() {
            let written = YearDatabase { workers: WORKERS, days, ..YearDatabase::until_now() }.write(&made)?;
            let what = format!("history of {days} days, {WORKERS} workers");
            table.add(format!("{what}: rows of sums"), written.rows as f64, "", Limit::None);
            table.add(format!("{what}: to make it"), written.took.as_secs_f64(), "s", Limit::None);
        }
        if made != path {
            let log = made.with_extension("db-wal");
            ensure!(
                std::fs::metadata(&log).map_or(0, |log| log.len()) == 0,
                "{} has a log that is not in it yet ({}); open and close it with sqlite3 first",
                made.display(),
                log.display()
            );
            std::fs::copy(&made, &path).with_context(|| format!("cannot copy {}", made.display()))?;
        }
        let size = std::fs::metadata(&path)?.len() as f64 / f64::from(1 << 20);
        table.add("size of the history", size, "MiB", Limit::None);
        Ok(Self { path, _folder: folder })
    }

    /// A sidecar over this history. Returns where its dashboard is, if it has one.
    pub(crate) fn sidecar(&self, with_dashboard: bool) -> Result<(Sidecar, Option<String>)> {
        let folder = tempfile::Builder::new().prefix("sidecar-bench").tempdir()?;
        let (listen, admin) = (free_address()?, free_address()?);
        let path = |path: &Path| path.display().to_string();
        let mut text = format!(
            "[server]\nlisten = \"{listen}\"\n[journal]\npath = {:?}\ndurability = \"power\"\n[admin]\nlisten = \"{admin}\"\n\
             [sinks.history]\ntype = \"sqlite\"\npath = {:?}\ndisk_budget = \"64 GiB\"\n",
            path(&folder.path().join("journal.db")),
            path(&self.path)
        );
        let dashboard = if with_dashboard { Some(free_address()?) } else { None };
        if let Some(address) = &dashboard {
            // All clients of a benchmark have one address.
            text.push_str(&format!(
                "[sinks.dashboard]\ntype = \"dashboard\"\nlisten = \"{address}\"\nhistory = \"history\"\n\
                 max_connections = 512\nmax_connections_per_address = 512\nmax_live_clients_per_address = 200\n\
                 requests_per_second = 1000000\n"
            ));
        }
        Ok((Sidecar::start_configured(folder, listen, admin, &text)?, dashboard))
    }
}

/// A simulated pool that publishes at a steady rate until it is dropped.
pub(crate) struct Pool(Child);

impl Pool {
    /// Returns once its miners are connected and events arrive.
    pub(crate) fn start(sidecar: &Sidecar, rate: u64) -> Result<Self> {
        let before = crate::sidecar_process::appended(&sidecar.pipeline()?).context("/pipeline has no count")?;
        let pool = Command::new(binary()?)
            .args(["simulate", "--to", &sidecar.listen, "--miners", &WORKERS.to_string()])
            .args(["--rate", &rate.to_string(), "--seed", "9", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start simulate")?;
        let pool = Self(pool);
        let connected = before + 2 * u64::from(WORKERS);
        sidecar.wait_for(Instant::now(), |now| {
            crate::sidecar_process::appended(now).is_some_and(|count| count > connected)
        })?;
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Events a second that were appended to the journal while `work` ran.
pub(crate) fn rate_during<T>(sidecar: &Sidecar, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let count = || -> Result<u64> {
        crate::sidecar_process::appended(&sidecar.pipeline()?).context("/pipeline does not say how much was appended")
    };
    let (begin, before) = (Instant::now(), count()?);
    let result = work()?;
    let took = begin.elapsed();
    ensure!(took > Duration::from_millis(100), "too short to tell a rate");
    Ok(((count()? - before) as f64 / took.as_secs_f64(), result))
}
