//! What a mint and a host see of a dispatcher, through a real socket.
#![allow(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]

mod answers;
mod callbacks;
mod closing;
mod every_quote_ends_once;
mod fake_mint;
#[cfg(feature = "noise")]
mod noise;
mod publisher;
mod reconnecting;
mod recorder;
mod submitting;

use ehash::ShareHash;
use quote_dispatcher::{AcceptedShare, QuoteDispatcher, SubmitOutcome};

/// The generator of secp256k1.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// A share's hash that tells its place and has exactly 40 leading zero bits.
fn hash(index: u32) -> ShareHash {
    let mut display = [0; 32];
    display[5] = 0x80;
    display[28..].copy_from_slice(&index.to_be_bytes());
    ShareHash::from_display_bytes(display)
}

fn share(index: u32) -> AcceptedShare<'static> {
    AcceptedShare {
        downstream_id: 3.into(),
        channel_id: 1.into(),
        sequence_number: index,
        share_hash: hash(index),
        user_identity: "alice.rig1",
    }
}

/// Submits shares that all get a quote.
fn submit(quotes: &QuoteDispatcher, indices: impl IntoIterator<Item = u32>) {
    for index in indices {
        assert_eq!(quotes.submit_quote(&share(index)), SubmitOutcome::Queued, "share {index}");
    }
}
