//! The unmodified pool and translator with two SV1 miners, fed to the sidecar by the bridge: accepted shares per channel
//! in SQLite equal the pool's own count, over a restart of the pool and a `kill -9` of the sidecar.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::history::History;
use integration_tests::wait::{Look, wait_for};
use integration_tests::{MiningChain, PoolSnapshot, Sidecar, TemplateProvider, story};

const SOON: Duration = Duration::from_secs(90);

#[tokio::test]
async fn the_bridge_counts_what_the_pool_counts_over_restarts_of_both() -> Result<()> {
    story("bridge", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let mut chain = MiningChain::start(folder, template_provider).await?;
        let mut sidecar = Sidecar::builder(folder)?
            .sri_bridge("pool", &chain.pool.monitoring_url())
            .sri_bridge("proxy", &chain.translator.monitoring_url())
            .start()
            .await?;

        // First life of the pool, the sidecar killed in the middle of it.
        chain.mine(15, SOON).await?;
        sidecar.kill().await?;
        chain.mine(10, SOON).await?;
        sidecar.start_again().await?;
        chain.mine(10, SOON).await?;
        let first = chain.settle().await?;
        expect_counts(&sidecar, &[&first]).await?;
        let acknowledged = chain.translator.counts().await?.acknowledged();
        wait_for("the translator's own count, through its own bridge", SOON, || async {
            let accepted = History::open(sidecar.history())?.accepted_in_total("proxy")?;
            Ok(Look::when(accepted == acknowledged, accepted))
        })
        .await?;

        // Second life: ids start again, counters start at zero, and a channel's key may now be another miner's.
        chain.pool.kill().await?;
        chain.pool.start_again().await?;
        chain.resume().await?;
        wait_for("both channels at the new pool", SOON, || async {
            let counts = chain.pool.counts().await?;
            let busy = counts.channels.values().filter(|channel| channel.shares_accepted > 0).count();
            Ok(Look::when(busy == 2, busy))
        })
        .await?;
        chain.mine(10, SOON).await?;
        let second = chain.settle().await?;
        expect_counts(&sidecar, &[&first, &second]).await?;
        sidecar.expect_balanced_ledgers().await?;
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

/// Per channel key, summed over the lives of the pool.
async fn expect_counts(sidecar: &Sidecar, lives: &[&PoolSnapshot]) -> Result<()> {
    let mut expected: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for life in lives {
        for (key, accepted) in life.accepted_by_channel() {
            *expected.entry(key).or_default() += accepted;
        }
    }
    let found = wait_for("the history to have the pool's counts", SOON, || async {
        let found = History::open(sidecar.history())?.accepted_by_channel("pool")?;
        Ok(Look::when(found == expected, found))
    })
    .await;
    found.map_err(|error| error.context(format!("the pool's own counts are {expected:?}")))?;
    let total: u64 = expected.values().sum();
    let in_total = History::open(sidecar.history())?.accepted_in_total("pool")?;
    ensure!(in_total == total, "the totals have {in_total}, the pool counted {total}");
    Ok(())
}
