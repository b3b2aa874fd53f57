//! How many share events one core takes from a socket to the journal's door: `cargo run --release --example ingest_rate`.
//! The listener runs on a runtime of one thread, whose CPU time is measured; publisher and journal writer have their own.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sidecar_core::{Durability, SystemClock};
use sidecar_journal::{Journal, JournalConfig};
use sidecar_pipeline::{ListenerConfig, PipelineBuilder};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::session::OpenStatsSession;
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Message, Role, Text, UnixMillis};

const EVENTS: u64 = 10_000_000;
/// Events of one write of the publisher.
const WRITE_EVENTS: u64 = 4_096;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let config = JournalConfig { durability: Durability::Process, ..JournalConfig::new(folder.path().join("j.db")) };
    let (journal, _) = Journal::open(config, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = ListenerConfig::plain("127.0.0.1:0".parse().unwrap());
        let pipeline = PipelineBuilder::new(journal.clone(), Arc::new(SystemClock)).listener(listener).build();
        let running = pipeline.start().await.unwrap();
        let address = running.address().unwrap();
        let (began, cpu_began) = (Instant::now(), cpu_time());
        let publisher = std::thread::spawn(move || publish(address));
        let mut head = journal.watch_head();
        head.wait_for(|head| head.cumulative_events >= EVENTS).await.unwrap();
        let (took, cpu) = (began.elapsed(), cpu_time() - cpu_began);
        println!("events                       {EVENTS}");
        println!("events/s                     {:.0}", EVENTS as f64 / took.as_secs_f64());
        println!("events/s of the session core {:.0}", EVENTS as f64 / cpu.as_secs_f64());
        println!("ns of it per event           {:.1}", cpu.as_nanos() as f64 / EVENTS as f64);
        publisher.join().unwrap();
        println!("stopped in                   {:?}", running.shutdown(Duration::from_secs(5)).await.took);
    });
}

fn publish(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut frames = Vec::new();
    OpenStatsSession {
        min_version: 1,
        max_version: 1,
        flags: 0,
        role: Role::Pool,
        publisher: Text::cut("pool"),
        session_id: 1,
        first_sequence: 1,
        vendor: Text::cut("bench"),
        token: Text::default(),
    }
    .encode(&mut frames);
    stream.write_all(&frames).unwrap();
    let mut success = [0; 24];
    stream.read_exact(&mut success).unwrap();
    // Acknowledgements are read by nobody here, so another thread takes them away.
    let mut acknowledgements = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut acknowledgements, &mut std::io::sink()));
    frames.clear();
    for number in 0..WRITE_EVENTS {
        ShareSubmitted {
            downstream_id: DownstreamId(1),
            timestamp: UnixMillis::now(),
            channel_id: ChannelId(number as u32 % 1_000),
            sequence_number: number as u32,
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x1c00_ffff),
        }
        .encode(&mut frames);
    }
    for _ in 0..EVENTS.div_ceil(WRITE_EVENTS) {
        stream.write_all(&frames).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    reader.join().unwrap().unwrap();
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
