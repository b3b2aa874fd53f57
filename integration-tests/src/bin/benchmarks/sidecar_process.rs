//! A release sidecar under measurement, and what the kernel says about it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// The release binary: `cargo xtask bench` builds it before this program runs.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HASHPOOL_SIDECAR_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let path = own.with_file_name("hashpool-sidecar");
    ensure!(path.is_file(), "{} is missing; build it with cargo build --release", path.display());
    Ok(path)
}

/// Which sinks a measured sidecar has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sinks {
    pub(crate) sqlite: bool,
    pub(crate) log_file: bool,
}

/// A running sidecar; killed when dropped.
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) listen: String,
    pub(crate) admin: String,
    pub(crate) folder: tempfile::TempDir,
    /// From the start of the process to the first ready answer.
    pub(crate) ready_after: Duration,
}

impl Sidecar {
    pub(crate) fn start(sinks: Sinks) -> Result<Self> {
        Self::start_in(tempfile::Builder::new().prefix("sidecar-bench").tempdir()?, sinks)
    }

    pub(crate) fn start_in(folder: tempfile::TempDir, sinks: Sinks) -> Result<Self> {
        let (listen, admin) = (free_address()?, free_address()?);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut text = format!(
            "[server]\nlisten = \"{listen}\"\n[journal]\npath = {:?}\ndurability = \"power\"\n[admin]\nlisten = \"{admin}\"\n",
            path("journal.db")
        );
        if sinks.sqlite {
            text.push_str(&format!("[sinks.history]\ntype = \"sqlite\"\npath = {:?}\n", path("stats.db")));
        }
        if sinks.log_file {
            text.push_str(&format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}\n", path("events.jsonl")));
        }
        Self::start_configured(folder, listen, admin, &text)
    }

    /// Starts with this configuration, in which the two addresses stand.
    pub(crate) fn start_configured(
        folder: tempfile::TempDir,
        listen: String,
        admin: String,
        text: &str,
    ) -> Result<Self> {
        let config = folder.path().join("sidecar.toml");
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(folder.path().join("sidecar.log"))?;
        let begin = Instant::now();
        let child = Command::new(binary()?)
            .arg("run")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the sidecar")?;
        let mut sidecar = Self { child, listen, admin, folder, ready_after: Duration::ZERO };
        while http_get(&sidecar.admin, "/ready").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = sidecar.child.try_wait()? {
                bail!("the sidecar ended with {status}: {}", sidecar.log());
            }
            ensure!(begin.elapsed() < PATIENCE, "the sidecar is not ready: {}", sidecar.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        sidecar.ready_after = begin.elapsed();
        Ok(sidecar)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("sidecar.log")).unwrap_or_default()
    }

    /// `/pipeline`.
    pub(crate) fn pipeline(&self) -> Result<Value> {
        let (_, body) = http_get(&self.admin, "/pipeline").context("the admin listener does not answer")?;
        serde_json::from_slice(&body).context("/pipeline is no JSON")
    }

    /// Waits until `done` holds of `/pipeline`; returns how long that took since `begin`.
    pub(crate) fn wait_for(&self, begin: Instant, mut done: impl FnMut(&Value) -> bool) -> Result<Duration> {
        loop {
            let pipeline = self.pipeline()?;
            if done(&pipeline) {
                return Ok(begin.elapsed());
            }
            ensure!(begin.elapsed() < PATIENCE, "gave up waiting; /pipeline says {pipeline}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// User and system time of the process so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.child.id())
    }

    /// Resident memory in MiB: now, and the highest so far.
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse::<f64>().ok())
                .unwrap_or(f64::NAN)
        };
        Ok((field("VmRSS:") / 1024.0, field("VmHWM:") / 1024.0))
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args(["-s", name]).arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "cannot send SIG{name} to the sidecar");
        Ok(())
    }

    /// Stops it cleanly and hands back its folder.
    pub(crate) fn stop(mut self) -> Result<tempfile::TempDir> {
        self.signal("INT")?;
        self.child.wait()?;
        let replacement = tempfile::tempdir()?;
        Ok(std::mem::replace(&mut self.folder, replacement))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// User and system time of a process so far.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in brackets and may hold blanks.
    let rest = stat.rsplit_once(')').context("unexpected /proc/PID/stat")?.1;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Runs `simulate` against the sidecar and returns its JSON report.
pub(crate) fn simulate(sidecar: &Sidecar, arguments: &[&str]) -> Result<Value> {
    let output = Command::new(binary()?)
        .args(["simulate", "--to", &sidecar.listen, "--json"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start simulate")?;
    ensure!(output.status.success(), "simulate ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("simulate printed no JSON")
}

pub(crate) fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// A small GET: the status and the body.
fn http_get(address: &str, path: &str) -> Option<(u16, Vec<u8>)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = std::str::from_utf8(&answer[..head_end]).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_off(head_end + 4)))
}

/// Events in the journal since the sidecar started, by `/pipeline`.
pub(crate) fn appended(pipeline: &Value) -> Option<u64> {
    pipeline["journal"]["appended_events"].as_u64()
}

/// Whether the cursor of every sink has reached the journal's head.
pub(crate) fn caught_up(pipeline: &Value) -> bool {
    pipeline["sinks"].as_object().is_some_and(|sinks| sinks.values().all(|sink| sink["ledger"]["pending"] == 0))
}
