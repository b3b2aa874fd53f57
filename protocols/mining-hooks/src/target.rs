//! Targets and hashes as hosts have them, 32 bytes with the least significant first, and the forms in which they travel.

use stats_publisher::CompactTarget;

/// Expected hashes per unit of difficulty, as a ratio of targets: difficulty 1 is the target `0xffff * 2^208`.
const DIFFICULTY_ONE: f64 = 65_535.0 * TWO_POW_208;
/// 2^208, exact in a double.
const TWO_POW_208: f64 = f64::from_bits((1023 + 208) << 52);

/// The compact form of a number, truncated as Bitcoin Core's `GetCompact` does.
#[must_use]
pub fn compact(little_endian: &[u8; 32]) -> CompactTarget {
    let size = 32 - little_endian.iter().rev().take_while(|byte| **byte == 0).count();
    // The three most significant bytes; shorter numbers are filled with zeros below.
    let mantissa = (0..3).fold(0_u32, |mantissa, at| {
        let byte = (size + at).checked_sub(3).map_or(0, |index| little_endian[index]);
        mantissa | u32::from(byte) << (8 * at)
    });
    // The top bit of the mantissa is a sign, which no target has: one more byte keeps it clear.
    let (mantissa, size) = if mantissa & 0x80_0000 == 0 { (mantissa, size) } else { (mantissa >> 8, size + 1) };
    CompactTarget(mantissa | (size as u32) << 24)
}

/// The difficulty of a target: how much harder it is than the easiest that Bitcoin's main network allows. Infinite for 0.
#[must_use]
pub fn difficulty(little_endian: &[u8; 32]) -> f64 {
    let target = little_endian.iter().rev().fold(0.0, |sum: f64, byte| sum * 256.0 + f64::from(*byte));
    DIFFICULTY_ONE / target
}

/// The target with this difficulty, as near as a double tells it. The easiest there is for 0 and what is no number.
#[must_use]
pub fn from_difficulty(difficulty: f64) -> [u8; 32] {
    let target = DIFFICULTY_ONE / difficulty;
    let mut bytes = [0xff; 32];
    // 2^256 and more does not fit.
    if !(difficulty > 0.0 && target < TWO_POW_208 * f64::from_bits((1023 + 48) << 52)) {
        return bytes;
    }
    let mut rest = target;
    for at in (0..32).rev() {
        let place = f64::from_bits((1023 + 8 * at as u64) << 52);
        let digit = (rest / place).floor();
        bytes[at] = digit as u8;
        rest -= digit * place;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use bitcoin::Target;
    use proptest::prelude::*;

    use super::*;

    /// Numbers of every size, not only of 32 bytes.
    fn number() -> impl Strategy<Value = [u8; 32]> {
        (any::<[u8; 32]>(), 0..=32_usize).prop_map(|(mut bytes, size)| {
            bytes[size..].fill(0);
            bytes
        })
    }

    proptest! {
        #[test]
        fn compact_forms_agree_with_bitcoin(bytes in number()) {
            let theirs = Target::from_le_bytes(bytes).to_compact_lossy().to_consensus();
            prop_assert_eq!(compact(&bytes), CompactTarget(theirs));
        }

        #[test]
        fn difficulties_agree_with_bitcoin_and_back(bytes in number()) {
            prop_assume!(bytes != [0; 32]);
            let ours = difficulty(&bytes);
            let theirs = Target::from_le_bytes(bytes).difficulty_float();
            prop_assert!((ours / theirs - 1.0).abs() < 1e-12, "{ours} and {theirs}");
            let back = difficulty(&from_difficulty(ours));
            // A target of few bits has no neighbour as near as a double.
            prop_assert!((back / ours - 1.0).abs() < 1e-12 || bytes[7..] == [0; 25], "{back} and {ours}");
        }
    }

    #[test]
    fn what_is_no_difficulty_gives_the_easiest_target() {
        for none in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, 1e-30] {
            assert_eq!(from_difficulty(none), [0xff; 32], "{none}");
        }
        assert_eq!(compact(&[0xff; 32]), CompactTarget(0x2100_ffff));
        assert_eq!(compact(&[0; 32]), CompactTarget(0));
    }
}
