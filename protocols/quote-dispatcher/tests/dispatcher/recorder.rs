//! A host that writes down what it is called with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ehash::{
    MintQuoteResponseEvent, ParsedMintQuoteRequest, PaymentFailedEvent, QuoteCallbacks, QuoteContext, QuoteError,
    QuotePaidEvent, ShareHash,
};

use crate::fake_mint::until;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Created(ShareHash, QuoteContext),
    Sent(ParsedMintQuoteRequest, QuoteContext),
    Answered(MintQuoteResponseEvent),
    Failed(QuoteError, Option<ShareHash>),
    Paid(QuotePaidEvent),
    PaymentFailed(PaymentFailedEvent),
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// How each quote ended: the quote id, or the code of the error. Fails if one ended twice, was answered or refused by
    /// the mint without being sent, or had a callback before it was created.
    pub(crate) fn endings(&self) -> HashMap<ShareHash, String> {
        let mut created = HashMap::new();
        let mut endings = HashMap::new();
        for call in self.calls() {
            let (hash, ending, must_be_sent) = match call {
                Call::Created(hash, _) => {
                    assert_eq!(created.insert(hash, false), None, "{hash} created twice");
                    continue;
                }
                Call::Sent(request, _) => {
                    assert_eq!(created.insert(request.share_hash(), true), Some(false), "sent once, after created");
                    continue;
                }
                Call::Answered(response) => (response.share_hash, response.quote_id.to_string(), true),
                Call::Failed(error, Some(hash)) => {
                    (hash, error.code().to_owned(), matches!(error, QuoteError::Mint { .. }))
                }
                Call::Failed(_, None) | Call::Paid(_) | Call::PaymentFailed(_) => continue,
            };
            let sent = created.get(&hash).copied().expect("created first");
            assert!(sent || !must_be_sent, "{hash} ended with {ending} before it was sent");
            assert_eq!(endings.insert(hash, ending), None, "{hash} ended twice");
        }
        endings
    }

    /// Waits for so many quotes to end.
    pub(crate) fn await_endings(&self, count: usize) -> HashMap<ShareHash, String> {
        until("the quotes' ends", || {
            let endings = self.endings();
            (endings.len() >= count).then_some(endings)
        })
    }

    pub(crate) fn await_call(&self, what: &str, matches: impl Fn(&Call) -> bool) -> Call {
        until(what, || self.calls().into_iter().find(&matches))
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

impl QuoteCallbacks for Recorder {
    fn on_quote_created(&self, share_hash: ShareHash, context: &QuoteContext) {
        self.note(Call::Created(share_hash, *context));
    }

    fn on_quote_send(&self, quote: &ParsedMintQuoteRequest, context: &QuoteContext) {
        self.note(Call::Sent(*quote, *context));
    }

    fn on_quote_response(&self, response: &MintQuoteResponseEvent) {
        self.note(Call::Answered(response.clone()));
    }

    fn on_quote_error(&self, error: &QuoteError, share_hash: Option<ShareHash>) {
        self.note(Call::Failed(error.clone(), share_hash));
    }

    fn on_quote_paid(&self, paid: &QuotePaidEvent) {
        self.note(Call::Paid(paid.clone()));
    }

    fn on_payment_failed(&self, failed: &PaymentFailedEvent) {
        self.note(Call::PaymentFailed(failed.clone()));
    }
}
