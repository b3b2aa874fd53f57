//! The live number: an exponentially weighted hashrate that is unbiased from its first second on and at any rate of
//! shares. ckpool's decay formula, which resembles it, reads 55 % high at one share a minute.

use crate::hashrate::{Estimate, Hashrate};
use crate::poisson::garwood_95;

/// Weighted sum of recent work. Times are monotonic milliseconds of the caller's own epoch; a time before the last one
/// counts as the last one, so that no clock makes negative time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveRate {
    tau_ms: f64,
    /// Sum of `w * exp(-age / tau) / tau`, in hashes per millisecond, as of `last_ms`.
    sum: f64,
    /// Sum of the squares of the terms of `sum`.
    sum_of_squares: f64,
    shares: u64,
    first_ms: u64,
    last_ms: u64,
}

impl LiveRate {
    /// Begins to observe. `tau_ms` is the time constant: a share counts half after 0.69 of it.
    #[must_use]
    pub fn new(tau_ms: u64, now_ms: u64) -> Self {
        let tau_ms = tau_ms.max(1) as f64;
        Self { tau_ms, sum: 0.0, sum_of_squares: 0.0, shares: 0, first_ms: now_ms, last_ms: now_ms }
    }

    /// A share with this much work was accepted.
    pub fn share(&mut self, work: f64, now_ms: u64) {
        let decay = self.decay(now_ms);
        let term = work / self.tau_ms;
        self.sum = self.sum * decay + term;
        self.sum_of_squares = self.sum_of_squares * decay * decay + term * term;
        self.shares += 1;
        self.last_ms = self.last_ms.max(now_ms);
    }

    /// The hashrate now; `None` before any time has passed or any share has come.
    #[must_use]
    pub fn read(&self, now_ms: u64) -> Option<Estimate> {
        let now_ms = now_ms.max(self.last_ms);
        let observed_ms = now_ms.saturating_sub(self.first_ms);
        if observed_ms == 0 || self.shares == 0 {
            return None;
        }
        // The kernel has seen only this part of its weight so far.
        let seen = -(-(observed_ms as f64) / self.tau_ms).exp_m1();
        let rate = self.sum * self.decay(now_ms) / seen * 1000.0;
        // Decay multiplies both sums alike, so the effective number does not fall while nothing comes; what falls is the
        // rate. The number is capped by what was really seen.
        let effective = (self.sum * self.sum / self.sum_of_squares).min(self.shares as f64);
        let (low, high) = garwood_95(effective);
        Some(Estimate {
            rate: Hashrate::from_hashes_per_second(rate),
            low: Hashrate::from_hashes_per_second(rate * low / effective),
            high: Hashrate::from_hashes_per_second(rate * high / effective),
            shares: self.shares,
            effective_shares: effective,
            interval_is_lower_bound: false,
            observed_ms,
        })
    }

    fn decay(&self, now_ms: u64) -> f64 {
        (-(now_ms.saturating_sub(self.last_ms) as f64) / self.tau_ms).exp()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Mean of the reading at random moments, relative to the true rate.
    fn bias(shares_per_minute: f64, tau_ms: u64, after_ms: u64) -> f64 {
        let mut random = StdRng::seed_from_u64(3);
        let work = 1e10;
        let true_rate = work * shares_per_minute / 60.0;
        let trials = 20_000;
        let mut total = 0.0;
        for _ in 0..trials {
            let mut live = LiveRate::new(tau_ms, 0);
            let mut time = 0.0;
            loop {
                time -= (1.0 - random.random::<f64>()).ln() * 60_000.0 / shares_per_minute;
                if time >= after_ms as f64 {
                    break;
                }
                live.share(work, time as u64);
            }
            total += live.read(after_ms).map_or(0.0, |estimate| estimate.rate.hashes_per_second());
        }
        total / f64::from(trials) / true_rate
    }

    #[test]
    fn unbiased_when_shares_are_sparse_and_when_it_has_just_begun() {
        // ckpool's formula gives 1.55 and 1.19 in the first two cases.
        for (per_minute, tau_ms, after_ms) in [(1.0, 60_000, 600_000), (6.0, 60_000, 600_000), (6.0, 300_000, 30_000)] {
            let bias = bias(per_minute, tau_ms, after_ms);
            assert!((bias - 1.0).abs() < 0.03, "{per_minute} a minute, tau {tau_ms}, after {after_ms}: {bias}");
        }
    }

    #[test]
    fn regular_shares_are_read_exactly_in_the_limit() {
        let mut live = LiveRate::new(300_000, 0);
        for second in 1..=3_600 {
            live.share(1e9, second * 1000);
        }
        let rate = live.read(3_600_000).unwrap().rate.hashes_per_second();
        assert!((rate / 1e9 - 1.0).abs() < 0.002, "{rate}");
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_negative_time() {
        let mut live = LiveRate::new(60_000, 1_000_000);
        live.share(6e10, 1_060_000);
        let before = live.read(1_060_000).unwrap();
        live.share(6e10, 500_000);
        let after = live.read(400_000).unwrap();
        assert!(after.rate.hashes_per_second().is_finite() && after.rate > before.rate);
        assert_eq!(after.observed_ms, 60_000);
        assert_eq!(LiveRate::new(1, 5).read(9), None, "no share yet");
    }
}
