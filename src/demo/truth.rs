//! What the simulated miners truly did, kept long enough to be compared with a measurement over the same time.

use std::collections::VecDeque;

use stats_sv2::UnixMillis;

use crate::simulate::{Fleet, QuoteTotals};

/// Milliseconds that are kept: the window of the table and the bucket by which it may begin earlier.
const KEPT_MS: u64 = 130_000;
/// Milliseconds between two points.
const STEP_MS: u64 = 500;

/// The truth so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    pub(super) miners: Vec<TrueMiner>,
    points: VecDeque<Point>,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) quotes: QuoteTotals,
    pub(super) published: u64,
}

/// One miner now.
#[derive(Debug, Clone)]
pub(super) struct TrueMiner {
    pub(super) name: String,
    pub(super) connected: bool,
}

/// Hashes made by each miner up to a moment.
#[derive(Debug, Clone)]
struct Point {
    at_ms: u64,
    work: Vec<f64>,
}

impl Truth {
    /// Looks at the fleet.
    pub(super) fn observe(&mut self, fleet: &Fleet, published: u64) {
        let UnixMillis(now) = UnixMillis::now();
        self.published = published;
        self.accepted = fleet.miners().iter().map(|miner| miner.accepted).sum();
        self.rejected = fleet.miners().iter().map(|miner| miner.rejected).sum();
        self.quotes = fleet.quotes().unwrap_or_default();
        if self.points.back().is_some_and(|last| now < last.at_ms + STEP_MS) {
            return;
        }
        let named = |miner: &crate::simulate::Miner| TrueMiner {
            name: miner.name.as_str().to_owned(),
            connected: miner.connected,
        };
        self.miners = fleet.miners().iter().map(named).collect();
        self.points.push_back(Point { at_ms: now, work: fleet.true_work() });
        while self.points.front().is_some_and(|first| first.at_ms + KEPT_MS < now) {
            self.points.pop_front();
        }
    }

    /// True hashrate of each miner, in hashes per second, averaged from a moment on; `None` before there are two points.
    pub(super) fn hashrates_since(&self, from_ms: u64) -> Option<Vec<f64>> {
        let first = self.points.iter().find(|point| point.at_ms >= from_ms)?;
        let last = self.points.back()?;
        let seconds = last.at_ms.checked_sub(first.at_ms).filter(|ms| *ms > 0)? as f64 / 1000.0;
        Some(first.work.iter().zip(&last.work).map(|(first, last)| (last - first) / seconds).collect())
    }
}
