//! Where sessions and sinks meet the writer thread: one lock around the registry and the group that is being gathered,
//! a bounded room for it, and the condition on which the writer sleeps (delivery rules 7 and 8).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sidecar_core::Clock;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{AppendError, JournalError};
use crate::group::{Group, Notes};
use crate::registry::Registry;
use crate::session::Run;

/// The writer commits as soon as this many bytes wait.
pub(crate) const COMMIT_BYTES: usize = 256 << 10;
/// What may gather while a commit runs.
pub(crate) const GATHER_BYTES: usize = 4 << 20;

/// What the writer is given to do.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) group: Group,
    pub(crate) notes: Notes,
    /// Set when the journal closes: nothing follows, and by then all should be written.
    pub(crate) closing: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) group: Group,
    pub(crate) notes: Notes,
    urgent: bool,
    closing: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Intake {
    state: Mutex<State>,
    wake: Condvar,
    /// Bytes of the group being gathered. It serves sessions in the order in which they came, and each session asks for
    /// one run at a time: that is the round robin.
    room: Semaphore,
    max_delay: Duration,
    clock: Arc<dyn Clock>,
}

impl Intake {
    pub(crate) fn new(registry: Registry, max_delay: Duration, clock: Arc<dyn Clock>) -> Self {
        let state = State { registry, group: Group::default(), notes: Notes::default(), urgent: false, closing: None };
        Self { state: Mutex::new(state), wake: Condvar::new(), room: Semaphore::new(GATHER_BYTES), max_delay, clock }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left whole values behind: each change is made by one method.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Waits for room, then hands the run over.
    pub(crate) async fn append(&self, id: i64, generation: u64, run: Run) -> Result<(), AppendError> {
        let bytes = run.frames.len();
        let room = self.room.acquire_many(bytes.min(GATHER_BYTES) as u32).await.map_err(|_| AppendError::Closed)?;
        let now = self.clock.now();
        let mut state = self.lock();
        if state.closing.is_some() {
            return Err(AppendError::Closed);
        }
        let State { registry, group, .. } = &mut *state;
        let first = group.since.is_none();
        registry.admit(id, generation, run, now, group)?;
        if group.since.is_none() {
            // A duplicate: nothing was added.
            return Ok(());
        }
        group.room += bytes.min(GATHER_BYTES);
        room.forget();
        let due = group.bytes >= COMMIT_BYTES || registry.needs_commit(id);
        state.urgent |= due;
        drop(state);
        // The first run starts the writer's clock; those between change nothing for it.
        if due || first {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Changes the group in hand, and waits for its commit. `change` runs under the lock.
    pub(crate) async fn commit<T, E>(
        &self,
        closed: impl Fn() -> E,
        change: impl FnOnce(&mut Registry, &mut Group) -> Result<T, E>,
    ) -> Result<T, E> {
        let (answer, committed) = oneshot::channel();
        let value = {
            let mut state = self.lock();
            if state.closing.is_some() {
                return Err(closed());
            }
            let State { registry, group, .. } = &mut *state;
            let value = change(registry, group)?;
            push_answer(&mut group.answers, answer);
            state.urgent = true;
            value
        };
        self.wake.notify_one();
        committed.await.map_err(|_| closed())?;
        Ok(value)
    }

    /// Waits for room for that many bytes, and keeps it until the group is taken.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<(), JournalError> {
        let room = self.room.acquire_many(bytes.min(GATHER_BYTES) as u32).await.map_err(|_| JournalError::Closed)?;
        room.forget();
        self.lock().group.room += bytes.min(GATHER_BYTES);
        Ok(())
    }

    /// Adds to the notes, to be written within `max_delay`.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Notes)) {
        let mut state = self.lock();
        let first = state.notes.since.is_none();
        change(&mut state.notes);
        drop(state);
        if first {
            self.wake.notify_one();
        }
    }

    /// Adds to the notes, and waits for their commit.
    pub(crate) async fn commit_note(&self, change: impl FnOnce(&mut Notes)) -> Result<(), JournalError> {
        let (answer, committed) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.closing.is_some() {
                return Err(JournalError::Closed);
            }
            change(&mut state.notes);
            state.notes.since.get_or_insert_with(Instant::now);
            push_answer(&mut state.notes.answers, answer);
            state.urgent = true;
        }
        self.wake.notify_one();
        committed.await.map_err(|_| JournalError::Closed)
    }

    /// Waits until a commit is due, or `tick` has passed, and takes what there is. An empty answer is a tick.
    pub(crate) fn take(&self, tick: Duration) -> Work {
        let tick_at = Instant::now() + tick;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let since = [state.group.since, state.notes.since].into_iter().flatten().min();
            let due_at = since.map(|since| since + self.max_delay);
            if state.urgent || state.closing.is_some() || due_at.is_some_and(|due| due <= now) {
                return self.seal(&mut state);
            }
            if now >= tick_at {
                return Work::default();
            }
            let until = due_at.map_or(tick_at, |due| due.min(tick_at));
            state = self.wait(state, until - now);
        }
    }

    /// Waits before a retry, and takes the notes alone: the writer holds a group that cannot be committed yet.
    pub(crate) fn take_notes(&self, wait: Duration) -> Work {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let closed = state.closing.is_some_and(|deadline| now >= deadline);
            if now >= until || closed || state.notes.since.is_some() {
                return Work {
                    group: Group::default(),
                    notes: std::mem::take(&mut state.notes),
                    closing: state.closing,
                };
            }
            let until = state.closing.map_or(until, |deadline| deadline.min(until));
            state = self.wait(state, until.saturating_duration_since(now));
        }
    }

    /// Waits before a retry; says by when all must be written if the journal is closing.
    pub(crate) fn pause(&self, wait: Duration) -> Option<Instant> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if now >= until || state.closing.is_some_and(|deadline| now >= deadline) {
                return state.closing;
            }
            let until = state.closing.map_or(until, |deadline| deadline.min(until));
            state = self.wait(state, until.saturating_duration_since(now));
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        self.wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    fn seal(&self, state: &mut State) -> Work {
        state.urgent = false;
        let State { registry, group, notes, .. } = state;
        registry.seal(group);
        let work = Work { group: std::mem::take(group), notes: std::mem::take(notes), closing: state.closing };
        self.room.add_permits(work.group.room);
        work
    }

    /// No more runs are taken; what there is should be written by `deadline`.
    pub(crate) fn close(&self, deadline: Instant) {
        let mut state = self.lock();
        let earlier = state.closing.map_or(deadline, |closing| closing.min(deadline));
        state.closing = Some(earlier);
        drop(state);
        self.room.close();
        self.wake.notify_one();
    }

    /// The writer thread ends: whoever still waits is told by its answer being dropped.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.closing.get_or_insert_with(Instant::now);
        state.group = Group::default();
        state.notes = Notes::default();
        drop(state);
        self.room.close();
    }
}

/// Adds an answer. Before the list grows it loses those that nobody waits for any more: while commits fail, callers
/// give up and ask again.
fn push_answer(answers: &mut Vec<oneshot::Sender<()>>, answer: oneshot::Sender<()>) {
    if answers.len() == answers.capacity() {
        answers.retain(|answer| !answer.is_closed());
    }
    answers.push(answer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_gave_up_leave_nothing_behind() {
        let mut answers = Vec::new();
        let (waiting, mut answered) = oneshot::channel();
        push_answer(&mut answers, waiting);
        for _ in 0..10_000 {
            push_answer(&mut answers, oneshot::channel().0);
        }
        assert!(answers.len() < 16, "{} answers", answers.len());
        for answer in answers {
            answer.send(()).ok();
        }
        assert_eq!(answered.try_recv(), Ok(()), "whoever waits is answered");
    }
}
