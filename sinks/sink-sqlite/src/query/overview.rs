//! Everything at a glance: each source with its state, its hashrate over the windows that people know, and its totals.

use std::collections::BTreeMap;

use mining_stats::reading::Circumstances;
use mining_stats::{RejectReason, Sv1Difficulty, luck};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use stats_sv2::Role;

use crate::cache::SeriesKind;
use crate::query::buckets::{SINGLE, sums_of_row};
use crate::query::lists::{BlockView, blocks};
use crate::query::online::{Connected, Presence};
use crate::query::presence::ObservedTime;
use crate::query::quotes::{QuoteCounts, quote_counts};
use crate::query::series::{share_work, work_of_target};
use crate::query::windows::{Cover, WINDOWS, WindowReading};
use crate::query::{Part, QueryError, Subject, find_series, tiers_of};
use crate::rollup::SeriesRef;
use crate::schema;

/// Sources, and rows of each short list of a source, at most.
const MAX_LISTED: u32 = 100;

/// The whole history at a glance.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Overview {
    /// When this was read.
    pub now_ms: u64,
    /// Schema version of the file.
    pub schema_version: usize,
    /// Damaged files that were set aside and replaced so far.
    pub damaged_files: u64,
    /// Publishers, the most recently heard first.
    pub sources: Vec<SourceView>,
    /// Publishers that are known in all; the list may hold fewer.
    pub sources_total: u64,
}

/// A publisher.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceView {
    /// Its stable name.
    pub publisher: String,
    /// What kind of program it is.
    pub role: &'static str,
    /// Name and version of the program.
    pub vendor: String,
    /// When it was first heard.
    pub first_seen_ms: u64,
    /// Time of its last event or heartbeat.
    pub last_event_ms: u64,
    /// When the sidecar last received something of it.
    pub last_received_ms: u64,
    /// What it says about itself.
    pub info: BTreeMap<String, String>,
    /// Its sessions, the latest first.
    pub sessions: Vec<SessionView>,
    /// Open downstream connections.
    pub downstreams: u64,
    /// Open channels.
    pub channels_open: u64,
    /// Connected SV1 miners.
    pub miners_open: u64,
    /// Workers that are online, each name once, as lists of workers have it: those that are connected and sent a share lately,
    /// or have just come.
    pub workers_online: u64,
    /// Workers that are connected without a share lately.
    pub workers_silent: u64,
    /// Addresses of connected upstreams.
    pub upstreams: Vec<String>,
    /// Shares over channels; `None` if there never were any.
    pub channels: Option<GroupView>,
    /// Shares of SV1 miners; `None` if there never were any.
    pub miners: Option<GroupView>,
    /// The last blocks that it found.
    pub blocks: Vec<BlockView>,
    /// The network's tip.
    pub tip: Option<TipView>,
    /// The round since its last block, where the network's target is known.
    pub round: Option<RoundView>,
    /// What its last blocks took, where that is known.
    pub luck: Option<LuckView>,
    /// Quotes by state.
    pub quotes: QuoteCounts,
    /// Events that it dropped, by its own count.
    pub events_dropped: u64,
    /// Events whose numbers will never come.
    pub events_missing: u64,
    /// Events of kinds that this program does not know.
    pub unknown_events: u64,
    /// Events of the journal that could not be read.
    pub undecodable_events: u64,
    /// The last losses.
    pub losses: Vec<LossView>,
}

/// A session.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionView {
    /// Its number, as 16 hexadecimal digits.
    pub session_id: String,
    /// When the sidecar first heard of it.
    pub started_ms: u64,
    /// Time of its last event.
    pub last_event_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How: `clean`, `replaced`, `expired`.
    pub outcome: Option<&'static str>,
    /// The publisher's own words.
    pub reason: Option<String>,
}

/// All channels, or all miners, of a publisher.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupView {
    /// Since the history began.
    pub totals: Totals,
    /// The hashrate over each window.
    pub windows: Vec<WindowReading>,
}

/// Sums since the history began.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Accepted shares.
    pub accepted: u64,
    /// Of these, shares with an invalid target, which gave no work.
    pub invalid_target: u64,
    /// Rejected shares.
    pub rejected: u64,
    /// Rejected shares by reason.
    pub rejected_by_reason: BTreeMap<&'static str, u64>,
    /// Expected hashes of the accepted shares.
    pub work_hashes: f64,
    /// SV1 difficulty of the best share.
    pub best_share_difficulty: Option<f64>,
    /// Blocks found.
    pub blocks: u64,
    /// Quotes created.
    pub quotes: u64,
    /// Their ehash, exact, as a decimal number.
    pub ehash: String,
}

/// The network's tip.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TipView {
    /// When it was told.
    pub at_ms: u64,
    /// Height.
    pub height: u32,
    /// SV1 difficulty of the next block.
    pub difficulty: Option<f64>,
}

/// The round since the last block.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundView {
    /// Since when: the last block, or the first observed moment if none was found yet.
    pub since_ms: u64,
    /// Work done over the work that a block takes: 1 is the mean.
    pub effort: f64,
    /// Probability that a round takes at least this much.
    pub probability: f64,
}

/// How much work the last blocks took, of those whose effort is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LuckView {
    /// How many blocks.
    pub blocks: u32,
    /// When the first of them was found.
    pub since_ms: u64,
    /// Their mean effort: 1 is what the network's target lets expect, less is luck.
    pub mean_effort: f64,
    /// Probability that so many rounds take at least so much work in all.
    pub probability: f64,
}

/// A loss.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LossView {
    /// `missing`, `unseen`, `events-dropped`, `clock-stepped`, `not-read`, `coarse-counter`.
    pub kind: String,
    /// Start.
    pub from_ms: u64,
    /// End.
    pub to_ms: u64,
    /// Events lost, where counted.
    pub events: u64,
    /// Why, by the publisher.
    pub reason: String,
}

impl LossView {
    /// The columns that [`Self::of_row`] reads.
    pub(super) const COLUMNS: &str = "kind, start_at, end_at, events, reason";

    pub(super) fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            kind: row.get(0)?,
            from_ms: row.get(1)?,
            to_ms: row.get(2)?,
            events: row.get(3)?,
            reason: row.get(4)?,
        })
    }
}

pub(super) fn overview(conn: &Connection, now_ms: u64) -> Result<Overview, QueryError> {
    let damaged_files = conn
        .query_row("SELECT value FROM meta WHERE key = 'damaged_files'", [], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let mut sources = conn.prepare_cached(
        "SELECT id, publisher, role, vendor, first_seen_at, last_event_at, last_received_at, events_dropped, events_missing,
           unknown_events, undecodable_events FROM sources ORDER BY last_event_at DESC, publisher LIMIT ?1",
    )?;
    let mut rows = sources.query([MAX_LISTED])?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let connected = Connected::of_source(conn, id, row.get(5)?, now_ms)?;
        let view = SourceView {
            publisher: row.get(1)?,
            role: Role::from_wire(row.get(2)?).map_or("unknown", Role::name),
            vendor: row.get(3)?,
            first_seen_ms: row.get(4)?,
            last_event_ms: row.get(5)?,
            last_received_ms: row.get(6)?,
            info: info(conn, id)?,
            sessions: sessions(conn, id)?,
            downstreams: count(conn, "downstreams", "disconnected_at", id)?,
            channels_open: count(conn, "channels", "closed_at", id)?,
            miners_open: count(conn, "miners", "disconnected_at", id)?,
            workers_online: connected.count(Presence::Online),
            workers_silent: connected.count(Presence::Silent),
            upstreams: upstreams(conn, id)?,
            channels: None,
            miners: None,
            blocks: blocks(conn, id, &Part::first(MAX_LISTED))?,
            tip: tip(conn, id)?,
            round: None,
            luck: None,
            quotes: quote_counts(conn, id)?,
            events_dropped: row.get(7)?,
            events_missing: row.get(8)?,
            unknown_events: row.get(9)?,
            undecodable_events: row.get(10)?,
            losses: losses(conn, id)?,
        };
        let channels = group(conn, id, &view, Subject::Channels, now_ms)?;
        let miners = group(conn, id, &view, Subject::Miners, now_ms)?;
        let round = round(conn, id, &view, now_ms)?;
        let luck = luck_of(&view.blocks);
        sources.push(SourceView { channels, miners, round, luck, ..view });
    }
    Ok(Overview {
        now_ms,
        schema_version: schema::version(conn)?,
        damaged_files,
        sources,
        sources_total: conn.query_row("SELECT count(*) FROM sources", [], |row| row.get(0))?,
    })
}

fn count(conn: &Connection, table: &str, closed: &str, source: i64) -> Result<u64, QueryError> {
    let sql = format!("SELECT count(*) FROM {table} WHERE source = ?1 AND {closed} IS NULL");
    Ok(conn.prepare_cached(&sql)?.query_row([source], |row| row.get(0))?)
}

fn info(conn: &Connection, source: i64) -> Result<BTreeMap<String, String>, QueryError> {
    let mut rows = conn.prepare_cached("SELECT name, value FROM source_info WHERE source = ?1")?;
    let rows = rows.query_map([source], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn sessions(conn: &Connection, source: i64) -> Result<Vec<SessionView>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT session_id, started_at, last_event_at, ended_at, outcome, reason FROM sessions
         WHERE source = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = rows.query_map(params![source, MAX_LISTED], |row| {
        Ok(SessionView {
            session_id: format!("{:016x}", row.get::<_, u64>(0)?),
            started_ms: row.get(1)?,
            last_event_ms: row.get(2)?,
            ended_ms: row.get(3)?,
            outcome: row.get::<_, Option<u8>>(4)?.map(|outcome| match outcome {
                stats_sv2::event::ENDED_CLEAN => "clean",
                stats_sv2::event::ENDED_REPLACED => "replaced",
                stats_sv2::event::ENDED_EXPIRED => "expired",
                _ => "unknown",
            }),
            reason: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn upstreams(conn: &Connection, source: i64) -> Result<Vec<String>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT address FROM upstreams WHERE source = ?1 AND disconnected_at IS NULL ORDER BY address LIMIT ?2",
    )?;
    let rows = rows.query_map(params![source, MAX_LISTED], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn tip(conn: &Connection, source: i64) -> Result<Option<TipView>, QueryError> {
    Ok(conn
        .prepare_cached("SELECT at, height, target FROM chain_tips WHERE source = ?1 ORDER BY at DESC LIMIT 1")?
        .query_row([source], |row| {
            let work = work_of_target(row.get(2)?);
            Ok(TipView {
                at_ms: row.get(0)?,
                height: row.get(1)?,
                difficulty: work.and_then(Sv1Difficulty::from_expected_hashes).map(Sv1Difficulty::sv1_number),
            })
        })
        .optional()?)
}

fn losses(conn: &Connection, source: i64) -> Result<Vec<LossView>, QueryError> {
    let columns = LossView::COLUMNS;
    let mut rows =
        conn.prepare_cached(&format!("SELECT {columns} FROM losses WHERE source = ?1 ORDER BY id DESC LIMIT ?2"))?;
    let rows = rows.query_map(params![source, MAX_LISTED], LossView::of_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn group(
    conn: &Connection,
    source: i64,
    view: &SourceView,
    subject: Subject,
    now_ms: u64,
) -> Result<Option<GroupView>, QueryError> {
    let Some(series) = find_series(conn, source, subject.kind(), "")? else { return Ok(None) };
    let kept = tiers_of(conn, series)?;
    let longest = WINDOWS[WINDOWS.len() - 1].1;
    let time = ObservedTime::of_source(conn, source, now_ms.saturating_sub(longest + 3_600_000), now_ms)?;
    let circumstances = Circumstances {
        silent_ms: Some(now_ms.saturating_sub(view.last_event_ms)),
        age_ms: now_ms.saturating_sub(view.first_seen_ms),
        share_work: share_work(conn, source, &subject, series.id)?,
    };
    let mut windows = Vec::with_capacity(WINDOWS.len());
    for (name, length) in WINDOWS {
        let cover = Cover::from_on(now_ms.saturating_sub(length), now_ms, &kept);
        let sums = cover.sums_of(conn, series, now_ms)?;
        windows.push(WindowReading::new(name, cover.from, now_ms, &sums, &time, &circumstances));
    }
    Ok(Some(GroupView { totals: totals(conn, series)?, windows }))
}

pub(super) fn totals(conn: &Connection, series: SeriesRef) -> Result<Totals, QueryError> {
    let sums = conn
        .prepare_cached(&format!("SELECT {SINGLE} FROM rollup_total WHERE bucket = 0 AND series = ?1"))?
        .query_row([series.id], sums_of_row)
        .optional()?
        .unwrap_or_default();
    let mut reasons =
        conn.prepare_cached("SELECT reason, count FROM rejects_total WHERE bucket = 0 AND series = ?1")?;
    let reasons = reasons.query_map([series.id], |row| {
        let reason = RejectReason::ALL.get(row.get::<_, usize>(0)?).copied().unwrap_or(RejectReason::Unknown);
        Ok((reason.code(), row.get(1)?))
    })?;
    Ok(Totals {
        accepted: sums.accepted,
        invalid_target: sums.invalid_target,
        rejected: sums.rejected_total(),
        rejected_by_reason: reasons.collect::<Result<_, _>>()?,
        work_hashes: sums.work,
        best_share_difficulty: Sv1Difficulty::from_expected_hashes(sums.best_share_work).map(Sv1Difficulty::sv1_number),
        blocks: sums.blocks,
        quotes: sums.quotes,
        ehash: sums.ehash.to_string(),
    })
}

fn luck_of(blocks: &[BlockView]) -> Option<LuckView> {
    let known: Vec<(u64, f64)> = blocks.iter().filter_map(|block| Some((block.found_ms, block.effort?))).collect();
    // At most as many as are listed.
    let number = known.len() as u32;
    let total: f64 = known.iter().map(|(_, effort)| effort).sum();
    Some(LuckView {
        blocks: number,
        since_ms: known.last()?.0,
        mean_effort: total / f64::from(number),
        probability: luck::probability_of_total_effort(total, number)?,
    })
}

fn round(conn: &Connection, source: i64, view: &SourceView, now_ms: u64) -> Result<Option<RoundView>, QueryError> {
    let network_work = view
        .tip
        .and_then(|tip| tip.difficulty)
        .and_then(Sv1Difficulty::from_sv1_number)
        .map(Sv1Difficulty::expected_hashes);
    let series = find_series(conn, source, SeriesKind::Channels, "")?;
    let (Some(network_work), Some(series)) = (network_work, series) else { return Ok(None) };
    // Without a block the round began with the first observed moment: a backlog is older than its arrival.
    let first_observed: Option<u64> = conn
        .prepare_cached("SELECT min(start_at) FROM observed WHERE source = ?1")?
        .query_row([source], |row| row.get(0))?;
    let (since_ms, work) = match view.blocks.first() {
        // All that was ever done: its sum is at hand, while a year has thousands of buckets.
        None => (first_observed.unwrap_or(view.first_seen_ms), totals(conn, series)?.work_hashes),
        Some(block) => {
            let before: Option<f64> = conn
                .prepare_cached(
                    "SELECT source_work FROM blocks WHERE source = ?1 ORDER BY found_at DESC, id DESC LIMIT 1",
                )?
                .query_row([source], |row| row.get(0))?;
            let total = totals(conn, series)?.work_hashes;
            match before {
                Some(before) if before <= total => (block.found_ms, total - before),
                // The total was lost since, or the block is older than this account.
                _ => {
                    let cover = Cover::from_on(block.found_ms, now_ms, &tiers_of(conn, series)?);
                    (cover.from, cover.sums_of(conn, series, now_ms)?.work)
                }
            }
        }
    };
    let effort = luck::round_effort(work, network_work);
    Ok(Some(RoundView { since_ms, effort, probability: luck::probability_of_effort(effort) }))
}
