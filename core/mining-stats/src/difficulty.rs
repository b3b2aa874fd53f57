//! Difficulty as SV1 and block explorers mean it, and how many hashes one unit of it takes.

use ruint::aliases::U256;

use crate::target::{TWO_POW_256, Target};

/// Expected hashes for one unit of difficulty: `2^48 / 65535`, about 4 295 032 833.0. Most programs use 2^32, which is
/// 0.0015 % low; their hashrates read that much lower than ours.
pub const HASHES_PER_DIFFICULTY: f64 = (1_u64 << 48) as f64 / 65_535.0;

/// `T1 / target` with `T1 = 0xffff * 2^208`: the number in SV1's `mining.set_difficulty`. What Stratum V2 programs call
/// difficulty, `2^256 / target`, is [`Work`](crate::Work) here and larger by [`HASHES_PER_DIFFICULTY`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Sv1Difficulty(f64);

impl Sv1Difficulty {
    /// From the number that SV1 sends; `None` unless it is finite and above zero.
    #[must_use]
    pub fn from_sv1_number(number: f64) -> Option<Self> {
        (number.is_finite() && number > 0.0).then_some(Self(number))
    }

    /// From expected hashes; `None` unless they are finite and above zero.
    #[must_use]
    pub fn from_expected_hashes(hashes: f64) -> Option<Self> {
        Self::from_sv1_number(hashes / HASHES_PER_DIFFICULTY)
    }

    /// The difficulty of a target. The target 0 counts as 1, since no share is infinitely difficult.
    #[must_use]
    pub fn of_target(target: Target) -> Self {
        Self(Target::DIFFICULTY_ONE.to_f64() / target.to_f64().max(1.0))
    }

    /// The number that SV1 sends.
    #[must_use]
    pub const fn sv1_number(self) -> f64 {
        self.0
    }

    /// How many hashes a share of this difficulty takes on average.
    #[must_use]
    pub fn expected_hashes(self) -> f64 {
        self.0 * HASHES_PER_DIFFICULTY
    }

    /// The target of this difficulty, cut to an integer, at most [`Target::MAX`].
    #[must_use]
    pub fn to_target(self) -> Target {
        let number = Target::DIFFICULTY_ONE.to_f64() / self.0;
        if number >= TWO_POW_256 {
            return Target::MAX;
        }
        let bits = number.to_bits();
        let exponent = (bits >> 52) as i32 - 1023;
        let mantissa = U256::from(bits & ((1 << 52) - 1) | 1 << 52);
        let target = match exponent {
            ..0 => U256::ZERO,
            // At most 255, for the number is below 2^256.
            0..52 => mantissa >> (52 - exponent) as usize,
            _ => mantissa << (exponent - 52) as usize,
        };
        Target::from_number(target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_unit_of_difficulty() {
        assert_eq!(HASHES_PER_DIFFICULTY.round(), 4_295_032_833.0);
        assert_eq!(Sv1Difficulty::of_target(Target::DIFFICULTY_ONE).sv1_number(), 1.0);
        let one = Sv1Difficulty::from_sv1_number(1.0).unwrap();
        assert_eq!(one.to_target(), Target::DIFFICULTY_ONE);
        let ratio = Target::DIFFICULTY_ONE.expected_hashes() / HASHES_PER_DIFFICULTY;
        assert!((ratio - 1.0).abs() < 1e-15, "{ratio}");
        let others = 2.0_f64.powi(32);
        assert!((HASHES_PER_DIFFICULTY / others - 1.000_015_259).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_no_difficulty() {
        for number in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Sv1Difficulty::from_sv1_number(number), None);
        }
        assert_eq!(Sv1Difficulty::from_sv1_number(1e-300).unwrap().to_target(), Target::MAX);
        assert_eq!(Sv1Difficulty::from_sv1_number(1e300).unwrap().to_target(), Target::from_number(U256::ZERO));
    }

    proptest! {
        #[test]
        fn difficulty_round_trips_through_the_target(exponent in -9.0_f64..40.0) {
            let difficulty = Sv1Difficulty::from_sv1_number(10.0_f64.powf(exponent)).unwrap();
            let back = Sv1Difficulty::of_target(difficulty.to_target());
            prop_assert!((back.0 / difficulty.0 - 1.0).abs() < 1e-14, "{:?} {:?}", back, difficulty);
            let work = difficulty.to_target().expected_hashes();
            prop_assert!((work / difficulty.expected_hashes() - 1.0).abs() < 1e-14);
        }
    }
}
