//! A mint that does what a test tells it. Every wait has a limit, so that a failed test ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ehash::ShareHash;
use mint_quote_sv2::{
    AnyMessage, Message, MintQuoteError, MintQuoteRequest, MintQuoteResponse, PROTOCOL, SetupConnectionSuccess,
    read_frame,
};
use quote_dispatcher::{QuoteDispatcher, QuoteDispatcherBuilder, Timing};
use stats_sv2::Text;

use crate::KEY;

/// No wait of a test takes longer than this, unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeMint {
    listener: TcpListener,
}

impl FakeMint {
    pub(crate) fn listen() -> Self {
        Self::listen_on("127.0.0.1:0".parse().unwrap())
    }

    /// A mint that starts again where another one was.
    pub(crate) fn listen_on(address: SocketAddr) -> Self {
        let listener = until("the port to be free", || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// A dispatcher that talks to this mint, with short times: a share of 40 bits earns 2^8.
    pub(crate) fn dispatcher(&self) -> QuoteDispatcherBuilder {
        QuoteDispatcher::builder(self.address().to_string())
            .minimum_difficulty(32)
            .locking_key(KEY.parse().unwrap())
            .timing(quick())
    }

    pub(crate) fn accept_stream(&self) -> TcpStream {
        until("a connection", || self.try_accept_stream())
    }

    pub(crate) fn try_accept_stream(&self) -> Option<TcpStream> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                Some(stream)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Accepts a connection and opens it.
    pub(crate) fn accept(&self) -> MintSession {
        MintSession::open(self.accept_stream()).expect("SetupConnection")
    }
}

pub(crate) struct MintSession {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl MintSession {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// `None` if the pool is gone before it has opened.
    pub(crate) fn open(stream: TcpStream) -> Option<Self> {
        let mut session = Self::new(stream);
        match session.read()? {
            AnyMessage::SetupConnection(setup) => {
                assert_eq!((setup.protocol, setup.flags), (PROTOCOL, 0));
                assert!((setup.min_version..=setup.max_version).contains(&2));
            }
            other => panic!("expected SetupConnection, got {other:?}"),
        }
        session.send(&SetupConnectionSuccess { used_version: 2, flags: 0 });
        Some(session)
    }

    /// The next message, `None` at the end of the stream.
    pub(crate) fn read(&mut self) -> Option<AnyMessage> {
        loop {
            if let Some((header, payload)) = read_frame(&mut self.buffer).unwrap() {
                let message = AnyMessage::decode(header.msg_type, payload).unwrap();
                self.buffer.drain(..header.frame_size());
                return Some(message);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return None;
                }
                Err(error) => panic!("no message came: {error}"),
            }
        }
    }

    pub(crate) fn try_request(&mut self) -> Option<MintQuoteRequest> {
        match self.read()? {
            AnyMessage::MintQuoteRequest(request) => Some(request),
            other => panic!("expected a request, got {other:?}"),
        }
    }

    /// A request that has come, `None` if none came within the stream's own patience, and an error at its end.
    pub(crate) fn poll_request(&mut self) -> Option<Result<MintQuoteRequest, ()>> {
        loop {
            if let Some((header, payload)) = read_frame(&mut self.buffer).unwrap() {
                let message = AnyMessage::decode(header.msg_type, payload).unwrap();
                self.buffer.drain(..header.frame_size());
                let AnyMessage::MintQuoteRequest(request) = message else { panic!("expected a request") };
                return Some(Ok(request));
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(Err(())),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Err(())),
            }
        }
    }

    pub(crate) fn request(&mut self) -> MintQuoteRequest {
        self.try_request().expect("a request")
    }

    /// Reads so many requests; returns their hashes.
    pub(crate) fn requests(&mut self, count: usize) -> Vec<ShareHash> {
        (0..count).map(|_| ShareHash::from_wire(self.request().header_hash())).collect()
    }

    pub(crate) fn answer(&mut self, hash: ShareHash) {
        self.answer_with(hash, &quote_id(hash));
    }

    pub(crate) fn answer_with(&mut self, hash: ShareHash, quote_id: &str) {
        self.send(&MintQuoteResponse::new(Text::cut(quote_id.to_owned()), hash.to_wire()).unwrap());
    }

    pub(crate) fn refuse(&mut self, error_code: u32) {
        self.send(&MintQuoteError { error_code, error_message: Text::cut("no") });
    }

    /// A message of a later version: means nothing, but the connection is not silent.
    pub(crate) fn say_something(&mut self) {
        self.send_bytes(&[0, 0, 0x99, 1, 0, 0, 42]);
    }

    pub(crate) fn send(&mut self, message: &impl Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_bytes(&bytes);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        // The pool may be gone; the test sees that elsewhere.
        self.stream.write_all(bytes).ok();
    }
}

/// What an idempotent mint calls the quote for this hash.
pub(crate) fn quote_id(hash: ShareHash) -> String {
    format!("quote-{}", &hash.to_string()[56..])
}

/// Times that make a test fast.
pub(crate) fn quick() -> Timing {
    Timing {
        drain_every: Duration::from_millis(1),
        drain_idle: Duration::from_millis(2),
        handshake_timeout: Duration::from_secs(5),
        backoff_first: Duration::from_millis(1),
        backoff_longest: Duration::from_millis(10),
        ..Timing::default()
    }
}

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
