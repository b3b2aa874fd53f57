//! Any message survives its bytes and agrees with the codec's owned forms; any bytes are judged without a panic.

use mint_quote_sv2::limits::{HEADER_SIZE, MAX_AMOUNT, MAX_PAYLOAD};
use mint_quote_sv2::{
    AnyMessage, Message, MessageError, MintQuoteError, MintQuoteFailure, MintQuoteNotification, MintQuoteRequest,
    MintQuoteResponse, SetupConnection, definition, read_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;
use stats_sv2::{Amount, ChannelId, Text, U256};

fn any_text() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![any::<String>(), "[a-z-]{1,40}", Just("x".repeat(255)), Just("€".repeat(85))].prop_map(Text::cut)
}

fn any_id() -> impl Strategy<Value = Text<'static>> {
    any_text().prop_filter("an id is not empty", |text| !text.as_str().is_empty())
}

fn any_amount() -> impl Strategy<Value = Amount> {
    prop_oneof![1..=MAX_AMOUNT, Just(1), Just(MAX_AMOUNT), (0..=63_u32).prop_map(|bits| 1 << bits)].prop_map(Amount)
}

fn any_key() -> impl Strategy<Value = [u8; 33]> {
    vec(any::<u8>(), 33).prop_map(|bytes| bytes.try_into().unwrap())
}

fn any_request() -> impl Strategy<Value = MintQuoteRequest> {
    (any_amount(), any_text(), any::<[u8; 32]>(), proptest::option::of(any_text()), any_key()).prop_map(
        |(amount, unit, hash, description, key)| {
            MintQuoteRequest::new(amount, unit, U256(hash), description, key).unwrap()
        },
    )
}

/// Encodes, compares with the codec's own writing of its owned form, decodes again.
macro_rules! survives {
    ($message:expr, $name:ident, $owned:expr) => {{
        let message: $name = $message;
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        prop_assert!(bytes.len() <= HEADER_SIZE + MAX_PAYLOAD);
        let (header, payload) = read_frame(&mut bytes).unwrap().unwrap();
        prop_assert_eq!(header.msg_type, $name::TYPE);
        let mut again = payload.to_vec();
        let read: definition::$name = binary_sv2::from_bytes(&mut again).unwrap();
        let owned = read.into_owned();
        prop_assert!($owned(&owned), "the codec reads other fields");
        let written = binary_sv2::to_bytes(owned).unwrap();
        prop_assert_eq!(written.as_slice(), &*payload);
        prop_assert_eq!(AnyMessage::decode(header.msg_type, payload), Ok(AnyMessage::$name(message)));
    }};
}

proptest! {
    #[test]
    fn requests_survive(message in any_request()) {
        let (amount, key) = (message.amount().0, *message.locking_key());
        let described = message.description().cloned();
        survives!(message, MintQuoteRequest, |owned: &definition::MintQuoteRequestOwned| {
            owned.amount == amount
                && owned.locking_key.as_bytes() == key
                && owned.description.as_option_bytes() == described.as_ref().map(|text| text.as_str().as_bytes())
        });
    }

    #[test]
    fn responses_survive(id in any_id(), hash in any::<[u8; 32]>()) {
        survives!(MintQuoteResponse::new(id, U256(hash)).unwrap(), MintQuoteResponse,
            |owned: &definition::MintQuoteResponseOwned| owned.header_hash.as_array() == &hash);
    }

    #[test]
    fn errors_survive(error_code: u32, error_message in any_text()) {
        survives!(MintQuoteError { error_code, error_message }, MintQuoteError,
            |owned: &definition::MintQuoteErrorOwned| owned.error_code == error_code);
    }

    #[test]
    fn notifications_survive(channel: u32, id in any_id(), amount in any_amount()) {
        survives!(MintQuoteNotification::new(ChannelId(channel), id, amount).unwrap(), MintQuoteNotification,
            |owned: &definition::MintQuoteNotificationOwned| (owned.channel_id, owned.amount) == (channel, amount.0));
    }

    #[test]
    fn failures_survive(channel: u32, id in any_id(), code: u32, text in any_text()) {
        survives!(MintQuoteFailure::new(ChannelId(channel), id, code, text).unwrap(), MintQuoteFailure,
            |owned: &definition::MintQuoteFailureOwned| (owned.channel_id, owned.error_code) == (channel, code));
    }

    #[test]
    fn openings_survive(protocol: u8, versions: (u16, u16), flags: u32, port: u16, texts in vec(any_text(), 5)) {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap();
        let message = SetupConnection {
            protocol, min_version: versions.0, max_version: versions.1, flags, endpoint_host: text(),
            endpoint_port: port, vendor: text(), hardware_version: text(), firmware: text(), device_id: text(),
        };
        survives!(message, SetupConnection, |owned: &definition::SetupConnectionOwned| owned.endpoint_port == port);
    }

    #[test]
    fn amounts_outside_the_range_make_no_message(amount in prop_oneof![Just(0), MAX_AMOUNT + 1..]) {
        let refused = Err(MessageError::Amount { found: amount });
        let id = Text::cut("q");
        prop_assert_eq!(MintQuoteRequest::new(Amount(amount), Text::cut("HASH"), U256([0; 32]), None, [2; 33]).map(drop), refused);
        let refused = Err(MessageError::Amount { found: amount });
        prop_assert_eq!(MintQuoteNotification::new(ChannelId(1), id, Amount(amount)).map(drop), refused);
    }

    /// Whatever is accepted is written again as it was.
    #[test]
    fn any_payload_is_judged(msg_type in prop_oneof![any::<u8>(), 0x80..=0x82_u8, 0xc0..=0xc1_u8, 0..=2_u8], mut payload in vec(any::<u8>(), 0..300)) {
        judge(msg_type, &mut payload);
    }

    /// Closer to what exists: a request with a few bytes changed, and cut or grown.
    #[test]
    fn changed_requests_are_judged(message in any_request(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), size in any::<prop::sample::Index>(), more in 0..3_usize) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let mut payload = bytes.split_off(HEADER_SIZE);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        match more {
            0 => payload.truncate(size.index(payload.len() + 1)),
            1 => payload.extend([0; 3]),
            _ => {}
        }
        judge(MintQuoteRequest::TYPE, &mut payload);
    }

    #[test]
    fn any_bytes_are_no_frame_or_one_within_the_limits(mut bytes in vec(any::<u8>(), 0..40)) {
        let length = bytes.len();
        if let Ok(Some((header, payload))) = read_frame(&mut bytes) {
            prop_assert!(header.payload_size <= MAX_PAYLOAD);
            prop_assert_eq!(header.payload_size, payload.len());
            prop_assert!(header.frame_size() <= length);
        }
    }
}

fn judge(msg_type: u8, payload: &mut [u8]) {
    let before = payload.to_vec();
    let judged = AnyMessage::decode(msg_type, payload);
    assert_eq!(payload, before, "reading leaves the bytes as they are");
    let mut again = Vec::new();
    match judged {
        Ok(AnyMessage::MintQuoteRequest(message)) => message.encode(&mut again),
        Ok(AnyMessage::MintQuoteResponse(message)) => message.encode(&mut again),
        Ok(AnyMessage::MintQuoteError(message)) => message.encode(&mut again),
        Ok(AnyMessage::MintQuoteNotification(message)) => message.encode(&mut again),
        Ok(AnyMessage::MintQuoteFailure(message)) => message.encode(&mut again),
        Ok(AnyMessage::SetupConnection(message)) => message.encode(&mut again),
        Ok(AnyMessage::SetupConnectionSuccess(message)) => message.encode(&mut again),
        Ok(AnyMessage::SetupConnectionError(message)) => message.encode(&mut again),
        Ok(_) | Err(_) => return,
    }
    assert_eq!(again[HEADER_SIZE..], before[..]);
}
