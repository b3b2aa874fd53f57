//! What a share is worth in ehash, who it belongs to, and the quotes that a pool asks a mint for.
//!
//! No I/O and no threads: the connection to the mint is the crate `quote-dispatcher`, its messages are `mint-quote-sv2`.
#![forbid(unsafe_code)]

mod amount;
mod callbacks;
mod hex;
mod locking_key;
mod quote;
mod quote_error;
mod share_hash;

pub use amount::{calculate_difficulty, calculate_ehash_amount};
pub use callbacks::{MintQuoteResponseEvent, PaymentFailedEvent, QuoteCallbacks, QuoteContext, QuotePaidEvent};
pub use locking_key::{LockingKey, LockingKeyError, MIN_KEY_LIKE};
pub use quote::{ParsedMintQuoteRequest, QuoteParseError, build_parsed_quote_request};
pub use quote_error::QuoteError;
pub use share_hash::{ShareHash, ShareHashError};
