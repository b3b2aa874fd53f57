//! Events that could not be delivered, or not even understood, kept with the reason.

use bytes::Bytes;
use sidecar_core::StableId;
use stats_sv2::UnixMillis;

/// Sink name of the dead letters that are malformed payloads.
pub const INGEST: &str = "(ingest)";

/// One event that can never succeed at one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sink's name, or [`INGEST`].
    pub sink: String,
    /// Which event.
    pub id: StableId,
    /// When the sidecar received it.
    pub received_at: UnixMillis,
    /// Why, for people.
    pub reason: String,
    /// The frame as it came over the wire.
    pub frame: Bytes,
}
