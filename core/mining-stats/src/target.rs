//! Targets: the compact form of a block header and the 256-bit number, exactly as Bitcoin Core converts them
//! (`arith_uint256::SetCompact` and `GetCompact`), and which targets a share is credited for (delivery rule 29).

use ruint::aliases::U256;
use stats_sv2::CompactTarget;

use crate::work::Work;

/// A 256-bit threshold: a hash at or below it meets the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(U256);

/// Why a compact target, or a share that names one, gives no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The sign bit is set on a mantissa above zero.
    #[error("the compact target is negative")]
    Negative,
    /// The number needs more than 256 bits.
    #[error("the compact target exceeds 256 bits")]
    Overflow,
    /// The mantissa is zero, or vanishes by the exponent.
    #[error("the compact target is zero")]
    Zero,
    /// The share's hash is above the target that it claims.
    #[error("the share does not meet its target")]
    NotMet,
    /// The target is easier than the configured bound.
    #[error("the target is easier than the configured bound")]
    TooEasy,
    /// The target is harder than the configured bound.
    #[error("the target is harder than the configured bound")]
    TooHard,
}

impl Target {
    /// The easiest target: every hash meets it.
    pub const MAX: Self = Self(U256::MAX);
    /// The target of difficulty 1, `0xffff * 2^208`.
    pub const DIFFICULTY_ONE: Self = Self(U256::from_limbs([0, 0, 0, 0xffff_0000]));

    /// The target with this value.
    #[must_use]
    pub const fn from_number(number: U256) -> Self {
        Self(number)
    }

    /// The value.
    #[must_use]
    pub const fn number(self) -> U256 {
        self.0
    }

    /// Expands the compact form. Zero is a number here; [`TargetBounds`] decides what a share may claim.
    pub fn from_compact(compact: CompactTarget) -> Result<Self, TargetError> {
        let (mantissa, shift) = parts(compact)?;
        Ok(Self(U256::from(mantissa) << shift))
    }

    /// The compact form: the top 23 bits, the rest cut off as Bitcoin Core does.
    #[must_use]
    pub fn to_compact(self) -> CompactTarget {
        let mut size = self.0.bit_len().div_ceil(8);
        let low_bits = |number: U256| number.as_limbs()[0] as u32;
        let mut mantissa =
            if size <= 3 { low_bits(self.0) << (8 * (3 - size)) } else { low_bits(self.0 >> (8 * (size - 3))) };
        mantissa &= 0x00ff_ffff;
        // The top bit of the mantissa is the sign; a number that would set it moves down by one byte.
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size += 1;
        }
        // A 256-bit number has at most 32 bytes, so the size fits its byte.
        CompactTarget(mantissa | (size as u32) << 24)
    }

    /// The nearest floating-point number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.0)
    }

    /// Expected hashes to meet the target, as an exact integer.
    #[must_use]
    pub fn work(self) -> Work {
        Work::of_target(self)
    }

    /// Expected hashes to meet the target, `2^256 / (t + 1)`, correct to the precision of `f64` even where the integer
    /// [`work`](Self::work) is a small number and its rounding would show.
    #[must_use]
    pub fn expected_hashes(self) -> f64 {
        // Small targets keep the + 1; for others it is below the precision anyway.
        TWO_POW_256 / (self.to_f64() + 1.0)
    }
}

/// 2^256.
pub(crate) const TWO_POW_256: f64 = f64::from_bits((1023 + 256) << 52);

/// Mantissa and left shift in bits of a compact number, after the checks of `SetCompact`.
fn parts(compact: CompactTarget) -> Result<(u32, usize), TargetError> {
    let size = compact.0 >> 24;
    let mut mantissa = compact.0 & 0x007f_ffff;
    let mut shift = 0;
    if size <= 3 {
        mantissa >>= 8 * (3 - size);
    } else {
        shift = 8 * (size as usize - 3);
    }
    if mantissa == 0 {
        return Ok((0, 0));
    }
    if compact.0 & 0x0080_0000 != 0 {
        return Err(TargetError::Negative);
    }
    if size > 34 || (mantissa > 0xff && size > 33) || (mantissa > 0xffff && size > 32) {
        return Err(TargetError::Overflow);
    }
    Ok((mantissa, shift))
}

/// The value of a compact number as floating point: exact, for it has 23 significant bits.
fn compact_to_f64(compact: CompactTarget) -> Result<f64, TargetError> {
    let (mantissa, shift) = parts(compact)?;
    // The shift is at most 248, so the power of two is a normal number.
    let power = f64::from_bits((1023 + shift as u64) << 52);
    Ok(f64::from(mantissa) * power)
}

/// What an accepted share is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShareCredit {
    /// Expected hashes of the target in force: what the share counts for.
    pub work: f64,
    /// Expected hashes of the share's own hash: for best share and luck only, never for a hashrate.
    pub share_work: f64,
}

/// Which targets a share may claim. Beyond them an event is counted as `invalid-target` and gives no work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetBounds {
    easiest: f64,
    hardest: f64,
}

impl TargetBounds {
    /// The default's hard end, 2^144: difficulty 2^80, a thousand million times beyond any network difficulty seen. A
    /// share that claims more would spoil sums for years.
    pub const DEFAULT_HARDEST: Target = Target(U256::from_limbs([0, 0, 1 << 16, 0]));

    /// Targets between the two, both included.
    #[must_use]
    pub fn new(easiest: Target, hardest: Target) -> Self {
        Self { easiest: easiest.to_f64(), hardest: hardest.to_f64() }
    }

    /// Checks a share (delivery rule 29) and says what it is worth. Takes a few nanoseconds: compact numbers are exact
    /// in `f64`, so nothing wider is needed.
    #[inline]
    pub fn credit(&self, target: CompactTarget, share: CompactTarget) -> Result<ShareCredit, TargetError> {
        let target = compact_to_f64(target)?;
        let share = compact_to_f64(share)?;
        if target == 0.0 {
            return Err(TargetError::Zero);
        }
        if share > target {
            return Err(TargetError::NotMet);
        }
        if target > self.easiest {
            return Err(TargetError::TooEasy);
        }
        if target < self.hardest {
            return Err(TargetError::TooHard);
        }
        Ok(ShareCredit { work: TWO_POW_256 / (target + 1.0), share_work: TWO_POW_256 / (share + 1.0) })
    }

    /// Expected hashes of a target alone, under the same checks.
    pub fn work(&self, target: CompactTarget) -> Result<f64, TargetError> {
        self.credit(target, CompactTarget(0)).map(|credit| credit.work)
    }
}

impl Default for TargetBounds {
    fn default() -> Self {
        Self::new(Target::MAX, Self::DEFAULT_HARDEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(hex: &str) -> U256 {
        U256::from_str_radix(hex, 16).unwrap()
    }

    #[test]
    fn compact_numbers_expand_as_bitcoin_core_does() {
        for (compact, expected) in [
            (0x0000_0000, Ok("0")),
            (0x0012_3456, Ok("0")),
            (0x0100_3456, Ok("0")),
            (0x0112_3456, Ok("12")),
            (0x0180_0000, Ok("0")),
            (0x01fe_dcba, Err(TargetError::Negative)),
            (0x0212_3456, Ok("1234")),
            (0x0312_3456, Ok("123456")),
            (0x0412_3456, Ok("12345600")),
            (0x0492_3456, Err(TargetError::Negative)),
            (0x0500_9234, Ok("92340000")),
            (0x2012_3456, Ok("1234560000000000000000000000000000000000000000000000000000000000")),
            (0x2100_ffff, Ok("ffff000000000000000000000000000000000000000000000000000000000000")),
            (0x2101_0000, Err(TargetError::Overflow)),
            (0x2200_00ff, Ok("ff00000000000000000000000000000000000000000000000000000000000000")),
            (0x2200_0100, Err(TargetError::Overflow)),
            (0xff12_3456, Err(TargetError::Overflow)),
            (0xff00_0000, Ok("0")),
        ] {
            let expected = expected.map(|hex| Target(number(hex)));
            assert_eq!(Target::from_compact(CompactTarget(compact)), expected, "{compact:#010x}");
        }
    }

    #[test]
    fn edge_targets_of_rule_29() {
        let bounds = TargetBounds::default();
        let easiest = Target::MAX.to_compact();
        assert_eq!(easiest, CompactTarget(0x2100_ffff));
        let credit = bounds.credit(easiest, CompactTarget(0)).unwrap();
        assert!((credit.work - 1.0).abs() < 3.1e-5, "{}", credit.work);
        assert_eq!(credit.share_work, TWO_POW_256);

        let one = CompactTarget(0x1d00_ffff);
        assert_eq!(bounds.credit(CompactTarget(0), CompactTarget(0)), Err(TargetError::Zero));
        assert_eq!(bounds.credit(CompactTarget(0x0100_0001), CompactTarget(0)), Err(TargetError::Zero));
        assert_eq!(bounds.credit(CompactTarget(0x1d80_ffff), CompactTarget(0)), Err(TargetError::Negative));
        assert_eq!(bounds.credit(CompactTarget(0x2301_0000), CompactTarget(0)), Err(TargetError::Overflow));
        assert_eq!(bounds.credit(one, CompactTarget(0x1d01_0000)), Err(TargetError::NotMet));
        assert!(bounds.credit(one, one).is_ok());
        assert_eq!(bounds.credit(CompactTarget(0x0101_0000), CompactTarget(0)), Err(TargetError::TooHard));
        let strict = TargetBounds::new(Target::DIFFICULTY_ONE, TargetBounds::DEFAULT_HARDEST);
        assert_eq!(strict.credit(easiest, one), Err(TargetError::TooEasy));
        assert!(strict.credit(one, one).is_ok());
    }

    proptest! {
        #[test]
        fn conversions_agree_with_the_bitcoin_crate(limbs: [u64; 4], shift in 0usize..256) {
            let target = Target(U256::from_limbs(limbs) >> shift);
            let oracle = bitcoin::Target::from_le_bytes(target.0.to_le_bytes::<32>());
            prop_assert_eq!(target.to_compact().0, oracle.to_compact_lossy().to_consensus());
            let back = Target::from_compact(target.to_compact()).unwrap();
            let oracle_back = bitcoin::Target::from_compact(oracle.to_compact_lossy());
            prop_assert_eq!(back.0.to_le_bytes::<32>(), oracle_back.to_le_bytes());
            prop_assert!(back <= target, "truncation never makes a target easier");
            prop_assert_eq!(back.to_compact(), target.to_compact());
            prop_assert_eq!(compact_to_f64(target.to_compact()).unwrap(), back.to_f64());
        }

        #[test]
        fn any_compact_number_expands_or_says_why(raw: u32) {
            if let Ok(target) = Target::from_compact(CompactTarget(raw)) {
                // Equal numbers have one normal form.
                prop_assert_eq!(Target::from_compact(target.to_compact()), Ok(target));
                prop_assert_eq!(compact_to_f64(CompactTarget(raw)).unwrap(), target.to_f64());
            }
        }

        #[test]
        fn truncation_reads_at_most_3_1e_5_high(limbs: [u64; 4], shift in 0usize..230) {
            let target = Target((U256::from_limbs(limbs) | (U256::from(1) << 255)) >> shift);
            let exact = target.expected_hashes();
            let truncated = Target::from_compact(target.to_compact()).unwrap().expected_hashes();
            prop_assert!(truncated >= exact * (1.0 - 1e-15));
            prop_assert!(truncated <= exact * (1.0 + 3.1e-5), "{} {}", truncated, exact);
        }

        #[test]
        fn compact_order_is_target_order(a: [u64; 4], b: [u64; 4], shift_a in 0usize..256, shift_b in 0usize..256) {
            let (a, b) = (Target(U256::from_limbs(a) >> shift_a), Target(U256::from_limbs(b) >> shift_b));
            if a <= b {
                prop_assert!(a.to_compact().0 <= b.to_compact().0);
                prop_assert!(a.expected_hashes() >= b.expected_hashes());
            }
        }
    }
}
