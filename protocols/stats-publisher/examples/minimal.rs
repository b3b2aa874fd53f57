//! What a pool adds: read the `[stats]` table of its own configuration file, publish, close at the end.
//!
//! `cargo run --example minimal -- pool-config.toml`

use std::time::Duration;

use stats_publisher::event::ShareSubmitted;
use stats_publisher::{ChannelId, CompactTarget, DownstreamId, Role, StatsConfig, UnixMillis};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => "[stats]\nstats_server_address = \"127.0.0.1:4000\"\n".to_owned(),
    };
    let stats = StatsConfig::from_toml_str(&text)?.start(Role::Pool, "example-pool 1.0")?;

    // In the share handler, once a share is accepted:
    stats.publish(ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis::now(),
        channel_id: ChannelId(1),
        sequence_number: 1,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c0a_0b0c),
    });

    // At shutdown:
    let report = stats.close(Duration::from_secs(5));
    if report.left > 0 {
        return Err(format!("{} events did not reach the sidecar", report.left).into());
    }
    Ok(())
}
