//! Whole conversations: what each side sends, what arrives, and what the receiver holds at the end.

use serde_json::{Value, json};
use stats_sv2::codec::{Message, header};
use stats_sv2::event::{
    AnnounceBegin, AnnounceEnd, DownstreamConnected, Event, EventsDropped, Heartbeat, ShareSubmitted,
};
use stats_sv2::session::{
    CloseStatsSession, OPEN_FINISHING, OpenStatsSession, OpenStatsSessionError, OpenStatsSessionSuccess,
    SUCCESS_ANNOUNCE, StatsAck, error_code,
};
use stats_sv2::{CompactTarget, DownstreamId, PROTOCOL_VERSION, Role, Text, UnixMillis};

use crate::json::hex;

const SESSION: u64 = 0x11;
const OTHER_SESSION: u64 = 0x22;

/// The opening message of the transcripts.
pub(crate) fn open(first_sequence: u64) -> OpenStatsSession<'static> {
    OpenStatsSession {
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        flags: 0,
        role: Role::Pool,
        publisher: Text::cut("pool-eu-1"),
        session_id: SESSION,
        first_sequence,
        vendor: Text::cut("example-pool/1.4.2"),
        token: Text::default(),
    }
}

fn open_other(first_sequence: u64) -> OpenStatsSession<'static> {
    OpenStatsSession { session_id: OTHER_SESSION, ..open(first_sequence) }
}

fn success(committed_sequence: u64, flags: u32) -> OpenStatsSessionSuccess {
    OpenStatsSessionSuccess { version: PROTOCOL_VERSION, flags, committed_sequence, max_unacked: 65_536 }
}

fn refused(code: &'static str) -> OpenStatsSessionError<'static> {
    OpenStatsSessionError { flags: 0, error_code: Text::cut(code) }
}

fn ack(committed_sequence: u64) -> StatsAck {
    StatsAck { committed_sequence }
}

fn close(reason: &'static str) -> CloseStatsSession<'static> {
    CloseStatsSession { reason: Text::cut(reason) }
}

fn share(n: u32) -> Event<'static> {
    ShareSubmitted {
        downstream_id: DownstreamId(7),
        timestamp: UnixMillis(1_750_000_000_000 + u64::from(n)),
        channel_id: 2.into(),
        sequence_number: n,
        target: CompactTarget(0x1b00_ffff),
        share: CompactTarget(0x1a18_72b0),
    }
    .into()
}

fn downstream() -> Event<'static> {
    DownstreamConnected {
        downstream_id: DownstreamId(7),
        flags: 0,
        timestamp: UnixMillis(1_749_999_000_000),
        address: Text::cut("192.0.2.7:34255"),
        vendor: Text::cut("bitaxe"),
        hardware_version: Text::cut("BM1370"),
        firmware: Text::cut("2.8.1"),
        device_id: Text::default(),
    }
    .into()
}

const NOW: UnixMillis = UnixMillis(1_750_000_000_500);

struct Transcript {
    name: &'static str,
    about: &'static str,
    connection: u32,
    at_ms: u64,
    steps: Vec<Value>,
    stored: Vec<Value>,
    gaps: Vec<Value>,
    ended: Vec<Value>,
}

fn transcript(name: &'static str, about: &'static str) -> Transcript {
    Transcript {
        name,
        about,
        connection: 0,
        at_ms: 0,
        steps: Vec::new(),
        stored: Vec::new(),
        gaps: Vec::new(),
        ended: Vec::new(),
    }
}

impl Transcript {
    /// The publisher connects and opens.
    fn connect(mut self, open: OpenStatsSession<'static>) -> Self {
        self.connection += 1;
        self.send("publisher", "OpenStatsSession", &open)
    }

    fn sidecar<'a>(self, name: &'static str, message: &impl Message<'a>) -> Self {
        self.send("sidecar", name, message)
    }

    fn send<'a>(mut self, from: &'static str, name: &'static str, message: &impl Message<'a>) -> Self {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.step(json!({ "from": from, "message": name, "frame": hex(&frame) }));
        self
    }

    fn ack(self, committed: u64) -> Self {
        self.sidecar("StatsAck", &ack(committed))
    }

    /// An event that reaches the sidecar.
    fn event(mut self, sequence: u64, event: &Event<'_>) -> Self {
        let (name, frame) = encoded(event);
        self.step(json!({ "from": "publisher", "message": name, "sequence": sequence, "frame": frame }));
        self
    }

    /// An event that is sent and does not arrive.
    fn lost(mut self, sequence: u64, event: &Event<'_>) -> Self {
        let (name, frame) = encoded(event);
        self.step(json!({
            "from": "publisher", "message": name, "sequence": sequence, "frame": frame, "arrives": false,
        }));
        self
    }

    fn bytes(mut self, message: &str, sequence: Option<u64>, bytes: &[u8]) -> Self {
        let mut step = json!({ "from": "publisher", "message": message, "frame": hex(bytes) });
        if let Some(sequence) = sequence {
            step["sequence"] = sequence.into();
        }
        self.step(step);
        self
    }

    /// The connection ends without a word.
    fn disconnect(mut self) -> Self {
        self.step(json!({ "from": "network", "message": "connection lost" }));
        self
    }

    fn wait(mut self, ms: u64) -> Self {
        self.at_ms += ms;
        self
    }

    fn step(&mut self, mut step: Value) {
        step["connection"] = self.connection.into();
        step["at_ms"] = self.at_ms.into();
        self.steps.push(step);
    }

    fn stored(mut self, session: u64, events: &[(u64, &Event<'_>)]) -> Self {
        for (sequence, event) in events {
            let (name, frame) = encoded(event);
            self.stored.push(
                json!({ "session_id": session.to_string(), "sequence": sequence, "message": name, "frame": frame }),
            );
        }
        self
    }

    fn stored_malformed(mut self, sequence: u64, msg_type: u8, length: usize) -> Self {
        self.stored.push(json!({
            "session_id": SESSION.to_string(), "sequence": sequence, "message": "Malformed", "msg_type": msg_type, "length": length,
        }));
        self
    }

    fn gap(mut self, first: u64, last: u64, kind: &str) -> Self {
        self.gaps.push(
            json!({ "session_id": SESSION.to_string(), "first_sequence": first, "last_sequence": last, "kind": kind }),
        );
        self
    }

    fn ended(mut self, session: u64, outcome: &str) -> Self {
        self.ended.push(json!({ "session_id": session.to_string(), "outcome": outcome }));
        self
    }

    fn json(self) -> Value {
        json!({
            "name": self.name,
            "about": self.about,
            "steps": self.steps,
            "stored": self.stored,
            "gaps": self.gaps,
            "ended": self.ended,
        })
    }
}

fn encoded(event: &Event<'_>) -> (String, String) {
    let mut frame = Vec::new();
    event.encode(&mut frame);
    let debug = format!("{event:?}");
    // `Debug` of the enum begins with the name of the message.
    let name = debug.split(['(', ' ']).next().unwrap_or_default().to_owned();
    (name, hex(&frame))
}

pub(crate) fn transcripts() -> Vec<Value> {
    let heartbeat: Event<'_> = Heartbeat { timestamp: NOW, flags: 0 }.into();
    let begin: Event<'_> = AnnounceBegin { timestamp: NOW }.into();
    let end: Event<'_> = AnnounceEnd { timestamp: NOW }.into();
    let dropped: Event<'_> = EventsDropped {
        count: 250,
        first_timestamp: UnixMillis(1_750_000_000_002),
        last_timestamp: UnixMillis(1_750_000_000_400),
        reason: Text::cut("queue-full"),
    }
    .into();
    // A share with one byte too many.
    let mut spoiled = header(ShareSubmitted::TYPE, 29).to_vec();
    spoiled.extend_from_slice(&[1; 29]);
    let foreign = [0x00, 0x00, 0x10, 0x1c, 0x00, 0x00];
    let later: Event<'_> = Event::Unknown { msg_type: 0x70, payload: vec![1, 2, 3].into() };

    vec![
        transcript("a clean run", "A session from its first number to its close, which is acknowledged too.")
            .connect(open(1))
            .sidecar("OpenStatsSession.Success", &success(0, 0))
            .event(1, &downstream())
            .event(2, &share(1))
            .event(3, &heartbeat)
            .ack(3)
            .event(4, &share(2))
            .send("publisher", "CloseStatsSession", &close("shutdown"))
            .ack(4)
            .stored(SESSION, &[(1, &downstream()), (2, &share(1)), (3, &heartbeat), (4, &share(2))])
            .ended(SESSION, "clean")
            .json(),
        transcript(
            "a lost acknowledgement",
            "All events were committed, but the publisher does not know. It still offers number 1; the sidecar says \
             where it stands, and nothing is sent twice.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .event(2, &share(2))
        .disconnect()
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(2, 0))
        .event(3, &share(3))
        .ack(3)
        .stored(SESSION, &[(1, &share(1)), (2, &share(2)), (3, &share(3))])
        .json(),
        transcript(
            "a resend",
            "Two of three events did not arrive. The first frame after Success is number committed_sequence + 1.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .lost(2, &share(2))
        .lost(3, &share(3))
        .disconnect()
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(1, 0))
        .event(2, &share(2))
        .event(3, &share(3))
        .ack(3)
        .stored(SESSION, &[(1, &share(1)), (2, &share(2)), (3, &share(3))])
        .json(),
        transcript(
            "a gap that is a loss",
            "The publisher could not keep numbers 2 to 4 while the sidecar was away. The sidecar knows the session, so \
             the gap is `missing`.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .ack(1)
        .disconnect()
        .connect(open(5))
        .sidecar("OpenStatsSession.Success", &success(4, SUCCESS_ANNOUNCE))
        .event(5, &share(5))
        .event(6, &begin)
        .event(7, &downstream())
        .event(8, &end)
        .ack(8)
        .stored(SESSION, &[(1, &share(1)), (5, &share(5)), (6, &begin), (7, &downstream()), (8, &end)])
        .gap(2, 4, "missing")
        .json(),
        transcript(
            "a gap that is none of ours",
            "A sidecar without history meets a session in the middle. What came before was delivered elsewhere: the gap \
             is `unseen`, and the publisher is asked what is open.",
        )
        .connect(open(1001))
        .sidecar("OpenStatsSession.Success", &success(1000, SUCCESS_ANNOUNCE))
        .event(1001, &share(1))
        .event(1002, &begin)
        .event(1003, &downstream())
        .event(1004, &end)
        .ack(1004)
        .stored(SESSION, &[(1001, &share(1)), (1002, &begin), (1003, &downstream()), (1004, &end)])
        .gap(1, 1000, "unseen")
        .json(),
        transcript(
            "a full queue",
            "Dropped events take no numbers. What was queued before them goes first, then the loss, then what is open.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .event(2, &dropped)
        .event(3, &begin)
        .event(4, &downstream())
        .event(5, &end)
        .event(6, &share(300))
        .ack(6)
        .stored(
            SESSION,
            &[(1, &share(1)), (2, &dropped), (3, &begin), (4, &downstream()), (5, &end), (6, &share(300))],
        )
        .json(),
        transcript(
            "a malformed event",
            "A bad payload in a good header keeps its number; a stand-in is stored under it and the session goes on.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .bytes("ShareSubmitted", Some(2), &spoiled)
        .event(3, &share(3))
        .ack(3)
        .stored(SESSION, &[(1, &share(1))])
        .stored_malformed(2, ShareSubmitted::TYPE, 29)
        .stored(SESSION, &[(3, &share(3))])
        .json(),
        transcript(
            "unknown types",
            "An event of a later version is numbered and kept. A session message of a later version takes no number and \
             is passed over.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &later)
        .bytes("0x0f", None, &header(0x0f, 0))
        .event(2, &share(2))
        .ack(2)
        .stored(SESSION, &[(1, &later), (2, &share(2))])
        .json(),
        transcript(
            "a bad header, twice",
            "After a header of another protocol nothing can be found. Told so twice at the same committed number, the \
             publisher gives up the next event and opens behind it.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .bytes("a header of extension 0", None, &foreign)
        .sidecar("CloseStatsSession", &close("malformed"))
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(1, 0))
        .bytes("a header of extension 0", None, &foreign)
        .sidecar("CloseStatsSession", &close("malformed"))
        .connect(open(3))
        .sidecar("OpenStatsSession.Success", &success(2, SUCCESS_ANNOUNCE))
        .event(3, &begin)
        .event(4, &end)
        .ack(4)
        .stored(SESSION, &[(1, &share(1)), (3, &begin), (4, &end)])
        .gap(2, 2, "missing")
        .json(),
        transcript(
            "a replacement",
            "Another session of the same name is refused while the first was heard of lately, and takes over when it was \
             not. The replaced session may deliver its rest with the flag `finishing`.",
        )
        .connect(open(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(1))
        .wait(5_000)
        .connect(open_other(1))
        .sidecar("OpenStatsSession.Error", &refused(error_code::PUBLISHER_IN_USE))
        .wait(20_000)
        .connect(open_other(1))
        .sidecar("OpenStatsSession.Success", &success(0, 0))
        .event(1, &share(10))
        .connect(OpenStatsSession { flags: OPEN_FINISHING, ..open(2) })
        .sidecar("OpenStatsSession.Success", &success(1, 0))
        .event(2, &share(2))
        .ack(2)
        .stored(SESSION, &[(1, &share(1)), (2, &share(2))])
        .stored(OTHER_SESSION, &[(1, &share(10))])
        .ended(SESSION, "replaced")
        .json(),
        transcript("another version", "No version between the bounds is known.")
            .connect(OpenStatsSession { min_version: 2, max_version: 3, ..open(1) })
            .sidecar("OpenStatsSession.Error", &refused(error_code::UNSUPPORTED_VERSION))
            .json(),
        transcript("an opening that is malformed", "The session id is missing.")
            .connect(OpenStatsSession { session_id: 0, ..open(1) })
            .sidecar("OpenStatsSession.Error", &refused(error_code::MALFORMED))
            .json(),
    ]
}
