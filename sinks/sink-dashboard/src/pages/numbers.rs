//! Numbers, times and names as the pages write them. A number comes with its window and its sample, a state comes in words.

use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, html};
use mining_stats::{Estimate, Reading, text};
use sink_sqlite::query::WindowReading;

/// A window that was observed for less than this part says so.
const MOSTLY_OBSERVED: f64 = 0.95;

/// The state of a reading, as a class name; a state that these pages do not know is shown by its text alone.
pub(super) fn state(reading: &Reading) -> &'static str {
    match reading {
        Reading::Measured(_) => "measured",
        Reading::ObservedZero { .. } => "observed_zero",
        Reading::Gap => "gap",
        Reading::WarmingUp { .. } => "warming_up",
        Reading::Stale { .. } => "stale",
        _ => "unknown",
    }
}

/// The value of a reading, or the word for having none.
pub(super) fn value(reading: &Reading) -> String {
    match reading {
        Reading::Measured(estimate) => text::rate(estimate),
        Reading::Stale { last: Some(last), .. } => format!("stale, was {}", text::rate(last)),
        Reading::Stale { last: None, .. } => "stale".to_owned(),
        other => text::reading(other),
    }
}

/// A reading with its state told by look and by word.
pub(super) fn reading(reading: &Reading) -> Markup {
    html! { span class=(format!("reading is-{}", state(reading))) { (value(reading)) } }
}

/// What a reading rests on: uncertainty, shares, and the time that was observed.
pub(super) fn basis(window: &WindowReading) -> String {
    let length = tight(window.window_ms);
    match &window.reading {
        Reading::Measured(estimate) => format!("{} in {}", uncertainty(estimate), observed(window)),
        Reading::ObservedZero { .. } => format!("no share in {}", observed(window)),
        Reading::Gap => format!("nothing observed in {length}"),
        Reading::WarmingUp { observed_ms } => format!("no share yet in {}", tight(*observed_ms)),
        Reading::Stale { last: Some(last), age_ms } => {
            format!("{}; source silent for {}", uncertainty(last), tight(*age_ms))
        }
        Reading::Stale { last: None, age_ms } => format!("source silent for {}", tight(*age_ms)),
        _ => length,
    }
}

/// One standard error and the number of shares, the latter as counts are written here.
fn uncertainty(estimate: &Estimate) -> String {
    let words = text::uncertainty(estimate);
    words.replace(&format!(" {} share", estimate.shares), &format!(" {} share", count(estimate.shares)))
}

/// `5 m`, or `3 m of 5 m` where a part was not observed.
fn observed(window: &WindowReading) -> String {
    let whole = window.window_ms.max(1);
    let span = tight(round_window(whole));
    if (window.observed_ms as f64) < whole as f64 * MOSTLY_OBSERVED {
        format!("{} of {span}", tight(window.observed_ms))
    } else {
        span
    }
}

/// Windows begin at a bucket and so are a little longer than their name: 5 m 12 s is called 5 m. One that is much longer, as
/// that of a minute may be, is called by its true length.
fn round_window(ms: u64) -> u64 {
    const NAMED: [u64; 7] = [60, 300, 900, 3_600, 21_600, 86_400, 604_800];
    let named = NAMED.into_iter().map(|seconds| seconds * 1000).rev().find(|named| *named <= ms);
    named.filter(|named| ms - named <= named / 20).unwrap_or(ms)
}

/// The 95 % interval of an estimate, such as `96 to 124 TH/s`.
pub(super) fn interval(estimate: &Estimate) -> String {
    let digits = match estimate.relative_error() {
        error if error > 0.05 => 2,
        error if error > 0.005 => 3,
        _ => 4,
    };
    let (low, high) = (text::hashrate(estimate.low, digits), text::hashrate(estimate.high, digits));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, low_unit)), Some((_, high_unit))) if low_unit == high_unit => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// [`length`] that is never broken between its number and its unit: it stands in narrow columns.
fn tight(ms: u64) -> String {
    length(ms).replace(' ', "\u{a0}")
}

/// A length of time with at most two units: `12 s`, `3 m 10 s`, `2 h`, `4 d 6 h`.
pub(super) fn length(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |major: u64, unit: &str, minor: u64, small: &str| match minor {
        0 => format!("{major} {unit}"),
        _ => format!("{major} {unit} {minor} {small}"),
    };
    match seconds {
        0 if ms > 0 => format!("{ms} ms"),
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A long time in the unit that people use for it: days up to 60, then years.
pub(super) fn long_time(seconds: f64) -> String {
    const DAY: f64 = 86_400.0;
    match seconds {
        s if s < 60.0 * DAY => length((s * 1000.0) as u64),
        s if s < 1_000.0 * 365.25 * DAY => format!("{:.1} years", s / (365.25 * DAY)),
        s => format!("{} years", count((s / (365.25 * DAY)).min(1e15) as u64)),
    }
}

/// A whole number in groups of three.
pub(super) fn count(number: u64) -> String {
    digits(&number.to_string())
}

/// Decimal digits in groups of three, for amounts that are longer than any integer.
pub(super) fn digits(number: &str) -> String {
    let mut grouped = String::with_capacity(number.len() + number.len() / 3);
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `part` of `whole` in per cent; `None` of nothing.
pub(super) fn per_cent(part: u64, whole: u64) -> Option<String> {
    (whole > 0).then(|| {
        let per_cent = part as f64 / whole as f64 * 100.0;
        match per_cent {
            p if part > 0 && p < 0.01 => "under 0.01 %".to_owned(),
            p if p < 10.0 => format!("{p:.2} %"),
            p => format!("{p:.1} %"),
        }
    })
}

/// A probability or a part in per cent with two significant digits.
pub(super) fn part(value: f64) -> String {
    let per_cent = value * 100.0;
    match per_cent {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 0.01 => "under 0.01 %".to_owned(),
        p if p < 1.0 => format!("{p:.2} %"),
        p if p < 10.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

/// A probability, of which nothing is quite certain.
pub(super) fn chance(probability: f64) -> String {
    if probability >= 0.995 { "over 99 %".to_owned() } else { part(probability) }
}

/// A count with its word: `1 share`, `3 shares`.
pub(super) fn plural(number: u64, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {word}{ending}", count(number))
}

/// Bytes with a binary prefix.
pub(super) fn bytes(number: u64) -> String {
    match number {
        n if n < 1 << 10 => format!("{n} B"),
        n if n < 1 << 20 => format!("{:.1} KiB", n as f64 / 1024.0),
        n if n < 1 << 30 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        n => format!("{:.2} GiB", n as f64 / f64::from(1 << 30)),
    }
}

/// A moment, in UTC; scripts write it in the reader's own time zone where that is asked for.
pub(super) fn moment(ms: u64) -> Markup {
    let stamp = stamp(ms);
    html! { time datetime=(stamp) data-ms=(ms) { (stamp.get(..10).unwrap_or_default()) " " (stamp.get(11..19).unwrap_or_default()) } }
}

/// How long ago a moment was; scripts let it tick.
pub(super) fn ago(ms: u64, now_ms: u64) -> Markup {
    let words = match now_ms.checked_sub(ms) {
        Some(age) => format!("{} ago", length(age / 1000 * 1000)),
        None => "now".to_owned(),
    };
    html! { time datetime=(stamp(ms)) data-ms=(ms) data-ago="" { (words) } }
}

/// [`ago`], or words where it never was.
pub(super) fn ago_or(ms: Option<u64>, now_ms: u64, never: &str) -> Markup {
    match ms {
        Some(ms) => ago(ms, now_ms),
        None => html! { span.note { (never) } },
    }
}

fn stamp(ms: u64) -> String {
    // Times come from the network; the last second of the year 9999 is as far as the format goes.
    const LAST: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms.min(LAST))).to_string()
}

/// Text from the network: escaped, isolated from the writing direction of what is around it, cut by the styles, whole as a
/// tooltip. Characters without a shape would hide things, so they are shown as such.
pub(super) fn untrusted(text: &str) -> Markup {
    let shown = visible(text);
    html! { bdi.name title=(shown) { (shown) } }
}

/// The same within a sentence: not cut.
pub(super) fn untrusted_inline(text: &str) -> Markup {
    html! { bdi { (visible(text)) } }
}

/// Replaces control and direction characters and those without a shape, and writes an empty text in words.
pub(super) fn visible(text: &str) -> String {
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let mut has_shape = false;
    text.chars()
        .map(|c| {
            // A selector of variants belongs to the character before it, such as an emoji.
            let selects = has_shape && matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}');
            has_shape = selects || !is_invisible(c);
            if has_shape { c } else { '\u{fffd}' }
        })
        .collect()
}

/// Control characters, those that Unicode lets programs ignore (`Default_Ignorable_Code_Point`), separators of lines,
/// annotations, and the empty pattern of Braille.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Something that is not known.
pub(super) fn unknown() -> Markup {
    html! { span.note { "unknown" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units_at_most() {
        for (ms, expected) in [
            (0, "0 s"),
            (12, "12 ms"),
            (59_999, "59 s"),
            (190_000, "3 m 10 s"),
            (7_200_000, "2 h"),
            (90_061_000, "1 d 1 h"),
        ] {
            assert_eq!(length(ms), expected);
        }
        assert_eq!(long_time(13_600.0 * 365.25 * 86_400.0), "13,600 years");
    }

    #[test]
    fn amounts_of_any_length_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(
            digits("340282366920938463463374607431768211455"),
            "340,282,366,920,938,463,463,374,607,431,768,211,455"
        );
    }

    #[test]
    fn a_part_of_nothing_is_not_zero_per_cent() {
        assert_eq!(per_cent(0, 0), None);
        assert_eq!(per_cent(1, 1_000_000).unwrap(), "under 0.01 %");
        assert_eq!(per_cent(1, 3).unwrap(), "33.3 %");
    }

    #[test]
    fn names_from_the_network_stay_text() {
        let markup = untrusted("<img src=x onerror=alert(1)>\"' \u{202e}gnp.exe").into_string();
        assert!(markup.contains("&lt;img src=x onerror=alert(1)&gt;&quot;"), "{markup}");
        assert!(!markup.contains('\u{202e}') && !markup.contains("<img"), "{markup}");
        assert!(untrusted(" ").into_string().contains("(empty)"));
    }

    #[test]
    fn a_name_without_a_shape_is_seen() {
        for name in
            ["\u{61c}", "\u{2060}\u{2064}", "\u{3164}", "\u{ad}", "\u{2800} \u{ffa0}", "\u{fe0f}\u{e0041}", "\u{115f}"]
        {
            let shown = visible(name);
            assert!(shown.chars().all(|c| c == '\u{fffd}' || c == ' '), "{shown:?} for {name:?}");
        }
        for name in ["⛏\u{fe0f}🔥", "مُنَقِّب.العامل", "葛\u{e0100}", "a b"] {
            assert_eq!(visible(name), name);
        }
    }

    #[test]
    fn the_states_of_a_reading_have_different_words_and_looks() {
        let readings = [
            Reading::ObservedZero { below: None, observed_ms: 60_000 },
            Reading::Gap,
            Reading::WarmingUp { observed_ms: 5_000 },
            Reading::Stale { last: None, age_ms: 90_000 },
        ];
        let looks: std::collections::BTreeSet<_> = readings.iter().map(|r| reading(r).into_string()).collect();
        assert_eq!(looks.len(), readings.len());
        assert!(looks.iter().all(|look| !look.contains(">0")), "no state is a zero: {looks:?}");
    }

    #[test]
    fn a_window_is_called_by_its_name() {
        assert_eq!(length(round_window(312_000)), "5 m");
        assert_eq!(length(round_window(3_633_000)), "1 h");
        assert_eq!(length(round_window(10_000)), "10 s");
    }

    #[test]
    fn shares_are_counted_in_groups() {
        let sample = mining_stats::Sample {
            shares: 1_599,
            work: 1_599.0,
            work_squared: 1_599.0,
            observed_ms: 60_000,
            ..mining_stats::Sample::default()
        };
        let words = uncertainty(&sample.estimate().unwrap());
        assert!(words.starts_with('±') && words.ends_with(" %, 1,599 shares"), "{words}");
    }

    #[test]
    fn a_window_that_is_much_longer_than_its_name_says_so() {
        let window = |window_ms, observed_ms| WindowReading {
            window: "1m".to_owned(),
            window_ms,
            observed_ms,
            accepted: 0,
            rejected: 0,
            reading: Reading::ObservedZero { below: None, observed_ms },
            text: String::new(),
        };
        assert_eq!(basis(&window(62_000, 62_000)), "no share in 1\u{a0}m");
        assert_eq!(basis(&window(77_000, 77_000)), "no share in 1\u{a0}m\u{a0}17\u{a0}s");
        assert_eq!(basis(&window(119_000, 90_000)), "no share in 1\u{a0}m\u{a0}30\u{a0}s of 1\u{a0}m\u{a0}59\u{a0}s");
        for ms in (60_000..700_000_000).step_by(7_919) {
            let shown = round_window(ms);
            assert!(ms.abs_diff(shown) * 20 <= ms, "{ms} ms as {shown} ms");
        }
    }
}
