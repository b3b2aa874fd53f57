//! Hashrate over the last minutes, by the time of the events: sums in slots of ten seconds, and which time was observed.

use std::collections::BTreeMap;

use mining_stats::{Sample, ShareCredit, Spans, Sums, Tier};

/// Windows of the hashrate gauges, with their names.
pub(crate) const WINDOWS: [(&str, u64); 3] = [("5m", 300_000), ("15m", 900_000), ("1h", 3_600_000)];

/// Width of a slot in milliseconds.
const SLOT_MS: u64 = Tier::TenSeconds.width_ms();

/// How far back slots and spans are kept: the longest window and some minutes for clocks that differ.
const KEPT_MS: u64 = 3_600_000 + 300_000;

/// Spans of lost or observed time that are kept apart at most; beyond it the oldest go.
const MAX_SPANS: usize = 1_024;

/// Sums of one level by slot.
#[derive(Debug, Default)]
pub(crate) struct Slots(BTreeMap<u64, Slot>);

#[derive(Debug, Default)]
struct Slot {
    sums: Sums,
    /// Work of the hardest target that a share met.
    hardest: f64,
}

impl Slots {
    /// Adds a share.
    pub(crate) fn add_share(&mut self, credit: ShareCredit, at: u64) {
        let slot = self.0.entry(at / SLOT_MS).or_default();
        slot.sums.add_share(credit, true);
        slot.hardest = slot.hardest.max(credit.work);
    }

    fn add_part(&mut self, accepted: u64, work: f64, at: u64) {
        let slot = self.0.entry(at / SLOT_MS).or_default();
        slot.sums.add_counted(accepted, 0, work, true);
        slot.hardest = slot.hardest.max(work / accepted as f64);
    }

    /// Work of the hardest target that a share met lately. Many miners have many targets, and the silence of all is bounded by
    /// what the hardest lets through.
    pub(crate) fn hardest(&self) -> Option<f64> {
        self.0.values().map(|slot| slot.hardest).max_by(f64::total_cmp)
    }

    /// Adds shares that came as counters, spread evenly from `since` to `at`, so that a long span makes no spike.
    pub(crate) fn add_counted(&mut self, accepted: u64, work: f64, since: u64, at: u64) {
        if at.saturating_sub(since) <= SLOT_MS || at - since > KEPT_MS {
            self.add_part(accepted, work, at);
            return;
        }
        // Shares up to a moment are the even part of all, rounded down; so the parts add up exactly.
        let up_to = |moment: u64| u128::from(accepted) * u128::from(moment - since) / u128::from(at - since);
        let mut start = since;
        while start < at {
            let end = at.min((start / SLOT_MS + 1) * SLOT_MS);
            let part = (up_to(end) - up_to(start)) as u64;
            if part > 0 {
                self.add_part(part, work * part as f64 / accepted as f64, start);
            }
            start = end;
        }
    }

    pub(crate) fn forget_old(&mut self, now: u64) {
        let first = now.saturating_sub(KEPT_MS) / SLOT_MS;
        if self.0.first_key_value().is_some_and(|(slot, _)| *slot < first) {
            self.0 = self.0.split_off(&first);
        }
    }

    /// What a hashrate from `now - window` to `now` may rest on. Begins at the start of a slot; slots touched by a loss give
    /// neither work nor time (delivery rule 14).
    pub(crate) fn sample(&self, window: u64, now: u64, observed: &Spans, struck: &Spans) -> Sample {
        let first = now.saturating_sub(window) / SLOT_MS;
        let mut sums = Sums::default();
        for (number, slot) in self.0.range(first..) {
            if !struck.touches(number * SLOT_MS, (number + 1) * SLOT_MS) {
                sums.merge(&slot.sums);
            }
        }
        sums.sample(observed.difference(struck).within(first * SLOT_MS, u64::MAX))
    }
}

/// Which time of a publisher was observed and which was touched by a loss.
#[derive(Debug, Default)]
pub(crate) struct ObservedTime {
    observed: Spans,
    struck: Spans,
}

impl ObservedTime {
    /// A span that consecutive numbers covered, and that has ended.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        self.observed = with(&self.observed, (start, end));
    }

    /// Whole slots in which something was lost.
    pub(crate) fn strike(&mut self, start: u64, end: u64) {
        // A moment touches its slot as well.
        let touched = Spans::union_of([(start.max(end.saturating_sub(KEPT_MS)), end.saturating_add(1))]);
        for span in touched.widened_to(SLOT_MS).as_slice() {
            self.struck = with(&self.struck, *span);
        }
    }

    /// Observed spans, those still growing included; and struck ones.
    pub(crate) fn with_open(&self, open: impl Iterator<Item = (u64, u64)>) -> (Spans, &Spans) {
        (Spans::union_of(self.observed.as_slice().iter().copied().chain(open)), &self.struck)
    }

    pub(crate) fn forget_old(&mut self, now: u64) {
        let since = now.saturating_sub(KEPT_MS);
        for spans in [&mut self.observed, &mut self.struck] {
            if spans.as_slice().first().is_some_and(|(_, end)| *end < since) {
                *spans = Spans::union_of(spans.as_slice().iter().copied().filter(|(_, end)| *end >= since));
            }
        }
    }
}

fn with(spans: &Spans, span: (u64, u64)) -> Spans {
    let all = spans.as_slice();
    let kept = &all[all.len().saturating_sub(MAX_SPANS)..];
    Spans::union_of(kept.iter().copied().chain([span]))
}
