//! A real browser that looks at the dashboard: scripts in `browser/`, run by Node, drive Debian's Chromium. A script may ask
//! for things that only the test can do, such as stopping the feed, by a line on its standard output.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Where Debian's Chromium is.
pub const CHROMIUM: &str = "/usr/bin/chromium";
const INSTALL: &str = "install what the browser tests need with: sudo apt-get install -y chromium nodejs npm";
/// A line that asks starts so; the rest is what is asked for.
const ASK: &str = "@ask ";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The scripts with their packages installed.
#[derive(Debug)]
pub struct Browser {
    folder: PathBuf,
}

impl Browser {
    /// Checks that Chromium and Node are there, and installs the locked packages into `target` once.
    ///
    /// # Errors
    /// Says which program is missing and how to get it, or what npm said.
    pub fn prepare(target: &Path) -> Result<Self> {
        ensure!(Path::new(CHROMIUM).exists(), "{CHROMIUM} is missing; {INSTALL}");
        for program in ["node", "npm"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            ensure!(found.is_ok_and(|status| status.success()), "{program} cannot be run; {INSTALL}");
        }
        // The tests of one process share the folder.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
        let folder = target.join("browser");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let installed = folder.join("installed-lock.json");
        let lock = std::fs::read(source.join("package-lock.json")).context("cannot read the lock file")?;
        for entry in std::fs::read_dir(&source)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_script = Path::new(&name).extension().is_some_and(|extension| extension == "mjs");
            if is_script || FILES.iter().any(|file| *file == name) {
                std::fs::copy(entry.path(), folder.join(&name))?;
            }
        }
        if std::fs::read(&installed).unwrap_or_default() != lock {
            let output = Command::new("npm")
                .args(["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&folder)
                .output()
                .context("cannot run npm")?;
            ensure!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(&installed, lock)?;
        }
        Ok(Self { folder })
    }

    /// Runs a script against this address, and answers what it asks for. What it prints is shown when it fails.
    ///
    /// # Errors
    /// When the script ends with a failure, with all that it printed; or when `answer` fails.
    pub async fn run(
        &self,
        script: &str,
        address: std::net::SocketAddr,
        mut answer: impl AsyncFnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let mut node = tokio::process::Command::new("node")
            .arg(script)
            .arg(format!("http://{address}"))
            .env("CHROMIUM", CHROMIUM)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run node")?;
        let mut input = node.stdin.take().context("node has a standard input")?;
        let mut lines = BufReader::new(node.stdout.take().context("node has a standard output")?).lines();
        let mut printed = Vec::new();
        while let Some(line) = lines.next_line().await? {
            match line.strip_prefix(ASK) {
                Some(wish) => {
                    answer(wish).await.with_context(|| format!("{script} asked for {wish:?}"))?;
                    input.write_all(b"done\n").await?;
                }
                None => printed.push(line),
            }
        }
        let status = node.wait().await?;
        if !status.success() {
            bail!("{script} ended with {status}:\n{}", printed.join("\n"));
        }
        Ok(())
    }
}
