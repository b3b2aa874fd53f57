//! A whole pipeline over a journal in a temporary folder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sidecar_core::{Durability, SystemClock};
use sidecar_journal::{Journal, JournalConfig};
use sidecar_pipeline::{
    DrainReport, LedgerSnapshot, ListenerConfig, PipelineBuilder, PipelineSnapshot, RetryPolicy, Running, SinkSpec,
    StartError,
};
use tempfile::TempDir;

use crate::client::PATIENCE;
use crate::fake_sink::FakeSink;

pub(crate) struct Sidecar {
    pub(crate) folder: TempDir,
    pub(crate) journal: Journal,
    pub(crate) running: Running,
}

/// Commits soon and without syncing, takes little disk.
pub(crate) fn journal_config(folder: &TempDir) -> JournalConfig {
    JournalConfig {
        durability: Durability::Process,
        max_delay: Duration::from_millis(5),
        ballast_bytes: 0,
        ..JournalConfig::new(folder.path().join("journal.db"))
    }
}

pub(crate) fn open_journal(config: JournalConfig) -> Journal {
    Journal::open(config, Arc::new(SystemClock)).unwrap().0
}

pub(crate) fn listener() -> ListenerConfig {
    ListenerConfig::plain("127.0.0.1:0".parse().unwrap())
}

/// Retries without making the test wait.
pub(crate) fn spec(name: &str, sink: &FakeSink) -> SinkSpec {
    let mut spec = SinkSpec::new(name, "fake", Box::new(sink.clone()));
    spec.retry = RetryPolicy {
        initial_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    spec.restart_after = Duration::from_millis(10);
    spec
}

impl Sidecar {
    /// Without sinks.
    pub(crate) async fn listening(config: ListenerConfig) -> Self {
        Self::with(config, []).await
    }

    pub(crate) async fn with(config: ListenerConfig, sinks: impl IntoIterator<Item = SinkSpec>) -> Self {
        let folder = TempDir::new().unwrap();
        let journal = open_journal(journal_config(&folder));
        Self::over(folder, journal, config, sinks).await
    }

    /// Over what a stopped one left behind.
    pub(crate) async fn again(folder: TempDir, sinks: impl IntoIterator<Item = SinkSpec>) -> Self {
        let journal = open_journal(journal_config(&folder));
        Self::over(folder, journal, listener(), sinks).await
    }

    pub(crate) async fn over(
        folder: TempDir,
        journal: Journal,
        config: ListenerConfig,
        sinks: impl IntoIterator<Item = SinkSpec>,
    ) -> Self {
        Self::try_over(folder, journal, config, sinks).await.unwrap()
    }

    pub(crate) async fn try_over(
        folder: TempDir,
        journal: Journal,
        config: ListenerConfig,
        sinks: impl IntoIterator<Item = SinkSpec>,
    ) -> Result<Self, StartError> {
        let builder = PipelineBuilder::new(journal.clone(), Arc::new(SystemClock)).listener(config);
        let builder = sinks.into_iter().fold(builder, PipelineBuilder::sink);
        let running = builder.build().start().await?;
        Ok(Self { folder, journal, running })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address().unwrap()
    }

    pub(crate) fn snapshot(&self) -> PipelineSnapshot {
        let snapshot = self.running.status().snapshot();
        for (name, sink) in &snapshot.sinks {
            assert_eq!(sink.ledger_difference, 0, "the account of {name} does not add up: {:?}", sink.ledger);
        }
        snapshot
    }

    pub(crate) fn ledger(&self, sink: &str) -> LedgerSnapshot {
        self.snapshot().sinks[sink].ledger
    }

    pub(crate) fn ended(&self, reason: &str) -> u64 {
        self.snapshot().listener.unwrap().counters.ended[reason]
    }

    /// Events that the journal holds, by their numbers, for one session.
    pub(crate) fn stored(&self, session_id: u64) -> Vec<u64> {
        let reader = self.journal.reader();
        let (mut after, mut numbers) = (0, Vec::new());
        loop {
            let records = reader.read(after, 65_536, 4 << 20).unwrap();
            let Some(last) = records.last() else { return numbers };
            after = last.offset;
            for record in &records {
                if record.session_id == session_id && record.kind == sidecar_core::RecordKind::Events {
                    numbers.extend(record.envelopes().map(|envelope| envelope.sequence));
                }
            }
        }
    }

    /// Stops it and gives back what a successor needs.
    pub(crate) async fn stop(self) -> (TempDir, DrainReport) {
        let report = self.running.shutdown(Duration::from_secs(5)).await;
        (self.folder, report)
    }
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
