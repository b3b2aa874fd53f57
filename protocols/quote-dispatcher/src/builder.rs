//! Settings of a dispatcher, and their check when it starts.

use std::sync::Arc;
use std::time::Duration;

use ehash::{LockingKey, QuoteCallbacks};
use mint_quote_sv2::limits::HANDSHAKE_TIMEOUT;
#[cfg(feature = "noise")]
use mint_quote_sv2::noise::AuthorityPublicKey;
use stats_sv2::Text;
use stats_sv2::limits::MAX_TEXT;

use crate::callback_thread::CALLBACK_SLOTS;
use crate::dispatcher::QuoteDispatcher;

/// The least difficulty, in bits, that earns ehash unless another is set: difficulty 1 of the network.
pub const DEFAULT_MINIMUM_DIFFICULTY: u32 = 32;

/// How long a quote waits for the mint, over all connections, unless another time is set.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Quotes that may be with the hub without an answer: 1,000 a second for more than the default timeout. Each takes below
/// 300 bytes, with its share of the queues and of the book of known hashes (`cargo xtask bench --only quotes` measures it).
pub const DEFAULT_MAX_PENDING: usize = 65_536;

/// Quotes that may wait for the hub's thread: 160 ms at 100,000 a second.
pub const DEFAULT_QUEUE_SLOTS: usize = 16_384;

/// Why a dispatcher does not start. Nothing of this is tried again: it takes a person.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is not of the form `host:port`.
    #[error("{address:?} is not the address of a mint: write host:port")]
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
    /// The operating system gave no thread, or none of what its event loop needs.
    #[error("cannot start the threads of the mint hub")]
    Thread(#[source] std::io::Error),
}

/// The dispatcher's own pace. Tests make it faster; a host has no reason to.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Timing {
    /// Time between drains while quotes come.
    pub drain_every: Duration,
    /// Time between drains after idleness.
    pub drain_idle: Duration,
    /// Limit of connecting and opening.
    pub handshake_timeout: Duration,
    /// Wait after the first failure.
    pub backoff_first: Duration,
    /// Longest wait between attempts.
    pub backoff_longest: Duration,
    /// Callbacks that may wait.
    pub callback_slots: usize,
    /// How long the hub waits for room among them.
    pub callback_patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            drain_every: Duration::from_millis(10),
            drain_idle: Duration::from_millis(50),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            backoff_first: Duration::from_millis(200),
            backoff_longest: Duration::from_secs(5),
            callback_slots: CALLBACK_SLOTS,
            callback_patience: Duration::from_secs(1),
        }
    }
}

/// What the hub needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) vendor: Text<'static>,
    #[cfg(feature = "noise")]
    pub(crate) authority: Option<AuthorityPublicKey>,
    pub(crate) timeout: Duration,
    pub(crate) max_pending: usize,
    pub(crate) queue_slots: usize,
    pub(crate) timing: Timing,
}

/// Makes a [`QuoteDispatcher`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct QuoteDispatcherBuilder {
    pub(crate) dispatch: bool,
    pub(crate) minimum_difficulty: u32,
    pub(crate) locking_key: Option<LockingKey>,
    vendor: String,
    hub: Settings,
}

impl QuoteDispatcherBuilder {
    /// Settings for the mint at this address, `host:port`. A name is resolved anew at each attempt to connect.
    pub fn new(mint_address: impl Into<String>) -> Self {
        Self {
            dispatch: true,
            minimum_difficulty: DEFAULT_MINIMUM_DIFFICULTY,
            locking_key: None,
            vendor: concat!("quote-dispatcher ", env!("CARGO_PKG_VERSION")).to_owned(),
            hub: Settings {
                address: mint_address.into(),
                vendor: Text::default(),
                #[cfg(feature = "noise")]
                authority: None,
                timeout: DEFAULT_TIMEOUT,
                max_pending: DEFAULT_MAX_PENDING,
                queue_slots: DEFAULT_QUEUE_SLOTS,
                timing: Timing::default(),
            },
        }
    }

    /// Settings for a dispatcher that asks no mint: quotes are told to `on_quote_created`, and that is all.
    pub fn without_dispatch() -> Self {
        Self { dispatch: false, ..Self::new("") }
    }

    /// The least difficulty, in bits, that earns ehash; such a share earns 1.
    pub fn minimum_difficulty(mut self, bits: u32) -> Self {
        self.minimum_difficulty = bits;
        self
    }

    /// The key for channels whose user identity holds none. Without it their quotes are rejected.
    pub fn locking_key(mut self, default: LockingKey) -> Self {
        self.locking_key = Some(default);
        self
    }

    /// Encrypts the connection, and accepts only a mint that proves to hold the secret half of this key.
    #[cfg(feature = "noise")]
    pub fn authority_public_key(mut self, key: AuthorityPublicKey) -> Self {
        self.hub.authority = Some(key);
        self
    }

    /// Name and version of the host program, for people.
    pub fn vendor(mut self, vendor: impl Into<String>) -> Self {
        self.vendor = vendor.into();
        self
    }

    /// How long a quote waits for the mint, from its share on and over all connections.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.hub.timeout = timeout;
        self
    }

    /// Quotes that may be with the hub without an answer. When there are so many, new ones wait in the queue.
    pub fn max_pending(mut self, quotes: usize) -> Self {
        self.hub.max_pending = quotes;
        self
    }

    /// Quotes that may wait in the queue. When it is full, new ones are rejected.
    pub fn queue_slots(mut self, slots: usize) -> Self {
        self.hub.queue_slots = slots;
        self
    }

    /// Changes the dispatcher's own pace. For tests.
    #[doc(hidden)]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.hub.timing = timing;
        self
    }

    /// Checks the settings and starts the hub. The mint need not be there.
    pub fn start(self, callbacks: Arc<dyn QuoteCallbacks>) -> Result<QuoteDispatcher, StartError> {
        let mut settings = self.hub.clone();
        let in_range = |what, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(StartError::OutOfRange { what, value, min, max }) }
        };
        in_range("minimum_difficulty", u64::from(self.minimum_difficulty), 0, 256)?;
        if self.dispatch {
            let port = settings.address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
                return Err(StartError::Address { address: settings.address });
            }
            let length = self.vendor.len();
            settings.vendor =
                Text::new(self.vendor.clone()).map_err(|_| StartError::TextTooLong { what: "vendor", length })?;
            in_range("max_pending", settings.max_pending as u64, 1, 1 << 24)?;
            in_range("queue_slots", settings.queue_slots as u64, 1, 1 << 24)?;
            let timeout_ms = u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX);
            in_range("timeout in milliseconds", timeout_ms, 1, 24 * 60 * 60 * 1000)?;
        }
        QuoteDispatcher::spawn(&self, settings, callbacks)
    }
}
