//! The door: who may ask what, and what the answers let a browser do.

use std::io::{Read, Write};

use stats_sv2::event::{ChannelClosed, EventsDropped, QuoteCreated, QuoteFailed, SourceInfo};
use stats_sv2::{Amount, ChannelId, DownstreamId, Event, Role, Text, U256, UnixMillis};

use super::{Bench, SECOND};
use crate::config::{AuthSetting, Redacted};

/// Every path with a name or an address in it.
const PATHS: [&str; 15] = [
    "/api/v1/summary",
    "/api/v1/sources",
    "/api/v1/workers",
    "/api/v1/workers?sparkline=true",
    "/api/v1/channels",
    "/api/v1/downstreams",
    "/api/v1/events",
    "/api/v1/ehash",
    "/api/v1/quotes",
    "/api/v1/losses",
    "/api/stats",
    "/api/services",
    "/api/connections",
    "/api/miners",
    "/api/pool",
];

#[test]
fn every_answer_forbids_what_pages_do_not_need() {
    let bench = Bench::new();
    for reply in [
        bench.get("/api/v1/summary"),
        bench.get("/api/v1/nothing"),
        bench.get("/health"),
        bench.ask("POST", "/api/v1/summary", "Host: localhost\r\n"),
        bench.ask("GET", "/", "Host: evil.example\r\n"),
    ] {
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    }
}

#[test]
fn nothing_is_changed_here() {
    let bench = Bench::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = bench.ask(method, "/api/v1/summary", "Host: localhost\r\n");
        reply.problem(405);
        assert_eq!(reply.header("allow"), Some("get, head"));
    }
    let long = bench.ask("GET", "/api/v1/summary", "Host: localhost\r\nContent-Length: 65537\r\n");
    long.problem(413);
}

#[test]
fn other_peoples_names_for_this_host_are_not_answered_without_auth() {
    let bench = Bench::new();
    bench.ask("GET", "/api/v1/summary", "Host: evil.example\r\n").problem(421);
    assert_eq!(bench.ask("GET", "/api/v1/summary", "Host: 127.0.0.1:8080\r\n").status, 200);
    let open = Bench::with(Role::Pool, |settings| settings.auth = Some(AuthSetting::Everybody));
    assert_eq!(open.ask("GET", "/api/v1/summary", "Host: stats.example\r\n").status, 200);
}

#[test]
fn with_a_token_nothing_is_answered_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "correct-horse-battery\n").unwrap();
    let bench = Bench::with(Role::Pool, |settings| settings.auth = Some(AuthSetting::TokenFile(file)));
    for path in PATHS.iter().chain(&["/", "/health", "/api/v1/live", "/api/v1/openapi.json", "/nothing"]) {
        let reply = bench.get(path);
        reply.problem(401);
        assert!(reply.header("www-authenticate").unwrap().starts_with("basic"), "{}", reply.head);
    }
    let with = |value: &str| {
        bench.ask("GET", "/api/v1/summary", &format!("Host: stats.example\r\nAuthorization: {value}\r\n")).status
    };
    assert_eq!(with("Bearer correct-horse-battery"), 200);
    assert_eq!(with("Basic YW55Ym9keTpjb3JyZWN0LWhvcnNlLWJhdHRlcnk="), 200);
    assert_eq!(with("Bearer wrong-horse-battery-"), 401);
}

#[test]
fn nobody_tries_many_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "correct-horse-battery\n").unwrap();
    for path in ["/", "/health", "/api/v1/health"] {
        let bench = Bench::with(Role::Pool, |settings| {
            settings.auth = Some(AuthSetting::TokenFile(file.clone()));
            settings.requests_per_second = 1.try_into().unwrap();
        });
        let mut tried = (0..100).map(|number| {
            let headers = format!("Host: localhost\r\nAuthorization: Bearer wrong-horse-battery-{number}\r\n");
            bench.ask("GET", path, &headers)
        });
        tried.find(|reply| reply.status != 401).expect("a limit").problem(429);
    }
}

#[test]
fn too_many_requests_are_told_to_wait() {
    let bench = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1.try_into().unwrap());
    let replies: Vec<_> = (0..15).map(|_| bench.get("/api/v1/alerts")).collect();
    assert!(replies[..10].iter().all(|reply| reply.status == 200), "a burst is allowed");
    let refused = replies.iter().find(|reply| reply.status == 429).expect("a limit");
    refused.problem(429);
    // A probe is not sent away: it would take the sidecar for down.
    for path in ["/health", "/api/v1/health"] {
        assert_eq!(bench.get(path).status, 200, "{path}");
    }
    bench.get("/health?x=1").problem(429);
    // It has its own allowance, and no more than that.
    let mut probes = (0..100).map(|_| bench.get("/health"));
    probes.find(|reply| reply.status != 200).expect("a limit").problem(429);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[test]
fn clients_of_a_trusted_proxy_have_an_allowance_each() {
    let refused = |bench: &Bench| {
        let asked = (0..30).map(|client| {
            let headers = format!("Host: localhost\r\nX-Forwarded-For: 198.51.100.1, 192.0.2.{client}\r\n");
            bench.ask("GET", "/api/v1/alerts", &headers).status
        });
        asked.filter(|status| *status == 429).count()
    };
    let behind = Bench::with(Role::Pool, |settings| {
        settings.requests_per_second = 1.try_into().unwrap();
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    assert_eq!(refused(&behind), 0);
    let open = Bench::with(Role::Pool, |settings| settings.requests_per_second = 1.try_into().unwrap());
    assert!(refused(&open) > 0, "whoever is not trusted cannot become somebody else");
}

#[test]
fn one_address_cannot_take_every_place_of_the_live_stream() {
    let bench = Bench::with(Role::Pool, |settings| {
        settings.max_live_clients_per_address = Some(2.try_into().unwrap());
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let of = |client: u8| format!("X-Forwarded-For: 192.0.2.{client}\r\n");
    let held = [bench.listen(&of(1)), bench.listen(&of(1))];
    // A stream that is not refused has no end, but its head has.
    let ask = |method: &str| bench.ask(method, "/api/v1/live", &format!("Host: localhost\r\n{}", of(1)));
    assert_eq!(ask("HEAD").status, 429);
    let detail = ask("GET").problem(429)["detail"].to_string();
    assert!(detail.contains("2 clients with this address") && detail.contains("/api/v1/live/poll"), "{detail}");
    drop(bench.listen(&of(2)));
    drop(held);
}

#[test]
fn one_address_cannot_take_every_connection() {
    let limited = |trusted: &[&str]| {
        Bench::with(Role::Pool, |settings| {
            settings.max_connections_per_address = Some(2.try_into().unwrap());
            settings.trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        })
    };
    let bench = limited(&[]);
    let held = [bench.connect(), bench.connect()];
    let mut third = bench.connect();
    // Closed or cut off: nothing is answered.
    drop(third.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let mut answer = Vec::new();
    drop(third.read_to_end(&mut answer));
    assert!(answer.is_empty(), "{answer:?}");
    drop(held);
    let behind = limited(&["127.0.0.1"]);
    let _held = [behind.connect(), behind.connect()];
    assert_eq!(behind.get("/health").status, 200, "a proxy's connections are those of many clients");
}

/// Whoever chooses the words may put a name or an address into them: why channel 2 closed, why a quote failed, why events
/// are lost, and what an event says that is not known here.
pub(crate) fn free_words(now_ms: u64) -> [Event<'static>; 5] {
    let timestamp = UnixMillis(now_ms);
    let words = || Text::cut("bc1qsecret.rig at 192.0.2.97");
    let share_hash = U256([9; 32]);
    [
        Event::QuoteCreated(QuoteCreated {
            downstream_id: DownstreamId(2),
            amount: Amount(1),
            timestamp,
            channel_id: ChannelId(2),
            share_hash,
            sequence_number: 1,
        }),
        Event::QuoteFailed(QuoteFailed {
            share_hash: Some(share_hash),
            error_code: Text::cut("timeout"),
            error_message: words(),
            timestamp,
        }),
        Event::ChannelClosed(ChannelClosed {
            downstream_id: DownstreamId(2),
            channel_id: ChannelId(2),
            timestamp,
            reason: words(),
        }),
        Event::EventsDropped(EventsDropped {
            count: 3,
            first_timestamp: timestamp,
            last_timestamp: timestamp,
            reason: words(),
        }),
        Event::Unknown { msg_type: 0xf0, payload: words().as_str().as_bytes().to_vec().into() },
    ]
}

#[test]
fn free_words_are_hidden_whatever_is_redacted() {
    for redacted in [Redacted::Addresses, Redacted::Names] {
        let mut bench = Bench::with(Role::Pool, |settings| settings.redact = vec![redacted]);
        bench.open(2, "rig");
        bench.events(&free_words(bench.now()));
        let events = bench.get("/api/v1/events");
        for path in ["/api/v1/events", "/api/v1/summary", "/api/v1/quotes"] {
            let body = bench.get(path).body;
            assert!(body.contains("(hidden)"), "{path}: {body}");
            assert!(!body.contains("secret") && !body.contains("736563726574"), "{path}: {body}");
        }
        assert_eq!(events.body.matches("\"(hidden)\"").count(), if redacted == Redacted::Addresses { 6 } else { 4 });
    }
    // Without it they are shown.
    let mut bench = Bench::new();
    bench.open(2, "rig");
    bench.events(&free_words(bench.now()));
    assert_eq!(bench.get("/api/v1/events").body.matches("secret").count(), 3);
}

#[test]
fn what_is_redacted_is_nowhere() {
    let mut bench = Bench::with(Role::Pool, |settings| {
        settings.redact = vec![Redacted::Addresses, Redacted::Names];
        settings.source.mint_address = Some("192.0.2.99:3338".to_owned());
    });
    let mut client = bench.listen("");
    bench.open(1, "bc1qsecret.rig");
    bench.share(1);
    bench.events(&[Event::SourceInfo(SourceInfo {
        timestamp: UnixMillis(bench.now()),
        name: Text::cut("listen_address"),
        value: Text::cut("192.0.2.98:3333"),
    })]);
    let told = client.next("worker").data["name"].as_str().unwrap().to_owned();
    bench.open(2, "bc1qsecret.rig");
    bench.events(&free_words(bench.now()));
    bench.observe(5 * SECOND);
    for path in PATHS {
        for format in ["", "csv"] {
            let separator = if path.contains('?') { '&' } else { '?' };
            let reply = bench.get(&format!("{path}{separator}{}", if format.is_empty() { "" } else { "format=csv" }));
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            for secret in ["secret", "192.0.2.", "device-1", "736563726574"] {
                assert!(!reply.body.contains(secret), "{path} tells {secret}: {}", reply.body);
            }
        }
    }
    // The pseudonym is the same everywhere and leads to the worker.
    let shown = bench.json("/api/v1/workers")["workers"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(shown, told);
    let worker = bench.json(&format!("/api/v1/worker?kind=identity&name={shown}"));
    assert_eq!((&worker["name"], worker["recent_shares"].as_array().unwrap().len()), (&shown.as_str().into(), 1));
    let closed = worker["connections"].as_array().unwrap().iter().find(|connection| connection["closed_ms"].is_u64());
    assert_eq!((&closed.unwrap()["address"], &closed.unwrap()["reason"]), (&"(hidden)".into(), &"(hidden)".into()));
    let connections = bench.get(&format!("/api/v1/worker/connections?kind=identity&name={shown}&limit=1"));
    assert!(connections.body.contains("(hidden)") && connections.next.is_some(), "{}", connections.body);
    bench.open(3, "bc1qsecret.other");
    bench.events(&[Event::QuoteCreated(QuoteCreated {
        downstream_id: DownstreamId(3),
        amount: Amount(1),
        timestamp: UnixMillis(bench.now()),
        channel_id: ChannelId(3),
        share_hash: U256([10; 32]),
        sequence_number: 1,
    })]);
    bench.pass(2 * SECOND);
    // Nor does a place in a list tell what its row does not.
    for path in
        ["workers?limit=1", "workers?sort=name&limit=1", "channels?limit=1", "ehash?limit=1", "downstreams?limit=1"]
    {
        let next = bench.get(&format!("/api/v1/{path}")).next.unwrap_or_else(|| panic!("{path} has one page"));
        let cursor = base64::Engine::decode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            next.split("cursor=").nth(1).unwrap(),
        );
        let place = String::from_utf8(cursor.unwrap()).unwrap();
        assert!(!place.contains("secret") && !place.contains("192.0.2."), "{path}: {place}");
    }
    assert_eq!(bench.json("/api/v1/summary")["sources"][0]["losses"][0]["reason"], "(hidden)");
    let series = bench.get(&format!("/api/v1/series?subject=identity&name={shown}&range=1h"));
    assert_eq!(series.status, 200, "{}", series.body);
    assert!(!bench.get("/api/v1/worker?kind=identity&name=bc1qsecret.rig").body.contains("\"totals\""));
}
