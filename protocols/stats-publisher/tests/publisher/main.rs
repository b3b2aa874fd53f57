//! What a sidecar sees of a publisher, through a real socket.
#![allow(clippy::unwrap_used, reason = "clippy sees no test in the functions that tests share")]

mod announcements;
mod closing;
mod delivery;
mod fake_sidecar;
#[cfg(feature = "noise")]
mod noise;
mod overload;
mod refusals;
mod spool;

use stats_publisher::event::{ChannelClosed, ChannelOpened, ShareSubmitted};
use stats_publisher::{ChannelId, CompactTarget, DownstreamId, Event, Text, UnixMillis};

/// A share that tells its place.
fn share(index: u32) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(1_700_000_000_000 + u64::from(index)),
        channel_id: ChannelId(1),
        sequence_number: index,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    }
}

fn channel_opened(id: u32) -> ChannelOpened<'static> {
    ChannelOpened {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(id),
        timestamp: UnixMillis(1_700_000_000_000),
        kind: 1,
        user_identity: Text::cut(format!("worker{id}")),
        nominal_hashrate: 1_000_000,
        target: CompactTarget(0x1d00_ffff),
    }
}

fn channel_closed(id: u32) -> ChannelClosed<'static> {
    ChannelClosed {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(id),
        timestamp: UnixMillis(1_700_000_000_001),
        reason: Text::cut("gone"),
    }
}

/// The shares among events, by their place.
fn share_indexes<'a>(events: impl IntoIterator<Item = &'a Event<'static>>) -> Vec<u32> {
    let index = |event: &Event<'_>| match event {
        Event::ShareSubmitted(share) => Some(share.sequence_number),
        _ => None,
    };
    events.into_iter().filter_map(index).collect()
}
