//! One worker: its hashrate over every window, and its connections, past ones included.

use mining_stats::reading::Circumstances;
use mining_stats::{Spans, Sv1Difficulty};
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::cache::SeriesKind;
use crate::query::lists::latest;
use crate::query::online::{Connected, Presence};
use crate::query::overview::{Totals, totals};
use crate::query::part::{Bounded, Part, Place};
use crate::query::presence::{ObservedTime, presence_of};
use crate::query::series::work_of_target;
use crate::query::windows::{Cover, WINDOWS, WindowReading};
use crate::query::{History, QueryError, Subject, find_series, source_row, tiers_of};
use crate::rollup::SeriesRef;

impl History {
    /// A worker with its last connections; [`Subject::Identity`] or [`Subject::MinerName`] say which.
    pub fn worker(
        &self,
        publisher: &str,
        subject: &Subject,
        now_ms: u64,
        connections: u32,
    ) -> Result<WorkerDetail, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        worker(&tx, publisher, subject, now_ms, connections)
    }

    /// The connections of a worker, past ones included, the latest first.
    pub fn worker_connections(
        &self,
        publisher: &str,
        subject: &Subject,
        part: &Part<Place>,
    ) -> Result<Vec<PastConnection>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let (series, is_miner) = series_of(&tx, source_row(&tx, publisher)?, publisher, subject)?;
        Ok(connections(&tx, series.id, is_miner, part)?)
    }
}

/// A worker in full.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerDetail {
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
    /// The hashrate over each window.
    pub windows: Vec<WindowReading>,
    /// Its connections, the latest first.
    pub connections: Vec<PastConnection>,
    /// Connections that are known in all; the list may hold fewer.
    pub connections_total: u64,
}

/// A channel or miner connection, open or not.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PastConnection {
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
    /// When it closed; `None` while it is open.
    pub closed_ms: Option<u64>,
    /// Why it closed; untrusted text.
    pub reason: Option<String>,
    /// SV1 difficulty of its last target.
    pub difficulty: Option<f64>,
    /// Accepted shares.
    pub accepted: u64,
    /// Rejected shares.
    pub rejected: u64,
    /// Its place in the list.
    #[serde(skip)]
    pub place: Place,
}

fn worker(
    conn: &Connection,
    publisher: &str,
    subject: &Subject,
    now_ms: u64,
    limit: u32,
) -> Result<WorkerDetail, QueryError> {
    let source = source_row(conn, publisher)?;
    let (kind, name) = (subject.kind(), subject.name());
    let (series, is_miner) = series_of(conn, source, publisher, subject)?;
    let (last_event, first_seen_ms): (u64, u64) = conn.query_row(
        "SELECT o.last_event_at, s.first_seen_at FROM series s JOIN sources o ON o.id = s.source WHERE s.id = ?1",
        [series.id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let latest = latest(conn, series.id, is_miner)?;
    let share_work = latest.target.and_then(work_of_target);
    let circumstances = Circumstances {
        silent_ms: Some(now_ms.saturating_sub(last_event)),
        age_ms: now_ms.saturating_sub(first_seen_ms),
        share_work,
    };
    let kept = tiers_of(conn, series)?;
    // The longest window begins up to one coarse bucket before its name says.
    let from = now_ms.saturating_sub(WINDOWS[WINDOWS.len() - 1].1 + 3_600_000);
    let presence = presence_of(conn, source, kind, series.id, &name, from)?.unwrap_or_else(Spans::new);
    let time = ObservedTime::of_source(conn, source, from, now_ms)?
        .while_present(&presence)
        .with_slots_of(series.finest().width_ms());
    let mut windows = Vec::with_capacity(WINDOWS.len());
    for (window, length) in WINDOWS {
        let cover = Cover::from_on(now_ms.saturating_sub(length), now_ms, &kept);
        let sums = cover.sums_of(conn, series, now_ms)?;
        windows.push(WindowReading::new(window, cover.from, now_ms, &sums, &time, &circumstances));
    }
    let connections = connections(conn, series.id, is_miner, &Part::first(limit))?;
    Ok(WorkerDetail {
        is_miner,
        open: latest.open,
        presence: Connected::of_worker(conn, series.id, last_event, now_ms)?.presence(series.id),
        first_seen_ms,
        last_share_ms: latest.last_share_ms,
        difficulty: share_work.and_then(Sv1Difficulty::from_expected_hashes).map(Sv1Difficulty::sv1_number),
        declared_hashrate: latest.declared_hashrate,
        user_agent: latest.user_agent,
        totals: totals(conn, series)?,
        windows,
        connections,
        connections_total: connections_total(conn, series.id, is_miner)?,
        name,
    })
}

/// The series of a worker, and whether it is a miner.
fn series_of(
    conn: &Connection,
    source: i64,
    publisher: &str,
    subject: &Subject,
) -> Result<(SeriesRef, bool), QueryError> {
    let unknown = || QueryError::UnknownSubject { publisher: publisher.to_owned(), subject: format!("{subject:?}") };
    let is_miner = match subject.kind() {
        SeriesKind::Identity => false,
        SeriesKind::MinerName => true,
        _ => return Err(unknown()),
    };
    Ok((find_series(conn, source, subject.kind(), &subject.name())?.ok_or_else(unknown)?, is_miner))
}

fn connections(
    conn: &Connection,
    identity: i64,
    is_miner: bool,
    part: &Part<Place>,
) -> rusqlite::Result<Vec<PastConnection>> {
    let list = if is_miner {
        "SELECT miner_id, NULL, address, user_agent, connected_at, disconnected_at, reason, target, accepted, rejected, id
         FROM miners WHERE identity = ?1 AND (connected_at, id) < (?2, ?3)
         ORDER BY connected_at DESC, id DESC LIMIT ?4 OFFSET ?5"
    } else {
        "SELECT c.downstream_id, c.channel_id, coalesce(d.address, ''),
           trim(coalesce(d.vendor, '') || ' ' || coalesce(d.firmware, '')), c.opened_at, c.closed_at, c.reason, c.target,
           c.accepted, c.rejected, c.id
         FROM channels c LEFT JOIN downstreams d ON d.id = (
           SELECT id FROM downstreams WHERE session = c.session AND downstream_id = c.downstream_id
             AND connected_at <= c.opened_at ORDER BY connected_at DESC LIMIT 1)
         WHERE c.identity = ?1 AND (c.opened_at, c.id) < (?2, ?3)
         ORDER BY c.opened_at DESC, c.id DESC LIMIT ?4 OFFSET ?5"
    };
    let after = part.after.unwrap_or(Place::START);
    let mut rows = conn.prepare_cached(list)?;
    let rows = rows.query_map(
        params![identity, Bounded(after.at_ms), Bounded(after.number), part.limit(), part.skip()],
        |row| {
            let work = row.get::<_, Option<u32>>(7)?.and_then(work_of_target);
            let (opened_ms, number) = (row.get(4)?, row.get(10)?);
            Ok(PastConnection {
                connection_id: row.get(0)?,
                channel_id: row.get(1)?,
                address: row.get(2)?,
                program: row.get(3)?,
                opened_ms,
                closed_ms: row.get(5)?,
                reason: row.get(6)?,
                difficulty: work.and_then(Sv1Difficulty::from_expected_hashes).map(Sv1Difficulty::sv1_number),
                accepted: row.get(8)?,
                rejected: row.get(9)?,
                place: Place { at_ms: opened_ms, number },
            })
        },
    )?;
    rows.collect()
}

fn connections_total(conn: &Connection, identity: i64, is_miner: bool) -> rusqlite::Result<u64> {
    let count = match is_miner {
        true => "SELECT count(*) FROM miners WHERE identity = ?1",
        false => "SELECT count(*) FROM channels WHERE identity = ?1",
    };
    conn.prepare_cached(count)?.query_row([identity], |row| row.get(0))
}
