//! What a driver does with sinks that behave and sinks that do not.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use sidecar_core::{Cursor, EventKind, JournalId, KindSet, SinkStart};
use sidecar_pipeline::{Expired, StartAt, StartError};
use stats_sv2::event::ChannelOpened;
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Text, UnixMillis};

use crate::client::{Client, encode, heartbeat, share, shares};
use crate::fake_sink::{Act, FakeSink};
use crate::sidecar::{Sidecar, eventually, journal_config, listener, open_journal, spec};

/// SessionStarted and the announced gap are not there: a session from number 1 gives one derived event.
pub(crate) const DERIVED: u64 = 1;

/// Publishes `count` shares, one run, and waits until they are durable.
pub(crate) async fn publish(sidecar: &Sidecar, count: u64) -> Client {
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, count)).await;
    client.acknowledged(count).await;
    client
}

#[tokio::test]
async fn a_transient_failure_is_repeated_until_it_succeeds() {
    let sink = FakeSink::acting(vec![Act::Transient; 7]);
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    publish(&sidecar, 100).await;
    eventually("all is delivered", || sidecar.ledger("history").delivered == 100 + DERIVED).await;
    assert_eq!(sink.sequences(), (1..=100).collect::<Vec<u64>>());
    let snapshot = &sidecar.snapshot().sinks["history"];
    assert_eq!((snapshot.failures["transient"], snapshot.lag_ms), (7, Some(0)));
    assert_eq!(snapshot.ledger.pending, 0);
    assert_eq!(snapshot.health.status.name(), "healthy");
    assert!(snapshot.health.last_error.as_ref().unwrap().contains("away"));
}

#[tokio::test]
async fn a_sink_that_does_not_come_forward_is_late() {
    let sink = FakeSink::acting(vec![Act::Transient; 10_000]);
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    publish(&sidecar, 10).await;
    let lag = || sidecar.snapshot().sinks["history"].lag_ms;
    eventually("it is behind", || lag().is_some_and(|lag| lag > 0)).await;
    let before = lag().unwrap();
    eventually("it falls behind further", || lag().is_some_and(|lag| lag > before)).await;
}

#[tokio::test]
async fn a_sink_that_waits_for_its_rate_is_late_as_well() {
    let sink = FakeSink::default();
    let mut limited = spec("history", &sink);
    limited.rate_limit = NonZeroU32::new(20);
    let sidecar = Sidecar::with(listener(), [limited]).await;
    publish(&sidecar, 30).await;
    let state = || {
        let sink = &sidecar.snapshot().sinks["history"];
        (sink.ledger.delivered, sink.ledger.pending, sink.lag_ms)
    };
    eventually("it tells its lag between two batches", || matches!(state(), (1.., 1.., Some(1..)))).await;
    eventually("all is delivered", || matches!(state(), (_, 0, Some(0)))).await;
}

#[tokio::test]
async fn a_used_up_budget_expires_the_batch_and_goes_on() {
    let sink = FakeSink::acting(vec![Act::Transient; 3]);
    let mut limited = spec("history", &sink);
    limited.retry.max_attempts = NonZeroU32::new(3);
    let sidecar = Sidecar::with(listener(), [limited]).await;
    // The first batch is SessionStarted alone: it is committed before Success.
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    eventually("it is given up", || sidecar.ledger("history").expired.retry_budget == 1).await;
    client.send(&shares(1, 10)).await;
    eventually("the next is delivered", || sidecar.ledger("history").delivered == 10).await;
    assert_eq!(sidecar.ledger("history").expired, Expired { retry_budget: 1, ..Expired::default() });
}

#[tokio::test]
async fn rejected_events_become_dead_letters_and_nothing_else_does() {
    let sink = FakeSink::acting([
        // SessionStarted; then the shares: two rejected, the rest to be repeated from 50; then one more and all done.
        Act::Work,
        Act::Partial(vec![3, 7], Some(50)),
        Act::Partial(vec![0], None),
    ]);
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    eventually("the start is delivered", || sink.delivered() == 1).await;
    client.send(&shares(1, 100)).await;
    eventually("the batch is done", || {
        let ledger = sidecar.ledger("history");
        ledger.appended == 100 + DERIVED && ledger.pending == 0
    })
    .await;
    let ledger = sidecar.ledger("history");
    assert_eq!((ledger.delivered, ledger.dead_lettered), (97 + DERIVED, 3));
    let letters = sidecar.journal.dead_letters(Some("history"), 100).unwrap();
    let mut numbers: Vec<u64> = letters.iter().map(|letter| letter.id.sequence).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [4, 8, 51]);
    assert_eq!(letters.iter().find(|letter| letter.id.sequence == 8).unwrap().frame, share(8));
    let listed = sidecar.running.status().report().dead_letters;
    let letter = listed.iter().find(|letter| letter.sequence == 8).unwrap();
    assert_eq!((listed.len(), &*letter.sink, letter.event, letter.derived), (3, "history", "share_submitted", false));
    assert!(letter.contents.starts_with("ShareSubmitted") && !letter.reason.is_empty(), "{letter:?}");
    let expected: Vec<u64> = (1..=100).filter(|number| !numbers.contains(number)).collect();
    assert_eq!(sink.sequences(), expected, "none comes twice");
}

#[tokio::test]
async fn a_batch_that_can_never_succeed_is_dead_and_the_next_is_delivered() {
    let sink = FakeSink::acting([Act::Work, Act::Permanent]);
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    eventually("the start is delivered", || sink.delivered() == 1).await;
    client.send(&shares(1, 10)).await;
    eventually("the shares are dead", || sidecar.ledger("history").dead_lettered == 10).await;
    assert_eq!(sidecar.journal.dead_letters(Some("history"), 100).unwrap().len(), 10);
    client.send(&shares(11, 12)).await;
    eventually("the next are delivered", || sink.sequences() == [11, 12]).await;
}

#[tokio::test]
async fn a_hanging_delivery_is_given_up_and_repeated_and_other_sinks_do_not_wait() {
    let (hanging, good) = (FakeSink::acting([Act::Hang]), FakeSink::default());
    let mut impatient = spec("hanging", &hanging);
    impatient.timeout = Duration::from_millis(300);
    let sidecar = Sidecar::with(listener(), [impatient, spec("good", &good)]).await;
    publish(&sidecar, 10).await;
    eventually("the good sink has all", || good.sequences().len() == 10).await;
    let lag = |sink: &str| sidecar.snapshot().sinks[sink].lag_ms;
    assert_eq!(lag("good"), Some(0));
    eventually("the other is done", || sidecar.ledger("hanging").pending == 0).await;
    assert_eq!((hanging.sequences().len(), lag("hanging")), (10, Some(0)));
    let hanging = &sidecar.snapshot().sinks["hanging"];
    assert_eq!((hanging.failures["timeout"], hanging.type_name), (1, "fake"));
}

#[tokio::test]
async fn a_panicking_sink_hurts_only_itself_and_is_started_again() {
    let (panicking, good) = (FakeSink::acting([Act::Panic]), FakeSink::default());
    let sidecar = Sidecar::with(listener(), [spec("panicking", &panicking), spec("good", &good)]).await;
    publish(&sidecar, 10).await;
    eventually("the good sink has all", || good.sequences().len() == 10).await;
    eventually("the other has all after a new start", || panicking.sequences().len() == 10).await;
    assert_eq!(panicking.with(|memory| (memory.started, memory.closed)), (2, 1));
    assert_eq!(sidecar.snapshot().sinks["panicking"].failures["panic"], 1);
}

#[tokio::test]
async fn a_failed_sink_says_so_and_is_started_again_later() {
    let sink = FakeSink::default();
    sink.with(|memory| memory.starts.extend([Act::Fatal, Act::Fatal]));
    let mut later = spec("history", &sink);
    later.restart_after = Duration::from_millis(150);
    let sidecar = Sidecar::with(listener(), [later]).await;
    eventually("it has failed", || sidecar.snapshot().sinks["history"].health.status.name() == "failed").await;
    let snapshot = sidecar.snapshot();
    assert!(snapshot.ready, "an optional sink that has failed holds nothing up");
    assert!(snapshot.sinks["history"].health.last_error.as_ref().unwrap().contains("wrong schema"));
    publish(&sidecar, 10).await;
    eventually("it is delivered in the end", || sink.sequences().len() == 10).await;
    assert_eq!(sink.with(|memory| memory.started), 3);
}

#[tokio::test]
async fn a_required_sink_that_cannot_work_fails_the_start() {
    let sink = FakeSink::default();
    sink.with(|memory| memory.starts.push_back(Act::Fatal));
    let mut required = spec("history", &sink);
    required.required = true;
    let folder = tempfile::TempDir::new().unwrap();
    let journal = open_journal(journal_config(&folder));
    let started = Sidecar::try_over(folder, journal, listener(), [required]).await;
    let Err(StartError::RequiredSink { name, error }) = started.map(drop) else { panic!("it started") };
    assert!(name == "history" && error.contains("wrong schema"));
}

#[tokio::test]
async fn a_sink_that_does_not_start_yet_keeps_the_sidecar_unready() {
    let sink = FakeSink::default();
    sink.with(|memory| memory.starts.extend(vec![Act::Transient; 30]));
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let not_ready = sidecar.running.status().not_ready();
    assert_eq!(not_ready[0].component, "sinks.history");
    publish(&sidecar, 5).await;
    eventually("it becomes ready", || sidecar.snapshot().ready).await;
    eventually("nothing was lost meanwhile", || sink.sequences().len() == 5).await;
}

#[tokio::test]
async fn what_the_route_leaves_out_is_counted_as_filtered() {
    let sink = FakeSink::default();
    let mut picky = spec("notify", &sink);
    picky.route.kinds = KindSet::from_globs(["heartbeat"]).unwrap();
    let sidecar = Sidecar::with(listener(), [picky]).await;
    let mut client = publish(&sidecar, 10).await;
    client.send(&heartbeat()).await;
    eventually("the heartbeat is delivered", || sink.sequences() == [11]).await;
    eventually("the rest is filtered", || sidecar.ledger("notify").filtered == 10 + DERIVED).await;
    assert_eq!(sink.with(|memory| memory.attempts), 1, "a batch without a wanted event is not delivered");
}

#[tokio::test]
async fn the_cursor_survives_a_restart() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    publish(&sidecar, 10).await;
    eventually("delivered", || sink.sequences().len() == 10).await;
    let (folder, report) = sidecar.stop().await;
    assert!(report.is_complete(), "{report:?}");
    let sidecar = Sidecar::again(folder, [spec("history", &sink)]).await;
    let (mut client, committed) = Client::opened(sidecar.address(), "pool", 1).await;
    assert_eq!(committed, 10);
    client.send(&shares(11, 12)).await;
    eventually("the new ones come, the old ones do not", || sink.sequences().len() == 12).await;
    assert_eq!(sink.sequences(), (1..=12).collect::<Vec<u64>>());
    assert_eq!(sidecar.ledger("history").appended, 2, "the account begins at the start");
}

/// What a sidecar left behind: a journal with shares 1 to 20, SessionStarted before them, no sink.
async fn twenty_shares() -> (tempfile::TempDir, JournalId) {
    let sidecar = Sidecar::listening(listener()).await;
    let mut client = publish(&sidecar, 10).await;
    client.send(&shares(11, 20)).await;
    client.acknowledged(20).await;
    drop(client);
    let id = sidecar.journal.id();
    (sidecar.stop().await.0, id)
}

#[tokio::test]
async fn a_new_sink_starts_at_the_end_that_it_asks_for() {
    let (folder, _) = twenty_shares().await;
    let (old, new) = (FakeSink::default(), FakeSink::default());
    let mut latest = spec("new", &new);
    latest.start = StartAt::Latest;
    let sidecar = Sidecar::again(folder, [spec("old", &old), latest]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(21, 22)).await;
    eventually("both are there", || (old.sequences().len(), new.sequences().len()) == (22, 2)).await;
    assert_eq!(new.sequences(), [21, 22]);
    assert_eq!((sidecar.ledger("old").appended, sidecar.ledger("new").appended), (22 + DERIVED, 2));
}

#[tokio::test]
async fn a_sink_s_own_cursor_overrides_the_journal_s() {
    let (folder, journal_id) = twenty_shares().await;
    // The journal has no note of it, so it would start at the oldest; its own store says that it has the first 11 events.
    let sink = FakeSink::default();
    let journal = open_journal(journal_config(&folder));
    let records = journal.reader().read(0, 65_536, 4 << 20).unwrap();
    let taken = records.iter().find(|record| record.cumulative_events == 10 + DERIVED).unwrap();
    sink.own_cursor(Cursor { journal_id, offset: taken.offset });
    let sidecar = Sidecar::over(folder, journal, listener(), [spec("history", &sink)]).await;
    eventually("the rest comes", || sink.sequences().len() == 10).await;
    assert_eq!(sink.sequences(), (11..=20).collect::<Vec<u64>>());
    assert_eq!(sidecar.ledger("history").appended, 10);
}

#[tokio::test]
async fn an_emptied_sink_that_keeps_its_own_cursor_gets_everything_again() {
    for start in [StartAt::Earliest, StartAt::Latest] {
        let keeping = || {
            let sink = FakeSink::default();
            sink.with(|memory| memory.start.keeps_cursor = true);
            let mut spec = spec("history", &sink);
            spec.start = start;
            (sink, spec)
        };
        let (sink, first) = keeping();
        let sidecar = Sidecar::with(listener(), [first]).await;
        let client = publish(&sidecar, 10).await;
        eventually("delivered", || sink.sequences().len() == 10).await;
        drop(client);
        let (folder, _) = sidecar.stop().await;

        // Its store is gone, so it names no cursor; the journal still notes that it had everything.
        let (emptied, again) = keeping();
        let sidecar = Sidecar::again(folder, [again]).await;
        let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
        client.send(&share(11)).await;
        eventually("the new one comes", || emptied.sequences().contains(&11)).await;
        let expected: Vec<u64> = if start == StartAt::Earliest { (1..=11).collect() } else { vec![11] };
        assert_eq!(emptied.sequences(), expected, "{start:?}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_journal_or_beyond_the_head_starts_at_the_oldest() {
    for beyond in [false, true] {
        let (folder, journal_id) = twenty_shares().await;
        let sink = FakeSink::default();
        let cursor = if beyond {
            Cursor { journal_id, offset: 1_000 }
        } else {
            Cursor { journal_id: JournalId(journal_id.0 ^ 1), offset: 2 }
        };
        sink.own_cursor(cursor);
        let _sidecar = Sidecar::again(folder, [spec("history", &sink)]).await;
        eventually("all comes", || sink.sequences().len() == 20).await;
    }
}

#[tokio::test]
async fn a_cursor_beyond_the_head_stays_invalid_when_the_head_comes_to_pass_it() {
    let (folder, journal_id) = twenty_shares().await;
    let journal = open_journal(journal_config(&folder));
    let head = *journal.watch_head().borrow();
    let sink = FakeSink::default();
    sink.own_cursor(Cursor { journal_id, offset: head.offset + 1 });
    sink.with(|memory| memory.starts.extend(vec![Act::Transient; 100_000]));
    let sidecar = Sidecar::over(folder, journal, listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    for number in 21..=23 {
        client.send(&share(number)).await;
        client.acknowledged(number).await;
    }
    sink.with(|memory| memory.starts.clear());
    eventually("all comes, none is skipped", || sink.sequences() == (1..=23).collect::<Vec<u64>>()).await;
    // Told at the oldest record, what is open would end what the sink rightly knows of later ones.
    eventually("it is told what is open", || sink.with(|memory| !memory.announced_after.is_empty())).await;
    assert_eq!(sink.with(|memory| memory.announced_after.clone()), [23 + DERIVED as usize]);
}

#[tokio::test]
async fn a_cursor_is_valid_up_to_what_the_sink_was_offered() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let mut client = publish(&sidecar, 10).await;
    eventually("delivered", || sink.sequences().len() == 10).await;
    let head = *sidecar.journal.watch_head().borrow();
    // It fails; when it is started again its own store has come further than the journal had when the driver was made.
    sink.own_cursor(Cursor { journal_id: sidecar.journal.id(), offset: head.offset });
    sink.with(|memory| memory.script.push_back(Act::Fatal));
    client.send(&share(11)).await;
    eventually("the new one comes", || sink.sequences().contains(&11)).await;
    assert_eq!(sink.sequences(), (1..=11).collect::<Vec<u64>>(), "nothing comes again");
}

#[tokio::test]
async fn a_sink_that_lost_track_is_told_that_nothing_is_open() {
    let sink = FakeSink::default();
    sink.own_cursor(Cursor { journal_id: JournalId(1), offset: 9 });
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    eventually("it is told", || sink.with(|memory| memory.announced_after == [0])).await;
    assert!(sink.with(|memory| memory.announced.is_empty()));
    eventually("it is counted", || sidecar.snapshot().sinks["history"].announcements == 1).await;
}

#[tokio::test]
async fn a_sink_without_state_is_told_first_what_is_open() {
    let sidecar = Sidecar::listening(listener()).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client
        .send(&encode(&ChannelOpened {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(7),
            timestamp: UnixMillis(1_750_000_000_000),
            kind: 0,
            user_identity: Text::cut("miner"),
            nominal_hashrate: 1,
            target: CompactTarget(0x1d00_ffff),
        }))
        .await;
    client.send(&shares(2, 5)).await;
    client.acknowledged(5).await;
    drop(client);
    let (folder, _) = sidecar.stop().await;

    let (stateless, stateful) = (FakeSink::default(), FakeSink::default());
    stateful.with(|memory| memory.start = SinkStart { wants_announcement: true, ..SinkStart::default() });
    let mut specs = [spec("stateless", &stateless), spec("stateful", &stateful)];
    for spec in &mut specs {
        spec.start = StartAt::Latest;
    }
    let sidecar = Sidecar::again(folder, specs).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&share(6)).await;
    eventually("the share comes", || stateful.sequences() == [6] && stateless.sequences() == [6]).await;
    stateful.with(|memory| {
        assert!(memory.announced_first);
        assert!(memory.announced.contains(&EventKind::ChannelOpened), "{:?}", memory.announced);
    });
    assert!(stateless.with(|memory| memory.announced.is_empty()));
    assert_eq!(sidecar.ledger("stateful").delivered, 1, "an announcement is in no account");
}

#[tokio::test]
async fn joined_batches_are_large_where_the_sink_asks_for_it() {
    let (folder, _) = {
        let sidecar = Sidecar::listening(listener()).await;
        let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
        client.send(&shares(1, 40_000)).await;
        client.acknowledged(40_000).await;
        drop(client);
        sidecar.stop().await
    };
    let (plain, joining) = (FakeSink::default(), FakeSink::default());
    joining.with(|memory| memory.start.joins_batches = true);
    let _sidecar = Sidecar::again(folder, [spec("plain", &plain), spec("joining", &joining)]).await;
    eventually("all comes", || plain.sequences().len() == 40_000 && joining.sequences().len() == 40_000).await;
    assert!(joining.with(|memory| memory.largest_batch) > 20_000);
    assert!(plain.with(|memory| memory.largest_batch) < 20_000);
}

#[tokio::test]
async fn what_retention_took_is_expired_for_the_sink_that_lagged() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = journal_config(&folder);
    config.max_bytes = 4 << 20;
    // What is in memory is delivered although it has left the file.
    config.recent_bytes = 64 << 10;
    let journal = open_journal(config);
    let (lagging, good) = (FakeSink::acting(vec![Act::Transient; 100_000]), FakeSink::default());
    // One with a cursor of its own keeps state.
    lagging.own_cursor(Cursor { journal_id: journal.id(), offset: 0 });
    let sidecar = Sidecar::over(folder, journal, listener(), [spec("lagging", &lagging), spec("good", &good)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    let mut sent = 0;
    while sidecar.snapshot().journal.stats.retired_events < 100_000 {
        client.send(&shares(sent + 1, sent + 20_000)).await;
        sent += 20_000;
        client.acknowledged(sent).await;
        assert!(sent < 3_000_000, "retention does not begin");
    }
    lagging.with(|memory| memory.script.clear());
    eventually("the lagging sink has come to the end", || sidecar.ledger("lagging").pending == 0).await;
    let ledger = sidecar.ledger("lagging");
    assert!(ledger.expired.behind_retention > 0, "{ledger:?}");
    assert_eq!(ledger.delivered + ledger.expired.behind_retention, sent + DERIVED);
    assert!(lagging.with(|memory| memory.announced.contains(&EventKind::AnnounceEnd)), "it is told what is open");
    eventually("the good sink has all", || sidecar.ledger("good").delivered == sent + DERIVED).await;
}

#[tokio::test]
async fn sinks_are_maintained_and_reopened() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    eventually("ready", || sidecar.snapshot().ready).await;
    sidecar.running.reopen();
    eventually("it reopens", || sink.with(|memory| memory.reopened) == 1).await;
    eventually("it is maintained", || sink.with(|memory| memory.maintained) >= 1).await;
}

#[tokio::test]
async fn the_tap_shows_what_is_committed_from_now_on() {
    let sidecar = Sidecar::listening(listener()).await;
    let mut client = publish(&sidecar, 10).await;
    let mut tap = sidecar.running.tap().open(sidecar_core::Route::all()).unwrap();
    client.send(&shares(11, 15)).await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let tapped = tap.next().await.unwrap();
        assert_eq!(tapped.dropped, 0);
        seen.extend(tapped.batch.envelopes().map(|envelope| envelope.sequence));
    }
    assert_eq!(seen, [11, 12, 13, 14, 15]);

    // One that does not keep up loses the oldest, and is told how many.
    client.send(&shares(16, 200_015)).await;
    client.acknowledged(200_015).await;
    client.send(&share(200_016)).await;
    let tapped = tap.next().await.unwrap();
    assert!(tapped.dropped > 65_536);
    assert_eq!(tapped.batch.envelopes().next().unwrap().sequence, 16 + tapped.dropped, "they are counted exactly");
    assert_eq!(sidecar.snapshot().tap_dropped, tapped.dropped);
    let places: Vec<_> =
        std::iter::from_fn(|| sidecar.running.tap().open(sidecar_core::Route::all()).ok()).take(100).collect();
    assert_eq!(places.len() + 1, sidecar_pipeline::MAX_TAPS);
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Work),
        2 => Just(Act::Transient),
        1 => Just(Act::Permanent),
        1 => Just(Act::Panic),
        1 => Just(Act::Fatal),
        3 => (proptest::collection::btree_set(0_u64..60, 0..6), proptest::option::of(0_u64..60))
            .prop_map(|(rejected, from)| Act::Partial(rejected.into_iter().collect(), from)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a sink does, each event is delivered, dead or expired, and the account says which.
    #[test]
    fn every_event_is_accounted_for(
        script in proptest::collection::vec(act(), 0..12),
        runs in proptest::collection::vec(1_u64..60, 1..6),
        max_attempts in proptest::option::of(1_u32..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let sink = FakeSink::acting(script);
            let mut limited = spec("history", &sink);
            limited.retry.max_attempts = max_attempts.and_then(NonZeroU32::new);
            let sidecar = Sidecar::with(listener(), [limited]).await;
            let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
            let mut sent = 0;
            for run in runs {
                client.send(&shares(sent + 1, sent + run)).await;
                sent += run;
                client.acknowledged(sent).await;
            }
            eventually("nothing is pending", || {
                let ledger = sidecar.ledger("history");
                ledger.pending == 0 && ledger.appended == sent + DERIVED
            })
            .await;
            let ledger = sidecar.ledger("history");
            let mut delivered = sink.with(|memory| memory.delivered.clone());
            delivered.sort();
            // A panic or a fatal error in the middle of a batch repeats it from its start.
            delivered.dedup();
            let dead = sidecar.journal.dead_letters(Some("history"), 1000).unwrap();
            let known = delivered.len() + dead.iter().filter(|letter| {
                !delivered.iter().any(|(id, _)| *id == letter.id)
            }).count();
            assert!(known as u64 + ledger.expired.retry_budget >= sent + DERIVED, "{ledger:?}, {known} known");
            assert!(dead.len() as u64 >= ledger.dead_lettered);
            if max_attempts.is_none() {
                assert_eq!(ledger.expired, Expired::default());
            }
            drop(client);
            let (_, report) = sidecar.stop().await;
            assert!(report.is_complete(), "{report:?}");
        });
    }
}
