//! The tiers of buckets, how long each is kept, and which one answers a query.

use serde::Serialize;

/// Points of a series that a query gets unless it asks otherwise.
pub const DEFAULT_POINTS: u64 = 600;
/// Points of a series at most.
pub const MAX_POINTS: u64 = 2_000;

/// Width of the slot that a loss strikes out of the rates: the finest tier that every series has.
pub const SLOT_MS: u64 = Tier::OneMinute.width_ms();

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// A width of buckets. Finer ones come first; each is a multiple of the one before, and so a whole number of finer
/// buckets makes a coarser one.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Tier {
    /// For the pool or translator as a whole, and for workers of small fleets.
    #[serde(rename = "10s")]
    TenSeconds,
    /// The finest of every worker.
    #[serde(rename = "1m")]
    OneMinute,
    /// The samples of the original design.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// For years.
    #[serde(rename = "1h")]
    OneHour,
}

impl Tier {
    /// Every tier, finest first.
    pub const ALL: [Self; 4] = [Self::TenSeconds, Self::OneMinute, Self::FiveMinutes, Self::OneHour];

    /// Milliseconds of a bucket.
    #[must_use]
    pub const fn width_ms(self) -> u64 {
        match self {
            Self::TenSeconds => 10 * SECOND,
            Self::OneMinute => 60 * SECOND,
            Self::FiveMinutes => 300 * SECOND,
            Self::OneHour => HOUR,
        }
    }

    /// Milliseconds that buckets are kept, unless a setting says otherwise.
    #[must_use]
    pub const fn default_retention_ms(self) -> u64 {
        match self {
            Self::TenSeconds => DAY,
            Self::OneMinute => 14 * DAY,
            Self::FiveMinutes => 90 * DAY,
            Self::OneHour => 5 * 365 * DAY,
        }
    }

    /// Start of the bucket that holds this time.
    #[must_use]
    pub const fn bucket_of(self, time_ms: u64) -> u64 {
        time_ms - time_ms % self.width_ms()
    }

    /// The name in settings and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenSeconds => "10s",
            Self::OneMinute => "1m",
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        }
    }
}

/// How a range is cut into points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The tier that is read.
    pub tier: Tier,
    /// Milliseconds of a point: a multiple of the tier's width.
    pub step_ms: u64,
}

impl Step {
    /// The finest step for a range with at most `points` points (never above [`MAX_POINTS`]), from the tiers whose
    /// buckets are kept back to the start of the range. `available` gives each usable tier with the time from which on it is
    /// kept; where none reaches back far enough, the one that reaches furthest answers. `None` if it is empty.
    #[must_use]
    pub fn for_range(from_ms: u64, to_ms: u64, points: u64, available: &[(Tier, u64)]) -> Option<Self> {
        let points = points.clamp(1, MAX_POINTS);
        let mut reaching: Vec<Tier> =
            available.iter().filter(|(_, since)| *since <= from_ms).map(|(tier, _)| *tier).collect();
        if reaching.is_empty() {
            reaching.push(available.iter().min_by_key(|(tier, since)| (*since, *tier)).map(|(tier, _)| *tier)?);
        }
        reaching.sort_unstable();
        let count = |step: u64| to_ms.div_ceil(step).saturating_sub(from_ms / step);
        if let Some(tier) = reaching.iter().copied().find(|tier| count(tier.width_ms()) <= points) {
            return Some(Self { tier, step_ms: tier.width_ms() });
        }
        let tier = *reaching.last()?;
        // Multiples that people read easily, then whole numbers of days.
        let step_ms = [2, 3, 5, 6, 10, 12, 24]
            .into_iter()
            .map(|multiple| multiple * tier.width_ms())
            .chain((1..).map(|days| days * DAY))
            .find(|step| step % tier.width_ms() == 0 && count(*step) <= points)?;
        Some(Self { tier, step_ms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn kept() -> Vec<(Tier, u64)> {
        Tier::ALL.iter().map(|tier| (*tier, NOW - tier.default_retention_ms())).collect()
    }

    #[test]
    fn the_finest_tier_that_fits_answers() {
        for (range, tier, step_ms) in [
            (HOUR, Tier::TenSeconds, 10 * SECOND),
            (6 * HOUR, Tier::OneMinute, 60 * SECOND),
            (DAY, Tier::FiveMinutes, 300 * SECOND),
            (7 * DAY, Tier::OneHour, HOUR),
            (30 * DAY - HOUR, Tier::OneHour, 2 * HOUR),
            (365 * DAY, Tier::OneHour, DAY),
        ] {
            let step = Step::for_range(NOW - range, NOW, DEFAULT_POINTS, &kept()).unwrap();
            assert_eq!(step, Step { tier, step_ms }, "{range}");
        }
        let old = Step::for_range(NOW - 2 * DAY, NOW - 2 * DAY + HOUR, DEFAULT_POINTS, &kept()).unwrap();
        assert_eq!(old.tier, Tier::OneMinute, "ten seconds are kept for a day only");
        let ancient = Step::for_range(0, HOUR, DEFAULT_POINTS, &kept()).unwrap();
        assert_eq!(ancient.tier, Tier::OneHour);
        assert_eq!(Step::for_range(0, HOUR, DEFAULT_POINTS, &[]), None);
    }

    #[test]
    fn tiers_divide_each_other() {
        for pair in Tier::ALL.windows(2) {
            assert_eq!(pair[1].width_ms() % pair[0].width_ms(), 0);
            assert!(pair[1].default_retention_ms() > pair[0].default_retention_ms());
        }
    }

    proptest! {
        #[test]
        fn never_more_points_than_asked(from in 0u64..NOW, length in 1u64..20 * 365 * DAY, points in 1u64..5_000) {
            let step = Step::for_range(from, from + length, points, &kept()).unwrap();
            let count = (from + length).div_ceil(step.step_ms) - from / step.step_ms;
            // One point may always be left over where a range straddles the edge of two large steps.
            prop_assert!(count <= points.clamp(2, MAX_POINTS), "{count}");
            prop_assert_eq!(step.step_ms % step.tier.width_ms(), 0);
        }
    }
}
