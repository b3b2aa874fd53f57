//! A sink that does what it is told and remembers what it was given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use sidecar_core::{Batch, BoxFuture, Cursor, EventKind, RejectedEvent, Sink, SinkError, SinkStart, StableId};
use stats_sv2::UnixMillis;

/// How a call ends.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Work,
    Transient,
    Permanent,
    /// These are rejected, and the rest from there on is to be tried again.
    Partial(Vec<u64>, Option<u64>),
    Fatal,
    Panic,
    Hang,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What the next deliveries do; then they work.
    pub(crate) script: VecDeque<Act>,
    /// What the next starts do; then they work.
    pub(crate) starts: VecDeque<Act>,
    pub(crate) start: SinkStart,
    pub(crate) started: u32,
    pub(crate) closed: u32,
    pub(crate) maintained: u32,
    pub(crate) reopened: u32,
    pub(crate) attempts: u32,
    /// Events delivered, in order.
    pub(crate) delivered: Vec<(StableId, EventKind)>,
    /// How many events had been delivered at each announcement.
    pub(crate) announced_after: Vec<usize>,
    /// Kinds in announcements, in order.
    pub(crate) announced: Vec<EventKind>,
    /// Whether an announcement came before any event.
    pub(crate) announced_first: bool,
    pub(crate) largest_batch: u64,
}

/// The sink, and the test's hand on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeSink(pub(crate) Arc<Mutex<Memory>>);

impl FakeSink {
    pub(crate) fn acting(script: impl IntoIterator<Item = Act>) -> Self {
        let sink = Self::default();
        sink.with(|memory| memory.script.extend(script));
        sink
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(crate) fn delivered(&self) -> usize {
        self.with(|memory| memory.delivered.len())
    }

    /// Numbers of the publisher's events that arrived, in order.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.with(|memory| memory.delivered.iter().filter(|(id, _)| !id.derived).map(|(id, _)| id.sequence).collect())
    }

    pub(crate) fn has(&self, kind: EventKind) -> bool {
        self.with(|memory| memory.delivered.iter().any(|(_, delivered)| *delivered == kind))
    }

    pub(crate) fn own_cursor(&self, cursor: Cursor) {
        self.with(|memory| memory.start.cursor = Some(cursor));
    }

    fn keep(&self, batch: &Batch, leave_out: &[u64], up_to: Option<u64>) {
        self.with(|memory| {
            if batch.cursor().is_none() {
                memory.announced_after.push(memory.delivered.len());
            }
            memory.largest_batch = memory.largest_batch.max(batch.events());
            for (index, envelope) in batch.envelopes().enumerate() {
                let index = index as u64;
                if up_to.is_some_and(|end| index >= end) || leave_out.contains(&index) {
                    continue;
                }
                if batch.cursor().is_none() {
                    memory.announced_first |= memory.delivered.is_empty();
                    memory.announced.push(envelope.kind());
                } else {
                    memory.delivered.push((envelope.stable_id(), envelope.kind()));
                }
            }
        });
    }
}

fn transient() -> SinkError {
    SinkError::Transient { what: "the other side is away".to_owned(), source: None }
}

async fn fail(act: Act) -> Result<(), SinkError> {
    match act {
        Act::Work => Ok(()),
        Act::Transient => Err(transient()),
        Act::Permanent => Err(SinkError::Permanent { what: "nonsense".to_owned(), source: None }),
        Act::Partial(rejected, retry_from) => {
            let rejected = rejected.into_iter().map(|index| RejectedEvent { index, reason: "bad".to_owned() });
            Err(SinkError::Partial { rejected: rejected.collect(), retry_from })
        }
        Act::Fatal => Err(SinkError::Fatal { what: "wrong schema".to_owned(), source: None }),
        Act::Panic => panic!("a fake sink panics as asked"),
        Act::Hang => std::future::pending().await,
    }
}

impl Sink for FakeSink {
    fn start(&mut self) -> BoxFuture<'_, Result<SinkStart, SinkError>> {
        Box::pin(async {
            let act = self.with(|memory| {
                memory.started += 1;
                memory.starts.pop_front().unwrap_or(Act::Work)
            });
            fail(act).await?;
            Ok(self.with(|memory| memory.start))
        })
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            let act = self.with(|memory| {
                memory.attempts += 1;
                memory.script.pop_front().unwrap_or(Act::Work)
            });
            match &act {
                Act::Work => self.keep(&batch, &[], None),
                Act::Partial(rejected, retry_from) => self.keep(&batch, rejected, *retry_from),
                _ => {}
            }
            fail(act).await
        })
    }

    fn maintain(&mut self, _now: UnixMillis) -> BoxFuture<'_, Result<(), SinkError>> {
        self.with(|memory| memory.maintained += 1);
        Box::pin(async { Ok(()) })
    }

    fn reopen(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.with(|memory| memory.reopened += 1);
        Box::pin(async { Ok(()) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.with(|memory| memory.closed += 1);
        Box::pin(async { Ok(()) })
    }
}
