//! `journal dead-letters`, on a journal that another process has open.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sidecar_core::{StableId, SystemClock};
use sidecar_journal::dead_letter::INGEST;
use sidecar_journal::{DeadLetter, Journal, JournalConfig};
use stats_sv2::event::Heartbeat;
use stats_sv2::{Event, UnixMillis};

use super::process::{code, output, text};

fn letter(sink: &str, sequence: u64) -> DeadLetter {
    let mut frame = Vec::new();
    Event::Heartbeat(Heartbeat { timestamp: UnixMillis(9), flags: 0 }).encode(&mut frame);
    DeadLetter {
        sink: sink.to_owned(),
        id: StableId { publisher: "pool-a".into(), session_id: 1, derived: false, sequence },
        received_at: UnixMillis(1_700_000_000_000),
        reason: format!("refused {sequence}"),
        frame: frame.into(),
    }
}

fn listed(path: &Path, more: &[&str]) -> String {
    let args = [&["journal", "dead-letters", "--path", path.to_str().unwrap()], more].concat();
    let listed = output(&args);
    assert_eq!(code(listed.status), 0, "{}", text(&listed.stderr));
    text(&listed.stdout)
}

#[test]
fn dead_letters_are_listed_while_the_journal_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let config = JournalConfig { ballast_bytes: 0, ..JournalConfig::new(&path) };
    let (journal, _) = Journal::open(config, Arc::new(SystemClock)).unwrap();
    assert_eq!(listed(&path, &[]), "no dead letters\n");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let letters: Vec<_> = (1..=60).map(|number| letter("history", number)).chain([letter(INGEST, 61)]).collect();
    runtime.block_on(journal.insert_dead_letters(letters)).unwrap();

    let table = listed(&path, &[]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 52, "a header, 50 letters, and that there are more: {table}");
    assert!(lines[0].contains("received") && lines[0].contains("reason"), "{table}");
    for part in ["2023-11-14T22:13:20Z", INGEST, "heartbeat", "pool-a", "refused 61"] {
        assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
    }
    assert!(lines[51].contains("newest 50"), "{table}");
    let few = listed(&path, &["--sink", "history", "--limit", "2"]);
    assert!(few.contains("refused 60") && few.contains("refused 59") && !few.contains("refused 58"), "{few}");
    assert!(!few.contains("refused 61"), "{few}");
    assert_eq!(listed(&path, &["--sink", INGEST]).lines().count(), 2);

    let lines = listed(&path, &["--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 61);
    assert_eq!((&lines[1]["sink"], &lines[1]["reason"]), (&"history".into(), &"refused 60".into()));
    let event = &lines[1]["event"];
    assert_eq!((&event["kind"], &event["sequence"], &event["timestamp"]), (&"heartbeat".into(), &60.into(), &9.into()));

    let nobody = listed(&path, &["--sink", "histroy"]);
    assert_eq!(nobody, "no dead letters of histroy; there are some of (ingest), history\n");
    let stats = text(&output(&["journal", "stats", "--path", path.to_str().unwrap()]).stdout);
    assert!(stats.contains("journal dead-letters lists them"), "{stats}");
    runtime.block_on(journal.close(std::time::Duration::from_secs(10))).unwrap();
}
