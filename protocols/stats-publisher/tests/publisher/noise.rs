//! The encrypted connection to a sidecar that holds the authority key, and to one that does not.

use std::io::{Read, Write};

use stats_publisher::UnixMillis;
use stats_sv2::codec::Message;
use stats_sv2::noise::{AuthoritySecretKey, HELLO_SIZE, Responder};
use stats_sv2::session::{CloseStatsSession, OpenStatsSession, OpenStatsSessionSuccess, StatsAck};
use stats_sv2::{Event, Frames};

use crate::fake_sidecar::{FakeSidecar, PATIENCE};
use crate::{share, share_indexes};

#[test]
fn events_come_through_encrypted_and_acknowledgements_go_back() {
    let authority = AuthoritySecretKey::generate();
    let sidecar = FakeSidecar::listen();
    let publisher = sidecar.publisher().authority_public_key(authority.public_key()).start().unwrap();
    let count = 5_000;
    for index in 0..count {
        publisher.publish(share(index));
    }
    let closer = std::thread::spawn(move || publisher.close(PATIENCE));

    // Another authority is refused before a word, the token above all, is said.
    let mut stream = sidecar.accept_stream();
    let mut hello = [0; HELLO_SIZE];
    stream.read_exact(&mut hello).unwrap();
    let (answer, ..) = Responder::new(AuthoritySecretKey::generate()).answer(&hello, UnixMillis::now()).unwrap();
    stream.write_all(&answer).unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0);

    let mut stream = sidecar.accept_stream();
    stream.read_exact(&mut hello).unwrap();
    let (answer, mut encryptor, mut decryptor) = Responder::new(authority).answer(&hello, UnixMillis::now()).unwrap();
    stream.write_all(&answer).unwrap();
    let mut reply = |stream: &mut std::net::TcpStream, frame: Vec<u8>| {
        let mut encrypted = Vec::new();
        encryptor.encrypt(&frame, &mut encrypted).unwrap();
        stream.write_all(&encrypted).unwrap();
    };
    let encode = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frame
    };
    let (mut events, mut number) = (Vec::new(), 0);
    'session: loop {
        let (mut received, mut frames) = ([0; 4096], Vec::new());
        let length = stream.read(&mut received).unwrap();
        assert_ne!(length, 0, "the connection ended without CloseStatsSession");
        decryptor.decrypt(&received[..length], &mut frames).unwrap();
        let acknowledged = number;
        for frame in Frames::new(&frames) {
            if frame.is_event() {
                number += 1;
                events.push(Event::decode(frame).unwrap().into_owned());
            } else if frame.msg_type == OpenStatsSession::TYPE {
                let success =
                    OpenStatsSessionSuccess { version: 1, flags: 0, committed_sequence: 0, max_unacked: 65_536 };
                assert_eq!(OpenStatsSession::decode(frame.payload()).unwrap().token.as_str(), "s3cret");
                reply(&mut stream, encode(&|out| success.encode(out)));
            } else {
                assert_eq!(frame.msg_type, CloseStatsSession::TYPE);
                reply(&mut stream, encode(&|out| StatsAck { committed_sequence: number }.encode(out)));
                break 'session;
            }
        }
        if number > acknowledged {
            reply(&mut stream, encode(&|out| StatsAck { committed_sequence: number }.encode(out)));
        }
    }
    assert!(closer.join().unwrap().complete);
    assert_eq!(share_indexes(&events), (0..count).collect::<Vec<_>>());
}
