//! Both sides of one host from the short form, as written in the original design: pool side 4000 and 8080, miner side
//! 4001 and 8081, databases below `.devenv`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::history::History;
use integration_tests::process::{Process, ProcessSpec, wait_for_http};
use integration_tests::share_stream::{open_channels, publish_shares, publisher};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{TestFolder, http, story};

const SOON: Duration = Duration::from_secs(60);

struct Side {
    name: &'static str,
    toml: &'static str,
    listen: u16,
    admin: u16,
    dashboard: u16,
    database: &'static str,
}

const POOL: Side = Side {
    name: "pool",
    toml: "[server]\ntcp_port = 4000\nhttp_port = 8080\ndb_path = \".devenv/state/pool-stats/stats.db\"\n",
    listen: 4000,
    admin: 4010,
    dashboard: 8080,
    database: ".devenv/state/pool-stats/stats.db",
};

const PROXY: Side = Side {
    name: "proxy",
    toml: "[server]\ntcp_port = 4001\nhttp_port = 8081\ndb_path = \".devenv/state/proxy-stats/stats.db\"\n",
    listen: 4001,
    admin: 4011,
    dashboard: 8081,
    database: ".devenv/state/proxy-stats/stats.db",
};

#[tokio::test]
async fn both_sides_from_the_short_form_keep_the_last_hour_over_restarts() -> Result<()> {
    story("short-form", async |folder| {
        let mut sides = Vec::new();
        for side in [&POOL, &PROXY] {
            sides.push((side, start(folder, side).await?));
        }
        for round in 1..=2_u64 {
            for (side, process) in &mut sides {
                publish(side, 500).await?;
                integration_tests::sidecar::wait_until_delivered(at(side.admin), SOON).await?;
                let history = History::open(&folder.path().join(side.database))?;
                let (samples, shares) = history.hashrate_samples(side.name)?;
                ensure!(samples > 0 && shares == 500 * round, "{}: {samples} samples, {shares} shares", side.name);
                // The second end of each side restarts too: the publisher above is a new session every round.
                let status = process.interrupt(SOON).await?;
                ensure!(status.success(), "{} ended with {status}: {}", side.name, process.tail());
                process.start()?;
                wait_for_http(process, at(side.admin), "/ready", SOON).await?;
                let after = History::open(&folder.path().join(side.database))?.hashrate_samples(side.name)?;
                ensure!(after == (samples, shares), "{}: {after:?} after the restart", side.name);
                wait_for("the dashboard to show the source", SOON, || async {
                    let summary = http::get_text(at(side.dashboard), "/api/v1/summary").await.unwrap_or_default();
                    Ok(Look::when(summary.contains(&format!("\"publisher\":\"{}\"", side.name)), summary))
                })
                .await?;
            }
        }
        Ok(())
    })
    .await
}

async fn start(folder: &TestFolder, side: &Side) -> Result<Process> {
    let binary = tokio::task::spawn_blocking(integration_tests::sidecar::binary).await??;
    let config = folder.write(&format!("{}.toml", side.name), side.toml)?;
    let mut process =
        ProcessSpec::new(side.name, binary, Path::new(folder.path())).arg("run").arg("-c").arg(config).start()?;
    wait_for_http(&mut process, at(side.admin), "/ready", SOON).await?;
    Ok(process)
}

async fn publish(side: &Side, shares: u32) -> Result<()> {
    let pool = publisher(side.name, at(side.listen)).start()?;
    let closed = tokio::task::spawn_blocking(move || -> Result<_> {
        open_channels(&pool, 5);
        publish_shares(&pool, shares, 5)?;
        Ok(pool.close(SOON))
    })
    .await??;
    ensure!(closed.complete, "{}: {closed:?}", side.name);
    Ok(())
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
