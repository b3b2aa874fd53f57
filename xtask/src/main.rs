//! The project's own commands. `cargo xtask test` is the test command of the README: it installs what the tests need
//! and runs them all. Everything heavy has a command of its own.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "progress goes to standard error")]

mod prerequisites;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// Version of cargo-fuzz that the fuzz targets are run with.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// The crates with fuzz targets beside their decoders.
const FUZZED: [&str; 2] = ["protocols/stats-sv2", "protocols/mint-quote-sv2"];
/// Version of cargo-deny that checks licences, duplicates and sources.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs what the tests need, then runs every test of the workspace, the stories with the real pool included.
    Test {
        /// Passed on to `cargo test`, such as the name of a test.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Format, clippy and documentation with warnings denied; licences and duplicates of the dependencies.
    Lint,
    /// Measures the share path and the ingest path, and prints each figure beside its limit from the same run.
    Bench {
        /// Passed on to the benchmark, such as `--only decode,publish` or `--quick`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// The heavy tier: the mint on the real cdk library, ten thousand connections, fifty million events.
    Heavy,
    /// Counts the lines that SRI's pool and translator need for our hooks, and tries the same places on older versions.
    Integrate,
    /// Runs each fuzz target for a while.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
}

fn main() -> Result<()> {
    // Cargo says where it started this. What was compiled in is another checkout's if the target folder came from there.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).parent().context("xtask lies in the workspace")?;
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))?;
    match Arguments::parse().task {
        Task::Test { filter } => test(&filter),
        Task::Lint => lint(),
        Task::Bench { options } => bench(&options),
        Task::Heavy => heavy(),
        Task::Integrate => integrate("count"),
        Task::Fuzz { seconds } => fuzz(seconds),
    }
}

fn test(filter: &[String]) -> Result<()> {
    prerequisites::system_packages(&prerequisites::FOR_TESTS)?;
    step("the real pool and translator (built once, kept in the user's cache)", || {
        run(cargo(["run", "--quiet", "--package", "integration-tests", "--bin", "fetch-counterparts"]))
    })?;
    step("the pool and the translator with our lines in them (built again when those change)", || integrate("build"))?;
    step("the sidecar, for the tests that start it", || run(cargo(["build", "--package", "hashpool-sidecar"])))?;
    step("all tests of the workspace", || {
        let mut command = cargo(["test", "--workspace", "--all-features"]);
        command.args(filter);
        run(command)
    })
}

fn lint() -> Result<()> {
    // Clippy compiles the dashboard, whose build step needs Node.
    prerequisites::system_packages(&prerequisites::FOR_TESTS)?;
    step("format", || run(cargo(["fmt", "--all", "--check"])))?;
    step("clippy", || {
        run(cargo(["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))
    })?;
    step("documentation", || {
        let mut command = cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        run(command)
    })?;
    step("types and style of the dashboard's scripts", || {
        run(npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))?;
        run(npm(&["run", "--silent", "check"]))
    })?;
    prerequisites::cargo_tool(CARGO_DENY)?;
    step("licences, duplicates and sources of the dependencies", || {
        run(cargo(["deny", "--all-features", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    })
}

fn bench(options: &[String]) -> Result<()> {
    step("the sidecar, release profile", || run(cargo(["build", "--release", "--package", "hashpool-sidecar"])))?;
    let mut command =
        cargo(["run", "--release", "--quiet", "--package", "integration-tests", "--bin", "benchmarks", "--"]);
    command.args(options);
    run(command)
}

fn heavy() -> Result<()> {
    prerequisites::system_packages(&prerequisites::FOR_HEAVY)?;
    step("the stories that take long to build", || {
        run(cargo(["test", "--package", "integration-tests", "--test", "heavy", "--", "--nocapture"]))
    })?;
    bench(&["--only".to_owned(), "heavy".to_owned()])
}

fn integrate(command: &str) -> Result<()> {
    run(cargo(["run", "--quiet", "--package", "integration-tests", "--bin", "integration-recipe", "--", command]))
}

fn fuzz(seconds: u32) -> Result<()> {
    prerequisites::cargo_tool(CARGO_FUZZ)?;
    for folder in FUZZED.map(Path::new) {
        let listed = fuzz_command(folder).arg("list").output().context("cannot list the fuzz targets")?;
        if !listed.status.success() {
            bail!("cargo fuzz list failed: {}", String::from_utf8_lossy(&listed.stderr));
        }
        for target in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            step(&format!("{}: fuzz target {target}, {seconds} s", folder.display()), || {
                let mut command = fuzz_command(folder);
                command.args(["run", target, "--", &format!("-max_total_time={seconds}")]);
                run(command)
            })?;
        }
    }
    Ok(())
}

/// cargo-fuzz asks for nightly flags; the stable compiler takes them when told that it may.
fn fuzz_command(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.arg("fuzz").current_dir(folder).env("RUSTC_BOOTSTRAP", "1");
    command
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments);
    command
}

/// In the folder of the dashboard's styles and scripts.
fn npm(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir("sinks/sink-dashboard/web");
    command
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("── {name}");
    let begin = Instant::now();
    work()?;
    eprintln!("── {name}: done in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
