//! The checks. Each is a short history of calls; [`Trial`] compares the store with what was delivered after each of them.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sidecar_core::{JournalId, KindSet, Record, Route};
use stats_sv2::{EventKind, Role, UnixMillis};

use crate::contract::Contract;
use crate::events::{Draw, derived_kinds};
use crate::strategies;
use crate::synthetic::{SyntheticJournal, SyntheticSession, batch};
use crate::trial::Trial;

const JOURNAL: JournalId = JournalId(0x0100);
const OTHER_JOURNAL: JournalId = JournalId(0x0200);

impl Contract {
    /// Close is safe without a start, and twice.
    pub fn closes_without_start(&self) {
        let mut trial = Trial::new(self, "close without start");
        trial.close();
        trial.close();
        trial.start();
        trial.close();
    }

    /// A closed sink starts again over what it stored.
    pub fn starts_again_after_close(&self) {
        let mut trial = Trial::started(self, "start after close");
        let (journal, records) = self.shares(3);
        trial.deliver(&journal.batch(&records[..1]));
        trial.close();
        trial.close();
        trial.verify();
        trial.start();
        trial.deliver(&journal.batch(&records[1..]));
        trial.close();
        trial.verify();
    }

    /// Every kind of event is taken, those that nobody knows included.
    pub fn stores_every_kind(&self) {
        let mut trial = Trial::started(self, "every kind");
        let mut journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut session = SyntheticSession::new("pool-a", Role::Pool, 7);
        let mut draw = Draw::new(2, self.now);
        for _ in 0..3 {
            let record = journal.append(&mut session, &draw.every_kind());
            trial.deliver(&journal.batch(&[record]));
        }
        trial.close();
    }

    /// No text breaks the store.
    pub fn stores_hostile_text(&self) {
        let mut trial = Trial::started(self, "hostile text");
        let mut journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut draw = Draw::hostile(3, self.now);
        for publisher in ["pool-a", "\u{202e}\"\n\0'; --", &"é".repeat(127)] {
            let mut session = SyntheticSession::new(publisher, Role::Proxy, u64::MAX >> 1);
            for _ in 0..4 {
                let record = journal.append(&mut session, &draw.every_kind());
                trial.deliver(&journal.batch(&[record]));
            }
        }
    }

    /// Derived events have numbers of their own; announcements, alone or with others, are no events.
    pub fn takes_derived_events_and_announcements(&self) {
        let mut trial = Trial::new(self, "derived events and announcements");
        let mut journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut session = SyntheticSession::new("pool-a", Role::Pool, 7);
        let mut draw = Draw::new(4, self.now);
        let started = journal.append_derived(&mut session, &[draw.event(EventKind::SessionStarted)]);
        let events = journal.append(&mut session, &draw.every_kind());
        let derived: Vec<_> = derived_kinds().into_iter().map(|kind| draw.event(kind)).collect();
        let derived = journal.append_derived(&mut session, &derived);
        let announcement = journal.announcement(&session, &draw.announcement());
        trial.start();
        trial.deliver(&journal.batch(&[Arc::clone(&announcement)]));
        trial.deliver(&journal.batch(&[announcement, started, events, derived]));
        trial.close();
    }

    /// The same batch again, at once and after a restart.
    pub fn takes_a_batch_again(&self) {
        let mut trial = Trial::started(self, "the same batch again");
        let (journal, records) = self.shares(2);
        let first = journal.batch(&records[..1]);
        trial.deliver(&first);
        trial.deliver(&first);
        trial.close();
        trial.start();
        trial.deliver(&first);
        trial.deliver(&journal.batch(&records));
        trial.crash();
        trial.start();
        trial.deliver(&journal.batch(&records));
    }

    /// A journal that was made anew brings the same events at other offsets.
    pub fn takes_the_same_events_from_another_journal(&self) {
        let mut trial = Trial::started(self, "the same events from another journal");
        let (journal, records) = self.shares(3);
        trial.deliver(&journal.batch(&records[..2]));
        let mut other = SyntheticJournal::new(OTHER_JOURNAL, self.now);
        let imported: Vec<_> = records[1..].iter().map(|record| other.import(record)).collect();
        trial.deliver(&other.batch(&imported));
    }

    /// After a partial answer the driver delivers the rest of the batch.
    pub fn starts_after_what_a_partial_attempt_delivered(&self) {
        let mut trial = Trial::started(self, "the rest of a batch");
        let (journal, records) = self.shares(2);
        let whole = journal.batch(&records);
        let rest = Arc::new(whole.after(whole.events() - 3));
        trial.deliver(&rest);
        let nothing = Arc::new(whole.after(whole.events()));
        trial.deliver(&nothing);
    }

    /// What the route leaves out is not stored, a batch without any wanted event included.
    pub fn takes_what_its_route_wants(&self) {
        let mut trial = Trial::started(self, "routes");
        let mut journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut draw = Draw::new(5, self.now);
        let mut pool = SyntheticSession::new("pool-a", Role::Pool, 7);
        let mut proxy = SyntheticSession::new("proxy-b", Role::Proxy, 8);
        let nothing = Route { kinds: KindSet::NONE, sources: Vec::new() };
        let shares = KindSet::NONE.with(EventKind::ShareSubmitted);
        for route in [
            nothing.clone(),
            Route { kinds: KindSet::ALL, sources: vec!["proxy-*".to_owned()] },
            Route { kinds: shares, sources: Vec::new() },
            Route { kinds: shares, sources: vec!["none".to_owned()] },
            nothing,
            Route::all(),
        ] {
            let records =
                [journal.append(&mut pool, &draw.every_kind()), journal.append(&mut proxy, &draw.every_kind())];
            trial.deliver(&batch(JOURNAL, &records, route));
        }
    }

    /// A sink that is dropped in the middle of a delivery keeps what it had answered for.
    pub fn keeps_what_was_delivered_through_a_crash(&self) {
        let mut trial = Trial::started(self, "crash");
        let (journal, records) = self.shares(6);
        for (index, record) in records.iter().enumerate() {
            let next = journal.batch(std::slice::from_ref(record));
            if index % 2 == 1 {
                trial.cut_off(&next);
                trial.start();
            }
            trial.deliver(&next);
        }
        trial.crash();
        trial.verify();
    }

    /// Retention, rotation and a reopened file lose nothing.
    pub fn maintains_and_reopens_between_batches(&self) {
        let mut trial = Trial::started(self, "maintain and reopen");
        let (journal, records) = self.shares(4);
        for (index, record) in records.iter().enumerate() {
            trial.maintain(UnixMillis(self.now.0 + 1_000 * index as u64));
            trial.reopen();
            trial.deliver(&journal.batch(std::slice::from_ref(record)));
            trial.reopen();
            trial.maintain(UnixMillis(self.now.0 + 1_000 * index as u64));
            trial.verify();
        }
        trial.close();
        trial.verify();
    }

    /// Many records of several sessions in one batch.
    pub fn takes_joined_batches(&self) {
        let mut trial = Trial::started(self, "joined batches");
        let mut journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut draw = Draw::new(6, self.now);
        let mut sessions = [1, 2, 3].map(|id| SyntheticSession::new(&format!("pool-{id}"), Role::Pool, id));
        let records: Vec<_> = (0..60)
            .map(|index| {
                let events: Vec<_> = (0..50).map(|_| draw.event(EventKind::ShareSubmitted)).collect();
                journal.append(&mut sessions[index % 3], &events)
            })
            .collect();
        trial.deliver(&journal.batch(&records));
        trial.close();
    }

    /// Random histories of deliveries, repetitions, restarts, crashes, maintenance.
    pub fn keeps_any_history(&self) {
        let mut runner = TestRunner::new(Config { cases: self.cases, failure_persistence: None, ..Config::default() });
        let histories = (strategies::records(JOURNAL, self.now, 12, 12), prop::collection::vec(any_step(), 1..20));
        let outcome = runner.run(&histories, |(records, steps)| {
            self.run_history(&records, &steps);
            Ok::<(), TestCaseError>(())
        });
        if let Err(failure) = outcome {
            panic!("any history: {failure}");
        }
    }

    fn run_history(&self, records: &[Arc<Record>], steps: &[Step]) {
        let mut trial = Trial::started(self, "any history");
        let journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut taken = 0;
        for step in steps {
            match *step {
                Step::Deliver { records: count, again, cut_off } => {
                    let end = (taken + count).min(records.len());
                    let begin = taken.saturating_sub(again);
                    if begin == end {
                        continue;
                    }
                    let next = journal.batch(&records[begin..end]);
                    if cut_off {
                        trial.cut_off(&next);
                        trial.start();
                    }
                    trial.deliver(&next);
                    taken = end;
                }
                Step::Restart => {
                    trial.close();
                    trial.start();
                }
                Step::Crash => {
                    trial.crash();
                    trial.start();
                }
                Step::Reopen => trial.reopen(),
                Step::Maintain => trial.maintain(self.now),
            }
        }
        trial.close();
        trial.verify();
    }

    /// Records of twenty shares each of one session.
    fn shares(&self, records: usize) -> (SyntheticJournal, Vec<Arc<Record>>) {
        let mut journal = SyntheticJournal::new(JOURNAL, self.now);
        let mut session = SyntheticSession::new("pool-a", Role::Pool, 7);
        let mut draw = Draw::new(1, self.now);
        let records = (0..records)
            .map(|_| {
                let events: Vec<_> = (0..20).map(|_| draw.event(EventKind::ShareSubmitted)).collect();
                journal.append(&mut session, &events)
            })
            .collect();
        (journal, records)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Deliver { records: usize, again: usize, cut_off: bool },
    Restart,
    Crash,
    Reopen,
    Maintain,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..4, 0_usize..3, prop::bool::weighted(0.2))
            .prop_map(|(records, again, cut_off)| Step::Deliver { records, again, cut_off }),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
        1 => Just(Step::Maintain),
    ]
}
