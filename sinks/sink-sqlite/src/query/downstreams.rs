//! Open downstream connections of a pool with what came over their channels.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::query::{History, MAX_ROWS, QueryError, source_row};
use crate::store;

impl History {
    /// Open downstream connections of a publisher, the oldest first.
    pub fn downstreams(&self, publisher: &str, limit: u32) -> Result<Vec<DownstreamView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        downstreams(&tx, publisher, limit.min(MAX_ROWS))
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
}

#[derive(Debug, Default)]
struct Channels {
    ids: Vec<u32>,
    accepted: u64,
    rejected: u64,
    quotes: u64,
    ehash: u128,
    last_share_ms: Option<u64>,
}

fn downstreams(conn: &Connection, publisher: &str, limit: u32) -> Result<Vec<DownstreamView>, QueryError> {
    let source = source_row(conn, publisher)?;
    let mut channels: FxHashMap<(i64, u32), Channels> = FxHashMap::default();
    let mut rows = conn.prepare_cached(
        "SELECT session, downstream_id, channel_id, accepted, rejected, quotes, ehash, last_share_at FROM channels
         WHERE source = ?1 AND closed_at IS NULL ORDER BY channel_id",
    )?;
    let mut rows = rows.query([source])?;
    while let Some(row) = rows.next()? {
        let of = channels.entry((row.get(0)?, row.get(1)?)).or_default();
        of.ids.push(row.get(2)?);
        of.accepted += row.get::<_, u64>(3)?;
        of.rejected += row.get::<_, u64>(4)?;
        of.quotes += row.get::<_, u64>(5)?;
        let ehash = store::ehash(row.get_ref(6)?.as_blob_or_null().map_err(rusqlite::Error::from)?);
        of.ehash = of.ehash.saturating_add(ehash);
        of.last_share_ms = of.last_share_ms.max(row.get(7)?);
    }
    let mut rows = conn.prepare_cached(
        "SELECT session, downstream_id, address, vendor, hardware_version, firmware, device_id, flags, connected_at
         FROM downstreams WHERE source = ?1 AND disconnected_at IS NULL ORDER BY downstream_id, id LIMIT ?2",
    )?;
    let rows = rows.query_map(params![source, limit], |row| {
        let downstream_id = row.get(1)?;
        let of = channels.remove(&(row.get(0)?, downstream_id)).unwrap_or_default();
        Ok(DownstreamView {
            downstream_id,
            address: row.get(2)?,
            vendor: row.get(3)?,
            hardware_version: row.get(4)?,
            firmware: row.get(5)?,
            device_id: row.get(6)?,
            flags: row.get(7)?,
            connected_ms: row.get(8)?,
            channels: of.ids,
            accepted: of.accepted,
            rejected: of.rejected,
            quotes: of.quotes,
            ehash: of.ehash.to_string(),
            last_share_ms: of.last_share_ms,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
