//! The journal through its public interface: sessions, reading, retention, damage, crashes, and a model of it all.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod crash;
mod damage;
mod harness;
mod model;
mod offline;
mod reading;
mod retention;
mod sessions;
mod sinks;
