//! The wall clock as a parameter, so that tests can set it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use stats_sv2::UnixMillis;

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now. It may step in either direction.
    fn now(&self) -> UnixMillis;

    /// Now, where it decides what is too old to keep. A clock that is set years ahead and put right a minute later must not
    /// cost years of history, so a step ahead counts only once it has lasted.
    fn now_for_ages(&self) -> UnixMillis {
        self.now()
    }
}

/// The system's clock. For ages it follows a step ahead of more than ten minutes after an hour.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The process has one clock, and so one account of its steps.
static AGES: Mutex<Option<Ages>> = Mutex::new(None);

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::now()
    }

    fn now_for_ages(&self) -> UnixMillis {
        let (wall, at) = (UnixMillis::now(), Instant::now());
        let mut ages = AGES.lock().unwrap_or_else(PoisonError::into_inner);
        ages.get_or_insert_with(|| Ages::starting(wall, at)).follow(wall, at)
    }
}

/// Follows a wall clock by a monotonic one.
#[derive(Debug, Clone, Copy)]
struct Ages {
    shown: UnixMillis,
    at: Instant,
    /// Since when the wall clock has been ahead.
    ahead_since: Option<Instant>,
}

impl Ages {
    /// What the wall clock may be ahead: ordinary corrections.
    const TOLERANCE_MS: u64 = 600_000;
    /// What a step ahead must last for.
    const LASTS: Duration = Duration::from_secs(3_600);

    fn starting(wall: UnixMillis, at: Instant) -> Self {
        Self { shown: wall, at, ahead_since: None }
    }

    fn follow(&mut self, wall: UnixMillis, at: Instant) -> UnixMillis {
        let passed = u64::try_from(at.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let expected = UnixMillis(self.shown.0.saturating_add(passed));
        self.at = self.at.max(at);
        if wall.0 <= expected.0.saturating_add(Self::TOLERANCE_MS) {
            self.ahead_since = None;
            self.shown = wall;
            return wall;
        }
        let since = *self.ahead_since.get_or_insert_with(|| {
            tracing::warn!(
                ahead_ms = wall.0 - expected.0,
                "the clock stepped ahead; nothing is given up for its age until that has lasted for an hour"
            );
            at
        });
        if at.saturating_duration_since(since) >= Self::LASTS {
            self.ahead_since = None;
            self.shown = wall;
        } else {
            self.shown = expected;
        }
        self.shown
    }
}

/// A clock that stands until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: UnixMillis) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Sets it.
    pub fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const YEAR: u64 = 365 * 86_400_000;

    /// What the clock shows for ages when the wall clock shows `wall` after so many seconds.
    fn shown(readings: &[(u64, u64)]) -> Vec<u64> {
        let begin = Instant::now();
        let mut ages = Ages::starting(UnixMillis(START), begin);
        readings
            .iter()
            .map(|(seconds, wall)| ages.follow(UnixMillis(*wall), begin + Duration::from_secs(*seconds)).0)
            .collect()
    }

    #[test]
    fn a_step_ahead_that_is_put_right_costs_nothing() {
        let readings = [(1, START + 1_000), (2, START + YEAR), (60, START + YEAR + 58_000), (61, START + 61_000)];
        assert_eq!(shown(&readings), [START + 1_000, START + 2_000, START + 60_000, START + 61_000]);
    }

    #[test]
    fn a_step_ahead_that_lasts_is_followed() {
        let readings =
            [(10, START + YEAR), (3_609, START + YEAR), (3_610, START + YEAR), (3_611, START + YEAR + 1_000)];
        assert_eq!(shown(&readings), [START + 10_000, START + 3_609_000, START + YEAR, START + YEAR + 1_000]);
    }

    #[test]
    fn corrections_and_steps_back_are_followed_at_once() {
        assert_eq!(
            shown(&[(1, START + 500_000), (2, START - YEAR), (3, START - YEAR + 5)]),
            [START + 500_000, START - YEAR, START - YEAR + 5]
        );
    }
}
