//! Whatever publishers send, in whatever pieces it comes: counters never fall, and the workers add up to the total.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sidecar_core::JournalId;
use sink_contract::strategies;
use stats_sv2::UnixMillis;

use super::{Counted, NOW, Samples};

#[derive(Debug, Clone)]
enum Step {
    Deliver { records: usize, again: usize },
    Pass { millis: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_usize..4, 0_usize..3).prop_map(|(records, again)| Step::Deliver { records, again }),
        1 => (1_u64..400_000).prop_map(|millis| Step::Pass { millis }),
    ]
}

/// What Prometheus makes of a counter: the sum of its increases, with a fall taken for a new beginning.
#[derive(Debug, Default)]
struct Increases(BTreeMap<String, (f64, f64)>);

impl Increases {
    fn see(&mut self, samples: &Samples) -> Result<(), TestCaseError> {
        for (series, value) in samples.iter().filter(|(series, _)| is_counter(series)) {
            let (last, sum) = self.0.entry(series.clone()).or_default();
            prop_assert!(value >= last, "{series} fell from {last} to {value}");
            *sum += value - *last;
            *last = *value;
        }
        Ok(())
    }

    /// The increases of all series of a name by publisher and level.
    fn by_level(&self, name: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (series, (_, sum)) in &self.0 {
            let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) else { continue };
            // The labels begin with publisher and level, and a comma inside a value does not end in a quote and a name.
            let cut = [",worker=\"", ",reason=\""].into_iter().find_map(|label| labels.find(label));
            *sums.entry(labels[..cut.unwrap_or(labels.len() - 1)].to_owned()).or_default() += sum;
        }
        sums
    }
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_count", "_bucket", "_sum"].iter().any(|suffix| name.ends_with(suffix))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_never_fall_and_workers_add_up(
        records in strategies::records(JournalId(1), NOW, 1..24, 16),
        steps in prop::collection::vec(any_step(), 1..24),
        seats in 0_u32..4,
    ) {
        let mut counted = Counted::new(seats);
        let mut increases = Increases::default();
        let mut taken = 0;
        for step in steps {
            match step {
                Step::Deliver { records: count, again } => {
                    let end = (taken + count).min(records.len());
                    let begin = taken.saturating_sub(again);
                    if begin < end {
                        counted.deliver(&records[begin..end]);
                        taken = end;
                    }
                }
                Step::Pass { millis } => {
                    // Two minutes short of what would end series: a new beginning is no fall, but here none is due.
                    let now = (counted.now.0 + millis).min(NOW.0 + 86_280_000);
                    counted.set_now(UnixMillis(now));
                    counted.maintain();
                }
            }
            let samples = counted.samples();
            increases.see(&samples)?;
            for (total, workers) in [
                ("mining_shares_accepted_total", "mining_worker_shares_accepted_total"),
                ("mining_shares_rejected_total", "mining_worker_shares_rejected_total"),
                ("mining_work_hashes_total", "mining_worker_work_hashes_total"),
            ] {
                let (total, workers) = (increases.by_level(total), increases.by_level(workers));
                prop_assert_eq!(total.keys().collect::<Vec<_>>(), workers.keys().collect::<Vec<_>>());
                for (level, sum) in &total {
                    let difference = (sum - workers[level]).abs();
                    prop_assert!(difference <= sum * 1e-9, "{level}: {sum} in total, {} by workers", workers[level]);
                }
            }
            prop_assert!(samples["mining_workers_with_series"] <= f64::from(seats));
        }
        prop_assert!(counted.open_metrics().ends_with("# EOF\n"));
    }
}
