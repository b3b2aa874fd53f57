//! `simulate`: a pool of N miners through the real publisher, at a pace or as fast as the sidecar takes it.

mod fleet;
mod miner;
mod quotes;
mod share_hash;

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use stats_publisher::StatsPublisher;
use stats_sv2::UnixMillis;
use stats_sv2::noise::AuthorityPublicKey;
use tokio::sync::watch;

use crate::cli::{FleetArgs, Rate, SimulateArgs, SimulatedRole};
use crate::exit::{Exit, Failure, output};
use crate::signals::Signals;

pub(crate) use self::fleet::{Fleet, FleetConfig};
pub(crate) use self::miner::Miner;
pub(crate) use self::quotes::QuoteTotals;

/// Events between two looks at the clock and at the queue when there is no pace to keep. Far below the eighth of the
/// publisher's queue that is free when it says that it has room.
const BURST: u64 = 512;
/// How often a paced simulation publishes what is due.
const TICK: Duration = Duration::from_millis(5);
/// How long the sidecar may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// At `max`, simulated miners live at this pace of shares a second each: SRI's default of 6 a minute.
const UNPACED_RATE: f64 = 0.1;

/// Which shares the simulated pool asks quotes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// None.
    Off,
    /// About half of them.
    Usual,
    /// Those of at least so many bits.
    From(u32),
}

/// When a simulation ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Until {
    pub(crate) events: Option<u64>,
    pub(crate) duration: Option<Duration>,
}

/// The fleet that a command asks for.
pub(crate) fn fleet_config(args: &FleetArgs, role: stats_sv2::Role, quotes: Quoting) -> FleetConfig {
    let rate = match args.rate {
        Rate::PerSecond(rate) => rate,
        Rate::Max => UNPACED_RATE * f64::from(args.miners),
    };
    let quotes = match quotes {
        Quoting::Off => None,
        Quoting::Usual => Some(FleetConfig::usual_minimum_difficulty(args.miners, rate)),
        Quoting::From(minimum_difficulty) => Some(minimum_difficulty),
    };
    FleetConfig { role, miners: args.miners, rate, seed: args.seed, quotes }
}

/// Publishes until the end or until `stop`; returns how many events. Blocks the thread. `watcher` sees the fleet and the
/// count now and then.
pub(crate) fn drive(
    fleet: &mut Fleet,
    publisher: &StatsPublisher,
    rate: Rate,
    until: Until,
    stop: &watch::Receiver<bool>,
    mut watcher: impl FnMut(&Fleet, u64),
) -> u64 {
    let begun = Instant::now();
    let limit = until.events.unwrap_or(u64::MAX);
    let mut published = 0;
    let mut watched = begun;
    while published < limit && !*stop.borrow() && until.duration.is_none_or(|limit| begun.elapsed() < limit) {
        match rate {
            Rate::Max => {
                if !publisher.wait_for_room(TICK) {
                    continue;
                }
                fleet.set_stamp(UnixMillis::now());
                for _ in 0..BURST.min(limit - published) {
                    publisher.publish(fleet.next());
                    published += 1;
                }
            }
            Rate::PerSecond(_) => {
                let due = begun.elapsed().as_secs_f64();
                while published < limit
                    && let Some(event) = fleet.next_until(due)
                {
                    publisher.publish(event);
                    published += 1;
                }
                std::thread::sleep(TICK);
            }
        }
        if watched.elapsed() >= Duration::from_millis(100) {
            watched = Instant::now();
            watcher(fleet, published);
        }
    }
    watcher(fleet, published);
    published
}

/// Waits until the publisher has its session.
pub(crate) fn connect(publisher: &StatsPublisher, stop: &watch::Receiver<bool>) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let counters = publisher.counters();
        if counters.connected {
            return Ok(());
        }
        if *stop.borrow() || begun.elapsed() >= CONNECT_TIMEOUT {
            let why = counters.last_error.unwrap_or_else(|| "no answer".to_owned());
            return Err(Failure::new(Exit::NotNow, format!("no session with the sidecar: {why}"))
                .advice("is it running, and does it listen there? hashpool-sidecar run -c FILE logs its addresses"));
        }
        std::thread::sleep(TICK);
    }
}

/// What came of a simulation.
#[derive(Debug, Serialize)]
struct Report {
    miners: u32,
    seed: u64,
    quotes: u64,
    ehash: String,
    published: u64,
    acknowledged: u64,
    dropped: u64,
    unacknowledged: u64,
    complete: bool,
    seconds: f64,
    events_per_s: f64,
    ack_latency_p50_ms: Option<f64>,
    ack_latency_p99_ms: Option<f64>,
    connections: u64,
}

pub(crate) fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let quoting = match args.quotes {
        None => Quoting::Off,
        Some(None) => Quoting::Usual,
        Some(Some(minimum_difficulty)) => Quoting::From(minimum_difficulty),
    };
    if quoting != Quoting::Off && args.role == SimulatedRole::Proxy {
        return Err(Failure::new(Exit::Usage, "--quotes goes with --role pool: a translator asks no mint")
            .advice("leave one of the two out"));
    }
    let signals = Signals::listen()?;
    let stop = signals.stop();
    let publisher = publisher(args)?;
    connect(&publisher, &stop)?;
    let mut fleet = Fleet::new(fleet_config(&args.fleet, args.role.into(), quoting), UnixMillis::now());
    let bar = progress(args);
    let begun = Instant::now();
    let until = Until { events: args.events, duration: args.duration };
    drive(&mut fleet, &publisher, args.fleet.rate, until, &stop, |_, published| bar.set_position(published));
    let delivered = publisher.close(args.drain);
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let quotes = fleet.quotes();
    let counters = publisher.counters();
    let milliseconds = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1000.0);
    let report = Report {
        miners: args.fleet.miners,
        seed: args.fleet.seed,
        quotes: quotes.unwrap_or_default().created,
        ehash: quotes.unwrap_or_default().ehash.to_string(),
        published: counters.published,
        acknowledged: delivered.acknowledged,
        dropped: counters.dropped,
        unacknowledged: delivered.left,
        complete: delivered.complete,
        seconds,
        events_per_s: delivered.acknowledged as f64 / seconds,
        ack_latency_p50_ms: milliseconds(counters.ack_latency_p50),
        ack_latency_p99_ms: milliseconds(counters.ack_latency_p99),
        connections: counters.connections,
    };
    let mut stdout = io::stdout().lock();
    output(if args.json { writeln!(stdout, "{}", serde_json::json!(report)) } else { write!(stdout, "{report}") })?;
    if report.complete {
        return Ok(());
    }
    let why = counters.last_error.map(|error| format!(" ({error})")).unwrap_or_default();
    Err(Failure::new(Exit::Failure, format!("{} events are not acknowledged{why}", report.unacknowledged)))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:.1} ms"));
        if self.quotes > 0 {
            writeln!(f, "quotes         {:>14}   worth {} ehash", self.quotes, self.ehash)?;
        }
        writeln!(f, "published      {:>14}", self.published)?;
        writeln!(f, "acknowledged   {:>14}", self.acknowledged)?;
        writeln!(f, "dropped        {:>14}", self.dropped)?;
        writeln!(f, "events_per_s   {:>14.0}   over {:.1} s", self.events_per_s, self.seconds)?;
        writeln!(f, "ack latency    {:>14}   p50", latency(self.ack_latency_p50_ms))?;
        writeln!(f, "               {:>14}   p99", latency(self.ack_latency_p99_ms))
    }
}

fn publisher(args: &SimulateArgs) -> Result<StatsPublisher, Failure> {
    let mut builder = StatsPublisher::builder()
        .address(args.to.to_string())
        .role(args.role.into())
        .publisher(&args.publisher)
        .vendor(concat!("hashpool-sidecar simulate ", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &args.token_file {
        let secret = crate::config::secret_from_file(path).map_err(|error| Failure::from_error(Exit::Usage, &error))?;
        builder = builder.token(secret.expose());
    } else if let Some(token) = &args.token {
        builder = builder.token(token);
    }
    if let Some(key) = &args.authority_key {
        let key: AuthorityPublicKey = key.parse().map_err(|error| {
            Failure::from_error(Exit::Usage, &error)
                .advice("--authority-key takes the public half that keygen noise printed")
        })?;
        builder = builder.authority_public_key(key);
    }
    builder.start().map_err(|error| Failure::from_error(Exit::Usage, &error))
}

/// A bar where somebody watches, nothing elsewhere.
fn progress(args: &SimulateArgs) -> ProgressBar {
    let target = if args.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(args.events, target);
    let template = if args.events.is_some() {
        "{wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left"
    } else {
        "{spinner} {human_pos} events, {per_sec}, Ctrl-C ends"
    };
    // The templates are constants; a wrong one would show in the first run.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
