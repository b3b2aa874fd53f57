//! Which times the tables of sums cover: from when on each tier is kept, and up to when hours go to the settled tables.

use mining_stats::Tier;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::HistoryError;
use crate::schema::Level;

/// Milliseconds of a day, in UTC.
pub(crate) const DAY_MS: u64 = 24 * Tier::OneHour.width_ms();

/// The key in `meta` of [`Kept::settled_until`].
const SETTLED_UNTIL: &str = "settled_until";

/// The limits that writing observes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// From when on each tier of [`Tier::ALL`] is kept; 0 where nothing was given up yet.
    pub(crate) since: [u64; Tier::ALL.len()],
    /// Sums of earlier hours go to the settled tables, which hold nothing of this moment or later. The start of a day.
    pub(crate) settled_until: u64,
}

impl Kept {
    /// What the file says.
    pub(crate) fn load(conn: &Connection) -> Result<Self, HistoryError> {
        let mut since = [0; Tier::ALL.len()];
        for tier in Tier::ALL {
            since[Level::Tier(tier).index()] = conn
                .prepare_cached("SELECT since FROM kept_since WHERE tier = ?1")?
                .query_row([tier.name()], |row| row.get(0))
                .optional()?
                .unwrap_or(0);
        }
        let settled_until = conn
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
            .query_row([SETTLED_UNTIL], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        Ok(Self { since, settled_until })
    }

    /// From when on a tier is kept.
    pub(crate) fn since(&self, tier: Tier) -> u64 {
        self.since[Level::Tier(tier).index()]
    }

    /// The limit of a tier, to be moved.
    pub(crate) fn since_mut(&mut self, tier: Tier) -> &mut u64 {
        &mut self.since[Level::Tier(tier).index()]
    }

    /// Writes the limits that differ from those that the file has.
    pub(crate) fn write(&self, conn: &Connection, before: &Self) -> Result<(), HistoryError> {
        for tier in Tier::ALL {
            if self.since(tier) != before.since(tier) {
                conn.prepare_cached(
                    "INSERT INTO kept_since (tier, since) VALUES (?1, ?2)
                     ON CONFLICT (tier) DO UPDATE SET since = excluded.since",
                )?
                .execute(params![tier.name(), self.since(tier)])?;
            }
        }
        if self.settled_until > before.settled_until {
            conn.prepare_cached(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![SETTLED_UNTIL, self.settled_until])?;
        }
        Ok(())
    }
}
