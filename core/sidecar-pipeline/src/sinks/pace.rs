//! When the next batch may go: a limit of events per second, and pauses in which joined batches gather.

use std::num::NonZeroU32;
use std::time::Duration;

use sidecar_core::batch::{BATCH_BYTES, BATCH_EVENTS, JOINED_BYTES, JOINED_EVENTS};
use tokio::time::Instant;

/// Batches of a joining sink begin this far apart, unless a full one waits. Fixed costs of a delivery (a sync, an upsert
/// for each channel) are then paid 20 times a second at most, and an event still arrives within `max_delay` + 100 ms.
const JOIN_EVERY: Duration = Duration::from_millis(50);

/// Counts events, not calls as tower's rate limit does: batches differ in size by four orders of magnitude.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<NonZeroU32>,
    joins: bool,
    next_at: Instant,
    joined_at: Instant,
}

impl Pace {
    pub(crate) fn new(rate: Option<NonZeroU32>, now: Instant) -> Self {
        Self { rate, joins: false, next_at: now, joined_at: now }
    }

    pub(crate) fn joins(&mut self, joins: bool) {
        self.joins = joins;
    }

    /// Events and bytes of a batch at most. With a rate limit no more than a second's worth.
    pub(crate) fn batch_limits(&self) -> (u32, usize) {
        let (events, bytes) = if self.joins { (JOINED_EVENTS, JOINED_BYTES) } else { (BATCH_EVENTS, BATCH_BYTES) };
        (self.rate.map_or(events, |rate| events.min(rate.get())), bytes)
    }

    /// When a batch may go, with so many events pending; `None` means now.
    pub(crate) fn wait_until(&self, pending: u64, now: Instant) -> Option<Instant> {
        let gather = self.joins && pending < u64::from(JOINED_EVENTS);
        let at = if gather { self.next_at.max(self.joined_at) } else { self.next_at };
        (at > now).then_some(at)
    }

    /// A batch begins.
    pub(crate) fn begin(&mut self, events: u64, now: Instant) {
        self.joined_at = now + JOIN_EVERY;
        if let Some(rate) = self.rate {
            self.next_at = self.next_at.max(now) + Duration::from_secs_f64(events as f64 / f64::from(rate.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_holds_over_time() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(100), start);
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(10) {
            now = pace.wait_until(1_000_000, now).unwrap_or(now);
            pace.begin(40, now);
            sent += 40;
        }
        assert_eq!(sent, 1040, "10 s at 100/s and the batch that begins at their end");
        assert_eq!(pace.batch_limits().0, 100);
    }

    #[test]
    fn joined_batches_gather_unless_full() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        pace.joins(true);
        assert_eq!(pace.wait_until(1, start), None, "the first after a pause goes at once");
        pace.begin(1, start);
        assert_eq!(pace.wait_until(1, start), Some(start + JOIN_EVERY));
        assert_eq!(pace.wait_until(u64::from(JOINED_EVENTS), start), None);
        assert_eq!(pace.wait_until(1, start + JOIN_EVERY), None);
    }
}
