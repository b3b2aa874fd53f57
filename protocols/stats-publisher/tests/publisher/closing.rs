//! Flush, close and drop: what they wait for, and what they say.

use std::time::{Duration, Instant};

use stats_publisher::{Event, PublishOutcome, StatsPublisher, Timing};
use stats_sv2::session::{OPEN_FINISHING, SUCCESS_ANNOUNCE};

use crate::fake_sidecar::{FakeSidecar, PATIENCE, Sent, quick, until};
use crate::{share, share_indexes};

#[test]
fn closing_delivers_everything_and_ends_the_session() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let clone = publisher.clone();
    for index in 0..100 {
        publisher.publish(share(index));
    }
    let closer = std::thread::spawn(move || publisher.close(PATIENCE));
    let events = sidecar.accept_at_first().serve_to_close();
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)), (0..100).collect::<Vec<_>>());
    // The span up to the end is observed.
    assert!(matches!(events.last(), Some((_, Event::Heartbeat(_)))));
    let report = closer.join().unwrap();
    assert!(report.complete);
    assert_eq!((report.acknowledged, report.left), (100, 0));
    assert_eq!(clone.publish(share(0)), PublishOutcome::Closed);
    assert_eq!(clone.close(PATIENCE), report, "a second close says the same");
    assert!(!clone.counters().connected);
}

#[test]
fn closing_keeps_its_deadline_and_says_what_is_left() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    for index in 0..10 {
        publisher.publish(share(index));
    }
    // The sidecar is there, and says nothing.
    let _connection = sidecar.accept_stream();
    let start = Instant::now();
    let report = publisher.close(Duration::from_millis(30));
    assert!(start.elapsed() < PATIENCE);
    assert!(!report.complete);
    assert_eq!((report.acknowledged, report.left, report.spooled), (0, 10, 0));
}

#[test]
fn a_session_is_closed_only_once_everything_is_acknowledged() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    // Otherwise the heartbeat at the start and the one at the end might be the same.
    until("the first heartbeat", || (publisher.counters().encoded == 1).then_some(()));
    publisher.publish(share(0));
    let closer = std::thread::spawn(move || publisher.close(PATIENCE));
    let mut session = sidecar.accept_at_first();
    for number in 1..=3 {
        assert!(matches!(session.next(), Sent::Event(n, _) if n == number));
    }
    session.ack(2);
    // The connection breaks before the last number is acknowledged: it comes again, then the end.
    drop(session);
    let mut session = sidecar.accept_at_first();
    assert!(matches!(session.next(), Sent::Event(3, Event::Heartbeat(_))));
    session.ack(3);
    assert!(matches!(session.next(), Sent::Close(_)));
    session.ack(3);
    assert!(closer.join().unwrap().complete);
}

#[test]
fn only_an_acknowledgement_says_that_the_end_of_the_session_is_durable() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    publisher.publish(share(0));
    let closer = std::thread::spawn(move || publisher.close(PATIENCE));
    // The connection ends, in two ways, after the end of the session was read; whether it was committed is not known.
    for last_word in [None, Some("shutdown")] {
        let mut session = sidecar.accept_at_first();
        session.acknowledge_to_close();
        if let Some(reason) = last_word {
            session.close(reason);
        }
    }
    assert!(!closer.is_finished());
    let mut session = sidecar.accept_at_first();
    assert!(matches!(session.next(), Sent::Close(_)));
    session.ack(session.number);
    assert!(closer.join().unwrap().complete);
}

#[test]
fn an_ended_session_gets_no_further_numbers() {
    let sidecar = FakeSidecar::listen();
    // There is always something more to say.
    let timing = Timing { heartbeat_every: Duration::from_millis(1), ..quick() };
    let publisher = sidecar.publisher().timing(timing).start().unwrap();
    publisher.publish(share(0));
    let clone = publisher.clone();
    let closer = std::thread::spawn(move || publisher.close(PATIENCE));
    let mut session = sidecar.accept_at_first();
    session.acknowledge_to_close();
    let (id, last) = (session.open.session_id, session.number);
    drop(session);
    let second = std::thread::spawn(move || clone.close(PATIENCE));
    for is_last in [false, true] {
        let mut session = sidecar.accept();
        // It must neither take the name from a successor nor say anything new.
        assert_eq!((session.open.session_id, session.open.flags), (id, OPEN_FINISHING));
        assert_eq!(session.open.first_sequence, last + 1);
        session.succeed_with(last, SUCCESS_ANNOUNCE, 65_536);
        assert!(matches!(session.next(), Sent::Close(_)));
        if is_last {
            session.ack(last);
        }
    }
    assert!(closer.join().unwrap().complete);
    assert!(second.join().unwrap().complete);
}

#[test]
fn flush_waits_for_what_was_published_before_it() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let mut session = sidecar.accept_at_first();
    publisher.publish(share(0));
    assert!(!publisher.flush(Duration::from_millis(20)).complete, "nothing is acknowledged yet");
    session.read_events(1);
    session.ack(2);
    let report = publisher.flush(PATIENCE);
    assert!(report.complete);
    assert_eq!((report.acknowledged, report.left), (1, 0));
}

#[test]
fn flush_and_close_work_inside_a_runtime() {
    for builder in
        [&mut tokio::runtime::Builder::new_current_thread(), &mut tokio::runtime::Builder::new_multi_thread()]
    {
        let runtime = builder.build().unwrap();
        let sidecar = FakeSidecar::listen();
        let settings = sidecar.publisher();
        let server = std::thread::spawn(move || sidecar.accept_at_first().serve_to_close().len());
        let reports = runtime.block_on(async move {
            let publisher = settings.start().unwrap();
            publisher.publish(share(0));
            let flushed = publisher.flush_async(PATIENCE).await;
            publisher.publish(share(1));
            // The blocking form blocks this thread, and works.
            let again = publisher.flush(PATIENCE);
            (flushed.complete, again.complete, publisher.close_async(PATIENCE).await)
        });
        assert!(reports.0 && reports.1 && reports.2.complete);
        assert_eq!(server.join().unwrap(), 4, "two shares between two heartbeats");
    }
}

#[test]
fn dropping_the_last_handle_delivers_while_the_sidecar_is_connected() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let mut session = sidecar.accept_at_first();
    publisher.publish(share(7));
    assert_eq!(share_indexes(&session.read_events(1)), [7]);
    session.ack(2);
    assert!(publisher.flush(PATIENCE).complete);
    let server = std::thread::spawn(move || session.serve_to_close());
    let clone = publisher.clone();
    drop(publisher);
    assert_eq!(clone.publish(share(8)), PublishOutcome::Queued, "a clone is still there");
    drop(clone);
    let events = server.join().unwrap();
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)), [8]);
}

#[test]
fn a_disabled_publisher_does_nothing() {
    let publisher = StatsPublisher::disabled();
    assert!(!publisher.is_enabled() && publisher.has_room());
    assert_eq!(publisher.publish(share(0)), PublishOutcome::Disabled);
    assert!(publisher.flush(PATIENCE).complete && publisher.close(PATIENCE).complete);
    assert_eq!(publisher.counters().published, 0);
}
