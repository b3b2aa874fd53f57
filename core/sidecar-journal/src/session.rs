//! Sessions at the border of the journal: opening, appending runs, closing.

use std::sync::Arc;

use bytes::Bytes;
use stats_sv2::open_objects::OpenObjects;
use stats_sv2::{EventKind, Role, UnixMillis};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::error::{AppendError, JournalError};
use crate::group::Group;
use crate::registry::{Opened, Registry};
use crate::shared::Shared;

/// Bytes of one run at most.
pub const MAX_RUN_BYTES: usize = 256 << 10;

/// Whether a frame of this type can change what is open at its publisher, so that its run needs [`Run::has_state`].
#[inline]
#[must_use]
pub const fn carries_state(msg_type: u8) -> bool {
    let kind = EventKind::from_type(msg_type);
    OpenObjects::concerns(kind) || matches!(kind, EventKind::AnnounceBegin | EventKind::AnnounceEnd)
}

/// What a publisher says when it opens or resumes its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Stable name of the publisher.
    pub publisher: Arc<str>,
    /// What kind of program it is.
    pub role: Role,
    /// The session.
    pub session_id: u64,
    /// The oldest number that the publisher can still send, or its next unused one; from 1.
    pub first_sequence: u64,
    /// Name and version of the program.
    pub vendor: String,
    /// The session was replaced and delivers its rest.
    pub finishing: bool,
}

/// A session that is open; everything handed over by earlier connections of it is durable.
#[derive(Debug)]
pub struct OpenedSession {
    /// The next run begins after this number.
    pub committed_sequence: u64,
    /// The publisher should announce what is open: the journal has not seen all of it.
    pub announce: bool,
    /// For this connection.
    pub writer: SessionWriter,
}

/// Consecutive event frames of one session, checked by the session's task.
#[derive(Debug)]
pub struct Run {
    /// Number of the first frame.
    pub first_sequence: u64,
    /// How many frames; at least 1.
    pub count: u32,
    /// Whole frames, [`MAX_RUN_BYTES`] at most. Malformed payloads are already replaced by
    /// [`stats_sv2::event::Malformed`] events.
    pub frames: Bytes,
    /// Whether any frame [carries state](carries_state).
    pub has_state: bool,
    /// Timestamp of the last event or heartbeat in the run, where it has one.
    pub last_event_at: Option<UnixMillis>,
    /// The originals of the malformed payloads.
    pub malformed: Vec<MalformedFrame>,
    /// Share of the ingest budget, given back after the commit.
    pub permit: OwnedSemaphorePermit,
}

/// A frame whose payload was malformed, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedFrame {
    /// Its number.
    pub sequence: u64,
    /// Header and payload.
    pub bytes: Bytes,
    /// What is wrong with it.
    pub reason: String,
}

/// One connection of a session. Dropping it means that the connection was lost, which closes nothing.
#[derive(Debug)]
pub struct SessionWriter {
    shared: Arc<Shared>,
    id: i64,
    generation: u64,
    acknowledged: watch::Receiver<u64>,
}

impl SessionWriter {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        let Opened { id, generation, acknowledged, .. } = opened;
        Self { shared, id, generation, acknowledged }
    }

    /// Hands a run to the writer, waiting for a place. What is there already is left out. The run is durable once
    /// [`acknowledged`](Self::acknowledged) reaches its last number.
    pub async fn append(&self, run: Run) -> Result<(), AppendError> {
        self.shared.intake.append(self.id, self.generation, run).await
    }

    /// The session's last durable number.
    #[must_use]
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.clone()
    }

    /// The publisher closed its session: writes its end, and returns its last number once all is durable.
    pub async fn close(self, reason: &str) -> Result<u64, JournalError> {
        let intake = &self.shared.intake;
        let now = intake.clock().now();
        let close = |registry: &mut Registry, group: &mut Group| {
            registry.close(self.id, self.generation, reason, now, group).ok_or_else(|| JournalError::Refused {
                what: "a newer connection of this session has taken over".to_owned(),
            })
        };
        intake.commit(|| JournalError::Closed, close).await
    }

    /// The connection was lost. Closes nothing.
    pub fn detach(self) {}
}

impl Drop for SessionWriter {
    fn drop(&mut self) {
        self.shared.intake.lock().registry.detach(self.id, self.generation);
    }
}
