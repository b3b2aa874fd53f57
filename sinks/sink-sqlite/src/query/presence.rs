//! Observed time: when the publisher was observed, when the subject existed, and which slots losses struck out.

use mining_stats::Spans;
use mining_stats::tier::SLOT_MS;
use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use crate::cache::{SeriesKind, struck_slots};
use crate::query::QueryError;

/// The end of what is still open.
const OPEN_END: u64 = u64::MAX >> 1;

/// Observed and struck time of a publisher, or of one subject of it.
#[derive(Debug, Clone)]
pub(super) struct ObservedTime {
    observed: Spans,
    struck: Spans,
    /// Observed and not struck: asked for each bucket of a range, so it is made once.
    rated: Spans,
}

impl ObservedTime {
    /// Of the publisher as a whole, for what happened from `from` on and before `to`.
    pub(super) fn of_source(conn: &Connection, source: i64, from: u64, to: u64) -> Result<Self, QueryError> {
        let mut spans = conn.prepare_cached(
            "SELECT start_at, end_at FROM observed WHERE source = ?1 AND end_at >= ?2 AND start_at < ?3",
        )?;
        let observed = spans.query_map(params![source, from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let observed = observed.collect::<Result<Vec<_>, _>>().map(Spans::union_of)?;
        let mut losses = conn.prepare_cached(
            "SELECT start_at, end_at FROM losses
             WHERE source = ?1 AND end_at >= ?2 AND start_at < ?3 AND strikes = 1",
        )?;
        let margin = crate::schema::MAX_SLOT_MS;
        let struck = losses
            .query_map(params![source, from.saturating_sub(margin), to.saturating_add(margin)], |row| {
                Ok(struck_slots((row.get(0)?, row.get(1)?)))
            })?;
        let struck = struck.collect::<Result<Vec<_>, _>>().map(Spans::union_of)?;
        Ok(Self::new(observed, struck))
    }

    /// Narrowed to the time in which a subject existed.
    pub(super) fn while_present(&self, presence: &Spans) -> Self {
        Self::new(self.observed.intersection(presence), self.struck.clone())
    }

    /// Without what was before `begin`: of that the sums are not kept, so its time must not count either.
    pub(super) fn since(self, begin: u64) -> Self {
        let kept = Spans::union_of([(begin, OPEN_END)]);
        Self::new(self.observed.intersection(&kept), self.struck)
    }

    /// With the slots of a series whose finest buckets are `width` wide.
    pub(super) fn with_slots_of(self, width: u64) -> Self {
        if width > SLOT_MS { Self::new(self.observed, self.struck.widened_to(width)) } else { self }
    }

    fn new(observed: Spans, struck: Spans) -> Self {
        let rated = observed.difference(&struck);
        Self { observed, struck, rated }
    }

    /// Milliseconds between two times that a rate may rest on.
    pub(super) fn rated_within(&self, from: u64, to: u64) -> u64 {
        self.rated.within(from, to)
    }
}

/// When a subject existed, from `from` on. `None` for a publisher as a whole.
pub(super) fn presence_of(
    conn: &Connection,
    source: i64,
    kind: SeriesKind,
    series: i64,
    name: &str,
    from: u64,
) -> Result<Option<Spans>, QueryError> {
    // The plus signs keep SQLite from asking an index of all that is open or closed.
    let (sql, by_series) = match kind {
        SeriesKind::Channels | SeriesKind::Miners => return Ok(None),
        SeriesKind::Identity => (
            "SELECT opened_at, closed_at FROM channels WHERE identity = ?1 AND (+closed_at IS NULL OR +closed_at >= ?2)",
            true,
        ),
        SeriesKind::MinerName => (
            "SELECT connected_at, disconnected_at FROM miners
             WHERE identity = ?1 AND (+disconnected_at IS NULL OR +disconnected_at >= ?2)",
            true,
        ),
        // A downstream mines while it has a channel.
        SeriesKind::Downstream => (
            "SELECT opened_at, closed_at FROM channels WHERE connection = ?1 AND (+closed_at IS NULL OR +closed_at >= ?2)",
            true,
        ),
        SeriesKind::MinerId => (
            "SELECT connected_at, disconnected_at FROM miners
             WHERE miner_id = ?1 AND (+disconnected_at IS NULL OR +disconnected_at >= ?2) AND source = ?3",
            false,
        ),
    };
    let mut statement = conn.prepare_cached(sql)?;
    let span = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?.unwrap_or(OPEN_END)));
    let spans = if by_series {
        statement.query_map(params![series, from], span)?.collect::<Result<Vec<_>, _>>()?
    } else {
        statement.query_map(params![name, from, source], span)?.collect::<Result<Vec<_>, _>>()?
    };
    Ok(Some(Spans::union_of(spans)))
}

/// When each identity of a source existed, from `from` on: one scan for a whole list.
pub(super) fn presence_of_all(conn: &Connection, source: i64, from: u64) -> Result<FxHashMap<i64, Spans>, QueryError> {
    let mut statement = conn.prepare_cached(
        "SELECT identity, opened_at, closed_at FROM channels WHERE source = ?1 AND closed_at IS NULL
         UNION ALL SELECT identity, opened_at, closed_at FROM channels WHERE closed_at >= ?2 AND source = ?1
         UNION ALL SELECT identity, connected_at, disconnected_at FROM miners WHERE source = ?1 AND disconnected_at IS NULL
         UNION ALL SELECT identity, connected_at, disconnected_at FROM miners WHERE disconnected_at >= ?2 AND source = ?1",
    )?;
    let mut spans: FxHashMap<i64, Vec<(u64, u64)>> = FxHashMap::default();
    let mut rows = statement.query(params![source, from])?;
    while let Some(row) = rows.next()? {
        let end = row.get::<_, Option<u64>>(2)?.unwrap_or(OPEN_END);
        spans.entry(row.get(0)?).or_default().push((row.get(1)?, end));
    }
    Ok(spans.into_iter().map(|(identity, spans)| (identity, Spans::union_of(spans))).collect())
}
