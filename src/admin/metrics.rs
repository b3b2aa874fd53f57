//! `/metrics`: the pipeline's snapshot as counters and gauges.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use sidecar_core::Status;
use sidecar_pipeline::{HealthSnapshot, ListenerSnapshot, PipelineSnapshot, SinkSnapshot, SourceSnapshot};
use stats_sv2::UnixMillis;

/// Publishers that have a label of their own; the rest share [`OTHER`], so that nobody can fill a database with names.
const MAX_PUBLISHERS: usize = 200;
const OTHER: &str = "other";

/// The metrics of a snapshot as OpenMetrics.
pub(super) fn encode(snapshot: PipelineSnapshot, started: UnixMillis) -> String {
    let mut registry = Registry::with_prefix("sidecar");
    registry.register_collector(Box::new(Metrics { snapshot, started }));
    let mut text = String::new();
    encode_text(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

#[derive(Debug)]
struct Metrics {
    snapshot: PipelineSnapshot,
    started: UnixMillis,
}

type Labels<'l> = [(&'static str, &'l str)];

/// Writes families of metrics.
struct Writer<'e>(DescriptorEncoder<'e>);

impl Writer<'_> {
    fn family<V: Copy>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        samples: &[(&Labels<'_>, V)],
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            match labels {
                [] => write(&mut encoder, *value)?,
                labels => write(&mut encoder.encode_family(labels)?, *value)?,
            }
        }
        Ok(())
    }

    fn counters(&mut self, name: &str, help: &str, samples: &[(&Labels<'_>, u64)]) -> fmt::Result {
        self.family(MetricType::Counter, name, help, samples, |encoder, value| {
            encoder.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)
        })
    }

    fn gauges(&mut self, name: &str, help: &str, samples: &[(&Labels<'_>, f64)]) -> fmt::Result {
        self.family(MetricType::Gauge, name, help, samples, |encoder, value| encoder.encode_gauge(&value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, &[(&[], value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, &[(&[], value)])
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.family(MetricType::Counter, name, help, &[(&[], value)], |encoder, value| {
            encoder.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)
        })
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let snapshot = &self.snapshot;
        let mut build = writer.0.encode_descriptor("build", "The program.", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        writer.gauge("ready", "Whether events are taken and every sink has started", flag(snapshot.ready))?;
        writer.gauge("start_timestamp_seconds", "When the process began", seconds_of(self.started.0))?;
        if let Some(listener) = &snapshot.listener {
            write_listener(&mut writer, &listener.counters)?;
        }
        write_journal(&mut writer, snapshot)?;
        write_sources(&mut writer, &snapshot.sources)?;
        write_sinks(&mut writer, snapshot)?;
        let bridges: Vec<_> = snapshot.bridges.iter().map(|(name, health)| (name.as_str(), health)).collect();
        write_health(&mut writer, "bridge", &bridges)?;
        writer.gauge("taps", "Open taps", snapshot.taps as f64)?;
        writer.counter("tap_dropped_events", "Events that slow taps lost", snapshot.tap_dropped)
    }
}

fn write_listener(writer: &mut Writer<'_>, counters: &ListenerSnapshot) -> fmt::Result {
    writer.gauge("listener_connections", "Open connections", counters.open_connections as f64)?;
    writer.gauge("listener_sessions", "Connections with an open session", counters.open_sessions as f64)?;
    writer.counter("listener_accepted", "Connections accepted", counters.accepted)?;
    writer.counter("listener_accept_failures", "Connections that could not be accepted", counters.accept_failures)?;
    writer.counter("listener_events", "Event frames received, repeated ones included", counters.events)?;
    writer.counter("listener_bytes", "Bytes of event frames received", counters.bytes)?;
    writer.counter("listener_malformed_events", "Event frames with a malformed payload", counters.malformed_events)?;
    let labels: Vec<_> = counters.ended.iter().map(|(reason, count)| ([("reason", *reason)], *count)).collect();
    let samples: Vec<(&Labels<'_>, u64)> = labels.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    writer.counters("listener_ended", "Connections refused, cut or closed, by reason", &samples)
}

fn write_journal(writer: &mut Writer<'_>, snapshot: &PipelineSnapshot) -> fmt::Result {
    let (journal, stats) = (&snapshot.journal, &snapshot.journal.stats);
    writer.gauge("journal_healthy", "Whether the journal can commit", flag(journal.health == "healthy"))?;
    writer.gauge("journal_bytes", "Bytes in use in the journal's file", stats.bytes as f64)?;
    writer.gauge("journal_file_bytes", "Bytes of the journal's file", stats.file_bytes as f64)?;
    writer.gauge("journal_wal_bytes", "Bytes of the journal's write-ahead log", stats.wal_bytes as f64)?;
    writer.gauge("journal_waiting_events", "Events that wait for their commit", stats.waiting_events as f64)?;
    writer.gauge("journal_open_sessions", "Sessions that have not ended", stats.open_sessions as f64)?;
    writer.gauge("journal_first_offset", "Offset of the oldest record", stats.first_offset as f64)?;
    writer.gauge("journal_head_offset", "Offset of the last record", stats.head_offset as f64)?;
    writer.counter("journal_appended_events", "Events appended", stats.appended_events)?;
    writer.counter("journal_appended_bytes", "Bytes of frames appended", stats.appended_bytes)?;
    writer.counter("journal_appended_records", "Records appended", stats.appended_records)?;
    writer.counter("journal_commits", "Commits", stats.commits)?;
    writer.counter("journal_failed_commits", "Commits that failed and were tried again", stats.failed_commits)?;
    writer.seconds("journal_commit_seconds", "Time spent in commits", stats.commit_time.as_secs_f64())?;
    writer.counter("journal_checkpoints", "Checkpoints of the write-ahead log", stats.checkpoints)?;
    writer.seconds("journal_checkpoint_seconds", "Time spent in checkpoints", stats.checkpoint_time.as_secs_f64())?;
    writer.counter("journal_retired_events", "Events that left by retention", stats.retired_events)?;
    writer.counter("journal_damaged_events", "Events of damaged records", stats.damaged_events)?;
    writer.counters(
        "journal_gap_events",
        "Numbers that never came: unseen ones are older than the journal, missing ones are lost",
        &[(&[("kind", "unseen")], stats.gap_unseen), (&[("kind", "missing")], stats.gap_missing)],
    )?;
    writer.counter("journal_duplicate_events", "Events that came again and were dropped", stats.duplicates)?;
    writer.counter("journal_malformed_events", "Malformed payloads kept as dead letters", stats.malformed)?;
    writer.counters(
        "journal_refused_runs",
        "Runs refused, by reason",
        &[(&[("reason", "retired")], stats.refused_retired), (&[("reason", "beyond-next")], stats.refused_beyond_next)],
    )?;
    writer.gauge("journal_dead_letters", "Dead letters there are", stats.dead_letters as f64)?;
    writer.gauge("journal_dead_letter_bytes", "Bytes of dead letters", stats.dead_letter_bytes as f64)?;
    writer.counter("journal_dead_letters_expired", "Dead letters that expired", stats.dead_letters_expired)
}

/// One publisher with all its sessions.
struct Publisher<'s> {
    name: &'s str,
    role: &'s str,
    up: bool,
    last_event_ms: u64,
    heard_ms: u64,
}

fn write_sources(writer: &mut Writer<'_>, sources: &[SourceSnapshot]) -> fmt::Result {
    let mut publishers: Vec<Publisher<'_>> = Vec::new();
    for source in sources {
        let one = Publisher {
            name: &source.publisher,
            role: source.role,
            up: source.connected,
            last_event_ms: source.last_event_at_ms.unwrap_or(0),
            heard_ms: source.heard_at_ms,
        };
        match publishers.iter_mut().find(|publisher| publisher.name == one.name) {
            Some(publisher) => publisher.merge(&one),
            None => publishers.push(one),
        }
    }
    publishers.sort_by_key(|publisher| std::cmp::Reverse(publisher.heard_ms));
    if publishers.len() > MAX_PUBLISHERS {
        let rest = publishers.split_off(MAX_PUBLISHERS);
        let mut other = Publisher { name: OTHER, role: OTHER, up: false, last_event_ms: 0, heard_ms: 0 };
        rest.iter().for_each(|publisher| other.merge(publisher));
        publishers.push(other);
    }
    publishers.sort_by_key(|publisher| publisher.name);
    let labels: Vec<[(&'static str, &str); 2]> =
        publishers.iter().map(|publisher| [("publisher", publisher.name), ("role", publisher.role)]).collect();
    let samples = |value: fn(&Publisher<'_>) -> f64| -> Vec<(&Labels<'_>, f64)> {
        labels.iter().zip(&publishers).map(|(labels, publisher)| (&labels[..], value(publisher))).collect()
    };
    writer.gauges("source_up", "Whether the publisher is connected", &samples(|publisher| flag(publisher.up)))?;
    writer.gauges(
        "source_last_event_timestamp_seconds",
        "Time of the publisher's last event or heartbeat, by its own clock",
        &samples(|publisher| seconds_of(publisher.last_event_ms)),
    )?;
    writer.gauges(
        "source_heard_timestamp_seconds",
        "When the sidecar last heard of the publisher",
        &samples(|publisher| seconds_of(publisher.heard_ms)),
    )
}

impl Publisher<'_> {
    fn merge(&mut self, other: &Self) {
        self.up |= other.up;
        self.last_event_ms = self.last_event_ms.max(other.last_event_ms);
        self.heard_ms = self.heard_ms.max(other.heard_ms);
    }
}

fn write_sinks(writer: &mut Writer<'_>, snapshot: &PipelineSnapshot) -> fmt::Result {
    let sinks: Vec<(&str, &SinkSnapshot)> = snapshot.sinks.iter().map(|(name, sink)| (name.as_str(), sink)).collect();
    let health: Vec<_> = sinks.iter().map(|(name, sink)| (*name, &sink.health)).collect();
    write_health(writer, "sink", &health)?;
    let labels: Vec<[(&'static str, &str); 1]> = sinks.iter().map(|(name, _)| [("sink", *name)]).collect();
    let samples = |value: fn(&SinkSnapshot) -> u64| -> Vec<(&Labels<'_>, u64)> {
        labels.iter().zip(&sinks).map(|(labels, (_, sink))| (&labels[..], value(sink))).collect()
    };
    writer.counters("sink_appended_events", "Events that came for the sink", &samples(|sink| sink.ledger.appended))?;
    writer.counters("sink_delivered_events", "Events durable at the sink", &samples(|sink| sink.ledger.delivered))?;
    writer.counters("sink_filtered_events", "Events left out by the route", &samples(|sink| sink.ledger.filtered))?;
    writer.counters(
        "sink_dead_lettered_events",
        "Events that can never succeed at the sink",
        &samples(|sink| sink.ledger.dead_lettered),
    )?;
    let expired: Vec<([(&'static str, &str); 2], u64)> = sinks
        .iter()
        .flat_map(|(name, sink)| {
            sidecar_pipeline::Expiry::ALL
                .map(|reason| ([("sink", *name), ("reason", reason.name())], sink.ledger.expired.count(reason)))
        })
        .collect();
    let expired: Vec<(&Labels<'_>, u64)> = expired.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    writer.counters("sink_expired_events", "Events that went past the sink, by reason", &expired)?;
    writer.counters("sink_batches", "Batches that the sink is done with", &samples(|sink| sink.batches))?;
    writer.counters("sink_attempts", "Deliveries attempted", &samples(|sink| sink.attempts))?;
    let failures: Vec<([(&'static str, &str); 2], u64)> = sinks
        .iter()
        .flat_map(|(name, sink)| sink.failures.iter().map(|(kind, count)| ([("sink", *name), ("kind", *kind)], *count)))
        .collect();
    let failures: Vec<(&Labels<'_>, u64)> = failures.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    writer.counters("sink_failures", "Failed attempts, by kind", &failures)?;
    let gauges = |value: fn(&SinkSnapshot) -> f64| -> Vec<(&Labels<'_>, f64)> {
        labels.iter().zip(&sinks).map(|(labels, (_, sink))| (&labels[..], value(sink))).collect()
    };
    writer.gauges("sink_pending_events", "Events still to come", &gauges(|sink| sink.ledger.pending as f64))?;
    writer.gauges("sink_offset", "Offset of the last record done with", &gauges(|sink| sink.offset as f64))?;
    writer.gauges(
        "sink_ledger_difference_events",
        "What the account leaves unexplained: not 0 is a bug",
        &gauges(|sink| sink.ledger_difference as f64),
    )?;
    writer.gauges(
        "sink_last_delivery_timestamp_seconds",
        "When a batch was done last",
        &gauges(|sink| seconds_of(sink.last_delivery_ms.unwrap_or(0))),
    )
}

/// Status as one gauge for each state, and errors, of components of one kind.
fn write_health(writer: &mut Writer<'_>, kind: &'static str, components: &[(&str, &HealthSnapshot)]) -> fmt::Result {
    let states: Vec<([(&'static str, &str); 2], f64)> = components
        .iter()
        .flat_map(|(name, health)| {
            Status::ALL.map(|status| ([(kind, *name), ("status", status.name())], flag(health.status == status)))
        })
        .collect();
    let states: Vec<(&Labels<'_>, f64)> = states.iter().map(|(labels, value)| (&labels[..], *value)).collect();
    writer.gauges(&format!("{kind}_status"), "1 for the state that it is in", &states)?;
    let errors: Vec<([(&'static str, &str); 1], u64)> =
        components.iter().map(|(name, health)| ([(kind, *name)], health.errors)).collect();
    let errors: Vec<(&Labels<'_>, u64)> = errors.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    writer.counters(&format!("{kind}_errors"), "Errors", &errors)
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn seconds_of(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
