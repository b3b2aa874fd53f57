//! Hashrate as an estimate: expected hashes of the accepted shares over the observed time, with its 95 % interval.

use serde::Serialize;

use crate::poisson::{ZERO_COUNT_UPPER, garwood_95};

/// Hashes per second; never negative.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub struct Hashrate(f64);

impl Hashrate {
    /// From hashes per second; what is no finite number or below zero becomes 0.
    #[must_use]
    pub fn from_hashes_per_second(rate: f64) -> Self {
        Self(if rate.is_finite() { rate.max(0.0) } else { 0.0 })
    }

    /// Hashes per second.
    #[must_use]
    pub const fn hashes_per_second(self) -> f64 {
        self.0
    }
}

/// What was seen of a miner, worker or pool over some observed time. Additive: samples of disjoint times or of different
/// workers over the same time are summed field by field, the observed time as the caller knows it to be.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Sample {
    /// Accepted shares.
    pub shares: u64,
    /// Sum of the work of their targets, in hashes.
    pub work: f64,
    /// Sum of the squares of that work.
    pub work_squared: f64,
    /// Some shares came as counters, whose squares are only known to be at least this much: the true interval is at
    /// least as wide as the one shown (delivery rule 31).
    pub squares_are_lower_bound: bool,
    /// Milliseconds that were observed, a gap in the feed left out.
    pub observed_ms: u64,
}

/// A hashrate with its uncertainty and what it rests on.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Expected hashes over observed time.
    pub rate: Hashrate,
    /// Lower end of the 95 % interval.
    pub low: Hashrate,
    /// Upper end of the 95 % interval.
    pub high: Hashrate,
    /// Accepted shares in the sample.
    pub shares: u64,
    /// Number of equal shares that would be as informative, `(sum w)^2 / sum w^2`.
    pub effective_shares: f64,
    /// The interval is known to be at least this wide, perhaps wider.
    pub interval_is_lower_bound: bool,
    /// Milliseconds that the sample rests on.
    pub observed_ms: u64,
}

impl Sample {
    /// `(sum w)^2 / sum w^2`: the number of shares where all have one target, less where targets differ, never more than
    /// there were shares.
    #[must_use]
    pub fn effective_shares(&self) -> f64 {
        if self.shares == 0 || self.work_squared <= 0.0 {
            return 0.0;
        }
        (self.work * self.work / self.work_squared).min(self.shares as f64)
    }

    /// The estimate; `None` without shares or without observed time. See [`Self::upper_bound`] for no shares.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        let effective = self.effective_shares();
        if effective <= 0.0 || self.observed_ms == 0 {
            return None;
        }
        let rate = self.work / (self.observed_ms as f64 / 1000.0);
        let (low, high) = garwood_95(effective);
        Some(Estimate {
            rate: Hashrate::from_hashes_per_second(rate),
            low: Hashrate::from_hashes_per_second(rate * low / effective),
            high: Hashrate::from_hashes_per_second(rate * high / effective),
            shares: self.shares,
            effective_shares: effective,
            interval_is_lower_bound: self.squares_are_lower_bound,
            observed_ms: self.observed_ms,
        })
    }

    /// Where no share came: the hashrate that 95 % confidence excludes, `3.0 * W / T`, from the work of the target that
    /// was in force. `None` without observed time.
    #[must_use]
    pub fn upper_bound(&self, share_work: f64) -> Option<Hashrate> {
        (self.observed_ms > 0).then(|| {
            Hashrate::from_hashes_per_second(ZERO_COUNT_UPPER * share_work / (self.observed_ms as f64 / 1000.0))
        })
    }

    /// Adds another sample of the same observed time (another worker).
    pub fn add_shares(&mut self, other: &Self) {
        self.shares += other.shares;
        self.work += other.work;
        self.work_squared += other.work_squared;
        self.squares_are_lower_bound |= other.squares_are_lower_bound;
    }
}

impl Estimate {
    /// One standard error as a part of the rate.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        1.0 / self.effective_shares.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn sample(works: &[f64], observed_ms: u64) -> Sample {
        Sample {
            shares: works.len() as u64,
            work: works.iter().sum(),
            work_squared: works.iter().map(|work| work * work).sum(),
            squares_are_lower_bound: false,
            observed_ms,
        }
    }

    #[test]
    fn standard_errors_at_six_shares_a_minute() {
        for (minutes, per_cent) in [(1, 41.0), (5, 18.0), (15, 10.5), (60, 5.3), (1440, 1.1)] {
            let estimate = sample(&vec![1e12; 6 * minutes], minutes as u64 * 60_000).estimate().unwrap();
            let error = estimate.relative_error() * 100.0;
            assert!((error - per_cent).abs() < 0.5, "{minutes} m: {error}");
            assert!((estimate.rate.0 / 1e11 - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn nothing_seen_is_not_zero_hashes() {
        let none = Sample { observed_ms: 60_000, ..Sample::default() };
        assert_eq!(none.estimate(), None);
        let bound = none.upper_bound(4e9).unwrap();
        assert!((bound.0 - 3.0 * 4e9 / 60.0).abs() < 0.002 * bound.0);
        assert_eq!(Sample::default().upper_bound(4e9), None, "and without observed time there is no bound either");
        assert_eq!(sample(&[1.0], 0).estimate(), None);
    }

    #[test]
    fn one_huge_share_counts_as_about_one() {
        let mut works = vec![1.0; 1000];
        works.push(1e6);
        assert!(sample(&works, 1000).effective_shares() < 1.01);
    }

    #[test]
    fn the_interval_covers_with_mixed_targets() {
        let mut random = StdRng::seed_from_u64(11);
        let (trials, seconds) = (3_000, 600.0);
        let rate = 1e9;
        let mut covered = 0;
        for _ in 0..trials {
            let mut works = Vec::new();
            // Vardiff halves the target's ease at half time: two Poisson processes of different weight.
            for work in [rate * 8.0, rate * 16.0] {
                let mut time = 0.0;
                loop {
                    time -= (1.0 - random.random::<f64>()).ln() * work / rate;
                    if time > seconds / 2.0 {
                        break;
                    }
                    works.push(work);
                }
            }
            let estimate = sample(&works, 600_000).estimate().unwrap();
            covered += u32::from(estimate.low.0 <= rate && rate <= estimate.high.0);
        }
        let share = f64::from(covered) / f64::from(trials);
        assert!(share > 0.935, "{share}");
    }

    proptest! {
        #[test]
        fn samples_are_additive(works in prop::collection::vec(1.0_f64..1e15, 2..60), cut in 1usize..59) {
            let cut = cut.min(works.len() - 1);
            let (mut a, b) = (sample(&works[..cut], 5_000), sample(&works[cut..], 5_000));
            a.add_shares(&b);
            let (joined, parts) = (sample(&works, 5_000).estimate().unwrap(), a.estimate().unwrap());
            prop_assert!((joined.rate.0 / parts.rate.0 - 1.0).abs() < 1e-9);
            prop_assert!((joined.high.0 / parts.high.0 - 1.0).abs() < 1e-6);
            prop_assert!(joined.low <= joined.rate && joined.rate <= joined.high);
            prop_assert!(joined.effective_shares <= works.len() as f64);
        }
    }
}
