//! The whole way of a quote with the mint library that hashpool's mint uses: share, quote, answer, payment, tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ehash::calculate_ehash_amount;
use integration_tests::history::{History, QuoteRow};
use integration_tests::mint::cdk::CdkMint;
use integration_tests::quoting_host::{MINIMUM_DIFFICULTY, QuotingHost, quotes_at};
use integration_tests::{Sidecar, story};

const SOON: Duration = Duration::from_secs(120);
const HOST: &str = "pool-1";
const OTHER_HOST: &str = "pool-2";
const SHARES: u32 = 50;

#[tokio::test]
#[allow(clippy::print_stdout, reason = "what the mint says is shown with the result")]
async fn fifty_shares_become_fifty_cashu_quotes_that_are_paid_and_minted() -> Result<()> {
    story("cdk", async |folder| {
        let mut mint = CdkMint::start(folder, MINIMUM_DIFFICULTY).await?;
        let sidecar = Sidecar::builder(folder)?.start().await?;
        let mut host = QuotingHost::start(HOST, sidecar.address(), quotes_at(mint.address()), 0)?;

        // The mint dies in the middle: what is asked again has its quote already, or gets its first.
        let mut shares = host.mine(SHARES / 2)?;
        mint.kill_and_start_again().await?;
        shares.extend(host.mine(SHARES / 2)?);
        let counters = host.wait_until_ended(SOON).await?;
        ensure!(counters.answered == u64::from(SHARES), "{counters:?}");
        ensure!((counters.conflicts, counters.duplicate_answers) == (0, 0), "{counters:?}");

        let ehash: u128 =
            shares.iter().map(|share| u128::from(calculate_ehash_amount(share, MINIMUM_DIFFICULTY).0)).sum();
        let paid = mint.pay_all().await?;
        println!("cdk-mint: {paid}");
        ensure!(paid == format!("paid {SHARES} quotes of {ehash} HASH"), "{paid}");
        host.wait_until("payments", SOON, |counters| counters.payments == u64::from(SHARES)).await?;
        let minted = mint.redeem_all().await?;
        println!("cdk-mint: {minted}");
        ensure!(minted.starts_with(&format!("minted {SHARES} quotes of {ehash} HASH")), "{minted}");
        host.close(SOON).await?;
        // Another pool that asks for the same shares, of a mint that was started again, gets the same quotes.
        mint.kill_and_start_again().await?;
        let mut other = QuotingHost::start(OTHER_HOST, sidecar.address(), quotes_at(mint.address()), 0)?;
        other.mine(SHARES)?;
        other.wait_until_ended(SOON).await?;
        other.close(SOON).await?;
        ensure!(mint.pay_all().await? == "paid 0 quotes of 0 HASH", "the mint made further quotes");
        ensure!(mint.stop().await?.success(), "the mint did not stop cleanly");
        sidecar.wait_until_delivered(SOON).await?;

        let history = History::open(sidecar.history())?;
        let quotes = history.quotes(HOST)?;
        let ids = quotes.values().map(|quote| quote.quote_id.clone().context("a quote without id"));
        let ids = ids.collect::<Result<BTreeSet<String>>>()?;
        ensure!(ids.len() == SHARES as usize, "{} different ids", ids.len());
        let again: BTreeSet<_> = history.quotes(OTHER_HOST)?.into_values().filter_map(|quote| quote.quote_id).collect();
        ensure!(again == ids, "the same shares got other quotes: {again:?}");
        let row = |share| quotes.get(share).context("a share without quote");
        for share in &shares {
            let QuoteRow { state, amount, .. } = row(share)?;
            let expected = u128::from(calculate_ehash_amount(share, MINIMUM_DIFFICULTY).0);
            ensure!(state == "paid" && *amount == expected, "{share}: {:?}", row(share)?);
        }
        ensure!(history.ehash(HOST)? == (u64::from(SHARES), ehash), "{:?}", history.ehash(HOST)?);
        ensure!(history.accepted(HOST)? == u64::from(SHARES), "{} shares", history.accepted(HOST)?);
        let ids_at_the_mint = ids_in(mint.database())?;
        ensure!(ids_at_the_mint == ids, "the mint has other quotes: {ids_at_the_mint:?}");
        println!("SQLite: {:?}, first quote {:?}", history.quote_counts(HOST)?, row(&shares[0])?);
        Ok(())
    })
    .await
}

/// The ids of all quotes in the database of `cdk`.
fn ids_in(database: &std::path::Path) -> Result<BTreeSet<String>> {
    let database = rusqlite::Connection::open(database)?;
    let mut statement = database.prepare("SELECT id FROM mint_quote")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}
