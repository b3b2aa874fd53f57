//! What a bucket holds: additive sums, never rates. Adding buckets of disjoint times or of different workers is exact.

use crate::hashrate::Sample;
use crate::reject::RejectReason;
use crate::target::ShareCredit;

/// The sums of one bucket.
///
/// The totals hold everything. The `unrated` sums are the part of them that fell into slots touched by a loss: it is not
/// known what else happened there, so that part gives no hashrate, and the time of those slots is left out as well
/// (delivery rule 14).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// Accepted shares, those with an invalid target included.
    pub accepted: u64,
    /// Accepted shares whose target was invalid: they gave no work (delivery rule 29).
    pub invalid_target: u64,
    /// Rejected shares by reason, in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Expected hashes of the accepted shares.
    pub work: f64,
    /// Sum of the squares of that work.
    pub work_squared: f64,
    /// Part of the squares is only a lower bound (delivery rule 31).
    pub squares_are_lower_bound: bool,
    /// Shares with work in slots touched by a loss.
    pub unrated_shares: u64,
    /// Their work.
    pub unrated_work: f64,
    /// The squares of that.
    pub unrated_work_squared: f64,
    /// Expected hashes of the best share's own hash.
    pub best_share_work: f64,
    /// Blocks found.
    pub blocks: u64,
    /// Quotes created.
    pub quotes: u64,
    /// Ehash of those quotes, in `HASH`.
    pub ehash: u128,
}

impl Sums {
    /// An accepted share.
    #[inline]
    pub fn add_share(&mut self, credit: ShareCredit, rated: bool) {
        self.accepted += 1;
        self.work += credit.work;
        self.work_squared += credit.work * credit.work;
        self.best_share_work = self.best_share_work.max(credit.share_work);
        if !rated {
            self.unrated_shares += 1;
            self.unrated_work += credit.work;
            self.unrated_work_squared += credit.work * credit.work;
        }
    }

    /// An accepted share with an invalid target.
    pub fn add_invalid_target(&mut self) {
        self.accepted += 1;
        self.invalid_target += 1;
    }

    /// Shares that came as counters: `accepted` of them with `work` together. At least `work^2 / accepted` is the sum of
    /// squares, reached when all had one target. Reasons of rejections are not known.
    pub fn add_counted(&mut self, accepted: u64, rejected: u64, work: f64, rated: bool) {
        self.rejected[RejectReason::Unknown as usize] += rejected;
        if accepted == 0 {
            return;
        }
        let squares = work * work / accepted as f64;
        self.accepted += accepted;
        self.work += work;
        self.work_squared += squares;
        self.squares_are_lower_bound |= accepted > 1;
        if !rated {
            self.unrated_shares += accepted;
            self.unrated_work += work;
            self.unrated_work_squared += squares;
        }
    }

    /// A rejected share.
    pub fn add_reject(&mut self, reason: RejectReason) {
        self.rejected[reason as usize] += 1;
    }

    /// Adds another bucket.
    pub fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.invalid_target += other.invalid_target;
        for (sum, count) in self.rejected.iter_mut().zip(other.rejected) {
            *sum += count;
        }
        self.work += other.work;
        self.work_squared += other.work_squared;
        self.squares_are_lower_bound |= other.squares_are_lower_bound;
        self.unrated_shares += other.unrated_shares;
        self.unrated_work += other.unrated_work;
        self.unrated_work_squared += other.unrated_work_squared;
        self.best_share_work = self.best_share_work.max(other.best_share_work);
        self.blocks += other.blocks;
        self.quotes += other.quotes;
        self.ehash = self.ehash.saturating_add(other.ehash);
    }

    /// Rejected shares of all reasons.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// What a hashrate may rest on, with the time that was observed outside touched slots.
    #[must_use]
    pub fn sample(&self, observed_ms: u64) -> Sample {
        let shares = self.accepted - self.invalid_target - self.unrated_shares;
        if shares == 0 {
            // The differences below may be a rounding error away from zero.
            return Sample { observed_ms, ..Sample::default() };
        }
        Sample {
            shares,
            work: (self.work - self.unrated_work).max(0.0),
            work_squared: (self.work_squared - self.unrated_work_squared).max(0.0),
            squares_are_lower_bound: self.squares_are_lower_bound,
            observed_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Fact {
        Share(f64, f64, bool),
        Invalid,
        Counted(u64, u64, f64, bool),
        Reject(usize),
        Quote(u64),
    }

    fn fact() -> impl Strategy<Value = Fact> {
        prop_oneof![
            (1.0_f64..1e20, 1.0_f64..1e20, any::<bool>()).prop_map(|(w, b, r)| Fact::Share(w, b, r)),
            Just(Fact::Invalid),
            (0u64..50, 0u64..5, 1.0_f64..1e20, any::<bool>()).prop_map(|(a, n, w, r)| Fact::Counted(a, n, w, r)),
            (0usize..10).prop_map(Fact::Reject),
            any::<u64>().prop_map(Fact::Quote),
        ]
    }

    fn sum(facts: &[Fact]) -> Sums {
        let mut sums = Sums::default();
        for fact in facts {
            match *fact {
                Fact::Share(work, share_work, rated) => sums.add_share(ShareCredit { work, share_work }, rated),
                Fact::Invalid => sums.add_invalid_target(),
                Fact::Counted(accepted, rejected, work, rated) => sums.add_counted(accepted, rejected, work, rated),
                Fact::Reject(reason) => sums.add_reject(RejectReason::ALL[reason]),
                Fact::Quote(amount) => {
                    sums.quotes += 1;
                    sums.ehash += u128::from(amount);
                }
            }
        }
        sums
    }

    proptest! {
        #[test]
        fn buckets_add_up(facts in prop::collection::vec(fact(), 0..80), cut in 0usize..80) {
            let cut = cut.min(facts.len());
            let whole = sum(&facts);
            let mut parts = sum(&facts[..cut]);
            parts.merge(&sum(&facts[cut..]));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
            prop_assert!(close(whole.work, parts.work) && close(whole.work_squared, parts.work_squared));
            prop_assert!(close(whole.unrated_work, parts.unrated_work));
            prop_assert_eq!(
                Sums { work: 0.0, work_squared: 0.0, unrated_work: 0.0, unrated_work_squared: 0.0, ..whole },
                Sums { work: 0.0, work_squared: 0.0, unrated_work: 0.0, unrated_work_squared: 0.0, ..parts }
            );
            let sample = whole.sample(1000);
            prop_assert!(sample.effective_shares() <= sample.shares as f64);
        }
    }

    #[test]
    fn counters_give_the_squares_as_a_lower_bound() {
        let mut counted = Sums::default();
        counted.add_counted(10, 2, 1000.0, true);
        assert!(counted.squares_are_lower_bound);
        assert_eq!(counted.rejected_total(), 2);
        let mut single = Sums::default();
        for work in [500.0, 500.0 / 9.0] {
            for _ in 0..if work == 500.0 { 1 } else { 9 } {
                single.add_share(ShareCredit { work, share_work: work }, true);
            }
        }
        assert!(counted.work_squared < single.work_squared);
        let estimate = counted.sample(1000).estimate().unwrap();
        assert!(estimate.interval_is_lower_bound && estimate.effective_shares == 10.0);
        let mut one = Sums::default();
        one.add_counted(1, 0, 7.0, true);
        assert!(!one.squares_are_lower_bound, "of a single share the square is known");
    }

    #[test]
    fn what_fell_into_a_loss_counts_and_gives_no_rate() {
        let mut sums = Sums::default();
        sums.add_share(ShareCredit { work: 5.0, share_work: 9.0 }, false);
        assert_eq!((sums.accepted, sums.work), (1, 5.0));
        assert_eq!(sums.sample(1000).estimate(), None);
        sums.add_share(ShareCredit { work: 7.0, share_work: 8.0 }, true);
        assert_eq!(sums.sample(1000).estimate().unwrap().rate.hashes_per_second(), 7.0);
        assert_eq!(sums.best_share_work, 9.0);
    }
}
