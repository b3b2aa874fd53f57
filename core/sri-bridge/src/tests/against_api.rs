//! The bridge over HTTP: paging, restarts of either side, answers that are wrong, and answers that do not come.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use mining_stats::Work;
use ruint::aliases::U256;
use sidecar_core::{ManualClock, Period};
use stats_sv2::event::HEARTBEAT_CLOCK_STEPPED;
use stats_sv2::{Role, UnixMillis};

use super::fake_program::{
    FakeProgram, Fault, MemoryStore, Program, StoreFault, client_channel, server_channel, sv1_miner,
};
use super::replay::Replay;
use crate::client::is_too_long;
use crate::{
    BridgeError, HttpError, Known, PollError, SavedState, SriBridge, SriBridgeSettings, SriRole, UPSTREAM_CHANNELS,
    difference, read_view,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const FOREVER: Duration = Duration::from_secs(1 << 40);

fn pool_with(clients: &[(u32, &[(u32, u32)])]) -> Program {
    let mut program = Program::new(SriRole::Pool);
    for (client, channels) in clients {
        let channels = channels.iter().map(|(id, accepted)| (*id, client_channel(*id, "alice", *accepted, 1.0)));
        program.clients.insert(*client, channels.collect());
    }
    program
}

fn accepted(replay: &Replay) -> BTreeMap<(u32, u32), u64> {
    replay.totals.iter().map(|(key, totals)| (*key, totals.0)).collect()
}

fn total(replay: &Replay) -> u64 {
    replay.totals.values().map(|totals| totals.0).sum()
}

/// A bridge on a program and a store, polling every few milliseconds.
fn bridge(fake: &FakeProgram, clock: &Arc<ManualClock>) -> SriBridge {
    let settings = SriBridgeSettings {
        url: fake.url.parse().unwrap(),
        every: Period::from_millis(5),
        role: None,
        publisher: Some("pool-a".to_owned()),
    };
    SriBridge::new("eu", settings, Arc::clone(clock) as Arc<_>)
}

/// Runs a bridge while the test talks to the program and looks into the store.
async fn while_running<T>(fake: &FakeProgram, store: &MemoryStore, test: impl Future<Output = T>) -> T {
    let clock = Arc::new(ManualClock::at(NOW));
    tokio::select! {
        outcome = bridge(fake, &clock).run(store, pending()) => panic!("the bridge ended: {outcome:?}"),
        value = test => value,
    }
}

async fn view(fake: &FakeProgram, known: &[u32]) -> Result<crate::View, PollError> {
    read_view(&fake.url.parse().unwrap(), None, known.iter().copied()).await
}

#[test]
fn a_running_bridge_may_move_between_threads() {
    fn is_send(_: impl Send) {}
    let settings = toml::from_str("url = 'http://127.0.0.1:9090'").unwrap();
    let bridge = SriBridge::new("eu", settings, Arc::new(ManualClock::at(NOW)));
    let store = MemoryStore::new();
    is_send(bridge.run(&store, pending()));
}

#[tokio::test]
async fn recorded_answers_of_a_pool() {
    let fake = FakeProgram::start(Program::new(SriRole::Pool)).await;
    let mut known = Known::default();
    let mut replay = Replay::default();
    let recordings = [
        (
            include_str!("../../fixtures/pool-global.json"),
            include_str!("../../fixtures/pool-clients.json"),
            include_str!("../../fixtures/pool-client-channels.json"),
        ),
        (
            include_str!("../../fixtures/pool-restarted-global.json"),
            include_str!("../../fixtures/pool-restarted-clients.json"),
            include_str!("../../fixtures/pool-restarted-client-channels.json"),
        ),
        (
            include_str!("../../fixtures/pool-channel-closed-global.json"),
            include_str!("../../fixtures/pool-channel-closed-clients.json"),
            include_str!("../../fixtures/pool-channel-closed-client-channels.json"),
        ),
    ];
    let mut expected: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (run, (global, clients, channels)) in recordings.iter().enumerate() {
        let last = &recordings[run];
        fake.with(|program| {
            program.clock += 1_000;
            let ok = |text: &str| (200, text.to_owned());
            program.recorded = BTreeMap::from([
                ("/api/v1/global".to_owned(), ok(global)),
                ("/api/v1/clients".to_owned(), ok(clients)),
                ("/api/v1/clients/1/channels".to_owned(), ok(channels)),
            ]);
        });
        let view = view(&fake, &[]).await.unwrap();
        let (events, next) = difference(&known, &view, NOW, FOREVER);
        replay.apply(&events);
        known = next;

        // Three runs by their uptimes, so the counts of each come on top of those before.
        let page: serde_json::Value = serde_json::from_str(last.2).unwrap();
        let listed = page["extended_channels"].as_array().unwrap();
        for channel in listed {
            let id = u32::try_from(channel["channel_id"].as_u64().unwrap()).unwrap();
            *expected.entry((1, id)).or_default() += channel["shares_accepted"].as_u64().unwrap();
        }
        assert_eq!(accepted(&replay), expected);
        assert_eq!(replay.channels.len(), listed.len());
    }
    // All at the target ff..ff, where a share is one hash.
    assert!(replay.totals.values().all(|totals| totals.2 == Work::from_hashes(U256::from(totals.0))));
}

#[tokio::test]
async fn recorded_answers_of_a_translator() {
    let mut program = Program::new(SriRole::Proxy);
    let ok = |text: &str| (200, text.to_owned());
    program.recorded = BTreeMap::from([
        ("/api/v1/global".to_owned(), ok(include_str!("../../fixtures/translator-global.json"))),
        ("/api/v1/clients".to_owned(), (404, include_str!("../../fixtures/translator-clients.404.json").to_owned())),
        ("/api/v1/server/channels".to_owned(), ok(include_str!("../../fixtures/translator-server-channels.json"))),
        ("/api/v1/sv1/clients".to_owned(), ok(include_str!("../../fixtures/translator-sv1-clients.json"))),
    ]);
    let fake = FakeProgram::start(program).await;
    let view = view(&fake, &[]).await.unwrap();
    assert_eq!(view.role, SriRole::Proxy);
    let replay = Replay::all(&difference(&Known::default(), &view, NOW, FOREVER).0);
    assert_eq!(accepted(&replay), BTreeMap::from([((UPSTREAM_CHANNELS, 2), 40), ((UPSTREAM_CHANNELS, 3), 20)]));
    assert!(replay.upstream && replay.downstreams.is_empty());
    let names: Vec<_> = replay.miners.values().map(|(name, hashrate)| (name.as_str(), *hashrate)).collect();
    assert_eq!(names, [("alice.rig", 1), ("bob.rig", 1)]);
}

#[tokio::test]
async fn standard_channels_with_one_id_and_one_name_are_told_apart() {
    let mut program = Program::new(SriRole::Pool);
    let ok = |text: &str| (200, text.to_owned());
    let channels = ok(include_str!("../../fixtures/pool-standard-client-channels.json"));
    let clients = include_str!("../../fixtures/pool-standard-clients.json");
    program.recorded = BTreeMap::from([("/api/v1/clients".to_owned(), ok(clients))]);
    let listed: serde_json::Value = serde_json::from_str(clients).unwrap();
    let ids: Vec<u64> = listed["items"].as_array().unwrap().iter().map(|c| c["client_id"].as_u64().unwrap()).collect();
    for id in &ids {
        program.recorded.insert(format!("/api/v1/clients/{id}/channels"), channels.clone());
    }
    let fake = FakeProgram::start(program).await;
    let replay = Replay::all(&difference(&Known::default(), &view(&fake, &[]).await.unwrap(), NOW, FOREVER).0);
    assert_eq!((ids.len(), replay.downstreams.len(), replay.channels.len()), (2, 2, 2));
    assert!(replay.totals.values().all(|totals| (totals.0, totals.1) == (1, 2)), "{:?}", replay.totals);
}

#[tokio::test]
async fn every_page_is_read() {
    let mut program = pool_with(&[]);
    let mut expected = 0;
    for client in 1..=250 {
        let count = if client == 7 { 230 } else { 1 };
        let channels = (2..2 + count).map(|id| (id, client_channel(id, "a", id, 1.0)));
        expected += (2..2 + u64::from(count)).sum::<u64>();
        program.clients.insert(client, channels.collect());
    }
    let fake = FakeProgram::start(program).await;
    let view = view(&fake, &[]).await.unwrap();
    assert!(view.downstreams[&7].paged && !view.downstreams[&8].paged);
    let replay = Replay::all(&difference(&Known::default(), &view, NOW, FOREVER).0);
    assert_eq!((replay.downstreams.len(), replay.channels.len(), total(&replay)), (250, 479, expected));

    let mut program = Program::new(SriRole::Proxy);
    program.miners = (1..=130).map(|id| (id, sv1_miner(id, "rig"))).collect();
    program.upstream = (2..=132).map(|id| (id, server_channel(id, "a", 1))).collect();
    let fake = FakeProgram::start(program).await;
    let view = read_view(&fake.url.parse().unwrap(), None, []).await.unwrap();
    assert_eq!((view.miners.len(), view.miners_paged, view.downstreams[&0].channels.len()), (130, true, 131));
}

/// A list whose order changes between its pages hides some clients from the list, but not from the bridge.
#[tokio::test]
async fn a_shuffled_list_loses_nobody() {
    let mut program = pool_with(&[]);
    program.clients = (1..=150).map(|id| (id, BTreeMap::from([(2, client_channel(2, "a", 10, 1.0))]))).collect();
    let fake = FakeProgram::start(program).await;
    let store = MemoryStore::new();
    while_running(&fake, &store, async {
        store.until(|replay| total(replay) == 1_500).await;
        fake.with(|program| program.shuffled = true);
        for round in 1..=5 {
            fake.with(|program| (1..=150).for_each(|client| program.add_shares(client, 2, 1, 1.0)));
            let replay = store.until(|replay| total(replay) == 1_500 + 150 * round).await;
            assert_eq!(replay.downstreams.len(), 150);
        }
    })
    .await;
    let hidden = fake.with(|program| program.requests.iter().filter(|path| path.contains("offset=100")).count());
    assert!(hidden > 0, "the list had a second page");
}

#[tokio::test]
async fn pages_that_do_not_fit_together_are_not_used() {
    let mut program = pool_with(&[(1, &[])]);
    program.clients.insert(1, (2..=180).map(|id| (id, client_channel(id, "a", 1, 1.0))).collect());
    program.shuffled = true;
    let fake = FakeProgram::start(program).await;
    assert!(matches!(view(&fake, &[]).await, Err(PollError::Unsettled { path }) if path.contains("clients/1")));

    // The channel list gets shorter between two pages: read again, and whole.
    fake.with(|program| {
        program.shuffled = false;
        program.requests.clear();
        program.before_each = Some(Box::new(|program, path| {
            if path.contains("offset=100") && path.contains("channels") {
                program.clients.get_mut(&1).unwrap().remove(&2);
            }
        }));
    });
    let seen = view(&fake, &[]).await.unwrap();
    assert_eq!(seen.downstreams[&1].channels.len(), 178);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_read_has_left() {
    let mut program = pool_with(&[(1, &[(2, 5)]), (2, &[(2, 5)])]);
    program.before_each = Some(Box::new(|program, path| {
        if path.contains("clients/1/channels") {
            program.clients.remove(&2);
        }
    }));
    let fake = FakeProgram::start(program).await;
    // Whoever is known is asked for, listed or not.
    let seen = view(&fake, &[1, 2, 9]).await.unwrap();
    assert_eq!(seen.downstreams.keys().copied().collect::<Vec<_>>(), [1]);
    fake.with(|program| assert!(program.requests.iter().any(|path| path.contains("clients/9/channels"))));
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_poll_spoils_it() {
    let mut program = pool_with(&[(1, &[(2, 5)])]);
    program.before_each = Some(Box::new(|program, path| {
        if path.contains("channels") {
            program.restart();
        }
    }));
    let fake = FakeProgram::start(program).await;
    assert!(matches!(view(&fake, &[]).await, Err(PollError::Restarted)));
}

#[tokio::test]
async fn a_clock_set_back_is_no_restart() {
    let fake = FakeProgram::start(pool_with(&[(1, &[(2, 5)])])).await;
    let before = view(&fake, &[]).await.unwrap();
    // Behind its own start: the uptime is a negative number that wrapped.
    fake.with(|program| program.clock -= 1_000);
    let after = view(&fake, &[]).await.unwrap();
    assert!(before.started.overlaps(after.started));
}

/// Restarts of the program, of the bridge, and failures of the store at the worst moments: every share that a poll saw
/// is counted once.
#[tokio::test]
async fn nothing_is_counted_twice_or_left_out() {
    let fake = FakeProgram::start(pool_with(&[(1, &[(2, 10), (3, 1)])])).await;
    let store = MemoryStore::new();
    let mut expected = 11;
    for round in 0..4 {
        while_running(&fake, &store, async {
            store.until(|replay| total(replay) == expected).await;
            for fault in [Some(StoreFault::AfterCommit), Some(StoreFault::BeforeCommit), None] {
                *store.fault.lock().unwrap() = fault;
                fake.with(|program| program.add_shares(1, 2, 3, 0.25));
                expected += 3;
                store.until(|replay| total(replay) == expected).await;
            }
            // The pool restarts: ids and names come again, counters begin anew and are soon higher than before.
            fake.with(|program| {
                program.restart();
                program.clients.insert(1, BTreeMap::from([(2, client_channel(2, "alice", 100, 0.25))]));
            });
            expected += 100;
            store.until(|replay| total(replay) == expected).await;
        })
        .await;
        // While no bridge runs.
        fake.with(|program| program.add_shares(1, 2, 7 + round, 0.25));
        expected += u64::from(7 + round);
    }
    let replay = while_running(&fake, &store, store.until(|replay| total(replay) == expected)).await;
    assert_eq!((replay.downstreams.len(), replay.channels.len()), (1, 1));
    let runs = store.runs();
    assert!(runs.iter().all(|run| run.session_id == runs[0].session_id && run.session_id > 0));
    assert!(runs.iter().all(|run| (run.publisher.as_str(), run.role) == ("pool-a", Role::Pool)));
    assert_eq!(replay.heartbeats.len(), runs.len(), "each poll tells that it was made");
}

#[tokio::test]
async fn while_the_api_is_away_nothing_is_told() {
    let mut fake = FakeProgram::start(pool_with(&[(1, &[(2, 10)])])).await;
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::at(NOW));
    let bridge = bridge(&fake, &clock);
    let mut status = bridge.status();
    let test = async {
        store.polls(2).await;
        fake.leave().await;
        status.wait_for(|status| status.error.is_some()).await.unwrap();
        let stored = store.runs().len();
        let failed = status.borrow().failed_polls;
        status.wait_for(|status| status.failed_polls > failed + 2).await.unwrap();
        assert_eq!(store.runs().len(), stored, "no heartbeat and no disconnect without an answer");
        fake.with(|program| program.add_shares(1, 2, 5, 1.0));
        fake.come_back().await;
        let replay = store.until(|replay| total(replay) == 15).await;
        assert_eq!(replay.channels.len(), 1);
        status.wait_for(|status| status.error.is_none() && status.channels == 1).await.unwrap();
        assert_eq!(status.borrow().role, Some(SriRole::Pool));
    };
    tokio::select! {
        outcome = bridge.run(&store, pending()) => panic!("the bridge ended: {outcome:?}"),
        () = test => {}
    }
}

#[tokio::test]
async fn answers_that_make_no_sense() {
    let fake = FakeProgram::start(pool_with(&[(1, &[(2, 10)])])).await;
    let store = MemoryStore::new();
    while_running(&fake, &store, store.polls(1)).await;
    let faulty = async |part, fault| {
        fake.with(|program| program.fault = Some((part, fault)));
        match view(&fake, &[]).await {
            Err(PollError::Http(error)) => error,
            other => panic!("{fault:?}: {other:?}"),
        }
    };
    for part in ["health", "global", "clients?", "channels"] {
        assert!(matches!(faulty(part, Fault::ServerError).await, HttpError::Status { .. }));
        assert!(matches!(faulty(part, Fault::Garbage).await, HttpError::Json { .. }));
        assert!(is_too_long(&faulty(part, Fault::TooLong).await));
    }
    fake.with(|program| {
        program.fault = None;
        program.clients.get_mut(&1).unwrap().get_mut(&2).unwrap()["target_hex"] = "ff".into();
    });
    assert!(matches!(view(&fake, &[]).await, Err(PollError::Value(_))));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_given_up() {
    let mut program = pool_with(&[]);
    program.fault = Some(("global", Fault::Hang));
    let fake = FakeProgram::start(program).await;
    assert!(matches!(view(&fake, &[]).await, Err(PollError::Http(HttpError::TimedOut { .. }))));
}

#[tokio::test]
async fn a_stop_is_heeded_in_the_middle_of_a_poll() {
    let mut program = pool_with(&[]);
    program.fault = Some(("global", Fault::Hang));
    let fake = FakeProgram::start(program).await;
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::at(NOW));
    let reached = async {
        while !fake.with(|program| program.requests.iter().any(|path| path.contains("global"))) {
            tokio::task::yield_now().await;
        }
    };
    bridge(&fake, &clock).run(&store, reached).await.unwrap();
    assert!(store.runs().is_empty());
}

#[tokio::test]
async fn the_wrong_program_is_told() {
    let fake = FakeProgram::start(pool_with(&[])).await;
    let asked = read_view(&fake.url.parse().unwrap(), Some(SriRole::Proxy), []).await;
    assert!(matches!(asked, Err(PollError::NotThere { path, role: SriRole::Proxy }) if path.contains("server")));
    fake.with(|program| {
        let nothing = r#"{"server":null,"sv2_clients":null,"sv1_clients":null,"uptime_secs":1}"#;
        program.recorded.insert("/api/v1/global".to_owned(), (200, nothing.to_owned()));
    });
    assert!(matches!(view(&fake, &[]).await, Err(PollError::NoRole)));
}

#[tokio::test]
async fn state_of_a_newer_sidecar_stops_the_bridge() {
    let fake = FakeProgram::start(pool_with(&[])).await;
    let saved = SavedState { session_id: 5, state: br#"{"version":9}"#.to_vec() };
    let store = MemoryStore { initial: Some(saved), ..MemoryStore::new() };
    let clock = Arc::new(ManualClock::at(NOW));
    let outcome = bridge(&fake, &clock).run(&store, pending()).await;
    assert!(matches!(outcome, Err(BridgeError::State { name, .. }) if name == "eu"));
}

#[tokio::test]
async fn a_clock_that_steps_is_told_and_a_day_of_silence_begins_a_new_session() {
    let fake = FakeProgram::start(pool_with(&[(1, &[(2, 10)])])).await;
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::at(NOW));
    let test = async {
        store.polls(2).await;
        assert!(store.replay().heartbeats.iter().all(|(_, flags)| *flags == 0));
        clock.set(UnixMillis(NOW.0 + 3_600_000));
        let replay = store.until(|replay| replay.dropped == 1).await;
        assert_eq!(replay.heartbeats.last().unwrap().1, HEARTBEAT_CLOCK_STEPPED);
        store.polls(2).await;
        clock.set(UnixMillis(NOW.0 + 30 * 3_600_000));
        store.polls(2).await;
    };
    tokio::select! {
        outcome = bridge(&fake, &clock).run(&store, pending()) => panic!("the bridge ended: {outcome:?}"),
        () = test => {}
    }
    let runs = store.runs();
    let first = runs.iter().position(|run| run.session_id != runs[0].session_id).expect("a second session");
    // The second session begins with nothing open, and counts nothing again.
    let second = MemoryStore::new();
    for run in &runs[first..] {
        crate::BridgeStore::append(&second, run.clone()).await.unwrap();
    }
    let replay = second.replay();
    assert_eq!((replay.channels.len(), replay.downstreams.len(), total(&replay)), (1, 1, 0));
}
