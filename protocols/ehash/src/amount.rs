//! How much ehash a share earns.

use stats_sv2::Amount;

use crate::share_hash::ShareHash;

/// The difficulty of a hash in bits: its leading zeros in display order, 0 to 256. One bit more is twice the expected
/// work; difficulty 1 of the network is 32 bits.
#[must_use]
pub fn calculate_difficulty(share_hash: &ShareHash) -> u32 {
    share_hash.leading_zero_bits()
}

/// Ehash of a share in `HASH`: 2^(difficulty bits - `minimum_difficulty`), 0 below the minimum, at most 2^63.
///
/// `minimum_difficulty` is in bits, as [`calculate_difficulty`] gives; a share that just reaches it earns 1. The formula is
/// that of hashpool.
#[must_use]
pub fn calculate_ehash_amount(share_hash: &ShareHash, minimum_difficulty: u32) -> Amount {
    match calculate_difficulty(share_hash).checked_sub(minimum_difficulty) {
        None => Amount(0),
        Some(bits) => Amount(1 << bits.min(63)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hash with exactly so many leading zero bits.
    fn hash_of(zeros: u32, rest: [u8; 32]) -> ShareHash {
        let mut display = [0; 32];
        for bit in zeros as usize..256 {
            display[bit / 8] |= rest[bit / 8] & (0x80 >> (bit % 8));
        }
        if zeros < 256 {
            display[zeros as usize / 8] |= 0x80 >> (zeros % 8);
        }
        ShareHash::from_display_bytes(display)
    }

    #[test]
    fn the_whole_range_of_difficulties_and_minimums() {
        for zeros in 0..=256 {
            let hash = hash_of(zeros, [0xff; 32]);
            assert_eq!(calculate_difficulty(&hash), zeros);
            for minimum in (0..=257).chain([u32::MAX]) {
                // The definition, in numbers that are wide enough for it up to the limit.
                let expected = if zeros < minimum { 0 } else { 1_u128 << (zeros - minimum).min(63) };
                assert_eq!(
                    u128::from(calculate_ehash_amount(&hash, minimum).0),
                    expected,
                    "{zeros} bits, minimum {minimum}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn what_follows_the_first_one_earns_nothing(zeros in 0..=255_u32, rest: [u8; 32], minimum in 0..=256_u32) {
            let plain = calculate_ehash_amount(&hash_of(zeros, [0; 32]), minimum);
            prop_assert_eq!(calculate_ehash_amount(&hash_of(zeros, rest), minimum), plain);
        }

        #[test]
        fn a_bit_more_doubles_and_a_higher_minimum_halves(zeros in 0..=255_u32, minimum in 0..=255_u32, rest: [u8; 32]) {
            let amount = calculate_ehash_amount(&hash_of(zeros, rest), minimum).0;
            let better = calculate_ehash_amount(&hash_of(zeros + 1, rest), minimum).0;
            let stricter = calculate_ehash_amount(&hash_of(zeros, rest), minimum + 1).0;
            if (1..1 << 63).contains(&amount) {
                prop_assert_eq!(better, amount * 2);
                prop_assert_eq!(stricter, amount / 2);
            } else {
                prop_assert!(better >= amount && stricter <= amount);
            }
        }
    }

    #[test]
    fn the_genesis_block_counts_in_display_order() {
        let genesis: ShareHash = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f".parse().unwrap();
        assert_eq!(calculate_ehash_amount(&genesis, 32), Amount(1 << 11));
        let reversed = ShareHash::from_digest_bytes(genesis.to_display_bytes());
        assert_eq!(calculate_ehash_amount(&reversed, 0), Amount(1 << 1), "0x6f begins with one zero bit");
    }
}
