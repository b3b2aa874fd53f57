//! SV2 frames over a Noise session on a TCP connection, in either role.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use stratum_core::{
    bitcoin::{
        key::Secp256k1,
        secp256k1::{Keypair, SecretKey},
    },
    codec_sv2::{
        Decoded, Decrypted, EncodableFrame, ExpectsHandshakeMessage, Handshake, HandshakeMessage, InitiatorSent,
        NoiseDecoder, NoiseEncoder, Transport, TransportDecryptState, TransportEncryptState,
    },
    framing_sv2::header::Header,
    noise_sv2::{Initiator, Responder},
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
pub(crate) struct NoiseReader {
    reader: OwnedReadHalf,
    decoder: NoiseDecoder,
    /// The decoder takes the state and gives it back with each result; `None` after an error.
    state: Option<TransportDecryptState>,
}

/// The writing half.
pub(crate) struct NoiseWriter {
    writer: OwnedWriteHalf,
    encoder: NoiseEncoder,
    state: TransportEncryptState,
}

/// Answers the initiator's handshake and splits the session.
pub(crate) async fn respond(stream: TcpStream) -> Result<(NoiseReader, NoiseWriter)> {
    let secret = SecretKey::from_slice(&AUTHORITY_SECRET).context("the secret key is valid")?;
    let keys = Keypair::from_secret_key(&Secp256k1::new(), &secret);
    let responder =
        Responder::from_authority_kp(&keys.x_only_public_key().0.serialize(), &AUTHORITY_SECRET, CERTIFICATE_VALID_FOR)
            .map_err(|error| anyhow!("cannot make a Noise responder: {error:?}"))?;
    let handshake = async {
        let mut ends = Ends::new(stream)?;
        let key = ends.receive::<Responder>().await?;
        let key = key.payload().try_into().context("the initiator's key has the wrong length")?;
        let (answer, transport) = Handshake::responder(responder).step_1(key).map_err(codec)?;
        ends.send(answer).await?;
        Ok(ends.into_session(transport))
    };
    tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await.context("the handshake took too long")?
}

/// Starts a session without checking who answers, and splits it.
pub(crate) async fn initiate(stream: TcpStream) -> Result<(NoiseReader, NoiseWriter)> {
    let initiator = Initiator::without_pk().map_err(|error| anyhow!("cannot make a Noise initiator: {error:?}"))?;
    let handshake = async {
        let mut ends = Ends::new(stream)?;
        let (first, sent) = Handshake::initiator(initiator).step_0().map_err(codec)?;
        ends.send(first).await?;
        let answer = ends.receive::<InitiatorSent>().await?;
        let answer = answer.payload().try_into().context("the responder's answer has the wrong length")?;
        Ok(ends.into_session(sent.step_2(answer).map_err(codec)?))
    };
    tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await.context("the handshake took too long")?
}

/// The two ends of a connection during the handshake.
struct Ends {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: NoiseDecoder,
    encoder: NoiseEncoder,
}

impl Ends {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader, writer, decoder: NoiseDecoder::new(), encoder: NoiseEncoder::new() })
    }

    async fn send(&mut self, message: HandshakeMessage) -> Result<()> {
        let bytes = self.encoder.encode_handshake(message);
        self.writer.write_all(bytes.as_ref()).await.context("cannot send the handshake")
    }

    async fn receive<R: ExpectsHandshakeMessage>(&mut self) -> Result<HandshakeMessage> {
        loop {
            self.reader.read_exact(self.decoder.writable()).await.context("the peer left during the handshake")?;
            if let Decoded::Frame(message) = self.decoder.next_handshake_frame::<R>().map_err(codec)? {
                return Ok(message);
            }
        }
    }

    fn into_session(self, transport: Transport) -> (NoiseReader, NoiseWriter) {
        let (encrypt, decrypt) = transport.split();
        (
            NoiseReader { reader: self.reader, decoder: self.decoder, state: Some(decrypt) },
            NoiseWriter { writer: self.writer, encoder: self.encoder, state: encrypt },
        )
    }
}

impl NoiseReader {
    /// The next frame's header and payload; `None` when the peer has closed between frames.
    pub(crate) async fn read(&mut self) -> Result<Option<(Header, Vec<u8>)>> {
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
    pub(crate) async fn write(&mut self, frame: impl EncodableFrame) -> Result<()> {
        let bytes = self.encoder.encode_transport(frame, &mut self.state).map_err(codec)?;
        self.writer.write_all(bytes.as_ref()).await.context("cannot write")
    }
}

/// The codec's errors implement no `Error` trait in every feature set; their debug form says enough for a test.
fn codec(error: stratum_core::codec_sv2::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}
