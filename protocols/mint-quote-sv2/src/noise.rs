//! The encrypted transport between hosts: the SV2 Noise NX handshake and, after it, this protocol's frames in encrypted
//! form. It is that of `stats_sv2`, told to carry other frames. The pool initiates and knows the mint's authority key; the
//! mint responds and proves that it holds the secret half.

use stats_sv2::UnixMillis;
use stats_sv2::noise::Responder;
pub use stats_sv2::noise::{
    ANSWER_SIZE, AuthorityPublicKey, AuthoritySecretKey, FrameDecryptor, FrameEncryptor, HELLO_SIZE, HandshakeError,
    Initiator, KeyError, TransportError,
};

use crate::frame::FRAME_RULE;

/// Begins a handshake with the mint that holds this key, as [`Initiator::start`] does. The bytes go to the mint.
pub fn initiate(authority: AuthorityPublicKey) -> Result<(Initiator, [u8; HELLO_SIZE]), HandshakeError> {
    Initiator::start(authority).map(|(initiator, hello)| (initiator.carrying(FRAME_RULE), hello))
}

/// Answers one pool's message as the holder of `authority`, with a certificate from `now` on, and opens both directions.
/// The bytes go to the pool before anything else.
pub fn respond(
    authority: &AuthoritySecretKey,
    hello: &[u8; HELLO_SIZE],
    now: UnixMillis,
) -> Result<([u8; ANSWER_SIZE], FrameEncryptor, FrameDecryptor), HandshakeError> {
    Responder::new(authority.clone()).carrying(FRAME_RULE).answer(hello, now)
}

#[cfg(test)]
mod tests {
    use stats_sv2::{Amount, FrameError, Text};

    use super::*;
    use crate::limits::MAX_PAYLOAD;
    use crate::message::{Message, MintQuoteError, MintQuoteNotification};

    type Direction = (FrameEncryptor, FrameDecryptor);

    fn connect() -> (Direction, Direction) {
        let now = UnixMillis(1_750_000_000_000);
        let secret = AuthoritySecretKey::generate();
        let (initiator, hello) = initiate(secret.public_key()).unwrap();
        let (answer, encryptor, decryptor) = respond(&secret, &hello, now).unwrap();
        (initiator.finish(&answer, now).unwrap(), (encryptor, decryptor))
    }

    #[test]
    fn frames_with_and_without_the_channel_bit_go_both_ways() {
        let mut frames = Vec::new();
        MintQuoteError { error_code: 1, error_message: Text::cut("no") }.encode(&mut frames);
        MintQuoteNotification::new(stats_sv2::ChannelId(0), Text::cut("q"), Amount(1)).unwrap().encode(&mut frames);
        frames.extend_from_slice(&crate::frame::header(0x90, MAX_PAYLOAD));
        frames.extend_from_slice(&[0xa5; MAX_PAYLOAD]);
        let (mut pool, mut mint) = connect();
        for (sender, receiver) in [(&mut pool.0, &mut mint.1), (&mut mint.0, &mut pool.1)] {
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            sender.encrypt(&frames, &mut sent).unwrap();
            receiver.decrypt(&sent, &mut received).unwrap();
            assert!(received == frames);
        }
    }

    #[test]
    fn frames_of_the_statistics_are_refused_on_both_sides() {
        let (mut pool, _) = connect();
        let foreign = [0x54, 0x53, 0x10, 0, 0, 0];
        let wrong = TransportError::Frame(FrameError::WrongExtension { found: 0x5354, expected: 0 });
        assert_eq!(pool.0.encrypt(&foreign, &mut Vec::new()), Err(wrong.clone()));
        // A sender that thinks this a connection of statistics.
        let now = UnixMillis(1_750_000_000_000);
        let secret = AuthoritySecretKey::generate();
        let (initiator, hello) = Initiator::start(secret.public_key()).unwrap();
        let (answer, _, mut decryptor) = respond(&secret, &hello, now).unwrap();
        let (mut encryptor, _) = initiator.finish(&answer, now).unwrap();
        let mut sent = Vec::new();
        encryptor.encrypt(&foreign, &mut sent).unwrap();
        assert_eq!(decryptor.decrypt(&sent, &mut Vec::new()), Err(wrong));
    }
}
