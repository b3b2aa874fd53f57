//! Makes a history of one year with a thousand workers: something to look at, and what the dashboard's benchmarks read.
#![forbid(unsafe_code)]
// What was made is this program's result.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use integration_tests::YearDatabase;

const USAGE: &str = "usage: year-database FILE [--workers N] [--days N] [--quotes N]";

fn main() -> Result<()> {
    let (mut file, mut year) = (None, YearDatabase::until_now());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u32> { Ok(arguments.next().context(USAGE)?.parse::<u32>()?) };
        match argument.as_str() {
            "--workers" => year.workers = number()?,
            "--days" => year.days = number()?,
            "--quotes" => year.quotes = number()?,
            option if option.starts_with('-') => bail!(USAGE),
            _ => file = Some(PathBuf::from(argument)),
        }
    }
    let file = file.context(USAGE)?;
    let written = year.write(&file)?;
    let mebibytes = std::fs::metadata(&file)?.len() >> 20;
    println!(
        "{}: {} events, {} rows of sums, {mebibytes} MiB in {:.0} s",
        file.display(),
        written.events,
        written.rows,
        written.took.as_secs_f64()
    );
    Ok(())
}
