//! Names from the network are hostile text: they come back unchanged as data, and as nothing else.

use proptest::prelude::*;
use serde_json::Value;

use super::{Bench, SECOND};

const NAMES: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "\u{202e}gnp.exe\u{202c}",
    "😀👩‍👩‍👧‍👦",
    "=HYPERLINK(\"http://evil\")",
    "a\r\nSet-Cookie: x=1\r\n\r\nb",
    "../../etc/passwd?x#y&z=1%00",
    "",
];

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Every endpoint that shows the name gives it back.
fn check(bench: &Bench, names: &[String]) {
    let listed = bench.json("/api/v1/workers?sort=first_seen&limit=1000");
    let listed: Vec<&str> =
        listed["workers"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    for name in names {
        assert!(listed.contains(&name.as_str()), "{name:?} is not in {listed:?}");
        let worker = bench.json(&format!("/api/v1/worker?kind=identity&name={}", encoded(name)));
        assert_eq!(worker["name"].as_str(), Some(name.as_str()));
        let series = bench.get(&format!("/api/v1/series?subject=identity&range=1h&name={}", encoded(name)));
        assert_eq!(series.status, 200, "{}", series.body);
    }
    let table = bench.get("/api/v1/workers?format=csv&limit=1000").body;
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let shown: Vec<String> = rows.records().map(|row| row.unwrap()[0].to_owned()).collect();
    assert_eq!(shown.len(), listed.len());
    for cell in shown {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?} would run");
    }
    for path in ["/api/v1/channels", "/api/v1/events", "/api/miners", "/api/connections", "/api/stats"] {
        let reply = bench.get(path);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let _: Value = reply.json();
    }
}

#[test]
fn known_tricks_come_back_as_data() {
    let mut bench = Bench::new();
    let mut names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    names.push("é".repeat(127) + "x");
    for (id, name) in (1..).zip(&names) {
        bench.open(id, name);
        bench.share(id);
    }
    bench.observe(5 * SECOND);
    names.retain(|name| !name.is_empty());
    check(&bench, &names);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn any_name_comes_back_as_data(names in prop::collection::btree_set(prop_oneof![any::<String>(), "[\\x00-\\x1f\"'<>&=+@,;\u{202e}\u{2028}]{1,30}"], 1..6)) {
        let mut bench = Bench::new();
        let names: Vec<String> =
            names.into_iter().map(|name| stats_sv2::Text::cut(name).as_str().to_owned()).filter(|name| !name.is_empty()).collect();
        for (id, name) in (1..).zip(&names) {
            bench.open(id, name);
        }
        bench.observe(5 * SECOND);
        check(&bench, &names);
    }
}
