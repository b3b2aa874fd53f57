//! What `vectors.json` says, from the code: each message with typical, least and greatest values, and frames that must be
//! refused.

use mint_quote_sv2::limits::{MAX_AMOUNT, MAX_PAYLOAD};
use mint_quote_sv2::{
    Message, MintQuoteError, MintQuoteFailure, MintQuoteNotification, MintQuoteRequest, MintQuoteResponse, PROTOCOL,
    PROTOCOL_VERSION, SetupConnection, SetupConnectionError, SetupConnectionSuccess, UNIT,
};
use serde_json::{Value, json};
use stats_sv2::{Amount, ChannelId, Text, U256};

/// The genesis block's hash in the order of its digest.
const HASH: &str = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";
/// The generator of secp256k1, compressed.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const QUOTE: &str = "019767a2-3c5e-7b19-a5d4-6a0e5f0c9d11";

/// The file.
pub(crate) fn text() -> String {
    let document = json!({ "protocol": PROTOCOL, "messages": messages(), "refused": refused() });
    let mut text = serde_json::to_string_pretty(&document).expect("values of JSON can be written");
    text.push('\n');
    text
}

fn messages() -> Vec<Value> {
    let longest = "€".repeat(85);
    let mut vectors = Vec::new();
    for (name, host, port, vendor, version) in
        [("typical", "127.0.0.1", 3334, "pool_sv2", "0.7.0"), ("greatest", &*longest, 65_535, &*longest, &*longest)]
    {
        let (least_version, device) = if name == "typical" { (PROTOCOL_VERSION, "") } else { (0, version) };
        let hardware = device;
        let message = SetupConnection {
            protocol: PROTOCOL,
            min_version: least_version,
            max_version: PROTOCOL_VERSION,
            flags: 0,
            endpoint_host: cut(host),
            endpoint_port: port,
            vendor: cut(vendor),
            hardware_version: cut(hardware),
            firmware: cut(version),
            device_id: cut(device),
        };
        let fields = json!({
            "protocol": PROTOCOL, "min_version": least_version, "max_version": PROTOCOL_VERSION, "flags": 0,
            "endpoint_host": host, "endpoint_port": port, "vendor": vendor, "hardware_version": hardware,
            "firmware": version, "device_id": device,
        });
        vectors.push(vector("SetupConnection", name, &message, fields));
    }
    let message = SetupConnectionSuccess { used_version: PROTOCOL_VERSION, flags: 0 };
    let fields = json!({ "used_version": PROTOCOL_VERSION, "flags": 0 });
    vectors.push(vector("SetupConnection.Success", "typical", &message, fields));
    let message = SetupConnectionError { flags: 0, error_code: cut("unsupported-protocol") };
    let fields = json!({ "flags": 0, "error_code": "unsupported-protocol" });
    vectors.push(vector("SetupConnection.Error", "typical", &message, fields));

    let zero = "00".repeat(32);
    let requests = [
        ("typical", 65_536, UNIT, HASH, None),
        ("described", 1, UNIT, HASH, Some("share of bob.rig1")),
        ("least", 1, "", &*zero, Some("")),
        ("greatest", MAX_AMOUNT, &*longest, HASH, Some(&*longest)),
    ];
    for (name, amount, unit, hash, description) in requests {
        let (hash, key) = (unhex(hash), unhex(KEY));
        let message = MintQuoteRequest::new(Amount(amount), cut(unit), U256(hash), description.map(cut), key);
        let fields = json!({
            "amount": amount.to_string(), "unit": unit, "header_hash": hex(&hash), "description": description,
            "locking_key": hex(&key),
        });
        vectors.push(vector("MintQuoteRequest", name, &message.expect("within the limits"), fields));
    }
    for (name, quote_id) in [("typical", QUOTE), ("least", "q"), ("greatest", &*longest)] {
        let message = MintQuoteResponse::new(cut(quote_id), U256(unhex(HASH))).expect("within the limits");
        let fields = json!({ "quote_id": quote_id, "header_hash": HASH });
        vectors.push(vector("MintQuoteResponse", name, &message, fields));
    }
    for (name, code, text) in
        [("typical", 7, "unit not supported"), ("greatest", u32::MAX, &*longest), ("least", 0, "")]
    {
        let message = MintQuoteError { error_code: code, error_message: cut(text) };
        vectors.push(vector("MintQuoteError", name, &message, json!({ "error_code": code, "error_message": text })));
        let channel = if name == "typical" { 2 } else { code };
        let quote = if name == "greatest" { text } else { QUOTE };
        let message =
            MintQuoteFailure::new(ChannelId(channel), cut(quote), code, cut(text)).expect("within the limits");
        let fields = json!({
            "channel_id": channel, "quote_id": quote, "error_code": code, "error_message": text,
        });
        vectors.push(vector("MintQuoteFailure", name, &message, fields));
    }
    for (name, channel, quote, amount) in
        [("typical", 2, QUOTE, 65_536), ("least", 0, "q", 1), ("greatest", u32::MAX, &*longest, MAX_AMOUNT)]
    {
        let message = MintQuoteNotification::new(ChannelId(channel), cut(quote), Amount(amount));
        let fields = json!({ "channel_id": channel, "quote_id": quote, "amount": amount.to_string() });
        vectors.push(vector("MintQuoteNotification", name, &message.expect("within the limits"), fields));
    }
    vectors
}

/// Frames that a receiver does not accept: as a whole (`frame`) or for their payload (`payload`).
fn refused() -> Vec<Value> {
    let request = frame(
        &MintQuoteRequest::new(Amount(1), cut("HASH"), U256(unhex(HASH)), None, unhex(KEY)).expect("within the limits"),
    );
    let response = frame(&MintQuoteResponse::new(cut("q"), U256(unhex(HASH))).expect("within the limits"));
    let changed = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut changed = frame.to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let resized = |frame: &[u8], cut: usize, more: &[u8]| {
        let mut resized = [&frame[..frame.len() - cut], more].concat();
        let size = resized.len() - 6;
        resized[3..5].copy_from_slice(&u16::try_from(size).expect("small").to_le_bytes());
        resized
    };
    let too_long = u16::try_from(MAX_PAYLOAD + 1).expect("small").to_le_bytes();
    [
        ("an extension's frame", "frame", changed(&request, 0, &[0x53, 0x54])),
        ("a payload above 4,096 bytes", "frame", changed(&request, 3, &too_long)),
        ("amount 0", "payload", changed(&request, 6, &[0; 8])),
        ("amount 2^63 + 1", "payload", changed(&request, 6, &(MAX_AMOUNT + 1).to_le_bytes())),
        ("a unit that is not UTF-8", "payload", changed(&request, 15, &[0xff])),
        ("an option with two values", "payload", changed(&request, 51, &[2])),
        ("a locking key of 32 bytes", "payload", resized(&changed(&request, 52, &[32]), 1, &[])),
        ("a locking key of 34 bytes", "payload", resized(&changed(&request, 52, &[34]), 0, &[0])),
        ("a payload that ends inside a field", "payload", resized(&request, 1, &[])),
        ("a payload with a byte too many", "payload", resized(&request, 0, &[0])),
        ("an empty quote_id", "payload", [&[0, 0, 0x81, 33, 0, 0, 0], &response[8..]].concat()),
        ("an empty payload", "payload", vec![0, 0, 0x82, 0, 0, 0]),
    ]
    .into_iter()
    .map(|(name, what, bytes)| json!({ "name": name, "refused": what, "frame": hex(&bytes) }))
    .collect()
}

fn vector<M: Message>(message_name: &str, name: &str, message: &M, fields: Value) -> Value {
    let bytes = frame(message);
    json!({ "message": message_name, "name": name, "msg_type": M::TYPE, "fields": fields, "frame": hex(&bytes) })
}

fn frame(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn cut(text: &str) -> Text<'static> {
    Text::cut(text.to_owned())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    unhex_any(text).try_into().expect("the constants have their length")
}

pub(crate) fn unhex_any(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}
