//! Giving up what is old: by time for each tier, and by the disk budget, whichever comes first. Each call does a bounded
//! amount of work, so that it never holds up a delivery for long.

use mining_stats::Tier;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::cache::SeriesKind;
use crate::config::SqliteSettings;
use crate::error::HistoryError;
use crate::kept::{DAY_MS, Kept};
use crate::quote_book::StateCounts;
use crate::schema::QUOTE_LEVELS;
use crate::settling;

/// Rows of one table that a call deletes at most.
const ROWS_PER_CALL: u32 = 5_000;
/// Free pages that are left for reuse; more are given back to the file system.
const FREE_PAGES: u64 = 1_024;
/// Pages that a call gives back at most.
const PAGES_PER_CALL: u32 = 512;
/// Series of one kind that a call deletes at most.
const SERIES_PER_CALL: u32 = 2_000;
/// The part of its age that a tier loses at once when the budget is exceeded.
const BUDGET_STEP: u64 = 50;

/// Sessions that are over and kept at most: a publisher that is restarted over and over must not fill the file. What they
/// sent stays counted.
pub(crate) const MAX_ENDED_SESSIONS: u32 = 20_000;

/// Blocks of a source that are kept: on a network where every share is one they must not fill the file. All stay counted.
pub(crate) const MAX_BLOCKS: u32 = if cfg!(test) { 100 } else { 100_000 };

/// What a call did that others must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Maintained {
    /// Rows went that may be in the cache.
    pub(crate) forgets_rows: bool,
    /// The limits that the cache knows moved, as those of ten seconds do all the time.
    pub(crate) moves_limits: bool,
}

/// Does what is due at `now`.
pub(crate) fn maintain(conn: &mut Connection, settings: &SqliteSettings, now: u64) -> Result<Maintained, HistoryError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = Kept::load(&tx)?;
    let mut kept = before;
    for tier in Tier::ALL {
        let due = tier.bucket_of(now.saturating_sub(settings.retention.tier_ms(tier)));
        let since = kept.since_mut(tier);
        // A limit that lies ahead was set by a clock that was wrong. What came meanwhile did not reach the tier, so that it
        // is whole again from the next bucket on.
        let next = tier.bucket_of(now) + tier.width_ms();
        *since = (*since).max(due).min(next);
    }
    kept.settled_until = kept.settled_until.max(settling::settled_until(&tx, now)?);
    let mut quotes_since = now.saturating_sub(settings.retention.quotes_ms());
    let backlog = has_backlog(&tx, &kept)?;
    if !backlog && used_bytes(&tx)? > settings.disk_budget.0 {
        shrink(&tx, settings, now, &mut kept, &mut quotes_since)?;
    }
    kept.write(&tx, &before)?;
    for tier in Tier::ALL {
        delete_buckets(&tx, tier, kept.since(tier))?;
    }
    settling::delete_before(&tx, kept.since(Tier::OneHour))?;
    settling::settle(&tx, &kept)?;
    delete_quotes(&tx, quotes_since, settings.max_quotes, &kept)?;
    // Every five minutes is enough: these tables are small, but some of the look-ups read all of one. A series goes after all
    // that was kept under its number, which another may get.
    let forgotten = is_time_to_tidy(&tx, now)? && !has_backlog(&tx, &kept)? && {
        note_tidied(&tx, now)?;
        delete_closed(&tx, &kept)? | delete_series(&tx, &kept)?
    };
    tx.commit()?;
    give_back_pages(conn)?;
    Ok(Maintained { forgets_rows: forgotten, moves_limits: kept != before })
}

/// The key in `meta` of when [`delete_closed`] ran last, in whole five minutes.
const TIDIED_AT: &str = "tidied_at";

fn is_time_to_tidy(conn: &Connection, now: u64) -> Result<bool, HistoryError> {
    let last: Option<u64> = conn
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([TIDIED_AT], |row| row.get(0))
        .optional()?;
    // A clock that was put back is no reason to wait.
    Ok(last != Some(Tier::FiveMinutes.bucket_of(now)))
}

fn note_tidied(conn: &Connection, now: u64) -> Result<(), HistoryError> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![TIDIED_AT, Tier::FiveMinutes.bucket_of(now)])?;
    Ok(())
}

/// Whether rows wait that an earlier call could not delete in its share of work.
fn has_backlog(conn: &Connection, kept: &Kept) -> Result<bool, HistoryError> {
    for tier in Tier::ALL {
        let waits: bool = conn
            .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM rollup_{} WHERE bucket < ?1)", tier.name()))?
            .query_row([kept.since(tier)], |row| row.get(0))?;
        if waits {
            return Ok(true);
        }
    }
    settling::has_before(conn, kept.since(Tier::OneHour))
}

fn delete_buckets(conn: &Connection, tier: Tier, since: u64) -> Result<(), HistoryError> {
    let name = tier.name();
    for (table, key) in [("rollup", "bucket, series"), ("rejects", "bucket, series, reason")] {
        conn.prepare_cached(&format!(
            "DELETE FROM {table}_{name} WHERE ({key}) IN
               (SELECT {key} FROM {table}_{name} WHERE bucket < ?1 ORDER BY {key} LIMIT ?2)"
        ))?
        .execute(params![since, ROWS_PER_CALL])?;
    }
    Ok(())
}

/// Quotes that are too old or too many, the first ones first; what was counted of them stays. A quote that still waits for
/// its answer is given up with them.
fn delete_quotes(conn: &Connection, since: u64, max_quotes: u32, kept: &Kept) -> Result<(), HistoryError> {
    let mut counts = StateCounts::default();
    for (condition, limit) in [
        ("noted_at < ?1 ORDER BY noted_at", since),
        // Rows are numbered as they come, so the numbers bound how many there are.
        ("id <= (SELECT max(id) FROM quotes) - ?1 ORDER BY id", u64::from(max_quotes)),
    ] {
        let mut gone = conn.prepare_cached(&format!(
            "DELETE FROM quotes WHERE id IN (SELECT id FROM quotes WHERE {condition} LIMIT ?2)
             RETURNING source, state, amount"
        ))?;
        let mut gone = gone.query(params![limit, ROWS_PER_CALL])?;
        while let Some(row) = gone.next()? {
            counts.abandoned(row)?;
        }
    }
    counts.write(conn)?;
    conn.prepare_cached(
        "DELETE FROM early_payments WHERE id IN (SELECT id FROM early_payments WHERE paid_at < ?1 LIMIT ?2)",
    )?
    .execute(params![since, ROWS_PER_CALL])?;
    for level in QUOTE_LEVELS {
        let Some(since) = kept.since.get(level.index()) else { continue };
        for (table, key) in [("quote_times", "stage, slot"), ("quote_notes", "kind, code")] {
            let key = format!("level, bucket, source, {key}");
            conn.prepare_cached(&format!(
                "DELETE FROM {table} WHERE ({key}) IN
                   (SELECT {key} FROM {table} WHERE level = ?1 AND bucket < ?2 ORDER BY {key} LIMIT ?3)"
            ))?
            .execute(params![level.index(), since, ROWS_PER_CALL])?;
        }
    }
    Ok(())
}

/// Closed objects, spans and losses older than every bucket; series of which nothing is left.
fn delete_closed(conn: &Connection, kept: &Kept) -> Result<bool, HistoryError> {
    let oldest = kept.since.iter().copied().min().unwrap_or(0);
    let mut deleted = 0;
    for (table, condition) in [
        ("channels", "closed_at < ?1"),
        ("miners", "disconnected_at < ?1"),
        ("downstreams", "disconnected_at < ?1"),
        ("upstreams", "disconnected_at < ?1"),
        ("observed", "end_at < ?1 AND id NOT IN (SELECT observed FROM sessions WHERE observed IS NOT NULL)"),
        ("losses", "end_at < ?1 AND id NOT IN (SELECT open_loss FROM sessions WHERE open_loss IS NOT NULL)"),
        ("sessions", "ended_at < ?1"),
    ] {
        deleted += conn
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {condition} LIMIT ?2)"
            ))?
            .execute(params![oldest, ROWS_PER_CALL])?;
    }
    deleted += conn
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN
               (SELECT id FROM sessions WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT ?2 OFFSET ?1)",
        )?
        .execute(params![MAX_ENDED_SESSIONS, ROWS_PER_CALL])?;
    let mut sources = conn.prepare_cached("SELECT id FROM sources")?;
    for source in sources.query_map([], |row| row.get::<_, i64>(0))? {
        // Nobody has them in memory.
        conn.prepare_cached(
            "DELETE FROM blocks WHERE id IN
               (SELECT id FROM blocks WHERE source = ?1 ORDER BY found_at DESC, id DESC LIMIT ?3 OFFSET ?2)",
        )?
        .execute(params![source?, MAX_BLOCKS, ROWS_PER_CALL])?;
    }
    conn.prepare_cached(
        "DELETE FROM chain_tips WHERE (source, at) IN (SELECT source, at FROM chain_tips WHERE at < ?1 LIMIT ?2)",
    )?
    .execute(params![oldest, ROWS_PER_CALL])?;
    Ok(deleted > 0)
}

/// Series of which nothing is left: connections have five-minute samples only, names go with their last hour bucket and
/// their totals with them. The latest of all stays until there is a later one, so that no number is ever given twice: blocks and
/// quotes may still name it.
fn delete_series(conn: &Connection, kept: &Kept) -> Result<bool, HistoryError> {
    let hours = kept.since(Tier::OneHour);
    let samples = kept.since(Tier::FiveMinutes);
    let mut deleted = false;
    for (kind, table, column, since) in [
        (SeriesKind::Identity, "channels", "identity", hours),
        (SeriesKind::MinerName, "miners", "identity", hours),
        (SeriesKind::Downstream, "channels", "connection", samples),
        (SeriesKind::MinerId, "miners", "connection", samples),
    ] {
        // Closed connections may outlive their samples; their series is not read any more. The plus sign keeps SQLite from
        // reading all that is open.
        let open_only = match (kind, table) {
            (SeriesKind::Downstream, _) => "AND closed_at IS NULL",
            (SeriesKind::MinerId, _) => "AND disconnected_at IS NULL",
            _ => "",
        };
        let mut gone = conn.prepare_cached(&format!(
            "DELETE FROM series WHERE id IN (
               SELECT id FROM series s WHERE kind = ?1 AND last_hour < ?2 AND first_seen_at < ?2
                 AND id < (SELECT max(id) FROM series) AND NOT EXISTS
                 (SELECT 1 FROM {table} t WHERE +t.source = s.source AND t.{column} = s.id {open_only}) LIMIT ?3) RETURNING id"
        ))?;
        let since = since.saturating_sub(Tier::OneHour.width_ms());
        let gone = gone.query_map(params![kind as u8, since, SERIES_PER_CALL], |row| row.get::<_, i64>(0))?;
        for series in gone.collect::<Result<Vec<_>, _>>()? {
            conn.prepare_cached("DELETE FROM rollup_total WHERE bucket = 0 AND series = ?1")?.execute([series])?;
            conn.prepare_cached("DELETE FROM rejects_total WHERE bucket = 0 AND series = ?1")?.execute([series])?;
            settling::delete_series(conn, series)?;
            deleted = true;
        }
    }
    Ok(deleted)
}

/// Bytes of pages in use.
fn used_bytes(conn: &Connection) -> Result<u64, HistoryError> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
}

/// Moves the limit of the tier that has kept the largest part of its time, or gives up the oldest quotes: so all shrink
/// alike, in proportion to what was asked for.
fn shrink(
    conn: &Connection,
    settings: &SqliteSettings,
    now: u64,
    kept: &mut Kept,
    quotes_since: &mut u64,
) -> Result<(), HistoryError> {
    let oldest_quote: Option<u64> = conn.query_row("SELECT min(noted_at) FROM quotes", [], |row| row.get(0))?;
    let part = |since: u64, whole: u64| now.saturating_sub(since) as f64 / whole.max(1) as f64;
    let quotes_part = oldest_quote.map_or(0.0, |oldest| part(oldest, settings.retention.quotes_ms()));
    let mut widest: Option<(f64, Tier, u64)> = None;
    for tier in Tier::ALL {
        let oldest: Option<u64> =
            conn.query_row(&format!("SELECT min(bucket) FROM rollup_{}", tier.name()), [], |row| row.get(0))?;
        let settled = if tier == Tier::OneHour { settling::oldest(conn)? } else { None };
        let Some(oldest) = oldest.into_iter().chain(settled).min() else { continue };
        let whole = settings.retention.tier_ms(tier);
        // What is settled goes by the day. The bucket that is being filled stays.
        let width = if settled.is_some() { DAY_MS } else { tier.width_ms() };
        if now.saturating_sub(oldest) <= width {
            continue;
        }
        let part = part(oldest, whole);
        if widest.is_none_or(|(found, ..)| part > found) {
            let step = (now.saturating_sub(oldest) / BUDGET_STEP).max(width);
            widest = Some((part, tier, oldest + step));
        }
    }
    match widest {
        Some((part, tier, limit)) if part >= quotes_part => {
            let since = kept.since_mut(tier);
            *since = (*since).max(tier.bucket_of(limit));
            tracing::info!(
                tier = tier.name(),
                kept_since_ms = *since,
                "the disk budget is used up; the oldest buckets go"
            );
        }
        _ => {
            if let Some(oldest) = oldest_quote {
                *quotes_since = (*quotes_since).max(oldest + (now.saturating_sub(oldest) / BUDGET_STEP).max(1_000));
            }
        }
    }
    Ok(())
}

fn give_back_pages(conn: &Connection) -> Result<(), HistoryError> {
    let free: u64 = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free > FREE_PAGES {
        // The pragma works one page per step.
        let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES_PER_CALL})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}
