//! kill -9 in a loop under load: what was acknowledged is stored, once, without gaps.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sidecar_core::SystemClock;
use sidecar_journal::{Journal, JournalConfig};

use crate::harness::{Publisher, hello, numbers, read_all, run, shares};

const FOLDER: &str = "JOURNAL_CRASH_TEST_FOLDER";

fn config(folder: PathBuf) -> JournalConfig {
    let mut config = JournalConfig::new(folder.join("journal.db"));
    config.max_delay = std::time::Duration::from_millis(2);
    config.ballast_bytes = 0;
    config
}

/// Runs in the child only: appends for ever and says what is acknowledged.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (journal, report) = Journal::open(config(folder.into()), Arc::new(SystemClock)).unwrap();
    assert_eq!(report.salvage, None);
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let mut acknowledged = pool.writer().acknowledged();
    let teller = tokio::spawn(async move {
        while acknowledged.changed().await.is_ok() {
            let sequence = *acknowledged.borrow_and_update();
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {sequence}").unwrap();
            out.flush().unwrap();
        }
    });
    let mut next = pool.opened.committed_sequence + 1;
    loop {
        let count = 1 + next % 997;
        pool.writer().append(run(&journal, next, &shares(next, count)).await).await.unwrap();
        next += count;
        assert!(!teller.is_finished());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_nine() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut told = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        while heard < 5 + 3 * round {
            let line = lines.next().expect("the child should go on").unwrap();
            if let Some(sequence) = line.split("ack ").nth(1) {
                told = sequence.parse().unwrap();
                heard += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            if let Some(Ok(sequence)) = line.split("ack ").nth(1).map(str::parse) {
                told = sequence;
            }
        }
        let (journal, report) = Journal::open(config(folder.path().to_owned()), Arc::new(SystemClock)).unwrap();
        assert_eq!(report.salvage, None);
        let session = &journal.sessions()[0];
        assert!(session.committed_sequence >= told, "{} of {told}", session.committed_sequence);
        let stored = numbers(&read_all(&journal), 1);
        assert_eq!(stored, (1..=session.committed_sequence).collect::<Vec<_>>());
        drop(journal);
        let report = sidecar_journal::offline::check(&folder.path().join("journal.db"), &mut |_, _| ()).unwrap();
        assert_eq!(report.faults, 0, "{:?}", report.findings);
    }
}
