//! One batch until it is done with: delivered, dead-lettered or given up, whatever number of attempts that takes.

use std::sync::Arc;

use sidecar_core::{Batch, ErrorChain, RejectedEvent, SinkError, Status};
use sidecar_journal::DeadLetter;
use tokio::time::Instant;

use super::{Halt, JOURNAL_PAUSE, SinkDriver, until_abort};
use crate::ledger::Settled;
use crate::retry::AfterFailure;
use crate::sinks::call::{CallError, call};
use crate::sinks::state::FailureKind;

/// Dead letters handed to the journal at once.
const LETTERS_AT_ONCE: usize = 1_024;

/// A batch under way.
struct Delivery {
    batch: Arc<Batch>,
    /// Envelopes that are still to be delivered.
    left: u64,
    /// Announcements are repeated state: they are in no account and become no dead letters.
    counts: bool,
    attempts: u32,
    first_attempt: Instant,
}

impl SinkDriver {
    /// Delivers a batch and books in `settled` what became of its events. On a halt nothing is booked by the caller, and
    /// the batch comes again.
    pub(super) async fn deliver(&mut self, batch: Batch, settled: &mut Settled) -> Result<(), Halt> {
        let counts = batch.cursor().is_some();
        let left = if counts { batch.events() } else { batch.envelopes().count() as u64 };
        let first_attempt = Instant::now();
        let mut delivery = Delivery { batch: Arc::new(batch), left, counts, attempts: 0, first_attempt };
        loop {
            delivery.attempts += 1;
            self.state.attempted();
            let (sink, batch) = (&mut self.sink, Arc::clone(&delivery.batch));
            let error = match until_abort(&self.abort, call(self.timeout, || sink.deliver(batch))).await? {
                Ok(()) => {
                    self.state.health.set(Status::Healthy);
                    settled.delivered += delivery.left;
                    return Ok(());
                }
                Err(error) => error,
            };
            self.state.failed(FailureKind::of(&error));
            match error {
                CallError::Sink(SinkError::Permanent { .. }) => {
                    let reason = ErrorChain(&error).to_string();
                    let all = (0..delivery.left).map(|index| RejectedEvent { index, reason: reason.clone() });
                    self.bury(&delivery, all.collect()).await?;
                    settled.dead_lettered += delivery.left;
                    return Ok(());
                }
                CallError::Sink(SinkError::Partial { rejected, retry_from }) => {
                    if self.partly_done(&mut delivery, rejected, retry_from, settled).await? {
                        return Ok(());
                    }
                }
                error if super::is_worth_a_retry(&error) => {
                    self.told_failure(&error, "a delivery failed; it is repeated");
                    if self.wait_or_give_up(&mut delivery, settled).await? {
                        return Ok(());
                    }
                }
                error => return Err(Halt::Broken(error)),
            }
        }
    }

    /// Books the part that is done; returns whether that is all.
    async fn partly_done(
        &mut self,
        delivery: &mut Delivery,
        mut rejected: Vec<RejectedEvent>,
        retry_from: Option<u64>,
        settled: &mut Settled,
    ) -> Result<bool, Halt> {
        let done = retry_from.unwrap_or(delivery.left).min(delivery.left);
        // What lies behind the place of retrying is rejected again when it gets its turn.
        rejected.retain(|event| event.index < done);
        rejected.sort_unstable_by_key(|event| event.index);
        rejected.dedup_by_key(|event| event.index);
        let dead = rejected.len() as u64;
        if dead > 0 {
            self.bury(delivery, rejected).await?;
        }
        settled.dead_lettered += dead;
        settled.delivered += done - dead;
        delivery.left -= done;
        if delivery.left == 0 {
            self.state.health.set(Status::Healthy);
            return Ok(true);
        }
        if done > 0 {
            delivery.batch = Arc::new(delivery.batch.after(done));
            // It made progress: the rest gets a budget of its own.
            delivery.attempts = 1;
            delivery.first_attempt = Instant::now();
        }
        self.state.health.set(Status::Retrying);
        self.wait_or_give_up(delivery, settled).await
    }

    /// Waits for the next attempt; returns true if there is none left and the rest of the batch is given up.
    async fn wait_or_give_up(&mut self, delivery: &mut Delivery, settled: &mut Settled) -> Result<bool, Halt> {
        if self.drain.is_requested() {
            // The events are safe in the journal; stopping does not wait for the other side to come back.
            return Err(Halt::Drained);
        }
        match self.retry.after_failure(delivery.attempts, delivery.first_attempt.elapsed(), rand::random()) {
            AfterFailure::RetryAfter(pause) => self.pause(pause).await.map(|()| false),
            AfterFailure::GiveUp => {
                settled.given_up += delivery.left;
                if let Some(silent) = self.expiry_lines.pass(Instant::now()) {
                    tracing::error!(
                        sink = %self.name, events = delivery.left, attempts = delivery.attempts, silent,
                        "the retry budget is used up; these events will not reach the sink",
                    );
                }
                Ok(true)
            }
        }
    }

    /// Makes dead letters of the rejected events, durable before the cursor moves (delivery rule 26).
    async fn bury(&mut self, delivery: &Delivery, rejected: Vec<RejectedEvent>) -> Result<(), Halt> {
        if let Some(silent) = self.dead_letter_lines.pass(Instant::now()) {
            let reason = rejected.first().map_or("", |event| event.reason.as_str());
            let kept = match delivery.counts {
                true => "they are kept as dead letters, which hashpool-sidecar journal dead-letters lists",
                false => "they repeat what is open, and are not kept",
            };
            tracing::error!(
                sink = %self.name, events = rejected.len(), reason, silent,
                "the sink rejected events for good; {kept}",
            );
        }
        if !delivery.counts {
            return Ok(());
        }
        let (batch, sink) = (Arc::clone(&delivery.batch), self.name.to_string());
        let mut rejected = rejected.into_iter().peekable();
        let mut letters = batch.envelopes().zip(0_u64..).filter_map(|(envelope, index)| {
            let RejectedEvent { reason, .. } = rejected.next_if(|event| event.index == index)?;
            Some(DeadLetter {
                sink: sink.clone(),
                id: envelope.stable_id(),
                received_at: envelope.record.received_at,
                reason,
                frame: bytes::Bytes::copy_from_slice(envelope.frame.bytes),
            })
        });
        loop {
            let some: Vec<DeadLetter> = letters.by_ref().take(LETTERS_AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.insert(some).await?;
        }
    }

    async fn insert(&mut self, letters: Vec<DeadLetter>) -> Result<(), Halt> {
        loop {
            let inserted = until_abort(&self.abort, self.journal.insert_dead_letters(letters.clone())).await?;
            let Err(error) = inserted else { return Ok(()) };
            let what = format!("cannot keep dead letters: {}", ErrorChain(&error));
            self.state.health.fail(Status::Retrying, what);
            self.pause(JOURNAL_PAUSE).await?;
        }
    }
}
