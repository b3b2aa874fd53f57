//! The sink type `log-file`: events as JSON lines in a file that is rotated by size and by time.
//!
//! Delivery is at least once: after a crash, or after a write that failed half-way, a batch may be written again, under
//! the same `publisher`, `session`, `derived` and `sequence`. No half line is ever left: what a failed write began is cut
//! off at once, what a crash left at the next start.
#![forbid(unsafe_code)]

mod config;
mod encoder;
mod error;
mod open_file;
mod rotation;
mod sink;
#[cfg(test)]
mod tests;

pub use config::LogFileSettings;
pub use error::LogFileError;
pub use sink::LogFileSink;

/// The name of the sink type in the configuration.
pub const TYPE: &str = "log-file";
