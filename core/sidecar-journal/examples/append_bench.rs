//! How fast the journal takes share events from one session: runs of a full 256 KiB, a sync for each commit.
//!
//! `cargo run --release -p sidecar-journal --example append_bench -- [events] [folder] [process|power] [sessions]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench for people")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use sidecar_core::SystemClock;
use sidecar_core::status::Durability;
use sidecar_journal::{Journal, JournalConfig, MAX_RUN_BYTES, OpenSession, Run};
use stats_sv2::event::ShareSubmitted;
use stats_sv2::limits::MAX_UNACKED_EVENTS;
use stats_sv2::{CompactTarget, Message, Role, UnixMillis};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let events: u64 = arguments.next().map_or(20_000_000, |events| events.parse().unwrap());
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let durability = match arguments.next().as_deref() {
        Some("process") => Durability::Process,
        _ => Durability::Power,
    };
    let sessions: u64 = arguments.next().map_or(1, |sessions| sessions.parse().unwrap());
    let folder = tempfile::TempDir::new_in(folder).unwrap();
    let mut config = JournalConfig::new(folder.path().join("journal.db"));
    config.durability = durability;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let (journal, _) = Journal::open(config.clone(), Arc::new(SystemClock)).unwrap();
        let started = Instant::now();
        let mut tasks = Vec::new();
        for session in 0..sessions {
            tasks.push(tokio::spawn(publish(journal.clone(), session + 1, events / sessions)));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let took = started.elapsed();
        let stats = journal.stats();
        let rate = stats.appended_events as f64 / took.as_secs_f64();
        println!("{} events in {took:.2?}: {rate:.0}/s, {:.1} MB/s", stats.appended_events, rate * 34.0 / 1e6);
        println!(
            "{} commits, {:.2?} mean, {:.2?} slowest; {} checkpoints, {:.2?} in all; {} records; wal {} MiB, file {} MiB",
            stats.commits,
            stats.commit_time / u32::try_from(stats.commits).unwrap(),
            stats.slowest_commit,
            stats.checkpoints,
            stats.checkpoint_time,
            stats.appended_records,
            stats.wal_bytes >> 20,
            stats.file_bytes >> 20,
        );
        journal.close(Duration::from_secs(30)).await.unwrap();
        let reopened = Instant::now();
        drop(Journal::open(config, Arc::new(SystemClock)).unwrap());
        println!("opened again and closed in {:.2?}", reopened.elapsed());
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
        }
    });
}

async fn publish(journal: Journal, session_id: u64, events: u64) {
    let open = OpenSession {
        publisher: format!("bench-{session_id}").into(),
        role: Role::Pool,
        session_id,
        first_sequence: 1,
        vendor: "bench".to_owned(),
        finishing: false,
    };
    let session = journal.open_session(open).await.unwrap();
    let mut acknowledged = session.writer.acknowledged();
    let mut frame = Vec::new();
    ShareSubmitted {
        downstream_id: 1.into(),
        timestamp: UnixMillis::now(),
        channel_id: 1.into(),
        sequence_number: 1,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    }
    .encode(&mut frame);
    let budget = journal.ingest_budget();
    let mut next = 1;
    while next <= events {
        let count = ((MAX_RUN_BYTES / frame.len()) as u64).min(events + 1 - next);
        // The window of a publisher.
        let window = u64::from(MAX_UNACKED_EVENTS);
        acknowledged.wait_for(|committed| next + count - 1 - *committed <= window).await.unwrap();
        let bytes = frame.len() * count as usize;
        let permit = Arc::clone(&budget).acquire_many_owned(bytes as u32).await.unwrap();
        let mut frames = BytesMut::with_capacity(bytes);
        (0..count).for_each(|_| frames.put_slice(&frame));
        let run = Run {
            first_sequence: next,
            count: count as u32,
            frames: frames.freeze(),
            has_state: false,
            last_event_at: None,
            malformed: Vec::new(),
            permit,
        };
        session.writer.append(run).await.unwrap();
        next += count;
    }
    acknowledged.wait_for(|committed| *committed >= events).await.unwrap();
}
