//! `demo`: a sidecar with its embedded configuration and a simulated pool, in a folder of their own; a live table that puts
//! what was measured beside what is true.

mod truth;
mod view;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stats_publisher::{DeliveryReport, StatsPublisher};
use stats_sv2::{Role, UnixMillis};
use tokio::sync::watch;

use self::truth::Truth;
use self::view::Screen;
use crate::cli::{DemoArgs, Rate};
use crate::config::{Config, ConfigError};
use crate::exit::{Exit, Failure, output};
use crate::sidecar::Sidecar;
use crate::signals::Signals;
use crate::simulate::{self, Fleet, Quoting, Until};
use crate::{logging, registry, run};

/// Name under which the simulation publishes.
const PUBLISHER: &str = "simulated-pool";
/// How often the table is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// How long the simulation waits for its last acknowledgement, and the sidecar for its sinks.
const CLOSE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(20);

/// A sidecar and what feeds it.
struct Demo {
    sidecar: Sidecar,
    publisher: StatsPublisher,
    truth: Arc<Mutex<Truth>>,
    history: PathBuf,
}

pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let folder = folder(args)?;
    let config = write_config(&folder)?;
    logging::begin("warn");
    let signals = Signals::listen()?;
    let runtime = run::runtime()?;
    let demo = runtime.block_on(start(config, &folder))?;
    let pool = simulate_pool(args, &demo, &signals)?;
    let screen = Screen::new(args, &demo.sidecar);
    let watched = watch(args, &demo, screen, &mut signals.stop(), &pool.stopped);
    // Stops the other way round: the pool, its publisher, the sidecar.
    let delivered = pool.stop(&demo.publisher)?;
    let counters = demo.publisher.counters();
    let report = runtime.block_on(demo.sidecar.shutdown(DRAIN));
    runtime.shutdown_timeout(Duration::from_secs(1));
    watched?;
    let truth = demo.truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let summary = view::summary(&truth, &counters, delivered, &report, &demo.history, &folder)?;
    output(write!(io::stdout().lock(), "{summary}"))?;
    if delivered.complete && report.is_complete() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, "not everything was handed over"))
}

/// The folder asked for, or a new one that is left for its owner to look at.
fn folder(args: &DemoArgs) -> Result<PathBuf, Failure> {
    match &args.folder {
        Some(folder) => {
            let cannot = |error: io::Error| {
                Failure::new(Exit::Failure, format!("cannot make the folder {}: {error}", folder.display()))
                    .advice("name another with --folder, or leave it out for a temporary one")
            };
            std::fs::create_dir_all(folder).map_err(cannot)?;
            std::path::absolute(folder).map_err(cannot)
        }
        None => {
            tempfile::Builder::new().prefix("hashpool-demo-").tempdir().map(tempfile::TempDir::keep).map_err(|error| {
                let temporary = std::env::temp_dir();
                let what = format!("cannot make a folder in {}: {error}", temporary.display());
                Failure::new(Exit::Failure, what).advice("name one with --folder")
            })
        }
    }
}

/// The embedded configuration, also as a file to look at and to run again.
fn write_config(folder: &Path) -> Result<Config, Failure> {
    let path = |name: &str| format!("{:?}", folder.join(name).display().to_string());
    let text = format!(
        "# What `hashpool-sidecar demo` ran with. Port 0 is any free port.\n[server]\nlisten = \"127.0.0.1:0\"\n\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\n[journal]\npath = {}\n\n[sinks.history]\ntype = \"sqlite\"\npath = {}\n\n\
         [sinks.dashboard]\ntype = \"dashboard\"\nlisten = \"127.0.0.1:{}\"\nhistory = \"history\"\nrequired = true\n\n\
         [sinks.events]\ntype = \"log-file\"\npath = {}\n",
        path("journal.db"),
        path("stats.db"),
        dashboard_port(),
        path("events.jsonl"),
    );
    let file = folder.join("sidecar.toml");
    std::fs::write(&file, text)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot write {}: {error}", file.display())))?;
    Config::load(&file, &registry::built_in()).map(|loaded| loaded.config).map_err(|error| {
        if let ConfigError::Invalid { findings } = &error {
            run::show(findings);
        }
        Failure::from_error(Exit::Failure, &error)
    })
}

/// The dashboard's usual port, so that its address is easy to remember, or any free one.
fn dashboard_port() -> u16 {
    let usual = sink_dashboard::config::DEFAULT_LISTEN;
    std::net::TcpListener::bind(usual).map_or(0, |_| usual.port())
}

async fn start(config: Config, folder: &Path) -> Result<Demo, Failure> {
    let sidecar = Sidecar::start(config).await?;
    let address = sidecar.address().ok_or_else(|| Failure::new(Exit::Failure, "the sidecar has no listener"))?;
    let publisher = StatsPublisher::builder()
        .address(address.to_string())
        .role(Role::Pool)
        .publisher(PUBLISHER)
        .vendor(concat!("hashpool-sidecar demo ", env!("CARGO_PKG_VERSION")))
        .start()
        .map_err(|error| Failure::from_error(Exit::Failure, &error))?;
    Ok(Demo { sidecar, publisher, truth: Arc::default(), history: folder.join("stats.db") })
}

/// The simulated pool on its thread.
struct SimulatedPool {
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    thread: std::thread::JoinHandle<u64>,
}

fn simulate_pool(args: &DemoArgs, demo: &Demo, signals: &Signals) -> Result<SimulatedPool, Failure> {
    simulate::connect(&demo.publisher, &signals.stop())?;
    let (stop, stopped) = watch::channel(false);
    let quoting = args.quotes.map_or(Quoting::Usual, Quoting::From);
    let mut fleet = Fleet::new(simulate::fleet_config(&args.fleet, Role::Pool, quoting), UnixMillis::now());
    let (publisher, truth, rate) = (demo.publisher.clone(), Arc::clone(&demo.truth), args.fleet.rate);
    let stopping = stopped.clone();
    let thread = std::thread::Builder::new()
        .name("simulated pool".to_owned())
        .spawn(move || {
            simulate::drive(&mut fleet, &publisher, rate, Until::default(), &stopping, |fleet, published| {
                truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner).observe(fleet, published);
            })
        })
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start the simulation: {error}")))?;
    Ok(SimulatedPool { stop, stopped, thread })
}

impl SimulatedPool {
    fn stop(self, publisher: &StatsPublisher) -> Result<DeliveryReport, Failure> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| Failure::new(Exit::Failure, "the simulation panicked"))?;
        Ok(publisher.close(CLOSE))
    }
}

/// Draws until the time is over or somebody stops it.
fn watch(
    args: &DemoArgs,
    demo: &Demo,
    mut screen: Screen,
    stop: &mut watch::Receiver<bool>,
    stopped: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let end = args.seconds.map(Duration::from_secs);
    // At `max` nothing is paced by the clock, so the truth about hashrates has no meaning.
    let paced = matches!(args.fleet.rate, Rate::PerSecond(_));
    let mut drawn = begun;
    while !*stop.borrow() && !*stopped.borrow() && end.is_none_or(|end| begun.elapsed() < end) {
        std::thread::sleep(Duration::from_millis(50));
        if drawn.elapsed() >= DRAW_EVERY {
            drawn = Instant::now();
            let truth = demo.truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            let counters = demo.publisher.counters();
            screen.draw(&demo.history, paced.then_some(&truth), &counters, &demo.sidecar.status().snapshot())?;
        }
    }
    Ok(())
}
