//! The shapes that hashpool's pages read: every field is there, with its type.

use serde_json::Value;
use sink_sqlite::query::MAX_ROWS;
use stats_sv2::event::{
    DownstreamConnected, DownstreamDisconnected, MinerConnected, MinerShareSubmitted, QuoteCreated, ShareSubmitted,
    SourceInfo, UpstreamConnected,
};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Event, MinerId, Role, Text, U256, UnixMillis};

use crate::tests::Bench;

const SECOND: u64 = 1_000;

/// What a field must be.
enum Is {
    Text,
    Whole,
    Number,
    Flag,
    List,
}

fn check(value: &Value, fields: &[(&str, Is)]) {
    for (name, is) in fields {
        let field = value.get(name).unwrap_or_else(|| panic!("no {name} in {value}"));
        let fits = match is {
            Is::Text => field.is_string(),
            Is::Whole => field.is_u64(),
            Is::Number => field.is_number(),
            Is::Flag => field.is_boolean(),
            Is::List => field.is_array(),
        };
        assert!(fits, "{name} is {field}");
    }
}

fn info(bench: &mut Bench, name: &str, value: &str) {
    let timestamp = UnixMillis(bench.now());
    bench.events(&[Event::SourceInfo(SourceInfo {
        timestamp,
        name: Text::cut(name.to_owned()),
        value: Text::cut(value.to_owned()),
    })]);
}

fn pool() -> Bench {
    let mut bench = Bench::with(Role::Pool, |settings| {
        settings.source.mint_address = Some("192.0.2.50:3338".to_owned());
        settings.source.listen_address = Some("192.0.2.51:1".to_owned());
    });
    info(&mut bench, "listen_address", "192.0.2.7:34254");
    bench.open(3, "alice");
    for _ in 0..4 {
        bench.observe(30 * SECOND);
        bench.share(3);
    }
    let timestamp = UnixMillis(bench.now());
    bench.events(&[Event::QuoteCreated(QuoteCreated {
        downstream_id: DownstreamId(3),
        amount: Amount(64),
        timestamp,
        channel_id: ChannelId(3),
        share_hash: U256([9; 32]),
        sequence_number: 1,
    })]);
    bench.observe(12 * SECOND);
    bench
}

#[test]
fn stats_services_and_connections_of_a_pool() {
    let bench = pool();
    let stats = bench.json("/api/stats");
    check(
        &stats,
        &[
            ("listen_address", Is::Text),
            ("services", Is::List),
            ("downstream_proxies", Is::List),
            ("timestamp", Is::Whole),
        ],
    );
    assert_eq!(stats["timestamp"], bench.now() / 1000, "seconds");
    assert_eq!(stats["listen_address"], "192.0.2.7:34254", "what the source tells goes before what is configured");
    assert_eq!(
        stats["services"],
        serde_json::json!([
            { "service_type": "Pool", "address": "192.0.2.7:34254" },
            { "service_type": "Mint", "address": "192.0.2.50:3338" },
        ])
    );
    assert_eq!(bench.json("/api/services")["services"], stats["services"]);
    let proxy = &stats["downstream_proxies"][0];
    check(
        proxy,
        &[
            ("id", Is::Whole),
            ("address", Is::Text),
            ("channels", Is::List),
            ("shares_submitted", Is::Whole),
            ("quotes_created", Is::Whole),
            ("ehash_mined", Is::Whole),
            ("last_share_at", Is::Whole),
            ("work_selection", Is::Flag),
        ],
    );
    assert_eq!((&proxy["id"], &proxy["channels"]), (&3.into(), &serde_json::json!([3])));
    assert_eq!((&proxy["shares_submitted"], &proxy["quotes_created"]), (&4.into(), &1.into()), "a quote is no share");
    assert_eq!((&proxy["ehash_mined"], &proxy["work_selection"]), (&64.into(), &true.into()));
    assert_eq!(proxy["last_share_at"], (bench.now() - 12 * SECOND) / 1000);
    let connections = bench.json("/api/connections");
    assert_eq!(connections["proxies"][0]["last_share_at"], "12s ago");
    assert_eq!((&connections["total"], &stats["downstreams"]), (&1.into(), &1.into()));
    // The totals of the original design stand in the same object.
    assert_eq!(
        (&stats["total_shares"], &stats["total_quotes"], &stats["total_ehash"]),
        (&4.into(), &1.into(), &"64".into())
    );
    assert!(stats["hashrate_hs"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_nobody_told_is_null_and_what_did_not_happen_is_not_so() {
    let mut bench = Bench::new();
    let timestamp = UnixMillis(bench.now());
    bench.events(&[Event::DownstreamConnected(DownstreamConnected {
        downstream_id: DownstreamId(8),
        // Every flag but the one that asks to choose the work.
        flags: !2,
        timestamp,
        address: Text::default(),
        vendor: Text::default(),
        hardware_version: Text::default(),
        firmware: Text::default(),
        device_id: Text::default(),
    })]);
    bench.pass(2 * SECOND);
    let stats = bench.json("/api/stats");
    assert_eq!((&stats["listen_address"], &stats["services"]), (&Value::Null, &serde_json::json!([])));
    for proxy in [&stats["downstream_proxies"][0], &bench.json("/api/connections")["proxies"][0]] {
        assert_eq!(
            (&proxy["id"], &proxy["address"], &proxy["channels"]),
            (&8.into(), &"".into(), &Value::Array(vec![]))
        );
        assert_eq!((&proxy["last_share_at"], &proxy["work_selection"]), (&Value::Null, &false.into()));
    }
}

#[test]
fn what_is_configured_stands_where_the_source_tells_nothing() {
    let configured = |role| {
        Bench::with(role, |settings| {
            settings.source.listen_address = Some("192.0.2.51:1".to_owned());
            settings.source.job_declarator_address = Some("192.0.2.52:2".to_owned());
            settings.source.upstream_address = Some("192.0.2.53:3".to_owned());
            settings.source.network = Some("signet".to_owned());
        })
    };
    let mut bench = configured(Role::Pool);
    let stats = bench.json("/api/stats");
    assert_eq!(stats["listen_address"], "192.0.2.51:1");
    let services = |declarator: &str| {
        serde_json::json!([
            { "service_type": "Pool", "address": "192.0.2.51:1" },
            { "service_type": "JobDeclarator", "address": declarator },
        ])
    };
    assert_eq!(stats["services"], services("192.0.2.52:2"));
    info(&mut bench, "service.job_declarator", "192.0.2.8:34264");
    bench.pass(2 * SECOND);
    assert_eq!(bench.json("/api/services")["services"], services("192.0.2.8:34264"), "the source goes before");
    let mut bench = configured(Role::Proxy);
    let pool = |bench: &Bench| bench.json("/api/pool");
    let expected = |network: &str| {
        serde_json::json!({
            "blockchain_network": network, "upstream_pool": { "address": "192.0.2.53:3" }, "connected": false
        })
    };
    assert_eq!(pool(&bench), expected("signet"), "that it is configured does not mean that it is connected");
    info(&mut bench, "network", "testnet4");
    bench.pass(2 * SECOND);
    assert_eq!(pool(&bench), expected("testnet4"));
}

#[test]
fn totals_are_of_all_however_many_rows_there_are() {
    let mut bench = Bench::new();
    let channels = MAX_ROWS + 50;
    bench.open_many(channels);
    // Beyond the last row of the list: the one by its number, the other by its name.
    for channel in [MAX_ROWS + 40, MAX_ROWS - 1] {
        bench.observe(30 * SECOND);
        bench.events(&[Event::ShareSubmitted(ShareSubmitted {
            downstream_id: DownstreamId(1),
            timestamp: UnixMillis(bench.now()),
            channel_id: ChannelId(channel),
            sequence_number: 1,
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x1c00_ffff),
        })]);
    }
    bench.observe(5 * SECOND);
    let miners = bench.json("/api/miners");
    let listed = miners["miners"].as_array().unwrap();
    assert_eq!(listed.len(), MAX_ROWS as usize);
    assert_eq!((&miners["total_miners"], &miners["total_shares"]), (&channels.into(), &2.into()));
    let of_name = |name: &str| listed.iter().find(|miner| miner["name"] == name).map(|miner| &miner["hashrate_hs"]);
    assert!(of_name(&format!("worker-{}", MAX_ROWS + 40)).is_none());
    let rate = of_name(&format!("worker-{}", MAX_ROWS - 1)).unwrap().as_f64().expect("a hashrate");
    let total = miners["total_hashrate_hs"].as_f64().unwrap();
    assert!((total / rate - 2.0).abs() < 1e-9, "both have one share in the same time: {total} and {rate}");
}

#[test]
fn a_miner_that_changed_its_name_counts_once() {
    let mut bench = Bench::with(Role::Pool, |_| {});
    bench.open(1, "before");
    for _ in 0..12 {
        bench.share(1);
        bench.observe(5 * SECOND);
    }
    bench.events(&[Event::DownstreamDisconnected(DownstreamDisconnected {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(bench.now()),
        reason: Text::cut("bye"),
    })]);
    bench.open(2, "after");
    for _ in 0..12 {
        bench.share(2);
        bench.observe(5 * SECOND);
    }
    let miners = bench.json("/api/miners");
    assert_eq!(miners["total_miners"], 1);
    assert_eq!(miners["miners"][0]["name"], "after");
    assert!(miners["total_hashrate_hs"].is_number());
    assert_eq!(miners["total_hashrate_hs"], miners["miners"][0]["hashrate_hs"]);
}

#[test]
fn hashrates_by_hours_or_by_seconds() {
    let bench = pool();
    let now = bench.now() / 1000;
    for path in [
        "/api/hashrate".to_owned(),
        "/api/hashrate?hours=1".to_owned(),
        format!("/api/hashrate?from={}&to={now}", now - 3_600),
        format!("/api/downstream/3/hashrate?from={}&to={now}", now - 3_600),
    ] {
        let data = bench.json(&path);
        let data = data["data"].as_array().unwrap();
        let rates: Vec<f64> = data.iter().filter_map(|point| point["hashrate_hs"].as_f64()).collect();
        assert!(rates.iter().any(|rate| *rate > 0.0), "{path}: {data:?}");
        for pair in data.windows(2) {
            check(&pair[0], &[("timestamp", Is::Whole)]);
            assert!(pair[0]["timestamp"].as_u64() < pair[1]["timestamp"].as_u64(), "by time");
        }
        let first = data[0]["timestamp"].as_u64().unwrap();
        assert!(first > now - 100_000 && data[0]["hashrate_hs"].is_null(), "seconds, and a gap is null: {first}");
    }
    bench.get("/api/hashrate?hours=1&from=5").problem(400);
    bench.get("/api/hashrate?hours=-1").problem(400);
    bench.get("/api/downstream/99/hashrate").problem(404);
    bench.get("/api/downstream/x/hashrate").problem(400);
}

#[test]
fn miners_and_pool_of_a_translator() {
    let mut bench = Bench::with(Role::Proxy, |_| {});
    let pool = bench.json("/api/pool");
    assert_eq!(pool, serde_json::json!({ "blockchain_network": null, "upstream_pool": null, "connected": false }));
    info(&mut bench, "network", "testnet4");
    let timestamp = UnixMillis(bench.now());
    bench.events(&[
        Event::UpstreamConnected(UpstreamConnected { timestamp, address: Text::cut("192.0.2.9:34254") }),
        Event::MinerConnected(MinerConnected {
            miner_id: MinerId(5),
            name: Text::cut("rig-1"),
            timestamp,
            address: Text::cut("192.0.2.77:999"),
            user_agent: Text::cut("cgminer/4"),
        }),
    ]);
    for _ in 0..4 {
        bench.observe(30 * SECOND);
        bench.events(&[Event::MinerShareSubmitted(MinerShareSubmitted {
            miner_id: MinerId(5),
            timestamp: UnixMillis(bench.now()),
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x1c00_ffff),
        })]);
    }
    bench.observe(5 * SECOND);
    let pool = bench.json("/api/pool");
    check(&pool, &[("blockchain_network", Is::Text), ("connected", Is::Flag)]);
    assert_eq!((&pool["upstream_pool"]["address"], &pool["connected"]), (&"192.0.2.9:34254".into(), &true.into()));
    let miners = bench.json("/api/miners");
    check(
        &miners,
        &[("total_miners", Is::Whole), ("total_hashrate", Is::Text), ("total_shares", Is::Whole), ("miners", Is::List)],
    );
    let miner = &miners["miners"][0];
    check(
        miner,
        &[
            ("name", Is::Text),
            ("id", Is::Whole),
            ("address", Is::Text),
            ("hashrate", Is::Text),
            ("shares", Is::Whole),
            ("connected_time", Is::Text),
            ("hashrate_hs", Is::Number),
        ],
    );
    assert_eq!((&miner["name"], &miner["id"], &miner["shares"]), (&"rig-1".into(), &5.into(), &4.into()));
    assert_eq!(miner["connected_time"], "2m 5s");
    assert!(miner["hashrate"].as_str().unwrap().ends_with("H/s"), "{miner}");
    assert_eq!(miners["total_hashrate"], miner["hashrate"]);
    assert_eq!((&miners["total_miners"], &miners["total_shares"]), (&1.into(), &4.into()));
    for path in ["/api/miners?hours=24", "/api/miners?from=1&to=2"] {
        assert_eq!(bench.get(path).status, if path.contains("from=1") { 400 } else { 200 });
    }
}

#[test]
fn health_is_503_when_stale() {
    let mut bench = pool();
    assert_eq!(bench.json("/health"), serde_json::json!({ "healthy": true, "stale": false }));
    bench.pass(31 * SECOND);
    let stale = bench.get("/health");
    assert_eq!((stale.status, stale.json()), (503, serde_json::json!({ "healthy": false, "stale": true })));
}
