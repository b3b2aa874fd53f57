//! The live stream over TCP: messages, replay, bounds, and its end.

use stats_sv2::event::{BlockFound, ChannelClosed, QuoteCreated, SessionEnded};
use stats_sv2::{Amount, ChannelId, DownstreamId, Event, Role, Text, U256, UnixMillis};

use super::{Bench, MINUTE, SECOND};

#[test]
fn what_happens_is_told() {
    let mut bench = Bench::new();
    let mut client = bench.listen("");
    bench.open(1, "alice");
    let up = client.next("worker");
    assert_eq!((&up.data["name"], &up.data["state"]), (&"alice".into(), &"up".into()));
    let timestamp = UnixMillis(bench.now());
    bench.events(&[
        Event::BlockFound(BlockFound {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(1),
            timestamp,
            height: 900_000,
            block_hash: U256([7; 32]),
        }),
        Event::QuoteCreated(QuoteCreated {
            downstream_id: DownstreamId(1),
            amount: Amount(1 << 62),
            timestamp,
            channel_id: ChannelId(1),
            share_hash: U256([8; 32]),
            sequence_number: 1,
        }),
    ]);
    let block = client.next("block").data;
    assert_eq!((&block["height"], &block["name"]), (&900_000.into(), &"alice".into()));
    assert_eq!(client.next("quote").data["amount"], "4611686018427387904");
    bench.events(&[Event::ChannelClosed(ChannelClosed {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp,
        reason: Text::cut("bye"),
    })]);
    assert_eq!(client.next("worker").data["state"], "down");
    bench.derived(&[Event::SessionEnded(SessionEnded {
        session_id: 7,
        timestamp,
        outcome: 0,
        reason: Text::cut("over"),
    })]);
    assert_eq!(client.next("source").data["reason"], "session-ended");
}

#[test]
fn an_update_has_the_numbers_and_who_was_active() {
    let mut bench = Bench::new();
    bench.open(1, "alice");
    bench.observe(20 * SECOND);
    let mut client = bench.listen("");
    // What was before the first look is told with it or not; what comes after it is.
    client.next("update");
    bench.pass(2 * SECOND);
    bench.share(1);
    let update = loop {
        let update = client.next("update").data;
        if !update["workers"].as_array().unwrap().is_empty() {
            break update;
        }
    };
    assert_eq!(update["history_error"], serde_json::Value::Null);
    assert_eq!((&update["workers"][0]["name"], &update["workers"][0]["accepted"]), (&"alice".into(), &1.into()));
    let source = &update["sources"][0];
    assert_eq!((&source["publisher"], &source["workers_online"]), (&"pool-a".into(), &1.into()));
    assert_eq!((&source["state"], source["windows"].as_array().unwrap().len()), (&"live".into(), 7));
}

#[test]
fn who_is_online_is_counted_by_name_and_the_same_everywhere() {
    let mut bench = Bench::new();
    for (id, name) in [(1, "alice"), (2, "alice"), (3, "bob"), (4, "idle")] {
        bench.open(id, name);
    }
    // What the dashboard was not told itself is known to the history.
    bench.unseen(&Bench::opened(5, "carol", UnixMillis(bench.now())));
    let check = |bench: &Bench, online: u64, silent: u64| {
        let update = bench.listen("").next("update").data["sources"][0].clone();
        assert_eq!((&update["workers_online"], &update["channels_open"]), (&online.into(), &5.into()), "{update}");
        for (path, list) in [("sources", "sources"), ("summary", "sources")] {
            let source = bench.json(&format!("/api/v1/{path}"))[list][0].clone();
            let counts = (&source["workers_online"], &source["workers_silent"]);
            assert_eq!(counts, (&online.into(), &silent.into()), "{path}: {source}");
        }
        let workers = bench.json("/api/v1/workers");
        let of = |presence: &str| {
            let workers = workers["workers"].as_array().unwrap();
            workers.iter().filter(|worker| worker["presence"] == presence).count() as u64
        };
        assert_eq!((of("online"), of("silent"), of("gone")), (online, silent, 0), "{workers}");
        let shown = bench.json("/api/v1/workers?hide=silent");
        assert_eq!((&shown["matched"], &shown["total"]), (&online.into(), &4.into()), "{shown}");
        for worker in workers["workers"].as_array().unwrap() {
            let name = worker["name"].as_str().unwrap();
            let detail = bench.json(&format!("/api/v1/worker?kind=identity&name={name}"));
            assert_eq!(detail["presence"], worker["presence"], "{name}");
        }
        #[cfg(feature = "pages")]
        {
            let overview = bench.get("/").body;
            assert!(overview.contains(&format!("data-online=\"\">{online}</td>")), "{overview}");
            let list = bench.get("/workers").body;
            let silent =
                if silent > 0 { format!(", {silent} connected without a share lately") } else { String::new() };
            assert!(list.contains(&format!(">{online} online{silent}, 0 not connected</p>")), "{list}");
            assert!(bench.get("/workers?hide=silent").body.contains(&format!("{online} of 4 known")) || online == 4);
        }
    };
    check(&bench, 4, 0);
    bench.observe(4 * MINUTE);
    for id in [1, 3, 5] {
        bench.share(id);
    }
    bench.observe(2 * MINUTE);
    check(&bench, 3, 1);
}

#[test]
fn a_silent_source_is_told_once() {
    let mut bench = Bench::new();
    let mut client = bench.listen("");
    bench.pass(31 * SECOND);
    let silent = client.next("source").data;
    assert_eq!((&silent["state"], &silent["reason"]), (&"down".into(), &"silent".into()));
    bench.observe(SECOND);
    let heard = client.next("source").data;
    assert_eq!((&heard["state"], &heard["reason"]), (&"up".into(), &"heard-again".into()));
}

#[test]
fn who_comes_back_gets_what_was_missed() {
    let mut bench = Bench::new();
    let mut client = bench.listen("");
    bench.open(1, "alice");
    let seen = client.next("worker").id;
    drop(client);
    bench.open(2, "bob");
    bench.open(3, "carol");
    let mut client = bench.listen(&format!("Last-Event-ID: {seen}\r\n"));
    assert_eq!(client.next("worker").data["name"], "bob");
    assert_eq!(client.next("worker").data["name"], "carol");
    // The id of another run, of the future, or of nobody: begin anew, and go on from there.
    for unknown in ["17a-3", &format!("{}9999", seen), "", "nonsense"] {
        let mut client = bench.listen(&format!("Last-Event-ID: {unknown}\r\n"));
        assert_eq!(client.next("reset").data, serde_json::json!({}), "{unknown:?}");
    }
    let polled = bench.json(&format!("/api/v1/live/poll?after={seen}"));
    let names: Vec<_> =
        polled["messages"].as_array().unwrap().iter().filter(|message| message["event"] == "worker").collect();
    assert_eq!((names.len(), &names[0]["data"]["name"], &polled["reset"]), (2, &"bob".into(), &false.into()));
    let last = polled["last_id"].as_str().unwrap().to_owned();
    assert_eq!(bench.json(&format!("/api/v1/live/poll?after={last}&again=1"))["reset"], false);
    assert_eq!(bench.json("/api/v1/live/poll?after=nonsense")["reset"], true);
}

#[test]
fn there_are_places_for_so_many_and_stopping_ends_all_streams() {
    let mut bench = Bench::with(Role::Pool, |settings| settings.max_live_clients = 2);
    let (first, second) = (bench.listen(""), bench.listen(""));
    let refused = bench.get("/api/v1/live");
    assert!(refused.problem(503)["detail"].as_str().unwrap().contains("2 clients"));
    bench.stop();
    first.end();
    second.end();
    assert!(std::net::TcpStream::connect(bench.address).is_err(), "nobody listens any more");
}

#[test]
fn an_update_tells_what_the_history_has_now() {
    let mut bench = Bench::new();
    bench.open(1, "alice");
    let accepted = |bench: &Bench, again: u32| {
        let summary = bench.json(&format!("/api/v1/summary?again={again}"));
        summary["sources"][0]["channels"]["totals"]["accepted"].as_u64().unwrap_or(0)
    };
    assert_eq!(accepted(&bench, 0), 0);
    // Not a moment passes: what was read for the summary is as good as new for all but the updates.
    bench.share(1);
    assert_eq!(accepted(&bench, 1), 0);
    let mut client = bench.listen("");
    let update = client.next("update").data;
    assert_eq!(update["sources"][0]["accepted"], 1, "{update}");
    assert_eq!(accepted(&bench, 2), 1, "and what an update has read is good for everybody");
}

#[test]
fn the_stream_is_not_compressed() {
    let mut bench = Bench::new();
    let mut client = bench.listen("Accept-Encoding: gzip, br\r\n");
    bench.open(1, "alice");
    assert_eq!(client.next("worker").data["name"], "alice");
}
