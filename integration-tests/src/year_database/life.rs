//! All that is rare in a year, told to the sink as the events that a pool publishes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use mining_stats::Sv1Difficulty;
use rusqlite::{Connection, OpenFlags};
use sidecar_core::{Batch, BlockingSink, ByteSize, Durability, JournalId, Record, RecordKind, Route};
use sink_sqlite::{SqliteSettings, SqliteSink};
use stats_sv2::event::{
    BlockFound, CHANNEL_EXTENDED, ChainTipChanged, ChannelOpened, DownstreamConnected, DownstreamDisconnected,
    ENDED_CLEAN, Heartbeat, QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent, SessionEnded,
    SessionStarted, SourceInfo,
};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Event, Role, Text, U256, UnixMillis};

use super::plan::{Plan, Span, mixed};
use super::{MINUTE_MS, PUBLISHER};

/// Events of a record at most.
const RECORD_EVENTS: usize = 4_096;
/// Minutes between two tips, and between two blocks of the pool on average.
const TIP_EVERY: u32 = 10;
const BLOCK_EVERY: u32 = 3 * 24 * 60;
/// Minutes in which quotes are made: as long as they are kept one by one.
const QUOTES_SINCE: u32 = 14 * 24 * 60;
const FIRST_HEIGHT: u32 = 900_000;
/// Times as much work as a block takes on average.
const NETWORK: f64 = 600e18 * 600.0;
const FACTS: [(&str, &str); 2] = [("network", "testnet4"), ("listen_address", "192.0.2.10:34254")];

/// Makes the file and delivers the year to it. Returns the number of events.
pub(super) fn deliver(plan: &Plan, path: &Path) -> Result<u64> {
    let mut sink = SqliteSink::new(SqliteSettings::new(path), Durability::Process)?;
    sink.start()?;
    // What is too old for a tier by the end of the year never goes there.
    sink.maintain(UnixMillis(plan.ms(plan.minutes)))?;
    let mut journal = Journal { offset: 0, events: 0 };
    for index in 0..plan.sessions.len() {
        for batch in journal.session(plan, index)? {
            sink.deliver(&batch)?;
        }
    }
    sink.close()?;
    Ok(journal.events)
}

/// Lets the sink settle what is left to settle.
pub(super) fn settle(path: &Path, end: UnixMillis) -> Result<()> {
    const LEFT: &str =
        "SELECT EXISTS (SELECT 1 FROM rollup_1h WHERE bucket < (SELECT value FROM meta WHERE key = 'settled_until'))";
    let settings = SqliteSettings { disk_budget: ByteSize(u64::MAX), ..SqliteSettings::new(path) };
    let mut sink = SqliteSink::new(settings, Durability::Process)?;
    sink.start()?;
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    while reader.query_row(LEFT, [], |row| row.get(0))? {
        sink.maintain(end)?;
    }
    // The last connection to close moves the WAL into the file, and one that only reads cannot.
    drop(reader);
    sink.close()?;
    Ok(())
}

/// Numbers records as a journal does.
struct Journal {
    offset: u64,
    events: u64,
}

impl Journal {
    fn session(&mut self, plan: &Plan, index: usize) -> Result<Vec<Batch>> {
        let Span { from, to } = plan.sessions[index];
        let session_id = index as u64 + 1;
        let (begin, end) = (UnixMillis(plan.ms(from)), UnixMillis(plan.ms(to)));
        let started = SessionStarted {
            session_id,
            role: Role::Pool,
            timestamp: begin,
            first_sequence: 1,
            flags: 0,
            vendor: Text::cut("year-database"),
        };
        let ended =
            SessionEnded { session_id, timestamp: end, outcome: ENDED_CLEAN, reason: Text::cut("pool restarts") };
        let mut batches = vec![self.batch(RecordKind::Derived, session_id, 1, &[(begin.0, started.into())])?];
        let events = events_of(plan, index);
        let mut sequence = 1;
        for events in events.chunks(RECORD_EVENTS) {
            batches.push(self.batch(RecordKind::Events, session_id, sequence, events)?);
            sequence += events.len() as u64;
        }
        batches.push(self.batch(RecordKind::Derived, session_id, 2, &[(end.0, ended.into())])?);
        Ok(batches)
    }

    fn batch(
        &mut self,
        kind: RecordKind,
        session_id: u64,
        first_sequence: u64,
        events: &[(u64, Event<'static>)],
    ) -> Result<Batch> {
        let mut frames = Vec::new();
        for (_, event) in events {
            event.encode(&mut frames);
        }
        self.offset += 1;
        self.events += events.len() as u64;
        let record = Record {
            offset: self.offset,
            kind,
            publisher: Arc::from(PUBLISHER),
            role: Role::Pool,
            session_id,
            finishing: false,
            first_sequence,
            count: u32::try_from(events.len())?,
            received_at: UnixMillis(events.last().context("a record holds an event")?.0),
            cumulative_events: self.events,
            frames: frames.into(),
        };
        Batch::new(JournalId(1), vec![Arc::new(record)], Arc::new(Route::all())).context("a batch holds a record")
    }
}

/// What the pool publishes in a session, by time.
fn events_of(plan: &Plan, session: usize) -> Vec<(u64, Event<'static>)> {
    let Span { from, to } = plan.sessions[session];
    let mut events: Vec<(u64, Event<'static>)> = Vec::new();
    for at in [plan.ms(from), plan.ms(to)] {
        events.push((at, Heartbeat { timestamp: UnixMillis(at), flags: 0 }.into()));
    }
    for (name, value) in FACTS {
        let timestamp = UnixMillis(plan.ms(from));
        events.push((timestamp.0, SourceInfo { timestamp, name: Text::cut(name), value: Text::cut(value) }.into()));
    }
    connections(plan, session, to, &mut events);
    for minute in (from..to).filter(|minute| minute % TIP_EVERY == 0) {
        let timestamp = UnixMillis(plan.ms(minute));
        let height = FIRST_HEIGHT + minute / TIP_EVERY;
        events.push((timestamp.0, ChainTipChanged { timestamp, height, target: network_target() }.into()));
    }
    for number in 0..=plan.minutes / BLOCK_EVERY {
        let random = mixed(u64::from(number) << 40);
        let minute = number * BLOCK_EVERY + (random % u64::from(BLOCK_EVERY)) as u32;
        if (from..to).contains(&minute) {
            block(plan, minute, random, &mut events);
        }
    }
    quotes(plan, session, &mut events);
    events.sort_by_key(|(at, _)| *at);
    events
}

fn network_target() -> CompactTarget {
    Sv1Difficulty::from_expected_hashes(NETWORK).expect("the work is finite and positive").to_target().to_compact()
}

/// Connections that open or close in the session; the end of the session closes the rest.
fn connections(plan: &Plan, session: usize, end: u32, events: &mut Vec<(u64, Event<'static>)>) {
    for (number, downstream) in plan.downstreams.iter().enumerate() {
        for connection in downstream.connections.iter().filter(|connection| connection.session == session) {
            let downstream_id = DownstreamId(connection.id);
            let timestamp = UnixMillis(plan.ms(connection.span.from));
            let connected = DownstreamConnected {
                downstream_id,
                flags: 0,
                timestamp,
                address: Text::cut(format!("198.51.{}.{}:50000", 100 + number / 250, number % 250)),
                vendor: Text::cut("translator_sv2"),
                hardware_version: Text::cut(""),
                firmware: Text::cut("1.0"),
                device_id: Text::cut(format!("proxy-{number}")),
            };
            events.push((timestamp.0, connected.into()));
            for (channel, worker) in downstream.workers.iter().enumerate() {
                let opened = ChannelOpened {
                    downstream_id,
                    channel_id: ChannelId(channel as u32 + 1),
                    timestamp,
                    kind: CHANNEL_EXTENDED,
                    user_identity: Text::cut(worker.name.clone()),
                    nominal_hashrate: worker.hashrate as u64,
                    target: worker.target,
                };
                events.push((timestamp.0, opened.into()));
            }
            if connection.span.to < end {
                let timestamp = UnixMillis(plan.ms(connection.span.to));
                let gone =
                    DownstreamDisconnected { downstream_id, timestamp, reason: Text::cut("connection reset by peer") };
                events.push((timestamp.0, gone.into()));
            }
        }
    }
}

/// The ids of a share that some worker finds in a minute; none if its downstream is away.
fn share_of(plan: &Plan, minute: u32, random: u64) -> Option<(DownstreamId, ChannelId, f64)> {
    let downstream = &plan.downstreams[(random % plan.downstreams.len() as u64) as usize];
    let worker = (mixed(random) % downstream.workers.len() as u64) as usize;
    let connection = downstream.connected_at(minute)?;
    let work = downstream.workers[worker].share_work;
    Some((DownstreamId(connection.id), ChannelId(worker as u32 + 1), work))
}

fn block(plan: &Plan, minute: u32, random: u64, events: &mut Vec<(u64, Event<'static>)>) {
    let Some((downstream_id, channel_id, _)) = share_of(plan, minute, random) else { return };
    let timestamp = UnixMillis(plan.ms(minute) + 1_000);
    let height = FIRST_HEIGHT + minute / TIP_EVERY + 1;
    let block_hash = hash(random);
    events.push((timestamp.0, BlockFound { downstream_id, channel_id, timestamp, height, block_hash }.into()));
}

/// Quotes that the pool asks for in the session: most are answered, one in fifty fails, one in four is paid.
fn quotes(plan: &Plan, session: usize, events: &mut Vec<(u64, Event<'static>)>) {
    let Span { from, to } = plan.sessions[session];
    let first = plan.minutes.saturating_sub(QUOTES_SINCE);
    for number in 0..u64::from(plan.quotes) {
        let at = plan.ms(first) + number * u64::from(plan.minutes - first) * MINUTE_MS / u64::from(plan.quotes);
        let minute = ((at - plan.start_ms) / MINUTE_MS) as u32;
        if !(from..to).contains(&minute) {
            continue;
        }
        let random = mixed(number ^ 0x5eed << 40);
        let Some((downstream_id, channel_id, work)) = share_of(plan, minute, random) else { continue };
        let (share_hash, sequence_number) = (hash(random), number as u32);
        let amount = Amount((work / 1e9) as u64 + 1);
        let quote_id = Text::cut(format!("{random:016x}"));
        let sent = UnixMillis(at + 2 + random % 7);
        let done = UnixMillis(sent.0 + 5 + mixed(random) % 200);
        let created =
            QuoteCreated { downstream_id, amount, timestamp: UnixMillis(at), channel_id, share_hash, sequence_number };
        events.push((at, created.into()));
        let to_mint = QuoteSent { downstream_id, channel_id, sequence_number, amount, timestamp: sent, share_hash };
        events.push((sent.0, to_mint.into()));
        if number % 50 == 0 {
            let (error_code, error_message) = (Text::cut("mint-unavailable"), Text::cut("the keyset is not active"));
            let failed = QuoteFailed { share_hash: Some(share_hash), error_code, error_message, timestamp: done };
            events.push((done.0, failed.into()));
            continue;
        }
        let answered = QuoteAnswered { share_hash, quote_id: quote_id.clone(), timestamp: done };
        events.push((done.0, answered.into()));
        let paid = UnixMillis(done.0 + 20_000);
        if number % 4 == 0 && paid.0 < plan.ms(to) {
            events.push((paid.0, QuotePaid { quote_id, amount, timestamp: paid }.into()));
        }
    }
}

/// A hash that no other number has.
fn hash(number: u64) -> U256 {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).enumerate().take(3) {
        word.copy_from_slice(&mixed(number ^ (place as u64) << 56).to_le_bytes());
    }
    U256(bytes)
}
