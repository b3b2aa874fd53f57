//! Settings of a publisher, and their check when it starts.

use std::path::PathBuf;
use std::time::Duration;

use stats_sv2::limits::{
    ACK_TIMEOUT, HANDSHAKE_TIMEOUT, HEARTBEAT_EVERY, MAX_TEXT, MAX_UNACKED_BYTES, MAX_UNACKED_EVENTS,
};
use stats_sv2::{Role, Text};

use crate::drain::MAX_FRAME;
use crate::publisher::StatsPublisher;
use crate::spool::SpoolError;
use crate::token::Token;
use crate::window::MIN_WINDOW_BYTES;

/// Where a sidecar listens unless it is told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:4000";

/// Places in the queue. At 48 bytes each they take 3 MiB.
pub const DEFAULT_QUEUE_SLOTS: usize = 65_536;

/// Bytes that queued events other than shares may take.
pub const DEFAULT_BOXED_EVENT_BYTES: usize = 8 << 20;

/// Bytes that a spool file may take.
pub const DEFAULT_SPOOL_BYTES: u64 = 1 << 30;

/// A spool below this could not hold one batch of each of two sessions.
pub const MIN_SPOOL_BYTES: u64 = 1 << 20;

/// Why a publisher does not start. Nothing of this is tried again: it takes a person.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is not of the form `host:port`.
    #[error("{address:?} is not an address: write host:port, such as {DEFAULT_ADDRESS:?}")]
    Address {
        /// What was given.
        address: String,
    },
    /// A text is longer than the protocol carries.
    #[error("{what} of {length} bytes is longer than {MAX_TEXT}")]
    TextTooLong {
        /// Which setting.
        what: &'static str,
        /// Its bytes.
        length: usize,
    },
    /// The publisher has no name.
    #[error("the publisher's name is empty: give it a stable one, such as \"pool-eu-1\"")]
    NoName,
    /// A limit is outside its range.
    #[error("{what} is {value}, but must be from {min} to {max}")]
    OutOfRange {
        /// Which setting.
        what: &'static str,
        /// What was given.
        value: u64,
        /// The least that works.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// The spool cannot be used.
    #[error("the spool cannot be used")]
    Spool(#[from] SpoolError),
    /// The operating system gave no thread, or none of what its event loop needs.
    #[error("cannot start the publisher's thread")]
    Thread(#[source] std::io::Error),
}

#[derive(Debug, Clone)]
pub(crate) struct SpoolSettings {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
}

/// The publisher's own pace. Tests make it faster; a host has no reason to.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Timing {
    /// Time between drains while events come.
    pub drain_every: Duration,
    /// Time between drains after idleness.
    pub drain_idle: Duration,
    /// Time between heartbeats.
    pub heartbeat_every: Duration,
    /// Limit of connecting and opening the session.
    pub handshake_timeout: Duration,
    /// Reconnect when nothing was acknowledged for so long.
    pub ack_timeout: Duration,
    /// Wait after the first failure.
    pub backoff_first: Duration,
    /// Longest wait between attempts.
    pub backoff_longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            drain_every: Duration::from_millis(10),
            drain_idle: Duration::from_millis(50),
            heartbeat_every: HEARTBEAT_EVERY,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            ack_timeout: ACK_TIMEOUT,
            backoff_first: Duration::from_millis(200),
            backoff_longest: Duration::from_secs(5),
        }
    }
}

/// Makes a [`StatsPublisher`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct StatsPublisherBuilder {
    pub(crate) address: String,
    pub(crate) role: Role,
    pub(crate) publisher: String,
    pub(crate) vendor: String,
    pub(crate) token: Token,
    pub(crate) queue_slots: usize,
    pub(crate) boxed_event_bytes: usize,
    pub(crate) window_events: u64,
    pub(crate) window_bytes: usize,
    pub(crate) spool: Option<SpoolSettings>,
    #[cfg(feature = "noise")]
    pub(crate) authority: Option<stats_sv2::noise::AuthorityPublicKey>,
    pub(crate) timing: Timing,
}

impl Default for StatsPublisherBuilder {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS.to_owned(),
            role: Role::Pool,
            publisher: Role::Pool.name().to_owned(),
            vendor: concat!("stats-publisher ", env!("CARGO_PKG_VERSION")).to_owned(),
            token: Token::default(),
            queue_slots: DEFAULT_QUEUE_SLOTS,
            boxed_event_bytes: DEFAULT_BOXED_EVENT_BYTES,
            window_events: u64::from(MAX_UNACKED_EVENTS),
            window_bytes: MAX_UNACKED_BYTES,
            spool: None,
            #[cfg(feature = "noise")]
            authority: None,
            timing: Timing::default(),
        }
    }
}

impl StatsPublisherBuilder {
    /// Where the sidecar listens, as `host:port`. A name is resolved anew at each attempt to connect.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// What kind of program the host is.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The stable name under which the host's history is kept, such as `pool-eu-1`. Two running publishers must not share
    /// one.
    pub fn publisher(mut self, name: impl Into<String>) -> Self {
        self.publisher = name.into();
        self
    }

    /// Name and version of the host program, for people.
    pub fn vendor(mut self, vendor: impl Into<String>) -> Self {
        self.vendor = vendor.into();
        self
    }

    /// The shared secret, where the sidecar asks for one.
    pub fn token(mut self, secret: impl AsRef<str>) -> Self {
        self.token = Token::new(secret.as_ref());
        self
    }

    /// Places in the queue: how many events may wait for the publisher's thread.
    pub fn queue_slots(mut self, slots: usize) -> Self {
        self.queue_slots = slots;
        self
    }

    /// Bytes that queued events other than shares may take.
    pub fn boxed_event_bytes(mut self, bytes: usize) -> Self {
        self.boxed_event_bytes = bytes;
        self
    }

    /// How many events, and bytes of frames, are held in memory until they are acknowledged: up to 65,536, and from 64 KiB
    /// to 8 MiB.
    pub fn window(mut self, events: u32, bytes: usize) -> Self {
        self.window_events = u64::from(events);
        self.window_bytes = bytes;
        self
    }

    /// Keeps what is not acknowledged in this file too, which grows to `max_bytes` while the sidecar is away (for a
    /// moment to twice that while its acknowledged front is reclaimed). See [the crate's page](crate#the-spool).
    pub fn spool(mut self, path: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.spool = Some(SpoolSettings { path: path.into(), max_bytes });
        self
    }

    /// Encrypts the connection, and accepts only a sidecar that proves to hold the secret half of this key.
    #[cfg(feature = "noise")]
    pub fn authority_public_key(mut self, key: stats_sv2::noise::AuthorityPublicKey) -> Self {
        self.authority = Some(key);
        self
    }

    /// Changes the publisher's own pace. For tests.
    #[doc(hidden)]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Checks the settings, opens the spool and starts the publisher's thread. The sidecar need not be there.
    pub fn start(self) -> Result<StatsPublisher, StartError> {
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
            return Err(StartError::Address { address: self.address });
        }
        if self.publisher.trim().is_empty() {
            return Err(StartError::NoName);
        }
        let lengths = [("publisher", self.publisher.len()), ("vendor", self.vendor.len()), ("token", self.token.len())];
        if let Some((what, length)) = lengths.into_iter().find(|(_, length)| *length > MAX_TEXT) {
            return Err(StartError::TextTooLong { what, length });
        }
        let in_range = |what, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(StartError::OutOfRange { what, value, min, max }) }
        };
        in_range("queue_slots", self.queue_slots as u64, 1, 1 << 24)?;
        in_range("boxed_event_bytes", self.boxed_event_bytes as u64, MAX_FRAME as u64, 1 << 30)?;
        in_range("window_events", self.window_events, 1, u64::from(MAX_UNACKED_EVENTS))?;
        in_range("window_bytes", self.window_bytes as u64, MIN_WINDOW_BYTES as u64, MAX_UNACKED_BYTES as u64)?;
        if let Some(spool) = &self.spool {
            in_range("spool_max_bytes", spool.max_bytes, MIN_SPOOL_BYTES, u64::MAX >> 1)?;
        }
        StatsPublisher::spawn(self)
    }

    pub(crate) fn publisher_text(&self) -> Text<'static> {
        Text::cut(self.publisher.clone())
    }

    pub(crate) fn vendor_text(&self) -> Text<'static> {
        Text::cut(self.vendor.clone())
    }
}
