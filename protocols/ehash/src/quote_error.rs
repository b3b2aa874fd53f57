//! Why a quote came to nothing.

use std::time::Duration;

use stats_sv2::{Amount, Text};

use crate::locking_key::LockingKeyError;

/// How a quote ended other than by an answer, or what a mint said that concerns no quote that can be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The mint refused the request.
    #[error("the mint refused the quote with error {error_code}: {error_message}")]
    Mint {
        /// The mint's own number.
        error_code: u32,
        /// The mint's words; untrusted.
        error_message: Text<'static>,
    },
    /// The mint refused some request, but its answers are out of order: which, is unknown. The quote itself ends by
    /// timeout.
    #[error("the mint refused a quote that cannot be told, with error {error_code}: {error_message}")]
    Unattributed {
        /// The mint's own number.
        error_code: u32,
        /// The mint's words; untrusted.
        error_message: Text<'static>,
    },
    /// No answer came in time, over all connections.
    #[error("the mint did not answer within {after:?}")]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// As many quotes wait as may wait.
    #[error("{limit} quotes wait for the mint already")]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// There is no key to lock the quote to.
    #[error("the quote has no locking key")]
    LockingKey(#[source] LockingKeyError),
    /// The amount cannot be asked for.
    #[error("the amount {found:?} is not from 1 to 2^63")]
    Amount {
        /// The amount.
        found: Amount,
    },
    /// The dispatcher was closed before the mint answered.
    #[error("the dispatcher was closed before the mint answered")]
    Closed,
}

impl QuoteError {
    /// A short name for events, counters and labels.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Mint { .. } => "mint-error",
            Self::Unattributed { .. } => "unattributed",
            Self::Timeout { .. } => "timeout",
            Self::QueueFull { .. } => "queue-full",
            Self::LockingKey(_) => "locking-key",
            Self::Amount { .. } => "amount",
            Self::Closed => "closed",
        }
    }
}
