//! The encrypted connection.

use std::io::{Read, Write};

use ehash::ShareHash;
use mint_quote_sv2::noise::{AuthoritySecretKey, FrameDecryptor, FrameEncryptor, HELLO_SIZE, respond};
use mint_quote_sv2::{AnyMessage, Message, MintQuoteResponse, SetupConnectionSuccess, read_frame};
use stats_sv2::{Text, UnixMillis};

use crate::fake_mint::{FakeMint, quote_id, until};
use crate::recorder::Recorder;
use crate::{hash, submit};

struct Encrypted {
    stream: std::net::TcpStream,
    encryptor: FrameEncryptor,
    decryptor: FrameDecryptor,
    plain: Vec<u8>,
}

impl Encrypted {
    fn accept(mint: &FakeMint, secret: &AuthoritySecretKey) -> Self {
        let mut stream = mint.accept_stream();
        let mut hello = [0; HELLO_SIZE];
        stream.read_exact(&mut hello).unwrap();
        let (answer, encryptor, decryptor) = respond(secret, &hello, UnixMillis::now()).unwrap();
        stream.write_all(&answer).unwrap();
        Self { stream, encryptor, decryptor, plain: Vec::new() }
    }

    fn read(&mut self) -> Option<AnyMessage> {
        loop {
            if let Some((header, payload)) = read_frame(&mut self.plain).unwrap() {
                let message = AnyMessage::decode(header.msg_type, payload).unwrap();
                self.plain.drain(..header.frame_size());
                return Some(message);
            }
            let mut chunk = [0; 100];
            let count = self.stream.read(&mut chunk).unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.decryptor.decrypt(&chunk[..count], &mut self.plain).unwrap();
        }
    }

    fn send(&mut self, message: &impl Message) {
        let (mut plain, mut bytes) = (Vec::new(), Vec::new());
        message.encode(&mut plain);
        self.encryptor.encrypt(&plain, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }
}

#[test]
fn quotes_travel_encrypted() {
    let mint = FakeMint::listen();
    let secret = AuthoritySecretKey::generate();
    let host = Recorder::new();
    let quotes = mint.dispatcher().authority_public_key(secret.public_key()).start(host.clone()).unwrap();
    submit(&quotes, 0..50);
    let mut session = Encrypted::accept(&mint, &secret);
    assert!(matches!(session.read(), Some(AnyMessage::SetupConnection(_))));
    session.send(&SetupConnectionSuccess { used_version: 2, flags: 0 });
    for _ in 0..50 {
        let Some(AnyMessage::MintQuoteRequest(request)) = session.read() else { panic!() };
        let hash = ShareHash::from_wire(request.header_hash());
        session.send(&MintQuoteResponse::new(Text::cut(quote_id(hash)), hash.to_wire()).unwrap());
    }
    assert_eq!(host.await_endings(50)[&hash(49)], quote_id(hash(49)));
}

#[test]
fn a_wrong_authority_key_is_refused_and_said() {
    let mint = FakeMint::listen();
    let expected = AuthoritySecretKey::generate().public_key();
    let host = Recorder::new();
    let quotes = mint.dispatcher().authority_public_key(expected).start(host.clone()).unwrap();
    submit(&quotes, [0]);
    let mut session = Encrypted::accept(&mint, &AuthoritySecretKey::generate());
    assert!(session.read().is_none(), "not even SetupConnection");
    let error = until("the reason", || quotes.counters().last_error);
    assert!(error.contains("authority") && error.contains(&expected.to_string()), "{error}");
    assert_eq!((quotes.counters().connections, quotes.counters().pending), (0, 1));
}
