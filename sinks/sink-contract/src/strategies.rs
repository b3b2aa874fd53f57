//! Proptest strategies for events and records, behind plain functions.

use std::sync::Arc;

use proptest::prelude::*;
use sidecar_core::{JournalId, Record};
use stats_sv2::{Event, EventKind, Role, UnixMillis};

use crate::events::{Draw, derived_kinds, published_kinds};
use crate::synthetic::{SyntheticJournal, SyntheticSession};

/// Any event that a publisher can send, hostile text included, with times within the hour before `now`.
pub fn published_event(now: UnixMillis) -> impl Strategy<Value = Event<'static>> {
    event_of(published_kinds(), now)
}

/// Any event that the sidecar makes about a session.
pub fn derived_event(now: UnixMillis) -> impl Strategy<Value = Event<'static>> {
    event_of(derived_kinds(), now)
}

/// Records of up to three sessions of two publishers, in journal order, up to `max_events` events in each.
pub fn records(
    id: JournalId,
    now: UnixMillis,
    count: impl Into<prop::collection::SizeRange>,
    max_events: usize,
) -> impl Strategy<Value = Vec<Arc<Record>>> {
    let run = prop::collection::vec(published_event(now), 1..=max_events);
    let derived = prop::collection::vec(derived_event(now), 1..=2);
    let piece = prop_oneof![
        8 => (0_usize..3, run).prop_map(|(session, events)| (session, false, events)),
        1 => (0_usize..3, derived).prop_map(|(session, events)| (session, true, events)),
    ];
    prop::collection::vec(piece, count).prop_map(move |pieces| {
        let mut journal = SyntheticJournal::new(id, now);
        let mut sessions = [
            SyntheticSession::new("pool-a", Role::Pool, 1),
            SyntheticSession::new("pool-a", Role::Pool, 2),
            SyntheticSession::new("proxy \"b\"\n", Role::Proxy, 3),
        ];
        pieces
            .into_iter()
            .map(|(session, derived, events)| {
                let session = &mut sessions[session];
                if derived { journal.append_derived(session, &events) } else { journal.append(session, &events) }
            })
            .collect()
    })
}

fn event_of(kinds: Vec<EventKind>, now: UnixMillis) -> impl Strategy<Value = Event<'static>> {
    (prop::sample::select(kinds), any::<u64>(), any::<bool>()).prop_map(move |(kind, seed, hostile)| {
        let mut draw = if hostile { Draw::hostile(seed, now) } else { Draw::new(seed, now) };
        draw.event(kind)
    })
}
