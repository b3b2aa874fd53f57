//! A delivery that takes longer than it may, on a sink with a thread of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sidecar_core::{Batch, BlockingSink, OnThread, SinkError, SinkStart};

use crate::delivery::{DERIVED, publish};
use crate::fake_sink::FakeSink;
use crate::sidecar::{Sidecar, eventually, listener, spec};

/// Blocks in its first delivery until it is released, and says how many deliveries were ever inside at once.
#[derive(Default)]
struct Slow {
    released: Mutex<bool>,
    release: Condvar,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    entered: AtomicUsize,
    sequences: Mutex<Vec<u64>>,
}

struct SlowSink(Arc<Slow>);

impl BlockingSink for SlowSink {
    fn start(&mut self) -> Result<SinkStart, SinkError> {
        Ok(SinkStart::default())
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let slow = &self.0;
        slow.most_inside.fetch_max(slow.inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        slow.entered.fetch_add(1, Ordering::SeqCst);
        drop(slow.release.wait_while(slow.released.lock().unwrap(), |released| !*released).unwrap());
        let own = batch.envelopes().filter(|envelope| !envelope.stable_id().derived);
        slow.sequences.lock().unwrap().extend(own.map(|envelope| envelope.sequence));
        slow.inside.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Delivery rule 25.
#[tokio::test]
async fn a_delivery_that_timed_out_is_waited_for_and_not_overlapped() {
    let slow = Arc::new(Slow::default());
    let on_thread = OnThread::new("slow", SlowSink(Arc::clone(&slow))).unwrap();
    let mut impatient = spec("slow", &FakeSink::default());
    impatient.sink = Box::new(on_thread);
    impatient.timeout = Duration::from_millis(20);
    let sidecar = Sidecar::with(listener(), [impatient]).await;
    publish(&sidecar, 10).await;
    eventually("it was tried again and again", || sidecar.snapshot().sinks["slow"].attempts > 5).await;
    let failures = sidecar.snapshot().sinks["slow"].failures.clone();
    assert!(failures["timeout"] >= 1 && failures["transient"] >= 1, "{failures:?}");
    assert_eq!(slow.entered.load(Ordering::SeqCst), 1, "only the first is under way");

    *slow.released.lock().unwrap() = true;
    slow.release.notify_all();
    eventually("all is delivered", || sidecar.ledger("slow").delivered == 10 + DERIVED).await;
    assert_eq!(slow.most_inside.load(Ordering::SeqCst), 1);
    // A repeated delivery may repeat events; it loses none.
    let sequences: BTreeSet<u64> = slow.sequences.lock().unwrap().iter().copied().collect();
    assert_eq!(sequences, (1..=10).collect());
}
