//! Numbers, acknowledgements, reconnection.

use std::time::Duration;

use sidecar_core::EventKind;
use stats_sv2::Text;
use stats_sv2::session::CloseStatsSession;

use crate::client::{Client, Said, encode, open_message, shares};
use crate::fake_sink::FakeSink;
use crate::sidecar::{Sidecar, eventually, listener, spec};

#[tokio::test]
async fn events_are_acknowledged_once_durable_and_reach_the_sink() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, committed) = Client::opened(sidecar.address(), "pool", 1).await;
    assert_eq!(committed, 0);
    // In pieces that end anywhere.
    let stream = shares(1, 30_000);
    for piece in stream.chunks(10_007) {
        client.send(piece).await;
    }
    client.acknowledged(30_000).await;
    assert_eq!(sidecar.stored(1), (1..=30_000).collect::<Vec<u64>>(), "acknowledged means stored");
    eventually("the sink has them", || sink.sequences().len() == 30_000).await;
    assert_eq!(sink.sequences(), (1..=30_000).collect::<Vec<u64>>());
    let counters = sidecar.snapshot().listener.unwrap().counters;
    assert_eq!((counters.events, counters.bytes), (30_000, 30_000 * 34));
}

#[tokio::test]
async fn closing_is_acknowledged_even_if_nothing_is_new() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, 3)).await;
    client.acknowledged(3).await;
    client.send(&encode(&CloseStatsSession { reason: Text::cut("bye") })).await;
    assert_eq!(client.last_words().await, [Said::Ack(3)]);
    eventually("the end is an event", || sink.has(EventKind::SessionEnded)).await;
    // The name is free at once.
    Client::opened(sidecar.address(), "pool", 2).await;
}

#[tokio::test]
async fn a_lost_connection_closes_nothing_and_the_session_goes_on_where_it_was() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    let mut stream = shares(1, 5);
    let cut = stream.len() - 7;
    stream.truncate(cut);
    client.send(&stream).await;
    client.acknowledged(4).await;
    drop(client);
    let (mut again, committed) = Client::opened(sidecar.address(), "pool", 1).await;
    assert_eq!(committed, 4, "the frame that was cut is not there");
    again.send(&shares(5, 6)).await;
    again.acknowledged(6).await;
    assert_eq!(sidecar.stored(1), [1, 2, 3, 4, 5, 6]);
    assert!(!sink.has(EventKind::SessionEnded));
}

#[tokio::test]
async fn a_new_connection_retires_the_old_one_after_reading_it_to_its_end() {
    let sidecar = Sidecar::listening(listener()).await;
    for round in 0..10 {
        let session = 100 + round;
        let (mut old, _) = Client::opened(sidecar.address(), &format!("pool-{round}"), session).await;
        old.send(&shares(1, 3_000)).await;
        // Nothing waited for: its frames are still on their way when the next connection opens the session.
        drop(old);
        let (mut new, committed) = Client::opened(sidecar.address(), &format!("pool-{round}"), session).await;
        assert_eq!(committed, 3_000);
        new.send(&shares(3_001, 3_002)).await;
        new.acknowledged(3_002).await;
        assert_eq!(sidecar.stored(session), (1..=3_002).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn a_retired_connection_that_goes_on_talking_is_cut() {
    let mut config = listener();
    config.limits.retire_time = Duration::from_millis(100);
    let sidecar = Sidecar::listening(config).await;
    let (mut old, _) = Client::opened(sidecar.address(), "pool", 1).await;
    old.send(&shares(1, 10)).await;
    old.acknowledged(10).await;
    let (mut new, committed) = Client::opened(sidecar.address(), "pool", 1).await;
    assert_eq!(committed, 10);
    // What the old one says now is never stored.
    old.send(&shares(900, 950)).await;
    assert_eq!(old.last_words().await, [Said::Close("replaced".to_owned())]);
    new.send(&shares(11, 20)).await;
    new.acknowledged(20).await;
    assert_eq!(sidecar.stored(1), (1..=20).collect::<Vec<u64>>());
    eventually("it is counted", || sidecar.ended("replaced") == 1).await;
}

#[tokio::test]
async fn numbers_that_can_never_come_are_a_gap() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let mut open = open_message("pool", 1);
    open.first_sequence = 11;
    let mut client = Client::connect(sidecar.address()).await;
    assert_eq!(client.open(&open).await, Said::Success { committed: 10, announce: true });
    client.send(&shares(11, 12)).await;
    client.acknowledged(12).await;
    drop(client);
    open.first_sequence = 21;
    let mut client = Client::connect(sidecar.address()).await;
    assert_eq!(client.open(&open).await, Said::Success { committed: 20, announce: true });
    client.send(&shares(21, 21)).await;
    client.acknowledged(21).await;
    let stats = sidecar.snapshot().journal.stats;
    assert_eq!((stats.gap_unseen, stats.gap_missing), (10, 8));
    eventually("the sink hears of it", || sink.has(EventKind::Gap)).await;
}

#[tokio::test]
async fn repeated_events_are_stored_once() {
    let sidecar = Sidecar::listening(listener()).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, 100)).await;
    client.acknowledged(100).await;
    drop(client);
    // A publisher that lost its memory of the last acknowledgements begins before them; the sidecar tells it where to go on.
    let (mut again, committed) = Client::opened(sidecar.address(), "pool", 1).await;
    assert_eq!(committed, 100);
    again.send(&shares(101, 101)).await;
    again.acknowledged(101).await;
    assert_eq!(sidecar.stored(1).len(), 101);
}
