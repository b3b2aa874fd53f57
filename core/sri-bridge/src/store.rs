//! Where a bridge's events and its state go, together. The journal implements it; the bridge does not know the journal.

use bytes::Bytes;
use sidecar_core::{BoxError, BoxFuture};
use stats_sv2::Role;

/// The journal, as a bridge sees it.
pub trait BridgeStore: Send + Sync {
    /// What the last [`append`](Self::append) stored under this bridge's name; `None` before the first.
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<SavedState>, BoxError>>;

    /// Stores events and state in one transaction: both are durable when it returns, or neither is. After an error, or
    /// when the call is given up, either may be the case; the bridge loads again.
    fn append(&self, run: BridgeRun) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// The state of a bridge as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The session of its last events.
    pub session_id: u64,
    /// What the bridge gave.
    pub state: Vec<u8>,
}

/// The events of one poll, and the state after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeRun {
    /// Name of the bridge: what the state is stored under.
    pub name: String,
    /// Name of the publisher.
    pub publisher: String,
    /// What the program is.
    pub role: Role,
    /// The session; a new one replaces the publisher's former.
    pub session_id: u64,
    /// Name and version of the bridge.
    pub vendor: String,
    /// Event frames, one after the other; the store numbers them.
    pub frames: Bytes,
    /// How many frames.
    pub count: u32,
    /// The state after these events.
    pub state: Vec<u8>,
}
