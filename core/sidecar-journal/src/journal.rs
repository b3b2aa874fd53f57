//! The handle through which everything else uses the journal.

use std::sync::Arc;
use std::time::Duration;

use sidecar_core::{Clock, Cursor, JournalId, Record};
use tokio::sync::{Semaphore, watch};

use crate::config::JournalConfig;
use crate::dead_letter::DeadLetter;
use crate::error::{JournalError, OpenError};
use crate::local::{LocalRun, LocalState};
use crate::reader::JournalReader;
use crate::report::{Head, JournalHealth, JournalStats, OpenReport, SessionInfo};
use crate::session::{OpenSession, OpenedSession};

/// The durable log. Cheap to clone; the file is closed by [`close`](Self::close), or when the last clone, reader and
/// session writer is dropped.
#[derive(Debug, Clone)]
pub struct Journal {}

#[allow(unused_variables, clippy::unused_async, missing_docs, reason = "bodies follow")]
impl Journal {
    pub fn open(config: JournalConfig, clock: Arc<dyn Clock>) -> Result<(Self, OpenReport), JournalError> {
        Err(JournalError::Closed)
    }
    pub fn id(&self) -> JournalId {
        JournalId(0)
    }
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        watch::channel(Head::default()).1
    }
    pub fn watch_health(&self) -> watch::Receiver<JournalHealth> {
        watch::channel(JournalHealth::Healthy).1
    }
    pub fn ingest_budget(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(0))
    }
    pub async fn open_session(&self, open: OpenSession) -> Result<OpenedSession, OpenError> {
        Err(OpenError::Closed)
    }
    pub fn reader(&self) -> JournalReader {
        JournalReader {}
    }
    pub fn cumulative_at(&self, offset: u64) -> Result<u64, JournalError> {
        Ok(0)
    }
    pub fn open_state(&self, at_offset: u64) -> Result<Vec<Arc<Record>>, JournalError> {
        Ok(Vec::new())
    }
    pub fn cursor(&self, sink: &str) -> Result<Option<Cursor>, JournalError> {
        Ok(None)
    }
    pub fn set_cursor(&self, sink: &str, cursor: Cursor) {}
    pub fn forget_sink(&self, sink: &str) {}
    pub async fn insert_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<(), JournalError> {
        Err(JournalError::Closed)
    }
    pub fn dead_letters(&self, sink: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        Ok(Vec::new())
    }
    pub async fn append_local(&self, local: LocalRun) -> Result<u64, JournalError> {
        Err(JournalError::Closed)
    }
    pub fn local_state(&self, name: &str) -> Result<Option<LocalState>, JournalError> {
        Ok(None)
    }
    pub async fn end_session(
        &self,
        publisher: &str,
        session_id: u64,
        outcome: u8,
        reason: &str,
    ) -> Result<(), JournalError> {
        Err(JournalError::Closed)
    }
    pub fn sessions(&self) -> Vec<SessionInfo> {
        Vec::new()
    }
    pub fn stats(&self) -> JournalStats {
        JournalStats::default()
    }
    pub async fn close(&self, deadline: Duration) -> Result<(), JournalError> {
        Err(JournalError::Closed)
    }
}
