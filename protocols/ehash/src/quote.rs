//! A request for a quote, checked: what a pool sends and a mint receives.

use mint_quote_sv2::{MintQuoteRequest, UNIT};
use stats_sv2::{Amount, Text};

use crate::locking_key::{LockingKey, LockingKeyError};
use crate::quote_error::QuoteError;
use crate::share_hash::ShareHash;

/// A request for ehash whose parts are known to be good: an amount from 1 to 2^63 and a key that is a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParsedMintQuoteRequest {
    share_hash: ShareHash,
    amount: Amount,
    locking_key: LockingKey,
}

/// Why a received request is none for ehash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteParseError {
    /// Another unit than `HASH`.
    #[error("the unit {found:?} is not {UNIT:?}")]
    Unit {
        /// The unit.
        found: Text<'static>,
    },
    /// The locking key cannot be used.
    #[error("the locking key is refused")]
    LockingKey(#[source] LockingKeyError),
}

/// Makes the request for a share. Fails for an amount of 0, which earns no quote, and one above 2^63.
pub fn build_parsed_quote_request(
    share_hash: ShareHash,
    amount: Amount,
    locking_key: LockingKey,
) -> Result<ParsedMintQuoteRequest, QuoteError> {
    if (1..=mint_quote_sv2::limits::MAX_AMOUNT).contains(&amount.0) {
        Ok(ParsedMintQuoteRequest { share_hash, amount, locking_key })
    } else {
        Err(QuoteError::Amount { found: amount })
    }
}

impl ParsedMintQuoteRequest {
    /// Hash of the share, which names the quote between pool and mint.
    #[must_use]
    pub fn share_hash(&self) -> ShareHash {
        self.share_hash
    }

    /// Ehash in `HASH`, 1 to 2^63.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Who may mint the quote.
    #[must_use]
    pub fn locking_key(&self) -> LockingKey {
        self.locking_key
    }

    /// The message to the mint.
    #[must_use]
    pub fn to_message(&self) -> MintQuoteRequest {
        MintQuoteRequest::new(
            self.amount,
            Text::cut(UNIT),
            self.share_hash.to_wire(),
            None,
            self.locking_key.to_bytes(),
        )
        .expect("the amount was checked when this was made")
    }

    /// Checks a request as a mint receives it. The amount is not compared with the hash: the minimum is the mint's own.
    pub fn from_message(message: &MintQuoteRequest) -> Result<Self, QuoteParseError> {
        if message.unit().as_str() != UNIT {
            return Err(QuoteParseError::Unit { found: message.unit().clone() });
        }
        Ok(Self {
            share_hash: ShareHash::from_wire(message.header_hash()),
            amount: message.amount(),
            locking_key: LockingKey::from_bytes(*message.locking_key()).map_err(QuoteParseError::LockingKey)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use mint_quote_sv2::Message;
    use proptest::prelude::*;

    use super::*;
    use crate::amount::calculate_ehash_amount;

    fn key() -> LockingKey {
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap()
    }

    proptest! {
        /// From the share to the mint and back, through the bytes.
        #[test]
        fn what_a_pool_builds_a_mint_reads(digest: [u8; 32], zeros in 0..32_usize, minimum in 0..64_u32) {
            let mut digest = digest;
            digest[32 - zeros..].fill(0);
            let hash = ShareHash::from_digest_bytes(digest);
            let amount = calculate_ehash_amount(&hash, minimum);
            match build_parsed_quote_request(hash, amount, key()) {
                Ok(request) => {
                    let mut frame = Vec::new();
                    request.to_message().encode(&mut frame);
                    let message = MintQuoteRequest::decode(&mut frame[6..]).unwrap();
                    prop_assert_eq!(ParsedMintQuoteRequest::from_message(&message), Ok(request));
                    prop_assert_eq!(request.amount(), amount);
                    prop_assert_eq!(message.header_hash().0, digest);
                }
                Err(error) => {
                    prop_assert!(hash.leading_zero_bits() < minimum);
                    prop_assert_eq!(error, QuoteError::Amount { found: Amount(0) });
                }
            }
        }
    }

    #[test]
    fn a_mint_refuses_other_units_and_keys_that_are_no_points() {
        let hash = ShareHash::from_digest_bytes([1; 32]).to_wire();
        let message = |unit, key| MintQuoteRequest::new(Amount(1), Text::cut(unit), hash, None, key).unwrap();
        let parse = |message| ParsedMintQuoteRequest::from_message(&message).map(drop);
        assert_eq!(parse(message("HASH", key().to_bytes())), Ok(()));
        assert_eq!(parse(message("sat", key().to_bytes())), Err(QuoteParseError::Unit { found: Text::cut("sat") }));
        assert!(matches!(parse(message("HASH", [9; 33])), Err(QuoteParseError::LockingKey(_))));
    }

    #[test]
    fn amounts_outside_the_range_build_nothing() {
        let hash = ShareHash::from_digest_bytes([1; 32]);
        for (amount, good) in [(0, false), (1, true), (1 << 63, true), ((1 << 63) + 1, false), (u64::MAX, false)] {
            assert_eq!(build_parsed_quote_request(hash, Amount(amount), key()).is_ok(), good, "{amount}");
        }
    }
}
