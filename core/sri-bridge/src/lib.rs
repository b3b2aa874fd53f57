//! Feeds the sidecar from an unmodified SRI pool or translator, by polling its monitoring API and making events from the
//! differences of its counters.
//!
//! One poll reads a [`View`] of the whole program; [`difference`] compares it with what is [`Known`] and answers with
//! events and the next `Known`, without I/O; both go to the journal in one transaction through a [`BridgeStore`], so that
//! a crash neither repeats nor skips a count.
//!
//! What the API does not tell is not invented. Without a successful poll there is no heartbeat, and the time is not
//! observed. The last shares of a channel that closes between two polls cannot be known.
#![forbid(unsafe_code)]

mod api;
mod bridge;
mod client;
mod config;
mod difference;
mod known;
mod poll;
mod store;
#[cfg(test)]
mod tests;
mod view;

pub use bridge::{BridgeError, BridgeStatus, SriBridge};
pub use client::HttpError;
pub use config::{MonitoringUrl, SriBridgeSettings, SriRole};
pub use difference::{LONGEST_SPAN_POLLS, MAX_BLOCKS_PER_POLL, difference};
pub use known::{Known, KnownError};
pub use poll::{PollError, read_view};
pub use store::{BridgeRun, BridgeStore, SavedState};
pub use view::{ChannelView, DownstreamView, MinerView, StartedAt, UPSTREAM_CHANNELS, View};

/// The name of the bridge type in the configuration.
pub const TYPE: &str = "sri";
