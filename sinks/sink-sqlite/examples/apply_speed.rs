//! How fast joined batches are applied: events of 1,000 channels in batches of 65,536, as the driver delivers them. With
//! `quotes`, each share has a quote that is created, sent and answered: three more events.
//!
//! `cargo run --release -p sink-sqlite --example apply_speed [BATCHES] [CHANNELS] [quotes]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sidecar_core::batch::JOINED_EVENTS;
use sidecar_core::{Batch, BlockingSink, Durability, JournalId, Record, RecordKind, Route};
use sink_sqlite::{SqliteSettings, SqliteSink};
use stats_sv2::event::{ChannelOpened, QuoteAnswered, QuoteCreated, QuoteSent, ShareSubmitted};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Event, Message, Role, Text, U256, UnixMillis};

/// Bytes of a record, as the journal cuts runs.
const RECORD_EVENTS: u32 = 6_500;
const EVENTS_PER_SECOND: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let batches = arguments.next().map(|argument| argument.parse::<u32>()).transpose()?.unwrap_or(100);
    let channels = arguments.next().map(|argument| argument.parse::<u32>()).transpose()?.unwrap_or(1_000);
    let quotes = arguments.next().is_some_and(|argument| argument == "quotes");
    let folder = tempfile::tempdir()?;
    let mut sink = SqliteSink::new(SqliteSettings::new(folder.path().join("stats.db")), Durability::Power)?;
    sink.start()?;

    let mut journal = Journal { sequence: 0, offset: 0, now: 1_800_000_000_000 };
    let mut frames = Vec::new();
    for id in 0..channels {
        let name = format!("worker-{id}");
        let opened = ChannelOpened {
            downstream_id: DownstreamId(id),
            channel_id: ChannelId(1),
            timestamp: UnixMillis(journal.now),
            kind: 1,
            user_identity: Text::new(name)?,
            nominal_hashrate: 1,
            target: CompactTarget(0x1d00_ffff),
        };
        Event::ChannelOpened(opened).encode(&mut frames);
    }
    let record = journal.record(frames, channels);
    sink.deliver(&batch(vec![record])?)?;

    let mut slowest = Duration::ZERO;
    let mut total = Duration::ZERO;
    for _ in 0..batches {
        let batch = journal.shares(channels, quotes)?;
        let start = Instant::now();
        sink.deliver(&batch)?;
        let took = start.elapsed();
        total += took;
        slowest = slowest.max(took);
    }
    sink.close()?;
    let events = u64::from(batches) * u64::from(JOINED_EVENTS);
    let bytes = std::fs::metadata(folder.path().join("stats.db"))?.len();
    println!("channels              {channels}");
    println!("events                {events}");
    println!("events/s              {:.0}", events as f64 / total.as_secs_f64());
    println!("per batch, mean       {:.1} ms", total.as_secs_f64() * 1000.0 / f64::from(batches));
    println!("per batch, slowest    {:.1} ms", slowest.as_secs_f64() * 1000.0);
    println!("file                  {:.1} MiB", bytes as f64 / 1_048_576.0);
    Ok(())
}

/// Numbers records as a journal does.
struct Journal {
    sequence: u64,
    offset: u64,
    now: u64,
}

impl Journal {
    fn shares(&mut self, channels: u32, quotes: bool) -> Result<Batch, Box<dyn Error>> {
        let mut records = Vec::new();
        let mut left = JOINED_EVENTS;
        while left > 0 {
            let count = left.min(RECORD_EVENTS);
            left -= count;
            let mut frames = Vec::new();
            for index in 0..u64::from(count) {
                let at = UnixMillis(self.now + index * 1_000 / EVENTS_PER_SECOND);
                let event = self.sequence + index;
                if quotes {
                    of_a_share_with_its_quote(event / 4, event % 4, channels, at, &mut frames)?;
                } else {
                    share(event, channels, at).encode(&mut frames);
                }
            }
            self.now += u64::from(count) * 1_000 / EVENTS_PER_SECOND;
            records.push(self.record(frames, count));
        }
        batch(records)
    }

    fn record(&mut self, frames: Vec<u8>, count: u32) -> Arc<Record> {
        self.offset += 1;
        let first_sequence = self.sequence + 1;
        self.sequence += u64::from(count);
        Arc::new(Record {
            offset: self.offset,
            kind: RecordKind::Events,
            publisher: Arc::from("pool-eu-1"),
            role: Role::Pool,
            session_id: 1,
            finishing: false,
            first_sequence,
            count,
            received_at: UnixMillis(self.now),
            cumulative_events: self.sequence,
            frames: Bytes::from(frames),
        })
    }
}

/// The channel of a share: spread like the shares of miners, not in a row.
fn channel(number: u64, channels: u32) -> DownstreamId {
    DownstreamId((number.wrapping_mul(2_654_435_761) % u64::from(channels)) as u32)
}

fn share(number: u64, channels: u32, timestamp: UnixMillis) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: channel(number, channels),
        timestamp,
        channel_id: ChannelId(1),
        sequence_number: number as u32,
        target: CompactTarget(0x1d00_ffff - (number % 7) as u32),
        share: CompactTarget(0x1c00_8000 + (number % 1_000) as u32),
    }
}

/// One of the four events that a share with a quote makes.
fn of_a_share_with_its_quote(
    number: u64,
    part: u64,
    channels: u32,
    timestamp: UnixMillis,
    frames: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    let (downstream_id, channel_id, sequence_number) = (channel(number, channels), ChannelId(1), number as u32);
    let amount = Amount(1 << (number % 30));
    let mut share_hash = U256([0; 32]);
    for (place, word) in share_hash.0.chunks_exact_mut(8).enumerate() {
        // Looks random, as hashes do, so that the index is visited all over.
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31 * place as u32 + 7);
        word.copy_from_slice(&mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes());
    }
    match part {
        0 => share(number, channels, timestamp).encode(frames),
        1 => QuoteCreated { downstream_id, amount, timestamp, channel_id, share_hash, sequence_number }.encode(frames),
        2 => QuoteSent { downstream_id, channel_id, sequence_number, amount, timestamp, share_hash }.encode(frames),
        _ => QuoteAnswered { share_hash, quote_id: Text::new(format!("{number:032x}"))?, timestamp }.encode(frames),
    }
    Ok(())
}

fn batch(records: Vec<Arc<Record>>) -> Result<Batch, Box<dyn Error>> {
    Batch::new(JournalId(1), records, Arc::new(Route::all())).ok_or_else(|| "a batch needs a record".into())
}
