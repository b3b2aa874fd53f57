//! `vectors.json` against the code, in both directions, and its conversations against a small receiver that follows the
//! rules of SPEC.md.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stats_sv2::codec::Message;
use stats_sv2::event::validate;
use stats_sv2::{DecodeError, Event, FrameError, FrameView, PROTOCOL_VERSION, event, read_frame, session};

use crate::document;
use crate::every_message::every_message;
use crate::from_json::{FromJson, unhex};
use crate::json::hex;

fn file() -> Value {
    let text = include_str!("../../vectors.json");
    serde_json::from_str(text).unwrap()
}

fn items<'a>(file: &'a Value, part: &str) -> &'a [Value] {
    let items = file[part].as_array().unwrap();
    assert!(!items.is_empty(), "{part}");
    items
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_file_is_what_the_code_writes() {
    let code: Value = serde_json::from_str(&document::text()).unwrap();
    // Compared as values: the order of keys depends on features that other crates ask of `serde_json`.
    assert!(
        file() == code,
        "vectors.json differs from the code; if the change of the wire format is meant, write it anew with `cargo run \
         -p stats-sv2 --example vectors`"
    );
}

#[test]
fn messages_are_written_and_read_as_the_file_says() {
    let file = file();
    let mut checked = 0;
    macro_rules! check {
        ($($module:ident :: $name:ident { $($field:ident),* $(,)? })*) => {
            for vector in items(&file, "messages") {
                let frame = bytes(&vector["frame"]);
                let fields = vector["fields"].as_array().unwrap();
                let mut values = fields.iter();
                match vector["message"].as_str().unwrap() {
                    $( stringify!($name) => {
                        let message = $module::$name {
                            $( $field: {
                                let field = values.next().unwrap();
                                assert_eq!(field["name"], stringify!($field));
                                FromJson::from_json(&field["value"]).unwrap()
                            }, )*
                        };
                        assert_eq!(values.next(), None);
                        let mut written = Vec::new();
                        message.encode(&mut written);
                        assert_eq!(hex(&written), hex(&frame), "{vector}");
                        let view = whole(&frame);
                        assert_eq!(view.msg_type, $module::$name::TYPE);
                        assert_eq!(vector["msg_type"], view.msg_type);
                        assert_eq!($module::$name::decode(view.payload()), Ok(message), "{vector}");
                        checked += 1;
                    } )*
                    other => panic!("the file has an unknown message {other}"),
                }
            }
        };
    }
    every_message!(check);
    // Each of the 39 messages three times.
    assert_eq!(checked, 3 * 39);
}

fn whole(frame: &[u8]) -> FrameView<'_> {
    let view = read_frame(frame).unwrap().unwrap();
    assert_eq!(view.bytes, frame);
    view
}

#[test]
fn frames_with_a_story_decode() {
    let file = file();
    for vector in items(&file, "more_frames") {
        let frame = bytes(&vector["frame"]);
        match Event::decode(whole(&frame)).unwrap() {
            Event::ShareSubmitted(share) => {
                assert_eq!(vector["target"], format!("{:08x}", share.target.0));
                assert_eq!(vector["share"], format!("{:08x}", share.share.0));
            }
            Event::Heartbeat(heartbeat) => assert_eq!(heartbeat.flags, event::HEARTBEAT_CLOCK_STEPPED),
            other => panic!("{other:?}"),
        }
    }
    for vector in items(&file, "unknown_types") {
        let frame = bytes(&vector["frame"]);
        let view = whole(&frame);
        assert_eq!(vector["numbered"], view.is_event());
        assert_eq!(validate(view), Ok(()));
        let event = Event::decode(view).unwrap();
        assert!(matches!(event, Event::Unknown { .. }), "{vector}");
        let mut again = Vec::new();
        event.encode(&mut again);
        assert_eq!(again, frame);
    }
}

/// Class and field of a fault, as the file names them.
fn fault(error: &DecodeError) -> (&'static str, Option<&'static str>) {
    match error {
        DecodeError::Truncated { field } => ("truncated", Some(field)),
        DecodeError::TrailingBytes { .. } => ("trailing_bytes", None),
        DecodeError::OutOfRange { field, .. } => ("out_of_range", Some(field)),
        DecodeError::Empty { field } => ("empty", Some(field)),
        DecodeError::NotUtf8 { field } => ("not_utf8", Some(field)),
        DecodeError::BadOption { field, .. } => ("bad_option", Some(field)),
        DecodeError::Reserved { .. } => ("reserved", None),
        other => panic!("an error that the file does not know: {other}"),
    }
}

#[test]
fn malformed_payloads_are_refused_as_the_file_says() {
    for vector in items(&file(), "malformed_payloads") {
        let frame = bytes(&vector["frame"]);
        let view = whole(&frame);
        let judged =
            if view.is_event() { validate(view) } else { session::OpenStatsSession::decode(view.payload()).map(drop) };
        let error = judged.unwrap_err();
        let (class, field) = fault(&error);
        assert_eq!((&vector["error"], &vector["field"]), (&json!(class), &json!(field)), "{vector}");
    }
}

#[test]
fn bad_headers_and_beginnings_are_told_apart() {
    for vector in items(&file(), "bad_headers") {
        let class = match read_frame(&bytes(&vector["bytes"])).unwrap_err() {
            FrameError::WrongExtension { .. } => "wrong_extension",
            FrameError::TooLong { .. } => "too_long",
            other => panic!("an error that the file does not know: {other}"),
        };
        assert_eq!(vector["error"], class, "{vector}");
    }
    for vector in items(&file(), "incomplete") {
        assert_eq!(read_frame(&bytes(vector)), Ok(None));
    }
}

#[cfg(feature = "noise")]
#[test]
fn encrypted_frames_take_the_bytes_that_the_file_says() {
    for vector in items(&file(), "noise_sizes") {
        let payload = usize::try_from(vector["payload"].as_u64().unwrap()).unwrap();
        assert_eq!(vector["encrypted"], stats_sv2::noise::encrypted_size(payload));
    }
}

#[test]
fn conversations_follow_the_rules() {
    for transcript in items(&file(), "sessions") {
        let mut sidecar = Sidecar::default();
        for step in transcript["steps"].as_array().unwrap() {
            if let Err(why) = sidecar.step(step) {
                panic!("{}: {why} at {step}", transcript["name"]);
            }
        }
        assert!(sidecar.expected.is_none(), "{}: the sidecar owes an answer", transcript["name"]);
        let result = (&transcript["stored"], &transcript["gaps"], &transcript["ended"]);
        let held = (&json!(sidecar.stored()), &json!(sidecar.gaps), &json!(sidecar.ended));
        assert_eq!(result, held, "{}", transcript["name"]);
    }
}

/// How long a publisher's name is held by a connection that gives no frames, in milliseconds.
const NAME_HELD_FOR_MS: u64 = 15_000;

/// A receiver that commits at once and keeps everything in memory.
#[derive(Default)]
struct Sidecar {
    sessions: BTreeMap<u64, Session>,
    /// Session of the connection, by its number in the transcript.
    connections: BTreeMap<u64, u64>,
    /// Who holds the name, and when it was heard.
    holder: Option<(u64, u64)>,
    /// What the sidecar has to say next.
    expected: Option<Value>,
    gaps: Vec<Value>,
    ended: Vec<Value>,
}

#[derive(Default)]
struct Session {
    committed: u64,
    acknowledged: u64,
    stored: Vec<Value>,
}

impl Sidecar {
    fn stored(&self) -> Vec<&Value> {
        self.sessions.values().flat_map(|session| &session.stored).collect()
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        let connection = step["connection"].as_u64().unwrap();
        match step["from"].as_str().unwrap() {
            "network" => {
                self.connections.remove(&connection);
                Ok(())
            }
            "sidecar" => self.say(connection, &bytes(&step["frame"])),
            _ if step["arrives"] == false => Ok(()),
            _ => self.receive(connection, step),
        }
    }

    fn receive(&mut self, connection: u64, step: &Value) -> Result<(), String> {
        if self.expected.is_some() {
            return Err("the sidecar owes an answer".to_owned());
        }
        let at_ms = step["at_ms"].as_u64().unwrap();
        let frame = bytes(&step["frame"]);
        let view = match read_frame(&frame) {
            Ok(view) => view.ok_or("the frame is cut")?,
            Err(_) => {
                self.connections.remove(&connection);
                self.expected = Some(json!({ "close": "malformed" }));
                return Ok(());
            }
        };
        if view.msg_type == session::OpenStatsSession::TYPE {
            self.expected = Some(match session::OpenStatsSession::decode(view.payload()) {
                Ok(open) => self.open(connection, &open, at_ms),
                Err(_) => json!({ "error": "malformed" }),
            });
            return Ok(());
        }

        let session_id = *self.connections.get(&connection).ok_or("nothing is open")?;
        self.holder = self.holder.map(|(id, heard)| (id, if id == session_id { at_ms } else { heard }));
        let session = self.sessions.get_mut(&session_id).unwrap();
        if view.is_event() {
            session.committed += 1;
            if step["sequence"] != session.committed {
                return Err(format!("the frame is number {}", session.committed));
            }
            let mut stored = json!({ "session_id": session_id.to_string(), "sequence": session.committed });
            if validate(view).is_ok() {
                stored["message"] = step["message"].clone();
                stored["frame"] = step["frame"].clone();
            } else {
                stored["message"] = "Malformed".into();
                stored["msg_type"] = view.msg_type.into();
                stored["length"] = view.payload().len().into();
            }
            session.stored.push(stored);
        } else if view.msg_type == session::CloseStatsSession::TYPE {
            session::CloseStatsSession::decode(view.payload()).map_err(|error| error.to_string())?;
            self.expected = Some(json!({ "ack": session.committed }));
            self.ended.push(json!({ "session_id": session_id.to_string(), "outcome": "clean" }));
        } else if step.get("sequence").is_some() {
            return Err("the frame takes no number".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, connection: u64, open: &session::OpenStatsSession<'_>, at_ms: u64) -> Value {
        if !(open.min_version..=open.max_version).contains(&PROTOCOL_VERSION) {
            return json!({ "error": session::error_code::UNSUPPORTED_VERSION });
        }
        let finishing = open.flags & session::OPEN_FINISHING != 0;
        if let Some((holder, heard)) = self.holder
            && holder != open.session_id
            && !finishing
        {
            if at_ms - heard <= NAME_HELD_FOR_MS {
                return json!({ "error": session::error_code::PUBLISHER_IN_USE });
            }
            self.ended.push(json!({ "session_id": holder.to_string(), "outcome": "replaced" }));
        }
        if !finishing {
            self.holder = Some((open.session_id, at_ms));
        }
        self.connections.retain(|_, session| *session != open.session_id);
        self.connections.insert(connection, open.session_id);
        let known = self.sessions.contains_key(&open.session_id);
        let session = self.sessions.entry(open.session_id).or_default();
        let before = session.committed;
        let committed = before.max(open.first_sequence - 1);
        let gap = committed > before;
        if gap {
            self.gaps.push(json!({
                "session_id": open.session_id.to_string(),
                "first_sequence": before + 1,
                "last_sequence": committed,
                "kind": if known { "missing" } else { "unseen" },
            }));
        }
        session.committed = committed;
        session.acknowledged = committed;
        json!({ "success": committed, "announce": gap && !finishing })
    }

    /// Holds what the sidecar says in the transcript against what it has to say.
    fn say(&mut self, connection: u64, frame: &[u8]) -> Result<(), String> {
        let view = whole(frame);
        let payload = view.payload();
        let said = match view.msg_type {
            session::OpenStatsSessionSuccess::TYPE => {
                let success = session::OpenStatsSessionSuccess::decode(payload).unwrap();
                let announce = success.flags & session::SUCCESS_ANNOUNCE != 0;
                json!({ "success": success.committed_sequence, "announce": announce })
            }
            session::OpenStatsSessionError::TYPE => {
                let error = session::OpenStatsSessionError::decode(payload).unwrap();
                json!({ "error": error.error_code.as_str() })
            }
            session::StatsAck::TYPE => {
                let ack = session::StatsAck::decode(payload).unwrap().committed_sequence;
                if self.expected.is_none() {
                    // In the middle of a session: whenever a commit is done, and never backwards.
                    let session = self.connections.get(&connection).ok_or("nothing is open")?;
                    let session = self.sessions.get_mut(session).unwrap();
                    if ack < session.acknowledged || ack > session.committed {
                        return Err(format!("{} are committed", session.committed));
                    }
                    session.acknowledged = ack;
                    return Ok(());
                }
                json!({ "ack": ack })
            }
            session::CloseStatsSession::TYPE => {
                let close = session::CloseStatsSession::decode(payload).unwrap();
                json!({ "close": close.reason.as_str() })
            }
            other => return Err(format!("a sidecar does not send {other:#x}")),
        };
        let expected = self.expected.take();
        if expected.as_ref() == Some(&said) { Ok(()) } else { Err(format!("{said} is said, expected {expected:?}")) }
    }
}
