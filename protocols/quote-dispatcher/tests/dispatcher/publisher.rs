//! Quotes on the statistics stream, read from the connection of a real publisher.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mint_quote_sv2::{MintQuoteFailure, MintQuoteNotification};
use stats_publisher::{Event, PAYMENT_FAILED, PublisherQuoteCallbacks, StatsPublisher};
use stats_sv2::codec::Message;
use stats_sv2::session::OpenStatsSessionSuccess;
use stats_sv2::{Amount, ChannelId, Text};

use crate::fake_mint::{FakeMint, PATIENCE, quote_id};
use crate::{hash, submit};

/// Takes the events of one session until `count` of them are about quotes.
fn quote_events(sidecar: &TcpListener, count: usize) -> Vec<Event<'static>> {
    let (mut stream, _) = sidecar.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = Vec::new();
    let mut events = Vec::new();
    while events.len() < count {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the publisher is gone after {events:?}");
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(frame) = stats_sv2::read_frame(&buffer).unwrap() {
            let length = frame.bytes.len();
            if frame.is_event() {
                match Event::decode(frame).unwrap().into_owned() {
                    Event::Heartbeat(_) | Event::AnnounceBegin(_) | Event::AnnounceEnd(_) => {}
                    event => events.push(event),
                }
            } else {
                let mut success = Vec::new();
                OpenStatsSessionSuccess { version: 1, flags: 0, committed_sequence: 0, max_unacked: 65_536 }
                    .encode(&mut success);
                stream.write_all(&success).unwrap();
            }
            buffer.drain(..length);
        }
    }
    events
}

#[test]
fn a_quotes_life_is_published() {
    let sidecar = TcpListener::bind("127.0.0.1:0").unwrap();
    let stats = StatsPublisher::builder().address(sidecar.local_addr().unwrap().to_string()).start().unwrap();
    let mint = FakeMint::listen();
    let callbacks = Arc::new(PublisherQuoteCallbacks::new(stats.clone()));
    let quotes = mint.dispatcher().start(callbacks).unwrap();
    submit(&quotes, [0, 1]);
    let mut session = mint.accept();
    session.requests(2);
    session.answer(hash(0));
    session.refuse(7);
    session.refuse(8);
    session.send(&MintQuoteNotification::new(ChannelId(0), Text::cut("q"), Amount(256)).unwrap());
    session.send(&MintQuoteFailure::new(ChannelId(0), Text::cut("q"), 5, Text::cut("expired")).unwrap());

    let events = quote_events(&sidecar, 9);
    let expected = |index| Some(hash(index).to_wire());
    let mut seen = Vec::new();
    for event in &events {
        seen.push(match event {
            Event::QuoteCreated(created) => {
                assert_eq!((created.amount, created.downstream_id.0, created.channel_id.0), (Amount(256), 3, 1));
                ("created", Some(created.share_hash))
            }
            Event::QuoteSent(sent) => {
                assert_eq!((sent.amount, sent.downstream_id.0, sent.channel_id.0), (Amount(256), 3, 1));
                ("sent", Some(sent.share_hash))
            }
            Event::QuoteAnswered(answered) => {
                assert_eq!(answered.quote_id.as_str(), quote_id(hash(0)));
                ("answered", Some(answered.share_hash))
            }
            Event::QuoteFailed(failed) => {
                let code = failed.error_code.as_str();
                (
                    [PAYMENT_FAILED, "mint-error", "unattributed"].into_iter().find(|known| *known == code).unwrap(),
                    failed.share_hash,
                )
            }
            Event::QuotePaid(paid) => {
                assert_eq!((paid.quote_id.as_str(), paid.amount), ("q", Amount(256)));
                ("paid", None)
            }
            other => panic!("{other:?}"),
        });
    }
    for (index, end) in [(0, "answered"), (1, "mint-error")] {
        let life: Vec<_> = seen.iter().filter(|(_, hash)| *hash == expected(index)).map(|(what, _)| *what).collect();
        assert_eq!(life, ["created", "sent", end]);
    }
    let rest: Vec<_> = seen.iter().filter(|(_, hash)| hash.is_none()).map(|(what, _)| *what).collect();
    assert_eq!(rest, ["unattributed", "paid", PAYMENT_FAILED]);
    quotes.close(Duration::ZERO);
    // Nobody reads any more.
    stats.close(Duration::ZERO);
}
