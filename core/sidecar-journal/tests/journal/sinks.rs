//! Cursors and dead letters: delivery rules 16 and 26.

use std::time::Duration;

use sidecar_core::{Cursor, JournalId, StableId};
use sidecar_journal::{DeadLetter, Journal, JournalError, KeptLetter, offline};
use stats_sv2::{Role, UnixMillis};

use crate::harness::{Bench, NOW, Publisher, hello, read_all, shares, until};

async fn fill(journal: &Journal, records: u64) {
    let pool = Publisher::open(journal, hello("pool", 1, 1)).await;
    let from = pool.opened.committed_sequence + 1;
    for first in (from..from + records * 10).step_by(10) {
        pool.append(first, &shares(first, 10)).await;
    }
}

#[tokio::test]
async fn cursors_are_kept_and_forgotten() {
    let bench = Bench::new();
    let journal = bench.open();
    fill(&journal, 5).await;
    let at = |offset| Cursor { journal_id: journal.id(), offset };
    assert_eq!(journal.cursor("history").unwrap(), None);
    journal.set_cursor("history", at(2));
    journal.set_cursor("history", at(3));
    journal.set_cursor("log", at(4));
    journal.set_cursor("log", Cursor { journal_id: JournalId(1), offset: 6 });
    journal.set_cursor("gone", at(1));
    journal.forget_sink("gone");
    until(|| journal.sinks() == ["history"]).await;
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    assert_eq!(journal.sinks(), ["history"]);
    assert_eq!(journal.cursor("history").unwrap(), Some(at(3)));
    assert_eq!(journal.cursor("gone").unwrap(), None);
    // The last word on it was of another journal, which says nothing here.
    assert_eq!(journal.cursor("log").unwrap(), None);
}

#[tokio::test]
async fn a_cursor_is_written_without_any_event() {
    let bench = Bench::new();
    let journal = bench.open();
    fill(&journal, 1).await;
    let cursor = Cursor { journal_id: journal.id(), offset: 2 };
    journal.set_cursor("history", cursor);
    until(|| journal.cursor("history").unwrap() == Some(cursor)).await;
}

/// Delivery rule 16: an older copy of the file is another journal, or its new records would pass for taken ones.
#[tokio::test]
async fn a_journal_older_than_its_cursors_gets_a_new_name() {
    let bench = Bench::new();
    let journal = bench.open();
    fill(&journal, 5).await;
    let old = journal.id();
    journal.set_cursor("history", Cursor { journal_id: old, offset: 6 });
    journal.close(Duration::from_secs(10)).await.unwrap();
    {
        let file = rusqlite::Connection::open(bench.path()).unwrap();
        file.execute_batch(
            "DELETE FROM batches WHERE offset > 3; UPDATE journal SET head_offset = 3, head_cumulative = 21",
        )
        .unwrap();
    }
    bench.pass(Duration::from_secs(60));
    let (journal, report) = bench.open_report();
    assert!(report.renamed);
    assert_ne!(journal.id(), old);
    assert_eq!(
        journal.cursor("history").unwrap(),
        Some(Cursor { journal_id: old, offset: 6 }),
        "so it starts at the oldest"
    );
    journal.close(Duration::from_secs(10)).await.unwrap();
    // And what it says of its sessions from here on is no record that sinks know.
    bench.pass(Duration::from_secs(60));
    let (again, report) = bench.open_report();
    Publisher::open(&again, hello("pool", 2, 1)).await;
    let derived = |id| {
        let records = read_all(&again);
        let of_kind = |record: &&std::sync::Arc<sidecar_core::Record>| record.kind == sidecar_core::RecordKind::Derived;
        records
            .iter()
            .filter(of_kind)
            .filter(|record| record.session_id == id)
            .map(|record| record.first_sequence)
            .max()
    };
    assert_eq!(derived(1), Some(NOW + 60_001), "the end of the first session");
    assert!(!report.renamed && again.id() == report.journal_id);
}

fn letter(sink: &str, sequence: u64, bytes: usize) -> DeadLetter {
    DeadLetter {
        sink: sink.to_owned(),
        id: StableId { publisher: "pool".into(), session_id: 1, derived: false, sequence },
        received_at: UnixMillis(NOW),
        reason: "no such table".to_owned(),
        frame: vec![sequence as u8; bytes].into(),
    }
}

#[tokio::test]
async fn dead_letters_are_durable_and_come_once() {
    let bench = Bench::new();
    let journal = bench.open();
    journal.insert_dead_letters(vec![letter("a", 1, 10), letter("b", 1, 10)]).await.unwrap();
    journal.insert_dead_letters(vec![letter("a", 1, 10), letter("a", 2, 10)]).await.unwrap();
    let all = || journal.dead_letters(None, 100).unwrap();
    assert_eq!(all(), [letter("a", 2, 10), letter("b", 1, 10), letter("a", 1, 10)]);
    assert_eq!(journal.dead_letters(Some("a"), 1).unwrap(), [letter("a", 2, 10)]);
    assert_eq!(journal.stats().dead_letters, 3);
}

#[tokio::test]
async fn dead_letters_are_seen_from_outside_while_the_journal_is_in_use() {
    let bench = Bench::new();
    let journal = bench.open();
    let _pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let read = |sink: Option<&str>, limit: u64| {
        let mut kept = Vec::new();
        offline::dead_letters(&bench.path(), sink, limit, &mut |letter| {
            kept.push(letter);
            Ok(())
        })
        .unwrap();
        kept
    };
    assert_eq!(read(None, 10), []);
    // More than one read has, of two sinks in turn.
    let of = |sequence: u64| letter(if sequence.is_multiple_of(3) { "b" } else { "a" }, sequence, 10);
    journal.insert_dead_letters((1..=300).map(of).collect()).await.unwrap();
    let mut stranger = letter("c", 1, 10);
    stranger.id.session_id = 99;
    journal.insert_dead_letters(vec![stranger.clone()]).await.unwrap();

    let all = read(None, u64::MAX);
    let letters: Vec<DeadLetter> = all.iter().map(|kept| kept.letter.clone()).collect();
    assert_eq!(letters, journal.dead_letters(None, usize::MAX).unwrap());
    assert_eq!((all.len(), all[0].role, all[1].role), (301, None, Some(Role::Pool)));
    let numbers = |kept: Vec<KeptLetter>| kept.iter().map(|kept| kept.letter.id.sequence).collect::<Vec<_>>();
    assert_eq!(numbers(read(Some("b"), 70)), (1..=100).rev().take(70).map(|third| third * 3).collect::<Vec<_>>());
    assert_eq!(numbers(read(Some("b"), 1_000)).len(), 100);
    assert_eq!(offline::sinks_with_dead_letters(&bench.path()).unwrap(), ["a", "b", "c"]);
    let mut seen = 0;
    let ended = offline::dead_letters(&bench.path(), None, 10, &mut |_| {
        seen += 1;
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    assert!(matches!(ended, Err(JournalError::Export(_))) && seen == 1);
}

#[tokio::test]
async fn dead_letters_are_bounded_and_the_oldest_expire() {
    let mut bench = Bench::new();
    bench.config.dead_letter_bytes = 10_000;
    let journal = bench.open();
    for first in (1..=100).step_by(5) {
        let letters = (first..first + 5).map(|sequence| letter("a", sequence, 1000)).collect();
        journal.insert_dead_letters(letters).await.unwrap();
        assert!(journal.stats().dead_letter_bytes <= 10_000);
    }
    let kept: Vec<u64> = journal.dead_letters(None, 1000).unwrap().iter().map(|letter| letter.id.sequence).collect();
    assert_eq!(kept, (92..=100).rev().collect::<Vec<_>>());
    let stats = journal.stats();
    assert_eq!((stats.dead_letters, stats.dead_letters_expired), (9, 91));
}

#[tokio::test]
async fn a_second_process_is_told_that_the_journal_is_in_use() {
    let bench = Bench::new();
    let journal = bench.open();
    let second = Journal::open(bench.config.clone(), bench.clock.clone());
    assert!(matches!(second, Err(JournalError::InUse { path }) if path == bench.path()));
    journal.close(Duration::from_secs(10)).await.unwrap();
    let third = bench.open();
    assert!(matches!(journal.append_nothing().await, Err(JournalError::Closed)), "the first stays closed");
    drop(third);
    fill(&bench.open(), 1).await;
    assert_eq!(read_all(&bench.open()).len(), 2, "the last handle releases the file");
}

trait AppendNothing {
    async fn append_nothing(&self) -> Result<(), JournalError>;
}

impl AppendNothing for Journal {
    async fn append_nothing(&self) -> Result<(), JournalError> {
        self.insert_dead_letters(vec![letter("a", 1, 1)]).await
    }
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_alone() {
    let bench = Bench::new();
    rusqlite::Connection::open(bench.path()).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let refused = Journal::open(bench.config.clone(), bench.clock.clone());
    assert!(matches!(refused, Err(JournalError::NotAJournal { .. })));

    let bench = Bench::new();
    bench.open().close(Duration::from_secs(10)).await.unwrap();
    rusqlite::Connection::open(bench.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Journal::open(bench.config.clone(), bench.clock.clone());
    assert!(matches!(refused, Err(JournalError::NewerSchema { found: 99, known: 1, .. })));
}
