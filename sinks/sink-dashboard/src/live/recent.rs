//! What happened last: events other than shares in one ring, shares in a short one for each worker.

use std::collections::VecDeque;
use std::sync::Arc;

use mining_stats::{Sv1Difficulty, Target};
use serde::Serialize;
use serde_json::value::RawValue;
use sidecar_core::event_json::write_event_json;
use sidecar_core::{Envelope, EventKind};
use stats_sv2::CompactTarget;

use crate::security::redact::Redaction;

/// Events kept.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// Shares kept of each worker.
pub(crate) const MAX_SHARES: usize = 20;

/// An event as it came.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct RecentEvent {
    /// Number of the event in this run of the sidecar.
    pub(crate) number: u64,
    /// Name of its kind, such as `channel_opened`.
    #[schema(value_type = String)]
    pub(crate) kind: &'static str,
    /// The publisher.
    #[schema(value_type = String)]
    pub(crate) publisher: Arc<str>,
    /// When the sidecar received it.
    pub(crate) received_ms: u64,
    /// The event with all its fields, as in the log file.
    #[schema(value_type = Object)]
    pub(crate) event: Arc<RawValue>,
}

/// The ring of events.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents {
    ring: VecDeque<RecentEvent>,
    numbered: u64,
}

/// Shares come by the million and have their own place; heartbeats say nothing to people.
pub(crate) fn is_shown(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::ShareSubmitted
            | EventKind::ShareRejected
            | EventKind::MinerShareSubmitted
            | EventKind::MinerShareRejected
            | EventKind::SharesCounted
            | EventKind::MinerHashrateUpdate
            | EventKind::Heartbeat
    )
}

impl RecentEvents {
    /// Adds the last events of a delivery, in order; more than the ring holds are not even looked at.
    pub(crate) fn add(&mut self, shown: &VecDeque<Envelope<'_>>, redaction: &Redaction) {
        for envelope in shown.iter().skip(shown.len().saturating_sub(MAX_EVENTS)) {
            let mut json = Vec::with_capacity(256);
            // What the journal holds was checked at the door: an error means damage, which the history counts.
            if write_event_json(envelope, &mut json).is_err() {
                continue;
            }
            let Some(event) = redaction.event(json, &envelope.record.publisher, envelope.kind()) else { continue };
            if self.ring.len() == MAX_EVENTS {
                self.ring.pop_front();
            }
            self.numbered += 1;
            self.ring.push_back(RecentEvent {
                number: self.numbered,
                kind: envelope.kind().name(),
                publisher: Arc::clone(&envelope.record.publisher),
                received_ms: envelope.record.received_at.0,
                event,
            });
        }
    }

    pub(crate) fn list(
        &self,
        before: Option<u64>,
        limit: usize,
        wanted: impl Fn(&RecentEvent) -> bool,
    ) -> Vec<RecentEvent> {
        self.ring
            .iter()
            .rev()
            .filter(|event| before.is_none_or(|before| event.number < before) && wanted(event))
            .take(limit)
            .cloned()
            .collect()
    }
}

/// A share as it is kept: what it means is worked out for who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeptShare {
    Accepted { at_ms: u64, target: CompactTarget, share: CompactTarget },
    Rejected { at_ms: u64, error_code: &'static str },
}

impl From<KeptShare> for RecentShare {
    fn from(share: KeptShare) -> Self {
        match share {
            KeptShare::Accepted { at_ms, target, share } => Self {
                at_ms,
                accepted: true,
                difficulty: difficulty(target),
                share_difficulty: difficulty(share),
                error_code: None,
            },
            KeptShare::Rejected { at_ms, error_code } => {
                Self { at_ms, accepted: false, difficulty: None, share_difficulty: None, error_code: Some(error_code) }
            }
        }
    }
}

fn difficulty(target: CompactTarget) -> Option<f64> {
    let target = Target::from_compact(target).ok()?;
    Some(Sv1Difficulty::of_target(target).sv1_number()).filter(|number| number.is_finite())
}

/// A share of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct RecentShare {
    /// When it was submitted.
    pub(crate) at_ms: u64,
    /// Whether it was accepted.
    pub(crate) accepted: bool,
    /// SV1 difficulty of its target: what it counts for. Null for a rejected share.
    pub(crate) difficulty: Option<f64>,
    /// SV1 difficulty that its hash reached. Null for a rejected share.
    pub(crate) share_difficulty: Option<f64>,
    /// Why it was rejected.
    #[schema(value_type = Option<String>)]
    pub(crate) error_code: Option<&'static str>,
}
