//! Any bytes, cut anywhere: the frames found are the same, and no byte is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stats_sv2::limits::{HEADER_SIZE, MAX_PAYLOAD};
use stats_sv2::{Frames, read_frame};

fuzz_target!(|data: &[u8]| {
    let mut walk = Frames::new(data);
    let whole: Vec<&[u8]> = walk.by_ref().map(|frame| frame.bytes).collect();
    assert_eq!([whole.concat().as_slice(), walk.rest()].concat(), data);

    // Byte by byte, as from a slow peer.
    let (mut buffer, mut found, mut bad) = (Vec::new(), 0, None);
    for byte in data {
        buffer.push(*byte);
        match read_frame(&buffer) {
            Ok(Some(frame)) => {
                assert_eq!(frame.bytes, whole[found]);
                assert_eq!(frame.bytes, buffer);
                found += 1;
                buffer.clear();
            }
            Ok(None) => assert!(buffer.len() < HEADER_SIZE + MAX_PAYLOAD),
            Err(error) => {
                // A bad header is told by its sixth byte.
                assert_eq!(buffer.len(), HEADER_SIZE);
                bad = Some(error);
                break;
            }
        }
    }
    assert_eq!(found, whole.len());
    assert_eq!(read_frame(walk.rest()).err(), bad);
});
