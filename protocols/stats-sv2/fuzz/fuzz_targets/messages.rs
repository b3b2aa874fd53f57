//! A message type and any payload: the fast decoder judges it like the derived one, apart from our stricter rules, and
//! writes again what it has read.
#![no_main]

#[path = "../../examples/vectors/every_message.rs"]
mod every_message;

use every_message::every_message;
use libfuzzer_sys::fuzz_target;
use stats_sv2::codec::{Message, header};
use stats_sv2::{DecodeError, Event, definition, event, read_frame, session};

fuzz_target!(|data: &[u8]| {
    let Some((msg_type, payload)) = data.split_first() else { return };
    macro_rules! judge {
        ($($module:ident :: $name:ident { $($field:ident),* $(,)? })*) => {
            match *msg_type {
                $( $module::$name::TYPE => {
                    let fast = $module::$name::decode(payload);
                    let mut copy = payload.to_vec();
                    let derived = binary_sv2::from_bytes::<definition::$name>(&mut copy);
                    match fast {
                        Ok(message) => {
                            let mut again = Vec::new();
                            message.encode_payload(&mut again);
                            assert_eq!(again, payload);
                            assert_eq!(message.payload_size(), payload.len());
                            let derived = derived.expect("the definition accepts what the fast decoder accepts");
                            let reference = binary_sv2::to_bytes(derived).expect("what was read can be written");
                            assert_eq!(again, reference);
                        }
                        Err(DecodeError::Truncated { .. } | DecodeError::BadOption { .. }) => assert!(derived.is_err()),
                        Err(DecodeError::TrailingBytes { .. } | DecodeError::Empty { .. }) => assert!(derived.is_ok()),
                        // These rules are ours alone, and a later field may be cut besides.
                        Err(_) => {}
                    }
                } )*
                _ => {}
            }
        };
    }
    every_message!(judge);

    let mut bytes = header(*msg_type, payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    let Ok(Some(frame)) = read_frame(&bytes) else { return };
    if frame.is_event() {
        let judged = event::validate(frame);
        if let Ok(event) = Event::decode(frame) {
            let mut again = Vec::new();
            event.clone().into_owned().encode(&mut again);
            assert_eq!(again, bytes);
            assert_eq!(event.payload_size(), payload.len());
            event.for_each_field(&mut |_, _| {});
            assert_eq!(judged.is_err(), (0x40..=0x4f).contains(msg_type));
        } else {
            assert!(judged.is_err());
        }
    }
});
