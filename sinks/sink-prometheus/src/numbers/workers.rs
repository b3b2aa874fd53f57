//! Which workers have series of their own: at most so many over all publishers, those with the most recent work.
//!
//! No counter may fall and no share may count twice when a worker gains or loses its series. So what a worker did while it
//! had none stays with `(other)` for good, and its own count goes on from where it stopped when it gets its series back. The
//! increases over all series of a publisher always add up to the increase of its total.

use std::cmp::Ordering;
use std::sync::Arc;

use mining_stats::Sums;
use rustc_hash::FxHashMap;

use crate::label;

/// Workers that are ranked, over all publishers; later ones share `(other)` until others expire.
const MAX_KNOWN: usize = 20_000;

/// Time between two looks at who has the most work, in milliseconds. Series should not flicker.
const RANK_EVERY_MS: u64 = 300_000;

/// Recent work: what a share counts falls to 1/e in this time.
const MEMORY_MS: f64 = 3_600_000.0;

/// A worker takes the series of another only with so many times its recent work, or two of a size would take turns.
const CLEARLY_MORE: f64 = 1.5;

/// The series that there are, and how many are taken.
#[derive(Debug)]
pub(crate) struct Seats {
    limit: u32,
    taken: u32,
    known: usize,
    next_rank_ms: u64,
}

/// A worker that is known by name.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What it did while it had series of its own. Never falls.
    pub(crate) own: Sums,
    pub(crate) has_series: bool,
    pub(crate) last_share_ms: u64,
    last_seen_ms: u64,
    recent_work: f64,
    recent_as_of_ms: u64,
}

/// The workers of one publisher at one level.
#[derive(Debug, Default)]
pub(crate) struct WorkerTable {
    by_name: FxHashMap<Arc<str>, Worker>,
    /// What workers did that had no series of their own at the time.
    pub(crate) other: Sums,
}

impl Seats {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, taken: 0, known: 0, next_rank_ms: 0 }
    }

    pub(crate) fn taken(&self) -> u32 {
        self.taken
    }

    pub(crate) fn known(&self) -> usize {
        self.known
    }

    /// Whether it is time to rank again; a clock that stepped back does not put it off.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now >= self.next_rank_ms || now + 2 * RANK_EVERY_MS < self.next_rank_ms
    }

    fn take(&mut self) -> bool {
        let free = self.taken < self.limit;
        self.taken += u32::from(free);
        free
    }
}

impl Worker {
    fn recent_work_at(&self, now: u64) -> f64 {
        self.recent_work * (-(now.saturating_sub(self.recent_as_of_ms) as f64) / MEMORY_MS).exp()
    }
}

impl WorkerTable {
    /// The sums that count what the worker of this name does now. `received_ms` is the sidecar's time, `work` what it did.
    pub(crate) fn sums_of(&mut self, name: &Arc<str>, seats: &mut Seats, received_ms: u64, work: f64) -> &mut Sums {
        if **name == *label::OTHER {
            return &mut self.other;
        }
        if !self.by_name.contains_key(name) {
            if seats.known >= MAX_KNOWN {
                return &mut self.other;
            }
            seats.known += 1;
            let worker = Worker {
                own: Sums::default(),
                has_series: seats.take(),
                last_share_ms: 0,
                last_seen_ms: received_ms,
                recent_work: 0.0,
                recent_as_of_ms: received_ms,
            };
            self.by_name.insert(Arc::clone(name), worker);
        }
        let Some(worker) = self.by_name.get_mut(name) else { return &mut self.other };
        worker.recent_work = worker.recent_work_at(received_ms) + work;
        worker.recent_as_of_ms = worker.recent_as_of_ms.max(received_ms);
        worker.last_seen_ms = worker.last_seen_ms.max(received_ms);
        if worker.has_series { &mut worker.own } else { &mut self.other }
    }

    /// Notes the time of a share, as it counts.
    pub(crate) fn shared_at(&mut self, name: &str, at: u64) {
        if let Some(worker) = self.by_name.get_mut(name) {
            worker.last_share_ms = worker.last_share_ms.max(at);
        }
    }

    /// The workers with series of their own, by name.
    pub(crate) fn with_series(&self) -> Vec<(&Arc<str>, &Worker)> {
        let mut workers: Vec<_> = self.by_name.iter().filter(|(_, worker)| worker.has_series).collect();
        workers.sort_unstable_by_key(|(name, _)| *name);
        workers
    }

    /// Forgets workers without a sign since this time.
    pub(crate) fn expire(&mut self, since: u64, seats: &mut Seats) {
        self.by_name.retain(|_, worker| {
            let stays = worker.last_seen_ms >= since;
            if !stays {
                seats.known -= 1;
                seats.taken -= u32::from(worker.has_series);
            }
            stays
        });
    }
}

/// Gives the series to those with the most recent work.
pub(crate) fn rank<'t>(tables: impl Iterator<Item = &'t mut WorkerTable>, seats: &mut Seats, now: u64) {
    seats.next_rank_ms = now + RANK_EVERY_MS;
    let mut seated: Vec<(f64, &mut Worker)> = Vec::new();
    let mut waiting: Vec<(f64, &mut Worker)> = Vec::new();
    for worker in tables.flat_map(|table| table.by_name.values_mut()) {
        let recent = worker.recent_work_at(now);
        if worker.has_series { seated.push((recent, worker)) } else { waiting.push((recent, worker)) }
    }
    let by_work = |a: &(f64, &mut Worker), b: &(f64, &mut Worker)| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
    seated.sort_by(by_work);
    waiting.sort_by(|a, b| by_work(b, a));
    let mut weakest = seated.into_iter();
    for (work, newcomer) in waiting {
        if seats.take() {
            newcomer.has_series = true;
            continue;
        }
        match weakest.next() {
            Some((least, worker)) if work > least * CLEARLY_MORE => {
                worker.has_series = false;
                newcomer.has_series = true;
            }
            _ => break,
        }
    }
}
