//! The history: current state, additive sums in tiers of buckets, and single facts (blocks, quotes, losses) in one SQLite
//! file, with a read-only side for dashboards and reports.
//!
//! [`sink`] applies a joined batch, its cursor and the last applied number of each session in one transaction (delivery
//! rule 23), so that every event is counted exactly once whatever is delivered again. [`query`] reads.
#![forbid(unsafe_code)]

mod apply;
mod cache;
pub mod config;
pub mod error;
mod kept;
mod latency;
pub mod query;
pub mod quote;
mod quote_book;
mod retention;
mod rollup;
mod salvage;
pub mod schema;
mod settling;
pub mod sink;
mod store;
#[cfg(test)]
mod tests;

pub use config::{Retention, SqliteSettings, register};
pub use error::HistoryError;
pub use query::History;
pub use sink::SqliteSink;
