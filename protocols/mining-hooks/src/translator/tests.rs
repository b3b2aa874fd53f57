//! What the sidecar receives when a translator calls the hooks.

use proptest::prelude::*;
use stats_publisher::event::SourceInfo;
use stats_publisher::{CompactTarget, Event};

use super::*;
use crate::fake_sidecar::{FakeSidecar, PATIENCE};

/// Everything that a sidecar receives from hooks that `story` uses: the events of the session, times set to zero,
/// heartbeats left out.
fn told(story: impl FnOnce(&TranslatorHooks)) -> Vec<Event<'static>> {
    told_by("", story)
}

/// The same from a translator whose file has these keys of its own.
fn told_by(keys: &str, story: impl FnOnce(&TranslatorHooks)) -> Vec<Event<'static>> {
    let sidecar = FakeSidecar::start();
    let address = sidecar.address;
    let file = format!("{keys}\n[stats]\nstats_server_address = \"{address}\"\n[[upstreams]]\nport = 1\n");
    let hooks = TranslatorHooks::from_toml_str(&file, "1.2.3").unwrap();
    story(&hooks);
    hooks.stats().close(PATIENCE);
    let session = sidecar.ended();
    assert_eq!((session.open.role, session.open.publisher.as_str()), (Role::Proxy, "proxy"));
    assert!(session.open.vendor.as_str().ends_with(" 1.2.3"), "{}", session.open.vendor);
    session.events.into_iter().map(without_time).collect()
}

fn without_time(mut event: Event<'static>) -> Event<'static> {
    let timestamp = match &mut event {
        Event::MinerConnected(e) => &mut e.timestamp,
        Event::MinerDisconnected(e) => &mut e.timestamp,
        Event::MinerShareSubmitted(e) => &mut e.timestamp,
        Event::MinerShareRejected(e) => &mut e.timestamp,
        Event::MinerHashrateUpdate(e) => &mut e.timestamp,
        Event::UpstreamConnected(e) => &mut e.timestamp,
        Event::UpstreamDisconnected(e) => &mut e.timestamp,
        Event::SourceInfo(e) => &mut e.timestamp,
        other => panic!("a translator does not tell {other:?}"),
    };
    assert_ne!(*timestamp, UnixMillis(0), "every event has its time");
    *timestamp = UnixMillis(0);
    event
}

const NO_TIME: UnixMillis = UnixMillis(0);

fn miner(id: u32, name: &'static str, address: &'static str, user_agent: &'static str) -> Event<'static> {
    let (name, address, user_agent) = (Text::cut(name), Text::cut(address), Text::cut(user_agent));
    Event::MinerConnected(MinerConnected { miner_id: MinerId(id), name, timestamp: NO_TIME, address, user_agent })
}

fn gone(id: u32, reason: &'static str) -> Event<'static> {
    Event::MinerDisconnected(MinerDisconnected { miner_id: MinerId(id), timestamp: NO_TIME, reason: Text::cut(reason) })
}

fn accepted(id: u32, target: u32, share: u32) -> Event<'static> {
    Event::MinerShareSubmitted(MinerShareSubmitted {
        miner_id: MinerId(id),
        timestamp: NO_TIME,
        target: CompactTarget(target),
        share: CompactTarget(share),
    })
}

fn rejected(id: u32, code: &'static str) -> Event<'static> {
    let error_code = Text::cut(code);
    Event::MinerShareRejected(MinerShareRejected { miner_id: MinerId(id), timestamp: NO_TIME, error_code })
}

/// A number with one byte in it.
fn number(at: usize, byte: u8) -> [u8; 32] {
    let mut number = [0; 32];
    number[at] = byte;
    number
}

#[test]
fn a_miner_is_told_once_it_has_an_agent_and_a_name_in_whichever_order() {
    let events = told(|hooks| {
        hooks.connected(1, "10.0.0.1:3333");
        hooks.subscribed(1, "agent/1");
        hooks.authorized(1, "alice.rig");
        hooks.connected(2, "10.0.0.2:3333");
        hooks.authorized(2, "bob.rig");
        hooks.subscribed(2, "");
        // The same again is nothing new.
        hooks.subscribed(1, "agent/1");
        hooks.authorized(1, "alice.rig");
        hooks.disconnected(1);
        hooks.disconnected(1);
        hooks.disconnected(2);
    });
    assert_eq!(
        events,
        [
            miner(1, "alice.rig", "10.0.0.1:3333", "agent/1"),
            miner(2, "bob.rig", "10.0.0.2:3333", ""),
            gone(1, DISCONNECTED),
            gone(2, DISCONNECTED),
        ]
    );
}

#[test]
fn a_connection_that_never_becomes_a_miner_is_none() {
    let events = told(|hooks| {
        hooks.connected(1, "10.0.0.1:3333");
        hooks.disconnected(1);
        hooks.connected(2, "10.0.0.1:3334");
        hooks.subscribed(2, "agent/1");
        hooks.disconnected(2);
        // What no connection did is nobody's.
        hooks.subscribed(9, "agent/1");
        hooks.authorized(9, "ghost");
        hooks.accepted(9, [0xff; 32], &[0; 32]);
        hooks.rejected(9, 23);
        hooks.hashrate(9, 1.0_f32);
    });
    assert_eq!(events, []);
}

#[test]
fn the_translators_number_comes_again_and_the_miners_does_not() {
    let events = told(|hooks| {
        for _ in 0..2 {
            hooks.connected(1, "a");
            hooks.subscribed(1, "agent");
            hooks.authorized(1, "alice");
            hooks.rejected(1, 22);
            hooks.disconnected(1);
        }
        // A translator that forgot to say that the first one ended.
        hooks.connected(1, "b");
        hooks.subscribed(1, "agent");
        hooks.authorized(1, "bob");
        hooks.connected(1, "c");
    });
    assert_eq!(
        events,
        [
            miner(1, "alice", "a", "agent"),
            rejected(1, "duplicate-share"),
            gone(1, DISCONNECTED),
            miner(2, "alice", "a", "agent"),
            rejected(2, "duplicate-share"),
            gone(2, DISCONNECTED),
            miner(3, "bob", "b", "agent"),
            gone(3, ANOTHER_MINER),
        ]
    );
}

#[test]
fn who_authorizes_again_under_another_name_is_another_miner() {
    let events = told(|hooks| {
        hooks.connected(7, "a");
        hooks.subscribed(7, "agent");
        hooks.authorized(7, "alice");
        hooks.accepted(7, [0xff; 32], &number(31, 1));
        hooks.authorized(7, "bob");
        hooks.accepted(7, [0xff; 32], &number(30, 1));
        hooks.disconnected(7);
    });
    assert_eq!(
        events,
        [
            miner(1, "alice", "a", "agent"),
            accepted(1, 0x2100_ffff, 0x2001_0000),
            gone(1, ANOTHER_MINER),
            miner(2, "bob", "a", "agent"),
            accepted(2, 0x2100_ffff, 0x1f01_0000),
            gone(2, DISCONNECTED),
        ]
    );
}

#[test]
fn rejections_carry_the_codes_of_stratum_v2() {
    let events = told(|hooks| {
        hooks.connected(1, "a");
        // Before it subscribes it has no name yet, and is told to have gone all the same.
        hooks.rejected(1, 25);
        for code in [20, 21, 22, 23, 24, -1] {
            hooks.rejected(1, code);
        }
        hooks.disconnected(1);
    });
    let codes = [
        "not-subscribed",
        "invalid-share",
        "invalid-job-id",
        "duplicate-share",
        "difficulty-too-low",
        "unauthorized-worker",
        "unknown",
    ];
    let mut expected: Vec<_> = codes.map(|code| rejected(1, code)).into();
    expected.push(gone(1, DISCONNECTED));
    assert_eq!(events, expected);
}

#[test]
fn declared_hashrates_stay_inside_the_protocol() {
    let declared = [1.0e12_f64, 0.9, -5.0, f64::NAN, f64::INFINITY, 1.0e30];
    let events = told(|hooks| {
        hooks.connected(1, "a");
        hooks.hashrate(1, 5.0e9_f32);
        declared.iter().for_each(|rate| hooks.hashrate(1, *rate));
    });
    let rates: Vec<u64> = events
        .iter()
        .map(|event| match event {
            Event::MinerHashrateUpdate(update) => update.hashrate,
            other => panic!("{other:?}"),
        })
        .collect();
    let most = i64::MAX as u64;
    assert_eq!(rates, [5_000_000_000, 1_000_000_000_000, 0, 0, 0, most, most]);
}

#[test]
fn upstreams_come_and_go_by_their_address() {
    let events = told(|hooks| {
        hooks.upstream_disconnected("there was none");
        hooks.upstream_connected("pool.example", 3333);
        hooks.upstream_disconnected("lost");
        hooks.upstream_disconnected("lost");
        hooks.upstream_connected("::1", 3333);
        hooks.upstream_connected("10.0.0.1", 3333);
    });
    let up = |address| Event::UpstreamConnected(UpstreamConnected { timestamp: NO_TIME, address: Text::cut(address) });
    let down = |address, reason| {
        let (address, reason) = (Text::cut(address), Text::cut(reason));
        Event::UpstreamDisconnected(UpstreamDisconnected { timestamp: NO_TIME, address, reason })
    };
    assert_eq!(
        events,
        [
            up("pool.example:3333"),
            down("pool.example:3333", "lost"),
            up("[::1]:3333"),
            down("[::1]:3333", "replaced"),
            up("10.0.0.1:3333"),
        ]
    );
}

#[test]
fn where_miners_connect_is_read_from_the_translators_own_keys() {
    let events = told_by("downstream_address = \"::\"\ndownstream_port = 34255", |_| {});
    let (name, value) = (Text::cut("listen_address"), Text::cut("[::]:34255"));
    assert_eq!(events, [Event::SourceInfo(SourceInfo { timestamp: NO_TIME, name, value })]);
}

#[test]
fn without_the_table_nothing_runs_and_nothing_fails() {
    for text in ["", "downstream_port = 34255", "[stats]\nenabled = false"] {
        let hooks = TranslatorHooks::from_toml_str(text, "1.2.3").unwrap();
        assert!(!hooks.stats().is_enabled());
        hooks.connected(1, "a");
        hooks.accepted(1, [0xff; 32], &[0; 32]);
        hooks.upstream_connected("pool", 1);
        assert!(hooks.known.lock().unwrap().miners.is_empty(), "what nobody hears is not kept");
        hooks.close();
    }
    // The hooks of the process were not started.
    translator().connected(1, "a");
    assert!(!translator().stats().is_enabled());
}

#[test]
fn a_wrong_table_says_where_and_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("translator.toml");
    let check = |text: &str, expected: &str| {
        std::fs::write(&path, text).unwrap();
        let error = start_translator(&path, "1.2.3").unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("translator.toml"), "{error}");
    };
    check("[stats]\nadress = \"127.0.0.1:4000\"", "line 2, column 1: unknown field `adress`");
    check("[stats]\nstats_server_address = \"here\"", "\"here\" is not an address");
    check("[stats]\ntoken_file = \"/nowhere/token\"", "No such file");
}

/// What a miner can do to a translator, with few enough connections that they collide.
#[derive(Debug, Clone)]
enum Step {
    Connected(usize),
    Subscribed(usize, u8),
    Authorized(usize, u8),
    Accepted(usize),
    Rejected(usize),
    Disconnected(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..6, 0..3_usize, 0..2_u8).prop_map(|(kind, connection, text)| match kind {
        0 => Step::Connected(connection),
        1 => Step::Subscribed(connection, text),
        2 => Step::Authorized(connection, text),
        3 => Step::Accepted(connection),
        4 => Step::Rejected(connection),
        _ => Step::Disconnected(connection),
    });
    proptest::collection::vec(step, 0..60)
}

proptest! {
    // Each case runs a publisher of its own.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens in whatever order: an id is opened at most once and closed at most once, nothing comes after its
    /// end, and nobody who was told about stays open when all connections have ended.
    #[test]
    fn ids_are_opened_and_closed_once(steps in steps()) {
        let events = told(|hooks| {
            for step in &steps {
                match *step {
                    Step::Connected(connection) => hooks.connected(connection, "a"),
                    Step::Subscribed(connection, text) => hooks.subscribed(connection, ["x", "y"][usize::from(text)]),
                    Step::Authorized(connection, text) => hooks.authorized(connection, ["x", "y"][usize::from(text)]),
                    Step::Accepted(connection) => hooks.accepted(connection, [0xff; 32], &[1; 32]),
                    Step::Rejected(connection) => hooks.rejected(connection, 21),
                    Step::Disconnected(connection) => hooks.disconnected(connection),
                }
            }
            (0..3).for_each(|connection| hooks.disconnected(connection));
        });
        let (mut opened, mut active, mut closed) = (vec![], vec![], vec![]);
        for event in events {
            match event {
                Event::MinerConnected(e) => {
                    prop_assert!(!opened.contains(&e.miner_id), "{:?} opened twice", e.miner_id);
                    prop_assert!(!closed.contains(&e.miner_id), "{:?} opened after its end", e.miner_id);
                    opened.push(e.miner_id);
                    active.push(e.miner_id);
                }
                Event::MinerDisconnected(e) => {
                    prop_assert!(!closed.contains(&e.miner_id), "{:?} closed twice", e.miner_id);
                    prop_assert!(active.contains(&e.miner_id), "{:?} closed, never told", e.miner_id);
                    closed.push(e.miner_id);
                }
                Event::MinerShareSubmitted(MinerShareSubmitted { miner_id, .. })
                | Event::MinerShareRejected(MinerShareRejected { miner_id, .. }) => {
                    prop_assert!(!closed.contains(&miner_id), "a share of {miner_id:?} after its end");
                    active.push(miner_id);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert!(active.iter().all(|id| closed.contains(id)), "{active:?} told, {closed:?} closed");
    }
}
