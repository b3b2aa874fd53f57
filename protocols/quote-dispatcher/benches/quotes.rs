//! Cost of `submit_quote()` for its caller while the hub is connected to a mint that answers everything, and how many quotes
//! a second go through both. Plain figures, since a paced producer does not fit a sampling harness.
//!
//! `cargo bench -p quote-dispatcher`
#![allow(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ehash::{MintQuoteResponseEvent, ParsedMintQuoteRequest, QuoteCallbacks, QuoteContext, QuoteError, ShareHash};
use mint_quote_sv2::{AnyMessage, Message, MintQuoteResponse, SetupConnectionSuccess, read_frame};
use quote_dispatcher::{AcceptedShare, QuoteDispatcher, SubmitOutcome};
use stats_sv2::Text;

const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// Shares of one burst of the latency measurement: they fit the queue.
const BURST: u64 = 4_000;
const BURSTS: u64 = 50;

struct NoCallbacks;

impl QuoteCallbacks for NoCallbacks {
    fn on_quote_created(&self, _: ShareHash, _: &QuoteContext) {}
    fn on_quote_send(&self, _: &ParsedMintQuoteRequest, _: &QuoteContext) {}
    fn on_quote_response(&self, _: &MintQuoteResponseEvent) {}
    fn on_quote_error(&self, _: &QuoteError, _: Option<ShareHash>) {}
}

/// Answers every request of a connection, a read at a time.
fn answer_everything(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 1 << 18];
    let mut out = Vec::new();
    let quote_id = Text::cut("019767a2-3c5e-7b19-a5d4-6a0e5f0c9d11");
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..length]);
        let mut at = 0;
        while let Ok(Some((header, payload))) = read_frame(&mut buffer[at..]) {
            match AnyMessage::decode(header.msg_type, payload) {
                Ok(AnyMessage::MintQuoteRequest(request)) => {
                    MintQuoteResponse::new(quote_id.clone(), request.header_hash()).expect("an id").encode(&mut out);
                }
                _ => SetupConnectionSuccess { used_version: 2, flags: 0 }.encode(&mut out),
            }
            at += header.frame_size();
        }
        buffer.drain(..at);
        stream.write_all(&out)?;
        out.clear();
    }
}

fn mint() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_everything(stream));
        }
    });
    Ok(address)
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

fn settle(quotes: &QuoteDispatcher) {
    while quotes.counters().pending > 0 || !quotes.counters().connected {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let quotes = QuoteDispatcher::builder(mint()?)
        .minimum_difficulty(32)
        .locking_key(KEY.parse()?)
        .start(Arc::new(NoCallbacks))?;

    let mut index = 0;
    let mut nanos = Vec::new();
    for _ in 0..BURSTS {
        settle(&quotes);
        for _ in 0..BURST {
            let share = share(index);
            index += 1;
            let start = Instant::now();
            let outcome = quotes.submit_quote(&share);
            nanos.push(start.elapsed().as_nanos());
            assert_eq!(outcome, SubmitOutcome::Queued);
        }
    }
    nanos.sort_unstable();
    let at = |quantile: usize| nanos[nanos.len() * quantile / 1000];
    println!("submit_quote, hub connected: median {} ns, p99 {} ns, p99.9 {} ns", at(500), at(990), at(999));

    for rate in [50_000, 100_000, 200_000, u64::MAX] {
        settle(&quotes);
        let before = quotes.counters();
        let start = Instant::now();
        let mut submitted = 0;
        while start.elapsed() < Duration::from_secs(2) {
            let due = (start.elapsed().as_micros() as u64).saturating_mul(rate.min(1_000_000)) / 1_000_000;
            // Never faster than the hub: what is asked is how much it can take.
            while submitted < due && quotes.counters().pending < 10_000 {
                quotes.submit_quote(&share(index));
                index += 1;
                submitted += 1;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        settle(&quotes);
        let seconds = start.elapsed().as_secs_f64();
        let after = quotes.counters();
        println!(
            "through hub and mint, offered {:>7} a second: {:>7.0} answered a second, {} rejected",
            if rate == u64::MAX { "any".to_owned() } else { rate.to_string() },
            (after.answered - before.answered) as f64 / seconds,
            after.rejected - before.rejected
        );
    }
    Ok(())
}
