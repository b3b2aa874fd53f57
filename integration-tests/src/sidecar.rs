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
    wait::{Look, wait_for},
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
    disk_mib: Option<u32>,
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
            disk_mib: None,
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

    /// Waits until every sink has taken everything that the journal holds.
    ///
    /// # Errors
    /// At the deadline, with what `/pipeline` said last.
    pub async fn wait_until_delivered(&self, deadline: Duration) -> Result<()> {
        wait_until_delivered(self.admin_address(), deadline).await
    }

    /// Checks that each sink's ledger explains every event.
    ///
    /// # Errors
    /// Names the sink and the difference.
    pub async fn expect_balanced_ledgers(&self) -> Result<()> {
        let pipeline = self.pipeline().await?;
        for (name, sink) in sinks(&pipeline)? {
            let ledger = &sink["ledger"];
            let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
            let expired: u64 = ledger["expired"].as_object().map_or(0, |reasons| reasons.values().map(count).sum());
            let explained = ["delivered", "filtered", "dead_lettered", "pending"].iter().map(|key| count(&ledger[key]));
            let explained = explained.sum::<u64>() + expired;
            ensure!(count(&ledger["appended"]) == explained, "the ledger of {name} does not balance: {ledger}");
        }
        Ok(())
    }

    /// The state folder as this process sees it: on the small disk, if it has one.
    ///
    /// # Errors
    /// When the sidecar is not running.
    pub fn state_folder(&self) -> Result<PathBuf> {
        let folder = self.journal.parent().context("the journal lies in a folder")?;
        let inside = folder.strip_prefix("/").context("the state folder is absolute")?;
        Ok(PathBuf::from(format!("/proc/{}/root", self.process.id()?)).join(inside))
    }

    /// Starts a second sidecar with the same files and other ports; it is expected to refuse.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub async fn a_second_one_on_other_ports(&self, folder: &TestFolder) -> Result<Process> {
        let binary = tokio::task::spawn_blocking(binary).await??;
        let (listen, admin) = (PortLease::new()?, PortLease::new()?);
        let text = std::fs::read_to_string(&self.config)?
            .replace(&self.listen.address().to_string(), &listen.address().to_string())
            .replace(&self.admin.address().to_string(), &admin.address().to_string());
        let config = folder.write("second.toml", &text)?;
        ProcessSpec::new("second", binary, folder.path()).arg("run").arg("-c").arg(config).start()
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

    /// Puts the state on a disk of its own with this many MiB, which only this process and `/proc` see.
    #[must_use]
    pub fn on_small_disk(mut self, mib: u32) -> Self {
        self.disk_mib = Some(mib);
        self
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
        let process = match self.disk_mib {
            None => ProcessSpec::new(&self.name, binary, self.folder.path()),
            Some(mib) => on_small_disk(&self.name, &binary, self.folder.path(), &state, mib),
        };
        let process = process.arg("run").arg("-c").arg(&config).start()?;
        let mut sidecar = Sidecar { process, listen: self.listen, admin: self.admin, config, history, journal };
        wait_for_http(&mut sidecar.process, sidecar.admin.address(), "/ready", READY_WITHIN).await?;
        Ok(sidecar)
    }
}

/// In a mount namespace of its own, with a small tmpfs over the state folder. `unshare` and `sh` are replaced by the sidecar,
/// so the process is the sidecar.
fn on_small_disk(name: &str, binary: &Path, folder: &Path, state: &Path, mib: u32) -> ProcessSpec {
    let script = format!("mount -t tmpfs -o size={mib}m tmpfs \"$0\" && exec \"$@\"");
    // Whoever is not root becomes root of a user namespace, which may mount a tmpfs.
    let flags = if rustix::process::geteuid().is_root() { "--mount" } else { "--map-root-user" };
    ProcessSpec::new(name, "unshare", folder)
        .arg(flags)
        .arg("--mount")
        .arg("sh")
        .arg("-c")
        .arg(script)
        .arg(state)
        .arg(binary)
}

/// Waits until every sink of the sidecar with this admin address has taken everything that the journal holds.
///
/// # Errors
/// At the deadline, with what `/pipeline` said last.
pub async fn wait_until_delivered(admin: SocketAddr, deadline: Duration) -> Result<()> {
    wait_for("every sink to take everything", deadline, || async {
        let pipeline: serde_json::Value = http::get_json(admin, "/pipeline").await?;
        let done = sinks(&pipeline)?.values().all(|sink| sink["status"] == "healthy" && sink["ledger"]["pending"] == 0);
        Ok(Look::when(done, pipeline.to_string()))
    })
    .await?;
    Ok(())
}

fn sinks(pipeline: &serde_json::Value) -> Result<&serde_json::Map<String, serde_json::Value>> {
    pipeline["sinks"].as_object().with_context(|| format!("/pipeline has no sinks: {pipeline}"))
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
