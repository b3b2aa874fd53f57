//! `pool_sv2` as a process: unmodified, or with our hooks in it.

use std::{net::SocketAddr, process::ExitStatus, time::Duration};

use anyhow::Result;

use super::{AUTHORITY_PUBLIC_KEY, AUTHORITY_SECRET_KEY, Counterpart, MONITORING_REFRESH_SECS, READY_WITHIN};
use crate::quoting_host::locking_key;
use crate::recipe::Integrated;
use crate::{
    MonitoringApi, PoolSnapshot, TestFolder,
    ports::PortLease,
    process::{Process, ProcessSpec, wait_for_http},
};

/// A share rate that makes the pool's easy target with a nominal hashrate of 1 H/s: 0.25 expected hashes a share.
const DEFAULT_SHARES_PER_MINUTE: f32 = 240.0;
/// A clean stop closes the connections and joins the tasks.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// What a pool is started with.
#[derive(Debug)]
pub struct PoolBuilder<'a> {
    folder: &'a TestFolder,
    name: String,
    template_provider: SocketAddr,
    shares_per_minute: f32,
    share_batch_size: u32,
    monitored: bool,
    /// The tables `[stats]` and `[quotes]`, and with them the pool that reads them.
    stats: Option<String>,
    quotes: String,
}

/// A running `pool_sv2`. Dropping it kills it.
#[derive(Debug)]
pub struct Pool {
    process: Process,
    listen: PortLease,
    monitoring: PortLease,
    monitored: bool,
}

impl Pool {
    /// A pool that takes its templates from `template_provider` and keeps its files in `folder`.
    #[must_use]
    pub fn builder(folder: &TestFolder, template_provider: SocketAddr) -> PoolBuilder<'_> {
        PoolBuilder {
            folder,
            name: "pool".to_owned(),
            template_provider,
            shares_per_minute: DEFAULT_SHARES_PER_MINUTE,
            share_batch_size: 1,
            monitored: true,
            stats: None,
            quotes: String::new(),
        }
    }

    /// Where SV2 miners and translators connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen.address()
    }

    /// The authority key that a translator must be configured with.
    #[must_use]
    pub fn authority_public_key(&self) -> &'static str {
        AUTHORITY_PUBLIC_KEY
    }

    /// Where the monitoring API listens.
    #[must_use]
    pub fn monitoring_address(&self) -> SocketAddr {
        self.monitoring.address()
    }

    /// The base URL of the monitoring API, as a bridge's `url` wants it.
    #[must_use]
    pub fn monitoring_url(&self) -> String {
        format!("http://{}", self.monitoring.address())
    }

    /// A reader of the monitoring API.
    #[must_use]
    pub fn api(&self) -> MonitoringApi {
        MonitoringApi::new(self.monitoring.address())
    }

    /// The pool's own counts of all its channels, from all pages of its monitoring API.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn counts(&self) -> Result<PoolSnapshot> {
        self.api().pool().await
    }

    /// Shares accepted in this run according to the pool's log, one line each: an account independent of the
    /// monitoring API. Holds for `share_batch_size = 1` only, where each share is acknowledged by itself.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn accepted_in_log(&self) -> Result<u64> {
        let log = self.process.log()?;
        let accepted = log
            .lines()
            .filter(|line| line.contains("SubmitSharesExtended: "))
            .filter(|line| line.contains('✅') || line.contains("Block Found"))
            .count();
        Ok(accepted as u64)
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the pool was not running.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill().await
    }

    /// Stops the pool cleanly.
    ///
    /// # Errors
    /// When the pool was not running or does not stop.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.interrupt(STOPPED_WITHIN).await
    }

    /// Starts the pool again, on the same ports, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the error shows its log.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process.start()?;
        self.wait_until_ready().await
    }

    // The listening port is never probed: the pool would count the probe as a client.
    async fn wait_until_ready(&mut self) -> Result<()> {
        self.process.wait_for_log("ready to accept connections", READY_WITHIN).await?;
        if self.monitored {
            wait_for_http(&mut self.process, self.monitoring.address(), "/api/v1/health", READY_WITHIN).await?;
        }
        Ok(())
    }
}

impl PoolBuilder<'_> {
    /// Names the pool's files, for stories with more than one pool.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Expected shares per minute and channel: the target is nominal hashrate * 60 / this, in hashes a share.
    #[must_use]
    pub fn shares_per_minute(mut self, shares: f32) -> Self {
        self.shares_per_minute = shares;
        self
    }

    /// Accepted shares per SubmitShares.Success.
    #[must_use]
    pub fn share_batch_size(mut self, shares: u32) -> Self {
        self.share_batch_size = shares;
        self
    }

    /// Takes the pool with our hooks, which publishes to the sidecar at this address.
    #[must_use]
    pub fn stats(mut self, sidecar: SocketAddr) -> Self {
        self.stats = Some(format!("\n[stats]\nstats_server_address = \"{sidecar}\"\n"));
        self
    }

    /// Adds keys to the table `[stats]`, such as `spool = "…"`.
    #[must_use]
    pub fn stats_keys(mut self, keys: &str) -> Self {
        self.stats.get_or_insert_with(|| "\n[stats]\n".to_owned()).push_str(&format!("{keys}\n"));
        self
    }

    /// Lets the pool with our hooks ask this mint for quotes, locked to [`locking_key`] where the user identity holds no key.
    #[must_use]
    pub fn quotes(mut self, mint: SocketAddr, minimum_difficulty: u32) -> Self {
        let key = locking_key();
        self.quotes = format!(
            "\n[quotes]\nmint_address = \"{mint}\"\nminimum_difficulty = {minimum_difficulty}\nlocking_key = \"{key}\"\n"
        );
        self.stats.get_or_insert_default();
        self
    }

    /// Takes the pool with our hooks that is built without SRI's own monitoring API: there is no [`Pool::api`] then.
    #[must_use]
    pub fn without_monitoring(mut self) -> Self {
        self.monitored = false;
        self
    }

    /// Builds the binary if this machine has none, starts the pool and waits until it accepts connections.
    ///
    /// # Errors
    /// When the binary cannot be had, or the pool ends or is not ready in time.
    pub async fn start(self) -> Result<Pool> {
        let (integrated, monitored) = (self.stats.is_some(), self.monitored);
        let binary = tokio::task::spawn_blocking(move || match (integrated, monitored) {
            (false, _) => Counterpart::POOL.binary().map_err(anyhow::Error::from),
            (true, true) => Integrated::POOL.binary().map_err(anyhow::Error::from),
            (true, false) => Integrated::POOL_WITHOUT_MONITORING.binary().map_err(anyhow::Error::from),
        });
        let binary = binary.await??;
        let listen = PortLease::new()?;
        let monitoring = PortLease::new()?;
        let config = format!(
            r#"authority_public_key = "{AUTHORITY_PUBLIC_KEY}"
authority_secret_key = "{AUTHORITY_SECRET_KEY}"
cert_validity_sec = 3600
listen_address = "{listen}"
coinbase_reward_script = "addr(tb1qa0sm0hxzj0x25rh8gw5xlzwlsfvvyz8u96w3p8)"
server_id = 1
pool_signature = "{name}"
shares_per_minute = {shares_per_minute:?}
share_batch_size = {share_batch_size}
monitoring_address = "{monitoring}"
monitoring_cache_refresh_secs = {MONITORING_REFRESH_SECS}
supported_extensions = [0x0002]

[template_provider_type.Sv2Tp]
address = "{template_provider}"
{stats}{quotes}"#,
            stats = self.stats.unwrap_or_default(),
            quotes = self.quotes,
            name = self.name,
            listen = listen.address(),
            monitoring = monitoring.address(),
            shares_per_minute = self.shares_per_minute,
            share_batch_size = self.share_batch_size,
            template_provider = self.template_provider,
        );
        let config = self.folder.write(&format!("{}.toml", self.name), &config)?;
        let process = ProcessSpec::new(&self.name, binary, self.folder.path())
            .arg("-c")
            .arg(config)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .start()?;
        let mut pool = Pool { process, listen, monitoring, monitored };
        pool.wait_until_ready().await?;
        Ok(pool)
    }
}
