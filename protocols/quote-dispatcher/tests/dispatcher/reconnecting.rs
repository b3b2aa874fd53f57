//! Mints that are absent, killed and restarted, silent, slow, or talk nonsense.

use std::time::Duration;

use mint_quote_sv2::{MintQuoteResponse, SetupConnectionError, SetupConnectionSuccess};
use stats_sv2::{Text, U256};

use crate::fake_mint::{FakeMint, MintSession, quote_id, until};
use crate::recorder::Recorder;
use crate::{hash, submit};

#[test]
fn a_mint_that_is_killed_and_restarted_gets_what_it_has_not_answered() {
    let mint = FakeMint::listen();
    let address = mint.address();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, 0..5);
    let mut session = mint.accept();
    session.requests(5);
    session.answer(hash(0));
    session.answer(hash(1));
    host.await_endings(2);
    drop((session, mint));
    until("the loss", || (!quotes.counters().connected).then_some(()));
    submit(&quotes, 5..7);

    let mint = FakeMint::listen_on(address);
    let mut session = mint.accept();
    assert_eq!(session.requests(5), (2..7).map(hash).collect::<Vec<_>>(), "the rest, in order");
    (2..7).for_each(|index| session.answer(hash(index)));
    let endings = host.await_endings(7);
    assert!((0..7).all(|index| endings[&hash(index)] == quote_id(hash(index))));
    let counters = quotes.counters();
    assert_eq!((counters.sent, counters.resent, counters.answered), (7, 3, 7));
    assert_eq!(counters.connections, 2);
}

#[test]
fn quotes_time_out_when_no_mint_comes() {
    let mint = FakeMint::listen();
    let address = mint.address();
    let host = Recorder::new();
    let quotes = mint.dispatcher().timeout(Duration::from_millis(500)).start(host.clone()).unwrap();
    drop(mint);
    submit(&quotes, 0..3);
    assert!(host.await_endings(3).values().all(|ending| ending == "timeout"));
    until("the reason", || quotes.counters().last_error);
    // The next one is served by a mint that is back; those that timed out are not sent any more.
    let mint = FakeMint::listen_on(address);
    let mut session = mint.accept();
    until("the connection", || quotes.counters().connected.then_some(()));
    submit(&quotes, [9]);
    assert_eq!(session.requests(1), [hash(9)]);
}

#[test]
fn a_silent_connection_is_left_for_another_before_it_costs_a_quote() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().timeout(Duration::from_secs(2)).start(host.clone()).unwrap();
    let mut silent = mint.accept();
    submit(&quotes, [0, 1]);
    assert_eq!(silent.requests(2), [hash(0), hash(1)]);
    let mut session = mint.accept();
    assert!(silent.read().is_none(), "the silent connection is closed");
    for request in session.requests(2) {
        session.answer(request);
    }
    let endings = host.await_endings(2);
    assert_eq!((&*endings[&hash(0)], &*endings[&hash(1)]), (&*quote_id(hash(0)), &*quote_id(hash(1))));
    let counters = quotes.counters();
    assert_eq!((counters.resent, counters.timed_out, counters.connections), (2, 0, 2));
    assert!(counters.last_error.unwrap().contains("nothing"));
}

#[test]
fn a_quote_that_grew_too_old_in_the_queue_is_not_sent() {
    const QUOTES: u32 = 200;
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().timeout(Duration::from_millis(200)).max_pending(1).start(host.clone()).unwrap();
    let mut session = mint.accept();
    submit(&quotes, 0..QUOTES);
    let endings = until("the timeouts", || {
        session.say_something();
        Some(host.endings()).filter(|endings| endings.len() == QUOTES as usize)
    });
    assert!(endings.values().all(|ending| ending == "timeout"));
    // The first was sent, and perhaps some that are so much younger as the hub is quick.
    let sent = quotes.counters().sent;
    assert!((1..u64::from(QUOTES) / 2).contains(&sent), "{sent} of {QUOTES}");
}

#[test]
fn nonsense_ends_the_connection_and_no_quote() {
    let nonsense: [(&str, &[u8]); 7] = [
        ("no frame", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("too long", &[0, 0, 0x81, 0xff, 0xff, 0xff]),
        ("an empty answer", &[0, 0, 0x81, 0, 0, 0]),
        ("an answer with an empty id", &[&[0, 0, 0x81, 33, 0, 0, 0][..], &[7; 32]].concat()),
        ("an error that is not UTF-8", &[0, 0, 0x82, 6, 0, 0, 1, 0, 0, 0, 1, 0xff]),
        ("the pool's own message", &[&[0, 0, 0x02, 5, 0, 0, 0, 0, 0, 0, 0][..]].concat()),
        ("half a frame, then the end", &[0, 0, 0x81, 34, 0, 0, 1, b'q']),
    ];
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, [0]);
    for (index, (what, bytes)) in nonsense.into_iter().enumerate() {
        let mut session = mint.accept();
        assert_eq!(session.requests(1), [hash(0)], "{what}");
        session.send_bytes(bytes);
        if what.starts_with("half") {
            drop(session);
        } else {
            assert!(session.read().is_none(), "{what}: the connection ends");
        }
        until("the failure", || (quotes.counters().failures == index as u64 + 1).then_some(()));
    }
    let mut session = mint.accept();
    session.requests(1);
    session.answer(hash(0));
    assert_eq!(host.await_endings(1)[&hash(0)], quote_id(hash(0)));
}

#[test]
fn nothing_is_sent_before_the_mint_has_opened() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, [0]);
    let refuse = |answer: &dyn Fn(&mut MintSession)| {
        let mut session = MintSession::new(mint.accept_stream());
        session.read().expect("SetupConnection");
        answer(&mut session);
        assert!(session.read().is_none(), "no request, but the end");
    };
    refuse(&|session| session.send(&SetupConnectionError { flags: 0, error_code: Text::cut("unsupported-protocol") }));
    until("the reason", || quotes.counters().last_error.filter(|error| error.contains("unsupported-protocol")));
    refuse(&|session| session.send(&SetupConnectionSuccess { used_version: 3, flags: 0 }));
    refuse(&|session| session.send(&MintQuoteResponse::new(Text::cut("q"), U256([1; 32])).unwrap()));
    let mut session = mint.accept();
    assert_eq!(session.requests(1), [hash(0)]);
}

#[test]
fn a_slow_mint_is_waited_for() {
    let mint = FakeMint::listen();
    let host = Recorder::new();
    let quotes = mint.dispatcher().start(host.clone()).unwrap();
    submit(&quotes, 0..3);
    let mut session = mint.accept();
    session.requests(3);
    // One answer in single bytes.
    let mut bytes = Vec::new();
    for index in 0..3 {
        let id = Text::cut(quote_id(hash(index)));
        mint_quote_sv2::Message::encode(&MintQuoteResponse::new(id, hash(index).to_wire()).unwrap(), &mut bytes);
    }
    bytes.chunks(1).for_each(|byte| session.send_bytes(byte));
    assert_eq!(host.await_endings(3).len(), 3);
    assert_eq!(quotes.counters().failures, 0);
}
