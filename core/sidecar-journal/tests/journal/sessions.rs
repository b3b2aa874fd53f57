//! Delivery rules 1, 2, 3, 4, 5, 7, 8, 12 and 31 at the border of the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sidecar_core::RecordKind;
use sidecar_journal::{
    AppendError, Journal, JournalError, LocalRun, MAX_OPEN_SESSIONS, MalformedFrame, OpenError, SESSION_EXPIRES_AFTER,
};
use stats_sv2::event::{
    ChannelOpened, ENDED_CLEAN, ENDED_EXPIRED, ENDED_REPLACED, GAP_MISSING, GAP_UNSEEN, Gap, Malformed, SessionEnded,
};
use stats_sv2::{CompactTarget, Event, EventKind, Role, UnixMillis};

use crate::harness::{
    Bench, NOW, Publisher, derived, hello, kinds, numbers, read_all, run, shares, text, until, within,
};

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    assert_eq!((pool.opened.committed_sequence, pool.opened.announce), (0, false));
    pool.append(1, &shares(1, 5)).await;
    journal.close(Duration::from_secs(10)).await.unwrap();

    let journal = bench.open();
    let again = Publisher::open(&journal, hello("pool", 1, 4)).await;
    assert_eq!((again.opened.committed_sequence, again.opened.announce), (5, false));
    let records = read_all(&journal);
    assert_eq!(numbers(&records, 1), [1, 2, 3, 4, 5]);
    assert_eq!(kinds(&records[..1]), [EventKind::SessionStarted], "told once, not at the second open");
}

#[tokio::test]
async fn duplicates_end_at_the_writer() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    pool.append(1, &shares(1, 10)).await;
    pool.append(1, &shares(1, 10)).await;
    pool.append(8, &shares(8, 5)).await;
    let records = read_all(&journal);
    assert_eq!(numbers(&records, 1), (1..=12).collect::<Vec<_>>());
    for envelope in records.iter().flat_map(|record| record.envelopes()) {
        if let Event::ShareSubmitted(share) = envelope.event().unwrap() {
            assert_eq!(u64::from(share.sequence_number), envelope.sequence, "the overlap is cut between frames");
        }
    }
    assert_eq!(journal.stats().duplicates, 13);
}

#[tokio::test]
async fn runs_beyond_the_next_number_are_refused() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let refused = pool.writer().append(run(&journal, 2, &shares(2, 1)).await).await;
    assert_eq!(refused, Err(AppendError::BeyondNext { first_sequence: 2, expected: 1 }));
    assert_eq!(journal.stats().refused_beyond_next, 1);
    // What was handed over but is not durable yet counts as there.
    pool.writer().append(run(&journal, 1, &shares(1, 3)).await).await.unwrap();
    pool.append(4, &shares(4, 1)).await;
}

#[tokio::test]
async fn a_new_connection_retires_the_old_and_sees_all_that_it_handed_over() {
    let mut bench = Bench::new();
    // The first run would wait this long if the new open did not hurry it.
    bench.config.max_delay = Duration::from_secs(3600);
    let journal = bench.open();
    let old = Publisher::open(&journal, hello("pool", 1, 1)).await;
    old.writer().append(run(&journal, 1, &shares(1, 3)).await).await.unwrap();
    let new = Publisher::open(&journal, hello("pool", 1, 1)).await;
    assert_eq!(new.opened.committed_sequence, 3);
    assert_eq!(old.writer().append(run(&journal, 4, &shares(4, 1)).await).await, Err(AppendError::Retired));
    assert!(matches!(old.opened.writer.close("late").await, Err(JournalError::Refused { .. })));
    assert_eq!(journal.stats().refused_retired, 1);
}

#[tokio::test]
async fn gaps_are_recorded_and_only_missing_numbers_are_loss() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 101)).await;
    assert_eq!((pool.opened.committed_sequence, pool.opened.announce), (100, true));
    pool.append(101, &shares(101, 1)).await;
    let again = Publisher::open(&journal, hello("pool", 1, 111)).await;
    assert_eq!((again.opened.committed_sequence, again.opened.announce), (110, true));
    let gap = |first_sequence, last_sequence, since, kind| {
        Event::Gap(Gap {
            session_id: 1,
            first_sequence,
            last_sequence,
            since: UnixMillis(since),
            timestamp: UnixMillis(NOW),
            kind,
        })
    };
    let gaps: Vec<Event<'_>> =
        derived(&read_all(&journal)).into_iter().filter(|event| event.kind() == EventKind::Gap).collect();
    assert_eq!(gaps, [gap(1, 100, 0, GAP_UNSEEN), gap(102, 110, NOW + 101, GAP_MISSING)]);
    let stats = journal.stats();
    assert_eq!((stats.gap_unseen, stats.gap_missing), (100, 9));
    assert_eq!(journal.sessions()[0].missing, 9);
    // A gap is as durable as events: it does not come again after a restart.
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    let third = Publisher::open(&journal, hello("pool", 1, 111)).await;
    assert_eq!((third.opened.committed_sequence, third.opened.announce), (110, true), "nor was it answered");
}

/// Without the announcement nothing would ever say what was opened within the gap.
#[tokio::test]
async fn an_announcement_is_asked_for_until_the_publisher_has_heard_it() {
    let bench = Bench::new();
    let journal = bench.open();
    let asked = async |journal: &Journal, first| {
        let pool = Publisher::open(journal, hello("pool", 1, first)).await;
        (pool.opened.announce, pool)
    };
    // The answer is lost on its way, twice, and once more with the sidecar.
    for _ in 0..2 {
        assert!(asked(&journal, 101).await.0);
    }
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    let (announce, pool) = asked(&journal, 101).await;
    assert!(announce);
    // Whoever sends has read the answer.
    pool.append(101, &shares(101, 1)).await;
    assert!(!asked(&journal, 102).await.0);
    journal.close(Duration::from_secs(10)).await.unwrap();
    assert!(!asked(&bench.open(), 102).await.0);
}

#[tokio::test]
async fn a_malformed_payload_keeps_its_number_and_becomes_a_dead_letter() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let mut events = shares(1, 3);
    events[1] = Event::Malformed(Malformed { msg_type: 0x10, length: 3, reason: text("too short") });
    for _ in 0..2 {
        let mut run = run(&journal, 1, &events).await;
        run.malformed = vec![MalformedFrame {
            sequence: 2,
            bytes: Bytes::from_static(b"TS\x10\x03\0\0abc"),
            reason: "too short".to_owned(),
        }];
        pool.writer().append(run).await.unwrap();
    }
    pool.acknowledged(3).await;
    let letters = journal.dead_letters(Some(sidecar_journal::dead_letter::INGEST), 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].id.sequence, &letters[0].frame[..]), (2, &b"TS\x10\x03\0\0abc"[..]));
    assert_eq!(numbers(&read_all(&journal), 1), [1, 2, 3]);
    assert_eq!(journal.stats().malformed, 1);
}

#[tokio::test]
async fn another_session_of_the_publisher_replaces_the_first() {
    let bench = Bench::new();
    let journal = bench.open();
    let first = Publisher::open(&journal, hello("pool", 1, 1)).await;
    first.append(1, &shares(1, 2)).await;
    let second = Publisher::open(&journal, hello("pool", 2, 1)).await;
    assert_eq!(first.writer().append(run(&journal, 3, &shares(3, 1)).await).await, Err(AppendError::Retired));
    let ended = |at, outcome, reason| {
        Event::SessionEnded(SessionEnded {
            session_id: 1,
            timestamp: UnixMillis(NOW + at),
            outcome,
            reason: text(reason),
        })
    };
    assert!(derived(&read_all(&journal)).contains(&ended(2, ENDED_REPLACED, "")), "at its last event");
    let info = |session_id| journal.sessions().into_iter().find(|session| session.session_id == session_id).unwrap();
    assert!(info(1).loss_unknown && info(1).ended == Some(ENDED_REPLACED));

    // It delivers its rest, marked as such, and does not take the name back.
    let rest = Publisher::open(&journal, sidecar_journal::OpenSession { finishing: true, ..hello("pool", 1, 3) }).await;
    assert!(!rest.opened.announce);
    rest.append(3, &shares(3, 1)).await;
    second.append(1, &shares(1, 1)).await;
    let records = read_all(&journal);
    assert!(
        records
            .iter()
            .filter(|record| record.session_id == 1 && record.first_sequence == 3)
            .all(|record| record.finishing)
    );
    rest.opened.writer.close("done").await.unwrap();
    assert!(derived(&read_all(&journal)).contains(&ended(3, ENDED_CLEAN, "done")));
    assert_eq!((info(1).ended, info(1).loss_unknown), (Some(ENDED_CLEAN), false));
    assert_eq!(info(2).ended, None);
}

#[tokio::test]
async fn a_lost_connection_closes_nothing_and_a_close_is_acknowledged_when_durable() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    pool.append(1, &shares(1, 1)).await;
    pool.opened.writer.detach();
    assert_eq!(derived(&read_all(&journal)).len(), 1, "only its start");
    assert!(!journal.sessions()[0].connected);
    let pool = Publisher::open(&journal, hello("pool", 1, 2)).await;
    let last = pool.opened.writer.close("going home").await.unwrap();
    assert_eq!(last, 1);
    let ends = derived(&read_all(&journal));
    assert!(matches!(ends.last(), Some(Event::SessionEnded(ended)) if ended.outcome == ENDED_CLEAN));
    // Its peer may ask once more whether all arrived: nothing is written for that.
    let pool = Publisher::open(&journal, hello("pool", 1, 2)).await;
    assert_eq!(pool.opened.committed_sequence, 1);
    assert_eq!(pool.opened.writer.close("again").await.unwrap(), 1);
    assert_eq!(derived(&read_all(&journal)).len(), ends.len());
}

#[tokio::test]
async fn a_session_that_ended_and_gives_events_again_is_alive_again() {
    let bench = Bench::new();
    let journal = bench.open();
    let first = Publisher::open(&journal, hello("pool", 1, 1)).await;
    first.append(1, &shares(1, 1)).await;
    let second = Publisher::open(&journal, hello("pool", 2, 1)).await;
    second.append(1, &shares(1, 1)).await;
    // The first was only frozen, and comes back as itself.
    let first = Publisher::open(&journal, hello("pool", 1, 2)).await;
    assert!(first.opened.announce, "what it has open was closed when it was replaced");
    first.append(2, &shares(2, 1)).await;
    let records = read_all(&journal);
    let story: Vec<(u64, EventKind)> = records
        .iter()
        .flat_map(|record| record.envelopes().map(|envelope| (record.session_id, envelope.kind())).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        story,
        [
            (1, EventKind::SessionStarted),
            (1, EventKind::ShareSubmitted),
            (1, EventKind::SessionEnded),
            (2, EventKind::SessionStarted),
            (2, EventKind::ShareSubmitted),
            (2, EventKind::SessionEnded),
            (1, EventKind::SessionStarted),
            (1, EventKind::ShareSubmitted),
        ]
    );
    let numbers: Vec<u64> = records
        .iter()
        .filter(|record| record.session_id == 1 && record.kind == sidecar_core::RecordKind::Derived)
        .map(|record| record.first_sequence)
        .collect();
    assert_eq!(numbers, [NOW + 1, NOW + 2, NOW + 3], "derived records have numbers of their own");
}

#[tokio::test]
async fn a_session_that_does_not_return_expires_after_a_day() {
    let bench = Bench::new();
    let journal = bench.open();
    let gone = Publisher::open(&journal, hello("gone", 1, 1)).await;
    gone.append(1, &shares(1, 1)).await;
    gone.opened.writer.detach();
    let there = Publisher::open(&journal, hello("there", 2, 1)).await;
    bench.pass(SESSION_EXPIRES_AFTER - Duration::from_secs(1));
    there.append(1, &shares(1, 1)).await;
    assert!(journal.sessions().iter().all(|session| session.ended.is_none()));
    bench.pass(Duration::from_secs(10));
    until(|| journal.sessions().iter().any(|session| session.ended == Some(ENDED_EXPIRED))).await;
    until(|| {
        derived(&read_all(&journal)).iter().any(|event| {
            matches!(event, Event::SessionEnded(ended)
            if ended.session_id == 1 && ended.outcome == ENDED_EXPIRED && ended.timestamp == UnixMillis(NOW + 1))
        })
    })
    .await;
    assert_eq!(journal.sessions().iter().filter(|session| session.ended.is_some()).count(), 1);
}

#[tokio::test]
async fn a_sidecar_that_was_away_itself_gives_publishers_time_to_return() {
    let bench = Bench::new();
    let journal = bench.open();
    Publisher::open(&journal, hello("pool", 1, 1)).await.opened.writer.detach();
    journal.close(Duration::from_secs(10)).await.unwrap();
    bench.pass(2 * SESSION_EXPIRES_AFTER);
    let journal = bench.open();
    bench.pass(sidecar_journal::EXPIRY_GRACE - Duration::from_secs(10));
    // Something else is written, so the writer has looked around since.
    Publisher::open(&journal, hello("other", 2, 1)).await.append(1, &shares(1, 1)).await;
    let info = |id| journal.sessions().into_iter().find(|session| session.session_id == id).unwrap();
    assert_eq!(info(1).ended, None);
    bench.pass(Duration::from_secs(20));
    until(|| info(1).ended == Some(ENDED_EXPIRED)).await;
}

#[tokio::test]
async fn too_many_sessions_are_refused() {
    let bench = Bench::new();
    let journal = bench.open();
    let mut opening = tokio::task::JoinSet::new();
    for id in 1..=MAX_OPEN_SESSIONS as u64 {
        let journal = journal.clone();
        opening.spawn(async move { journal.open_session(hello(&format!("pool-{id}"), id, 1)).await.unwrap() });
    }
    let opened = within(opening.join_all()).await;
    assert_eq!(opened.len(), MAX_OPEN_SESSIONS);
    let refused = journal.open_session(hello("one-more", u64::MAX >> 1, 1)).await;
    assert!(matches!(refused, Err(OpenError::TooManySessions { .. })));
    Publisher::open(&journal, hello("pool-1", 1, 1)).await;
}

#[tokio::test]
async fn small_runs_share_a_commit_and_a_record() {
    let mut bench = Bench::new();
    bench.config.max_delay = Duration::from_secs(3600);
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let commits = journal.stats().commits;
    for first in 1..=100 {
        pool.writer().append(run(&journal, first, &shares(first, 1)).await).await.unwrap();
    }
    assert_eq!(*pool.writer().acknowledged().borrow(), 0, "nothing is acknowledged before its commit");
    assert!(numbers(&read_all(&journal), 1).is_empty(), "and nothing is read before it (delivery rule 21)");
    Publisher::open(&journal, hello("other", 2, 1)).await;
    pool.acknowledged(100).await;
    assert_eq!(journal.stats().commits, commits + 1);
    let records = read_all(&journal);
    assert_eq!(records.iter().filter(|record| record.session_id == 1).count(), 2, "its start and its events");
    assert_eq!(numbers(&records, 1), (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_commit_does_not_wait_when_enough_waits_for_it() {
    let mut bench = Bench::new();
    bench.config.max_delay = Duration::from_secs(3600);
    let journal = bench.open();
    // By bytes, all sessions together.
    let pools = [Publisher::open(&journal, hello("a", 1, 1)).await, Publisher::open(&journal, hello("b", 2, 1)).await];
    for first in (1..=4000).step_by(1000) {
        for pool in &pools {
            pool.writer().append(run(&journal, first, &shares(first, 1000)).await).await.unwrap();
        }
    }
    pools[0].acknowledged(1000).await;
    // By the window of one session: heartbeats are small.
    let beat = Event::Heartbeat(stats_sv2::event::Heartbeat { timestamp: UnixMillis(NOW), flags: 0 });
    let quiet = Publisher::open(&journal, hello("c", 3, 1)).await;
    let unknown = Event::Unknown { msg_type: 0xf0, payload: Vec::new().into() };
    let mut events = vec![unknown; 16_383];
    events.push(beat);
    quiet.append(1, &events).await;
}

#[tokio::test]
async fn the_ingest_budget_comes_back_with_the_commit() {
    let bench = Bench::new();
    let journal = bench.open();
    let budget = journal.ingest_budget();
    let before = budget.available_permits();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    pool.append(1, &shares(1, 100)).await;
    until(|| budget.available_permits() == before).await;
}

#[tokio::test]
async fn runs_that_are_not_what_they_say_are_refused() {
    let bench = Bench::new();
    let journal = bench.open();
    let pool = Publisher::open(&journal, hello("pool", 1, 1)).await;
    let mut empty = run(&journal, 1, &shares(1, 1)).await;
    empty.frames = Bytes::new();
    let mut large = run(&journal, 1, &shares(1, 1)).await;
    large.frames = vec![0; sidecar_journal::MAX_RUN_BYTES + 1].into();
    let mut overflowing = run(&journal, 1, &shares(1, 1)).await;
    overflowing.first_sequence = u64::MAX;
    for bad in [empty, large, overflowing] {
        assert!(matches!(pool.writer().append(bad).await, Err(AppendError::BadRun { .. })));
    }
    for first_sequence in [0, 1 << 63] {
        let refused = journal.open_session(hello("pool", 1, first_sequence)).await;
        assert!(matches!(refused, Err(OpenError::BadSequence { .. })));
    }
}

fn local(session_id: u64, events: &[Event<'_>], state: &str) -> LocalRun {
    let mut frames = Vec::new();
    events.iter().for_each(|event| event.encode(&mut frames));
    LocalRun {
        name: "sri".into(),
        publisher: "pool".into(),
        role: Role::Bridge,
        session_id,
        vendor: "bridge".to_owned(),
        frames: frames.into(),
        count: events.len() as u32,
        state: state.as_bytes().to_vec(),
    }
}

/// Delivery rule 31 at a pool with 5,000 channels: one poll finds more than one run holds.
#[tokio::test]
async fn a_large_local_run_is_one_transaction_and_several_records() {
    let bench = Bench::new();
    let journal = bench.open();
    let channel = |number: u32| {
        Event::ChannelOpened(ChannelOpened {
            downstream_id: 7.into(),
            channel_id: number.into(),
            timestamp: UnixMillis(NOW),
            kind: 0,
            user_identity: text(&format!("miner.{number:0>60}")),
            nominal_hashrate: 5,
            target: CompactTarget(0x1d00_ffff),
        })
    };
    let events: Vec<Event<'_>> = (1..=5_000).map(channel).chain(shares(1, 5_000)).collect();
    let poll = local(5, &events, "poll");
    assert!(poll.frames.len() > 2 * sidecar_journal::MAX_RUN_BYTES, "{}", poll.frames.len());
    let commits = journal.stats().commits;
    assert_eq!(journal.append_local(poll).await.unwrap(), 10_000);
    assert_eq!(journal.stats().commits, commits + 1);
    let records = read_all(&journal);
    assert!(records.iter().all(|record| record.frames.len() <= sidecar_journal::MAX_RUN_BYTES));
    assert_eq!(numbers(&records, 5), (1..=10_000).collect::<Vec<_>>());
    assert_eq!(journal.local_state("sri").unwrap().unwrap().state, b"poll");
    let too_large = LocalRun { frames: vec![0; sidecar_journal::MAX_LOCAL_RUN_BYTES + 1].into(), ..local(5, &[], "") };
    assert!(matches!(journal.append_local(too_large).await, Err(JournalError::Refused { .. })));
}

#[tokio::test]
async fn local_runs_are_committed_with_the_state_they_were_made_from() {
    let bench = Bench::new();
    let journal = bench.open();
    assert_eq!(journal.local_state("sri").unwrap(), None);
    assert_eq!(journal.append_local(local(5, &shares(1, 3), "one")).await.unwrap(), 3);
    assert_eq!(journal.append_local(local(5, &shares(4, 2), "two")).await.unwrap(), 5);
    assert_eq!(journal.append_local(local(5, &[], "three")).await.unwrap(), 5);
    let wrong = LocalRun { count: 9, ..local(5, &shares(6, 1), "four") };
    assert!(matches!(journal.append_local(wrong).await, Err(JournalError::Refused { .. })));
    journal.close(Duration::from_secs(10)).await.unwrap();
    let journal = bench.open();
    let state = journal.local_state("sri").unwrap().unwrap();
    assert_eq!((state.session_id, state.committed_sequence, &state.state[..]), (5, 5, &b"three"[..]));
    // Another run of the bridge replaces the session.
    journal.append_local(local(6, &shares(1, 1), "five")).await.unwrap();
    assert_eq!(journal.local_state("sri").unwrap().unwrap().session_id, 6);
    let sessions = journal.sessions();
    assert!(sessions.iter().any(|session| session.session_id == 5 && session.ended == Some(ENDED_REPLACED)));
    within(journal.end_session("pool", 6, ENDED_CLEAN, "bye")).await.unwrap();
    assert!(matches!(
        journal.end_session("pool", 7, ENDED_CLEAN, "").await,
        Err(JournalError::UnknownSession { session_id: 7, .. })
    ));
    assert_eq!(journal.stats().open_sessions, 0);
}

/// Delivery rule 8: whoever floods the journal gets his turn and no more, so a single run of another session waits behind
/// what was admitted before it, not behind everything that the flood still holds.
#[tokio::test]
async fn a_flood_of_one_session_does_not_push_back_the_run_of_another() {
    const RUN_EVENTS: u64 = (256 << 10) / 34;
    const FLOOD_RUNS: u64 = 150;
    /// What fits the gathering group and the one that is being committed, and the run whose turn it is.
    const AHEAD_AT_MOST: u64 = 2 * (4 << 20) / (256 << 10) + 1;
    let bench = Bench::new();
    let journal = bench.open();
    let flooding = Publisher::open(&journal, hello("flood", 1, 1)).await;
    let quiet = Publisher::open(&journal, hello("quiet", 2, 1)).await;
    let handed_over = Arc::new(AtomicU64::new(0));
    let flood = {
        let (journal, handed_over) = (journal.clone(), Arc::clone(&handed_over));
        tokio::spawn(async move {
            for turn in 0..FLOOD_RUNS {
                let events = shares(1 + turn * RUN_EVENTS, RUN_EVENTS);
                flooding.writer().append(run(&journal, 1 + turn * RUN_EVENTS, &events).await).await.unwrap();
                handed_over.store(turn + 1, Ordering::SeqCst);
            }
            flooding.acknowledged(FLOOD_RUNS * RUN_EVENTS).await;
        })
    };
    until(|| handed_over.load(Ordering::SeqCst) >= 10).await;
    let single = run(&journal, 1, &shares(1, 1)).await;
    let ahead = handed_over.load(Ordering::SeqCst);
    quiet.writer().append(single).await.unwrap();
    quiet.acknowledged(1).await;
    within(flood).await.unwrap();
    let records = read_all(&journal);
    let place = records.iter().position(|record| record.session_id == 2 && record.kind == RecordKind::Events).unwrap();
    let flooded = records[..place].iter().filter(|record| record.session_id == 1).map(|record| u64::from(record.count));
    let runs_before = flooded.sum::<u64>() / RUN_EVENTS;
    assert!(ahead < FLOOD_RUNS, "the flood was over before the quiet session spoke");
    assert!(runs_before <= ahead + AHEAD_AT_MOST, "{runs_before} runs of the flood came first, {ahead} were there");
}
