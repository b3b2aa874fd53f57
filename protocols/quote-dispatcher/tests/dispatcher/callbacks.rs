//! Callbacks that panic or take long hurt nobody.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ehash::{MintQuoteResponseEvent, ParsedMintQuoteRequest, QuoteCallbacks, QuoteContext, QuoteError, ShareHash};
use quote_dispatcher::{QuoteDispatcherBuilder, Timing};

use crate::fake_mint::{FakeMint, PATIENCE, quick, until};
use crate::recorder::Recorder;
use crate::{hash, submit};

/// Panics in every callback for the first share, and passes the others on.
struct Panicking(Arc<Recorder>);

impl QuoteCallbacks for Panicking {
    fn on_quote_created(&self, share_hash: ShareHash, context: &QuoteContext) {
        assert_ne!(share_hash, hash(0), "a panic that is meant");
        self.0.on_quote_created(share_hash, context);
    }

    fn on_quote_send(&self, quote: &ParsedMintQuoteRequest, context: &QuoteContext) {
        assert_ne!(quote.share_hash(), hash(0), "a panic that is meant");
        self.0.on_quote_send(quote, context);
    }

    fn on_quote_response(&self, response: &MintQuoteResponseEvent) {
        assert_ne!(response.share_hash, hash(0), "a panic that is meant");
        self.0.on_quote_response(response);
    }

    fn on_quote_error(&self, error: &QuoteError, share_hash: Option<ShareHash>) {
        self.0.on_quote_error(error, share_hash);
    }
}

#[test]
fn a_panic_ends_only_its_own_callback() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(Arc::new(Panicking(host.clone()))).unwrap();
    submit(&quotes, 0..3);
    let mut session = mint.accept();
    session.requests(3).into_iter().for_each(|hash| session.answer(hash));
    host.await_endings(2);
    let counters = quotes.counters();
    assert_eq!((counters.callback_panics, counters.answered, counters.created), (3, 3, 3));
}

/// Says that it is inside a callback, and stays there until it is told to go on.
struct Hanging {
    inside: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl QuoteCallbacks for Hanging {
    fn on_quote_created(&self, _: ShareHash, _: &QuoteContext) {}

    fn on_quote_send(&self, _: &ParsedMintQuoteRequest, _: &QuoteContext) {
        self.inside.try_send(()).ok();
        // Ends too when the test is over.
        self.go_on.lock().unwrap().recv().ok();
    }

    fn on_quote_response(&self, _: &MintQuoteResponseEvent) {}
    fn on_quote_error(&self, _: &QuoteError, _: Option<ShareHash>) {}
}

#[test]
fn while_a_callback_hangs_quotes_go_on_and_the_rest_is_counted() {
    let mint = FakeMint::listen();
    let (inside, entered) = sync_channel(1);
    let (go_on, wait) = sync_channel(1);
    let timing = Timing { callback_slots: 4, callback_patience: Duration::from_millis(50), ..quick() };
    let host = Arc::new(Hanging { inside, go_on: Mutex::new(wait) });
    let quotes = mint.dispatcher().timing(timing).start(host).unwrap();
    submit(&quotes, [0]);
    let mut session = mint.accept();
    session.requests(1);
    entered.recv_timeout(crate::fake_mint::PATIENCE).unwrap();
    session.answer(hash(0));
    submit(&quotes, 1..100);
    session.requests(99).into_iter().for_each(|hash| session.answer(hash));
    let counters = until("the answers", || Some(quotes.counters()).filter(|counters| counters.answered == 100));
    // Of 100 sends and 100 responses one runs and four wait.
    assert_eq!(counters.callbacks_dropped, 200 - 1 - 4);
    drop(go_on);
}

/// Far more quotes at once than callbacks may wait.
fn burst(mint: &FakeMint) -> QuoteDispatcherBuilder {
    let timing = Timing { callback_slots: 16, callback_patience: PATIENCE, ..quick() };
    mint.dispatcher().timing(timing)
}

const BURST: u32 = 2_000;

#[test]
fn a_burst_of_answers_loses_no_callback() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = burst(&mint).start(host.clone()).unwrap();
    submit(&quotes, 0..BURST);
    let mut session = mint.accept();
    session.requests(BURST as usize).into_iter().for_each(|hash| session.answer(hash));
    // Fails where one is not sent before its answer.
    assert_eq!(host.await_endings(BURST as usize).len(), BURST as usize);
    let counters = quotes.counters();
    assert_eq!((counters.answered, counters.callbacks_dropped), (u64::from(BURST), 0));
}

#[test]
fn a_burst_of_timeouts_loses_no_callback() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = burst(&mint).timeout(Duration::from_millis(50)).start(host.clone()).unwrap();
    submit(&quotes, 0..BURST);
    assert_eq!(host.await_endings(BURST as usize).len(), BURST as usize);
    assert_eq!((quotes.counters().timed_out, quotes.counters().callbacks_dropped), (u64::from(BURST), 0));
}

#[test]
fn closing_with_many_quotes_loses_no_callback() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = burst(&mint).max_pending(100).start(host.clone()).unwrap();
    submit(&quotes, 0..BURST);
    assert_eq!(quotes.close(Duration::ZERO).left, u64::from(BURST));
    assert!(host.endings().len() == BURST as usize && host.endings().values().all(|ending| ending == "closed"));
    assert_eq!(quotes.counters().callbacks_dropped, 0);
}
