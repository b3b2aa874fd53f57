//! How long to wait before the next attempt to connect: twice as long after each failure, with jitter, so that many pools
//! do not come back to one mint in the same instant.

use std::time::Duration;

use rand::Rng;

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

    /// The wait after one more failure: between half of the step and the whole.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.failures.min(30)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// The mint did something useful: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        for round in 0..50 {
            let step = first.saturating_mul(1 << round.min(6)).min(longest);
            let wait = backoff.next();
            assert!(step / 2 <= wait && wait <= step, "round {round}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
