//! Puts the parts together: sinks first, then bridges, then the listener; and stops them the other way round, under one
//! deadline.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sidecar_core::{Clock, ErrorChain, Status};
use sidecar_journal::Journal;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, BridgeContext, supervise};
use crate::drain::{Drain, DrainReport, SinkReport};
use crate::health::ComponentHealth;
use crate::listener::{BoundListener, ListenerConfig, RunningListener};
use crate::open_files::raise_open_files;
use crate::sinks::{SinkDriver, SinkSpec, SinkState, Verdict};
use crate::status::PipelineStatus;
use crate::tap::TapSource;

/// Open files beside the connections of the listener: databases, logs, HTTP.
const OTHER_OPEN_FILES: u64 = 1_024;

/// The journal gets at least this much time to close, whatever the others took.
const JOURNAL_CLOSE: Duration = Duration::from_secs(1);

/// Collects what a pipeline is made of.
#[derive(Debug)]
pub struct PipelineBuilder {
    journal: Journal,
    clock: Arc<dyn Clock>,
    listener: Option<ListenerConfig>,
    sinks: Vec<SinkSpec>,
    bridges: Vec<(Arc<str>, BoxedBridge)>,
}

struct BoxedBridge(Box<dyn Bridge>);

impl std::fmt::Debug for BoxedBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bridge")
    }
}

/// A pipeline that has neither bound nor started anything.
#[derive(Debug)]
pub struct Pipeline(PipelineBuilder);

/// Why a pipeline does not start. Whatever had started is stopped again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be taken.
    #[error("cannot listen on {address}; is another sidecar running, or the port in use?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Two sinks have one name.
    #[error("two sinks are named {name}")]
    DuplicateSink {
        /// The name.
        name: String,
    },
    /// A required sink says that it cannot work.
    #[error("the required sink {name} does not start: {error}")]
    RequiredSink {
        /// The sink.
        name: String,
        /// What it said, with all causes.
        error: String,
    },
}

impl PipelineBuilder {
    /// A pipeline over this journal.
    #[must_use]
    pub fn new(journal: Journal, clock: Arc<dyn Clock>) -> Self {
        Self { journal, clock, listener: None, sinks: Vec::new(), bridges: Vec::new() }
    }

    /// Accepts publishers.
    #[must_use]
    pub fn listener(mut self, config: ListenerConfig) -> Self {
        self.listener = Some(config);
        self
    }

    /// Delivers to a sink.
    #[must_use]
    pub fn sink(mut self, spec: SinkSpec) -> Self {
        self.sinks.push(spec);
        self
    }

    /// Takes events from a source inside the process. The listener refuses the name that it publishes under, see
    /// [`Bridge::publisher`].
    #[must_use]
    pub fn bridge(mut self, name: impl Into<Arc<str>>, bridge: Box<dyn Bridge>) -> Self {
        self.bridges.push((name.into(), BoxedBridge(bridge)));
        self
    }

    /// The pipeline, not started.
    #[must_use]
    pub fn build(self) -> Pipeline {
        Pipeline(self)
    }
}

/// A sink's driver at work.
#[derive(Debug)]
struct DriverHandle {
    state: Arc<SinkState>,
    task: JoinHandle<SinkReport>,
}

#[derive(Debug)]
struct BridgeHandle {
    health: ComponentHealth,
    task: JoinHandle<()>,
}

/// A pipeline at work.
#[must_use = "dropping it leaves its tasks without an owner; shut it down"]
#[derive(Debug)]
pub struct Running {
    journal: Journal,
    status: Arc<PipelineStatus>,
    listener: Option<RunningListener>,
    drivers: Vec<DriverHandle>,
    bridges: Vec<BridgeHandle>,
    drains: Drains,
}

/// "Please stop", for each stage of its own: sources stop before sinks.
#[derive(Debug, Default)]
struct Drains {
    bridges: Drain,
    sinks: Drain,
    /// The deadline has passed.
    abort: CancellationToken,
}

impl Pipeline {
    /// Takes the address, starts sinks, bridges and listener. Waits for the first word of each required sink. Must be
    /// called on a tokio runtime.
    pub async fn start(self) -> Result<Running, StartError> {
        let PipelineBuilder { journal, clock, listener, sinks, bridges } = self.0;
        let mut names: Vec<&Arc<str>> = sinks.iter().map(|spec| &spec.name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(StartError::DuplicateSink { name: twice[0].to_string() });
        }
        let of_bridges = bridges.iter().map(|(name, bridge)| bridge.0.publisher().unwrap_or(name).into()).collect();
        let bound = listener.map(|config| bind(config, of_bridges, &journal, &clock)).transpose()?;

        let drains = Drains::default();
        let (drivers, verdicts) = start_drivers(sinks, &journal, &clock, &drains);
        for (name, verdict) in verdicts {
            if let Ok(Verdict::Failed(error)) = verdict.await {
                drains.sinks.request();
                for driver in drivers {
                    driver.stopped(Instant::now() + JOURNAL_CLOSE, &drains.abort, &journal).await;
                }
                return Err(StartError::RequiredSink { name: name.to_string(), error });
            }
        }
        let bridges: Vec<BridgeHandle> = bridges
            .into_iter()
            .map(|(name, BoxedBridge(bridge))| {
                let health = ComponentHealth::starting(Arc::clone(&name), Arc::clone(&clock));
                let (journal, clock, drain) = (journal.clone(), Arc::clone(&clock), drains.bridges.clone());
                let context = BridgeContext { name, journal, clock, drain, health: health.clone() };
                BridgeHandle { health, task: tokio::spawn(supervise(bridge, context)) }
            })
            .collect();
        let listener = bound.map(BoundListener::run);

        let status = Arc::new(PipelineStatus {
            journal: journal.clone(),
            listener: listener.as_ref().map(RunningListener::view),
            sinks: drivers.iter().map(|driver| Arc::clone(&driver.state)).collect(),
            bridges: bridges.iter().map(|bridge| bridge.health.clone()).collect(),
            tap: TapSource::new(journal.clone()),
        });
        Ok(Running { journal, status, listener, drivers, bridges, drains })
    }
}

fn bind(
    config: ListenerConfig,
    of_bridges: HashSet<String>,
    journal: &Journal,
    clock: &Arc<dyn Clock>,
) -> Result<BoundListener, StartError> {
    let needed = (config.limits.sessions + config.limits.handshakes) as u64 + OTHER_OPEN_FILES;
    if let Some(limit) = raise_open_files(needed)
        && limit < needed
    {
        tracing::warn!(limit, needed, "the limit of open files may refuse connections; raise it (ulimit -n)");
    }
    let address = config.listen;
    let bound = BoundListener::bind(config, of_bridges, journal.clone(), Arc::clone(clock))
        .map_err(|source| StartError::Bind { address, source })?;
    tracing::info!(address = %bound.address(), "listening for publishers");
    Ok(bound)
}

type RequiredVerdict = (Arc<str>, oneshot::Receiver<Verdict>);

fn start_drivers(
    sinks: Vec<SinkSpec>,
    journal: &Journal,
    clock: &Arc<dyn Clock>,
    drains: &Drains,
) -> (Vec<DriverHandle>, Vec<RequiredVerdict>) {
    let mut verdicts = Vec::new();
    let drivers = sinks.into_iter().map(|spec| {
        let (told, verdict) = oneshot::channel();
        if spec.required {
            verdicts.push((Arc::clone(&spec.name), verdict));
        }
        let driver =
            SinkDriver::new(spec, journal, Arc::clone(clock), drains.sinks.clone(), drains.abort.clone(), told);
        DriverHandle { state: driver.state(), task: tokio::spawn(driver.run()) }
    });
    (drivers.collect(), verdicts)
}

impl Running {
    /// Where publishers connect, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(RunningListener::address)
    }

    /// What is known of the pipeline.
    #[must_use]
    pub fn status(&self) -> &Arc<PipelineStatus> {
        &self.status
    }

    /// Where live events are seen.
    #[must_use]
    pub fn tap(&self) -> &TapSource {
        &self.status.tap
    }

    /// Asks every sink to close its files and open them again, as SIGHUP does.
    pub fn reopen(&self) {
        for driver in &self.drivers {
            driver.state.reopen.notify_one();
        }
    }

    /// Stops everything: sources first, what they gave is committed and acknowledged; then the sinks, each once it has
    /// reached the head; then the journal. What is not done at the deadline is cut off and named in the report.
    pub async fn shutdown(self, deadline: Duration) -> DrainReport {
        let began = Instant::now();
        let at = began + deadline;
        self.drains.bridges.request();
        // The sinks need part of the time too.
        let connections_cut = match &self.listener {
            Some(listener) => listener.stop(began + deadline / 2).await,
            None => 0,
        };
        let mut bridges_cut = Vec::new();
        for BridgeHandle { health, mut task } in self.bridges {
            if timeout_at(began + deadline / 2, &mut task).await.is_err() {
                task.abort();
                bridges_cut.push(health.name().to_string());
            }
        }
        // What was acknowledged must be among what the sinks are still to get: the head may be told a moment later.
        let committed = self.journal.stats().cumulative_events;
        let mut head = self.journal.watch_head();
        let told = head.wait_for(|head| head.cumulative_events >= committed);
        if timeout_at(at, told).await.is_err() {
            tracing::warn!("the journal's head does not follow its commits");
        }
        self.drains.sinks.request();
        let mut sinks = Vec::new();
        for driver in self.drivers {
            sinks.push(driver.stopped(at, &self.drains.abort, &self.journal).await);
        }
        let left = at.saturating_duration_since(Instant::now()).max(JOURNAL_CLOSE);
        let journal_not_closed = self.journal.close(left).await.err().map(|error| ErrorChain(&error).to_string());
        DrainReport { sinks, connections_cut, bridges_cut, journal_not_closed, took: began.elapsed() }
    }
}

impl DriverHandle {
    /// Waits until the driver has stopped; from the deadline on it is cut off.
    async fn stopped(mut self, deadline: Instant, abort: &CancellationToken, journal: &Journal) -> SinkReport {
        let ended = match timeout_at(deadline, &mut self.task).await {
            Ok(ended) => ended,
            Err(_) => {
                abort.cancel();
                (&mut self.task).await
            }
        };
        ended.unwrap_or_else(|error| {
            // The sink's panics are caught; this one is the driver's own.
            self.state.health.fail(Status::Failed, error.to_string());
            let snapshot = self.state.snapshot(&journal.watch_head());
            SinkReport {
                name: self.state.health.name().to_string(),
                ledger: snapshot.ledger,
                not_closed: Some(format!("its driver ended by itself: {error}")),
            }
        })
    }
}
