//! What `submit_quote` costs its caller while the hub is connected to a mint that answers everything, how many quotes a
//! second go through hub and mint, and what a quote without an answer takes in memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ehash::{
    LockingKey, MintQuoteResponseEvent, ParsedMintQuoteRequest, QuoteCallbacks, QuoteContext, QuoteError, ShareHash,
};
use mint_quote_sv2::{AnyMessage, Message, MintQuoteResponse, PROTOCOL_VERSION, SetupConnectionSuccess, read_frame};
use quote_dispatcher::{AcceptedShare, QuoteCounters, QuoteDispatcher, QuoteDispatcherBuilder, SubmitOutcome};
use stats_sv2::Text;

use crate::sidecar_process::cpu_time;
use crate::table::{Limit, Table};

/// The generator of secp256k1.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
/// Shares of one burst of the latency measurement: they fit the queue.
const BURST: u64 = 4_000;
const BURSTS: u64 = 50;
/// Quotes without an answer that the producer of the rate measurement lets come together: the hub sets the pace.
const IN_FLIGHT: u64 = 10_000;
const RATE_FOR: Duration = Duration::from_secs(3);
/// Quotes without an answer of the memory measurement.
const PENDING: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Asks this program to be the process whose memory is measured: one in which nothing else was allocated and freed.
pub(crate) const PENDING_MEMORY_OPTION: &str = "--pending-memory";

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let quotes = dispatcher(mint(Manner::Answers)?)?.start(Arc::new(NoCallbacks))?;
    let mut shares = (0..).map(share);
    let mut nanos = Vec::new();
    for _ in 0..if quick { BURSTS / 10 } else { BURSTS } {
        settle(&quotes)?;
        for share in shares.by_ref().take(BURST as usize) {
            let begin = Instant::now();
            let outcome = quotes.submit_quote(&share);
            nanos.push(begin.elapsed().as_nanos() as f64);
            ensure!(outcome == SubmitOutcome::Queued, "{outcome:?}");
        }
    }
    nanos.sort_by(f64::total_cmp);
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize];
    table.add("submit_quote(), hub connected, p50", at(0.5), "ns", Limit::AtMost(500.0));
    table.add("submit_quote(), hub connected, p99", at(0.99) / 1e3, "µs", Limit::AtMost(5.0));

    settle(&quotes)?;
    let burst: Vec<_> = shares.by_ref().take(BURST as usize).collect();
    let allocated = allocation_counter::measure(|| {
        for share in &burst {
            quotes.submit_quote(share);
        }
    });
    let per_share = allocated.count_total as f64 / BURST as f64;
    table.add("submit_quote(), allocations", per_share, "", Limit::AtMost(0.0));

    let before = settle(&quotes)?;
    let (begin, cpu_before) = (Instant::now(), cpu_time(std::process::id())?);
    while begin.elapsed() < if quick { RATE_FOR / 10 } else { RATE_FOR } {
        if quotes.counters().pending < IN_FLIGHT {
            for share in shares.by_ref().take(100) {
                quotes.submit_quote(&share);
            }
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let after = settle(&quotes)?;
    let answered = (after.answered - before.answered) as f64;
    let rate = answered / begin.elapsed().as_secs_f64();
    table.add("quotes through hub and a loopback mint", rate, "/s", Limit::AtLeast(100_000.0));
    // Does not depend on what else the machine does: two cores have 20 µs for each of 100,000 quotes a second.
    let cpu = (cpu_time(std::process::id())? - cpu_before).as_secs_f64() * 1e6 / answered;
    table.add("CPU time of a quote: host, hub, callbacks and mint", cpu, "µs", Limit::AtMost(20.0));
    ensure!(after.rejected + after.timed_out + after.failures == 0, "not every quote was answered: {after:?}");
    ensure!(after.callbacks_dropped == 0, "not every callback ran: {after:?}");
    quotes.close(PATIENCE);

    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let output = Command::new(own).arg(PENDING_MEMORY_OPTION).output().context("cannot start this program again")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = String::from_utf8(output.stdout)?.trim().parse()?;
    table.add("memory of a quote without an answer", bytes, "bytes", Limit::AtMost(300.0));
    Ok(())
}

/// Bytes of resident memory that a quote without an answer takes: what the process grows by from before the dispatcher's
/// start, its threads, queue, book and buffers included, over [`PENDING`] quotes.
pub(crate) fn pending_memory() -> Result<f64> {
    let address = mint(Manner::Listens)?;
    let before = resident_bytes()?;
    let quotes = dispatcher(address)?.max_pending(PENDING as usize).start(Arc::new(NoCallbacks))?;
    let mut shares = (0..PENDING).map(share).peekable();
    let begin = Instant::now();
    while let Some(share) = shares.peek() {
        // In the way of a pool: not faster than the hub takes them.
        if quotes.counters().pending - quotes.counters().sent < BURST && quotes.counters().connected {
            ensure!(quotes.submit_quote(share) == SubmitOutcome::Queued, "the queue is full");
            shares.next();
        } else {
            std::thread::sleep(Duration::from_millis(1));
            ensure!(begin.elapsed() < PATIENCE, "the hub takes no quotes: {:?}", quotes.counters());
        }
    }
    while quotes.counters().sent < PENDING {
        std::thread::sleep(Duration::from_millis(1));
        ensure!(begin.elapsed() < PATIENCE, "the hub does not send: {:?}", quotes.counters());
    }
    let after = resident_bytes()?;
    ensure!(quotes.counters().pending == PENDING, "{:?}", quotes.counters());
    quotes.close(Duration::ZERO);
    Ok(after.saturating_sub(before) as f64 / PENDING as f64)
}

fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().strip_suffix(" kB").context("VmRSS is not in kB")?.parse()?;
    Ok(kib * 1024)
}

fn dispatcher(mint_address: String) -> Result<QuoteDispatcherBuilder> {
    let key: LockingKey = KEY.parse()?;
    Ok(QuoteDispatcher::builder(mint_address).minimum_difficulty(32).locking_key(key))
}

/// Waits until every quote has ended and the mint is connected.
fn settle(quotes: &QuoteDispatcher) -> Result<QuoteCounters> {
    let begin = Instant::now();
    loop {
        let counters = quotes.counters();
        if counters.pending == 0 && counters.connected {
            return Ok(counters);
        }
        ensure!(begin.elapsed() < PATIENCE, "the quotes do not end: {counters:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Hashes with 40 leading zero bits and the rest spread as by SHA-256.
fn share(index: u64) -> AcceptedShare<'static> {
    let mut digest = [0; 32];
    let mut state = index;
    for word in digest[..24].as_chunks_mut::<8>().0 {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = (mixed ^ (mixed >> 31)).to_le_bytes();
    }
    AcceptedShare {
        downstream_id: 1.into(),
        channel_id: 1.into(),
        sequence_number: index as u32,
        share_hash: ShareHash::from_digest_bytes(digest),
        user_identity: "alice.rig1",
    }
}

struct NoCallbacks;

impl QuoteCallbacks for NoCallbacks {
    fn on_quote_created(&self, _: ShareHash, _: &QuoteContext) {}
    fn on_quote_send(&self, _: &ParsedMintQuoteRequest, _: &QuoteContext) {}
    fn on_quote_response(&self, _: &MintQuoteResponseEvent) {}
    fn on_quote_error(&self, _: &QuoteError, _: Option<ShareHash>) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Answers every request.
    Answers,
    /// Opens the connection and reads, and answers no request.
    Listens,
}

/// A mint for as long as the program runs; returns its address.
fn mint(manner: Manner) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    // Owned by the process: it ends with the benchmark.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the hub's to repair, and is noticed there.
            drop(serve(stream, manner));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, manner: Manner) -> Result<()> {
    let (mut buffer, mut filled, mut answers) = (vec![0; 1 << 18], 0, Vec::new());
    let quote_id = Text::cut("019767a2-3c5e-7b19-a5d4-6a0e5f0c9d11");
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        ensure!(read > 0, "closed");
        filled += read;
        let mut at = 0;
        while let Some((header, payload)) = read_frame(&mut buffer[at..filled])? {
            at += header.frame_size();
            match AnyMessage::decode(header.msg_type, payload)? {
                AnyMessage::SetupConnection(_) => {
                    SetupConnectionSuccess { used_version: PROTOCOL_VERSION, flags: 0 }.encode(&mut answers);
                }
                AnyMessage::MintQuoteRequest(request) if manner == Manner::Answers => {
                    MintQuoteResponse::new(quote_id.clone(), request.header_hash())?.encode(&mut answers);
                }
                _ => {}
            }
        }
        stream.write_all(&answers)?;
        answers.clear();
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}
