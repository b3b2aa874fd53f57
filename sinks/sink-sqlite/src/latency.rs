//! Latencies as counts over slots whose width grows with the time: eight to each doubling, so that a percentile is known
//! to an eighth, whatever its size, and histograms of different times add up. The number of a slot stands in the history.

/// Slots to each doubling of the time, as a power of two.
const DOUBLING_BITS: u32 = 3;
const PER_DOUBLING: u64 = 1 << DOUBLING_BITS;
/// Longer times count as this long: 34 years.
const MAX_MS: u64 = (1 << 40) - 1;

/// The slot of a time in milliseconds. The first sixteen are a millisecond wide.
pub(crate) fn slot_of(ms: u64) -> u16 {
    let ms = ms.min(MAX_MS);
    if ms < PER_DOUBLING {
        return ms as u16;
    }
    let shift = ms.ilog2() - DOUBLING_BITS;
    // At most 38 * 8 + 7.
    (u64::from(shift) * PER_DOUBLING + (ms >> shift)) as u16
}

/// The shortest time of a slot, and the shortest of the next.
pub(crate) fn bounds(slot: u16) -> (u64, u64) {
    let slot = u64::from(slot);
    if slot < PER_DOUBLING {
        return (slot, slot + 1);
    }
    let shift = (slot / PER_DOUBLING - 1).min(40);
    let start = (slot % PER_DOUBLING + PER_DOUBLING) << shift;
    (start, start + (1 << shift))
}

/// Counts over slots, by rising slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    pub(crate) slots: Vec<(u16, u64)>,
    pub(crate) max_ms: u64,
}

impl Latencies {
    pub(crate) fn count(&self) -> u64 {
        self.slots.iter().map(|(_, count)| count).sum()
    }

    /// The time that this part of all stays below or meets, interpolated inside its slot and never above the longest.
    pub(crate) fn percentile(&self, part: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((part * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        for (slot, of_slot) in &self.slots {
            if below + of_slot >= rank {
                let (start, end) = bounds(*slot);
                let inside = (rank - below) as f64 / (*of_slot).max(1) as f64;
                return Some((start + ((end - 1 - start) as f64 * inside) as u64).min(self.max_ms));
            }
            below += of_slot;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_join_without_a_hole() {
        let mut expected = 0;
        for slot in 0..=slot_of(MAX_MS) {
            let (start, end) = bounds(slot);
            assert_eq!(start, expected, "{slot}");
            assert_eq!((slot_of(start), slot_of(end - 1)), (slot, slot));
            expected = end;
        }
        assert_eq!(expected, MAX_MS + 1);
        assert_eq!(slot_of(u64::MAX), slot_of(MAX_MS));
    }

    proptest! {
        #[test]
        fn a_percentile_is_known_to_an_eighth(mut times in prop::collection::vec(0_u64..1 << 36, 1..200), part in 0.0..=1.0_f64) {
            times.sort_unstable();
            let mut latencies = Latencies { slots: Vec::new(), max_ms: times[times.len() - 1] };
            for time in &times {
                match latencies.slots.last_mut() {
                    Some((slot, count)) if *slot == slot_of(*time) => *count += 1,
                    _ => latencies.slots.push((slot_of(*time), 1)),
                }
            }
            let rank = ((part * times.len() as f64).ceil() as usize).clamp(1, times.len());
            let exact = times[rank - 1] as f64;
            let found = latencies.percentile(part).unwrap() as f64;
            prop_assert!((found - exact).abs() <= exact / 8.0, "{found} {exact}");
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Latencies::default().percentile(0.5), None);
    }
}
