//! Shares for the stories: plain, numbered, at any rate, through the real publisher.

use std::net::SocketAddr;

use anyhow::Result;
use stats_publisher::{StatsPublisher, StatsPublisherBuilder};
use stats_sv2::event::{ChannelOpened, DownstreamConnected, ShareSubmitted};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Role, Text, UnixMillis};

/// Difficulty 1: the target of every share in the stories.
pub const TARGET: CompactTarget = CompactTarget(0x1d00_ffff);

/// A publisher towards this sidecar, to be completed or started.
pub fn publisher(name: &str, sidecar: SocketAddr) -> StatsPublisherBuilder {
    StatsPublisher::builder().address(sidecar.to_string()).role(Role::Pool).publisher(name)
}

/// Opens `channels` channels of one downstream.
pub fn open_channels(publisher: &StatsPublisher, channels: u32) {
    let timestamp = UnixMillis::now();
    let text = Text::cut("story");
    publisher.publish(DownstreamConnected {
        downstream_id: DownstreamId(1),
        flags: 0,
        timestamp,
        address: Text::cut("127.0.0.1:1"),
        vendor: text.clone(),
        hardware_version: text.clone(),
        firmware: text.clone(),
        device_id: text,
    });
    for channel in 1..=channels {
        publisher.publish(ChannelOpened {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(channel),
            timestamp,
            kind: stats_sv2::event::CHANNEL_EXTENDED,
            user_identity: Text::cut(format!("miner-{channel}")),
            nominal_hashrate: 1_000_000,
            target: TARGET,
        });
    }
}

/// The share with this number, spread over `channels` channels.
#[must_use]
pub fn share(number: u32, channels: u32) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis::now(),
        channel_id: ChannelId(1 + number % channels),
        sequence_number: number,
        target: TARGET,
        share: CompactTarget(0x1c7f_ffff),
    }
}

/// Publishes `count` shares, waiting for room instead of dropping. Blocks: call it from `spawn_blocking`.
///
/// # Errors
/// When the publisher is closed meanwhile.
pub fn publish_shares(publisher: &StatsPublisher, count: u32, channels: u32) -> Result<()> {
    for number in 0..count {
        let outcome = publisher.publish_wait(share(number, channels));
        anyhow::ensure!(outcome == stats_publisher::PublishOutcome::Queued, "share {number} was {outcome:?}");
    }
    Ok(())
}
