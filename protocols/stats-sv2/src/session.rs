//! The messages that open, acknowledge and close a session. They take no sequence number.

use crate::codec::{DecodeError, messages};
use crate::value::{Role, Text};

/// Set in [`OpenStatsSession::flags`]: the publisher is a replaced session that delivers its rest. Its state events
/// open nothing (delivery rule 5).
pub const OPEN_FINISHING: u32 = 1;

/// Set in [`OpenStatsSessionSuccess::flags`]: the sidecar asks for an announcement of everything that is open (rule 10).
pub const SUCCESS_ANNOUNCE: u32 = 1;

/// The error codes of [`OpenStatsSessionError`].
pub mod error_code {
    /// No version between the offered bounds is known.
    pub const UNSUPPORTED_VERSION: &str = "unsupported-version";
    /// The token is wrong, or not valid for this publisher name.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// Another session of this name is alive.
    pub const PUBLISHER_IN_USE: &str = "publisher-in-use";
    /// The limit of sessions is reached.
    pub const TOO_MANY_SESSIONS: &str = "too-many-sessions";
    /// The opening message is not understood.
    pub const MALFORMED: &str = "malformed";
}

messages! {
    /// A publisher opens or resumes its session.
    0x00 OpenStatsSession<'a> {
        /// Lowest protocol version that the publisher speaks.
        min_version: u16,
        /// Highest protocol version that the publisher speaks.
        max_version: u16,
        /// [`OPEN_FINISHING`]; other bits are zero.
        flags: u32,
        /// What kind of program publishes.
        role: Role,
        /// The publisher's stable name, such as `pool-eu-1`; never empty.
        publisher: Text<'a>,
        /// Random, one for each run of the publisher, 1 to 2^63-1.
        session_id: u64,
        /// The oldest number that the publisher can still send, or its next unused one; the first is 1.
        first_sequence: u64,
        /// Name and version of the program.
        vendor: Text<'a>,
        /// Shared secret; empty where none is asked.
        token: Text<'a>,
    } check identified

    /// The session is open; the next event frame is number `committed_sequence` + 1.
    0x01 OpenStatsSessionSuccess {
        /// The version that both speak.
        version: u16,
        /// [`SUCCESS_ANNOUNCE`]; other bits are zero.
        flags: u32,
        /// The highest number that is durable, or the number before the oldest that can still come.
        committed_sequence: u64,
        /// Events that may be sent and not yet acknowledged.
        max_unacked: u32,
    }

    /// The session is refused; the connection closes.
    0x02 OpenStatsSessionError<'a> {
        /// No bit is defined.
        flags: u32,
        /// One of [`error_code`].
        error_code: Text<'a>,
    }

    /// All events up to this number are durable.
    0x03 StatsAck {
        /// The highest durable number.
        committed_sequence: u64,
    }

    /// Either side ends: from a publisher the end of the session, from the sidecar that of the connection.
    0x04 CloseStatsSession<'a> {
        /// `malformed`, `shutdown`, or other text for people.
        reason: Text<'a>,
    }
}

/// What identifies a session must be there.
fn identified(open: &OpenStatsSession<'_>) -> Result<(), DecodeError> {
    if open.publisher.as_str().is_empty() {
        return Err(DecodeError::Empty { field: "publisher" });
    }
    for (field, value) in [("session_id", open.session_id), ("first_sequence", open.first_sequence)] {
        if value == 0 {
            return Err(DecodeError::OutOfRange { field, value });
        }
    }
    Ok(())
}
