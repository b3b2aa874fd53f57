//! A running sidecar: fed by `simulate`, seen through its pages, `tap`, `stats` and `journal`, stopped by signals.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::process::{Running, code, output, sidecar, text};

const EVENTS: u64 = 3_000;

pub(super) fn config(folder: &Path) -> PathBuf {
    let path = |name: &str| format!("{:?}", folder.join(name));
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[journal]\npath = {}\nmax_delay = \
         \"20ms\"\nballast = \"64 KiB\"\n[sinks.history]\ntype = \"sqlite\"\npath = {}\n[sinks.rejects]\ntype = \
         \"log-file\"\npath = {}\nevents = [\"*_rejected\"]\n",
        path("journal.db"),
        path("stats.db"),
        path("rejects.jsonl")
    );
    let file = folder.join("sidecar.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn simulate(running: &Running, more: &[&str]) -> Value {
    let (to, events) = (running.listen.to_string(), EVENTS.to_string());
    let mut args = vec!["simulate", "--to", &to, "--rate", "max", "--events", &events, "--miners", "10", "--json"];
    args.extend_from_slice(more);
    let simulated = output(&args);
    assert_eq!(code(simulated.status), 0, "{}", text(&simulated.stderr));
    serde_json::from_slice(&simulated.stdout).unwrap()
}

fn pipeline(running: &Running) -> Value {
    serde_json::from_str(&running.get("/pipeline", "*/*").2).unwrap()
}

#[test]
fn what_is_simulated_arrives_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&config(folder.path()));
    running.wait_for("/ready", |status, _| status == 200);

    let report = simulate(&running, &[]);
    assert_eq!(report["published"], EVENTS);
    assert_eq!(report["acknowledged"], EVENTS);
    assert_eq!(report["dropped"], 0);
    assert!(report["ack_latency_p99_ms"].as_f64().unwrap() > 0.0);

    running.wait_until_taken();
    let page = pipeline(&running);
    let appended = page["journal"]["appended_events"].as_u64().unwrap();
    assert!(appended >= EVENTS, "{page:#}");
    let types = ["history", "rejects"].map(|name| &page["sinks"][name]["type"]);
    assert_eq!(types, ["sqlite", "log-file"]);
    let ledger = &page["sinks"]["rejects"]["ledger"];
    assert_eq!(ledger["delivered"].as_u64().unwrap() + ledger["filtered"].as_u64().unwrap(), appended);

    running.signal("TERM");
    assert_eq!(code(running.ended()), 0);

    let db = folder.path().join("stats.db");
    let stats = output(&["stats", "--db", db.to_str().unwrap(), "--json"]);
    assert_eq!(code(stats.status), 0, "{}", text(&stats.stderr));
    let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
    let totals = &stats["overview"]["sources"][0]["channels"]["totals"];
    let rejected = totals["rejected"].as_u64().unwrap();
    let lines = std::fs::read_to_string(folder.path().join("rejects.jsonl")).unwrap();
    assert_eq!(lines.lines().count() as u64, rejected, "the log file holds the rejects that the history counts");

    let journal = folder.path().join("journal.db");
    let journal = journal.to_str().unwrap();
    let exported = text(&output(&["journal", "export", "--path", journal]).stdout);
    let kinds: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds.len() as u64, page["journal"]["cumulative_events"].as_u64().unwrap());
    let shares = kinds.iter().filter(|event| event["kind"] == "share_submitted").count() as u64;
    assert_eq!(totals["accepted"].as_u64(), Some(shares), "export and history agree");
    assert_eq!(code(output(&["journal", "check", "--path", journal]).status), 0);
    let stats = text(&output(&["journal", "stats", "--path", journal]).stdout);
    assert!(stats.contains("history") && stats.contains("rejects"), "{stats}");
}

#[test]
fn simulated_quotes_arrive_as_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&config(folder.path()));
    running.wait_for("/ready", |status, _| status == 200);
    let without = simulate(&running, &["--publisher", "no-mint"]);
    assert_eq!((without["quotes"].as_u64(), without["ehash"].as_str()), (Some(0), Some("0")));
    let report = simulate(&running, &["--quotes"]);
    let earning_all = simulate(&running, &["--quotes=0", "--publisher", "generous"]);
    assert!(earning_all["quotes"].as_u64() > report["quotes"].as_u64(), "{report} {earning_all}");
    running.wait_until_taken();
    running.signal("TERM");
    assert_eq!(code(running.ended()), 0);

    let db = folder.path().join("stats.db");
    let stats = output(&["stats", "--db", db.to_str().unwrap(), "--json"]);
    let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
    for (publisher, report) in [("no-mint", &without), ("simulated-pool", &report), ("generous", &earning_all)] {
        let sources = stats["overview"]["sources"].as_array().unwrap();
        let source = sources.iter().find(|source| source["publisher"] == publisher).unwrap();
        let totals = &source["channels"]["totals"];
        assert_eq!((&totals["quotes"], &totals["ehash"]), (&report["quotes"], &report["ehash"]), "{publisher}");
        let states = source["quotes"].as_object().unwrap();
        let by_state: u64 = states.values().filter_map(Value::as_u64).sum();
        assert_eq!(Some(by_state), report["quotes"].as_u64(), "{publisher}: {states:?}");
        let is_over = states["created"] == 0 && states["sent"] == 0;
        assert!(is_over, "what had no answer when the pool ended is abandoned: {states:?}");
    }
}

#[test]
fn a_translator_asks_for_no_quotes() {
    let ended = output(&["simulate", "--role", "proxy", "--quotes", "--to", "127.0.0.1:1"]);
    assert_eq!(code(ended.status), 2);
    assert!(text(&ended.stderr).contains("--role pool"), "{}", text(&ended.stderr));
}

#[test]
fn the_pages_say_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&config(folder.path()));
    running.wait_for("/ready", |status, _| status == 200);
    assert_eq!(running.get("/live", "*/*").0, 200);
    assert_eq!(running.get("/nowhere", "*/*").0, 404);
    assert_eq!(running.get("/tap?events=nothing_like_it", "*/*").0, 400);
    assert_eq!(running.get("/live", &"x".repeat(20 << 10)).0, 431, "a head of more than 16 KiB");
    simulate(&running, &[]);

    let (status, head, classic) = running.get("/metrics", "*/*");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(classic.contains("# TYPE sidecar_listener_events_total counter\n"), "{classic}");
    assert!(!classic.contains("# EOF"));
    let sample = |text: &str, name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(sample(&classic, "sidecar_listener_events_total") >= EVENTS as f64);
    assert!(classic.contains("sidecar_sink_status{sink=\"history\",status=\"healthy\"} 1"), "{classic}");
    assert!(classic.contains("sidecar_source_up{publisher=\"simulated-pool\",role=\"pool\"}"), "{classic}");

    let (_, head, open_metrics) = running.get("/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(open_metrics.contains("# TYPE sidecar_listener_events counter\n"));
    assert!(open_metrics.ends_with("# EOF\n"));
    // A counter never falls.
    let before = sample(&classic, "sidecar_journal_appended_events_total");
    assert!(sample(&open_metrics, "sidecar_journal_appended_events_total") >= before);
}

#[test]
fn tap_shows_live_events() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&config(folder.path()));
    running.wait_for("/ready", |status, _| status == 200);
    let admin = running.admin.to_string();
    let args = ["tap", "--admin", &admin, "--events", "share_*", "--sources", "tapped-*", "--count", "25"];
    let tap = sidecar(&args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    running.wait_for("/pipeline", |_, body| serde_json::from_str::<Value>(body).unwrap()["taps"] == 1);
    simulate(&running, &["--publisher", "other-1"]);
    simulate(&running, &["--publisher", "tapped-1"]);
    let tapped = tap.wait_with_output().unwrap();
    assert_eq!(code(tapped.status), 0);
    let lines = text(&tapped.stdout);
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 25);
    for event in events {
        assert!(event["kind"].as_str().unwrap().starts_with("share_"), "{event}");
        assert_eq!(event["publisher"], "tapped-1");
    }
}

#[test]
fn tokens_and_keys_made_by_keygen_open_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let (token, key) = (folder.path().join("token"), folder.path().join("key"));
    assert_eq!(code(output(&["keygen", "token", "--out", token.to_str().unwrap()]).status), 0);
    let public = text(&output(&["keygen", "noise", "--out", key.to_str().unwrap()]).stdout);
    let file = config(folder.path());
    let mut config = std::fs::read_to_string(&file).unwrap();
    config += &format!(
        "[[server.tokens]]\npublishers = [\"pool-*\"]\ntoken_file = {token:?}\n[server.noise]\nauthority_key_file = {key:?}\n"
    );
    std::fs::write(&file, config).unwrap();
    let running = Running::start(&file);
    let token = token.to_str().unwrap();
    let report =
        simulate(&running, &["--publisher", "pool-1", "--token-file", token, "--authority-key", public.trim()]);
    assert_eq!(report["acknowledged"], EVENTS);
    let sources = pipeline(&running)["sources"].clone();
    assert_eq!(sources[0]["publisher"], "pool-1", "{sources}");
}

#[test]
fn a_second_sidecar_on_the_same_state_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path());
    let _running = Running::start(&file);
    let second = output(&["run", "-c", file.to_str().unwrap()]);
    assert_eq!(code(second.status), 75);
    assert!(text(&second.stderr).contains("in use by another process"), "{}", text(&second.stderr));
}

#[test]
fn hang_up_opens_log_files_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&config(folder.path()));
    running.wait_for("/ready", |status, _| status == 200);
    simulate(&running, &[]);
    let (log, moved) = (folder.path().join("rejects.jsonl"), folder.path().join("moved.jsonl"));
    std::fs::rename(&log, &moved).unwrap();
    running.signal("HUP");
    let begun = std::time::Instant::now();
    while !log.exists() {
        assert!(begun.elapsed() < super::process::LIMIT, "the log file is not opened again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn nobody_there_is_a_reason_to_try_again() {
    // A port that was free a moment ago; nobody else is given it so soon.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(code(output(&["tap", "--admin", &address]).status), 75);
}

#[test]
fn the_demo_shows_numbers_and_says_where_its_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("demo");
    let place_text = place.to_str().unwrap();
    let shown = output(&["demo", "--seconds", "3", "--rate", "300", "--miners", "5", "--folder", place_text]);
    assert_eq!(code(shown.status), 0, "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(shown.contains("H/s") && shown.contains(place_text), "{shown}");
    let said = |mark: &str| -> Vec<String> {
        shown.lines().filter_map(|line| line.strip_prefix(mark)).map(|rest| rest.trim().to_owned()).collect()
    };
    let (simulated, in_history) = (said("simulated"), said("in history"));
    assert_eq!(simulated, in_history, "{shown}");
    let [shares, quotes] = simulated.as_slice() else { panic!("{shown}") };
    assert!(!shares.starts_with("0 ") && shares.contains("shares accepted"), "{shown}");
    assert!(!quotes.starts_with("0 ") && quotes.contains(" ehash: ") && !quotes.contains(": 0 answered"), "{shown}");
    for file in ["journal.db", "stats.db", "events.jsonl", "sidecar.toml"] {
        assert!(place.join(file).exists(), "{file}");
    }
    let again = output(&["check", "-c", place.join("sidecar.toml").to_str().unwrap()]);
    assert_eq!(code(again.status), 0);
}
