//! A sidecar that does what a test says: accepts, answers, acknowledges, or breaks the connection. Blocking, with a limit
//! on every wait, so that a failed test ends.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use stats_publisher::{Event, Role, StatsPublisher, StatsPublisherBuilder, Timing};
use stats_sv2::codec::Message;
use stats_sv2::session::{
    CloseStatsSession, OpenStatsSession, OpenStatsSessionError, OpenStatsSessionSuccess, StatsAck,
};
use stats_sv2::{FrameView, Text, read_frame};

/// No wait of a test takes longer than this, unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeSidecar {
    listener: TcpListener,
}

impl FakeSidecar {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// A publisher that talks to this sidecar, with short times.
    pub(crate) fn publisher(&self) -> StatsPublisherBuilder {
        StatsPublisher::builder()
            .address(self.address().to_string())
            .role(Role::Pool)
            .publisher("pool-test")
            .token("s3cret")
            .timing(quick())
    }

    pub(crate) fn accept_stream(&self) -> TcpStream {
        let stream = until("a connection", || match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Accepts a connection and reads its OpenStatsSession.
    pub(crate) fn accept(&self) -> FakeSession {
        let mut session = FakeSession {
            stream: self.accept_stream(),
            buffer: Vec::new(),
            open: OpenStatsSession {
                min_version: 0,
                max_version: 0,
                flags: 0,
                role: Role::Pool,
                publisher: Text::default(),
                session_id: 0,
                first_sequence: 0,
                vendor: Text::default(),
                token: Text::default(),
            },
            number: 0,
        };
        let frame = session.read_frame().expect("an open message");
        let view = read_frame(&frame).unwrap().unwrap();
        assert_eq!(view.msg_type, OpenStatsSession::TYPE);
        session.open = OpenStatsSession::decode(view.payload()).unwrap().into_owned();
        session
    }

    /// Accepts and opens the session at what the publisher can still send.
    pub(crate) fn accept_at_first(&self) -> FakeSession {
        let mut session = self.accept();
        session.succeed(session.open.first_sequence - 1);
        session
    }
}

pub(crate) struct FakeSession {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub(crate) open: OpenStatsSession<'static>,
    /// The number of the last event that was read.
    pub(crate) number: u64,
}

/// What the publisher sends once the session is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Event(u64, Event<'static>),
    Close(String),
    End,
}

impl FakeSession {
    pub(crate) fn succeed(&mut self, committed: u64) {
        self.succeed_with(committed, 0, 65_536);
    }

    pub(crate) fn succeed_with(&mut self, committed: u64, flags: u32, max_unacked: u32) {
        self.number = committed;
        self.send(&OpenStatsSessionSuccess { version: 1, flags, committed_sequence: committed, max_unacked });
    }

    pub(crate) fn refuse(&mut self, code: &'static str) {
        self.send(&OpenStatsSessionError { flags: 0, error_code: Text::cut(code) });
    }

    pub(crate) fn ack(&mut self, committed: u64) {
        self.send(&StatsAck { committed_sequence: committed });
    }

    pub(crate) fn close(&mut self, reason: &'static str) {
        self.send(&CloseStatsSession { reason: Text::cut(reason) });
    }

    pub(crate) fn next(&mut self) -> Sent {
        let Some(frame) = self.read_frame() else { return Sent::End };
        let frame = read_frame(&frame).unwrap().unwrap();
        if frame.is_event() {
            self.number += 1;
            return Sent::Event(self.number, Event::decode(frame).unwrap().into_owned());
        }
        assert_eq!(frame.msg_type, CloseStatsSession::TYPE, "only this message is expected in an open session");
        Sent::Close(CloseStatsSession::decode(frame.payload()).unwrap().reason.to_string())
    }

    /// The next event that is not a heartbeat.
    pub(crate) fn next_event(&mut self) -> (u64, Event<'static>) {
        loop {
            match self.next() {
                Sent::Event(_, Event::Heartbeat(_)) => {}
                Sent::Event(number, event) => return (number, event),
                other => panic!("expected an event, got {other:?}"),
            }
        }
    }

    /// Reads so many events other than heartbeats, without acknowledging.
    pub(crate) fn read_events(&mut self, count: usize) -> Vec<Event<'static>> {
        (0..count).map(|_| self.next_event().1).collect()
    }

    /// Acknowledges everything until the publisher closes its session, and acknowledges that.
    pub(crate) fn serve_to_close(&mut self) -> Vec<(u64, Event<'static>)> {
        let events = self.acknowledge_to_close();
        self.ack(self.number);
        events
    }

    /// Acknowledges everything until the publisher closes its session, but not that.
    pub(crate) fn acknowledge_to_close(&mut self) -> Vec<(u64, Event<'static>)> {
        let mut events = Vec::new();
        loop {
            match self.next() {
                Sent::Event(number, event) => {
                    events.push((number, event));
                    if self.buffer.is_empty() {
                        self.ack(number);
                    }
                }
                Sent::Close(_) => return events,
                Sent::End => panic!("the connection ended without CloseStatsSession"),
            }
        }
    }

    /// One whole frame, `None` at the end of the stream.
    pub(crate) fn read_frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(FrameView { bytes, .. }) = read_frame(&self.buffer).unwrap() {
                let frame = bytes.to_vec();
                self.buffer.drain(..frame.len());
                return Some(frame);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return None;
                }
                Err(error) => panic!("no frame came: {error}"),
            }
        }
    }

    fn send<'a>(&mut self, message: &impl Message<'a>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        // The publisher may be gone; the test sees that elsewhere.
        self.stream.write_all(&bytes).ok();
    }
}

/// Times that make a test fast. Heartbeats are off unless a test asks for them; the one at the start always comes.
pub(crate) fn quick() -> Timing {
    Timing {
        drain_every: Duration::from_millis(1),
        drain_idle: Duration::from_millis(2),
        heartbeat_every: Duration::from_secs(3_600),
        handshake_timeout: Duration::from_secs(5),
        ack_timeout: Duration::from_secs(10),
        backoff_first: Duration::from_millis(1),
        backoff_longest: Duration::from_millis(10),
    }
}

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Checks that events come once each, in order, over any number of sessions' connections.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) events: HashMap<u64, Vec<Event<'static>>>,
}

impl Journal {
    /// What a sidecar commits: numbers after the last one of the session, each once.
    pub(crate) fn commit(&mut self, session_id: u64, number: u64, event: Event<'static>) {
        let events = self.events.entry(session_id).or_default();
        assert_eq!(number, events.len() as u64 + 1, "session {session_id}");
        events.push(event);
    }

    pub(crate) fn committed(&self, session_id: u64) -> u64 {
        self.events.get(&session_id).map_or(0, |events| events.len() as u64)
    }
}
