//! What a sink under test is to the kit: how to make it, what it promises, how to read back what it stored.

use std::fmt;
use std::path::Path;

use sidecar_core::{Envelope, Sink, StableId};
use stats_sv2::UnixMillis;

/// How often a sink may store an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Once, whatever is delivered again.
    ExactlyOnce,
    /// As often as it was delivered, under the same id.
    AtLeastOnce,
}

/// What a sink has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// The ids of the stored events in the order in which they were stored, repetitions included.
    Ids(Vec<StableId>),
    /// How many events are in its sums.
    Count(u64),
}

type Make = dyn Fn(&Path) -> Box<dyn Sink>;
type Read = dyn Fn(&Path) -> Stored;
type Traces = dyn Fn(&Envelope<'_>) -> bool;

/// A sink under test.
pub struct Contract {
    pub(crate) guarantee: Guarantee,
    pub(crate) make: Box<Make>,
    pub(crate) read: Box<Read>,
    pub(crate) leaves_trace: Box<Traces>,
    pub(crate) now: UnixMillis,
    pub(crate) cases: u32,
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("guarantee", &self.guarantee)
            .field("now", &self.now)
            .field("cases", &self.cases)
            .finish_non_exhaustive()
    }
}

impl Contract {
    /// `make` makes a sink over the store in a folder, without starting it: over a new store when the folder is empty,
    /// over the same store when called again. `read` tells what is stored there, while the sink runs or not; the kit
    /// calls it only after a delivery that succeeded or a close.
    pub fn new(
        guarantee: Guarantee,
        make: impl Fn(&Path) -> Box<dyn Sink> + 'static,
        read: impl Fn(&Path) -> Stored + 'static,
    ) -> Self {
        Self {
            guarantee,
            make: Box::new(make),
            read: Box::new(read),
            leaves_trace: Box::new(|_| true),
            now: UnixMillis::now(),
            cases: 32,
        }
    }

    /// Which events appear in what `read` tells; all, unless said. Announcements never do.
    #[must_use]
    pub fn counting(mut self, leaves_trace: impl Fn(&Envelope<'_>) -> bool + 'static) -> Self {
        self.leaves_trace = Box::new(leaves_trace);
        self
    }

    /// The present of the synthetic events; the real one, unless said.
    #[must_use]
    pub fn at(mut self, now: UnixMillis) -> Self {
        self.now = now;
        self
    }

    /// Random histories to try; 32, unless said.
    #[must_use]
    pub fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Runs every check. Panics at the first that fails.
    pub fn check(&self) {
        self.closes_without_start();
        self.starts_again_after_close();
        self.stores_every_kind();
        self.stores_hostile_text();
        self.takes_derived_events_and_announcements();
        self.takes_a_batch_again();
        self.takes_the_same_events_from_another_journal();
        self.starts_after_what_a_partial_attempt_delivered();
        self.takes_what_its_route_wants();
        self.keeps_what_was_delivered_through_a_crash();
        self.maintains_and_reopens_between_batches();
        self.takes_joined_batches();
        self.keeps_any_history();
    }
}
