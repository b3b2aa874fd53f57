//! One simulated miner: what it can do, what it is asked for, and what it did.

use mining_stats::{Sv1Difficulty, Target};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Text};

use super::share_hash::HashesBelow;

/// Vardiff looks at a miner once so many shares were to be expected of it.
const VARDIFF_SHARES: f64 = 20.0;
/// Vardiff lets a miner be while it gives between these multiples of the wanted rate.
const VARDIFF_TOLERANCE: std::ops::RangeInclusive<f64> = 0.66..=1.5;
/// Vardiff changes a target by at most this factor at once.
const VARDIFF_STEP: f64 = 4.0;

/// A simulated miner. Times are simulated seconds.
#[derive(Debug, Clone)]
pub(crate) struct Miner {
    pub(crate) name: Text<'static>,
    /// What it truly does while it is connected, in hashes per second.
    pub(crate) hashrate: f64,
    pub(crate) connected: bool,
    pub(crate) downstream_id: DownstreamId,
    pub(crate) channel_id: ChannelId,
    pub(crate) hashes: HashesBelow,
    /// Expected hashes for one share at its target.
    share_work: f64,
    pub(crate) sequence_number: u32,
    window: Window,
    /// Hashes made since the start of the simulation: the truth that a measurement is compared with.
    pub(crate) true_work: f64,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
}

/// What vardiff has seen since it last decided.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    begun: f64,
    shares: u32,
}

impl Miner {
    /// A miner that is not connected yet. Vardiff knows its hashrate only roughly: off by `misjudged`.
    pub(crate) fn new(name: Text<'static>, hashrate: f64, misjudged: f64, wanted_rate: f64) -> Self {
        let target = target_for(hashrate * misjudged / wanted_rate);
        Self {
            name,
            hashrate,
            connected: false,
            downstream_id: DownstreamId(0),
            channel_id: ChannelId(1),
            hashes: HashesBelow::new(target),
            share_work: work_of(target),
            sequence_number: 0,
            window: Window::default(),
            true_work: 0.0,
            accepted: 0,
            rejected: 0,
        }
    }

    pub(crate) fn connect(&mut self, downstream_id: DownstreamId, now: f64) {
        self.connected = true;
        self.downstream_id = downstream_id;
        self.sequence_number = 0;
        self.window = Window { begun: now, shares: 0 };
    }

    pub(crate) fn target(&self) -> CompactTarget {
        self.hashes.target()
    }

    /// Shares a second that the miner finds at its target: what it hashes by what a share takes.
    pub(crate) fn share_rate(&self) -> f64 {
        if self.connected { self.hashrate / self.share_work } else { 0.0 }
    }

    /// The miner found a share; returns the channel's number of it.
    #[inline]
    pub(crate) fn submit(&mut self, accepted: bool) -> u32 {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.window.shares += 1;
        self.accepted += u64::from(accepted);
        self.rejected += u64::from(!accepted);
        self.sequence_number
    }

    /// Vardiff: after enough shares were due, a miner far from the wanted rate gets another target. Returns it.
    pub(crate) fn retarget(&mut self, now: f64, wanted_rate: f64) -> Option<CompactTarget> {
        let due = (now - self.window.begun) * wanted_rate;
        if !self.connected || due < VARDIFF_SHARES && f64::from(self.window.shares) < VARDIFF_SHARES {
            return None;
        }
        let ratio = f64::from(self.window.shares) / due.max(f64::MIN_POSITIVE);
        self.window = Window { begun: now, shares: 0 };
        if VARDIFF_TOLERANCE.contains(&ratio) {
            return None;
        }
        let target = target_for(self.share_work * ratio.clamp(1.0 / VARDIFF_STEP, VARDIFF_STEP));
        self.hashes = HashesBelow::new(target);
        self.share_work = work_of(target);
        Some(target)
    }

    /// What vardiff would call the miner's hashrate.
    pub(crate) fn declared_hashrate(&self, wanted_rate: f64) -> u64 {
        (self.share_work * wanted_rate) as u64
    }
}

/// The compact target that takes so many hashes on average.
pub(crate) fn target_for(hashes: f64) -> CompactTarget {
    // At least two hashes a share: below that no target exists.
    let difficulty = Sv1Difficulty::from_expected_hashes(hashes.max(2.0));
    difficulty.expect("the number of hashes is finite and positive").to_target().to_compact()
}

fn work_of(target: CompactTarget) -> f64 {
    Target::from_compact(target).map_or(f64::MAX, Target::expected_hashes)
}
