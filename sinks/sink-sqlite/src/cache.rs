//! What applying a batch keeps in memory: a copy of rows that are committed, loaded when first needed.
//!
//! After any failure the whole cache is thrown away together with the transaction, so it can never disagree with the
//! file. Between transactions it is bounded: beyond the limits it is thrown away as well.

use std::sync::Arc;

use mining_stats::{Spans, Tier};
use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::{FxHashMap, FxHashSet};
use sidecar_core::Record;
use stats_sv2::CompactTarget;

use crate::error::HistoryError;
use crate::kept::Kept;
use crate::quote_book::QuoteBook;
use crate::rollup::{Pending, SeriesRef};

/// Sessions kept in memory.
const MAX_SESSIONS: usize = 2_048;
/// Channels and miners kept in memory, over all sessions.
const MAX_WORKERS: usize = 200_000;
/// Names of series kept in memory, over all sources.
const MAX_SERIES_NAMES: usize = 200_000;
/// Closed workers that a session keeps for late shares before it forgets them.
const CLOSED_WORKERS: usize = 256;

/// What a series is about. The numbers stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum SeriesKind {
    /// All channels of a publisher.
    Channels = 0,
    /// A user_identity.
    Identity = 1,
    /// A downstream connection.
    Downstream = 2,
    /// All miners of a translator.
    Miners = 3,
    /// A miner's name.
    MinerName = 4,
    /// A miner's connection.
    MinerId = 5,
}

/// The name of the series that takes what exceeds the limit of names.
pub(crate) const OTHER: &str = "(other)";

/// A publisher.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) row: i64,
    series: [FxHashMap<Box<str>, SeriesRef>; 6],
    /// Series of each kind in the table, once counted.
    counts: [Option<u32>; 6],
    /// Slots that losses took out of the rates, in whole minutes.
    pub(crate) struck: Spans,
    pub(crate) last_received_at: u64,
    pub(crate) dropped: u64,
    pub(crate) missing: u64,
    pub(crate) unknown: u64,
    pub(crate) undecodable: u64,
}

/// A channel or an SV1 miner.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Row in `channels` or `miners`; 0 for the stand-in of a session that exceeds the limit of open objects.
    pub(crate) row: i64,
    pub(crate) is_miner: bool,
    pub(crate) identity: SeriesRef,
    pub(crate) connection: SeriesRef,
    pub(crate) opened_at: u64,
    pub(crate) open: bool,
    /// Made because a share named it, not because it was seen to open.
    pub(crate) implied: bool,
    pub(crate) pending: Pending,
    /// Milliseconds of a slot of `pending`.
    pub(crate) width: u64,
    pub(crate) counts: WorkerCounts,
    pub(crate) dirty: bool,
}

/// What a worker's row grows by in this transaction.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct WorkerCounts {
    pub(crate) last_share_at: u64,
    /// The latest of the shares that came after the end of the connection; 0 for none.
    pub(crate) late_share_at: u64,
    pub(crate) target: CompactTarget,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) invalid_target: u64,
    pub(crate) work: f64,
    pub(crate) best_share_work: f64,
    pub(crate) blocks: u64,
    pub(crate) quotes: u64,
    pub(crate) ehash: u128,
}

/// A downstream connection and its channels, open or not yet forgotten.
#[derive(Debug, Default)]
pub(crate) struct Downstream {
    pub(crate) row: i64,
    pub(crate) channels: FxHashSet<u32>,
}

/// A session of a publisher.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) row: i64,
    pub(crate) source: Arc<str>,
    pub(crate) applied: u64,
    pub(crate) applied_derived: u64,
    pub(crate) ended: bool,
    pub(crate) announcement: u32,
    pub(crate) announcing: bool,
    pub(crate) observed: Option<i64>,
    pub(crate) observed_end: u64,
    pub(crate) open_loss: Option<i64>,
    pub(crate) last_event_at: u64,
    pub(crate) last_heartbeat_at: u64,
    pub(crate) earliest_since_heartbeat: u64,
    pub(crate) workers: Vec<Worker>,
    /// By downstream and channel.
    pub(crate) channels: FxHashMap<u64, u32>,
    pub(crate) miners: FxHashMap<u32, u32>,
    pub(crate) downstreams: FxHashMap<u32, Downstream>,
    pub(crate) closed_workers: usize,
    pub(crate) dirty: Vec<u32>,
    pub(crate) channels_total: (Option<SeriesRef>, Pending),
    pub(crate) miners_total: (Option<SeriesRef>, Pending),
    pub(crate) changed: bool,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) sources: FxHashMap<Arc<str>, Source>,
    pub(crate) sessions: FxHashMap<(i64, u64), Session>,
    pub(crate) kept: Option<Kept>,
    pub(crate) quotes: QuoteBook,
}

/// The key of a channel in [`Session::channels`].
pub(crate) const fn channel_key(downstream_id: u32, channel_id: u32) -> u64 {
    (downstream_id as u64) << 32 | channel_id as u64
}

impl Cache {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets everything if it has grown beyond its limits. Only between transactions.
    pub(crate) fn bound(&mut self) {
        let workers: usize = self.sessions.values().map(|session| session.workers.len()).sum();
        let names: usize = self.sources.values().flat_map(|source| &source.series).map(FxHashMap::len).sum();
        if self.sessions.len() > MAX_SESSIONS || workers > MAX_WORKERS || names > MAX_SERIES_NAMES {
            self.clear();
        }
    }

    /// Which times the tables cover.
    pub(crate) fn kept(&mut self, conn: &Connection) -> Result<Kept, HistoryError> {
        if let Some(kept) = self.kept {
            return Ok(kept);
        }
        let kept = Kept::load(conn)?;
        self.kept = Some(kept);
        Ok(kept)
    }

    /// Takes a source out, to be put back after its record.
    pub(crate) fn take_source(&mut self, conn: &Connection, record: &Record) -> Result<Source, HistoryError> {
        if let Some(source) = self.sources.remove(&record.publisher) {
            return Ok(source);
        }
        let kept = self.kept(conn)?;
        Source::load(conn, record, kept.since(Tier::OneHour))
    }

    /// Takes a session out, to be put back after its record.
    pub(crate) fn take_session(
        &mut self,
        conn: &Connection,
        source: &Source,
        record: &Record,
    ) -> Result<Session, HistoryError> {
        match self.sessions.remove(&(source.row, record.session_id)) {
            Some(session) => Ok(session),
            None => Session::load(conn, source, record),
        }
    }
}

impl Source {
    fn load(conn: &Connection, record: &Record, hours_kept_since: u64) -> Result<Self, HistoryError> {
        conn.prepare_cached(
            "INSERT INTO sources (publisher, role, first_seen_at, last_received_at) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT (publisher) DO NOTHING",
        )?
        .execute(params![&*record.publisher, record.role as u8, record.received_at.0])?;
        let (row, last_received_at) = conn
            .prepare_cached("SELECT id, last_received_at FROM sources WHERE publisher = ?1")?
            .query_row([&*record.publisher], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut losses = conn
            .prepare_cached("SELECT start_at, end_at FROM losses WHERE source = ?1 AND end_at >= ?2 AND strikes = 1")?;
        let losses = losses.query_map(params![row, hours_kept_since], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self {
            row,
            series: Default::default(),
            counts: [None; 6],
            struck: losses.map(|loss| loss.map(struck_slots)).collect::<Result<Vec<_>, _>>().map(Spans::union_of)?,
            last_received_at,
            dropped: 0,
            missing: 0,
            unknown: 0,
            undecodable: 0,
        })
    }

    /// The series of this kind and name, made if it is new. Beyond the limit of names it is the shared one.
    pub(crate) fn series(
        &mut self,
        conn: &Connection,
        kind: SeriesKind,
        name: &str,
        seen_at: u64,
        limits: SeriesLimits,
    ) -> Result<SeriesRef, HistoryError> {
        let index = kind as usize;
        if let Some(series) = self.series[index].get(name) {
            return Ok(*series);
        }
        let found = conn
            .prepare_cached("SELECT id, levels FROM series WHERE source = ?1 AND kind = ?2 AND name = ?3")?
            .query_row(params![self.row, index, name], |row| Ok(SeriesRef { id: row.get(0)?, levels: row.get(1)? }))
            .optional()?;
        let series = match found {
            Some(series) => series,
            None => {
                let count = match self.counts[index] {
                    Some(count) => count,
                    None => conn
                        .prepare_cached("SELECT count(*) FROM series WHERE source = ?1 AND kind = ?2")?
                        .query_row(params![self.row, index], |row| row.get(0))?,
                };
                self.counts[index] = Some(count);
                if count >= limits.max_series && name != OTHER {
                    return self.series(conn, kind, OTHER, seen_at, limits);
                }
                let levels = match kind {
                    SeriesKind::Channels | SeriesKind::Miners => SeriesRef::FINE,
                    SeriesKind::Identity | SeriesKind::MinerName if count < limits.fine_workers => SeriesRef::FINE,
                    SeriesKind::Identity | SeriesKind::MinerName => SeriesRef::WORKER,
                    SeriesKind::Downstream | SeriesKind::MinerId => SeriesRef::CONNECTION,
                };
                conn.prepare_cached(
                    "INSERT INTO series (source, kind, name, levels, first_seen_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![self.row, index, name, levels, seen_at])?;
                self.counts[index] = Some(count + 1);
                SeriesRef { id: conn.last_insert_rowid(), levels }
            }
        };
        self.series[index].insert(name.into(), series);
        Ok(series)
    }
}

/// How many names get a history of their own, and how many of them at ten seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesLimits {
    pub(crate) max_series: u32,
    pub(crate) fine_workers: u32,
}

/// The whole minutes that a loss touches. A loss of a single moment touches its minute.
pub(crate) fn struck_slots((start, end): (u64, u64)) -> (u64, u64) {
    let width = mining_stats::tier::SLOT_MS;
    (start - start % width, (end.max(start) / width + 1) * width)
}

impl Session {
    fn load(conn: &Connection, source: &Source, record: &Record) -> Result<Self, HistoryError> {
        conn.prepare_cached(
            "INSERT INTO sessions (source, session_id, started_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (source, session_id) DO NOTHING",
        )?
        .execute(params![source.row, record.session_id, record.received_at.0])?;
        let mut session = conn
            .prepare_cached(
                "SELECT s.id, applied, applied_derived, ended_at IS NOT NULL, announcement, announcing,
                   observed, coalesce(o.end_at, 0), open_loss, last_event_at, last_heartbeat_at, earliest_since_heartbeat
                 FROM sessions s LEFT JOIN observed o ON o.id = s.observed WHERE s.source = ?1 AND s.session_id = ?2",
            )?
            .query_row(params![source.row, record.session_id], |row| {
                Ok(Self {
                    row: row.get(0)?,
                    source: Arc::clone(&record.publisher),
                    applied: row.get(1)?,
                    applied_derived: row.get(2)?,
                    ended: row.get(3)?,
                    announcement: row.get(4)?,
                    announcing: row.get(5)?,
                    observed: row.get(6)?,
                    observed_end: row.get(7)?,
                    open_loss: row.get(8)?,
                    last_event_at: row.get(9)?,
                    last_heartbeat_at: row.get(10)?,
                    earliest_since_heartbeat: row.get(11)?,
                    workers: Vec::new(),
                    channels: FxHashMap::default(),
                    miners: FxHashMap::default(),
                    downstreams: FxHashMap::default(),
                    closed_workers: 0,
                    dirty: Vec::new(),
                    channels_total: Default::default(),
                    miners_total: Default::default(),
                    changed: false,
                })
            })?;
        session.load_open_objects(conn)?;
        Ok(session)
    }

    fn load_open_objects(&mut self, conn: &Connection) -> Result<(), HistoryError> {
        let mut downstreams = conn.prepare_cached(
            "SELECT downstream_id, id FROM downstreams WHERE session = ?1 AND disconnected_at IS NULL",
        )?;
        for row in downstreams.query_map([self.row], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, row) = row?;
            self.downstreams.insert(id, Downstream { row, channels: FxHashSet::default() });
        }
        let mut channels = conn.prepare_cached(
            "SELECT downstream_id, channel_id, c.id, i.id, i.levels, n.id, n.levels, opened_at, implied
             FROM channels c JOIN series i ON i.id = c.identity JOIN series n ON n.id = c.connection
             WHERE session = ?1 AND closed_at IS NULL",
        )?;
        let mut rows = channels.query([self.row])?;
        while let Some(row) = rows.next()? {
            let (downstream_id, channel_id) = (row.get(0)?, row.get(1)?);
            let worker = Worker::from_row(row, false, true)?;
            self.insert_channel(downstream_id, channel_id, worker);
        }
        let mut miners = conn.prepare_cached(
            "SELECT miner_id, 0, m.id, i.id, i.levels, n.id, n.levels, connected_at, implied
             FROM miners m JOIN series i ON i.id = m.identity JOIN series n ON n.id = m.connection
             WHERE session = ?1 AND disconnected_at IS NULL",
        )?;
        let mut rows = miners.query([self.row])?;
        while let Some(row) = rows.next()? {
            let miner_id = row.get(0)?;
            let worker = Worker::from_row(row, true, true)?;
            self.insert_miner(miner_id, worker);
        }
        Ok(())
    }

    /// The latest channel of these ids that is closed, if the table has one: a share may come late.
    pub(crate) fn load_closed_channel(
        &mut self,
        conn: &Connection,
        downstream_id: u32,
        channel_id: u32,
    ) -> Result<Option<u32>, HistoryError> {
        let worker = conn
            .prepare_cached(
                "SELECT 0, 0, c.id, i.id, i.levels, n.id, n.levels, opened_at, implied
                 FROM channels c JOIN series i ON i.id = c.identity JOIN series n ON n.id = c.connection
                 WHERE session = ?1 AND downstream_id = ?2 AND channel_id = ?3 ORDER BY c.id DESC LIMIT 1",
            )?
            .query_row(params![self.row, downstream_id, channel_id], |row| Worker::from_row(row, false, false))
            .optional()?;
        Ok(worker.map(|worker| self.insert_channel(downstream_id, channel_id, worker)))
    }

    /// The same for a miner.
    pub(crate) fn load_closed_miner(&mut self, conn: &Connection, miner_id: u32) -> Result<Option<u32>, HistoryError> {
        let worker = conn
            .prepare_cached(
                "SELECT 0, 0, m.id, i.id, i.levels, n.id, n.levels, connected_at, implied
                 FROM miners m JOIN series i ON i.id = m.identity JOIN series n ON n.id = m.connection
                 WHERE session = ?1 AND miner_id = ?2 ORDER BY m.id DESC LIMIT 1",
            )?
            .query_row(params![self.row, miner_id], |row| Worker::from_row(row, true, false))
            .optional()?;
        Ok(worker.map(|worker| self.insert_miner(miner_id, worker)))
    }

    /// Adds a channel under its ids; an older one of the same ids is still written, but found no more.
    pub(crate) fn insert_channel(&mut self, downstream_id: u32, channel_id: u32, worker: Worker) -> u32 {
        let open = worker.open;
        let index = self.push(worker);
        self.channels.insert(channel_key(downstream_id, channel_id), index);
        if open {
            self.downstreams.entry(downstream_id).or_default().channels.insert(channel_id);
        }
        index
    }

    /// Adds a miner under its id.
    pub(crate) fn insert_miner(&mut self, miner_id: u32, worker: Worker) -> u32 {
        let index = self.push(worker);
        self.miners.insert(miner_id, index);
        index
    }

    fn push(&mut self, worker: Worker) -> u32 {
        self.closed_workers += usize::from(!worker.open);
        // Open objects are limited far below 2^32.
        let index = self.workers.len() as u32;
        self.workers.push(worker);
        index
    }

    /// Marks a worker for the flush.
    #[inline]
    pub(crate) fn touch(&mut self, index: u32) -> &mut Worker {
        let worker = &mut self.workers[index as usize];
        if !worker.dirty {
            worker.dirty = true;
            self.dirty.push(index);
        }
        worker
    }

    /// Open objects of the session.
    pub(crate) fn open_objects(&self) -> usize {
        self.workers.len() - self.closed_workers + self.downstreams.len()
    }

    /// Forgets closed workers once they are many. Only when nothing is dirty.
    pub(crate) fn forget_closed(&mut self) {
        if self.closed_workers <= CLOSED_WORKERS.max(self.workers.len() / 4) || !self.dirty.is_empty() {
            return;
        }
        let mut places = vec![u32::MAX; self.workers.len()];
        let mut kept = Vec::with_capacity(self.workers.len() - self.closed_workers);
        for (index, worker) in std::mem::take(&mut self.workers).into_iter().enumerate() {
            if worker.open {
                places[index] = kept.len() as u32;
                kept.push(worker);
            }
        }
        self.workers = kept;
        self.closed_workers = 0;
        let keep = |index: &mut u32| {
            *index = places[*index as usize];
            *index != u32::MAX
        };
        self.channels.retain(|_, index| keep(index));
        self.miners.retain(|_, index| keep(index));
    }
}

impl Worker {
    /// A share was accepted at this time, before or after the end of the connection.
    #[inline]
    pub(crate) fn shared_at(&mut self, at: u64) {
        let latest = if self.open { &mut self.counts.last_share_at } else { &mut self.counts.late_share_at };
        *latest = at.max(*latest);
    }

    pub(crate) fn new(row: i64, is_miner: bool, identity: SeriesRef, connection: SeriesRef, opened_at: u64) -> Self {
        Self {
            row,
            is_miner,
            identity,
            connection,
            opened_at,
            open: true,
            implied: false,
            pending: Pending::default(),
            width: identity.finest().width_ms(),
            counts: WorkerCounts::default(),
            dirty: false,
        }
    }

    fn from_row(row: &rusqlite::Row<'_>, is_miner: bool, open: bool) -> rusqlite::Result<Self> {
        let identity = SeriesRef { id: row.get(3)?, levels: row.get(4)? };
        let connection = SeriesRef { id: row.get(5)?, levels: row.get(6)? };
        let worker = Self::new(row.get(2)?, is_miner, identity, connection, row.get(7)?);
        Ok(Self { open, implied: row.get(8)?, ..worker })
    }
}
