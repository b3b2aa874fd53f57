//! When a failed delivery is tried again and when it is given up: exponential backoff with jitter, a budget of attempts
//! and time. Pure, so that it is tested without sleeping.

use std::num::NonZeroU32;
use std::time::Duration;

/// How a sink's failed deliveries are repeated.
///
/// Without `max_age` and `max_attempts` a delivery is repeated until it succeeds; what bounds the backlog then is the
/// journal's retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Pause after the first failure; it doubles with each further one.
    pub initial_backoff: Duration,
    /// The pause never exceeds this.
    pub max_backoff: Duration,
    /// Given up when this has passed since the batch was first tried. The last attempt is made when it ends.
    pub max_age: Option<Duration>,
    /// Given up after so many attempts, the first included.
    pub max_attempts: Option<NonZeroU32>,
}

impl Default for RetryPolicy {
    /// 200 ms doubling to 30 s, without end.
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            max_age: None,
            max_attempts: None,
        }
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// Try again after this pause.
    RetryAfter(Duration),
    /// The budget is used up.
    GiveUp,
}

impl RetryPolicy {
    /// Decides after attempt number `attempts` (from 1) failed, `elapsed` after the first began. `jitter`, from 0 to 1,
    /// picks the pause between half of the backoff and the whole, so that sinks that failed together do not return together.
    #[must_use]
    pub fn after_failure(&self, attempts: u32, elapsed: Duration, jitter: f64) -> AfterFailure {
        if self.max_attempts.is_some_and(|max| attempts >= max.get()) {
            return AfterFailure::GiveUp;
        }
        let left = match self.max_age {
            Some(max_age) if elapsed >= max_age => return AfterFailure::GiveUp,
            Some(max_age) => max_age - elapsed,
            None => Duration::MAX,
        };
        let doublings = attempts.saturating_sub(1).min(31);
        let backoff = self.initial_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        let pause = backoff.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        AfterFailure::RetryAfter(pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_grow_within_bounds_and_the_budget_ends_them(
            initial_ms in 1_u64..5_000,
            max_ms in 1_u64..100_000,
            max_age_ms in proptest::option::of(1_u64..1_000_000),
            max_attempts in proptest::option::of(1_u32..100),
            jitter in 0.0_f64..=1.0,
        ) {
            let policy = RetryPolicy {
                initial_backoff: Duration::from_millis(initial_ms),
                max_backoff: Duration::from_millis(max_ms),
                max_age: max_age_ms.map(Duration::from_millis),
                max_attempts: max_attempts.and_then(NonZeroU32::new),
            };
            let (mut elapsed, mut attempts, mut before) = (Duration::ZERO, 1, Duration::ZERO);
            let gave_up = loop {
                match policy.after_failure(attempts, elapsed, jitter) {
                    AfterFailure::GiveUp => break true,
                    AfterFailure::RetryAfter(pause) => {
                        prop_assert!(pause <= policy.max_backoff);
                        let last = policy.max_age.is_some_and(|age| elapsed + pause == age);
                        prop_assert!(pause >= before || last, "a pause shrinks only to meet the end of the budget");
                        (before, elapsed, attempts) = (pause, elapsed + pause, attempts + 1);
                    }
                }
                if attempts > 10_000 { break false; }
            };
            prop_assert_eq!(gave_up, max_age_ms.is_some() || max_attempts.is_some());
            if let Some(max) = max_attempts { prop_assert!(attempts <= max); }
            if let Some(max) = policy.max_age { prop_assert!(elapsed <= max); }
        }
    }

    #[test]
    fn many_attempts_overflow_nothing() {
        let policy = RetryPolicy { initial_backoff: Duration::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.after_failure(u32::MAX, Duration::MAX, 1.0), AfterFailure::RetryAfter(policy.max_backoff),);
    }
}
