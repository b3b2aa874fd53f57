//! The pipeline at its borders: real sockets on one side, sinks that behave and misbehave on the other, a real journal
//! between them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod delivery;
mod fake_sink;
mod handshake;
mod hostile;
mod overlap;
mod sessions;
mod sidecar;
mod stopping;
