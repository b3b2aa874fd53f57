use std::time::Duration;

use stats_sv2::event::{ChannelOpened, ShareSubmitted, SourceInfo};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Event, Frames, Text};

use super::*;

const AMPLE: Room = Room { events: 1_000, bytes: 256 << 10 };

struct Bench {
    intake: Arc<Intake>,
    drain: Drain,
    now: Now,
}

impl Bench {
    fn new(slots: usize) -> Self {
        let intake = Arc::new(Intake::new(slots, 64 << 10));
        let now = Now { mono: Instant::now(), wall: UnixMillis(1_700_000_000_000) };
        Self { drain: Drain::new(intake.clone(), Duration::from_secs(5), now), intake, now }
    }

    fn advance(&mut self, mono: Duration, wall: Duration) {
        self.now.mono += mono;
        self.now.wall.0 += wall.as_millis() as u64;
    }

    fn pass(&mut self, room: Room) -> Vec<Event<'static>> {
        self.drain.observe(self.now);
        let mut batch = Batch::default();
        self.drain.encode(self.now, room, &mut batch);
        let events: Vec<_> =
            Frames::new(&batch.bytes).map(|frame| Event::decode(frame).unwrap().into_owned()).collect();
        assert_eq!(events.len() as u64, batch.frames);
        assert!(batch.frames <= room.events && batch.bytes.len() <= room.bytes);
        // The account of the publisher's own frames is right, whatever the batches are.
        for (index, event) in events.iter().enumerate() {
            let is_own = matches!(
                event,
                Event::Heartbeat(_) | Event::EventsDropped(_) | Event::AnnounceBegin(_) | Event::AnnounceEnd(_)
            );
            let counted = batch.own.iter().any(|(first, count)| (*first..first + count).contains(&(index as u64)));
            // These may be either: published, or announced.
            if !matches!(event, Event::ChannelOpened(_) | Event::SourceInfo(_)) {
                assert_eq!(is_own, counted, "{index} of {events:?}");
            }
        }
        events
    }
}

fn share(index: u32) -> Event<'static> {
    ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(u64::from(index)),
        channel_id: ChannelId(1),
        sequence_number: index,
        target: CompactTarget(1),
        share: CompactTarget(1),
    }
    .into()
}

fn channel(id: u32) -> Event<'static> {
    ChannelOpened {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(id),
        timestamp: UnixMillis(5),
        kind: 0,
        user_identity: Text::cut("somebody"),
        nominal_hashrate: 0,
        target: CompactTarget(1),
    }
    .into()
}

fn flags(events: &[Event<'_>]) -> Vec<u32> {
    events.iter().filter_map(|event| if let Event::Heartbeat(h) = event { Some(h.flags) } else { None }).collect()
}

#[test]
fn a_step_of_the_wall_clock_is_told_once() {
    let mut bench = Bench::new(8);
    assert_eq!(flags(&bench.pass(AMPLE)), [0]);
    let second = Duration::from_secs(1);
    // Two seconds are drift, which is not told.
    bench.advance(5 * second, 7 * second);
    assert_eq!(flags(&bench.pass(AMPLE)), [0]);
    bench.advance(second, 4 * second);
    assert!(bench.pass(AMPLE).is_empty(), "not due yet");
    bench.advance(4 * second, 4 * second);
    assert_eq!(flags(&bench.pass(AMPLE)), [HEARTBEAT_CLOCK_STEPPED]);
    bench.advance(5 * second, 5 * second);
    assert_eq!(flags(&bench.pass(AMPLE)), [0]);
    // Backwards.
    bench.advance(5 * second, Duration::ZERO);
    assert_eq!(flags(&bench.pass(AMPLE)), [HEARTBEAT_CLOCK_STEPPED]);
}

#[test]
fn missed_heartbeats_are_not_made_up_for() {
    let mut bench = Bench::new(8);
    bench.pass(AMPLE);
    bench.advance(Duration::from_secs(60), Duration::from_secs(60));
    assert_eq!(bench.pass(AMPLE).len(), 1);
}

#[test]
fn a_heartbeat_follows_what_was_queued_before_it() {
    let mut bench = Bench::new(8);
    bench.intake.publish(share(1));
    bench.intake.publish(share(2));
    // Room for one event at a time: the heartbeat waits.
    let one = Room { events: 1, ..AMPLE };
    let kinds: Vec<_> = (0..3).flat_map(|_| bench.pass(one)).map(|event| event.kind()).collect();
    assert_eq!(kinds, [EventKind::ShareSubmitted, EventKind::ShareSubmitted, EventKind::Heartbeat]);
}

#[test]
fn an_announcement_that_exceeds_the_room_goes_on_later() {
    let mut bench = Bench::new(64);
    for id in 0..30 {
        bench.intake.publish(channel(id));
    }
    bench.pass(AMPLE);
    bench.drain.request_announcement();
    bench.intake.publish(share(1));
    let mut events = Vec::new();
    for round in 0..12 {
        let pass = bench.pass(Room { events: 3, ..AMPLE });
        assert_eq!(pass.len(), if round < 11 { 3 } else { 1 }, "round {round}");
        events.extend(pass);
        if round == 4 {
            // Behind the announcement, which was asked for before.
            bench.intake.publish(share(2));
        }
    }
    let mut expected = vec![EventKind::ShareSubmitted, EventKind::AnnounceBegin];
    expected.extend([EventKind::ChannelOpened; 30]);
    expected.extend([EventKind::AnnounceEnd, EventKind::ShareSubmitted]);
    let kinds: Vec<_> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, expected);
    assert_eq!(events.last(), Some(&share(2)));
}

#[test]
fn losses_that_go_on_are_told_once_a_second() {
    let mut bench = Bench::new(4);
    bench.pass(AMPLE);
    let told = |events: &[Event<'_>]| -> Vec<u64> {
        events.iter().filter_map(|e| if let Event::EventsDropped(d) = e { Some(d.count) } else { None }).collect()
    };
    let overload = |bench: &mut Bench| {
        for index in 0..7 {
            bench.intake.publish(share(index));
        }
    };
    overload(&mut bench);
    assert_eq!(told(&bench.pass(AMPLE)), [3]);
    for _ in 0..3 {
        bench.advance(Duration::from_millis(300), Duration::from_millis(300));
        overload(&mut bench);
        assert_eq!(told(&bench.pass(AMPLE)), [0u64; 0]);
    }
    bench.advance(Duration::from_millis(100), Duration::from_millis(100));
    assert_eq!(told(&bench.pass(AMPLE)), [9]);
    // Asked to settle, it does not wait.
    overload(&mut bench);
    let mark = bench.drain.force();
    assert!(!bench.drain.has_settled(mark));
    assert_eq!(told(&bench.pass(AMPLE)), [3]);
    assert!(bench.drain.has_settled(mark));
    assert!(bench.pass(AMPLE).is_empty());
}

#[test]
fn a_full_queue_that_never_runs_empty_still_gets_its_report() {
    let mut bench = Bench::new(4);
    bench.pass(AMPLE);
    let mut index = 0;
    let mut seen = Vec::new();
    // Each pass has room for two; before each the queue is filled to the brim, and more.
    for _ in 0..4 {
        for _ in 0..6 {
            bench.intake.publish(share(index));
            index += 1;
        }
        seen.extend(bench.pass(Room { events: 2, ..AMPLE }));
    }
    let report = seen.iter().position(|event| matches!(event, Event::EventsDropped(_)));
    assert_eq!(report, Some(4), "behind the four that were queued: {seen:?}");
}

#[test]
fn other_facts_are_announced_too() {
    let mut bench = Bench::new(8);
    let fact: Event<'static> =
        SourceInfo { timestamp: UnixMillis(1), name: Text::cut("network"), value: Text::cut("mainnet") }.into();
    bench.intake.publish(fact.clone());
    bench.pass(AMPLE);
    bench.drain.request_announcement();
    assert_eq!(bench.pass(AMPLE)[1], fact);
}
