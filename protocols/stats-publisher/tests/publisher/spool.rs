//! With a spool nothing that reached it is lost (rule 13).

use std::path::Path;
use std::time::Duration;

use stats_publisher::{Event, MIN_SPOOL_BYTES, PublishOutcome, SpoolError, StartError};
use stats_sv2::session::OPEN_FINISHING;

use crate::fake_sidecar::{FakeSidecar, Journal, PATIENCE, Sent, until};
use crate::{share, share_indexes};

/// What a file would hold if the process were killed now.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn the_next_run_finishes_the_session_of_a_killed_one() {
    let folder = tempfile::tempdir().unwrap();
    let (used, left) = (folder.path().join("used.spool"), folder.path().join("left.spool"));
    let sidecar = FakeSidecar::listen();
    let mut journal = Journal::default();
    let first = sidecar.publisher().spool(&used, MIN_SPOOL_BYTES).start().unwrap();
    let mut session = sidecar.accept_at_first();
    let old = session.open.session_id;
    for index in 0..100 {
        first.publish(share(index));
    }
    let events = session.read_events(100);
    // 40 numbers became durable, the first of them the heartbeat; the publisher is killed before it hears of it.
    journal.commit(old, 1, Event::Unknown { msg_type: 0x90, payload: [].as_slice().into() });
    for (number, event) in (2..=40).zip(events) {
        journal.commit(old, number, event);
    }
    copy(&used, &left);

    let next = sidecar.publisher().spool(&left, MIN_SPOOL_BYTES).start().unwrap();
    assert_eq!(next.publish(share(500)), PublishOutcome::Queued);
    let mut finishing = sidecar.accept();
    assert_eq!((finishing.open.session_id, finishing.open.flags), (old, OPEN_FINISHING));
    assert_eq!(finishing.open.first_sequence, 1);
    finishing.succeed(40);
    for (number, event) in finishing.serve_to_close() {
        journal.commit(old, number, event);
    }
    assert_eq!(share_indexes(&journal.events[&old]), (0..100).collect::<Vec<_>>());
    assert_eq!(journal.committed(old), 101);

    let mut own = sidecar.accept_at_first();
    assert_ne!(own.open.session_id, old);
    assert_eq!((own.open.flags, own.open.first_sequence), (0, 1));
    let closer = std::thread::spawn(move || (next.close(PATIENCE), next.counters()));
    let events = own.serve_to_close();
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)), [500]);
    let (report, counters) = closer.join().unwrap();
    assert!(report.complete);
    assert_eq!((counters.finished, counters.unfinished_sessions), (101, 0));
    // Nothing is left for a third run.
    drop(session);
    let third = sidecar.publisher().spool(&left, MIN_SPOOL_BYTES).start().unwrap();
    let third_id = until("a session of the third run", || {
        let mut session = sidecar.accept();
        // The first publisher of this test still tries to come back.
        (session.open.session_id != old).then_some(session.open.session_id).or_else(|| {
            session.refuse("publisher-in-use");
            None
        })
    });
    assert_ne!(third_id, old);
    drop((first, third));
}

#[test]
fn the_spool_holds_what_the_window_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().window(100, 64 << 10).spool(&path, 4 << 20).start().unwrap();
    // The sidecar is away. Far more than the window fits.
    for index in 0..20_000 {
        assert_eq!(publisher.publish_wait(share(index)), PublishOutcome::Queued);
    }
    until("the spool", || (publisher.counters().encoded == 20_001).then_some(()));
    let mut session = sidecar.accept_at_first();
    let closer = std::thread::spawn(move || (publisher.close(PATIENCE), publisher.counters()));
    let events = session.serve_to_close();
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)), (0..20_000).collect::<Vec<_>>());
    let (report, counters) = closer.join().unwrap();
    assert!(report.complete);
    assert_eq!((counters.dropped, counters.spool_errors), (0, 0));
    assert!(std::fs::metadata(&path).unwrap().len() < 100, "all is acknowledged, nothing is kept");
}

#[test]
fn a_full_spool_drops_and_counts_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let publisher =
        sidecar.publisher().queue_slots(256).window(1_000, 64 << 10).spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    let mut queued = 0u64;
    until("a full spool", || {
        let taken = (0..64).filter(|index| publisher.publish(share(*index)) == PublishOutcome::Queued).count();
        queued += taken as u64;
        (taken == 0 && queued > 15_000).then_some(())
    });
    assert!(std::fs::metadata(&path).unwrap().len() <= MIN_SPOOL_BYTES);
    let before = publisher.counters();
    assert_eq!(before.published, queued);
    let mut session = sidecar.accept_at_first();
    let closer = std::thread::spawn(move || (publisher.close(PATIENCE), publisher.counters()));
    let events = session.serve_to_close();
    let (report, counters) = closer.join().unwrap();
    assert!(report.complete);
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)).len() as u64, queued);
    let told: Vec<u64> = events
        .iter()
        .filter_map(|(_, event)| if let Event::EventsDropped(dropped) = event { Some(dropped.count) } else { None })
        .collect();
    assert_eq!(told.iter().sum::<u64>(), counters.dropped);
}

#[test]
fn closing_without_the_sidecar_leaves_all_to_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    for index in 0..10 {
        publisher.publish(share(index));
    }
    // It listens, but never answers.
    let report = publisher.close(Duration::from_millis(100));
    assert_eq!((report.complete, report.left, report.spooled), (false, 10, 10));
    let open = sidecar.accept().open;

    let next = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    let mut session = sidecar.accept_at_first();
    assert_eq!((session.open.session_id, session.open.flags), (open.session_id, OPEN_FINISHING));
    let events = session.serve_to_close();
    assert_eq!(share_indexes(events.iter().map(|(_, event)| event)), (0..10).collect::<Vec<_>>());
    drop(next);
}

#[test]
fn a_finishing_session_that_is_refused_waits_and_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    publisher.publish(share(0));
    publisher.close(Duration::from_millis(50));
    let old = sidecar.accept().open.session_id;
    let next = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    for _ in 0..3 {
        let mut session = sidecar.accept();
        assert_eq!(session.open.session_id, old);
        session.refuse("publisher-in-use");
    }
    // Everything was durable already.
    let mut session = sidecar.accept();
    session.succeed(3);
    assert!(session.serve_to_close().is_empty());
    assert_ne!(sidecar.accept().open.session_id, old);
    drop(next);
}

#[test]
fn a_finishing_session_of_which_the_sidecar_has_more_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    publisher.publish(share(0));
    publisher.close(Duration::from_millis(50));
    let old = sidecar.accept().open;
    let next = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    let mut session = sidecar.accept();
    assert_eq!(session.open.session_id, old.session_id);
    // The host lost power, and with it the end of the file, whose events had been delivered.
    let durable = old.first_sequence + 100;
    session.succeed(durable);
    // A sidecar may say again what it said.
    session.ack(durable);
    assert_eq!(session.next(), Sent::Close("finished from the spool".to_owned()));
    session.ack(durable);
    assert_ne!(sidecar.accept().open.session_id, old.session_id);
    drop(next);
}

/// Leaves a file of three records with one number each, and says whose it is and where each record begins and ends.
fn leave_three_records(sidecar: &FakeSidecar, path: &Path) -> (u64, Vec<usize>) {
    let publisher = sidecar.publisher().spool(path, MIN_SPOOL_BYTES).start().unwrap();
    until("the first heartbeat", || (publisher.counters().encoded == 1).then_some(()));
    publisher.publish(share(0));
    until("the share", || (publisher.counters().encoded == 2).then_some(()));
    publisher.close(Duration::from_millis(50));
    let bytes = std::fs::read(path).unwrap();
    let mut ends = vec!["HPSPOOL1".len() + 1 + "pool-test".len() + 4];
    while let Some(length) = bytes.get(ends[ends.len() - 1] + 4..).and_then(|rest| rest.first_chunk()) {
        ends.push(ends[ends.len() - 1] + 28 + u32::from_le_bytes(*length) as usize);
    }
    assert_eq!((ends.len(), ends.last()), (4, Some(&bytes.len())));
    (sidecar.accept().open.session_id, ends)
}

#[test]
fn a_session_with_an_unknown_loss_is_not_called_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let (old, _) = leave_three_records(&sidecar, &path);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let next = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    let mut session = sidecar.accept_at_first();
    assert_eq!((session.open.session_id, session.open.flags), (old, 0), "it is there to be replaced");
    assert_eq!(share_indexes(&session.read_events(1)), [0]);
    session.ack(2);
    assert_eq!(session.next(), Sent::End);
    assert_ne!(sidecar.accept().open.session_id, old);
    drop(next);
}

#[test]
fn a_session_is_ended_behind_its_last_gap_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let (old, ends) = leave_three_records(&sidecar, &path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.drain(ends[1]..ends[2]);
    std::fs::write(&path, bytes).unwrap();

    let next = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    let mut session = sidecar.accept_at_first();
    assert!(matches!(session.next(), Sent::Event(1, Event::Heartbeat(_))));
    session.ack(1);
    assert_eq!(session.next(), Sent::End);
    let mut session = sidecar.accept_at_first();
    assert_eq!((session.open.session_id, session.open.first_sequence), (old, 3));
    assert_eq!(session.serve_to_close().len(), 1);
    assert_ne!(sidecar.accept().open.session_id, old);
    drop(next);
}

#[test]
fn two_publishers_cannot_share_a_spool_nor_take_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.spool");
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start().unwrap();
    let second = sidecar.publisher().spool(&path, MIN_SPOOL_BYTES).start();
    assert!(matches!(second, Err(StartError::Spool(SpoolError::InUse { .. }))), "{second:?}");
    publisher.publish(share(0));
    publisher.close(Duration::from_millis(50));
    let other = sidecar.publisher().publisher("other").spool(&path, MIN_SPOOL_BYTES).start();
    assert!(matches!(other, Err(StartError::Spool(SpoolError::OtherPublisher { .. }))), "{other:?}");
}
