//! Delivery rule 38: the sidecar raises its own limit of open files, and `check --online` warns when even the highest is low.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::process::{ProcessSpec, wait_for_http};
use integration_tests::{ports::PortLease, story};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_a_low_one_is_told() -> Result<()> {
    story("open-files", async |folder| {
        let binary = tokio::task::spawn_blocking(integration_tests::sidecar::binary).await??;
        let (listen, admin) = (PortLease::new()?, PortLease::new()?);
        let state = folder.path().join("journal.db");
        let config = folder.write(
            "sidecar.toml",
            &format!(
                "[server]\nlisten = \"{}\"\n[journal]\npath = {:?}\n[admin]\nlisten = \"{}\"\n",
                listen.address(),
                state.display().to_string(),
                admin.address()
            ),
        )?;
        let under = |name: &str, limits: &str| {
            ProcessSpec::new(name, "sh", folder.path())
                .arg("-c")
                .arg(format!("{limits}; exec \"$0\" \"$@\""))
                .arg(&binary)
        };
        let mut check = under("check", "ulimit -n 300").arg("check").arg("--online").arg("-c").arg(&config).start()?;
        check.wait_for_end(SOON).await?;
        ensure!(check.log()?.contains("LimitNOFILE"), "check --online does not warn: {}", check.log()?);

        let mut sidecar =
            under("sidecar", "ulimit -n 2000; ulimit -Sn 300").arg("run").arg("-c").arg(&config).start()?;
        wait_for_http(&mut sidecar, admin.address(), "/ready", SOON).await?;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", sidecar.id()?))?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no such limit")?;
        ensure!(line.split_whitespace().nth(3) == Some("2000"), "the soft limit was not raised: {line}");
        sidecar.interrupt(SOON).await?;
        Ok(())
    })
    .await
}
