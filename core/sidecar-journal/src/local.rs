//! Runs made inside the process, such as a bridge's, committed together with the state they were made from (delivery
//! rule 31).

use std::sync::Arc;

use bytes::Bytes;
use stats_sv2::Role;

/// Frames of a local session, and the state that is true once they are durable. The journal numbers the frames itself.
#[derive(Debug, Clone)]
pub struct LocalRun {
    /// What the state is stored under; one for each bridge.
    pub name: Arc<str>,
    /// Stable name of the publisher.
    pub publisher: Arc<str>,
    /// What kind of program it stands for.
    pub role: Role,
    /// The session; a new one replaces the publisher's former.
    pub session_id: u64,
    /// Name and version of the program.
    pub vendor: String,
    /// Whole event frames; may be empty when only the state changed.
    pub frames: Bytes,
    /// How many frames.
    pub count: u32,
    /// Opaque to the journal.
    pub state: Vec<u8>,
}

/// What was committed last under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalState {
    /// The session that it was committed with.
    pub session_id: u64,
    /// The session's last durable number.
    pub committed_sequence: u64,
    /// The state as it was handed in.
    pub state: Vec<u8>,
}
