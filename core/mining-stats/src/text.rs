//! Numbers as people read them, with no more digits than the interval allows.

use crate::hashrate::{Estimate, Hashrate};
use crate::reading::Reading;

const PREFIXES: [&str; 8] = ["", "k", "M", "G", "T", "P", "E", "Z"];

/// A hashrate with two or three significant digits, from `H/s` to `ZH/s`.
#[must_use]
pub fn hashrate(rate: Hashrate, digits: usize) -> String {
    format!("{}H/s", with_prefix(rate.hashes_per_second(), digits))
}

/// The rate of an estimate with the digits that its interval allows, such as `1.2 TH/s`.
#[must_use]
pub fn rate(estimate: &Estimate) -> String {
    hashrate(estimate.rate, digits_allowed(estimate))
}

/// One standard error and the number of shares, such as `±18 %, 30 shares`.
#[must_use]
pub fn uncertainty(estimate: &Estimate) -> String {
    let per_cent = estimate.relative_error() * 100.0;
    let per_cent = if per_cent < 9.95 { format!("{per_cent:.1}") } else { format!("{per_cent:.0}") };
    let at_least = if estimate.interval_is_lower_bound { "at least " } else { "" };
    let plural = if estimate.shares == 1 { "" } else { "s" };
    format!("{at_least}±{per_cent} %, {} share{plural}", estimate.shares)
}

/// A reading in words: a measurement with its uncertainty, `< 3.0 GH/s` for an observed zero, or the state's name.
#[must_use]
pub fn reading(reading: &Reading) -> String {
    match reading {
        Reading::Measured(estimate) => format!("{} {}", rate(estimate), uncertainty(estimate)),
        Reading::ObservedZero { below: Some(below), .. } => format!("< {}", hashrate(*below, 2)),
        Reading::ObservedZero { below: None, .. } => "no shares".to_owned(),
        Reading::Gap => "no data".to_owned(),
        Reading::WarmingUp { .. } => "warming up".to_owned(),
        Reading::Stale { last, age_ms } => {
            let seconds = age_ms / 1000;
            match last {
                Some(estimate) => format!("stale for {seconds} s, last {}", rate(estimate)),
                None => format!("stale for {seconds} s"),
            }
        }
    }
}

/// A difficulty with three significant digits: plain from 0.000001 up, with a prefix from 1,000 up.
#[must_use]
pub fn difficulty(number: f64) -> String {
    match number {
        number if number >= 1.0 => with_prefix(number, 3).trim_end().to_owned(),
        number if number >= 1e-6 => {
            let decimals = (2 - number.log10().floor() as i32).clamp(0, 9) as usize;
            let text = format!("{number:.decimals$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        number if number > 0.0 => format!("{number:.2e}"),
        _ => "0".to_owned(),
    }
}

/// Significant digits that the wider half of the 95 % interval supports.
fn digits_allowed(estimate: &Estimate) -> usize {
    let rate = estimate.rate.hashes_per_second();
    let wide = (estimate.high.hashes_per_second() - rate) / rate;
    match wide {
        wide if wide > 0.5 => 1,
        wide if wide > 0.05 => 2,
        wide if wide > 0.005 => 3,
        _ => 4,
    }
}

/// The number rounded to so many significant digits, a space, and the prefix.
fn with_prefix(number: f64, digits: usize) -> String {
    if !(number > 0.0 && number.is_finite()) {
        return "0 ".to_owned();
    }
    let digits = digits.clamp(1, 9) as i32;
    // Round first: 999.96 k with four digits is 1.000 M.
    let scale = 10.0_f64.powi(number.log10().floor() as i32 - digits + 1);
    let rounded = (number / scale).round() * scale;
    // The tiny excess keeps exact powers of 1,000 from falling below through the logarithm.
    let thousands = ((rounded.log10() + 1e-9) / 3.0).floor().clamp(0.0, (PREFIXES.len() - 1) as f64) as usize;
    let shown = rounded / 1000.0_f64.powi(thousands as i32);
    let decimals = (digits - 1 - (shown.log10() + 1e-9).floor() as i32).max(0) as usize;
    format!("{shown:.decimals$} {}", PREFIXES[thousands])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashrate::Sample;

    fn estimate(shares: u64, work: f64, seconds: u64) -> Estimate {
        let n = shares as f64;
        Sample {
            shares,
            work: n * work,
            work_squared: n * work * work,
            observed_ms: seconds * 1000,
            ..Sample::default()
        }
        .estimate()
        .unwrap()
    }

    #[test]
    fn from_hashes_to_zettahashes() {
        for (rate, digits, expected) in [
            (0.0, 3, "0 H/s"),
            (0.5, 2, "0.50 H/s"),
            (7.0, 1, "7 H/s"),
            (1e3, 3, "1.00 kH/s"),
            (999.6e3, 3, "1.00 MH/s"),
            (123.4e12, 2, "120 TH/s"),
            (123.4e12, 4, "123.4 TH/s"),
            (5.55e18, 2, "5.6 EH/s"),
            (1e21, 2, "1.0 ZH/s"),
            (3.2e24, 2, "3200 ZH/s"),
        ] {
            assert_eq!(hashrate(Hashrate::from_hashes_per_second(rate), digits), expected, "{rate}");
        }
    }

    #[test]
    fn no_more_digits_than_the_interval_allows() {
        assert_eq!(rate(&estimate(30, 12.34e12, 300)), "1.2 TH/s");
        assert_eq!(uncertainty(&estimate(30, 12.34e12, 300)), "±18 %, 30 shares");
        assert_eq!(uncertainty(&estimate(1, 12.34e12, 300)), "±100 %, 1 share");
        assert_eq!(rate(&estimate(1, 12.34e12, 10)), "1 TH/s");
        assert_eq!(rate(&estimate(10_000, 1.2345e12, 1000)), "12.3 TH/s");
        assert_eq!(rate(&estimate(2_000_000, 1.23456e12, 1000)), "2.469 PH/s");
        assert_eq!(uncertainty(&estimate(360, 1.0, 1)), "±5.3 %, 360 shares");
    }

    #[test]
    fn states_are_words_not_zeros() {
        let zero = Reading::ObservedZero { below: Some(Hashrate::from_hashes_per_second(3.0e9)), observed_ms: 1 };
        assert_eq!(reading(&zero), "< 3.0 GH/s");
        assert_eq!(reading(&Reading::Gap), "no data");
        assert_eq!(reading(&Reading::Stale { last: None, age_ms: 90_000 }), "stale for 90 s");
    }

    #[test]
    fn difficulty_from_a_millionth_up() {
        for (number, expected) in [
            (1e-6, "0.000001"),
            (0.001_234, "0.00123"),
            (0.5, "0.5"),
            (1.0, "1.00"),
            (1234.0, "1.23 k"),
            (1.1e14, "110 T"),
            (3e-8, "3.00e-8"),
            (0.0, "0"),
        ] {
            assert_eq!(difficulty(number), expected, "{number}");
        }
    }
}
