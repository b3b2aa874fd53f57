//! For tests: a mint that answers every request of one connection and remembers whom each share's ehash is locked to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use mint_quote_sv2::{AnyMessage, Message, MintQuoteResponse, SetupConnectionSuccess, read_frame};
use stats_publisher::Text;

use crate::fake_sidecar::PATIENCE;

pub(crate) struct FakeMint {
    pub(crate) address: SocketAddr,
    session: JoinHandle<Vec<(u8, String)>>,
}

impl FakeMint {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, session: thread::spawn(move || answer(listener.accept().unwrap().0)) }
    }

    /// Waits for the end of the connection. Of each request the last byte of its hash, as people read hashes, and its key.
    pub(crate) fn ended(self) -> Vec<(u8, String)> {
        self.session.join().unwrap()
    }
}

fn answer(mut stream: TcpStream) -> Vec<(u8, String)> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut buffer, mut chunk, mut keys) = (Vec::new(), [0; 4096], Vec::new());
    loop {
        let count = stream.read(&mut chunk).unwrap();
        if count == 0 {
            return keys;
        }
        buffer.extend_from_slice(&chunk[..count]);
        let mut answers = Vec::new();
        while let Some((header, payload)) = read_frame(&mut buffer).unwrap() {
            match AnyMessage::decode(header.msg_type, payload).unwrap() {
                AnyMessage::SetupConnection(_) => {
                    SetupConnectionSuccess { used_version: 2, flags: 0 }.encode(&mut answers)
                }
                AnyMessage::MintQuoteRequest(request) => {
                    let hash = request.header_hash();
                    let key = request.locking_key().iter().map(|byte| format!("{byte:02x}")).collect();
                    keys.push((hash.0[0], key));
                    MintQuoteResponse::new(Text::cut(format!("quote-{}", keys.len())), hash)
                        .unwrap()
                        .encode(&mut answers);
                }
                other => panic!("a pool does not send {other:?}"),
            }
            buffer.drain(..header.frame_size());
        }
        stream.write_all(&answers).unwrap();
    }
}
