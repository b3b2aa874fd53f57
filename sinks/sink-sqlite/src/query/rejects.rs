//! Rejected shares of a range by reason.

use std::collections::BTreeMap;

use mining_stats::{Step, Tier};
use rusqlite::Connection;
use serde::Serialize;

use crate::query::buckets::{reasons_over, sums_over};
use crate::query::overview::totals;
use crate::query::series::SeriesQuery;
use crate::query::{History, QueryError, Subject, find_series, source_row, tiers_of};

impl History {
    /// How many shares of a range were accepted, and why others were not.
    pub fn rejects(&self, query: &SeriesQuery) -> Result<RejectsView, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        rejects(&tx, query)
    }
}

impl History {
    /// The same since the history began, which is more than the tiers keep.
    pub fn rejects_ever(&self, publisher: &str, subject: &Subject, now_ms: u64) -> Result<RejectsView, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let series = find_series(&tx, source, subject.kind(), &subject.name())?.ok_or_else(|| {
            QueryError::UnknownSubject { publisher: publisher.to_owned(), subject: format!("{subject:?}") }
        })?;
        let totals = totals(&tx, series)?;
        let mut first_seen = tx.prepare_cached("SELECT first_seen_at FROM series WHERE id = ?1")?;
        Ok(RejectsView {
            from_ms: first_seen.query_row([series.id], |row| row.get(0))?,
            to_ms: now_ms,
            tier: None,
            accepted: totals.accepted,
            invalid_target: totals.invalid_target,
            rejected: totals.rejected,
            by_reason: totals.rejected_by_reason,
        })
    }
}

/// Verdicts over a range.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RejectsView {
    /// Start of the range: of the first bucket that is kept.
    pub from_ms: u64,
    /// End of the range: of the last bucket.
    pub to_ms: u64,
    /// The tier that was read; `None` where it is everything since the history began.
    pub tier: Option<Tier>,
    /// Accepted shares.
    pub accepted: u64,
    /// Of these, shares with an invalid target, which gave no work.
    pub invalid_target: u64,
    /// Rejected shares.
    pub rejected: u64,
    /// Rejected shares by reason; reasons without any are left out.
    pub by_reason: BTreeMap<&'static str, u64>,
}

fn rejects(conn: &Connection, query: &SeriesQuery) -> Result<RejectsView, QueryError> {
    let SeriesQuery { publisher, subject, from_ms, to_ms, points } = query;
    if from_ms >= to_ms {
        return Err(QueryError::EmptyRange { from_ms: *from_ms, to_ms: *to_ms });
    }
    let source = source_row(conn, publisher)?;
    let unknown = || QueryError::UnknownSubject { publisher: publisher.clone(), subject: format!("{subject:?}") };
    let series = find_series(conn, source, subject.kind(), &subject.name())?.ok_or_else(unknown)?;
    let points = if *points == 0 { mining_stats::tier::MAX_POINTS } else { *points };
    let tiers = tiers_of(conn, series)?;
    let Step { tier, .. } = Step::for_range(*from_ms, *to_ms, points, &tiers).ok_or_else(unknown)?;
    let since = tiers.iter().find(|(kept, _)| *kept == tier).map_or(0, |(_, since)| *since);
    let width = tier.width_ms();
    let to = to_ms.div_ceil(width) * width;
    let from = tier.bucket_of(*from_ms).max(since).min(to);
    let mut view = RejectsView {
        from_ms: from,
        to_ms: to,
        tier: Some(tier),
        accepted: 0,
        invalid_target: 0,
        rejected: 0,
        by_reason: BTreeMap::new(),
    };
    let sums = sums_over(conn, tier, series.id, from, to)?;
    (view.accepted, view.invalid_target, view.rejected) = (sums.accepted, sums.invalid_target, sums.rejected_total());
    if view.rejected > 0 {
        reasons_over(conn, tier, series.id, from, to, |reason, count| {
            *view.by_reason.entry(reason.code()).or_default() += count;
        })?;
    }
    Ok(view)
}
