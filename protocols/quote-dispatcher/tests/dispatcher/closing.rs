//! Closing waits for answers, ends the rest, and leaves no thread behind.

use std::time::Duration;

use quote_dispatcher::SubmitOutcome;

use crate::fake_mint::{FakeMint, PATIENCE};
use crate::recorder::Recorder;
use crate::{share, submit};

#[test]
fn closing_waits_for_the_answers() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, 0..3);
    let mut session = mint.accept();
    let requests = session.requests(3);
    let closing = quotes.clone();
    let closer = std::thread::spawn(move || closing.close(PATIENCE));
    // A duplicate until then.
    crate::fake_mint::until("closing", || (quotes.submit_quote(&share(0)) == SubmitOutcome::Closed).then_some(()));
    requests.into_iter().for_each(|hash| session.answer(hash));
    let report = closer.join().unwrap();
    assert!(report.complete);
    assert_eq!(report.left, 0);
    // All callbacks have run; none is waited for.
    assert_eq!(host.endings().len(), 3);
    assert!(session.read().is_none(), "the connection is closed");
}

#[test]
fn what_has_no_answer_at_the_deadline_ends_as_closed() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().max_pending(2).start(host.clone()).unwrap();
    submit(&quotes, 0..5);
    let report = quotes.close(Duration::ZERO);
    assert_eq!((report.complete, report.left), (false, 5));
    let endings = host.endings();
    assert_eq!(endings.len(), 5);
    assert!(endings.values().all(|ending| ending == "closed"));
    let counters = quotes.counters();
    assert_eq!((counters.created, counters.rejected, counters.pending, counters.connected), (5, 5, 0, false));
    assert_eq!(quotes.close(Duration::ZERO), report, "a second time there is nothing to do");
}

#[test]
fn two_who_close_at_once_wait_for_the_same_end() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, 0..3);
    let _session = mint.accept();
    let closing = quotes.clone();
    let closer = std::thread::spawn(move || closing.close(PATIENCE));
    crate::fake_mint::until("closing", || (quotes.submit_quote(&share(0)) == SubmitOutcome::Closed).then_some(()));
    // The earlier deadline counts.
    let report = quotes.close(Duration::ZERO);
    assert_eq!((report.complete, report.left, host.endings().len()), (false, 3, 3));
    assert_eq!(closer.join().unwrap(), report);
}

#[test]
fn dropping_the_last_handle_closes() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    let clone = quotes.clone();
    submit(&quotes, [0]);
    drop(quotes);
    submit(&clone, [1]);
    drop(clone);
    assert_eq!(host.endings().len(), 2);
    assert_eq!(std::sync::Arc::strong_count(&host), 1, "no thread holds the callbacks any more");
}

#[test]
fn shares_that_are_submitted_while_closing_end_too() {
    for _ in 0..20 {
        let mint = FakeMint::listen();
        let host = Recorder::new();
        let quotes = mint.dispatcher().start(host.clone()).unwrap();
        let submitters: Vec<_> = (0..3)
            .map(|thread| {
                let quotes = quotes.clone();
                std::thread::spawn(move || {
                    let mut queued = 0;
                    for index in 0.. {
                        match quotes.submit_quote(&share(thread * 1_000_000 + index)) {
                            SubmitOutcome::Closed => break,
                            SubmitOutcome::Queued | SubmitOutcome::Rejected => queued += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                    queued
                })
            })
            .collect();
        crate::fake_mint::until("some quotes", || (quotes.counters().created > 50).then_some(()));
        quotes.close(Duration::ZERO);
        let created: usize = submitters.into_iter().map(|thread| thread.join().unwrap()).sum();
        let counters = quotes.counters();
        assert_eq!((counters.created, counters.pending), (created as u64, 0));
        assert_eq!(host.endings().len() as u64 + counters.callbacks_dropped, created as u64);
    }
}
