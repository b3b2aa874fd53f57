//! `run`: parse, build, run until asked to stop, hand over, report.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use sidecar_pipeline::DrainReport;
use tokio::runtime::Runtime;

use crate::cli::RunArgs;
use crate::config::{Config, ConfigError, Findings};
use crate::exit::{Exit, Failure};
use crate::sidecar::Sidecar;
use crate::signals::Signals;
use crate::{logging, registry};

/// Threads of the runtime: sessions and drivers are light, and sinks with heavy work have threads of their own.
const WORKERS: usize = 2;
/// What may still run on the runtime after the pipeline has stopped gets so long.
const RUNTIME_STOP: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    // Parse.
    let config = load(&args.config)?;
    logging::begin(&config.log.filter);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %args.config.display(), "hashpool-sidecar");
    // Build.
    let signals = Signals::listen()?;
    let runtime = runtime()?;
    // Run.
    let stopped = runtime.block_on(async {
        let sidecar = Sidecar::start(config).await?;
        until_stop(&sidecar, &signals).await;
        tracing::info!(deadline = ?args.drain, "stopping");
        report(&sidecar.shutdown(args.drain).await)
    });
    runtime.shutdown_timeout(RUNTIME_STOP);
    stopped
}

/// Reads the configuration; shows what is wrong with it, or what it should be warned about.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    match Config::load(path, &registry::built_in()) {
        Ok(loaded) => {
            show(&loaded.findings);
            Ok(loaded.config)
        }
        Err(error) => {
            if let ConfigError::Invalid { findings } = &error {
                show(findings);
            }
            Err(Failure::from_config(&error))
        }
    }
}

/// Draws findings on standard error.
#[expect(clippy::print_stderr, reason = "drawings of many lines are no log lines")]
pub(crate) fn show(findings: &Findings) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    eprint!("{}", findings.render(colour));
}

pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("sidecar")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start the runtime: {error}")))
}

async fn until_stop(sidecar: &Sidecar, signals: &Signals) {
    let (mut stop, mut reopen) = (signals.stop(), signals.reopen());
    loop {
        tokio::select! {
            // An error means that the signals are gone, and with them the only way to be asked.
            _ = stop.wait_for(|stop| *stop) => return,
            changed = reopen.changed() => {
                if changed.is_ok() {
                    tracing::info!("SIGHUP: sinks open their files again; the configuration is read at start only");
                    sidecar.reopen();
                }
            }
        }
    }
}

/// Tells how stopping went. What sinks have still to take is safe in the journal and no failure.
fn report(report: &DrainReport) -> Result<(), Failure> {
    let mut left = Vec::new();
    for sink in &report.sinks {
        let ledger = &sink.ledger;
        tracing::info!(
            sink = sink.name,
            delivered = ledger.delivered,
            filtered = ledger.filtered,
            dead_lettered = ledger.dead_lettered,
            pending = ledger.pending,
            "sink stopped",
        );
        if ledger.pending > 0 {
            tracing::warn!(
                sink = sink.name,
                pending = ledger.pending,
                "the sink takes the rest from the journal at the next start"
            );
        }
        if let Some(why) = &sink.not_closed {
            left.push(format!("the sink {} is not closed: {why}", sink.name));
        }
    }
    if report.connections_cut > 0 {
        tracing::warn!(
            connections = report.connections_cut,
            "connections were cut; their publishers send the rest again"
        );
    }
    left.extend(report.bridges_cut.iter().map(|name| format!("the bridge {name} did not stop in time")));
    left.extend(report.journal_not_closed.iter().map(|why| format!("the journal is not closed: {why}")));
    tracing::info!(took = ?report.took, complete = report.is_complete(), "stopped");
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, format!("not everything stopped by itself: {}", left.join("; "))))
}
