//! Cost of `publish()` for its caller, beside tokio's bounded channel in the same run, and how fast the publisher's
//! thread delivers. Plain figures, since two producers and a paced one do not fit a sampling harness.
//!
//! `cargo bench -p stats-publisher`
#![allow(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use stats_publisher::event::ShareSubmitted;
use stats_publisher::{ChannelId, CompactTarget, DownstreamId, PublishOutcome, StatsPublisher, UnixMillis};
use stats_sv2::codec::Message;
use stats_sv2::read_frame;
use stats_sv2::session::{OpenStatsSession, OpenStatsSessionSuccess, StatsAck};

/// Events of one burst: they fit the queue, so that what is measured is queueing and nothing else.
const BURST: u32 = 50_000;
const ROUNDS: usize = 40;

fn share(index: u32) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(1_700_000_000_000),
        channel_id: ChannelId(1),
        sequence_number: index,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    }
}

/// Reads events as fast as they come and acknowledges after each read.
fn acknowledge_everything(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    let (mut number, mut out) = (0u64, Vec::new());
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..length]);
        let mut at = 0;
        while let Ok(Some(frame)) = read_frame(&buffer[at..]) {
            at += frame.bytes.len();
            if frame.msg_type == OpenStatsSession::TYPE {
                let success =
                    OpenStatsSessionSuccess { version: 1, flags: 0, committed_sequence: 0, max_unacked: 65_536 };
                success.encode(&mut out);
            } else if frame.is_event() {
                number += 1;
            }
        }
        buffer.drain(..at);
        if number > 0 {
            StatsAck { committed_sequence: number }.encode(&mut out);
        }
        stream.write_all(&out)?;
        out.clear();
    }
}

fn sidecar() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || acknowledge_everything(stream));
        }
    });
    Ok(address)
}

/// Nanoseconds per call of the median burst, with so many threads at once.
fn burst(producers: usize, send: impl Fn(u32) -> bool + Sync, settle: impl Fn()) -> f64 {
    let per_thread = BURST / producers as u32;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            settle();
            let barrier = Barrier::new(producers);
            let slowest = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..producers)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            let start = Instant::now();
                            let taken = (0..per_thread).filter(|index| send(*index)).count();
                            assert_eq!(taken, per_thread as usize, "a burst fits the queue");
                            start.elapsed()
                        })
                    })
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
            });
            slowest.as_nanos() as f64 / f64::from(per_thread)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn row(what: &str, value: String, limit: &str) {
    println!("{what:<52} {value:>14}   {limit}");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = sidecar()?;
    let publisher = StatsPublisher::builder().address(&address).start()?;
    let settle = || assert!(publisher.flush(Duration::from_secs(5)).complete, "the reader stalled");

    for (producers, limit) in [(1, "limit 60 ns"), (2, "limit 75 ns")] {
        let ours = burst(producers, |index| publisher.publish(share(index)) == PublishOutcome::Queued, settle);
        row(&format!("publish(), {producers} producer(s)"), format!("{ours:.1} ns"), limit);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel(65_536);
        let reader = runtime.spawn(async move { while receiver.recv().await.is_some() {} });
        let theirs = burst(
            producers,
            |index| sender.try_send(share(index)).is_ok(),
            || {
                while sender.capacity() < 65_536 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            },
        );
        row(&format!("tokio try_send, {producers} producer(s), for comparison"), format!("{theirs:.1} ns"), "");
        drop(sender);
        runtime.block_on(reader)?;
    }

    // A pool at work: one event each millisecond, timed one by one. The clock itself is part of the figure.
    let mut times: Vec<u64> = (0..5_000)
        .map(|index| {
            std::thread::sleep(Duration::from_millis(1));
            let start = Instant::now();
            publisher.publish(share(index));
            start.elapsed().as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    row("publish() at 1,000 events/s, median", format!("{} ns", times[times.len() / 2]), "");
    row("publish() at 1,000 events/s, p99", format!("{} ns", times[times.len() * 99 / 100]), "limit 3000 ns");
    publisher.close(Duration::from_secs(5));

    // Queue to acknowledgement, with producer, publisher and reader on the same cores.
    let publisher = StatsPublisher::builder().address(&address).start()?;
    let count = 10_000_000u32;
    let start = Instant::now();
    for index in 0..count {
        if index % 1_000 == 0 && !publisher.has_room() {
            let has_room = publisher.wait_for_room(Duration::from_secs(10));
            assert!(has_room, "the reader stalled");
        }
        publisher.publish(share(index));
    }
    let report = publisher.close(Duration::from_secs(30));
    let rate = f64::from(count) / start.elapsed().as_secs_f64() / 1e6;
    assert!(report.complete && report.acknowledged == u64::from(count), "{report:?}");
    row("published, sent and acknowledged", format!("{rate:.2} M/s"), "mark 4 M/s");
    let counters = publisher.counters();
    if let (Some(p50), Some(p99)) = (counters.ack_latency_p50, counters.ack_latency_p99) {
        row("acknowledgement after encoding, p50 / p99", format!("{p50:?} / {p99:?}"), "");
    }
    Ok(())
}
