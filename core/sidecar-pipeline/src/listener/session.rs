//! One open session: frames in, runs to the journal; acknowledgements out, by a half of their own that never holds up
//! the reading.

use std::net::SocketAddr;
use std::sync::Arc;

use sidecar_journal::{AppendError, MalformedFrame, Run, SessionWriter};
use stats_sv2::codec::Message;
use stats_sv2::limits::U64_LIMIT;
use stats_sv2::session::{CloseStatsSession, StatsAck};
use stats_sv2::{FIRST_EVENT_TYPE, FrameError, Text, read_frame};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::counters::{ConnectionEnd, Peer};
use super::handshake::OpenConnection;
use super::names::Claim;
use super::scan::{FrameRun, Piece, Scanner};
use super::transport::{Incoming, Outgoing, Received, SendError, StreamEnd};

/// Serves a session until its connection ends.
pub(crate) async fn serve(shared: &Shared, address: SocketAddr, connection: OpenConnection) {
    let OpenConnection { incoming, outgoing, claim, writer, publisher, committed_sequence, carry, place } = connection;
    let acknowledged = writer.acknowledged();
    let (farewell, last_word) = oneshot::channel();
    let broken = CancellationToken::new();
    let reading = Reading {
        shared,
        address,
        publisher: &publisher,
        incoming,
        carry,
        claim,
        writer,
        next_sequence: committed_sequence + 1,
        broken: broken.clone(),
    };
    let writing = Writing { outgoing, acknowledged, told: committed_sequence, last_word };
    // Two halves of one task: what one waits for does not keep the other from being polled.
    tokio::join!(reading.run(place, farewell), async {
        if let Err(error) = writing.run().await {
            tracing::debug!(%error, peer = %address, "acknowledgements cannot be sent");
            broken.cancel();
        }
    });
}

/// Why the reading half stopped.
#[derive(Debug)]
enum End {
    Lost(StreamEnd),
    BadHeader(FrameError),
    BadControl(&'static str),
    Tampered,
    Closed(String),
    Silent,
    WriteBroken,
    Retired,
    Shutdown,
    Journal(AppendError),
}

impl End {
    fn reason(&self) -> ConnectionEnd {
        match self {
            Self::Lost(_) => ConnectionEnd::Lost,
            Self::BadHeader(_) | Self::BadControl(_) => ConnectionEnd::MalformedHeader,
            Self::Tampered => ConnectionEnd::Tampered,
            Self::Closed(_) => ConnectionEnd::Closed,
            Self::Silent => ConnectionEnd::Silent,
            Self::WriteBroken => ConnectionEnd::WriteStalled,
            Self::Retired | Self::Journal(AppendError::Retired) => ConnectionEnd::Replaced,
            Self::Shutdown | Self::Journal(AppendError::Closed) => ConnectionEnd::Shutdown,
            Self::Journal(_) => ConnectionEnd::JournalUnavailable,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Lost(StreamEnd::Eof) => "the peer closed the connection".to_owned(),
            Self::Lost(StreamEnd::Io(error)) => error.to_string(),
            Self::Lost(StreamEnd::Noise(error)) => error.to_string(),
            Self::BadHeader(error) => error.to_string(),
            Self::BadControl(what) => (*what).to_owned(),
            Self::Closed(reason) => reason.clone(),
            Self::Journal(error) => error.to_string(),
            other => other.reason().name().to_owned(),
        }
    }
}

impl From<StreamEnd> for End {
    fn from(end: StreamEnd) -> Self {
        use stats_sv2::noise::TransportError;
        match end {
            StreamEnd::Noise(TransportError::Frame(error)) => Self::BadHeader(error),
            StreamEnd::Noise(_) => Self::Tampered,
            lost => Self::Lost(lost),
        }
    }
}

/// What the writing half says last.
#[derive(Debug, Default)]
struct Farewell {
    /// All that is durable of the session.
    committed_sequence: Option<u64>,
    /// It is the answer to CloseStatsSession, owed even if it says nothing new.
    is_answer: bool,
    /// The reason in CloseStatsSession, where there is somebody to tell.
    close: Option<&'static str>,
}

struct Reading<'a> {
    shared: &'a Shared,
    address: SocketAddr,
    publisher: &'a str,
    incoming: Incoming,
    carry: Vec<u8>,
    claim: Claim,
    writer: SessionWriter,
    next_sequence: u64,
    broken: CancellationToken,
}

/// A retired connection's rest.
struct Rest {
    until: Instant,
    bytes: usize,
}

impl Reading<'_> {
    async fn run(mut self, place: OwnedSemaphorePermit, farewell: oneshot::Sender<Farewell>) {
        let end = self.read().await;
        let peer = Peer { address: self.address, publisher: self.publisher };
        self.shared.counters.ended(end.reason(), peer, &end.detail());

        let handed_over = self.next_sequence - 1;
        let word = match &end {
            End::Closed(reason) => match self.writer.close(reason).await {
                Ok(committed) => Farewell { committed_sequence: Some(committed), is_answer: true, close: None },
                Err(error) => {
                    tracing::warn!(%error, publisher = self.publisher, "the end of the session is not recorded");
                    Farewell::default()
                }
            },
            // There is nobody to tell.
            End::Lost(_) | End::WriteBroken | End::Tampered => {
                self.writer.detach();
                Farewell::default()
            }
            // All that was handed over is acknowledged first, so that the publisher knows where it stands.
            other => {
                let mut acknowledged = self.writer.acknowledged();
                let all = acknowledged.wait_for(|committed| *committed >= handed_over);
                let committed = match timeout(self.shared.limits.farewell, all).await {
                    Ok(Ok(committed)) => Some(*committed),
                    _ => None,
                };
                self.writer.detach();
                Farewell { committed_sequence: committed, is_answer: false, close: Some(other.reason().name()) }
            }
        };
        // Whoever takes this connection's name or place need not wait for the goodbye.
        drop(self.claim);
        drop(place);
        let linger = word.close.is_some() || word.is_answer;
        // The writing half may have ended on an error of its own.
        if farewell.send(word).is_ok() && linger {
            self.incoming.linger().await;
        }
    }

    async fn read(&mut self) -> End {
        let silent_session = self.shared.limits.silent_session;
        let mut silent_at = Instant::now() + silent_session;
        let mut rest: Option<Rest> = None;
        // The opening may have brought frames along.
        let mut ready = !self.carry.is_empty();
        loop {
            if !ready {
                let until = rest.as_ref().map_or(silent_at, |rest| rest.until);
                tokio::select! {
                    biased;
                    () = self.claim.connection().retire().cancelled(), if rest.is_none() => {
                        let limits = &self.shared.limits;
                        rest = Some(Rest { until: Instant::now() + limits.retire_time, bytes: limits.retire_bytes });
                        continue;
                    }
                    () = self.shared.stop.cancelled() => return End::Shutdown,
                    () = self.broken.cancelled() => return End::WriteBroken,
                    readable = self.incoming.readable() => {
                        if let Err(error) = readable {
                            return End::Lost(StreamEnd::Io(error));
                        }
                    }
                    () = tokio::time::sleep_until(until) => {
                        return if rest.is_some() { End::Retired } else { End::Silent };
                    }
                }
            }
            ready = false;
            let waited_from = Instant::now();
            let permit = match self.budget().await {
                Ok(permit) => permit,
                Err(end) => return end,
            };
            let Received { bytes, end } = self.incoming.take(&mut self.carry, self.shared.read_bytes);
            let received = bytes.len();
            let events_before = self.next_sequence;
            let scanned = self.take_pieces(bytes, permit, rest.as_ref().map(|rest| rest.until)).await;

            let now = Instant::now();
            if self.next_sequence > events_before {
                self.claim.connection().heard(now);
                silent_at = now + silent_session;
            } else {
                // Time spent waiting for the sidecar itself is no silence of the peer.
                silent_at += now - waited_from;
            }
            if let Err(end) = scanned {
                return end;
            }
            if let Some(end) = end {
                // A retired connection that was read to its end has done what it was asked.
                return if rest.is_some() && matches!(end, StreamEnd::Eof) { End::Retired } else { end.into() };
            }
            if let Some(rest) = &mut rest {
                rest.bytes = rest.bytes.saturating_sub(received);
                if rest.bytes == 0 || now >= rest.until {
                    return End::Retired;
                }
            }
        }
    }

    /// A share of the ingest budget for one read. Without it the connection is not read (delivery rule 8).
    async fn budget(&self) -> Result<OwnedSemaphorePermit, End> {
        let wanted = self.shared.read_bytes as u32;
        let budget = Arc::clone(&self.shared.budget);
        if let Ok(permit) = Arc::clone(&budget).try_acquire_many_owned(wanted) {
            return Ok(permit);
        }
        self.waiting(async { budget.acquire_many_owned(wanted).await.map_err(|_| End::Shutdown) }).await?
    }

    /// Waits for something of the sidecar's own; the peer is not taken for silent meanwhile.
    async fn waiting<T>(&self, ready: impl Future<Output = T>) -> Result<T, End> {
        let connection = self.claim.connection();
        connection.waiting(true);
        let result = tokio::select! {
            biased;
            result = ready => Ok(result),
            () = self.shared.stop.cancelled() => Err(End::Shutdown),
            () = self.broken.cancelled() => Err(End::WriteBroken),
        };
        connection.waiting(false);
        connection.heard(Instant::now());
        result
    }

    /// Hands over what was received; the beginning of a frame at its end becomes the carry.
    async fn take_pieces(
        &mut self,
        bytes: bytes::Bytes,
        mut permit: OwnedSemaphorePermit,
        until: Option<Instant>,
    ) -> Result<(), End> {
        // The read was granted its largest size; what did not come goes back.
        let unused = permit.num_permits().saturating_sub(bytes.len());
        drop(permit.split(unused));
        let mut scanner = Scanner::new(bytes);
        while let Some(piece) = scanner.next_piece() {
            match piece {
                Piece::Run(run) => {
                    let bytes = run.received.min(permit.num_permits());
                    let share = permit.split(bytes).expect("no more is split off than it holds");
                    self.append(run, share, until).await?;
                }
                Piece::Control(frame) => self.control(&frame)?,
                Piece::Bad(error) => return Err(End::BadHeader(error)),
            }
        }
        // At most one frame; a copy, so that it does not pin what it came with.
        self.carry = scanner.into_rest().to_vec();
        Ok(())
    }

    async fn append(&mut self, run: FrameRun, permit: OwnedSemaphorePermit, until: Option<Instant>) -> Result<(), End> {
        let first_sequence = self.next_sequence;
        let next_sequence = first_sequence + u64::from(run.count);
        if next_sequence >= U64_LIMIT {
            return Err(End::BadControl("the session's numbers are used up"));
        }
        self.shared.counters.received(run.count, run.received);
        if let Some(first) = run.malformed.first() {
            let peer = Peer { address: self.address, publisher: self.publisher };
            self.shared.counters.malformed_events(peer, run.malformed.len(), &first.reason);
        }
        let malformed = run
            .malformed
            .into_iter()
            .map(|payload| MalformedFrame {
                sequence: first_sequence + u64::from(payload.index),
                bytes: payload.frame,
                reason: payload.reason.to_string(),
            })
            .collect();
        let run = Run {
            first_sequence,
            count: run.count,
            frames: run.frames,
            has_state: run.has_state,
            last_event_at: run.last_event_at,
            malformed,
            permit,
        };
        let append = self.writer.append(run);
        let appended = match until {
            None => self.waiting(append).await?,
            Some(until) => tokio::time::timeout_at(until, self.waiting(append)).await.map_err(|_| End::Retired)??,
        };
        appended.map_err(End::Journal)?;
        self.next_sequence = next_sequence;
        Ok(())
    }

    /// A frame that takes no number.
    fn control(&self, frame: &[u8]) -> Result<(), End> {
        let Ok(Some(frame)) = read_frame(frame) else { return Ok(()) };
        match frame.msg_type {
            CloseStatsSession::TYPE => Err(match CloseStatsSession::decode(frame.payload()) {
                Ok(close) => End::Closed(close.reason.as_str().to_owned()),
                Err(_) => End::BadControl("CloseStatsSession cannot be read"),
            }),
            0..=StatsAck::TYPE => Err(End::BadControl("a message of the opening came after it")),
            // A later version may have messages here; they take no number, so nothing is lost by passing over them.
            other => {
                debug_assert!(other < FIRST_EVENT_TYPE);
                self.shared.counters.unknown_control_frame();
                Ok(())
            }
        }
    }
}

struct Writing {
    outgoing: Outgoing,
    acknowledged: watch::Receiver<u64>,
    /// The number told last.
    told: u64,
    last_word: oneshot::Receiver<Farewell>,
}

impl Writing {
    async fn run(mut self) -> Result<(), SendError> {
        let word = loop {
            tokio::select! {
                biased;
                word = &mut self.last_word => break word,
                changed = self.acknowledged.changed() => match changed {
                    Ok(()) => {
                        // Whatever was committed while the last one was written is one acknowledgement now.
                        let committed = *self.acknowledged.borrow_and_update();
                        if committed > self.told {
                            self.acknowledge(committed).await?;
                        }
                    }
                    // The journal has forgotten the session; the reading half learns it too and says the last word.
                    Err(_) => break (&mut self.last_word).await,
                },
            }
        };
        let Ok(Farewell { committed_sequence, is_answer, close }) = word else { return Ok(()) };
        if let Some(committed) = committed_sequence.filter(|committed| is_answer || *committed > self.told) {
            self.acknowledge(committed).await?;
        }
        if let Some(reason) = close {
            let mut frame = Vec::new();
            CloseStatsSession { reason: Text::cut(reason) }.encode(&mut frame);
            self.outgoing.send(&frame).await?;
        }
        self.outgoing.finish().await;
        Ok(())
    }

    async fn acknowledge(&mut self, committed_sequence: u64) -> Result<(), SendError> {
        let mut frame = Vec::new();
        StatsAck { committed_sequence }.encode(&mut frame);
        self.outgoing.send(&frame).await?;
        self.told = committed_sequence;
        Ok(())
    }
}
