//! For tests: a sidecar that takes one session, acknowledges everything and remembers what it was told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stats_publisher::Event;
use stats_sv2::codec::{FieldValue, Message};
use stats_sv2::read_frame;
use stats_sv2::session::{CloseStatsSession, OpenStatsSession, OpenStatsSessionSuccess, StatsAck};

/// No read of a test takes longer, unless the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeSidecar {
    pub(crate) address: SocketAddr,
    session: JoinHandle<Session>,
}

/// What a session was, once it is over by its own words.
pub(crate) struct Session {
    pub(crate) open: OpenStatsSession<'static>,
    /// In order; heartbeats left out.
    pub(crate) events: Vec<Event<'static>>,
}

impl FakeSidecar {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, session: thread::spawn(move || receive(listener.accept().unwrap().0)) }
    }

    /// Waits for the end of the session.
    pub(crate) fn ended(self) -> Session {
        self.session.join().unwrap()
    }
}

fn receive(mut stream: TcpStream) -> Session {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut buffer, mut chunk) = (Vec::new(), [0; 4096]);
    let (mut open, mut events, mut number) = (None, Vec::new(), 0);
    loop {
        let frame = loop {
            if let Some(frame) = read_frame(&buffer).unwrap() {
                break frame;
            }
            let count = stream.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "the session ends by its own words");
            buffer.extend_from_slice(&chunk[..count]);
        };
        let mut answer = Vec::new();
        if frame.is_event() {
            number += 1;
            StatsAck { committed_sequence: number }.encode(&mut answer);
            match Event::decode(frame).unwrap() {
                Event::Heartbeat(_) => {}
                event => events.push(event.into_owned()),
            }
        } else if frame.msg_type == OpenStatsSession::TYPE {
            open = Some(OpenStatsSession::decode(frame.payload()).unwrap().into_owned());
            let success =
                OpenStatsSessionSuccess { version: 1, flags: 0, committed_sequence: number, max_unacked: 65_536 };
            success.encode(&mut answer);
        } else {
            assert_eq!(frame.msg_type, CloseStatsSession::TYPE);
            // The publisher waits for this before it ends.
            StatsAck { committed_sequence: number }.encode(&mut answer);
            stream.write_all(&answer).unwrap();
            return Session { open: open.unwrap(), events };
        }
        let length = frame.bytes.len();
        buffer.drain(..length);
        stream.write_all(&answer).unwrap();
    }
}

/// An event in one line: its kind, and its fields without the time, which must be there.
pub(crate) fn line(event: &Event<'_>) -> String {
    let mut line = event.kind().name().to_owned();
    event.for_each_field(&mut |name, value| {
        let value = match value {
            FieldValue::Time(time) => return assert_ne!(time.0, 0, "every event has its time"),
            FieldValue::Number(number) => number.to_string(),
            FieldValue::Target(target) => format!("{:#x}", target.0),
            FieldValue::Text(text) => format!("{text:?}"),
            FieldValue::U256(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        line.push_str(&format!(" {name}={value}"));
    });
    line
}
