//! A thousand connected publishers at a hundred events a second each: nothing dropped, acknowledged in time.
//!
//! The publishers are bare protocol clients on one runtime: a thousand drain threads would measure the scheduler.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::session::{OpenStatsSession, OpenStatsSessionSuccess, StatsAck};
use stats_sv2::{
    ChannelId, CompactTarget, DownstreamId, Message, PROTOCOL_VERSION, Role, Text, UnixMillis, read_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sidecar_process::{Sidecar, Sinks};
use crate::table::{Limit, Table};

const EVENTS_PER_SECOND: u64 = 100;
/// Each publisher sends this often, as a real one drains its queue on its own clock.
const SEND_EVERY: Duration = Duration::from_millis(100);
/// The default `max_delay` of the journal.
const MAX_DELAY_MS: f64 = 200.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let (publishers, seconds) = if quick { (200, 5) } else { (1_000, 20) };
    let sidecar = Sidecar::start(Sinks { sqlite: true, log_file: false })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut latencies = runtime.block_on(run_publishers(&sidecar.listen, publishers, seconds))?;
    let expected = publishers * seconds * EVENTS_PER_SECOND;
    ensure!(latencies.len() as u64 == expected / per_send(), "not every send was acknowledged");
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let shown = format!("{publishers} publishers at {EVENTS_PER_SECOND} events/s");
    table.add(format!("{shown}: acknowledgement p50"), at(0.5), "ms", Limit::None);
    table.add(format!("{shown}: acknowledgement p99"), at(0.99), "ms", Limit::AtMost(2.0 * MAX_DELAY_MS));
    let (_, peak) = sidecar.memory_mib()?;
    table.add(format!("{shown}: resident memory, peak"), peak, "MiB", Limit::None);
    Ok(())
}

const fn per_send() -> u64 {
    EVENTS_PER_SECOND * SEND_EVERY.as_millis() as u64 / 1_000
}

async fn run_publishers(address: &str, publishers: u64, seconds: u64) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    for number in 0..publishers {
        // Spread over one period, as real publishers are.
        let offset = SEND_EVERY.mul_f64(number as f64 / publishers as f64);
        tasks.spawn(publish(address.to_owned(), number, seconds, offset));
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies.context("a publisher panicked")??);
    }
    Ok(all)
}

async fn publish(address: String, number: u64, seconds: u64, offset: Duration) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    OpenStatsSession {
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        flags: 0,
        role: Role::Pool,
        publisher: Text::cut(format!("bench-{number}")),
        session_id: number + 1,
        first_sequence: 1,
        vendor: Text::cut("benchmark"),
        token: Text::default(),
    }
    .encode(&mut out);
    stream.write_all(&out).await?;
    let (mut reader, mut writer) = stream.into_split();
    let mut received = Vec::new();
    let (opened, _) = next_frame(&mut reader, &mut received).await?;
    ensure!(opened == OpenStatsSessionSuccess::TYPE, "the session was refused");

    let sends = seconds * EVENTS_PER_SECOND / per_send();
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut latencies = Vec::new();
    let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + offset, SEND_EVERY);
    let (mut sent, mut sequence) = (0, 0);
    while (latencies.len() as u64) < sends {
        tokio::select! {
            _ = timer.tick(), if sent < sends => {
                out.clear();
                for _ in 0..per_send() {
                    sequence += 1;
                    share(sequence).encode(&mut out);
                }
                writer.write_all(&out).await?;
                waiting.push_back((sequence, Instant::now()));
                sent += 1;
            }
            frame = next_frame(&mut reader, &mut received) => {
                let (msg_type, payload) = frame?;
                if msg_type != StatsAck::TYPE {
                    bail!("unexpected message {msg_type:#04x}");
                }
                let acknowledged = StatsAck::decode(&payload)?.committed_sequence;
                let done = waiting.iter().take_while(|(last, _)| *last <= acknowledged).count();
                latencies.extend(waiting.drain(..done).map(|(_, begin)| begin.elapsed()));
            }
        }
    }
    Ok(latencies)
}

/// Safe to cancel: what was read stays in `received`.
async fn next_frame(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>) -> Result<(u8, Vec<u8>)> {
    loop {
        if let Some(frame) = read_frame(received)? {
            let (msg_type, payload, size) = (frame.msg_type, frame.payload().to_vec(), frame.bytes.len());
            received.drain(..size);
            return Ok((msg_type, payload));
        }
        ensure!(stream.read_buf(received).await? > 0, "the sidecar closed the connection");
    }
}

fn share(sequence: u64) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis::now(),
        channel_id: ChannelId(1),
        sequence_number: sequence as u32,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    }
}
