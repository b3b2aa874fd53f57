//! What one poll sees of a program.

use std::collections::BTreeMap;

use mining_stats::Work;
use serde::{Deserialize, Serialize};
use stats_sv2::CompactTarget;

use crate::config::SriRole;

/// The downstream id under which a translator's channels to its upstream appear. SRI numbers connections from 1.
pub const UPSTREAM_CHANNELS: u32 = 0;

/// One complete look at a program.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which program it is.
    pub role: SriRole,
    /// When it started.
    pub started: StartedAt,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Connections by id; for a translator only [`UPSTREAM_CHANNELS`].
    pub downstreams: BTreeMap<u32, DownstreamView>,
    /// SV1 miners by id.
    pub miners: BTreeMap<u32, MinerView>,
    /// The miners came on several pages, between which the list may have changed: one that is missing may still be there.
    pub miners_paged: bool,
}

/// The second in which a program started, by its own clock, as far as requests around the question can tell.
///
/// The start is the clock's time minus the uptime. Both come from the program, so its clock may be wrong, and may be
/// set, without moving the result; two views of one run always overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedAt {
    /// Not before this second since the epoch.
    pub earliest: i64,
    /// Not after this one.
    pub latest: i64,
}

impl StartedAt {
    /// Whether both can tell of one run.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.earliest <= other.latest && other.earliest <= self.latest
    }
}

/// A connection and its channels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DownstreamView {
    /// It is a translator.
    pub translator: bool,
    /// The channels by id.
    pub channels: BTreeMap<u32, ChannelView>,
    /// The channels came on several pages, between which the list may have changed: one that is missing may still be
    /// there.
    pub paged: bool,
}

/// The counters of a channel since it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelView {
    /// `CHANNEL_STANDARD` or `CHANNEL_EXTENDED`.
    pub kind: u8,
    /// Who mines; untrusted and not unique.
    pub user_identity: String,
    /// Declared H/s, 0 where none is.
    pub nominal_hashrate: u64,
    /// The target now.
    pub target: CompactTarget,
    /// Accepted shares; for a translator those that its upstream acknowledged.
    pub accepted: u32,
    /// Rejected shares.
    pub rejected: u32,
    /// Expected hashes of the accepted shares; for a translator of those that it found valid, acknowledged or not yet.
    pub work: Work,
    /// Difficulty of the best share.
    pub best_difficulty: f64,
    /// Blocks found.
    pub blocks: u32,
}

/// An SV1 miner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinerView {
    /// Name it authorized with; untrusted, empty before that.
    pub name: String,
    /// Its IP address.
    pub address: String,
    /// Vardiff's estimate in H/s, 0 where none is.
    pub hashrate: u64,
}
