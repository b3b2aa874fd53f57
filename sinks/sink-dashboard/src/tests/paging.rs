//! Lists in pages: whoever follows the links gets every row once and in order, as JSON and as CSV.

use stats_sv2::Role;

use super::{Bench, Reply, SECOND};

/// Rows of each list.
const ROWS: u32 = 11;

/// A pool with as many of everything, several of each moment.
pub(crate) fn full_pool() -> Bench {
    let mut bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1_000.try_into().unwrap());
    for id in 1..=ROWS {
        if id % 3 == 0 {
            bench.observe(SECOND);
        }
        bench.open(id, &format!("rig-{id}"));
        for _ in 0..id % 4 {
            bench.share(id);
        }
    }
    for number in 1..=ROWS {
        bench.find_block(number);
        bench.create_quote(number, number, 1 << (number % 3));
    }
    bench.observe(5 * SECOND);
    bench
}

fn json_rows(reply: &Reply, list: &str) -> Vec<String> {
    let answer = reply.json();
    answer[list].as_array().unwrap_or_else(|| panic!("{list}: {answer}")).iter().map(ToString::to_string).collect()
}

fn csv_rows(reply: &Reply) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(reply.body.as_bytes());
    reader.records().map(|row| format!("{:?}", row.unwrap())).collect()
}

/// Follows the links of a list from its first page on.
fn follow(bench: &Bench, path: &str, rows: impl Fn(&Reply) -> Vec<String>) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(address) = next {
        let reply = bench.get(&address);
        assert_eq!(reply.status, 200, "{address}: {}", reply.body);
        pages.push(rows(&reply));
        let cursor = reply.next.as_deref().map(|next| next.split("cursor=").nth(1).unwrap().to_owned());
        if reply.header("content-type") == Some("application/json") {
            let told = reply.json()["next_cursor"].clone();
            assert_eq!(cursor, told.as_str().map(str::to_owned).or(told.as_u64().map(|n| n.to_string())), "{address}");
        }
        next = reply.next;
        assert!(pages.len() < 100, "{path} has no end");
    }
    pages
}

/// Every list that has pages, with where its rows are.
const LISTS: [(&str, &str); 11] = [
    ("workers?sort=name&", "workers"),
    ("workers?window=1h&", "workers"),
    ("workers?sort=rejected&order=asc&", "workers"),
    ("workers?sort=last_share&q=rig&", "workers"),
    ("channels?", "channels"),
    ("downstreams?", "downstreams"),
    ("blocks?", "blocks"),
    ("ehash?", "ehash"),
    ("ehash?by=downstream&", "ehash"),
    ("ehash?by=channel&", "ehash"),
    ("quotes?state=created&", "quotes"),
];

#[test]
fn every_row_of_a_list_is_on_one_page() {
    let bench = full_pool();
    for (path, list) in LISTS {
        let path = format!("/api/v1/{path}");
        let [whole] = &follow(&bench, &path, |reply| json_rows(reply, list))[..] else { panic!("{path} is one page") };
        let [file] = &follow(&bench, &format!("{path}format=csv"), csv_rows)[..] else { panic!("{path} is one file") };
        assert_eq!((whole.len(), file.len()), (ROWS as usize, ROWS as usize), "{path}");
        for limit in [1, 2, 5, ROWS] {
            let pages = follow(&bench, &format!("{path}limit={limit}"), |reply| json_rows(reply, list));
            assert_eq!(pages.len(), ROWS.div_ceil(limit) as usize, "{path}: no page is empty");
            assert_eq!(&pages.concat(), whole, "{path} by {limit}");
            let files = follow(&bench, &format!("{path}limit={limit}&format=csv"), csv_rows);
            assert_eq!(&files.concat(), file, "{path} by {limit}");
        }
    }
    let mut bench = bench;
    for other in ["pool-c", "pool-b", "é & co", "translator"] {
        bench.become_other(other, Role::Pool);
    }
    bench.pass(2 * SECOND);
    let names = |reply: &Reply| -> Vec<String> {
        let sources = reply.json()["sources"].clone();
        sources.as_array().unwrap().iter().map(|source| source["publisher"].as_str().unwrap().to_owned()).collect()
    };
    let by_name = ["pool-a", "pool-b", "pool-c", "translator", "é & co"];
    assert_eq!(follow(&bench, "/api/v1/sources", names).concat(), by_name);
    assert_eq!(follow(&bench, "/api/v1/sources?limit=2", names).concat(), by_name);
    assert_eq!(follow(&bench, "/api/v1/sources?limit=2&format=csv", csv_rows).concat().len(), by_name.len());
    let events = follow(&bench, "/api/v1/events?kinds=channel_opened&limit=3", |reply| json_rows(reply, "events"));
    assert_eq!((events.len(), events.concat().len()), (4, ROWS as usize));
}

#[test]
fn a_file_ends_at_its_limit_and_says_where_it_goes_on() {
    let mut bench = Bench::new();
    bench.open_many(10_003);
    bench.pass(2 * SECOND);
    let files = follow(&bench, "/api/v1/channels?format=csv", csv_rows);
    assert_eq!(files.iter().map(Vec::len).collect::<Vec<_>>(), [10_000, 3]);
    let rows: std::collections::BTreeSet<String> = files.concat().into_iter().collect();
    assert_eq!(rows.len(), 10_003);
    assert_eq!(json_rows(&bench.get("/api/v1/channels?limit=5000"), "channels").len(), 1_000);
    #[cfg(feature = "pages")]
    {
        let page = bench.get("/connections?page=401").body;
        assert!(page.contains(">CSV, at most 10,000 rows</a>") && page.contains("page 401 of 401"), "{page}");
        let last = page.split("Table: open channels").nth(1).unwrap().split("</table>").next().unwrap();
        assert_eq!(last.matches("<tr data-key").count(), 3, "the last rows are on a page");
    }
}

#[test]
fn a_list_that_grows_at_its_head_shows_every_row_once() {
    let mut bench = full_pool();
    for (path, list, grow) in [
        ("channels?", "channels", (|bench, round| bench.open(100 + round, "new")) as fn(&mut Bench, u32)),
        ("blocks?", "blocks", |bench, round| bench.find_block(100 + round)),
        ("quotes?", "quotes", |bench, round| bench.create_quote(1, 100 + round, 1)),
    ] {
        let before = json_rows(&bench.get(&format!("/api/v1/{path}limit=100&a=1")), list);
        let (mut seen, mut next, mut round) = (Vec::new(), Some(format!("/api/v1/{path}limit=4")), 0);
        while let Some(address) = next {
            let reply = bench.get(&address);
            seen.extend(json_rows(&reply, list));
            next = reply.next;
            round += 1;
            bench.pass(2 * SECOND);
            grow(&mut bench, round);
        }
        assert_eq!(seen, before, "{path}");
    }
}

#[test]
fn a_worker_whose_value_stays_is_neither_skipped_nor_repeated() {
    // From the top and from the bottom, while others pass those that stand still.
    for order in ["desc", "asc"] {
        let mut bench = full_pool();
        let path = format!("/api/v1/workers?sort=accepted&order={order}&limit=2");
        let (mut seen, mut next, mut round) = (Vec::new(), Some(path), 0);
        while let Some(address) = next {
            let reply = bench.get(&address);
            let page = reply.json();
            seen.extend(page["workers"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()));
            next = reply.next;
            round += 1;
            // The least of all becomes the greatest of all; rows move by their number on every page.
            for _ in 0..20 {
                bench.share(4 * (round % 2 + 1));
            }
            bench.open(100 + round, &format!("new-{round}"));
            bench.observe(2 * SECOND);
        }
        let still = (1..=ROWS).filter(|id| ![4, 8].contains(id)).map(|id| format!("rig-{id}"));
        for name in still {
            assert_eq!(seen.iter().filter(|other| **other == name).count(), 1, "{name} by {order} in {seen:?}");
        }
    }
}

#[test]
fn a_cursor_of_another_list_is_refused() {
    let bench = full_pool();
    let cursor = |path: &str| bench.json(&format!("/api/v1/{path}limit=1"))["next_cursor"].as_str().unwrap().to_owned();
    let cursors = LISTS.map(|(path, _)| cursor(path));
    let [by_name, by_rate, .., blocks, _, _, _, _] = &cursors;
    bench.get(&format!("/api/v1/channels?cursor={blocks}")).problem(400);
    bench.get(&format!("/api/v1/blocks?cursor={by_name}")).problem(400);
    // Nor does the order of one question have the places of another.
    bench.get(&format!("/api/v1/workers?cursor={by_name}")).problem(400);
    bench.get(&format!("/api/v1/workers?order=asc&cursor={by_rate}")).problem(400);
    assert_eq!(bench.get(&format!("/api/v1/workers?cursor={by_rate}")).status, 200);
    for (path, _) in LISTS {
        for nonsense in ["", "x", "1-2", "%00", "e30", "bnVsbA", &"A".repeat(3_000)] {
            let problem = bench.get(&format!("/api/v1/{path}cursor={nonsense}")).problem(400);
            assert!(problem["detail"].as_str().unwrap().contains("`cursor`"), "{path} {nonsense}: {problem}");
        }
    }
    // A place that nobody has been told is no fault of the history.
    let far = crate::api::cursor::write(&sink_sqlite::query::Place { at_ms: u64::MAX, number: u64::MAX });
    assert_eq!(bench.get(&format!("/api/v1/blocks?cursor={far}")).status, 200);
}
