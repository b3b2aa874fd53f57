//! From publishers to sinks: the listener with its sessions, a driver for each sink, bridges, the account of what became
//! of every event, status, stopping. What is durable is the journal's matter, what a sink does with events the sink's.
//!
//! ```text
//! publisher ── listener ─┐                ┌─ driver ── sink
//! publisher ── session  ─┼─► journal ─────┼─ driver ── sink
//!              bridge   ─┘                └─ tap
//! ```
#![forbid(unsafe_code)]

mod bridge;
mod burst;
mod drain;
mod health;
mod ledger;
mod listener;
mod open_files;
mod pipeline;
mod retry;
mod sinks;
mod status;
mod tap;

pub use bridge::{Bridge, BridgeContext};
pub use drain::{Drain, DrainReport, SinkReport};
pub use health::{ComponentHealth, HealthSnapshot};
pub use ledger::{Expired, Expiry, LedgerSnapshot};
pub use listener::{
    Auth, ConnectionEnd, ListenerConfig, ListenerLimits, ListenerSnapshot, MAX_HANDSHAKES, MAX_SESSIONS, NoiseConfig,
    Secret, TokenRule,
};
pub use open_files::raise_open_files;
pub use pipeline::{Pipeline, PipelineBuilder, Running, StartError};
pub use retry::{AfterFailure, RetryPolicy};
pub use sinks::{DEFAULT_RESTART_AFTER, DEFAULT_TIMEOUT, SinkSnapshot, SinkSpec, StartAt};
pub use status::{
    DeadLetterSnapshot, JournalSnapshot, ListenerStatus, PipelineReport, PipelineSnapshot, PipelineStatus,
    SourceSnapshot,
};
pub use tap::{MAX_TAPS, Tap, TapSource, Tapped, TooManyTapsError};
