//! The fast codec against the structs that the reference codec derives, for every message.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stats_sv2::codec::Message;
use stats_sv2::limits::{HEADER_SIZE, MAX_PAYLOAD, U64_LIMIT};
use stats_sv2::{DecodeError, Event, EventKind, FrameView, Text, definition, event, read_frame, session};

use crate::entropy::{Define, Entropy, Sample};
use crate::every_message::every_message;

/// One message: what is checked about it, with its types taken away.
struct Case {
    name: &'static str,
    msg_type: u8,
    /// Makes a message from entropy, holds encoder and decoder against the definition, and returns the payload.
    check_message: fn(&[u8]) -> Vec<u8>,
    /// Holds the decoder against the definition on any bytes.
    check_bytes: fn(&[u8]) -> Outcome,
}

/// How the fast decoder judged some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Accepted,
    Truncated,
    TrailingBytes,
    BadOption,
    OutOfRange,
    Empty,
    NotUtf8,
}

macro_rules! cases {
    ($($module:ident :: $name:ident { $($field:ident),* $(,)? })*) => {
        const CASES: &[Case] = &[$( Case {
            name: stringify!($name),
            msg_type: $module::$name::TYPE,
            check_message: |entropy| {
                let mut entropy = Entropy(entropy);
                let mut message = $module::$name { $( $field: Sample::sample(&mut entropy), )* };
                repair(&mut message);

                let mut payload = Vec::new();
                message.encode_payload(&mut payload);
                prop_equal("payload_size", &message.payload_size(), &payload.len());
                assert!(payload.len() <= MAX_PAYLOAD);

                // A struct literal names every field: one that is missing here does not compile.
                let defined = definition::$name { $( $field: message.$field.define(), )* };
                let reference = binary_sv2::to_bytes(defined.clone()).unwrap();
                prop_equal("encoder", &payload, &reference);

                let mut copy = payload.clone();
                let read: definition::$name = binary_sv2::from_bytes(&mut copy).unwrap();
                prop_equal("definition", &read, &defined);
                prop_equal("decoder", &$module::$name::decode(&payload), &Ok(message.clone()));
                prop_equal("into_owned", &message.clone().into_owned(), &message);

                let mut names = Vec::new();
                message.for_each_field(&mut |name, _| names.push(name));
                prop_equal("field names", &names, &vec![$(stringify!($field)),*]);

                let mut frame = Vec::new();
                message.encode(&mut frame);
                check_frame(&frame, $module::$name::TYPE, &payload);
                payload
            },
            check_bytes: |bytes| {
                let fast = $module::$name::decode(bytes);
                let mut copy = bytes.to_vec();
                let derived = binary_sv2::from_bytes::<definition::$name>(&mut copy);
                match fast {
                    Ok(fast) => {
                        let defined = definition::$name { $( $field: fast.$field.define(), )* };
                        prop_equal("fields", &derived.as_ref().ok(), &Some(&defined));
                        let mut again = Vec::new();
                        fast.encode_payload(&mut again);
                        prop_equal("bytes", &again.as_slice(), &bytes);
                        Outcome::Accepted
                    }
                    Err(DecodeError::Truncated { .. }) => {
                        assert!(derived.is_err(), "the definition accepts what is cut");
                        Outcome::Truncated
                    }
                    Err(DecodeError::BadOption { count, .. }) => {
                        assert!(derived.is_err(), "the definition accepts the option count {count}");
                        Outcome::BadOption
                    }
                    // From here on our rules are stricter, and the definition shows that it is by them alone.
                    Err(DecodeError::TrailingBytes { count }) => {
                        let known = binary_sv2::to_bytes(derived.unwrap()).unwrap();
                        prop_equal("bytes before the tail", &known.as_slice(), &&bytes[..bytes.len() - count]);
                        Outcome::TrailingBytes
                    }
                    Err(DecodeError::OutOfRange { field, value }) => {
                        let out_of_range = match field {
                            "amount" => value > U64_LIMIT,
                            "role" => value > 6,
                            "session_id" | "first_sequence" if value == 0 => true,
                            _ => value >= U64_LIMIT,
                        };
                        assert!(out_of_range, "{field} = {value} is refused");
                        assert!([$(stringify!($field)),*].contains(&field));
                        Outcome::OutOfRange
                    }
                    Err(DecodeError::Empty { field }) => {
                        prop_equal("empty field", &field, &"publisher");
                        assert!(derived.is_ok());
                        Outcome::Empty
                    }
                    Err(DecodeError::NotUtf8 { .. }) => {
                        // The payload as a whole may be UTF-8: a spoiled length can cut a text inside a character. But a
                        // text without any byte above ASCII always is.
                        assert!(!bytes.is_ascii(), "ASCII is refused as not UTF-8");
                        Outcome::NotUtf8
                    }
                    Err(other) => panic!("unexpected error: {other}"),
                }
            },
        }, )*];
    };
}

every_message!(cases);

/// Gives a random message what its whole-message check asks for; only the opening has one.
fn repair(message: &mut dyn Any) {
    if let Some(open) = message.downcast_mut::<session::OpenStatsSession<'static>>() {
        open.session_id = open.session_id.max(1);
        open.first_sequence = open.first_sequence.max(1);
        if open.publisher.as_str().is_empty() {
            open.publisher = Text::cut("p");
        }
    }
}

/// `assert_eq!` with the name of the property; a panic is a failure to proptest too.
fn prop_equal<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) {
    assert_eq!(left, right, "{what}");
}

/// Holds the frame of a message against its parts, and an event's enum against its struct.
fn check_frame(bytes: &[u8], msg_type: u8, payload: &[u8]) {
    let frame = read_frame(bytes).unwrap().unwrap();
    assert_eq!((frame.msg_type, frame.payload(), frame.bytes), (msg_type, payload, bytes));
    assert_eq!(frame.is_event(), msg_type >= 0x10);
    if frame.is_event() {
        let event = Event::decode(frame).unwrap();
        assert_eq!(event.kind(), EventKind::from_type(msg_type));
        assert_eq!(event.payload_size(), payload.len());
        let mut again = Vec::new();
        event.clone().into_owned().encode(&mut again);
        assert_eq!(again, bytes);
        let derived = (0x40..=0x4f).contains(&msg_type);
        assert_eq!(event::validate(frame), if derived { Err(DecodeError::Reserved { msg_type }) } else { Ok(()) });
    }
}

#[test]
fn every_message_has_a_case() {
    let tested: BTreeSet<u8> = CASES.iter().map(|case| case.msg_type).collect();
    let known: BTreeSet<u8> = (0..=4).chain(EventKind::ALL.iter().map(|kind| kind.msg_type())).collect();
    assert_eq!(tested, known);
    assert_eq!(CASES.len(), known.len());
}

#[test]
fn every_message_is_encoded_as_defined_and_comes_back() {
    for case in CASES {
        let mut runner = TestRunner::new(Config::with_cases(64));
        runner
            .run(&vec(any::<u8>(), 0..600), |entropy| {
                (case.check_message)(&entropy);
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
    }
}

/// Ways to spoil a payload.
#[derive(Debug, Clone)]
enum Spoil {
    Nothing,
    Cut(prop::sample::Index),
    Append(Vec<u8>),
    Set(prop::sample::Index, u8),
    /// Any bytes instead.
    Replace(Vec<u8>),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        Just(Spoil::Nothing),
        any::<prop::sample::Index>().prop_map(Spoil::Cut),
        vec(any::<u8>(), 1..40).prop_map(Spoil::Append),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Spoil::Set(at, byte)),
        vec(any::<u8>(), 0..400).prop_map(Spoil::Replace),
    ]
}

#[test]
fn the_decoder_agrees_with_the_definition_on_any_bytes() {
    let mut seen: BTreeMap<(&str, Outcome), u32> = BTreeMap::new();
    for case in CASES {
        let mut runner = TestRunner::new(Config::with_cases(128));
        let outcomes = std::cell::RefCell::new(Vec::new());
        runner
            .run(&(vec(any::<u8>(), 0..600), spoil()), |(entropy, spoil)| {
                let mut payload = (case.check_message)(&entropy);
                match spoil {
                    Spoil::Nothing => {}
                    Spoil::Cut(at) => payload.truncate(at.index(payload.len())),
                    Spoil::Append(tail) => payload.extend_from_slice(&tail),
                    Spoil::Set(at, byte) => {
                        let at = at.index(payload.len());
                        payload[at] = byte;
                    }
                    Spoil::Replace(bytes) => payload = bytes,
                }
                outcomes.borrow_mut().push((case.check_bytes)(&payload));
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        for outcome in outcomes.into_inner() {
            *seen.entry((case.name, outcome)).or_default() += 1;
        }
    }

    // A comparison that never met a case of its kind would prove nothing.
    for case in CASES {
        for outcome in [Outcome::Accepted, Outcome::Truncated, Outcome::TrailingBytes] {
            assert!(seen.contains_key(&(case.name, outcome)), "{} never met {outcome:?}", case.name);
        }
    }
    for (name, outcome) in [
        ("QuoteFailed", Outcome::BadOption),
        ("ShareSubmitted", Outcome::OutOfRange),
        ("QuoteCreated", Outcome::OutOfRange),
        ("OpenStatsSession", Outcome::OutOfRange),
        ("MinerConnected", Outcome::NotUtf8),
        ("SourceInfo", Outcome::NotUtf8),
    ] {
        assert!(seen.contains_key(&(name, outcome)), "{name} never met {outcome:?}");
    }
}

proptest! {
    #[test]
    fn any_frame_is_judged_without_a_panic(msg_type: u8, payload in vec(any::<u8>(), 0..600)) {
        let mut bytes = stats_sv2::codec::header(msg_type, payload.len()).to_vec();
        bytes.extend_from_slice(&payload);
        let frame = read_frame(&bytes).unwrap().unwrap();
        let judged = event::validate(frame);
        let decoded = Event::decode(frame);
        if (0x40..=0x4f).contains(&msg_type) {
            prop_assert_eq!(judged, Err(DecodeError::Reserved { msg_type }));
        } else {
            prop_assert_eq!(judged, decoded.as_ref().map(drop).map_err(Clone::clone));
        }
        if let Ok(event) = decoded {
            let mut again = Vec::new();
            event.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
            // Whatever the event is, its time is in range and its kind has a name.
            prop_assert!(event.timestamp().is_none_or(|time| time.0 < U64_LIMIT));
            prop_assert!(!event.kind().name().is_empty());
        }
    }

    /// A message that a program fills with nonsense is still one that every reader accepts.
    #[test]
    fn what_is_encoded_decodes(raw: u64, amount: u64) {
        let quote = event::QuotePaid {
            quote_id: Text::default(),
            amount: stats_sv2::Amount(amount),
            timestamp: stats_sv2::UnixMillis(raw),
        };
        let mut payload = Vec::new();
        quote.encode_payload(&mut payload);
        let read = event::QuotePaid::decode(&payload).unwrap();
        prop_assert_eq!(read.amount.0, amount.min(U64_LIMIT));
        prop_assert_eq!(read.timestamp.0, raw.min(U64_LIMIT - 1));
    }
}

#[test]
fn a_view_shorter_than_a_header_has_no_payload() {
    let view = FrameView { msg_type: 0x10, bytes: &[0; HEADER_SIZE - 1] };
    assert!(view.payload().is_empty());
}
