//! `vectors.json` against the code, in both directions.

use mint_quote_sv2::{AnyMessage, Message, MintQuoteRequest, MintQuoteResponse, read_frame};
use serde_json::Value;
use stats_sv2::{Amount, Text, U256};

use crate::document::{self, hex, unhex, unhex_any};

fn file() -> Value {
    serde_json::from_str(include_str!("../../vectors.json")).unwrap()
}

#[test]
fn the_file_is_what_the_code_writes() {
    let code: Value = serde_json::from_str(&document::text()).unwrap();
    assert!(
        file() == code,
        "vectors.json differs from the code; if the change of the wire format is meant, write it anew with `cargo run \
         -p mint-quote-sv2 --example mint-quote-vectors > protocols/mint-quote-sv2/vectors.json`"
    );
}

#[test]
fn frames_of_the_file_are_read_as_its_fields_say() {
    let file = file();
    for vector in file["messages"].as_array().unwrap() {
        let mut bytes = unhex_any(vector["frame"].as_str().unwrap());
        let (header, payload) = read_frame(&mut bytes).unwrap().unwrap();
        assert_eq!(vector["msg_type"], header.msg_type);
        let fields = &vector["fields"];
        let text = |name: &str| fields[name].as_str().unwrap().to_owned();
        let number = |name: &str| fields[name].as_u64().unwrap();
        let hash = |name: &str| U256(unhex(fields[name].as_str().unwrap()));
        match AnyMessage::decode(header.msg_type, payload).unwrap() {
            AnyMessage::SetupConnection(read) => {
                assert_eq!(u64::from(read.protocol), number("protocol"));
                assert_eq!(u64::from(read.min_version), number("min_version"));
                assert_eq!(u64::from(read.max_version), number("max_version"));
                assert_eq!(u64::from(read.flags), number("flags"));
                assert_eq!(read.endpoint_host.as_str(), text("endpoint_host"));
                assert_eq!(u64::from(read.endpoint_port), number("endpoint_port"));
                assert_eq!(read.vendor.as_str(), text("vendor"));
                assert_eq!(read.hardware_version.as_str(), text("hardware_version"));
                assert_eq!(read.firmware.as_str(), text("firmware"));
                assert_eq!(read.device_id.as_str(), text("device_id"));
            }
            AnyMessage::SetupConnectionSuccess(read) => {
                assert_eq!(
                    (u64::from(read.used_version), u64::from(read.flags)),
                    (number("used_version"), number("flags"))
                );
            }
            AnyMessage::SetupConnectionError(read) => {
                assert_eq!(u64::from(read.flags), number("flags"));
                assert_eq!(read.error_code.as_str(), text("error_code"));
            }
            AnyMessage::MintQuoteRequest(read) => {
                assert_eq!(read.amount().0.to_string(), text("amount"));
                assert_eq!(read.unit().as_str(), text("unit"));
                assert_eq!(read.header_hash(), hash("header_hash"));
                assert_eq!(read.description().map(Text::as_str), fields["description"].as_str());
                assert_eq!(hex(read.locking_key()), text("locking_key"));
            }
            AnyMessage::MintQuoteResponse(read) => {
                assert_eq!(read.quote_id().as_str(), text("quote_id"));
                assert_eq!(read.header_hash(), hash("header_hash"));
            }
            AnyMessage::MintQuoteError(read) => {
                assert_eq!(u64::from(read.error_code), number("error_code"));
                assert_eq!(read.error_message.as_str(), text("error_message"));
            }
            AnyMessage::MintQuoteNotification(read) => {
                assert_eq!(u64::from(read.channel_id().0), number("channel_id"));
                assert_eq!(read.quote_id().as_str(), text("quote_id"));
                assert_eq!(read.amount().0.to_string(), text("amount"));
            }
            AnyMessage::MintQuoteFailure(read) => {
                assert_eq!(u64::from(read.channel_id().0), number("channel_id"));
                assert_eq!(read.quote_id().as_str(), text("quote_id"));
                assert_eq!(u64::from(read.error_code()), number("error_code"));
                assert_eq!(read.error_message().as_str(), text("error_message"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_that_the_file_refuses_are_refused() {
    let file = file();
    for vector in file["refused"].as_array().unwrap() {
        let mut bytes = unhex_any(vector["frame"].as_str().unwrap());
        let size = bytes.len();
        match (vector["refused"].as_str().unwrap(), read_frame(&mut bytes)) {
            ("frame", read) => assert!(read.is_err(), "{vector}"),
            (_, read) => {
                let (header, payload) = read.unwrap().unwrap();
                assert_eq!(header.frame_size(), size, "{vector}: the frame itself is whole");
                assert!(AnyMessage::decode(header.msg_type, payload).is_err(), "{vector}");
            }
        }
    }
}

/// Written by hand from SPEC.md, so that a change of the code and its vectors together is noticed.
#[test]
fn a_request_has_these_bytes() {
    let mut frame = Vec::new();
    let key: [u8; 33] = std::array::from_fn(|at| at as u8);
    let hash: [u8; 32] = std::array::from_fn(|at| 0x40 + at as u8);
    MintQuoteRequest::new(Amount(0x0102_0304), Text::cut("HASH"), U256(hash), Some(Text::cut("é")), key)
        .unwrap()
        .encode(&mut frame);
    let mut expected = vec![0, 0, 0x80, 8 + 5 + 32 + 1 + 3 + 34, 0, 0];
    expected.extend([4, 3, 2, 1, 0, 0, 0, 0]);
    expected.extend(b"\x04HASH");
    expected.extend(hash);
    expected.extend([1, 2, 0xc3, 0xa9]);
    expected.push(33);
    expected.extend(key);
    assert_eq!(hex(&frame), hex(&expected));

    frame.clear();
    MintQuoteResponse::new(Text::cut("q"), U256(hash)).unwrap().encode(&mut frame);
    assert_eq!(hex(&frame), hex(&[&[0, 0, 0x81, 34, 0, 0, 1, b'q'], &hash[..]].concat()));
}
