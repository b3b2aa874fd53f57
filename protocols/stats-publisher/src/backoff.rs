//! How long to wait before the next attempt to connect: twice as long after each failure, with jitter, so that a hundred
//! publishers do not come back in the same instant.

use std::time::Duration;

use rand::Rng;

use crate::connection::ConnectionError;

#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The wait after one more failure: between half of the step and the whole. The step is the longest at once where
    /// a person has to act first.
    pub(crate) fn after(&mut self, error: &ConnectionError) -> Duration {
        let step = if error.needs_operator() {
            self.longest
        } else {
            self.first.saturating_mul(1 << self.failures.min(30)).min(self.longest)
        };
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// The sidecar answered: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use stats_sv2::session::error_code;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        for round in 0..100 {
            let step = first.saturating_mul(1 << round.min(6)).min(longest);
            let wait = backoff.after(&ConnectionError::Ended);
            assert!(step / 2 <= wait && wait <= step, "round {round}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.after(&ConnectionError::Ended) <= first);
    }

    #[test]
    fn what_a_person_must_change_waits_longest_and_what_passes_by_itself_does_not() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let wait = |code: &str| Backoff::new(first, longest).after(&ConnectionError::Refused(code.to_owned()));
        for code in [error_code::UNSUPPORTED_VERSION, error_code::UNAUTHORIZED, error_code::MALFORMED] {
            assert!((longest / 2..=longest).contains(&wait(code)), "{code}");
        }
        // A name is free again as soon as the sidecar has seen that its holder is gone.
        for code in [error_code::PUBLISHER_IN_USE, error_code::TOO_MANY_SESSIONS, "of-a-later-version"] {
            assert!((first / 2..=first).contains(&wait(code)), "{code}");
        }
    }
}
