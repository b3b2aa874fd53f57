//! Hashes of shares with their true distribution: a share that meets a target is equally likely to be any number up to it.

use rand::{Rng, RngCore};
use stats_sv2::{CompactTarget, U256, UnixMillis};

/// Bits that the mantissa is widened by before it is scaled, so that small quotients keep three significant bytes.
const WIDENED_BITS: u32 = 40;

/// A target, prepared for drawing hashes below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashesBelow {
    compact: CompactTarget,
    /// Mantissa shifted left by [`WIDENED_BITS`]: the target is `widened * 256^exponent`.
    widened: u64,
    exponent: i32,
}

impl HashesBelow {
    /// Prepares a valid compact target (mantissa above zero, sign bit clear).
    pub(crate) fn new(compact: CompactTarget) -> Self {
        let mantissa = u64::from(compact.0 & 0x007f_ffff);
        let exponent = (compact.0 >> 24) as i32 - 3 - (WIDENED_BITS / 8) as i32;
        Self { compact, widened: mantissa << WIDENED_BITS, exponent }
    }

    pub(crate) fn target(&self) -> CompactTarget {
        self.compact
    }

    /// Draws a hash not above the target, truncated to compact form as Bitcoin Core does.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut impl RngCore) -> CompactTarget {
        // The high half of target * random / 2^64.
        let hash = ((u128::from(self.widened) * u128::from(rng.next_u64())) >> 64) as u64;
        compact(hash.max(1), self.exponent)
    }
}

/// A whole hash, drawn from those whose compact form is this one. Its last digits are of the run: no two runs find the same
/// share, though they draw the same numbers.
pub(super) fn hash_like(compact: CompactTarget, run: UnixMillis, rng: &mut impl RngCore) -> U256 {
    let mut bytes: [u8; 32] = rng.random();
    for (byte, mixed) in bytes.iter_mut().zip(run.0.to_le_bytes()) {
        *byte ^= mixed;
    }
    let size = (compact.0 >> 24).clamp(3, 32) as usize;
    bytes[size..].fill(0);
    bytes[size - 3..size].copy_from_slice(&compact.0.to_le_bytes()[..3]);
    U256(bytes)
}

/// `number * 256^exponent` in compact form. `number` is above zero.
#[inline]
fn compact(number: u64, exponent: i32) -> CompactTarget {
    let bytes = (64 - number.leading_zeros()).div_ceil(8) as i32;
    let mut mantissa = if bytes > 3 { number >> (8 * (bytes - 3)) } else { number << (8 * (3 - bytes)) };
    let mut size = bytes + exponent;
    if mantissa & 0x0080_0000 != 0 {
        mantissa >>= 8;
        size += 1;
    }
    // Below one byte only the number zero is left, which a hash of the simulation never reaches.
    CompactTarget(((size.clamp(1, 0xff) as u32) << 24) | mantissa as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mining_stats::Target;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn number(compact: CompactTarget) -> f64 {
        Target::from_compact(compact).unwrap().to_f64()
    }

    proptest! {
        #[test]
        fn a_hash_is_valid_and_never_above_its_target(mantissa in 0x8000_u32..0x0080_0000, size in 16_u32..=0x20, seed: u64) {
            let target = CompactTarget((size << 24) | mantissa);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..50 {
                let share = HashesBelow::new(target).draw(&mut rng);
                prop_assert!(Target::from_compact(share).unwrap() <= Target::from_compact(target).unwrap());
            }
        }
    }

    #[test]
    fn hashes_are_spread_evenly_up_to_the_target() {
        let target = CompactTarget(0x1b04_04cb);
        let hashes = HashesBelow::new(target);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        const DRAWN: usize = 200_000;
        let mut deciles = [0_u32; 10];
        let mut rare = 0_u32;
        for _ in 0..DRAWN {
            let part = number(hashes.draw(&mut rng)) / number(target);
            deciles[((part * 10.0) as usize).min(9)] += 1;
            rare += u32::from(part < 1.0 / 1000.0);
        }
        // Each decile expects 20,000 with a standard deviation of 134; five of them never happen by chance.
        assert!(deciles.iter().all(|count| count.abs_diff(20_000) < 700), "{deciles:?}");
        assert!(rare.abs_diff(200) < 71, "{rare}");
    }
}
