//! The JSON form of an event, the same in the log file, in `tap` and in a journal export: one flat object.
//!
//! First what is known about the event (`kind`, `publisher`, `role`, `session`, `sequence`, `received_at`), then its own
//! fields in wire order. Numbers and times (Unix milliseconds) are JSON numbers, compact targets eight and U256 sixty-four
//! hexadecimal digits with the most significant first, an absent field is null. `publisher`, `session`, `derived` and
//! `sequence` together are the [`StableId`](crate::StableId).

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use stats_sv2::codec::{DecodeError, FieldValue};
use stats_sv2::{Event, EventKind};

use crate::record::{Envelope, RecordKind};

/// Appends the event as one JSON object without a line break. On an error nothing is appended.
///
/// Allocates nothing for an event without text beyond what `out` needs to grow.
pub fn write_event_json(envelope: &Envelope<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let event = envelope.event()?;
    serde_json::to_writer(out, &EventJson { envelope, event: &event })
        .expect("writing to a Vec cannot fail, and every key is a string");
    Ok(())
}

struct EventJson<'a> {
    envelope: &'a Envelope<'a>,
    event: &'a Event<'a>,
}

impl Serialize for EventJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.envelope.record;
        let kind = self.envelope.kind();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", kind.name())?;
        map.serialize_entry("publisher", &*record.publisher)?;
        map.serialize_entry("role", record.role.name())?;
        map.serialize_entry("session", &Hex::<16>::of(&record.session_id.to_be_bytes()))?;
        match record.kind {
            RecordKind::Events => map.serialize_entry("sequence", &self.envelope.sequence)?,
            RecordKind::Derived => {
                map.serialize_entry("sequence", &self.envelope.sequence)?;
                map.serialize_entry("derived", &true)?;
            }
            RecordKind::Announcement => map.serialize_entry("announcement", &true)?,
        }
        map.serialize_entry("received_at", &record.received_at.0)?;
        if let Event::Unknown { msg_type, payload } = self.event {
            map.serialize_entry("msg_type", msg_type)?;
            map.serialize_entry("payload", &LongHex(payload))?;
        }
        let mut failure = None;
        self.event.for_each_field(&mut |name, value| {
            if failure.is_none() {
                failure = map.serialize_entry(field_key(kind, name), &FieldJson(value)).err();
            }
        });
        failure.map_or_else(|| map.end(), Err)
    }
}

/// The key of a field: its name, unless an envelope key has that name.
fn field_key(kind: EventKind, name: &'static str) -> &'static str {
    match (kind, name) {
        (EventKind::ChannelOpened, "kind") => "channel_kind",
        (EventKind::Gap, "kind") => "gap_kind",
        (EventKind::SessionStarted, "role") => "session_role",
        _ => name,
    }
}

struct FieldJson<'a>(FieldValue<'a>);

impl Serialize for FieldJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            FieldValue::Number(number) => serializer.serialize_u64(number),
            FieldValue::Time(time) => serializer.serialize_u64(time.0),
            FieldValue::Target(target) => Hex::<8>::of(&target.0.to_be_bytes()).serialize(serializer),
            FieldValue::Text(text) => serializer.serialize_str(text),
            FieldValue::U256(number) => {
                let mut most_significant_first = number.0;
                most_significant_first.reverse();
                Hex::<64>::of(&most_significant_first).serialize(serializer)
            }
            FieldValue::Absent => serializer.serialize_none(),
            other => Err(S::Error::custom(format_args!("field value {other:?} has no JSON form"))),
        }
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// `N` hexadecimal digits, made on the stack: the formatting machinery costs more than the rest of the object.
struct Hex<const N: usize>([u8; N]);

impl<const N: usize> Hex<N> {
    fn of(bytes: &[u8]) -> Self {
        debug_assert_eq!(bytes.len() * 2, N, "two digits a byte");
        let mut digits = [b'0'; N];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0x0f)];
        }
        Self(digits)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.0).map_err(S::Error::custom)?)
    }
}

/// Bytes of any number, for the payload of an unknown event.
struct LongHex<'a>(&'a [u8]);

impl Serialize for LongHex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self
            .0
            .iter()
            .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0f)]])
            .map(char::from)
            .collect();
        serializer.serialize_str(&digits)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use stats_sv2::event::{ChannelOpened, Gap, QuoteFailed, SessionStarted, ShareRejected, ShareSubmitted};
    use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Role, Text, U256, UnixMillis};

    use super::*;
    use crate::record::Record;

    fn record(kind: RecordKind, publisher: &str, event: &Event<'_>) -> Record {
        let mut frames = Vec::new();
        event.encode(&mut frames);
        Record {
            offset: 7,
            kind,
            publisher: Arc::from(publisher),
            role: Role::Pool,
            session_id: 0xab,
            finishing: false,
            first_sequence: 42,
            count: 1,
            received_at: UnixMillis(1_000),
            cumulative_events: 9,
            frames: Bytes::from(frames),
        }
    }

    fn json(kind: RecordKind, publisher: &str, event: &Event<'_>) -> String {
        let record = record(kind, publisher, event);
        let envelope = record.envelopes().next().unwrap();
        let mut out = Vec::new();
        write_event_json(&envelope, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn share() -> Event<'static> {
        Event::ShareSubmitted(ShareSubmitted {
            downstream_id: DownstreamId(1),
            timestamp: UnixMillis(999),
            channel_id: ChannelId(2),
            sequence_number: 3,
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x0100_0001),
        })
    }

    #[test]
    fn a_share_is_written_field_by_field() {
        assert_eq!(
            json(RecordKind::Events, "pool-eu-1", &share()),
            r#"{"kind":"share_submitted","publisher":"pool-eu-1","role":"pool","session":"00000000000000ab","sequence":42,"received_at":1000,"downstream_id":1,"timestamp":999,"channel_id":2,"sequence_number":3,"target":"1d00ffff","share":"01000001"}"#
        );
    }

    #[test]
    fn derived_events_announcements_and_unknown_ones_say_so() {
        assert!(json(RecordKind::Derived, "p", &share()).contains(r#""sequence":42,"derived":true"#));
        let announced = json(RecordKind::Announcement, "p", &share());
        assert!(announced.contains(r#""announcement":true"#) && !announced.contains("\"sequence\":"));
        let unknown = Event::Unknown { msg_type: 0xf0, payload: vec![0x00, 0xfe].into() };
        assert!(json(RecordKind::Events, "p", &unknown).ends_with(r#""msg_type":240,"payload":"00fe"}"#));
    }

    #[test]
    fn no_key_stands_twice() {
        let mut fields = BTreeSet::new();
        for event in [
            Event::ChannelOpened(ChannelOpened {
                downstream_id: DownstreamId(1),
                channel_id: ChannelId(1),
                timestamp: UnixMillis(1),
                kind: 1,
                user_identity: Text::cut("a"),
                nominal_hashrate: 5,
                target: CompactTarget(0x1d00_ffff),
            }),
            Event::Gap(Gap {
                session_id: 1,
                first_sequence: 1,
                last_sequence: 2,
                since: UnixMillis(0),
                timestamp: UnixMillis(1),
                kind: 1,
            }),
            Event::SessionStarted(SessionStarted {
                session_id: 1,
                role: Role::Pool,
                timestamp: UnixMillis(1),
                first_sequence: 1,
                flags: 0,
                vendor: Text::cut(""),
            }),
        ] {
            let mut keys =
                BTreeSet::from(["kind", "publisher", "role", "session", "sequence", "derived", "received_at"]);
            event.for_each_field(&mut |name, _| {
                let key = field_key(event.kind(), name);
                assert!(keys.insert(key), "{key} stands twice in {:?}", event.kind());
                fields.insert(name);
            });
        }
        // These three are all the kinds with such a field; a new one has to be added to `field_key`.
        assert!(fields.contains("kind") && fields.contains("role"));
    }

    #[test]
    fn numbers_hashes_and_absent_fields() {
        let mut hash = [0; 32];
        hash[0] = 0x01;
        hash[31] = 0xf0;
        let failed = |share_hash| {
            Event::QuoteFailed(QuoteFailed {
                share_hash,
                error_code: Text::cut("timeout"),
                error_message: Text::cut(""),
                timestamp: UnixMillis(1),
            })
        };
        assert!(json(RecordKind::Events, "p", &failed(None)).contains(r#""share_hash":null"#));
        let known = json(RecordKind::Events, "p", &failed(Some(U256(hash))));
        assert!(known.contains(&format!(r#""share_hash":"f0{}01""#, "00".repeat(30))), "{known}");
        let paid = Event::QuotePaid(stats_sv2::event::QuotePaid {
            quote_id: Text::cut("q"),
            amount: Amount(1 << 63),
            timestamp: UnixMillis(1),
        });
        assert!(json(RecordKind::Events, "p", &paid).contains(r#""amount":9223372036854775808"#));
    }

    #[test]
    fn a_damaged_event_appends_nothing() {
        let mut damaged = record(RecordKind::Events, "p", &share());
        let mut frames = damaged.frames.to_vec();
        // One byte less in header and payload: whole as a frame, too short as a share.
        frames[3] -= 1;
        frames.pop();
        damaged.frames = Bytes::from(frames);
        let mut out = b"before".to_vec();
        let envelope = damaged.envelopes().next().unwrap();
        assert!(write_event_json(&envelope, &mut out).is_err());
        assert_eq!(out, b"before");
    }

    proptest! {
        /// Whatever text comes, the object parses, stays on one line and gives the text back.
        #[test]
        fn hostile_text_comes_back(publisher in any::<String>(), code in ".{0,60}|[\\x00-\\x1f\"\\\\\u{2028}\u{202e}]{0,40}") {
            let code = Text::cut(code);
            let event = Event::ShareRejected(ShareRejected {
                downstream_id: DownstreamId(1),
                timestamp: UnixMillis(1),
                channel_id: ChannelId(2),
                sequence_number: 3,
                error_code: code.clone(),
            });
            let line = json(RecordKind::Events, &publisher, &event);
            prop_assert!(!line.contains(['\n', '\r', '\0']));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["publisher"].as_str(), Some(publisher.as_str()));
            prop_assert_eq!(value["error_code"].as_str(), Some(code.as_str()));
            prop_assert_eq!(value["sequence_number"].as_u64(), Some(3));
        }
    }
}
