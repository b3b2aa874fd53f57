//! Full disks, damaged files, two sidecars on one folder.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::history::History;
use integration_tests::share_stream::{open_channels, publish_shares, publisher};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Sidecar, http, story};

const SOON: Duration = Duration::from_secs(60);
const CHANNELS: u32 = 10;
const DISK_MIB: u32 = 128;
/// More bytes than what the ballast file frees, so that the disk stays full.
const FLOOD: u32 = 500_000;

#[tokio::test]
async fn a_full_disk_stops_acknowledgements_and_space_resumes_them() -> Result<()> {
    story("full-disk", async |folder| {
        let mut sidecar = Sidecar::builder(folder)?.on_small_disk(DISK_MIB).start().await?;
        let pool = publisher("pool-1", sidecar.address()).start()?;
        open_channels(&pool, CHANNELS);
        publish(&pool, 1_000).await?;
        wait_for("the first shares to be acknowledged", SOON, || async {
            let counters = pool.counters();
            Ok(Look::when(counters.queued + counters.unacknowledged == 0, counters.acknowledged))
        })
        .await?;

        let filler = sidecar.state_folder()?.join("filler");
        fill(&filler)?;
        let flood = {
            let pool = pool.clone();
            tokio::task::spawn_blocking(move || publish_shares(&pool, FLOOD, CHANNELS))
        };
        let why = wait_for("the sidecar to say that the disk is full", SOON, || async {
            let (status, body) = http::get(sidecar.admin_address(), "/ready").await?;
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok(Look::when(status.as_u16() == 503, text))
        })
        .await?;
        ensure!(why.to_lowercase().contains("full") || why.to_lowercase().contains("space"), "/ready says {why}");
        let stuck = pool.counters();
        ensure!(stuck.unacknowledged + stuck.queued > 0, "everything was acknowledged on a full disk: {stuck:?}");

        fs::remove_file(&filler).context("cannot make room")?;
        flood.await.context("the producer panicked")??;
        let closing = pool.clone();
        let report = tokio::task::spawn_blocking(move || closing.close(SOON)).await?;
        ensure!(report.complete, "the sidecar did not resume: {report:?} {:?}", pool.counters());
        wait_for("the sidecar to be ready again", SOON, || async {
            let (status, body) = http::get(sidecar.admin_address(), "/ready").await?;
            Ok(Look::when(status.as_u16() == 200, String::from_utf8_lossy(&body).into_owned()))
        })
        .await?;
        sidecar.wait_until_delivered(SOON).await?;
        // SQLite would follow the path through /proc to a place outside the namespace, so it gets a copy.
        for name in ["stats.db", "stats.db-wal"] {
            fs::copy(sidecar.state_folder()?.join(name), folder.path().join(name))?;
        }
        let accepted = History::open(&folder.path().join("stats.db"))?.accepted_in_total("pool-1")?;
        ensure!(accepted == u64::from(1_000 + FLOOD), "{accepted} shares are in the history");
        sidecar.expect_balanced_ledgers().await?;
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_and_nothing_is_counted_twice() -> Result<()> {
    story("damaged-journal", async |folder| {
        let mut sidecar = Sidecar::builder(folder)?.start().await?;
        publish_and_close(&sidecar, "pool-1", 20_000).await?;
        sidecar.wait_until_delivered(SOON).await?;
        sidecar.stop().await?;
        // The header of the file: SQLite will not take it for a database.
        overwrite(sidecar.journal(), 0, b"this was a journal once")?;
        sidecar.start_again().await?;
        let log = sidecar.process().log()?;
        ensure!(log.contains("damaged"), "the log does not say that the journal was damaged: {log}");
        let aside = fs::read_dir(sidecar.journal().parent().context("the journal lies in a folder")?)?
            .filter_map(Result::ok)
            .any(|entry| entry.file_name().to_string_lossy().contains("damaged"));
        ensure!(aside, "the damaged journal was not set aside");
        publish_and_close(&sidecar, "pool-1", 5_000).await?;
        sidecar.wait_until_delivered(SOON).await?;
        let accepted = History::open(sidecar.history())?.accepted_in_total("pool-1")?;
        ensure!(accepted == 25_000, "{accepted} shares, not 25,000");
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_damaged_history_is_set_aside_and_filled_again_from_the_journal() -> Result<()> {
    story("damaged-history", async |folder| {
        let mut sidecar = Sidecar::builder(folder)?.start().await?;
        publish_and_close(&sidecar, "pool-1", 20_000).await?;
        sidecar.wait_until_delivered(SOON).await?;
        sidecar.stop().await?;
        overwrite(sidecar.history(), 0, b"this was a history once")?;
        sidecar.start_again().await?;
        sidecar.wait_until_delivered(SOON).await?;
        let accepted = History::open(sidecar.history())?.accepted_in_total("pool-1")?;
        ensure!(accepted == 20_000, "{accepted} of 20,000 shares came back from the journal");
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_second_sidecar_on_the_same_folder_refuses() -> Result<()> {
    story("two-sidecars", async |folder| {
        let mut sidecar = Sidecar::builder(folder)?.start().await?;
        let mut second = sidecar.a_second_one_on_other_ports(folder).await?;
        let status = second.wait_for_end(SOON).await?;
        ensure!(!status.success(), "the second sidecar ended with success");
        let log = second.log()?;
        ensure!(log.contains("in use") && log.contains("journal"), "it does not say why: {log}");
        publish_and_close(&sidecar, "pool-1", 100).await?;
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

async fn publish(pool: &stats_publisher::StatsPublisher, shares: u32) -> Result<()> {
    let pool = pool.clone();
    tokio::task::spawn_blocking(move || publish_shares(&pool, shares, CHANNELS)).await?
}

async fn publish_and_close(sidecar: &Sidecar, name: &str, shares: u32) -> Result<()> {
    let pool = publisher(name, sidecar.address()).start()?;
    let report = tokio::task::spawn_blocking(move || -> Result<_> {
        open_channels(&pool, CHANNELS);
        publish_shares(&pool, shares, CHANNELS)?;
        Ok(pool.close(SOON))
    })
    .await??;
    ensure!(report.complete, "{report:?}");
    Ok(())
}

/// Writes until the disk takes no more.
fn fill(path: &Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    let mut block = vec![0_u8; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
    Ok(())
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    Ok(())
}
