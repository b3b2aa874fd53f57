//! The two halves of a connection, plain or encrypted.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use stats_sv2::noise::{FrameDecryptor, FrameEncryptor, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes read at once at most.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// After its last word a connection is read and discarded for so long, so that unread bytes do not make the kernel reset
/// it before the peer has read that word.
const LINGER: Duration = Duration::from_millis(500);

/// Bytes that are discarded at most while lingering.
const LINGER_BYTES: usize = 8 << 20;

thread_local! {
    /// Where a worker thread reads to. What came is copied out at its exact size: a session that waits holds no buffer,
    /// and one that gave 34 bytes does not pin 256 KiB until they are committed.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Incoming {
    half: OwnedReadHalf,
    decryptor: Option<FrameDecryptor>,
}

/// What a read gave.
#[derive(Debug)]
pub(crate) struct Received {
    /// The carry with what came after it.
    pub(crate) bytes: Bytes,
    /// Why nothing more will come after these bytes, if so.
    pub(crate) end: Option<StreamEnd>,
}

/// Why a connection gives nothing more.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    Eof,
    Io(io::Error),
    Noise(TransportError),
}

impl Incoming {
    pub(crate) fn new(half: OwnedReadHalf, decryptor: Option<FrameDecryptor>) -> Self {
        Self { half, decryptor }
    }

    /// Waits until there is something to read, holding no buffer.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.half.readable().await
    }

    /// Takes what has arrived, up to `room` bytes with the carry, without waiting.
    pub(crate) fn take(&mut self, carry: &mut Vec<u8>, room: usize) -> Received {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = room.min(scratch.len());
            // The carry is the beginning of one frame, far smaller than the room.
            let start = if self.decryptor.is_none() { carry.len() } else { 0 };
            scratch[..start].copy_from_slice(&carry[..start]);
            let mut filled = start;
            let mut end = None;
            while filled < room {
                match self.half.try_read(&mut scratch[filled..room]) {
                    Ok(0) => {
                        end = Some(StreamEnd::Eof);
                        break;
                    }
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        end = Some(StreamEnd::Io(error));
                        break;
                    }
                }
            }
            let bytes = match &mut self.decryptor {
                None => Bytes::copy_from_slice(&scratch[..filled]),
                Some(decryptor) => {
                    let mut frames = Vec::with_capacity(carry.len() + filled);
                    frames.extend_from_slice(carry);
                    if let Err(error) = decryptor.decrypt(&scratch[..filled], &mut frames) {
                        end = Some(StreamEnd::Noise(error));
                    }
                    frames.into()
                }
            };
            carry.clear();
            Received { bytes, end }
        })
    }

    /// Reads whole frames until `enough` says so; for the handshake, where few bytes come.
    pub(crate) async fn read_until(
        &mut self,
        buffer: &mut Vec<u8>,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), StreamEnd> {
        let mut chunk = [0; 1024];
        while !enough(buffer) {
            let count = self.half.read(&mut chunk).await.map_err(StreamEnd::Io)?;
            if count == 0 {
                return Err(StreamEnd::Eof);
            }
            match &mut self.decryptor {
                None => buffer.extend_from_slice(&chunk[..count]),
                Some(decryptor) => decryptor.decrypt(&chunk[..count], buffer).map_err(StreamEnd::Noise)?,
            }
        }
        Ok(())
    }

    /// Reads exactly this many bytes, before encryption begins.
    pub(crate) async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.half.read_exact(bytes).await.map(drop)
    }

    pub(crate) fn encrypted_by(&mut self, decryptor: FrameDecryptor) {
        self.decryptor = Some(decryptor);
    }

    /// Reads and discards until the peer has closed, within limits.
    pub(crate) async fn linger(mut self) {
        let deadline = Instant::now() + LINGER;
        let mut chunk = [0; 4096];
        let mut discarded = 0;
        while discarded < LINGER_BYTES {
            match timeout_at(deadline, self.half.read(&mut chunk)).await {
                Ok(Ok(count)) if count > 0 => discarded += count,
                _ => return,
            }
        }
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct Outgoing {
    half: OwnedWriteHalf,
    encryptor: Option<FrameEncryptor>,
    buffer: Vec<u8>,
    stall: Duration,
}

/// Why nothing can be sent any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the peer took nothing for {0:?}")]
    Stalled(Duration),
    #[error("cannot write to the connection")]
    Io(#[from] io::Error),
    #[error("cannot encrypt")]
    Noise(#[source] TransportError),
}

impl Outgoing {
    /// Gives a write up after `stall`.
    pub(crate) fn new(half: OwnedWriteHalf, stall: Duration) -> Self {
        Self { half, encryptor: None, buffer: Vec::new(), stall }
    }

    pub(crate) fn encrypted_by(&mut self, encryptor: FrameEncryptor) {
        self.encryptor = Some(encryptor);
    }

    /// Sends bytes as they are, before encryption begins.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        write(&mut self.half, bytes, self.stall).await
    }

    /// Sends whole frames.
    pub(crate) async fn send(&mut self, frames: &[u8]) -> Result<(), SendError> {
        match &mut self.encryptor {
            None => write(&mut self.half, frames, self.stall).await,
            Some(encryptor) => {
                self.buffer.clear();
                encryptor.encrypt(frames, &mut self.buffer).map_err(SendError::Noise)?;
                write(&mut self.half, &self.buffer, self.stall).await
            }
        }
    }

    /// Tells the peer that nothing more comes. It may be gone already.
    pub(crate) async fn finish(mut self) {
        if let Err(error) = self.half.shutdown().await {
            tracing::trace!(%error, "the peer closed first");
        }
    }
}

async fn write(half: &mut OwnedWriteHalf, bytes: &[u8], stall: Duration) -> Result<(), SendError> {
    match timeout(stall, half.write_all(bytes)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(SendError::Stalled(stall)),
    }
}
