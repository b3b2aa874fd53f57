//! What it costs to read and write a share event, beside the decoder that `binary_sv2` derives for the same bytes.
#![allow(missing_docs, reason = "the macros of criterion make functions without documentation")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stats_sv2::codec::Message;
use stats_sv2::event::{Event, ShareSubmitted, validate};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Frames, UnixMillis, definition, read_frame};

fn share(n: u32) -> ShareSubmitted {
    ShareSubmitted {
        downstream_id: DownstreamId(n % 1000),
        timestamp: UnixMillis(1_750_000_000_000 + u64::from(n)),
        channel_id: ChannelId(1),
        sequence_number: n,
        target: CompactTarget(0x1b00_ffff),
        share: CompactTarget(0x1a18_72b0),
    }
}

fn frame() -> Vec<u8> {
    let mut frame = Vec::new();
    share(1).encode(&mut frame);
    frame
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read ShareSubmitted");
    let frame = frame();
    let payload = frame[6..].to_vec();

    group.bench_function("payload", |bencher| {
        bencher.iter(|| ShareSubmitted::decode(black_box(&payload)));
    });
    group.bench_function("frame and payload", |bencher| {
        bencher.iter(|| {
            let frame = read_frame(black_box(&frame)).ok().flatten()?;
            ShareSubmitted::decode(frame.payload()).ok()
        });
    });
    group.bench_function("frame to event", |bencher| {
        bencher.iter(|| {
            let frame = read_frame(black_box(&frame)).ok().flatten()?;
            black_box(Event::decode(frame).ok())
        });
    });
    group.bench_function("payload, derived decoder", |bencher| {
        // The derived decoder takes its bytes mutably; it does not change them.
        let mut payload = payload.clone();
        bencher.iter(|| {
            let share: Result<definition::ShareSubmitted, _> = binary_sv2::from_bytes(black_box(&mut payload));
            black_box(share.map(|share| share.timestamp))
        });
    });
    group.finish();
}

fn read_many(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("4,096 ShareSubmitted");
    group.throughput(criterion::Throughput::Elements(4096));
    let mut frames = Vec::new();
    (0..4096).for_each(|n| share(n).encode(&mut frames));

    group.bench_function("validate", |bencher| {
        bencher.iter(|| Frames::new(black_box(&frames)).filter(|frame| validate(*frame).is_ok()).count());
    });
    group.bench_function("write", |bencher| {
        let shares: Vec<ShareSubmitted> = (0..4096).map(share).collect();
        bencher.iter_batched_ref(
            || Vec::with_capacity(frames.len()),
            |out| black_box(&shares).iter().for_each(|share| share.encode(out)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, read, read_many);
criterion_main!(benches);
