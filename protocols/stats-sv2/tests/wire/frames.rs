//! Frame boundaries in bytes that arrive cut anywhere, and headers against the reference implementation's.

use framing_sv2::header::Header;
use proptest::collection::vec;
use proptest::prelude::*;
use stats_sv2::codec::header;
use stats_sv2::limits::{HEADER_SIZE, MAX_PAYLOAD};
use stats_sv2::{EXTENSION_TYPE, FrameError, Frames, read_frame};

/// Whole frames with their types and payloads; a few are as large as may be.
fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let payload = prop_oneof![
        8 => vec(any::<u8>(), 0..60),
        1 => vec(any::<u8>(), MAX_PAYLOAD..=MAX_PAYLOAD),
    ];
    vec((any::<u8>(), payload), 0..20)
}

fn bytes_of(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|(msg_type, payload)| header(*msg_type, payload.len()).into_iter().chain(payload.iter().copied()))
        .collect()
}

proptest! {
    #[test]
    fn frames_are_found_however_the_bytes_are_cut(frames in frames(), cuts in vec(1..200_usize, 1..40)) {
        let bytes = bytes_of(&frames);
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            buffer.extend_from_slice(now);
            while let Some(frame) = read_frame(&buffer).unwrap() {
                found.push((frame.msg_type, frame.payload().to_vec()));
                let taken = frame.bytes.len();
                buffer.drain(..taken);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn a_buffer_of_frames_is_walked_up_to_its_damage(frames in frames(), keep: prop::sample::Index) {
        let bytes = bytes_of(&frames);
        let mut walk = Frames::new(&bytes);
        let found: Vec<_> = walk.by_ref().map(|frame| (frame.msg_type, frame.payload().to_vec())).collect();
        prop_assert_eq!(&found, &frames);
        prop_assert!(walk.rest().is_empty());

        // Cut inside or between frames: what is whole is found, the rest is shown.
        let kept = keep.index(bytes.len() + 1);
        let mut walk = Frames::new(&bytes[..kept]);
        let whole: usize = walk.by_ref().map(|frame| frame.bytes.len()).sum();
        prop_assert_eq!(whole + walk.rest().len(), kept);
        prop_assert!(read_frame(walk.rest()).unwrap().is_none());
    }

    #[test]
    fn a_header_is_judged_by_its_six_bytes(bytes: [u8; HEADER_SIZE], ours: bool, short: bool) {
        let mut bytes = bytes;
        // Random headers are nearly all foreign and too long.
        if ours {
            bytes[..2].copy_from_slice(&EXTENSION_TYPE.to_le_bytes());
        }
        if short {
            bytes[4] &= 0x1f;
            bytes[5] = 0;
        }
        let reference = Header::from_bytes(&bytes).unwrap();
        let expected = if reference.ext_type() != EXTENSION_TYPE {
            Err(FrameError::WrongExtension { found: reference.ext_type(), expected: EXTENSION_TYPE })
        } else if reference.payload_length() > MAX_PAYLOAD {
            Err(FrameError::TooLong { length: reference.payload_length() })
        } else {
            Ok(reference.payload_length() == 0)
        };
        prop_assert_eq!(read_frame(&bytes).map(|frame| frame.is_some()), expected);
        prop_assert_eq!(read_frame(&bytes[..HEADER_SIZE - 1]), Ok(None));
    }

    #[test]
    fn our_header_is_the_reference_header(msg_type: u8, length in 0..1_usize << 24) {
        let ours = header(msg_type, length);
        let reference = Header::from_bytes(&ours).unwrap();
        prop_assert_eq!(reference.ext_type(), EXTENSION_TYPE);
        prop_assert!(!reference.channel_msg());
        prop_assert_eq!(reference.msg_type(), msg_type);
        prop_assert_eq!(reference.payload_length(), length);
        let mut written = [0; HEADER_SIZE];
        reference.write_into(&mut written).unwrap();
        prop_assert_eq!(written, ours);
    }
}

#[test]
fn the_channel_bit_is_foreign() {
    let mut bytes = header(0x10, 0);
    bytes[1] |= 0x80;
    assert_eq!(
        read_frame(&bytes),
        Err(FrameError::WrongExtension { found: EXTENSION_TYPE | 0x8000, expected: EXTENSION_TYPE })
    );
}

#[test]
fn a_length_beyond_the_header_does_not_wrap() {
    let bytes = header(0x70, (1 << 24) + 3);
    assert_eq!(read_frame(&bytes), Err(FrameError::TooLong { length: 0xff_ffff }));
}
