//! The kit passes a sink that keeps the contract and fails each way of breaking it.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sidecar_core::{Batch, BoxFuture, Cursor, JournalId, RecordKind, Sink, SinkError, SinkStart, StableId};
use stats_sv2::{EventKind, UnixMillis};

use crate::{Contract, Guarantee, Stored};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    DoublesWhatComesAgain,
    WritesAtClose,
    IgnoresTheRoute,
    IgnoresTheSkip,
    Reorders,
    StoresAnnouncements,
    LosesDerivedEvents,
    LosesUnknownEvents,
    CannotCloseUnstarted,
    ForgetsAtStart,
    ForgetsAtReopen,
    LosesAtMaintain,
    DropsHostileText,
    StandsTooFar,
}

/// Keeps ids as lines of a file.
struct IdFile {
    path: PathBuf,
    fault: Fault,
    started: bool,
    known: HashSet<StableId>,
    cursor: Option<Cursor>,
    waiting: String,
}

fn read(path: &Path) -> Vec<StableId> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (publisher, session_id, derived, sequence): (String, u64, bool, u64) =
                serde_json::from_str(line).unwrap();
            StableId { publisher: publisher.into(), session_id, derived, sequence }
        })
        .collect()
}

fn no() -> SinkError {
    SinkError::Transient { what: "no".to_owned(), source: None }
}

impl IdFile {
    fn new(path: PathBuf, fault: Fault) -> Self {
        Self { path, fault, started: false, known: HashSet::new(), cursor: None, waiting: String::new() }
    }

    fn cursor_path(&self) -> PathBuf {
        self.path.with_extension("cursor")
    }

    fn write(&mut self) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(std::mem::take(&mut self.waiting).as_bytes()).unwrap();
        if let Some(cursor) = self.cursor {
            fs::write(self.cursor_path(), format!("{} {}", cursor.journal_id.0, cursor.offset)).unwrap();
        }
    }

    fn take(&mut self, batch: &Batch) {
        let all = batch.records().iter().flat_map(|record| record.envelopes());
        let whole = batch.after(0);
        let ids: Vec<StableId> = match self.fault {
            Fault::IgnoresTheRoute => all.map(|envelope| envelope.stable_id()).collect(),
            Fault::IgnoresTheSkip if batch.skip() > 0 => {
                let unskipped =
                    Batch::new(batch.journal_id(), batch.records().to_vec(), Arc::new(batch.route().clone()));
                unskipped.unwrap().envelopes().map(|envelope| envelope.stable_id()).collect()
            }
            fault => whole
                .envelopes()
                .filter(|envelope| match fault {
                    Fault::StoresAnnouncements => true,
                    Fault::LosesDerivedEvents => envelope.record.kind == RecordKind::Events,
                    Fault::LosesUnknownEvents => !matches!(envelope.kind(), EventKind::Unknown(_)),
                    Fault::DropsHostileText => !envelope.record.publisher.contains('\n'),
                    _ => envelope.record.kind != RecordKind::Announcement,
                })
                .map(|envelope| envelope.stable_id())
                .collect(),
        };
        let ids = if self.fault == Fault::Reorders { ids.into_iter().rev().collect() } else { ids };
        for id in ids {
            if self.known.insert(id.clone()) || self.fault == Fault::DoublesWhatComesAgain {
                let line = serde_json::to_string(&(&*id.publisher, id.session_id, id.derived, id.sequence)).unwrap();
                self.waiting.push_str(&line);
                self.waiting.push('\n');
            }
        }
        self.cursor = batch.cursor().or(self.cursor);
        if self.fault != Fault::WritesAtClose {
            self.write();
        }
    }
}

impl Sink for IdFile {
    fn start(&mut self) -> BoxFuture<'_, Result<SinkStart, SinkError>> {
        self.started = true;
        if self.fault == Fault::ForgetsAtStart {
            drop(fs::remove_file(&self.path));
        }
        self.known = read(&self.path).into_iter().collect();
        self.cursor = fs::read_to_string(self.cursor_path()).ok().map(|text| {
            let (journal, offset) = text.split_once(' ').unwrap();
            let offset: u64 = offset.parse().unwrap();
            Cursor {
                journal_id: JournalId(journal.parse().unwrap()),
                offset: if self.fault == Fault::StandsTooFar { offset + 1 } else { offset },
            }
        });
        let cursor = self.cursor;
        Box::pin(async move { Ok(SinkStart { cursor, ..SinkStart::default() }) })
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            self.take(&batch);
            Ok(())
        })
    }

    fn maintain(&mut self, _: UnixMillis) -> BoxFuture<'_, Result<(), SinkError>> {
        if self.fault == Fault::LosesAtMaintain {
            drop(fs::remove_file(&self.path));
        }
        Box::pin(async { Ok(()) })
    }

    fn reopen(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        if self.fault == Fault::ForgetsAtReopen {
            drop(fs::remove_file(&self.path));
        }
        Box::pin(async { Ok(()) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        let refused = self.fault == Fault::CannotCloseUnstarted && !self.started;
        if !self.waiting.is_empty() {
            self.write();
        }
        Box::pin(async move { if refused { Err(no()) } else { Ok(()) } })
    }
}

fn passes(fault: Fault, guarantee: Guarantee, counts: bool) -> bool {
    let contract = Contract::new(
        guarantee,
        move |folder| Box::new(IdFile::new(folder.join("ids"), fault)),
        move |folder| {
            let ids = read(&folder.join("ids"));
            if counts { Stored::Count(ids.len() as u64) } else { Stored::Ids(ids) }
        },
    )
    .cases(4);
    catch_unwind(AssertUnwindSafe(|| contract.check())).is_ok()
}

#[test]
fn a_good_sink_passes() {
    assert!(passes(Fault::None, Guarantee::ExactlyOnce, false));
    assert!(passes(Fault::None, Guarantee::ExactlyOnce, true));
    assert!(passes(Fault::DoublesWhatComesAgain, Guarantee::AtLeastOnce, false));
    assert!(passes(Fault::DoublesWhatComesAgain, Guarantee::AtLeastOnce, true));
}

#[test]
fn every_fault_is_found() {
    for fault in [
        Fault::DoublesWhatComesAgain,
        Fault::WritesAtClose,
        Fault::IgnoresTheRoute,
        Fault::IgnoresTheSkip,
        Fault::StoresAnnouncements,
        Fault::LosesDerivedEvents,
        Fault::LosesUnknownEvents,
        Fault::CannotCloseUnstarted,
        Fault::ForgetsAtStart,
        Fault::ForgetsAtReopen,
        Fault::LosesAtMaintain,
        Fault::DropsHostileText,
        Fault::StandsTooFar,
    ] {
        assert!(!passes(fault, Guarantee::ExactlyOnce, false), "{fault:?} passes");
        assert!(!passes(fault, Guarantee::ExactlyOnce, true), "{fault:?} passes by count");
    }
    assert!(!passes(Fault::Reorders, Guarantee::ExactlyOnce, false));
    assert!(!passes(Fault::WritesAtClose, Guarantee::AtLeastOnce, false));
}
