//! What a page may say about a hashrate: measured, observed zero, gap, stale and warming up are different things.

use serde::Serialize;

use crate::hashrate::{Estimate, Hashrate, Sample};

/// A subject younger than this without a share is warming up, not at zero.
pub const WARM_UP_MS: u64 = 60_000;

/// A source that was silent for longer than this is stale: six heartbeats.
pub const STALE_AFTER_MS: u64 = 30_000;

/// The state of a hashrate over a window.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reading {
    /// Shares came in observed time.
    Measured(Estimate),
    /// The time was observed and no share came.
    ObservedZero {
        /// The hashrate is below this at 95 % confidence, where the target in force is known.
        below: Option<Hashrate>,
        /// Milliseconds observed.
        observed_ms: u64,
    },
    /// No time of the window was observed.
    Gap,
    /// The subject appeared a moment ago and nothing can be said yet.
    WarmingUp {
        /// Milliseconds observed.
        observed_ms: u64,
    },
    /// The source is silent: the last value that was known, and its age.
    Stale {
        /// What was measured in the part of the window before the silence.
        last: Option<Estimate>,
        /// Milliseconds since the source was heard.
        age_ms: u64,
    },
}

/// What must be known beside the sample to tell the states apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances {
    /// Milliseconds since the source was last heard; `None` for a window that ended in the past.
    pub silent_ms: Option<u64>,
    /// Milliseconds since the subject first appeared.
    pub age_ms: u64,
    /// Work of the target in force, for the bound of an observed zero.
    pub share_work: Option<f64>,
}

impl Reading {
    /// Tells the states apart.
    #[must_use]
    pub fn of(sample: &Sample, circumstances: &Circumstances) -> Self {
        let estimate = sample.estimate();
        match (circumstances.silent_ms, estimate) {
            (Some(age_ms), last) if age_ms > STALE_AFTER_MS => Self::Stale { last, age_ms },
            (_, Some(estimate)) => Self::Measured(estimate),
            (_, None) if circumstances.age_ms < WARM_UP_MS => Self::WarmingUp { observed_ms: sample.observed_ms },
            (_, None) if sample.observed_ms == 0 => Self::Gap,
            (_, None) => Self::ObservedZero {
                below: circumstances.share_work.and_then(|work| sample.upper_bound(work)),
                observed_ms: sample.observed_ms,
            },
        }
    }

    /// The estimate, if the reading is a current measurement.
    #[must_use]
    pub fn measured(&self) -> Option<&Estimate> {
        match self {
            Self::Measured(estimate) => Some(estimate),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_are_kept_apart() {
        let seen = Sample { shares: 4, work: 4e9, work_squared: 4e18, observed_ms: 60_000, ..Sample::default() };
        let quiet = Sample { observed_ms: 60_000, ..Sample::default() };
        let old = Circumstances { silent_ms: Some(2_000), age_ms: 3_600_000, share_work: Some(1e9) };

        assert!(matches!(Reading::of(&seen, &old), Reading::Measured(_)));
        let Reading::ObservedZero { below: Some(below), .. } = Reading::of(&quiet, &old) else { panic!() };
        assert!((below.hashes_per_second() - 3e9 / 60.0).abs() < 1e6);
        assert_eq!(Reading::of(&Sample::default(), &old), Reading::Gap);
        let young = Circumstances { age_ms: 10_000, ..old };
        assert_eq!(Reading::of(&quiet, &young), Reading::WarmingUp { observed_ms: 60_000 });
        assert!(Reading::of(&seen, &young).measured().is_some());
        let silent = Circumstances { silent_ms: Some(90_000), ..old };
        assert!(matches!(Reading::of(&seen, &silent), Reading::Stale { last: Some(_), age_ms: 90_000 }));
        assert!(matches!(Reading::of(&quiet, &silent), Reading::Stale { last: None, .. }));
        let past = Circumstances { silent_ms: None, ..old };
        assert!(matches!(Reading::of(&quiet, &past), Reading::ObservedZero { .. }));
    }
}
