//! Lists: workers, open connections, blocks. Each has a fixed order, so that rows do not flip between two reads.

use mining_stats::reading::Circumstances;
use mining_stats::{Spans, Sv1Difficulty, Tier, luck};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use stats_sv2::U256;

use crate::cache::SeriesKind;
use crate::kept::Kept;
use crate::query::online::{Connected, Presence};
use crate::query::overview::{Totals, totals};
use crate::query::part::{Bounded, Part, Place};
use crate::query::presence::{ObservedTime, presence_of_all};
use crate::query::rates::{Rated, rates};
use crate::query::series::work_of_target;
use crate::query::windows::{Cover, WindowReading};
use crate::query::{QueryError, source_row};
use crate::rollup::SeriesRef;
use crate::store;

/// A worker: a user_identity or a miner's name, over all its connections and reconnects.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// Its name; untrusted text.
    pub name: String,
    /// Whether it is an SV1 miner of a translator; otherwise a user_identity of a pool.
    pub is_miner: bool,
    /// Channels or connections that are open now.
    pub open: u64,
    /// Whether it is there, by what is open and by its last share.
    pub presence: Presence,
    /// When it first appeared.
    pub first_seen_ms: u64,
    /// Its last accepted share.
    pub last_share_ms: Option<u64>,
    /// SV1 difficulty of its target.
    pub difficulty: Option<f64>,
    /// H/s as declared by the miner or by vardiff, never a measurement.
    pub declared_hashrate: Option<u64>,
    /// Program of its latest connection; untrusted text.
    pub user_agent: Option<String>,
    /// Since the history began.
    pub totals: Totals,
    /// The hashrate over the window asked for.
    pub window: WindowReading,
}

/// An open channel or miner connection.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionView {
    /// The worker's name; untrusted text.
    pub name: String,
    /// Whether it is an SV1 miner.
    pub is_miner: bool,
    /// The downstream, or the miner's number.
    pub connection_id: u32,
    /// The channel, for channels.
    pub channel_id: Option<u32>,
    /// Network address, where known.
    pub address: String,
    /// Vendor and firmware, or the miner's program; untrusted text.
    pub program: String,
    /// When it opened.
    pub opened_ms: u64,
    /// Its last accepted share.
    pub last_share_ms: Option<u64>,
    /// SV1 difficulty of its target.
    pub difficulty: Option<f64>,
    /// H/s as declared by the miner when the channel opened, or by vardiff; never a measurement.
    pub declared_hashrate: Option<u64>,
    /// The hashrate of a miner's connection over the last quarter of an hour; `None` in its first minutes where another had its
    /// number before, and for channels, which are measured by downstream and by name.
    pub window: Option<WindowReading>,
    /// Accepted shares of this connection.
    pub accepted: u64,
    /// Rejected shares of this connection.
    pub rejected: u64,
    /// Quotes created for it.
    pub quotes: u64,
    /// Their ehash, exact, as a decimal number.
    pub ehash: String,
    /// Its place in the list.
    #[serde(skip)]
    pub place: ConnectionPlace,
}

/// A row's place in the list of what is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPlace {
    /// When it opened.
    pub opened_ms: u64,
    /// Whether it is an SV1 miner.
    pub is_miner: bool,
    /// Its number in the file.
    pub number: u64,
}

/// A block of this publisher.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockView {
    /// Hash, as explorers print it; `None` where the publisher told none.
    pub block_hash: Option<String>,
    /// Height; 0 where unknown.
    pub height: u32,
    /// When it was found.
    pub found_ms: u64,
    /// Who found it; untrusted text.
    pub identity: Option<String>,
    /// Work since the block before over the work that a block took on average at its time: 1 is the mean round. `None` for the
    /// first block, and where the network's target was not told.
    pub effort: Option<f64>,
    /// Its place in the list.
    #[serde(skip)]
    pub place: Place,
}

/// `first_kind`: identities and miners, or miners alone.
pub(super) fn workers(
    conn: &Connection,
    publisher: &str,
    first_kind: SeriesKind,
    window_ms: u64,
    now_ms: u64,
    after: Option<(&str, bool)>,
    limit: u32,
) -> Result<Vec<WorkerView>, QueryError> {
    let source = source_row(conn, publisher)?;
    let last_event: u64 =
        conn.query_row("SELECT last_event_at FROM sources WHERE id = ?1", [source], |row| row.get(0))?;
    // Ten-second buckets are kept for some workers only; minutes for all.
    let kept: Vec<(Tier, u64)> =
        Tier::ALL.into_iter().zip(Kept::load(conn)?.since).filter(|(tier, _)| *tier > Tier::TenSeconds).collect();
    let cover = Cover::from_on(now_ms.saturating_sub(window_ms), now_ms, &kept);
    let sums = cover.sums_of_all(conn, source)?;
    let time = ObservedTime::of_source(conn, source, cover.from, now_ms)?;
    let presence = presence_of_all(conn, source, cover.from)?;
    let connected = Connected::of_source(conn, source, last_event, now_ms)?;
    let absent = Spans::new();

    let mut rows = conn.prepare_cached(
        "SELECT id, levels, name, kind, first_seen_at FROM series
         WHERE source = ?1 AND kind IN (1, 4) AND kind >= ?2 AND (?3 IS NULL OR (name, kind) > (?3, ?4))
         ORDER BY name, kind LIMIT ?5",
    )?;
    let (after, kind) = match after {
        Some((name, true)) => (Some(name), SeriesKind::MinerName),
        Some((name, false)) => (Some(name), SeriesKind::Identity),
        None => (None, first_kind),
    };
    let mut rows = rows.query(params![source, first_kind as u8, after, kind as u8, limit])?;
    let mut workers = Vec::new();
    let window = format!("{} s", window_ms / 1000);
    while let Some(row) = rows.next()? {
        let series = SeriesRef { id: row.get(0)?, levels: row.get(1)? };
        let is_miner = row.get::<_, u8>(3)? == SeriesKind::MinerName as u8;
        let first_seen_ms: u64 = row.get(4)?;
        let latest = latest(conn, series.id, is_miner)?;
        let share_work = latest.target.and_then(work_of_target);
        let circumstances = Circumstances {
            silent_ms: Some(now_ms.saturating_sub(last_event)),
            age_ms: now_ms.saturating_sub(first_seen_ms),
            share_work,
        };
        let present = time.while_present(presence.get(&series.id).unwrap_or(&absent));
        let worker_sums = sums.get(&series.id).copied().unwrap_or_default();
        workers.push(WorkerView {
            name: row.get(2)?,
            is_miner,
            open: latest.open,
            presence: connected.presence(series.id),
            first_seen_ms,
            last_share_ms: latest.last_share_ms,
            difficulty: share_work.and_then(Sv1Difficulty::from_expected_hashes).map(Sv1Difficulty::sv1_number),
            declared_hashrate: latest.declared_hashrate,
            user_agent: latest.user_agent,
            totals: totals(conn, series)?,
            window: WindowReading::new(&window, cover.from, now_ms, &worker_sums, &present, &circumstances),
        });
    }
    Ok(workers)
}

/// What a worker's connections say about it now.
#[derive(Debug, Default)]
pub(super) struct Latest {
    pub(super) open: u64,
    pub(super) last_share_ms: Option<u64>,
    pub(super) target: Option<u32>,
    pub(super) declared_hashrate: Option<u64>,
    pub(super) user_agent: Option<String>,
}

/// Looks at the open connections and the one that opened last, by index: a worker may have thousands of closed ones.
pub(super) fn latest(conn: &Connection, series: i64, is_miner: bool) -> Result<Latest, QueryError> {
    // A connection that was made a moment ago has no share yet; the one before it has.
    let (open, last, share) = if is_miner {
        (
            "SELECT count(*), max(last_share_at) FROM miners WHERE identity = ?1 AND disconnected_at IS NULL",
            "SELECT target, declared_hashrate, user_agent FROM miners WHERE identity = ?1
             ORDER BY connected_at DESC LIMIT 1",
            "SELECT last_share_at FROM miners WHERE identity = ?1 AND last_share_at IS NOT NULL
             ORDER BY connected_at DESC LIMIT 1",
        )
    } else {
        (
            "SELECT count(*), max(last_share_at) FROM channels WHERE identity = ?1 AND closed_at IS NULL",
            "SELECT target, nominal_hashrate, NULL FROM channels WHERE identity = ?1
             ORDER BY opened_at DESC LIMIT 1",
            "SELECT last_share_at FROM channels WHERE identity = ?1 AND last_share_at IS NOT NULL
             ORDER BY opened_at DESC LIMIT 1",
        )
    };
    let (open, open_share): (u64, Option<u64>) =
        conn.prepare_cached(open)?.query_row([series], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let share: Option<u64> = conn.prepare_cached(share)?.query_row([series], |row| row.get(0)).optional()?;
    let last = conn.prepare_cached(last)?.query_row([series], |row| {
        Ok(Latest {
            open,
            last_share_ms: open_share.max(share),
            target: row.get(0)?,
            declared_hashrate: row.get::<_, Option<u64>>(1)?.filter(|rate| *rate > 0),
            user_agent: row.get(2)?,
        })
    });
    Ok(last.optional()?.unwrap_or_default())
}

pub(super) fn connections(
    conn: &Connection,
    publisher: &str,
    rates_at_ms: Option<u64>,
    part: &Part<ConnectionPlace>,
) -> Result<Vec<ConnectionView>, QueryError> {
    let source = source_row(conn, publisher)?;
    // Which rows they are is found out first: only those that are given are joined with what belongs to them.
    let mut rows = conn.prepare_cached(
        "WITH part (is_miner, id, opened_at) AS MATERIALIZED (
           SELECT is_miner, id, opened_at FROM (
             SELECT 0 AS is_miner, id, opened_at FROM channels WHERE source = ?1 AND closed_at IS NULL
             UNION ALL
             SELECT 1, id, connected_at FROM miners WHERE source = ?1 AND disconnected_at IS NULL)
           WHERE ?2 IS NULL OR opened_at < ?2 OR (opened_at = ?2 AND (is_miner, id) > (?3, ?4))
           ORDER BY opened_at DESC, is_miner, id LIMIT ?5 OFFSET ?6)
         SELECT s.name, 0, c.downstream_id, c.channel_id, coalesce(d.address, ''),
           trim(coalesce(d.vendor, '') || ' ' || coalesce(d.firmware, '')), c.opened_at, c.last_share_at, c.accepted,
           c.rejected, c.quotes, c.ehash, c.id, c.target, c.nominal_hashrate, NULL
         FROM part p CROSS JOIN channels c ON c.id = p.id JOIN series s ON s.id = c.identity
           LEFT JOIN downstreams d ON d.id = (
             SELECT max(id) FROM downstreams
             WHERE session = c.session AND downstream_id = c.downstream_id AND disconnected_at IS NULL)
         WHERE p.is_miner = 0
         UNION ALL
         SELECT s.name, 1, m.miner_id, NULL, m.address, m.user_agent, m.connected_at, m.last_share_at, m.accepted, m.rejected,
           0, NULL, m.id, m.target, m.declared_hashrate, m.connection
         FROM part p CROSS JOIN miners m ON m.id = p.id JOIN series s ON s.id = m.identity
         WHERE p.is_miner = 1
         ORDER BY 7 DESC, 2, 13",
    )?;
    let after = part.after;
    let rows = rows.query_map(
        params![
            source,
            after.map(|place| Bounded(place.opened_ms)),
            after.map(|place| place.is_miner),
            after.map(|place| Bounded(place.number)),
            part.limit(),
            part.skip()
        ],
        |row| {
            let (is_miner, opened_ms, number) = (row.get(1)?, row.get(6)?, row.get(12)?);
            let share_work = row.get::<_, Option<u32>>(13)?.and_then(work_of_target);
            let series: Option<i64> = row.get(15)?;
            let view = ConnectionView {
                name: row.get(0)?,
                is_miner,
                connection_id: row.get(2)?,
                channel_id: row.get(3)?,
                address: row.get(4)?,
                program: row.get(5)?,
                opened_ms,
                last_share_ms: row.get(7)?,
                difficulty: share_work.and_then(Sv1Difficulty::from_expected_hashes).map(Sv1Difficulty::sv1_number),
                declared_hashrate: row.get::<_, Option<u64>>(14)?.filter(|rate| *rate > 0),
                window: None,
                accepted: row.get(8)?,
                rejected: row.get(9)?,
                quotes: row.get(10)?,
                ehash: store::ehash(row.get_ref(11)?.as_blob_or_null()?).to_string(),
                place: ConnectionPlace { opened_ms, is_miner, number },
            };
            Ok((view, series.map(|series| Rated { series, opened_ms, share_work })))
        },
    )?;
    let (mut views, rated): (Vec<_>, Vec<_>) = rows.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    for (view, window) in views.iter_mut().zip(rates(conn, source, rates_at_ms, &rated)?) {
        view.window = window;
    }
    Ok(views)
}

pub(super) fn blocks(conn: &Connection, source: i64, part: &Part<Place>) -> Result<Vec<BlockView>, QueryError> {
    let mut rows = conn.prepare_cached(
        "SELECT b.block_hash, b.height, b.found_at, s.name, b.id, b.network_target, b.source_work - (
           SELECT p.source_work FROM blocks p WHERE p.source = b.source AND p.id < b.id ORDER BY p.id DESC LIMIT 1)
         FROM blocks b LEFT JOIN series s ON s.id = b.identity
         WHERE b.source = ?1 AND (b.found_at, b.id) < (?2, ?3)
         ORDER BY b.found_at DESC, b.id DESC LIMIT ?4 OFFSET ?5",
    )?;
    let after = part.after.unwrap_or(Place::START);
    let rows = rows.query_map(
        params![source, Bounded(after.at_ms), Bounded(after.number), part.limit(), part.skip()],
        |row| {
            let (found_ms, number) = (row.get(2)?, row.get(4)?);
            Ok(BlockView {
                block_hash: Some(U256(row.get(0)?)).filter(|hash| *hash != U256([0; 32])).map(|hash| hash.to_string()),
                height: row.get(1)?,
                found_ms,
                identity: row.get(3)?,
                effort: effort(row.get(5)?, row.get(6)?),
                place: Place { at_ms: found_ms, number },
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Work since the block that was told before over the network's: so the efforts add up to the whole work, in whatever order blocks
/// are told. None where the sums were lost meanwhile.
fn effort(network_target: Option<u32>, work: Option<f64>) -> Option<f64> {
    let network_work = network_target.and_then(work_of_target)?;
    work.filter(|work| *work >= 0.0).map(|work| luck::round_effort(work, network_work))
}
