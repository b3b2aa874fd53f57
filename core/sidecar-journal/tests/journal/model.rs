//! Random actions against a simple model of the journal: sessions, numbers, cursors, dead letters, age, restarts, crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sidecar_core::{Cursor, Record, RecordKind, StableId};
use sidecar_journal::{AppendError, DeadLetter, Journal, OpenSession, SessionWriter};
use stats_sv2::{Event, UnixMillis};
use tempfile::TempDir;

use crate::harness::{Bench, NOW, hello, read_all, run, shares, until, within};

const PUBLISHERS: u64 = 2;
const SESSIONS: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(5);
const AGE: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
enum Action {
    /// Opens the session with a first number so far from the next one.
    Open {
        publisher: u64,
        session: u64,
        first: i64,
        finishing: bool,
    },
    /// Appends through the latest connection, or an older one.
    Append {
        publisher: u64,
        session: u64,
        first: i64,
        count: u64,
        stale: bool,
    },
    Close {
        publisher: u64,
        session: u64,
    },
    Cursor {
        sink: u8,
        back: u64,
    },
    DeadLetter {
        sequence: u64,
    },
    Pass {
        secs: u64,
    },
    Restart,
    Crash,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let whose = || (0..PUBLISHERS, 0..SESSIONS);
    let action = prop_oneof![
        4 => (whose(), -3i64..4, prop::bool::weighted(0.2))
            .prop_map(|((publisher, session), first, finishing)| Action::Open { publisher, session, first, finishing }),
        10 => (whose(), -6i64..2, 1u64..8, prop::bool::weighted(0.1)).prop_map(
            |((publisher, session), first, count, stale)| Action::Append { publisher, session, first, count, stale }
        ),
        1 => whose().prop_map(|(publisher, session)| Action::Close { publisher, session }),
        2 => (0u8..2, 0u64..4).prop_map(|(sink, back)| Action::Cursor { sink, back }),
        1 => (0u64..4).prop_map(|sequence| Action::DeadLetter { sequence }),
        1 => (600u64..3000).prop_map(|secs| Action::Pass { secs }),
        1 => Just(Action::Restart),
        1 => Just(Action::Crash),
    ];
    prop::collection::vec(action, 1..60)
}

#[derive(Debug, Default)]
struct ModelSession {
    last: u64,
    /// Numbers that have records, in order.
    stored: Vec<u64>,
    derived: u64,
    ended: Option<u8>,
    finishing: bool,
    generation: u64,
    /// A gap was recorded, and no run has come since.
    unanswered: bool,
}

#[derive(Default)]
struct Model {
    sessions: BTreeMap<(u64, u64), ModelSession>,
    current: BTreeMap<u64, u64>,
    events: u64,
    cursors: BTreeMap<u8, u64>,
    letters: BTreeSet<u64>,
    /// The latest connection of each session and the one before.
    writers: BTreeMap<(u64, u64), Vec<(u64, SessionWriter)>>,
}

impl Model {
    fn end(&mut self, key: (u64, u64), outcome: u8) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.generation += 1;
        if session.ended.is_some_and(|ended| ended == outcome || outcome != 0) {
            return;
        }
        session.ended = Some(outcome);
        session.derived += 1;
        self.events += 1;
        if self.current.get(&key.0) == Some(&key.1) {
            self.current.remove(&key.0);
        }
    }

    fn take_over(&mut self, key: (u64, u64)) {
        let other = self.current.get(&key.0).copied().filter(|other| *other != key.1);
        if let Some(other) = other {
            self.end((key.0, other), 1);
        }
        self.current.insert(key.0, key.1);
    }

    /// What the committed sequence must be, and whether there is anything to announce.
    fn open(&mut self, key: (u64, u64), first: u64, finishing: bool, now: UnixMillis) -> (u64, bool) {
        if !finishing {
            self.take_over(key);
        } else if self.current.get(&key.0) == Some(&key.1) {
            self.current.remove(&key.0);
        }
        let known = self.sessions.contains_key(&key);
        let session = self.sessions.entry(key).or_default();
        if !known {
            session.derived = now.0 + 1;
            self.events += 1;
        }
        session.generation += 1;
        session.finishing = finishing;
        if first - 1 > session.last {
            session.last = first - 1;
            session.derived += 1;
            self.events += 1;
            session.unanswered = true;
        }
        (session.last, (session.unanswered || session.ended.is_some()) && !finishing)
    }

    fn append(&mut self, key: (u64, u64), generation: u64, first: u64, count: u64) -> Result<(), AppendError> {
        let session = self.sessions.get_mut(&key).unwrap();
        if session.generation != generation {
            return Err(AppendError::Retired);
        }
        if first > session.last + 1 {
            return Err(AppendError::BeyondNext { first_sequence: first, expected: session.last + 1 });
        }
        let last = first + count - 1;
        if last <= session.last {
            return Ok(());
        }
        let revived = session.ended.is_some() && !session.finishing;
        self.events += last - session.last;
        let new: Vec<u64> = (session.last + 1..=last).collect();
        session.stored.extend(new);
        session.unanswered = false;
        session.last = last;
        if revived {
            session.ended = None;
            session.derived += 1;
            self.events += 1;
            self.take_over(key);
        }
        Ok(())
    }
}

fn name(publisher: u64) -> String {
    format!("pool-{publisher}")
}

fn id(key: (u64, u64)) -> u64 {
    key.0 * 100 + key.1 + 1
}

struct Machine {
    bench: Bench,
    /// Folders of journals that have crashed, kept until the end.
    graves: Vec<(TempDir, Journal)>,
    journal: Journal,
    model: Model,
}

impl Machine {
    async fn act(&mut self, action: &Action) {
        match *action {
            Action::Open { publisher, session, first, finishing } => {
                let key = (publisher, session);
                let last = self.model.sessions.get(&key).map_or(0, |session| session.last);
                let first = last.saturating_add_signed(first).max(1);
                let open = OpenSession { finishing, ..hello(&name(publisher), id(key), first) };
                let opened = within(self.journal.open_session(open)).await.unwrap();
                let expected = self.model.open(key, first, finishing, sidecar_core::Clock::now(&*self.bench.clock));
                assert_eq!((opened.committed_sequence, opened.announce), expected);
                let generation = self.model.sessions[&key].generation;
                let writers = self.model.writers.entry(key).or_default();
                writers.push((generation, opened.writer));
                if writers.len() > 2 {
                    writers.remove(0);
                }
            }
            Action::Append { publisher, session, first, count, stale } => {
                let key = (publisher, session);
                let Some(writers) = self.model.writers.get(&key) else { return };
                let place = writers.len().checked_sub(1 + usize::from(stale));
                let Some((generation, writer)) = place.map(|place| &writers[place]) else { return };
                let first = (self.model.sessions[&key].last + 1).saturating_add_signed(first).max(1);
                let run = run(&self.journal, first, &shares(first, count)).await;
                let outcome = within(writer.append(run)).await;
                let generation = *generation;
                assert_eq!(outcome, self.model.append(key, generation, first, count));
            }
            Action::Close { publisher, session } => {
                let key = (publisher, session);
                let Some((generation, writer)) = self.model.writers.get_mut(&key).and_then(Vec::pop) else { return };
                let outcome = within(writer.close("")).await.ok();
                let present = self.model.sessions[&key].generation == generation;
                assert_eq!(outcome, present.then(|| self.model.sessions[&key].last));
                if present {
                    self.model.end(key, 0);
                }
            }
            Action::Cursor { sink, back } => {
                self.settle().await;
                let offset = self.journal.watch_head().borrow().offset.saturating_sub(back);
                self.journal.set_cursor(&sink.to_string(), Cursor { journal_id: self.journal.id(), offset });
                self.model.cursors.insert(sink, offset);
            }
            Action::DeadLetter { sequence } => {
                let letter = DeadLetter {
                    sink: "sink".to_owned(),
                    id: StableId { publisher: "pool".into(), session_id: 1, derived: false, sequence },
                    received_at: UnixMillis(NOW),
                    reason: "test".to_owned(),
                    frame: vec![1, 2, 3].into(),
                };
                within(self.journal.insert_dead_letters(vec![letter])).await.unwrap();
                self.model.letters.insert(sequence);
            }
            Action::Pass { secs } => self.bench.pass(Duration::from_secs(secs)),
            Action::Restart => {
                within(self.journal.close(Duration::from_secs(10))).await.unwrap();
                self.model.writers.clear();
                self.journal = self.bench.open();
                self.note_left();
            }
            Action::Crash => self.crash().await,
        }
    }

    /// Waits until all that was handed over is durable.
    async fn settle(&self) {
        let mut head = self.journal.watch_head();
        let there = head.wait_for(|head| head.cumulative_events >= self.model.events);
        let outcome = tokio::time::timeout(PATIENCE, there).await.map(drop);
        assert!(outcome.is_ok(), "{} events instead of {}", self.journal.stats().cumulative_events, self.model.events);
        // Sessions are told after the readers.
        let told = || {
            let sessions = self.journal.sessions();
            let told = |key: &(u64, u64), last| {
                sessions.iter().any(|info| info.session_id == id(*key) && info.committed_sequence == last)
            };
            self.model.sessions.iter().all(|(key, session)| told(key, session.last))
        };
        until(told).await;
        for (sink, offset) in &self.model.cursors {
            while self.journal.cursor(&sink.to_string()).unwrap().map(|cursor| cursor.offset) != Some(*offset) {
                within(tokio::task::yield_now()).await;
            }
        }
    }

    /// Goes on with the files as they are at this moment, without anything that a clean end would do to them.
    async fn crash(&mut self) {
        self.settle().await;
        let mut bench = Bench::new();
        bench.clock = Arc::clone(&self.bench.clock);
        bench.config.max_age = self.bench.config.max_age;
        for suffix in ["", "-wal"] {
            let file = |bench: &Bench| format!("{}{suffix}", bench.path().display());
            if fs::exists(file(&self.bench)).unwrap() {
                fs::copy(file(&self.bench), file(&bench)).unwrap();
            }
        }
        let (journal, report) = bench.open_report();
        assert_eq!(report.salvage, None);
        self.model.writers.clear();
        let crashed = std::mem::replace(&mut self.journal, journal);
        self.graves.push((std::mem::replace(&mut self.bench, bench).folder, crashed));
        self.note_left();
    }

    /// Of a session whose records have all left a journal just opened cannot say whether the last was a gap.
    fn note_left(&mut self) {
        let records = read_all(&self.journal);
        for (key, session) in &mut self.model.sessions {
            session.unanswered |= !records.iter().any(|record| record.session_id == id(*key));
        }
    }

    fn check(&self) {
        let records = read_all(&self.journal);
        let tail = self.journal.reader().tail();
        let mut cumulative = tail.cumulative_before;
        for (offset, record) in (tail.first_offset..).zip(&records) {
            assert_eq!((record.offset, record.cumulative_events - u64::from(record.count)), (offset, cumulative));
            cumulative = record.cumulative_events;
        }
        assert_eq!(cumulative, self.model.events);
        for (key, session) in &self.model.sessions {
            let mine: Vec<&Arc<Record>> = records.iter().filter(|record| record.session_id == id(*key)).collect();
            let of_kind = |kind| mine.iter().filter(move |record| record.kind == kind);
            let stored: Vec<u64> = of_kind(RecordKind::Events)
                .flat_map(|record| record.envelopes().map(|envelope| envelope.sequence).collect::<Vec<_>>())
                .collect();
            // What has left by age is the beginning.
            assert!(session.stored.ends_with(&stored), "{stored:?} of {:?}", session.stored);
            for envelope in of_kind(RecordKind::Events).flat_map(|record| record.envelopes()) {
                let Event::ShareSubmitted(share) = envelope.event().unwrap() else { panic!("only shares were sent") };
                assert_eq!(u64::from(share.sequence_number), envelope.sequence);
            }
            if let Some(last) = of_kind(RecordKind::Derived).next_back() {
                assert_eq!(last.last_sequence(), session.derived);
            }
            let info = self.journal.sessions().into_iter().find(|info| info.session_id == id(*key)).unwrap();
            assert_eq!((info.committed_sequence, info.ended), (session.last, session.ended));
        }
        let letters: BTreeSet<u64> =
            self.journal.dead_letters(Some("sink"), 100).unwrap().iter().map(|letter| letter.id.sequence).collect();
        assert_eq!(letters, self.model.letters);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_is_like_its_model(actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new();
            bench.config.max_age = AGE;
            let journal = bench.open();
            let mut machine = Machine { bench, graves: Vec::new(), journal, model: Model::default() };
            for action in &actions {
                machine.act(action).await;
            }
            machine.settle().await;
            machine.check();
            // And the same from the file alone.
            machine.act(&Action::Restart).await;
            machine.check();
        });
    }
}
