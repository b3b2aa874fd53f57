//! The handle through which everything else uses the journal, and how a journal is opened.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sidecar_core::{Clock, Cursor, JournalId, Record};
use stats_sv2::UnixMillis;
use tokio::sync::{Semaphore, watch};

use crate::ballast::Ballast;
use crate::config::JournalConfig;
use crate::dead_letter::{COLUMNS, DeadLetter};
use crate::error::{JournalError, OpenError};
use crate::group::Group;
use crate::intake::Intake;
use crate::local::{LocalContents, LocalRun, LocalState};
use crate::open_state;
use crate::reader::{JournalReader, ReadSide, is_damage, lock};
use crate::recent::Recent;
use crate::registry::Registry;
use crate::report::{Head, JournalHealth, JournalStats, OpenReport, Salvage, SessionInfo};
use crate::salvage;
use crate::schema::{self, beside};
use crate::session::{OpenSession, OpenedSession, SessionWriter};
use crate::shared::{Places, Shared};
use crate::store::{self, Store};
use crate::writer::Writer;

/// When the last handle is dropped without [`Journal::close`], what waits still has this long to be committed.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// The durable log. Cheap to clone. The file is closed by [`close`](Self::close), or when the last clone is dropped;
/// readers and session writers do not keep it open.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    side: Mutex<ReadSide>,
    running: Mutex<Option<Running>>,
    #[cfg(test)]
    faults: crate::fault::Faults,
}

/// The writer thread, and the lock that keeps other processes out while it runs.
#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    lock: File,
}

impl Running {
    fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the journal's writer thread panicked");
        }
        drop(self.lock);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            self.shared.intake.close(Instant::now() + DROP_DEADLINE);
            running.join();
        }
    }
}

impl Journal {
    /// Opens or makes the journal, and starts its writer. Whatever a crash left is put right; a damaged file is set
    /// aside, what can be read of it taken over.
    ///
    /// # Errors
    /// [`JournalError::InUse`] when another process has it open, [`JournalError::NewerSchema`] and
    /// [`JournalError::NotAJournal`] for files that are not this program's, else what the file system or SQLite says.
    pub fn open(config: JournalConfig, clock: Arc<dyn Clock>) -> Result<(Self, OpenReport), JournalError> {
        let now = clock.now();
        if let Some(folder) = config.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(JournalError::file("make the folder", folder))?;
        }
        let lock = lock_file(&config.path)?;
        let Found { mut store, mut sessions, locals, unanswered, created, salvage } = find(&config, now)?;
        let renamed = store
            .cursors
            .values()
            .any(|cursor| cursor.journal_id == store.journal_id && cursor.offset > store.head.offset);
        if renamed {
            store.rename(now).map_err(JournalError::sqlite("rename the journal"))?;
            for session in &mut sessions {
                session.derived = session.derived.max(now.0);
            }
            tracing::warn!(
                path = %config.path.display(),
                "a sink is ahead of the journal, which is an older copy: all sinks start at its oldest record"
            );
        }
        if salvage.is_some() {
            store.forget_salvage().map_err(JournalError::sqlite("note that the damage was told"))?;
        }
        let ballast = Ballast::new(&config.path, config.ballast_bytes);
        if let Err(error) = ballast.make() {
            tracing::warn!(%error, "there is no room for the journal's ballast");
        }
        let registry = Registry::new(sessions, locals, |id| salvage.is_some() || unanswered.contains(&id), now);
        let report = OpenReport {
            journal_id: store.journal_id,
            created,
            renamed,
            salvage,
            open_sessions: registry.open_sessions(),
        };
        let shared = Arc::new(Shared::new(
            config.path.clone(),
            store.journal_id,
            Intake::new(registry, config.max_delay, clock),
            Recent::new(config.recent_bytes),
            config.ingest_budget,
            store.head,
            Places { tail: store.tail, cursors: store.cursors.clone() },
        ));
        #[cfg(test)]
        let faults = store.faults.clone();
        let writer = Writer::new(Arc::clone(&shared), store, ballast);
        let thread = std::thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(JournalError::Thread)?;
        let inner = Inner {
            shared,
            side: Mutex::default(),
            running: Mutex::new(Some(Running { thread, lock })),
            #[cfg(test)]
            faults,
        };
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// Faults for the next commits.
    #[cfg(test)]
    pub(crate) fn faults(&self) -> &crate::fault::Faults {
        &self.inner.faults
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// The journal's name. It does not change while the journal is open.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.shared().id
    }

    /// The end of the journal, told after each commit.
    #[must_use]
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.shared().head.subscribe()
    }

    /// Whether the journal can commit.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<JournalHealth> {
        self.shared().health.subscribe()
    }

    /// The budget of received bytes that wait for their commit, in bytes. A session takes permits before it reads from
    /// its socket, and hands them in with its run.
    #[must_use]
    pub fn ingest_budget(&self) -> Arc<Semaphore> {
        Arc::clone(&self.shared().budget)
    }

    /// Opens or resumes a session for a new connection (delivery rules 2, 4, 5). Earlier connections of it are retired;
    /// what they handed over is durable when this returns. The publisher's other session is replaced, unless this one
    /// only delivers its rest.
    pub async fn open_session(&self, open: OpenSession) -> Result<OpenedSession, OpenError> {
        let shared = self.shared();
        let now = shared.intake.clock().now();
        let change = |registry: &mut Registry, group: &mut Group| {
            let opened = registry.open(&open, now, group)?;
            let (committed_sequence, announce) = (opened.sequence, opened.announce);
            // Made here already: a caller that gives up waiting drops it, and with it the connection.
            let writer = SessionWriter::new(Arc::clone(shared), opened);
            Ok(OpenedSession { committed_sequence, announce, writer })
        };
        shared.intake.commit(|| OpenError::Closed, change).await
    }

    /// For reading records.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(self.shared()))
    }

    fn read<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        lock(&self.inner.side).with(self.shared(), what, |connection, _| read(connection))
    }

    /// Events appended up to and including the record at `offset`. Exact for every offset in the journal, at its tail,
    /// and at the place of every sink's cursor; in between behind the tail it is a lower bound.
    pub fn cumulative_at(&self, offset: u64) -> Result<u64, JournalError> {
        if let Some(count) = self.shared().recent.cumulative_at(offset) {
            return Ok(count);
        }
        let head = *self.shared().head.borrow();
        let Places { tail, cursors } = self.shared().places().clone();
        self.read("read a cumulative count", |connection| {
            store::cumulative_at(connection, offset, head, tail, &cursors)
        })
    }

    /// What is open just after the record at `at_offset`, or at the tail if that lies later (delivery rule 11): for each
    /// session that has not ended its SessionStarted and an announcement, in one or more records.
    pub fn open_state(&self, at_offset: u64) -> Result<Vec<Arc<Record>>, JournalError> {
        let now = self.shared().intake.clock().now();
        lock(&self.inner.side).with(self.shared(), "read what is open", |connection, names| {
            open_state::announce_at(connection, names, at_offset, now)
        })
    }

    /// How far a sink has come, as it was last committed; of another journal's name if the journal was renamed since.
    pub fn cursor(&self, sink: &str) -> Result<Option<Cursor>, JournalError> {
        let places = self.shared().places();
        Ok(places.cursors.get(sink).map(|cursor| Cursor { journal_id: cursor.journal_id, offset: cursor.offset }))
    }

    /// Notes how far a sink has come. Written with the next commit, within `max_delay`. A cursor of another journal is
    /// not noted.
    pub fn set_cursor(&self, sink: &str, cursor: Cursor) {
        self.shared().intake.note(|notes| notes.set_cursor(sink, Some(cursor)));
    }

    /// The sinks of which a cursor is kept, in the order of their names.
    #[must_use]
    pub fn sinks(&self) -> Vec<String> {
        let mut sinks: Vec<String> = self.shared().places().cursors.keys().cloned().collect();
        sinks.sort_unstable();
        sinks
    }

    /// Forgets a sink that is configured no more, so that nothing waits for it.
    pub fn forget_sink(&self, sink: &str) {
        self.shared().intake.note(|notes| notes.set_cursor(sink, None));
    }

    /// Keeps events that can never succeed; durable on return. A letter that is there already is left as it is. When
    /// there are too many the oldest go, counted (delivery rule 26).
    pub async fn insert_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<(), JournalError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.shared().intake.commit_note(|notes| notes.dead_letters.extend(letters)).await
    }

    /// The latest dead letters of one sink, or of all, newest first.
    pub fn dead_letters(&self, sink: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.read("read dead letters", |connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM dead_letters letters
                 WHERE ?1 IS NULL OR letters.sink = ?1 ORDER BY letters.id DESC LIMIT ?2"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            query.query_map(rusqlite::params![sink, limit], DeadLetter::read)?.collect()
        })
    }

    /// Appends a run made inside the process, and the state that belongs to it, in one transaction (delivery rule 31).
    /// The frames are numbered behind the session's last; returns their last number, durable.
    pub async fn append_local(&self, local: LocalRun) -> Result<u64, JournalError> {
        let contents = LocalContents::of(&local)?;
        let intake = &self.shared().intake;
        intake.reserve(local.frames.len()).await?;
        let now = intake.clock().now();
        intake
            .commit(|| JournalError::Closed, |registry, group| registry.admit_local(local, contents, now, group))
            .await
    }

    /// What was committed last under a bridge's name.
    pub fn local_state(&self, name: &str) -> Result<Option<LocalState>, JournalError> {
        let stored = self.read("read a bridge's state", |connection| schema::read_local_state(connection, name))?;
        let Some((_, state)) = stored else { return Ok(None) };
        let local = self.shared().intake.lock().registry.local(name);
        Ok(local.map(|(session_id, committed_sequence)| LocalState { session_id, committed_sequence, state }))
    }

    /// Ends a session from inside. `outcome` is one of `stats_sv2::event::ENDED_*`.
    pub async fn end_session(
        &self,
        publisher: &str,
        session_id: u64,
        outcome: u8,
        reason: &str,
    ) -> Result<(), JournalError> {
        let intake = &self.shared().intake;
        let now = intake.clock().now();
        let change = |registry: &mut Registry, group: &mut Group| {
            registry
                .end_named(publisher, session_id, outcome, reason, now, group)
                .ok_or_else(|| JournalError::UnknownSession { publisher: publisher.to_owned(), session_id })
        };
        intake.commit(|| JournalError::Closed, change).await
    }

    /// Every known session, in no order.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared().intake.lock().registry.infos()
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let mut stats = self.shared().stats().clone();
        let state = self.shared().intake.lock();
        let decisions = state.registry.decisions;
        stats.gap_unseen = decisions.gap_unseen;
        stats.gap_missing = decisions.gap_missing;
        stats.duplicates = decisions.duplicates;
        stats.malformed = decisions.malformed;
        stats.refused_retired = decisions.refused_retired;
        stats.refused_beyond_next = decisions.refused_beyond_next;
        stats.waiting_events += state.group.events;
        stats.open_sessions = state.registry.open_sessions() as u64;
        stats
    }

    /// Commits what waits, stops the writer and releases the file. Nothing is taken from here on.
    ///
    /// # Errors
    /// [`JournalError::NotFlushed`] if commits fail until the deadline; what was left was never acknowledged.
    pub async fn close(&self, deadline: Duration) -> Result<(), JournalError> {
        let mut stopped = self.shared().stopped.subscribe();
        self.shared().intake.close(Instant::now() + deadline);
        let left_behind = match stopped.wait_for(Option::is_some).await {
            Ok(left_behind) => left_behind.unwrap_or_default(),
            Err(_) => 0,
        };
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            // It has said that it stops, so this does not wait.
            running.join();
        }
        match left_behind {
            0 => Ok(()),
            events => Err(JournalError::NotFlushed { events }),
        }
    }
}

/// Everything that opening finds out from the file.
struct Found {
    store: Store,
    sessions: Vec<crate::group::SessionRow>,
    locals: std::collections::HashMap<Arc<str>, i64>,
    /// Sessions whose announcement was asked for and has not come.
    unanswered: HashSet<i64>,
    created: bool,
    salvage: Option<Salvage>,
}

/// Opens the file, or what can be made of it.
fn find(config: &JournalConfig, now: UnixMillis) -> Result<Found, JournalError> {
    // An earlier start may have been killed within it.
    salvage::put_in_place(&config.path)?;
    let reason = match salvage::marked(&config.path) {
        Some(mark) if config.path.exists() => mark,
        _ => match load(config, now) {
            Err(JournalError::Sqlite { source, .. }) if is_damage(&source) => source.to_string(),
            outcome => return outcome,
        },
    };
    salvage::salvage(config, &reason, now)?;
    load(config, now)
}

/// Reads what does not grow with the journal, and so touches every table: damage at the ends is found here, damage in
/// between when it is read.
fn load(config: &JournalConfig, now: UnixMillis) -> Result<Found, JournalError> {
    let failed = JournalError::sqlite;
    let path = &config.path;
    let (connection, created) = schema::open_writer(config, now).map_err(failed("open the journal"))?;
    schema::check_identity(&connection, path)?;
    if created {
        schema::sync_folder(path)?;
    }
    let salvage = salvage::read_report(&connection, path).map_err(failed("read what is to be told of the journal"))?;
    let sessions = schema::read_sessions(&connection).map_err(failed("read the journal's sessions"))?;
    let locals = schema::read_local_sessions(&connection).map_err(failed("read the bridges' states"))?;
    let unanswered =
        open_state::unanswered_gaps(&connection, &sessions).map_err(failed("read the sessions' last records"))?;
    let store = Store::new(connection, config).map_err(failed("read the journal's places"))?;
    store.touch_ends().map_err(failed("read the ends of the journal"))?;
    Ok(Found { store, sessions, locals, unanswered, created: created && salvage.is_none(), salvage })
}

fn lock_file(path: &Path) -> Result<File, JournalError> {
    let lock_path = beside(path, ".lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(JournalError::file("open the lock file", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(JournalError::File { what: "lock", path: lock_path, source }),
    }
}
