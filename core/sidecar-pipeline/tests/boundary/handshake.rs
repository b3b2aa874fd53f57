//! Who is let in, and what the others are told.

use std::time::Duration;

use sidecar_pipeline::{Auth, NoiseConfig, Secret, TokenRule};
use stats_sv2::Text;
use stats_sv2::noise::AuthoritySecretKey;
use stats_sv2::session::OPEN_FINISHING;

use crate::client::{Client, Said, encode, heartbeat, open_message, shares};
use crate::sidecar::{Sidecar, eventually, listener};

/// A peer that sent this first is told that, and nothing else; it is counted, and a good publisher is served after it.
async fn refused(sidecar: &Sidecar, first: &[u8], told: &[Said], counted: &str) {
    let before = sidecar.ended(counted);
    let mut peer = Client::connect(sidecar.address()).await;
    peer.send(first).await;
    assert_eq!(peer.last_words().await, told);
    eventually("the refusal is counted", || sidecar.ended(counted) == before + 1).await;
}

fn error(code: &str) -> Vec<Said> {
    vec![Said::Error(code.to_owned())]
}

#[tokio::test]
async fn what_is_no_opening_is_refused_and_the_next_publisher_served() {
    let sidecar = Sidecar::listening(listener()).await;
    let malformed = error("malformed");
    refused(&sidecar, b"GET / HTTP/1.1\r\n\r\n", &malformed, "malformed-open").await;
    refused(&sidecar, &[0xff; 64], &malformed, "malformed-open").await;
    refused(&sidecar, &heartbeat(), &malformed, "malformed-open").await;
    let oversized = [0x54, 0x53, 0x00, 0x01, 0x10, 0x00];
    refused(&sidecar, &oversized, &malformed, "malformed-open").await;
    let mut truncated = encode(&open_message("pool", 1));
    let size = truncated.len() - 6 - 3;
    truncated.truncate(size + 6);
    truncated[3] = size as u8;
    refused(&sidecar, &truncated, &malformed, "malformed-open").await;

    let (mut client, committed) = Client::opened(sidecar.address(), "pool", 1).await;
    assert_eq!(committed, 0);
    client.send(&shares(1, 10)).await;
    client.acknowledged(10).await;
}

#[tokio::test]
async fn impossible_fields_are_malformed() {
    let sidecar = Sidecar::listening(listener()).await;
    let good = open_message("pool", 1);
    let mut nameless = good.clone();
    nameless.publisher = Text::default();
    let mut zero_session = good.clone();
    zero_session.session_id = 0;
    let mut zero_first = good.clone();
    zero_first.first_sequence = 0;
    let mut crossed = good;
    (crossed.min_version, crossed.max_version) = (2, 1);
    for open in [nameless, zero_session, zero_first, crossed] {
        refused(&sidecar, &encode(&open), &error("malformed"), "malformed-open").await;
    }
}

#[tokio::test]
async fn versions_are_agreed_on() {
    let sidecar = Sidecar::listening(listener()).await;
    let mut later = open_message("pool", 1);
    (later.min_version, later.max_version) = (2, 3);
    refused(&sidecar, &encode(&later), &error("unsupported-version"), "unsupported-version").await;

    // A later version may have other fields behind the versions.
    let mut other_fields = stats_sv2::codec::header(0x00, 6).to_vec();
    other_fields.extend_from_slice(&[2, 0, 9, 0, 0xff, 0xff]);
    refused(&sidecar, &other_fields, &error("unsupported-version"), "unsupported-version").await;

    let mut both = open_message("pool", 1);
    both.max_version = 7;
    let mut client = Client::connect(sidecar.address()).await;
    assert!(matches!(client.open(&both).await, Said::Success { .. }));
}

#[tokio::test]
async fn tokens_are_bound_to_names() {
    let rule = TokenRule { secret: Secret::new("sesame"), publishers: vec!["pool-*".to_owned()] };
    let mut config = listener();
    config.auth = Auth { tokens: vec![rule] };
    let sidecar = Sidecar::listening(config).await;
    let mut open = open_message("pool-eu", 1);
    for wrong in ["", "sesam", "sesame2"] {
        open.token = Text::cut(wrong);
        refused(&sidecar, &encode(&open), &error("unauthorized"), "unauthorized").await;
    }
    let mut other_name = open_message("proxy", 1);
    other_name.token = Text::cut("sesame");
    refused(&sidecar, &encode(&other_name), &error("unauthorized"), "unauthorized").await;

    open.token = Text::cut("sesame");
    let mut client = Client::connect(sidecar.address()).await;
    assert!(matches!(client.open(&open).await, Said::Success { .. }));
}

#[tokio::test]
async fn a_name_belongs_to_one_living_session() {
    let mut config = listener();
    config.limits.name_held_for = Duration::from_millis(300);
    let sidecar = Sidecar::listening(config).await;
    let (mut first, _) = Client::opened(sidecar.address(), "pool", 1).await;
    first.send(&shares(1, 5)).await;
    first.acknowledged(5).await;
    refused(&sidecar, &encode(&open_message("pool", 2)), &error("publisher-in-use"), "publisher-in-use").await;

    // Its rest may be delivered by a replaced session beside the holder of the name.
    let mut finishing = open_message("pool", 3);
    finishing.flags = OPEN_FINISHING;
    let mut rest = Client::connect(sidecar.address()).await;
    assert!(matches!(rest.open(&finishing).await, Said::Success { announce: false, .. }));
    rest.send(&shares(1, 3)).await;
    rest.acknowledged(3).await;
    first.send(&shares(6, 7)).await;
    first.acknowledged(7).await;

    // Silent for long enough, the first one is replaced.
    tokio::time::sleep(Duration::from_millis(320)).await;
    let (_second, committed) = Client::opened(sidecar.address(), "pool", 2).await;
    assert_eq!(committed, 0);
    assert_eq!(first.last_words().await, [Said::Close("replaced".to_owned())]);
    let sources = sidecar.snapshot().sources;
    assert_eq!(sources.iter().find(|source| source.session.ends_with('1')).unwrap().ended, Some("replaced"));
}

#[tokio::test]
async fn slow_openings_are_cut_and_their_number_is_bounded() {
    let mut config = listener();
    config.limits.handshake = Duration::from_millis(200);
    config.limits.handshakes = 3;
    let sidecar = Sidecar::listening(config).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;

    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(Client::connect(sidecar.address()).await);
    }
    eventually("those beyond the limit are closed at once", || sidecar.ended("too-many-handshakes") == 37).await;
    client.send(&shares(1, 100)).await;
    client.acknowledged(100).await;
    eventually("the slow ones run out of time", || sidecar.ended("handshake-timeout") == 3).await;
    eventually("none is left", || sidecar.snapshot().listener.unwrap().counters.open_connections == 1).await;
}

#[tokio::test]
async fn sessions_are_bounded_and_a_returning_publisher_finds_its_place() {
    let mut config = listener();
    config.limits.sessions = 2;
    let sidecar = Sidecar::listening(config).await;
    let (mut first, _) = Client::opened(sidecar.address(), "pool-1", 1).await;
    let (_second, _) = Client::opened(sidecar.address(), "pool-2", 2).await;
    refused(&sidecar, &encode(&open_message("pool-3", 3)), &error("too-many-sessions"), "too-many-sessions").await;
    // The same session again takes the place of its own former connection.
    let (mut again, _) = Client::opened(sidecar.address(), "pool-1", 1).await;
    assert_eq!(first.last_words().await, [Said::Close("replaced".to_owned())]);
    again.send(&shares(1, 1)).await;
    again.acknowledged(1).await;
}

#[tokio::test]
async fn encrypted_sessions_work_like_plain_ones() {
    let authority = AuthoritySecretKey::generate();
    let public = authority.public_key();
    let mut config = listener();
    config.noise = Some(NoiseConfig { authority });
    let sidecar = Sidecar::listening(config).await;
    let mut client = Client::encrypted(sidecar.address(), public).await;
    assert_eq!(client.open(&open_message("pool", 9)).await, Said::Success { committed: 0, announce: false });
    client.send(&shares(1, 1_000)).await;
    client.acknowledged(1_000).await;
    client.send(&[0x54, 0x53, 0x10, 0, 0, 0]).await;
    client.send(&encode(&stats_sv2::session::CloseStatsSession { reason: Text::cut("done") })).await;
    let words = client.last_words().await;
    assert_eq!(words.last(), Some(&Said::Ack(1_001)));
    assert_eq!(sidecar.stored(9).len(), 1_001);

    // Plain frames at an encrypted door: 64 bytes are taken for a key, whatever they are, and nothing decrypts after.
    let mut plain = Client::connect(sidecar.address()).await;
    let mut bytes = encode(&open_message("pool", 10));
    bytes.resize(200, 0);
    plain.send(&bytes).await;
    eventually("it is refused", || sidecar.ended("noise-refused") == 1).await;
}
