//! The unmodified SRI pool and translator with two SV1 miners on our mock template provider. Five counts of one run
//! check each other: the miners' own, the translator's, the pool's API, the pool's `/metrics` and the pool's log.
//! What these stories show about the monitoring API is what the bridge relies on.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    BadShare, MiningChain, Pool, Sv1Miner, TemplateProvider, Translator, Verdict, story,
    template_provider::EASIEST_BLOCKS,
    wait::{Look, wait_for},
};

/// For everything that takes a moment on a free machine; a loaded one may take its time.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn five_counts_of_one_run_agree() -> Result<()> {
    story("five-counts", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let chain = MiningChain::start(folder, template_provider).await?;
        chain.mine(25, SOON).await?;
        let pool = chain.settle().await?;

        let (alice, bob) = (chain.alice.counts(), chain.bob.counts());
        ensure!(alice.rejections() + bob.rejections() == 0, "good shares were rejected: {alice:?} {bob:?}");
        ensure!(alice.accepted + bob.accepted >= pool.accepted(), "the pool counts more than the miners");
        ensure!(pool.accepted() >= 50, "the pool counts {} shares", pool.accepted());

        // One client, the translator; one channel per miner, told apart by the channel id only.
        let clients: Vec<u64> = pool.channels.keys().map(|(client, _)| *client).collect();
        ensure!(clients == [clients[0]; 2], "two channels of one client, not {:?}", pool.channels.keys());

        let metrics = chain.pool.api().metrics().await?;
        let accepted = metrics.by_pool_channel("sv2_client_shares_accepted_total")?;
        let expected: BTreeMap<(u64, u32), f64> =
            pool.channels.iter().map(|(key, channel)| (*key, f64::from(channel.shares_accepted))).collect();
        ensure!(accepted == expected, "/metrics {accepted:?}, API {expected:?}");

        let translator = chain.translator.counts().await?;
        let acknowledged: BTreeMap<u32, u32> =
            translator.channels.iter().map(|(id, channel)| (*id, channel.shares_acknowledged)).collect();
        let accepted: BTreeMap<u32, u32> =
            pool.channels.iter().map(|((_, id), channel)| (*id, channel.shares_accepted)).collect();
        ensure!(acknowledged == accepted, "translator {acknowledged:?}, pool {accepted:?}");
        let users: Vec<&str> = translator.miners.values().map(|miner| miner.sv1_username.as_str()).collect();
        ensure!(users == ["alice.rig", "bob.rig"], "the translator's miners are {users:?}");
        ensure!(chain.template_provider.blocks().is_empty(), "no CPU finds a block at difficulty 1");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_restarted_pool_counts_from_zero_and_the_chain_goes_on() -> Result<()> {
    story("pool-restart", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let mut chain = MiningChain::start(folder, template_provider).await?;
        chain.mine(20, SOON).await?;
        let before = chain.settle().await?;
        ensure!(before.accepted() >= 40, "the pool counts {} shares", before.accepted());

        chain.pool.kill().await?;
        chain.pool.start_again().await?;
        chain.resume().await?;
        // The translator finds the pool again by itself, and the miners find the translator.
        wait_for("both channels at the new pool", SOON, || async {
            let counts = chain.pool.counts().await?;
            let busy = counts.channels.values().filter(|channel| channel.shares_accepted > 0).count();
            Ok(Look::when(busy == 2, busy))
        })
        .await?;
        let after = chain.settle().await?;
        let first_client = *before.channels.keys().map(|(client, _)| client).min().context("no client before")?;
        let clients: Vec<u64> = after.channels.keys().map(|(client, _)| *client).collect();
        ensure!(clients.contains(&first_client), "client ids start again: {first_client} before, {clients:?} after");

        let (alice, bob) = (chain.alice.counts(), chain.bob.counts());
        let (submitted, lost) = (alice.submitted + bob.submitted, alice.unanswered + bob.unanswered);
        ensure!(alice.sessions + bob.sessions >= 2, "the miners had sessions: {alice:?} {bob:?}");
        ensure!(
            before.accepted() + after.accepted() <= submitted,
            "{} + {} accepted of {submitted} submitted ({lost} unanswered)",
            before.accepted(),
            after.accepted()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_miner_that_leaves_takes_its_channel_and_its_count_along() -> Result<()> {
    story("closed-channel", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let chain = MiningChain::start(folder, template_provider).await?;
        chain.mine(10, SOON).await?;
        let before = chain.settle().await?;
        ensure!(before.channels.len() == 2, "two channels, not {:?}", before.channels.keys());

        let MiningChain { template_provider: _tp, pool, translator: _translator, alice, bob } = chain;
        alice.stop().await?;
        let after = wait_for("one channel to be closed", SOON, || async {
            let counts = pool.counts().await?;
            Ok(Look::when(counts.channels.len() == 1, counts))
        })
        .await?;
        // The bridge must have seen alice's last shares before this, or count them as lost: the API forgets them.
        ensure!(
            after.accepted() < before.accepted(),
            "the total fell from {} to {}",
            before.accepted(),
            after.accepted()
        );
        let (key, channel) = after.channels.iter().next().context("bob's channel")?;
        ensure!(before.channels.get(key) == Some(channel), "the channel that stays keeps its counts");
        bob.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn blocks_reach_the_template_provider_and_the_counts() -> Result<()> {
    story("blocks", async |folder| {
        let template_provider = TemplateProvider::builder().network_bits(EASIEST_BLOCKS).start().await?;
        let chain = MiningChain::start(folder, template_provider).await?;
        chain.template_provider.wait_for_blocks(5, SOON).await?;
        chain.alice.pause().await?;
        chain.bob.pause().await?;
        let (blocks, counted) = wait_for("pool and template provider to agree on blocks", SOON, || async {
            let blocks = chain.template_provider.blocks();
            let counted = chain.pool.counts().await?.blocks();
            Ok(Look::when(blocks.len() as u64 == counted, (blocks, counted)))
        })
        .await?;
        ensure!(chain.template_provider.rejections().is_empty(), "{:?}", chain.template_provider.rejections());
        ensure!(counted >= 5, "{counted} blocks");
        let heights: Vec<u32> = blocks.iter().filter(|block| block.extended_tip).map(|block| block.height).collect();
        ensure!(heights.windows(2).all(|pair| pair[1] == pair[0] + 1), "the chain has no gaps: {heights:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn bad_shares_are_rejected_with_their_reasons_and_the_miner_may_count_more_than_the_pool() -> Result<()> {
    story("bad-shares", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).start().await?;
        // 1,000 H/s at 240 shares a minute: a target that 249 of 250 hashes miss.
        let translator = Translator::builder(folder, &pool).min_miner_hashrate(1_000.0).start().await?;
        let miner = Sv1Miner::builder(translator.address()).user("carol.rig").start().await?;
        miner.wait_for_accepted(3, SOON).await?;
        let accepted = miner.pause().await?.accepted;
        // A share still under way between translator and pool when the tip moves would be rejected as stale there,
        // after the miner was told that it counts.
        wait_for("the pool to have counted what the miner has", SOON, || async {
            let counted = pool.counts().await?.accepted();
            Ok(Look::when(counted == accepted, counted))
        })
        .await?;
        template_provider.new_block();
        miner.wait_for_counts("a job on the new tip", SOON, |counts| counts.new_tips > 0).await?;

        for (kind, reason) in [
            (BadShare::Duplicate, "Job not found"),
            (BadShare::StaleJob, "Job not found"),
            (BadShare::UnknownJob, "Job not found"),
            (BadShare::LowDifficulty, "Low difficulty share"),
            (BadShare::LongExtranonce, "Other/Unknown"),
        ] {
            let verdict = miner.submit_bad(kind).await?;
            ensure!(verdict == Verdict::Rejected(reason.to_owned()), "{kind:?}: {verdict:?}");
        }
        miner.resume().await?;
        let accepted = miner.counts().accepted;
        miner.wait_for_accepted(accepted + 3, SOON).await?;
        miner.pause().await?;
        let verdict = miner.submit_bad(BadShare::Duplicate).await?;
        ensure!(verdict == Verdict::Rejected("Duplicate share".to_owned()), "{verdict:?}");
        // SV1 has no rule for the time; SV2 has, so the translator accepts this share and then drops it.
        let verdict = miner.submit_bad(BadShare::FutureTime).await?;
        ensure!(verdict == Verdict::Accepted, "{verdict:?}");

        let counts = miner.counts();
        let expected = BTreeMap::from(
            [("Duplicate share", 1), ("Job not found", 3), ("Low difficulty share", 1), ("Other/Unknown", 1)]
                .map(|(reason, count)| (reason.to_owned(), count)),
        );
        ensure!(counts.rejected == expected, "{counts:?}");
        let pool_counts = wait_for("the pool to have counted all but the dropped share", SOON, || async {
            let pool_counts = pool.counts().await?;
            Ok(Look::when(pool_counts.accepted() >= counts.accepted - 1, pool_counts))
        })
        .await?;
        ensure!(pool_counts.accepted() == counts.accepted - 1, "{} and {counts:?}", pool_counts.accepted());
        ensure!(pool_counts.rejected() == 0, "the translator's rejects stay with the translator: {pool_counts:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_aggregated_translator_shows_one_channel_for_two_miners() -> Result<()> {
    story("aggregated", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).start().await?;
        let translator = Translator::builder(folder, &pool).aggregated().worker_names().start().await?;
        let alice = Sv1Miner::builder(translator.address()).user("account.one").start().await?;
        let bob = Sv1Miner::builder(translator.address()).user("account.two").start().await?;
        alice.wait_for_accepted(10, SOON).await?;
        bob.wait_for_accepted(10, SOON).await?;
        let (alice, bob) = (alice.pause().await?, bob.pause().await?);
        let (pool, translator) = wait_for("the pool to have counted both miners", SOON, || async {
            let (pool, translator) = (pool.counts().await?, translator.counts().await?);
            let all = pool.accepted() >= alice.accepted + bob.accepted && translator.acknowledged() == pool.accepted();
            Ok(Look::when(all, (pool, translator)))
        })
        .await?;
        ensure!(pool.accepted() == alice.accepted + bob.accepted, "{} of {alice:?} {bob:?}", pool.accepted());
        ensure!(pool.channels.len() == 1 && translator.channels.len() == 1, "one channel on both sides");
        let workers: Vec<&str> = translator.miners.values().map(|miner| miner.sv1_worker_name.as_str()).collect();
        ensure!(workers == ["one", "two"], "the translator's workers are {workers:?}");
        Ok(())
    })
    .await
}
