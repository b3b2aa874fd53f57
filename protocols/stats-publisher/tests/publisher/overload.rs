//! A full queue: what is dropped is counted exactly and told in-band; what is open is never forgotten (rules 9, 10).

use stats_publisher::{Event, PublishOutcome, StatsPublisher};

use crate::fake_sidecar::{FakeSidecar, PATIENCE, Sent, until};
use crate::{channel_closed, channel_opened, share, share_indexes};

/// A publisher whose window is full, so that nothing leaves the queue; and how many shares that took.
fn with_full_window(sidecar: &FakeSidecar, slots: usize) -> (StatsPublisher, u32) {
    let publisher = sidecar.publisher().queue_slots(slots).window(4, 64 << 10).start().unwrap();
    until("the first heartbeat", || (publisher.counters().encoded == 1).then_some(()));
    for index in 0..3 {
        assert_eq!(publisher.publish_wait(share(index)), PublishOutcome::Queued);
    }
    until("a full window", || (publisher.counters().encoded == 4).then_some(()));
    (publisher, 3)
}

#[test]
fn losses_are_told_behind_what_was_queued_and_before_the_announcement() {
    let sidecar = FakeSidecar::listen();
    let (publisher, taken) = with_full_window(&sidecar, 8);
    assert_eq!(publisher.publish(channel_opened(1)), PublishOutcome::Queued);
    for index in taken..taken + 7 {
        assert_eq!(publisher.publish(share(index)), PublishOutcome::Queued);
    }
    for index in 100..105 {
        assert_eq!(publisher.publish(share(index)), PublishOutcome::Dropped);
    }
    assert_eq!(publisher.counters().dropped, 5);

    let mut session = sidecar.accept_at_first();
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Event::AnnounceEnd(_))) {
        let Sent::Event(number, event) = session.next() else { panic!("the session ended") };
        events.push(event);
        session.ack(number);
    }
    events.retain(|event| !matches!(event, Event::Heartbeat(_)));
    assert_eq!(share_indexes(&events), (0..10).collect::<Vec<_>>());
    let told = &events[events.len() - 4..];
    let Event::EventsDropped(dropped) = &told[0] else { panic!("{told:?}") };
    assert_eq!((dropped.count, dropped.reason.as_str()), (5, "queue-full"));
    assert_eq!((dropped.first_timestamp, dropped.last_timestamp), (share(100).timestamp, share(104).timestamp));
    assert!(matches!(told[1], Event::AnnounceBegin(_)));
    assert_eq!(told[2], channel_opened(1).into());
    assert!(matches!(told[3], Event::AnnounceEnd(_)));
}

#[test]
fn state_events_overtake_nothing_and_are_never_dropped() {
    let sidecar = FakeSidecar::listen();
    let (publisher, taken) = with_full_window(&sidecar, 2);
    publisher.publish(share(taken));
    publisher.publish(share(taken + 1));
    // The queue is full: channels come and go, shares are dropped.
    for id in 0..50 {
        assert_eq!(publisher.publish(channel_opened(id)), PublishOutcome::Queued);
        assert_eq!(publisher.publish(share(1_000)), PublishOutcome::Dropped);
        if id % 2 == 0 {
            assert_eq!(publisher.publish(channel_closed(id)), PublishOutcome::Queued);
            assert_eq!(publisher.publish(channel_opened(id)), PublishOutcome::Queued);
        }
        if id % 5 == 0 {
            assert_eq!(publisher.publish(channel_closed(id)), PublishOutcome::Queued);
        }
    }
    let mut session = sidecar.accept_at_first();
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Event::AnnounceEnd(_))) {
        let Sent::Event(number, event) = session.next() else { panic!("the session ended") };
        events.push(event);
        session.ack(number);
    }
    events.retain(|event| !matches!(event, Event::Heartbeat(_)));
    assert_eq!(share_indexes(&events), (0..taken + 2).collect::<Vec<_>>());
    let dropped = events.iter().position(|event| matches!(event, Event::EventsDropped(_))).unwrap();
    let Event::EventsDropped(told) = &events[dropped] else { unreachable!() };
    assert_eq!(told.count, 50);
    let before = &events[usize::try_from(taken + 2).unwrap()..dropped];
    let announced: Vec<_> = events[dropped + 2..events.len() - 1].to_vec();
    let open: Vec<Event<'_>> = (0..50).filter(|id| id % 5 != 0).map(|id| channel_opened(id).into()).collect();
    assert_eq!(announced, open);
    // Merged per channel, in order: each opened once; an end stays in front of the next opening, or at the end.
    let opened: Vec<_> = before.iter().filter(|event| matches!(event, Event::ChannelOpened(_))).collect();
    let closed: Vec<_> = before.iter().filter(|event| matches!(event, Event::ChannelClosed(_))).collect();
    assert_eq!((opened.len(), closed.len()), (50, 30));
    assert!(publisher.flush(PATIENCE).complete);
    let counters = publisher.counters();
    assert_eq!(counters.merged, 25 + 5, "the first openings of 25 channels, and the ends before the last of 5");
    assert_eq!(counters.published, 5 + 50 + 50 + 10);
    assert_eq!(counters.acknowledged + counters.merged, counters.published);
    // The queue is open again.
    assert_eq!(publisher.publish(share(1)), PublishOutcome::Queued);
    assert_eq!(session.next_event().1, share(1).into());
}

#[test]
fn the_budget_of_boxed_events_holds() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().boxed_event_bytes(5_000).window(1, 64 << 10).start().unwrap();
    until("a full window", || (publisher.counters().encoded == 1).then_some(()));
    let big = || Event::Unknown { msg_type: 0x90, payload: vec![0; 990].into() };
    let outcomes: Vec<_> = (0..7).map(|_| publisher.publish(big())).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == PublishOutcome::Queued).count(), 5);
    assert_eq!(publisher.counters().dropped, 2);
    // Shares have their own room.
    assert_eq!(publisher.publish(share(0)), PublishOutcome::Queued);
    // Once the events are gone, so is the limit.
    let mut session = sidecar.accept_at_first();
    while publisher.counters().queued > 0 {
        let Sent::Event(number, _) = session.next() else { panic!("the session ended") };
        session.ack(number);
    }
    assert_eq!(publisher.publish(big()), PublishOutcome::Queued);
}

#[test]
fn counts_are_exact_however_the_losses_fall() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().queue_slots(64).start().unwrap();
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                let queued = |index: &u32| publisher.publish(share(*index)) == PublishOutcome::Queued;
                (0..20_000).filter(queued).count() as u64
            })
        })
        .collect();
    let mut session = sidecar.accept_at_first();
    let closer = std::thread::spawn(move || {
        let queued: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
        (queued, publisher.close(PATIENCE), publisher.counters())
    });
    let events = session.serve_to_close();
    let (queued, report, counters) = closer.join().unwrap();
    assert!(report.complete);
    let told: u64 =
        events.iter().map(|(_, event)| if let Event::EventsDropped(dropped) = event { dropped.count } else { 0 }).sum();
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)).len() as u64, queued);
    assert_eq!((counters.published, counters.acknowledged), (queued, queued));
    assert_eq!(counters.dropped, 60_000 - queued);
    assert_eq!(told, counters.dropped);
}

#[test]
fn waiting_publishers_lose_nothing() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().queue_slots(64).window(256, 64 << 10).start().unwrap();
    let producers: Vec<_> = (0..2)
        .map(|_| {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                for index in 0..2_000 {
                    assert_eq!(publisher.publish_wait(share(index)), PublishOutcome::Queued);
                }
            })
        })
        .collect();
    let closer = std::thread::spawn(move || {
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        (publisher.close(PATIENCE), publisher.counters())
    });
    let events = sidecar.accept_at_first().serve_to_close();
    let (report, counters) = closer.join().unwrap();
    assert!(report.complete);
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)).len(), 4_000);
    assert_eq!(counters.dropped, 0);
}
