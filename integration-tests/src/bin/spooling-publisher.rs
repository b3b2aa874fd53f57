//! A publisher with a spool as a process of its own, so that a story can kill it: publishes so many shares, says when
//! all of them have reached the spool, and then waits to be killed, or closes.
//!
//! `spooling-publisher ADDRESS SPOOL SHARES [close]`
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the story reads what it says")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::share_stream::{publish_shares, publisher};

const SPOOL_BYTES: u64 = 64 << 20;
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("which address?")?.parse()?;
    let spool = arguments.next().context("which spool?")?;
    let shares: u32 = arguments.next().context("how many shares?")?.parse()?;
    let close = arguments.next().is_some();
    let pool = publisher("spooled", address).spool(spool, SPOOL_BYTES).start()?;
    publish_shares(&pool, shares, 10)?;
    // An event is in the spool once it has a number: the drain writes before it sends.
    while pool.counters().queued > 0 || pool.counters().encoded < u64::from(shares) {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("spooled all");
    if close {
        let report = pool.close(CLOSE_WITHIN);
        let counters = pool.counters();
        ensure!(report.complete && counters.unfinished_sessions == 0, "{report:?} {counters:?}");
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}
