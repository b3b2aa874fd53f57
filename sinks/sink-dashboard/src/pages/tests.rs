//! What the pages say about a history, asked over TCP as a browser without scripts asks.

use stats_sv2::event::BlockFound;
use stats_sv2::{ChannelId, DownstreamId, Event, Role, U256, UnixMillis};

use crate::config::Redacted;
use crate::tests::Bench;
use crate::tests::security::free_words;

const MINUTE: u64 = 60_000;

fn page(bench: &Bench, path: &str) -> String {
    let reply = bench.get(path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.body
}

fn find_block(bench: &mut Bench, height: u32) {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&height.to_le_bytes());
    bench.events(&[Event::BlockFound(BlockFound {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(bench.now()),
        height,
        block_hash: U256(hash),
    })]);
}

#[test]
fn a_graph_begins_with_the_shortest_range_that_holds_the_history() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    let range = |bench: &Bench, path: &str| {
        let body = page(bench, path);
        let value =
            |name: &str| body.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let shown = value("data-range");
        let marked =
            body.split("aria-current=\"true\">").filter_map(|rest| rest.split('<').next()).any(|name| name == shown);
        assert!(marked, "the chosen range is marked: {body}");
        // Scripts ask for a range only where the address of the page names one: what is usual is decided anew each time.
        let data = bench.json(&value("data-graph").replace("&amp;", "&"));
        if !path.contains("range=") {
            assert_eq!(data["range"], *shown, "{path}");
        }
        shown
    };
    for (age, expected) in [(MINUTE, "5m"), (10 * MINUTE, "15m"), (59 * MINUTE, "1h"), (120 * MINUTE, "6h")] {
        bench.pass(age - (bench.now() - crate::tests::START));
        bench.share(1);
        assert_eq!(range(&bench, "/"), expected);
        assert_eq!(range(&bench, "/worker?name=rig&kind=identity"), expected);
        assert_eq!(range(&bench, "/?range=7d"), "7d", "the address decides");
        assert!(page(&bench, "/workers").contains(&format!("Last {expected}</th>")));
    }
    // A worker that came just now has a short graph, however old its pool is.
    bench.open(2, "late");
    bench.share(2);
    bench.observe(MINUTE);
    assert_eq!(range(&bench, "/worker?name=late&kind=identity"), "5m");
}

#[test]
fn a_table_of_a_graph_keeps_its_place_among_the_ranges_and_tells_the_marks() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    bench.share(1);
    find_block(&mut bench, 7);
    bench.observe(MINUTE);
    for path in ["/?view=table", "/worker?name=rig&kind=identity&view=table"] {
        let body = page(&bench, path);
        let ranges = body.split("class=\"ranges\"").nth(1).unwrap().split("</nav>").next().unwrap();
        assert_eq!(ranges.matches("&amp;view=table\"").count(), ranges.matches("<a ").count(), "{ranges}");
        let graph = body.split("data-graph=").nth(1).unwrap().split('>').next().unwrap();
        assert!(!graph.contains("data-keep"), "what is read again may change it: {graph}");
        let marks = body.split("Table: Marks of the graphs").nth(1).unwrap().split("</table>").next().unwrap();
        assert!(marks.contains("block 7 found") && marks.contains("<time"), "{marks}");
    }
    let drawn = page(&bench, "/");
    assert!(drawn.contains("data-keep") && !drawn.contains("view=table\" data-range"), "{drawn}");
}

#[test]
fn an_identity_and_a_miner_of_one_name_are_two_rows() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    bench.share(1);
    bench.events(&[Event::MinerConnected(stats_sv2::event::MinerConnected {
        miner_id: stats_sv2::MinerId(1),
        name: stats_sv2::Text::cut("rig"),
        timestamp: UnixMillis(bench.now()),
        address: stats_sv2::Text::cut("192.0.2.1:5000"),
        user_agent: stats_sv2::Text::cut("cgminer"),
    })]);
    bench.observe(MINUTE);
    let body = page(&bench, "/workers");
    assert!(body.contains("<tr data-key=\"identity rig\"") && body.contains("<tr data-key=\"miner rig\""), "{body}");
}

#[test]
fn marks_are_those_of_the_range_and_what_is_cut_is_said() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    bench.share(1);
    for height in 1..=14 {
        find_block(&mut bench, height);
        bench.observe(MINUTE);
    }
    let body = page(&bench, "/?range=24h");
    assert!(body.contains("14 blocks, 0 restarts, 0 outages"), "{body}");
    assert!(body.contains("block 14 found") && !body.contains("block 2 found"), "{body}");
    assert!(body.contains("The latest 12 of 14."), "{body}");
    let (from, to) = (bench.now() - 4 * MINUTE - 1, bench.now());
    let part = page(&bench, &format!("/worker?name=rig&kind=identity&from={from}&to={to}"));
    assert!(part.contains("of the whole source 4 blocks, 0 restarts, 0 outages"), "{part}");
    assert!(page(&bench, "/blocks").contains("14 blocks, the latest first"));
}

#[test]
fn the_first_figure_is_who_is_online() {
    let mut bench = Bench::new();
    for (id, name) in [(1, "alice"), (2, "alice"), (3, "bob")] {
        bench.open(id, name);
    }
    bench.share(1);
    let figure = |bench: &Bench| {
        let body = page(bench, "/");
        let row = body.split("data-online=\"\">").nth(1).unwrap().split("</td>").next().unwrap().to_owned();
        let first = body.split("<dl class=\"figures\"").nth(1).unwrap().split("</dd>").next().unwrap().to_owned();
        (row, first)
    };
    let (row, first) = figure(&bench);
    assert_eq!(row, "2");
    for part in
        ["<dt>Workers online</dt>", "<span class=\"figure\">2</span>", ">3 channels</span> over ", ">3 connections<"]
    {
        assert!(first.contains(part), "{part} in {first}");
    }
    // Silence is not absence.
    bench.pass(MINUTE);
    let (row, first) = figure(&bench);
    assert!(row.contains("was 2") && first.contains("was 2"), "{row} {first}");
}

#[test]
fn words_of_publishers_are_on_no_page_with_anything_left_out() {
    let closed = |redact: Vec<Redacted>| {
        let mut bench = Bench::with(Role::Pool, |settings| settings.redact = redact);
        bench.open(2, "rig");
        bench.share(2);
        bench.events(&free_words(bench.now()));
        bench.observe(5_000);
        let name = bench.json("/api/v1/workers")["workers"][0]["name"].as_str().unwrap().to_owned();
        ["/pipeline", "/quotes", "/", &format!("/worker?name={name}&kind=identity")].map(|path| page(&bench, path))
    };
    for redacted in [Redacted::Addresses, Redacted::Names] {
        for body in closed(vec![redacted]) {
            assert!(!body.contains("secret"), "{redacted:?}: {body}");
        }
    }
    let [pipeline, .., worker] = closed(Vec::new());
    assert!(pipeline.contains("bc1qsecret.rig at") && worker.contains("bc1qsecret.rig at"), "{pipeline} {worker}");
}

#[test]
fn connections_have_pages_and_a_table_of_downstreams() {
    let mut bench = Bench::new();
    for id in 1..=60 {
        bench.open(id, &format!("rig-{id}"));
    }
    bench.share(7);
    bench.pass(2_000);
    let first = page(&bench, "/connections");
    for part in
        ["60 channels over 60 downstreams", "page 1 of 3", "192.0.2.7:4444", "bitaxe 2.9", "device-7", "number 7"]
    {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert!(first.contains("/connections?page=2\"") && first.contains("/connections?downstreams=2\""), "{first}");
    let both = page(&bench, "/connections?page=2&downstreams=3");
    assert!(both.contains("page 2 of 3") && both.contains("page 3 of 3"), "{both}");
    // Each table is turned by itself.
    assert!(both.contains("/connections?page=3&amp;downstreams=3\""), "{both}");
    assert!(both.contains("192.0.2.60:4444") && !both.contains("device-7<"), "{both}");
    assert!(page(&bench, "/connections?page=999").contains("page 3 of 3"));
}

#[test]
fn online_is_who_is_connected_and_sent_a_share_lately() {
    let mut bench = Bench::new();
    for (id, name) in [(1, "fast"), (2, "idle"), (3, "gone")] {
        bench.open(id, name);
        bench.share(id);
    }
    bench.observe(4 * MINUTE);
    bench.share(1);
    bench.events(&[Event::DownstreamDisconnected(stats_sv2::event::DownstreamDisconnected {
        downstream_id: DownstreamId(3),
        timestamp: UnixMillis(bench.now()),
        reason: stats_sv2::Text::cut("eof"),
    })]);
    bench.observe(2 * MINUTE);
    let presence = |body: &str, name: &str| {
        let row = body
            .split(&format!("<tr data-key=\"identity {name}\""))
            .nth(1)
            .unwrap_or_else(|| panic!("{name} in {body}"));
        row.split("class=\"basis\">").nth(1).unwrap().split('<').next().unwrap().to_owned()
    };
    // The window that the hashrate is about changes nothing in who is online.
    for window in ["15m", "1d"] {
        let body = page(&bench, &format!("/workers?window={window}"));
        let words = ["fast", "idle", "gone"].map(|name| presence(&body, name));
        assert_eq!(words, ["online", "connected, silent", "not connected"], "{window}");
        assert!(body.contains(">1 online, 1 connected without a share lately, 1 not connected</p>"), "{body}");
        let shown = page(&bench, &format!("/workers?hide=silent&window={window}"));
        assert!(shown.contains("1 of 3 known") && shown.contains("<tr data-key=\"identity fast\""), "{shown}");
    }
    // Nobody knows who is online at a pool that is not heard; what was so then is not lost.
    bench.pass(20 * MINUTE);
    let body = page(&bench, "/workers");
    let words = ["fast", "idle", "gone"].map(|name| presence(&body, name));
    assert_eq!(words, ["was online", "was connected, silent", "was not connected"]);
    assert!(page(&bench, "/worker?name=fast&kind=identity").contains("was connected<"));
    assert!(body.contains("Unknown since <time") && body.contains("when there were 1 online"), "{body}");
}

#[test]
fn an_address_that_makes_no_sense_is_a_page_that_says_so() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    bench.share(1);
    assert_eq!(bench.get("/?range=banana").status, 200, "a range is only a wish");
    let unknown = bench.get("/worker?name=nobody&kind=identity");
    assert!(unknown.status == 404 && unknown.body.contains("<title>Not found · "), "{}", unknown.body);
    for path in ["/?from=x", "/workers?sort=luck", "/workers?page=x", "/worker?kind=identity", "/connections?page=x"] {
        let reply = bench.get(path);
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        let body = &reply.body;
        assert!(
            body.contains("<title>Not understood · ") && body.contains("<h1>Not understood</h1>"),
            "{path}: {body}"
        );
    }
}

#[test]
fn graphs_tell_their_ends_and_draw_single_points() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    bench.share(1);
    bench.observe(2 * MINUTE);
    let body = page(&bench, "/");
    let ends = body.split("class=\"graph-ends\"").nth(1).unwrap().split("</p>").next().unwrap();
    assert_eq!(ends.matches("<time").count(), 2, "{ends}");
}

#[test]
fn a_block_leads_to_its_finder() {
    let mut bench = Bench::new();
    bench.open(1, "a&b");
    bench.share(1);
    find_block(&mut bench, 7);
    bench.pass(2_000);
    let body = page(&bench, "/blocks");
    assert!(body.contains("href=\"/worker?name=a%26b&amp;kind=identity\""), "{body}");
    page(&bench, "/worker?name=a%26b&kind=identity");
    assert!(body.contains("as the network's target was not told"), "{body}");
}

#[test]
fn the_shares_of_a_translator_belong_to_no_round_of_its_own() {
    let bench = Bench::with(Role::Proxy, |_| {});
    let body = page(&bench, "/blocks");
    assert!(body.contains("go to the rounds of its pool") && !body.contains("target was not told"), "{body}");
}
