//! Reading from a cursor: from memory and from the file the same, within limits, with counts that add up.

use std::time::Duration;

use sidecar_journal::Tail;
use stats_sv2::event::{
    AnnounceBegin, AnnounceEnd, ChannelClosed, ChannelOpened, ChannelTargetChanged, DownstreamConnected,
    DownstreamDisconnected,
};
use stats_sv2::{CompactTarget, Event, EventKind, UnixMillis};

use crate::harness::{Bench, NOW, Publisher, hello, kinds, read_all, shares, text, within};

#[tokio::test]
async fn memory_and_file_tell_the_same() {
    let mut bench = Bench::new();
    // Room for a few of the records only.
    bench.config.recent_bytes = 4_000;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    for first in (1..=200).step_by(10) {
        pool.append(first, &shares(first, 10)).await;
    }
    let mixed = read_all(&journal);
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    assert_eq!(read_all(&journal), mixed);
    assert_eq!(mixed.len(), 21);
    let mut cumulative = 0;
    for (place, record) in mixed.iter().enumerate() {
        cumulative += u64::from(record.count);
        assert_eq!((record.offset, record.cumulative_events), (place as u64 + 1, cumulative));
        assert_eq!(journal.cumulative_at(record.offset).unwrap(), cumulative);
    }
    assert_eq!(journal.cumulative_at(0).unwrap(), 0);
    assert_eq!(journal.reader().tail(), Tail { first_offset: 1, cumulative_before: 0 });
}

#[tokio::test]
async fn a_read_keeps_its_limits_but_always_gets_on() {
    let bench = Bench::new();
    for reopened in [false, true] {
        let journal = bench.open();
        if !reopened {
            let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
            for first in (1..=100).step_by(10) {
                pool.append(first, &shares(first, 10)).await;
            }
        }
        let reader = journal.reader();
        let lengths = |events, bytes| {
            let records = reader.read(1, events, bytes).unwrap();
            records.iter().map(|record| record.count).collect::<Vec<_>>()
        };
        assert_eq!(lengths(25, 1 << 20), [10, 10], "by events");
        assert_eq!(lengths(1000, 40 * 35), [10, 10, 10, 10], "by bytes");
        assert_eq!(lengths(1, 1), [10], "at least one");
        assert!(reader.read(11, 1000, 1 << 20).unwrap().is_empty());
        assert!(reader.read(u64::MAX, 1000, 1 << 20).unwrap().is_empty());
        journal.close(Duration::from_secs(10)).await.unwrap();
    }
}

fn connected(id: u32) -> Event<'static> {
    Event::DownstreamConnected(DownstreamConnected {
        downstream_id: id.into(),
        flags: 0,
        timestamp: UnixMillis(NOW),
        address: text("10.0.0.1:5"),
        vendor: text("v"),
        hardware_version: text("h"),
        firmware: text("f"),
        device_id: text("d"),
    })
}

fn channel(id: u32) -> Event<'static> {
    Event::ChannelOpened(ChannelOpened {
        downstream_id: id.into(),
        channel_id: 1.into(),
        timestamp: UnixMillis(NOW),
        kind: 0,
        user_identity: text("miner"),
        nominal_hashrate: 5,
        target: CompactTarget(0x1d00_ffff),
    })
}

fn retarget(id: u32, target: u32) -> Event<'static> {
    Event::ChannelTargetChanged(ChannelTargetChanged {
        downstream_id: id.into(),
        channel_id: 1.into(),
        timestamp: UnixMillis(NOW),
        target: CompactTarget(target),
    })
}

fn disconnected(id: u32) -> Event<'static> {
    let reason = text("gone");
    Event::DownstreamDisconnected(DownstreamDisconnected {
        downstream_id: id.into(),
        timestamp: UnixMillis(NOW),
        reason,
    })
}

/// What an announcement says is open, as one line for each object.
fn open_lines(journal: &sidecar_journal::Journal, at: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for record in journal.open_state(at).unwrap() {
        for envelope in record.envelopes() {
            match envelope.event().unwrap() {
                Event::SessionStarted(started) => lines.push(format!("session {}", started.session_id)),
                Event::DownstreamConnected(event) => lines.push(format!("downstream {}", event.downstream_id)),
                Event::ChannelOpened(event) => lines.push(format!("channel {}", event.downstream_id)),
                Event::ChannelTargetChanged(event) => lines.push(format!("target {:x}", event.target.0)),
                Event::AnnounceBegin(_) => lines.push("(".to_owned()),
                Event::AnnounceEnd(_) => lines.push(")".to_owned()),
                other => panic!("{other:?} is no state"),
            }
        }
    }
    lines
}

/// Delivery rule 11: the same at a place whether its records are still there or have left.
#[tokio::test]
async fn what_is_open_is_known_at_the_tail_and_after_it() {
    let mut bench = Bench::new();
    bench.config.max_age = Duration::from_secs(3600);
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    pool.append(1, &[connected(1), channel(1), connected(2), channel(2)]).await; // offset 2
    pool.append(5, &[retarget(1, 0x1d00_1234)]).await; // 3
    pool.append(6, &shares(6, 3)).await; // 4
    pool.append(9, &[disconnected(2)]).await; // 5
    // An announcement that does not name downstream 1, in two records.
    pool.append(10, &[Event::AnnounceBegin(AnnounceBegin { timestamp: UnixMillis(NOW) }), connected(3)]).await; // 6
    pool.append(12, &[connected(4), Event::AnnounceEnd(AnnounceEnd { timestamp: UnixMillis(NOW) })]).await; // 7
    let other = Publisher::open(&journal, hello("proxy", 2, 1)).await; // 8
    other.append(1, &[connected(9)]).await; // 9
    let finishing = sidecar_journal::OpenSession { finishing: true, ..hello("proxy", 3, 1) };
    Publisher::open(&journal, finishing).await.append(1, &[connected(8)]).await; // 10, 11
    other.opened.writer.close("done").await.unwrap(); // 12

    let expected: Vec<(u64, Vec<&str>)> = vec![
        (0, vec![]),
        (1, vec!["session 1", "(", ")"]),
        (2, vec!["session 1", "(", "downstream 1", "downstream 2", "channel 1", "channel 2", ")"]),
        (4, vec!["session 1", "(", "downstream 1", "downstream 2", "channel 1", "target 1d001234", "channel 2", ")"]),
        (5, vec!["session 1", "(", "downstream 1", "channel 1", "target 1d001234", ")"]),
        (6, vec!["session 1", "(", "downstream 1", "downstream 3", "channel 1", "target 1d001234", ")"]),
        (7, vec!["session 1", "(", "downstream 3", "downstream 4", ")"]),
        (9, vec!["session 1", "(", "downstream 3", "downstream 4", ")", "session 2", "(", "downstream 9", ")"]),
        (11, vec!["session 1", "(", "downstream 3", "downstream 4", ")", "session 2", "(", "downstream 9", ")"]),
        (12, vec!["session 1", "(", "downstream 3", "downstream 4", ")"]),
    ];
    for (at, lines) in &expected {
        assert_eq!(&open_lines(&journal, *at), lines, "after offset {at}");
    }
    drop(journal.clone());

    // The same again behind a moving tail: each record leaves before the next comes.
    let mut bench = Bench::new();
    bench.config.max_age = Duration::from_secs(3600);
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let runs: Vec<Vec<Event<'_>>> = vec![
        vec![connected(1), channel(1), connected(2), channel(2)],
        vec![retarget(1, 0x1d00_1234)],
        shares(6, 3),
        vec![disconnected(2)],
        vec![Event::AnnounceBegin(AnnounceBegin { timestamp: UnixMillis(NOW) }), connected(3)],
        vec![connected(4), Event::AnnounceEnd(AnnounceEnd { timestamp: UnixMillis(NOW) })],
    ];
    let mut next = 1;
    for (place, events) in runs.iter().enumerate() {
        pool.append(next, events).await;
        next += events.len() as u64;
        let offset = place as u64 + 2;
        bench.pass(Duration::from_secs(7200));
        within(async {
            while journal.reader().tail().first_offset <= offset {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        if let Some((_, lines)) = expected.iter().find(|(at, _)| *at == offset) {
            assert_eq!(&open_lines(&journal, offset), lines, "with offset {offset} gone");
        }
    }
    assert!(read_all(&journal).is_empty());
    let last = open_lines(&journal, 7);
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    assert_eq!(open_lines(&journal, 7), last, "it outlives a restart");
    let records = journal.open_state(7).unwrap();
    assert!(records.iter().all(|record| record.offset == 0 && record.kind == sidecar_core::RecordKind::Announcement));
}

#[tokio::test]
async fn a_large_announcement_comes_in_records_of_bounded_size() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let mut next = 1;
    for part in 0..10 {
        let events: Vec<Event<'_>> =
            (0..500).flat_map(|id| [connected(part * 500 + id), channel(part * 500 + id)]).collect();
        pool.append(next, &events).await;
        next += events.len() as u64;
    }
    let closed =
        ChannelClosed { downstream_id: 1.into(), channel_id: 1.into(), timestamp: UnixMillis(NOW), reason: text("") };
    pool.append(next, &[Event::ChannelClosed(closed)]).await;
    let records = journal.open_state(u64::MAX).unwrap();
    assert!(records.len() > 1);
    assert!(records.iter().all(|record| record.frames.len() <= sidecar_journal::MAX_RUN_BYTES));
    let kinds = kinds(&records);
    assert_eq!(kinds.len(), 1 + 2 + 5000 + 4999);
    assert_eq!((kinds[1], kinds[kinds.len() - 1]), (EventKind::AnnounceBegin, EventKind::AnnounceEnd));
}
