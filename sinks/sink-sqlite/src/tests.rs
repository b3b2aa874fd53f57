//! What the history promises, shown at its border: batches in, tables and answers out.

mod contract;
mod exactly_once;
mod file;
mod lists;
mod losses;
mod luck;
mod marks;
mod migration;
mod miners;
mod objects;
mod online;
mod quotes;
mod rates;
mod reading;
mod retention;
mod settling;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mining_stats::Target;
use rusqlite::{Connection, OpenFlags, Params};
use sidecar_core::{BlockingSink, Durability, JournalId, Record};
use sink_contract::{SyntheticJournal, SyntheticSession};
use stats_sv2::event::{
    BlockFound, ChannelOpened, Heartbeat, MinerConnected, MinerShareSubmitted, SessionEnded, ShareSubmitted,
};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Event, MinerId, Role, Text, U256, UnixMillis};

use crate::{SqliteSettings, SqliteSink};

/// A whole hour, in 2027.
const HOUR_START: u64 = 1_800_000_000_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const JOURNAL: JournalId = JournalId(0xfeed_0000_0000_0001);

/// Difficulty 1.
const EASY: CompactTarget = CompactTarget(0x1d00_ffff);

fn easy_work() -> f64 {
    Target::DIFFICULTY_ONE.expected_hashes()
}

/// A sink on a file in a folder of its own, and a journal that feeds it.
struct Fixture {
    folder: tempfile::TempDir,
    settings: SqliteSettings,
    sink: SqliteSink,
    journal: SyntheticJournal,
    session: SyntheticSession,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut SqliteSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = SqliteSettings::new(folder.path().join("stats.db"));
        change(&mut settings);
        let mut sink = SqliteSink::new(settings.clone(), Durability::Process).unwrap();
        sink.start().unwrap();
        Self {
            folder,
            settings,
            sink,
            journal: SyntheticJournal::new(JOURNAL, UnixMillis(HOUR_START + DAY)),
            session: SyntheticSession::new("pool-a", Role::Pool, 1),
        }
    }

    fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    fn deliver(&mut self, records: &[Arc<Record>]) {
        self.sink.deliver(&self.journal.batch(records)).unwrap();
    }

    /// Delivers events of the fixture's session as one record, received just after they happened.
    fn events(&mut self, events: &[Event<'_>]) {
        let record = self.journal.append(&mut self.session, events);
        self.deliver(&[record]);
    }

    fn derived(&mut self, events: &[Event<'_>]) {
        let record = self.journal.append_derived(&mut self.session, events);
        self.deliver(&[record]);
    }

    fn restart(&mut self) {
        self.sink.close().unwrap();
        self.sink = SqliteSink::new(self.settings.clone(), Durability::Process).unwrap();
        self.sink.start().unwrap();
    }

    /// One value of a query.
    fn get<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        one(&self.path(), sql, [])
    }

    /// `(accepted, work, unrated shares)` of a series in a bucket of a table.
    fn bucket(&self, level: &str, kind: u8, name: &str, bucket: u64) -> (u64, f64, u64) {
        let conn = read(&self.path());
        conn.query_row(
            &format!(
                "SELECT coalesce(sum(r.accepted), 0), coalesce(sum(r.work), 0.0), coalesce(sum(r.unrated_shares), 0)
                 FROM rollup_{level} r JOIN series s ON s.id = r.series WHERE s.kind = ?1 AND s.name = ?2 AND r.bucket = ?3"
            ),
            rusqlite::params![kind, name, bucket],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap()
    }
}

fn read(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn one<T: rusqlite::types::FromSql>(path: &Path, sql: &str, params: impl Params) -> T {
    read(path).query_row(sql, params, |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn share(downstream: u32, at: u64) -> Event<'static> {
    share_at(downstream, at, EASY)
}

fn share_at(downstream: u32, at: u64, target: CompactTarget) -> Event<'static> {
    Event::ShareSubmitted(ShareSubmitted {
        downstream_id: DownstreamId(downstream),
        timestamp: UnixMillis(at),
        channel_id: ChannelId(1),
        sequence_number: 1,
        target,
        share: CompactTarget(0x1c00_ffff),
    })
}

fn opened(downstream: u32, identity: &str, at: u64) -> Event<'_> {
    Event::ChannelOpened(ChannelOpened {
        downstream_id: DownstreamId(downstream),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(at),
        kind: 1,
        user_identity: Text::new(identity).unwrap(),
        nominal_hashrate: 1_000_000,
        target: EASY,
    })
}

fn heartbeat(at: u64) -> Event<'static> {
    Event::Heartbeat(Heartbeat { timestamp: UnixMillis(at), flags: 0 })
}

/// A block of downstream 1.
fn block(height: u32, at: u64) -> Event<'static> {
    Event::BlockFound(BlockFound {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(at),
        height,
        block_hash: hash(height as u8),
    })
}

fn miner(id: u32, name: &str, at: u64) -> Event<'_> {
    Event::MinerConnected(MinerConnected {
        miner_id: MinerId(id),
        name: Text::new(name).unwrap(),
        timestamp: UnixMillis(at),
        address: Text::new("192.0.2.1").unwrap(),
        user_agent: Text::new("cgminer/4.12").unwrap(),
    })
}

fn miner_share(id: u32, at: u64) -> Event<'static> {
    Event::MinerShareSubmitted(MinerShareSubmitted {
        miner_id: MinerId(id),
        timestamp: UnixMillis(at),
        target: EASY,
        share: CompactTarget(0x1c00_ffff),
    })
}

fn session_ended(at: u64) -> Event<'static> {
    Event::SessionEnded(SessionEnded {
        session_id: 1,
        timestamp: UnixMillis(at),
        outcome: stats_sv2::event::ENDED_CLEAN,
        reason: Text::new("shutdown").unwrap(),
    })
}

fn hash(byte: u8) -> U256 {
    U256([byte; 32])
}
