//! Quotes as events on the statistics stream, by the same publisher as the shares.

use ehash::{
    MintQuoteResponseEvent, ParsedMintQuoteRequest, PaymentFailedEvent, QuoteCallbacks, QuoteContext, QuoteError,
    QuotePaidEvent, ShareHash,
};
use stats_sv2::event::{QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent};
use stats_sv2::{Text, UnixMillis};

use crate::publisher::StatsPublisher;

/// [`QuoteFailed::error_code`] when the mint tells that a quote will not be paid. The quote had its answer, so the event
/// names no share.
pub const PAYMENT_FAILED: &str = "payment-failed";

/// Publishes what happens to quotes. Publishing never waits, so each callback takes well below a microsecond.
#[derive(Debug, Clone)]
pub struct PublisherQuoteCallbacks {
    publisher: StatsPublisher,
}

impl PublisherQuoteCallbacks {
    /// Callbacks that publish here. What is dropped for want of room is counted by the publisher.
    #[must_use]
    pub fn new(publisher: StatsPublisher) -> Self {
        Self { publisher }
    }
}

impl QuoteCallbacks for PublisherQuoteCallbacks {
    fn on_quote_created(&self, share_hash: ShareHash, context: &QuoteContext) {
        self.publisher.publish(QuoteCreated {
            downstream_id: context.downstream_id,
            amount: context.amount,
            timestamp: UnixMillis::now(),
            channel_id: context.channel_id,
            share_hash: share_hash.to_wire(),
            sequence_number: context.sequence_number,
        });
    }

    fn on_quote_send(&self, quote: &ParsedMintQuoteRequest, context: &QuoteContext) {
        self.publisher.publish(QuoteSent {
            downstream_id: context.downstream_id,
            channel_id: context.channel_id,
            sequence_number: context.sequence_number,
            amount: context.amount,
            timestamp: UnixMillis::now(),
            share_hash: quote.share_hash().to_wire(),
        });
    }

    fn on_quote_response(&self, response: &MintQuoteResponseEvent) {
        self.publisher.publish(QuoteAnswered {
            share_hash: response.share_hash.to_wire(),
            quote_id: Text::cut(response.quote_id.as_str()),
            timestamp: UnixMillis::now(),
        });
    }

    fn on_quote_error(&self, error: &QuoteError, share_hash: Option<ShareHash>) {
        self.publisher.publish(QuoteFailed {
            share_hash: share_hash.map(ShareHash::to_wire),
            error_code: Text::cut(error.code()),
            error_message: Text::cut(words(error)),
            timestamp: UnixMillis::now(),
        });
    }

    fn on_quote_paid(&self, paid: &QuotePaidEvent) {
        self.publisher.publish(QuotePaid {
            quote_id: Text::cut(paid.quote_id.as_str()),
            amount: paid.amount,
            timestamp: UnixMillis::now(),
        });
    }

    fn on_payment_failed(&self, failed: &PaymentFailedEvent) {
        let PaymentFailedEvent { quote_id, error_code, error_message } = failed;
        self.publisher.publish(QuoteFailed {
            share_hash: None,
            error_code: Text::cut(PAYMENT_FAILED),
            error_message: Text::cut(format!("quote {quote_id}, error {error_code}: {error_message}")),
            timestamp: UnixMillis::now(),
        });
    }
}

/// An error with its cause, in one line.
fn words(error: &QuoteError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
