//! Every event arrives once and in order, whatever happens to the connection (rules 1, 2, 7).

use std::time::Duration;

use proptest::prelude::*;
use stats_publisher::{Event, PublishOutcome};
use stats_sv2::session::SUCCESS_ANNOUNCE;

use crate::fake_sidecar::{FakeSidecar, Journal, PATIENCE, Sent, quick, until};
use crate::{channel_opened, share, share_indexes};

#[test]
fn the_session_is_opened_as_the_host_says() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().vendor("test-pool 1.2").start().unwrap();
    let session = sidecar.accept();
    let open = &session.open;
    assert_eq!((open.min_version, open.max_version, open.flags), (1, 1, 0));
    assert_eq!(
        (open.publisher.as_str(), open.vendor.as_str(), open.token.as_str()),
        ("pool-test", "test-pool 1.2", "s3cret")
    );
    assert_eq!(open.first_sequence, 1);
    assert!((1..1 << 63).contains(&open.session_id));
    drop(publisher);
}

#[test]
fn events_of_all_kinds_arrive_in_the_order_of_their_publication() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let published: Vec<Event<'static>> = vec![
        channel_opened(1).into(),
        share(1).into(),
        channel_opened(2).into(),
        share(2).into(),
        Event::Unknown { msg_type: 0x90, payload: b"later version".as_slice().into() },
        share(3).into(),
    ];
    for event in &published {
        assert_eq!(publisher.publish(event.clone()), PublishOutcome::Queued);
    }
    let mut session = sidecar.accept_at_first();
    // The first number is the heartbeat with which observation begins.
    let mut came: Vec<_> = (0..7).map(|_| session.next()).collect();
    came.retain(|sent| !matches!(sent, Sent::Event(_, Event::Heartbeat(_))));
    let came: Vec<_> = came
        .into_iter()
        .map(|sent| match sent {
            Sent::Event(_, event) => event,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(came, published);
    session.ack(7);
    assert!(publisher.flush(PATIENCE).complete);
    let counters = publisher.counters();
    assert_eq!((counters.published, counters.acknowledged, counters.encoded), (6, 6, 7));
    assert_eq!((counters.dropped, counters.unacknowledged, counters.queued), (0, 0, 0));
    assert!(counters.connected && counters.ack_latency_p50.is_some());
}

#[test]
fn what_is_not_the_hosts_to_say_is_refused() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let unknown = |msg_type, length| Event::Unknown { msg_type, payload: vec![0; length].into() };
    for event in [unknown(0x03, 8), unknown(0x32, 8), unknown(0x40, 8), unknown(0x90, 4097)] {
        assert_eq!(publisher.publish(event), PublishOutcome::Refused);
    }
    assert_eq!(publisher.publish(unknown(0x90, 4096)), PublishOutcome::Queued);
    assert_eq!(publisher.counters().refused, 4);
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let mut first = sidecar.accept_at_first();
    for index in 0..10 {
        publisher.publish(share(index));
    }
    first.read_events(10);
    first.ack(4);
    until("the acknowledgement", || (publisher.counters().acknowledged >= 3).then_some(()));
    drop(first);

    let mut second = sidecar.accept();
    assert_eq!(second.open.first_sequence, 5);
    // More was durable than the publisher has heard of.
    second.succeed(7);
    assert_eq!(share_indexes(&second.read_events(4)), [6, 7, 8, 9]);
    second.ack(11);
    assert!(publisher.flush(PATIENCE).complete);
    let counters = publisher.counters();
    assert_eq!((counters.acknowledged, counters.resent, counters.connections), (10, 4, 2));
}

#[test]
fn no_more_is_sent_than_the_sidecar_allows() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let mut session = sidecar.accept();
    session.succeed_with(0, 0, 5);
    for index in 0..20 {
        publisher.publish(share(index));
    }
    let mut read = 0;
    while read < 20 {
        read += session.read_events(if read == 0 { 4 } else { 5.min(20 - read) }).len();
        assert_eq!(session.number, (read as u64) + 1);
        session.ack(session.number);
    }
    assert!(publisher.flush(PATIENCE).complete);
}

#[test]
fn a_sidecar_that_acknowledges_what_was_not_sent_is_left() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let mut session = sidecar.accept_at_first();
    publisher.publish(share(0));
    session.read_events(1);
    session.ack(3);
    let again = sidecar.accept();
    assert_eq!(again.open.first_sequence, 1);
    assert!(publisher.counters().last_error.unwrap().contains("number 3 is acknowledged"));
}

#[test]
fn a_session_that_is_committed_beyond_its_end_is_replaced() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    publisher.publish(channel_opened(1));
    publisher.publish(share(1));
    until("encoding", || (publisher.counters().encoded == 3).then_some(()));
    let mut session = sidecar.accept();
    session.succeed(1_000);
    let mut other = sidecar.accept();
    assert_ne!(other.open.session_id, session.open.session_id);
    assert_eq!(other.open.first_sequence, 1);
    other.succeed(0);
    let events = other.read_events(5);
    assert_eq!(events[0], channel_opened(1).into());
    assert_eq!(events[1], share(1).into());
    // The new session knows nothing of what is open.
    assert!(matches!(events[2], Event::AnnounceBegin(_)));
    assert_eq!(events[3], channel_opened(1).into());
    assert!(matches!(events[4], Event::AnnounceEnd(_)));
}

#[test]
fn a_sidecar_without_progress_is_left() {
    let sidecar = FakeSidecar::listen();
    let mut timing = quick();
    timing.ack_timeout = Duration::from_millis(50);
    let publisher = sidecar.publisher().timing(timing).start().unwrap();
    let mut stalled = sidecar.accept_at_first();
    publisher.publish(share(0));
    stalled.read_events(1);
    // Not a word; the publisher comes back and sends the same again.
    let mut next = sidecar.accept_at_first();
    assert_eq!(share_indexes(&next.read_events(1)), [0]);
    assert!(publisher.counters().last_error.unwrap().contains("acknowledged nothing"));
}

#[test]
fn acknowledgements_are_read_while_the_socket_is_full() {
    // A window that is far larger than the socket's buffers, against a sidecar that acknowledges each read at once.
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let count = 60_000;
    for index in 0..count {
        assert_eq!(publisher.publish(share(index)), PublishOutcome::Queued);
    }
    let mut session = sidecar.accept_at_first();
    for expected in 0..count {
        let (number, event) = session.next_event();
        assert_eq!(event, share(expected).into());
        session.ack(number);
    }
    assert!(publisher.flush(PATIENCE).complete);
    assert_eq!(publisher.counters().acknowledged, u64::from(count));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The sidecar commits any part of what it reads, says so or not, and breaks the connection, again and again.
    #[test]
    fn every_number_arrives_once_and_in_order(
        script in prop::collection::vec((1..120usize, 0..=100u8, any::<bool>(), any::<bool>()), 1..8),
        count in 1..400u32,
    ) {
        let sidecar = FakeSidecar::listen();
        let publisher = sidecar.publisher().window(64, 64 << 10).start().unwrap();
        let mut journal = Journal::default();
        let producer = {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                for index in 0..count {
                    if index % 7 == 0 {
                        publisher.publish_wait(channel_opened(index));
                    }
                    publisher.publish_wait(share(index));
                }
                publisher.close(PATIENCE)
            })
        };
        let mut ended = false;
        for (reads, part, tells, announce) in script {
            let mut session = sidecar.accept();
            let id = session.open.session_id;
            let committed = journal.committed(id).max(session.open.first_sequence - 1);
            prop_assert_eq!(committed, journal.committed(id), "the publisher gave up numbers");
            session.succeed_with(committed, u32::from(announce) * SUCCESS_ANNOUNCE, 50);
            let mut seen = Vec::new();
            let last_share = Event::from(share(count - 1));
            let mut has_last = journal.events.get(&id).is_some_and(|events| events.contains(&last_share));
            // Without any acknowledgement no more than the window comes.
            for _ in 0..reads.min(45) {
                let (number, event) = match session.next() {
                    Sent::Event(number, event) => (number, event),
                    Sent::Close(_) => {
                        ended = true;
                        break;
                    }
                    Sent::End => panic!("the publisher broke the connection"),
                };
                has_last |= event == last_share;
                // After the last share nothing may follow one of these.
                let may_be_last = has_last && matches!(event, Event::Heartbeat(_) | Event::AnnounceEnd(_));
                seen.push((number, event));
                if may_be_last {
                    break;
                }
            }
            if ended {
                break;
            }
            let keep = seen.len() * usize::from(part) / 100;
            for (number, event) in seen.into_iter().take(keep) {
                journal.commit(id, number, event);
            }
            if tells {
                session.ack(journal.committed(id));
            }
        }
        if !ended {
            let mut session = sidecar.accept();
            let id = session.open.session_id;
            session.succeed(journal.committed(id));
            for (number, event) in session.serve_to_close() {
                journal.commit(id, number, event);
            }
        }
        let report = producer.join().unwrap();
        prop_assert!(report.complete, "{report:?}");
        prop_assert_eq!(journal.events.len(), 1);
        let events = journal.events.values().next().unwrap();
        prop_assert_eq!(share_indexes(events), (0..count).collect::<Vec<_>>());
        let counters = publisher.counters();
        prop_assert_eq!(counters.published, u64::from(count + count.div_ceil(7)));
        prop_assert_eq!(counters.acknowledged, counters.published);
        prop_assert_eq!(counters.encoded, events.len() as u64);
    }
}
