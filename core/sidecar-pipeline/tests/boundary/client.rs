//! A publisher written by hand, byte by byte where a test needs it.

use std::net::SocketAddr;
use std::time::Duration;

use stats_sv2::event::{Heartbeat, ShareSubmitted};
use stats_sv2::noise::{ANSWER_SIZE, AuthorityPublicKey, FrameDecryptor, FrameEncryptor, Initiator};
use stats_sv2::session::{
    CloseStatsSession, OpenStatsSession, OpenStatsSessionError, OpenStatsSessionSuccess, StatsAck,
};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Message, Role, Text, UnixMillis, read_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What a test waits for at most; far beyond what anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An Open that is right; tests change what they need.
pub(crate) fn open_message(publisher: &str, session_id: u64) -> OpenStatsSession<'static> {
    OpenStatsSession {
        min_version: 1,
        max_version: 1,
        flags: 0,
        role: Role::Pool,
        publisher: Text::cut(publisher.to_owned()),
        session_id,
        first_sequence: 1,
        vendor: Text::cut("test 1.0"),
        token: Text::default(),
    }
}

pub(crate) fn encode<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame
}

pub(crate) fn share(number: u64) -> Vec<u8> {
    encode(&ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: UnixMillis(1_750_000_000_000 + number),
        channel_id: ChannelId(1),
        sequence_number: number as u32,
        target: CompactTarget(0x1d00_ffff),
        share: CompactTarget(0x1c00_ffff),
    })
}

/// Shares for the numbers `from` to `to`.
pub(crate) fn shares(from: u64, to: u64) -> Vec<u8> {
    (from..=to).flat_map(share).collect()
}

pub(crate) fn heartbeat() -> Vec<u8> {
    encode(&Heartbeat { timestamp: UnixMillis(1_750_000_000_000), flags: 0 })
}

/// A message from the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Success {
        committed: u64,
        announce: bool,
    },
    Error(String),
    Ack(u64),
    Close(String),
    /// The connection ended.
    End,
}

pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    noise: Option<(FrameEncryptor, FrameDecryptor)>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// One whose kernel takes very little of what it does not read.
    pub(crate) async fn with_small_window(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), noise: None }
    }

    pub(crate) async fn encrypted(address: SocketAddr, authority: AuthorityPublicKey) -> Self {
        let mut client = Self::connect(address).await;
        let (initiator, hello) = Initiator::start(authority).unwrap();
        client.send(&hello).await;
        let mut answer = [0; ANSWER_SIZE];
        client.stream.read_exact(&mut answer).await.unwrap();
        client.noise = Some(initiator.finish(&answer, UnixMillis::now()).unwrap());
        client
    }

    /// Connects and opens a session; returns the sidecar's committed number too.
    pub(crate) async fn opened(address: SocketAddr, publisher: &str, session_id: u64) -> (Self, u64) {
        let mut client = Self::connect(address).await;
        match client.open(&open_message(publisher, session_id)).await {
            Said::Success { committed, .. } => (client, committed),
            other => panic!("{publisher} is not let in: {other:?}"),
        }
    }

    pub(crate) async fn open(&mut self, open: &OpenStatsSession<'_>) -> Said {
        self.send(&encode(open)).await;
        self.next().await
    }

    /// Sends bytes as they are, or encrypted. The peer may be gone.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.ok();
    }

    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.noise {
            None => self.stream.write_all(bytes).await,
            Some((encryptor, _)) => {
                let mut sent = Vec::new();
                encryptor.encrypt(bytes, &mut sent).unwrap();
                self.stream.write_all(&sent).await
            }
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            if let Some(said) = self.take() {
                return said;
            }
            let mut chunk = [0; 4096];
            let read =
                tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("the sidecar is silent");
            match read {
                Ok(0) | Err(_) => return Said::End,
                Ok(count) => match &mut self.noise {
                    None => self.received.extend_from_slice(&chunk[..count]),
                    Some((_, decryptor)) => decryptor.decrypt(&chunk[..count], &mut self.received).unwrap(),
                },
            }
        }
    }

    fn take(&mut self) -> Option<Said> {
        let frame = read_frame(&self.received).unwrap()?;
        let (length, payload) = (frame.bytes.len(), frame.payload());
        let said = match frame.msg_type {
            OpenStatsSessionSuccess::TYPE => {
                let success = OpenStatsSessionSuccess::decode(payload).unwrap();
                Said::Success { committed: success.committed_sequence, announce: success.flags & 1 != 0 }
            }
            OpenStatsSessionError::TYPE => {
                Said::Error(OpenStatsSessionError::decode(payload).unwrap().error_code.as_str().to_owned())
            }
            StatsAck::TYPE => Said::Ack(StatsAck::decode(payload).unwrap().committed_sequence),
            CloseStatsSession::TYPE => {
                Said::Close(CloseStatsSession::decode(payload).unwrap().reason.as_str().to_owned())
            }
            other => panic!("the sidecar sent type {other:#04x}"),
        };
        self.received.drain(..length);
        Some(said)
    }

    /// Waits until everything up to `number` is acknowledged; acknowledgements only rise.
    pub(crate) async fn acknowledged(&mut self, number: u64) {
        let mut last = 0;
        while last < number {
            match self.next().await {
                Said::Ack(committed) if committed > last => last = committed,
                other => panic!("waiting for the acknowledgement of {number} after {last}: {other:?}"),
            }
        }
        assert_eq!(last, number, "more is acknowledged than was sent");
    }

    /// Everything said until the connection ends.
    pub(crate) async fn last_words(&mut self) -> Vec<Said> {
        let mut words = Vec::new();
        loop {
            match self.next().await {
                Said::End => return words,
                said => words.push(said),
            }
        }
    }
}
