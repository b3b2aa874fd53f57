//! What the port meets in the wild: keys that do not match, garbage, and a publisher beside it that must not notice.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::history::History;
use integration_tests::share_stream::{open_channels, publish_shares, publisher};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Sidecar, story};
use stats_sv2::noise::AuthoritySecretKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(60);
const SHARES: u32 = 5_000;

#[tokio::test]
async fn an_encrypted_session_works_and_a_wrong_authority_key_is_refused_clearly() -> Result<()> {
    story("noise", async |folder| {
        let binary = tokio::task::spawn_blocking(integration_tests::sidecar::binary).await??;
        let secret_file = folder.path().join("authority.key");
        let made = tokio::process::Command::new(binary)
            .args(["keygen", "noise", "--out"])
            .arg(&secret_file)
            .output()
            .await
            .context("cannot run keygen")?;
        ensure!(made.status.success(), "keygen: {}", String::from_utf8_lossy(&made.stderr));
        let public = String::from_utf8(made.stdout)?.trim().parse()?;
        let mut sidecar = Sidecar::builder(folder)?
            .section(&format!("[server.noise]\nauthority_key_file = {:?}", secret_file.display().to_string()))
            .start()
            .await?;

        let stranger = publisher("pool-1", sidecar.address())
            .authority_public_key(AuthoritySecretKey::generate().public_key())
            .start()?;
        let error = wait_for("the wrong key to be refused", SOON, || async {
            let error = stranger.counters().last_error.unwrap_or_default();
            Ok(Look::when(error.contains("authority"), error))
        })
        .await?;
        ensure!(stranger.counters().connections == 0, "a session was opened with the wrong key: {error}");
        drop(stranger);

        let pool = publisher("pool-1", sidecar.address()).authority_public_key(public).start()?;
        publish_and_close(pool, SHARES).await?;
        sidecar.wait_until_delivered(SOON).await?;
        let accepted = History::open(sidecar.history())?.accepted_in_total("pool-1")?;
        ensure!(accepted == u64::from(SHARES), "{accepted} shares arrived encrypted");
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn garbage_on_the_port_is_counted_and_a_publisher_beside_it_does_not_notice() -> Result<()> {
    story("garbage", async |folder| {
        let mut sidecar = Sidecar::builder(folder)?.start().await?;
        let pool = publisher("pool-1", sidecar.address()).start()?;
        let publishing = tokio::spawn(publish_and_close(pool, SHARES));
        for garbage in [
            b"GET / HTTP/1.1\r\nHost: pool\r\n\r\n".to_vec(),
            vec![0xff; 4096],
            // The right extension, an event before any session.
            [&[0x54, 0x53, 0x10, 28, 0, 0][..], &[0; 28]].concat(),
            // A payload of sixteen megabytes is announced.
            vec![0x54, 0x53, 0x00, 0xff, 0xff, 0xff],
        ] {
            let mut stream = TcpStream::connect(sidecar.address()).await?;
            stream.write_all(&garbage).await?;
            // The sidecar closes; how far it read is its own business.
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
        }
        publishing.await??;
        sidecar.wait_until_delivered(SOON).await?;
        let accepted = History::open(sidecar.history())?.accepted_in_total("pool-1")?;
        ensure!(accepted == u64::from(SHARES), "{accepted} of {SHARES} shares arrived");
        let ended = &sidecar.pipeline().await?["listener"]["ended"];
        ensure!(ended["malformed-open"] == 4, "the garbage was counted as {ended}");
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

async fn publish_and_close(pool: stats_publisher::StatsPublisher, shares: u32) -> Result<()> {
    let report = tokio::task::spawn_blocking(move || -> Result<_> {
        open_channels(&pool, 10);
        publish_shares(&pool, shares, 10)?;
        Ok(pool.close(SOON))
    })
    .await??;
    ensure!(report.complete, "{report:?}");
    Ok(())
}
