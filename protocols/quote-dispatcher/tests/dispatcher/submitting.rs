//! What `submit_quote` answers, and that it never waits.

use std::sync::Arc;

use ehash::{QuoteContext, QuoteError};
use quote_dispatcher::{AcceptedShare, QuoteDispatcher, QuoteDispatcherBuilder, SubmitOutcome};
use stats_sv2::Amount;

use crate::fake_mint::{FakeMint, quote_id};
use crate::recorder::{Call, Recorder};
use crate::{KEY, hash, share, submit};

#[test]
fn an_accepted_share_becomes_a_request_and_an_answer() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, [7]);
    let mut session = mint.accept();
    let request = session.request();
    assert_eq!(request.amount(), Amount(1 << 8));
    assert_eq!(request.unit().as_str(), "HASH");
    assert_eq!(request.header_hash(), hash(7).to_wire());
    assert_eq!(request.description(), None);
    assert_eq!(request.locking_key().to_vec(), KEY.parse::<ehash::LockingKey>().unwrap().to_bytes());
    session.answer(hash(7));
    assert_eq!(host.await_endings(1)[&hash(7)], quote_id(hash(7)));

    let context =
        QuoteContext { downstream_id: 3.into(), channel_id: 1.into(), sequence_number: 7, amount: Amount(1 << 8) };
    let calls = host.calls();
    assert_eq!(calls[0], Call::Created(hash(7), context));
    assert!(matches!(&calls[1], Call::Sent(request, sent) if request.share_hash() == hash(7) && *sent == context));
    assert!(matches!(&calls[2], Call::Answered(response) if response.context == context));
    assert_eq!(calls.len(), 3);
    let counters = quotes.counters();
    assert_eq!((counters.created, counters.sent, counters.answered, counters.pending), (1, 1, 1, 0));
}

#[test]
fn shares_below_the_minimum_and_known_shares_create_nothing() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().minimum_difficulty(41).start(host.clone()).unwrap();
    assert_eq!(quotes.submit_quote(&share(1)), SubmitOutcome::BelowMinimum);
    assert_eq!(host.calls(), []);

    let quotes = mint.dispatcher().minimum_difficulty(40).start(host.clone()).unwrap();
    submit(&quotes, [1]);
    assert_eq!(quotes.submit_quote(&share(1)), SubmitOutcome::Duplicate, "in the queue");
    // The first connection is the first dispatcher's.
    let (_first, mut session) = (mint.accept(), mint.accept());
    assert_eq!(session.requests(1), [hash(1)]);
    assert_eq!(quotes.submit_quote(&share(1)), SubmitOutcome::Duplicate, "pending");
    session.answer(hash(1));
    host.await_endings(1);
    let elsewhere = AcceptedShare { channel_id: 9.into(), ..share(1) };
    assert_eq!(quotes.submit_quote(&elsewhere), SubmitOutcome::Duplicate, "ended");
    assert_eq!(host.calls().len(), 3);
    assert_eq!(quotes.counters().duplicate_shares, 3);
}

#[test]
fn switched_off_tells_what_would_be_created() {
    let host = Recorder::new();
    let quotes = QuoteDispatcherBuilder::without_dispatch().minimum_difficulty(32).start(host.clone()).unwrap();
    assert_eq!(quotes.submit_quote(&share(1)), SubmitOutcome::NotDispatched);
    assert_eq!(quotes.submit_quote(&share(1)), SubmitOutcome::Duplicate);
    assert_eq!(quotes.submit_quote(&share(2)), SubmitOutcome::NotDispatched);
    let created: Vec<_> = host.calls();
    assert!(matches!(&*created, [Call::Created(..), Call::Created(..)]), "{created:?}");
    let counters = quotes.counters();
    assert_eq!((counters.created, counters.not_dispatched, counters.pending), (2, 2, 0));

    assert_eq!(QuoteDispatcher::off().submit_quote(&share(1)), SubmitOutcome::Off);
}

#[test]
fn without_a_locking_key_a_quote_is_rejected_and_a_miners_own_key_is_used() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = QuoteDispatcher::builder(mint.address().to_string()).start(host.clone()).unwrap();
    assert_eq!(quotes.submit_quote(&share(1)), SubmitOutcome::Rejected);
    let mistyped = AcceptedShare { user_identity: &KEY[1..], ..share(2) };
    assert_eq!(quotes.submit_quote(&mistyped), SubmitOutcome::Rejected);
    assert_eq!(host.await_endings(2)[&hash(2)], "locking-key");
    let own = format!("{}.rig1", KEY.replacen("02", "03", 1));
    assert_eq!(quotes.submit_quote(&AcceptedShare { user_identity: &own, ..share(3) }), SubmitOutcome::Queued);
    let request = mint.accept().request();
    assert_eq!(request.locking_key()[0], 3);
    assert_eq!(quotes.counters().rejected, 2);
}

#[test]
fn a_full_queue_rejects_at_once_and_the_rest_goes_on() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().max_pending(4).queue_slots(8).start(host.clone()).unwrap();
    let outcomes: Vec<_> = (0..100).map(|index| quotes.submit_quote(&share(index))).collect();
    let queued = outcomes.iter().filter(|outcome| **outcome == SubmitOutcome::Queued).count();
    assert!((8..=12).contains(&queued), "{queued} of 100 with room for 4 and 8");
    host.await_endings(100 - queued);
    host.await_call("the reason", |call| matches!(call, Call::Failed(QuoteError::QueueFull { limit: 8 }, Some(_))));
    let mut session = mint.accept();
    for _ in 0..queued {
        let [hash] = session.requests(1)[..] else { panic!() };
        session.answer(hash);
    }
    host.await_endings(100);
    let counters = quotes.counters();
    assert_eq!((counters.answered, counters.rejected), (queued as u64, 100 - queued as u64));
}

#[test]
fn many_threads_submit_and_every_hash_gets_one_quote() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    let server = std::thread::spawn(move || {
        let mut session = mint.accept();
        let mut seen = Vec::new();
        while let Some(request) = session.try_request() {
            let hash = ehash::ShareHash::from_wire(request.header_hash());
            seen.push(hash);
            session.answer(hash);
        }
        seen
    });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let quotes = quotes.clone();
            std::thread::spawn(move || {
                (0..1000).filter(|index| quotes.submit_quote(&share(*index)) == SubmitOutcome::Queued).count()
            })
        })
        .collect();
    let queued: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(queued, 1000);
    assert_eq!(host.await_endings(1000).len(), 1000);
    let counters = quotes.counters();
    assert_eq!((counters.created, counters.duplicate_shares, counters.answered), (1000, 3000, 1000));
    quotes.close(crate::fake_mint::PATIENCE);
    let mut seen = server.join().unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
}

#[test]
fn submitting_allocates_nothing_once_the_identity_is_known() {
    let mint = FakeMint::listen();
    let quotes = mint.dispatcher().start(Arc::new(Silent)).unwrap();
    submit(&quotes, [0]);
    let info = allocation_counter::measure(|| submit(&quotes, 1..1000));
    assert_eq!(info.count_total, 0);
}

struct Silent;

impl ehash::QuoteCallbacks for Silent {
    fn on_quote_created(&self, _: ehash::ShareHash, _: &QuoteContext) {}
    fn on_quote_send(&self, _: &ehash::ParsedMintQuoteRequest, _: &QuoteContext) {}
    fn on_quote_response(&self, _: &ehash::MintQuoteResponseEvent) {}
    fn on_quote_error(&self, _: &QuoteError, _: Option<ehash::ShareHash>) {}
}
