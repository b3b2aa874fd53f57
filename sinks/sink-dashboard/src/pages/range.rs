//! The range of a graph, as it stands in the address of a page: a named one that ends now, or two moments.

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The named ranges, in order.
pub(super) const RANGES: [(&str, u64); 8] = [
    ("5m", 5 * MINUTE),
    ("15m", 15 * MINUTE),
    ("1h", HOUR),
    ("6h", 6 * HOUR),
    ("24h", DAY),
    ("7d", 7 * DAY),
    ("30d", 30 * DAY),
    ("1y", 365 * DAY),
];
/// A page that names no range shows the shortest of these that holds the history, or else the last: a graph of two minutes
/// among 24 hours is nothing but a gap.
const USUAL: [(&str, u64); 5] = [RANGES[0], RANGES[1], RANGES[2], RANGES[3], RANGES[4]];
/// The shortest range; less is one bucket.
const SHORTEST_MS: u64 = MINUTE;

/// The part of an address that names a range.
#[derive(Debug, Clone, Default)]
pub(super) struct RangeQuery {
    range: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
}

/// A range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// Its name, if it ends now.
    pub(super) name: Option<&'static str>,
    /// The range of the same page without one in its address.
    pub(super) usual: &'static str,
    /// Start, in Unix milliseconds.
    pub(super) from_ms: u64,
    /// End, in Unix milliseconds.
    pub(super) to_ms: u64,
}

impl RangeQuery {
    /// From its parts, for a query that has other parts too.
    pub(super) fn new(range: Option<&str>, from: Option<u64>, to: Option<u64>) -> Self {
        Self { range: range.map(str::to_owned), from, to }
    }

    /// The range as of now, of a history that begins at `begins_ms`. What cannot be read falls back to the usual range: a
    /// page is better than an error about its address.
    pub(super) fn resolve(&self, now_ms: u64, begins_ms: Option<u64>) -> Range {
        let age_ms = begins_ms.map_or(u64::MAX, |begins_ms| now_ms.saturating_sub(begins_ms));
        let [.., last] = USUAL;
        let (usual, length) = USUAL.into_iter().find(|(_, length)| age_ms < *length).unwrap_or(last);
        if let (Some(from_ms), Some(to_ms)) = (self.from, self.to)
            && from_ms < to_ms
        {
            let to_ms = to_ms.min(now_ms.saturating_add(DAY)).max(SHORTEST_MS);
            let from_ms = from_ms.min(to_ms - SHORTEST_MS);
            return Range { name: None, usual, from_ms, to_ms };
        }
        let named = |wanted: &str| RANGES.into_iter().find(|(name, _)| *name == wanted);
        let (name, length) = self.range.as_deref().and_then(named).unwrap_or((usual, length));
        Range { name: Some(name), usual, from_ms: now_ms.saturating_sub(length), to_ms: now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn names_and_moments_come_back_from_the_address() {
        let asked = |range, from, to| RangeQuery::new(range, from, to).resolve(NOW, None);
        let range = |name, from_ms, to_ms| Range { name, usual: "24h", from_ms, to_ms };
        assert_eq!(asked(Some("7d"), None, None), range(Some("7d"), NOW - 7 * DAY, NOW));
        assert_eq!(asked(Some("x"), None, None).name, Some("24h"));
        assert_eq!(asked(None, Some(NOW - HOUR), Some(NOW)), range(None, NOW - HOUR, NOW));
        assert_eq!(asked(None, Some(9), Some(5)).name, Some("24h"), "a reversed range is the usual one");
        let far = asked(None, Some(0), Some(u64::MAX));
        assert!(far.to_ms <= NOW + DAY && far.from_ms < far.to_ms);
        let tiny = asked(None, Some(1), Some(2));
        assert!(tiny.to_ms - tiny.from_ms >= SHORTEST_MS);
    }

    #[test]
    fn without_a_range_the_history_decides() {
        let usual = |age_ms| RangeQuery::default().resolve(NOW, Some(NOW - age_ms));
        for (age_ms, expected, length) in [
            (0, "5m", 5 * MINUTE),
            (5 * MINUTE, "15m", 15 * MINUTE),
            (15 * MINUTE, "1h", HOUR),
            (HOUR - 1, "1h", HOUR),
            (HOUR, "6h", 6 * HOUR),
            (6 * HOUR, "24h", DAY),
            (300 * DAY, "24h", DAY),
        ] {
            let range = usual(age_ms);
            assert_eq!((range.name, range.to_ms - range.from_ms), (Some(expected), length), "{age_ms}");
        }
        let asked = RangeQuery::new(Some("7d"), None, None).resolve(NOW, Some(NOW - 5));
        assert_eq!((asked.name, asked.usual), (Some("7d"), "5m"), "the address decides");
        assert_eq!(RangeQuery::default().resolve(NOW, Some(NOW + 5)).name, Some("5m"), "a clock that is ahead");
    }
}
