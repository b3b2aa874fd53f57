//! The sink `prometheus` as a real Prometheus sees it: scraped from a real sidecar, its rates against the truth, the
//! dashboard and the alert rules against the names that there are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::ports::PortLease;
use integration_tests::process::{Process, ProcessSpec, wait_for_http};
use integration_tests::share_stream::{TARGET, open_channels, publisher, share};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Sidecar, TestFolder, http, story};
use stats_publisher::{PublishOutcome, StatsPublisher};
use stats_sv2::event::{
    BlockFound, ChainTipChanged, ChannelOpened, MinerConnected, MinerShareSubmitted, QuoteAnswered, QuoteCreated,
    QuoteSent, ShareRejected,
};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Text, U256, UnixMillis};

mod prometheus {
    mod grafana;
}

const SOON: Duration = Duration::from_secs(60);
/// Shares a second of the feed.
const RATE: u64 = 50;
/// Expected hashes of a share with the feed's target, of difficulty 1.
const SHARE_WORK: f64 = (1_u64 << 48) as f64 / 65_535.0;
const PACKAGE: &str = "prometheus";
const NAME: &str = "pool-\"1\"\\ \u{202e}<b>\n";

#[tokio::test]
async fn a_real_prometheus_reads_the_truth() -> Result<()> {
    story("prometheus", async |folder| {
        let metrics = PortLease::new()?;
        let section = format!("[sinks.metrics]\ntype = \"prometheus\"\nlisten = \"{}\"", metrics.address());
        let mut sidecar = Sidecar::builder(folder)?.section(&section).start().await?;
        let (metrics_at, admin_at) = (metrics.address(), sidecar.admin_address());
        let prometheus = Prometheus::start(folder, metrics_at, admin_at, &grafana("alerts.yml")).await?;
        let feed = Feed::start(sidecar.address())?;

        prometheus.wait_for_value("up{job=\"hashpool-sidecar\"}", |up| up == 1.0).await?;
        prometheus.wait_for_value("up{job=\"hashpool-sidecar-admin\"}", |up| up == 1.0).await?;
        prometheus.wait_for_value("mining_source_up", |up| up == 1.0).await?;
        // The rate of the work counter is the hashrate. A count doubled or a wrong unit never comes near it.
        let truth = RATE as f64 * SHARE_WORK;
        let near = move |rate: f64| (rate / truth - 1.0).abs() < 0.1;
        prometheus.wait_for_value("rate(mining_work_hashes_total{level=\"channel\"}[6s])", near).await?;
        prometheus.wait_for_value("sum(rate(mining_worker_work_hashes_total{level=\"channel\"}[6s]))", near).await?;
        let gauge = "mining_hashrate_hashes_per_second{level=\"channel\",window=\"5m\"}";
        prometheus.wait_for_value(gauge, move |rate| (rate / truth - 1.0).abs() < 0.2).await?;

        // Once the feed has ended the counters say what it published, to the share.
        let published = tokio::task::spawn_blocking(move || feed.stop()).await??;
        let counted = move |count: f64| count == published as f64;
        prometheus.wait_for_value("mining_shares_accepted_total{level=\"channel\"}", counted).await?;
        prometheus.wait_for_value("sum(mining_worker_shares_accepted_total{level=\"channel\"})", counted).await?;
        prometheus.wait_for_value("mining_source_up", |up| up == 0.0).await?;
        prometheus.expect_healthy_rules().await?;

        let page = http::get_text(metrics.address(), "/metrics").await?;
        ensure!(!page.contains(['\u{202e}', '\r']), "a hostile name got through: {page}");
        let admin = http::get_text(sidecar.admin_address(), "/metrics").await?;
        for text in [&page, &admin] {
            promtool(&["check", "metrics"], Some((folder, text)))?;
        }
        every_name_exists(&names_of_samples(&[&page, &admin]))?;

        // A new process begins at 0, knows the source at once, and Prometheus takes the fall for the new beginning it is.
        sidecar.kill().await?;
        sidecar.start_again().await?;
        let known = format!("changes(mining_counting_since_timestamp_seconds[{}s])", SOON.as_secs());
        prometheus.wait_for_value(&known, |changes| changes >= 1.0).await?;
        let again = http::get_text(metrics.address(), "/metrics").await?;
        ensure!(
            !again.contains("mining_shares_accepted_total{")
                || value_of(&again, "mining_shares_accepted_total{")? < published as f64
        );
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

#[test]
fn the_alert_rules_are_valid_and_fire_when_they_should() -> Result<()> {
    let rules = grafana("alerts.yml");
    promtool(&["check", "rules", &rules.display().to_string()], None)?;
    promtool(&["test", "rules", &grafana("alerts_test.yml").display().to_string()], None)
}

/// A publisher that publishes shares at a steady pace, after one of everything else.
struct Feed {
    publisher: Arc<StatsPublisher>,
    stop: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Feed {
    fn start(sidecar: SocketAddr) -> Result<Self> {
        let publisher = Arc::new(publisher(NAME, sidecar).start()?);
        let (stop, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stops, counts, publishes) = (Arc::clone(&stop), Arc::clone(&published), Arc::clone(&publisher));
        let thread = std::thread::spawn(move || {
            open_channels(&publishes, 4);
            one_of_everything(&publishes);
            let begun = Instant::now();
            let mut number = 0;
            while !stops.load(Ordering::Relaxed) {
                let due = begun.elapsed().as_millis() as u64 * RATE / 1_000;
                while u64::from(number) < due {
                    let outcome = publishes.publish_wait(share(number, 5));
                    ensure!(outcome == PublishOutcome::Queued, "share {number} was {outcome:?}");
                    number += 1;
                }
                counts.store(number.into(), Ordering::Relaxed);
                // The pace of the feed, not a wait for anything.
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        Ok(Self { publisher, stop, published, thread: Some(thread) })
    }

    /// Ends the feed, waits until all of it is acknowledged, and says how many shares it published.
    fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the feed panicked"))??;
        }
        let closed = self.publisher.close(SOON);
        ensure!(closed.complete, "{closed:?}");
        Ok(self.published.load(Ordering::Relaxed))
    }
}

/// What the dashboard shows beside shares, with names that would break a careless encoder.
fn one_of_everything(publisher: &StatsPublisher) {
    let timestamp = UnixMillis::now();
    let hostile = || Text::cut("rig \"1\"\\\n\u{202e}<script>alert(1)</script>\r".repeat(4));
    let (downstream_id, channel_id, share_hash) = (DownstreamId(1), ChannelId(5), U256([7; 32]));
    publisher.publish(ChannelOpened {
        downstream_id,
        channel_id,
        timestamp,
        kind: stats_sv2::event::CHANNEL_STANDARD,
        user_identity: hostile(),
        nominal_hashrate: 1,
        target: TARGET,
    });
    publisher.publish(ShareRejected {
        downstream_id,
        timestamp,
        channel_id,
        sequence_number: 1,
        error_code: hostile(),
    });
    publisher.publish(MinerConnected {
        miner_id: MinerId(1),
        name: hostile(),
        timestamp,
        address: hostile(),
        user_agent: hostile(),
    });
    publisher.publish(MinerShareSubmitted {
        miner_id: MinerId(1),
        timestamp,
        target: TARGET,
        share: CompactTarget(0x1c7f_ffff),
    });
    publisher.publish(ChainTipChanged { timestamp, height: 800_000, target: CompactTarget(0x1b00_ffff) });
    publisher.publish(BlockFound { downstream_id, channel_id, timestamp, height: 800_001, block_hash: share_hash });
    publisher.publish(QuoteCreated {
        downstream_id,
        amount: Amount(8),
        timestamp,
        channel_id,
        share_hash,
        sequence_number: 1,
    });
    publisher.publish(QuoteSent {
        downstream_id,
        channel_id,
        sequence_number: 1,
        amount: Amount(8),
        timestamp,
        share_hash,
    });
    publisher.publish(QuoteAnswered { share_hash, quote_id: hostile(), timestamp });
}

/// A Prometheus that scrapes the sink and the admin endpoint four times a second and evaluates rules.
struct Prometheus {
    _process: Process,
    port: PortLease,
}

impl Prometheus {
    async fn start(folder: &TestFolder, metrics: SocketAddr, admin: SocketAddr, rules: &Path) -> Result<Self> {
        let config = folder.write(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s}}\n\
                 rule_files: [{:?}]\n\
                 scrape_configs:\n\
                 - job_name: hashpool-sidecar\n  static_configs: [{{targets: [\"{metrics}\"]}}]\n\
                 - job_name: hashpool-sidecar-admin\n  static_configs: [{{targets: [\"{admin}\"]}}]\n",
                rules.display().to_string()
            ),
        )?;
        let port = PortLease::new()?;
        let mut process = ProcessSpec::new("prometheus", tool("prometheus")?, folder.path())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={}", port.address()))
            .arg("--log.level=warn")
            .start()?;
        wait_for_http(&mut process, port.address(), "/-/ready", SOON).await?;
        Ok(Self { _process: process, port })
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Waits until the query has exactly one sample, and that is as wanted. Returns it.
    async fn wait_for_value(&self, query: &str, is_wanted: impl Fn(f64) -> bool) -> Result<f64> {
        let path = format!("/api/v1/query?query={}", percent_encoded(query));
        let (is_wanted, path) = (&is_wanted, &path);
        wait_for(query, SOON, || async move {
            let answer: serde_json::Value = http::get_json(self.address(), path).await?;
            let samples = answer["data"]["result"].as_array().context("no vector")?;
            let [sample] = samples.as_slice() else { return Ok(Look::NotYet(answer.to_string())) };
            let value: f64 = sample["value"][1].as_str().context("no value")?.parse()?;
            Ok(Look::when(is_wanted(value), value))
        })
        .await
    }

    async fn all_rules(&self) -> Result<Vec<serde_json::Value>> {
        let answer: serde_json::Value = http::get_json(self.address(), "/api/v1/rules").await?;
        let groups = answer["data"]["groups"].as_array().context("no groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    /// Every rule was evaluated without an error.
    async fn expect_healthy_rules(&self) -> Result<()> {
        let rules = self.all_rules().await?;
        ensure!(rules.len() > 10, "{rules:?}");
        for rule in rules {
            ensure!(rule["health"] != "err", "{rule}");
        }
        Ok(())
    }
}

/// Every name of ours that the dashboard or a rule uses is one that there is, or one that the rules record.
fn every_name_exists(real: &BTreeSet<String>) -> Result<()> {
    let rules = std::fs::read_to_string(grafana("alerts.yml"))?;
    let dashboard = std::fs::read_to_string(grafana("dashboard.json"))?;
    let is_json: serde_json::Value = serde_json::from_str(&dashboard)?;
    ensure!(is_json["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    let recorded: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    for (file, text) in [("alerts.yml", &rules), ("dashboard.json", &dashboard)] {
        let names = names_in(text);
        ensure!(names.len() > 10, "{file} uses {names:?}");
        for name in names {
            let is_known = real.contains(name) || recorded.contains(name);
            ensure!(is_known, "{file} uses {name}, which nothing serves");
        }
    }
    Ok(())
}

/// Words of a text that look like a name of a metric of ours, those in comments left out.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    text.lines()
        .filter(|line| {
            !line.trim_start().starts_with('#') && !line.contains("description: ") && !line.contains("\"description\"")
        })
        .flat_map(|line| line.split(|c| !is_part(c)))
        .filter(|word| ["mining_", "mining:", "sidecar_"].iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

fn names_of_samples(pages: &[&str]) -> BTreeSet<String> {
    let samples = pages.iter().flat_map(|page| page.lines()).filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

fn value_of(page: &str, series: &str) -> Result<f64> {
    let line = page.lines().find(|line| line.starts_with(series)).context("no such series")?;
    Ok(line.rsplit(' ').next().context("no value")?.parse()?)
}

/// Runs promtool, with a text as its input if there is one. Whatever it says beside an error is one too.
fn promtool(arguments: &[&str], input: Option<(&TestFolder, &str)>) -> Result<()> {
    let mut command = Command::new(tool("promtool")?);
    command.args(arguments).stdin(Stdio::null());
    if let Some((folder, text)) = input {
        let path = folder.write("metrics.txt", text)?;
        command.stdin(std::fs::File::open(path)?);
    }
    let output = command.output().context("cannot run promtool")?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "promtool {arguments:?}: {said}");
    ensure!(input.is_none() || said.trim().is_empty(), "promtool {arguments:?}: {said}");
    Ok(())
}

fn tool(name: &str) -> Result<PathBuf> {
    let folders = std::env::var_os("PATH").context("PATH is not set")?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("{name} is missing; install it with: sudo apt-get install -y {PACKAGE}"),
    }
}

fn grafana(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/grafana").join(file)
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
