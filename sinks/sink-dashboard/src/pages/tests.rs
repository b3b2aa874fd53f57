//! What the pages say about a history, asked over TCP as a browser without scripts asks.

use stats_sv2::event::{ChainTipChanged, SourceInfo};
use stats_sv2::{DownstreamId, Event, Role, Text, UnixMillis};

use crate::config::Redacted;
use crate::tests::Bench;
use crate::tests::security::free_words;

const MINUTE: u64 = 60_000;

fn page(bench: &Bench, path: &str) -> String {
    let reply = bench.get(path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.body
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
    bench.find_block(7);
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
        bench.find_block(height);
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
fn blocks_say_what_they_took() {
    let mut bench = Bench::new();
    bench.open(1, "rig");
    // A network as easy as the shares are.
    bench.events(&[Event::ChainTipChanged(ChainTipChanged {
        timestamp: UnixMillis(bench.now()),
        height: 5,
        target: crate::tests::EASY,
    })]);
    bench.share(1);
    bench.find_block(1);
    bench.observe(MINUTE);
    assert!(!page(&bench, "/blocks").contains("Luck"), "what the first one took began before the history");
    for _ in 0..3 {
        bench.share(1);
    }
    bench.find_block(2);
    bench.share(1);
    bench.observe(MINUTE);
    let body = page(&bench, "/blocks");
    for part in [
        "the one of the last 2 blocks whose effort is known took 300 % of the expected work; by chance, 5.0 % of blocks take at least as much",
        ", 100 % of the expected work so far; by chance, 37 % of rounds take at least as much",
        ">300 %</td>",
        ">unknown<",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let overview = page(&bench, "/");
    for part in [
        "; the one of the last 2 blocks whose effort is known took 300 % of the expected work<",
        "of the expected work, since ",
    ] {
        assert!(overview.contains(part), "{part} in {overview}");
    }
    assert_eq!(csv_column(&bench, "/api/v1/blocks?format=csv", "effort"), ["3", ""]);
    let source = &bench.json("/api/v1/summary")["sources"][0];
    assert_eq!((&source["luck"]["blocks"], &source["luck"]["mean_effort"]), (&1.into(), &3.0.into()));
    assert_eq!(source["round"]["effort"], 1.0);
    bench.find_block(3);
    bench.observe(MINUTE);
    let several =
        "the 2 of the last 3 blocks whose effort is known took 200 % of the expected work on average; by chance, ";
    let body = page(&bench, "/blocks");
    assert!(body.contains(several) && body.contains(" of such series take at least as much"), "{body}");
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
    bench.observe(10_000);
    let first = page(&bench, "/connections");
    for part in
        ["60 channels over 60 downstreams", "page 1 of 3", "192.0.2.7:4444", "bitaxe 2.9", "device-7", "number 7"]
    {
        assert!(first.contains(part), "{part} in {first}");
    }
    // Measured beside declared.
    let row = first.split("192.0.2.7:4444").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("1 share in") && row.contains("1.00 TH/s"), "{row}");
    let row = first.split("rig-7</bdi>").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("<td class=\"number wide\">1.00 TH/s</td>"), "{row}");
    assert!(
        first.contains("/connections?source=pool-a&amp;page=2\"")
            && first.contains("/connections?source=pool-a&amp;downstreams=2\""),
        "{first}"
    );
    let both = page(&bench, "/connections?page=2&downstreams=3");
    assert!(both.contains("page 2 of 3") && both.contains("page 3 of 3"), "{both}");
    // Each table is turned by itself.
    assert!(both.contains("/connections?source=pool-a&amp;page=3&amp;downstreams=3\""), "{both}");
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
    assert!(page(&bench, "/worker?name=fast&kind=identity").contains("was online<"));
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
    let is_final = |body: &str| body.split("<body").nth(1).unwrap().split('>').next().unwrap().contains("data-final");
    assert!(is_final(&unknown.body) && !is_final(&page(&bench, "/")), "scripts do not read a refusal again");
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
    bench.find_block(7);
    bench.pass(2_000);
    let body = page(&bench, "/blocks");
    assert!(body.contains("href=\"/worker?source=pool-a&amp;name=a%26b&amp;kind=identity\""), "{body}");
    page(&bench, "/worker?name=a%26b&kind=identity");
    assert!(body.contains("as the network's target was not told"), "{body}");
}

#[test]
fn the_shares_of_a_translator_belong_to_no_round_of_its_own() {
    let bench = Bench::with(Role::Proxy, |_| {});
    let body = page(&bench, "/blocks");
    assert!(body.contains("go to the rounds of its pool") && !body.contains("target was not told"), "{body}");
}

#[test]
fn the_luck_of_a_translator_is_that_of_its_pool() {
    for (role, is_told) in [(Role::Pool, true), (Role::Proxy, false)] {
        let mut bench = Bench::with(role, |_| {});
        bench.open(1, "rig");
        let (timestamp, target) = (UnixMillis(bench.now()), crate::tests::EASY);
        bench.events(&[Event::ChainTipChanged(ChainTipChanged { timestamp, height: 5, target })]);
        for number in 1..=2 {
            bench.share(1);
            bench.find_block(number);
            bench.observe(MINUTE);
        }
        for path in ["/", "/blocks"] {
            assert_eq!(page(&bench, path).contains(" took 100 % of the expected work"), is_told, "{role:?} {path}");
        }
    }
}

/// What a camera reads from the page's QR code, and how many modules its border has at least.
fn read_code(body: &str) -> (String, usize) {
    let code = body.split("<svg class=\"qr\"").nth(1).unwrap_or_else(|| panic!("a code: {body}"));
    let of = |name: &str| code.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap();
    let side: usize = of("viewBox").strip_prefix("0 0 ").unwrap().split(' ').next().unwrap().parse().unwrap();
    let dark: std::collections::BTreeSet<(usize, usize)> = of(" d")
        .split('M')
        .skip(1)
        .map(|module| {
            let (x, y) = module.strip_suffix("h1v1h-1z").unwrap().split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        })
        .collect();
    let all = dark.iter().flat_map(|(x, y)| [*x, *y]);
    let (first, last) = (all.clone().min().unwrap(), all.max().unwrap());
    let grid = rqrr::SimpleGrid::from_func(last - first + 1, |x, y| dark.contains(&(x + first, y + first)));
    let (_, text) = rqrr::Grid::new(grid).decode().unwrap();
    (text, first.min(side - 1 - last))
}

#[test]
fn a_camera_reads_the_url_that_the_page_shows() {
    const KEY: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
    for (role, url, protocol) in [
        (Role::Pool, format!("stratum2+tcp://203.0.113.7:3333/{KEY}"), "Stratum V2"),
        (Role::Proxy, "stratum+tcp://203.0.113.7:3333".to_owned(), "Stratum V1, to the translator"),
    ] {
        let mut bench = Bench::with(role, |_| {});
        for (name, value) in [("listen_address", "203.0.113.7:3333"), ("authority_public_key", KEY)] {
            let timestamp = UnixMillis(bench.now());
            let (name, value) = (Text::cut(name), Text::cut(value));
            bench.events(&[Event::SourceInfo(SourceInfo { timestamp, name, value })]);
        }
        let body = page(&bench, "/connect");
        let (read, border) = read_code(&body);
        assert_eq!(read, url);
        assert!(border >= 4, "a reader needs four light modules around the code: {border}");
        for part in
            [format!("<bdi>{url}</bdi>"), "<bdi>203.0.113.7:3333</bdi>".to_owned(), format!("<dd>{protocol}</dd>")]
        {
            assert!(body.contains(&part), "{part} in {body}");
        }
    }
    // An address that is left out is in no code either.
    let hidden = Bench::with(Role::Pool, |settings| {
        settings.redact = vec![Redacted::Addresses];
        settings.source.listen_address = Some("203.0.113.7:3333".to_owned());
    });
    let body = page(&hidden, "/connect");
    assert!(!body.contains("class=\"qr\"") && !body.contains("203.0.113.7"), "{body}");
}

/// The links to files on a page, by the address that they lead to.
fn files(body: &str) -> Vec<String> {
    let links = body.split("<a class=\"button\" href=\"").skip(1).filter(|link| link.contains("download"));
    links.map(|link| link.split('"').next().unwrap().replace("&amp;", "&")).collect()
}

/// The first field of each row of a file.
fn csv_column(bench: &Bench, path: &str, column: &str) -> Vec<String> {
    let file = bench.get(path);
    assert_eq!(file.status, 200, "{path}: {}", file.body);
    let mut reader = csv::Reader::from_reader(file.body.as_bytes());
    let place = reader.headers().unwrap().iter().position(|name| name == column).unwrap();
    reader.records().map(|row| row.unwrap()[place].to_owned()).collect()
}

/// What stands behind a mark in every row of a table.
fn shown(body: &str, table: &str, mark: &str) -> Vec<String> {
    let table = body.split(&format!("aria-label=\"{table}\"")).nth(1).unwrap_or_else(|| panic!("{table} in {body}"));
    let rows = table.split("</table>").next().unwrap().split("<tbody>").nth(1).unwrap().split("<tr").skip(1);
    rows.map(|row| row.split(mark).nth(1).unwrap_or_else(|| panic!("{mark} in {row}")))
        .map(|rest| rest.split(['"', '<']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn a_file_has_the_rows_of_the_table_beside_it_in_their_order() {
    let mut bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1_000.try_into().unwrap());
    for id in 1..=120 {
        bench.open(id, &format!("rig-{id:03}"));
    }
    bench.observe(6 * MINUTE);
    for id in 1..=70 {
        for _ in 0..id % 5 {
            bench.share(id);
        }
        for _ in 0..id % 3 {
            bench.reject(id, "stale-share");
        }
    }
    for number in 1..=120 {
        bench.find_block(number);
        bench.create_quote(number, number, 1);
    }
    bench.pass(2_000);
    // Turns all pages of a list; the file of each must be the whole list, or what there is from that page on.
    let check = |path: &str, table: &str, mark: &str, file: usize, column: &str, whole: bool| {
        let (mut seen, mut next, mut left) = (Vec::new(), Some(path.to_owned()), Vec::new());
        while let Some(address) = next {
            let body = page(&bench, &address);
            let rows = shown(&body, table, mark);
            let listed = csv_column(&bench, &files(&body)[file], column);
            let from = if whole { seen.len() } else { 0 };
            assert_eq!(listed[from..from + rows.len()], rows, "{address}");
            left = listed[from + rows.len()..].to_vec();
            seen.extend(rows);
            let link =
                body.split(&format!("aria-label=\"{table}\"")).nth(1).unwrap().split("rel=\"next\"").next().unwrap();
            let link = link.rsplit("<a href=\"").next().unwrap().split('"').next().unwrap();
            next = link.starts_with(path.split('?').next().unwrap()).then(|| link.replace("&amp;", "&"));
            next = next.filter(|next| *next != address && !seen.is_empty() && !left.is_empty());
        }
        assert!(left.is_empty(), "{path}: {left:?} is on no page");
        seen.len()
    };
    let workers = "Table: workers";
    let name = "<bdi class=\"name\" title=\"";
    assert_eq!(check("/workers", workers, name, 0, "name", true), 120);
    assert_eq!(check("/workers?sort=name&order=desc&q=RIG-0", workers, name, 0, "name", true), 99);
    for sort in ["declared", "accepted", "rejected", "best_share", "last_share", "first_seen"] {
        assert_eq!(check(&format!("/workers?sort={sort}&hide=silent&window=15m"), workers, name, 0, "name", true), 56);
    }
    assert_eq!(check("/connections", "Table: open channels", name, 1, "name", true), 120);
    assert_eq!(check("/blocks", "Table: Blocks", "<th scope=\"row\">", 0, "height", true), 120);
    assert_eq!(check("/quotes", "Table: Quotes", " data-key=\"", 3, "share_hash", false), 120);
}

#[test]
fn every_table_has_a_file() {
    let mut bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1_000.try_into().unwrap());
    for id in 1..=3 {
        bench.open(id, "rig");
        bench.share(id);
        bench.reject(id, "stale-share");
    }
    bench.reject(1, "duplicate-share");
    bench.events(&free_words(bench.now()));
    find_things(&mut bench);
    let letter =
        serde_json::json!({ "sink": "past", "sequence": 7, "event": "heartbeat", "reason": "=no", "contents": "x" });
    let ledger = serde_json::json!({ "appended": 9, "delivered": 6, "pending": 2, "expired": { "retry-budget": 1 } });
    let report = serde_json::json!({
            "ready": true,
            "journal": { "dead_letters": 2 },
            "sinks": { "past": { "type": "sqlite", "status": "healthy", "ledger": ledger }, "web": { "status": "retrying" } },
            "sources": [{ "publisher": "pool-a", "session": "7", "connected": true, "committed_sequence": 5 }],
            "dead_letters": [letter.clone(), letter],
    });
    bench.neighbours.pipeline_is(crate::tests::Reported(report));
    let worker = "/worker?name=rig&kind=identity";
    let tables = [
        ("/", "Table: Sources", "/api/v1/sources"),
        ("/workers", "Table: workers", "/api/v1/workers"),
        (worker, "Table: Connections", "/api/v1/worker/connections"),
        (worker, "Table: Latest shares", "/api/v1/worker/shares"),
        ("/connections", "Table: Downstreams", "/api/v1/downstreams"),
        ("/connections", "Table: open channels", "/api/v1/channels"),
        ("/quotes", "Table: Latencies", "/api/v1/quotes/latencies"),
        ("/quotes", "Table: Quotes", "/api/v1/quotes"),
        ("/blocks", "Table: Blocks", "/api/v1/blocks"),
        ("/pipeline", "Table: Sinks", "/api/v1/pipeline/sinks"),
        ("/pipeline", "Table: Sessions", "/api/v1/pipeline/sessions"),
        ("/pipeline", "Table: Dead letters", "/api/v1/pipeline/dead_letters"),
        ("/pipeline", "Table: Losses", "/api/v1/losses"),
    ];
    let rows = |path: &str| {
        let file = bench.get(path);
        assert_eq!(file.status, 200, "{path}: {}", file.body);
        csv::Reader::from_reader(file.body.as_bytes()).records().map(Result::unwrap).collect::<Vec<_>>()
    };
    let file = |path: &str, wanted: &str| {
        let files = files(&page(&bench, path));
        files.iter().find(|file| file.split('?').next() == Some(wanted)).unwrap_or_else(|| panic!("{files:?}")).clone()
    };
    for (path, table, wanted) in tables {
        let body = page(&bench, path);
        let shown = shown(&body, table, "<t").len();
        assert!(shown > 0, "{table}");
        assert_eq!(rows(&file(path, wanted)).len(), shown, "{table}");
        for label in body.split("aria-label=\"Table: ").skip(1).map(|label| label.split('"').next().unwrap()) {
            assert!(tables.iter().any(|(_, table, _)| *table == format!("Table: {label}")), "{label} has no file");
        }
    }
    // What is shown as bars and as a list has files too.
    let by_reason = ["accepted,3", "stale-share,3", "duplicate-share,1"];
    for path in ["/", worker] {
        let rows = rows(&file(path, "/api/v1/rejects"));
        assert_eq!(rows.iter().map(|row| format!("{},{}", &row[0], &row[1])).collect::<Vec<_>>(), by_reason, "{path}");
    }
    assert_eq!(rows(&file("/quotes", "/api/v1/quotes/states")).len(), 6);
    let failures = rows(&file("/quotes", "/api/v1/quotes/failures"));
    assert_eq!((failures.len(), &failures[0][0], &failures[0][1]), (1, "failed", "timeout"));
    // What the report does not say is not 0, and no spreadsheet runs what it says.
    let sinks = rows("/api/v1/pipeline/sinks?format=csv");
    assert_eq!((&sinks[0][5], &sinks[0][9], &sinks[0][10], &sinks[1][5]), ("9", "1", "retry-budget 1", ""));
    assert_eq!(&rows("/api/v1/pipeline/dead_letters?format=csv")[0][7], "'=no");
}

#[test]
fn a_page_stays_with_its_source_when_others_come() {
    let mut bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1_000.try_into().unwrap());
    bench.open(1, "rig");
    bench.share(1);
    find_things(&mut bench);
    let paths = ["/", "/workers", "/worker?name=rig&kind=identity", "/connections", "/quotes", "/blocks", "/pipeline"];
    let about = |bench: &Bench, path: &str| {
        let body = page(bench, path);
        body.split("data-source=\"")
            .nth(1)
            .unwrap_or_else(|| panic!("{path}: {body}"))
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    // Every link of a page says which source it is about, so that a bookmark keeps its meaning.
    for path in paths {
        let body = page(&bench, path);
        let links = body.split("href=\"/").skip(1).map(|link| link.split('"').next().unwrap());
        // What is of no source, or of all.
        let common = ["assets/", "api/v1/openapi.json", "api/v1/sources?", "api/v1/pipeline/"];
        for link in links.filter(|link| !common.iter().any(|common| link.starts_with(common))) {
            assert!(link.contains("source=pool-a"), "{path} leads to /{link}");
        }
        assert_eq!(body.matches("<form").count(), body.matches("name=\"source\" value=\"pool-a\"").count(), "{path}");
        assert_eq!(about(&bench, path), "pool-a");
    }
    let api = |bench: &Bench, path: &str| bench.json(&format!("/api/v1/{path}"))["publisher"].clone();
    // One whose name comes first, that is heard later and has more to show; and one that has nothing to show.
    bench.pass(MINUTE);
    bench.become_other("a-pool", Role::Pool);
    bench.open(1, "rig");
    bench.open(2, "other");
    bench.share(2);
    bench.become_other("a-mint", Role::Mint);
    bench.pass(2_000);
    for path in paths {
        assert_eq!(about(&bench, path), "pool-a", "{path}");
    }
    for path in ["workers", "channels", "blocks", "quotes", "worker?kind=identity&name=rig", "series?range=1h"] {
        assert_eq!(api(&bench, path), "pool-a", "{path}");
    }
    for path in ["/api/stats", "/api/pool"] {
        assert_eq!(bench.get(path).status, 200, "{path}");
    }
    assert_eq!(bench.json("/api/stats")["publisher"], "pool-a");
    assert_eq!(about(&bench, "/workers?source=a-pool"), "a-pool");
}

/// A block and a quote, so that every page has something to show.
fn find_things(bench: &mut Bench) {
    bench.find_block(1);
    bench.create_quote(1, 1, 1);
    bench.pass(2_000);
}
