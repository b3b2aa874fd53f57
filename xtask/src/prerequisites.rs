//! Installs what the commands need: Debian packages where we may, cargo tools by exact version.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, run, step};

/// A file that must be there, or a program that must be on the path, and the Debian package that brings it. SRI's pool
/// compiles a Cap'n Proto schema; a real Prometheus scrapes the sidecar, and its promtool checks metrics and rules;
/// Chromium, driven by Node, looks at the dashboard, which Node bundles.
pub(crate) const FOR_TESTS: [(&str, &str); 6] = [
    ("/usr/bin/capnp", "capnproto"),
    ("/usr/include/capnp/c++.capnp", "libcapnp-dev"),
    ("/usr/bin/prometheus", "prometheus"),
    ("/usr/bin/chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
];
/// The same for the heavy tier: cdk compiles a schema of protocol buffers.
pub(crate) const FOR_HEAVY: [(&str, &str); 1] = [("/usr/bin/protoc", "protobuf-compiler")];

/// Makes sure that the packages of the system are there; installs their packages when run as root on Debian.
pub(crate) fn system_packages(files: &[(&str, &str)]) -> Result<()> {
    let is_there = |name: &str| if name.starts_with('/') { Path::new(name).exists() } else { is_on_path(name) };
    let missing: Vec<&str> = files.iter().filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_on_path("apt-get") || !is_root()? {
        bail!("missing system packages; install them with: sudo apt-get install -y {packages}");
    }
    step(&format!("system packages: {packages}"), || {
        let mut update = Command::new("apt-get");
        update.args(["update", "-qq"]);
        run(update)?;
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        run(install)
    })
}

/// Installs a cargo subcommand unless it is there in this version.
pub(crate) fn cargo_tool((name, version): (&str, &str)) -> Result<()> {
    let subcommand = name.trim_start_matches("cargo-");
    let present = Command::new("cargo")
        .args([subcommand, "--version"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == format!("{name} {version}"));
    if present {
        return Ok(());
    }
    step(&format!("{name} {version}"), || run(cargo(["install", "--locked", "--quiet", name, "--version", version])))
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata(Path::new("/proc/self")).context("cannot tell who runs this")?;
    Ok(own.uid() == 0)
}
