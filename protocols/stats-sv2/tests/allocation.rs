//! Share events are read without allocating. In a binary of its own, for the allocator that counts.

use allocation_counter::measure;
use stats_sv2::codec::Message;
use stats_sv2::event::{Event, MinerShareSubmitted, ShareSubmitted, validate};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Frames, MinerId, UnixMillis, read_frame};

#[test]
fn share_events_are_read_without_allocating() {
    let mut bytes = Vec::new();
    for n in 0..100 {
        let share = ShareSubmitted {
            downstream_id: DownstreamId(n),
            timestamp: UnixMillis(u64::from(n)),
            channel_id: ChannelId(n),
            sequence_number: n,
            target: CompactTarget(n),
            share: CompactTarget(n),
        };
        let miner_share = MinerShareSubmitted {
            miner_id: MinerId(n),
            timestamp: UnixMillis(u64::from(n)),
            target: CompactTarget(n),
            share: CompactTarget(n),
        };
        share.encode(&mut bytes);
        miner_share.encode(&mut bytes);
    }

    let mut sum = 0;
    let counted = measure(|| {
        for frame in Frames::new(&bytes) {
            assert!(validate(frame).is_ok());
            match Event::decode(frame) {
                Ok(Event::ShareSubmitted(share)) => sum += share.timestamp.0,
                Ok(Event::MinerShareSubmitted(share)) => sum += share.timestamp.0,
                other => panic!("{other:?}"),
            }
        }
        let first = read_frame(&bytes).unwrap().unwrap();
        sum += u64::from(ShareSubmitted::decode(first.payload()).unwrap().channel_id.0);
    });
    assert_eq!(sum, 2 * (0..100).sum::<u64>());
    assert_eq!(counted.count_total, 0);

    // The measure itself counts: the reference codec allocates for the same bytes.
    let payload = read_frame(&bytes).unwrap().unwrap().payload().to_vec();
    let mut copy = payload;
    let counted = measure(|| {
        let _: stats_sv2::definition::ShareSubmitted = binary_sv2::from_bytes(&mut copy).unwrap();
    });
    assert_ne!(counted.count_total, 0);
}

#[test]
fn encoding_into_room_that_is_there_does_not_allocate() {
    let mut bytes = Vec::with_capacity(64);
    let share = ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(2),
        channel_id: ChannelId(3),
        sequence_number: 4,
        target: CompactTarget(5),
        share: CompactTarget(6),
    };
    assert_eq!(measure(|| share.encode(&mut bytes)).count_total, 0);
    assert_eq!(bytes.len(), 34);
}
