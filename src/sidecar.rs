//! The sidecar as a whole: built from a checked configuration, started in the order in which nothing can be lost, stopped
//! in the other.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sidecar_core::{
    Claim, Clock, Durability, ErrorChain, Neighbours, NotReady, PipelineView, SinkContext, SystemClock,
};
use sidecar_journal::{Journal, JournalConfig, JournalError, OpenReport};
use sidecar_pipeline::{
    DEFAULT_RESTART_AFTER, DrainReport, PipelineBuilder, PipelineStatus, Running, SinkSpec, StartError,
};

use crate::admin::AdminServer;
use crate::bridge::SupervisedSriBridge;
use crate::config::{Config, SinkConfig};
use crate::exit::{Exit, Failure, listen_advice};

/// A sidecar at work.
#[derive(Debug)]
pub(crate) struct Sidecar {
    running: Running,
    admin: AdminServer,
    neighbours: Arc<Neighbours>,
}

impl Sidecar {
    /// Binds and starts everything that the configuration names, or nothing. To be called on a tokio runtime.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        make_folders(&config)?;
        // Bound before anything is written: a second sidecar with the same file ends here.
        let admin = TcpListener::bind(config.admin.listen).map_err(|error| {
            Failure::new(Exit::NotNow, format!("cannot listen on the admin address {}: {error}", config.admin.listen))
                .advice(format!("[admin] listen: {}", listen_advice(&error)))
        })?;
        let journal = open_journal(config.journal.clone(), &clock).await?;
        let configured: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        forget_removed_sinks(&journal, &configured);
        let mut pipeline = PipelineBuilder::new(journal, Arc::clone(&clock)).listener(config.server);
        let neighbours = Arc::new(neighbours(&config.sinks));
        for sink in config.sinks {
            pipeline = pipeline.sink(spec(sink, config.journal.durability, &clock, &neighbours)?);
        }
        for bridge in config.bridges {
            pipeline = pipeline.bridge(bridge.name, Box::new(SupervisedSriBridge::new(bridge.settings)));
        }
        let running = pipeline.build().start().await.map_err(|error| match error {
            StartError::Bind { ref source, .. } => {
                Failure::from_error(Exit::NotNow, &error).advice(format!("[server] listen: {}", listen_advice(source)))
            }
            _ => Failure::from_error(Exit::Failure, &error),
        })?;
        neighbours.pipeline_is(View(Arc::downgrade(running.status())));
        let admin = AdminServer::start(admin, Arc::clone(running.status()), running.tap().clone());
        match admin {
            Ok(admin) => Ok(Self { running, admin, neighbours }),
            Err(error) => {
                let report = running.shutdown(Duration::from_secs(5)).await;
                tracing::debug!(?report, "stopped again");
                Err(Failure::new(Exit::Failure, format!("cannot start the admin listener: {}", ErrorChain(&error))))
            }
        }
    }

    /// Where publishers connect.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.running.address()
    }

    /// Where the admin listener answers.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Where the sink of this name listens, once it does.
    pub(crate) fn sink_address(&self, sink_name: &str) -> Option<SocketAddr> {
        self.neighbours.address(sink_name)
    }

    pub(crate) fn status(&self) -> &Arc<PipelineStatus> {
        self.running.status()
    }

    /// Has every sink open its files again.
    pub(crate) fn reopen(&self) {
        self.running.reopen();
    }

    /// Stops taking events, hands over what is there until the deadline, closes the journal. The admin listener answers
    /// until the end, so that somebody can watch.
    pub(crate) async fn shutdown(self, deadline: Duration) -> DrainReport {
        self.admin.say_stopping();
        let report = self.running.shutdown(deadline).await;
        self.admin.stop().await;
        report
    }
}

/// The pipeline as its own sinks see it.
struct View(Weak<PipelineStatus>);

impl PipelineView for View {
    fn not_ready(&self) -> Option<Vec<NotReady>> {
        Some(self.0.upgrade()?.not_ready())
    }

    fn report(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self.0.upgrade()?.report()).ok()
    }
}

/// Makes the folders of the files that the sidecar writes.
fn make_folders(config: &Config) -> Result<(), Failure> {
    let files = config.sinks.iter().flat_map(|sink| {
        let of_sink = |claim| match claim {
            Claim::File(path) => Some((format!("sinks.{}", sink.name), path)),
            Claim::Listen(_) => None,
        };
        sink.settings.claims().into_iter().filter_map(of_sink)
    });
    for (component, file) in files.chain([("journal".to_owned(), config.journal.path.clone())]) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| {
            let what = format!("cannot make the folder {} for the file of [{component}]: {error}", folder.display());
            Failure::new(Exit::NotNow, what)
                .advice("make it for the user who runs the sidecar, or name a file in another folder")
        })?;
    }
    Ok(())
}

async fn open_journal(config: JournalConfig, clock: &Arc<dyn Clock>) -> Result<Journal, Failure> {
    let path = config.path.clone();
    let clock = Arc::clone(clock);
    // Opening reads the file, and a damaged one for long.
    let opened = tokio::task::spawn_blocking(move || Journal::open(config, clock)).await;
    let opened =
        opened.map_err(|error| Failure::new(Exit::Failure, format!("opening the journal panicked: {error}")))?;
    let (journal, report) = opened.map_err(|error| match error {
        JournalError::InUse { .. } => Failure::from_error(Exit::NotNow, &error)
            .advice("a journal belongs to one sidecar: stop the other one, or give this one another [journal] path"),
        _ => Failure::from_error(Exit::Failure, &error)
            .advice("look at [journal] path; hashpool-sidecar check --online says whether it can be written"),
    })?;
    tell(&path, &report);
    Ok(journal)
}

/// A sink that is configured no more would hold what it has not taken in the journal for ever, and with
/// `when_full = "block"` end all acknowledgements. Put back later, it starts like a new one.
fn forget_removed_sinks(journal: &Journal, configured: &[&str]) {
    for sink in journal.sinks() {
        if !configured.contains(&sink.as_str()) {
            tracing::info!(sink, "the sink is configured no more; the journal forgets how far it was");
            journal.forget_sink(&sink);
        }
    }
}

fn tell(path: &Path, report: &OpenReport) {
    let path = path.display();
    if let Some(salvage) = &report.salvage {
        tracing::error!(
            %path, reason = salvage.reason, set_aside = %salvage.set_aside.display(), events_kept = salvage.events,
            events_lost = salvage.events_lost, "the journal was damaged; what could be read is in a new one",
        );
    }
    if report.renamed {
        tracing::warn!(%path, "the journal is older than what sinks have seen of it; they start at its oldest record");
    }
    tracing::info!(%path, journal = %report.journal_id, new = report.created, open_sessions = report.open_sessions, "journal open");
}

/// What sinks may see of each other.
fn neighbours(sinks: &[SinkConfig]) -> Neighbours {
    Neighbours::new(sinks.iter().filter_map(|sink| Some((sink.name.clone(), sink.settings.history()?.to_owned()))))
}

fn spec(
    config: SinkConfig,
    durability: Durability,
    clock: &Arc<dyn Clock>,
    neighbours: &Arc<Neighbours>,
) -> Result<SinkSpec, Failure> {
    let name: Arc<str> = config.name.into();
    let (clock, neighbours) = (Arc::clone(clock), Arc::clone(neighbours));
    let context = SinkContext { name: Arc::clone(&name), durability, clock, neighbours };
    let sink = config.settings.build(context).map_err(|error| {
        Failure::from_error(Exit::Config, &error).advice(format!("look at [sinks.{name}] of the configuration"))
    })?;
    let driver = config.driver;
    tracing::info!(sink = %name, r#type = config.type_name, "sink");
    Ok(SinkSpec {
        name,
        type_name: config.type_name,
        sink,
        route: driver.route,
        start: driver.start,
        retry: driver.retry,
        timeout: driver.timeout,
        rate_limit: driver.rate_limit,
        required: driver.required,
        restart_after: DEFAULT_RESTART_AFTER,
    })
}
