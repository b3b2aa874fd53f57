//! What a host can hear about its quotes.

use stats_sv2::{Amount, ChannelId, DownstreamId, Text};

use crate::quote::ParsedMintQuoteRequest;
use crate::quote_error::QuoteError;
use crate::share_hash::ShareHash;

/// The share behind a quote. Channel numbers are unique only together with the downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuoteContext {
    /// The connection of the share.
    pub downstream_id: DownstreamId,
    /// The channel of the share.
    pub channel_id: ChannelId,
    /// The channel's own counter of submissions.
    pub sequence_number: u32,
    /// Ehash in `HASH`.
    pub amount: Amount,
}

/// The mint answered a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintQuoteResponseEvent {
    /// Hash of the share.
    pub share_hash: ShareHash,
    /// The mint's name of the quote; untrusted.
    pub quote_id: Text<'static>,
    /// The share and its amount.
    pub context: QuoteContext,
}

/// A quote was paid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QuotePaidEvent {
    /// The mint's name of the quote; untrusted.
    pub quote_id: Text<'static>,
    /// What was paid, in `HASH`.
    pub amount: Amount,
}

/// A quote will not be paid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PaymentFailedEvent {
    /// The mint's name of the quote; untrusted.
    pub quote_id: Text<'static>,
    /// The mint's own number.
    pub error_code: u32,
    /// The mint's words; untrusted.
    pub error_message: Text<'static>,
}

/// What a host hears about its quotes.
///
/// For each quote: created, then sent (not if it is refused before), then exactly one of response and error.
/// [`on_quote_created`](Self::on_quote_created) runs on the thread that submits the share and must not block. The others
/// run one after the other on a thread of the dispatcher's own; a slow one delays only the next, and a panic ends only
/// itself.
pub trait QuoteCallbacks: Send + Sync {
    /// A share earns ehash: before anything is asked of the mint.
    fn on_quote_created(&self, share_hash: ShareHash, context: &QuoteContext);

    /// The request is handed to the connection to the mint, for the first time.
    fn on_quote_send(&self, quote: &ParsedMintQuoteRequest, context: &QuoteContext);

    /// The mint answered.
    fn on_quote_response(&self, response: &MintQuoteResponseEvent);

    /// The quote came to nothing; without a hash, the mint said something that concerns no quote that can be named.
    fn on_quote_error(&self, error: &QuoteError, share_hash: Option<ShareHash>);

    /// A quote was paid. May be told again after a reconnect.
    fn on_quote_paid(&self, _paid: &QuotePaidEvent) {}

    /// A quote will not be paid. May be told again after a reconnect.
    fn on_payment_failed(&self, _failed: &PaymentFailedEvent) {}
}
