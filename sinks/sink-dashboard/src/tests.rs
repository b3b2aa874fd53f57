//! What the dashboard promises, shown at its border: events in, answers over TCP out, with a real history between.

mod answers;
mod contract;
mod hostile;
mod limits;
mod live;
mod paging;
mod ready;
pub(crate) mod security;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sidecar_core::{BlockingSink, Durability, JournalId, ManualClock, Neighbours, Record, Sink, SinkContext};
use sink_contract::{SyntheticJournal, SyntheticSession};
use sink_sqlite::{SqliteSettings, SqliteSink};
use stats_sv2::event::{
    BlockFound, ChannelOpened, DownstreamConnected, Heartbeat, QuoteCreated, SessionStarted, ShareRejected,
    ShareSubmitted,
};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Event, Role, Text, U256, UnixMillis};

use crate::{DashboardSettings, DashboardSink};

/// A whole hour, in 2027.
pub(crate) const START: u64 = 1_800_000_000_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
/// Difficulty 1.
pub(crate) const EASY: CompactTarget = CompactTarget(0x1d00_ffff);
/// A test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pipeline that is ready, and whose report is always the same.
pub(crate) struct Reported(pub(crate) serde_json::Value);

impl sidecar_core::PipelineView for Reported {
    fn not_ready(&self) -> Option<Vec<sidecar_core::NotReady>> {
        Some(Vec::new())
    }

    fn report(&self) -> Option<serde_json::Value> {
        Some(self.0.clone())
    }
}

/// A history and a dashboard over it, fed with the same events.
pub(crate) struct Bench {
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    pub(crate) neighbours: Arc<Neighbours>,
    clock: Arc<ManualClock>,
    now: u64,
    pub(crate) history: SqliteSettings,
    sink: SqliteSink,
    dashboard: DashboardSink,
    journal: SyntheticJournal,
    session: SyntheticSession,
    pub(crate) address: SocketAddr,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Role::Pool, |_| {})
    }

    pub(crate) fn with(role: Role, change: impl FnOnce(&mut DashboardSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = SqliteSettings::new(folder.path().join("stats.db"));
        let mut sink = SqliteSink::new(history.clone(), Durability::Process).unwrap();
        sink.start().unwrap();
        let clock = Arc::new(ManualClock::at(UnixMillis(START)));
        let mut settings =
            DashboardSettings { listen: ([127, 0, 0, 1], 0).into(), ..DashboardSettings::new("history") };
        change(&mut settings);
        let neighbours = Arc::new(Neighbours::new([("history".to_owned(), history.path.clone())]));
        let context = SinkContext {
            name: Arc::from("dashboard"),
            durability: Durability::Process,
            clock: Arc::clone(&clock) as Arc<dyn sidecar_core::Clock>,
            neighbours: Arc::clone(&neighbours),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut dashboard = DashboardSink::new(settings, context).unwrap();
        runtime.block_on(dashboard.start()).unwrap();
        let address = neighbours.address("dashboard").unwrap();
        let session = SyntheticSession::new("pool-a", role, 7);
        let journal = SyntheticJournal::new(JournalId(1), UnixMillis(START));
        let mut bench = Self {
            _folder: folder,
            runtime,
            neighbours,
            clock,
            now: START,
            history,
            sink,
            dashboard,
            journal,
            session,
            address,
        };
        bench.begin_session(role);
        bench
    }

    fn begin_session(&mut self, role: Role) {
        self.derived(&[Event::SessionStarted(SessionStarted {
            session_id: 7,
            role,
            timestamp: UnixMillis(self.now),
            first_sequence: 1,
            flags: 0,
            vendor: Text::cut("test 1.0"),
        })]);
        self.beat();
    }

    /// Another publisher comes; what follows is told by it.
    pub(crate) fn become_other(&mut self, publisher: &str, role: Role) {
        self.session = SyntheticSession::new(publisher, role, 7);
        self.begin_session(role);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass; what was answered before is not kept any longer.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.clock.set(UnixMillis(self.now));
        self.journal.set_now(UnixMillis(self.now));
    }

    /// A block of the worker of channel 1.
    pub(crate) fn find_block(&mut self, height: u32) {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&height.to_le_bytes());
        self.events(&[Event::BlockFound(BlockFound {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(1),
            timestamp: UnixMillis(self.now),
            height,
            block_hash: U256(hash),
        })]);
    }

    /// A quote for a share of a channel.
    pub(crate) fn create_quote(&mut self, id: u32, number: u32, amount: u64) {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        self.events(&[Event::QuoteCreated(QuoteCreated {
            downstream_id: DownstreamId(id),
            amount: Amount(amount),
            timestamp: UnixMillis(self.now),
            channel_id: ChannelId(id),
            share_hash: U256(hash),
            sequence_number: number,
        })]);
    }

    /// Lets time pass with a heartbeat every five seconds, so that it is observed.
    pub(crate) fn observe(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.pass((end - self.now).min(5 * SECOND));
            self.beat();
        }
    }

    fn beat(&mut self) {
        self.events(&[Event::Heartbeat(Heartbeat { timestamp: UnixMillis(self.now), flags: 0 })]);
    }

    pub(crate) fn events(&mut self, events: &[Event<'_>]) {
        let record = self.journal.append(&mut self.session, events);
        self.deliver(record);
    }

    pub(crate) fn derived(&mut self, events: &[Event<'_>]) {
        let record = self.journal.append_derived(&mut self.session, events);
        self.deliver(record);
    }

    /// Tells only the history.
    pub(crate) fn unseen(&mut self, events: &[Event<'_>]) {
        let record = self.journal.append(&mut self.session, events);
        self.sink.deliver(&self.journal.batch(&[record])).unwrap();
    }

    fn deliver(&mut self, record: Arc<Record>) {
        let batch = self.journal.batch(&[record]);
        self.sink.deliver(&batch).unwrap();
        self.runtime.block_on(self.dashboard.deliver(batch)).unwrap();
    }

    /// A downstream with one channel.
    pub(crate) fn open(&mut self, id: u32, name: &str) {
        self.events(&Self::opened(id, name, UnixMillis(self.now)));
    }

    pub(crate) fn opened(id: u32, name: &str, timestamp: UnixMillis) -> [Event<'_>; 2] {
        [
            Event::DownstreamConnected(DownstreamConnected {
                downstream_id: DownstreamId(id),
                flags: 2,
                timestamp,
                address: Text::cut(format!("192.0.2.{id}:4444")),
                vendor: Text::cut("bitaxe"),
                hardware_version: Text::cut("gamma"),
                firmware: Text::cut("2.9"),
                device_id: Text::cut(format!("device-{id}")),
            }),
            Event::ChannelOpened(ChannelOpened {
                downstream_id: DownstreamId(id),
                channel_id: ChannelId(id),
                timestamp,
                kind: 0,
                user_identity: Text::cut(name),
                nominal_hashrate: 1_000_000_000_000,
                target: EASY,
            }),
        ]
    }

    /// Channels with a name each, all of one downstream.
    pub(crate) fn open_many(&mut self, channels: u32) {
        let timestamp = UnixMillis(self.now);
        let opened: Vec<_> = (0..channels)
            .map(|id| {
                Event::ChannelOpened(ChannelOpened {
                    downstream_id: DownstreamId(1),
                    channel_id: ChannelId(id),
                    timestamp,
                    kind: 0,
                    user_identity: Text::cut(format!("worker-{id}")),
                    nominal_hashrate: 0,
                    target: EASY,
                })
            })
            .collect();
        self.events(&opened);
    }

    pub(crate) fn share(&mut self, id: u32) {
        self.events(&[Event::ShareSubmitted(ShareSubmitted {
            downstream_id: DownstreamId(id),
            timestamp: UnixMillis(self.now),
            channel_id: ChannelId(id),
            sequence_number: 1,
            target: EASY,
            share: CompactTarget(0x1c00_ffff),
        })]);
    }

    pub(crate) fn reject(&mut self, id: u32, code: &str) {
        self.events(&[Event::ShareRejected(ShareRejected {
            downstream_id: DownstreamId(id),
            timestamp: UnixMillis(self.now),
            channel_id: ChannelId(id),
            sequence_number: 1,
            error_code: Text::cut(code),
        })]);
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "Host: localhost\r\n")
    }

    /// The answer as JSON; it must be 200.
    pub(crate) fn json(&self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.json()
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let mut stream = self.connect();
        write!(stream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Reply::parse(&answer)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The live stream, after its head.
    pub(crate) fn listen(&self, headers: &str) -> Listener {
        let mut stream = self.connect();
        write!(stream, "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        // The first line says how fast to come back; after it the client has its place.
        let mut listener = Listener { lines };
        listener.line_that(|line| line.starts_with("retry:"));
        listener
    }

    pub(crate) fn stop(&mut self) {
        self.runtime.block_on(self.dashboard.close()).unwrap();
    }
}

/// A client of the live stream.
pub(crate) struct Listener {
    lines: BufReader<TcpStream>,
}

/// A message as a client sees it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Listener {
    fn line_that(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended");
            if wanted(&line) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// The next message of a type; others are passed over.
    pub(crate) fn next(&mut self, event: &str) -> Message {
        loop {
            let id = self.line_that(|line| line.starts_with("id: "));
            let kind = self.line_that(|line| line.starts_with("event: "));
            let data = self.line_that(|line| line.starts_with("data: "));
            if kind == format!("event: {event}") {
                return Message {
                    id: id["id: ".len()..].to_owned(),
                    data: serde_json::from_str(&data["data: ".len()..]).unwrap(),
                };
            }
        }
    }

    /// Reads until the server ends the stream.
    pub(crate) fn end(mut self) {
        let mut rest = Vec::new();
        // Cut off or ended: both are an end.
        drop(self.lines.read_to_end(&mut rest));
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// The body as it came, compressed or not.
    pub(crate) bytes: Vec<u8>,
    /// Where the header `Link` leads to, if there is one.
    pub(crate) next: Option<String>,
}

impl Reply {
    fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(answer)));
        let head = String::from_utf8_lossy(&answer[..end]);
        let next = head.lines().find_map(|line| line.strip_prefix("link: <")).map(|link| {
            let (address, rest) = link.split_once('>').unwrap();
            assert_eq!(rest, "; rel=\"next\"");
            address.to_owned()
        });
        let head = head.to_ascii_lowercase();
        let bytes = answer[end + 4..].to_vec();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: String::from_utf8_lossy(&bytes).into_owned(), bytes, next }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The problem document; the status must be this one.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}
