//! From the numbers to metrics. The names follow Prometheus' habits: base units, counters that end in `_total` and never
//! fall, `_info` that is 1, times as `_timestamp_seconds`. What is not known has no sample: a gauge of 0 means that 0 was
//! observed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use mining_stats::reading::{Circumstances, STALE_AFTER_MS};
use mining_stats::{HASHES_PER_DIFFICULTY, Reading, RejectReason, Sample};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use stats_sv2::{EventKind, UnixMillis};

use crate::label;
use crate::numbers::{LATENCY_BUCKETS, Level, LevelSums, Numbers, OpenCounts, Quotes, Source, WINDOWS};

/// Begins the name of every metric.
const PREFIX: &str = "mining";

/// Outcomes of sessions, in the order in which they are counted.
const OUTCOMES: [&str; 4] = ["clean", "replaced", "expired", "unknown"];

/// The metrics of the numbers as OpenMetrics.
pub(crate) fn encode(numbers: &Arc<Mutex<Numbers>>, now: UnixMillis, started: UnixMillis) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Metrics { numbers: Arc::clone(numbers), now, started }));
    let mut text = String::new();
    encode_text(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

#[derive(Debug)]
struct Metrics {
    numbers: Arc<Mutex<Numbers>>,
    now: UnixMillis,
    started: UnixMillis,
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families =
            Families { encoder, sources: numbers.sources().map(|(name, source)| (&**name, source)).collect() };
        families.gauge("counting_since_timestamp_seconds", "When the counters began at 0", seconds(self.started.0))?;
        let seats = numbers.seats();
        families.gauge("workers_with_series", "Workers with series of their own", f64::from(seats.taken()))?;
        families.gauge("workers_known", "Workers that are known by name", seats.known() as f64)?;
        families.write_sources(self.now.0)?;
        families.write_open()?;
        families.write_shares()?;
        families.write_hashrates(self.now.0)?;
        families.write_workers()?;
        families.write_blocks()?;
        families.write_quotes()
    }
}

type Labels<'l> = Vec<(&'static str, &'l str)>;

/// Writes families of metrics, each with samples of all publishers.
struct Families<'e, 'n> {
    encoder: DescriptorEncoder<'e>,
    sources: Vec<(&'n str, &'n Source)>,
}

impl<'n> Families<'_, 'n> {
    fn family<V>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        samples: Vec<(Labels<'_>, V)>,
        write: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        // A name without a sample would say nothing.
        if samples.is_empty() {
            return Ok(());
        }
        let mut encoder = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            write(encoder.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    fn counters(&mut self, name: &str, help: &str, samples: Vec<(Labels<'_>, f64)>) -> fmt::Result {
        self.family(MetricType::Counter, name, help, samples, |mut encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauges(&mut self, name: &str, help: &str, samples: Vec<(Labels<'_>, f64)>) -> fmt::Result {
        self.family(MetricType::Gauge, name, help, samples, |mut encoder, value| encoder.encode_gauge(&value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// One sample for each publisher.
    fn of_sources(&self, value: impl Fn(&Source) -> f64) -> Vec<(Labels<'n>, f64)> {
        self.of_some_sources(|source| Some(value(source)))
    }

    /// One sample for each publisher that has a value.
    fn of_some_sources(&self, value: impl Fn(&Source) -> Option<f64>) -> Vec<(Labels<'n>, f64)> {
        let sample = |(name, source): &(&'n str, &Source)| Some((vec![("publisher", *name)], value(source)?));
        self.sources.iter().filter_map(sample).collect()
    }

    /// Some samples for each publisher, told apart by one more label.
    fn of_parts<I>(&self, key: &'static str, parts: impl Fn(&'n Source) -> I) -> Vec<(Labels<'n>, f64)>
    where
        I: IntoIterator<Item = (&'n str, f64)>,
    {
        let samples = |(name, source): &(&'n str, &'n Source)| {
            let name = *name;
            parts(source).into_iter().map(move |(part, value)| (vec![("publisher", name), (key, part)], value))
        };
        self.sources.iter().flat_map(samples).collect()
    }

    /// The levels at which anything was told, and the one at which a publisher of its role will tell: a counter that is
    /// there at 0 shows its first increase.
    fn levels(&self) -> Vec<(&'n str, Level, &'n Source, &'n LevelSums)> {
        let of_source = |(name, source): &(&'n str, &'n Source)| {
            let (name, source) = (*name, *source);
            Level::ALL.map(|level| (name, level, source, &source.levels[level as usize]))
        };
        let is_used = |(_, level, source, sums): &(_, Level, &Source, &LevelSums)| {
            *level == Level::of_role(source.role) || sums.total.accepted > 0 || sums.total.rejected_total() > 0
        };
        self.sources.iter().flat_map(of_source).filter(is_used).collect()
    }

    fn of_levels(&self, value: impl Fn(&LevelSums) -> f64) -> Vec<(Labels<'n>, f64)> {
        let levels = self.levels().into_iter();
        levels.map(|(name, level, _, sums)| (of_level(name, level), value(sums))).collect()
    }

    fn write_sources(&mut self, now: u64) -> fmt::Result {
        let infos: Vec<(Labels<'_>, ())> = self
            .sources
            .iter()
            .map(|(name, source)| {
                let network = source.network.as_deref().unwrap_or_default();
                let labels = vec![
                    ("publisher", *name),
                    ("role", source.role.name()),
                    ("vendor", &*source.vendor),
                    ("network", network),
                ];
                (labels, ())
            })
            .collect();
        self.family(MetricType::Gauge, "source_info", "The publisher", infos, |mut encoder, ()| {
            encoder.encode_gauge(&1_i64)
        })?;
        let is_up =
            |source: &Source| source.has_session() && now.saturating_sub(source.last_received_ms) <= STALE_AFTER_MS;
        let samples = self.of_sources(|source| f64::from(u8::from(is_up(source))));
        self.gauges("source_up", "Whether a session is open and was heard in the last 30 seconds", samples)?;
        let samples = self.of_sources(|source| seconds(source.last_received_ms));
        self.gauges("source_last_message_timestamp_seconds", "When the publisher was heard last", samples)?;
        let samples = self.of_sources(|source| seconds(source.last_event_ms));
        self.gauges("source_last_event_timestamp_seconds", "Time of its last event, by its own clock", samples)?;
        let samples = self.of_parts("kind", |source| {
            let mut unknown = 0;
            let mut known = Vec::new();
            for (msg_type, count) in (0_u8..=u8::MAX).zip(source.events.iter()).filter(|(_, count)| **count > 0) {
                match EventKind::from_type(msg_type) {
                    EventKind::Unknown(_) => unknown += count,
                    kind => known.push((kind.name(), *count as f64)),
                }
            }
            known.extend((unknown > 0).then_some(("unknown", unknown as f64)));
            known
        });
        self.counters("events", "Events counted", samples)?;
        let samples = self.of_sources(|source| source.undecodable as f64);
        self.counters("events_undecodable", "Events of damaged records", samples)?;
        let samples = self.of_sources(|source| source.sessions_started as f64);
        self.counters("source_sessions_started", "Sessions that began", samples)?;
        let samples = self
            .of_parts("outcome", |source| OUTCOMES.into_iter().zip(source.sessions_ended.map(|count| count as f64)));
        self.counters("source_sessions_ended", "Sessions that ended, by outcome", samples)?;
        let samples = self.of_sources(|source| source.gaps as f64);
        self.counters("source_gaps", "Runs of numbers that never came", samples)?;
        let samples = self.of_parts("reason", |source| {
            [
                ("missing", source.missing as f64),
                ("unseen", source.unseen as f64),
                ("not-read", source.not_read as f64),
                ("dropped", source.dropped as f64),
            ]
        });
        let help = "Events that are in no counter: missing on the way, older than the journal (unseen), expired before this \
                    sink read them (not-read), dropped by the publisher";
        self.counters("source_lost_events", help, samples)
    }

    fn write_open(&mut self) -> fmt::Result {
        type Count = fn(&OpenCounts) -> usize;
        let kinds: [(&str, &str, Count); 4] = [
            ("channels_open", "Open channels", |open| open.channels),
            ("downstreams_connected", "Connected downstreams", |open| open.downstreams),
            ("miners_connected", "Connected SV1 miners", |open| open.miners),
            ("upstreams_connected", "Connected upstreams", |open| open.upstreams),
        ];
        for (name, help, count) in kinds {
            let samples = self.of_sources(|source| count(&source.open()) as f64);
            self.gauges(name, help, samples)?;
        }
        Ok(())
    }

    fn write_shares(&mut self) -> fmt::Result {
        let samples = self.of_levels(|sums| sums.total.accepted as f64);
        self.counters("shares_accepted", "Accepted shares", samples)?;
        let levels = self.levels();
        let samples = levels.iter().flat_map(|(name, level, _, sums)| {
            RejectReason::ALL.into_iter().zip(sums.total.rejected).map(|(reason, count)| {
                (vec![("publisher", *name), ("level", level.name()), ("reason", reason.code())], count as f64)
            })
        });
        self.counters("shares_rejected", "Rejected shares, by reason", samples.collect())?;
        let samples = self.of_levels(|sums| sums.total.invalid_target as f64);
        let help = "Accepted shares whose target was invalid: they gave no work";
        self.counters("shares_invalid_target", help, samples)?;
        let samples = self.of_levels(|sums| sums.total.work);
        let help = "Expected hashes of the targets of accepted shares: its rate is the hashrate in hashes per second";
        self.counters("work_hashes", help, samples)?;
        let samples = self.of_levels(|sums| sums.total.best_share_work / HASHES_PER_DIFFICULTY);
        self.gauges("best_share_difficulty", "Difficulty of the best share since counting began", samples)
    }

    fn write_hashrates(&mut self, now: u64) -> fmt::Result {
        let mut readings: Vec<(Labels<'n>, Reading, Sample, u64)> = Vec::new();
        for (name, level, source, sums) in self.levels() {
            let (observed, struck) = source.observed.with_open(source.open_spans());
            let circumstances = Circumstances {
                silent_ms: Some(now.saturating_sub(source.last_received_ms)),
                age_ms: now.saturating_sub(source.first_received_ms),
                share_work: sums.share_work(),
            };
            for (window, length) in WINDOWS {
                let sample = sums.slots.sample(length, now, &observed, struck);
                let labels = vec![("publisher", name), ("level", level.name()), ("window", window)];
                readings.push((labels, Reading::of(&sample, &circumstances), sample, length));
            }
        }
        let samples = |value: fn(&Reading) -> Option<f64>| -> Vec<(Labels<'n>, f64)> {
            readings.iter().filter_map(|(labels, reading, ..)| Some((labels.clone(), value(reading)?))).collect()
        };
        let rate = samples(|reading| match reading {
            Reading::Measured(estimate) => Some(estimate.rate.hashes_per_second()),
            Reading::ObservedZero { .. } => Some(0.0),
            _ => None,
        });
        let lower = samples(|reading| match reading {
            Reading::Measured(estimate) => Some(estimate.low.hashes_per_second()),
            Reading::ObservedZero { .. } => Some(0.0),
            _ => None,
        });
        let upper = samples(|reading| match reading {
            Reading::Measured(estimate) => Some(estimate.high.hashes_per_second()),
            Reading::ObservedZero { below, .. } => below.map(|below| below.hashes_per_second()),
            _ => None,
        });
        let help = "Hashrate over the window, by the time of the shares; absent while nothing is known";
        self.gauges("hashrate_hashes_per_second", help, rate)?;
        self.gauges("hashrate_hashes_per_second_lower", "Lower end of its 95 % interval", lower)?;
        self.gauges("hashrate_hashes_per_second_upper", "Upper end of its 95 % interval", upper)?;
        let shares = readings.iter().map(|(labels, _, sample, _)| (labels.clone(), sample.shares as f64));
        self.gauges("hashrate_shares", "Shares that the hashrate rests on", shares.collect())?;
        let observed =
            readings.iter().map(|(labels, _, sample, length)| (labels.clone(), part(sample.observed_ms, *length)));
        self.gauges("hashrate_observed_ratio", "Part of the window that was observed", observed.collect())
    }

    fn write_workers(&mut self) -> fmt::Result {
        let mut own = Vec::new();
        let mut times = Vec::new();
        for (name, level, _, sums) in self.levels() {
            let labels = |worker: &'n str| vec![("publisher", name), ("level", level.name()), ("worker", worker)];
            for (worker, known) in sums.workers.with_series() {
                own.push((labels(worker), &known.own));
                if known.last_share_ms > 0 {
                    times.push((labels(worker), seconds(known.last_share_ms)));
                }
            }
            own.push((labels(label::OTHER), &sums.workers.other));
        }
        type Value = fn(&mining_stats::Sums) -> f64;
        let counters: [(&str, &str, Value); 3] = [
            ("worker_shares_accepted", "Accepted shares of the worker", |sums| sums.accepted as f64),
            ("worker_shares_rejected", "Rejected shares of the worker", |sums| sums.rejected_total() as f64),
            ("worker_work_hashes", "Expected hashes of the worker's accepted shares", |sums| sums.work),
        ];
        for (name, help, value) in counters {
            self.counters(name, help, own.iter().map(|(labels, sums)| (labels.clone(), value(sums))).collect())?;
        }
        let best = own.iter().map(|(labels, sums)| (labels.clone(), sums.best_share_work / HASHES_PER_DIFFICULTY));
        self.gauges("worker_best_share_difficulty", "Difficulty of the worker's best share", best.collect())?;
        self.gauges("worker_last_share_timestamp_seconds", "Time of the worker's last accepted share", times)
    }

    fn write_blocks(&mut self) -> fmt::Result {
        let samples = self.of_sources(|source| source.blocks as f64);
        self.counters("blocks_found", "Blocks that this publisher's miners found", samples)?;
        let samples = self.of_sources(|source| source.expected_blocks);
        let help =
            "Blocks that the accepted work would find on average; luck is the increase of blocks_found over this one's";
        self.counters("expected_blocks", help, samples)?;
        let samples = self.of_some_sources(|source| source.last_block_ms.map(seconds));
        self.gauges("last_block_found_timestamp_seconds", "When the last block was found", samples)?;
        let samples = self.of_sources(|source| source.round_work);
        let help = "Expected hashes of the shares since the last block, or since counting began";
        self.gauges("round_work_hashes", help, samples)?;
        let samples = self.of_sources(|source| seconds(source.round_since_ms));
        self.gauges("round_start_timestamp_seconds", "When the last block was found, or counting began", samples)?;
        let samples = self.of_some_sources(|source| source.tip.map(|tip| f64::from(tip.height)));
        self.gauges("chain_tip_height", "Height of the network's tip", samples)?;
        let samples = self.of_some_sources(|source| source.tip.map(|tip| seconds(tip.at_ms)));
        self.gauges("chain_tip_timestamp_seconds", "When the publisher learned of the tip", samples)?;
        let samples = self.of_some_sources(|source| source.tip?.work);
        self.gauges("network_work_hashes", "Expected hashes of a block", samples)?;
        let samples = self.of_some_sources(|source| Some(source.tip?.work? / HASHES_PER_DIFFICULTY));
        self.gauges("network_difficulty", "Difficulty of a block", samples)
    }

    fn write_quotes(&mut self) -> fmt::Result {
        type Count = fn(&Quotes) -> f64;
        let counters: [(&str, &str, Count); 7] = [
            ("quotes_created", "Quotes created", |quotes| quotes.created as f64),
            ("quotes_sent", "Quotes sent to the mint", |quotes| quotes.sent as f64),
            ("quotes_answered", "Quotes that the mint answered", |quotes| quotes.answered as f64),
            ("quotes_paid", "Quotes paid", |quotes| quotes.paid as f64),
            ("quotes_abandoned", "Quotes whose session ended before an answer", |quotes| quotes.abandoned as f64),
            ("ehash_created", "Ehash of created quotes, in HASH", |quotes| quotes.ehash_created as f64),
            ("ehash_paid", "Ehash of paid quotes, in HASH", |quotes| quotes.ehash_paid as f64),
        ];
        for (name, help, count) in counters {
            let samples = self.of_sources(|source| count(&source.quotes));
            self.counters(name, help, samples)?;
        }
        let samples =
            self.of_parts("code", |source| source.quotes.failures().map(|(code, count)| (code, count as f64)));
        self.counters("quotes_failed", "Quotes that failed, by code", samples)?;
        let samples = self.of_sources(|source| source.quotes.pending as f64);
        self.gauges("quotes_pending", "Quotes that wait for an answer", samples)?;
        let samples = self.sources.iter().map(|(name, source)| (vec![("publisher", *name)], &source.quotes)).collect();
        let help = "Time from a quote's creation to the mint's answer";
        self.family(MetricType::Histogram, "quote_latency_seconds", help, samples, |mut encoder, quotes: &Quotes| {
            let ends = LATENCY_BUCKETS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends.zip(quotes.latency).collect();
            let count = quotes.latency.iter().sum();
            encoder.encode_histogram::<NoLabelSet>(quotes.latency_sum_seconds, count, &buckets, None)
        })
    }
}

fn of_level(publisher: &str, level: Level) -> Labels<'_> {
    vec![("publisher", publisher), ("level", level.name())]
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// A window begins at the start of a slot, so up to a slot more than its length may be observed.
fn part(observed_ms: u64, window_ms: u64) -> f64 {
    (observed_ms as f64 / window_ms as f64).min(1.0)
}
