//! Looking at a journal while its sidecar runs.

use std::time::Duration;

use sidecar_core::Cursor;
use sidecar_journal::{JournalError, offline};

use crate::harness::{Bench, Publisher, hello, shares, until};

#[tokio::test]
async fn numbers_check_and_export_of_a_running_journal() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    for first in (1..=100).step_by(10) {
        pool.append(first, &shares(first, 10)).await;
    }
    let cursor = Cursor { journal_id: journal.id(), offset: 3 };
    journal.set_cursor("history", cursor);
    until(|| journal.cursor("history").unwrap() == Some(cursor)).await;

    let stats = offline::stats(&bench.path()).unwrap();
    assert_eq!((stats.records, stats.cumulative_events, stats.head_offset), (11, 101, 11));
    assert_eq!((stats.cursors[0].sink.as_str(), stats.cursors[0].pending_events), ("history", 80));
    assert_eq!((stats.journal_id.clone(), stats.open_sessions), (journal.id().to_string(), 1));

    let mut last = (0, 0);
    let report = offline::check(&bench.path(), &mut |done, all| last = (done, all)).unwrap();
    assert_eq!((report.records, report.events, report.faults), (11, 101, 0), "{:?}", report.findings);
    assert_eq!(last, (11, 11));

    let mut out = Vec::new();
    assert_eq!(offline::export(&bench.path(), 3, &mut out).unwrap(), 90);
    let lines: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
    assert_eq!(lines.len(), 90);
    assert!(lines[0].contains("\"share_submitted\"") && lines[0].contains("\"sequence\":11"), "{}", lines[0]);
    // The sidecar was not disturbed.
    pool.append(101, &shares(101, 1)).await;
    journal.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(offline::stats(&bench.path()).unwrap().cumulative_events, 102, "also when it does not run");
}

#[test]
fn a_missing_file_is_named() {
    let bench = Bench::new();
    let error = offline::stats(&bench.path()).unwrap_err();
    assert!(matches!(error, JournalError::File { path, .. } if path == bench.path()));
    assert!(!bench.path().exists());
}
