//! The bridge at work: polls in time, backs off when the API is away, stores what it finds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sidecar_core::{BoxError, Clock, ErrorChain};
use stats_sv2::event::{HEARTBEAT_CLOCK_STEPPED, Heartbeat, SourceInfo};
use stats_sv2::limits::CLOCK_STEP;
use stats_sv2::{Event, Text, UnixMillis};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{SriBridgeSettings, SriRole};
use crate::difference::{LONGEST_SPAN_POLLS, difference};
use crate::known::{Known, KnownError};
use crate::poll::{PollError, read_view};
use crate::store::{BridgeRun, BridgeStore};

/// The pause after repeated failures doubles up to this.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// One poll, all its requests together, takes no longer.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);

/// After so long without a poll the bridge begins a new session: the journal ends silent ones after 24 hours.
const SESSION_KEPT_FOR: Duration = Duration::from_secs(12 * 3_600);

const VENDOR: &str = concat!("sri-bridge ", env!("CARGO_PKG_VERSION"));

/// A bridge to one SRI program.
#[derive(Debug)]
pub struct SriBridge {
    name: String,
    settings: SriBridgeSettings,
    clock: Arc<dyn Clock>,
    status: watch::Sender<BridgeStatus>,
}

/// How a bridge fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BridgeStatus {
    /// What the program is, once known.
    pub role: Option<SriRole>,
    /// Polls whose events were stored.
    pub polls: u64,
    /// Polls that failed.
    pub failed_polls: u64,
    /// Events stored, heartbeats included.
    pub events: u64,
    /// Time of the last stored poll in Unix milliseconds.
    pub last_poll: Option<u64>,
    /// Why the last poll failed; `None` when it did not.
    pub error: Option<String>,
    /// Downstreams at the last poll; a translator's upstream counts as one.
    pub downstreams: usize,
    /// Channels at the last poll.
    pub channels: usize,
    /// SV1 miners at the last poll.
    pub miners: usize,
}

/// Why a bridge cannot go on at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// Its stored state cannot be used.
    #[error("bridge {name} cannot start")]
    State {
        /// Name of the bridge.
        name: String,
        /// Why.
        source: KnownError,
    },
}

/// Why one round came to nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Poll(#[from] PollError),
    #[error("the poll took longer than {} s", POLL_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the journal does not take the bridge's events")]
    Store(#[source] BoxError),
    #[error(transparent)]
    State(#[from] KnownError),
}

/// What is carried from round to round.
struct Progress {
    session_id: u64,
    known: Known,
    /// The session has stored something.
    begun: bool,
}

impl SriBridge {
    /// A bridge under its name in the configuration.
    #[must_use]
    pub fn new(name: impl Into<String>, settings: SriBridgeSettings, clock: Arc<dyn Clock>) -> Self {
        Self { name: name.into(), settings, clock, status: watch::Sender::new(BridgeStatus::default()) }
    }

    /// The name of the publisher whose events it makes.
    #[must_use]
    pub fn publisher(&self) -> &str {
        self.settings.publisher.as_deref().unwrap_or(&self.name)
    }

    /// How it fares, for pages and metrics.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<BridgeStatus> {
        self.status.subscribe()
    }

    /// Polls until `stop` completes. A poll under way is given up then; nothing of it was stored, or all.
    pub async fn run(self, store: &dyn BridgeStore, stop: impl Future<Output = ()>) -> Result<(), BridgeError> {
        tokio::select! {
            biased;
            () = stop => Ok(()),
            outcome = self.poll_forever(store) => outcome,
        }
    }

    async fn poll_forever(&self, store: &dyn BridgeStore) -> Result<(), BridgeError> {
        // Loaded again after every failure to store: nobody knows whether it was stored.
        let mut progress = None;
        let mut failures = 0_u32;
        let mut last_clock: Option<(Instant, UnixMillis)> = None;
        let every = self.settings.every.0;
        let mut due = Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let started = Instant::now();
            match self.round(store, &mut progress, &mut last_clock).await {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(bridge = self.name, failures, "the monitoring API is read again");
                    }
                    failures = 0;
                    due = started + every;
                }
                Err(RoundError::State(source)) => {
                    return Err(BridgeError::State { name: self.name.clone(), source });
                }
                Err(error) => {
                    if matches!(error, RoundError::Store(_)) {
                        progress = None;
                    }
                    let what = ErrorChain(&error).to_string();
                    if failures == 0 {
                        tracing::warn!(
                            bridge = self.name,
                            url = %self.settings.url,
                            error = what,
                            "a poll failed; it is tried again, and its time counts as not observed"
                        );
                    }
                    self.status.send_modify(|status| {
                        status.failed_polls += 1;
                        status.error = Some(what);
                    });
                    due = started + backoff(every, failures);
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn round(
        &self,
        store: &dyn BridgeStore,
        progress: &mut Option<Progress>,
        last_clock: &mut Option<(Instant, UnixMillis)>,
    ) -> Result<(), RoundError> {
        let current = match progress {
            Some(progress) => progress,
            None => progress.insert(self.load(store).await?),
        };
        let reading = read_view(&self.settings.url, self.settings.role, current.known.downstream_ids());
        let view = tokio::time::timeout(POLL_TIMEOUT, reading).await.map_err(|_| RoundError::TimedOut)??;

        let (now, instant) = (self.clock.now(), Instant::now());
        let idle = current.known.polled_at().map_or(0, |last| now.0.saturating_sub(last.0));
        let mut known = current.known.clone();
        let (session_id, begun) = if u128::from(idle) > SESSION_KEPT_FOR.as_millis() {
            known.forget_open();
            (new_session_id(), false)
        } else {
            (current.session_id, current.begun)
        };
        let longest_span = self.settings.every.0 * LONGEST_SPAN_POLLS;
        let (mut events, next) = difference(&known, &view, now, longest_span);
        if !begun {
            events.insert(
                0,
                Event::SourceInfo(SourceInfo {
                    timestamp: now,
                    name: Text::cut("monitoring_api"),
                    value: Text::cut(self.settings.url.to_string()),
                }),
            );
        }
        let stepped = last_clock.is_some_and(|(then, wall)| {
            let elapsed = instant.duration_since(then).as_millis();
            elapsed.abs_diff(u128::from(now.0.saturating_sub(wall.0))) > CLOCK_STEP.as_millis() || now < wall
        });
        events.push(Event::Heartbeat(Heartbeat {
            timestamp: now,
            flags: if stepped { HEARTBEAT_CLOCK_STEPPED } else { 0 },
        }));
        let stored = events.len();
        self.store(store, session_id, view.role, &events, &next).await?;

        *last_clock = Some((instant, now));
        *progress = Some(Progress { session_id, known: next, begun: true });
        self.status.send_modify(|status| {
            status.role = Some(view.role);
            status.polls += 1;
            status.events += stored as u64;
            status.last_poll = Some(now.0);
            status.error = None;
            status.downstreams = view.downstreams.len();
            status.channels = view.downstreams.values().map(|downstream| downstream.channels.len()).sum();
            status.miners = view.miners.len();
        });
        Ok(())
    }

    async fn load(&self, store: &dyn BridgeStore) -> Result<Progress, RoundError> {
        match store.load(&self.name).await.map_err(RoundError::Store)? {
            Some(saved) => {
                Ok(Progress { session_id: saved.session_id, known: Known::decode(&saved.state)?, begun: true })
            }
            None => Ok(Progress { session_id: new_session_id(), known: Known::default(), begun: false }),
        }
    }

    async fn store(
        &self,
        store: &dyn BridgeStore,
        session_id: u64,
        role: SriRole,
        events: &[Event<'_>],
        next: &Known,
    ) -> Result<(), RoundError> {
        let mut frames = Vec::new();
        for event in events {
            event.encode(&mut frames);
        }
        let run = BridgeRun {
            name: self.name.clone(),
            publisher: self.publisher().to_owned(),
            role: role.into(),
            session_id,
            vendor: VENDOR.to_owned(),
            frames: Bytes::from(frames),
            // A view has at most 65,536 objects, and each makes a handful of events.
            count: u32::try_from(events.len()).unwrap_or(u32::MAX),
            state: next.encode(),
        };
        store.append(run).await.map_err(RoundError::Store)
    }
}

/// The pause after so many failures before this one.
fn backoff(every: Duration, failures: u32) -> Duration {
    every.saturating_mul(1 << failures.min(16)).min(MAX_BACKOFF.max(every))
}

/// Random, in the range of the protocol.
fn new_session_id() -> u64 {
    rand::random_range(1..stats_sv2::limits::U64_LIMIT)
}
