//! The mint sees what it is there to see: a pool that breaks a rule is told, and written down.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use ehash::ShareHash;
use mint_quote_sv2::{AnyMessage, Message, MintQuoteRequest, PROTOCOL, SetupConnection, UNIT, read_frame};
use stats_sv2::{Amount, Text};

use super::{Manner, Memory, Mint};
use crate::quoting_host::{MINIMUM_DIFFICULTY, locking_key, share_hash};

/// A pool that sends what it is told.
struct Pool {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Pool {
    fn connect(mint: &Mint) -> Self {
        let stream = TcpStream::connect(mint.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, received: Vec::new() }
    }

    fn open(mint: &Mint) -> Self {
        let mut pool = Self::connect(mint);
        pool.send(&setup(PROTOCOL));
        assert!(matches!(pool.read(), Some(AnyMessage::SetupConnectionSuccess(_))));
        pool
    }

    fn send(&mut self, message: &impl Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn read(&mut self) -> Option<AnyMessage> {
        loop {
            if let Some((header, payload)) = read_frame(&mut self.received).unwrap() {
                let message = AnyMessage::decode(header.msg_type, payload).unwrap();
                self.received.drain(..header.frame_size());
                return Some(message);
            }
            let mut chunk = [0; 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) => panic!("the mint said nothing: {error}"),
            }
        }
    }

    /// The id that the mint answers with, or the words of its refusal.
    fn ask(&mut self, request: &MintQuoteRequest) -> Result<String, String> {
        self.send(request);
        match self.read() {
            Some(AnyMessage::MintQuoteResponse(response)) => {
                assert_eq!(response.header_hash(), request.header_hash());
                Ok(response.quote_id().to_string())
            }
            Some(AnyMessage::MintQuoteError(error)) => Err(error.error_message.to_string()),
            other => panic!("{other:?} is no answer"),
        }
    }
}

fn setup(protocol: u8) -> SetupConnection {
    let text = Text::cut("test");
    SetupConnection {
        protocol,
        min_version: 2,
        max_version: 2,
        flags: 0,
        endpoint_host: text.clone(),
        endpoint_port: 1,
        vendor: text.clone(),
        hardware_version: text.clone(),
        firmware: text.clone(),
        device_id: text,
    }
}

fn request(share: ShareHash, amount: u64, unit: &'static str, key: [u8; 33]) -> MintQuoteRequest {
    MintQuoteRequest::new(Amount(amount), Text::cut(unit), share.to_wire(), None, key).unwrap()
}

fn good(number: u32) -> MintQuoteRequest {
    request(share_hash(number), 1 << (number % 12), UNIT, locking_key().to_bytes())
}

#[test]
fn the_same_request_has_the_same_id_until_the_memory_is_lost() {
    let mut mint = Mint::start(MINIMUM_DIFFICULTY).unwrap();
    let mut ids = Vec::new();
    for memory in [Memory::Kept, Memory::Kept, Memory::Lost] {
        mint.restart(memory).unwrap();
        ids.push(Pool::open(&mint).ask(&good(5)).unwrap());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
    let snapshot = mint.snapshot();
    assert_eq!((snapshot.requests, snapshot.repeated, snapshot.quotes.len(), snapshot.ehash()), (3, 1, 1, 1 << 5));
    mint.expect_no_violations().unwrap();
}

#[test]
fn requests_that_break_a_rule_are_refused_and_written_down() {
    let key = locking_key().to_bytes();
    let mut other_key = key;
    other_key[0] ^= 1;
    let cases = [
        (request(share_hash(3), 7, UNIT, key), "worth 8 HASH"),
        (request(share_hash(3), 1 << 4, UNIT, key), "worth 8 HASH"),
        (request(share_hash(3), 8, "sat", key), "unit"),
        (request(share_hash(3), 8, UNIT, [4; 33]), "locking key"),
        (request(share_hash(1), 2, UNIT, other_key), "another locking key"),
    ];
    for (bad, words) in cases {
        let mint = Mint::start(MINIMUM_DIFFICULTY).unwrap();
        let mut pool = Pool::open(&mint);
        pool.ask(&good(1)).unwrap();
        let refusal = pool.ask(&bad).unwrap_err();
        assert!(refusal.contains(words), "{refusal}");
        let snapshot = mint.snapshot();
        assert!(snapshot.violations.iter().any(|violation| violation.contains(words)), "{:?}", snapshot.violations);
        assert_eq!(snapshot.quotes.len(), 1);
        assert!(mint.expect_no_violations().is_err());
    }
}

#[test]
fn requests_out_of_turn_are_written_down() {
    let mint = Mint::start(MINIMUM_DIFFICULTY).unwrap();
    mint.script([Manner::Ignore, Manner::Ignore]);
    let mut pool = Pool::open(&mint);
    pool.send(&good(1));
    pool.send(&good(2));
    pool.ask(&good(3)).unwrap();
    assert_eq!(mint.snapshot().violations, [""; 0]);
    pool.ask(&good(3)).unwrap();
    assert!(mint.snapshot().violations[0].contains("twice"), "{:?}", mint.snapshot().violations);
    let mut pool = Pool::open(&mint);
    pool.ask(&good(2)).unwrap();
    pool.ask(&good(1)).unwrap();
    assert!(mint.snapshot().violations[1].contains("out of order"), "{:?}", mint.snapshot().violations);
}

#[test]
fn strangers_are_refused_and_written_down() {
    let mint = Mint::start(MINIMUM_DIFFICULTY).unwrap();
    let mut pool = Pool::connect(&mint);
    pool.send(&setup(PROTOCOL + 1));
    assert!(matches!(pool.read(), Some(AnyMessage::SetupConnectionError(_))));
    assert!(pool.read().is_none(), "the mint closes");
    let mut pool = Pool::connect(&mint);
    pool.send(&good(1));
    assert!(pool.read().is_none(), "no request before the connection is open");
    let snapshot = mint.snapshot();
    assert_eq!((snapshot.violations.len(), snapshot.connections, snapshot.requests), (2, 0, 0));
}
