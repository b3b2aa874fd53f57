//! What the hooks cost the real pool: the time from SubmitShares to its Success as one miner sees it, under a flood of easy
//! shares, with and without them.
//!
//! Pools of every kind run beside each other and take turns, a short round each, so that what else the machine does falls on
//! all alike. They are debug builds, the ones that the stories use: SRI's code and ours are slow in the same way.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use integration_tests::{Answer, Mint, Pool, Sv2Client, TemplateProvider, TestFolder};

use crate::decode::median;
use crate::sidecar_process::{Sidecar, Sinks};
use crate::table::{Limit, Table};

const ROUNDS: usize = 100;
const SHARES_OF_A_ROUND: usize = 50;
/// Shares before the first round that counts: connections, caches and allocators are then warm.
const WARM_UP: usize = 300;
/// SRI closes a downstream after 1,200 minutes' worth of shares on one tip, and makes shares harder that come faster than
/// this.
const SHARES_PER_MINUTE: f32 = 120_000.0;
/// The most that a miner may see of the hooks, as a ratio of medians.
const MOST: f64 = 1.05;

/// A pool with one miner.
struct Measured {
    what: &'static str,
    /// Held, or it ends.
    _pool: Pool,
    miner: Sv2Client,
    channel: u32,
    micros: Vec<f64>,
}

impl Measured {
    async fn begin(what: &'static str, pool: Pool) -> Result<Self> {
        let mut miner = Sv2Client::connect(pool.address()).await?;
        let channel = miner.open_channel("alice.rig1").await?;
        let mut measured = Self { what, _pool: pool, miner, channel, micros: Vec::new() };
        measured.round(WARM_UP).await?;
        measured.micros.clear();
        Ok(measured)
    }

    async fn round(&mut self, shares: usize) -> Result<()> {
        for _ in 0..shares {
            let begin = Instant::now();
            let answer = self.miner.submit(self.channel).await?;
            self.micros.push(begin.elapsed().as_nanos() as f64 / 1e3);
            ensure!(answer == Answer::Accepted, "{}: {answer:?}", self.what);
        }
        Ok(())
    }
}

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(table, quick))
}

async fn run(table: &mut Table, quick: bool) -> Result<()> {
    let folder = TestFolder::new("pool-latency")?;
    let provider = TemplateProvider::builder().stay_on_tip().start().await?;
    let sinks = Sinks { sqlite: true, log_file: false };
    let (connected, stopped) = (Sidecar::start(sinks)?, Sidecar::start(sinks)?);
    let (connected_at, stopped_at) = (connected.listen.parse()?, stopped.listen.parse()?);
    let mint = Mint::start(0)?;
    let pool =
        |name: &'static str| Pool::builder(&folder, provider.address()).name(name).shares_per_minute(SHARES_PER_MINUTE);
    let mut pools = [
        Measured::begin("the unmodified pool", pool("unmodified").start().await?).await?,
        Measured::begin("hooks switched off", pool("off").stats_keys("enabled = false").start().await?).await?,
        Measured::begin("no sidecar", pool("absent").stats(nobody()?).start().await?).await?,
        Measured::begin("sidecar connected", pool("connected").stats(connected_at).start().await?).await?,
        Measured::begin("sidecar stopped", pool("stopped").stats(stopped_at).start().await?).await?,
        Measured::begin(
            "sidecar connected, a quote for each share",
            pool("quotes")
                .stats(connected_at)
                .stats_keys("publisher = \"quotes\"")
                .quotes(mint.address(), 0)
                .start()
                .await?,
        )
        .await?,
    ];
    stopped.signal("STOP")?;
    for _ in 0..if quick { ROUNDS / 10 } else { ROUNDS } {
        for pool in &mut pools {
            pool.round(SHARES_OF_A_ROUND).await?;
        }
    }
    stopped.signal("CONT")?;
    let [unmodified, off, rest @ .., quotes] = pools.map(|pool| (pool.what, median(pool.micros)));
    table.add("share latency of the unmodified pool, p50", unmodified.1, "µs", Limit::None);
    table.add("the same with hooks switched off, p50", off.1, "µs", Limit::None);
    for (what, micros) in rest {
        table.add(format!("{what}, of hooks switched off"), micros / off.1, "×", Limit::AtMost(MOST));
        table.add(format!("{what}, of the unmodified pool"), micros / unmodified.1, "×", Limit::AtMost(MOST));
    }
    // No limit: the mint, which checks each request, works in the miner's own process here, on the same cores.
    table.add(format!("{}, of hooks switched off", quotes.0), quotes.1 / off.1, "×", Limit::None);
    Ok(())
}

/// An address at which nobody listens.
fn nobody() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
