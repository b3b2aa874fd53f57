//! A translator's miners and upstreams in the SQLite history, read from outside.

use std::collections::BTreeMap;

use anyhow::Result;

use super::History;

/// A miner's connection as SQLite has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinerRow {
    /// The translator's publisher numbers miners from 1 in each session, and never again the same.
    pub miner_id: u32,
    /// What it authorized as.
    pub name: String,
    /// What it called itself when it subscribed.
    pub user_agent: String,
    /// Where it connected from.
    pub address: String,
    /// Shares that were accepted.
    pub accepted: u64,
    /// Shares that were rejected.
    pub rejected: u64,
    /// Expected hashes of the accepted shares' targets.
    pub work: u64,
    /// By the latest vardiff, in H/s.
    pub declared_hashrate: Option<u64>,
    /// Whether it is connected, as far as the history knows.
    pub open: bool,
}

/// A translator's connection to an upstream as SQLite has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRow {
    /// Host and port.
    pub address: String,
    /// Why it ended; `None` while it is open.
    pub closed: Option<String>,
}

impl History {
    /// All connections of miners of a publisher, in the order in which they were made.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn miners(&self, publisher: &str) -> Result<Vec<MinerRow>> {
        let mut statement = self.database.prepare(
            "SELECT miner_id, series.name, user_agent, address, accepted, rejected, cast(round(work) AS INTEGER),
               declared_hashrate, disconnected_at IS NULL
             FROM miners JOIN sources ON sources.id = miners.source JOIN series ON series.id = miners.identity
             WHERE publisher = ?1 ORDER BY miners.id",
        )?;
        let rows = statement.query_map([publisher], |row| {
            Ok(MinerRow {
                miner_id: row.get(0)?,
                name: row.get(1)?,
                user_agent: row.get(2)?,
                address: row.get(3)?,
                accepted: row.get(4)?,
                rejected: row.get(5)?,
                work: row.get(6)?,
                declared_hashrate: row.get(7)?,
                open: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All connections of a publisher to its upstreams, in the order in which they were made.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn upstreams(&self, publisher: &str) -> Result<Vec<UpstreamRow>> {
        let mut statement = self.database.prepare(
            "SELECT address, CASE WHEN disconnected_at IS NOT NULL THEN coalesce(reason, '') END
             FROM upstreams JOIN sources ON sources.id = upstreams.source WHERE publisher = ?1 ORDER BY upstreams.id",
        )?;
        let rows =
            statement.query_map([publisher], |row| Ok(UpstreamRow { address: row.get(0)?, closed: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What a publisher told about itself, such as where it listens.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn facts(&self, publisher: &str) -> Result<BTreeMap<String, String>> {
        let mut statement = self.database.prepare(
            "SELECT name, value FROM source_info JOIN sources ON sources.id = source_info.source WHERE publisher = ?1",
        )?;
        let rows = statement.query_map([publisher], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
