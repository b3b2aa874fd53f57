//! Peers that break the protocol, crawl or do not listen: each is closed with a counter, and nobody else notices.

use std::time::Duration;

use sidecar_core::EventKind;
use sidecar_journal::dead_letter::INGEST;
use stats_sv2::codec::header;

use crate::client::{Client, Said, encode, heartbeat, open_message, share, shares};
use crate::fake_sink::FakeSink;
use crate::sidecar::{Sidecar, eventually, journal_config, listener, open_journal, spec};

/// A bad header after good frames: those are committed, the peer is told, others go on.
#[tokio::test]
async fn a_bad_header_ends_the_connection_after_what_came_before_is_acknowledged() {
    let sidecar = Sidecar::listening(listener()).await;
    let (mut other, _) = Client::opened(sidecar.address(), "other", 99).await;
    let bad_headers: [&[u8]; 4] = [
        // Another extension, the channel_msg bit, a payload of 4,097 bytes, garbage.
        &[0x53, 0x54, 0x10, 28, 0, 0],
        &[0x54, 0xd3, 0x10, 28, 0, 0],
        &[0x54, 0x53, 0x10, 0x01, 0x10, 0],
        &[0xff; 100],
    ];
    for (round, bad) in (0_u64..).zip(bad_headers) {
        let (mut client, _) = Client::opened(sidecar.address(), "pool", 1 + round).await;
        client.send(&shares(1, 50)).await;
        client.send(bad).await;
        let words = client.last_words().await;
        assert_eq!(words[words.len() - 2..], [Said::Ack(50), Said::Close("malformed".to_owned())]);
        assert_eq!(sidecar.stored(1 + round).len(), 50);
        eventually("it is counted", || sidecar.ended("malformed") == round + 1).await;
    }
    other.send(&shares(1, 10)).await;
    other.acknowledged(10).await;
}

#[tokio::test]
async fn a_second_opening_is_a_bad_header_and_unknown_session_messages_are_passed_over() {
    let sidecar = Sidecar::listening(listener()).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, 1)).await;
    client.send(&header(0x0a, 0)).await;
    client.send(&shares(2, 2)).await;
    client.acknowledged(2).await;
    assert_eq!(sidecar.snapshot().listener.unwrap().counters.unknown_control_frames, 1);
    client.send(&encode(&open_message("pool", 1))).await;
    assert_eq!(client.last_words().await.last(), Some(&Said::Close("malformed".to_owned())));
}

#[tokio::test]
async fn a_malformed_payload_keeps_its_number_and_becomes_a_dead_letter() {
    let sink = FakeSink::default();
    let mut taking_all = spec("history", &sink);
    taking_all.route.kinds = taking_all.route.kinds.with(EventKind::Malformed);
    let sidecar = Sidecar::with(listener(), [taking_all]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    let too_short = [&header(0x10, 3)[..], &[1, 2, 3]].concat();
    let derived = [&header(0x41, 2)[..], &[1, 2]].concat();
    let unknown = [&header(0x70, 2)[..], &[1, 2]].concat();
    for frame in [share(1), too_short.clone(), derived, unknown, share(5)] {
        client.send(&frame).await;
    }
    client.acknowledged(5).await;
    assert_eq!(sidecar.stored(1), [1, 2, 3, 4, 5]);
    let letters = sidecar.journal.dead_letters(Some(INGEST), 10).unwrap();
    let mut numbers: Vec<u64> = letters.iter().map(|letter| letter.id.sequence).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    assert!(letters.iter().any(|letter| letter.frame == too_short));
    assert_eq!(sidecar.snapshot().listener.unwrap().counters.malformed_events, 2);
    eventually("the sink sees who stands in", || sink.sequences().len() == 5).await;
    let kinds: Vec<EventKind> =
        sink.with(|memory| memory.delivered.iter().filter(|(id, _)| !id.derived).map(|(_, kind)| *kind).collect());
    assert_eq!(kinds[1..4], [EventKind::Malformed, EventKind::Malformed, EventKind::Unknown(0x70)]);
}

#[tokio::test]
async fn a_peer_that_crawls_is_silent_and_others_are_not_held_up() {
    let mut config = listener();
    config.limits.silent_session = Duration::from_millis(300);
    let sidecar = Sidecar::listening(config).await;
    let (mut crawling, _) = Client::opened(sidecar.address(), "crawling", 1).await;
    let (mut talking, _) = Client::opened(sidecar.address(), "talking", 2).await;
    let crawl = tokio::spawn(async move {
        let frame = shares(1, 1);
        // A byte now and then never makes a frame in time.
        for byte in &frame[..frame.len() - 1] {
            if crawling.try_send(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        crawling.last_words().await
    });
    let mut number = 0;
    while !crawl.is_finished() {
        number += 1;
        talking.send(&heartbeat()).await;
        talking.acknowledged(number).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let words = crawl.await.unwrap();
    assert!(words.is_empty() || words == [Said::Close("silent".to_owned())], "{words:?}");
    assert_eq!(sidecar.ended("silent"), 1);
    talking.send(&heartbeat()).await;
    talking.acknowledged(number + 1).await;
}

#[tokio::test]
async fn a_peer_that_never_reads_is_read_on_and_then_cut() {
    let mut config = listener();
    config.limits.write_stall = Duration::from_millis(300);
    let folder = tempfile::TempDir::new().unwrap();
    let mut journal = journal_config(&folder);
    journal.max_delay = Duration::from_millis(1);
    let sidecar = Sidecar::over(folder, open_journal(journal), config, []).await;
    let mut deaf = Client::with_small_window(sidecar.address()).await;
    deaf.send(&encode(&open_message("deaf", 1))).await;
    let (mut other, _) = Client::opened(sidecar.address(), "other", 2).await;

    // Each commit is acknowledged, until the kernel takes no more of that; reading never waits for it.
    let mut sent = 0;
    let mut heard_by_other = 0;
    while sidecar.ended("write-stalled") == 0 {
        sent += 1;
        if deaf.try_send(&share(sent)).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
        if sent % 200 == 0 {
            heard_by_other += 1;
            other.send(&share(heard_by_other)).await;
            other.acknowledged(heard_by_other).await;
        }
        assert!(sent < 200_000, "it is never cut");
    }
    eventually("it is cut", || sidecar.ended("write-stalled") == 1).await;
    let stored = sidecar.stored(1).len() as u64;
    assert!(stored > 0 && stored <= sent);
    assert_eq!(sidecar.stored(1), (1..=stored).collect::<Vec<u64>>());
}

#[tokio::test]
async fn without_budget_nobody_is_read_and_nobody_is_taken_for_silent() {
    let mut config = listener();
    config.limits.silent_session = Duration::from_millis(200);
    config.limits.name_held_for = Duration::from_millis(100);
    let sidecar = Sidecar::listening(config).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    let budget = sidecar.journal.ingest_budget();
    let all = budget.available_permits() as u32;
    let taken = budget.acquire_many(all).await.unwrap();
    client.send(&shares(1, 1000)).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let counters = sidecar.snapshot().listener.unwrap().counters;
    assert_eq!((counters.events, counters.ended["silent"]), (0, 0));
    // Its name is not given away either: that it says nothing is not its fault.
    let mut other = Client::connect(sidecar.address()).await;
    assert_eq!(other.open(&open_message("pool", 2)).await, Said::Error("publisher-in-use".to_owned()));
    drop(taken);
    client.acknowledged(1000).await;
    eventually("the budget is whole again", || budget.available_permits() == all as usize).await;
}

#[tokio::test]
async fn a_crowd_of_connections_is_turned_away_and_the_session_inside_goes_on() {
    let mut config = listener();
    config.limits.handshakes = 16;
    config.limits.handshake = Duration::from_millis(500);
    let sidecar = Sidecar::listening(config).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    let mut crowd = Vec::new();
    for number in 1..=400 {
        crowd.push(Client::connect(sidecar.address()).await);
        client.send(&share(number)).await;
    }
    client.acknowledged(400).await;
    drop(crowd);
    eventually("all have been accepted", || sidecar.snapshot().listener.unwrap().counters.accepted == 401).await;
    eventually("none of the crowd is left", || sidecar.snapshot().listener.unwrap().counters.open_connections == 1)
        .await;
    Client::opened(sidecar.address(), "another", 2).await;
}
