//! Any bytes as a stream of frames: what is accepted is written again as it was, apart from the `channel_msg` bit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mint_quote_sv2::limits::HEADER_SIZE;
use mint_quote_sv2::{AnyMessage, Message, read_frame};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    let mut rest = bytes.as_mut_slice();
    while let Ok(Some((header, payload))) = read_frame(rest) {
        let before = payload.to_vec();
        macro_rules! write_again {
            ($($name:ident)*) => {
                match AnyMessage::decode(header.msg_type, payload) {
                    $( Ok(AnyMessage::$name(message)) => {
                        let mut again = Vec::new();
                        message.encode(&mut again);
                        assert_eq!(again[2], header.msg_type);
                        assert_eq!(again[HEADER_SIZE..], before[..]);
                    } )*
                    _ => {}
                }
            };
        }
        write_again!(
            SetupConnection SetupConnectionSuccess SetupConnectionError
            MintQuoteRequest MintQuoteResponse MintQuoteError MintQuoteNotification MintQuoteFailure
        );
        rest = &mut rest[header.frame_size()..];
    }
});
