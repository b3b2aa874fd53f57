//! `translator_sv2` as a process, unmodified or with our hooks: SV1 miners on one side, an SV2 pool on the other.

use std::{net::SocketAddr, process::ExitStatus, time::Duration};

use anyhow::Result;

use super::{Counterpart, MONITORING_REFRESH_SECS, Pool, READY_WITHIN};
use crate::{
    MonitoringApi, TestFolder, TranslatorSnapshot,
    ports::PortLease,
    process::{Process, ProcessSpec, wait_for_http},
    recipe::Integrated,
};

/// With this claim the target is ff..ff: every nonce is a share under real validation, and no CPU is needed.
const NO_WORK_HASHRATE: f32 = 1.0;
const DEFAULT_SHARES_PER_MINUTE: f32 = 240.0;
/// The translator never goes back to an upstream entry that it was connected to or gave up after three tries of a
/// second each; it ends when it has used up all of them. Listing the pool again and again lets it survive this many
/// restarts of the pool, or this many times three seconds without it.
const UPSTREAM_ENTRIES: usize = 10;
/// A clean stop closes the connections and joins the tasks.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// What a translator is started with.
#[derive(Debug)]
pub struct TranslatorBuilder<'a> {
    folder: &'a TestFolder,
    name: String,
    upstream: SocketAddr,
    authority: &'static str,
    user_identity: String,
    aggregate: bool,
    min_miner_hashrate: f32,
    shares_per_minute: f32,
    vardiff: bool,
    worker_names: bool,
    /// The table `[stats]`, and with it the translator that reads it.
    stats: Option<String>,
}

/// A running `translator_sv2`. Dropping it kills it.
#[derive(Debug)]
pub struct Translator {
    process: Process,
    listen: PortLease,
    monitoring: PortLease,
}

impl Translator {
    /// A translator in front of `pool` that keeps its files in `folder`.
    #[must_use]
    pub fn builder<'a>(folder: &'a TestFolder, pool: &Pool) -> TranslatorBuilder<'a> {
        TranslatorBuilder {
            folder,
            name: "translator".to_owned(),
            upstream: pool.address(),
            authority: pool.authority_public_key(),
            user_identity: "story".to_owned(),
            aggregate: false,
            min_miner_hashrate: NO_WORK_HASHRATE,
            shares_per_minute: DEFAULT_SHARES_PER_MINUTE,
            vardiff: false,
            worker_names: false,
            stats: None,
        }
    }

    /// Where SV1 miners connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen.address()
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

    /// The translator's own counts, from all pages of its monitoring API.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn counts(&self) -> Result<TranslatorSnapshot> {
        self.api().translator().await
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the translator was not running.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill().await
    }

    /// Stops the translator cleanly.
    ///
    /// # Errors
    /// When the translator was not running or does not stop.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.interrupt(STOPPED_WITHIN).await
    }

    /// Starts the translator again, on the same ports, and waits until it takes miners.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the error shows its log.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process.start()?;
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        self.process.wait_for_log("listening on", READY_WITHIN).await?;
        wait_for_http(&mut self.process, self.monitoring.address(), "/api/v1/health", READY_WITHIN).await
    }
}

impl TranslatorBuilder<'_> {
    /// Names the translator's files, for stories with more than one translator.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The identity that the pool sees; the translator appends a counter per channel.
    #[must_use]
    pub fn user_identity(mut self, identity: &str) -> Self {
        identity.clone_into(&mut self.user_identity);
        self
    }

    /// All miners on one upstream channel instead of one channel each.
    #[must_use]
    pub fn aggregated(mut self) -> Self {
        self.aggregate = true;
        self
    }

    /// The hashrate that is claimed for each new miner, in H/s; with [`Self::shares_per_minute`] it sets the first
    /// target: 100,000 H/s at 240 shares a minute are 25,000 hashes a share.
    #[must_use]
    pub fn min_miner_hashrate(mut self, hashrate: f32) -> Self {
        self.min_miner_hashrate = hashrate;
        self
    }

    /// Shares per minute and miner that the difficulty aims at.
    #[must_use]
    pub fn shares_per_minute(mut self, shares: f32) -> Self {
        self.shares_per_minute = shares;
        self
    }

    /// Lets the translator change targets to meet the share rate.
    #[must_use]
    pub fn vardiff(mut self) -> Self {
        self.vardiff = true;
        self
    }

    /// Negotiates extension 0x0002, the worker's name on each share.
    #[must_use]
    pub fn worker_names(mut self) -> Self {
        self.worker_names = true;
        self
    }

    /// Takes the translator with our hooks, which publishes to the sidecar at this address.
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

    /// Builds the binary if this machine has none, starts the translator and waits until it takes miners.
    ///
    /// # Errors
    /// When the binary cannot be had, or the translator ends or is not ready in time.
    pub async fn start(self) -> Result<Translator> {
        let integrated = self.stats.is_some();
        let binary = tokio::task::spawn_blocking(move || match integrated {
            false => Counterpart::TRANSLATOR.binary().map_err(anyhow::Error::from),
            true => Integrated::TRANSLATOR.binary().map_err(anyhow::Error::from),
        });
        let binary = binary.await??;
        let listen = PortLease::new()?;
        let monitoring = PortLease::new()?;
        let extensions = if self.worker_names { "0x0002" } else { "" };
        let config = format!(
            r#"downstream_address = "127.0.0.1"
downstream_port = {listen_port}
max_supported_version = 2
min_supported_version = 2
downstream_extranonce2_size = 4
verify_payout = false
aggregate_channels = {aggregate}
supported_extensions = [{extensions}]
required_extensions = [{extensions}]
monitoring_address = "{monitoring}"
monitoring_cache_refresh_secs = {MONITORING_REFRESH_SECS}

[downstream_difficulty_config]
min_individual_miner_hashrate = {hashrate:?}
shares_per_minute = {shares_per_minute:?}
enable_vardiff = {vardiff}
job_keepalive_interval_secs = 60
{upstreams}{stats}"#,
            listen_port = listen.port(),
            aggregate = self.aggregate,
            monitoring = monitoring.address(),
            hashrate = self.min_miner_hashrate,
            shares_per_minute = self.shares_per_minute,
            vardiff = self.vardiff,
            upstreams = self.upstream_entry().repeat(UPSTREAM_ENTRIES),
            stats = self.stats.as_deref().unwrap_or_default(),
        );
        let config = self.folder.write(&format!("{}.toml", self.name), &config)?;
        let process = ProcessSpec::new(&self.name, binary, self.folder.path())
            .arg("-c")
            .arg(config)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .start()?;
        let mut translator = Translator { process, listen, monitoring };
        translator.wait_until_ready().await?;
        Ok(translator)
    }

    fn upstream_entry(&self) -> String {
        format!(
            "\n[[upstreams]]\naddress = \"{}\"\nport = {}\nauthority_pubkey = \"{}\"\nuser_identity = \"{}\"\n",
            self.upstream.ip(),
            self.upstream.port(),
            self.authority,
            self.user_identity,
        )
    }
}
