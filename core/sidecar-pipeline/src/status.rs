//! The whole pipeline at one moment, and whether it is ready.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use sidecar_core::{ErrorChain, NotReady, Status};
use sidecar_journal::{DeadLetter, Journal, JournalHealth, JournalStats, SessionInfo};
use stats_sv2::{Event, EventKind, UnixMillis, read_frame};

use crate::health::{ComponentHealth, HealthSnapshot};
use crate::listener::{ListenerSnapshot, ListenerView};
use crate::sinks::{SinkSnapshot, SinkState};
use crate::tap::TapSource;

/// Dead letters that a report lists; the others are in the journal.
const MAX_DEAD_LETTERS: usize = 50;
/// Characters of a dead letter's contents, and of its reason.
const MAX_CONTENTS: usize = 1_000;

/// What is known of a running pipeline. Snapshots are made when asked for, of what is in memory.
#[derive(Debug)]
pub struct PipelineStatus {
    pub(crate) journal: Journal,
    pub(crate) listener: Option<ListenerView>,
    pub(crate) sinks: Vec<Arc<SinkState>>,
    pub(crate) bridges: Vec<ComponentHealth>,
    pub(crate) tap: TapSource,
}

/// Everything that the metrics show, and the status endpoint beside dead letters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineSnapshot {
    /// Whether everything is ready.
    pub ready: bool,
    /// What is not, and why.
    pub not_ready: Vec<NotReady>,
    /// The journal.
    pub journal: JournalSnapshot,
    /// The listener, where there is one.
    pub listener: Option<ListenerStatus>,
    /// Each session that the journal knows.
    pub sources: Vec<SourceSnapshot>,
    /// Each sink by name.
    pub sinks: BTreeMap<String, SinkSnapshot>,
    /// Each bridge by name.
    pub bridges: BTreeMap<String, HealthSnapshot>,
    /// Open taps.
    pub taps: usize,
    /// Events that slow taps lost since start.
    pub tap_dropped: u64,
}

/// A snapshot together with what stands in the journal's file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineReport {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: PipelineSnapshot,
    /// The latest events that can never reach their sink, newest first. `journal.dead_letters` says how many are kept.
    pub dead_letters: Vec<DeadLetterSnapshot>,
}

/// The journal at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalSnapshot {
    /// Its name, in hexadecimal.
    pub id: String,
    /// `healthy`, `failing` or `blocked`.
    pub health: &'static str,
    /// What fails.
    pub what: Option<String>,
    /// Since when it is not healthy, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Sizes and counters.
    #[serde(flatten)]
    pub stats: JournalStats,
}

/// The listener with its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerStatus {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its counters.
    #[serde(flatten)]
    pub counters: ListenerSnapshot,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceSnapshot {
    /// Name of the publisher.
    pub publisher: String,
    /// What kind of program it is.
    pub role: &'static str,
    /// The session, in hexadecimal.
    pub session: String,
    /// Name and version of the program; untrusted text.
    pub vendor: String,
    /// Its last durable number.
    pub committed_sequence: u64,
    /// When the sidecar first accepted it, in Unix milliseconds.
    pub started_at_ms: u64,
    /// Time of its last event or heartbeat, in Unix milliseconds.
    pub last_event_at_ms: Option<u64>,
    /// When the sidecar last heard of it, in Unix milliseconds.
    pub heard_at_ms: u64,
    /// Whether a connection has it open.
    pub connected: bool,
    /// How it ended: `clean`, `replaced` or `expired`.
    pub ended: Option<&'static str>,
    /// It delivers its rest after it was replaced.
    pub finishing: bool,
    /// It ended without saying so: what it had not delivered is not known.
    pub loss_unknown: bool,
    /// Numbers that are lost.
    pub missing: u64,
}

/// An event that can never reach its sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetterSnapshot {
    /// The sink, or `(ingest)` for what was malformed when it came.
    pub sink: String,
    /// Name of the publisher.
    pub publisher: String,
    /// The session, in hexadecimal.
    pub session: String,
    /// The event was made by the sidecar about the session; such events have numbers of their own.
    pub derived: bool,
    /// Number of the event in its session.
    pub sequence: u64,
    /// When the sidecar received it, in Unix milliseconds.
    pub received_at_ms: u64,
    /// Which event; `unknown` where the frame does not say.
    pub event: &'static str,
    /// Why it can never succeed, for people.
    pub reason: String,
    /// The event, for people: its fields, or the frame in hexadecimal where it has none. Untrusted; cut where it is long.
    pub contents: String,
}

impl From<DeadLetter> for DeadLetterSnapshot {
    fn from(letter: DeadLetter) -> Self {
        let frame = read_frame(&letter.frame).ok().flatten();
        let event = frame.and_then(|frame| Event::decode(frame).ok());
        let contents = match &event {
            Some(event) => format!("{event:?}"),
            None => letter.frame.iter().take(MAX_CONTENTS / 2).map(|byte| format!("{byte:02x}")).collect(),
        };
        Self {
            sink: letter.sink,
            publisher: letter.id.publisher.to_string(),
            session: format!("{:016x}", letter.id.session_id),
            derived: letter.id.derived,
            sequence: letter.id.sequence,
            received_at_ms: letter.received_at.0,
            event: frame.map_or("unknown", |frame| EventKind::from_type(frame.msg_type).name()),
            reason: letter.reason.chars().take(MAX_CONTENTS).collect(),
            contents: contents.chars().take(MAX_CONTENTS).collect(),
        }
    }
}

impl PipelineStatus {
    /// Everything at this moment.
    #[must_use]
    pub fn snapshot(&self) -> PipelineSnapshot {
        let not_ready = self.not_ready();
        let head = self.journal.watch_head();
        PipelineSnapshot {
            ready: not_ready.is_empty(),
            not_ready,
            journal: self.journal_snapshot(),
            listener: self
                .listener
                .as_ref()
                .map(|view| ListenerStatus { address: view.address(), counters: view.snapshot() }),
            sources: self.journal.sessions().into_iter().map(SourceSnapshot::from).collect(),
            sinks: self.sinks.iter().map(|sink| (sink.health.name().to_string(), sink.snapshot(&head))).collect(),
            bridges: self.bridges.iter().map(|bridge| (bridge.name().to_string(), bridge.snapshot())).collect(),
            taps: self.tap.open_taps(),
            tap_dropped: self.tap.dropped(),
        }
    }

    /// Everything at this moment, with the latest dead letters. Reads the journal's file: not for an async thread.
    #[must_use]
    pub fn report(&self) -> PipelineReport {
        PipelineReport { snapshot: self.snapshot(), dead_letters: self.dead_letters() }
    }

    /// What is not ready and why; empty means ready. The journal must be able to commit now, and each sink must have
    /// started once; an optional sink that has failed holds nothing up.
    #[must_use]
    pub fn not_ready(&self) -> Vec<NotReady> {
        let mut not_ready = Vec::new();
        match &*self.journal.watch_health().borrow() {
            JournalHealth::Healthy => {}
            JournalHealth::Failing { what, .. } => {
                not_ready.push(NotReady { component: "journal".to_owned(), why: what.clone() });
            }
            JournalHealth::Blocked { .. } => not_ready.push(NotReady {
                component: "journal".to_owned(),
                why: "it is full and waits for the sinks (when_full = \"block\")".to_owned(),
            }),
        }
        for sink in &self.sinks {
            let health = sink.health.snapshot();
            let given_up = health.status == Status::Failed && !sink.required;
            if !health.started_once && !given_up {
                not_ready.push(NotReady {
                    component: format!("sinks.{}", sink.health.name()),
                    why: health.last_error.unwrap_or_else(|| "it has not started yet".to_owned()),
                });
            }
        }
        not_ready
    }

    /// What cannot be read now is not listed; the journal's count tells that it is there.
    fn dead_letters(&self) -> Vec<DeadLetterSnapshot> {
        if self.journal.stats().dead_letters == 0 {
            return Vec::new();
        }
        let letters = self.journal.dead_letters(None, MAX_DEAD_LETTERS).unwrap_or_else(|error| {
            tracing::warn!(error = %ErrorChain(&error), "dead letters cannot be listed");
            Vec::new()
        });
        letters.into_iter().map(DeadLetterSnapshot::from).collect()
    }

    fn journal_snapshot(&self) -> JournalSnapshot {
        let (health, what, since) = match &*self.journal.watch_health().borrow() {
            JournalHealth::Healthy => ("healthy", None, None),
            JournalHealth::Failing { what, since } => ("failing", Some(what.clone()), Some(since.0)),
            JournalHealth::Blocked { since } => ("blocked", None, Some(since.0)),
        };
        let id = self.journal.id().to_string();
        JournalSnapshot { id, health, what, since_ms: since, stats: self.journal.stats() }
    }
}

impl From<SessionInfo> for SourceSnapshot {
    fn from(session: SessionInfo) -> Self {
        use stats_sv2::event::{ENDED_CLEAN, ENDED_EXPIRED, ENDED_REPLACED};
        let UnixMillis(last_event_at_ms) = session.last_event_at;
        Self {
            publisher: session.publisher.to_string(),
            role: session.role.name(),
            session: format!("{:016x}", session.session_id),
            vendor: session.vendor,
            committed_sequence: session.committed_sequence,
            started_at_ms: session.started_at.0,
            last_event_at_ms: (last_event_at_ms > 0).then_some(last_event_at_ms),
            heard_at_ms: session.heard_at.0,
            connected: session.connected,
            ended: session.ended.map(|outcome| match outcome {
                ENDED_CLEAN => "clean",
                ENDED_REPLACED => "replaced",
                ENDED_EXPIRED => "expired",
                _ => "unknown",
            }),
            finishing: session.finishing,
            loss_unknown: session.loss_unknown,
            missing: session.missing,
        }
    }
}
