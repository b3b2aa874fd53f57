//! `kill -9`, again and again, under load: what was acknowledged is stored, once, without a gap.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::history::{History, logged};
use integration_tests::share_stream::{open_channels, publish_shares, publisher};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Sidecar, story};

const SOON: Duration = Duration::from_secs(60);
const SHARES: u32 = 120_000;
const CHANNELS: u32 = 50;
const KILLS: u64 = 5;

#[tokio::test]
async fn a_sidecar_killed_in_a_loop_loses_nothing_and_repeats_nothing() -> Result<()> {
    story("killed-in-a-loop", async |folder| {
        let log = folder.path().join("events.jsonl");
        let mut sidecar = Sidecar::builder(folder)?
            .section(&format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}", log.display().to_string()))
            .start()
            .await?;
        let pool = publisher("pool-1", sidecar.address()).start()?;
        open_channels(&pool, CHANNELS);
        let producer = {
            let pool = pool.clone();
            tokio::task::spawn_blocking(move || publish_shares(&pool, SHARES, CHANNELS))
        };
        for kill in 1..=KILLS {
            // Somewhere in the middle of the stream, never before the stream has moved on since the last kill.
            let mark = u64::from(SHARES) * kill / (KILLS + 2);
            wait_for("acknowledgements to move on", SOON, || async {
                let acknowledged = pool.counters().acknowledged;
                Ok(Look::when(acknowledged >= mark, acknowledged))
            })
            .await?;
            sidecar.kill().await?;
            sidecar.start_again().await?;
        }
        producer.await.context("the producer panicked")??;
        let closing = pool.clone();
        let report = tokio::task::spawn_blocking(move || closing.close(SOON)).await?;
        let counters = pool.counters();
        ensure!(report.complete, "not everything was acknowledged: {report:?} {counters:?}");
        ensure!(counters.dropped == 0, "the publisher dropped: {counters:?}");
        sidecar.wait_until_delivered(SOON).await?;

        let history = History::open(sidecar.history())?;
        ensure!(history.accepted("pool-1")? == u64::from(SHARES), "the channels have {}", history.accepted("pool-1")?);
        ensure!(
            history.accepted_in_total("pool-1")? == u64::from(SHARES),
            "the totals have {}",
            history.accepted_in_total("pool-1")?
        );
        let logged = logged(&log, "share_submitted")?;
        ensure!(logged.len() == SHARES as usize, "the log has {} different shares", logged.len());
        let sessions: std::collections::BTreeSet<&String> = logged.keys().map(|(session, _)| session).collect();
        ensure!(sessions.len() == 1, "one run of the publisher is one session, not {sessions:?}");
        sidecar.expect_balanced_ledgers().await?;
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_publisher_killed_with_a_spool_loses_nothing_that_reached_it() -> Result<()> {
    story("killed-publisher", async |folder| {
        let mut sidecar = Sidecar::builder(folder)?.start().await?;
        let spool = folder.path().join("pool.spool");
        let address = sidecar.address();
        let spooling = || {
            integration_tests::process::ProcessSpec::new(
                "spooling-publisher",
                env!("CARGO_BIN_EXE_spooling-publisher"),
                folder.path(),
            )
            .arg(address.to_string())
            .arg(&spool)
        };
        // The first run loses its sidecar in the middle, so that its spool holds what nobody acknowledged.
        let mut first = spooling().arg("20000").start()?;
        first.wait_for_log("spooled all", SOON).await?;
        sidecar.kill().await?;
        first.kill().await?;
        let mut away = spooling().arg("5000").start()?;
        away.wait_for_log("spooled all", SOON).await?;
        away.kill().await?;
        sidecar.start_again().await?;
        ensure!(sidecar.address() == address, "the sidecar came back elsewhere");
        let mut last = spooling().arg("100").arg("close").start()?;
        let status = last.wait_for_end(SOON).await?;
        ensure!(status.success(), "the last run ended with {status}: {}", last.tail());
        sidecar.wait_until_delivered(SOON).await?;
        let accepted = History::open(sidecar.history())?.accepted_in_total("spooled")?;
        ensure!(accepted == 25_100, "{accepted} of 25,100 shares are in the history");
        sidecar.stop().await?;
        Ok(())
    })
    .await
}
