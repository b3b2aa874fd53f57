//! Work: how many hashes a target takes on average.

use ruint::aliases::U256;

use crate::target::Target;

/// Expected hashes, as an exact integer. For a target `t` it is `floor(2^256 / (t + 1))`, as Bitcoin Core computes the
/// proof of a block; it saturates at `2^256 - 1`, which only the target 0 reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Work(U256);

impl Work {
    /// No work.
    pub const ZERO: Self = Self(U256::ZERO);

    /// The work of a target.
    #[must_use]
    pub fn of_target(target: Target) -> Self {
        let number = target.number();
        // 2^256 does not fit 256 bits: 2^256 / (t + 1) = (2^256 - (t + 1)) / (t + 1) + 1 = !t / (t + 1) + 1.
        let Some(divisor) = number.checked_add(U256::ONE) else {
            return Self(U256::ONE);
        };
        Self((!number / divisor).saturating_add(U256::ONE))
    }

    /// So many hashes.
    #[must_use]
    pub const fn from_hashes(hashes: U256) -> Self {
        Self(hashes)
    }

    /// A number of hashes as it stands on the wire, least significant byte first.
    #[must_use]
    pub const fn from_wire(wire: stats_sv2::U256) -> Self {
        Self(U256::from_le_bytes(wire.0))
    }

    /// As it stands on the wire.
    #[must_use]
    pub const fn to_wire(self) -> stats_sv2::U256 {
        stats_sv2::U256(self.0.to_le_bytes())
    }

    /// The number of hashes.
    #[must_use]
    pub const fn hashes(self) -> U256 {
        self.0
    }

    /// The nearest floating-point number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.0)
    }

    /// The sum, at most `2^256 - 1`.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What a cumulative total grew by; `None` when it fell, so that it must have begun anew (delivery rule 31).
    #[must_use]
    pub fn growth_since(self, earlier: Self) -> Option<Self> {
        self.0.checked_sub(earlier.0).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stats_sv2::CompactTarget;

    use super::*;

    #[test]
    fn known_work() {
        // The genesis block, and the edges.
        assert_eq!(Target::from_compact(CompactTarget(0x1d00_ffff)).unwrap().work().0, U256::from(0x1_0001_0001_u64));
        assert_eq!(Target::MAX.work().0, U256::ONE);
        assert_eq!(Target::from_number(U256::ZERO).work().0, U256::MAX);
        assert_eq!(Target::from_number(U256::ONE).work().0, U256::ONE << 255);
    }

    #[test]
    fn counters_that_fall_have_no_growth() {
        let (small, large) = (Work(U256::from(3)), Work(U256::from(10)));
        assert_eq!(large.growth_since(small), Some(Work(U256::from(7))));
        assert_eq!(small.growth_since(large), None);
        assert_eq!(Work::from_wire(large.to_wire()), large);
    }

    proptest! {
        #[test]
        fn work_agrees_with_the_bitcoin_crate(limbs: [u64; 4], shift in 0usize..255) {
            // The oracle answers 2^256 - 1 for the target 1, a shortcut of its own; `known_work` has that case.
            let number = (U256::from_limbs(limbs) >> shift).max(U256::from(2));
            let oracle = bitcoin::Target::from_le_bytes(number.to_le_bytes::<32>()).to_work();
            let work = Target::from_number(number).work();
            prop_assert_eq!(work.0.to_le_bytes::<32>(), oracle.to_le_bytes());
            let float = Target::from_number(number).expected_hashes();
            // The integer is cut; beside that both agree.
            prop_assert!((float - work.to_f64()).abs() <= 1.0 + float * 1e-14);
        }
    }
}
