//! Sets of time, as sorted, disjoint, half-open spans of milliseconds: what was observed, what was lost.

/// A set of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// No time at all.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The union of spans in any order; empty and reversed ones are left out.
    #[must_use]
    pub fn union_of(spans: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<_> = spans.into_iter().filter(|(start, end)| start < end).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (start, end) in sorted {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// The spans, by rising time.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether there is no time in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Milliseconds in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Milliseconds between `from` and `to`.
    #[must_use]
    pub fn within(&self, from: u64, to: u64) -> u64 {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        self.0[first..]
            .iter()
            .take_while(|(start, _)| *start < to)
            .map(|(start, end)| to.min(*end).saturating_sub(from.max(*start)))
            .sum()
    }

    /// Whether any time between `from` and `to` is in it.
    #[must_use]
    pub fn touches(&self, from: u64, to: u64) -> bool {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        self.0.get(first).is_some_and(|(start, _)| *start < to)
    }

    /// The time that is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(a_start, a_end)), Some(&&(b_start, b_end))) = (a.peek(), b.peek()) {
            let (start, end) = (a_start.max(b_start), a_end.min(b_end));
            if start < end {
                both.push((start, end));
            }
            if a_end <= b_end {
                a.next();
            } else {
                b.next();
            }
        }
        Self(both)
    }

    /// The time that is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.0.as_slice();
        for &(mut start, end) in &self.0 {
            while let Some((&(other_start, other_end), rest)) = others.split_first() {
                if other_end <= start {
                    others = rest;
                    continue;
                }
                if other_start >= end {
                    break;
                }
                if start < other_start {
                    left.push((start, other_start));
                }
                start = other_end;
                if start >= end {
                    break;
                }
                others = rest;
            }
            if start < end {
                left.push((start, end));
            }
        }
        Self(left)
    }

    /// Every span widened to whole slots of `width` milliseconds that it touches.
    #[must_use]
    pub fn widened_to(&self, width: u64) -> Self {
        Self::union_of(self.0.iter().map(|(start, end)| (start / width * width, end.div_ceil(width) * width)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(spans: &Spans) -> Vec<u64> {
        spans.0.iter().flat_map(|(start, end)| *start..*end).collect()
    }

    fn any_spans() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0u64..60, 0u64..60), 0..12)
    }

    proptest! {
        #[test]
        fn operations_agree_with_sets_of_milliseconds(a in any_spans(), b in any_spans(), from in 0u64..60, to in 0u64..60) {
            let in_any = |spans: &[(u64, u64)], at: u64| spans.iter().any(|(start, end)| *start <= at && at < *end);
            let (set_a, set_b) = (Spans::union_of(a.clone()), Spans::union_of(b.clone()));
            let all = |keep: &dyn Fn(u64) -> bool| (0..60).filter(|at| keep(*at)).collect::<Vec<_>>();
            prop_assert_eq!(members(&set_a), all(&|at| in_any(&a, at)));
            prop_assert_eq!(members(&set_a.intersection(&set_b)), all(&|at| in_any(&a, at) && in_any(&b, at)));
            prop_assert_eq!(members(&set_a.difference(&set_b)), all(&|at| in_any(&a, at) && !in_any(&b, at)));
            let inside = all(&|at| in_any(&a, at) && from <= at && at < to).len() as u64;
            prop_assert_eq!(set_a.within(from, to), inside);
            if from < to {
                prop_assert_eq!(set_a.touches(from, to), inside > 0);
            }
            prop_assert_eq!(set_a.total(), members(&set_a).len() as u64);
            let wide = set_a.widened_to(7);
            prop_assert_eq!(members(&wide.intersection(&set_a)), members(&set_a));
            prop_assert!(wide.0.iter().all(|(start, end)| start % 7 == 0 && end % 7 == 0));
        }
    }
}
