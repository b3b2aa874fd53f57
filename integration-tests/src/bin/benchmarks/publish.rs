//! What `publish()` costs its caller: in bursts from one and from two threads, beside tokio's `try_send` of the same
//! bytes, and paced at a thousand events a second; and how many events a second the publisher delivers.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::share_stream::{publisher, share};
use stats_publisher::{PublishOutcome, StatsPublisher};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::session::{OpenStatsSession, OpenStatsSessionSuccess, StatsAck};
use stats_sv2::{Message, PROTOCOL_VERSION, limits, read_frame};
use tokio::sync::mpsc;

use crate::decode::median;
use crate::table::{Limit, Table};

/// Fits the queue, so that the burst measures `publish()` and not the queue's end.
const BURST: u32 = 40_000;
const ROUNDS: usize = 31;
const PACED_EVENTS: usize = 5_000;
const PACE: Duration = Duration::from_millis(1);
const DELIVERED: u32 = 5_000_000;
/// Events between two looks at the room in the queue; there is more of it.
const STRIDE: u32 = 1_000;

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let address = acknowledging_sidecar()?;
    let publisher = publisher("bench", address).start().context("cannot start the publisher")?;
    for (threads, limit) in [(1, 60.0), (2, 75.0)] {
        let (mut ours, mut tokios) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(burst(threads, |number| publisher.publish(share_at(number)) == PublishOutcome::Queued)?);
            drained(&publisher)?;
            let (sender, receiver) = mpsc::channel::<ShareSubmitted>(1 << 16);
            tokios.push(burst(threads, |number| sender.try_send(share_at(number)).is_ok())?);
            drop(receiver);
        }
        let what = if threads == 1 { "one thread" } else { "two threads" };
        table.add(format!("publish(), {what}"), median(ours), "ns", Limit::AtMost(limit));
        table.add(format!("tokio's try_send, {what}"), median(tokios), "ns", Limit::None);
    }
    let mut paced = paced(&publisher);
    paced.sort();
    let at = |share: f64| paced[((paced.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    table.add("publish(), 1,000 events/s, p50", at(0.5), "µs", Limit::None);
    table.add("publish(), 1,000 events/s, p99", at(0.99), "µs", Limit::AtMost(3.0));

    // Queue to acknowledgement, with producer, publisher and reader on the same cores.
    let begin = Instant::now();
    for number in 0..DELIVERED {
        if number % STRIDE == 0 && !publisher.has_room() {
            ensure!(publisher.wait_for_room(Duration::from_secs(10)), "the reader does not acknowledge");
        }
        publisher.publish(share_at(number));
    }
    drained(&publisher)?;
    let rate = f64::from(DELIVERED) / begin.elapsed().as_secs_f64();
    table.add("published, sent and acknowledged", rate, "/s", Limit::AtLeast(4e6));
    ensure!(publisher.counters().dropped == 0, "the publisher dropped: {:?}", publisher.counters());
    publisher.close(Duration::from_secs(10));
    Ok(())
}

/// A share without a look at the clock: the host has the time already.
fn share_at(number: u32) -> ShareSubmitted {
    let mut share = black_box(TEMPLATE);
    share.sequence_number = number;
    share
}

const TEMPLATE: ShareSubmitted = ShareSubmitted {
    downstream_id: stats_sv2::DownstreamId(1),
    timestamp: stats_sv2::UnixMillis(1_790_000_000_000),
    channel_id: stats_sv2::ChannelId(1),
    sequence_number: 0,
    target: integration_tests::share_stream::TARGET,
    share: stats_sv2::CompactTarget(0x1c7f_ffff),
};

/// Nanoseconds of a call in a burst from so many threads at once.
fn burst(threads: u32, call: impl Fn(u32) -> bool + Sync) -> Result<f64> {
    let each = BURST / threads;
    let barrier = Barrier::new(threads as usize);
    let times: Vec<Option<f64>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let begin = Instant::now();
                    let all_taken = (0..each).fold(true, |taken, number| taken & call(number));
                    let per_call = begin.elapsed().as_nanos() as f64 / f64::from(each);
                    all_taken.then_some(per_call)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().ok().flatten()).collect()
    });
    let times: Option<Vec<f64>> = times.into_iter().collect();
    let times = times.context("a burst did not fit the queue")?;
    Ok(times.iter().sum::<f64>() / times.len() as f64)
}

fn drained(publisher: &StatsPublisher) -> Result<()> {
    ensure!(publisher.flush(Duration::from_secs(10)).complete, "the burst was not acknowledged");
    Ok(())
}

fn paced(publisher: &StatsPublisher) -> Vec<Duration> {
    let mut next = Instant::now();
    (0..PACED_EVENTS as u32)
        .map(|number| {
            next += PACE;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let share = share(number, 1);
            let begin = Instant::now();
            black_box(publisher.publish(share));
            begin.elapsed()
        })
        .collect()
}

/// Acknowledges whatever comes, for one connection after the other, for as long as the program runs.
fn acknowledging_sidecar() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // Owned by the process: it ends with the benchmark.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the publisher's to repair.
            drop(acknowledge(stream));
        }
    });
    Ok(address)
}

fn acknowledge(mut stream: TcpStream) -> Result<()> {
    let (mut buffer, mut filled, mut sequence) = (vec![0_u8; 1 << 20], 0, 0_u64);
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        ensure!(read > 0, "closed");
        filled += read;
        let (mut at, mut answer) = (0, Vec::new());
        while let Some(frame) = read_frame(&buffer[at..filled])? {
            if frame.is_event() {
                sequence += 1;
            } else if frame.msg_type == OpenStatsSession::TYPE {
                sequence = OpenStatsSession::decode(frame.payload())?.first_sequence - 1;
                OpenStatsSessionSuccess {
                    version: PROTOCOL_VERSION,
                    flags: 0,
                    committed_sequence: sequence,
                    max_unacked: limits::MAX_UNACKED_EVENTS,
                }
                .encode(&mut answer);
            }
            at += frame.bytes.len();
        }
        if sequence > 0 {
            StatsAck { committed_sequence: sequence }.encode(&mut answer);
        }
        stream.write_all(&answer)?;
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}
