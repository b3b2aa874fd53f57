//! The range of a graph, as it stands in the address of a page: a named one that ends now, or two moments.

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The named ranges, in order.
pub(super) const RANGES: [(&str, u64); 6] =
    [("1h", HOUR), ("6h", 6 * HOUR), ("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY), ("1y", 365 * DAY)];
/// The range of a page that names none.
const DEFAULT: &str = "24h";
/// The shortest range; less is one bucket.
const SHORTEST_MS: u64 = 60_000;

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

    /// The range as of now. What cannot be read falls back to the usual range: a page is better than an error about its
    /// address.
    pub(super) fn resolve(&self, now_ms: u64) -> Range {
        if let (Some(from_ms), Some(to_ms)) = (self.from, self.to)
            && from_ms < to_ms
        {
            let to_ms = to_ms.min(now_ms.saturating_add(DAY)).max(SHORTEST_MS);
            let from_ms = from_ms.min(to_ms - SHORTEST_MS);
            return Range { name: None, from_ms, to_ms };
        }
        let named = |wanted: &str| RANGES.into_iter().find(|(name, _)| *name == wanted);
        let (name, length) = self.range.as_deref().and_then(named).or_else(|| named(DEFAULT)).unwrap_or(RANGES[0]);
        Range { name: Some(name), from_ms: now_ms.saturating_sub(length), to_ms: now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn names_and_moments_come_back_from_the_address() {
        let asked = |range, from, to| RangeQuery::new(range, from, to).resolve(NOW);
        assert_eq!(asked(Some("7d"), None, None), Range { name: Some("7d"), from_ms: NOW - 7 * DAY, to_ms: NOW });
        assert_eq!(asked(Some("x"), None, None).name, Some("24h"));
        assert_eq!(asked(None, Some(NOW - HOUR), Some(NOW)), Range { name: None, from_ms: NOW - HOUR, to_ms: NOW });
        assert_eq!(asked(None, Some(9), Some(5)).name, Some("24h"), "a reversed range is the usual one");
        let far = asked(None, Some(0), Some(u64::MAX));
        assert!(far.to_ms <= NOW + DAY && far.from_ms < far.to_ms);
        let tiny = asked(None, Some(1), Some(2));
        assert!(tiny.to_ms - tiny.from_ms >= SHORTEST_MS);
    }
}
