//! Open downstream connections of a pool with what came over their channels.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::query::part::{Bounded, Part};
use crate::query::rates::{Rated, rates};
use crate::query::series::work_of_target;
use crate::query::windows::WindowReading;
use crate::query::{History, QueryError, source_row};
use crate::store;

impl History {
    /// Open downstream connections of a publisher, by number, with their hashrates as of `now_ms`.
    pub fn downstreams(
        &self,
        publisher: &str,
        rates_at_ms: Option<u64>,
        part: &Part<DownstreamPlace>,
    ) -> Result<Vec<DownstreamView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        downstreams(&tx, publisher, rates_at_ms, part)
    }
}

/// A downstream connection.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DownstreamView {
    /// The pool's number for it.
    pub downstream_id: u32,
    /// Network address, where known.
    pub address: String,
    /// Name of the program; untrusted text.
    pub vendor: String,
    /// Its hardware; untrusted text.
    pub hardware_version: String,
    /// Its firmware; untrusted text.
    pub firmware: String,
    /// Its device; untrusted text.
    pub device_id: String,
    /// Flags of its SetupConnection.
    pub flags: u32,
    /// When it connected.
    pub connected_ms: u64,
    /// Its open channels.
    pub channels: Vec<u32>,
    /// The sum of what its open channels declare in H/s, never a measurement; `None` where none does.
    pub declared_hashrate: Option<u64>,
    /// Its hashrate over the last quarter of an hour; `None` without a channel, and in its first minutes where another had its
    /// number before.
    pub window: Option<WindowReading>,
    /// Accepted shares of its open channels.
    pub accepted: u64,
    /// Rejected shares of its open channels.
    pub rejected: u64,
    /// Quotes created for its open channels.
    pub quotes: u64,
    /// Their ehash, exact, as a decimal number.
    pub ehash: String,
    /// Its last accepted share.
    pub last_share_ms: Option<u64>,
    /// Its place in the list.
    #[serde(skip)]
    pub place: DownstreamPlace,
}

/// A row's place in the list of downstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamPlace {
    /// The pool's number for it.
    pub downstream_id: u32,
    /// Its number in the file.
    pub number: u64,
}

#[derive(Debug, Default)]
struct Channels {
    ids: Vec<u32>,
    series: Option<i64>,
    /// Of the easiest target: that no share came bounds the hashrate best by it.
    share_work: Option<f64>,
    declared_hashrate: Option<u64>,
    accepted: u64,
    rejected: u64,
    quotes: u64,
    ehash: u128,
    last_share_ms: Option<u64>,
}

fn downstreams(
    conn: &Connection,
    publisher: &str,
    rates_at_ms: Option<u64>,
    part: &Part<DownstreamPlace>,
) -> Result<Vec<DownstreamView>, QueryError> {
    let source = source_row(conn, publisher)?;
    let mut rows = conn.prepare_cached(
        "SELECT session, downstream_id, address, vendor, hardware_version, firmware, device_id, flags, connected_at, id
         FROM downstreams
         WHERE source = ?1 AND disconnected_at IS NULL AND (?2 IS NULL OR (downstream_id, id) > (?2, ?3))
         ORDER BY downstream_id, id LIMIT ?4 OFFSET ?5",
    )?;
    let after = part.after;
    let rows = rows.query_map(
        params![
            source,
            after.map(|place| place.downstream_id),
            after.map(|place| Bounded(place.number)),
            part.limit(),
            part.skip()
        ],
        |row| {
            let (session, downstream_id) = (row.get(0)?, row.get(1)?);
            let view = DownstreamView {
                downstream_id,
                address: row.get(2)?,
                vendor: row.get(3)?,
                hardware_version: row.get(4)?,
                firmware: row.get(5)?,
                device_id: row.get(6)?,
                flags: row.get(7)?,
                connected_ms: row.get(8)?,
                channels: Vec::new(),
                declared_hashrate: None,
                window: None,
                accepted: 0,
                rejected: 0,
                quotes: 0,
                ehash: String::new(),
                last_share_ms: None,
                place: DownstreamPlace { downstream_id, number: row.get(9)? },
            };
            Ok(((session, downstream_id), view))
        },
    )?;
    let rows: Vec<((i64, u32), DownstreamView)> = rows.collect::<Result<_, _>>()?;
    let mut channels = channels(conn, source, rows.iter().map(|(key, _)| *key))?;
    let rated: Vec<Option<Rated>> = rows
        .iter()
        .map(|(key, view)| {
            let of = channels.get(key)?;
            Some(Rated { series: of.series?, opened_ms: view.connected_ms, share_work: of.share_work })
        })
        .collect();
    let windows = rates(conn, source, rates_at_ms, &rated)?;
    let views = rows.into_iter().zip(windows).map(|((key, view), window)| {
        let of = channels.remove(&key).unwrap_or_default();
        DownstreamView {
            channels: of.ids,
            declared_hashrate: of.declared_hashrate,
            window,
            accepted: of.accepted,
            rejected: of.rejected,
            quotes: of.quotes,
            ehash: of.ehash.to_string(),
            last_share_ms: of.last_share_ms,
            ..view
        }
    });
    Ok(views.collect())
}

/// The open channels of these downstreams: one scan of all that is open, since a downstream may have thousands of closed ones.
fn channels(
    conn: &Connection,
    source: i64,
    of: impl Iterator<Item = (i64, u32)>,
) -> Result<FxHashMap<(i64, u32), Channels>, QueryError> {
    let mut channels: FxHashMap<(i64, u32), Channels> = of.map(|key| (key, Channels::default())).collect();
    let mut rows = conn.prepare_cached(
        "SELECT session, downstream_id, channel_id, accepted, rejected, quotes, ehash, last_share_at, connection, target,
           nominal_hashrate
         FROM channels WHERE source = ?1 AND closed_at IS NULL",
    )?;
    let mut rows = rows.query([source])?;
    while let Some(row) = rows.next()? {
        let Some(of) = channels.get_mut(&(row.get(0)?, row.get(1)?)) else { continue };
        of.ids.push(row.get(2)?);
        of.accepted += row.get::<_, u64>(3)?;
        of.rejected += row.get::<_, u64>(4)?;
        of.quotes += row.get::<_, u64>(5)?;
        let ehash = store::ehash(row.get_ref(6)?.as_blob_or_null().map_err(rusqlite::Error::from)?);
        of.ehash = of.ehash.saturating_add(ehash);
        of.last_share_ms = of.last_share_ms.max(row.get(7)?);
        of.series = Some(row.get(8)?);
        let work = row.get::<_, Option<u32>>(9)?.and_then(work_of_target);
        of.share_work = [of.share_work, work].into_iter().flatten().reduce(f64::min);
        let declared = row.get::<_, Option<u64>>(10)?.filter(|rate| *rate > 0);
        of.declared_hashrate = [of.declared_hashrate, declared].into_iter().flatten().reduce(u64::saturating_add);
    }
    channels.values_mut().for_each(|of| of.ids.sort_unstable());
    Ok(channels)
}
