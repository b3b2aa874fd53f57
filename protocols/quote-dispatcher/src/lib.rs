//! Asks a Cashu mint for a quote for each accepted share that earns ehash, without ever making the pool wait.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ehash::ShareHash;
//! use quote_dispatcher::{AcceptedShare, QuotesConfig};
//! # struct MyCallbacks;
//! # impl ehash::QuoteCallbacks for MyCallbacks {
//! #     fn on_quote_created(&self, _: ShareHash, _: &ehash::QuoteContext) {}
//! #     fn on_quote_send(&self, _: &ehash::ParsedMintQuoteRequest, _: &ehash::QuoteContext) {}
//! #     fn on_quote_response(&self, _: &ehash::MintQuoteResponseEvent) {}
//! #     fn on_quote_error(&self, _: &ehash::QuoteError, _: Option<ShareHash>) {}
//! # }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = std::fs::read_to_string("pool-config.toml")?;
//! let quotes = QuotesConfig::from_toml_str(&text)?.start(Arc::new(MyCallbacks), "my-pool 1.0")?;
//! # let digest = [0; 32];
//! quotes.submit_quote(&AcceptedShare {
//!     downstream_id: 1.into(),
//!     channel_id: 1.into(),
//!     sequence_number: 7,
//!     share_hash: ShareHash::from_digest_bytes(digest),
//!     user_identity: "alice.rig1",
//! });
//! quotes.close(std::time::Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```
//!
//! `submit_quote` computes the amount, tells the host's callback, copies the request into a bounded lock-free queue and
//! returns. One thread, the hub's, drains the queue on its own clock, owns the connection to the mint, sends again after a
//! reconnect whatever has no answer, and ends every quote in exactly one of four ways: answered, refused by the mint, timed
//! out, or rejected here. A second thread runs the host's callbacks.
#![forbid(unsafe_code)]

mod backoff;
mod book;
mod builder;
mod callback_pace;
mod callback_thread;
mod config;
mod connection;
mod counters;
mod dispatcher;
mod hub;
mod key_cache;
mod odd_answers;
mod pending;
mod quote;
mod worker;

#[doc(hidden)]
pub use builder::Timing;
pub use builder::{
    DEFAULT_MAX_PENDING, DEFAULT_MINIMUM_DIFFICULTY, DEFAULT_QUEUE_SLOTS, DEFAULT_TIMEOUT, QuoteDispatcherBuilder,
    StartError,
};
pub use config::{ConfigError, QuotesConfig, QuotesTable};
pub use counters::QuoteCounters;
pub use dispatcher::{AcceptedShare, CloseReport, DROP_DEADLINE, QuoteDispatcher, SubmitOutcome};
