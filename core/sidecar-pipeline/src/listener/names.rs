//! Which connection speaks for which publisher name (delivery rule 5), and which connections a new one retires (rule 4).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection as the others see it.
#[derive(Debug)]
pub(crate) struct Connection {
    publisher: Arc<str>,
    session_id: u64,
    finishing: bool,
    epoch: Instant,
    /// Milliseconds after `epoch`.
    heard_at: AtomicU64,
    /// It waits for the sidecar itself, so its silence says nothing about its peer.
    waiting: AtomicBool,
    retire: CancellationToken,
    /// All that it read is handed over; nothing more comes.
    ended: CancellationToken,
}

impl Connection {
    /// A whole frame came.
    pub(crate) fn heard(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        self.heard_at.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// It is not read now because the sidecar itself is not ready.
    pub(crate) fn waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Asked to read to the end and to stop, since a newer connection takes over.
    pub(crate) fn retire(&self) -> &CancellationToken {
        &self.retire
    }

    fn is_alive(&self, now: Instant, held_for: Duration) -> bool {
        let heard_at = self.epoch + Duration::from_millis(self.heard_at.load(Ordering::Relaxed));
        !self.ended.is_cancelled()
            && (self.waiting.load(Ordering::Relaxed) || now.saturating_duration_since(heard_at) < held_for)
    }
}

/// All connections with an open session, or about to open one.
#[derive(Debug)]
pub(crate) struct Names {
    epoch: Instant,
    held_for: Duration,
    connections: Mutex<HashMap<Arc<str>, Vec<Arc<Connection>>>>,
}

/// Another session holds the name and is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublisherInUse;

impl Names {
    pub(crate) fn new(held_for: Duration) -> Self {
        Self { epoch: Instant::now(), held_for, connections: Mutex::default() }
    }

    /// Takes the name for a connection. A finishing session neither holds a name nor is refused one: the replaced
    /// publisher delivers its rest beside its successor.
    pub(crate) fn claim(
        self: &Arc<Self>,
        publisher: &str,
        session_id: u64,
        finishing: bool,
        now: Instant,
    ) -> Result<Claim, PublisherInUse> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = connections.get(publisher).map_or(&[][..], Vec::as_slice);
        let rivals = |other: &&Arc<Connection>| other.session_id != session_id && !other.finishing && !finishing;
        if of_name.iter().filter(rivals).any(|other| other.is_alive(now, self.held_for)) {
            return Err(PublisherInUse);
        }
        let retired = of_name.iter().filter(|other| other.session_id == session_id || rivals(other)).cloned().collect();

        let publisher: Arc<str> = publisher.into();
        let connection = Arc::new(Connection {
            publisher: Arc::clone(&publisher),
            session_id,
            finishing,
            epoch: self.epoch,
            heard_at: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            retire: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        connection.heard(now);
        connections.entry(publisher).or_default().push(Arc::clone(&connection));
        Ok(Claim { names: Arc::clone(self), connection, retired })
    }
}

/// A connection's place among the names; dropped when everything it read is handed over.
#[derive(Debug)]
pub(crate) struct Claim {
    names: Arc<Names>,
    connection: Arc<Connection>,
    retired: Vec<Arc<Connection>>,
}

impl Claim {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Asks the connections that this one replaces to read to their end, and waits until they have, or `at_most`. One
    /// that does not get ready in time is refused by the journal later: its generation is retired there.
    pub(crate) async fn retire_predecessors(&mut self, at_most: Duration) {
        let retired = std::mem::take(&mut self.retired);
        for connection in &retired {
            connection.retire.cancel();
        }
        let deadline = Instant::now() + at_most;
        for connection in &retired {
            if tokio::time::timeout_at(deadline, connection.ended.cancelled()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.connection.ended.cancel();
        let mut connections = self.names.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_name) = connections.get_mut(&self.connection.publisher) {
            of_name.retain(|other| !Arc::ptr_eq(other, &self.connection));
            if of_name.is_empty() {
                connections.remove(&self.connection.publisher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Duration = Duration::from_secs(15);

    fn names() -> (Arc<Names>, Instant) {
        let names = Arc::new(Names::new(HELD));
        let now = names.epoch;
        (names, now)
    }

    #[test]
    fn a_name_is_held_while_its_connection_gives_frames() {
        let (names, now) = names();
        let first = names.claim("pool", 1, false, now).unwrap();
        assert!(names.claim("pool", 2, false, now + HELD - Duration::from_millis(1)).is_err());
        first.connection().heard(now + HELD);
        assert!(names.claim("pool", 2, false, now + HELD).is_err());
        let second = names.claim("pool", 2, false, now + HELD * 2).unwrap();
        assert!(Arc::ptr_eq(&second.retired[0], first.connection()));
        assert!(names.claim("proxy", 3, false, now).is_ok(), "another name is free");
    }

    #[test]
    fn a_connection_that_waits_for_the_sidecar_keeps_its_name() {
        let (names, now) = names();
        let first = names.claim("pool", 1, false, now).unwrap();
        first.connection().waiting(true);
        assert!(names.claim("pool", 2, false, now + HELD * 2).is_err());
        first.connection().waiting(false);
        assert!(names.claim("pool", 2, false, now + HELD * 2).is_ok());
    }

    #[test]
    fn the_same_session_retires_its_former_connection_at_once() {
        let (names, now) = names();
        let first = names.claim("pool", 1, false, now).unwrap();
        let again = names.claim("pool", 1, false, now).unwrap();
        assert!(Arc::ptr_eq(&again.retired[0], first.connection()));
        drop(first);
        assert!(again.retired[0].ended.is_cancelled());
        drop(again);
        assert!(names.connections.lock().unwrap().is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_finishing_session_stands_beside_the_holder_of_the_name() {
        let (names, now) = names();
        let holder = names.claim("pool", 2, false, now).unwrap();
        let finishing = names.claim("pool", 1, true, now).unwrap();
        assert!(finishing.retired.is_empty());
        drop(holder);
        let next = names.claim("pool", 3, false, now).unwrap();
        assert!(next.retired.is_empty(), "a finishing session is left to finish");
        assert_eq!(names.claim("pool", 1, true, now).unwrap().retired.len(), 1, "its own reconnection retires it");
    }
}
