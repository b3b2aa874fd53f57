//! Keeps account of numbered events until they are acknowledged: which were the host's, and when they were encoded.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::drain::Batch;

/// Times of encoding are kept for so many batches; beyond that a batch shares the time of the one before it, which can
/// only make its latency longer.
const MAX_MARKS: usize = 4_096;

/// The longest latency that is told apart.
const MAX_LATENCY: Duration = Duration::from_secs(3_600);

/// Two digits: a latency is known to one percent, in 30 KiB.
const LATENCY_DIGITS: u8 = 2;

#[derive(Debug)]
pub(crate) struct Accounts {
    /// Runs of numbers that are the publisher's own: (first, count).
    own: VecDeque<(u64, u64)>,
    /// (last number of a batch, when it was encoded).
    marks: VecDeque<(u64, Instant)>,
    /// The last number of the mark that was removed last.
    marked: u64,
    committed: u64,
    latency: Histogram<u64>,
    stored: u64,
    acknowledged: u64,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let micros = MAX_LATENCY.as_micros() as u64;
        let latency = Histogram::new_with_bounds(1, micros, LATENCY_DIGITS).expect("the bounds are constants in order");
        Self {
            own: VecDeque::new(),
            marks: VecDeque::new(),
            marked: 0,
            committed: 0,
            latency,
            stored: 0,
            acknowledged: 0,
        }
    }

    /// A batch got its numbers.
    pub(crate) fn store(&mut self, first: u64, batch: &Batch, now: Instant) {
        let own: u64 = batch.own.iter().map(|(_, count)| count).sum();
        self.stored += batch.frames - own;
        for (index, count) in &batch.own {
            let from = first + index;
            match self.own.back_mut() {
                Some((first, length)) if *first + *length == from => *length += count,
                _ => self.own.push_back((from, *count)),
            }
        }
        let last = first + batch.frames - 1;
        let is_full = self.marks.len() >= MAX_MARKS;
        match self.marks.back_mut() {
            Some(mark) if is_full => mark.0 = last,
            _ => self.marks.push_back((last, now)),
        }
    }

    /// Everything up to `committed` is acknowledged.
    pub(crate) fn acknowledge(&mut self, committed: u64, now: Instant) {
        self.acknowledged += self.pass(committed);
        while let Some((last, encoded_at)) = self.marks.front() {
            if *last > committed {
                break;
            }
            let micros = u64::try_from(now.saturating_duration_since(*encoded_at).as_micros()).unwrap_or(u64::MAX);
            self.latency.saturating_record_n(micros.max(1), last - self.marked);
            self.marked = *last;
            self.marks.pop_front();
        }
    }

    /// The number after the acknowledged ones will never come; whether it was the host's.
    pub(crate) fn skip_one(&mut self) -> bool {
        let events = self.pass(self.committed + 1);
        self.stored -= events;
        events > 0
    }

    /// Moves on to `committed`; returns how many of the numbers passed are the host's.
    fn pass(&mut self, committed: u64) -> u64 {
        let mut events = committed.saturating_sub(self.committed);
        while let Some((first, count)) = self.own.front_mut() {
            let passed = (committed + 1).saturating_sub(*first).min(*count);
            events -= passed;
            *first += passed;
            *count -= passed;
            if *count > 0 {
                break;
            }
            self.own.pop_front();
        }
        self.committed = self.committed.max(committed);
        events
    }

    /// The host's events that are acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The host's events that are numbered and not acknowledged.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.stored - self.acknowledged
    }

    /// Time from encoding to acknowledgement in microseconds, one record for each number.
    pub(crate) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}
