//! Miners of a translator by name, over all their connections, and the programs that they run.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::cache::SeriesKind;
use crate::query::lists::{WorkerView, workers};
use crate::query::{History, MAX_ROWS, QueryError, source_row};

/// The latest connections of a miner of which its programs are told: one that reconnects all day has thousands.
const CONNECTIONS_READ: u32 = 1_000;

/// Programs told of a miner, and of a publisher, at most.
const MAX_USER_AGENTS: usize = 100;

impl History {
    /// The miners of a publisher by name, after `after`. A miner that reconnects, or has several connections, is one.
    pub fn miners(
        &self,
        publisher: &str,
        window_ms: u64,
        now_ms: u64,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<MinerView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let after = after.map(|name| (name, true));
        let page = workers(&tx, publisher, SeriesKind::MinerName, window_ms, now_ms, after, limit.min(MAX_ROWS))?;
        page.into_iter().map(|worker| miner(&tx, source, worker)).collect()
    }

    /// The programs that a publisher's miners run now or ran, the one with the most open connections first.
    pub fn user_agents(&self, publisher: &str) -> Result<Vec<UserAgentView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let mut connections = tx.prepare_cached(
            "SELECT user_agent, connected_at, disconnected_at, accepted, rejected FROM miners WHERE source = ?1",
        )?;
        by_user_agent(&mut connections, &[&source])
    }
}

/// A miner with the programs that it ran.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MinerView {
    /// The miner as a worker: its shares, rejects by reason, hashrate.
    #[serde(flatten)]
    pub worker: WorkerView,
    /// Its connections that the history still has, open and closed.
    pub connections: u64,
    /// Its latest connections by the program that made them, the program of the most open ones first.
    pub user_agents: Vec<UserAgentView>,
}

/// The connections of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserAgentView {
    /// What it calls itself; untrusted text, empty if it said nothing.
    pub user_agent: String,
    /// Its connections.
    pub connections: u64,
    /// Of these, the open ones.
    pub open: u64,
    /// When the latest of them began.
    pub last_connected_ms: u64,
    /// Their accepted shares.
    pub accepted: u64,
    /// Their rejected shares.
    pub rejected: u64,
}

fn miner(conn: &Connection, source: i64, worker: WorkerView) -> Result<MinerView, QueryError> {
    let identity: i64 = conn
        .prepare_cached("SELECT id FROM series WHERE source = ?1 AND kind = 4 AND name = ?2")?
        .query_row(params![source, worker.name], |row| row.get(0))?;
    let connections = conn
        .prepare_cached("SELECT count(*) FROM miners WHERE identity = ?1")?
        .query_row([identity], |row| row.get(0))?;
    let mut latest = conn.prepare_cached(
        "SELECT user_agent, connected_at, disconnected_at, accepted, rejected FROM miners WHERE identity = ?1
         ORDER BY connected_at DESC LIMIT ?2",
    )?;
    let user_agents = by_user_agent(&mut latest, &[&identity, &CONNECTIONS_READ])?;
    Ok(MinerView { worker, connections, user_agents })
}

/// Adds up connections `(user_agent, connected_at, disconnected_at, accepted, rejected)`.
fn by_user_agent(
    connections: &mut rusqlite::Statement<'_>,
    of: &[&dyn rusqlite::ToSql],
) -> Result<Vec<UserAgentView>, QueryError> {
    let mut programs: FxHashMap<String, UserAgentView> = FxHashMap::default();
    let mut rows = connections.query(of)?;
    while let Some(row) = rows.next()? {
        let user_agent: String = row.get(0)?;
        let program = programs.entry(user_agent).or_default();
        program.connections += 1;
        program.open += u64::from(row.get::<_, Option<u64>>(2)?.is_none());
        program.last_connected_ms = program.last_connected_ms.max(row.get(1)?);
        program.accepted += row.get::<_, u64>(3)?;
        program.rejected += row.get::<_, u64>(4)?;
    }
    let mut programs: Vec<_> =
        programs.into_iter().map(|(user_agent, program)| UserAgentView { user_agent, ..program }).collect();
    programs.sort_by(|a, b| {
        (b.open, b.last_connected_ms).cmp(&(a.open, a.last_connected_ms)).then_with(|| a.user_agent.cmp(&b.user_agent))
    });
    programs.truncate(MAX_USER_AGENTS);
    Ok(programs)
}
