//! Who is there: the one meaning of "online", for lists, pages and counts.

use mining_stats::Sv1Difficulty;
use mining_stats::reading::STALE_AFTER_MS;
use rusqlite::{Connection, Params};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::query::QueryError;
use crate::query::series::work_of_target;

/// Whoever sent no share for so long, and did not just come either, is not online, however open the connection is.
const SHARE_WITHIN_MS: u64 = 5 * 60_000;
/// One that is slow may take so many times what a share takes it on average: 1 of 150 waits longer.
const PATIENCE: f64 = 5.0;

/// Whether a worker is there, as of when its source was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Connected, and a share came within five minutes, or within five times what a share takes it on average; or it has not
    /// been connected for longer.
    Online,
    /// Connected, without a share lately.
    Silent,
    /// Not connected.
    Gone,
}

impl Presence {
    /// The name in JSON and CSV.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Silent => "silent",
            Self::Gone => "gone",
        }
    }
}

/// What a source has open.
pub(crate) const OF_SOURCE: &str =
    "SELECT identity, opened_at, last_share_at, target, nominal_hashrate FROM channels WHERE source = ?1 AND closed_at IS NULL
     UNION ALL SELECT identity, connected_at, last_share_at, target, declared_hashrate FROM miners
     WHERE source = ?1 AND disconnected_at IS NULL";
/// What a worker has open.
pub(crate) const OF_WORKER: &str =
    "SELECT identity, opened_at, last_share_at, target, nominal_hashrate FROM channels WHERE identity = ?1 AND closed_at IS NULL
     UNION ALL SELECT identity, connected_at, last_share_at, target, declared_hashrate FROM miners
     WHERE identity = ?1 AND disconnected_at IS NULL";

/// What a worker has open.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// Its latest share, or its latest opening.
    active_ms: u64,
    opened_ms: u64,
    /// Of the connection that opened last.
    target: Option<u32>,
    declared_hashrate: Option<u64>,
}

impl Open {
    fn presence(&self, at_ms: u64) -> Presence {
        let work = self.target.and_then(work_of_target).and_then(Sv1Difficulty::from_expected_hashes);
        let declared = self.declared_hashrate.filter(|rate| *rate > 0);
        let expected_ms = work.zip(declared).map_or(0.0, |(work, rate)| work.expected_hashes() / rate as f64 * 1000.0);
        let within_ms = SHARE_WITHIN_MS.max((expected_ms * PATIENCE) as u64);
        if at_ms.saturating_sub(self.active_ms) <= within_ms { Presence::Online } else { Presence::Silent }
    }
}

/// The workers of a source that are connected, by the series of their name.
#[derive(Debug, Default)]
pub(super) struct Connected(FxHashMap<i64, Presence>);

impl Connected {
    /// All of a source, which told its last event at `heard_ms`: by one scan of what is open.
    pub(super) fn of_source(conn: &Connection, source: i64, heard_ms: u64, now_ms: u64) -> Result<Self, QueryError> {
        Self::read(conn, OF_SOURCE, [source], heard_ms, now_ms)
    }

    /// One worker.
    pub(super) fn of_worker(conn: &Connection, series: i64, heard_ms: u64, now_ms: u64) -> Result<Self, QueryError> {
        Self::read(conn, OF_WORKER, [series], heard_ms, now_ms)
    }

    fn read(conn: &Connection, sql: &str, of: impl Params, heard_ms: u64, now_ms: u64) -> Result<Self, QueryError> {
        let mut workers: FxHashMap<i64, Open> = FxHashMap::default();
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(of)?;
        while let Some(row) = rows.next()? {
            let worker = workers.entry(row.get(0)?).or_default();
            let (opened_ms, share_ms): (u64, Option<u64>) = (row.get(1)?, row.get(2)?);
            worker.active_ms = worker.active_ms.max(opened_ms).max(share_ms.unwrap_or(0));
            if opened_ms >= worker.opened_ms {
                worker.opened_ms = opened_ms;
                (worker.target, worker.declared_hashrate) = (row.get(3)?, row.get(4)?);
            }
        }
        // Of a source that is silent nothing newer is known than what was when it was last heard.
        let at_ms = if now_ms.saturating_sub(heard_ms) > STALE_AFTER_MS { heard_ms } else { now_ms };
        Ok(Self(workers.into_iter().map(|(series, open)| (series, open.presence(at_ms))).collect()))
    }

    pub(super) fn presence(&self, series: i64) -> Presence {
        self.0.get(&series).copied().unwrap_or(Presence::Gone)
    }

    /// Workers of this presence.
    pub(super) fn count(&self, presence: Presence) -> u64 {
        self.0.values().filter(|other| **other == presence).count() as u64
    }
}
