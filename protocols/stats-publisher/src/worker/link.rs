//! The worker's connection: opens the session, writes and reads what the socket takes and has, notices silence, ends the
//! session, and tries again.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use stats_sv2::Text;
use stats_sv2::codec::Message;
use stats_sv2::session::{CloseStatsSession, OpenStatsSessionSuccess, SUCCESS_ANNOUNCE, error_code};
use tokio::time::Instant;

use super::{Wake, Worker, chain, random_session_id};
use crate::connection::{Connection, ConnectionError, Incoming, Opening, Received};
use crate::counters::add;
use crate::drain::Now;

/// Looks at the socket's receive buffer between two writes: acknowledgements come a few hundred bytes at a time.
const READS_AT_ONCE: usize = 16;

pub(super) type Opened = Result<(Connection, OpenStatsSessionSuccess), ConnectionError>;

pub(super) enum Link {
    Waiting { until: Instant },
    Opening(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Up(Box<Up>),
}

pub(super) struct Up {
    connection: Connection,
    /// What the sidecar had of the session when it opened. Of a finishing one that can be more than is left of it here.
    durable: u64,
    max_unacked: u64,
    /// When the sidecar last acknowledged something new, or the first event after a pause was sent.
    progress_at: Instant,
    /// The socket took no more.
    pub(super) blocked: bool,
    pub(super) close: CloseStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseStage {
    Open,
    Sent { at: Instant },
    Acknowledged,
}

impl Link {
    /// Waits for what the link itself brings. Cancel-safe.
    pub(super) async fn event(&mut self) -> Wake {
        match self {
            Self::Waiting { .. } => std::future::pending().await,
            Self::Opening(attempt) => Wake::Opened(Box::new(attempt.await)),
            Self::Up(up) => Wake::Socket(up.connection.ready(up.blocked).await),
        }
    }
}

impl Worker {
    /// Reads and writes as far as the socket goes without waiting.
    pub(super) fn pump(&mut self, now: Now) -> Result<(), ConnectionError> {
        self.receive(now)?;
        match self.transmit(now) {
            // The reason for a reset may be in the receive buffer.
            Err(error @ ConnectionError::Io(_)) => self.receive(now).and(Err(error)),
            result => result,
        }
    }

    fn receive(&mut self, now: Now) -> Result<(), ConnectionError> {
        for _ in 0..READS_AT_ONCE {
            let Link::Up(up) = &mut self.link else { return Ok(()) };
            let received = up.connection.receive()?;
            while let Link::Up(up) = &mut self.link
                && up.close != CloseStage::Acknowledged
                && let Some(incoming) = up.connection.next_incoming()?
            {
                self.take_incoming(incoming, now)?;
            }
            match received {
                // The sidecar closes the connection behind this acknowledgement, in whichever way: that is no failure.
                _ if self.is_end_acknowledged() => break,
                Received::Bytes => {}
                Received::Nothing => break,
                Received::End => return Err(ConnectionError::Ended),
            }
        }
        Ok(())
    }

    fn is_end_acknowledged(&self) -> bool {
        matches!(&self.link, Link::Up(up) if up.close == CloseStage::Acknowledged)
    }

    fn take_incoming(&mut self, incoming: Incoming, now: Now) -> Result<(), ConnectionError> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        let outbox = self.finishing.as_mut().unwrap_or(&mut self.own);
        match incoming {
            Incoming::Ack { committed } => {
                if matches!(up.close, CloseStage::Sent { .. }) {
                    // All events were acknowledged before, so this answers the end of the session.
                    up.close = CloseStage::Acknowledged;
                    return Ok(());
                }
                if committed > outbox.window.handed().max(up.durable) {
                    return Err(ConnectionError::Protocol(format!(
                        "number {committed} is acknowledged, but {} is the last that was sent",
                        outbox.window.handed()
                    )));
                }
                let committed = committed.min(outbox.window.handed());
                if committed > outbox.window.committed() {
                    up.progress_at = now.mono;
                    self.backoff.reset();
                    let released = outbox.window.acknowledge(committed);
                    self.note_acknowledged(committed, released, now);
                }
                Ok(())
            }
            Incoming::Close { reason } => {
                if reason == error_code::MALFORMED {
                    self.note_malformed();
                }
                Err(ConnectionError::Closed(reason))
            }
        }
    }

    fn transmit(&mut self, now: Now) -> Result<(), ConnectionError> {
        loop {
            let loaded = match &self.spool {
                Some(spool) => self.finishing.as_mut().unwrap_or(&mut self.own).load(spool),
                None => Ok(Default::default()),
            };
            match loaded {
                Ok(loaded) => {
                    if let Some(place) = loaded.passed {
                        self.release_spool(place);
                    }
                    if loaded.reopen && matches!(self.link, Link::Up(_)) {
                        return Err(ConnectionError::Protocol("the spool has a gap".to_owned()));
                    }
                }
                Err(error) => self.note_spool_error(&error),
            }
            let Link::Up(up) = &mut self.link else { return Ok(()) };
            let window = &mut self.finishing.as_mut().unwrap_or(&mut self.own).window;
            if !up.connection.flush_outgoing()? {
                up.blocked = true;
                return Ok(());
            }
            let was_quiet = window.handed() == window.committed();
            let limit = window.committed().saturating_add(up.max_unacked);
            let frames = window.sendable(limit);
            up.blocked = !frames.is_empty();
            if frames.is_empty() {
                return Ok(());
            }
            let sent = up.connection.send(frames)?;
            if was_quiet {
                up.progress_at = now.mono;
            }
            if sent == 0 {
                return Ok(());
            }
            window.mark_sent(sent);
        }
    }

    /// Notices silence, ends what is to be ended, connects when it is time.
    pub(super) fn look_after_link(&mut self, now: Now) {
        match &self.link {
            Link::Opening(_) => {}
            Link::Waiting { until } => {
                if now.mono >= *until {
                    self.link = Link::Opening(Box::pin(Connection::open(self.opening())));
                }
            }
            Link::Up(up) => {
                if let Some(due) = self.ack_due(up)
                    && now.mono >= due
                {
                    self.disconnect(&ConnectionError::NoProgress(self.settings.timing.ack_timeout), now);
                    return;
                }
                let acknowledged = up.close == CloseStage::Acknowledged;
                let Some(finishing) = &self.finishing else { return };
                let id = finishing.session_id;
                // Numbers follow, behind a gap, or may have followed.
                let stays_open =
                    finishing.is_damaged() || self.segments.iter().skip(1).any(|later| later.session_id == id);
                if acknowledged || stays_open && finishing.is_delivered() {
                    if let Some(segment) = finishing.segment() {
                        add(&self.gauges.finished, finishing.window.committed() + 1 - segment.first);
                        self.release_spool(segment.end);
                    }
                    self.segments.pop_front();
                    self.take_up_segment();
                    self.gauges.connected.store(false, Ordering::Relaxed);
                    self.link = Link::Waiting { until: now.mono };
                } else if finishing.is_delivered() {
                    self.send_close("finished from the spool", now);
                }
            }
        }
    }

    /// When the connection counts as stalled.
    pub(super) fn ack_due(&self, up: &Up) -> Option<Instant> {
        let window = &self.finishing.as_ref().unwrap_or(&self.own).window;
        match up.close {
            CloseStage::Sent { at } => Some(at + self.settings.timing.ack_timeout),
            CloseStage::Open if window.handed() > window.committed() => {
                Some(up.progress_at + self.settings.timing.ack_timeout)
            }
            _ => None,
        }
    }

    fn opening(&self) -> Opening {
        let outbox = self.finishing.as_ref().unwrap_or(&self.own);
        Opening {
            address: self.settings.address.clone(),
            #[cfg(feature = "noise")]
            authority: self.settings.authority,
            timeout: self.settings.timing.handshake_timeout,
            flags: outbox.open_flags(),
            role: self.settings.role,
            publisher: self.settings.publisher_text(),
            session_id: outbox.session_id,
            first_sequence: outbox.window.committed() + 1,
            vendor: self.settings.vendor_text(),
            token: self.settings.token.clone(),
        }
    }

    /// The sidecar has opened the session: goes on after the number that it says is durable.
    pub(super) fn begin(
        &mut self,
        connection: Connection,
        success: &OpenStatsSessionSuccess,
        now: Now,
    ) -> Result<(), ConnectionError> {
        let outbox = self.finishing.as_mut().unwrap_or(&mut self.own);
        let is_growing = outbox.is_growing();
        let mut committed = success.committed_sequence;
        if committed < outbox.window.committed() {
            return Err(ConnectionError::Protocol(format!(
                "the sidecar goes back to number {committed}, but has acknowledged {}",
                outbox.window.committed()
            )));
        }
        if committed > outbox.last {
            if is_growing {
                return Err(self.change_session(committed));
            }
            // The spool lost its end with the host's power; what it lost had been delivered.
            committed = outbox.last;
        }
        add(&self.gauges.resent, outbox.window.handed().saturating_sub(committed));
        let released = outbox.window.rewind(committed);
        let session_id = outbox.session_id;
        self.note_acknowledged(committed, released, now);
        if success.flags & SUCCESS_ANNOUNCE != 0 && is_growing {
            self.drain.request_announcement();
        }
        self.link = Link::Up(Box::new(Up {
            connection,
            durable: success.committed_sequence,
            max_unacked: u64::from(success.max_unacked),
            progress_at: now.mono,
            blocked: false,
            close: CloseStage::Open,
        }));
        self.next_drain = now.mono;
        add(&self.gauges.connections, 1);
        self.gauges.connected.store(true, Ordering::Relaxed);
        tracing::info!(address = self.settings.address, session_id, committed, "connected to the sidecar");
        Ok(())
    }

    /// The sidecar knows more of this session than was ever sent: it is another's, from a restored snapshot of this host
    /// perhaps. The numbers stay, so that nothing has to be renumbered; the new session begins with the first that is not
    /// acknowledged.
    fn change_session(&mut self, committed: u64) -> ConnectionError {
        let (old, new) = (self.own.session_id, random_session_id());
        let error = ConnectionError::Protocol(format!(
            "session {old} is committed up to {committed}, beyond the last number {}; a new session begins",
            self.own.last
        ));
        self.own.session_id = new;
        if let Some(Err(error)) = self.spool.as_mut().map(|spool| spool.rename_session(old, new)) {
            self.note_spool_error(&error);
        }
        // It knows nothing of what is open.
        self.drain.request_announcement();
        error
    }

    pub(super) fn disconnect(&mut self, error: &ConnectionError, now: Now) {
        self.gauges.connected.store(false, Ordering::Relaxed);
        add(&self.gauges.failures, 1);
        let text = chain(error);
        if self.gauges.note_error(text.clone()) {
            let address = &self.settings.address;
            if error.needs_operator() {
                tracing::error!(
                    address,
                    error = text,
                    "no statistics until a setting here or at the sidecar is changed"
                );
            } else {
                tracing::warn!(address, error = text, "no connection to the sidecar; trying again");
            }
        }
        self.link = Link::Waiting { until: now.mono + self.backoff.after(error) };
    }

    pub(super) fn send_close(&mut self, reason: &'static str, now: Now) {
        let Link::Up(up) = &mut self.link else { return };
        if up.close != CloseStage::Open {
            return;
        }
        let mut message = Vec::new();
        CloseStatsSession { reason: Text::cut(reason) }.encode(&mut message);
        // Even if sending fails: the message may have arrived all the same.
        self.finishing.as_mut().unwrap_or(&mut self.own).ended = true;
        match up.connection.send_message(&message) {
            Ok(()) => up.close = CloseStage::Sent { at: now.mono },
            Err(error) => self.disconnect(&error, now),
        }
    }

    /// Told twice at the same place: the next frame is given up, and the session goes on behind it.
    fn note_malformed(&mut self) {
        let is_own = self.finishing.is_none();
        let outbox = self.finishing.as_mut().unwrap_or(&mut self.own);
        let place = (outbox.session_id, outbox.window.committed());
        if self.rejected.replace(place) != Some(place) || outbox.window.is_empty() {
            return;
        }
        self.rejected = None;
        let released = outbox.window.skip_one();
        tracing::error!(number = place.1 + 1, "gave up an event that the sidecar called malformed twice");
        if is_own && self.accounts.skip_one() {
            add(&self.gauges.malformed, 1);
        }
        if let Some(end) = released.spool_end {
            self.release_spool(end);
        }
    }
}
