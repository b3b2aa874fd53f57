//! A quote as the history keeps it: facts that are told in any order and more than once, and the state that follows from
//! them alone.
//!
//! ```text
//! created -> sent -> answered -> paid
//!     \________\---> failed          an answer or a payment that comes after a failure wins over it
//!      \________\--> abandoned       its session ended; whatever is told of it later wins over that
//! ```

use serde::Serialize;

/// Where a quote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum QuoteState {
    /// Made for a share, not yet sent.
    Created,
    /// Sent to the mint, not yet answered.
    Sent,
    /// Answered by the mint with an id.
    Answered,
    /// Ended without an answer.
    Failed,
    /// Paid.
    Paid,
    /// Its session ended before it was answered.
    Abandoned,
}

impl QuoteState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Created, Self::Sent, Self::Answered, Self::Failed, Self::Paid, Self::Abandoned];

    /// Its name, in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Paid => "paid",
            Self::Abandoned => "abandoned",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether an answer is still awaited.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Created | Self::Sent)
    }
}

/// A part of a quote's life that takes time. The numbers stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum QuoteStage {
    /// From its creation until it was handed to the connection to the mint.
    CreatedToSent = 0,
    /// From then until the mint's answer: the mint's part.
    SentToAnswered = 1,
    /// From the answer until it was paid.
    AnsweredToPaid = 2,
}

impl QuoteStage {
    /// Every stage, in the order of a quote's life.
    pub const ALL: [Self; 3] = [Self::CreatedToSent, Self::SentToAnswered, Self::AnsweredToPaid];

    /// The name in JSON and CSV.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreatedToSent => "created_to_sent",
            Self::SentToAnswered => "sent_to_answered",
            Self::AnsweredToPaid => "answered_to_paid",
        }
    }
}

/// What is counted beside the states. The numbers stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum QuoteNote {
    /// A quote failed, with the code that was told first.
    Failed = 0,
    /// A failure that names no share (delivery rule 33), by its code.
    Unattributed = 1,
    /// A payment of a quote that is not known, or not known any more.
    UnknownPayment = 2,
    /// Something was told that contradicts what is known, and changed nothing or won over it; the code says which.
    Contradiction = 3,
}

impl QuoteNote {
    /// The name in JSON and CSV.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unattributed => "unattributed",
            Self::UnknownPayment => "unknown_payment",
            Self::Contradiction => "contradiction",
        }
    }
}

/// The share of a quote: `(downstream_id, channel_id, sequence_number)` inside a session (delivery rule 34).
pub(crate) type ShareIds = (u32, u32, u32);

/// What is known of a quote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Quote {
    /// The session that told of its share last.
    pub(crate) session: i64,
    pub(crate) ids: Option<ShareIds>,
    pub(crate) identity: Option<i64>,
    pub(crate) amount: Option<u64>,
    pub(crate) created_at: Option<u64>,
    pub(crate) sent_at: Option<u64>,
    pub(crate) answered_at: Option<u64>,
    pub(crate) failed_at: Option<u64>,
    pub(crate) paid_at: Option<u64>,
    pub(crate) quote_id: Option<Box<str>>,
    pub(crate) error_code: Option<Box<str>>,
    pub(crate) error_message: Option<Box<str>>,
    pub(crate) paid_amount: Option<u64>,
    /// Its session ended while it was pending.
    pub(crate) abandoned: bool,
    /// Time of the latest of the facts.
    pub(crate) noted_at: u64,
}

impl Quote {
    /// The state follows from the facts, whatever order they came in.
    pub(crate) fn state(&self) -> QuoteState {
        match self {
            Self { paid_at: Some(_), .. } => QuoteState::Paid,
            Self { answered_at: Some(_), .. } => QuoteState::Answered,
            Self { failed_at: Some(_), .. } => QuoteState::Failed,
            Self { abandoned: true, .. } => QuoteState::Abandoned,
            Self { sent_at: Some(_), .. } => QuoteState::Sent,
            _ => QuoteState::Created,
        }
    }

    /// Start and end of a stage, once both are known.
    pub(crate) fn stage(&self, stage: QuoteStage) -> Option<(u64, u64)> {
        match stage {
            QuoteStage::CreatedToSent => self.created_at.zip(self.sent_at),
            QuoteStage::SentToAnswered => self.sent_at.zip(self.answered_at),
            QuoteStage::AnsweredToPaid => self.answered_at.zip(self.paid_at),
        }
    }
}
