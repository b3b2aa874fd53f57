//! Quotes as `stats` tells them: published to a running sidecar, counted, and one followed by each of its keys.

use std::time::Duration;

use serde_json::Value;
use stats_publisher::StatsPublisher;
use stats_sv2::event::{
    ChannelOpened, MinerConnected, MinerShareRejected, QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent,
};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, U256, UnixMillis};

use super::process::{Running, code, output, text};
use super::running::config;

const DRAIN: Duration = Duration::from_secs(30);

/// Two quotes of one channel, the first paid and the second failed, and a miner with a rejected share.
fn publish(running: &Running) {
    let publisher = StatsPublisher::builder()
        .address(running.listen.to_string())
        .role(Role::Pool)
        .publisher("pool-1")
        .vendor("test")
        .start()
        .unwrap();
    let (downstream_id, channel_id, amount) = (DownstreamId(7), ChannelId(1), Amount(1 << 40));
    let now = UnixMillis::now();
    let at = |ms: u64| UnixMillis(now.0 - 5_000 + ms);
    publisher.publish(ChannelOpened {
        downstream_id,
        channel_id,
        timestamp: at(0),
        kind: 1,
        user_identity: Text::new("alice\u{1b}[2J").unwrap(),
        nominal_hashrate: 1,
        target: CompactTarget(0x1d00_ffff),
    });
    for share in 1..=2_u8 {
        let (share_hash, sequence_number) = (U256([share; 32]), u32::from(share));
        publisher.publish(QuoteCreated {
            downstream_id,
            amount,
            timestamp: at(1),
            channel_id,
            share_hash,
            sequence_number,
        });
        publisher.publish(QuoteSent {
            downstream_id,
            channel_id,
            sequence_number,
            amount,
            timestamp: at(2),
            share_hash,
        });
    }
    let quote_id = Text::new("quote-1").unwrap();
    publisher.publish(QuoteAnswered { share_hash: U256([1; 32]), quote_id: quote_id.clone(), timestamp: at(302) });
    publisher.publish(QuotePaid { quote_id, amount, timestamp: at(2_000) });
    publisher.publish(QuotePaid { quote_id: Text::new("nobody").unwrap(), amount, timestamp: at(2_000) });
    publisher.publish(QuoteFailed {
        share_hash: Some(U256([2; 32])),
        error_code: Text::new("timeout").unwrap(),
        error_message: Text::new("no answer").unwrap(),
        timestamp: at(3_000),
    });
    publisher.publish(MinerConnected {
        miner_id: MinerId(1),
        name: Text::new("rig-1").unwrap(),
        timestamp: at(0),
        address: Text::new("192.0.2.1").unwrap(),
        user_agent: Text::new("cgminer/4.12").unwrap(),
    });
    publisher.publish(MinerShareRejected {
        miner_id: MinerId(1),
        timestamp: at(1),
        error_code: Text::new("stale-share").unwrap(),
    });
    assert!(publisher.close(DRAIN).complete);
}

#[test]
fn quotes_are_told_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&config(folder.path()));
    running.wait_for("/ready", |status, _| status == 200);
    publish(&running);
    running.wait_until_taken();
    running.signal("TERM");
    assert_eq!(code(running.ended()), 0);

    let db = folder.path().join("stats.db");
    let stats = |more: &[&str]| output(&[&["stats", "--db", db.to_str().unwrap()], more].concat());
    let people = text(&stats(&[]).stdout);
    for words in ["sent to answered", "300ms", "failed: 1 timeout", "payments of unknown quotes: 1", "1 stale-share"] {
        assert!(people.contains(words), "{words}: {people}");
    }
    assert!(people.contains("cgminer/4.12") && !people.contains('\u{1b}'), "{people}");

    let all: Value = serde_json::from_slice(&stats(&["--json"]).stdout).unwrap();
    let quotes = &all["quotes"][0];
    assert_eq!(quotes["ehash"]["by_identity"][0]["ehash"], (2_u64 << 40).to_string());
    assert_eq!(quotes["ehash"]["by_channel"][0]["downstream_id"], 7);
    assert_eq!(quotes["report"]["total"]["latencies"][1]["max_ms"], 300);
    assert_eq!(all["miners"][0]["miners"][0]["user_agents"][0]["rejected"], 1);

    let hash = "01".repeat(32);
    for key in [hash.as_str(), "quote-1", "7/1/1"] {
        let followed = stats(&["--quote", key, "--json"]);
        assert_eq!(code(followed.status), 0, "{}", text(&followed.stderr));
        let followed: Value = serde_json::from_slice(&followed.stdout).unwrap();
        assert_eq!(followed["quotes"][0]["quote"]["state"], "paid", "{key}");
        assert_eq!(followed["quotes"][0]["quote"]["share_hash"], hash, "{key}");
    }
    let told = text(&stats(&["--quote", "7/1/2", "--publisher", "pool-1"]).stdout);
    assert!(told.contains("timeout: no answer"), "{told}");
    let unknown = stats(&["--quote", "nobody"]);
    assert_eq!(code(unknown.status), 1);
    assert!(text(&unknown.stdout).contains("was paid"), "{}", text(&unknown.stdout));
    assert_eq!(code(stats(&["--publisher", "nobody"]).status), 1);
}
