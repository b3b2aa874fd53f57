//! A host as a process of its own, so that a story can kill it in the middle: accepts so many shares, asks for a quote for
//! each, and waits to be killed.
//!
//! `quoting-host NAME SIDECAR MINT FIRST_SHARE SHARES`
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the story reads what it says")]

use anyhow::{Context, Result};
use integration_tests::quoting_host::{QuotingHost, quotes_at};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("which {what}?"));
    let name = next("name")?;
    let sidecar = next("sidecar")?.parse()?;
    let mint = next("mint")?.parse()?;
    let first_share = next("first share")?.parse()?;
    let shares = next("number of shares")?.parse()?;
    let mut host = QuotingHost::start(&name, sidecar, quotes_at(mint), first_share)?;
    host.mine(shares)?;
    println!("accepted all");
    loop {
        std::thread::park();
    }
}
