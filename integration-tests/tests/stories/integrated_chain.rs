//! The whole product on real software: SRI's pool and translator with our lines in, two SV1 miners, a mint that checks every
//! request, and the sidecar with its history and its log of every event. All of them must tell the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ehash::{ShareHash, calculate_ehash_amount};
use integration_tests::history::History;
use integration_tests::mint::{Memory, Mint};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{
    Answer, MiningChain, Pool, PoolSnapshot, Sidecar, Sv2Client, TemplateProvider, TestFolder, Translator, sidecar,
    story,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);
/// 1,000 H/s at 240 shares a minute: 250 hashes a share, so that shares have 7 leading zero bits and more.
const CLAIMED_HASHRATE: f32 = 1_000.0;
/// About a quarter of those shares has as many leading zero bits.
const MINIMUM_DIFFICULTY: u32 = 10;

/// A sidecar with a history and a log of every event, and a mint.
struct Scene {
    sidecar: Sidecar,
    log: PathBuf,
    mint: Mint,
}

impl Scene {
    async fn begin(folder: &TestFolder) -> Result<Self> {
        let log = folder.path().join("events.jsonl");
        let section = format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}", log.display().to_string());
        let sidecar = Sidecar::builder(folder)?.section(&section).start().await?;
        Ok(Self { sidecar, log, mint: Mint::start(MINIMUM_DIFFICULTY)? })
    }

    async fn integrated_pool(&self, folder: &TestFolder, template_provider: &TemplateProvider) -> Result<Pool> {
        Pool::builder(folder, template_provider.address())
            .stats(self.sidecar.address())
            .quotes(self.mint.address(), MINIMUM_DIFFICULTY)
            .start()
            .await
    }

    async fn history(&self) -> Result<History> {
        self.sidecar.wait_until_delivered(SOON).await?;
        History::open(self.sidecar.history())
    }

    /// The history, once it has as many accepted shares of this publisher as others count.
    async fn history_with(&self, publisher: &str, accepted: u64) -> Result<History> {
        wait_for(&format!("{accepted} shares of {publisher} in the history"), SOON, || async {
            let found = History::open(self.sidecar.history())?.accepted(publisher).unwrap_or(0);
            Ok(Look::when(found >= accepted, found))
        })
        .await?;
        self.history().await
    }

    fn events(&self, publisher: &str, kind: &str) -> Result<Vec<Value>> {
        events(&self.log, publisher, kind)
    }
}

/// A share by what names it in its session: downstream, channel and sequence number.
type ShareKey = (String, u64, u64, u64);

fn share_key(event: &Value) -> Result<ShareKey> {
    let number = |name: &str| event[name].as_u64().with_context(|| format!("{event} has no {name}"));
    let session = event["session"].as_str().context("an event without a session")?.to_owned();
    Ok((session, number("downstream_id")?, number("channel_id")?, number("sequence_number")?))
}

fn events(log: &Path, publisher: &str, kind: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        // A log file has each event at least once; killed at the wrong moment, the sidecar writes one again.
        let mut new = || seen.insert((event["session"].to_string(), event["sequence"].as_u64()));
        if event["publisher"] == publisher && event["kind"] == kind && new() {
            found.push(event);
        }
    }
    Ok(found)
}

/// Leading zero bits of the hash behind a compact target, which keeps the first bits of the number exactly.
fn leading_zero_bits(compact: &str) -> Result<u32> {
    let compact = u32::from_str_radix(compact, 16).with_context(|| format!("{compact} is no compact target"))?;
    let (size, mantissa) = (compact >> 24, compact & 0x7f_ffff);
    ensure!(mantissa > 0, "a hash of zero");
    Ok(256 - (8 * size - 24 + (32 - mantissa.leading_zeros())))
}

/// Each accepted share above the minimum has exactly one quote with the right amount, no other share has one, and log,
/// history and mint have the same quotes.
async fn expect_quotes(scene: &Scene, publisher: &str) -> Result<()> {
    let history = scene.history().await?;
    let mut earning = BTreeSet::new();
    let mut others = BTreeSet::new();
    for share in scene.events(publisher, "share_submitted")? {
        let zeros = leading_zero_bits(share["share"].as_str().context("a share without its hash")?)?;
        let new = if zeros >= MINIMUM_DIFFICULTY { &mut earning } else { &mut others }.insert(share_key(&share)?);
        ensure!(new, "a share was told twice: {share}");
    }
    ensure!(!earning.is_empty() && !others.is_empty(), "{} shares earn, {} do not", earning.len(), others.len());

    let mut quoted = BTreeMap::new();
    for quote in scene.events(publisher, "quote_created")? {
        let hash: ShareHash = quote["share_hash"].as_str().context("a quote without a hash")?.parse()?;
        let amount = calculate_ehash_amount(&hash, MINIMUM_DIFFICULTY).0;
        ensure!(quote["amount"] == amount, "{quote} should be about {amount}");
        ensure!(quoted.insert(share_key(&quote)?, (hash, amount)).is_none(), "a share has two quotes: {quote}");
    }
    let keys: BTreeSet<ShareKey> = quoted.keys().cloned().collect();
    ensure!(keys == earning, "shares that earn and shares with a quote differ: {earning:?} and {keys:?}");

    let at_mint = wait_for("every quote to be answered", SOON, || async {
        let counts = History::open(scene.sidecar.history())?.quote_counts(publisher)?;
        let answered = counts.get("answered").copied().unwrap_or(0);
        Ok(Look::when(answered == earning.len() as u64, scene.mint.snapshot().quotes))
    })
    .await?;
    scene.mint.expect_no_violations()?;
    let expected: BTreeMap<ShareHash, u64> = quoted.values().copied().collect();
    let minted: BTreeMap<ShareHash, u64> = at_mint.iter().map(|(hash, quote)| (*hash, quote.amount)).collect();
    ensure!(minted == expected, "the mint has other quotes: {minted:?}, {expected:?}");
    for (hash, row) in history.quotes(publisher)? {
        let quote = at_mint.get(&hash).with_context(|| format!("the mint has no quote for {hash}"))?;
        ensure!(row.amount == u128::from(quote.amount), "{hash}: {row:?} and {quote:?}");
    }
    let ehash: u128 = expected.values().map(|amount| u128::from(*amount)).sum();
    let sums = history.ehash(publisher)?;
    ensure!(sums == (expected.len() as u64, ehash), "the history sums up to {sums:?}, not {ehash}");
    Ok(())
}

/// What `hashpool-sidecar stats --json` says of a publisher.
fn stats_of(scene: &Scene, publisher: &str) -> Result<Value> {
    let output = Command::new(sidecar::binary()?)
        .args(["stats", "--json", "--db"])
        .arg(scene.sidecar.history())
        .output()
        .context("cannot run the sidecar's stats command")?;
    ensure!(output.status.success(), "stats failed: {}", String::from_utf8_lossy(&output.stderr));
    let stats: Value = serde_json::from_slice(&output.stdout)?;
    let sources = stats["overview"]["sources"].as_array().context("no sources")?;
    let source = sources.iter().find(|source| source["publisher"] == publisher);
    source.cloned().with_context(|| format!("{publisher} is not in {stats}"))
}

/// The hashes that the window's interval allows, against the hashes that were really tried.
///
/// The interval holds the truth in 95 of 100 runs; a test that is to fail in one of ten thousand allows twice its width.
fn expect_true_rate(group: &Value, hashes: u64) -> Result<()> {
    let window = group["windows"].as_array().context("no windows")?.iter().find(|window| window["window"] == "15m");
    let window = window.context("no window of 15 minutes")?;
    let number = |value: &Value| value.as_f64().with_context(|| format!("no number in {window}"));
    let seconds = number(&window["observed_ms"])? / 1000.0;
    let reading = &window["reading"];
    let (value, low, high) = (number(&reading["rate"])?, number(&reading["low"])?, number(&reading["high"])?);
    let (low, high) = ((value - 2.0 * (value - low)) * seconds, (value + 2.0 * (high - value)) * seconds);
    let hashes = hashes as f64;
    ensure!((low..=high).contains(&hashes), "{hashes} hashes were tried, between {low} and {high} are told: {window}");
    Ok(())
}

#[tokio::test]
async fn miners_translator_pool_history_and_mint_agree_on_every_share_and_every_quote() -> Result<()> {
    story("integrated", async |folder| {
        let scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = scene.integrated_pool(folder, &template_provider).await?;
        let translator = Translator::builder(folder, &pool)
            .stats(scene.sidecar.address())
            .min_miner_hashrate(CLAIMED_HASHRATE)
            .start()
            .await?;
        let chain = MiningChain::of(template_provider, pool, translator).await?;
        chain.mine(100, SOON).await?;
        let pool = chain.settle().await?;
        let (alice, bob) = (chain.alice.counts(), chain.bob.counts());
        let mined = alice.accepted + bob.accepted;
        ensure!(mined >= 200 && alice.rejections() + bob.rejections() == 0, "{alice:?} {bob:?}");
        // The translator may accept what it then drops, never the other way round.
        ensure!(mined >= pool.accepted(), "the pool counts {}, the miners {mined}", pool.accepted());
        let acknowledged = chain.translator.counts().await?.acknowledged();
        ensure!(acknowledged == pool.accepted(), "the translator had {acknowledged} acknowledgements");

        let history = scene.history_with("pool", pool.accepted()).await?;
        let by_channel = history.accepted_by_channel("pool")?;
        ensure!(by_channel == pool.accepted_by_channel(), "{by_channel:?}, but the pool has {pool:?}");
        ensure!(history.accepted_in_total("pool")? == pool.accepted(), "the totals differ");
        let told = wait_for("the shares of both miners", SOON, || async {
            let proxy = stats_of(&scene, "proxy")?;
            let accepted = proxy["miners"]["totals"]["accepted"].as_u64().unwrap_or(0);
            Ok(Look::when(accepted >= mined, proxy))
        })
        .await?;
        ensure!(told["miners"]["totals"]["accepted"] == mined, "the miners have {mined}: {told}");

        expect_quotes(&scene, "pool").await?;
        let hashes = alice.hashes + bob.hashes;
        expect_true_rate(&stats_of(&scene, "pool")?["channels"], hashes)?;
        expect_true_rate(&told["miners"], hashes)?;
        scene.sidecar.expect_balanced_ledgers().await
    })
    .await
}

#[tokio::test]
async fn a_rejected_share_is_told_with_its_code_and_has_no_quote() -> Result<()> {
    story("rejected", async |folder| {
        let scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = scene.integrated_pool(folder, &template_provider).await?;
        let mut client = Sv2Client::connect(pool.address()).await?;
        let channel = client.open_channel("carol.rig").await?;
        let mut accepted = 0;
        // With the easiest target every hash is a share; one in a thousand of them earns.
        for _ in 0..3_000 {
            ensure!(client.submit(channel).await? == Answer::Accepted, "a good share was rejected");
            accepted += 1;
        }
        let mut rejected = BTreeMap::new();
        for answer in [client.submit_duplicate(channel).await?, client.submit_for_unknown_job(channel).await?] {
            let Answer::Rejected(code) = answer else { bail!("a bad share was accepted") };
            *rejected.entry(code).or_insert(0_u64) += 1;
        }
        scene.history_with("pool", accepted).await?;
        let mut told = BTreeMap::new();
        for event in scene.events("pool", "share_rejected")? {
            *told.entry(event["error_code"].as_str().context("no code")?.to_owned()).or_insert(0) += 1;
        }
        ensure!(told == rejected, "the pool said {rejected:?}, the sidecar was told {told:?}");
        expect_quotes(&scene, "pool").await
    })
    .await
}

#[tokio::test]
async fn the_bridge_and_the_publisher_give_the_same_counts_of_one_pool() -> Result<()> {
    story("both-feeds", async |folder| {
        let scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = scene.integrated_pool(folder, &template_provider).await?;
        let translator = Translator::builder(folder, &pool).start().await?;
        let bridged =
            Sidecar::builder(folder)?.name("bridged").sri_bridge("watched", &pool.monitoring_url()).start().await?;
        let chain = MiningChain::of(template_provider, pool, translator).await?;
        chain.mine(30, SOON).await?;
        let pool = chain.settle().await?;
        let published = scene.history_with("pool", pool.accepted()).await?.accepted_by_channel("pool")?;
        let polled = wait_for("the bridge to have seen every share", SOON, || async {
            let polled = History::open(bridged.history())?.accepted_by_channel("watched")?;
            Ok(Look::when(polled.values().sum::<u64>() >= pool.accepted(), polled))
        })
        .await?;
        ensure!(published == polled, "published {published:?}, polled {polled:?}");
        ensure!(published == pool.accepted_by_channel(), "published {published:?}, the pool has {pool:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn mining_goes_on_without_the_sidecar_and_the_counts_are_right_when_it_returns() -> Result<()> {
    story("sidecar-away", async |folder| {
        let mut scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().start().await?;
        // Nobody listens when the pool starts.
        scene.sidecar.stop().await?;
        let pool = scene.integrated_pool(folder, &template_provider).await?;
        let translator = Translator::builder(folder, &pool).min_miner_hashrate(CLAIMED_HASHRATE).start().await?;
        let chain = MiningChain::of(template_provider, pool, translator).await?;
        chain.mine(20, SOON).await?;
        scene.sidecar.start_again().await?;
        chain.mine(20, SOON).await?;
        // It holds its connection and takes nothing.
        scene.sidecar.process().pause()?;
        chain.mine(20, SOON).await?;
        scene.sidecar.process().resume()?;
        chain.mine(20, SOON).await?;
        scene.sidecar.kill().await?;
        chain.mine(20, SOON).await?;
        scene.sidecar.start_again().await?;
        chain.mine(20, SOON).await?;
        let pool = chain.settle().await?;
        expect_same(&scene, &pool).await?;
        expect_quotes(&scene, "pool").await?;
        expect_open_channels(&scene, 2).await?;

        // Away when a miner leaves: no ghost stays.
        scene.sidecar.kill().await?;
        let MiningChain { template_provider: _kept, pool: running, translator: _serving, alice, bob } = chain;
        alice.stop().await?;
        wait_for("the pool to close the channel", SOON, || async {
            let channels = running.counts().await?.channels.len();
            Ok(Look::when(channels == 1, channels))
        })
        .await?;
        scene.sidecar.start_again().await?;
        expect_open_channels(&scene, 1).await?;
        bob.stop().await?;
        Ok(())
    })
    .await
}

async fn expect_same(scene: &Scene, pool: &PoolSnapshot) -> Result<()> {
    let found = scene.history_with("pool", pool.accepted()).await?.accepted_by_channel("pool")?;
    ensure!(found == pool.accepted_by_channel(), "{found:?}, but the pool has {pool:?}");
    Ok(())
}

async fn expect_open_channels(scene: &Scene, expected: u64) -> Result<()> {
    wait_for(&format!("{expected} open channels"), SOON, || async {
        let open = stats_of(scene, "pool")?["channels_open"].as_u64();
        Ok(Look::when(open == Some(expected), open))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_pool_restarted_with_quotes_pending_leaves_none_waiting() -> Result<()> {
    story("pool-restarts", async |folder| {
        let mut scene = Scene::begin(folder).await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = scene.integrated_pool(folder, &template_provider).await?;
        let translator = Translator::builder(folder, &pool).min_miner_hashrate(CLAIMED_HASHRATE).start().await?;
        let mut chain = MiningChain::of(template_provider, pool, translator).await?;
        chain.mine(20, SOON).await?;
        scene.mint.stop()?;
        // Of eighty shares at least one earns, but for one run in ten billion.
        chain.mine(40, SOON).await?;
        let first = chain.settle().await?;
        expect_same(&scene, &first).await?;
        chain.pool.kill().await?;
        // On the same tip the miners would find the same shares again, which have their quotes.
        chain.template_provider.new_block();
        scene.mint.restart(Memory::Kept)?;
        chain.pool.start_again().await?;
        chain.resume().await?;
        wait_for("both channels at the new pool", SOON, || async {
            let counts = chain.pool.counts().await?;
            let busy = counts.channels.values().filter(|channel| channel.shares_accepted > 0).count();
            Ok(Look::when(busy == 2, busy))
        })
        .await?;
        chain.mine(20, SOON).await?;
        let second = chain.settle().await?;
        scene.history_with("pool", first.accepted() + second.accepted()).await?;
        let (states, created) = wait_for("no quote to wait", SOON, || async {
            let states = scene.history().await?.quote_counts("pool")?;
            let created = scene.events("pool", "quote_created")?.len() as u64;
            let waiting = states.get("created").or(states.get("sent")).is_some();
            Ok(Look::when(!waiting && states.values().sum::<u64>() == created, (states, created)))
        })
        .await?;
        let (answered, abandoned) = (states.get("answered"), states.get("abandoned"));
        ensure!(answered.is_some() && abandoned.is_some(), "answered and given up, not {states:?} of {created}");
        let history = scene.history().await?;
        ensure!(history.accepted_in_total("pool")? == first.accepted() + second.accepted(), "the totals differ");
        scene.mint.expect_no_violations()
    })
    .await
}
