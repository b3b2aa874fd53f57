//! What the sidecar receives when a pool calls the hooks.

use std::convert::Infallible;

use super::fake_mint::FakeMint;
use super::*;
use crate::fake_sidecar::{FakeSidecar, PATIENCE, line};

/// The hash of Bitcoin's first block, as SHA-256 gives it: 43 zero bits in display order.
const HASH: [u8; 32] = [
    0x6f, 0xe2, 0x8c, 0x0a, 0xb6, 0xf1, 0xb3, 0x72, 0xc1, 0xa6, 0xa2, 0x46, 0xae, 0x63, 0xf7, 0x4f, 0x93, 0x1e, 0x83,
    0x65, 0xe1, 0x5a, 0x08, 0x9c, 0x68, 0xd6, 0x19, 0, 0, 0, 0, 0,
];
/// The generator of secp256k1.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// A target with its one bit here.
fn bit(at: usize) -> [u8; 32] {
    let mut target = [0; 32];
    target[at / 8] = 1 << (at % 8);
    target
}

/// The events of a pool whose file has these tables besides `[stats]`, one line each.
fn told(tables: &str, story: impl FnOnce(&PoolHooks)) -> Vec<String> {
    let sidecar = FakeSidecar::start();
    let file = format!(
        "listen_address = \"0.0.0.0:34254\"\n[stats]\nstats_server_address = \"{}\"\n{tables}\n[other]\nkey = 1\n",
        sidecar.address
    );
    let hooks = PoolHooks::from_toml_str(&file, "1.2.3").unwrap();
    story(&hooks);
    hooks.stats().flush(PATIENCE);
    hooks.close();
    let session = sidecar.ended();
    assert_eq!((session.open.role, session.open.publisher.as_str()), (Role::Pool, "pool"));
    assert!(session.open.vendor.as_str().ends_with(" 1.2.3"), "{}", session.open.vendor);
    let lines: Vec<String> = session.events.iter().map(line).collect();
    assert_eq!(lines[0], "source_info name=\"listen_address\" value=\"0.0.0.0:34254\"");
    lines[1..].to_vec()
}

fn accept(hooks: &PoolHooks, downstream_id: usize, channel_id: u32, sequence: u32, credited: f64, block: bool) {
    accept_hash(hooks, downstream_id, channel_id, sequence, credited, block, HASH);
}

fn accept_hash(
    hooks: &PoolHooks,
    downstream_id: usize,
    channel_id: u32,
    sequence: u32,
    credited: f64,
    block: bool,
    hash: [u8; 32],
) {
    let verdict: Result<[u8; 32], Infallible> = Ok(hash);
    hooks.share(downstream_id, channel_id, sequence).verdict(&verdict, |hash| (hash, block), credited);
}

#[test]
fn a_connection_is_told_from_its_setup_to_its_end_once() {
    let lines = told("", |hooks| {
        // Goes before it says who it is.
        hooks.address_of(1, "10.0.0.1:1".parse().unwrap());
        hooks.downstream_disconnected(1);
        hooks.address_of(2, "[2001:db8::1]:7".parse().unwrap());
        hooks.downstream_connected(2, 5, "Miner & Söhne", ["S9", "1.0", "\u{1}"].map(str::as_bytes));
        hooks.downstream_connected(3, 0, b"\xff", [b"", b"", b""]);
        hooks.channel(2, 7, 1e12).opened_extended("alice.rig", bit(200));
        hooks.channel(2, 8, f32::NAN).opened_standard("bob", bit(208));
        hooks.channel_closed(2, 7, "bye");
        hooks.channel_closed(2, 7, "bye");
        hooks.channel_closed(9, 9, "never there");
        hooks.downstream_disconnected(2);
        hooks.downstream_disconnected(2);
        // Its channels went with it.
        hooks.target_changed(2, 8, bit(1));
        hooks.channel_closed(2, 8, "too late");
    });
    assert_eq!(
        lines,
        [
            "downstream_connected downstream_id=2 flags=5 address=\"[2001:db8::1]:7\" vendor=\"Miner & Söhne\" \
             hardware_version=\"S9\" firmware=\"1.0\" device_id=\"\\u{1}\"",
            "downstream_connected downstream_id=3 flags=0 address=\"\" vendor=\"\u{fffd}\" hardware_version=\"\" \
             firmware=\"\" device_id=\"\"",
            "channel_opened downstream_id=2 channel_id=7 kind=1 user_identity=\"alice.rig\" \
             nominal_hashrate=999999995904 target=0x1a010000",
            "channel_opened downstream_id=2 channel_id=8 kind=0 user_identity=\"bob\" nominal_hashrate=0 target=0x1b010000",
            "channel_closed downstream_id=2 channel_id=7 reason=\"bye\"",
            "downstream_disconnected downstream_id=2 reason=\"disconnected\"",
        ]
    );
}

#[test]
fn a_share_has_the_target_of_its_job_and_a_block_its_height() {
    let (easy, hard) = (bit(224), bit(220));
    let (per_easy, per_hard) = (target::difficulty(&easy), target::difficulty(&hard));
    let lines = told("", |hooks| {
        hooks.template(1, [3, 0x40, 0x0d, 0x03]);
        hooks.template(2, [3, 0x41, 0x0d, 0x03]);
        hooks.tip_changed(1, 0x1d00_ffff);
        hooks.channel(1, 2, 1.0).opened_standard("alice", easy);
        accept(hooks, 1, 2, 10, per_easy, false);
        hooks.target_changed(1, 2, hard);
        hooks.target_changed(1, 2, hard);
        // For a job that was given out before the change, and for one after it.
        accept(hooks, 1, 2, 11, 2.0 * per_easy, false);
        accept(hooks, 1, 2, 12, 2.0 * per_easy + per_hard, true);
        hooks.rejected(1, 2, 13, "stale-share");
        hooks.rejected(1, 77, 1, "invalid-channel-id");
        let refused: Result<[u8; 32], &str> = Err("looked at where it is answered");
        hooks.share(1, 2, 14).verdict(&refused, |hash| (hash, false), 0.0);
    });
    let share = |sequence: u32, target: &str| {
        format!(
            "share_submitted downstream_id=1 channel_id=2 sequence_number={sequence} target={target} share=0x1b19d668"
        )
    };
    assert_eq!(
        lines,
        [
            "chain_tip_changed height=199999 target=0x1d00ffff",
            "channel_opened downstream_id=1 channel_id=2 kind=0 user_identity=\"alice\" nominal_hashrate=1 target=0x1d010000",
            &share(10, "0x1d010000"),
            "channel_target_changed downstream_id=1 channel_id=2 target=0x1c100000",
            &share(11, "0x1d010000"),
            &share(12, "0x1c100000"),
            "block_found downstream_id=1 channel_id=2 height=200000 \
             block_hash=000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            "share_rejected downstream_id=1 channel_id=2 sequence_number=13 error_code=\"stale-share\"",
            "share_rejected downstream_id=1 channel_id=0 sequence_number=1 error_code=\"invalid-channel-id\"",
        ]
    );
}

#[test]
fn a_miner_invents_neither_channels_nor_downstreams() {
    let lines = told("", |hooks| {
        hooks.downstream_connected(1, 0, "", [""; 3]);
        hooks.channel(1, 5, 1.0).opened_standard("alice", bit(224));
        hooks.channel(2, 6, 1.0).opened_standard("bob", bit(224));
        for invented in [6, 7, u32::MAX] {
            hooks.rejected(1, invented, 1, "invalid-channel-id");
        }
        hooks.rejected(1, 5, 2, "stale-share");
        hooks.channel_closed(1, 5, "bye");
        hooks.rejected(1, 5, 3, "stale-share");
        hooks.rejected(9, 5, 4, "of nobody");
        hooks.downstream_disconnected(1);
        hooks.rejected(1, 5, 5, "too late");
    });
    let rejected: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix("share_rejected downstream_id=1 ")).collect();
    assert_eq!(
        rejected,
        [
            "channel_id=0 sequence_number=1 error_code=\"invalid-channel-id\"",
            "channel_id=0 sequence_number=1 error_code=\"invalid-channel-id\"",
            "channel_id=0 sequence_number=1 error_code=\"invalid-channel-id\"",
            "channel_id=5 sequence_number=2 error_code=\"stale-share\"",
            "channel_id=0 sequence_number=3 error_code=\"stale-share\"",
        ]
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("share_rejected ")).count(), rejected.len(), "{lines:?}");
}

/// Whose the ehash is, from the channel's identity to the mint.
#[test]
fn a_quote_is_locked_to_the_key_in_the_channels_identity() {
    let mint = FakeMint::start();
    let tables =
        format!("[quotes]\nmint_address = \"{}\"\nminimum_difficulty = 40\nlocking_key = \"{KEY}\"", mint.address);
    let own = KEY.replacen("02", "03", 1);
    told(&tables, |hooks| {
        hooks.channel(1, 2, 1.0).opened_extended(&format!("{own}.rig"), bit(224));
        hooks.channel(1, 3, 1.0).opened_standard("bob.rig", bit(224));
        hooks.channel(4, 2, 1.0).opened_standard("carol", bit(224));
        for (downstream_id, channel_id, first_byte) in [(1, 2, 1), (1, 3, 2), (4, 2, 3), (1, 2, 4)] {
            let mut hash = HASH;
            hash[0] = first_byte;
            accept_hash(hooks, downstream_id, channel_id, 10, 1.0, false, hash);
        }
        let start = std::time::Instant::now();
        while hooks.quotes().counters().answered < 4 {
            assert!(start.elapsed() < PATIENCE, "{:?}", hooks.quotes().counters());
            std::thread::yield_now();
        }
    });
    let default = KEY.to_owned();
    assert_eq!(mint.ended(), [(1, own.clone()), (2, default.clone()), (3, default), (4, own)]);
}

#[test]
fn a_share_of_a_channel_that_was_not_told_is_published_and_gets_no_quote() {
    let tables = format!("[quotes]\nenabled = false\nminimum_difficulty = 40\nlocking_key = \"{KEY}\"");
    let lines = told(&tables, |hooks| {
        hooks.downstream_connected(1, 0, "", [""; 3]);
        accept(hooks, 1, 2, 10, 1.0, false);
        assert_eq!(hooks.quotes().counters().created, 0);
    });
    assert_eq!(
        lines[1..],
        ["share_submitted downstream_id=1 channel_id=2 sequence_number=10 target=0x0 share=0x1b19d668"]
    );
}

/// The zeros of a good hash are counted where people see them, in front; counted from the other end it would earn nothing.
#[test]
fn an_accepted_share_is_submitted_for_a_quote_and_counted_once() {
    let tables = format!("[quotes]\nenabled = false\nminimum_difficulty = 40\nlocking_key = \"{KEY}\"");
    let lines = told(&tables, |hooks| {
        hooks.channel(1, 2, 1.0).opened_extended("alice", bit(224));
        accept(hooks, 1, 2, 10, 1.0, false);
        hooks.rejected(1, 2, 11, "duplicate-share");
        assert_eq!(hooks.quotes().counters().created, 1);
    });
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].starts_with("share_submitted "), "{lines:?}");
    assert_eq!(
        lines[2],
        "quote_created downstream_id=1 amount=8 channel_id=2 \
         share_hash=000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f sequence_number=10"
    );
    assert!(lines[3].starts_with("share_rejected "), "{lines:?}");
}

#[test]
fn without_tables_the_hooks_do_nothing() {
    let hooks = PoolHooks::from_toml_str("listen_address = \"x\"", "1").unwrap();
    assert!(!hooks.stats().is_enabled() && !hooks.quotes().is_on());
    hooks.channel(1, 2, 1.0).opened_standard("alice", bit(3));
    accept(&hooks, 1, 2, 1, 1.0, true);
    hooks.close();
    let absent = std::path::Path::new("/nowhere/at/all.toml");
    assert_eq!(start::read(absent).unwrap(), "");
}

#[test]
fn a_wrong_table_is_refused_with_all_that_is_known() {
    let words = |text: &str| {
        let error = PoolHooks::from_toml_str(text, "1").expect_err("a wrong table");
        error.into_io(std::path::Path::new("pool.toml")).to_string()
    };
    for (text, says) in [
        ("[stats]\nserver = 1", ["pool.toml: the table [stats] cannot be used: line 2, column 1: ", "server"]),
        ("[stats]\nstats_server_address = \"here\"", ["pool.toml: the table [stats] cannot be used: ", "host:port"]),
        ("[quotes]\nlocking_key = \"02\"", ["pool.toml: the table [quotes] cannot be used: ", "mint_address"]),
        (
            "[quotes]\nmint_address = \"a:1\"\nlocking_key = \"02\"",
            ["the table [quotes] cannot be used: ", "66 hexadecimal"],
        ),
    ] {
        let words = words(text);
        assert!(says.iter().all(|part| words.contains(part)), "{words}");
    }
}
