//! What a bridge knows after its polls: the counters from which the next differences are made. Stored with the events.

use std::collections::BTreeMap;

use mining_stats::Work;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};
use stats_sv2::{CompactTarget, UnixMillis};

use crate::config::SriRole;
use crate::view::{ChannelView, StartedAt};

/// Version of the stored form. A change that an older reader would misunderstand takes the next number.
const VERSION: u32 = 1;

/// Everything that was seen, and told, so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Time of the last successful poll; `None` before the first.
    #[serde(with = "millis")]
    pub(crate) polled_at: Option<UnixMillis>,
    pub(crate) role: Option<SriRole>,
    pub(crate) started: Option<StartedAt>,
    pub(crate) downstreams: BTreeMap<u32, KnownDownstream>,
    pub(crate) miners: BTreeMap<u32, KnownMiner>,
    pub(crate) upstream_connected: bool,
}

/// Why stored state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownError {
    /// A newer version of the sidecar wrote it.
    #[error("the bridge's stored state has version {found}, this sidecar knows {VERSION}: run the newer sidecar again")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It is not what was written.
    #[error("the bridge's stored state is damaged")]
    Damaged(#[from] serde_json::Error),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownDownstream {
    /// The current session told that it is connected.
    pub(crate) open: bool,
    pub(crate) channels: BTreeMap<u32, KnownChannel>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownChannel {
    /// The current session told that it is open. A channel that is closed stays known as long as it might only have
    /// been missed between two pages: its counters must not be counted again.
    pub(crate) open: bool,
    /// Polls in a row that did not show it.
    pub(crate) missed: u8,
    #[serde(with = "millis_always")]
    pub(crate) counted_at: UnixMillis,
    pub(crate) user_identity: String,
    pub(crate) target: u32,
    pub(crate) accepted: u32,
    pub(crate) rejected: u32,
    /// Limbs of the number of hashes, the least significant first.
    pub(crate) work: [u64; 4],
    /// Bits of the floating-point number, so that it comes back exactly.
    pub(crate) best_difficulty: u64,
    /// Blocks that were told; fewer than found when there were too many for one poll.
    pub(crate) blocks: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownMiner {
    pub(crate) missed: u8,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) hashrate: u64,
}

impl Known {
    /// The ids of the downstreams of the last poll, which the next one asks for.
    pub fn downstream_ids(&self) -> impl Iterator<Item = u32> {
        self.downstreams.keys().copied().filter(|id| *id != crate::view::UPSTREAM_CHANNELS)
    }

    /// Time of the last successful poll.
    #[must_use]
    pub fn polled_at(&self) -> Option<UnixMillis> {
        self.polled_at
    }

    /// Forgets what was told to be open, and keeps the counters: for a new session, which starts with nothing open.
    pub fn forget_open(&mut self) {
        for downstream in self.downstreams.values_mut() {
            downstream.open = false;
            for channel in downstream.channels.values_mut() {
                channel.open = false;
            }
        }
        self.miners.clear();
        self.upstream_connected = false;
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&Stored { version: VERSION, known: self })
            .expect("writing to a Vec cannot fail, and every key is a number or a string")
    }

    /// Reads the stored form.
    pub fn decode(state: &[u8]) -> Result<Self, KnownError> {
        // The version first: the rest of a newer form may look different.
        let Version { version } = serde_json::from_slice(state)?;
        if version > VERSION {
            return Err(KnownError::Newer { found: version });
        }
        let stored: Stored<Self> = serde_json::from_slice(state)?;
        Ok(stored.known)
    }
}

impl KnownChannel {
    /// The counters of a channel before it counted anything.
    pub(crate) fn new(channel: &ChannelView, counted_at: UnixMillis) -> Self {
        Self {
            open: false,
            missed: 0,
            counted_at,
            user_identity: channel.user_identity.clone(),
            target: channel.target.0,
            accepted: 0,
            rejected: 0,
            work: [0; 4],
            best_difficulty: 0,
            blocks: 0,
        }
    }

    pub(crate) fn target(&self) -> CompactTarget {
        CompactTarget(self.target)
    }

    pub(crate) fn work(&self) -> Work {
        Work::from_hashes(U256::from_limbs(self.work))
    }

    /// Whether the channel that is seen now can be this one. Nothing of one channel's life ever falls, and its name
    /// stays; where the program gives an id to another channel, its counters begin again.
    pub(crate) fn continues_as(&self, seen: &ChannelView) -> bool {
        self.user_identity == seen.user_identity
            && self.accepted <= seen.accepted
            && self.rejected <= seen.rejected
            && self.work() <= seen.work
            && self.blocks <= seen.blocks
            && f64::from_bits(self.best_difficulty) <= seen.best_difficulty
    }

    /// Takes the counters over, blocks apart.
    pub(crate) fn count(&mut self, seen: &ChannelView, now: UnixMillis) {
        self.missed = 0;
        self.counted_at = now;
        self.target = seen.target.0;
        self.accepted = seen.accepted;
        self.rejected = seen.rejected;
        self.work = seen.work.hashes().into_limbs();
        self.best_difficulty = seen.best_difficulty.to_bits();
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<K> {
    version: u32,
    known: K,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

mod millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use stats_sv2::UnixMillis;

    pub(super) fn serialize<S: Serializer>(time: &Option<UnixMillis>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.0).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMillis>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(UnixMillis))
    }
}

mod millis_always {
    use serde::{Deserialize, Deserializer, Serializer};
    use stats_sv2::UnixMillis;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(time: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
        u64::deserialize(deserializer).map(UnixMillis)
    }
}
