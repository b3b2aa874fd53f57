//! Reading a 34-byte share frame: our decoder and the derived one of the SV2 reference codec, in turn.

use std::hint::black_box;
use std::time::Instant;

use stats_sv2::event::ShareSubmitted;
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Message as _, UnixMillis, definition, read_frame};

use crate::table::{Limit, Table};

const ROUNDS: usize = 11;
const FRAMES: usize = 4_096;
const REPEATS: usize = 64;

pub(crate) fn measure(table: &mut Table) {
    let mut buffer = Vec::new();
    for index in 0..FRAMES as u32 {
        ShareSubmitted {
            downstream_id: DownstreamId(index % 97),
            timestamp: UnixMillis(1_790_000_000_000 + u64::from(index)),
            channel_id: ChannelId(index % 1_000),
            sequence_number: index,
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x1c00_ffff),
        }
        .encode(&mut buffer);
    }
    let (mut fast, mut derived) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fast.push(per_frame(|| read_all(&buffer)));
        derived.push(per_frame(|| read_all_derived(&mut buffer)));
    }
    let (fast, derived) = (median(fast), median(derived));
    table.add("decode ShareSubmitted from its frame", fast, "ns", Limit::AtMost(20.0));
    table.add("the same, derived decoder", derived, "ns", Limit::None);
    table.add("times faster than the derived decoder", derived / fast, "×", Limit::AtLeast(15.0));
}

fn read_all(buffer: &[u8]) -> u64 {
    let (mut rest, mut sum) = (buffer, 0_u64);
    while let Ok(Some(frame)) = read_frame(rest) {
        if let Ok(share) = ShareSubmitted::decode(frame.payload()) {
            let share = black_box(share);
            sum = sum.wrapping_add(u64::from(share.sequence_number));
        }
        rest = &rest[frame.bytes.len()..];
    }
    sum
}

fn read_all_derived(buffer: &mut [u8]) -> u64 {
    let (mut at, mut sum) = (0, 0_u64);
    while at < buffer.len() {
        let end = at + 34;
        if let Ok(share) = binary_sv2::from_bytes::<definition::ShareSubmitted>(&mut buffer[at + 6..end]) {
            let share = black_box(share);
            sum = sum.wrapping_add(u64::from(share.sequence_number));
        }
        at = end;
    }
    sum
}

fn per_frame(mut work: impl FnMut() -> u64) -> f64 {
    let begin = Instant::now();
    for _ in 0..REPEATS {
        black_box(work());
    }
    begin.elapsed().as_nanos() as f64 / (REPEATS * FRAMES) as f64
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
