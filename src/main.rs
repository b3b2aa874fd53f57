//! `hashpool-sidecar`: durable statistics beside a Stratum V2 pool or translator. Each command is parse, build, run; for
//! the one that matters, [`run::run`], these are three calls.
#![forbid(unsafe_code)]

mod admin;
mod bridge;
mod check;
mod cli;
mod config;
mod demo;
mod exit;
mod journal;
mod keygen;
mod logging;
mod registry;
mod report;
mod run;
mod sidecar;
mod signals;
mod simulate;
mod stats;
mod tap;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Stats(args) => stats::stats(&args),
        Command::Tap(args) => tap::tap(&args),
        Command::Journal(command) => journal::journal(&command),
        Command::Keygen(command) => keygen::keygen(&command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hashpool-sidecar", &mut std::io::stdout());
            Ok(())
        }
    };
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}
