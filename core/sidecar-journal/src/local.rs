//! Runs made inside the process, such as a bridge's, committed together with the state they were made from (delivery
//! rule 31).

use std::sync::Arc;

use bytes::Bytes;
use stats_sv2::{Event, Frames, Role, UnixMillis};

use crate::error::JournalError;
use crate::session::{MAX_RUN_BYTES, carries_state};

/// Bytes of the frames of one local run at most. It is stored as several records in one transaction, since what was made
/// from one state cannot be handed over in two.
pub const MAX_LOCAL_RUN_BYTES: usize = 16 << 20;

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
    /// Whole event frames, [`MAX_LOCAL_RUN_BYTES`] at most; may be empty when only the state changed.
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

/// A local run cut into parts of the size of a run, each to become a record.
#[derive(Debug, Default)]
pub(crate) struct LocalContents {
    pub(crate) parts: Vec<LocalPart>,
}

/// Whole frames of a local run: [`MAX_RUN_BYTES`] at most, or a single frame that is larger.
#[derive(Debug, Default)]
pub(crate) struct LocalPart {
    pub(crate) count: u32,
    pub(crate) frames: Bytes,
    pub(crate) has_state: bool,
    pub(crate) last_event_at: Option<UnixMillis>,
}

impl LocalContents {
    /// Scans a local run; refuses one whose frames are not what it says.
    pub(crate) fn of(local: &LocalRun) -> Result<Self, JournalError> {
        let refused = |what: String| Err(JournalError::Refused { what });
        if local.frames.len() > MAX_LOCAL_RUN_BYTES {
            return refused(format!(
                "a local run of {} bytes is over the {MAX_LOCAL_RUN_BYTES} of one local run",
                local.frames.len()
            ));
        }
        let mut contents = Self::default();
        let mut part = LocalPart::default();
        let (mut count, mut from, mut to) = (0, 0, 0);
        let mut frames = Frames::new(&local.frames);
        for frame in frames.by_ref() {
            if part.count > 0 && to - from + frame.bytes.len() > MAX_RUN_BYTES {
                part.frames = local.frames.slice(from..to);
                contents.parts.push(std::mem::take(&mut part));
                from = to;
            }
            to += frame.bytes.len();
            count += 1;
            part.count += 1;
            part.has_state |= carries_state(frame.msg_type);
            if let Ok(event) = Event::decode(frame) {
                part.last_event_at = event.timestamp().or(part.last_event_at);
            }
        }
        if !frames.rest().is_empty() || count != local.count {
            return refused(format!("a local run says {} frames and holds {count}", local.count));
        }
        if part.count > 0 {
            part.frames = local.frames.slice(from..to);
            contents.parts.push(part);
        }
        Ok(contents)
    }
}
