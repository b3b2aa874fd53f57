//! The content of `vectors.json`.

use serde_json::{Map, Value, json};
use stats_sv2::codec::{Message, header};
use stats_sv2::limits::{HEADER_SIZE, MAX_PAYLOAD, MAX_TEXT, U64_LIMIT};
use stats_sv2::{CompactTarget, EXTENSION_TYPE, PROTOCOL_VERSION, Text, UnixMillis, event, session};

use crate::every_message::every_message;
use crate::json::{Json, hex};
use crate::sessions;

/// The file, byte for byte.
pub(crate) fn text() -> String {
    // Each vector on a line of its own keeps the file short and its differences readable.
    let mut text = String::from("{\n");
    let parts = parts();
    for (n, (name, value)) in parts.iter().enumerate() {
        let comma = if n + 1 < parts.len() { "," } else { "" };
        match value {
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| format!("    {item}")).collect();
                text.push_str(&format!("  {}: [\n{}\n  ]{comma}\n", json!(name), items.join(",\n")));
            }
            value => text.push_str(&format!("  {}: {value}{comma}\n", json!(name))),
        }
    }
    text.push_str("}\n");
    text
}

fn parts() -> Vec<(&'static str, Value)> {
    vec![
        (
            "about",
            json!(
                "Byte-level examples of the stats-sv2 protocol; SPEC.md explains them in its last section. Bytes are \
                 hexadecimal. U8, U16 and U32 fields are numbers, U64 fields are strings of decimal digits, U256 fields \
                 are hexadecimal in wire order, an absent option is null."
            ),
        ),
        ("version", json!(PROTOCOL_VERSION)),
        ("extension_type", json!(EXTENSION_TYPE)),
        (
            "limits",
            json!({
                "header_size": HEADER_SIZE,
                "max_payload": MAX_PAYLOAD,
                "max_text": MAX_TEXT,
                "u64_limit": U64_LIMIT.to_string(),
            }),
        ),
        ("messages", messages().into()),
        ("more_frames", more_frames().into()),
        ("unknown_types", unknown_types().into()),
        ("malformed_payloads", malformed_payloads().into()),
        ("bad_headers", bad_headers().into()),
        ("incomplete", incomplete().into()),
        ("noise_sizes", noise_sizes().into()),
        ("sessions", sessions::transcripts().into()),
    ]
}

fn vector(name: &str, message: &str, frame: &[u8], fields: Value) -> Value {
    json!({ "name": name, "message": message, "msg_type": frame[2], "frame": hex(frame), "fields": fields })
}

/// Each message three times: usual values, the least and the greatest that its types allow.
fn messages() -> Vec<Value> {
    let mut vectors = Vec::new();
    macro_rules! vectors {
        ($($module:ident :: $name:ident { $($field:ident),* $(,)? })*) => {$(
            let typical = $module::$name { $( $field: Json::typical(stringify!($field)), )* };
            let least = $module::$name { $( $field: Json::least(stringify!($field)), )* };
            let greatest = $module::$name { $( $field: Json::greatest(), )* };
            for (name, message) in [("typical", typical), ("least", least), ("greatest", greatest)] {
                let mut frame = Vec::new();
                message.encode(&mut frame);
                let fields = vec![$( field(stringify!($field), &message.$field), )*];
                vectors.push(vector(name, stringify!($name), &frame, fields.into()));
            }
        )*};
    }
    every_message!(vectors);
    vectors
}

/// Name, SV2 type and value. An array of these keeps the wire order, which a JSON object need not.
fn field<F: Json>(name: &str, value: &F) -> Value {
    json!({ "name": name, "type": F::TYPE, "value": value.to_json() })
}

/// Values with a story of their own.
fn more_frames() -> Vec<Value> {
    let share = |target, share| event::ShareSubmitted {
        downstream_id: Json::typical(""),
        timestamp: Json::typical("timestamp"),
        channel_id: Json::typical(""),
        sequence_number: 1,
        target: CompactTarget(target),
        share: CompactTarget(share),
    };
    let mut frames = Vec::new();
    for (name, share) in [
        ("the easiest target there is, ff..ff, and a share hash of 0", share(0x2100_ffff, 0)),
        ("difficulty 1, met exactly", share(0x1d00_ffff, 0x1d00_ffff)),
        ("a mantissa with its top bit moved down a byte", share(0x1c00_8000, 0x1b7f_ffff)),
    ] {
        let mut frame = Vec::new();
        share.encode(&mut frame);
        frames.push(json!({
            "name": name,
            "frame": hex(&frame),
            "target": format!("{:08x}", share.target.0),
            "share": format!("{:08x}", share.share.0),
        }));
    }
    let heartbeat =
        event::Heartbeat { timestamp: UnixMillis(1_750_000_123_456), flags: event::HEARTBEAT_CLOCK_STEPPED };
    let mut frame = Vec::new();
    heartbeat.encode(&mut frame);
    frames.push(json!({ "name": "a heartbeat after the clock was set", "frame": hex(&frame) }));
    frames
}

/// Frames that a version 1 receiver does not know and must not fail at.
fn unknown_types() -> Vec<Value> {
    let frame = |msg_type: u8, payload: &[u8]| [&header(msg_type, payload.len()), payload].concat();
    vec![
        json!({ "name": "an event of a later version", "frame": hex(&frame(0x70, &[1, 2, 3])), "numbered": true }),
        json!({ "name": "an event without a payload", "frame": hex(&frame(0xff, &[])), "numbered": true }),
        json!({ "name": "a type between known ones", "frame": hex(&frame(0x1f, &[0; 9])), "numbered": true }),
        json!({ "name": "the largest payload", "frame": hex(&frame(0x50, &[0xa5; MAX_PAYLOAD])), "numbered": true }),
        json!({ "name": "a session message of a later version", "frame": hex(&frame(0x0f, &[7])), "numbered": false }),
    ]
}

/// Payloads in good headers, with the class of their fault and, where it lies in one, the field.
fn malformed_payloads() -> Vec<Value> {
    let mut vectors = Vec::new();
    let mut add = |name: &str, msg_type: u8, payload: Vec<u8>, error: &str, field: Option<&str>| {
        let mut frame = header(msg_type, payload.len()).to_vec();
        frame.extend_from_slice(&payload);
        let mut vector = Map::new();
        vector.insert("name".to_owned(), name.into());
        vector.insert("frame".to_owned(), hex(&frame).into());
        vector.insert("error".to_owned(), error.into());
        vector.insert("field".to_owned(), field.into());
        vectors.push(vector.into());
    };

    let share = payload(&event::ShareSubmitted {
        downstream_id: Json::typical(""),
        timestamp: Json::typical("timestamp"),
        channel_id: Json::typical(""),
        sequence_number: 1,
        target: Json::typical("target"),
        share: Json::typical("share"),
    });
    add("nothing at all", 0x10, Vec::new(), "truncated", Some("downstream_id"));
    add("cut inside the last field", 0x10, share[..27].to_vec(), "truncated", Some("share"));
    add("one byte too many", 0x10, [share.as_slice(), &[0]].concat(), "trailing_bytes", None);
    let mut late = share.clone();
    late[11] = 0x80;
    add("a time of 2^63 and more", 0x10, late, "out_of_range", Some("timestamp"));

    let mut quote = payload(&event::QuotePaid {
        quote_id: Text::default(),
        amount: Json::greatest(),
        timestamp: Json::typical("timestamp"),
    });
    quote[1] = 1;
    add("an amount of 2^63 + 1", 0x17, quote.clone(), "out_of_range", Some("amount"));
    quote[0] = 200;
    add("a string longer than its payload", 0x17, quote, "truncated", Some("quote_id"));

    let address = |bytes: &[u8]| {
        let mut payload = 1_u64.to_le_bytes().to_vec();
        payload.push(bytes.len() as u8);
        payload.extend_from_slice(bytes);
        payload
    };
    add("bytes that are no UTF-8", 0x25, address(&[0xff]), "not_utf8", Some("address"));
    add("a character cut in two", 0x25, address(&"€".as_bytes()[..2]), "not_utf8", Some("address"));
    add("an overlong encoding", 0x25, address(&[0xc0, 0x80]), "not_utf8", Some("address"));
    add("a UTF-16 surrogate", 0x25, address(&[0xed, 0xa0, 0x80]), "not_utf8", Some("address"));

    let mut failed = payload(&event::QuoteFailed {
        share_hash: Json::greatest(),
        error_code: Json::typical("error_code"),
        error_message: Text::default(),
        timestamp: Json::typical("timestamp"),
    });
    failed[0] = 2;
    add("an option of two", 0x15, failed, "bad_option", Some("share_hash"));

    let heartbeat = payload(&event::Heartbeat { timestamp: Json::typical("timestamp"), flags: 0 });
    add("a type of the receiver's own", 0x42, heartbeat.clone(), "reserved", None);
    add("an unassigned type of the receiver's own", 0x4f, heartbeat, "reserved", None);

    let open = |change: &dyn Fn(&mut session::OpenStatsSession<'static>)| {
        let mut open = sessions::open(1);
        change(&mut open);
        payload(&open)
    };
    add("no session id", 0x00, open(&|open| open.session_id = 0), "out_of_range", Some("session_id"));
    add("no first number", 0x00, open(&|open| open.first_sequence = 0), "out_of_range", Some("first_sequence"));
    add("no publisher", 0x00, open(&|open| open.publisher = Text::default()), "empty", Some("publisher"));
    let mut role = open(&|_| {});
    role[8] = 7;
    add("an unknown role", 0x00, role, "out_of_range", Some("role"));
    let mut session_id = open(&|open| open.publisher = Text::cut("p"));
    session_id[18] = 0x80;
    add("a session id of 2^63 and more", 0x00, session_id, "out_of_range", Some("session_id"));
    vectors
}

fn payload<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut payload = Vec::new();
    message.encode_payload(&mut payload);
    payload
}

/// Headers after which no next frame can be found: the connection ends.
fn bad_headers() -> Vec<Value> {
    let mut channel = header(0x10, 28);
    channel[1] |= 0x80;
    vec![
        json!({ "name": "another extension", "bytes": "0000101c0000", "error": "wrong_extension" }),
        json!({ "name": "the extension with its bytes swapped", "bytes": "5354101c0000", "error": "wrong_extension" }),
        json!({ "name": "the channel_msg bit", "bytes": hex(&channel), "error": "wrong_extension" }),
        json!({ "name": "a payload of 4,097 bytes", "bytes": hex(&header(0x10, MAX_PAYLOAD + 1)), "error": "too_long" }),
        json!({ "name": "the longest payload a header can name", "bytes": hex(&header(0x10, 0xff_ffff)), "error": "too_long" }),
    ]
}

/// Beginnings of frames: more bytes are awaited.
fn incomplete() -> Vec<Value> {
    let mut frame = Vec::new();
    event::AnnounceBegin { timestamp: UnixMillis(1) }.encode(&mut frame);
    [0, 1, HEADER_SIZE - 1, HEADER_SIZE, frame.len() - 1].map(|length| json!(hex(&frame[..length]))).to_vec()
}

/// Bytes that a frame takes on an encrypted connection, by the size of its payload.
fn noise_sizes() -> Vec<Value> {
    [0, 1, 12, 28, 4096]
        .map(|payload: usize| {
            // Each Noise message carries a MAC of 16 bytes; an empty payload is no message.
            let payload_message = if payload == 0 { 0 } else { payload + 16 };
            json!({ "payload": payload, "encrypted": HEADER_SIZE + 16 + payload_message })
        })
        .to_vec()
}
