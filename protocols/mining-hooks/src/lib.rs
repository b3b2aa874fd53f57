//! What a pool or translator links to publish its statistics and to ask a mint for ehash quotes: one line of code at each
//! place where something happens.
//!
//! The host's own TOML file holds two tables of ours, `[stats]` (see [`StatsConfig`](stats_publisher::StatsConfig)) and, for
//! a pool, `[quotes]` (see `quote_dispatcher::QuotesConfig`). [`start_pool`] or [`start_translator`] reads them once; then
//! [`pool()`] or [`translator()`] gives the hooks from anywhere in the process, so that no handle has to be passed through the
//! host's own types. A host without the tables has hooks that do nothing.
//!
//! No method waits for the network, a disk, the sidecar or the mint, none fails, and none knows a type of the host: numbers,
//! bytes and texts go in. What cannot be delivered is counted by the publisher and told to the sidecar. The docs folder's
//! `integrating.md` shows each place in SRI's applications.
#![forbid(unsafe_code)]

#[cfg(test)]
mod fake_sidecar;
#[cfg(feature = "pool")]
pub mod pool;
mod start;
pub mod target;
#[cfg(feature = "translator")]
pub mod translator;

#[cfg(feature = "pool")]
pub use pool::process::{pool, start_pool};
pub use start::{CLOSE_DEADLINE, StartError};
#[cfg(feature = "translator")]
pub use translator::{start_translator, translator};
