//! Any frames: what is open stays within its limits, and an announcement carries all of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stats_sv2::codec::Message;
use stats_sv2::event::AnnounceEnd;
use stats_sv2::limits::{MAX_OPEN_BYTES, MAX_OPEN_OBJECTS};
use stats_sv2::open_objects::OpenObjects;
use stats_sv2::{Frames, UnixMillis, read_frame};

fuzz_target!(|data: &[u8]| {
    let mut open = OpenObjects::default();
    Frames::new(data).for_each(|frame| open.apply(frame));
    assert_eq!(open.bytes(), open.frames().map(<[u8]>::len).sum::<usize>());
    assert!(open.bytes() <= MAX_OPEN_BYTES && open.len() <= MAX_OPEN_OBJECTS);

    // An announcement that is cut off has no place in another one.
    let mut end = Vec::new();
    AnnounceEnd { timestamp: UnixMillis(0) }.encode(&mut end);
    if let Ok(Some(end)) = read_frame(&end) {
        open.apply(end);
    }

    let mut announcement = Vec::new();
    let count = open.announce(UnixMillis(1), &mut announcement);
    let mut walk = Frames::new(&announcement);
    let mut told = OpenObjects::default();
    let mut applied = 0;
    for frame in walk.by_ref() {
        told.apply(frame);
        applied += 1;
    }
    assert!(walk.rest().is_empty());
    assert_eq!(applied, count);
    assert_eq!(told, open);
});
