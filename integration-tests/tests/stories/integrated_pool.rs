//! SRI's pool with our lines in it, and nothing else changed: what the sidecar is told about connections, channels, targets,
//! shares and blocks is what the pool's own API and the template provider say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration_tests::history::History;
use integration_tests::template_provider::EASIEST_BLOCKS;
use integration_tests::wait::{Look, wait_for};
use integration_tests::{
    Answer, MiningChain, Pool, Sidecar, Sv2Client, TemplateProvider, TestFolder, Translator, http, story,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);
/// 2^256 / (0xffff * 2^208): expected hashes of a share of difficulty 1.
const HASHES_PER_DIFFICULTY: f64 = 4_295_032_833.000_015;
/// Compact targets read a little high.
const COMPACT: f64 = 4e-5;

/// A sidecar with a history and a log of every event.
struct Scene {
    sidecar: Sidecar,
    log: PathBuf,
}

impl Scene {
    async fn begin(folder: &TestFolder) -> Result<Self> {
        let log = folder.path().join("events.jsonl");
        let section = format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}", log.display().to_string());
        Ok(Self { sidecar: Sidecar::builder(folder)?.section(&section).start().await?, log })
    }

    /// Waits until so many events of a kind are told, and returns them.
    async fn told(&self, kind: &str, count: usize) -> Result<Vec<Value>> {
        wait_for(&format!("{count} events {kind}"), SOON, || async {
            let events = events(&self.log, kind)?;
            Ok(Look::when(events.len() >= count, events))
        })
        .await
    }
}

fn events(log: &Path, kind: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let events = whole.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok(events.into_iter().filter(|event| event["kind"] == kind).collect())
}

#[tokio::test]
async fn an_unmodified_translator_in_front_of_it_is_counted_as_the_pool_counts() -> Result<()> {
    story("integrated-pool", async |folder| {
        let scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).stats(scene.sidecar.address()).start().await?;
        let translator = Translator::builder(folder, &pool).start().await?;
        let mut chain = MiningChain::of(template_provider, pool, translator).await?;
        chain.mine(40, SOON).await?;
        let counts = chain.settle().await?;
        let expected = counts.accepted_by_channel();
        wait_for("the history to have the pool's counts", SOON, || async {
            let found = History::open(scene.sidecar.history())?.accepted_by_channel("pool")?;
            Ok(Look::when(found == expected, found))
        })
        .await?;

        let connected = scene.told("downstream_connected", 1).await?;
        ensure!(connected.len() == 1, "{connected:?}");
        let address = connected[0]["address"].as_str().context("no address")?;
        ensure!(address.starts_with("127.0.0.1:") && connected[0]["vendor"] != "", "{connected:?}");
        let opened: BTreeMap<(u64, u64), Value> =
            scene.told("channel_opened", 2).await?.into_iter().map(|event| (key(&event), event)).collect();
        ensure!(opened.len() == counts.channels.len(), "{opened:?} and {counts:?}");
        for (id, channel) in &counts.channels {
            let event = opened.get(&(id.0, u64::from(id.1))).with_context(|| format!("{id:?} is not in {opened:?}"))?;
            ensure!(event["user_identity"] == channel.user_identity.as_str(), "{event} and {channel:?}");
        }
        let tips = scene.told("chain_tip_changed", 1).await?;
        ensure!(tips.iter().all(|tip| tip["height"].as_u64() > Some(0)), "{tips:?}");

        chain.translator.stop().await?;
        let gone = scene.told("downstream_disconnected", 1).await?;
        ensure!(gone.len() == 1 && gone[0]["downstream_id"] == connected[0]["downstream_id"], "{gone:?}");
        // Closed by the pool's own end: a session that the sidecar need not wait for.
        chain.pool.stop().await?;
        scene.told("session_ended", 1).await?;
        scene.sidecar.expect_balanced_ledgers().await
    })
    .await
}

#[tokio::test]
async fn rejections_targets_and_closings_of_standard_channels_are_told() -> Result<()> {
    story("integrated-standard", async |folder| {
        let scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().stay_on_tip().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).stats(scene.sidecar.address()).start().await?;
        let mut client = Sv2Client::connect(pool.address()).await?;
        let channel_id = client.open_channel("dave.rig").await?;
        let mut rejected = BTreeMap::new();
        let mut reject = |answer: Answer| match answer {
            Answer::Rejected(code) => *rejected.entry(code).or_insert(0_u64) += 1,
            Answer::Accepted => {}
        };
        for _ in 0..20 {
            ensure!(client.submit(channel_id).await? == Answer::Accepted, "every hash is a share");
        }
        reject(client.submit_duplicate(channel_id).await?);
        reject(client.submit_for_unknown_job(channel_id).await?);
        reject(client.submit_to_unknown_channel(channel_id).await?);

        // A target that one hash in four meets, for the jobs to come: the job that the channel has keeps the easy one.
        client.declare_hashrate(channel_id, 16.0).await?;
        for _ in 0..20 {
            ensure!(client.submit(channel_id).await? == Answer::Accepted, "the old job keeps its target");
        }
        template_provider.new_block();
        client.wait_for_new_job(channel_id).await?;
        for _ in 0..60 {
            reject(client.submit(channel_id).await?);
        }
        ensure!(
            rejected.contains_key("difficulty-too-low") && rejected.contains_key("invalid-channel-id"),
            "{rejected:?}"
        );

        let total = rejected.values().sum::<u64>();
        let counts = wait_for("the pool to count the shares", SOON, || async {
            let counts = pool.counts().await?;
            // The pool counts no share of a channel that it does not know.
            Ok(Look::when(counts.rejected() == total - 1 && counts.accepted() > 40, counts))
        })
        .await?;
        let channel = counts.channels.values().next().context("a channel")?;
        let mut told = BTreeMap::new();
        for event in scene.told("share_rejected", usize::try_from(total)?).await? {
            let code = event["error_code"].as_str().context("no code")?;
            *told.entry(code.to_owned()).or_insert(0) += 1;
            // The number that the client made up goes no further than the pool.
            let channel = if code == "invalid-channel-id" { 0 } else { u64::from(channel_id) };
            ensure!(key(&event).1 == channel, "{event}");
        }
        ensure!(told == rejected, "the client was told {rejected:?}, the sidecar {told:?}");
        let changed = scene.told("channel_target_changed", 1).await?;
        ensure!(changed.len() == 1, "one change of target, however often it is sent: {changed:?}");

        // Shares and work: with the target of a share's job, not with the channel's latest, the sums agree.
        let expected = channel.share_work_sum * HASHES_PER_DIFFICULTY;
        wait_for("the history to have the pool's counts", SOON, || async {
            let accepted = History::open(scene.sidecar.history())?.accepted("pool")?;
            Ok(Look::when(accepted == counts.accepted(), accepted))
        })
        .await?;
        // The share for an unknown channel came before the last accepted one, so the history has seen it.
        let channels = History::open(scene.sidecar.history())?.channels("pool")?;
        ensure!(channels == (1, 1), "the one channel that was opened, not those that shares named: {channels:?}");
        let work = History::open(scene.sidecar.history())?.work("pool")?;
        ensure!((work / expected - 1.0).abs() < COMPACT, "the pool credited {expected} hashes, the history has {work}");

        client.close_channel(channel_id).await?;
        let closed = scene.told("channel_closed", 1).await?;
        ensure!(key(&closed[0]).1 == u64::from(channel_id) && closed[0]["reason"] == "done", "{closed:?}");
        drop(client);
        scene.told("downstream_disconnected", 1).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_its_monitoring_the_pool_serves_no_http_and_tells_its_blocks() -> Result<()> {
    story("integrated-bare", async |folder| {
        let scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().network_bits(EASIEST_BLOCKS).stay_on_tip().start().await?;
        let pool = Pool::builder(folder, template_provider.address())
            .stats(scene.sidecar.address())
            .without_monitoring()
            .start()
            .await?;
        let mut client = Sv2Client::connect(pool.address()).await?;
        let channel_id = client.open_channel("erin").await?;
        for _ in 0..16 {
            ensure!(client.submit(channel_id).await? == Answer::Accepted, "every hash is a share");
        }
        // All answers are there, so all solutions are on their way.
        let solved: BTreeSet<(u64, String)> = wait_for("the blocks at the template provider", SOON, || async {
            let told = events(&scene.log, "block_found")?.len();
            let solved: BTreeSet<_> =
                template_provider.blocks().iter().map(|block| (u64::from(block.height), block.hash.clone())).collect();
            let shares = events(&scene.log, "share_submitted")?.len();
            Ok(Look::when(shares == 16 && told == solved.len() && told > 0, solved))
        })
        .await?;
        for event in scene.told("block_found", solved.len()).await? {
            let height = event["height"].as_u64().context("no height")?;
            let hash = event["block_hash"].as_str().context("no hash")?.to_owned();
            ensure!(solved.contains(&(height, hash)), "{event} is not in {solved:?}");
        }
        if let Ok((status, _)) = http::get(pool.monitoring_address(), "/api/v1/health").await {
            bail!("a pool without its monitoring answers {status} over HTTP");
        }
        Ok(())
    })
    .await
}

fn key(event: &Value) -> (u64, u64) {
    (event["downstream_id"].as_u64().unwrap_or(0), event["channel_id"].as_u64().unwrap_or(0))
}
