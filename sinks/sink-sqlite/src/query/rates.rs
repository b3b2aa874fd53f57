//! Measured hashrates of connections over a quarter of an hour, from their five-minute sums: those of all rows of a part of a
//! list are read together.

use mining_stats::reading::Circumstances;
use mining_stats::{Sums, Tier};
use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use crate::cache::{OTHER, SeriesKind};
use crate::kept::Kept;
use crate::query::buckets::for_each_bucket_of;
use crate::query::presence::ObservedTime;
use crate::query::windows::{WINDOWS, WindowReading};
use crate::query::{QueryError, find_series};

/// The tier that connections have.
const TIER: Tier = Tier::FiveMinutes;
/// Short enough to be of now, long enough for three buckets.
const WINDOW: (&str, u64) = WINDOWS[2];
/// A connection that is open now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rated {
    /// The series of its number. A number is given to one connection after the other.
    pub(super) series: i64,
    pub(super) opened_ms: u64,
    /// Work of a share at its target.
    pub(super) share_work: Option<f64>,
}

/// The hashrates of connections at a moment, in their order; `None` of one that has no sums of its own, or none yet, and of all
/// where nobody asks.
pub(super) fn rates(
    conn: &Connection,
    source: i64,
    at_ms: Option<u64>,
    of: &[Option<Rated>],
) -> Result<Vec<Option<WindowReading>>, QueryError> {
    let Some(now_ms) = at_ms.filter(|_| of.iter().any(Option::is_some)) else { return Ok(vec![None; of.len()]) };
    let heard_ms: u64 =
        conn.query_row("SELECT last_event_at FROM sources WHERE id = ?1", [source], |row| row.get(0))?;
    let from = TIER.bucket_of(now_ms.saturating_sub(WINDOW.1)).max(Kept::load(conn)?.since(TIER));
    let ended = ended(conn, source, from)?;
    let shared = [SeriesKind::Downstream, SeriesKind::MinerId].map(|kind| find_series(conn, source, kind, OTHER));
    let shared: Vec<i64> = shared
        .into_iter()
        .filter_map(Result::transpose)
        .map(|found| Ok(found?.id))
        .collect::<Result<_, QueryError>>()?;

    let begin = |connection: &Rated| {
        let first = TIER.bucket_of(connection.opened_ms);
        let before = ended
            .get(&connection.series)
            .is_some_and(|ended| ended.iter().any(|ended_ms| (first..=connection.opened_ms).contains(ended_ms)));
        // What came in that bucket may be another's who had the number before.
        from.max(if before { first + TIER.width_ms() } else { first })
    };
    let mut sums: FxHashMap<i64, (u64, Sums)> = of
        .iter()
        .flatten()
        .filter(|connection| !shared.contains(&connection.series))
        .map(|connection| (connection.series, (begin(connection), Sums::default())))
        .filter(|(_, (begin, _))| *begin < now_ms)
        .collect();
    // Nothing counts later than two minutes from now (delivery rule 15).
    let to = TIER.bucket_of(now_ms + 120_000) + TIER.width_ms();
    let series: Vec<i64> = sums.keys().copied().collect();
    for_each_bucket_of(conn, TIER, &series, from, to, |series, bucket, found| {
        if let Some((begin, sums)) = sums.get_mut(&series)
            && bucket >= *begin
        {
            sums.merge(&found);
        }
    })?;
    let time = ObservedTime::of_source(conn, source, from, now_ms)?.with_slots_of(TIER.width_ms());
    let reading = |connection: &Rated| {
        let (begin, sums) = sums.get(&connection.series)?;
        let present = time.clone().since((*begin).max(connection.opened_ms));
        let circumstances = Circumstances {
            silent_ms: Some(now_ms.saturating_sub(heard_ms)),
            age_ms: now_ms.saturating_sub(connection.opened_ms),
            share_work: connection.share_work,
        };
        Some(WindowReading::new(WINDOW.0, *begin, now_ms, sums, &present, &circumstances))
    };
    Ok(of.iter().map(|connection| connection.as_ref().and_then(reading)).collect())
}

/// When connections ended that had the number of a series, from `from` on.
fn ended(conn: &Connection, source: i64, from: u64) -> Result<FxHashMap<i64, Vec<u64>>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT connection, closed_at FROM channels WHERE closed_at >= ?2 AND source = ?1
         UNION ALL SELECT connection, disconnected_at FROM miners WHERE disconnected_at >= ?2 AND source = ?1",
    )?;
    let mut rows = rows.query(params![source, from])?;
    let mut ended: FxHashMap<i64, Vec<u64>> = FxHashMap::default();
    while let Some(row) = rows.next()? {
        ended.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(ended)
}
