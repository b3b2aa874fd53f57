//! SRI's own SV2 miner, which hashes for real on a standard channel, at the integrated pool.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::history::History;
use integration_tests::mint::Mint;
use integration_tests::process::ProcessSpec;
use integration_tests::sri::Counterpart;
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Pool, Sidecar, TemplateProvider, story};

const SOON: Duration = Duration::from_secs(300);
const SHARES: u64 = 40;
/// A CPU does a few million hashes a second: at 240 shares a minute a share has 18 leading zero bits and more.
const MINIMUM_DIFFICULTY: u32 = 20;

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are shown with the result")]
async fn the_integrated_pool_counts_and_quotes_the_shares_of_sri_s_mining_device() -> Result<()> {
    story("mining-device", async |folder| {
        let binary = tokio::task::spawn_blocking(|| Counterpart::MINING_DEVICE.binary()).await??;
        let sidecar = Sidecar::builder(folder)?.start().await?;
        let mint = Mint::start(MINIMUM_DIFFICULTY)?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address())
            .stats(sidecar.address())
            .quotes(mint.address(), MINIMUM_DIFFICULTY)
            .start()
            .await?;
        let mut device = ProcessSpec::new("mining-device", binary, folder.path())
            .arg("--address-pool")
            .arg(pool.address().to_string())
            .arg("--id-user")
            .arg("dora.device")
            .arg("--cores")
            .arg("1")
            .start()?;
        wait_for(&format!("{SHARES} shares of the device"), SOON, || async {
            let accepted = pool.counts().await?.accepted();
            Ok(Look::when(accepted >= SHARES, accepted))
        })
        .await?;
        // It stays connected: a channel that is closed takes its counts along.
        device.pause()?;
        let counts = wait_for("the history to have the pool's counts", SOON, || async {
            let counts = pool.counts().await?;
            let found = History::open(sidecar.history())?.accepted_by_channel("pool")?;
            Ok(Look::when(found == counts.accepted_by_channel() && counts.accepted() >= SHARES, counts))
        })
        .await?;
        sidecar.wait_until_delivered(SOON).await?;
        let history = History::open(sidecar.history())?;

        let quotes = wait_for("every quote to be answered", SOON, || async {
            let counts = history.quote_counts("pool")?;
            Ok(Look::when(counts.keys().all(|state| state == "answered"), counts))
        })
        .await?;
        mint.expect_no_violations()?;
        let minted = mint.snapshot();
        let sums = history.ehash("pool")?;
        ensure!(sums == (minted.quotes.len() as u64, minted.ehash()), "{sums:?}, but the mint has {minted:?}");
        ensure!(sums.0 <= counts.accepted(), "{sums:?} of {} shares", counts.accepted());
        println!("{} shares, {} rejected, quotes {quotes:?}, ehash {}", counts.accepted(), counts.rejected(), sums.1);
        device.kill().await?;
        sidecar.expect_balanced_ledgers().await
    })
    .await
}
