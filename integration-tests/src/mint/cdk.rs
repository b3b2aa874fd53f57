//! The mint on the real `cdk` library, as a process. It is a workspace of its own beside this crate, built by cargo into
//! the user's cache; for the heavy tier only.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::{
    TestFolder,
    ports::PortLease,
    process::{Process, ProcessSpec},
    sri::cache_folder,
    wait::Look,
};

/// The secret half of [`locking_key`](crate::quoting_host::locking_key).
const LOCKING_SECRET: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// A quote is paid or minted in some milliseconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// A running `cdk-mint`. Dropping it kills it.
#[derive(Debug)]
pub struct CdkMint {
    process: Process,
    port: PortLease,
    database: PathBuf,
}

impl CdkMint {
    /// Builds the mint if need be, starts it with its database in `folder`, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be built, ends, or is not ready in time.
    pub async fn start(folder: &TestFolder, minimum_difficulty: u32) -> Result<Self> {
        let binary = tokio::task::spawn_blocking(build).await??;
        let port = PortLease::new()?;
        let database = folder.path().join("cdk-mint.db");
        let process = ProcessSpec::new("cdk-mint", binary, folder.path())
            .arg(port.address().to_string())
            .arg(&database)
            .arg(minimum_difficulty.to_string())
            .arg(LOCKING_SECRET)
            .start()?;
        let mut mint = Self { process, port, database };
        mint.process.wait_for_log("listening on", READY_WITHIN).await?;
        Ok(mint)
    }

    /// Where pools connect; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The database of `cdk`.
    #[must_use]
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Pays every unpaid quote; returns what the mint says about it.
    ///
    /// # Errors
    /// When it ends or says nothing.
    pub async fn pay_all(&mut self) -> Result<String> {
        self.ask(Signal::USR1, "paid ").await
    }

    /// Mints every paid quote as the owner of the locking key; returns what the mint says about it.
    ///
    /// # Errors
    /// When it ends or says nothing.
    pub async fn redeem_all(&mut self) -> Result<String> {
        self.ask(Signal::USR2, "minted ").await
    }

    /// `kill -9`, and a new start with the same database and port.
    ///
    /// # Errors
    /// When it was not running or is not ready in time.
    pub async fn kill_and_start_again(&mut self) -> Result<()> {
        self.process.kill().await?;
        self.process.start()?;
        self.process.wait_for_log("listening on", READY_WITHIN).await?;
        Ok(())
    }

    /// Stops the mint cleanly.
    ///
    /// # Errors
    /// When it was not running or does not stop.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.interrupt(STOPPED_WITHIN).await
    }

    /// Signals the mint and waits for a new line that begins so.
    async fn ask(&mut self, signal: Signal, answer: &str) -> Result<String> {
        let answers = |log: String| {
            let lines = log.lines().filter(|line| line.starts_with(answer));
            lines.map(str::to_owned).collect::<Vec<String>>()
        };
        let before = answers(self.process.log()?).len();
        self.process.signal(signal)?;
        self.process
            .wait_until(&format!("a line with {answer:?}"), SETTLED_WITHIN, async |process| {
                let lines = answers(process.log()?);
                Ok(lines.into_iter().nth(before).map_or_else(|| Look::NotYet("no such line".to_owned()), Look::Done))
            })
            .await
    }
}

/// Cargo itself knows whether something has to be built; the folder outlives the workspace's own target folder.
// Minutes of compiling without a word would look like a hang.
#[allow(clippy::print_stderr)]
fn build() -> Result<PathBuf> {
    let protoc = Command::new("protoc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(protoc.is_ok(), "building cdk needs the command protoc; run: apt-get install -y protobuf-compiler");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("cdk-mint/Cargo.toml");
    let target = cache_folder()?.join("cdk-mint");
    eprintln!("building cdk-mint into {} (ten CPU-minutes the first time)", target.display());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells the crate under test about itself would make build scripts of `cdk` run again.
    let about_us = |name: &OsString| name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR";
    std::env::vars_os().map(|(name, _)| name).filter(about_us).for_each(|name| {
        cargo.env_remove(name);
    });
    let status = cargo
        .args(["build", "--locked", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        // The compiler wrapper and flags of the test run are not meant for foreign code.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "building cdk-mint ended with {status}; cargo's messages are above");
    Ok(target.join("debug/cdk-mint"))
}
