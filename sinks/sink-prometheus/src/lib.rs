//! The sink type `prometheus`: `/metrics` of the mining domain, on a listener of its own.
//!
//! The numbers live in memory and count what this process was given. Real counters never fall while it runs; after a
//! restart they begin at 0, as Prometheus expects, and the sink goes on where it stopped, so that no event is left out of
//! an `increase()`. A crash may give the last events before it a second time, to the new process. What is open is announced
//! to a new process, so that gauges are right from the first scrape on.
//!
//! Prometheus gives every increase the time of its scrape. So a new sink begins with the next event; with
//! `start = "earliest"` everything that the journal holds would come as one jump. What waited in buffers comes as a jump
//! too, after an outage: rates over less than the outage read high then. The gauges with a window rest on the time of the
//! events themselves and are right either way.
#![forbid(unsafe_code)]

mod config;
mod encoder;
mod label;
mod numbers;
mod server;
mod sink;
#[cfg(test)]
mod tests;

pub use config::{DEFAULT_LISTEN, PrometheusSettings};
pub use sidecar_http::AuthSetting;
pub use sink::PrometheusSink;

/// The name of the sink type in the configuration.
pub const TYPE: &str = "prometheus";
