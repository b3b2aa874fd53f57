//! The 95 % interval of a Poisson count (Garwood 1936): exact by chi-square quantiles, fast for large counts.

use std::sync::OnceLock;

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Upper 2.5 % point of the normal distribution.
const Z_975: f64 = 1.959_963_984_540_054;

/// Counts from here on use the cube-root approximation of Wilson and Hilferty; its error is below 1e-5 of the bound,
/// beyond anything shown, and it is a hundred times faster.
const APPROXIMATE_FROM: f64 = 200.0;

/// Smallest mean that is excluded at 95 % by observing nothing, one-sided: `-ln 0.05`, "the rule of three".
pub const ZERO_COUNT_UPPER: f64 = 2.995_732_273_553_991;

/// Lower and upper end of the 95 % interval for the mean, when `count` was observed. Counts need not be whole: an
/// effective number of shares is one too.
#[must_use]
pub fn garwood_95(count: f64) -> (f64, f64) {
    let count = count.max(0.0);
    if count >= APPROXIMATE_FROM {
        return (chi2_approximate(-Z_975, 2.0 * count) / 2.0, chi2_approximate(Z_975, 2.0 * count + 2.0) / 2.0);
    }
    if count.fract() == 0.0 {
        static WHOLE: OnceLock<Vec<(f64, f64)>> = OnceLock::new();
        let whole = WHOLE.get_or_init(|| (0..APPROXIMATE_FROM as u32).map(|count| exact(f64::from(count))).collect());
        return whole[count as usize];
    }
    exact(count)
}

fn exact(count: f64) -> (f64, f64) {
    (chi2_exact(0.025, 2.0 * count) / 2.0, chi2_exact(0.975, 2.0 * count + 2.0) / 2.0)
}

fn chi2_exact(probability: f64, freedom: f64) -> f64 {
    // Zero degrees of freedom: the lower end of a count of nothing is 0.
    ChiSquared::new(freedom).map_or(0.0, |distribution| distribution.inverse_cdf(probability))
}

/// Wilson and Hilferty 1931: the cube root of chi-square over its degrees of freedom is nearly normal.
fn chi2_approximate(z: f64, freedom: f64) -> f64 {
    let variance = 2.0 / (9.0 * freedom);
    freedom * (1.0 - variance + z * variance.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn table_of_intervals_in_per_cent() {
        for (count, below, above) in
            [(1.0, -97, 457), (6.0, -63, 118), (30.0, -33, 43), (90.0, -20, 23), (360.0, -10, 11), (1080.0, -6, 6)]
        {
            let (low, high) = garwood_95(count);
            let per_cent = |bound: f64| ((bound / count - 1.0) * 100.0).round() as i32;
            assert_eq!((per_cent(low), per_cent(high)), (below, above), "{count}");
        }
        assert_eq!(garwood_95(0.0).0, 0.0);
        assert!((garwood_95(0.0).1 - 3.689).abs() < 0.001);
        assert!((ZERO_COUNT_UPPER + 0.05_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_fast_path_agrees_with_the_quantiles() {
        for count in [200.0, 250.5, 1_000.0, 30_000.0] {
            let (fast, slow) = (garwood_95(count), exact(count));
            assert!((fast.0 / slow.0 - 1.0).abs() < 1e-5, "{count}: {fast:?} {slow:?}");
            assert!((fast.1 / slow.1 - 1.0).abs() < 1e-5, "{count}: {fast:?} {slow:?}");
        }
    }

    #[test]
    fn the_interval_covers_the_mean_in_95_of_100_cases() {
        let mut random = StdRng::seed_from_u64(7);
        for mean in [0.5, 3.0, 17.3, 90.0, 400.0] {
            let trials = 4_000;
            let covered = (0..trials)
                .filter(|_| {
                    // Count exponential waiting times until the span is over.
                    let mut count = 0.0;
                    let mut time = 0.0;
                    loop {
                        time -= (1.0 - random.random::<f64>()).ln();
                        if time > mean {
                            break;
                        }
                        count += 1.0;
                    }
                    let (low, high) = garwood_95(count);
                    low <= mean && mean <= high
                })
                .count();
            // Garwood never covers less than 95 %; four standard deviations of 4,000 trials are 1.4 %.
            assert!(covered as f64 / f64::from(trials) > 0.936, "{mean}: {covered}");
        }
    }

    proptest! {
        #[test]
        fn bounds_rise_with_the_count(count in 0.0_f64..2_000.0, more in 0.01_f64..100.0) {
            let (low, high) = garwood_95(count);
            let (next_low, next_high) = garwood_95(count + more);
            prop_assert!(low <= count && count < high);
            // The two paths meet within their error.
            prop_assert!(next_low >= low * (1.0 - 1e-5) && next_high >= high * (1.0 - 1e-5));
        }
    }
}
