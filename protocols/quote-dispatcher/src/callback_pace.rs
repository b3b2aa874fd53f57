//! Keeps the hub from outrunning the host's callbacks: what leads to a callback waits while there is no room for one, so that
//! a burst (a mint that comes back, many timeouts at once, closing) loses none. A host that is slow for long is not waited
//! for: then callbacks are dropped and counted, until half the queue is free.

use std::time::Duration;

use tokio::time::Instant;

use crate::callback_thread::CallbackQueue;

#[derive(Debug)]
pub(crate) struct CallbackPace {
    patience: Duration,
    /// Callbacks for which there was room at the last look.
    credit: usize,
    full_since: Option<Instant>,
    gave_up: bool,
}

impl CallbackPace {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, credit: 0, full_since: None, gave_up: false }
    }

    /// Whether one more callback may be made now.
    pub(crate) fn may_call(&mut self, queue: &CallbackQueue, now: Instant) -> bool {
        if self.credit == 0 {
            self.look(queue, now);
        }
        self.credit = self.credit.saturating_sub(1);
        self.full_since.is_none()
    }

    /// Whether the hub waits for the host.
    pub(crate) fn is_waiting(&self) -> bool {
        self.full_since.is_some()
    }

    fn look(&mut self, queue: &CallbackQueue, now: Instant) {
        let slots = queue.slots();
        // The host's own threads add some too, of shares that are rejected.
        self.credit = (slots - slots / 8).saturating_sub(queue.waiting());
        self.gave_up &= queue.waiting() > slots / 2;
        if self.credit > 0 || self.gave_up {
            self.full_since = None;
        } else if now.duration_since(*self.full_since.get_or_insert(now)) >= self.patience {
            tracing::warn!("the host's quote callbacks take too long; the next ones are dropped");
            (self.full_since, self.gave_up) = (None, true);
        }
    }
}
