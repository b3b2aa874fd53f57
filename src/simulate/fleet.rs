//! The simulated pool: miners that find shares as a Poisson process, are retargeted, come and go, and a network around
//! them. Makes one event after the other; the same seed makes the same events, only their stamps and
//! the last digits of hashes depend on the clock.
//!
//! Simulated time is cut into slices. Inside a slice the rates stand still, so that the merged process of all miners is
//! exact and costs the same for any number of miners: exponential waiting times, and a weighted draw of who it was. At the
//! border of a slice vardiff, connections and the network move.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::weighted::WeightedAliasIndex;
use rand_distr::{Distribution, Exp1, LogNormal};
use stats_sv2::event::{
    BlockFound, CHANNEL_EXTENDED, ChainTipChanged, ChannelOpened, ChannelTargetChanged, DownstreamConnected,
    DownstreamDisconnected, MinerConnected, MinerDisconnected, MinerHashrateUpdate, MinerShareRejected,
    MinerShareSubmitted, ShareRejected, ShareSubmitted, UpstreamConnected,
};
use stats_sv2::{CompactTarget, DownstreamId, Event, MinerId, Role, Text, U256, UnixMillis};

use super::miner::{Miner, target_for};
use super::quotes::{QuoteTotals, Quotes, Share};
use super::share_hash::hash_like;

/// Median of the miners' hashrates in hashes per second, and the spread of their logarithms: mostly single machines of
/// today, some much larger.
const MEDIAN_HASHRATE: f64 = 120e12;
const HASHRATE_SPREAD: f64 = 0.7;
/// How far vardiff's first guess is off.
const MISJUDGED_SPREAD: f64 = 0.3;
/// A miner that comes back is about as fast as before.
const RETURN_SPREAD: f64 = 0.1;

/// Mean time that a miner stays connected, and that it stays away, in seconds.
const MEAN_CONNECTED: f64 = 1_200.0;
const MEAN_AWAY: f64 = 30.0;

/// Probability that a share is rejected, in ordinary times and just after a new tip.
const REJECTED: f64 = 0.004;
const REJECTED_AFTER_TIP: f64 = 0.15;
const AFTER_TIP: f64 = 2.0;
/// Mean time between tips of the network, and between blocks of the simulated pool, in seconds.
const MEAN_TIP: f64 = 180.0;
const MEAN_BLOCK: f64 = 300.0;

/// Shares of one miner in a slice on average; with it, what a border costs is shared by so many events.
const SHARES_PER_SLICE: f64 = 4.0;
/// Bounds of a slice in seconds.
const SLICE: std::ops::RangeInclusive<f64> = 0.1..=60.0;

/// Reject codes and how they share the rejects, in 64ths.
const REJECT_CODES: [(u32, &str); 4] =
    [(44, "stale-share"), (54, "difficulty-too-low"), (60, "duplicate-share"), (64, "invalid-job-id")];

/// What a fleet is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FleetConfig {
    pub(crate) role: Role,
    pub(crate) miners: u32,
    /// Shares a second that vardiff wants of all miners together.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
    /// The least difficulty in bits that earns ehash, where the pool asks a mint for quotes. A proxy asks for none.
    pub(crate) quotes: Option<u32>,
}

impl FleetConfig {
    /// A minimum difficulty that about half of the shares of such a fleet reach.
    pub(crate) fn usual_minimum_difficulty(miners: u32, rate: f64) -> u32 {
        let share_work = MEDIAN_HASHRATE * f64::from(miners) / rate;
        share_work.log2().ceil().max(0.0) as u32 + 1
    }
}

/// The fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    role: Role,
    miners: Vec<Miner>,
    wanted_rate: f64,
    rng: ChaCha8Rng,
    /// Simulated seconds since the start.
    now: f64,
    /// When simulated time began by the wall clock.
    start: UnixMillis,
    /// Set when events are stamped from outside instead of by simulated time.
    stamp: Option<UnixMillis>,
    slice_ends: f64,
    slice_length: f64,
    /// Who finds the next share; `None` while nobody is connected.
    picker: Option<WeightedAliasIndex<f64>>,
    total_rate: f64,
    /// When the next share comes, once that is drawn.
    next_share: Option<f64>,
    network: Network,
    quotes: Option<Box<Quotes>>,
    next_downstream: u32,
    /// Events that come before the next share.
    due: VecDeque<Event<'static>>,
}

/// The network around the pool.
#[derive(Debug)]
struct Network {
    height: u32,
    target: CompactTarget,
    next_tip: f64,
    last_tip: f64,
}

impl Fleet {
    pub(crate) fn new(config: FleetConfig, start: UnixMillis) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let wanted_rate = config.rate / f64::from(config.miners);
        let hashrates = lognormal(MEDIAN_HASHRATE, HASHRATE_SPREAD);
        let misjudged = lognormal(1.0, MISJUDGED_SPREAD);
        let miners: Vec<Miner> = (1..=config.miners)
            .map(|number| {
                let name = Text::cut(format!("sim.rig-{number:04}"));
                Miner::new(name, hashrates.sample(&mut rng), misjudged.sample(&mut rng), wanted_rate)
            })
            .collect();
        let total: f64 = miners.iter().map(|miner| miner.hashrate).sum();
        let network = Network {
            height: rng.random_range(800_000..1_000_000),
            target: target_for(total * MEAN_BLOCK),
            next_tip: 0.0,
            last_tip: f64::NEG_INFINITY,
        };
        let mut fleet = Self {
            role: config.role,
            miners,
            wanted_rate,
            rng,
            now: 0.0,
            start,
            stamp: None,
            slice_ends: 0.0,
            slice_length: (SHARES_PER_SLICE / wanted_rate).clamp(*SLICE.start(), *SLICE.end()),
            picker: None,
            total_rate: 0.0,
            next_share: None,
            network,
            quotes: config.quotes.map(|minimum| Box::new(Quotes::new(minimum, config.seed, start))),
            next_downstream: 1,
            due: VecDeque::new(),
        };
        fleet.begin();
        fleet
    }

    /// Simulated seconds at the latest event.
    #[cfg(test)]
    pub(crate) fn now(&self) -> f64 {
        self.now
    }

    /// Stamps events with this time instead of the simulated one, for a fleet that runs faster or slower than its clock.
    pub(crate) fn set_stamp(&mut self, stamp: UnixMillis) {
        self.stamp = Some(stamp);
    }

    /// The miners, with the truth about them up to the last border of a slice.
    pub(crate) fn miners(&self) -> &[Miner] {
        &self.miners
    }

    /// What was told about quotes; `None` for a fleet without.
    pub(crate) fn quotes(&self) -> Option<QuoteTotals> {
        self.quotes.as_ref().map(|quotes| quotes.totals())
    }

    /// Hashes that each miner has made up to the latest event.
    pub(crate) fn true_work(&self) -> Vec<f64> {
        let since = self.now - (self.slice_ends - self.slice_length);
        self.miners
            .iter()
            .map(|miner| miner.true_work + if miner.connected { miner.hashrate * since } else { 0.0 })
            .collect()
    }

    /// The next event, however far off.
    #[inline]
    pub(crate) fn next(&mut self) -> Event<'static> {
        self.next_until(f64::INFINITY).expect("simulated time has no end")
    }

    /// The next event that happens up to this simulated second.
    #[inline]
    pub(crate) fn next_until(&mut self, limit: f64) -> Option<Event<'static>> {
        loop {
            if let Some(event) = self.due.pop_front() {
                if let Some(quotes) = &mut self.quotes {
                    quotes.told(&event);
                }
                return Some(event);
            }
            let at = match self.next_share {
                Some(at) => at,
                None => {
                    let wait: f64 = Exp1.sample(&mut self.rng);
                    *self.next_share.insert(self.now + wait / self.total_rate)
                }
            };
            if let Some(quotes) = &self.quotes
                && quotes.next_at() <= at.min(self.slice_ends)
            {
                if quotes.next_at() > limit {
                    return None;
                }
                self.quote_goes_on();
                continue;
            }
            if at < self.slice_ends
                && let Some(picker) = &self.picker
            {
                if at > limit {
                    return None;
                }
                self.next_share = None;
                self.now = at;
                let miner = picker.sample(&mut self.rng);
                return Some(self.share(miner));
            }
            if self.slice_ends > limit {
                return None;
            }
            // An exponential wait has no memory, so that one cut off at the border is drawn anew behind it.
            self.next_share = None;
            self.now = self.slice_ends;
            self.move_on();
        }
    }

    fn time(&self) -> UnixMillis {
        self.stamp.unwrap_or(UnixMillis(self.start.0 + (self.now * 1000.0) as u64))
    }

    fn quote_goes_on(&mut self) {
        self.now = self.quotes.as_ref().map_or(self.now, |quotes| quotes.next_at());
        let timestamp = self.time();
        if let Some(quotes) = &mut self.quotes {
            quotes.step(timestamp, &mut self.due);
        }
    }

    #[inline]
    fn share(&mut self, index: usize) -> Event<'static> {
        let timestamp = self.time();
        let (role, network) = (self.role, &self.network);
        let miner = &mut self.miners[index];
        let rejected = if self.now - network.last_tip < AFTER_TIP { REJECTED_AFTER_TIP } else { REJECTED };
        let accepted = !self.rng.random_bool(rejected);
        let sequence_number = miner.submit(accepted);
        let (downstream_id, channel_id, target) = (miner.downstream_id, miner.channel_id, miner.target());
        let miner_id = MinerId(downstream_id.0);
        if !accepted {
            let draw = self.rng.random_range(0..64);
            let code = REJECT_CODES.iter().find(|(below, _)| draw < *below).map_or("invalid-share", |(_, code)| code);
            let error_code = Text::cut(code);
            return if role == Role::Proxy {
                MinerShareRejected { miner_id, timestamp, error_code }.into()
            } else {
                ShareRejected { downstream_id, timestamp, channel_id, sequence_number, error_code }.into()
            };
        }
        let share = miner.hashes.draw(&mut self.rng);
        if role == Role::Proxy {
            return MinerShareSubmitted { miner_id, timestamp, target, share }.into();
        }
        // Compact numbers in their normal form are ordered as the numbers themselves.
        let block_hash = (share.0 <= network.target.0).then(|| self.found_block(index, share));
        if let Some(quotes) = &mut self.quotes {
            let share = Share { downstream_id, channel_id, sequence_number, hash: share, told_as: block_hash };
            quotes.accepted(share, self.now, timestamp, &mut self.due);
        }
        ShareSubmitted { downstream_id, timestamp, channel_id, sequence_number, target, share }.into()
    }

    /// Returns the block's hash.
    fn found_block(&mut self, index: usize, share: CompactTarget) -> U256 {
        let timestamp = self.time();
        self.network.height += 1;
        let Miner { downstream_id, channel_id, .. } = self.miners[index];
        let (height, block_hash) = (self.network.height, hash_like(share, self.start, &mut self.rng));
        self.due.push_back(BlockFound { downstream_id, channel_id, timestamp, height, block_hash }.into());
        self.new_tip();
        block_hash
    }

    fn new_tip(&mut self) {
        let (timestamp, height, target) = (self.time(), self.network.height, self.network.target);
        self.network.last_tip = self.now;
        self.due.push_back(ChainTipChanged { timestamp, height, target }.into());
    }

    fn begin(&mut self) {
        let timestamp = self.time();
        if self.role == Role::Proxy {
            self.due.push_back(UpstreamConnected { timestamp, address: Text::cut("192.0.2.1:34254") }.into());
        }
        self.new_tip();
        // The first tip rejects nothing: nobody had a job before it.
        self.network.last_tip = f64::NEG_INFINITY;
        self.schedule_tip();
        for index in 0..self.miners.len() {
            self.connect(index);
        }
        self.end_slice();
    }

    fn schedule_tip(&mut self) {
        let wait: f64 = Exp1.sample(&mut self.rng);
        self.network.next_tip = self.now + wait * MEAN_TIP;
    }

    /// The border of a slice.
    fn move_on(&mut self) {
        for miner in self.miners.iter_mut().filter(|miner| miner.connected) {
            miner.true_work += miner.hashrate * self.slice_length;
        }
        if self.now >= self.network.next_tip {
            self.network.height += 1;
            self.new_tip();
            self.schedule_tip();
        }
        let leaves = 1.0 - (-self.slice_length / MEAN_CONNECTED).exp();
        let returns = 1.0 - (-self.slice_length / MEAN_AWAY).exp();
        for index in 0..self.miners.len() {
            let connected = self.miners[index].connected;
            if self.rng.random_bool(if connected { leaves } else { returns }) {
                if connected { self.disconnect(index) } else { self.connect(index) }
            } else if let Some(target) = self.miners[index].retarget(self.now, self.wanted_rate) {
                self.retargeted(index, target);
            }
        }
        self.end_slice();
    }

    /// Fixes the rates of the slice that begins now.
    fn end_slice(&mut self) {
        self.slice_ends = self.now + self.slice_length;
        let rates: Vec<f64> = self.miners.iter().map(Miner::share_rate).collect();
        self.total_rate = rates.iter().sum();
        // Without anybody connected there is no weight to draw by, and the slice passes in silence.
        self.picker = WeightedAliasIndex::new(rates).ok();
    }

    fn connect(&mut self, index: usize) {
        let timestamp = self.time();
        let downstream_id = DownstreamId(self.next_downstream);
        self.next_downstream += 1;
        let comes_back = self.miners[index].downstream_id.0 != 0;
        let factor = if comes_back { lognormal(1.0, RETURN_SPREAD).sample(&mut self.rng) } else { 1.0 };
        let (now, wanted_rate) = (self.now, self.wanted_rate);
        let miner = &mut self.miners[index];
        miner.hashrate *= factor;
        miner.connect(downstream_id, now);
        let address = Text::cut(format!("198.51.100.{}:{}", index % 254 + 1, 1024 + downstream_id.0 % 60_000));
        let name = miner.name.clone();
        if self.role == Role::Proxy {
            let (miner_id, user_agent) = (MinerId(downstream_id.0), Text::cut("simulated/1.0"));
            let hashrate = miner.declared_hashrate(wanted_rate);
            self.due.push_back(MinerConnected { miner_id, name, timestamp, address, user_agent }.into());
            self.due.push_back(MinerHashrateUpdate { miner_id, hashrate, timestamp }.into());
            return;
        }
        self.due.push_back(
            DownstreamConnected {
                downstream_id,
                flags: 0,
                timestamp,
                address,
                vendor: Text::cut("simulated"),
                hardware_version: Text::cut("1"),
                firmware: Text::cut("1.0"),
                device_id: name.clone(),
            }
            .into(),
        );
        let opened = ChannelOpened {
            downstream_id,
            channel_id: miner.channel_id,
            timestamp,
            kind: CHANNEL_EXTENDED,
            user_identity: name,
            nominal_hashrate: miner.declared_hashrate(wanted_rate),
            target: miner.target(),
        };
        self.due.push_back(opened.into());
    }

    fn disconnect(&mut self, index: usize) {
        let timestamp = self.time();
        let miner = &mut self.miners[index];
        miner.connected = false;
        let (downstream_id, reason) = (miner.downstream_id, Text::cut("connection reset"));
        self.due.push_back(if self.role == Role::Proxy {
            MinerDisconnected { miner_id: MinerId(downstream_id.0), timestamp, reason }.into()
        } else {
            DownstreamDisconnected { downstream_id, timestamp, reason }.into()
        });
    }

    fn retargeted(&mut self, index: usize, target: CompactTarget) {
        let timestamp = self.time();
        let miner = &self.miners[index];
        let (downstream_id, channel_id) = (miner.downstream_id, miner.channel_id);
        self.due.push_back(if self.role == Role::Proxy {
            let hashrate = miner.declared_hashrate(self.wanted_rate);
            MinerHashrateUpdate { miner_id: MinerId(downstream_id.0), hashrate, timestamp }.into()
        } else {
            ChannelTargetChanged { downstream_id, channel_id, timestamp, target }.into()
        });
    }
}

/// The lognormal distribution with this median.
fn lognormal(median: f64, spread: f64) -> LogNormal<f64> {
    LogNormal::new(median.ln(), spread).expect("the spread is finite")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn fleet(role: Role, miners: u32, rate: f64, seed: u64) -> Fleet {
        Fleet::new(FleetConfig { role, miners, rate, seed, quotes: None }, UnixMillis(1_700_000_000_000))
    }

    fn fleet_with_quotes(miners: u32, rate: f64, seed: u64) -> Fleet {
        let quotes = Some(FleetConfig::usual_minimum_difficulty(miners, rate));
        let config = FleetConfig { role: Role::Pool, miners, rate, seed, quotes };
        Fleet::new(config, UnixMillis(1_700_000_000_000))
    }

    fn is_about_quotes(event: &Event<'_>) -> bool {
        event.kind().name().starts_with("quote_")
    }

    #[test]
    fn quotes_change_nothing_else() {
        let (mut with, mut without) = (fleet_with_quotes(20, 50.0, 1), fleet(Role::Pool, 20, 50.0, 1));
        let mined: Vec<_> = (0..50_000).map(|_| with.next()).filter(|event| !is_about_quotes(event)).collect();
        assert!(mined.iter().any(|event| matches!(event, Event::BlockFound(_))), "blocks have hashes of their own");
        for event in mined {
            assert_eq!(event, without.next());
        }
        assert_eq!(without.quotes(), None);
    }

    #[test]
    fn looking_more_often_changes_no_quote() {
        let (mut often, mut once) = (fleet_with_quotes(20, 50.0, 1), fleet_with_quotes(20, 50.0, 1));
        let mut seen = Vec::new();
        for tick in 0..2_000 {
            seen.extend(std::iter::from_fn(|| often.next_until(f64::from(tick) * 0.01)));
        }
        let at_once: Vec<_> = std::iter::from_fn(|| once.next_until(19.99)).collect();
        assert_eq!(seen, at_once);
        let mut last = UnixMillis(0);
        for event in &seen {
            let time = event.timestamp().unwrap();
            assert!(time >= last, "time does not run backwards");
            last = time;
        }
        let totals = often.quotes().unwrap();
        assert_eq!(
            seen.iter().filter(|event| matches!(event, Event::QuoteAnswered(_))).count() as u64,
            totals.answered
        );
        assert!(totals.answered > 100 && totals.pending() < 100, "{totals:?}");
    }

    #[test]
    fn about_half_of_the_shares_earn_ehash() {
        for (miners, rate) in [(50, 50.0), (20, 2.0), (5, 300.0)] {
            let mut fleet = fleet_with_quotes(miners, rate, 9);
            let (mut shares, mut worth) = (0_u64, HashMap::new());
            while shares < 20_000 {
                match fleet.next() {
                    Event::ShareSubmitted(_) => shares += 1,
                    Event::QuoteCreated(quote) => *worth.entry(quote.amount.0).or_insert(0_u64) += 1,
                    _ => {}
                }
            }
            let part = worth.values().sum::<u64>() as f64 / shares as f64;
            assert!((0.25..0.75).contains(&part), "{part} of the shares of {miners} miners at {rate} a second");
            assert!(worth[&1] > worth[&2] && worth[&2] > worth[&8], "each bit more is half as likely: {worth:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_events() {
        let make = |seed| {
            let mut fleet = fleet(Role::Pool, 20, 50.0, seed);
            (0..5_000).map(|_| fleet.next()).collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn a_run_that_is_repeated_finds_other_shares() {
        let hashes = |start| {
            let quotes = Some(FleetConfig::usual_minimum_difficulty(20, 50.0));
            let config = FleetConfig { role: Role::Pool, miners: 20, rate: 50.0, seed: 1, quotes };
            let mut fleet = Fleet::new(config, UnixMillis(start));
            let hashes = (0..2_000).filter_map(|_| match fleet.next() {
                Event::QuoteCreated(quote) => Some(quote.share_hash.0),
                _ => None,
            });
            hashes.collect::<std::collections::HashSet<_>>()
        };
        let (first, second) = (hashes(1_700_000_000_000), hashes(1_700_000_060_000));
        assert!(first.len() > 100 && first.len() == second.len());
        assert!(first.is_disjoint(&second));
    }

    #[test]
    fn looking_more_often_changes_nothing() {
        let (mut often, mut once) = (fleet(Role::Pool, 20, 50.0, 1), fleet(Role::Pool, 20, 50.0, 1));
        let mut seen = Vec::new();
        for tick in 0..2_000 {
            seen.extend(std::iter::from_fn(|| often.next_until(f64::from(tick) * 0.01)));
        }
        assert!(seen.len() > 500, "20 seconds at 50 shares a second gave {}", seen.len());
        let at_once: Vec<_> = std::iter::from_fn(|| once.next_until(19.99)).collect();
        assert_eq!(seen, at_once);
    }

    #[test]
    fn credited_work_measures_the_true_work() {
        let mut fleet = fleet(Role::Pool, 10, 100.0, 3);
        let mut work = 0.0;
        let mut shares = 0_u32;
        let mut rejects = 0_u32;
        while shares < 100_000 {
            match fleet.next() {
                Event::ShareSubmitted(share) => {
                    work += mining_stats::Target::from_compact(share.target).unwrap().expected_hashes();
                    shares += 1;
                }
                Event::ShareRejected(_) => rejects += 1,
                _ => {}
            }
        }
        let truth: f64 = fleet.miners().iter().map(|miner| miner.true_work).sum();
        // Rejected shares are work as well; the rest is the error of 100,000 shares, 0.3 %, five times over.
        let expected = truth * f64::from(shares) / f64::from(shares + rejects);
        assert!((work / expected - 1.0).abs() < 0.02, "{work} against {expected}");
        let rate = f64::from(shares) / fleet.now();
        assert!((60.0..160.0).contains(&rate), "vardiff keeps {rate} near 100 a second");
    }

    #[test]
    fn everything_a_pool_tells_is_told() {
        let mut fleet = fleet(Role::Pool, 40, 40.0, 5);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        let mut last = UnixMillis(0);
        for _ in 0..100_000 {
            let event = fleet.next();
            *counts.entry(event.kind().name()).or_default() += 1;
            let time = event.timestamp().unwrap();
            assert!(time >= last, "time does not run backwards");
            last = time;
        }
        for kind in [
            "share_submitted",
            "share_rejected",
            "block_found",
            "chain_tip_changed",
            "downstream_connected",
            "downstream_disconnected",
            "channel_opened",
            "channel_target_changed",
        ] {
            assert!(counts.contains_key(kind), "{kind} is missing in {counts:?}");
        }
        assert_eq!(counts["downstream_connected"], counts["channel_opened"]);
    }

    #[test]
    fn a_proxy_tells_of_miners_only() {
        let mut fleet = fleet(Role::Proxy, 5, 50.0, 1);
        for _ in 0..5_000 {
            let name = fleet.next().kind().name();
            assert!(name.starts_with("miner_") || matches!(name, "upstream_connected" | "chain_tip_changed"), "{name}");
        }
    }
}
