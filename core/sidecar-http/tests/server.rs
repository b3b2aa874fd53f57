//! The listener at its border: how slowly, how many at a time, how long, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Extension;
use axum::routing::{any, get};
use sidecar_core::SinkError;
use sidecar_http::{HttpError, HttpLimits, HttpServer, Peer, bind};

/// A test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(200);
/// More than the buffers of a connection hold.
const LARGE: usize = 32 << 20;

fn server(limits: HttpLimits) -> HttpServer {
    let router = Router::new()
        .route("/peer", any(|Extension(Peer(peer)): Extension<Peer>| async move { peer.to_string() }))
        .route("/large", get(|| async { "x".repeat(LARGE) }))
        .route("/never", get(std::future::pending::<()>));
    HttpServer::start("test", bind(([127, 0, 0, 1], 0).into()).unwrap(), limits, router).unwrap()
}

fn one_place() -> HttpLimits {
    HttpLimits { max_connections: 1, ..HttpLimits::default() }
}

fn connect(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may close before it has read all.
    drop(stream.write_all(bytes.as_bytes()));
    stream
}

/// The same from another of this host's addresses.
fn connect_from(source: Ipv4Addr, address: SocketAddr, bytes: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let mut stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

/// All that comes until the other side closes.
fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the other side closes in time");
    }
    String::from_utf8(answer).unwrap()
}

fn get_peer(address: SocketAddr) -> String {
    let stream = connect(address, "GET /peer HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let peer = stream.local_addr().unwrap().to_string();
    let answer = read(stream);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&peer), "{peer}: {answer}");
    answer
}

/// The only place of a listener is taken by a client that sends this; the next is answered once the first is cut off.
fn gives_its_place_to_the_next(limits: HttpLimits, sends: &str) -> String {
    let server = server(limits);
    let slow = connect(server.address(), sends);
    get_peer(server.address());
    read(slow)
}

#[test]
fn half_a_request_head_is_cut_off() {
    let limits = HttpLimits { head_timeout: SOON, ..one_place() };
    let answer = gives_its_place_to_the_next(limits, "GET /peer HTTP/1.1\r\nHost: te");
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[test]
fn an_answer_that_nobody_reads_is_cut_off() {
    let limits = HttpLimits { write_timeout: SOON, ..one_place() };
    let answer = gives_its_place_to_the_next(limits, "GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() < LARGE, "{} bytes", answer.len());
}

#[test]
fn a_connection_ends_at_its_age_whatever_it_does() {
    let limits = HttpLimits { max_connection_age: Some(SOON), ..one_place() };
    assert_eq!(gives_its_place_to_the_next(limits, "GET /never HTTP/1.1\r\nHost: test\r\n\r\n"), "");
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let two = HttpLimits { max_connections_per_address: 2, ..HttpLimits::default() };
    let server = server(two.clone());
    let held = [connect(server.address(), ""), connect(server.address(), "")];
    let request = "GET /peer HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    assert_eq!(read(connect(server.address(), request)), "", "the third is closed");
    let other = connect_from([127, 0, 0, 2].into(), server.address(), request);
    assert!(read(other).starts_with("HTTP/1.1 200"), "another client is answered");
    drop(held);
    // The server learns at its own time that they are gone.
    let end = Instant::now() + PATIENCE;
    while !read(connect(server.address(), request)).starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < end, "the places are free again");
    }
    let proxies = HttpLimits { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..two };
    let behind = self::server(proxies);
    let _held = [connect(behind.address(), ""), connect(behind.address(), "")];
    get_peer(behind.address());
}

#[test]
fn a_request_is_answered_without_its_body() {
    let server = server(one_place());
    let slow = connect(server.address(), "POST /peer HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nx");
    assert!(read(slow).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_head_beyond_its_limit_is_refused() {
    let server = server(one_place());
    let head = format!("GET /peer HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    assert!(!read(connect(server.address(), &head)).contains("200 OK"));
    get_peer(server.address());
}

#[test]
fn stopping_cuts_off_who_does_not_end_frees_the_port_and_ends_what_runs_beside() {
    let server = server(HttpLimits::default());
    let address = server.address();
    let (alive, ended) = mpsc::sync_channel::<()>(1);
    server.spawn(async move {
        std::future::pending::<()>().await;
        drop(alive);
    });
    get_peer(address);
    let idle = connect(address, "");
    let never = connect(address, "GET /never HTTP/1.1\r\nHost: test\r\n\r\n");
    drop(server);
    assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Disconnected), "nothing runs on");
    assert_eq!((read(idle), read(never)), (String::new(), String::new()));
    TcpListener::bind(address).expect("the port is free");
}

#[test]
fn a_port_in_use_is_worth_another_try_and_an_address_of_somebody_else_is_not() {
    let server = server(HttpLimits::default());
    let refused = |address: SocketAddr| SinkError::from(bind(address).expect_err("it cannot listen there"));
    assert!(matches!(refused(server.address()), SinkError::Transient { .. }));
    assert!(matches!(refused("192.0.2.1:1".parse().unwrap()), SinkError::Fatal { .. }));
    assert!(matches!(bind(server.address()), Err(HttpError::Bind { listen, .. }) if listen == server.address()));
}
