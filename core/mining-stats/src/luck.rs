//! Luck: how the work done compares with the work that blocks took. All work is in expected hashes.

use statrs::function::gamma::checked_gamma_ur;

use crate::hashrate::Hashrate;

/// Expected seconds to a block of the network's work at this hashrate; `None` at no hashrate.
#[must_use]
pub fn expected_seconds_to_block(network_work: f64, hashrate: Hashrate) -> Option<f64> {
    let rate = hashrate.hashes_per_second();
    (rate > 0.0).then(|| network_work / rate)
}

/// Probability of at least one block within so many seconds, `1 - exp(-H t / W)`.
#[must_use]
pub fn probability_of_block_within(seconds: f64, network_work: f64, hashrate: Hashrate) -> f64 {
    -(-hashrate.hashes_per_second() * seconds / network_work).exp_m1()
}

/// Work done since the last block of this pool over the work that a block takes: 1 is the mean round.
#[must_use]
pub fn round_effort(work_since_block: f64, network_work: f64) -> f64 {
    work_since_block / network_work
}

/// Probability that a round takes at least this effort: `exp(-effort)`. Small means bad luck.
#[must_use]
pub fn probability_of_effort(effort: f64) -> f64 {
    (-effort.max(0.0)).exp()
}

/// Probability that `blocks` rounds together take at least this effort; their sum is Gamma(blocks, 1). `None` for no
/// blocks.
#[must_use]
pub fn probability_of_total_effort(total_effort: f64, blocks: u32) -> Option<f64> {
    if blocks == 0 {
        return None;
    }
    if total_effort <= 0.0 {
        return Some(1.0);
    }
    checked_gamma_ur(f64::from(blocks), total_effort).ok()
}

/// Probability of a share at least as good as one of work `best_share_work` among `work_done` hashes: a best share is a
/// "1 in x" event with x its inverse.
#[must_use]
pub fn probability_of_best_share(work_done: f64, best_share_work: f64) -> f64 {
    -(-work_done / best_share_work).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difficulty::HASHES_PER_DIFFICULTY;

    #[test]
    fn a_small_miner_waits_long() {
        // 1 TH/s at difficulty 1e14 waits 13,600 years.
        let hashrate = Hashrate::from_hashes_per_second(1e12);
        let network = 1e14 * HASHES_PER_DIFFICULTY;
        let seconds = expected_seconds_to_block(network, hashrate).unwrap();
        assert!((seconds / 4.295e11 - 1.0).abs() < 1e-3);
        assert!((probability_of_block_within(seconds, network, hashrate) - 0.632).abs() < 1e-3);
        assert!((probability_of_block_within(1.0, network, hashrate) * seconds - 1.0).abs() < 1e-6, "no cancellation");
        assert_eq!(expected_seconds_to_block(network, Hashrate::default()), None);
    }

    #[test]
    fn luck_of_one_and_of_several_blocks() {
        assert_eq!(round_effort(30.0, 10.0), 3.0);
        assert!((probability_of_effort(3.0) - 0.0498).abs() < 1e-4);
        let one = probability_of_total_effort(3.0, 1).unwrap();
        assert!((one - probability_of_effort(3.0)).abs() < 1e-12, "one block is the exponential case");
        // Gamma(2, 1): (1 + x) exp(-x).
        assert!((probability_of_total_effort(3.0, 2).unwrap() - 4.0 * (-3.0_f64).exp()).abs() < 1e-12);
        assert_eq!(probability_of_total_effort(3.0, 0), None);
        assert_eq!(probability_of_total_effort(0.0, 3), Some(1.0));
        assert!((probability_of_best_share(1.0, 1000.0) * 1000.0 - 0.9995).abs() < 1e-6);
    }
}
