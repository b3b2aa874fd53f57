//! Delivery rule 19: damage costs what it hit, is counted, and the journal goes on.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use sidecar_core::Cursor;
use sidecar_journal::Journal;

use crate::harness::{Bench, Publisher, hello, numbers, read_all, shares, until};

const PAGE: u64 = 16 << 10;

/// A journal of 40 records with 500 shares each behind their session's start, closed.
async fn filled() -> Bench {
    let mut bench = Bench::new();
    bench.config.recent_bytes = 0;
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    for first in (1..=20_000).step_by(500) {
        pool.append(first, &shares(first, 500)).await;
    }
    let cursor = Cursor { journal_id: journal.id(), offset: 30 };
    journal.set_cursor("history", cursor);
    until(|| journal.cursor("history").unwrap() == Some(cursor)).await;
    journal.close(Duration::from_secs(10)).await.unwrap();
    bench
}

/// Where these bytes stand in the file.
fn find(path: &Path, wanted: &[u8]) -> u64 {
    let mut bytes = Vec::new();
    fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap() as u64
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn frame(sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::harness::share(sequence).encode(&mut bytes);
    bytes
}

#[tokio::test]
async fn a_flipped_bit_costs_one_record_and_is_counted_once() {
    let bench = filled().await;
    let at = find(&bench.path(), &frame(5_100));
    overwrite(&bench.path(), at + 20, &[0xff]);
    let (journal, report) = bench.open_report();
    assert_eq!(report.salvage, None, "damage inside is found on access, not at the start");
    for _ in 0..2 {
        let records = read_all(&journal);
        let expected: Vec<u64> = (1..=20_000).filter(|number| !(5_001..=5_500).contains(number)).collect();
        assert_eq!(numbers(&records, 1), expected);
        let lost: Vec<u64> = records
            .windows(2)
            .map(|pair| pair[1].cumulative_events - u64::from(pair[1].count) - pair[0].cumulative_events)
            .filter(|lost| *lost > 0)
            .collect();
        assert_eq!(lost, [500], "the counts tell the loss");
    }
    assert_eq!(journal.stats().damaged_events, 500);
    let pool = Publisher::open(&journal, hello("pool", 1, 20_001)).await;
    pool.append(20_001, &shares(20_001, 1)).await;
}

#[tokio::test]
async fn a_torn_page_costs_the_records_on_it() {
    let bench = filled().await;
    // The page that holds this frame also links to the record's next page.
    let at = find(&bench.path(), &frame(9_400));
    overwrite(&bench.path(), at / PAGE * PAGE, &[0xa5; PAGE as usize]);
    let journal = bench.open();
    let records = read_all(&journal);
    let read = numbers(&records, 1);
    assert!(read.len() < 20_000 && read.len() >= 15_000, "{} read", read.len());
    assert!(read.contains(&1) && read.contains(&20_000));
    assert!(journal.stats().damaged_events as usize >= 20_000 - read.len());
    let report = sidecar_journal::offline::check(&bench.path(), &mut |_, _| ()).unwrap();
    assert!(report.faults > 0);
}

#[tokio::test]
async fn what_is_open_is_told_without_the_part_that_cannot_be_read() {
    let mut bench = Bench::new();
    bench.config.recent_bytes = 0;
    let journal = bench.open();
    for id in 1..=3 {
        let pool = Publisher::open(&journal, hello(&format!("pool-{id}"), id, 1)).await;
        let mut events = vec![stats_sv2::Event::AnnounceBegin(stats_sv2::event::AnnounceBegin {
            timestamp: stats_sv2::UnixMillis(1),
        })];
        events.extend(shares(10_000 * id, 3_000));
        pool.append(1, &events).await;
    }
    journal.close(Duration::from_secs(10)).await.unwrap();
    let at = find(&bench.path(), &frame(21_500));
    overwrite(&bench.path(), at / PAGE * PAGE, &[0xa5; PAGE as usize]);
    let journal = bench.open();
    let open = journal.open_state(u64::MAX).unwrap();
    let sessions: std::collections::BTreeSet<u64> = open.iter().map(|record| record.session_id).collect();
    assert_eq!(sessions, [1, 2, 3].into());
}

async fn goes_on(bench: &Bench, journal: &Journal, committed: u64) {
    let pool = Publisher::open(journal, hello("pool", 1, committed + 1)).await;
    assert_eq!(pool.opened.committed_sequence, committed, "nothing that was acknowledged is asked for again");
    pool.append(committed + 1, &shares(committed + 1, 10)).await;
    let names: Vec<String> = fs::read_dir(bench.folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("journal.db.damaged-")), "{names:?}");
}

#[tokio::test]
async fn a_truncated_file_is_set_aside_and_what_is_left_is_taken_over() {
    let bench = filled().await;
    let old_id = bench.open().id();
    let length = fs::metadata(bench.path()).unwrap().len();
    fs::File::options().write(true).open(bench.path()).unwrap().set_len(length / 2).unwrap();
    let (journal, report) = bench.open_report();
    let salvage = report.salvage.expect("the file is damaged");
    assert!(salvage.set_aside.exists() && salvage.set_aside != bench.path());
    assert_ne!(journal.id(), old_id);
    let records = read_all(&journal);
    assert!(records.len() as u64 == salvage.records && salvage.records > 5, "{salvage:?}");
    let events: u64 = records.iter().map(|record| u64::from(record.count)).sum();
    assert_eq!(events + salvage.events_lost, 20_001, "what is lost is counted: {salvage:?}");
    assert_eq!(journal.cursor("history").unwrap(), Some(Cursor { journal_id: journal.id(), offset: 30 }));
    goes_on(&bench, &journal, 20_000).await;
    let head = *journal.watch_head().borrow();
    assert!(head.offset > 41, "offsets that sinks may have seen do not come again");
    // The new file is whole.
    journal.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(bench.open_report().1.salvage, None);
}

#[tokio::test]
async fn a_file_of_garbage_is_set_aside_and_a_new_journal_begun() {
    let bench = filled().await;
    fs::write(bench.path(), vec![0x5a; 100_000]).unwrap();
    let (journal, report) = bench.open_report();
    let salvage = report.salvage.expect("the file is damaged");
    assert_eq!((salvage.records, salvage.sessions), (0, 0));
    let pool = Publisher::open(&journal, hello("pool", 1, 20_001)).await;
    assert!(pool.opened.announce);
    pool.append(20_001, &shares(20_001, 10)).await;
}

#[tokio::test]
async fn a_damaged_table_of_sessions_is_found_at_the_start() {
    let bench = filled().await;
    let at = find(&bench.path(), b"test 1.0").max(1);
    let page = at / PAGE * PAGE;
    overwrite(&bench.path(), page, &[0xee; 64]);
    let (journal, report) = bench.open_report();
    assert!(report.salvage.is_some());
    // Whose events the records are can no longer be said.
    assert_eq!(report.salvage.unwrap().events_lost, 20_001);
    let pool = Publisher::open(&journal, hello("pool", 1, 20_001)).await;
    pool.append(20_001, &shares(20_001, 1)).await;
}
