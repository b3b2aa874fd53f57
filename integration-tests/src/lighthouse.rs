//! Lighthouse, which judges a page in Debian's Chromium: locked packages from npm, installed once into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::browser::CHROMIUM;
use crate::sri::cache_folder;

const FILES: [&str; 2] = ["package.json", "package-lock.json"];
const INSTALL: &str = "install what it needs with: sudo apt-get install -y chromium nodejs npm";
/// Root may not use Chromium's sandbox, and small machines have little shared memory.
const CHROMIUM_FLAGS: &str = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage";

/// The installed program.
#[derive(Debug)]
pub struct Lighthouse {
    folder: PathBuf,
}

/// What Lighthouse pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A phone with a slow processor on a slow network: its default.
    Phone,
    /// A desktop.
    Desktop,
}

/// What it said about a page.
#[derive(Debug)]
pub struct Judgement(Value);

impl Lighthouse {
    /// Installs the locked packages, unless they are there.
    ///
    /// # Errors
    /// Says which program is missing and how to get it, or what npm said.
    pub fn prepare() -> Result<Self> {
        ensure!(Path::new(CHROMIUM).exists(), "{CHROMIUM} is missing; {INSTALL}");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("lighthouse");
        let folder = cache_folder()?.join("lighthouse");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = std::fs::read(source.join("package-lock.json")).context("cannot read the lock file")?;
        let installed = folder.join("installed-lock.json");
        if std::fs::read(&installed).unwrap_or_default() != lock {
            for file in FILES {
                std::fs::copy(source.join(file), folder.join(file))?;
            }
            let output = Command::new("npm")
                .args(["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&folder)
                .output()
                .with_context(|| format!("cannot run npm; {INSTALL}"))?;
            ensure!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(&installed, lock)?;
        }
        Ok(Self { folder })
    }

    /// Judges performance, accessibility and best practices of a page.
    ///
    /// # Errors
    /// When Lighthouse or Chromium fails, with what it printed.
    pub fn judge(&self, address: &str, form: Form) -> Result<Judgement> {
        let report = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(self.folder.join("node_modules/.bin/lighthouse"));
        command
            .arg(address)
            .args(["--quiet", "--output=json", "--only-categories=performance,accessibility,best-practices"])
            .arg(format!("--chrome-flags={CHROMIUM_FLAGS}"))
            .arg(format!("--output-path={}", report.path().display()))
            .env("CHROME_PATH", CHROMIUM);
        if form == Form::Desktop {
            command.arg("--preset=desktop");
        }
        let output = command.output().with_context(|| format!("cannot run lighthouse; {INSTALL}"))?;
        ensure!(output.status.success(), "lighthouse failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Judgement(serde_json::from_slice(&std::fs::read(report.path())?)?))
    }
}

impl Judgement {
    /// The score of a category, from 0 to 100.
    #[must_use]
    pub fn score(&self, category: &str) -> Option<f64> {
        Some((self.0["categories"][category]["score"].as_f64()? * 100.0).round())
    }

    /// Audits that took points, in words.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let audits = self.0["audits"].as_object().into_iter().flat_map(|audits| audits.values());
        let bad = audits.filter(|audit| audit["score"].as_f64().is_some_and(|score| score < 0.9));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        bad.map(|audit| format!("{}: {} {}", text(&audit["id"]), text(&audit["title"]), text(&audit["displayValue"])))
            .collect()
    }
}
