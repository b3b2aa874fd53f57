//! Delivery rule 18: what leaves, when, and what a lagging sink can still know.

use std::time::Duration;

use sidecar_core::Cursor;
use sidecar_journal::{Journal, JournalHealth, WhenFull};

use crate::harness::{Bench, Publisher, hello, read_all, run, shares, until, within};

const MAX_BYTES: u64 = 4 << 20;

/// Appends shares worth about so many bytes, in runs of 34,000 bytes.
async fn fill(pool: &Publisher, bytes: u64) -> u64 {
    let mut next = *pool.writer().acknowledged().borrow() + 1;
    let last = next + bytes / 34;
    while next < last {
        pool.writer().append(run(&pool.journal, next, &shares(next, 1000)).await).await.unwrap();
        next += 1000;
    }
    pool.acknowledged(next - 1).await;
    next - 1
}

fn disk_bytes(bench: &Bench) -> u64 {
    let files = std::fs::read_dir(bench.folder.path()).unwrap().map(Result::unwrap);
    files
        .filter(|file| {
            file.file_name().to_string_lossy().ends_with(".db") || file.file_name().to_string_lossy().ends_with("-wal")
        })
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn the_oldest_leave_at_the_size_limit_and_the_disk_stays_within_it() {
    let mut bench = Bench::new();
    bench.config.max_bytes = MAX_BYTES;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let mut most = 0;
    for _ in 0..12 {
        fill(&pool, 1 << 20).await;
        most = most.max(disk_bytes(&bench));
    }
    // A group in flight and the log's own headers come on top.
    assert!(most < MAX_BYTES + (1 << 20), "{most} bytes on disk");
    let tail = journal.reader().tail();
    let records = read_all(&journal);
    assert!(tail.first_offset > 1);
    assert_eq!(records[0].offset, tail.first_offset);
    assert_eq!(records[0].cumulative_events - u64::from(records[0].count), tail.cumulative_before);
    let kept: u64 = records.iter().map(|record| u64::from(record.count)).sum();
    let stats = journal.stats();
    assert_eq!(tail.cumulative_before + kept, stats.cumulative_events);
    assert_eq!(stats.retired_events, tail.cumulative_before);
    // Space that is in use is worth something: at least half of the limit is kept.
    let bytes: usize = records.iter().map(|record| record.frames.len()).sum();
    assert!(bytes as u64 > MAX_BYTES / 2, "{bytes} bytes kept");
}

#[tokio::test]
async fn a_cursor_behind_the_tail_knows_how_much_it_missed() {
    let mut bench = Bench::new();
    bench.config.max_bytes = MAX_BYTES;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    fill(&pool, 200_000).await;
    let cursor = Cursor { journal_id: journal.id(), offset: 3 };
    let cumulative = journal.cumulative_at(3).unwrap();
    journal.set_cursor("lag", cursor);
    until(|| journal.cursor("lag").unwrap() == Some(cursor)).await;
    fill(&pool, 3 * MAX_BYTES).await;
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    let tail = journal.reader().tail();
    assert!(tail.first_offset > 4);
    assert_eq!(journal.cumulative_at(3).unwrap(), cumulative);
    assert_eq!(journal.cumulative_at(tail.first_offset - 1).unwrap(), tail.cumulative_before);
    let first = &journal.reader().read(3, 1, 1).unwrap()[0];
    assert_eq!(first.cumulative_events - u64::from(first.count), tail.cumulative_before);
}

#[tokio::test]
async fn records_leave_at_their_age() {
    let mut bench = Bench::new();
    bench.config.max_age = Duration::from_secs(3600);
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    pool.append(1, &shares(1, 10)).await;
    bench.pass(Duration::from_secs(3000));
    pool.append(11, &shares(11, 10)).await;
    assert_eq!(read_all(&journal).len(), 3);
    bench.pass(Duration::from_secs(1000));
    // Without any event to bring it about.
    until(|| journal.reader().tail().first_offset == 3).await;
    bench.pass(Duration::from_secs(3000));
    until(|| journal.reader().tail().first_offset == 4).await;
    assert_eq!(journal.reader().tail().cumulative_before, 21);
    pool.append(21, &shares(21, 1)).await;
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    assert_eq!(read_all(&journal)[0].offset, 4, "offsets do not come again");
    assert_eq!(journal.stats().cumulative_events, 22);
}

#[tokio::test]
async fn taken_records_leave_early_only_when_every_sink_has_them() {
    let mut bench = Bench::new();
    bench.config.keep_taken = Some(Duration::ZERO);
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    for first in 1..=9 {
        pool.append(first, &shares(first, 1)).await;
    }
    let note = |sink: &'static str, offset| {
        let cursor = Cursor { journal_id: journal.id(), offset };
        journal.set_cursor(sink, cursor);
        let journal = journal.clone();
        async move { until(|| journal.cursor(sink).unwrap() == Some(cursor)).await }
    };
    bench.pass(Duration::from_secs(10));
    pool.append(10, &shares(10, 1)).await;
    assert_eq!(journal.reader().tail().first_offset, 1, "never with no sinks");
    note("slow", 4).await;
    note("fast", 8).await;
    bench.pass(Duration::from_secs(10));
    until(|| journal.reader().tail().first_offset == 5).await;
    journal.forget_sink("slow");
    until(|| journal.cursor("slow").unwrap().is_none()).await;
    bench.pass(Duration::from_secs(10));
    until(|| journal.reader().tail().first_offset == 9).await;
}

#[tokio::test]
async fn with_block_nothing_is_acknowledged_until_the_sinks_have_caught_up() {
    let mut bench = Bench::new();
    bench.config.max_bytes = MAX_BYTES;
    bench.config.when_full = WhenFull::Block;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let note = |offset| journal.set_cursor("slow", Cursor { journal_id: journal.id(), offset });
    note(1);
    let mut health = journal.watch_health();
    let filling = async {
        fill(&pool, 3 * MAX_BYTES).await;
    };
    let catching_up = async {
        within(health.wait_for(|health| matches!(health, JournalHealth::Blocked { .. }))).await.unwrap();
        assert_eq!(journal.reader().tail().first_offset, 2, "only what was taken has left");
        // Dead letters of a sink must get through: they come before its cursor.
        let letter = sidecar_journal::DeadLetter {
            sink: "slow".to_owned(),
            id: sidecar_core::StableId { publisher: "pool".into(), session_id: 1, derived: false, sequence: 1 },
            received_at: stats_sv2::UnixMillis(1),
            reason: String::new(),
            frame: bytes::Bytes::new(),
        };
        within(journal.insert_dead_letters(vec![letter])).await.unwrap();
        let mut head = journal.watch_head();
        loop {
            note(head.borrow_and_update().offset);
            within(head.changed()).await.unwrap();
        }
    };
    tokio::select! {
        () = filling => {}
        () = catching_up => {}
    }
    within(health.wait_for(|health| *health == JournalHealth::Healthy)).await.unwrap();
    journal.close(Duration::from_secs(10)).await.unwrap();
    let records = read_all(&bench.open());
    assert!(records.windows(2).all(|pair| pair[0].offset + 1 == pair[1].offset));
}

#[tokio::test]
async fn a_blocked_journal_closes_without_what_it_could_not_take() {
    let mut bench = Bench::new();
    bench.config.max_bytes = MAX_BYTES;
    bench.config.when_full = WhenFull::Block;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    journal.set_cursor("slow", Cursor { journal_id: journal.id(), offset: 1 });
    let mut health = journal.watch_health();
    tokio::select! {
        _ = fill(&pool, 3 * MAX_BYTES) => panic!("it should have been blocked"),
        blocked = within(health.wait_for(|health| matches!(health, JournalHealth::Blocked { .. }))) => drop(blocked.unwrap()),
    }
    let acknowledged = *pool.writer().acknowledged().borrow();
    let closed = journal.close(Duration::from_millis(50)).await;
    assert!(matches!(closed, Err(sidecar_journal::JournalError::NotFlushed { events }) if events > 0));
    bench.config.when_full = WhenFull::DropOldest;
    let journal = bench.open();
    let again = Publisher::open(&journal, hello("pool", 1, 1)).await;
    assert_eq!(again.opened.committed_sequence, acknowledged);
}

#[tokio::test]
async fn a_lower_limit_gives_the_space_back() {
    let mut bench = Bench::new();
    bench.config.max_bytes = 8 * MAX_BYTES;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    fill(&pool, 6 * MAX_BYTES).await;
    journal.close(Duration::from_secs(10)).await.unwrap();
    assert!(disk_bytes(&bench) > 6 * MAX_BYTES);
    bench.config.max_bytes = MAX_BYTES;
    let journal: Journal = bench.open();
    within(async {
        while disk_bytes(&bench) > 2 * MAX_BYTES {
            bench.pass(Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    until(|| journal.stats().bytes <= MAX_BYTES).await;
}
