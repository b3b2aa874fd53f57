//! The sink: one transaction for each batch, and what is due by time.

use std::fmt;

use rusqlite::{OptionalExtension, TransactionBehavior};
use sidecar_core::{Batch, BlockingSink, Cursor, Durability, JournalId, SinkError, SinkStart};
use stats_sv2::UnixMillis;

use crate::apply::{self, Policy};
use crate::cache::{Cache, SeriesLimits};
use crate::config::SqliteSettings;
use crate::error::HistoryError;
use crate::retention;
use crate::rollup::Rollup;
use crate::store::Store;

/// The history as a sink.
pub struct SqliteSink {
    settings: SqliteSettings,
    durability: Durability,
    policy: Policy,
    store: Option<Store>,
    cache: Cache,
    rollup: Rollup,
}

impl fmt::Debug for SqliteSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSink").field("path", &self.settings.path).field("open", &self.store.is_some()).finish()
    }
}

impl SqliteSink {
    /// A sink with these settings. It opens nothing yet.
    pub fn new(settings: SqliteSettings, durability: Durability) -> Result<Self, SinkError> {
        let policy = Policy {
            bounds: settings.target_bounds()?,
            series: SeriesLimits { max_series: settings.max_series.max(1), fine_workers: settings.fine_workers },
        };
        Ok(Self { settings, durability, policy, store: None, cache: Cache::default(), rollup: Rollup::default() })
    }

    fn store(&mut self) -> Result<&mut Store, HistoryError> {
        self.store.as_mut().ok_or(HistoryError::NotOpen)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        let store = self.store.as_mut().ok_or(HistoryError::NotOpen)?;
        let tx = store.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        apply::apply(&tx, &mut self.cache, &mut self.rollup, &self.policy, batch)?;
        tx.commit()?;
        self.cache.bound();
        Ok(())
    }

    /// What was in memory goes with the transaction that failed; damage replaces the file.
    ///
    /// The file that takes its place stands elsewhere in the journal, so the batch that failed must not simply come again:
    /// the error is fatal, and the driver asks for the cursor when it starts the sink anew.
    fn after_failure(&mut self, error: HistoryError) -> SinkError {
        self.cache.clear();
        self.rollup.clear();
        if !error.is_damage() {
            return error.into();
        }
        match self.store.take().map(|store| store.recover(&error)) {
            Some(Ok(store)) => {
                self.store = Some(store);
                let what =
                    "the history file was damaged; it was set aside, and what is lost is read from the journal again";
                SinkError::fatal(what, error)
            }
            Some(Err(failed)) => SinkError::fatal("the damaged history file could not be replaced yet", failed),
            None => error.into(),
        }
    }

    /// The open file, for tests that look inside or set limits.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> &rusqlite::Connection {
        &self.store.as_ref().expect("the test started the sink").conn
    }

    /// Channels and miners in memory.
    #[cfg(test)]
    pub(crate) fn cached_workers(&self) -> usize {
        self.cache.sessions.values().map(|session| session.workers.len()).sum()
    }

    fn cursor(&mut self) -> Result<Option<Cursor>, HistoryError> {
        let conn = &self.store()?.conn;
        let mut meta = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        let journal: Option<String> = meta.query_row(["journal_id"], |row| row.get(0)).optional()?;
        let offset: Option<u64> = meta.query_row(["offset"], |row| row.get(0)).optional()?;
        let journal = journal.and_then(|hex| u64::from_str_radix(&hex, 16).ok());
        Ok(journal.zip(offset).map(|(journal, offset)| Cursor { journal_id: JournalId(journal), offset }))
    }
}

impl BlockingSink for SqliteSink {
    fn start(&mut self) -> Result<SinkStart, SinkError> {
        if self.store.is_none() {
            self.store = Some(Store::open(&self.settings.path, self.durability)?);
        }
        let cursor = match self.cursor() {
            Err(error) if error.is_damage() => {
                // A fatal answer is for a driver that stands somewhere already; here the new file's cursor is the answer.
                let failure = self.after_failure(error);
                self.cursor().map_err(|_| failure)?
            }
            other => other?,
        };
        Ok(SinkStart { keeps_cursor: true, cursor, wants_announcement: cursor.is_none(), joins_batches: true })
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.apply(batch).map_err(|error| self.after_failure(error))
    }

    fn maintain(&mut self, now: UnixMillis) -> Result<(), SinkError> {
        let settings = self.settings.clone();
        let result = self.store().and_then(|store| retention::maintain(&mut store.conn, &settings, now.0));
        match result {
            Ok(done) => {
                if done.forgets_rows {
                    self.cache.clear();
                    self.rollup.clear();
                } else if done.moves_limits {
                    self.cache.kept = None;
                }
                Ok(())
            }
            Err(error) => Err(self.after_failure(error)),
        }
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.cache.clear();
        self.rollup.clear();
        let Some(store) = self.store.take() else { return Ok(()) };
        store.close().map_err(SinkError::from)
    }
}
