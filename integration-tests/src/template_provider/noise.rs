//! SV2 frames over a Noise session on a TCP connection, in the responder's role.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use stratum_core::{
    bitcoin::{
        key::Secp256k1,
        secp256k1::{Keypair, SecretKey},
    },
    codec_sv2::{
        Decoded, Decrypted, EncodableFrame, Handshake, NoiseDecoder, NoiseEncoder, TransportDecryptState,
        TransportEncryptState,
    },
    framing_sv2::header::Header,
    noise_sv2::Responder,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The pool is configured without a key and so does not check who signed the certificate: any secret will do.
const AUTHORITY_SECRET: [u8; 32] = [7; 32];
const CERTIFICATE_VALID_FOR: Duration = Duration::from_secs(60 * 60);

/// The reading half. Not cancellation safe: a read that is dropped half-way loses its frame.
pub(super) struct NoiseReader {
    reader: OwnedReadHalf,
    decoder: NoiseDecoder,
    /// The decoder takes the state and gives it back with each result; `None` after an error.
    state: Option<TransportDecryptState>,
}

/// The writing half.
pub(super) struct NoiseWriter {
    writer: OwnedWriteHalf,
    encoder: NoiseEncoder,
    state: TransportEncryptState,
}

/// Answers the initiator's handshake and splits the session.
pub(super) async fn respond(stream: TcpStream) -> Result<(NoiseReader, NoiseWriter)> {
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    tokio::time::timeout(HANDSHAKE_WITHIN, handshake(stream)).await.context("the handshake took too long")?
}

async fn handshake(stream: TcpStream) -> Result<(NoiseReader, NoiseWriter)> {
    let secret = SecretKey::from_slice(&AUTHORITY_SECRET).context("the secret key is valid")?;
    let keys = Keypair::from_secret_key(&Secp256k1::new(), &secret);
    let responder =
        Responder::from_authority_kp(&keys.x_only_public_key().0.serialize(), &AUTHORITY_SECRET, CERTIFICATE_VALID_FOR)
            .map_err(|error| anyhow!("cannot make a Noise responder: {error:?}"))?;

    let (mut reader, mut writer) = stream.into_split();
    let mut decoder = NoiseDecoder::new();
    let mut encoder = NoiseEncoder::new();
    let first = loop {
        reader.read_exact(decoder.writable()).await.context("the initiator left")?;
        match decoder.next_handshake_frame::<Responder>().map_err(codec)? {
            Decoded::Frame(message) => break message,
            Decoded::Incomplete(_) => {}
        }
    };
    let key = first.payload().try_into().context("the initiator's key has the wrong length")?;
    let (answer, transport) = Handshake::responder(responder).step_1(key).map_err(codec)?;
    writer.write_all(encoder.encode_handshake(answer).as_ref()).await.context("cannot answer the handshake")?;
    let (encrypt, decrypt) = transport.split();
    Ok((NoiseReader { reader, decoder, state: Some(decrypt) }, NoiseWriter { writer, encoder, state: encrypt }))
}

impl NoiseReader {
    /// The next frame's header and payload; `None` when the peer has closed between frames.
    pub(super) async fn read(&mut self) -> Result<Option<(Header, Vec<u8>)>> {
        let mut between_frames = true;
        loop {
            let window = self.decoder.writable();
            if !window.is_empty() {
                let mut filled = 0;
                while filled < window.len() {
                    match self.reader.read(&mut window[filled..]).await.context("cannot read")? {
                        0 if between_frames && filled == 0 => return Ok(None),
                        0 => anyhow::bail!("the peer closed inside a frame"),
                        count => filled += count,
                    }
                }
            }
            between_frames = false;
            let state = self.state.take().context("the session has failed before")?;
            match self.decoder.next_transport_frame(state).map_err(codec)? {
                Decrypted::Frame(mut frame, state) => {
                    self.state = Some(state);
                    return Ok(Some((frame.header(), frame.payload().to_vec())));
                }
                Decrypted::Incomplete(_, state) => self.state = Some(state),
            }
        }
    }
}

impl NoiseWriter {
    pub(super) async fn write(&mut self, frame: impl EncodableFrame) -> Result<()> {
        let bytes = self.encoder.encode_transport(frame, &mut self.state).map_err(codec)?;
        self.writer.write_all(bytes.as_ref()).await.context("cannot write")
    }
}

/// The codec's errors implement no `Error` trait in every feature set; their debug form says enough for a test.
fn codec(error: stratum_core::codec_sv2::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}
