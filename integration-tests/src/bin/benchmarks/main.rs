//! `cargo xtask bench`: the share path and the ingest path, each figure beside its limit from the same run.
//!
//! Every figure is measured here and now on this machine; nothing is compared with a stored number. Limits that say
//! "times faster" are ratios of two figures of this run.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the program's output")]

mod dashboard;
mod decode;
mod heavy;
mod ingest;
mod lighthouse;
mod live_stream;
mod paced;
mod pool_latency;
mod publish;
mod quotes;
mod reference;
mod sessions;
mod sidecar_process;
mod startup;
mod table;
mod year;

use anyhow::{Result, bail};

use table::Table;

/// What can be chosen with `--only`, in the order of the table.
const GROUPS: [&str; 10] = [
    "decode",
    "publish",
    "quotes",
    "ingest",
    "paced",
    "sessions",
    "startup",
    "pool-latency",
    "dashboard",
    "lighthouse",
];

struct Options {
    groups: Vec<String>,
    /// A tenth of the events, for trying the benchmark itself.
    quick: bool,
}

fn main() -> Result<()> {
    let options = options()?;
    let mut table = Table::new();
    for group in &options.groups {
        eprintln!("measuring: {group}");
        match group.as_str() {
            "decode" => decode::measure(&mut table),
            "publish" => publish::measure(&mut table)?,
            "quotes" => quotes::measure(&mut table, options.quick)?,
            "ingest" => ingest::measure(&mut table, options.quick)?,
            "paced" => paced::measure(&mut table, options.quick)?,
            "sessions" => sessions::measure(&mut table, options.quick)?,
            // Not in the table of the README: it takes minutes. `cargo xtask heavy` asks for it.
            "heavy" => heavy::measure(&mut table, options.quick)?,
            "pool-latency" => pool_latency::measure(&mut table, options.quick)?,
            "startup" => startup::measure(&mut table, options.quick)?,
            "dashboard" => dashboard::measure(&mut table, options.quick)?,
            "lighthouse" => lighthouse::measure(&mut table, options.quick)?,
            other => bail!("no group {other}; there are {}", GROUPS.join(", ")),
        }
    }
    println!("{}", table.render()?);
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options { groups: GROUPS.map(str::to_owned).to_vec(), quick: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            quotes::PENDING_MEMORY_OPTION => {
                println!("{}", quotes::pending_memory()?);
                std::process::exit(0);
            }
            "--only" => {
                let Some(list) = arguments.next() else { bail!("--only wants groups: {}", GROUPS.join(",")) };
                options.groups = list.split(',').map(str::to_owned).collect();
            }
            "--help" | "-h" => {
                println!("cargo xtask bench [--only {}] [--quick]", GROUPS.join(","));
                std::process::exit(0);
            }
            other => bail!("unknown option {other}; try --help"),
        }
    }
    Ok(options)
}
