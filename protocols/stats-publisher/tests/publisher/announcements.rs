//! Heartbeats (rule 6), and announcements that the sidecar asks for (rule 10).

use std::time::Duration;

use stats_publisher::Event;
use stats_sv2::session::SUCCESS_ANNOUNCE;

use crate::fake_sidecar::{FakeSidecar, PATIENCE, Sent, quick};
use crate::{channel_closed, channel_opened, share};

#[test]
fn observation_begins_and_goes_on_with_heartbeats() {
    let sidecar = FakeSidecar::listen();
    let mut timing = quick();
    timing.heartbeat_every = Duration::from_millis(5);
    let publisher = sidecar.publisher().timing(timing).start().unwrap();
    let mut session = sidecar.accept_at_first();
    let mut last = None;
    for expected in 1..=5 {
        let Sent::Event(number, Event::Heartbeat(heartbeat)) = session.next() else { panic!("no heartbeat") };
        assert_eq!((number, heartbeat.flags), (expected, 0));
        assert!(last <= Some(heartbeat.timestamp));
        last = Some(heartbeat.timestamp);
        session.ack(number);
    }
    drop(publisher);
}

#[test]
fn what_is_open_is_announced_when_the_sidecar_asks() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    publisher.publish(channel_opened(1));
    publisher.publish(channel_opened(2));
    publisher.publish(channel_closed(1));
    let mut first = sidecar.accept_at_first();
    first.read_events(3);
    first.ack(4);
    assert!(publisher.flush(PATIENCE).complete);
    drop(first);

    let mut second = sidecar.accept();
    second.succeed_with(4, SUCCESS_ANNOUNCE, 65_536);
    let events = second.read_events(3);
    assert!(matches!(events[0], Event::AnnounceBegin(_)));
    assert_eq!(events[1], channel_opened(2).into());
    assert!(matches!(events[2], Event::AnnounceEnd(_)));
    // Once, not for ever.
    publisher.publish(share(1));
    assert_eq!(second.next_event().1, share(1).into());
}
