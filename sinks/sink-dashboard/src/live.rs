//! The present: who is connected and what they submit, as told by the events that are delivered to the sink; and the
//! messages that go to the clients of the live stream.
//!
//! ```text
//! driver ── apply ──► Present ──┬─ worker, block, quote, source ──► Hub (ring) ──► clients
//!                               └─ tick, once a second: update  ──►
//! ```

pub(crate) mod hub;
pub(crate) mod message;
mod present;
pub(crate) mod recent;
mod source;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod updater;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecar_core::Batch;

use self::hub::Hub;
use self::message::{WorkerKind, WorkerUpdate};
use self::present::Present;
use self::recent::{RecentEvent, RecentShare};
use crate::security::redact::Redaction;

/// The present, shared by the sink, which writes it, and the handlers, which read it.
#[derive(Debug)]
pub(crate) struct Live {
    present: Mutex<Present>,
    hub: Hub,
}

impl Live {
    pub(crate) fn new(redaction: Arc<Redaction>, hub: Hub) -> Self {
        Self { present: Mutex::new(Present::new(redaction)), hub }
    }

    /// The messages and their clients.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Takes what was delivered.
    pub(crate) fn apply(&self, batch: &Batch) {
        let messages = {
            let mut present = self.present();
            present.apply(batch);
            present.take_messages()
        };
        self.hub.publish(messages);
    }

    /// Once a second: tells of publishers that fell silent, and gives every kind of message its new allowance.
    pub(crate) fn tick(&self, now_ms: u64) {
        let messages = {
            let mut present = self.present();
            present.tick(now_ms);
            present.take_messages()
        };
        self.hub.publish(messages);
    }

    /// Workers with shares since the last call, the most recent first and at most `limit`; how many more there were; and
    /// how many messages were left out.
    pub(crate) fn take_changes(&self, limit: usize) -> (Vec<WorkerUpdate>, u64, u64) {
        self.present().take_changes(limit)
    }

    /// Nobody listens: what they would have been told is not told later.
    pub(crate) fn forget_changes(&self) {
        self.present().forget_changes();
    }

    /// Names with at least one open channel or connection.
    #[cfg(test)]
    pub(crate) fn connected(&self, publisher: &str) -> u64 {
        self.present().connected(publisher)
    }

    /// The last shares of a worker, the newest first. Its real name, redacted or not.
    pub(crate) fn recent_shares(&self, publisher: &str, kind: WorkerKind, name: &str) -> Vec<RecentShare> {
        self.present().recent_shares(publisher, kind, name)
    }

    /// Recent events other than shares, the newest first, those before number `before`.
    pub(crate) fn recent_events(
        &self,
        before: Option<u64>,
        limit: usize,
        wanted: impl Fn(&RecentEvent) -> bool,
    ) -> Vec<RecentEvent> {
        self.present().recent_events(before, limit, wanted)
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing in there is left half-way by a panic that matters more than going on.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
