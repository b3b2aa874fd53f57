//! Answers that end no quote, said in the log (delivery rule 32): the first at once, then one line a minute at most, so
//! that a mint cannot fill the log.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::counters::Gauges;

/// The least time between two lines.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many there were since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OddAnswers {
    pub(crate) duplicate: u64,
    pub(crate) conflicting: u64,
    pub(crate) late: u64,
    pub(crate) unknown: u64,
}

impl OddAnswers {
    fn read(gauges: &Gauges) -> Self {
        Self {
            duplicate: gauges.duplicate_answers.load(Ordering::Relaxed),
            conflicting: gauges.conflicts.load(Ordering::Relaxed),
            late: gauges.late_answers.load(Ordering::Relaxed),
            unknown: gauges.unknown_answers.load(Ordering::Relaxed),
        }
    }
}

/// Remembers what was said, and when.
#[derive(Debug, Default)]
pub(crate) struct OddAnswerLog {
    told: OddAnswers,
    told_at: Option<Instant>,
}

impl OddAnswerLog {
    /// Says what is new, if it is time.
    pub(crate) fn tell(&mut self, gauges: &Gauges, now: Instant) {
        if let Some(OddAnswers { duplicate, conflicting, late, unknown }) = self.due(OddAnswers::read(gauges), now) {
            tracing::warn!(duplicate, conflicting, late, unknown, "the mint sent answers that end no quote; totals");
        }
    }

    fn due(&mut self, all: OddAnswers, now: Instant) -> Option<OddAnswers> {
        if all == self.told || self.told_at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return None;
        }
        (self.told, self.told_at) = (all, Some(now));
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::count;

    #[test]
    fn the_first_is_said_at_once_and_more_once_a_minute() {
        let (gauges, mut log, start) = (Gauges::default(), OddAnswerLog::default(), Instant::now());
        let mut due =
            |gauges: &Gauges, seconds| log.due(OddAnswers::read(gauges), start + Duration::from_secs(seconds));
        assert_eq!(due(&gauges, 0), None, "nothing to say");
        count(&gauges.late_answers);
        assert_eq!(due(&gauges, 1), Some(OddAnswers { late: 1, ..OddAnswers::default() }));
        for gauge in [&gauges.late_answers, &gauges.duplicate_answers, &gauges.conflicts, &gauges.unknown_answers] {
            count(gauge);
        }
        assert_eq!(due(&gauges, 60), None, "too soon");
        assert_eq!(due(&gauges, 61), Some(OddAnswers { duplicate: 1, conflicting: 1, late: 2, unknown: 1 }));
        assert_eq!(due(&gauges, 500), None, "nothing new");
    }
}
