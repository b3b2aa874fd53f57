//! Two hundred clients of the live stream: from the publication of an event to the message that tells of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use integration_tests::share_stream::{open_channels, publisher, share};
use serde_json::Value;
use stats_publisher::StatsPublisher;
use stats_sv2::event::BlockFound;
use stats_sv2::{ChannelId, DownstreamId, U256, UnixMillis};
use tokio::task::JoinSet;

use crate::dashboard::{connect, request};
use crate::sidecar_process::Sidecar;
use crate::table::{Limit, Table};

const CLIENTS: u64 = 200;
const LIMIT_MS: f64 = 1_000.0;
/// Between two events, so that they fall everywhere between two updates.
const PAUSE: Duration = Duration::from_millis(237);

/// What every message says, read once though all clients get it.
struct Told {
    /// The publisher whose events are followed.
    probe: String,
    /// By id: accepted shares of the probe in an update, or the height of a block.
    messages: HashMap<String, Tale>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tale {
    /// The probe's accepted shares, and when the update was made.
    Update(u64, u64),
    Block(u64),
    Other,
}

/// A message as a client got it.
struct Arrival {
    tale: Tale,
    at: Instant,
    at_ms: u64,
}

pub(crate) fn measure(table: &mut Table, sidecar: &Sidecar, address: &str, time: Duration) -> Result<()> {
    // A name that a history which is kept cannot know.
    let name = format!("probe-{}", UnixMillis::now().0);
    let probe = publisher(&name, sidecar.listen.parse()?).start().context("cannot start the probe")?;
    open_channels(&probe, 1);
    let told = Arc::new(Mutex::new(Told { probe: name, messages: HashMap::new() }));
    let viewers = Viewers::follow(address, CLIENTS, Some(Arc::clone(&told)))?;
    let end = Instant::now() + time;
    let (mut shares, mut blocks) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        std::thread::sleep(PAUSE);
        shares.push(Instant::now());
        probe.publish(share(shares.len() as u32, 1));
        std::thread::sleep(PAUSE);
        blocks.push(Instant::now());
        publish_block(&probe, blocks.len());
    }
    std::thread::sleep(Duration::from_secs(3));
    probe.close(Duration::from_secs(5));
    let clients = viewers.stop()?;
    ensure!(clients.len() as u64 == CLIENTS, "{} of {CLIENTS} clients were let in", clients.len());
    let (mut to_update, mut to_block, mut on_the_way) = (Vec::new(), Vec::new(), Vec::new());
    for arrivals in &clients {
        let mut seen = 0;
        for Arrival { tale, at, at_ms } in arrivals {
            match *tale {
                Tale::Update(accepted, made_ms) => {
                    on_the_way.push(at_ms.saturating_sub(made_ms) as f64);
                    for published in shares.iter().take(accepted as usize).skip(seen) {
                        to_update.push(at.duration_since(*published).as_secs_f64() * 1e3);
                    }
                    seen = seen.max(accepted as usize);
                }
                Tale::Block(height) => {
                    let published = blocks.get((height as usize).wrapping_sub(1)).context("nobody found this block")?;
                    to_block.push(at.duration_since(*published).as_secs_f64() * 1e3);
                }
                Tale::Other => {}
            }
        }
        ensure!(seen == shares.len(), "a client saw {seen} of {} shares", shares.len());
    }
    ensure!(to_block.len() == blocks.len() * CLIENTS as usize, "clients missed blocks");
    let what = format!("{CLIENTS} live clients");
    for (name, times, limit) in [
        ("block published to its message", to_block, Limit::AtMost(LIMIT_MS)),
        ("update made to received", on_the_way, Limit::AtMost(LIMIT_MS)),
        // Updates are a second apart by design, so a share waits for half of one on average before anything else.
        ("share published to its update", to_update, Limit::None),
    ] {
        let (p50, p99) = percentiles(times);
        table.add(format!("{what}, {name}: p50"), p50, "ms", Limit::None);
        table.add(format!("{what}, {name}: p99"), p99, "ms", limit);
    }
    Ok(())
}

fn percentiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |hundredth: usize| times.get(times.len().saturating_sub(1) * hundredth / 100).copied();
    (at(50).unwrap_or(f64::NAN), at(99).unwrap_or(f64::NAN))
}

fn publish_block(probe: &StatsPublisher, height: usize) {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&UnixMillis::now().0.to_le_bytes());
    hash[8] = 1;
    probe.publish(BlockFound {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp: UnixMillis::now(),
        height: height as u32,
        block_hash: U256(hash),
    });
}

/// Clients of the live stream on a thread of their own, until they are stopped or dropped.
pub(crate) struct Viewers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Vec<Arrival>>>>>,
}

impl Viewers {
    /// Clients that read and forget.
    pub(crate) fn start(address: &str, clients: u64) -> Result<Self> {
        Self::follow(address, clients, None)
    }

    fn follow(address: &str, clients: u64, told: Option<Arc<Mutex<Told>>>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, stopped) = (address.to_owned(), Arc::clone(&stop));
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let mut all = JoinSet::new();
                for _ in 0..clients {
                    let mut sender = connect(&address).await?;
                    let response = sender.send_request(request(&address, "/api/v1/live")?).await?;
                    ensure!(response.status().is_success(), "the live stream answered {}", response.status());
                    all.spawn(view(sender, response.into_body(), told.clone(), Arc::clone(&stopped)));
                }
                if ready.send(()).is_err() {
                    return Ok(Vec::new());
                }
                let mut arrivals = Vec::new();
                while let Some(client) = all.join_next().await {
                    arrivals.push(client.context("a client panicked")??);
                }
                Ok(arrivals)
            })
        });
        let viewers = Self { stop, thread: Some(thread) };
        match is_ready.recv_timeout(Duration::from_secs(30)) {
            Ok(()) => Ok(viewers),
            Err(_) => {
                let clients = viewers.stop()?.len();
                anyhow::bail!("only {clients} live clients could connect")
            }
        }
    }

    fn stop(mut self) -> Result<Vec<Vec<Arrival>>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is stopped once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the live clients panicked"))?
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What they saw is not wanted any more.
            drop(thread.join());
        }
    }
}

async fn view(
    sender: hyper::client::conn::http1::SendRequest<http_body_util::Empty<hyper::body::Bytes>>,
    mut body: hyper::body::Incoming,
    told: Option<Arc<Mutex<Told>>>,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Arrival>> {
    let _held = sender;
    let (mut received, mut arrivals) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let Ok(frame) = tokio::time::timeout(Duration::from_millis(500), body.frame()).await else { continue };
        let frame = frame.context("the live stream ended")??;
        let (at, at_ms) = (Instant::now(), UnixMillis::now().0);
        let Some(told) = &told else { continue };
        received.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(end) = received.windows(2).position(|two| two == b"\n\n") {
            let tale = tale(&received[..end], told)?;
            received.drain(..end + 2);
            arrivals.push(Arrival { tale, at, at_ms });
        }
    }
    Ok(arrivals)
}

/// Reads a message, unless another client had it before.
fn tale(message: &[u8], told: &Mutex<Told>) -> Result<Tale> {
    let message = std::str::from_utf8(message)?;
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
    let (Some(id), Some(event), Some(data)) = (field("id: "), field("event: "), field("data: ")) else {
        return Ok(Tale::Other);
    };
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = told.messages.get(id) {
        return Ok(*known);
    }
    let data: Value = serde_json::from_str(data)?;
    let tale = match event {
        "update" => {
            let sources = data["sources"].as_array().context("an update without sources")?;
            let probe = sources.iter().find(|source| source["publisher"] == told.probe.as_str());
            let accepted = probe.and_then(|source| source["accepted"].as_u64()).unwrap_or(0);
            Tale::Update(accepted, data["at_ms"].as_u64().context("an update without time")?)
        }
        "block" if data["publisher"] == told.probe.as_str() => {
            Tale::Block(data["height"].as_u64().context("a block without height")?)
        }
        _ => Tale::Other,
    };
    told.messages.insert(id.to_owned(), tale);
    Ok(tale)
}
