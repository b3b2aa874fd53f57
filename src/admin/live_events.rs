//! `/tap`: committed events as JSON lines while somebody reads. A reader that is too slow loses events and is told how many.

use std::io::Write;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use sidecar_core::event_json::write_event_json;
use sidecar_pipeline::{Tap, Tapped};
use tokio::sync::watch;

use super::Phase;

/// Bytes written before a chunk is handed over.
const CHUNK: usize = 64 << 10;

/// The lines, until the reader goes or the sidecar stops.
pub(super) fn json_lines(
    tap: Tap,
    phase: watch::Receiver<Phase>,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    unfold((tap, phase), |(mut tap, mut phase)| async move {
        let tapped = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Stopped) => return None,
            tapped = tap.next() => tapped?,
        };
        Some((Ok(lines(&tapped)), (tap, phase)))
    })
}

fn lines(tapped: &Tapped) -> Bytes {
    let mut out = Vec::with_capacity(CHUNK);
    if tapped.dropped > 0 {
        // Writing to a Vec cannot fail.
        drop(writeln!(out, "{{\"tap_dropped\":{}}}", tapped.dropped));
    }
    for envelope in tapped.batch.envelopes() {
        // What the journal holds was checked at the door: an error means damage, which the sinks report and count.
        if write_event_json(&envelope, &mut out).is_ok() {
            out.push(b'\n');
        }
    }
    out.into()
}
