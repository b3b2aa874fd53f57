//! The product's own binary as a process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    TestFolder, http,
    ports::PortLease,
    process::{Process, ProcessSpec, wait_for_http},
    sri_api::Metrics,
};

/// Names a binary to test instead of building one.
const BINARY_VARIABLE: &str = "HASHPOOL_SIDECAR_BIN";
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// What a sidecar is started with.
#[derive(Debug)]
pub struct SidecarBuilder<'a> {
    folder: &'a TestFolder,
    name: String,
    listen: PortLease,
    admin: PortLease,
    sections: String,
}

/// A running sidecar. Dropping it kills it.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    listen: PortLease,
    admin: PortLease,
    config: PathBuf,
    history: PathBuf,
    journal: PathBuf,
}

impl Sidecar {
    /// A sidecar with a listener, a journal, an admin endpoint and the SQLite sink `history`, on free ports and with
    /// its state in `folder`; [`SidecarBuilder::section`] adds to it.
    ///
    /// # Errors
    /// When no port is free.
    pub fn builder(folder: &TestFolder) -> Result<SidecarBuilder<'_>> {
        Ok(SidecarBuilder {
            folder,
            name: "sidecar".to_owned(),
            listen: PortLease::new()?,
            admin: PortLease::new()?,
            sections: String::new(),
        })
    }

    /// Where publishers connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen.address()
    }

    /// Where `/live`, `/ready`, `/metrics` and `/pipeline` are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The database of the sink `history`.
    #[must_use]
    pub fn history(&self) -> &Path {
        &self.history
    }

    /// The journal's file.
    #[must_use]
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// The configuration file; a story may rewrite it and ask for a reload.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// `/metrics`, read.
    ///
    /// # Errors
    /// When the endpoint does not answer or a line is not a sample.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&http::get_text(self.admin_address(), "/metrics").await?)
    }

    /// `/pipeline`: sources, journal, sinks and ledger.
    ///
    /// # Errors
    /// When the endpoint does not answer with JSON.
    pub async fn pipeline(&self) -> Result<serde_json::Value> {
        http::get_json(self.admin_address(), "/pipeline").await
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the sidecar was not running.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill().await
    }

    /// Stops the sidecar cleanly.
    ///
    /// # Errors
    /// When the sidecar was not running or does not stop.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.interrupt(STOPPED_WITHIN).await
    }

    /// Starts the sidecar again, on the same ports and state, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the error shows its log.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process.start()?;
        wait_for_http(&mut self.process, self.admin.address(), "/ready", READY_WITHIN).await
    }
}

impl SidecarBuilder<'_> {
    /// Names the sidecar's files, for stories with more than one.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Adds TOML text behind the standard sections.
    #[must_use]
    pub fn section(mut self, toml: &str) -> Self {
        self.sections.push('\n');
        self.sections.push_str(toml);
        self.sections.push('\n');
        self
    }

    /// Adds a bridge that polls the monitoring API at `url` every second.
    #[must_use]
    pub fn sri_bridge(self, name: &str, url: &str) -> Self {
        self.section(&format!("[bridges.{name}]\ntype = \"sri\"\nurl = \"{url}\"\nevery = \"1s\""))
    }

    /// Builds the binary once per test run, starts the sidecar and waits until it is ready.
    ///
    /// # Errors
    /// When the binary cannot be built, or the sidecar ends or is not ready in time.
    pub async fn start(self) -> Result<Sidecar> {
        let binary = tokio::task::spawn_blocking(binary).await??;
        let state = self.folder.path().join(format!("{}-state", self.name));
        std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let (journal, history) = (state.join("journal.db"), state.join("stats.db"));
        let text = format!(
            "[server]\nlisten = \"{}\"\n\n[journal]\npath = {:?}\n\n[admin]\nlisten = \"{}\"\n\n\
             [sinks.history]\ntype = \"sqlite\"\npath = {:?}\n{}",
            self.listen.address(),
            journal.display().to_string(),
            self.admin.address(),
            history.display().to_string(),
            self.sections,
        );
        let config = self.folder.write(&format!("{}.toml", self.name), &text)?;
        let process =
            ProcessSpec::new(&self.name, binary, self.folder.path()).arg("run").arg("-c").arg(&config).start()?;
        let mut sidecar = Sidecar { process, listen: self.listen, admin: self.admin, config, history, journal };
        wait_for_http(&mut sidecar.process, sidecar.admin.address(), "/ready", READY_WITHIN).await?;
        Ok(sidecar)
    }
}

/// The sidecar's binary: the one named by `HASHPOOL_SIDECAR_BIN`, or one built by cargo, once per test process.
///
/// # Errors
/// When the named file does not exist or the build fails.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{BINARY_VARIABLE} names {}, which is no file", path.display());
        return Ok(path);
    }
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!("cannot build the sidecar: {error}"))
}

/// Cargo names the binary's path itself, so that no target folder or profile has to be guessed.
fn build() -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", "hashpool-sidecar", "--bin", "hashpool-sidecar", "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo build ended with {}", output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages are no UTF-8")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| {
            let is_ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == "hashpool-sidecar";
            is_ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
        })
        .context("cargo named no executable")
}
