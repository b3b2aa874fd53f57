//! The owner of the quotes: mints what is paid, with the secret half of the locking key, as a wallet does.

use anyhow::{Context, Result, ensure};
use cdk::{
    dhke::{blind_message, construct_proofs},
    mint::MintInput,
    nuts::{BlindedMessage, MintQuoteState, MintRequest, SecretKey},
    secret::Secret,
};
use cdk_common::mint::MintQuote;

use crate::quotes::{EhashMint, unit};

/// Mints every paid quote and verifies the tokens at the mint. Another key is tried first, and must be refused. How many
/// quotes, and their sum.
pub(crate) async fn mint_all(mint: &EhashMint, secret: &SecretKey) -> Result<(usize, u64)> {
    let quotes = mint.quotes_in(MintQuoteState::Paid).await?;
    let mut sum = 0;
    for quote in &quotes {
        sum += mint_one(mint, quote, secret).await.with_context(|| format!("quote {}", quote.id))?;
    }
    Ok((quotes.len(), sum))
}

async fn mint_one(mint: &EhashMint, quote: &MintQuote, secret: &SecretKey) -> Result<u64> {
    let mint = mint.inner();
    let id = *mint.get_active_keysets().get(&unit()).context("the unit has a keyset")?;
    let keys = mint.keyset_pubkeys(&id)?.keysets.into_iter().next().context("the keyset has keys")?.keys;
    // Ehash is a power of two, and the keyset has a key for each: one token is the whole quote.
    let amount = quote.amount.clone().context("an ehash quote has an amount")?;
    let token = Secret::generate();
    let (blinded, blinding) = blind_message(token.as_bytes(), None)?;
    let output = BlindedMessage::new(amount.value().into(), id, blinded);
    let mut request = MintRequest { quote: quote.id.clone(), outputs: vec![output], signature: None };
    request.sign(&SecretKey::generate())?;
    let refused = mint.process_mint_request(MintInput::Single(request.clone())).await;
    ensure!(
        matches!(refused, Err(cdk::Error::SignatureMissingOrInvalid)),
        "the mint answers another key with {refused:?}"
    );
    request.sign(secret)?;
    let signatures = mint.process_mint_request(MintInput::Single(request)).await?.signatures;
    let proofs = construct_proofs(signatures, vec![blinding], vec![token], &keys)?;
    mint.verify_proofs(proofs).await?;
    Ok(amount.value())
}
