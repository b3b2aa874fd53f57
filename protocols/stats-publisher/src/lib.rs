//! Publishes mining statistics from a pool or translator to a Hashpool sidecar, without ever making the pool wait.
//!
//! ```no_run
//! use stats_publisher::{StatsConfig, event::ShareSubmitted};
//! use stats_publisher::{ChannelId, CompactTarget, DownstreamId, Role, UnixMillis};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = std::fs::read_to_string("pool-config.toml")?;
//! let stats = StatsConfig::from_toml_str(&text)?.start(Role::Pool, "my-pool 1.0")?;
//! stats.publish(ShareSubmitted {
//!     downstream_id: DownstreamId(1),
//!     timestamp: UnixMillis::now(),
//!     channel_id: ChannelId(1),
//!     sequence_number: 7,
//!     target: CompactTarget(0x1d00_ffff),
//!     share: CompactTarget(0x1c0a_0b0c),
//! });
//! stats.close(std::time::Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```
//!
//! `publish` copies a share into a bounded lock-free queue and returns. A thread of the publisher's own drains the queue
//! every 10 ms, numbers the events, encodes them and sends them; it keeps them until the sidecar has acknowledged
//! them, reconnects, sends again what was not acknowledged, and tells the sidecar how many events are missing if the
//! queue was ever full.
//!
//! # The spool
//!
//! With a spool file, events are written to it before they are sent and removed once they are acknowledged. Then a
//! process that is killed loses nothing that reached the file; the next run delivers it. An event has *reached the
//! spool* when the drain has taken it from the queue and the operating system has its bytes: within 10 ms, 50 ms after
//! idleness. A power failure of the host may cost the end of the file, which is cut at the last whole record.
#![forbid(unsafe_code)]

mod accounts;
mod backoff;
mod builder;
mod config;
mod connection;
mod counters;
mod drain;
mod intake;
mod outbox;
mod overflow;
mod publisher;
#[cfg(feature = "quotes")]
mod quote_callbacks;
mod spool;
mod token;
mod window;
mod worker;

#[doc(hidden)]
pub use builder::Timing;
pub use builder::{
    DEFAULT_ADDRESS, DEFAULT_BOXED_EVENT_BYTES, DEFAULT_QUEUE_SLOTS, DEFAULT_SPOOL_BYTES, MIN_SPOOL_BYTES, StartError,
    StatsPublisherBuilder,
};
pub use config::{ConfigError, StatsConfig};
pub use counters::Counters;
pub use intake::PublishOutcome;
pub use publisher::{DROP_DEADLINE, DeliveryReport, StatsPublisher};
#[cfg(feature = "quotes")]
pub use quote_callbacks::{PAYMENT_FAILED, PublisherQuoteCallbacks};
pub use spool::SpoolError;
pub use token::Token;

// What a host needs to make events, so that it links one crate.
#[cfg(feature = "noise")]
pub use stats_sv2::noise::AuthorityPublicKey;
pub use stats_sv2::{
    Amount, ChannelId, CompactTarget, DownstreamId, Event, MinerId, Role, Text, U256, UnixMillis, event,
};
