//! One connection to the sidecar: opening handshake, then bytes out and frames in, without waiting. Which bytes, and
//! what the frames mean for the session, is the worker's.

use std::io;
use std::time::Duration;

use stats_sv2::codec::Message;
#[cfg(feature = "noise")]
use stats_sv2::noise::{ANSWER_SIZE, AuthorityPublicKey, FrameDecryptor, FrameEncryptor, HandshakeError, Initiator};
use stats_sv2::session::{
    CloseStatsSession, OpenStatsSession, OpenStatsSessionError, OpenStatsSessionSuccess, StatsAck, error_code,
};
use stats_sv2::{DecodeError, FrameError, PROTOCOL_VERSION, Role, Text, read_frame};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes read at once. The sidecar sends acknowledgements of 14 bytes.
const READ_BYTES: usize = 4 << 10;

/// Plain bytes that are encrypted at once.
#[cfg(feature = "noise")]
const ENCRYPT_BYTES: usize = 64 << 10;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConnectionError {
    #[error("cannot reach the sidecar")]
    Connect(#[source] io::Error),
    #[error("the sidecar did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the sidecar closed the connection")]
    Ended,
    #[error("the sidecar closed the connection: {0}")]
    Closed(String),
    #[error("the sidecar refused the session: {0}")]
    Refused(String),
    #[error("the sidecar acknowledged nothing for {0:?}")]
    NoProgress(Duration),
    #[error("the peer does not speak stats-sv2")]
    Frame(#[from] FrameError),
    #[error("the sidecar sent a malformed message")]
    Decode(#[from] DecodeError),
    #[error("the sidecar broke the protocol: {0}")]
    Protocol(String),
    #[cfg(feature = "noise")]
    #[error("the Noise handshake failed")]
    Handshake(#[from] HandshakeError),
    #[cfg(feature = "noise")]
    #[error("the encrypted connection failed")]
    Encryption(#[from] stats_sv2::noise::TransportError),
}

impl ConnectionError {
    /// Whether attempts will fail like this until a person changes a setting, here or at the sidecar.
    pub(crate) fn needs_operator(&self) -> bool {
        let lasting = [error_code::UNSUPPORTED_VERSION, error_code::UNAUTHORIZED, error_code::MALFORMED];
        matches!(self, Self::Refused(code) if lasting.contains(&code.as_str()))
    }
}

/// What the sidecar says after the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Ack { committed: u64 },
    Close { reason: String },
}

/// What a look at the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes,
    Nothing,
    End,
}

/// The publisher's side of the handshake.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) address: String,
    #[cfg(feature = "noise")]
    pub(crate) authority: Option<AuthorityPublicKey>,
    pub(crate) timeout: Duration,
    pub(crate) flags: u32,
    pub(crate) role: Role,
    pub(crate) publisher: Text<'static>,
    pub(crate) session_id: u64,
    pub(crate) first_sequence: u64,
    pub(crate) vendor: Text<'static>,
    /// The frame of OpenStatsSession holds the token; it is built when it is sent, and not kept.
    pub(crate) token: crate::token::Token,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Received plain bytes that are not a whole frame yet.
    received: Vec<u8>,
    /// Bytes on their way to the socket ahead of everything else: encrypted frames, or a last message.
    outgoing: Vec<u8>,
    written: usize,
    #[cfg(feature = "noise")]
    noise: Option<(FrameEncryptor, FrameDecryptor)>,
}

impl Connection {
    /// Connects and opens the session.
    pub(crate) async fn open(opening: Opening) -> Result<(Self, OpenStatsSessionSuccess), ConnectionError> {
        let timeout = opening.timeout;
        match tokio::time::timeout(timeout, Self::shake_hands(opening)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectionError::Timeout(timeout)),
        }
    }

    async fn shake_hands(opening: Opening) -> Result<(Self, OpenStatsSessionSuccess), ConnectionError> {
        let stream = TcpStream::connect(&*opening.address).await.map_err(ConnectionError::Connect)?;
        stream.set_nodelay(true).map_err(ConnectionError::Io)?;
        let mut connection = Self {
            stream,
            received: Vec::with_capacity(READ_BYTES),
            outgoing: Vec::new(),
            written: 0,
            #[cfg(feature = "noise")]
            noise: None,
        };
        #[cfg(feature = "noise")]
        if let Some(authority) = opening.authority {
            connection.encrypt(authority).await?;
        }
        let mut open = Vec::new();
        OpenStatsSession {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            flags: opening.flags,
            role: opening.role,
            publisher: opening.publisher,
            session_id: opening.session_id,
            first_sequence: opening.first_sequence,
            vendor: opening.vendor,
            token: Text::cut(opening.token.expose()),
        }
        .encode(&mut open);
        connection.send_message(&open)?;
        let success = connection.await_success().await?;
        Ok((connection, success))
    }

    #[cfg(feature = "noise")]
    async fn encrypt(&mut self, authority: AuthorityPublicKey) -> Result<(), ConnectionError> {
        let (initiator, hello) = Initiator::start(authority)?;
        self.outgoing.extend_from_slice(&hello);
        while self.has_outgoing() {
            self.ready(false).await?;
            self.flush_outgoing()?;
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

    async fn await_success(&mut self) -> Result<OpenStatsSessionSuccess, ConnectionError> {
        loop {
            self.ready(false).await?;
            self.flush_outgoing()?;
            let received = self.receive()?;
            if let Some(frame) = read_frame(&self.received)? {
                let length = frame.bytes.len();
                let success = match frame.msg_type {
                    OpenStatsSessionSuccess::TYPE => OpenStatsSessionSuccess::decode(frame.payload())?,
                    OpenStatsSessionError::TYPE => {
                        let error = OpenStatsSessionError::decode(frame.payload())?;
                        return Err(ConnectionError::Refused(error.error_code.to_string()));
                    }
                    CloseStatsSession::TYPE => {
                        let close = CloseStatsSession::decode(frame.payload())?;
                        return Err(ConnectionError::Closed(close.reason.to_string()));
                    }
                    other => {
                        return Err(ConnectionError::Protocol(format!(
                            "message {other:#04x} before the session is open"
                        )));
                    }
                };
                if success.version != PROTOCOL_VERSION {
                    return Err(ConnectionError::Protocol(format!("version {} was not offered", success.version)));
                }
                if success.max_unacked == 0 {
                    return Err(ConnectionError::Protocol("no event may be unacknowledged".to_owned()));
                }
                self.received.drain(..length);
                return Ok(success);
            }
            if received == Received::End {
                return Err(ConnectionError::Ended);
            }
        }
    }

    /// Waits until the socket can be read, or written where something is waiting to be written. Cancel-safe.
    pub(crate) async fn ready(&self, data_waiting: bool) -> Result<(), ConnectionError> {
        let interest = if data_waiting || self.has_outgoing() {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        self.stream.ready(interest).await.map(drop).map_err(ConnectionError::Io)
    }

    /// Writes what the socket takes without waiting of these whole frames, or of the rest of such; returns how many
    /// bytes are on their way, 0 when the socket is full.
    pub(crate) fn send(&mut self, frames: &[u8]) -> Result<usize, ConnectionError> {
        if !self.flush_outgoing()? {
            return Ok(0);
        }
        #[cfg(feature = "noise")]
        if let Some((encryptor, _)) = &mut self.noise {
            let plain: usize = stats_sv2::Frames::new(frames)
                .map(|frame| frame.bytes.len())
                .scan(0, |sum, length| {
                    *sum += length;
                    (*sum <= ENCRYPT_BYTES).then_some(length)
                })
                .sum();
            encryptor.encrypt(&frames[..plain], &mut self.outgoing)?;
            self.flush_outgoing()?;
            return Ok(plain);
        }
        write(&self.stream, frames)
    }

    /// Sends a message of the session. What was handed to [`send`](Self::send) before must end with a whole frame.
    pub(crate) fn send_message(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        #[cfg(feature = "noise")]
        if let Some((encryptor, _)) = &mut self.noise {
            encryptor.encrypt(message, &mut self.outgoing)?;
            return self.flush_outgoing().map(drop);
        }
        self.outgoing.extend_from_slice(message);
        self.flush_outgoing().map(drop)
    }

    /// Reads once what the socket has. Afterwards the caller takes the frames, so that what is held stays within one
    /// read and one unfinished frame.
    pub(crate) fn receive(&mut self) -> Result<Received, ConnectionError> {
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

    /// Takes the next received message of a kind that matters; others below the event types are for later versions.
    pub(crate) fn next_incoming(&mut self) -> Result<Option<Incoming>, ConnectionError> {
        loop {
            let Some(frame) = read_frame(&self.received)? else { return Ok(None) };
            let length = frame.bytes.len();
            let incoming = match frame.msg_type {
                StatsAck::TYPE => {
                    Some(Incoming::Ack { committed: StatsAck::decode(frame.payload())?.committed_sequence })
                }
                CloseStatsSession::TYPE => {
                    let close = CloseStatsSession::decode(frame.payload())?;
                    Some(Incoming::Close { reason: close.reason.to_string() })
                }
                _ if frame.is_event() => return Err(ConnectionError::Protocol("an event from the sidecar".to_owned())),
                _ => None,
            };
            self.received.drain(..length);
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
    }

    fn has_outgoing(&self) -> bool {
        self.written < self.outgoing.len()
    }

    /// Writes what is on its way ahead of everything else; whether all of it is written.
    pub(crate) fn flush_outgoing(&mut self) -> Result<bool, ConnectionError> {
        while self.has_outgoing() {
            match write(&self.stream, &self.outgoing[self.written..])? {
                0 => return Ok(false),
                count => self.written += count,
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(true)
    }
}

/// Writes what the socket takes; 0 when it is full.
fn write(stream: &TcpStream, bytes: &[u8]) -> Result<usize, ConnectionError> {
    match stream.try_write(bytes) {
        Ok(0) if !bytes.is_empty() => Err(ConnectionError::Ended),
        Ok(count) => Ok(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(ConnectionError::Io(error)),
    }
}
