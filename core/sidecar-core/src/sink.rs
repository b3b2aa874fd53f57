//! The contract of a sink: start, deliver a batch, maintain, close. A sink has no queue, no retry and no timer of its
//! own: those are its driver's.

use std::pin::Pin;
use std::sync::Arc;

use stats_sv2::UnixMillis;

use crate::batch::Batch;
use crate::record::Cursor;

/// A boxed future: sinks are trait objects, so their futures are boxed in one place and one way.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any cause of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a sink says when it has started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkStart {
    /// The sink keeps its cursor together with its data, so the journal's note of it is not asked: without a cursor such a
    /// sink is new, or was emptied, and begins where new sinks begin.
    pub keeps_cursor: bool,
    /// How far the sink's own store says it has come, if it keeps that.
    pub cursor: Option<Cursor>,
    /// The sink keeps state of what is open and has none yet: it wants an announcement first (delivery rule 11).
    pub wants_announcement: bool,
    /// The driver may join records up to [`crate::batch::JOINED_EVENTS`] (delivery rule 24).
    pub joins_batches: bool,
}

/// Something that events are delivered to.
///
/// The driver calls `start` once (again after a failed start), then `deliver`, `maintain` and `reopen` one at a time,
/// then `close`. `close` is safe without `start`, and twice.
pub trait Sink: Send {
    /// Opens what the sink needs. A failure is retried by the driver unless it is [`SinkError::Fatal`].
    fn start(&mut self) -> BoxFuture<'_, Result<SinkStart, SinkError>>;

    /// Takes a batch. `Ok` means durable, under the configured durability (delivery rule 22). After an error that is
    /// not partial nothing of the batch counts as delivered, and the same batch may come again.
    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>>;

    /// Does what is due by time: retention, rotation. Called about once a second between deliveries.
    fn maintain(&mut self, now: UnixMillis) -> BoxFuture<'_, Result<(), SinkError>> {
        let _ = now;
        Box::pin(async { Ok(()) })
    }

    /// Closes and opens files again, as SIGHUP asks.
    fn reopen(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    /// Releases everything. After it the sink may be started again.
    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>>;
}

/// One event that can never succeed at this sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEvent {
    /// Place among the envelopes of the batch as it was delivered, from 0.
    pub index: u64,
    /// Why, for people.
    pub reason: String,
}

/// Why a batch was not, or not wholly, delivered. The sink classifies; the driver retries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Try again later: the other side is away, busy or full.
    #[error("{what}")]
    Transient {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: Option<BoxError>,
    },
    /// No event of this batch can ever succeed: all become dead letters.
    #[error("{what}")]
    Permanent {
        /// What is wrong with the events.
        what: String,
        /// Why.
        #[source]
        source: Option<BoxError>,
    },
    /// Some events can never succeed and become dead letters; of the others those before `retry_from` are delivered.
    #[error("{} of the events were rejected", rejected.len())]
    Partial {
        /// The events that can never succeed, by rising index.
        rejected: Vec<RejectedEvent>,
        /// First envelope to deliver again; `None` when all others are delivered.
        retry_from: Option<u64>,
    },
    /// The sink cannot work at all until somebody changes something: wrong schema, file in use, bad credentials.
    #[error("{what}")]
    Fatal {
        /// What is wrong and what to do.
        what: String,
        /// Why.
        #[source]
        source: Option<BoxError>,
    },
}

impl SinkError {
    /// Try again later.
    pub fn transient(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Transient { what: what.into(), source: Some(source.into()) }
    }

    /// These events can never succeed.
    pub fn permanent(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Permanent { what: what.into(), source: Some(source.into()) }
    }

    /// The sink cannot work until somebody changes something.
    pub fn fatal(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Fatal { what: what.into(), source: Some(source.into()) }
    }
}
