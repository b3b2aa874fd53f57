//! The dashboard in a real browser: a sidecar process, a feed, Chromium.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use integration_tests::browser::Browser;
use integration_tests::ports::PortLease;
use integration_tests::process::{Process, ProcessSpec};
use integration_tests::sidecar::binary;
use integration_tests::{Sidecar, TestFolder, http, story, wait::Look, wait_for};
use stats_sv2::event::{
    BlockFound, CHANNEL_EXTENDED, ChainTipChanged, ChannelOpened, DownstreamConnected, EventsDropped, Heartbeat,
    MinerConnected, MinerHashrateUpdate, MinerShareSubmitted, QuoteAnswered, QuoteCreated, QuoteFailed, QuoteSent,
    ShareRejected, ShareSubmitted, SourceInfo,
};
use stats_sv2::session::OpenStatsSession;
use stats_sv2::{
    Amount, ChannelId, CompactTarget, DownstreamId, Event, Message, MinerId, PROTOCOL_VERSION, Role, Text, U256,
    UnixMillis,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(60);
const WORKERS: u32 = 1_000;
/// How far the history of the large pool reaches back.
const PAST_MS: u64 = 2 * 3_600_000;
/// How often a publisher says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
const TARGET: CompactTarget = CompactTarget(0x1c00_ffff);

#[tokio::test]
async fn every_page_holds_for_a_thousand_workers_and_hostile_names() -> Result<()> {
    story("browser-pages", async |folder| {
        let browser = prepare().await?;
        let (sidecar, dashboard) = start(folder).await?;
        let pool = Backlog::send(&sidecar, "pool-eu-1", Role::Pool, 1, pool_events).await?;
        let translator = Backlog::send(&sidecar, "translator-eu-1", Role::Proxy, 1, translator_events).await?;
        // It is started anew: graphs mark that.
        Backlog::send(&sidecar, "mixed-eu-1", Role::Proxy, 1, |_| {}).await?.stop().await?;
        let mixed = Backlog::send(&sidecar, "mixed-eu-1", Role::Proxy, 2, twins).await?;
        sidecar.wait_until_delivered(SOON).await?;
        let run = async |script| {
            browser.run(script, dashboard.address(), async |wish| bail!("nobody knows how to {wish}")).await
        };
        run("pages.mjs").await?;
        // Both wait more than they do, and change nothing.
        tokio::try_join!(run("graphs.mjs"), run("stream.mjs"))?;
        for backlog in [pool, translator, mixed] {
            backlog.stop().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pool_without_workers_and_a_sidecar_that_is_not_ready_look_right() -> Result<()> {
    story("browser-states", async |folder| {
        let browser = prepare().await?;
        let log = folder.path().join("log.jsonl");
        let section = format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}", log.display().to_string());
        let (mut sidecar, dashboard) = start_with(folder, &section).await?;
        let info = |publish: &mut dyn FnMut(Event<'_>)| {
            let (name, value) = (Text::cut("network"), Text::cut("testnet4"));
            publish(SourceInfo { timestamp: UnixMillis::now(), name, value }.into());
        };
        let mut pool = Some(Backlog::send(&sidecar, "pool-eu-1", Role::Pool, 1, info).await?);
        let mut taken = None;
        sidecar.wait_until_delivered(SOON).await?;
        browser
            .run("states.mjs", dashboard.address(), async |wish| match (wish, pool.take()) {
                ("take the log", Some(pool)) => {
                    pool.stop().await?;
                    sidecar.stop().await?;
                    // As another process that writes it would.
                    let file = std::fs::File::open(&log)?;
                    file.lock()?;
                    taken = Some(file);
                    sidecar.process().start()?;
                    answers(dashboard.address()).await
                }
                (other, _) => bail!("nobody knows how to {other}"),
            })
            .await?;
        drop(taken);
        ensure!(sidecar.stop().await?.success(), "the sidecar did not stop cleanly: {}", sidecar.process().tail());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_redacted_is_on_no_page_and_in_no_answer() -> Result<()> {
    story("browser-redacted", async |folder| {
        let browser = prepare().await?;
        let (sidecar, dashboard) = start_with(folder, "redact = [\"addresses\", \"names\"]").await?;
        let pool = Backlog::send(&sidecar, "pool-eu-1", Role::Pool, 1, pool_events).await?;
        let translator = Backlog::send(&sidecar, "translator-eu-1", Role::Proxy, 1, translator_events).await?;
        sidecar.wait_until_delivered(SOON).await?;
        let mut feed: Option<Process> = None;
        browser
            .run("redacted.mjs", dashboard.address(), async |wish| match (wish, &feed) {
                ("start the feed", None) => {
                    feed = Some(simulate(folder, &sidecar).await?);
                    Ok(())
                }
                (other, _) => bail!("nobody knows how to {other}"),
            })
            .await?;
        if let Some(feed) = &mut feed {
            feed.kill().await?;
        }
        pool.stop().await?;
        translator.stop().await
    })
    .await
}

#[tokio::test]
async fn the_page_follows_the_feed_and_never_shows_zero_for_silence() -> Result<()> {
    story("browser-live", async |folder| {
        let browser = prepare().await?;
        let (mut sidecar, dashboard) = start(folder).await?;
        let mut feed: Option<Process> = None;
        browser
            .run("live.mjs", dashboard.address(), async |wish| match (wish, &mut feed) {
                ("start the feed", None) => {
                    feed = Some(simulate(folder, &sidecar).await?);
                    Ok(())
                }
                ("stop the feed", Some(feed)) => feed.pause(),
                ("restart the sidecar", _) => {
                    sidecar.stop().await?;
                    sidecar.start_again().await?;
                    answers(dashboard.address()).await
                }
                (other, _) => bail!("nobody knows how to {other}"),
            })
            .await?;
        // A paused process cannot be asked to end.
        if let Some(feed) = &mut feed {
            feed.kill().await?;
        }
        ensure!(sidecar.stop().await?.success(), "the sidecar did not stop cleanly: {}", sidecar.process().tail());
        Ok(())
    })
    .await
}

async fn prepare() -> Result<Browser> {
    tokio::task::spawn_blocking(|| Browser::prepare(Path::new(env!("CARGO_TARGET_TMPDIR")))).await?
}

/// A sidecar with a dashboard over its history.
async fn start(folder: &TestFolder) -> Result<(Sidecar, PortLease)> {
    start_with(folder, "").await
}

/// The same with a further setting of the dashboard.
async fn start_with(folder: &TestFolder, setting: &str) -> Result<(Sidecar, PortLease)> {
    let dashboard = PortLease::new()?;
    // All requests come from one address, and faster than people click.
    let section = format!(
        "[sinks.dashboard]\ntype = \"dashboard\"\nlisten = \"{}\"\nhistory = \"history\"\nrequests_per_second = 1000\n{setting}",
        dashboard.address()
    );
    let sidecar = Sidecar::builder(folder)?.section(&section).start().await?;
    answers(dashboard.address()).await?;
    Ok((sidecar, dashboard))
}

async fn answers(dashboard: SocketAddr) -> Result<()> {
    wait_for("the dashboard to answer", SOON, || async { http::get_text(dashboard, "/").await.map(|_| Look::Done(())) })
        .await
}

/// One worker whose shares come quickly enough to be seen.
async fn simulate(folder: &TestFolder, sidecar: &Sidecar) -> Result<Process> {
    let binary = tokio::task::spawn_blocking(binary).await??;
    ProcessSpec::new("feed", binary, folder.path())
        .arg("simulate")
        .arg(format!("--to={}", sidecar.address()))
        .arg("--miners=1")
        .arg("--rate=5")
        .arg("--seed=7")
        .start()
}

/// A publisher that sends what happened over the last hours, then only says that it lives. It speaks the protocol itself: the
/// real one's first word is a heartbeat, before which nothing was observed.
struct Backlog {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Backlog {
    async fn send(
        sidecar: &Sidecar,
        name: &'static str,
        role: Role,
        session: u64,
        events: impl FnOnce(&mut dyn FnMut(Event<'_>)),
    ) -> Result<Self> {
        let session_id = u64::from(std::process::id()) << 8 | session;
        let mut bytes = Vec::new();
        let open = OpenStatsSession {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            flags: 0,
            role,
            publisher: Text::cut(name),
            session_id,
            first_sequence: 1,
            vendor: Text::cut("backlog"),
            token: Text::cut(""),
        };
        open.encode(&mut bytes);
        let mut count = 0_u64;
        events(&mut |event| {
            event.encode(&mut bytes);
            count += 1;
        });
        bytes.extend(malformed());
        count += 1;
        let mut stream = TcpStream::connect(sidecar.address()).await?;
        stream.write_all(&bytes).await?;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            let mut acks = vec![0; 4096];
            let mut beat = tokio::time::interval(HEARTBEAT);
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    read = read.read(&mut acks) => ensure!(read? > 0, "the sidecar ended the session of {name}"),
                    _ = beat.tick() => {
                        let mut frame = Vec::new();
                        Event::from(Heartbeat { timestamp: UnixMillis::now(), flags: 0 }).encode(&mut frame);
                        write.write_all(&frame).await?;
                    }
                }
            }
            // Until the sidecar has heard it: another session of this publisher is refused as long as one is alive.
            write.shutdown().await?;
            while read.read(&mut acks).await? > 0 {}
            Ok(())
        });
        wait_for("the backlog to be durable", SOON, || async {
            let pipeline = sidecar.pipeline().await?;
            let sources = pipeline["sources"].as_array().cloned().unwrap_or_default();
            let ours = format!("{session_id:016x}");
            let of_ours = sources.iter().find(|source| source["publisher"] == name && source["session"] == ours);
            let committed = of_ours.and_then(|source| source["committed_sequence"].as_u64());
            Ok(Look::when(committed.is_some_and(|committed| committed >= count), pipeline["sources"].to_string()))
        })
        .await?;
        Ok(Self { stop, task })
    }

    async fn stop(self) -> Result<()> {
        // A task that has ended by itself does not hear this, and says why it ended.
        let _heard = self.stop.send(());
        self.task.await?
    }
}

/// An event without its last byte, in a frame that is whole: it becomes a dead letter.
fn malformed() -> Vec<u8> {
    const LENGTH: usize = 3;
    let mut frame = Vec::new();
    Event::from(Heartbeat { timestamp: UnixMillis::now(), flags: 0 }).encode(&mut frame);
    frame.pop();
    frame[LENGTH] -= 1;
    frame
}

/// Names that try to be something else.
fn hostile_names() -> Vec<String> {
    vec![
        "<img src=x onerror=window.pwned=1>".to_owned(),
        "\"><script>window.pwned=2</script>".to_owned(),
        "{{window.pwned=3}}' onmouseover='window.pwned=4".to_owned(),
        "\u{202e}gnp.renim\u{202c}".to_owned(),
        "مُنَقِّب.العامل".to_owned(),
        "⛏️🔥👩‍🚀".to_owned(),
        "w".repeat(255),
        "a&b=c#d?e/../f%00".to_owned(),
    ]
}

/// A thousand workers over two hours, with an outage of the miners in between, rejects, blocks and quotes.
fn pool_events(publish: &mut dyn FnMut(Event<'_>)) {
    let now = UnixMillis::now().0;
    let begin = now - PAST_MS;
    let at = |ms: u64| UnixMillis(begin + ms);
    let facts = [
        ("listen_address", "203.0.113.7:3333"),
        ("monitoring_api", "http://203.0.113.8:9090"),
        ("network", "testnet4"),
    ];
    for (name, value) in facts {
        publish(SourceInfo { timestamp: at(0), name: Text::cut(name), value: Text::cut(value) }.into());
    }
    let text = |text: &str| Text::cut(text.to_owned());
    publish(
        DownstreamConnected {
            downstream_id: DownstreamId(1),
            flags: 0,
            timestamp: at(0),
            address: text("192.0.2.9:41000"),
            vendor: text("<b>vendor</b>"),
            hardware_version: text("1"),
            firmware: text("2"),
            device_id: text("3"),
        }
        .into(),
    );
    publish(ChainTipChanged { timestamp: at(1), height: 900_000, target: CompactTarget(0x1900_ffff) }.into());
    let mut names: Vec<String> = (1..=WORKERS).map(|number| format!("farm.rig-{number:04}")).collect();
    names.extend(hostile_names());
    for (channel, name) in (1..).zip(&names) {
        publish(
            ChannelOpened {
                downstream_id: DownstreamId(1),
                channel_id: ChannelId(channel),
                timestamp: at(2),
                kind: CHANNEL_EXTENDED,
                user_identity: Text::cut(name.clone()),
                nominal_hashrate: 110_000_000_000_000,
                target: TARGET,
            }
            .into(),
        );
    }
    let shares = 20_000_u32;
    for number in 0..shares {
        // The second quarter of the time is quiet.
        let place = PAST_MS * u64::from(number) / u64::from(shares);
        let place = if place > PAST_MS / 4 && place < PAST_MS / 2 { PAST_MS / 4 } else { place };
        let mut channel = 1 + number.wrapping_mul(7_919) % names.len() as u32;
        // Every tenth worker fell silent an hour ago.
        if channel.is_multiple_of(10) && place >= PAST_MS / 2 {
            channel -= 1;
        }
        let timestamp = at(place.max(3));
        let (downstream_id, channel_id) = (DownstreamId(1), ChannelId(channel));
        if number % 50 == 0 {
            let code = if number % 100 == 0 { "stale-share" } else { "duplicate-share" };
            let rejected =
                ShareRejected { downstream_id, timestamp, channel_id, sequence_number: number, error_code: text(code) };
            publish(rejected.into());
            continue;
        }
        let share = CompactTarget(0x1b00_ffff - number % 1_000);
        let accepted =
            ShareSubmitted { downstream_id, timestamp, channel_id, sequence_number: number, target: TARGET, share };
        publish(accepted.into());
        if number % 200 == 1 {
            quote(number, channel, timestamp, publish);
        }
    }
    for (index, height) in [900_001_u32, 900_003].into_iter().enumerate() {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&height.to_le_bytes());
        let timestamp = at(PAST_MS / 3 * (index as u64 + 1));
        let found = BlockFound {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(1 + WORKERS),
            timestamp,
            height,
            block_hash: U256(hash),
        };
        publish(found.into());
    }
}

fn quote(number: u32, channel: u32, timestamp: UnixMillis, publish: &mut dyn FnMut(Event<'_>)) {
    let (downstream_id, channel_id, amount) = (DownstreamId(1), ChannelId(channel), Amount(1 << (number % 20)));
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    let (share_hash, sequence_number) = (U256(hash), number);
    let later = UnixMillis(timestamp.0 + 40 + u64::from(number % 100));
    publish(QuoteCreated { downstream_id, amount, timestamp, channel_id, share_hash, sequence_number }.into());
    publish(QuoteSent { downstream_id, channel_id, sequence_number, amount, timestamp, share_hash }.into());
    let event = if number % 1_000 == 1 {
        let error_message = Text::cut("<i>later</i>".to_owned());
        let error_code = Text::cut("<u>busy</u>".to_owned());
        QuoteFailed { share_hash: Some(share_hash), error_code, error_message, timestamp: later }.into()
    } else {
        QuoteAnswered { share_hash, quote_id: Text::cut(format!("quote-{number}")), timestamp: later }.into()
    };
    publish(event);
}

/// A few SV1 miners, so that both sides are looked at.
fn translator_events(publish: &mut dyn FnMut(Event<'_>)) {
    let begin = UnixMillis::now().0 - 600_000;
    for miner in 1..=3_u32 {
        let (miner_id, timestamp) = (MinerId(miner), UnixMillis(begin));
        let name = Text::cut(format!("s19.{miner}"));
        let address = Text::cut(format!("192.0.2.{miner}:5000"));
        publish(MinerConnected { miner_id, name, timestamp, address, user_agent: Text::cut("cgminer/4.12") }.into());
        publish(MinerHashrateUpdate { miner_id, hashrate: 95_000_000_000_000, timestamp }.into());
    }
    for number in 0..600_u32 {
        let (miner_id, timestamp) = (MinerId(1 + number % 3), UnixMillis(begin + u64::from(number) * 1_000));
        publish(MinerShareSubmitted { miner_id, timestamp, target: TARGET, share: CompactTarget(0x1b00_ffff) }.into());
    }
}

/// A user_identity of channels and the name of an SV1 miner that are the same word, and events that were dropped.
fn twins(publish: &mut dyn FnMut(Event<'_>)) {
    let timestamp = UnixMillis(UnixMillis::now().0 - 60_000);
    let (downstream_id, channel_id, miner_id) = (DownstreamId(1), ChannelId(1), MinerId(1));
    let opened = ChannelOpened {
        downstream_id,
        channel_id,
        timestamp,
        kind: CHANNEL_EXTENDED,
        user_identity: Text::cut("twin"),
        nominal_hashrate: 95_000_000_000_000,
        target: TARGET,
    };
    publish(opened.into());
    let (name, address, user_agent) = (Text::cut("twin"), Text::cut("192.0.2.4:5000"), Text::cut("cgminer/4.12"));
    publish(MinerConnected { miner_id, name, timestamp, address, user_agent }.into());
    let (first_timestamp, last_timestamp) = (timestamp, timestamp);
    publish(EventsDropped { count: 3, first_timestamp, last_timestamp, reason: Text::cut("queue-full") }.into());
    let share = CompactTarget(0x1b00_ffff);
    publish(ShareSubmitted { downstream_id, timestamp, channel_id, sequence_number: 1, target: TARGET, share }.into());
    publish(MinerShareSubmitted { miner_id, timestamp, target: TARGET, share }.into());
}
