//! One sink in one temporary folder, driven as the driver does, beside a model of what must be stored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sidecar_core::{Batch, Cursor, RecordKind, Sink, SinkError, SinkStart, StableId};
use stats_sv2::UnixMillis;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::contract::{Contract, Guarantee, Stored};

/// A call of a sink that takes longer has hung.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Trial<'c> {
    contract: &'c Contract,
    check: &'static str,
    folder: TempDir,
    runtime: Runtime,
    sink: Option<Box<dyn Sink>>,
    /// What must be stored, in the order of its first delivery.
    expected: Vec<StableId>,
    known: BTreeSet<StableId>,
    /// Events that an at-least-once sink may have stored besides.
    repeated: usize,
    /// What a cut-off delivery may have stored.
    possible: Vec<StableId>,
    /// Where a sink that keeps a cursor may stand: after the last batch, or after the furthest. Empty when unknown.
    reached: Vec<Cursor>,
}

impl<'c> Trial<'c> {
    pub(crate) fn new(contract: &'c Contract, check: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a test machine can make a runtime");
        Self {
            contract,
            check,
            folder: tempfile::tempdir().expect("a test machine has a temporary folder"),
            runtime,
            sink: None,
            expected: Vec::new(),
            known: BTreeSet::new(),
            repeated: 0,
            possible: Vec::new(),
            reached: Vec::new(),
        }
    }

    /// A trial whose sink has started.
    pub(crate) fn started(contract: &'c Contract, check: &'static str) -> Self {
        let mut trial = Self::new(contract, check);
        trial.start();
        trial
    }

    pub(crate) fn start(&mut self) -> SinkStart {
        let started = self.call("start", |sink| sink.start());
        if let Some(cursor) = started.cursor
            && !self.reached.is_empty()
        {
            assert!(
                self.reached.contains(&cursor),
                "{}: a sink that keeps a cursor stands after what it took, {:?}, not at {cursor:?}",
                self.check,
                self.reached
            );
        }
        started
    }

    /// Delivers a batch as the driver does; what it holds must be stored from now on.
    pub(crate) fn deliver(&mut self, batch: &Arc<Batch>) {
        self.call("deliver", |sink| sink.deliver(Arc::clone(batch)));
        for id in self.traced(batch) {
            if self.known.insert(id.clone()) {
                self.expected.push(id);
            } else {
                self.repeated += 1;
            }
        }
        if let Some(cursor) = batch.cursor() {
            let beyond = |other: &Cursor| other.journal_id == cursor.journal_id && other.offset > cursor.offset;
            self.reached.retain(beyond);
            self.reached.push(cursor);
        }
        // Whatever the cut-off delivery left has been delivered again by now, or is checked as a possibility.
        self.possible.retain(|id| !self.known.contains(id));
        self.verify();
    }

    /// Begins a delivery and drops it with the sink: the batch may be stored or not.
    pub(crate) fn cut_off(&mut self, batch: &Arc<Batch>) {
        self.reached.clear();
        let possible = self.traced(batch);
        self.repeated += possible.len();
        self.possible.extend(possible.into_iter().filter(|id| !self.known.contains(id)));
        let sink = self.sink.as_mut().expect("the check has started the sink");
        {
            let _inside = self.runtime.enter();
            let mut delivery = sink.deliver(Arc::clone(batch));
            match delivery.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => panic!("{}: deliver failed: {}", self.check, chain(&error)),
            }
        }
        self.crash();
    }

    /// Drops the sink without a close.
    pub(crate) fn crash(&mut self) {
        let _inside = self.runtime.enter();
        self.sink = None;
    }

    pub(crate) fn close(&mut self) {
        self.call("close", |sink| sink.close());
    }

    pub(crate) fn maintain(&mut self, now: UnixMillis) {
        self.call("maintain", |sink| sink.maintain(now));
    }

    pub(crate) fn reopen(&mut self) {
        self.call("reopen", |sink| sink.reopen());
    }

    /// Compares the store with the model.
    pub(crate) fn verify(&self) {
        let check = self.check;
        match (self.contract.read)(self.folder.path()) {
            Stored::Ids(ids) => {
                let mut seen = BTreeSet::new();
                let mut first: Vec<&StableId> = ids.iter().filter(|id| seen.insert(*id)).collect();
                first.retain(|id| !self.possible.contains(id));
                let repetitions = ids.len() - seen.len();
                assert_eq!(
                    first,
                    self.expected.iter().collect::<Vec<_>>(),
                    "{check}: stored events (left) are not what was delivered (right)"
                );
                let allowed = self.allowed_repetitions();
                assert!(repetitions <= allowed, "{check}: {repetitions} events stored again, {allowed} allowed");
            }
            Stored::Count(count) => {
                let least = self.expected.len() as u64;
                let most = least + (self.possible.len() + self.allowed_repetitions()) as u64;
                assert!(
                    (least..=most).contains(&count),
                    "{check}: {count} events stored, at least {least} and at most {most} expected"
                );
            }
        }
    }

    fn allowed_repetitions(&self) -> usize {
        match self.contract.guarantee {
            Guarantee::ExactlyOnce => 0,
            Guarantee::AtLeastOnce => self.repeated,
        }
    }

    fn traced(&self, batch: &Batch) -> Vec<StableId> {
        batch
            .envelopes()
            .filter(|envelope| envelope.record.kind != RecordKind::Announcement)
            .filter(|envelope| (self.contract.leaves_trace)(envelope))
            .map(|envelope| envelope.stable_id())
            .collect()
    }

    fn call<T>(
        &mut self,
        name: &str,
        call: impl for<'s> FnOnce(&'s mut dyn Sink) -> sidecar_core::BoxFuture<'s, Result<T, SinkError>>,
    ) -> T {
        let sink = self.sink.get_or_insert_with(|| (self.contract.make)(self.folder.path()));
        let answer = self.runtime.block_on(async { tokio::time::timeout(CALL_DEADLINE, call(sink.as_mut())).await });
        match answer {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => panic!("{}: {name} failed: {}", self.check, chain(&error)),
            Err(_) => panic!("{}: {name} took longer than {CALL_DEADLINE:?}", self.check),
        }
    }
}

fn chain(error: &SinkError) -> String {
    sidecar_core::ErrorChain(error).to_string()
}
