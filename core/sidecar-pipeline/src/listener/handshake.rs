//! From an accepted connection to an open session: encryption, OpenStatsSession, token, name, the journal's answer.

use std::sync::Arc;
use std::time::Duration;

use sidecar_journal::{OpenError, OpenSession, OpenedSession, SessionWriter};
use stats_sv2::codec::Message;
use stats_sv2::limits::{MAX_UNACKED_EVENTS, U64_LIMIT};
use stats_sv2::noise::{HELLO_SIZE, HandshakeError, Responder};
use stats_sv2::session::{
    OPEN_FINISHING, OpenStatsSession, OpenStatsSessionError, OpenStatsSessionSuccess, SUCCESS_ANNOUNCE, error_code,
};
use stats_sv2::{DecodeError, FrameError, PROTOCOL_VERSION, Text, read_frame};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::counters::ConnectionEnd;
use super::names::Claim;
use super::transport::{Incoming, Outgoing, SendError, StreamEnd};

/// Time for a retired connection beyond what it may read, to hand over its last run.
const HANDOVER: Duration = Duration::from_secs(1);

/// A connection whose session is open.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    pub(crate) claim: Claim,
    pub(crate) writer: SessionWriter,
    pub(crate) publisher: String,
    pub(crate) committed_sequence: u64,
    /// What came behind the opening message.
    pub(crate) carry: Vec<u8>,
    /// Its place among the sessions.
    pub(crate) place: OwnedSemaphorePermit,
}

/// A connection that got no session.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: RefusalCause,
    incoming: Incoming,
    outgoing: Outgoing,
}

/// What stands behind a refusal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusalCause {
    #[error("no session was opened in time")]
    Timeout,
    #[error("the connection ended")]
    Lost,
    #[error("the encrypted opening failed")]
    Noise(#[source] HandshakeError),
    #[error("the first frame is none of the protocol")]
    Header(#[source] FrameError),
    #[error("the first message has type {0:#04x} instead of OpenStatsSession")]
    NotOpen(u8),
    #[error("OpenStatsSession cannot be read")]
    Payload(#[source] DecodeError),
    #[error("OpenStatsSession: {0}")]
    Field(&'static str),
    #[error("versions {min} to {max} are offered, {PROTOCOL_VERSION} is spoken")]
    Version { min: u16, max: u16 },
    #[error("the token is not valid for publisher {0:?}")]
    Token(String),
    #[error("a bridge publishes as {0:?}; give the publisher another name")]
    OfBridge(String),
    #[error("another session of publisher {0:?} is alive")]
    InUse(String),
    #[error("{0} sessions are open")]
    Sessions(usize),
    #[error("the journal does not open the session")]
    Journal(#[source] OpenError),
    #[error("the journal gave no answer within {0:?}")]
    JournalBusy(Duration),
    #[error("the answer cannot be sent")]
    Send(#[source] SendError),
}

impl RefusalCause {
    /// What it counts as.
    pub(crate) fn end(&self) -> ConnectionEnd {
        match self {
            Self::Timeout => ConnectionEnd::HandshakeTimeout,
            Self::Lost => ConnectionEnd::HandshakeLost,
            Self::Noise(_) => ConnectionEnd::NoiseRefused,
            Self::Header(_) | Self::NotOpen(_) | Self::Payload(_) | Self::Field(_) => ConnectionEnd::MalformedOpen,
            Self::Version { .. } => ConnectionEnd::UnsupportedVersion,
            // Not `publisher-in-use`: that asks the publisher to come back soon, and this lasts until somebody changes a name.
            Self::Token(_) | Self::OfBridge(_) => ConnectionEnd::Unauthorized,
            Self::InUse(_) => ConnectionEnd::PublisherInUse,
            Self::Sessions(_) | Self::Journal(OpenError::TooManySessions { .. }) => ConnectionEnd::TooManySessions,
            Self::Journal(OpenError::BadSequence { .. }) => ConnectionEnd::MalformedOpen,
            Self::Journal(_) | Self::JournalBusy(_) => ConnectionEnd::JournalUnavailable,
            Self::Send(SendError::Stalled(_)) => ConnectionEnd::WriteStalled,
            Self::Send(_) => ConnectionEnd::HandshakeLost,
        }
    }

    /// What the peer is told; nothing where it cannot listen, or where trying again later is all it can do.
    fn error_code(&self) -> Option<&'static str> {
        match self.end() {
            ConnectionEnd::MalformedOpen => Some(error_code::MALFORMED),
            ConnectionEnd::UnsupportedVersion => Some(error_code::UNSUPPORTED_VERSION),
            ConnectionEnd::Unauthorized => Some(error_code::UNAUTHORIZED),
            ConnectionEnd::PublisherInUse => Some(error_code::PUBLISHER_IN_USE),
            ConnectionEnd::TooManySessions => Some(error_code::TOO_MANY_SESSIONS),
            _ => None,
        }
    }
}

impl From<StreamEnd> for RefusalCause {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::Eof | StreamEnd::Io(_) => Self::Lost,
            StreamEnd::Noise(stats_sv2::noise::TransportError::Frame(error)) => Self::Header(error),
            StreamEnd::Noise(_) => Self::Noise(HandshakeError::Tampered),
        }
    }
}

/// Opens a session on a fresh connection.
pub(crate) async fn open(shared: &Shared, stream: TcpStream) -> Result<OpenConnection, Box<Refused>> {
    let (read, write) = stream.into_split();
    let mut incoming = Incoming::new(read, None);
    let mut outgoing = Outgoing::new(write, shared.limits.write_stall);

    let asked = match timeout(shared.limits.handshake, ask(shared, &mut incoming, &mut outgoing)).await {
        Ok(asked) => asked,
        Err(_) => Err(RefusalCause::Timeout),
    };
    let answered = match asked {
        Ok(asked) => answer(shared, asked, &mut outgoing).await,
        Err(cause) => Err(cause),
    };
    match answered {
        Ok(Answered { claim, writer, publisher, committed_sequence, carry, place }) => {
            Ok(OpenConnection { incoming, outgoing, claim, writer, publisher, committed_sequence, carry, place })
        }
        Err(why) => Err(Box::new(Refused { why, incoming, outgoing })),
    }
}

impl Refused {
    /// Tells the peer why, where it can listen.
    pub(crate) async fn tell(mut self) {
        let Some(code) = self.why.error_code() else { return };
        let mut frame = Vec::new();
        OpenStatsSessionError { flags: 0, error_code: Text::cut(code) }.encode(&mut frame);
        if self.outgoing.send(&frame).await.is_ok() {
            self.outgoing.finish().await;
            self.incoming.linger().await;
        }
    }
}

/// What a peer asks for, checked as far as it can be without the others.
struct Asked {
    open: OpenSession,
    carry: Vec<u8>,
}

/// Reads the peer's side of the handshake.
async fn ask(shared: &Shared, incoming: &mut Incoming, outgoing: &mut Outgoing) -> Result<Asked, RefusalCause> {
    if let Some(responder) = &shared.responder {
        encrypt(shared, responder, incoming, outgoing).await?;
    }
    let mut received = Vec::new();
    incoming.read_until(&mut received, |bytes| !matches!(read_frame(bytes), Ok(None))).await?;
    let frame = match read_frame(&received) {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(RefusalCause::Lost),
        Err(error) => return Err(RefusalCause::Header(error)),
    };
    if frame.msg_type != OpenStatsSession::TYPE {
        return Err(RefusalCause::NotOpen(frame.msg_type));
    }
    let open = check(shared, frame.payload())?;
    let length = frame.bytes.len();
    let carry = received.split_off(length);
    Ok(Asked { open, carry })
}

async fn encrypt(
    shared: &Shared,
    responder: &Responder,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
) -> Result<(), RefusalCause> {
    let mut hello = [0; HELLO_SIZE];
    incoming.read_exact(&mut hello).await.map_err(|_| RefusalCause::Lost)?;
    let (answer, encryptor, decryptor) = responder.answer(&hello, shared.clock.now()).map_err(RefusalCause::Noise)?;
    outgoing.send_raw(&answer).await.map_err(RefusalCause::Send)?;
    incoming.encrypted_by(decryptor);
    outgoing.encrypted_by(encryptor);
    Ok(())
}

/// Reads and checks OpenStatsSession.
fn check(shared: &Shared, payload: &[u8]) -> Result<OpenSession, RefusalCause> {
    let open = match OpenStatsSession::decode(payload) {
        Ok(open) => open,
        // The versions come first and stay there: a later version may have other fields behind them.
        Err(error) => match payload {
            [a, b, c, d, ..] if u16::from_le_bytes([*a, *b]) > PROTOCOL_VERSION => {
                let (min, max) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
                return Err(RefusalCause::Version { min, max });
            }
            _ => return Err(RefusalCause::Payload(error)),
        },
    };
    let (min, max) = (open.min_version, open.max_version);
    if min > max {
        return Err(RefusalCause::Field("min_version is above max_version"));
    }
    if !(min..=max).contains(&PROTOCOL_VERSION) {
        return Err(RefusalCause::Version { min, max });
    }
    let publisher = open.publisher.as_str();
    if publisher.is_empty() {
        return Err(RefusalCause::Field("the publisher's name is empty"));
    }
    if open.session_id == 0 {
        return Err(RefusalCause::Field("session_id is 0"));
    }
    if !(1..U64_LIMIT).contains(&open.first_sequence) {
        return Err(RefusalCause::Field("first_sequence is 0"));
    }
    if !shared.auth.allows(open.token.as_str(), publisher) {
        return Err(RefusalCause::Token(publisher.to_owned()));
    }
    // Its session would end the bridge's, and the bridge's next run this one.
    if shared.of_bridges.contains(publisher) {
        return Err(RefusalCause::OfBridge(publisher.to_owned()));
    }
    Ok(OpenSession {
        publisher: publisher.into(),
        role: open.role,
        session_id: open.session_id,
        first_sequence: open.first_sequence,
        vendor: open.vendor.as_str().to_owned(),
        finishing: open.flags & OPEN_FINISHING != 0,
    })
}

struct Answered {
    claim: Claim,
    writer: SessionWriter,
    publisher: String,
    committed_sequence: u64,
    carry: Vec<u8>,
    place: OwnedSemaphorePermit,
}

/// Takes a place and the name, retires the connections that this one replaces, and lets the journal open the session.
async fn answer(shared: &Shared, asked: Asked, outgoing: &mut Outgoing) -> Result<Answered, RefusalCause> {
    let Asked { open, carry } = asked;
    let publisher = open.publisher.to_string();
    let mut claim = shared
        .names
        .claim(&publisher, open.session_id, open.finishing, Instant::now())
        .map_err(|_| RefusalCause::InUse(publisher.clone()))?;
    claim.retire_predecessors(shared.limits.retire_time + HANDOVER).await;
    // Only now: a publisher that comes back has just given up the place of its former connection.
    let place =
        Arc::clone(&shared.sessions).try_acquire_owned().map_err(|_| RefusalCause::Sessions(shared.limits.sessions))?;

    let opened = timeout(shared.limits.open, shared.journal.open_session(open)).await;
    let OpenedSession { committed_sequence, announce, writer } =
        opened.map_err(|_| RefusalCause::JournalBusy(shared.limits.open))?.map_err(RefusalCause::Journal)?;

    let mut frame = Vec::new();
    OpenStatsSessionSuccess {
        version: PROTOCOL_VERSION,
        flags: if announce { SUCCESS_ANNOUNCE } else { 0 },
        committed_sequence,
        max_unacked: MAX_UNACKED_EVENTS,
    }
    .encode(&mut frame);
    outgoing.send(&frame).await.map_err(RefusalCause::Send)?;
    Ok(Answered { claim, writer, publisher, committed_sequence, carry, place })
}
