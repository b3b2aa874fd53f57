//! One connection to the mint: opening, then requests out and messages in, without waiting. What the messages mean for
//! the quotes is the worker's.

use std::io;
use std::time::Duration;

#[cfg(feature = "noise")]
use mint_quote_sv2::noise::{
    ANSWER_SIZE, AuthorityPublicKey, FrameDecryptor, FrameEncryptor, HandshakeError, TransportError, initiate,
};
use mint_quote_sv2::{
    AnyMessage, FrameError, Message, MessageError, PROTOCOL, PROTOCOL_VERSION, SetupConnection, read_frame,
};
use stats_sv2::Text;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes read at once: some hundred answers.
const READ_BYTES: usize = 32 << 10;

/// Bytes that may wait for the socket before no more requests are taken up.
const OUTGOING_BYTES: usize = 256 << 10;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConnectionError {
    #[error("cannot reach the mint")]
    Connect(#[source] io::Error),
    #[error("the mint did not open the connection within {0:?}")]
    Timeout(Duration),
    #[error("the connection to the mint failed")]
    Io(#[source] io::Error),
    #[error("the mint closed the connection")]
    Ended,
    #[error("the mint refused the connection: {0}")]
    Refused(Text<'static>),
    #[error("the mint answered nothing for {0:?}")]
    Silent(Duration),
    #[error("the peer does not speak the mint-quote protocol")]
    Frame(#[from] FrameError),
    #[error("the mint sent a malformed message")]
    Message(#[from] MessageError),
    #[error("the mint broke the protocol: {0}")]
    Protocol(&'static str),
    #[cfg(feature = "noise")]
    #[error("the Noise handshake with the mint failed")]
    Handshake(#[from] HandshakeError),
    #[cfg(feature = "noise")]
    #[error("the encrypted connection to the mint failed")]
    Encryption(#[from] TransportError),
}

/// What opening takes.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) vendor: Text<'static>,
    #[cfg(feature = "noise")]
    pub(crate) authority: Option<AuthorityPublicKey>,
    pub(crate) timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Received plain bytes from `read_from` on are not taken yet.
    received: Vec<u8>,
    read_from: usize,
    /// Bytes from `written` on wait for the socket, encrypted where the connection is.
    outgoing: Vec<u8>,
    written: usize,
    #[cfg(feature = "noise")]
    noise: Option<(FrameEncryptor, FrameDecryptor)>,
}

/// What a look at the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes,
    Nothing,
    End,
}

impl Connection {
    /// Connects, shakes hands and opens.
    pub(crate) async fn open(opening: Opening) -> Result<Box<Self>, ConnectionError> {
        let timeout = opening.timeout;
        tokio::time::timeout(timeout, Self::shake_hands(opening))
            .await
            .unwrap_or(Err(ConnectionError::Timeout(timeout)))
    }

    async fn shake_hands(opening: Opening) -> Result<Box<Self>, ConnectionError> {
        let stream = TcpStream::connect(&*opening.address).await.map_err(ConnectionError::Connect)?;
        // Requests are written in batches; none should wait for an acknowledgement of the one before.
        stream.set_nodelay(true).map_err(ConnectionError::Io)?;
        let mut connection = Box::new(Self {
            stream,
            received: Vec::new(),
            read_from: 0,
            outgoing: Vec::new(),
            written: 0,
            #[cfg(feature = "noise")]
            noise: None,
        });
        #[cfg(feature = "noise")]
        if let Some(authority) = opening.authority {
            connection.encrypt(authority).await?;
        }
        let (host, port) = opening.address.rsplit_once(':').unwrap_or((&opening.address, ""));
        let mut frame = Vec::new();
        SetupConnection {
            protocol: PROTOCOL,
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            flags: 0,
            endpoint_host: Text::cut(host.to_owned()),
            endpoint_port: port.parse().unwrap_or_default(),
            vendor: opening.vendor,
            hardware_version: Text::default(),
            firmware: Text::default(),
            device_id: Text::default(),
        }
        .encode(&mut frame);
        connection.send(&frame)?;
        connection.await_success().await?;
        Ok(connection)
    }

    #[cfg(feature = "noise")]
    async fn encrypt(&mut self, authority: AuthorityPublicKey) -> Result<(), ConnectionError> {
        let (initiator, hello) = initiate(authority)?;
        self.outgoing.extend_from_slice(&hello);
        while !self.flush()? {
            self.ready().await?;
        }
        let mut answer = [0; ANSWER_SIZE];
        let mut filled = 0;
        while filled < ANSWER_SIZE {
            self.stream.readable().await.map_err(ConnectionError::Io)?;
            match self.stream.try_read(&mut answer[filled..]) {
                Ok(0) => return Err(ConnectionError::Ended),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(ConnectionError::Io(error)),
            }
        }
        self.noise = Some(initiator.finish(&answer, stats_sv2::UnixMillis::now())?);
        Ok(())
    }

    async fn await_success(&mut self) -> Result<(), ConnectionError> {
        loop {
            self.flush()?;
            match self.next_message()? {
                Some(AnyMessage::SetupConnectionSuccess(success)) if success.used_version == PROTOCOL_VERSION => {
                    return Ok(());
                }
                Some(AnyMessage::SetupConnectionSuccess(_)) => {
                    return Err(ConnectionError::Protocol("it chose a version that was not offered"));
                }
                Some(AnyMessage::SetupConnectionError(error)) => {
                    return Err(ConnectionError::Refused(error.error_code));
                }
                Some(_) => return Err(ConnectionError::Protocol("a message before the connection was open")),
                None => {}
            }
            self.ready().await?;
            if self.receive()? == Received::End {
                return Err(ConnectionError::Ended);
            }
        }
    }

    /// Waits until the socket can be read, or written where something waits to be written. Cancel-safe.
    pub(crate) async fn ready(&self) -> Result<(), ConnectionError> {
        let interest =
            if self.outgoing.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        self.stream.ready(interest).await.map(drop).map_err(ConnectionError::Io)
    }

    /// Whether more requests may be taken up.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.len() - self.written < OUTGOING_BYTES
    }

    /// Adds whole frames to what waits for the socket.
    pub(crate) fn send(&mut self, frames: &[u8]) -> Result<(), ConnectionError> {
        #[cfg(feature = "noise")]
        if let Some((encryptor, _)) = &mut self.noise {
            encryptor.encrypt(frames, &mut self.outgoing)?;
            return Ok(());
        }
        self.outgoing.extend_from_slice(frames);
        Ok(())
    }

    /// Writes what the socket takes; whether nothing is left.
    pub(crate) fn flush(&mut self) -> Result<bool, ConnectionError> {
        while self.written < self.outgoing.len() {
            match self.stream.try_write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(ConnectionError::Ended),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outgoing.drain(..self.written);
                    self.written = 0;
                    return Ok(false);
                }
                Err(error) => return Err(ConnectionError::Io(error)),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads once what the socket has. Afterwards the caller takes the messages, so that what is held stays within one
    /// read and one unfinished frame.
    pub(crate) fn receive(&mut self) -> Result<Received, ConnectionError> {
        self.received.drain(..self.read_from);
        self.read_from = 0;
        let mut buffer = [0; READ_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Ok(Received::End),
            Ok(count) => {
                #[cfg(feature = "noise")]
                if let Some((_, decryptor)) = &mut self.noise {
                    decryptor.decrypt(&buffer[..count], &mut self.received)?;
                    return Ok(Received::Bytes);
                }
                self.received.extend_from_slice(&buffer[..count]);
                Ok(Received::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(ConnectionError::Io(error)),
        }
    }

    /// Takes the next message that has come whole.
    pub(crate) fn next_message(&mut self) -> Result<Option<AnyMessage>, ConnectionError> {
        let Some((header, payload)) = read_frame(&mut self.received[self.read_from..])? else { return Ok(None) };
        let message = AnyMessage::decode(header.msg_type, payload)?;
        self.read_from += header.frame_size();
        Ok(Some(message))
    }
}
