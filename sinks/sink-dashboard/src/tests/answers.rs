//! The API: numbers, lists, series, errors, caching, and its description.

use serde_json::{Value, json};
use stats_sv2::Role;

use super::{Bench, MINUTE, SECOND};

/// A pool with two workers, one of which sends three shares.
fn pool() -> Bench {
    let mut bench = Bench::new();
    bench.open(1, "alice");
    bench.open(2, "bob");
    for _ in 0..3 {
        bench.observe(20 * SECOND);
        bench.share(1);
    }
    bench.reject(1, "stale-share");
    bench.observe(5 * SECOND);
    bench
}

#[test]
fn the_summary_is_the_overview_of_the_history() {
    let bench = pool();
    let summary = bench.json("/api/v1/summary");
    let source = &summary["sources"][0];
    assert_eq!(source["publisher"], "pool-a");
    assert_eq!(source["channels_open"], 2);
    let channels = &source["channels"];
    assert_eq!(channels["totals"]["accepted"], 3);
    assert_eq!(channels["totals"]["rejected_by_reason"]["stale-share"], 1);
    assert_eq!(channels["totals"]["ehash"], "0");
    let hour = channels["windows"].as_array().unwrap().iter().find(|window| window["window"] == "1h").unwrap();
    assert_eq!(hour["reading"]["state"], "measured");
    assert_eq!(hour["observed_ms"], 65 * SECOND);
    let sources = bench.json("/api/v1/sources");
    assert_eq!(sources["sources"][0]["state"], "live");
}

#[test]
fn workers_are_sorted_searched_and_paged() {
    let mut bench = pool();
    bench.open(3, "Alice-2");
    bench.observe(5 * SECOND);
    let names = |path: &str| -> Vec<String> {
        let workers = bench.json(path);
        workers["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("/api/v1/workers?window=1h"), ["alice", "bob", "Alice-2"], "zero is more than warming up");
    assert_eq!(names("/api/v1/workers?sort=name&order=desc"), ["bob", "Alice-2", "alice"]);
    assert_eq!(names("/api/v1/workers?q=ALICE&sort=name"), ["alice", "Alice-2"]);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..3 {
        let page = bench.json(&format!("/api/v1/workers?sort=name&limit=1{cursor}"));
        assert_eq!((&page["matched"], &page["total"]), (&3.into(), &3.into()));
        seen.push(page["workers"][0]["name"].as_str().unwrap().to_owned());
        cursor = page["next_cursor"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
    }
    assert_eq!((seen, cursor.as_str()), (vec!["alice".to_owned(), "Alice-2".into(), "bob".into()], ""));
    let sparks = bench.json("/api/v1/workers?sparkline=true&q=alice&limit=1");
    let points = sparks["workers"][0]["sparkline"].as_array().unwrap();
    assert!(points.len() <= 48 && points[0].is_null() && points.last().unwrap().is_number(), "{points:?}");
}

#[test]
fn a_worker_has_its_windows_connections_and_last_shares() {
    let bench = pool();
    let worker = bench.json("/api/v1/worker?kind=identity&name=alice");
    assert_eq!(worker["totals"]["accepted"], 3);
    assert_eq!(worker["windows"].as_array().unwrap().len(), 7);
    assert_eq!(worker["connections"][0]["address"], "192.0.2.1:4444");
    assert_eq!(worker["connections"][0]["closed_ms"], Value::Null);
    let shares = worker["recent_shares"].as_array().unwrap();
    assert_eq!(shares.len(), 4);
    assert_eq!((&shares[0]["accepted"], &shares[0]["error_code"]), (&false.into(), &"stale-share".into()));
    assert_eq!(shares[1]["difficulty"], 1.0);
    assert!(shares[1]["share_difficulty"].as_f64().unwrap() > 1.0);
    for path in ["worker", "worker/connections"] {
        bench.get(&format!("/api/v1/{path}?kind=identity&name=nobody")).problem(404);
        bench.get(&format!("/api/v1/{path}?kind=miner&name=alice")).problem(404);
    }
    let connections = bench.json("/api/v1/worker/connections?kind=identity&name=alice");
    assert_eq!(connections["connections"], worker["connections"]);
}

#[test]
fn connections_have_what_they_declare_beside_what_is_measured() {
    let bench = pool();
    let channels = bench.json("/api/v1/channels");
    let alice = channels["channels"].as_array().unwrap().iter().find(|row| row["name"] == "alice").unwrap();
    assert_eq!((&alice["declared_hashrate"], &alice["difficulty"]), (&1_000_000_000_000_u64.into(), &1.0.into()));
    assert_eq!(alice["window"], Value::Null);
    let downstreams = bench.json("/api/v1/downstreams");
    let first = &downstreams["downstreams"][0];
    assert_eq!(
        (&first["declared_hashrate"], &first["window"]["window"]),
        (&1_000_000_000_000_u64.into(), &"15m".into())
    );
    assert_eq!((&first["window"]["accepted"], &first["window"]["reading"]["state"]), (&3.into(), &"measured".into()));
    let file = bench.get("/api/v1/downstreams?format=csv").body;
    let mut rows = csv::Reader::from_reader(file.as_bytes());
    let columns = rows.headers().unwrap().clone();
    let row = rows.records().next().unwrap().unwrap();
    let of = |name: &str| row[columns.iter().position(|column| column == name).unwrap()].to_owned();
    let rate = |name: &str| of(name).parse::<f64>().unwrap();
    assert_eq!((of("declared_hashrate_hs"), of("window_accepted")), ("1000000000000".into(), "3".into()));
    assert!(rate("hashrate_low_hs") < rate("hashrate_hs") && rate("hashrate_hs") < rate("hashrate_high_hs"), "{file}");
}

#[test]
fn a_series_shows_gaps_as_null_and_zero_as_zero() {
    let mut bench = pool();
    // Nothing is heard for ten minutes, then time without shares.
    bench.pass(10 * MINUTE);
    bench.observe(10 * MINUTE);
    let series = bench.json("/api/v1/series?range=1h");
    let points = series["points"].as_array().unwrap();
    let values: Vec<Option<f64>> = points.iter().map(|point| point["value"].as_f64()).collect();
    assert!(values.iter().any(|value| value.is_some_and(|value| value > 0.0)), "shares");
    assert!(values.iter().flatten().any(|value| *value == 0.0), "observed zero");
    for point in points {
        assert_eq!(point["value"].is_null(), point["accepted"].is_null() || point["observed"] == 0.0, "{point}");
    }
    let gaps = points.iter().filter(|point| point["value"].is_null()).count();
    assert!(gaps >= 10, "{gaps}");
    let rejects = bench.json("/api/v1/rejects?range=1h&subject=identity&name=alice");
    assert_eq!((&rejects["accepted"], &rejects["by_reason"]["stale-share"]), (&3.into(), &1.into()));
}

/// Paths that are no tables: each is one thing with tables in it, which have paths of their own, or a stream.
const DOCUMENTS: [&str; 7] = [
    "/api/v1/summary",
    "/api/v1/worker",
    "/api/v1/quotes/report",
    "/api/v1/health",
    "/api/v1/pipeline",
    "/api/v1/live",
    "/api/v1/live/poll",
];

#[test]
fn tables_are_also_csv() {
    let bench = pool();
    let report = json!({ "sinks": {}, "sources": [], "dead_letters": [], "journal": { "dead_letters": 0 } });
    bench.neighbours.pipeline_is(super::Reported(report));
    let document = bench.json("/api/v1/openapi.json");
    let paths: Vec<&String> =
        document["paths"].as_object().unwrap().keys().filter(|path| path.starts_with("/api/v1/")).collect();
    for document in DOCUMENTS {
        assert!(paths.iter().any(|path| *path == document), "{document} is gone");
    }
    let tables: Vec<&&String> = paths.iter().filter(|path| !DOCUMENTS.contains(&path.as_str())).collect();
    assert!(tables.len() >= 20, "{tables:?}");
    let mut columns = std::collections::BTreeMap::new();
    for path in tables {
        let parameters = &document["paths"][path.as_str()]["get"]["parameters"];
        let parameters: Vec<&str> =
            parameters.as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert!(parameters.contains(&"format"), "{path} has no CSV");
        let path =
            if parameters.contains(&"kind") { format!("{path}?kind=identity&name=alice&") } else { format!("{path}?") };
        let named = bench.get(&format!("{path}format=csv"));
        assert_eq!(named.status, 200, "{path}: {}", named.body);
        assert!(named.header("content-type").unwrap().starts_with("text/csv"), "{}", named.head);
        let head = named.body.split("\r\n").next().and_then(|line| line.split('\n').next()).unwrap().to_owned();
        assert!(head.contains(','), "{path}: {head}");
        let accepted = bench.ask("GET", path.trim_end_matches(['?', '&']), "Host: localhost\r\nAccept: text/csv\r\n");
        assert_eq!(accepted.body, named.body, "{path}");
        assert_eq!(bench.get(&format!("{path}format=xml")).status, 406);
        assert_eq!(bench.get(&path).header("content-type"), Some("application/json"));
        columns.insert(head, path);
    }
    for first in ["publisher,role", "name,is_miner", "at_ms,hashrate_hs", "reason,shares", "stage,quotes", "kind,code"]
    {
        assert!(columns.keys().any(|head| head.starts_with(first)), "{first} in {columns:?}");
    }
}

#[test]
fn errors_are_problems_and_never_zeros() {
    let mut bench = pool();
    bench.get("/api/v1/nothing").problem(404);
    bench.get("/api/v1/workers?source=nobody").problem(404);
    bench.get("/api/v1/series?range=fortnight").problem(400);
    bench.get("/api/v1/series?from=5&to=5").problem(400);
    bench.get("/api/v1/pipeline").problem(503);
    bench.get("/api/v1/workers?limit=many").problem(400);
    let path = bench.history.path.clone();
    std::fs::write(path.with_extension("other"), "no database at all, but long enough to be looked at").unwrap();
    std::fs::rename(path.with_extension("other"), &path).unwrap();
    // What is in the log beside it would be read in its place.
    drop(std::fs::remove_file(format!("{}-wal", path.display())));
    drop(std::fs::remove_file(format!("{}-shm", path.display())));
    bench.pass(2 * SECOND);
    bench.get("/api/v1/summary?now=1").problem(500);
    bench.get("/api/miners?now=1").problem(500);
    bench.get("/api/v1/health?now=1").problem(500);
    let health = bench.get("/health?now=1");
    // Its readers know this shape only.
    assert_eq!((health.status, health.json()), (503, serde_json::json!({ "healthy": false, "stale": true })));
    std::fs::remove_file(&path).unwrap();
    let gone = bench.get("/api/v1/workers?now=2");
    assert!(gone.problem(503)["detail"].as_str().unwrap().contains("no history"));
    assert_eq!(gone.header("retry-after"), Some("5"));
}

#[test]
fn questions_that_make_no_sense_are_problems_with_words() {
    let bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1_000.try_into().unwrap());
    let far = u64::MAX / 4;
    for path in [
        "series?points=many".to_owned(),
        "series?from=yesterday".to_owned(),
        "series?subject=everything".to_owned(),
        "series?subject=identity".to_owned(),
        "series?subject=downstream".to_owned(),
        format!("series?to={far}"),
        format!("series?from={far}&to={}", far + 1_000),
        "series?to=253402300800000".to_owned(),
        "workers?sort=luck".to_owned(),
        "workers?order=sideways".to_owned(),
        "workers?hide=nobody".to_owned(),
        "workers?source=a&source=b".to_owned(),
        "worker?kind=identity".to_owned(),
        "ehash?by=luck".to_owned(),
        "live/poll?after=1&after=2".to_owned(),
        "quotes/report?window=x".to_owned(),
        "events?cursor=x".to_owned(),
        "alerts?format=json&format=csv".to_owned(),
        "sources?format=json&format=csv".to_owned(),
    ] {
        let problem = bench.get(&format!("/api/v1/{path}")).problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.contains("Failed to"), "{path}: {detail}");
    }
    for path in ["workers", "channels", "downstreams", "quotes", "ehash", "blocks", "events"] {
        let problem = bench.get(&format!("/api/v1/{path}?limit=0")).problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("`limit`"), "{problem}");
        bench.get(&format!("/api/v1/{path}?source=nobody")).problem(404);
    }
    for path in ["/api/hashrate?hours=many", "/api/hashrate?from=0&to=99999999999999", "/api/miners?hours=many"] {
        bench.get(path).problem(400);
    }
    for path in ["/api/stats?source=nobody", "/api/hashrate?source=nobody", "/api/miners?source=nobody"] {
        bench.get(path).problem(404);
    }
}

#[test]
fn who_is_not_known_is_called_by_the_name_that_was_asked_for() {
    let bench = pool();
    for (path, words) in [
        ("/api/v1/worker?kind=identity&name=nobody", "pool-a has no worker nobody"),
        ("/api/v1/worker?kind=miner&name=nobody", "pool-a has no miner nobody"),
        ("/api/v1/series?subject=identity&name=nobody", "pool-a has no worker nobody"),
        ("/api/v1/rejects?subject=downstream&id=77", "pool-a has no downstream 77"),
        ("/api/v1/workers?source=nobody", "no publisher nobody is known"),
    ] {
        assert_eq!(bench.get(path).problem(404)["detail"], words, "{path}");
    }
}

#[test]
fn a_history_that_is_replaced_is_read_anew() {
    let mut bench = pool();
    assert_eq!(bench.json("/api/v1/sources")["total"], 1);
    let other = Bench::new();
    std::fs::copy(&other.history.path, bench.history.path.with_extension("new")).unwrap();
    for suffix in ["-wal", "-shm"] {
        let of = |path: &std::path::Path| std::path::PathBuf::from(format!("{}{suffix}", path.display()));
        drop(std::fs::copy(of(&other.history.path), of(&bench.history.path.with_extension("new"))));
        drop(std::fs::remove_file(of(&bench.history.path)));
        drop(std::fs::rename(of(&bench.history.path.with_extension("new")), of(&bench.history.path)));
    }
    std::fs::rename(bench.history.path.with_extension("new"), &bench.history.path).unwrap();
    bench.pass(2 * SECOND);
    assert_eq!(bench.json("/api/v1/workers?format=json")["total"], 0);
}

#[test]
fn answers_have_tags_and_need_not_come_twice() {
    let mut bench = pool();
    let first = bench.get("/api/v1/workers?sort=name");
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.header("cache-control"), Some("private, max-age=1"));
    let again =
        bench.ask("GET", "/api/v1/workers?sort=name", &format!("Host: localhost\r\nIf-None-Match: \"x\", {etag}\r\n"));
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(etag.as_str())));
    // The same second: the answer is kept, whatever the history has since.
    bench.share(1);
    assert_eq!(bench.get("/api/v1/workers?sort=name").body, first.body);
    bench.pass(2 * SECOND);
    let later = bench.ask("GET", "/api/v1/workers?sort=name", &format!("Host: localhost\r\nIf-None-Match: {etag}\r\n"));
    assert_eq!(later.status, 200);
    assert_ne!(later.header("etag"), Some(etag.as_str()));
    let head = bench.ask("HEAD", "/api/v1/workers?sort=name", "Host: localhost\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(bench.get("/api/v1/workers?sort=name").body, later.body, "a HEAD is not kept as the answer to a GET");
    assert_eq!(bench.get("/api/v1/workers?limit=many").header("cache-control"), Some("no-store"));
}

#[test]
fn health_tells_stale_from_fresh() {
    let mut bench = pool();
    assert_eq!(bench.json("/api/v1/health")["healthy"], true);
    bench.pass(31 * SECOND);
    let stale = bench.get("/api/v1/health");
    assert_eq!((stale.status, &stale.json()["sources"][0]["state"]), (503, &"stale".into()));
    let summary = bench.json("/api/v1/summary");
    let window = &summary["sources"][0]["channels"]["windows"][3];
    assert_eq!(window["reading"]["state"], "stale", "the last value with its age, not zero");
    assert!(window["reading"]["last"]["rate"].as_f64().unwrap() > 0.0);
}

#[test]
fn events_are_listed_newest_first_and_shares_are_not_among_them() {
    let bench = pool();
    let events = bench.json("/api/v1/events?limit=2");
    let kinds: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["channel_opened", "downstream_connected"]);
    assert_eq!(events["events"][0]["event"]["user_identity"], "bob");
    let next = events["next_cursor"].as_str().unwrap().to_owned();
    let rest = bench.json(&format!("/api/v1/events?cursor={next}&kinds=channel_*"));
    assert_eq!(rest["events"].as_array().unwrap().len(), 1);
    assert_eq!(rest["events"][0]["event"]["user_identity"], "alice");
    bench.get("/api/v1/events?kinds=nothing").problem(400);
    // Another run has numbered other events.
    let number = next.split_once('-').unwrap().1;
    let gone = bench.get(&format!("/api/v1/events?cursor=17a-{number}")).problem(410);
    assert!(gone["detail"].as_str().unwrap().contains("begin without it"), "{gone}");
    for cursor in [number, "x-1", ""] {
        bench.get(&format!("/api/v1/events?cursor={cursor}")).problem(400);
    }
}

#[test]
fn the_description_names_every_path_and_every_path_answers() {
    let bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1_000.try_into().unwrap());
    let document = bench.json("/api/v1/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 27, "{:?}", paths.keys());
    for (path, operations) in paths {
        let operation = &operations["get"];
        assert!(operation["summary"].is_string() || operation["description"].is_string(), "{path} says nothing");
        if path == "/api/v1/live" {
            continue;
        }
        let query =
            if path.starts_with("/api/v1/worker") && !path.ends_with("workers") { "?kind=identity&name=x" } else { "" };
        let reply = bench.get(&format!("{}{query}", path.replace("{id}", "1")));
        let detail = if reply.status == 404 { reply.json()["detail"].to_string() } else { String::new() };
        assert!(!detail.contains("nothing here"), "{path} is described and not served");
    }
    // So are the messages of the live stream, each with its fields.
    let schemas = &document["components"]["schemas"];
    let of_stream = &paths["/api/v1/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"];
    assert_eq!(of_stream["$ref"], "#/components/schemas/Message");
    assert_eq!(schemas["PolledMessage"]["properties"]["data"]["$ref"], of_stream["$ref"]);
    let kinds = ["Update", "WorkerMessage", "BlockMessage", "QuoteMessage", "SourceMessage"];
    let one_of = schemas["Message"]["oneOf"].as_array().unwrap();
    assert_eq!(one_of.len(), kinds.len(), "{one_of:?}");
    for kind in kinds {
        assert!(one_of.iter().any(|one| one.to_string().contains(&format!("schemas/{kind}\""))), "{kind}: {one_of:?}");
        assert!(schemas[kind]["properties"]["at_ms"]["type"] == "integer", "{}", schemas[kind]);
    }
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[test]
fn long_answers_are_compressed_for_who_takes_gzip() {
    let mut bench = pool();
    bench.open_many(200);
    bench.pass(2 * SECOND);
    let path = "/api/v1/workers?sort=name&limit=200";
    let plain = bench.get(path);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept, accept-encoding")));
    let ask = |method: &str, more: &str| {
        bench.ask(method, path, &format!("Host: localhost\r\nAccept-Encoding: br, gzip;q=0.8\r\n{more}"))
    };
    let packed = ask("GET", "");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), plain.header("vary"));
    assert_eq!(packed.header("content-length"), Some(packed.bytes.len().to_string().as_str()));
    assert!(packed.bytes.len() * 4 < plain.bytes.len(), "{} of {}", packed.bytes.len(), plain.bytes.len());
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.bytes[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    // Two representations, two tags: what one client has must not be taken for what another has.
    let (plain_tag, packed_tag) = (plain.header("etag").unwrap(), packed.header("etag").unwrap());
    assert_ne!(plain_tag, packed_tag);
    let again = ask("GET", &format!("If-None-Match: {packed_tag}\r\n"));
    assert_eq!((again.status, again.bytes.len(), again.header("etag")), (304, 0, Some(packed_tag)));
    assert_eq!(ask("GET", &format!("If-None-Match: {plain_tag}\r\n")).status, 200);
    let head = ask("HEAD", "");
    assert_eq!((head.status, head.bytes.len(), head.header("etag")), (200, 0, Some(packed_tag)));
    assert_eq!(head.header("content-length"), packed.header("content-length"));
    let short = bench.ask("GET", "/api/v1/alerts", "Host: localhost\r\nAccept-Encoding: gzip\r\n");
    assert_eq!((short.status, short.header("content-encoding")), (200, None));
}
