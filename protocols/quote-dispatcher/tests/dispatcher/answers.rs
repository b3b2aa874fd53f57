//! What the mint's messages mean (delivery rules 32 and 33).

use std::time::Duration;

use ehash::{PaymentFailedEvent, QuoteError, QuotePaidEvent};
use mint_quote_sv2::{MintQuoteFailure, MintQuoteNotification};
use stats_sv2::{Amount, ChannelId, Text};

use crate::fake_mint::{FakeMint, quote_id, until};
use crate::recorder::{Call, Recorder};
use crate::{hash, submit};

#[test]
fn an_error_belongs_to_the_oldest_request() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, 0..4);
    let mut session = mint.accept();
    assert_eq!(session.requests(4), [hash(0), hash(1), hash(2), hash(3)]);
    session.answer(hash(0));
    session.refuse(7);
    session.refuse(8);
    session.answer(hash(3));
    let endings = host.await_endings(4);
    assert_eq!(endings[&hash(0)], quote_id(hash(0)));
    assert_eq!((&*endings[&hash(1)], &*endings[&hash(2)]), ("mint-error", "mint-error"));
    assert_eq!(endings[&hash(3)], quote_id(hash(3)));
    let error = |error_code| QuoteError::Mint { error_code, error_message: Text::cut("no") };
    assert!(host.calls().contains(&Call::Failed(error(7), Some(hash(1)))));
    assert!(host.calls().contains(&Call::Failed(error(8), Some(hash(2)))));
}

#[test]
fn after_an_answer_out_of_order_errors_are_nobodys() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().timeout(Duration::from_secs(1)).start(host.clone()).unwrap();
    submit(&quotes, 0..3);
    let mut session = mint.accept();
    session.requests(3);
    session.answer(hash(1));
    session.refuse(7);
    host.await_call("an unattributed error", |call| {
        matches!(call, Call::Failed(QuoteError::Unattributed { error_code: 7, .. }, None))
    });
    session.answer(hash(2));
    let endings = host.await_endings(3);
    assert_eq!(endings[&hash(0)], "timeout");
    assert_eq!(endings[&hash(2)], quote_id(hash(2)));
    assert_eq!(quotes.counters().unattributed_errors, 1);
}

#[test]
fn an_error_on_a_new_connection_can_be_attributed_again() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, 0..3);
    let mut session = mint.accept();
    session.requests(3);
    session.answer(hash(2));
    host.await_endings(1);
    drop(session);
    let mut session = mint.accept();
    assert_eq!(session.requests(2), [hash(0), hash(1)]);
    session.refuse(7);
    session.answer(hash(1));
    let endings = host.await_endings(3);
    assert_eq!((&*endings[&hash(0)], &*endings[&hash(1)]), ("mint-error", &*quote_id(hash(1))));
}

#[test]
fn further_answers_are_counted_and_call_nobody() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().timeout(Duration::from_secs(1)).start(host.clone()).unwrap();
    submit(&quotes, 0..3);
    let mut session = mint.accept();
    session.requests(3);
    session.answer(hash(0));
    session.answer(hash(0));
    session.answer_with(hash(0), "another");
    session.refuse(7);
    session.answer(hash(1));
    session.answer(hash(99));
    let endings = until("the quotes' ends", || {
        session.say_something();
        Some(host.endings()).filter(|endings| endings.len() == 3)
    });
    assert_eq!(endings[&hash(2)], "timeout");
    session.answer(hash(2));
    until("the late answer", || (quotes.counters().late_answers == 1).then_some(()));
    let counters = quotes.counters();
    assert_eq!((counters.duplicate_answers, counters.conflicts, counters.unknown_answers), (1, 2, 1));
    assert_eq!((counters.answered, counters.failed, counters.timed_out, counters.pending), (1, 1, 1, 0));
    assert_eq!(host.endings(), endings, "the first end stands");
    assert_eq!(endings[&hash(0)], quote_id(hash(0)));
}

#[test]
fn an_error_for_one_that_timed_out_hurts_no_other() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().timeout(Duration::from_secs(1)).start(host.clone()).unwrap();
    submit(&quotes, [0, 1]);
    let mut session = mint.accept();
    session.requests(2);
    // Something is heard, so the connection stays.
    until("a timeout", || {
        session.say_something();
        (quotes.counters().timed_out == 2).then_some(())
    });
    submit(&quotes, [2]);
    session.requests(1);
    session.refuse(7);
    session.answer(hash(2));
    assert_eq!(host.await_endings(3)[&hash(2)], quote_id(hash(2)));
    assert_eq!((quotes.counters().failed, quotes.counters().connections), (0, 1));
}

#[test]
fn payments_are_told() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    let mut session = mint.accept();
    session.send(&MintQuoteNotification::new(ChannelId(0), Text::cut("q1"), Amount(256)).unwrap());
    session.send(&MintQuoteFailure::new(ChannelId(0), Text::cut("q2"), 5, Text::cut("expired")).unwrap());
    session.say_something();
    host.await_call("the failure", |call| matches!(call, Call::PaymentFailed(_)));
    assert_eq!(
        host.calls(),
        [
            Call::Paid(QuotePaidEvent { quote_id: Text::cut("q1"), amount: Amount(256) }),
            Call::PaymentFailed(PaymentFailedEvent {
                quote_id: Text::cut("q2"),
                error_code: 5,
                error_message: Text::cut("expired")
            }),
        ]
    );
    until("the unknown message", || (quotes.counters().unknown_messages == 1).then_some(()));
    let counters = quotes.counters();
    assert_eq!((counters.payments, counters.payment_failures, counters.failures), (1, 1, 0));
}
