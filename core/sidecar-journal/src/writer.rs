//! The thread that writes the journal: takes a group, commits it until it is through, tells everybody (delivery rules 7,
//! 17, 20).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use sidecar_core::ErrorChain;
use stats_sv2::UnixMillis;
use tokio::sync::oneshot;

use crate::ballast::Ballast;
use crate::group::Group;
use crate::intake::Work;
use crate::reader::is_damage;
use crate::report::{Head, JournalHealth};
use crate::salvage;
use crate::shared::Shared;
use crate::store::{Committed, NewRow, Store};

/// The writer looks at what is due by time this often, when nothing else happens.
const TICK: Duration = Duration::from_millis(250);
/// Waits between tries of a failed commit: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// See [`FIRST_RETRY`].
const LAST_RETRY: Duration = Duration::from_secs(1);
/// Sessions are looked at for expiry, and the file for space to give back, this often by the wall clock.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How long one upkeep may hold commits up.
const TIDY_TIME: Duration = Duration::from_millis(50);
/// Retention steps taken at once on a full disk.
const RELIEF_STEPS: usize = 64;

#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    store: Store,
    ballast: Ballast,
    upkeep_at: UnixMillis,
    /// The last commit found the disk full.
    disk_full: bool,
    /// The file is damaged where the writer must write; only a restart mends it.
    damaged: bool,
}

/// Tells everybody that the thread has ended, whichever way.
struct Stopping<'a> {
    shared: &'a Shared,
    left_behind: u64,
}

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.shared.intake.stop();
        self.shared.stopped.send_replace(Some(self.left_behind));
    }
}

/// The events of a group that could not be committed before the deadline.
struct LeftBehind(u64);

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, store: Store, ballast: Ballast) -> Self {
        let upkeep_at = shared.intake.clock().now();
        let writer = Self { shared, store, ballast, upkeep_at, disk_full: false, damaged: false };
        writer.note_sizes();
        writer
    }

    /// Runs until the journal closes.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut stopping = Stopping { shared: &shared, left_behind: 0 };
        loop {
            let work = shared.intake.take(TICK);
            let closing = work.closing.is_some();
            let is_tick = work.group.is_empty() && work.notes.is_empty();
            if !is_tick && let Err(LeftBehind(events)) = self.write(work) {
                stopping.left_behind += events;
            }
            // Closing refuses newcomers under the lock under which the last group was taken.
            if closing {
                break;
            }
            self.upkeep();
        }
        if stopping.left_behind == 0
            && !self.damaged
            && let Err(error) = self.store.checkpoint_all()
        {
            tracing::warn!(error = %ErrorChain(&error), "the journal's write-ahead log stays until the next start");
        }
    }

    fn now(&self) -> UnixMillis {
        self.shared.intake.clock().now()
    }

    /// Now, where it decides what is too old to keep.
    fn now_for_ages(&self) -> UnixMillis {
        self.shared.intake.clock().now_for_ages()
    }

    /// Commits the work, however often it takes: nothing later is taken before it.
    fn write(&mut self, mut work: Work) -> Result<(), LeftBehind> {
        let rows = self.store.number(&mut work.group);
        self.shared.stats().waiting_events = work.group.events;
        let mut retry = FIRST_RETRY;
        loop {
            let started = Instant::now();
            match self.attempt(&rows, &mut work) {
                Attempt::Committed(committed) => {
                    self.store.apply(&committed, &rows);
                    self.publish(rows, work, started.elapsed());
                    return Ok(());
                }
                Attempt::Landed => {
                    self.publish(rows, work, started.elapsed());
                    return Ok(());
                }
                // The notes were written and the group waits for the sinks.
                Attempt::Blocked => retry = FIRST_RETRY,
                Attempt::Failed => {
                    let closing = self.shared.intake.pause(retry);
                    if closing.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(LeftBehind(work.group.events));
                    }
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
            if work.closing.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(LeftBehind(work.group.events));
            }
        }
    }

    fn attempt(&mut self, rows: &[NewRow], work: &mut Work) -> Attempt {
        if self.damaged || (self.disk_full && !self.relieve()) {
            return Attempt::Failed;
        }
        self.try_commit(rows, work).unwrap_or_else(|error| self.recover(&error, rows))
    }

    fn try_commit(&mut self, rows: &[NewRow], work: &mut Work) -> rusqlite::Result<Attempt> {
        let now = self.now_for_ages();
        let incoming = work.group.bytes as u64;
        while self.store.is_blocked(incoming)? {
            if !self.store.retire(incoming, now)? {
                return self.wait_for_sinks(work, now);
            }
            self.note_places();
        }
        let committed = self.store.commit(rows, &work.group, &work.notes.cursors, &work.notes.dead_letters, now)?;
        Ok(Attempt::Committed(committed))
    }

    /// The journal is full and must not drop: writes what the sinks note, which is what makes room.
    fn wait_for_sinks(&mut self, work: &mut Work, now: UnixMillis) -> rusqlite::Result<Attempt> {
        self.set_health(|health| match health {
            JournalHealth::Blocked { .. } => None,
            _ => Some(JournalHealth::Blocked { since: now }),
        });
        if work.notes.is_empty() {
            let more = self.shared.intake.take_notes(TICK);
            work.notes.append(more.notes);
            work.closing = more.closing;
        }
        if !work.notes.is_empty() {
            let notes = &work.notes;
            let committed = self.store.commit(&[], &Group::default(), &notes.cursors, &notes.dead_letters, now)?;
            self.store.apply(&committed, &[]);
            self.note_places();
            answer(std::mem::take(&mut work.notes).answers);
        }
        Ok(Attempt::Blocked)
    }

    /// Does what can be done about a failed commit.
    fn recover(&mut self, error: &rusqlite::Error, rows: &[NewRow]) -> Attempt {
        self.shared.stats().failed_commits += 1;
        let path = self.shared.path.display().to_string();
        let cause = ErrorChain(error);
        let code = error.sqlite_error_code();
        if is_damage(error) {
            self.damaged = true;
            self.fail(format!("journal {path} is damaged, restart the sidecar to set the file aside: {cause}"));
            if let Err(error) = salvage::mark(&self.shared.path, &cause.to_string()) {
                tracing::error!(%error, "the damage cannot be marked for the next start");
            }
            return Attempt::Failed;
        }
        if code == Some(ErrorCode::DiskFull) {
            self.disk_full = true;
            self.fail(format!("the disk of journal {path} is full, free some space: {cause}"));
            return Attempt::Failed;
        }
        self.fail(format!("cannot commit to journal {path}: {cause}"));
        if matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) {
            return Attempt::Failed;
        }
        if let Err(error) = self.store.reopen(self.now()) {
            tracing::debug!(error = %ErrorChain(&error), "the journal cannot be opened again yet");
            return Attempt::Failed;
        }
        let landed = rows.last().is_some_and(|last| {
            self.store.head == Head { offset: last.record.offset, cumulative_events: last.record.cumulative_events }
        });
        if landed { Attempt::Landed } else { Attempt::Failed }
    }

    /// Makes room on a full disk: gives the ballast up, brings the log back, lets go what is due. Only when the ballast
    /// can be made again is there room for more than that.
    fn relieve(&mut self) -> bool {
        if !self.ballast.is_wanted() {
            return true;
        }
        let now = self.now_for_ages();
        let relief = self.ballast.give_up().map_err(|error| error.to_string()).and_then(|()| {
            let mut steps = || {
                self.store.checkpoint_all()?;
                for _ in 0..RELIEF_STEPS {
                    if !self.store.retire(0, now)? {
                        break;
                    }
                }
                self.store.checkpoint_all()
            };
            steps().map_err(|error| error.to_string())
        });
        if let Err(error) = relief {
            tracing::debug!(%error, "the full disk leaves no room to tidy the journal");
        }
        self.note_places();
        let made = self.ballast.make().is_ok();
        self.shared.stats().ballast = made;
        made
    }

    fn fail(&self, what: String) {
        let since = self.now();
        let path = self.shared.path.display();
        self.set_health(|health| match health {
            JournalHealth::Failing { since, .. } => Some(JournalHealth::Failing { what, since: *since }),
            _ => {
                tracing::error!(path = %path, %what, "the journal cannot commit and acknowledges nothing");
                Some(JournalHealth::Failing { what, since })
            }
        });
    }

    fn set_health(&self, change: impl FnOnce(&JournalHealth) -> Option<JournalHealth>) {
        self.shared.health.send_if_modified(|health| match change(health) {
            Some(new) if new != *health => {
                *health = new;
                true
            }
            _ => false,
        });
    }

    fn set_healthy(&self) {
        self.set_health(|health| match health {
            JournalHealth::Healthy => None,
            _ => {
                tracing::info!(path = %self.shared.path.display(), "the journal commits again");
                Some(JournalHealth::Healthy)
            }
        });
    }

    /// Makes a commit visible: to readers, publishers, waiting callers.
    fn publish(&mut self, rows: Vec<NewRow>, work: Work, took: Duration) {
        self.disk_full = false;
        let Work { group, notes, .. } = work;
        let records = rows.len() as u64;
        {
            let mut stats = self.shared.stats();
            stats.waiting_events = 0;
            stats.appended_events += group.events;
            stats.appended_bytes += group.bytes as u64;
            stats.appended_records += records;
            stats.commits += 1;
            stats.commit_time += took;
            stats.slowest_commit = stats.slowest_commit.max(took);
        }
        self.shared.recent.extend(rows.into_iter().map(|row| row.record));
        self.note_places();
        self.note_sizes();
        self.shared.intake.lock().registry.note_offsets(&group.sessions);
        self.shared.head.send_if_modified(|head| {
            let moved = *head != self.store.head;
            *head = self.store.head;
            moved
        });
        for (session, acknowledged) in &group.sessions {
            acknowledged.send_if_modified(|sequence| {
                let moved = *sequence != session.sequence;
                *sequence = session.sequence;
                moved
            });
        }
        self.set_healthy();
        answer(notes.answers);
        answer(group.answers);
        // Sessions may read on while the log is brought back.
        drop(group.permits);
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        let started = Instant::now();
        match self.store.checkpoint_if_due() {
            Ok(true) => {
                {
                    let mut stats = self.shared.stats();
                    stats.checkpoints += 1;
                    stats.checkpoint_time += started.elapsed();
                }
                self.note_sizes();
            }
            Ok(false) => {}
            // The next commit meets the same trouble and deals with it.
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "checkpoint failed"),
        }
    }

    /// Copies tail and cursors to where readers look.
    fn note_places(&self) {
        let mut places = self.shared.places();
        let retired = self.store.tail.cumulative_before - places.tail.cumulative_before;
        places.tail = self.store.tail;
        if places.cursors != self.store.cursors {
            places.cursors.clone_from(&self.store.cursors);
        }
        drop(places);
        self.shared.recent.retire(self.store.tail.first_offset);
        self.shared.stats().retired_events += retired;
    }

    fn note_sizes(&self) {
        let sizes = self.store.sizes().unwrap_or_default();
        let mut stats = self.shared.stats();
        stats.bytes = sizes.used - sizes.wal.min(sizes.used);
        stats.file_bytes = sizes.file;
        stats.wal_bytes = sizes.wal;
        stats.first_offset = self.store.tail.first_offset;
        stats.head_offset = self.store.head.offset;
        stats.cumulative_events = self.store.head.cumulative_events;
        stats.cumulative_before_tail = self.store.tail.cumulative_before;
        stats.dead_letters = self.store.dead_letters.count;
        stats.dead_letter_bytes = self.store.dead_letters.bytes;
        stats.dead_letters_expired = self.store.dead_letters.expired;
        stats.ballast = self.ballast.is_there();
    }

    /// What is due by time, between commits.
    fn upkeep(&mut self) {
        let now = self.now();
        if now.0.abs_diff(self.upkeep_at.0) < UPKEEP_EVERY.as_millis() as u64 {
            return;
        }
        self.upkeep_at = now;
        {
            let mut state = self.shared.intake.lock();
            let crate::intake::State { registry, group, .. } = &mut *state;
            registry.expire(self.store.tail.first_offset, self.shared.intake.clock().now_for_ages(), group);
        }
        // No group is in hand here, so what fails is told and tried again the next time.
        if self.damaged || (self.disk_full && !self.relieve()) {
            return;
        }
        match self.tidy(self.now_for_ages()) {
            Ok(()) => {
                self.disk_full = false;
                self.set_healthy();
                if let Err(error) = self.ballast.make() {
                    tracing::warn!(%error, "there is no room for the journal's ballast");
                }
            }
            Err(error) => drop(self.recover(&error, &[])),
        }
        self.note_places();
        self.checkpoint();
        self.note_sizes();
    }

    /// Lets go what is due and gives space back, for a moment: commits wait meanwhile.
    fn tidy(&mut self, now: UnixMillis) -> rusqlite::Result<()> {
        let until = Instant::now() + TIDY_TIME;
        while self.store.retire(0, now)? && Instant::now() < until {}
        while self.store.shrink()? && Instant::now() < until {}
        Ok(())
    }
}

/// How an attempt to commit ended.
enum Attempt {
    Committed(Committed),
    /// It had failed, but was found in the file afterwards.
    Landed,
    Blocked,
    Failed,
}

fn answer(waiting: Vec<oneshot::Sender<()>>) {
    for answer in waiting {
        // Whoever gave up waiting cannot be told, and need not be.
        answer.send(()).ok();
    }
}
