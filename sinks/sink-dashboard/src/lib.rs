//! The sink type `dashboard`: the history and the live state over HTTP, as pages for people and as an API for programs.
//!
//! The sink itself only keeps the present in memory; every number of the past is read from the history that a sink of type
//! `sqlite` keeps in the same sidecar. The server has threads of its own, so that no question slows the pipeline.
#![forbid(unsafe_code)]

mod accept_encoding;
mod answers;
mod api;
mod compat;
pub mod config;
mod history;
mod live;
#[cfg(feature = "pages")]
mod pages;
mod router;
mod security;
mod sink;
mod state;
#[cfg(test)]
mod tests;
mod worker_list;

pub use config::{AuthSetting, DashboardSettings, Redacted, SourceFacts};
pub use sink::DashboardSink;

/// The name of the sink type in the configuration.
pub const TYPE: &str = "dashboard";
