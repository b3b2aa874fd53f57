//! One log line for a burst of equal happenings; the others are counted and told with the next line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Equal happenings within this time after a line belong to its burst.
const BURST: Duration = Duration::from_secs(10);

/// Lets the first happening of a burst through to the log.
#[derive(Debug, Default)]
pub(crate) struct Burst(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    line_at: Option<Instant>,
    silent: u64,
}

impl Burst {
    /// Whether this happening deserves a line; if so, how many before it got none.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.line_at.is_some_and(|at| now.saturating_duration_since(at) < BURST) {
            state.silent += 1;
            return None;
        }
        state.line_at = Some(now);
        Some(std::mem::take(&mut state.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_a_burst_and_the_rest_told_later() {
        let burst = Burst::default();
        let start = Instant::now();
        assert_eq!(burst.pass(start), Some(0));
        for _ in 0..5 {
            assert_eq!(burst.pass(start + BURST / 2), None);
        }
        assert_eq!(burst.pass(start + BURST), Some(5));
        assert_eq!(burst.pass(start + BURST * 2), Some(0));
    }
}
