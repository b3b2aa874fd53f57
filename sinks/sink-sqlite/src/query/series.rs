//! A hashrate over a range of time, point by point.

use mining_stats::tier::DEFAULT_POINTS;
use mining_stats::{Step, Sums, Target, Tier};
use rusqlite::{Connection, params};
use serde::Serialize;
use stats_sv2::CompactTarget;

use crate::query::buckets::{Grain, for_each_bucket};
use crate::query::presence::{ObservedTime, presence_of};
use crate::query::{QueryError, Subject, find_series, source_row, tiers_of};

/// What is asked.
#[derive(Debug, Clone)]
pub struct SeriesQuery {
    /// The publisher.
    pub publisher: String,
    /// All of it, or one worker or connection.
    pub subject: Subject,
    /// Start of the range.
    pub from_ms: u64,
    /// End of the range.
    pub to_ms: u64,
    /// Points at most; 0 means [`DEFAULT_POINTS`].
    pub points: u64,
}

/// The answer: evenly spaced points, the first at or before the start of the range.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeriesAnswer {
    /// Start of the first point.
    pub from_ms: u64,
    /// End of the last point.
    pub to_ms: u64,
    /// Milliseconds of a point.
    pub step_ms: u64,
    /// The tier that was read.
    pub tier: Tier,
    /// The points, without a hole: a gap is a point without values.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Point {
    /// Start of the span that the point is about.
    pub at_ms: u64,
    /// Hashes per second; `None` where nothing was observed or a loss touched all of it.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval; above zero where time was observed and no share came, if a target is known.
    pub high: Option<f64>,
    /// Least value among the buckets that make the point, where there are several: buckets of the tier, or days where the
    /// step is whole days.
    pub min: Option<f64>,
    /// Greatest value among those buckets.
    pub max: Option<f64>,
    /// The part of the span that was observed and untouched by losses, from 0 to 1.
    pub observed: f64,
    /// Accepted shares, those in touched slots included; `None` in a gap.
    pub accepted: Option<u64>,
    /// Rejected shares; `None` in a gap.
    pub rejected: Option<u64>,
}

pub(super) fn series(conn: &Connection, query: &SeriesQuery) -> Result<SeriesAnswer, QueryError> {
    let SeriesQuery { publisher, subject, from_ms, to_ms, points } = query;
    if from_ms >= to_ms {
        return Err(QueryError::EmptyRange { from_ms: *from_ms, to_ms: *to_ms });
    }
    let source = source_row(conn, publisher)?;
    let unknown = || QueryError::UnknownSubject { publisher: publisher.clone(), subject: format!("{subject:?}") };
    let (kind, name) = (subject.kind(), subject.name());
    let series = find_series(conn, source, kind, &name)?.ok_or_else(unknown)?;
    let points = if *points == 0 { DEFAULT_POINTS } else { *points };
    let tiers = tiers_of(conn, series)?;
    let Step { tier, step_ms } = Step::for_range(*from_ms, *to_ms, points, &tiers).ok_or_else(unknown)?;
    let from = from_ms / step_ms * step_ms;
    let to = to_ms.div_ceil(step_ms) * step_ms;

    let time = ObservedTime::of_source(conn, source, from, to)?;
    let time = match presence_of(conn, source, kind, series.id, &name, from)? {
        Some(presence) => time.while_present(&presence),
        None => time,
    };
    let grain = Grain::of_step(tier, step_ms);
    // Buckets that are given up took their shares along; without its time that is a gap, with it a zero.
    let since = tiers.iter().find(|(kept, _)| *kept == tier).map_or(0, |(_, since)| *since);
    let kept_from = grain.first_from(since);
    let time = time.since(kept_from).with_slots_of(series.finest().width_ms());
    let share_work = share_work(conn, source, subject, series.id)?;

    // Steps are few thousand at most, so each can gather its buckets first.
    let count = ((to - from) / step_ms) as usize;
    let mut sums = vec![Sums::default(); count];
    let mut extremes: Vec<Option<(f64, f64)>> = vec![None; count];
    for_each_bucket(conn, grain, series.id, from.max(kept_from), to, |bucket, found| {
        let index = ((bucket - from) / step_ms) as usize;
        sums[index].merge(&found);
        let observed = time.rated_within(bucket, bucket + grain.width_ms());
        if step_ms > grain.width_ms()
            && let Some(estimate) = found.sample(observed).estimate()
        {
            let rate = estimate.rate.hashes_per_second();
            let (min, max) = extremes[index].unwrap_or((rate, rate));
            extremes[index] = Some((min.min(rate), max.max(rate)));
        }
    })?;
    let points = sums
        .iter()
        .zip(&extremes)
        .enumerate()
        .map(|(index, (sums, extremes))| {
            let at_ms = from + index as u64 * step_ms;
            point(at_ms, step_ms, sums, *extremes, &time, share_work)
        })
        .collect();
    Ok(SeriesAnswer { from_ms: from, to_ms: to, step_ms, tier, points })
}

fn point(
    at_ms: u64,
    step_ms: u64,
    sums: &Sums,
    extremes: Option<(f64, f64)>,
    time: &ObservedTime,
    share_work: Option<f64>,
) -> Point {
    let rated_ms = time.rated_within(at_ms, at_ms + step_ms);
    let sample = sums.sample(rated_ms);
    let (value, low, high) = match sample.estimate() {
        Some(estimate) => (Some(estimate.rate), Some(estimate.low), Some(estimate.high)),
        None if rated_ms > 0 && sample.shares == 0 => {
            let zero = Some(mining_stats::Hashrate::default());
            (zero, zero, share_work.and_then(|work| sample.upper_bound(work)))
        }
        None => (None, None, None),
    };
    // Where all of it was lost, no shares are not zero shares.
    let known = rated_ms > 0 || sums.accepted + sums.rejected_total() > 0;
    let number = |rate: Option<mining_stats::Hashrate>| rate.map(mining_stats::Hashrate::hashes_per_second);
    Point {
        at_ms,
        value: number(value),
        low: number(low),
        high: number(high),
        min: extremes.map(|(min, _)| min),
        max: extremes.map(|(_, max)| max),
        observed: rated_ms as f64 / step_ms as f64,
        accepted: known.then_some(sums.accepted),
        rejected: known.then(|| sums.rejected_total()),
    }
}

/// Work of a share at the target that the subject had last. A publisher has many targets: its silence bounds the work of all
/// by what the hardest of them lets through.
pub(super) fn share_work(
    conn: &Connection,
    source: i64,
    subject: &Subject,
    series: i64,
) -> Result<Option<f64>, QueryError> {
    let sql = match subject {
        // Compact targets sort as the targets do: the exponent comes first. Of the hardest the first that is valid counts.
        Subject::Channels => {
            "SELECT target FROM channels WHERE source = ?1 AND closed_at IS NULL AND target > 0 AND ?2 = ?2 ORDER BY target LIMIT 16"
        }
        Subject::Miners => {
            "SELECT target FROM miners WHERE source = ?1 AND disconnected_at IS NULL AND target > 0 AND ?2 = ?2
             ORDER BY target LIMIT 16"
        }
        Subject::Identity(_) => {
            "SELECT target FROM channels WHERE source = ?1 AND identity = ?2 AND target IS NOT NULL
             ORDER BY opened_at DESC LIMIT 1"
        }
        Subject::Downstream(_) => {
            "SELECT target FROM channels WHERE source = ?1 AND connection = ?2 AND target IS NOT NULL
             ORDER BY opened_at DESC LIMIT 1"
        }
        Subject::MinerName(_) => {
            "SELECT target FROM miners WHERE source = ?1 AND identity = ?2 AND target IS NOT NULL
             ORDER BY connected_at DESC LIMIT 1"
        }
        Subject::MinerId(_) => {
            "SELECT target FROM miners WHERE source = ?1 AND connection = ?2 AND target IS NOT NULL
             ORDER BY connected_at DESC LIMIT 1"
        }
    };
    let mut targets = conn.prepare_cached(sql)?;
    let mut targets = targets.query_map(params![source, series], |row| row.get(0))?;
    targets.find_map(|target| target.map(work_of_target).transpose()).transpose().map_err(QueryError::from)
}

/// Expected hashes of a compact target, where it is valid.
pub(super) fn work_of_target(target: u32) -> Option<f64> {
    Target::from_compact(CompactTarget(target))
        .ok()
        .filter(|target| *target != Target::from_number(Default::default()))
        .map(Target::expected_hashes)
}
