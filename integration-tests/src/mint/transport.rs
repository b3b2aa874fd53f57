//! Frames of the mint-quote protocol over TCP, plain or encrypted, on the mint's side. Knows nothing of the mint behind
//! it: the mint on the real `cdk`, a workspace of its own, compiles this file too.

use std::io;

use mint_quote_sv2::{
    AnyMessage, FrameError, Message, MessageError,
    noise::{AuthoritySecretKey, FrameDecryptor, FrameEncryptor, HELLO_SIZE, HandshakeError, TransportError, respond},
    read_frame,
};
use stats_sv2::UnixMillis;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const READ_BYTES: usize = 16 << 10;

/// One pool's connection.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: TcpStream,
    /// Plain bytes that are no whole frame yet.
    received: Vec<u8>,
    noise: Option<(FrameEncryptor, FrameDecryptor)>,
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The socket failed, which a peer may cause at any time.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer does not hold to the handshake.
    #[error("the Noise handshake failed")]
    Handshake(#[from] HandshakeError),
    /// Encrypted bytes that are none.
    #[error("the encrypted connection failed")]
    Encryption(#[from] TransportError),
    /// Bytes that are no frame of the protocol.
    #[error("no frame of the protocol")]
    Frame(#[from] FrameError),
    /// A frame whose payload is no message.
    #[error("a malformed message")]
    Message(#[from] MessageError),
}

impl Transport {
    /// Takes over a connection; with a key the Noise handshake comes first.
    ///
    /// # Errors
    /// When the peer ends the connection or does not hold to the handshake.
    pub(crate) async fn accept(mut stream: TcpStream, authority: Option<&AuthoritySecretKey>) -> Result<Self, Failure> {
        stream.set_nodelay(true)?;
        let mut noise = None;
        if let Some(authority) = authority {
            let mut hello = [0; HELLO_SIZE];
            stream.read_exact(&mut hello).await?;
            let (answer, encryptor, decryptor) = respond(authority, &hello, UnixMillis::now())?;
            stream.write_all(&answer).await?;
            noise = Some((encryptor, decryptor));
        }
        Ok(Self { stream, received: Vec::new(), noise })
    }

    /// The next message, `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the peer breaks the protocol or the connection.
    pub(crate) async fn read(&mut self) -> Result<Option<AnyMessage>, Failure> {
        let mut chunk = [0; READ_BYTES];
        loop {
            if let Some((header, payload)) = read_frame(&mut self.received)? {
                let message = AnyMessage::decode(header.msg_type, payload)?;
                self.received.drain(..header.frame_size());
                return Ok(Some(message));
            }
            let count = self.stream.read(&mut chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            match &mut self.noise {
                Some((_, decryptor)) => decryptor.decrypt(&chunk[..count], &mut self.received)?,
                None => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn send(&mut self, message: &impl Message) -> Result<(), Failure> {
        let mut plain = Vec::new();
        message.encode(&mut plain);
        match &mut self.noise {
            Some((encryptor, _)) => {
                let mut bytes = Vec::new();
                encryptor.encrypt(&plain, &mut bytes)?;
                self.send_raw(&bytes).await
            }
            None => self.send_raw(&plain).await,
        }
    }

    /// Sends bytes as they are, whatever they are.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }
}
