//! The listener: who may ask, for what, how slowly, how many at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sidecar_core::{ManualClock, Sink};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{NOW, context, settings};
use crate::sink::PrometheusSink;

const SOON: Duration = Duration::from_secs(20);

async fn started(more: &str) -> (PrometheusSink, SocketAddr) {
    let settings = settings(&format!("listen = \"127.0.0.1:0\"\n{more}")).unwrap();
    let mut sink = PrometheusSink::new(settings, context(Arc::new(ManualClock::at(NOW))));
    let start = sink.start().await.unwrap();
    assert!(start.wants_announcement);
    let address = sink.address().unwrap();
    (sink, address)
}

/// Sends bytes and reads all that comes until the other side closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read =
        tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the other side closes in time");
    drop(read);
    String::from_utf8(answer).unwrap()
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn reading_is_all_that_can_be_done() {
    let (mut sink, address) = started("").await;
    let answer = exchange(address, &request("GET", "/metrics", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("mining_counting_since_timestamp_seconds 1700000000"), "{answer}");
    let open_metrics = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let answer = exchange(address, &request("GET", "/metrics", open_metrics)).await;
    assert!(answer.contains("content-type: application/openmetrics-text") && answer.contains("# EOF"), "{answer}");
    let head = exchange(address, &request("HEAD", "/metrics", "")).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = exchange(address, &request(method, "/metrics", "Content-Length: 0\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    assert!(exchange(address, &request("GET", "/etc/passwd", "")).await.starts_with("HTTP/1.1 404"));
    sink.close().await.unwrap();
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let (mut sink, address) = started(&format!("auth = {{ token_file = {:?} }}", path.display().to_string())).await;
    for (headers, status) in [
        ("", "401"),
        ("Authorization: Bearer 0123456789abcdeX\r\n", "401"),
        ("Authorization: Bearer 0123456789abcde\r\n", "401"),
        ("Authorization: Basic 0123456789abcdef\r\n", "401"),
        ("Authorization: Bearer 0123456789abcdef\r\n", "200"),
    ] {
        let answer = exchange(address, &request("GET", "/metrics", headers)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {answer}");
        assert_eq!(answer.contains("mining_"), status == "200", "{answer}");
    }
    sink.close().await.unwrap();
}

#[tokio::test]
async fn the_limits_of_the_table_hold() {
    let (mut sink, address) = started("head_timeout = \"200ms\"\nmax_connections = 1").await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: te").await.unwrap();
    // The only place is taken; this one is answered once the slow one is cut off.
    let next = exchange(address, &request("GET", "/metrics", "")).await;
    assert!(next.starts_with("HTTP/1.1 200"), "{next}");
    let cut = read_to_end(slow).await;
    assert!(!cut.contains("200 OK"), "{cut}");
    sink.close().await.unwrap();
}

#[tokio::test]
async fn closing_frees_the_port_and_an_idle_client_does_not_hold_it_up() {
    let (mut sink, address) = started("").await;
    let idle = TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(SOON, sink.close()).await.expect("close does not wait for an idle client").unwrap();
    drop(std::net::TcpListener::bind(address).expect("the port is free"));
    drop(idle);
    let start = sink.start().await.unwrap();
    assert!(start.wants_announcement && sink.address().is_some());
}
