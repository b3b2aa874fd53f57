//! Settings of the listener: where it listens, its limits, who may publish what.

use std::net::SocketAddr;
use std::time::Duration;

use stats_sv2::limits::{ACK_TIMEOUT, HANDSHAKE_TIMEOUT, NAME_HELD_FOR, SILENT_SESSION};
use stats_sv2::noise::AuthoritySecretKey;

use super::auth::Auth;

/// What the listener is made with.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its limits.
    pub limits: ListenerLimits,
    /// Who may publish under which name.
    pub auth: Auth,
    /// With it every connection must be encrypted.
    pub noise: Option<NoiseConfig>,
}

impl ListenerConfig {
    /// Plain TCP without tokens, default limits.
    #[must_use]
    pub fn plain(listen: SocketAddr) -> Self {
        Self { listen, limits: ListenerLimits::default(), auth: Auth::default(), noise: None }
    }
}

/// The encrypted transport.
#[derive(Debug, Clone)]
pub struct NoiseConfig {
    /// What makes this sidecar the one that the publishers know.
    pub authority: AuthoritySecretKey,
}

/// Every limit of the listener. The defaults are the protocol's; tests make them short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Connections that have not opened their session yet, at a time; further ones are closed at once.
    pub handshakes: usize,
    /// A connection must have opened its session after this.
    pub handshake: Duration,
    /// A connection that gave no whole frame for this long is closed.
    pub silent_session: Duration,
    /// A publisher's name is held by its connection while that gave a frame within this time.
    pub name_held_for: Duration,
    /// A peer that takes nothing of what is written to it for this long is closed.
    pub write_stall: Duration,
    /// How long the journal may take to open a session.
    pub open: Duration,
    /// A retired connection is read to its end for this long at most.
    pub retire_time: Duration,
    /// A retired connection is read to its end for so many bytes at most.
    pub retire_bytes: usize,
    /// How long a closing connection waits for its last commit before it says goodbye.
    pub farewell: Duration,
}

/// Sessions at a time, by default.
pub const MAX_SESSIONS: usize = 1_024;

/// Handshakes at a time, by default: all sessions may come back together after a restart.
pub const MAX_HANDSHAKES: usize = 1_024;

/// Bytes that a retired connection is read for, by default.
const RETIRE_BYTES: usize = 8 << 20;

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            sessions: MAX_SESSIONS,
            handshakes: MAX_HANDSHAKES,
            handshake: HANDSHAKE_TIMEOUT,
            silent_session: SILENT_SESSION,
            name_held_for: NAME_HELD_FOR,
            write_stall: ACK_TIMEOUT,
            open: ACK_TIMEOUT,
            retire_time: Duration::from_secs(1),
            retire_bytes: RETIRE_BYTES,
            farewell: Duration::from_secs(5),
        }
    }
}
