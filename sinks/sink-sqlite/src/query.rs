//! Reading the history: for reports, dashboards and metrics, while a sidecar writes or after it.
//!
//! Every answer says which window it is about, how many shares it rests on and how much time was observed. Each call reads
//! one consistent state and holds no read transaction afterwards, so that it never keeps the WAL from being checkpointed.

mod buckets;
mod downstreams;
mod lists;
mod losses;
mod marks;
mod miners;
pub(crate) mod online;
mod open;
mod overview;
mod part;
mod presence;
mod publishers;
mod quote_trace;
mod quotes;
mod rates;
mod rejects;
mod series;
mod windows;
mod worker;

use std::path::Path;
use std::time::Instant;

use mining_stats::Tier;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

pub use crate::quote::{QuoteNote, QuoteStage, QuoteState};
pub use downstreams::{DownstreamPlace, DownstreamView};
pub use lists::{BlockView, ConnectionPlace, ConnectionView, WorkerView};
pub use marks::{BlockMark, LatestOf, MarksView, Outage};
pub use miners::{MinerView, UserAgentView};
pub use online::Presence;
pub use open::OpenTotals;
pub use overview::{GroupView, LossView, LuckView, Overview, RoundView, SessionView, SourceView, TipView, Totals};
pub use part::{Part, Place};
pub use publishers::{PublisherView, SourceLine};
pub use quote_trace::{QuoteKey, QuoteTrace, UnknownPayment};
pub use quotes::{
    EhashOf, EhashPlace, EhashView, LatencyView, QuoteCounts, QuoteFilter, QuoteFlow, QuotePlace, QuoteReport,
    QuoteView, StateView,
};
pub use rejects::RejectsView;
pub use series::{Point, SeriesAnswer, SeriesQuery};
pub use windows::{WINDOWS, WindowReading};
pub use worker::{PastConnection, WorkerDetail};

use crate::cache::SeriesKind;
use crate::error::HistoryError;
use crate::kept::Kept;
use crate::rollup::SeriesRef;
use crate::schema;
use crate::store;

/// Rows of any list at most.
pub const MAX_ROWS: u32 = 10_000;

/// Why a question has no answer. A failing query is an error, never zeros.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The file could not be opened or is no history.
    #[error("the history cannot be read")]
    Open(#[source] HistoryError),
    /// Reading failed.
    #[error("reading the history failed")]
    Read(#[source] HistoryError),
    /// Nobody of this name is known.
    #[error("no publisher {publisher} is known")]
    UnknownPublisher {
        /// The name asked for.
        publisher: String,
    },
    /// The publisher is known, the worker or connection is not.
    #[error("{publisher} has no {subject}")]
    UnknownSubject {
        /// The publisher.
        publisher: String,
        /// What was asked for.
        subject: String,
    },
    /// The range is empty or reversed.
    #[error("the range from {from_ms} to {to_ms} is empty")]
    EmptyRange {
        /// Start of the range.
        from_ms: u64,
        /// End of the range.
        to_ms: u64,
    },
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Read(error.into())
    }
}

impl From<HistoryError> for QueryError {
    fn from(error: HistoryError) -> Self {
        Self::Read(error)
    }
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// All channels of the publisher: a pool's hashrate.
    Channels,
    /// All SV1 miners of the publisher: a translator's hashrate.
    Miners,
    /// One user_identity.
    Identity(String),
    /// One miner, by name.
    MinerName(String),
    /// One downstream connection, by the pool's number for it.
    Downstream(u32),
    /// One miner connection, by the translator's number for it.
    MinerId(u32),
}

impl Subject {
    fn kind(&self) -> SeriesKind {
        match self {
            Self::Channels => SeriesKind::Channels,
            Self::Miners => SeriesKind::Miners,
            Self::Identity(_) => SeriesKind::Identity,
            Self::MinerName(_) => SeriesKind::MinerName,
            Self::Downstream(_) => SeriesKind::Downstream,
            Self::MinerId(_) => SeriesKind::MinerId,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Channels | Self::Miners => String::new(),
            Self::Identity(name) | Self::MinerName(name) => name.clone(),
            Self::Downstream(id) | Self::MinerId(id) => id.to_string(),
        }
    }
}

/// The history, opened for reading only.
#[derive(Debug)]
pub struct History {
    conn: Connection,
}

impl History {
    /// Opens the file; it must exist and have the schema version of this program.
    pub fn open(path: &Path) -> Result<Self, QueryError> {
        let open = || -> Result<Connection, HistoryError> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(std::time::Duration::from_secs(5))?;
            store::plan_once(&conn)?;
            conn.set_prepared_statement_cache_capacity(64);
            schema::check(&conn, schema::MIGRATIONS.len())?;
            let (found, known) = (schema::version(&conn)?, schema::MIGRATIONS.len());
            if found != known {
                return Err(HistoryError::OlderSchema { found, known });
            }
            Ok(conn)
        };
        open().map(|conn| Self { conn }).map_err(QueryError::Open)
    }

    /// From this moment on every question fails; `None` takes that back. Checked while SQLite works, so that a question
    /// that turns out to be too large ends.
    pub fn interrupt_at(&mut self, end: Option<Instant>) -> Result<(), QueryError> {
        /// Steps of SQLite's machine between two looks at the clock: well below a millisecond.
        const STEPS: std::ffi::c_int = 10_000;
        let is_over = end.map(|end| move || Instant::now() >= end);
        Ok(self.conn.progress_handler(STEPS, is_over)?)
    }

    /// Everything at a glance, as of `now_ms`.
    pub fn overview(&self, now_ms: u64) -> Result<Overview, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        overview::overview(&tx, now_ms)
    }

    /// A hashrate over a range, in steps that the history chooses.
    pub fn series(&self, query: &SeriesQuery) -> Result<SeriesAnswer, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        series::series(&tx, query)
    }

    /// User identities and miner names of a publisher with their readings over a window, by name, identities first, after
    /// the name and `is_miner` of `after`.
    pub fn workers(
        &self,
        publisher: &str,
        window_ms: u64,
        now_ms: u64,
        after: Option<(&str, bool)>,
        limit: u32,
    ) -> Result<Vec<WorkerView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        lists::workers(&tx, publisher, SeriesKind::Identity, window_ms, now_ms, after, limit.min(MAX_ROWS))
    }

    /// Open channels and miners of a publisher, the newest first, with their hashrates as of `rates_at_ms`, or without.
    pub fn connections(
        &self,
        publisher: &str,
        rates_at_ms: Option<u64>,
        part: &Part<ConnectionPlace>,
    ) -> Result<Vec<ConnectionView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        lists::connections(&tx, publisher, rates_at_ms, part)
    }

    /// Blocks that this publisher found, the latest first.
    pub fn blocks(&self, publisher: &str, part: &Part<Place>) -> Result<Vec<BlockView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        lists::blocks(&tx, source, part)
    }

    /// How many [`Self::blocks`] there are.
    pub fn blocks_total(&self, publisher: &str) -> Result<u64, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let mut count = tx.prepare_cached("SELECT count(*) FROM blocks WHERE source = ?1")?;
        Ok(count.query_row([source], |row| row.get(0))?)
    }
}

fn source_row(conn: &Connection, publisher: &str) -> Result<i64, QueryError> {
    conn.prepare_cached("SELECT id FROM sources WHERE publisher = ?1")?
        .query_row([publisher], |row| row.get(0))
        .optional()?
        .ok_or_else(|| QueryError::UnknownPublisher { publisher: publisher.to_owned() })
}

fn find_series(conn: &Connection, source: i64, kind: SeriesKind, name: &str) -> Result<Option<SeriesRef>, QueryError> {
    Ok(conn
        .prepare_cached("SELECT id, levels FROM series WHERE source = ?1 AND kind = ?2 AND name = ?3")?
        .query_row(params![source, kind as u8, name], |row| Ok(SeriesRef { id: row.get(0)?, levels: row.get(1)? }))
        .optional()?)
}

/// The tiers of a series, with the time from which on each is kept.
fn tiers_of(conn: &Connection, series: SeriesRef) -> Result<Vec<(Tier, u64)>, QueryError> {
    let kept = Kept::load(conn)?;
    Ok(Tier::ALL.into_iter().zip(kept.since).filter(|(tier, _)| series.has(schema::Level::Tier(*tier))).collect())
}
