//! What happens at the listener. Recording a happening counts it and, once per burst, writes its log line.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::time::Instant;

use crate::burst::Burst;

/// Why a connection was refused, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionEnd {
    /// Too many connections were opening their session.
    TooManyHandshakes,
    /// It did not open its session in time.
    HandshakeTimeout,
    /// It went away before it had opened its session.
    HandshakeLost,
    /// It does not speak SV2 Noise.
    NoiseRefused,
    /// Its first message is no OpenStatsSession, or one with impossible fields.
    MalformedOpen,
    /// It speaks no version that we speak.
    UnsupportedVersion,
    /// Its token is wrong, or not good for the name.
    Unauthorized,
    /// Another session of this name is alive.
    PublisherInUse,
    /// The limit of sessions is reached.
    TooManySessions,
    /// The journal did not open the session in time.
    JournalUnavailable,
    /// The publisher closed its session.
    Closed,
    /// The connection was lost or closed without a word.
    Lost,
    /// A frame header was none of the protocol.
    MalformedHeader,
    /// Encrypted bytes did not authenticate.
    Tampered,
    /// No frame came for too long.
    Silent,
    /// It did not take what was written to it.
    WriteStalled,
    /// A newer connection took over.
    Replaced,
    /// The sidecar stops.
    Shutdown,
}

impl ConnectionEnd {
    /// Every end.
    pub const ALL: [Self; 18] = [
        Self::TooManyHandshakes,
        Self::HandshakeTimeout,
        Self::HandshakeLost,
        Self::NoiseRefused,
        Self::MalformedOpen,
        Self::UnsupportedVersion,
        Self::Unauthorized,
        Self::PublisherInUse,
        Self::TooManySessions,
        Self::JournalUnavailable,
        Self::Closed,
        Self::Lost,
        Self::MalformedHeader,
        Self::Tampered,
        Self::Silent,
        Self::WriteStalled,
        Self::Replaced,
        Self::Shutdown,
    ];

    /// The name in JSON, labels and, where the peer is told, on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooManyHandshakes => "too-many-handshakes",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::HandshakeLost => "handshake-lost",
            Self::NoiseRefused => "noise-refused",
            Self::MalformedOpen => "malformed-open",
            Self::UnsupportedVersion => "unsupported-version",
            Self::Unauthorized => "unauthorized",
            Self::PublisherInUse => "publisher-in-use",
            Self::TooManySessions => "too-many-sessions",
            Self::JournalUnavailable => "journal-unavailable",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::MalformedHeader => "malformed",
            Self::Tampered => "tampered",
            Self::Silent => "silent",
            Self::WriteStalled => "write-stalled",
            Self::Replaced => "replaced",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether it belongs to everyday life.
    const fn is_ordinary(self) -> bool {
        matches!(self, Self::Closed | Self::Lost | Self::Replaced | Self::Shutdown)
    }
}

/// Who a connection is with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    pub(crate) address: SocketAddr,
    /// Empty before the session is open.
    pub(crate) publisher: &'a str,
}

/// The listener's counters, all since start.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    accepted: AtomicU64,
    accept_failures: AtomicU64,
    accept_failure_lines: Burst,
    events: AtomicU64,
    bytes: AtomicU64,
    malformed_events: AtomicU64,
    malformed_event_lines: Burst,
    unknown_control_frames: AtomicU64,
    ends: [(AtomicU64, Burst); ConnectionEnd::ALL.len()],
}

impl ListenerCounters {
    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    pub(crate) fn accept_failed(&self, error: &std::io::Error) {
        add(&self.accept_failures, 1);
        if let Some(silent) = self.accept_failure_lines.pass(Instant::now()) {
            tracing::error!(%error, silent, "connections cannot be accepted");
        }
    }

    pub(crate) fn received(&self, events: u32, bytes: usize) {
        add(&self.events, u64::from(events));
        add(&self.bytes, bytes as u64);
    }

    pub(crate) fn malformed_events(&self, peer: Peer<'_>, count: usize, first: &dyn fmt::Display) {
        add(&self.malformed_events, count as u64);
        if let Some(silent) = self.malformed_event_lines.pass(Instant::now()) {
            tracing::warn!(
                peer = %peer.address, publisher = peer.publisher, reason = %first, silent,
                "an event is malformed; it is kept as a dead letter, which hashpool-sidecar journal dead-letters lists",
            );
        }
    }

    pub(crate) fn unknown_control_frame(&self) {
        add(&self.unknown_control_frames, 1);
    }

    pub(crate) fn ended(&self, end: ConnectionEnd, peer: Peer<'_>, detail: &dyn fmt::Display) {
        let (count, lines) = &self.ends[end as usize];
        add(count, 1);
        if let Some(silent) = lines.pass(Instant::now()) {
            let Peer { address, publisher } = peer;
            if end.is_ordinary() {
                tracing::info!(peer = %address, publisher, end = end.name(), %detail, silent, "connection ended");
            } else {
                tracing::warn!(peer = %address, publisher, end = end.name(), %detail, silent, "connection refused or cut");
            }
        }
    }

    pub(crate) fn snapshot(&self, open_connections: u64, open_sessions: u64) -> ListenerSnapshot {
        let ends = ConnectionEnd::ALL.map(|end| (end.name(), get(&self.ends[end as usize].0)));
        ListenerSnapshot {
            open_connections,
            open_sessions,
            accepted: get(&self.accepted),
            accept_failures: get(&self.accept_failures),
            events: get(&self.events),
            bytes: get(&self.bytes),
            malformed_events: get(&self.malformed_events),
            unknown_control_frames: get(&self.unknown_control_frames),
            ended: BTreeMap::from(ends),
        }
    }
}

/// The listener at one moment; counts are since start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerSnapshot {
    /// Connections that are open, those still in their handshake included.
    pub open_connections: u64,
    /// Connections with an open session.
    pub open_sessions: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Failures to accept, such as for want of file descriptors.
    pub accept_failures: u64,
    /// Event frames received, repeated ones included.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Event frames with a malformed payload.
    pub malformed_events: u64,
    /// Frames below 0x10 of a type that is not known; they were passed over.
    pub unknown_control_frames: u64,
    /// Connections that ended, by reason.
    pub ended: BTreeMap<&'static str, u64>,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_end_has_a_place_and_a_name_of_its_own() {
        for (place, end) in ConnectionEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, place);
        }
        let names: HashSet<_> = ConnectionEnd::ALL.map(ConnectionEnd::name).into_iter().collect();
        assert_eq!(names.len(), ConnectionEnd::ALL.len());
    }
}
