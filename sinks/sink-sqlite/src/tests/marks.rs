//! What graphs mark: blocks, new sessions, times without data, and losses.

use sink_contract::SyntheticSession;
use stats_sv2::event::{EventsDropped, GAP_MISSING, Gap};
use stats_sv2::{Event, Role, Text, UnixMillis};

use super::{Fixture, HOUR_START, MINUTE, SECOND, block, heartbeat, opened, session_ended, share};
use crate::query::{History, MarksView, Outage};

impl Fixture {
    fn marks(&self, from: u64, to: u64, now: u64, limit: u32) -> MarksView {
        History::open(&self.path()).unwrap().marks("pool-a", from, to, now, limit).unwrap()
    }

    /// From here on events come from another session of the same publisher.
    fn begin_session(&mut self, id: u64) {
        self.session = SyntheticSession::new("pool-a", Role::Pool, id);
    }
}

/// Heartbeats every ten seconds, from one moment to another.
fn alive(from: u64, to: u64) -> Vec<Event<'static>> {
    (from..=to).step_by(10_000).map(heartbeat).collect()
}

#[test]
fn time_between_sessions_is_an_outage() {
    let mut fixture = Fixture::new();
    fixture.events(&alive(HOUR_START, HOUR_START + 10 * MINUTE));
    fixture.derived(&[session_ended(HOUR_START + 10 * MINUTE)]);
    fixture.begin_session(2);
    fixture.events(&alive(HOUR_START + 30 * MINUTE, HOUR_START + 40 * MINUTE));
    // Away for less than a publisher may be silent.
    fixture.begin_session(3);
    fixture.events(&alive(HOUR_START + 40 * MINUTE + 20 * SECOND, HOUR_START + 50 * MINUTE));
    // Killed: its session never ended.
    fixture.begin_session(4);
    fixture.events(&alive(HOUR_START + 55 * MINUTE, HOUR_START + 56 * MINUTE));

    let [first, second] = [
        Outage { from_ms: HOUR_START + 10 * MINUTE, to_ms: Some(HOUR_START + 30 * MINUTE), had_stopped: true },
        Outage { from_ms: HOUR_START + 50 * MINUTE, to_ms: Some(HOUR_START + 55 * MINUTE), had_stopped: false },
    ];
    let now = HOUR_START + 56 * MINUTE + 10 * SECOND;
    let marks = fixture.marks(0, u64::MAX, now, 10);
    assert_eq!((&*marks.outages.latest, marks.outages.total), (&[second, first][..], 2));
    assert_eq!(marks.restarts.latest.len(), 3, "{:?}", marks.restarts);
    let marks = fixture.marks(0, u64::MAX, now, 1);
    assert_eq!((&*marks.outages.latest, marks.outages.total), (&[second][..], 2));

    // A range sees what touches it.
    let seen = |from, to| fixture.marks(HOUR_START + from * MINUTE, HOUR_START + to * MINUTE, now, 10).outages.latest;
    assert_eq!(seen(15, 20), [first], "inside of the outage");
    assert_eq!(seen(0, 5), []);
    assert_eq!(seen(31, 49), []);
    assert_eq!(seen(31, 60), [second]);

    // What goes on has no end yet.
    let running = Outage { from_ms: HOUR_START + 56 * MINUTE, to_ms: None, had_stopped: false };
    let marks = fixture.marks(0, u64::MAX, HOUR_START + 60 * MINUTE, 10);
    assert_eq!(marks.outages.latest, [running, second, first]);
}

#[test]
fn sessions_that_overlap_leave_no_hole() {
    let mut fixture = Fixture::new();
    fixture.events(&alive(HOUR_START, HOUR_START + 10 * MINUTE));
    fixture.begin_session(2);
    fixture.events(&alive(HOUR_START + 5 * MINUTE, HOUR_START + 6 * MINUTE));
    fixture.begin_session(3);
    fixture.events(&alive(HOUR_START + 10 * MINUTE, HOUR_START + 12 * MINUTE));
    assert_eq!(fixture.marks(0, u64::MAX, HOUR_START + 12 * MINUTE, 10).outages.total, 0);
}

#[test]
fn lost_events_are_told_once_with_their_number() {
    let mut fixture = Fixture::new();
    let before = alive(HOUR_START, HOUR_START + 10 * MINUTE);
    fixture.events(&before);
    let sent = before.len() as u64;
    fixture.derived(&[Event::Gap(Gap {
        session_id: 1,
        first_sequence: sent + 1,
        last_sequence: sent + 7,
        since: UnixMillis(HOUR_START + 10 * MINUTE),
        timestamp: UnixMillis(HOUR_START + 20 * MINUTE),
        kind: GAP_MISSING,
    })]);
    // Numbered, and never delivered.
    fixture.journal.append(&mut fixture.session, &[(); 7].map(|()| heartbeat(0)));
    fixture.events(&alive(HOUR_START + 20 * MINUTE, HOUR_START + 30 * MINUTE));
    let marks = fixture.marks(0, u64::MAX, HOUR_START + 30 * MINUTE, 10);
    assert_eq!(marks.outages.total, 0, "the loss tells of it");
    let losses: Vec<(&str, u64, u64, u64)> =
        marks.losses.latest.iter().map(|loss| (&*loss.kind, loss.from_ms, loss.to_ms, loss.events)).collect();
    assert_eq!(losses, [("missing", HOUR_START + 10 * MINUTE, HOUR_START + 20 * MINUTE, 7)]);

    // A small loss at the edge of an outage does not hide it.
    fixture.events(&[Event::EventsDropped(EventsDropped {
        count: 1,
        first_timestamp: UnixMillis(HOUR_START + 30 * MINUTE),
        last_timestamp: UnixMillis(HOUR_START + 30 * MINUTE),
        reason: Text::new("queue-full").unwrap(),
    })]);
    fixture.begin_session(2);
    fixture.events(&alive(HOUR_START + 50 * MINUTE, HOUR_START + 51 * MINUTE));
    assert_eq!(fixture.marks(0, u64::MAX, HOUR_START + 51 * MINUTE, 10).outages.total, 1);
}

#[test]
fn blocks_are_marked_where_they_were_found() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), share(1, HOUR_START + SECOND)]);
    for minute in 1..=5 {
        fixture.events(&[block(minute as u32, HOUR_START + minute * MINUTE)]);
    }
    let marks = fixture.marks(HOUR_START + 2 * MINUTE, HOUR_START + 4 * MINUTE, HOUR_START + 5 * MINUTE, 2);
    let blocks: Vec<(u32, u64)> = marks.blocks.latest.iter().map(|block| (block.height, block.found_ms)).collect();
    assert_eq!(blocks, [(4, HOUR_START + 4 * MINUTE), (3, HOUR_START + 3 * MINUTE)]);
    assert_eq!(marks.blocks.total, 3);
}
