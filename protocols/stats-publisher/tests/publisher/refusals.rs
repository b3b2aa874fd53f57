//! What the publisher does when the sidecar says no (rules 3, 5).

use stats_publisher::PublishOutcome;

use crate::fake_sidecar::{FakeSidecar, PATIENCE};
use crate::{share, share_indexes};

#[test]
fn a_refused_session_is_tried_again_until_it_is_taken() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    publisher.publish(share(0));
    let mut session_id = None;
    for code in ["publisher-in-use", "publisher-in-use", "too-many-sessions", "unauthorized", "malformed"] {
        let mut refused = sidecar.accept();
        // It stays the same session: its number must not be given up for another's sake.
        assert_eq!(*session_id.get_or_insert(refused.open.session_id), refused.open.session_id);
        refused.refuse(code);
    }
    let mut session = sidecar.accept_at_first();
    assert_eq!(share_indexes(&session.read_events(1)), [0]);
    session.ack(2);
    assert!(publisher.flush(PATIENCE).complete);
    let counters = publisher.counters();
    assert_eq!((counters.failures, counters.connections), (5, 1));
    let error = counters.last_error.unwrap();
    assert!(error.contains("malformed") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_frame_that_is_called_malformed_twice_is_given_up() {
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    let mut session = sidecar.accept_at_first();
    for index in 0..4 {
        publisher.publish(share(index));
    }
    session.read_events(4);
    session.ack(3);
    session.close("malformed");
    drop(session);

    // Number 4 comes again: once may have been the line's fault.
    let mut session = sidecar.accept_at_first();
    assert_eq!(session.open.first_sequence, 4);
    assert_eq!(share_indexes(&session.read_events(2)), [2, 3]);
    session.close("malformed");
    drop(session);

    let mut session = sidecar.accept_at_first();
    assert_eq!(session.open.first_sequence, 5);
    assert_eq!(share_indexes(&session.read_events(1)), [3]);
    session.ack(5);
    assert!(publisher.flush(PATIENCE).complete);
    let counters = publisher.counters();
    assert_eq!((counters.published, counters.acknowledged, counters.malformed), (4, 3, 1));
}

#[test]
fn garbage_and_closed_connections_are_survived() {
    use std::io::Write;
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().start().unwrap();
    assert_eq!(publisher.publish(share(0)), PublishOutcome::Queued);
    drop(sidecar.accept_stream());
    for garbage in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), &[0x54, 0x53, 0x01, 0x01, 0, 0, 9], &[0xff; 4096]] {
        let mut stream = sidecar.accept_stream();
        stream.write_all(garbage).unwrap();
    }
    let mut session = sidecar.accept();
    // Version 7 was not offered.
    session.succeed_with(0, 0, 0);
    let mut session = sidecar.accept_at_first();
    assert_eq!(share_indexes(&session.read_events(1)), [0]);
}
