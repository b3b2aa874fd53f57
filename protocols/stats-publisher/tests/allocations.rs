//! Publishing a share allocates nothing on the caller's thread.

use allocation_counter::measure;
use stats_publisher::event::{MinerShareSubmitted, ShareSubmitted};
use stats_publisher::{ChannelId, CompactTarget, DownstreamId, MinerId, PublishOutcome, StatsPublisher, UnixMillis};

fn share(index: u32) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(u64::from(index)),
        channel_id: ChannelId(1),
        sequence_number: index,
        target: CompactTarget(1),
        share: CompactTarget(1),
    }
}

#[test]
fn shares_cost_no_allocation_whether_queued_or_dropped() {
    // A reserved port that nobody listens on would do as well: only the caller's thread is measured.
    let publisher =
        StatsPublisher::builder().address("127.0.0.1:1").queue_slots(1024).window(1, 65_536).start().unwrap();
    let mut outcomes = [0usize; 2];
    let allocations = measure(|| {
        for index in 0..10_000 {
            let miner_share = MinerShareSubmitted {
                miner_id: MinerId(1),
                timestamp: UnixMillis(1),
                target: CompactTarget(1),
                share: CompactTarget(1),
            };
            for outcome in [publisher.publish(share(index)), publisher.publish(miner_share)] {
                outcomes[usize::from(outcome == PublishOutcome::Dropped)] += 1;
            }
        }
    });
    assert_eq!(allocations.count_total, 0);
    assert!(outcomes[0] >= 1024 && outcomes[1] > 0, "both paths were measured: {outcomes:?}");
    // The counter counts: an event with text is boxed.
    let text = stats_publisher::event::UpstreamConnected { timestamp: UnixMillis(1), address: Default::default() };
    assert!(measure(|| drop(format!("{:?}", publisher.publish(text)))).count_total > 0);
}
