//! A peer that holds the keys of the connection and sends anything, and one that does not; and handshake messages of any
//! content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stats_sv2::noise::{ANSWER_SIZE, AuthoritySecretKey, FrameDecryptor, HELLO_SIZE, Initiator, Responder};
use stats_sv2::{Frames, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

fuzz_target!(|data: &[u8]| {
    let [cut, mode, rest @ ..] = data else { return };
    let authority = AuthoritySecretKey::generate();
    let responder = Responder::new(authority.clone());
    match mode % 4 {
        0 => handshakes(&responder, &authority, rest),
        with_keys => {
            let mut peer = noise_sv2::Initiator::new(None);
            let hello = peer.step_0().expect("the first message needs nothing");
            let (answer, _, mut decryptor) = responder.answer(&hello, NOW).expect("any key is answered");
            let mut engine = peer.step_2_with_now(answer, 1_750_000_000).expect("the answer is good");
            let mut sent = Vec::new();
            if with_keys == 1 {
                // Each part is one Noise message: headers and payloads of any content and length.
                let mut parts = rest;
                while let Some((length, after)) = parts.split_first() {
                    let (part, after) = after.split_at(after.len().min(usize::from(*length)));
                    parts = after;
                    let mut message = part.to_vec();
                    engine.encrypt(&mut message).expect("the key is not used up");
                    sent.extend_from_slice(&message);
                }
            } else {
                sent.extend_from_slice(rest);
            }
            let frames = receive(&mut decryptor, &sent, usize::from(*cut).max(1));
            // Without the key nothing gets through.
            assert!(with_keys == 1 || frames.is_empty());
        }
    }
});

/// What comes out is whole frames, whatever went in.
fn receive(decryptor: &mut FrameDecryptor, sent: &[u8], cut: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for received in sent.chunks(cut) {
        let before = frames.len();
        if let Err(error) = decryptor.decrypt(received, &mut frames) {
            assert_eq!(decryptor.decrypt(&[], &mut frames), Err(error));
            break;
        }
        assert!(frames.len() - before <= received.len() + 4096 + 6);
    }
    let mut walk = Frames::new(&frames);
    walk.by_ref().for_each(drop);
    assert!(walk.rest().is_empty());
    frames
}

fn handshakes(responder: &Responder, authority: &AuthoritySecretKey, data: &[u8]) {
    let mut hello = [0; HELLO_SIZE];
    let length = data.len().min(HELLO_SIZE);
    hello[..length].copy_from_slice(&data[..length]);
    assert!(responder.answer(&hello, NOW).is_ok());

    let (initiator, hello) = Initiator::start(authority.public_key()).expect("the first message needs nothing");
    // A good answer with some bytes changed.
    let (mut answer, ..) = responder.answer(&hello, NOW).expect("any key is answered");
    let good = answer;
    for (place, byte) in data.iter().take(ANSWER_SIZE).enumerate() {
        answer[place] ^= byte;
    }
    assert_eq!(initiator.finish(&answer, NOW).is_ok(), answer == good);
}
